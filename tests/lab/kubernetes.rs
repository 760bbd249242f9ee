//! What a user of the cluster does: asked with the stock kubectl and the exported kubeconfig, never of kubewright.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::lab::until;
use crate::machine::{machine, machines};

const WORKLOADS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/lab/workloads/web.yaml");
#[cfg(feature = "real")]
const STEADY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/lab/workloads/steady.yaml");
const LIMIT: Duration = Duration::from_secs(180);

/// A pod of the DaemonSet `web`.
#[derive(Clone, Debug)]
pub struct Pod {
    pub name: String,
    pub node: String,
    pub address: String,
}

fn json(cluster: &Cluster<'_>, words: &[&str]) -> Value {
    serde_json::from_str(&cluster.kubectl(&[words, &["-o", "json"]].concat())).expect("JSON")
}

/// The pods of an app, sorted by their machines.
pub fn pods(cluster: &Cluster<'_>, app: &str) -> Vec<Pod> {
    let list = json(cluster, &["get", "pods", "-l", &format!("app={app}")]);
    let text = |pod: &Value, path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let items = list["items"].as_array().expect("a list").iter();
    let mut pods: Vec<Pod> = items
        .map(|pod| Pod {
            name: text(pod, "/metadata/name"),
            node: text(pod, "/spec/nodeName"),
            address: text(pod, "/status/podIP"),
        })
        .collect();
    pods.sort_by(|one, other| one.node.cmp(&other.node));
    pods
}

/// What a pod gets from an address within the network.
pub fn get(cluster: &Cluster<'_>, pod: &str, url: &str) -> Option<String> {
    let done = cluster.try_kubectl(&["exec", pod, "--request-timeout=20s", "--", "toolbox", "get", url]);
    // Its own name, and its address on a second line.
    (done.code == Some(0)).then(|| done.out.lines().next().unwrap_or_default().to_owned())
}

pub fn deploy(cluster: &Cluster<'_>) {
    cluster.kubectl(&["apply", "-f", WORKLOADS]);
    for what in ["daemonset/web", "deployment/shop"] {
        cluster.kubectl(&["rollout", "status", what, "--timeout=120s"]);
    }
}

/// What has to answer all the time, whatever is done to the machines.
#[cfg(feature = "real")]
pub fn deploy_steady(cluster: &Cluster<'_>) {
    cluster.kubectl(&["apply", "-f", STEADY]);
    cluster.kubectl(&["rollout", "status", "deployment/steady", "--timeout=120s"]);
}

/// Pods on all machines reach each other by address, by service and by name; `exec`, `logs`, `port-forward`; DNS.
pub fn works(cluster: &Cluster<'_>) {
    system_is_ready(cluster);
    deploy(cluster);
    let web = pods(cluster, "web");
    assert_eq!(web.len(), machines(cluster.lab).len(), "one on every machine: {web:?}");
    for from in &web {
        for to in &web {
            let url = format!("http://{}:8080/", to.address);
            assert_eq!(get(cluster, &from.name, &url).as_deref(), Some(to.name.as_str()), "{from:?} -> {to:?}");
        }
    }
    let service = json(cluster, &["get", "service", "web"]);
    let address = service["spec"]["clusterIP"].as_str().expect("an address");
    let mut answered = BTreeMap::<String, u32>::new();
    for from in &web {
        for url in [format!("http://{address}/"), "http://web/".into(), "http://web.default.svc.cluster.local/".into()] {
            let name = get(cluster, &from.name, &url).unwrap_or_else(|| panic!("{from:?} gets nothing from {url}"));
            assert!(web.iter().any(|pod| pod.name == name), "{name}");
            *answered.entry(name).or_default() += 1;
        }
    }
    assert!(answered.len() > 1, "a service has more than one pod behind it: {answered:?}");
    let looked = cluster.kubectl(&["exec", &web[0].name, "--", "toolbox", "lookup", "kubernetes.default.svc.cluster.local"]);
    assert_eq!(looked.trim(), "10.96.0.1");
    assert!(!cluster.kubectl(&["logs", &web[0].name]).is_empty());
    port_forward(cluster, &web[0]);
}

/// All Nodes and all pods of the system, as `kubectl get` shows them.
pub fn system_is_ready(cluster: &Cluster<'_>) {
    cluster.kubectl(&["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s"]);
    for namespace in ["kube-system", "kube-flannel"] {
        cluster.kubectl(&["-n", namespace, "wait", "--for=condition=Ready", "pods", "--all", "--timeout=120s"]);
    }
}

fn port_forward(cluster: &Cluster<'_>, pod: &Pod) {
    let program = cluster.bundle().join("operator/kubectl").display().to_string();
    let config = cluster.path("kubeconfig");
    let words = ["exec", "--", &program, "--kubeconfig", &config, "port-forward", &pod.name, "18080:8080"];
    let mut forward = cluster.lab.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("kubectl");
    until("an answer through port-forward", Duration::from_secs(20), || {
        let script = "exec 3<>/dev/tcp/127.0.0.1/18080; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
        let done = cluster.lab.exec(&["timeout", "5", "bash", "-c", script]);
        String::from_utf8_lossy(&done.stdout).contains(&pod.name)
    });
    forward.kill().expect("kill");
    forward.wait().expect("an end");
}

/// One worker and one control plane lose their power at once: the API goes on, and so does what runs on the cluster.
pub fn survives(cluster: &Cluster<'_>) {
    let lost = ["control-plane-us-east-1c-1", "nodes-us-east-1b-1"].map(|slot| machine(cluster.lab, slot));
    for machine in &lost {
        cluster.lab.ask(&["kill", &machine.instance]);
    }
    let from = pods(cluster, "web").into_iter().find(|pod| lost.iter().all(|lost| lost.instance != pod.node)).expect("a pod");
    until("the API after the loss of a control plane", LIMIT, || {
        cluster.try_kubectl(&["create", "configmap", "written", "--request-timeout=10s"]).code == Some(0)
    });
    let not_ready = |instance: &str| {
        let done = cluster.try_kubectl(&["get", "node", instance, "--request-timeout=10s"]);
        done.out.contains("NotReady")
    };
    until("the loss to be seen", LIMIT, || lost.iter().all(|machine| not_ready(&machine.instance)));
    let settled = || {
        let done = cluster.try_kubectl(&["get", "deployment", "shop", "-o", "jsonpath={.status.readyReplicas}"]);
        done.out == "3" && pods(cluster, "shop").iter().filter(|pod| pod.node == lost[1].instance).count() < 3
    };
    until("the deployment to have its pods elsewhere", LIMIT, settled);
    until("five answers in a row", LIMIT, || (0..5).all(|_| get(cluster, &from.name, "http://shop/").is_some()));
    let said = cluster.run(&["validate", "cluster", &cluster.name]).expect(1);
    for machine in &lost {
        said.says(&[&machine.slot]);
    }
    for machine in &lost {
        cluster.lab.ask(&["boot", &machine.instance]);
    }
    until("both back", LIMIT, || {
        lost.iter().all(|machine| {
            let done = cluster.try_kubectl(&["get", "node", &machine.instance, "--request-timeout=10s"]);
            done.code == Some(0) && !done.out.contains("NotReady")
        })
    });
    until("all etcd members and pods of the system", LIMIT, || {
        cluster.try_kubectl(&["-n", "kube-system", "wait", "--for=condition=Ready", "pods", "--all", "--timeout=5s"]).code
            == Some(0)
    });
}
