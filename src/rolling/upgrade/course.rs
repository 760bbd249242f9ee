//! The hops of an upgrade: one minor at a time, and what each of them changes.

use std::collections::BTreeMap;

use crate::cluster::policy::newest;
use crate::cluster::{Cluster, KubernetesVersion, Packages, policy};

/// Why there is no way to a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoWay {
    #[error("Kubernetes {to} is older than {from}: control planes and etcd cannot go back")]
    Downgrade { from: KubernetesVersion, to: KubernetesVersion },
    #[error(
        "Kubernetes {to} is not known to this version of kubewright; 1.{} to 1.{} are",
        KubernetesVersion::SUPPORTED_MINORS.start(),
        KubernetesVersion::SUPPORTED_MINORS.end()
    )]
    Unknown { to: KubernetesVersion },
    #[error("an upgrade to {0} is under way, and has to be finished first")]
    UnderWay(KubernetesVersion),
    #[error("the packages are a bundle, and none is given for Kubernetes {0}")]
    NoBundle(String),
    #[error("--via {via} is not on the way from {from} to {to}")]
    Aside { via: KubernetesVersion, from: KubernetesVersion, to: KubernetesVersion },
}

/// Versions one after the other, the target last. `applied` is what all machines were brought to, `registered` what the spec says now: an
/// upgrade that was begun stands between the two, and is finished first. `oldest` is the oldest version that a machine runs. `via` names
/// versions for minors on the way; where packages are a bundle, `bundled` has what there is one for.
pub fn course(
    cluster: &Cluster,
    applied: KubernetesVersion,
    oldest: Option<KubernetesVersion>,
    to: KubernetesVersion,
    via: &[KubernetesVersion],
    bundled: &[KubernetesVersion],
) -> Result<Vec<KubernetesVersion>, NoWay> {
    let registered = cluster.kubernetes;
    if to.major != 1 || !KubernetesVersion::SUPPORTED_MINORS.contains(&to.minor) {
        return Err(NoWay::Unknown { to });
    }
    if to < registered {
        return Err(if registered > applied { NoWay::UnderWay(registered) } else { NoWay::Downgrade { from: registered, to } });
    }
    let is_aside = |via: &&KubernetesVersion| **via <= registered || **via > to || via.minor == registered.minor;
    if let Some(via) = via.iter().find(is_aside) {
        return Err(NoWay::Aside { via: *via, from: registered, to });
    }
    let is_bundle = matches!(cluster.packages, Packages::Bundle(_));
    let named: BTreeMap<u32, KubernetesVersion> =
        bundled.iter().filter(|_| is_bundle).chain(via).map(|version| (version.minor, *version)).collect();
    let mut hops = vec![];
    if registered != applied || oldest.is_some_and(|oldest| oldest < registered) {
        hops.push(registered);
    }
    for minor in registered.minor + 1..to.minor {
        let stop = match named.get(&minor) {
            Some(version) => *version,
            None if is_bundle => return Err(NoWay::NoBundle(format!("1.{minor}"))),
            None => newest(minor).ok_or(NoWay::Unknown { to })?,
        };
        hops.push(stop);
    }
    if to > registered {
        hops.push(to);
    }
    let missing = |hop: &&KubernetesVersion| is_bundle && **hop != applied && !bundled.contains(hop);
    match hops.iter().find(missing) {
        Some(hop) => Err(NoWay::NoBundle(hop.to_string())),
        None => Ok(hops),
    }
}

/// What a hop changes beside the version, in words.
pub fn changes(from: KubernetesVersion, to: KubernetesVersion) -> Vec<String> {
    let (old, new) = (policy(from), policy(to));
    let mut lines = vec![];
    let moved = |what: &str, was: &str, is: &str| (was != is).then(|| format!("{what}: {was} -> {is}"));
    if old.kubeadm_api != new.kubeadm_api {
        lines.extend(moved("kubeadm configuration", old.kubeadm_api.as_str(), new.kubeadm_api.as_str()));
    }
    lines.extend(moved("etcd", old.etcd, new.etcd));
    lines.extend(moved("CoreDNS", old.coredns, new.coredns));
    lines.extend(moved("sandbox image pause", old.pause, new.pause));
    let gone = new.removed_flags.iter().filter(|flag| !old.removed_flags.contains(flag));
    lines.extend(gone.map(|(component, flag)| format!("{component} loses its flag --{flag}")));
    if old.cgroup_v1 && !new.cgroup_v1 {
        lines.push("the kubelet does not start on cgroup v1 any more".into());
    }
    if old.etcd.starts_with("3.5.") && new.etcd.starts_with("3.6.") {
        lines.push("etcd 3.6 cannot be taken back to 3.5: the snapshots before each control plane are the way back".into());
    }
    lines
}

/// Settings of the spec that a version does not know any more.
pub fn blocks(cluster: &Cluster, to: KubernetesVersion) -> Vec<String> {
    let components = &cluster.components;
    let of = |component: &'static str, args: &BTreeMap<String, String>, place: String| {
        let gone = |flag: &&String| policy(to).removed_flags.contains(&(component, flag.as_str()));
        args.keys()
            .filter(gone)
            .map(|flag| format!("{component} of {to} has no flag {flag} any more, and {place} sets it"))
            .collect()
    };
    let mut all: Vec<String> = vec![];
    for (component, table, settings) in [
        ("kube-apiserver", "api_server", &components.api_server),
        ("kube-controller-manager", "controller_manager", &components.controller_manager),
        ("kube-scheduler", "scheduler", &components.scheduler),
        ("etcd", "etcd", &components.etcd),
    ] {
        all.extend::<Vec<String>>(of(component, &settings.extra_args, format!("[{table}]")));
    }
    for group in &cluster.groups {
        all.extend::<Vec<String>>(of("kubelet", &group.settings.kubelet_args, format!("instance group {}", group.name)));
    }
    all
}

/// Images that kubeadm of a version runs.
pub fn images(to: KubernetesVersion) -> Vec<String> {
    let row = policy(to);
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"]
        .into_iter()
        .map(|name| format!("{name}:v{to}"))
        .chain([format!("etcd:{}", row.etcd), format!("coredns/coredns:{}", row.coredns), format!("pause:{}", row.pause)])
        .collect()
}
