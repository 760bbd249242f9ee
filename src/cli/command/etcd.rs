//! `etcd status`, `etcd snapshot`, `etcd list`, `etcd restore`.

use tokio_util::sync::CancellationToken;

use crate::cli::args::{EtcdCommand, EtcdListArgs, EtcdStatusArgs, Output, RestoreArgs, SnapshotArgs};
use crate::cli::command::change::stopped_at_once;
use crate::cli::progress::Progress;
use crate::cli::render::etcd as render;
use crate::cli::session::{Refusal, Session};
use crate::operation::{Env, apply_restore, etcd_snapshot, etcd_snapshots, etcd_status, prepare_restore};
use crate::report::{Trouble, exit};

pub async fn run(session: &Session<'_>, command: EtcdCommand) -> Result<u8, Refusal> {
    match command {
        EtcdCommand::Status(args) => status(session, args).await,
        EtcdCommand::Snapshot(args) => snapshot(session, args).await,
        EtcdCommand::List(args) => list(session, args).await,
        EtcdCommand::Restore(args) => restore(session, args).await,
    }
}

async fn status(session: &Session<'_>, args: EtcdStatusArgs) -> Result<u8, Refusal> {
    let env = session.env().await?;
    let report = etcd_status(&env, session.cluster(args.cluster.as_deref()).as_deref()).await?;
    session
        .show(&report, || render::status(&report, env.clock.now(), session.ui.width(), session.global.output == Output::Wide))?;
    let (name, etcd) = (&report.cluster, &report.etcd);
    if let Some(restore) = &report.restore {
        session.next(
            "Next:",
            &format!("kubewright etcd restore {} {name} --yes", restore.snapshot),
            Some("goes on with the restore"),
        );
        return Ok(exit::ERROR);
    }
    if !etcd.has_quorum() {
        let why = if etcd.answers { "too few of its members are healthy" } else { "none of its members can tell who is in it" };
        let next =
            format!("kubewright validate {name}; if its members cannot be brought back: kubewright etcd restore latest {name}");
        session.complain(&Trouble::new(format!("etcd of {name} has no quorum")).row("why", why).next(next).into());
        return Ok(exit::ERROR);
    }
    if let Some(alarm) = etcd.alarms.first() {
        let next = match alarm.kind.as_str() {
            "NOSPACE" => "make room (etcdctl compact, defrag), then etcdctl alarm disarm".to_owned(),
            _ => format!("kubewright rolling-update {name}      (replace the member's machine)"),
        };
        session.complain(
            &Trouble::new(format!("etcd of {name} has an alarm: {} of {}", alarm.kind, alarm.member)).next(next).into(),
        );
        return Ok(exit::ERROR);
    }
    session.next("Next:", &format!("kubewright etcd snapshot {name}"), None);
    Ok(exit::DONE)
}

async fn snapshot(session: &Session<'_>, args: SnapshotArgs) -> Result<u8, Refusal> {
    let env = session.env().await?;
    let name = env.name(session.cluster(args.cluster.as_deref()).as_deref()).await?;
    let again = format!("kubewright etcd snapshot {name}");
    let (progress, stop) = (Progress::begin(&session.ui, session.outside.clock()), CancellationToken::new());
    let work = etcd_snapshot(&env, Some(&name), args.keep, progress.sink(), stop.clone());
    let done = session.interruptible(&progress, &stop, work).await;
    progress.end();
    let Some(done) = done else { return Ok(stopped_at_once(session, &env, &name, &again).await) };
    let report = done?;
    session.show(&render::taken_json(&report), || render::taken(&report, session.ui.width()))?;
    session.next("Next:", &format!("kubewright etcd list {name}"), None);
    Ok(exit::DONE)
}

async fn list(session: &Session<'_>, args: EtcdListArgs) -> Result<u8, Refusal> {
    let env = session.env().await?;
    let list = etcd_snapshots(&env, session.cluster(args.cluster.as_deref()).as_deref()).await?;
    let name = &list.cluster;
    if list.snapshots.is_empty() && session.is_for_people() {
        session.say(&format!("There is no snapshot in {}.", list.location));
        session.next("Next:", &format!("kubewright etcd snapshot {name}"), None);
        return Ok(exit::DONE);
    }
    session.show(&render::list_json(&list), || {
        render::list(&list, env.clock.now(), session.ui.width(), session.global.output == Output::Wide)
    })?;
    let last = list.snapshots.iter().rev().find(|listed| listed.snapshot.is_ok());
    if let Some(last) = last {
        session.next("Next:", &format!("kubewright etcd restore {} {name}", last.id), Some("shows what that would do"));
    }
    Ok(exit::DONE)
}

async fn restore(session: &Session<'_>, args: RestoreArgs) -> Result<u8, Refusal> {
    let env = session.env().await?;
    let name = env.name(session.cluster(args.cluster.as_deref()).as_deref()).await?;
    let again = format!("kubewright etcd restore {} {name} --yes", args.snapshot);
    match args.yes {
        true => apply(session, &env, &name, &args.snapshot, &again).await,
        false => {
            let plan = prepare_restore(&env, Some(&name), &args.snapshot).await?;
            session.show(&render::restore_json(&plan), || render::restore(&plan, session.ui.width()))?;
            // By its name: the latest may be another one by then.
            let command = format!("kubewright etcd restore {} {name} --yes", plan.snapshot.id);
            session.next("Nothing was changed. To restore it:", &command, None);
            Ok(exit::DONE)
        }
    }
}

async fn apply(session: &Session<'_>, env: &Env, name: &str, id: &str, again: &str) -> Result<u8, Refusal> {
    let (progress, stop) = (Progress::begin(&session.ui, session.outside.clock()), CancellationToken::new());
    let work = apply_restore(env, Some(name), id, progress.sink(), stop.clone());
    let done = session.interruptible(&progress, &stop, work).await;
    progress.end();
    let Some(done) = done else { return Ok(stopped_at_once(session, env, name, again).await) };
    let report = done?;
    session.show(&render::restored_json(&report), || render::restored(&report, session.ui.width()))?;
    let wait = if report.unready.is_empty() { "" } else { " --wait 10m" };
    session.next("Next:", &format!("kubewright validate {name}{wait}"), None);
    Ok(exit::DONE)
}
