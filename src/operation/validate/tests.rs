//! What answers of a cluster come to.

use super::findings::{Seen, odd_lease};
use super::{NodeRow, Problem};
use crate::bootstrap::inspect::{AddOn, Dns, Lease, Member, Request, SeenPod, Vitals};
use crate::cluster::Cni;

fn row(slot: &str, instance: &str, role: &str) -> NodeRow {
    NodeRow {
        slot: slot.into(),
        instance: instance.into(),
        role: role.into(),
        address: format!("10.0.0.{}", instance.trim_start_matches("i-")),
        ready: true,
        version: "v1.34.2".into(),
        message: String::new(),
        cause: None,
        look: None,
        ssh: "ssh admin@198.51.100.7".into(),
    }
}

fn pod(name: &str, node: &str, namespace: &str) -> SeenPod {
    SeenPod { namespace: namespace.into(), name: name.into(), node: node.into(), ready: true, reason: String::new() }
}

fn addon(kind: &str, namespace: &str, name: &str, count: u64) -> AddOn {
    AddOn { kind: kind.into(), namespace: namespace.into(), name: name.into(), wanted: count, ready: count }
}

fn member(name: &str, address: &str) -> Member {
    let (id, error) = (format!("id-{name}"), String::new());
    Member { id, name: name.into(), address: address.into(), learner: false, healthy: true, error }
}

/// Three control planes and a worker that work.
struct Case {
    rows: Vec<NodeRow>,
    pods: Vec<SeenPod>,
    vitals: Vitals,
}

impl Case {
    fn new() -> Self {
        let control_planes = ["i-1", "i-2", "i-3"];
        let mut rows: Vec<NodeRow> = control_planes.iter().map(|id| row(&id.replace('i', "cp"), id, "control-plane")).collect();
        rows.push(row("node-4", "i-4", "node"));
        let mut pods = vec![pod("coredns-a", "i-1", "kube-system"), pod("coredns-b", "i-4", "kube-system")];
        for id in control_planes {
            for part in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
                pods.push(pod(&format!("{part}-{id}"), id, "kube-system"));
            }
        }
        pods.extend(["i-1", "i-2", "i-3", "i-4"].map(|id| pod(&format!("kube-proxy-{id}"), id, "kube-system")));
        let vitals = Vitals {
            etcd: Some(control_planes.iter().map(|id| member(id, &id.replace("i-", "10.0.0."))).collect()),
            addons: Some(vec![
                addon("DaemonSet", "kube-system", "kube-proxy", 4),
                addon("DaemonSet", "kube-flannel", "kube-flannel-ds", 4),
                addon("Deployment", "kube-system", "coredns", 2),
            ]),
            pending: vec![],
            leases: rows.iter().map(|row| Lease { node: row.instance.clone(), age: 5.0 }).collect(),
            dns: Some(Dns { server: "10.96.0.10".into(), answered: true, error: String::new() }),
        };
        Self { rows, pods, vitals }
    }

    fn pod(&mut self, name: &str, reason: &str) {
        let pod = self.pods.iter_mut().find(|pod| pod.name == name).unwrap();
        (pod.ready, pod.reason) = (false, reason.into());
    }

    fn addon(&mut self, name: &str) -> &mut AddOn {
        self.vitals.addons.as_mut().unwrap().iter_mut().find(|addon| addon.name == name).unwrap()
    }

    fn members(&mut self) -> &mut Vec<Member> {
        self.vitals.etcd.as_mut().unwrap()
    }

    fn problems(&self) -> Vec<Problem> {
        Seen { rows: &self.rows, pods: &self.pods, vitals: &self.vitals, cni: Cni::Flannel, asked: "cp-1" }.problems()
    }
}

#[test]
fn a_cluster_that_works_has_no_problem_and_neither_has_one_that_cannot_be_asked() {
    let mut case = Case::new();
    assert_eq!(case.problems(), []);
    case.vitals = Vitals::default();
    case.pods.retain(|pod| pod.name.starts_with("kube-proxy"));
    assert_eq!(case.problems(), [], "no answer is not a wrong answer");
}

/// Each fault is one problem, told with what to type.
#[test]
fn each_fault_is_told_once_with_its_next_command() {
    type Break = fn(&mut Case);
    let cases: [(Break, &str, &str); 16] = [
        (
            |case| case.members().push(member("i-9", "10.0.0.9")),
            "etcd member i-9 (id-i-9) belongs to no machine",
            "exec etcd-i-1 -- etcdctl",
        ),
        (
            |case| {
                case.members()[1] = Member { learner: true, healthy: false, name: String::new(), ..member("", "10.0.0.2") };
            },
            "of cp-2 has never started",
            "member remove id-",
        ),
        (|case| case.members()[2].learner = true, "etcd of cp-3 is a learner", ""),
        (
            |case| {
                let member = &mut case.members()[2];
                (member.healthy, member.error) = (false, "context deadline exceeded".into());
            },
            "etcd of cp-3 is not healthy: context deadline exceeded",
            "",
        ),
        (|case| drop(case.members().remove(1)), "cp-2 has no member of etcd", ""),
        (
            |case| case.pods.retain(|pod| pod.name != "kube-scheduler-i-2"),
            "kube-scheduler of cp-2 is missing",
            "ssh admin@198.51.100.7 sudo ls -l /etc/kubernetes/manifests/kube-scheduler.yaml",
        ),
        (
            |case| case.pod("kube-controller-manager-i-3", "CrashLoopBackOff (7 restarts; Error, exit code 1)"),
            "kube-controller-manager of cp-3 does not run: CrashLoopBackOff (7 restarts",
            "logs kube-controller-manager-i-3 --previous",
        ),
        (
            |case| case.vitals.addons.as_mut().unwrap().retain(|one| one.name != "kube-proxy"),
            "kube-proxy is missing",
            "addon kube-proxy",
        ),
        (
            |case| case.vitals.addons.as_mut().unwrap().retain(|one| one.name != "kube-flannel-ds"),
            "kube-flannel-ds is missing",
            "-k /etc/kubernetes/kubewright/cni",
        ),
        (
            |case| (case.addon("coredns").wanted, case.addon("coredns").ready) = (0, 0),
            "coredns has no replicas",
            "scale deployment/coredns --replicas=2",
        ),
        (
            |case| {
                case.addon("coredns").ready = 1;
                case.pod("coredns-b", "ImagePullBackOff");
            },
            "coredns: 1 of 2 pods are ready: coredns-b ImagePullBackOff",
            "describe deployment/coredns",
        ),
        (
            |case| {
                case.addon("kube-proxy").ready = 3;
                case.pod("kube-proxy-i-2", "CrashLoopBackOff");
            },
            "kube-proxy: 3 of 4 pods are ready: kube-proxy-i-2 CrashLoopBackOff",
            "describe daemonset/kube-proxy",
        ),
        (
            |case| case.vitals.dns = Some(Dns { server: "10.96.0.10".into(), answered: false, error: "SERVFAIL".into() }),
            "DNS (10.96.0.10) gives cp-1 no address of kubernetes.default: SERVFAIL",
            "logs deployment/coredns",
        ),
        (
            |case| {
                case.pods.push(pod("metrics-0", "i-4", "kube-system"));
                case.pod("metrics-0", "Pending");
            },
            "pod kube-system/metrics-0 is not ready: Pending",
            "describe pod/metrics-0",
        ),
        (
            |case| {
                let request = |name: &str| Request { name: name.into(), user: "system:node:i-4".into() };
                case.vitals.pending = vec![request("csr-a"), request("csr-b")];
            },
            "csr-a of system:node:i-4, and 1 more",
            "kubectl certificate approve csr-a",
        ),
        (|case| case.vitals.leases[3].age = -300.0, "the clocks of node-4 and cp-1 differ by 300 s", ""),
    ];
    for (fault, what, next) in cases {
        let mut case = Case::new();
        fault(&mut case);
        let problems = case.problems();
        let [problem] = problems.as_slice() else { panic!("{what}: {problems:?}") };
        assert!(problem.what.contains(what), "{what}: {problem:?}");
        assert!(problem.next.as_deref().unwrap_or_default().contains(next), "{next}: {problem:?}");
    }
}

#[test]
fn what_a_dead_machine_brings_with_it_is_not_told_again() {
    let mut case = Case::new();
    for (place, instance) in [(2, "i-3"), (3, "i-4")] {
        case.rows[place].ready = false;
        case.rows[place].cause = Some("the kubelet is inactive".into());
        let own: Vec<String> = case.pods.iter().filter(|pod| pod.node == instance).map(|pod| pod.name.clone()).collect();
        own.iter().for_each(|name| case.pod(name, "Running"));
    }
    case.addon("kube-proxy").ready = 2;
    case.addon("coredns").ready = 1;
    case.members()[2].healthy = false;
    case.vitals.leases[3].age = 600.0;
    assert_eq!(case.problems(), []);
    // Something more than that is told.
    case.addon("kube-proxy").ready = 1;
    case.pod("kube-proxy-i-1", "CrashLoopBackOff");
    assert_eq!(case.problems().len(), 1);
}

#[test]
fn many_pods_are_counted_and_users_own_are_their_own_affair() {
    let mut case = Case::new();
    for number in 0..9 {
        let name = format!("x-{number}");
        case.pods.push(pod(&name, "i-4", "kube-system"));
        case.pod(&name, "Pending");
    }
    case.pods.push(pod("shop", "i-4", "default"));
    case.pod("shop", "Pending");
    let problems = case.problems();
    assert_eq!(problems.len(), 6);
    assert_eq!(problems[5].what, "4 more pods are not ready");
}

#[test]
fn a_lease_is_odd_when_it_is_late_or_dated_into_the_future() {
    let mut vitals = Case::new().vitals;
    for (age, odd) in [(0.0, false), (39.0, false), (41.0, true), (-59.0, false), (-61.0, true)] {
        vitals.leases[0].age = age;
        assert_eq!(odd_lease(&vitals, "i-1").is_some(), odd, "{age}");
    }
    assert_eq!(odd_lease(&vitals, "i-7"), None);
}
