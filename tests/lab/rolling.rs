//! A rolling update of real Kubernetes: three control planes and three workers, asked all the time while they are replaced.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::account::account;
use crate::cluster::{Cluster, HA};
use crate::kubernetes;
use crate::lab::{Lab, until};
use crate::probe::{Probe, now};

const LIMIT: Duration = Duration::from_secs(60);

pub fn rolls(lab: &Lab) {
    let before = account(lab);
    let cluster = Cluster::real(lab, "roll", false);
    let name = cluster.name.as_str();
    let spec = cluster.spec(HA);
    cluster.ok(&["create", "cluster", "-f", &cluster.write("roll.toml", &spec), "--yes"]).says(&["6 of 6 nodes Ready"]);
    cluster.assert_ready(6);
    kubernetes::deploy(&cluster);
    let old: BTreeSet<String> = cluster.kubectl_nodes().into_iter().map(|(node, _)| node).collect();

    let other = spec.set("name = \"control-plane\"", "machine_type", "\"t3.large\"");
    let other = other.set("name = \"nodes\"", "machine_type", "\"t3.xlarge\"");
    cluster.ok(&["update", name, "-f", &cluster.write("other.toml", &other), "--yes"]);
    let dry = cluster.run(&["rolling-update", name, "--detailed-exitcode"]).expect(2);
    dry.says(&["6 of 6 machines behind", "machine type t3.medium -> t3.large", "etcd members healthy"]);

    let probe = Probe::api(&cluster);
    until("an answer to the probe", LIMIT, || probe.answered_between(0.0, now()));
    let begun = now();
    cluster.run(&["rolling-update", name, "--yes"]).expect(0).says(&["Rolled after", "6 created, 6 deleted"]);
    let ended = now();
    println!("{}", probe.figures(begun, ended));
    probe.failures(begun).iter().for_each(|line| println!("    {line}"));
    let (asked, failed) = probe.counts(begun, ended);
    assert!(failed * 20 <= asked, "{failed} of {asked} questions to the API failed");
    drop(probe);

    cluster.assert_ready(6);
    let new: BTreeSet<String> = cluster.kubectl_nodes().into_iter().map(|(node, _)| node).collect();
    assert!(old.is_disjoint(&new), "{old:?} {new:?}");
    for what in ["daemonset/web", "deployment/shop"] {
        cluster.kubectl(&["rollout", "status", what, "--timeout=120s"]);
    }
    cluster.assert_no_op();
    cluster.ok(&["rolling-update", name, "--yes"]).says(&["0 created, 0 deleted"]);
    cluster.ok(&["delete", "cluster", name, "--yes", "--purge"]).says(&["0 remain"]);
    account(lab).assert_same_as(&before);
}
