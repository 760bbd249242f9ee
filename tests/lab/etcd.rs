//! Snapshots of a real etcd: what was deleted since is back, also when every control plane was lost meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Cluster, HA};
use crate::crash::ended_at;
use crate::kubernetes;
use crate::lab::{Lab, until};
use crate::machine::machines;

const LIMIT: Duration = Duration::from_secs(180);

pub fn restores(lab: &Lab) {
    let cluster = Cluster::real(lab, "saved", true);
    let name = cluster.name.as_str();
    let spec = cluster.spec(HA).count("nodes", 1);
    cluster.ok(&["create", "cluster", "-f", &cluster.write("saved.toml", &spec), "--yes"]).says(&["4 of 4 nodes Ready"]);
    cluster.assert_ready(4);
    kubernetes::deploy(&cluster);
    cluster.ok(&["etcd", "status", name]).says(&["3 of 3 voting members healthy, quorum 2, 1 may be lost", "leader"]);

    cluster.kubectl(&["create", "configmap", "kept", "--from-literal=word=before"]);
    cluster.kubectl(&["create", "secret", "generic", "sealed", "--from-literal=word=open-sesame"]);
    let taken: Value = serde_json::from_str(&cluster.ok(&["etcd", "snapshot", name, "-o", "json"]).out).expect("JSON");
    let id = taken["snapshot"]["id"].as_str().expect("an id");
    assert!(taken["snapshot"]["size"].as_u64() > Some(1 << 20), "{taken}");
    assert_eq!(taken["snapshot"]["etcd"], "3.6.5");
    cluster.ok(&["etcd", "list", name]).says(&[id]);
    for machine in machines(lab).iter().filter(|machine| machine.slot.starts_with("control-plane")) {
        assert_eq!(
            machine.sh("find /var/lib/kubewright/etcd /var/lib/etcd -name '*.db' -path '*kubewright*' 2>/dev/null || true"),
            ""
        );
    }

    cluster.kubectl(&["delete", "configmap", "kept"]);
    cluster.kubectl(&["create", "configmap", "later", "--from-literal=word=after"]);
    cluster.ok(&["etcd", "restore", id, name]).says(&["everything that was written", "Nothing was changed"]);
    // On S3 the steps of a restore and its heartbeats count as calls that change something.
    for nth in [3, 4, 5] {
        ended_at(&cluster, &["etcd", "restore", id, name, "--yes"], ("KILL", nth, "after"));
    }
    cluster.ok(&["etcd", "restore", id, name, "--yes"]).says(&["Restored", "3 control planes"]);
    is_back(&cluster, 4);
    cluster.assert_no_op();

    // All control planes at once; the worker is left.
    let lost: BTreeSet<String> = planes(lab);
    for instance in &lost {
        let script = "curl -sS --fail-with-body --aws-sigv4 aws:amz:us-east-1:ec2 --user lab:lab -d \"$0&Version=2016-11-15\" \"$AWS_ENDPOINT_URL\"";
        let done = lab.exec(&["bash", "-c", script, &format!("Action=TerminateInstances&InstanceId.1={instance}")]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    }
    until("the machines to be gone", LIMIT, || planes(lab).is_empty());
    cluster.run(&["etcd", "restore", "latest", name, "--yes"]).expect(5).says(&["no control plane is left"]);
    cluster.ok(&["update", name]).says(&["all control planes are gone", "etcd restore latest"]);
    cluster.ok(&["update", name, "--yes"]).says(&["3 created"]);
    assert!(planes(lab).is_disjoint(&lost));
    assert!(cluster.kubectl_nodes().iter().all(|(node, _)| !lost.contains(node)));
    cluster.ok(&["etcd", "restore", "latest", name, "--yes"]).says(&["Restored", "Deleted Nodes whose machines are gone"]);
    is_back(&cluster, 4);
    let there: BTreeSet<String> = cluster.kubectl_nodes().into_iter().map(|(node, _)| node).collect();
    assert!(there.is_disjoint(&lost), "{there:?} {lost:?}");
    cluster.assert_no_op();
    cluster.ok(&["delete", "cluster", name, "--yes", "--purge"]).says(&["0 remain"]);
}

fn planes(lab: &Lab) -> BTreeSet<String> {
    let planes = machines(lab).into_iter().filter(|machine| machine.slot.starts_with("control-plane"));
    planes.map(|machine| machine.instance).collect()
}

/// What was there when the snapshot was taken is there, what came later is not, and everything works.
fn is_back(cluster: &Cluster<'_>, nodes: usize) {
    cluster.assert_ready(nodes);
    assert_eq!(cluster.kubectl(&["get", "configmap", "kept", "-o", "jsonpath={.data.word}"]), "before");
    assert_eq!(cluster.try_kubectl(&["get", "configmap", "later"]).code, Some(1));
    let sealed = cluster.kubectl(&["get", "secret", "sealed", "-o", "jsonpath={.data.word}"]);
    assert_eq!(sealed, "b3Blbi1zZXNhbWU=", "the key that Secrets are encrypted with is that of before");
    cluster.ok(&["etcd", "status", &cluster.name]).says(&["3 of 3 voting members healthy"]);
    // Pods of machines that are gone are still being collected.
    until("the pods of the system", LIMIT, || {
        ["kube-system", "kube-flannel"].iter().all(|namespace| {
            let words = ["-n", namespace, "wait", "--for=condition=Ready", "pods", "--all", "--timeout=5s"];
            cluster.try_kubectl(&words).code == Some(0)
        })
    });
    for what in ["daemonset/web", "deployment/shop"] {
        cluster.kubectl(&["rollout", "status", what, "--timeout=180s"]);
    }
    // Controllers see what is new.
    cluster.kubectl(&["rollout", "restart", "deployment/shop"]);
    cluster.kubectl(&["rollout", "status", "deployment/shop", "--timeout=180s"]);
    for plane in cluster.kubectl(&["get", "nodes", "-l", "node-role.kubernetes.io/control-plane", "-o", "name"]).lines() {
        let taints = cluster.kubectl(&["get", plane, "-o", "jsonpath={.spec.taints[*].key}"]);
        assert!(taints.contains("node-role.kubernetes.io/control-plane"), "{plane}: {taints}");
    }
}
