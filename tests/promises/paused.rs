//! A process that was stopped, and whose lock another one took, does no harm when it goes on (P4).

use crate::gate::{Gate, Script, Site};
use crate::lives::{Calm, Life, converges, converges_to, shown};
use crate::rig::{Ended, Rig, Without};
use crate::tally::{Tally, wanted};

/// Stopped at each call in turn; a second process takes over and ends the work; then the first goes on.
pub async fn p4(life: Life, without: Without) -> Tally {
    let calm = Calm::of(life, 1).await;
    let mut tally = Tally::default();
    for (n, site) in calm.sites.iter().enumerate() {
        let point = format!("p4 {} {} {site}", life.name, n + 1).to_lowercase();
        // Before it has the lock it is a process like any other, and may have its turn later.
        if !wanted(&point) || !site.changes() || *site == Site::Store("put", "lock") {
            continue;
        }
        tally.point(&point, overtaken(life, &calm, n + 1, without).await.err());
    }
    tally
}

async fn overtaken(life: Life, calm: &Calm, call: usize, without: Without) -> Result<(), String> {
    let mut rig = Rig::at(&calm.start).await;
    rig.without = without;
    let gate = Gate::new(Script { pause: Some(call), ..Script::default() });
    let args = life.args(&rig);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let first = rig.run_through(&args, std::sync::Arc::clone(&gate));
    tokio::pin!(first);
    tokio::select! {
        biased;
        () = gate.stopped() => {}
        (ended, _) = &mut first => return Err(format!("it was not stopped: {}", shown(&ended))),
    }
    // Longer than a lock is fresh.
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    converges(life, &rig, calm).await?;
    let (account, stored) = rig.world.everything().await;
    gate.go_on();
    let (ended, _) = first.await;
    match &ended {
        Ended::Code(_) => {}
        ended => return Err(format!("the first process: {}", shown(ended))),
    }
    let (account_now, stored_now) = rig.world.everything().await;
    let changed: Vec<&String> =
        stored_now.iter().filter(|(key, bytes)| stored.get(*key) != Some(*bytes)).map(|(key, _)| key).collect();
    // What it had sent before it was stopped may arrive; it starts nothing else.
    let late: Vec<Site> = gate.late().into_iter().filter(|site| matches!(site, Site::Cloud(..) | Site::Node(_))).collect();
    if !changed.is_empty() && stored_now.iter().any(|(key, bytes)| key.ends_with("state.json") && stored.get(key) != Some(bytes))
    {
        return Err(format!("it wrote {changed:?} afterwards"));
    }
    if !late.is_empty() {
        return Err(format!("it called {late:?} afterwards"));
    }
    if account != account_now {
        // The one call in which it was stopped: the next look mends it, once it is found by its tags.
        tokio::time::sleep(std::time::Duration::from_secs(30)).await;
        return converges_to(life, &rig, calm).await.map_err(|error| format!("what it did last stays: {error}"));
    }
    Ok(())
}
