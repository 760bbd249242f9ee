//! `delete cluster`.

use std::sync::Mutex;

use tokio_util::sync::CancellationToken;

use crate::cli::args::DeleteArgs;
use crate::cli::command::change::stopped_at_once;
use crate::cli::progress::Progress;
use crate::cli::render::plan::PlanView;
use crate::cli::render::{json, outcome};
use crate::cli::session::{Refusal, Session};
use crate::cli::text::Page;
use crate::operation::{DeletePrepared, Env, OperationError, apply_delete, prepare_delete};
use crate::report::{self, exit};

pub async fn run(session: &Session<'_>, args: DeleteArgs) -> Result<u8, Refusal> {
    let name = name(session, &args)?;
    let purge = if args.purge { " --purge" } else { "" };
    let command = format!("kubewright delete cluster {name}{purge} --yes");
    let env = session.env().await?;
    let done = if args.yes {
        apply(session, &env, &name, args.purge, &command).await
    } else {
        dry_run(session, &env, &name, args.purge, &command).await
    };
    match done {
        Err(Refusal::Operation(error @ (OperationError::Protected(_) | OperationError::Refused(_)))) => {
            session.complain(&Refusal::Operation(error));
            Ok(exit::DELETE_BLOCKED)
        }
        done => done,
    }
}

/// Never "the only cluster of the store": a delete says what it means.
fn name(session: &Session<'_>, args: &DeleteArgs) -> Result<String, Refusal> {
    let given = match args.words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["cluster", name] => Some((*name).to_owned()),
        ["cluster"] => session.cluster(None),
        [noun, ..] => return Err(Refusal::Usage(format!("`{noun}` cannot be deleted; write: delete cluster NAME"))),
        [] => None,
    };
    given.ok_or_else(|| Refusal::Usage("which cluster? write: delete cluster NAME".into()))
}

fn page(session: &Session<'_>, prepared: &DeletePrepared) -> Page {
    let width = session.ui.width();
    let mut page = Page::new(width);
    if prepared.from_tags {
        let text = "The state store does not know this cluster; what is shown was found by its tags.";
        page.flow(0, 2, vec![text.into()]);
        page.blank();
    }
    let view = PlanView {
        plan: &prepared.plan,
        location: &prepared.location,
        account: &prepared.account.id,
        reads: prepared.calls.reads,
        seconds: prepared.seconds,
        interrupted: None,
        recorded: (0, 0),
        is_new: false,
        whole: session.global.verbose > 0,
    };
    page.append(view.page(width));
    page
}

async fn dry_run(session: &Session<'_>, env: &Env, name: &str, purge: bool, command: &str) -> Result<u8, Refusal> {
    let prepared = prepare_delete(env, name, purge).await?;
    session.show(&json::plan(&prepared.plan, &prepared.location, prepared.calls.reads), || page(session, &prepared))?;
    if !prepared.plan.errors.is_empty() {
        session.say("Nothing was changed.");
        return Ok(exit::DELETE_BLOCKED);
    }
    session.next("Nothing was changed. To delete:", command, None);
    Ok(exit::DONE)
}

async fn apply(session: &Session<'_>, env: &Env, name: &str, purge: bool, command: &str) -> Result<u8, Refusal> {
    let progress = Progress::begin(&session.ui, session.outside.clock());
    let stop = CancellationToken::new();
    let planned = Mutex::new(None);
    let on_plan = |prepared: &DeletePrepared| {
        if session.is_for_people() {
            session.ui.result(&page(session, prepared));
        }
        if let Ok(mut planned) = planned.lock() {
            *planned = Some(json::plan(&prepared.plan, &prepared.location, prepared.calls.reads));
        }
    };
    let work = apply_delete(env, name, purge, progress.sink(), stop.clone(), &on_plan);
    let done = session.interruptible(&progress, &stop, work).await;
    progress.end();
    let Some(done) = done else {
        return Ok(stopped_at_once(session, env, name, command).await);
    };
    let report = done?;
    let width = session.ui.width();
    let failures = outcome::failures(&report.outcome, width);
    if !failures.is_empty() {
        session.ui.status(&failures);
    }
    let plan = planned.into_inner().unwrap_or_default();
    session.show(&serde_json::json!({ "plan": plan, "report": json::deleted(&report) }), || outcome::deleted(&report, width))?;
    if let Some(left) = outcome::left_behind(&report) {
        session.complain(&Refusal::Trouble(left));
        return Ok(exit::DELETE_BLOCKED);
    }
    if !report.outcome.is_complete() {
        session.next("Next:", command, Some("goes on with what is left"));
        return Ok(report::exit_code(&report.outcome));
    }
    match report.kept {
        Some(_) => session.next("To drop the history:", &format!("kubewright delete cluster {name} --purge --yes"), None),
        None => session.next("Next:", "kubewright get clusters", None),
    }
    Ok(exit::DONE)
}
