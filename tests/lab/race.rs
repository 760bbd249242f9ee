//! Several runs on one cluster at once.

use std::thread;

use crate::cluster::{Cluster, Done};

const RUNS: usize = 8;

/// The same change by several runs at once: one applies it, the others say who does. Gives the one that did.
pub fn one_applies(cluster: &Cluster<'_>, words: &[&str]) -> Done {
    let done: Vec<Done> = thread::scope(|scope| {
        let runs: Vec<_> = (0..RUNS).map(|_| scope.spawn(|| cluster.run(words))).collect();
        runs.into_iter().map(|run| run.join().expect("a run")).collect()
    });
    let (applied, refused): (Vec<Done>, Vec<Done>) = done.into_iter().partition(|done| done.code == Some(0));
    assert_eq!(applied.len(), 1, "{applied:#?}{refused:#?}");
    for done in refused {
        let done = done.expect(4);
        done.says(&[&format!("{} is locked by another run", cluster.name), "pid ", "update", "heartbeat", "lock status"]);
    }
    let done = cluster.ok(&["lock", "status", &cluster.name]);
    assert!(!done.out.contains("pid "), "the lock is left behind: {done:?}");
    applied.into_iter().next().expect("one")
}
