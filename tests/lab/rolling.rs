//! A rolling update of real Kubernetes: three control planes and three workers, asked all the time while they are replaced.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::account::account;
use crate::cluster::{Cluster, HA};
use crate::kubernetes;
use crate::lab::Lab;

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

    // As kubectl does it: any address that the name has.
    let (over, asked, failed) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let done = cluster.try_kubectl(&["get", "--raw=/readyz", "--request-timeout=5s"]);
                asked.fetch_add(1, Ordering::Relaxed);
                failed.fetch_add(u32::from(done.code != Some(0)), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(100));
            }
        });
        let rolled = cluster.run(&["rolling-update", name, "--yes"]);
        over.store(true, Ordering::Relaxed);
        rolled.expect(0).says(&["Rolled after", "6 created, 6 deleted"]);
    });
    let (asked, failed) = (asked.into_inner(), failed.into_inner());
    println!("{failed} of {asked} questions to the API failed");
    assert!(failed * 20 <= asked, "{failed} of {asked} questions to the API failed");

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
