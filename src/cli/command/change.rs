//! `create cluster` and `update`: one flow, the first revision or a later one.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::cli::args::{ApplyArgs, CreateArgs, UpdateArgs, cluster_in};
use crate::cli::command::recording::Recording;
use crate::cli::command::saved;
use crate::cli::progress::Progress;
use crate::cli::render::plan::PlanView;
use crate::cli::render::{json, outcome};
use crate::cli::session::{Refusal, Session};
use crate::cli::text::{Page, count};
use crate::operation::{Env, OperationError, Prepared, Report, UpdateRequest, apply_update, prepare_update};
use crate::plan::Plan;
use crate::plan::document::Command;
use crate::report::{self, exit};

pub async fn create(session: &Session<'_>, args: CreateArgs) -> Result<u8, Refusal> {
    if let Some(noun) = args.words.iter().find(|word| *word != "cluster") {
        return Err(Refusal::Usage(format!(
            "`{noun}` cannot be created; only a `cluster` can, from a spec: create cluster -f FILE"
        )));
    }
    if let Some(plan) = &args.apply.plan {
        let request = saved::request(session, plan, Command::Create, None, args.file.as_deref())?;
        return run(session, request, args.apply.clone(), &command_of(plan, "create cluster", args.file.as_deref())).await;
    }
    let file = args.file.unwrap_or_default();
    let command = format!("kubewright create cluster -f {}", file.display());
    let spec = Some(session.spec(&file)?);
    // `KUBEWRIGHT_CLUSTER` names the cluster that other commands mean; a new one is named by its spec.
    run(session, UpdateRequest { name: None, spec, create: true, saved: None }, args.apply, &command).await
}

pub async fn update(session: &Session<'_>, args: UpdateArgs) -> Result<u8, Refusal> {
    let given = cluster_in(&args.words).map_err(Refusal::Usage)?;
    if let Some(plan) = &args.apply.plan {
        let request = saved::request(session, plan, Command::Update, given, args.file.as_deref())?;
        return run(session, request, args.apply.clone(), &command_of(plan, "update", args.file.as_deref())).await;
    }
    let spec = args.file.as_ref().map(|file| session.spec(file)).transpose()?;
    // `KUBEWRIGHT_CLUSTER` does not contradict a file that says its name itself.
    let (name, shown) = match &spec {
        Some(spec) => (given.map(str::to_owned), spec.cluster.name.clone()),
        None => {
            let name = session.env().await?.name(session.cluster(given).as_deref()).await?;
            (Some(name.clone()), name)
        }
    };
    let file = args.file.as_ref().map(|file| format!(" -f {}", file.display())).unwrap_or_default();
    let command = format!("kubewright update {shown}{file}");
    run(session, UpdateRequest { name, spec, create: false, saved: None }, args.apply, &command).await
}

fn command_of(plan: &Path, verb: &str, file: Option<&Path>) -> String {
    let file = file.map(|file| format!(" -f {}", file.display())).unwrap_or_default();
    format!("kubewright {verb}{file} --plan {}", plan.display())
}

async fn run(session: &Session<'_>, request: UpdateRequest, args: ApplyArgs, command: &str) -> Result<u8, Refusal> {
    let env = session.env().await?;
    if args.yes {
        apply(session, &env, &request, &args, command).await
    } else {
        dry_run(session, &env, &request, args, command).await
    }
}

async fn dry_run(
    session: &Session<'_>,
    env: &Env,
    request: &UpdateRequest,
    args: ApplyArgs,
    command: &str,
) -> Result<u8, Refusal> {
    let prepared = match (prepare_update(env, request).await, &request.saved) {
        (Ok(prepared), _) => prepared,
        // What was asked for is to see it; that it cannot be applied any more is said below it.
        (Err(error @ OperationError::PlanMoved { .. }), Some(saved)) => {
            session.show(&saved.document, || saved::page(session, saved))?;
            return Err(error.into());
        }
        (Err(error), _) => return Err(error.into()),
    };
    let plan = &prepared.plan;
    match &request.saved {
        Some(saved) => session.show(&saved.document, || page(session, &prepared))?,
        None => session.show(&prepared.document()?, || page(session, &prepared))?,
    }
    if !plan.errors.is_empty() {
        session.say("Nothing was changed.");
        return Ok(exit::REFUSED);
    }
    if let Some(file) = &args.plan_out {
        saved::write(file, &prepared.to_save()?)?;
        let verb = if request.create { "create cluster" } else { "update" };
        let command = format!("{} --yes", command_of(file, verb, None));
        session.next("Nothing was changed. To apply exactly this:", &command, None);
        return Ok(pending(plan, &args));
    }
    if plan.is_empty() && !prepared.new_revision {
        session.next("Next:", &format!("kubewright validate {}", plan.cluster), None);
        return Ok(exit::DONE);
    }
    session.next("Nothing was changed. To apply:", &format!("{command} --yes"), None);
    Ok(if args.detailed_exitcode { exit::CHANGES_PENDING } else { exit::DONE })
}

fn pending(plan: &Plan, args: &ApplyArgs) -> u8 {
    if args.detailed_exitcode && !plan.is_empty() { exit::CHANGES_PENDING } else { exit::DONE }
}

fn page(session: &Session<'_>, prepared: &Prepared) -> Page {
    let view = PlanView {
        plan: &prepared.plan,
        location: &prepared.location,
        account: if prepared.is_new { &prepared.account.id } else { "" },
        reads: prepared.calls.reads,
        seconds: prepared.seconds,
        interrupted: prepared.interrupted.as_ref(),
        recorded: prepared.recorded,
        is_new: prepared.is_new,
        whole: session.global.verbose > 0,
    };
    let mut page = view.page(session.ui.width());
    if prepared.plan.is_empty() && prepared.new_revision && !prepared.is_new {
        let keys = if prepared.changed.is_empty() { "its text".to_owned() } else { prepared.changed.join(", ") };
        let text = format!("The spec differs from the registered one in {keys}; it becomes revision {}.", prepared.plan.revision);
        page.flow(0, 2, vec![text.into()]);
    }
    page
}

async fn apply(
    session: &Session<'_>,
    env: &Env,
    request: &UpdateRequest,
    args: &ApplyArgs,
    command: &str,
) -> Result<u8, Refusal> {
    let recording = Recording::begin(session.outside.clock(), args.timeline.as_deref())?;
    let progress = Progress::begin(&session.ui, session.outside.clock());
    let stop = CancellationToken::new();
    let planned = Mutex::new(None);
    let on_plan = |prepared: &Prepared| {
        if session.is_for_people() {
            session.ui.result(&page(session, prepared));
        }
        if let Ok(mut planned) = planned.lock() {
            *planned = Some((prepared.plan.clone(), prepared.location.clone(), prepared.calls.reads));
        }
    };
    let work = apply_update(env, request, recording.sink(progress.sink()), stop.clone(), &on_plan);
    let done = session.interruptible(&progress, &stop, work).await;
    progress.end();
    let timeline = recording.end(session, &name(request));
    let planned = planned.into_inner().unwrap_or_default();
    let again =
        format!("kubewright update {} --yes", planned.as_ref().map_or_else(|| name(request), |(plan, ..)| plan.cluster.clone()));
    let Some(done) = done else {
        return Ok(stopped_at_once(session, env, &name(request), &again).await);
    };
    let report = done?;
    let width = session.ui.width();
    let failures = outcome::failures(&report.outcome, width);
    if !failures.is_empty() {
        session.ui.status(&failures);
    }
    let plan = planned.map(|(plan, location, reads)| json::plan(&plan, &location, reads));
    session.show(&serde_json::json!({ "plan": plan, "report": json::applied(&report), "timeline": timeline }), || {
        outcome::applied(&report, width)
    })?;
    next(session, &report, &again, command);
    Ok(report::exit_code(&report.outcome))
}

fn name(request: &UpdateRequest) -> String {
    match (&request.spec, &request.name) {
        (Some(spec), _) => spec.cluster.name.clone(),
        (None, name) => name.clone().unwrap_or_default(),
    }
}

fn next(session: &Session<'_>, report: &Report, again: &str, command: &str) {
    let cluster = &report.cluster;
    if report.outcome.is_complete() {
        let first = command.starts_with("kubewright create");
        let command =
            if first { format!("kubewright export kubeconfig {cluster}") } else { format!("kubewright validate {cluster}") };
        return session.next("Next:", &command, None);
    }
    let place = outcome::goes_on_at(&report.outcome);
    let skipped = report.outcome.skipped.len();
    let remark = place.or_else(|| (skipped > 0).then(|| format!("goes on with the {} left", count(skipped, "action"))));
    session.next("Next:", again, remark.as_deref());
}

/// How long the second interrupt may take to give the lock back.
const GOODBYE: Duration = Duration::from_secs(3);

/// The second interrupt: what was under way may or may not have happened, and the state knows what to ask AWS about.
pub async fn stopped_at_once(session: &Session<'_>, env: &Env, cluster: &str, again: &str) -> u8 {
    session.say(
        "Stopped at once. Calls that were under way may have been carried out; the state lists them, and the next run settles \
         them first.",
    );
    match tokio::time::timeout(GOODBYE, give_back(env, cluster)).await {
        Ok(Ok(())) => session.next("Next:", again, Some("goes on where this run stopped")),
        Ok(Err(_)) | Err(_) => {
            session.next("Next:", again, Some("takes over the lock that this run leaves behind, and goes on"));
        }
    }
    exit::INTERRUPTED
}

/// Breaks the lock of this very process: its work is over, and what is still under way is fenced by the break.
async fn give_back(env: &Env, cluster: &str) -> Result<(), OperationError> {
    let store = env.store(cluster)?;
    match store.lock_status().await? {
        Some(held) if held.pid == env.pid && held.host == env.host => store.lock_break().await.map(drop).map_err(Into::into),
        Some(_) | None => Ok(()),
    }
}
