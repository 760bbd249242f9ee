//! `validate` against a cluster of real Kubernetes that is broken in one place after the other, and mended.
//!
//! What the lab cannot break is tested with recorded answers (`src/operation/validate/tests.rs`, `src/bootstrap/inspect/look.rs`):
//! the clock of its machines cannot be set.

#[allow(dead_code, reason = "each test binary uses a part")]
#[path = "lab/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "each test binary uses a part")]
#[path = "lab/lab.rs"]
mod lab;
#[allow(dead_code, reason = "each test binary uses a part")]
#[path = "lab/machine.rs"]
mod machine;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use cluster::{Cluster, Done, MINIMAL, words};
use lab::{Lab, until};
use libtest_mimic::{Arguments, Trial};
use machine::{Machine, machine};
use serde_json::Value;

/// Kubernetes takes up to a minute to see that a node is gone, and longer on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);
const CNI: &str = "/etc/cni/net.d";
const ETCD: &str = "crictl exec $(crictl ps -q --state running --name '^etcd$') etcdctl --endpoints=https://127.0.0.1:2379 \
    --cacert=/etc/kubernetes/pki/etcd/ca.crt --cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt \
    --key=/etc/kubernetes/pki/etcd/healthcheck-client.key";
const KUBE: &str = "kubectl --kubeconfig /etc/kubernetes/admin.conf";

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let trial = Trial::test("each_fault_is_named_with_what_to_type_and_mended_by_it", || lab::run(each_fault));
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

/// A cluster that is broken and mended.
struct Site<'a> {
    cluster: Cluster<'a>,
    control_plane: Machine,
    worker: Machine,
}

impl Site<'_> {
    fn validation(&self) -> Value {
        let done = self.cluster.run(&["validate", &self.cluster.name, "-o", "json"]);
        serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {done:?}"))
    }

    /// Looks until the first problem is the one meant; gives what to type.
    fn says(&self, what: &str) -> String {
        let end = Instant::now() + LIMIT;
        loop {
            let validation = self.validation();
            let first = &validation["problems"][0];
            if words(first["what"].as_str().unwrap_or_default()).contains(what) {
                return first["next"].as_str().unwrap_or_default().to_owned();
            }
            assert!(Instant::now() < end, "`{what}` is never the first problem: {validation:#}");
        }
    }

    fn works(&self) {
        self.cluster
            .ok(&["validate", &self.cluster.name, "--wait", "5m"])
            .says(&["works: 2 nodes Ready, etcd has 1 member, DNS answers."]);
        assert_eq!(self.validation()["problems"], Value::Array(vec![]));
    }

    /// Types what validate said, as a person would: in the lab, with its key and an exported kubeconfig.
    fn type_in(&self, command: &str) {
        let config = self.cluster.path("kubeconfig");
        self.cluster.ok(&["export", "kubeconfig", &self.cluster.name, "--kubeconfig", &config]);
        let key = "ssh -i ~/.ssh/id_ed25519 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR ";
        let command = command.strip_prefix("ssh ").map_or_else(|| command.to_owned(), |rest| format!("{key}{rest}"));
        let done = self.cluster.lab.exec(&["env", &format!("KUBECONFIG={config}"), "sh", "-c", &command]);
        assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

fn each_fault(lab: &Lab) {
    let cluster = Cluster::real(lab, "broken", false);
    let file = cluster.write("broken.toml", &cluster.spec(MINIMAL));
    cluster.ok(&["create", "cluster", "-f", &file, "--yes"]);
    let (control_plane, worker) = (machine(lab, "control-plane-us-east-1a-1"), machine(lab, "nodes-us-east-1a-1"));
    let site = Site { cluster, control_plane, worker };
    site.works();
    kubelet(&site);
    runtime_and_network(&site);
    add_ons(&site);
    etcd(&site);
    unreachable(&site);
}

fn kubelet(site: &Site<'_>) {
    site.worker.sh("systemctl stop kubelet");
    let next = site.says("the kubelet is inactive");
    site.type_in(&next);
    site.works();

    let config = "/var/lib/kubelet/config.yaml";
    site.worker.sh(&format!("cp -p {config} /var/tmp/ && echo 'nonsense: [' >{config} && systemctl restart kubelet"));
    let next = site.says("the kubelet crashes");
    assert!(next.contains("journalctl --unit=kubelet"), "{next}");
    // Between two crashes it is only starting.
    let own = |what: &str| what.contains("kubelet config file") || what.contains(config);
    until("its own last words", LIMIT, || site.validation()["problems"][0]["what"].as_str().is_some_and(own));
    site.worker.sh(&format!("cp -p /var/tmp/config.yaml {config} && systemctl restart kubelet"));
    site.works();
}

fn runtime_and_network(site: &Site<'_>) {
    site.worker.sh("systemctl stop containerd");
    let next = site.says("containerd is inactive");
    site.type_in(&next);
    site.works();

    site.worker.sh(&format!("mv {CNI}/*.conflist /var/tmp/ && systemctl restart containerd"));
    let next = site.says(&format!("{CNI} is empty"));
    site.type_in(&next);
    site.works();
}

fn add_ons(site: &Site<'_>) {
    site.control_plane.sh(&format!("{KUBE} -n kube-system scale deployment/coredns --replicas=0"));
    let next = site.says("coredns has no replicas");
    site.type_in(&next);
    site.works();

    site.control_plane.sh(&format!("{KUBE} -n kube-system delete daemonset/kube-proxy"));
    let next = site.says("kube-proxy is missing");
    site.type_in(&next);
    site.works();

    // It answers nobody, and kubeadm's own probes do not see it.
    let rule = "iptables -I FORWARD -p udp --dport 53 -j DROP && iptables -I OUTPUT -p udp --dport 53 -d 192.168.0.0/16 -j DROP";
    site.control_plane.sh(rule);
    site.says("gives control-plane-us-east-1a-1 no address of kubernetes.default: no answer");
    site.control_plane.sh(&rule.replace("-I", "-D"));
    site.works();
}

fn etcd(site: &Site<'_>) {
    // A learner has no vote: the only member keeps its quorum.
    site.control_plane.sh(&format!("{ETCD} member add i-gone --learner --peer-urls=https://10.20.0.99:2380"));
    let next = site.says("belongs to no machine of the cluster");
    site.type_in(&next);
    site.works();

    let manifest = "/etc/kubernetes/manifests/etcd.yaml";
    site.control_plane.sh(&format!("mv {manifest} /var/tmp/"));
    site.says("the API server of control-plane-us-east-1a-1 does not answer: etcd does not run");
    site.control_plane.sh(&format!("mv /var/tmp/etcd.yaml {manifest}"));
    site.works();
}

fn unreachable(site: &Site<'_>) {
    let lab = site.cluster.lab;
    lab.ask(&["cut", &site.worker.instance]);
    site.says("nodes-us-east-1a-1");
    let first = site.validation()["problems"][0]["what"].as_str().unwrap_or_default().to_owned();
    assert!(first.contains("its machine cannot be asked"), "{first}");
    lab.ask(&["uncut", &site.worker.instance]);
    site.works();

    lab.ask(&["kill", &site.worker.instance]);
    let next = site.says("its machine cannot be asked");
    assert_eq!(next, format!("aws ec2 reboot-instances --instance-ids {}", site.worker.instance));
    // The same call by what the emulator brings along: the aws command need not be here.
    let python = lab.folder.join("cache/venv/bin/python").display().to_string();
    let reboot = "import boto3, sys; boto3.client('ec2').reboot_instances(InstanceIds=sys.argv[1:])";
    Done::of(lab.exec(&[&python, "-c", reboot, &site.worker.instance])).expect(0);
    site.works();
}
