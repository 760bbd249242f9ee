//! Runs that end in the middle: each cluster's creation is killed at another call, then all go on where they were killed.

use std::collections::BTreeMap;
use std::thread;

use serde_json::Value;

use crate::account::{account, of_one_zone};
use crate::cluster::{Cluster, Done, MINIMAL};
use crate::lab::Lab;

/// `(signal, number of the changing call, before or after it is carried out, whether the state is on S3)`. On S3 the writes of the
/// state count as well.
const ENDS: [(&str, u32, &str, bool); 7] = [
    ("KILL", 3, "after", false),
    ("KILL", 8, "before", false),
    ("KILL", 14, "after", false),
    ("KILL", 6, "before", true),
    ("KILL", 17, "after", true),
    ("KILL", 30, "before", true),
    ("INT", 12, "after", true),
];

/// Runs a command that gets a signal at its n-th changing call.
pub fn ended_at(cluster: &Cluster<'_>, words: &[&str], (signal, nth, when): (&str, u32, &str)) -> Done {
    let number = nth.to_string();
    let fault = ["fault", "add", "--kind", "change", "--nth", &number, "--mode", "signal", "--signal", signal, "--when", when];
    cluster.lab.ask(&fault);
    let done = cluster.run(words);
    let faults = cluster.lab.ask(&["fault", "list"]);
    let hit = faults.lines().any(|line| serde_json::from_str::<Value>(line).is_ok_and(|fault| fault["hit"] == 1));
    assert!(hit, "there was no call {nth}: {done:?}");
    cluster.lab.ask(&["fault", "clear"]);
    match signal {
        "INT" => done.says(&["Next:", &format!("kubewright update {} --yes", cluster.name)]),
        // A dead run cannot give its lock back; who comes next takes it over.
        _ => assert_eq!(done.code, None, "call {nth} ({when}): {done:?}"),
    }
    done
}

/// The same for all clusters at once.
fn at_once(clusters: &[Cluster<'_>], act: impl Fn(&Cluster<'_>) + Sync) {
    thread::scope(|scope| {
        for cluster in clusters {
            scope.spawn(|| act(cluster));
        }
    });
}

pub fn ended(lab: &Lab) {
    let before = account(lab);
    let mut clusters = Vec::new();
    for (n, (signal, nth, when, on_s3)) in ENDS.into_iter().enumerate() {
        let cluster = Cluster::new(lab, &format!("crash-{n}"), on_s3);
        // In one lab machines of several networks meet.
        let spec = cluster.spec(MINIMAL).count("nodes", 0).set("[network]", "cidr", &format!("\"10.{}.0.0/16\"", 30 + n));
        let file = cluster.write("spec.toml", &spec);
        let done = ended_at(&cluster, &["create", "cluster", "-f", &file, "--yes"], (signal, nth, when));
        assert_eq!(done.code, (signal == "INT").then_some(130), "{done:?}");
        clusters.push(cluster);
    }

    at_once(&clusters, |cluster| {
        let file = cluster.path("spec.toml");
        match cluster.name.starts_with("crash-6.") {
            true => cluster.ok(&["update", &cluster.name, "--yes"]),
            false => cluster.ok(&["create", "cluster", "-f", &file, "--yes"]),
        }
        .says(&["1 of 1 node Ready"]);
    });
    let each = of_one_zone(1, 0).into_iter().map(|(kind, count)| (kind, count * ENDS.len()));
    let now = account(lab).without("object");
    assert_eq!(now.more_than_but_rules(&before), each.collect::<BTreeMap<_, _>>(), "something is missing or was made twice");
    for cluster in &clusters {
        cluster.assert_no_op();
    }
    clusters[0].assert_ready(1);

    for (n, nth) in [(1, 4), (4, 9)] {
        let cluster = &clusters[n];
        ended_at(cluster, &["delete", "cluster", &cluster.name, "--purge", "--yes"], ("KILL", nth, "after"));
    }
    at_once(&clusters, |cluster| {
        cluster.ok(&["delete", "cluster", &cluster.name, "--purge", "--yes"]).says(&["0 remain"]);
    });
    account(lab).assert_same_as(&before);
}
