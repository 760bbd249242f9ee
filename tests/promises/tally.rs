//! What was tried and what did not hold: the table at the end, and which calls were hit by what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use libtest_mimic::Failed;

use crate::gate::{At, Site};
use crate::trouble::{TROUBLES, Trouble};

/// One promise: how many points were tried, and the violations.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub points: usize,
    pub violations: Vec<String>,
}

static TABLE: Mutex<BTreeMap<&'static str, Tally>> = Mutex::new(BTreeMap::new());
static HITS: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());

/// Part of a point's name: only points with it are tried.
pub fn wanted(point: &str) -> bool {
    std::env::var("KUBEWRIGHT_POINT").map_or(true, |part| point == part || point.starts_with(&format!("{part} ")))
}

impl Tally {
    /// One point: `broken` says what does not hold.
    pub fn point(&mut self, name: &str, broken: Option<String>) {
        self.points += 1;
        if let Some(what) = broken {
            self.violations.push(format!("{name}: {what}\n  again: KUBEWRIGHT_POINT='{name}' ./test promises"));
        }
    }

    pub fn add(&mut self, other: Self) {
        self.points += other.points;
        self.violations.extend(other.violations);
    }

    /// Puts it into the table; the first violations fail the test.
    pub fn end(self, promise: &'static str) -> Result<(), Failed> {
        let shown = self.violations.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
        let (points, count) = (self.points, self.violations.len());
        TABLE.lock().unwrap_or_else(PoisonError::into_inner).entry(promise).or_default().add(self);
        if count > 0 {
            return Err(format!("{count} of {points} points of {promise} do not hold\n{shown}").into());
        }
        if points == 0 && std::env::var_os("KUBEWRIGHT_POINT").is_none() {
            return Err(format!("{promise} tried nothing").into());
        }
        Ok(())
    }
}

static MISSED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What became of the promises without a protection.
pub fn missed(off: crate::weak::Off, tally: &Tally) {
    let line = format!("without {off:?}: {} of {} points broken", tally.violations.len(), tally.points);
    MISSED.lock().unwrap_or_else(PoisonError::into_inner).push(line);
}

pub fn hit(site: &Site, by: &str) {
    HITS.lock().unwrap_or_else(PoisonError::into_inner).insert((site.to_string(), by.to_owned()));
}

pub fn of_kill(at: At) -> String {
    format!("kill {at:?}")
}

/// Places that no command of these lives reaches, and why.
const UNREACHED: [(&str, &str); 8] = [
    ("store:delete-snapshot", "only where there are too many of them: tests/scenario/saved.rs"),
    ("node:delete-pods", "only where a spec says so and a budget keeps pods: tests/scenario/drains.rs"),
    ("ec2:DescribeNetworkInterfaces", "asked only of a delete that something of others holds: tests/scenario/faults.rs"),
    ("store:put-damaged", "only where a damaged state is put aside: tests/scenario/damage.rs"),
    ("node:upgrade-first", "killed at every task and every write of an upgrade: tests/scenario/upgrade_kills.rs"),
    ("node:upgrade", "the same"),
    ("node:fetch", "the same"),
    ("node:uncordon", "only where a roll is given up: tests/scenario/rolling.rs"),
];

/// Places that were never killed, or never hit by a trouble that can happen there.
pub fn unhit() -> Vec<String> {
    let hits = HITS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut missing = vec![];
    for site in Site::all() {
        let name = site.to_string();
        if UNREACHED.iter().any(|(unreached, _)| *unreached == name) {
            continue;
        }
        let has = |by: &str| hits.contains(&(name.clone(), by.to_owned()));
        let killed = ["kill Before", "kill Committed"].into_iter().any(has);
        if !killed {
            missing.push(format!("{name}: never killed"));
        }
        for trouble in TROUBLES.into_iter().filter(|trouble: &Trouble| trouble.can_happen_to(&site)) {
            if !has(&format!("{trouble:?}")) {
                missing.push(format!("{name}: never {trouble:?}"));
            }
        }
    }
    missing
}

pub fn print() {
    let table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    println!("\n{:<58} {:>8} {:>11}", "promise", "points", "violations");
    for (promise, tally) in table.iter() {
        println!("{promise:<58} {:>8} {:>11}", tally.points, tally.violations.len());
    }
    for line in MISSED.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        println!("{line}");
    }
    let hits = HITS.lock().unwrap_or_else(PoisonError::into_inner);
    let sites: BTreeSet<&String> = hits.iter().map(|(site, _)| site).collect();
    println!(
        "places where a run touches the world: {} known, {} reached, {} pairs of place and trouble",
        Site::all().len(),
        sites.len(),
        hits.len()
    );
}
