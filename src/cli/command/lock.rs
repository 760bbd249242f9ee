//! `lock status` and `lock break`.

use serde_json::json;

use crate::cli::args::LockCommand;
use crate::cli::session::{Refusal, Session};
use crate::cli::text::Page;
use crate::operation::OperationError;
use crate::report::exit;
use crate::store::{LockStatus, clusters};

pub async fn run(session: &Session<'_>, command: LockCommand) -> Result<u8, Refusal> {
    let env = session.env().await?;
    let (given, breaks) = match &command {
        LockCommand::Status { cluster } => (cluster, None),
        LockCommand::Break { cluster, yes } => (cluster, Some(*yes)),
    };
    let name = env.name(session.cluster(given.as_deref()).as_deref()).await?;
    // Not through the state: a lock can be looked at and broken even where the state cannot be read, or was never written.
    let store = env.store(&name)?;
    let Some(held) = store.lock_status().await.map_err(OperationError::from)? else {
        if !clusters(env.objects.as_ref()).await.map_err(OperationError::from)?.contains(&name) {
            return Err(env.unknown(&name).await?.into());
        }
        session.show(&json!({ "cluster": name, "locked": false }), || one_line(session, &format!("{name} is not locked.")))?;
        return Ok(exit::DONE);
    };
    let held = env.seen(held);
    match breaks {
        Some(true) => {
            // Somebody may have taken it meanwhile; what was broken is what is shown.
            let broken = store.lock_break().await.map_err(OperationError::from)?;
            let shown = broken.as_ref().unwrap_or(&held);
            session
                .show(&value(&name, shown), || page(session, &format!("The lock of {name} was broken; it was held"), shown))?;
            session.next("Next:", &format!("kubewright update {name}"), Some("shows what the broken run left"));
        }
        Some(false) => {
            session.show(&value(&name, &held), || page(session, &format!("{name} is locked"), &held))?;
            session.next("Nothing was changed. To break it:", &format!("kubewright lock break {name} --yes"), None);
        }
        None => {
            session.show(&value(&name, &held), || page(session, &format!("{name} is locked"), &held))?;
            if held.stale || held.gone {
                let remark = Some("shows what that run left; with --yes it takes the lock over");
                session.next("Next:", &format!("kubewright update {name}"), remark);
            }
        }
    }
    Ok(exit::DONE)
}

fn value(name: &str, held: &LockStatus) -> serde_json::Value {
    json!({
        "cluster": name,
        "locked": true,
        "by": held.by,
        "host": held.host,
        "pid": held.pid,
        "command": held.command,
        "since": held.since.map(|since| since.to_string()),
        "heartbeat_seconds": held.heartbeat_age.as_secs(),
        "stale": held.stale,
        "process_gone": held.gone,
    })
}

fn page(session: &Session<'_>, title: &str, held: &LockStatus) -> Page {
    let mut page = one_line(session, title);
    for (label, text) in held.facts() {
        page.labelled(2, 10, label, vec![text.into()]);
    }
    page
}

fn one_line(session: &Session<'_>, text: &str) -> Page {
    let mut page = session.ui.page();
    page.flow(0, 2, vec![text.into()]);
    page
}
