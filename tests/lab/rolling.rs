//! Rolling updates of real Kubernetes, three control planes and four workers, asked all the time while they are replaced: one that nothing
//! disturbs, and one that is killed in each of its phases and gone on with.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::account::account;
use crate::cluster::{Cluster, HA, Spec};
use crate::kubernetes;
use crate::lab::{Lab, until};
use crate::machine::machine;
use crate::probe::{Probe, assert_few_failed, now};

const LIMIT: Duration = Duration::from_secs(60);
/// Seven machines on two processors.
const ROLL: Duration = Duration::from_secs(1800);
/// A worker that is never behind: a program on it asks the workload's service through the whole roll.
const WATCH: &str = r#"
[[instance_group]]
name = "watch"
role = "node"
count = 1
machine_type = "t3.large"
image = "debian-12"
taints = ["watch=yes:NoSchedule"]
"#;
const WATCHER: &str = "watch-us-east-1a-1";

pub fn rolls(lab: &Lab) {
    let before = account(lab);
    let cluster = Cluster::real(lab, "roll", false);
    let name = cluster.name.as_str();
    let spec = Spec(cluster.spec(HA).count("nodes", 4).0 + WATCH);
    cluster.ok(&["create", "cluster", "-f", &cluster.write("roll.toml", &spec), "--yes"]).says(&["8 of 8 nodes Ready"]);
    cluster.assert_ready(8);
    kubernetes::deploy(&cluster);
    kubernetes::deploy_steady(&cluster);
    let watcher = machine(lab, WATCHER);
    let (api, service) = (Probe::api(&cluster), Probe::service(&cluster, &watcher, "steady"));
    let probes = [&api, &service];
    until("answers to both probes", LIMIT, || probes.iter().all(|probe| probe.answered_between(0.0, now())));

    let other = spec.set("name = \"control-plane\"", "machine_type", "\"t3.large\"");
    let other = other.set("name = \"nodes\"", "machine_type", "\"t3.xlarge\"");
    for (what, spec, change) in [
        ("undisturbed", &other, "machine type t3.medium -> t3.large"),
        ("killed in each phase", &spec, "machine type t3.large -> t3.medium"),
    ] {
        let old = nodes(&cluster);
        cluster.ok(&["update", name, "-f", &cluster.write("roll.toml", spec), "--yes"]);
        let dry = cluster.run(&["rolling-update", name, "--detailed-exitcode"]).expect(2);
        dry.says(&["7 of 8 machines behind", change, "etcd members healthy"]);

        let begun = now();
        let words = ["rolling-update", name, "--yes"];
        if what == "undisturbed" {
            cluster.run_within(&words, ROLL).expect(0).says(&["7 created, 7 deleted"]);
        } else {
            killed_in_each_phase(&cluster, &words);
        }
        let ended = now();
        println!("{what}: {:.0} s", ended - begun);
        assert_few_failed(&probes, begun, ended);

        cluster.assert_ready(8);
        let new = nodes(&cluster);
        assert_eq!(old.intersection(&new).collect::<Vec<_>>(), [&watcher.instance], "{old:?} {new:?}");
        for workload in ["daemonset/web", "deployment/shop", "deployment/steady"] {
            cluster.kubectl(&["rollout", "status", workload, "--timeout=120s"]);
        }
        cluster.assert_no_op();
        cluster.ok(&words).says(&["0 created, 0 deleted"]);
    }
    drop((api, service));
    cluster.ok(&["delete", "cluster", name, "--yes", "--purge"]).says(&["0 remain"]);
    account(lab).assert_same_as(&before);
}

fn nodes(cluster: &Cluster<'_>) -> BTreeSet<String> {
    cluster.kubectl_nodes().into_iter().map(|(node, _)| node).collect()
}

/// Kills the command as soon as it says something of a kind that no run before it said, and starts it again, until one ends by itself.
fn killed_in_each_phase(cluster: &Cluster<'_>, words: &[&str]) {
    let mut seen = BTreeSet::new();
    let mut killed = 0;
    loop {
        let mut child = cluster.start(words);
        let (mut phases, mut ended) = (BTreeSet::new(), None);
        until("a phase that is new", ROLL, || {
            phases = cluster.said().lines().filter_map(phase).collect::<BTreeSet<_>>();
            ended = child.try_wait().expect("a status");
            ended.is_some() || !phases.is_subset(&seen)
        });
        if let Some(status) = ended {
            assert!(status.success(), "{status}: {}", cluster.said());
            break;
        }
        child.kill().expect("kill");
        child.wait().expect("an end");
        killed += 1;
        println!("killed in {:?}", phases.difference(&seen).collect::<Vec<_>>());
        seen.append(&mut phases);
    }
    println!("killed {killed} times");
    for role in ["control-plane", "nodes"] {
        for what in ["created", "join", "cordon", "evict", "forget", "deleted"] {
            assert!(seen.contains(&(role.to_owned(), what.to_owned())), "{role} {what}: {seen:?}");
        }
    }
}

/// The group, and the step or deed: lines are `TIME SLOT step NAME (...)`, or `TIME created instance SLOT ...`.
fn phase(line: &str) -> Option<(String, String)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (slot, what) = match words[..] {
        [_, slot, "step", name, ..] => (slot, name),
        [_, deed, "instance", slot, ..] => (slot, deed),
        _ => return None,
    };
    let group = ["control-plane", "nodes"].into_iter().find(|group| slot.starts_with(group))?;
    Some((group.to_owned(), what.to_owned()))
}
