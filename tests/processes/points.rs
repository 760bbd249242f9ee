//! Every point: a kind of trouble, a store, and the number of the call that it happens to.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::account::Account;
use crate::lives::{Cluster, Look, NAME, VERBS, Verb};
use crate::run::{End, Run};
use crate::table::{self, Row};

/// Clusters worked on at the same time: after a kill the next run looks a minute for what may have been made, and needs no processor for it.
const LANES: usize = 16;
/// Every how manieth number is tried in a sample, and from where on.
const STRIDE: usize = 41;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    KillBefore,
    KillAfter,
    StopBefore,
    StopAfter,
    TermBefore,
    TermAfter,
    DropAfter,
}

const KINDS: [(Kind, &str); 7] = [
    (Kind::KillBefore, "kill-before"),
    (Kind::KillAfter, "kill-after"),
    (Kind::StopBefore, "stop-before"),
    (Kind::StopAfter, "stop-after"),
    (Kind::TermBefore, "term-before"),
    (Kind::TermAfter, "term-after"),
    (Kind::DropAfter, "drop-after"),
];

impl Kind {
    fn fault(self) -> Value {
        let signal = |signal: &str, when: &str| json!({"mode": "signal", "signal": signal, "when": when});
        match self {
            Self::KillBefore => signal("KILL", "before"),
            Self::KillAfter => signal("KILL", "after"),
            Self::StopBefore => signal("STOP", "before"),
            Self::StopAfter => signal("STOP", "after"),
            Self::TermBefore => signal("TERM", "before"),
            Self::TermAfter => signal("TERM", "after"),
            Self::DropAfter => json!({"mode": "drop-after"}),
        }
    }
}

/// The n-th call that changes something, of each command of a cluster's life.
#[derive(Clone, Copy, Debug)]
struct Point {
    kind: Kind,
    name: &'static str,
    on_s3: bool,
    nth: usize,
}

pub fn store(on_s3: bool) -> &'static str {
    if on_s3 { "s3" } else { "file" }
}

/// A life without trouble: how many calls change something in each command, and how it looks after it.
pub struct Calm {
    changes: BTreeMap<Verb, usize>,
    looks: BTreeMap<Verb, Look>,
}

impl Calm {
    pub fn of(on_s3: bool) -> Result<Self, String> {
        let account = Account::new();
        let cluster = Cluster::new(&account, on_s3);
        let mut calm = Self { changes: BTreeMap::new(), looks: BTreeMap::new() };
        for verb in VERBS {
            cluster.ends_well(verb)?;
            calm.changes.insert(verb, account.calls().iter().filter(|call| call.change).count());
            calm.looks.insert(verb, cluster.look(verb)?);
        }
        Ok(calm)
    }

    pub fn look(&self, verb: Verb) -> &Look {
        &self.looks[&verb]
    }
}

/// All of them, or a sample; `KUBEWRIGHT_POINTS=all` asks for all.
pub fn all() -> Result<(), Failed> {
    let every = std::env::var("KUBEWRIGHT_POINTS").is_ok_and(|which| which == "all");
    let only = std::env::var("KUBEWRIGHT_POINT").ok();
    let calm = [Calm::of(false)?, Calm::of(true)?];
    let mut points = vec![];
    for (k, (kind, name)) in KINDS.into_iter().enumerate() {
        for on_s3 in [false, true] {
            // Writes of the state merge by chance, so that a run may have some calls more than another.
            let last = calm[usize::from(on_s3)].changes.values().max().unwrap_or(&0) + 2;
            let tried = |nth: &usize| every || only.is_some() || nth % STRIDE == (2 * k + usize::from(on_s3)) % STRIDE;
            points.extend((1..=last).filter(tried).map(|nth| Point { kind, name, on_s3, nth }));
        }
    }
    let named = |point: &Point| format!("{} {} {}", point.name, store(point.on_s3), point.nth);
    points.retain(|point| only.as_ref().is_none_or(|only| only.split(',').any(|one| one.trim() == named(point))));
    if points.is_empty() {
        return Err("there is no such point".into());
    }
    let (next, violations) = (AtomicUsize::new(0), Mutex::new(vec![]));
    thread::scope(|scope| {
        for _ in 0..LANES.min(points.len()) {
            scope.spawn(|| {
                let mut account = Account::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(point) = points.get(number) else { break };
                    if every && number.is_multiple_of(LANES) {
                        eprintln!("{number} of {} points begun", points.len());
                    }
                    let broken = life(&account, *point, &calm[usize::from(point.on_s3)]);
                    if let Err((verb, what)) = broken {
                        let name = named(point);
                        table::violation(&row(*point, verb));
                        let again = format!("again: KUBEWRIGHT_POINT='{name}' ./test processes");
                        violations.lock().expect("no panic").push(format!("{name}, {verb:?}: {what}\n  {again}"));
                        // What is left in this one is no concern of the next point.
                        account = Account::new();
                    }
                }
            });
        }
    });
    let violations = violations.into_inner().expect("no panic");
    match violations.len() {
        0 => Ok(()),
        count => Err(format!("{count} violations\n{}", violations.into_iter().take(10).collect::<Vec<_>>().join("\n")).into()),
    }
}

fn row(point: Point, verb: Verb) -> Row {
    (point.name, format!("{verb:?}").to_lowercase(), store(point.on_s3))
}

/// A whole life of a cluster whose every command has the same trouble at its n-th call.
fn life(account: &Account, point: Point, calm: &Calm) -> Result<(), (Verb, String)> {
    let cluster = Cluster::new(account, point.on_s3);
    for verb in VERBS {
        let at = |what: String| (verb, what);
        // Where an undisturbed run has no such call, there may be one by chance; else this is only the way to the next command.
        if point.nth <= calm.changes[&verb] + 2 && disturbed(&cluster, verb, point.kind, point.nth).map_err(at)? {
            table::tried(&row(point, verb));
        }
        cluster.ends_well(verb).map_err(at)?;
        if let Some(what) = cluster.look(verb).map_err(at)?.differs(calm.look(verb)) {
            return Err((verb, what));
        }
    }
    Ok(())
}

/// A command with its trouble; says whether it came to that.
fn disturbed(cluster: &Cluster<'_>, verb: Verb, kind: Kind, nth: usize) -> Result<bool, String> {
    let fault = cluster.account.fault(nth, &kind.fault());
    let mut run = cluster.start(verb);
    if matches!(kind, Kind::StopBefore | Kind::StopAfter) {
        return match run.follow(|| fault.has_hit()) {
            None => overtaken(cluster, verb, run).map(|()| true),
            Some(end) if fault.has_hit() => Err(format!("a stopped run ended with {end:?}:\n{}", run.said())),
            Some(_) => Ok(false),
        };
    }
    let end = run.end();
    if !fault.has_hit() {
        return Ok(false);
    }
    let end = match (kind, end) {
        (Kind::KillBefore | Kind::KillAfter, End::Signal) => return Ok(true),
        // It had begun to wait for a machine, and is told a second time.
        (Kind::TermBefore | Kind::TermAfter, End::Idle) => run.stop(),
        (_, end) => end,
    };
    match (kind, end) {
        (Kind::TermBefore | Kind::TermAfter, End::Code(130)) => Ok(true),
        // It came with the last call.
        (Kind::TermBefore | Kind::TermAfter, End::Code(0)) if verb == Verb::Delete => Ok(true),
        (Kind::DropAfter, End::Idle) => {
            run.kill();
            Ok(true)
        }
        (Kind::DropAfter, End::Code(0)) if verb == Verb::Delete => Ok(true),
        (Kind::DropAfter, End::Code(code)) if code > 0 && run.said().contains("Next:") => {
            table::gave_up(&format!("{verb:?} {nth}"), &run.said());
            Ok(true)
        }
        (_, end) => Err(format!("it ended with {end:?}:\n{}", run.said())),
    }
}

/// Breaks the lock of a run that says nothing any more, and does its work.
fn taken_over(cluster: &Cluster<'_>, verb: Verb) -> Result<(), String> {
    let mut lock = cluster.begin(&["lock", "break", NAME, "--yes"]);
    let end = lock.done();
    // Before it was registered there is nothing to break.
    if end != End::Code(0) && !lock.said().contains("there is no cluster") {
        return Err(format!("lock break ended with {end:?}:\n{}", lock.said()));
    }
    cluster.ends_well(verb)
}

/// A run is frozen; another one takes over and does the work; then the first one goes on.
fn overtaken(cluster: &Cluster<'_>, verb: Verb, mut frozen: Run<'_>) -> Result<(), String> {
    if let Err(what) = taken_over(cluster, verb) {
        let words = what.split_whitespace().collect::<Vec<_>>().join(" ");
        if words.contains(&format!("process {} has held ", frozen.pid())) {
            // Frozen in the very moment of a write to a folder: nothing but its end gives the folder back, as the error says.
            frozen.kill();
            return taken_over(cluster, verb);
        }
        // A call that was on its way when the run was frozen may be carried out later: then its lock comes after the first break.
        if !words.contains(&format!("(pid {} on ", frozen.pid())) {
            return Err(what);
        }
        taken_over(cluster, verb)?;
    }
    cluster.account.forget_calls();
    frozen.send("CONT");
    match frozen.end() {
        End::Code(0) if verb != Verb::Delete => Err(format!("the old run says that all is done:\n{}", frozen.said())),
        End::Code(_) => Ok(()),
        // It had no lock yet, and got it now; or it waits for machines alone.
        End::Idle => match frozen.stop() {
            End::Code(_) => Ok(()),
            end => Err(format!("the old run ended with {end:?}:\n{}", frozen.said())),
        },
        end => Err(format!("the old run ended with {end:?}:\n{}", frozen.said())),
    }
}
