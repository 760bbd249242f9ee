//! Several processes on one cluster at once.

use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::json;

use crate::account::Account;
use crate::lives::{Cluster, NAME, Verb};
use crate::points::{Calm, store};
use crate::run::{End, Run};
use crate::table;

const RUNS: usize = 8;
const LIMIT: Duration = Duration::from_secs(180);

/// A cluster whose making was killed early: most of it is left to do.
fn half_made(account: &Account, on_s3: bool) -> Result<Cluster<'_>, String> {
    let cluster = Cluster::new(account, on_s3);
    let nth = if on_s3 { 12 } else { 5 };
    let _fault = account.fault(nth, &json!({"mode": "signal", "signal": "KILL", "when": "after"}));
    let mut run = cluster.start(Verb::Create);
    match run.end() {
        End::Signal => Ok(cluster),
        end => Err(format!("the first run ended with {end:?}:\n{}", run.said())),
    }
}

/// The same command by all at once.
fn begin<'a>(cluster: &Cluster<'a>, words: &[&str]) -> Vec<Run<'a>> {
    cluster.account.forget_calls();
    (0..RUNS).map(|_| cluster.begin(words)).collect()
}

/// One of them does the work, the others say who does.
pub fn at_once(on_s3: bool) -> Result<(), Failed> {
    let calm = Calm::of(on_s3)?;
    let account = Account::new();
    let cluster = half_made(&account, on_s3)?;
    let row = |what: &str| (what.to_owned(), store(on_s3));

    let mut runs = begin(&cluster, &["update", NAME, "--yes"]);
    let deadline = Instant::now() + LIMIT;
    let mut refused = 0;
    while runs.len() > 1 && Instant::now() < deadline {
        runs.retain_mut(|run| match run.ended() {
            Some(end) => {
                let said = run.said();
                refused += usize::from(end == End::Code(4) && said.contains("is locked by another run") && said.contains("pid "));
                if end != End::Code(4) {
                    table::gave_up(&format!("one of {RUNS} updates: {end:?}"), &said);
                }
                false
            }
            None => true,
        });
        std::thread::sleep(Duration::from_millis(50));
    }
    if refused != RUNS - 1 {
        return Err(format!("{refused} of {} say who holds the lock, {} still run", RUNS - 1, runs.len()).into());
    }
    let mut winner = runs.pop().ok_or("nobody is left")?;
    match (winner.end(), winner.stop()) {
        (End::Idle, End::Code(130)) => {}
        ends => return Err(format!("the one that does the work ended with {ends:?}:\n{}", winner.said()).into()),
    }
    if let Some(what) = cluster.look(Verb::Create)?.differs(calm.look(Verb::Create)) {
        return Err(what.into());
    }
    table::tried_race(row("8 updates at once"));

    let mut runs = begin(&cluster, &Cluster::words(Verb::Delete));
    let ends: Vec<End> = runs.iter_mut().map(Run::done).collect();
    let said = || runs.iter().map(Run::said).collect::<Vec<_>>().join("\n---\n");
    let decent = |run: &Run<'_>, end: End| match end {
        End::Code(0 | 4) => true,
        End::Code(1) => run.said().contains("there is no cluster"),
        _ => false,
    };
    if !ends.contains(&End::Code(0)) || !runs.iter().zip(&ends).all(|(run, end)| decent(run, *end)) {
        return Err(format!("8 deletes ended with {ends:?}:\n{}", said()).into());
    }
    cluster.look(Verb::Delete)?;
    table::tried_race(row("8 deletes at once"));
    Ok(())
}

/// With `--lock-wait` they come one after the other; each is ended when there is nothing left for it to do.
pub fn in_turn(on_s3: bool) -> Result<(), Failed> {
    let calm = Calm::of(on_s3)?;
    let account = Account::new();
    let cluster = half_made(&account, on_s3)?;
    let mut runs = begin(&cluster, &["update", NAME, "--yes", "--lock-wait", "5m"]);
    let deadline = Instant::now() + LIMIT;
    while !runs.is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(200));
        if let Some(run) = runs.iter_mut().find_map(|run| run.ended().map(|end| (end, run.said()))) {
            return Err(format!("one of those that wait ended with {run:?}").into());
        }
        if !account.idles() {
            continue;
        }
        let holder = holder(&cluster)?;
        let Some(place) = runs.iter().position(|run| run.pid() == holder) else {
            return Err(format!("the lock's holder, {holder}, is none of them").into());
        };
        if let Some(what) = account_differs(&account, &calm) {
            return Err(what.into());
        }
        account.forget_calls();
        // Its lock is a dead process's: the next one takes it over.
        runs.swap_remove(place).kill();
    }
    if !runs.is_empty() {
        return Err(format!("{} of {RUNS} never had their turn", runs.len()).into());
    }
    cluster.ends_well(Verb::Create)?;
    if let Some(what) = cluster.look(Verb::Create)?.differs(calm.look(Verb::Create)) {
        return Err(what.into());
    }
    cluster.ends_well(Verb::Delete)?;
    cluster.look(Verb::Delete)?;
    table::tried_race(("8 updates in turn".into(), store(on_s3)));
    Ok(())
}

fn account_differs(account: &Account, calm: &Calm) -> Option<String> {
    let now = account.shape();
    (now != calm.look(Verb::Create).shape).then(|| format!("with one run at work: {now:#?}"))
}

/// Process that holds the lock, as `lock status` shows it.
fn holder(cluster: &Cluster<'_>) -> Result<u32, String> {
    let mut run = cluster.begin(&["lock", "status", NAME]);
    let end = run.done();
    let said = run.said();
    let pid = said.split_once("pid ").and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    pid.ok_or_else(|| format!("lock status ended with {end:?} and names no process:\n{said}"))
}
