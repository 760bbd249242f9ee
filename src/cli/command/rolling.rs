//! `rolling-update`.

use tokio_util::sync::CancellationToken;

use crate::apply::Outcome;
use crate::cli::args::{RollingArgs, cluster_in};
use crate::cli::command::change::stopped_at_once;
use crate::cli::progress::Progress;
use crate::cli::render::{outcome, rolling};
use crate::cli::session::{Refusal, Session};
use crate::operation::{End, Env, RollRequest, apply_roll, prepare_roll};
use crate::report::{self, exit};
use crate::rolling::Blocked;

pub async fn run(session: &Session<'_>, args: RollingArgs) -> Result<u8, Refusal> {
    let given = cluster_in(&args.words).map_err(Refusal::Usage)?;
    let env = session.env().await?;
    let name = env.name(session.cluster(given).as_deref()).await?;
    let flags: String = args
        .groups
        .iter()
        .map(|group| format!(" --instance-group {group}"))
        .chain((!args.roles.is_empty()).then(|| format!(" --instance-group-roles {}", args.roles.join(","))))
        .chain(args.force.then(|| " --force".to_owned()))
        .chain(args.abort.then(|| " --abort".to_owned()))
        .collect();
    let command = format!("kubewright rolling-update {name}{flags}");
    let RollingArgs { groups, roles, force, abort, yes, detailed_exitcode, .. } = args;
    let request = RollRequest { name: Some(name), groups, roles, force, abort };
    match yes {
        true => apply(session, &env, &request, &command).await,
        false => dry_run(session, &env, &request, &command, detailed_exitcode).await,
    }
}

async fn dry_run(session: &Session<'_>, env: &Env, request: &RollRequest, command: &str, detailed: bool) -> Result<u8, Refusal> {
    let prepared = prepare_roll(env, request).await?;
    let whole = session.global.verbose > 0;
    session.show(&rolling::json(&prepared), || rolling::page(&prepared, session.ui.width(), whole))?;
    let (blocked, nothing) = (prepared.end.stop(), prepared.lines.is_empty());
    Ok(planned(session, &prepared.cluster, blocked, nothing, ("To replace them", command), detailed))
}

async fn apply(session: &Session<'_>, env: &Env, request: &RollRequest, command: &str) -> Result<u8, Refusal> {
    let progress = Progress::begin(&session.ui, session.outside.clock());
    let stop = CancellationToken::new();
    let done = session.interruptible(&progress, &stop, apply_roll(env, request, progress.sink(), stop.clone())).await;
    progress.end();
    let again = format!("{command} --yes");
    let Some(done) = done else {
        return Ok(stopped_at_once(session, env, request.name.as_deref().unwrap_or_default(), &again).await);
    };
    let report = done?;
    let width = session.ui.width();
    let failures = outcome::failures(&report.outcome, width);
    if !failures.is_empty() {
        session.ui.status(&failures);
    }
    session.show(&rolling::done_json(&report), || rolling::done(&report, width))?;
    let rest = "; --abort brings the cluster to rest";
    Ok(ended(session, &report.cluster, &report.end, &report.outcome, &again, rest))
}

/// What a dry run says last, and its exit code. `nothing`: there is nothing to do; `proposal`: what the command that does it is for.
pub(super) fn planned(
    session: &Session<'_>,
    cluster: &str,
    blocked: Option<&Blocked>,
    nothing: bool,
    (proposal, command): (&str, &str),
    detailed: bool,
) -> u8 {
    if let Some(stop) = blocked {
        session.say("Nothing was changed.");
        session.say(&format!("Next:  {}", stop.next));
        exit::REFUSED
    } else if nothing {
        session.next("Next:", &format!("kubewright validate {cluster}"), None);
        exit::DONE
    } else {
        session.next(&format!("Nothing was changed. {proposal}:"), &format!("{command} --yes"), None);
        if detailed { exit::CHANGES_PENDING } else { exit::DONE }
    }
}

/// What a run says last, and its exit code. `again` goes on with it; `besides`: what else can be done about one that is blocked.
pub(super) fn ended(session: &Session<'_>, cluster: &str, end: &End, outcome: &Outcome, again: &str, besides: &str) -> u8 {
    const GOES_ON: &str = "goes on where this run stopped";
    match end {
        End::Done => session.next("Next:", &format!("kubewright validate {cluster}"), None),
        End::Stopped => session.next("Next:", again, Some(GOES_ON)),
        End::Blocked(stop) => {
            session.say(&format!("To mend it:  {}", stop.next));
            session.next("Next:", again, Some(&format!("{GOES_ON}{besides}")));
        }
    }
    match (end, report::exit_code(outcome)) {
        (End::Done, _) => exit::DONE,
        (End::Stopped, _) => exit::INTERRUPTED,
        (End::Blocked(_), exit::DONE) => exit::ERROR,
        (End::Blocked(_), code) => code,
    }
}
