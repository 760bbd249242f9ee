//! Runs that end in the middle.

use serde_json::Value;

use crate::account::{account, of_one_zone};
use crate::cluster::{Cluster, MINIMAL};
use crate::lab::Lab;

/// Sends a signal to kubewright at its n-th changing call from now on, the store's own writes included.
fn signal_at(lab: &Lab, signal: &str, nth: u32, when: &str) {
    lab.ask(&["fault", "clear"]);
    let nth = nth.to_string();
    lab.ask(&["fault", "add", "--kind", "change", "--nth", &nth, "--mode", "signal", "--signal", signal, "--when", when]);
}

fn was_hit(lab: &Lab) -> bool {
    let faults = lab.ask(&["fault", "list"]);
    faults.lines().any(|line| serde_json::from_str::<Value>(line).is_ok_and(|fault| fault["hit"] == 1))
}

/// Kills a run at each of these calls, one run after another on the same cluster; each goes on where the one before was killed.
fn killed_at(cluster: &Cluster<'_>, words: &[&str], calls: &[u32]) {
    for (turn, nth) in calls.iter().enumerate() {
        let when = if turn % 2 == 0 { "after" } else { "before" };
        signal_at(cluster.lab, "KILL", *nth, when);
        let done = cluster.run(words);
        assert_eq!((done.code, was_hit(cluster.lab)), (None, true), "call {nth} ({when}): {done:?}");
        cluster.lab.ask(&["fault", "clear"]);
        // A dead run cannot give its lock back; who comes next is told whose it is.
        cluster.run(words).expect(4).says(&["is locked by another run", "lock"]);
        cluster.ok(&["lock", "break", &cluster.name, "--yes"]);
    }
}

pub fn killed(lab: &Lab) {
    let before = account(lab);
    let cluster = Cluster::new(lab, "crash", true);
    let name = cluster.name.as_str();
    let file = cluster.write("crash.toml", &cluster.spec(MINIMAL));
    let create = ["create", "cluster", "-f", &file, "--yes"];
    killed_at(&cluster, &create, &[4, 6, 8, 10, 12, 7]);

    signal_at(lab, "INT", 6, "after");
    let stopped = cluster.run(&create).expect(130);
    assert!(was_hit(lab));
    lab.ask(&["fault", "clear"]);
    stopped.says(&["Next:", &format!("kubewright update {name} --yes")]);
    cluster.update().expect(0).says(&["2 of 2 nodes Ready"]);
    assert_eq!(of_one_zone(1, 1), account(lab).without("object").more_than_but_rules(&before), "something was made twice");
    cluster.assert_ready(2);
    cluster.assert_no_op();

    let delete = ["delete", "cluster", name, "--purge", "--yes"];
    killed_at(&cluster, &delete, &[4, 9]);
    cluster.ok(&delete).says(&["0 remain"]);
    account(lab).assert_same_as(&before);
}
