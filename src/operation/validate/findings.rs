//! What the answers of a cluster come to. Pure: answers in, problems out, the most fundamental first.

use std::collections::BTreeSet;

use super::{NodeRow, Problem};
use crate::bootstrap::inspect::{AddOn, CLOCK_LIMIT, SeenPod, Vitals};
use crate::cluster::Cni;

/// Namespaces of what kubewright installs: kubeadm's pods, and those of pod networks.
const SYSTEM: [&str; 2] = ["kube-system", "kube-flannel"];
const STATIC: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];
/// Age of a lease at which the machine is asked itself: the API calls a node NotReady no sooner.
const LATE: f64 = 40.0;
/// Pods named one by one.
const PODS_TOLD: usize = 5;

/// What a validation rests on.
pub struct Seen<'a> {
    pub rows: &'a [NodeRow],
    pub pods: &'a [SeenPod],
    pub vitals: &'a Vitals,
    pub cni: Cni,
    /// The control plane that was asked.
    pub asked: &'a str,
}

/// Namespace and DaemonSet of a pod network.
pub fn network(cni: Cni) -> Option<(&'static str, &'static str)> {
    match cni {
        Cni::Calico => Some(("kube-system", "calico-node")),
        Cni::Cilium => Some(("kube-system", "cilium")),
        Cni::Flannel => Some(("kube-flannel", "kube-flannel-ds")),
        Cni::None => None,
    }
}

/// Seconds by which a node's last lease is behind, where that is odd enough to ask the machine.
pub fn odd_lease(vitals: &Vitals, instance: &str) -> Option<f64> {
    let age = vitals.leases.iter().find(|lease| lease.node == instance)?.age;
    (!(-CLOCK_LIMIT..=LATE).contains(&age)).then_some(age)
}

impl Seen<'_> {
    fn row(&self, instance: &str) -> Option<&NodeRow> {
        self.rows.iter().find(|row| row.instance == instance)
    }

    /// Pods on such a node say nothing of their own.
    fn is_down(&self, instance: &str) -> bool {
        self.row(instance).is_some_and(|row| !row.ready || row.cause.is_some())
    }

    /// Everything but nodes.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.clocks();
        problems.extend(self.etcd());
        problems.extend(self.static_pods());
        let (addons, told) = self.addons();
        let blind = addons.iter().any(|problem| problem.what.contains("coredns") || problem.what.contains("kube-proxy"));
        problems.extend(addons);
        problems.extend(self.dns().filter(|_| !blind));
        problems.extend(self.other_pods(&told));
        problems.extend(self.requests());
        problems
    }

    /// Nodes that look well by themselves, and yet date their leases into the future.
    fn clocks(&self) -> Vec<Problem> {
        let rows = self.rows.iter().filter(|row| row.ready && row.cause.is_none());
        let ahead = rows.filter_map(|row| Some((row, odd_lease(self.vitals, &row.instance).filter(|age| *age < 0.0)?)));
        ahead
            .map(|(row, age)| Problem::new(format!("the clocks of {} and {} differ by {:.0} s", row.slot, self.asked, -age)))
            .collect()
    }

    fn etcd(&self) -> Vec<Problem> {
        let Some(members) = &self.vitals.etcd else { return vec![] };
        let mut problems = vec![];
        let control_planes: Vec<&NodeRow> = self.rows.iter().filter(|row| row.role == "control-plane").collect();
        let asked = control_planes.iter().find(|row| row.slot == self.asked).map(|row| row.instance.as_str()).unwrap_or_default();
        for member in members {
            let owner = control_planes
                .iter()
                .find(|row| row.instance == member.name || member.name.is_empty() && row.address == member.address);
            let name = if member.name.is_empty() { &member.address } else { &member.name };
            match owner {
                None => problems.push(
                    Problem::new(format!("etcd member {name} ({}) belongs to no machine of the cluster", member.id))
                        .next(remove(asked, &member.id)),
                ),
                Some(row) if self.is_down(&row.instance) => {}
                Some(row) if member.name.is_empty() => {
                    problems.push(
                        Problem::new(format!("etcd member {} of {} has never started", member.id, row.slot))
                            .next(remove(asked, &member.id)),
                    );
                }
                Some(row) if member.learner => {
                    problems.push(Problem::new(format!("etcd of {} is a learner: it has no vote yet", row.slot)));
                }
                Some(row) if !member.healthy => {
                    problems.push(Problem::new(format!("etcd of {} is not healthy: {}", row.slot, member.error)));
                }
                Some(_) => {}
            }
        }
        let is_in = |row: &NodeRow| members.iter().any(|member| member.name == row.instance || member.address == row.address);
        let lacking = control_planes.iter().filter(|row| row.ready && !is_in(row));
        problems.extend(lacking.map(|row| Problem::new(format!("{} has no member of etcd", row.slot))));
        problems
    }

    /// kubeadm's static pods, as the kubelets mirror them.
    fn static_pods(&self) -> Vec<Problem> {
        let name = |part: &str, row: &NodeRow| format!("{part}-{}", row.instance);
        let rows: Vec<&NodeRow> =
            self.rows.iter().filter(|row| row.role == "control-plane" && row.ready && row.cause.is_none()).collect();
        let is = |pod: &SeenPod, wanted: &str| pod.namespace == "kube-system" && pod.name == wanted;
        // An API server without a single mirror pod does not show them.
        if !self.pods.iter().any(|pod| rows.iter().any(|row| STATIC.iter().any(|part| is(pod, &name(part, row))))) {
            return vec![];
        }
        let mut problems = vec![];
        for row in rows {
            for part in STATIC {
                let wanted = name(part, row);
                match self.pods.iter().find(|pod| is(pod, &wanted)) {
                    None => problems.push(
                        Problem::new(format!("{part} of {} is missing", row.slot))
                            .next(row.on(&format!("ls -l /etc/kubernetes/manifests/{part}.yaml"))),
                    ),
                    Some(pod) if !pod.ready => problems.push(
                        Problem::new(format!("{part} of {} does not run: {}", row.slot, pod.reason))
                            .next(format!("kubectl -n kube-system logs {wanted} --previous")),
                    ),
                    Some(_) => {}
                }
            }
        }
        problems
    }

    /// DaemonSets and Deployments of the system, and the pods that are told with them.
    fn addons(&self) -> (Vec<Problem>, BTreeSet<&str>) {
        let (mut problems, mut told) = (vec![], BTreeSet::new());
        let Some(addons) = &self.vitals.addons else { return (problems, told) };
        let mut required = vec![("kube-system", "kube-proxy"), ("kube-system", "coredns")];
        required.extend(network(self.cni));
        required.rotate_right(usize::from(self.cni != Cni::None));
        for (namespace, name) in required {
            if !addons.iter().any(|addon| (addon.namespace.as_str(), addon.name.as_str()) == (namespace, name)) {
                problems.push(self.missing(namespace, name));
            }
        }
        for addon in addons.iter().filter(|addon| SYSTEM.contains(&addon.namespace.as_str())) {
            let own: Vec<&SeenPod> = self.pods.iter().filter(|pod| !pod.ready && belongs(pod, addon)).collect();
            let excused = own.iter().filter(|pod| self.is_down(&pod.node)).count() as u64;
            told.extend(own.iter().map(|pod| pod.name.as_str()));
            let (kind, name) = (addon.kind.to_lowercase(), &addon.name);
            if addon.wanted == 0 && addon.name == "coredns" {
                problems.push(
                    Problem::new("coredns has no replicas, so no name in the cluster is found")
                        .next(format!("kubectl -n {} scale {kind}/{name} --replicas=2", addon.namespace)),
                );
            } else if addon.wanted.saturating_sub(addon.ready) > excused {
                let why = own.iter().find(|pod| !self.is_down(&pod.node)).map(|pod| format!(": {} {}", pod.name, pod.reason));
                problems.push(
                    Problem::new(format!(
                        "{name}: {} of {} pods are ready{}",
                        addon.ready,
                        addon.wanted,
                        why.unwrap_or_default()
                    ))
                    .next(format!("kubectl -n {} describe {kind}/{name}", addon.namespace)),
                );
            }
        }
        (problems, told)
    }

    fn missing(&self, namespace: &str, name: &str) -> Problem {
        let problem = Problem::new(format!("{name} is missing in the namespace {namespace}"));
        let first = self.rows.iter().find(|row| row.role == "control-plane");
        let by = match name {
            "kube-proxy" | "coredns" => format!("kubeadm init phase addon {name} --config /etc/kubernetes/kubewright/init.yaml"),
            "cilium" => return problem,
            _ => "kubectl --kubeconfig /etc/kubernetes/admin.conf apply --server-side -k /etc/kubernetes/kubewright/cni".into(),
        };
        match first {
            Some(row) => problem.next(row.on(&by)),
            None => problem,
        }
    }

    fn dns(&self) -> Option<Problem> {
        let dns = self.vitals.dns.as_ref().filter(|dns| !dns.answered)?;
        let what =
            format!("the cluster's DNS ({}) gives {} no address of kubernetes.default: {}", dns.server, self.asked, dns.error);
        Some(Problem::new(what).next("kubectl -n kube-system logs deployment/coredns"))
    }

    fn other_pods(&self, told: &BTreeSet<&str>) -> Vec<Problem> {
        let is_static =
            |pod: &SeenPod| pod.name.strip_suffix(&pod.node).is_some_and(|part| STATIC.contains(&part.trim_end_matches('-')));
        let pods = self.pods.iter().filter(|pod| {
            SYSTEM.contains(&pod.namespace.as_str())
                && !pod.ready
                && !told.contains(pod.name.as_str())
                && !self.is_down(&pod.node)
                && !is_static(pod)
        });
        let mut problems: Vec<Problem> = pods
            .map(|pod| {
                Problem::new(format!("pod {}/{} is not ready: {}", pod.namespace, pod.name, pod.reason))
                    .next(format!("kubectl -n {} describe pod/{}", pod.namespace, pod.name))
            })
            .collect();
        let more = problems.len().saturating_sub(PODS_TOLD);
        problems.truncate(PODS_TOLD);
        problems.extend((more > 0).then(|| Problem::new(format!("{more} more pods are not ready"))));
        problems
    }

    fn requests(&self) -> Option<Problem> {
        let [first, rest @ ..] = self.vitals.pending.as_slice() else { return None };
        let more = if rest.is_empty() { String::new() } else { format!(", and {} more", rest.len()) };
        let what = format!("a request for a certificate waits to be approved: {} of {}{more}", first.name, first.user);
        Some(Problem::new(what).next(format!("kubectl certificate approve {}", first.name)))
    }
}

fn belongs(pod: &SeenPod, addon: &AddOn) -> bool {
    pod.namespace == addon.namespace && pod.name.strip_prefix(&addon.name).is_some_and(|rest| rest.starts_with('-'))
}

fn remove(asked: &str, member: &str) -> String {
    let pki = "/etc/kubernetes/pki/etcd";
    format!(
        "kubectl -n kube-system exec etcd-{asked} -- etcdctl --endpoints https://127.0.0.1:2379 --cacert {pki}/ca.crt \
         --cert {pki}/healthcheck-client.crt --key {pki}/healthcheck-client.key member remove {member}"
    )
}
