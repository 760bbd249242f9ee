//! `upgrade`.

use tokio_util::sync::CancellationToken;

use crate::cli::args::{UpgradeArgs, cluster_in};
use crate::cli::command::change::stopped_at_once;
use crate::cli::command::rolling::{ended, planned};
use crate::cli::progress::Progress;
use crate::cli::render::{outcome, upgrade};
use crate::cli::session::{Refusal, Session};
use crate::operation::{Env, UpgradeRequest, apply_upgrade, prepare_upgrade};
use crate::report::Trouble;

pub async fn run(session: &Session<'_>, args: UpgradeArgs) -> Result<u8, Refusal> {
    let given = cluster_in(&args.words).map_err(Refusal::Usage)?;
    let env = session.env().await?;
    let name = env.name(session.cluster(given).as_deref()).await?;
    let UpgradeArgs { to, via, bundles, force, yes, detailed_exitcode, .. } = args;
    let flags: String = via
        .iter()
        .map(|via| format!(" --via {via}"))
        .chain(bundles.iter().map(|bundle| format!(" --bundle {}", bundle.display())))
        .chain(force.then(|| " --force".to_owned()))
        .collect();
    let command = format!("kubewright upgrade {name} --to {to}{flags}");
    let absolute = |path: &std::path::PathBuf| {
        let failed = |error: std::io::Error| Trouble::new(format!("{}: {error}", path.display()));
        std::path::absolute(path).map_err(failed)
    };
    let bundles = bundles.iter().map(absolute).collect::<Result<_, _>>()?;
    let request = UpgradeRequest { name: Some(name), to, via, bundles, force };
    match yes {
        true => apply(session, &env, &request, &command).await,
        false => dry_run(session, &env, &request, &command, detailed_exitcode).await,
    }
}

async fn dry_run(
    session: &Session<'_>,
    env: &Env,
    request: &UpgradeRequest,
    command: &str,
    detailed: bool,
) -> Result<u8, Refusal> {
    let prepared = prepare_upgrade(env, request).await?;
    let whole = session.global.verbose > 0;
    session.show(&upgrade::json(&prepared), || upgrade::page(&prepared, session.ui.width(), whole))?;
    let (blocked, nothing) = (prepared.hops.iter().find_map(|hop| hop.end.stop()), prepared.hops.is_empty());
    Ok(planned(session, &prepared.cluster, blocked, nothing, ("To upgrade", command), detailed))
}

async fn apply(session: &Session<'_>, env: &Env, request: &UpgradeRequest, command: &str) -> Result<u8, Refusal> {
    let progress = Progress::begin(&session.ui, session.outside.clock());
    let stop = CancellationToken::new();
    let done = session.interruptible(&progress, &stop, apply_upgrade(env, request, progress.sink(), stop.clone())).await;
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
    session.show(&upgrade::done_json(&report), || upgrade::done(&report, width))?;
    Ok(ended(session, &report.cluster, &report.end, &report.outcome, &again, ""))
}
