//! An upgrade of real Kubernetes by a minor: three control planes and three workers, killed twice on the way, asked all the time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::account::account;
use crate::cluster::{Cluster, HA, MINIMAL, Spec};
use crate::kubernetes;
use crate::lab::{Lab, until};
use crate::machine::{Machine, machines};
use crate::probe::{Probe, assert_few_failed, now};

/// The lab has a second version of Kubernetes for this.
pub const TO: &str = "1.35.4";
/// What its kubeadm installs beside it.
const ETCD: &str = "3.6.6-0";
const COREDNS: &str = "v1.13.1";
pub const LIMIT: Duration = Duration::from_secs(300);
/// Six machines one after the other, on as many containers of one machine.
pub const UPGRADE: Duration = Duration::from_secs(2400);

pub fn upgrades(lab: &Lab) {
    let bundle = further(lab);
    let before = account(lab);
    let cluster = Cluster::real(lab, "minor", false);
    let name = cluster.name.as_str();
    let spec = on_cgroup_v1(&cluster.spec(HA));
    cluster.ok(&["create", "cluster", "-f", &cluster.write("minor.toml", &spec), "--yes"]).says(&["6 of 6 nodes Ready"]);
    cluster.assert_ready(6);
    kubernetes::deploy_steady(&cluster);

    let words = ["upgrade", name, "--to", TO, "--bundle", &bundle.display().to_string()];
    let dry = cluster.run(&[&words[..], &["--detailed-exitcode"]].concat()).expect(2);
    dry.says(&["Hop 1: 1.34.2 -> 1.35.4", "etcd: 3.6.5-0 -> 3.6.6-0", "CoreDNS: v1.12.1 -> v1.13.1", "6 machines"]);
    let machines = machines(lab);
    let worker = machines.iter().find(|machine| machine.slot.starts_with("nodes-")).expect("a worker");
    let (api, service) = (Probe::api(&cluster), Probe::service(&cluster, worker, "steady"));
    let probes = [&api, &service];
    until("answers to both probes", LIMIT, || probes.iter().all(|probe| probe.answered_between(0.0, now())));

    let begun = now();
    let mut said = String::new();
    let words = [&words[..], &["--yes"]].concat();
    said += &killed(&cluster, &words, "while kubeadm is at work on the first control plane", |said| {
        let first = slot_of(said, "control-plane", "step upgrade (");
        first.is_some_and(|slot| runs_new_api_server(&machines, &slot))
    });
    said += &killed(&cluster, &words, "while a worker is drained", |said| slot_of(said, "nodes-", "step evict (").is_some());
    let done = cluster.run_within(&words, UPGRADE);
    said += &done.err;
    done.expect(0).says(&["Upgraded to 1.35.4", "kubernetes = \"1.35.4\""]);
    let ended = now();
    until("answers to both probes after the end", LIMIT, || probes.iter().all(|probe| probe.answered_between(ended, now())));

    println!("upgraded in {:.0} s, two kills included", ended - begun);
    assert_few_failed(&probes, begun, ended);
    answer_at_each_machine(&probes, &said);
    drop((api, service));

    is_of_the_new_version(&cluster, 6);
    nothing_was_pulled_in_vain(&cluster);
    kubernetes::works(&cluster);
    cluster.assert_ready(6);
    cluster.assert_no_op();
    cluster.ok(&words).says(&["Nothing to upgrade"]);
    // What the last line of the output said to write into one's own file; and a machine that comes later.
    let spec = spec.set("schema", "kubernetes", &format!("{TO:?}")).bundle(&bundle);
    cluster.ok(&["update", name, "-f", &cluster.write("minor.toml", &spec)]).says(&["No changes"]);
    let more = spec.count("nodes", 4);
    cluster.ok(&["update", name, "-f", &cluster.write("minor.toml", &more), "--yes"]).says(&["1 created"]);
    cluster.assert_ready(7);
    is_of_the_new_version(&cluster, 7);
    cluster.ok(&["delete", "cluster", name, "--yes", "--purge"]).says(&["0 remain"]);
    account(lab).assert_same_as(&before);
}

/// A bundle of the second version.
pub fn further(lab: &Lab) -> PathBuf {
    // Where it was never built this takes long, and says so.
    let made = lab.command(&["bundle", "--kubernetes", TO, "--beside"]).status().expect("the lab");
    assert!(made.success(), "there is no bundle of Kubernetes {TO}");
    lab.folder.join(format!("bundle-{TO}"))
}

/// The lab's machines are on cgroup v1, which 1.35 does not take by itself.
pub fn refuses(lab: &Lab) {
    let bundle = further(lab).display().to_string();
    let cluster = Cluster::real(lab, "refused", false);
    let name = cluster.name.as_str();
    let spec = cluster.spec(MINIMAL).count("nodes", 1);
    cluster.ok(&["create", "cluster", "-f", &cluster.write("refused.toml", &spec), "--yes"]);
    cluster.assert_ready(2);
    let refused = cluster.run(&["upgrade", name, "--to", TO, "--bundle", &bundle, "--yes"]).expect(7);
    refused.says(&["cannot be upgraded: cgroup v1: the kubelet of Kubernetes 1.35 refuses it", "failCgroupV1 = false"]);
    is_of_the_old_version(&cluster, 2);
    // Nothing is under way, so that the spec can be changed.
    cluster.assert_no_op();
    cluster.ok(&["delete", "cluster", name, "--yes", "--purge"]).says(&["0 remain"]);
}

/// From 1.35 on the kubelet has to be told that it may run on cgroup v1, and so has kubeadm's preflight. The settings end with `[kubelet]`.
pub fn on_cgroup_v1(spec: &Spec) -> Spec {
    Spec(
        spec.0.replacen("schema = 1\n", "schema = 1\nignore_preflight_errors = [\"SystemVerification\"]\n", 1)
            + "failCgroupV1 = false\n",
    )
}

/// The slot of the first line about such a machine and such a step.
fn slot_of(said: &str, machine: &str, step: &str) -> Option<String> {
    let words = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    said.lines().filter(|line| line.contains(step)).filter_map(words).find(|slot| slot.starts_with(machine))
}

fn runs_new_api_server(machines: &[Machine], slot: &str) -> bool {
    let machine = machines.iter().find(|machine| machine.slot == slot).expect("a machine");
    machine.sh(&format!("grep -c 'kube-apiserver:v{TO}' /etc/kubernetes/manifests/kube-apiserver.yaml || true")).trim() == "1"
}

/// Runs until something is so, then no more; gives what was said on the way.
fn killed(cluster: &Cluster<'_>, words: &[&str], when: &str, so: impl Fn(&str) -> bool) -> String {
    let mut child = cluster.start(words);
    until(when, UPGRADE, || {
        assert!(child.try_wait().expect("a status").is_none(), "it ended before: {}", cluster.said());
        so(&cluster.said())
    });
    child.kill().expect("kill");
    child.wait().expect("an end");
    println!("killed {when}");
    cluster.said()
}

/// By slot, when it was cordoned and when the last thing was said of it: lines are `TIME SLOT WORDS`.
fn at_work(said: &str) -> BTreeMap<String, (f64, f64)> {
    let mut found = BTreeMap::<String, (f64, f64)>::new();
    for line in said.lines() {
        let mut words = line.split_whitespace();
        let (Some(time), Some(slot)) = (words.next(), words.next()) else { continue };
        let Ok(time) = time.parse::<jiff::Timestamp>() else { continue };
        let is_slot = slot.starts_with("control-plane-") || slot.starts_with("nodes-");
        if !is_slot || !(found.contains_key(slot) || line.contains(" step cordon ")) {
            continue;
        }
        let time = time.as_second() as f64;
        let span = found.entry(slot.to_owned()).or_insert((time, time));
        *span = (span.0.min(time), span.1.max(time));
    }
    found
}

pub fn items(cluster: &Cluster<'_>, words: &[&str]) -> Vec<Value> {
    let list: Value = serde_json::from_str(&cluster.kubectl(&[words, &["-o", "json"]].concat())).expect("JSON");
    list["items"].as_array().expect("a list").clone()
}

/// Somebody answered each probe while a machine was away, machine by machine.
pub fn answer_at_each_machine(probes: &[&Probe], said: &str) {
    for (slot, (from, to)) in at_work(said) {
        println!("{slot}: {:.0} s", to - from);
        for probe in probes {
            println!("    {}", probe.figures(from, to));
            // Machines of which only a step of a second or two was told have no time of their own.
            let answered = to - from <= 5.0 || probe.answered_between(from, to);
            assert!(answered, "{} did not answer while {slot} was away", probe.what);
        }
    }
}

/// Whatever runs anywhere had its image there before.
pub fn nothing_was_pulled_in_vain(cluster: &Cluster<'_>) {
    let events = items(cluster, &["get", "events", "-A"]);
    let pulled = events.iter().filter_map(|event| event["message"].as_str()).filter(|text| text.contains("Failed to pull image"));
    assert_eq!(pulled.collect::<Vec<_>>(), Vec::<&str>::new());
}

/// Nothing was begun.
pub fn is_of_the_old_version(cluster: &Cluster<'_>, count: usize) {
    for node in items(cluster, &["get", "nodes"]) {
        assert_eq!(node["status"]["nodeInfo"]["kubeletVersion"], "v1.34.2");
        assert_eq!(node["spec"]["unschedulable"], Value::Null);
    }
    cluster.assert_ready(count);
}

/// Asked with the stock kubectl alone.
pub fn is_of_the_new_version(cluster: &Cluster<'_>, count: usize) {
    let nodes = items(cluster, &["get", "nodes"]);
    assert_eq!(nodes.len(), count);
    for node in &nodes {
        assert_eq!(node["status"]["nodeInfo"]["kubeletVersion"], format!("v{TO}"), "{}", node["metadata"]["name"]);
        assert_eq!(node["spec"]["unschedulable"], Value::Null, "{} is cordoned", node["metadata"]["name"]);
    }
    let version: Value = serde_json::from_str(&cluster.kubectl(&["get", "--raw=/version"])).expect("JSON");
    assert_eq!(version["gitVersion"], format!("v{TO}"));
    let config = cluster.kubectl(&["-n", "kube-system", "get", "configmap", "kubeadm-config", "-o", "yaml"]);
    assert!(config.contains(&format!("kubernetesVersion: v{TO}")), "{config}");
    for what in ["daemonset/kube-proxy", "deployment/coredns"] {
        cluster.kubectl(&["-n", "kube-system", "rollout", "status", what, "--timeout=120s"]);
    }
    kubernetes::system_is_ready(cluster);
    let own = format!("v{TO}");
    for (part, tag, pods) in [
        ("etcd", ETCD, 3),
        ("kube-apiserver", &own, 3),
        ("kube-controller-manager", &own, 3),
        ("kube-scheduler", &own, 3),
        ("kube-proxy", &own, count),
        ("coredns", COREDNS, 2),
    ] {
        let images: Vec<String> = items(cluster, &["-n", "kube-system", "get", "pods"])
            .iter()
            .filter_map(|pod| pod["status"]["containerStatuses"][0]["image"].as_str())
            .filter_map(|image| Some(image.rsplit_once('/')?.1.to_owned()))
            .filter(|image| image.split(':').next() == Some(part))
            .collect();
        assert_eq!(images, vec![format!("{part}:{tag}"); pods]);
    }
    let health = etcdctl(cluster, &["endpoint", "health", "--cluster"]);
    let members = health.as_array().expect("a list");
    assert!(members.len() == 3 && members.iter().all(|member| member["health"] == true), "{health}");
}

/// Asked in the pod of a member.
pub fn etcdctl(cluster: &Cluster<'_>, words: &[&str]) -> Value {
    let etcd = items(cluster, &["-n", "kube-system", "get", "pods", "-l", "component=etcd"]);
    let pod = etcd[0]["metadata"]["name"].as_str().expect("a name");
    let pki = "/etc/kubernetes/pki/etcd";
    let (ca, cert, key) = (
        format!("--cacert={pki}/ca.crt"),
        format!("--cert={pki}/healthcheck-client.crt"),
        format!("--key={pki}/healthcheck-client.key"),
    );
    let ask = ["-n", "kube-system", "exec", pod, "--", "etcdctl", &ca, &cert, &key, "-w", "json"];
    serde_json::from_str(&cluster.kubectl(&[&ask, words].concat())).expect("JSON")
}
