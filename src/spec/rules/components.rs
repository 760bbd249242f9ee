//! Settings of components that kubewright has to keep, because other parts of the cluster rely on them.

use std::collections::BTreeSet;

use crate::cluster::{KubernetesVersion, Role, policy};
use crate::spec::file::{ComponentKeys, EtcdKeys, GroupKeys, HostPathKeys, PatchKeys, SpecFile};
use crate::spec::place::At;
use crate::spec::problem::{Code, Fault, Findings};
use crate::spec::read::{List, Map};
use crate::spec::values::components::{EnvName, FlagName, FlagValue, FreeFields};

/// Flags that say the same as another key of the spec, or that kubeadm computes: `(component, flag, what to do instead)`.
const KEPT_FLAGS: &[(&str, &str, &str)] = &[
    ("kube-apiserver", "advertise-address", "it is each machine's own address"),
    ("kube-apiserver", "bind-address", "the firewall and the records count on all addresses"),
    ("kube-apiserver", "secure-port", "the firewall and the records count on 6443"),
    ("kube-apiserver", "service-cluster-ip-range", "set network.services"),
    ("kube-apiserver", "etcd-servers", "it is each machine's own etcd"),
    ("kube-apiserver", "client-ca-file", "the cluster's CA is the one in the state store"),
    ("kube-apiserver", "service-account-signing-key-file", "the key is the one in the state store"),
    ("kube-apiserver", "service-account-key-file", "the key is the one in the state store"),
    ("kube-controller-manager", "cluster-cidr", "set network.pods"),
    ("kube-controller-manager", "service-cluster-ip-range", "set network.services"),
    ("kube-controller-manager", "allocate-node-cidrs", "set network.pods"),
    ("kube-controller-manager", "cluster-name", "set name"),
    ("etcd", "data-dir", "snapshots and replacements count on /var/lib/etcd"),
    ("etcd", "name", "a member is called like its machine"),
    ("etcd", "initial-cluster", "kubeadm computes it"),
    ("etcd", "initial-cluster-state", "kubeadm computes it"),
    ("etcd", "initial-advertise-peer-urls", "kubeadm computes it"),
    ("etcd", "advertise-client-urls", "kubeadm computes it"),
    ("etcd", "listen-client-urls", "kubeadm computes it"),
    ("etcd", "listen-peer-urls", "kubeadm computes it"),
    ("kubelet", "node-ip", "it is each machine's own address"),
    ("kubelet", "provider-id", "it is each machine's instance id"),
    ("kubelet", "hostname-override", "a Node is called like its instance"),
    ("kubelet", "node-labels", "set `labels` of the instance group"),
    ("kubelet", "register-with-taints", "set `taints` of the instance group"),
    ("kubelet", "config", "set fields in [kubelet]"),
    ("kubelet", "kubeconfig", "kubeadm writes it"),
    ("kubelet", "bootstrap-kubeconfig", "kubeadm writes it"),
    ("kubelet", "container-runtime-endpoint", "kubewright installs the container runtime"),
];

/// Fields that other parts rely on.
const KEPT_FIELDS: &[(&str, &str, &str)] = &[
    ("kubelet", "apiVersion", "kubewright writes it"),
    ("kubelet", "kind", "kubewright writes it"),
    ("kubelet", "cgroupDriver", "it has to be that of the container runtime, systemd"),
    ("kubelet", "staticPodPath", "kubeadm writes the control plane's pods to its own folder"),
    ("kubelet", "clusterDNS", "it follows from network.services"),
    ("kubelet", "clusterDomain", "it is cluster.local in the certificates too"),
    ("kubelet", "providerID", "it is each machine's instance id"),
    ("kubelet", "containerRuntimeEndpoint", "kubewright installs the container runtime"),
    ("kube_proxy", "apiVersion", "kubewright writes it"),
    ("kube_proxy", "kind", "kubewright writes it"),
    ("kube_proxy", "clusterCIDR", "set network.pods"),
];

pub(super) fn check(spec: &SpecFile, findings: &mut Findings) {
    let version = spec.kubernetes.as_ref().map(|at| at.value);
    let components: [(&str, Option<&ComponentKeys>); 3] = [
        ("kube-apiserver", spec.api_server.as_ref().map(|at| &at.value)),
        ("kube-controller-manager", spec.controller_manager.as_ref().map(|at| &at.value)),
        ("kube-scheduler", spec.scheduler.as_ref().map(|at| &at.value)),
    ];
    for (name, keys) in components.into_iter().filter_map(|(name, keys)| Some((name, keys?))) {
        flags(name, &keys.extra_args, version, findings);
        envs(&keys.extra_envs, version, findings);
        volumes(&keys.extra_volumes, findings);
    }
    if let Some(EtcdKeys { extra_args, extra_envs, snapshots_kept: _ }) = spec.etcd.as_ref().map(|at| &at.value) {
        flags("etcd", extra_args, version, findings);
        envs(extra_envs, version, findings);
    }
    fields("kubelet", &spec.kubelet, findings);
    fields("kube_proxy", &spec.kube_proxy, findings);
    for group in spec.instance_group.iter().flat_map(|groups| groups.value.values()) {
        fields("kubelet", &group.kubelet, findings);
        flags("kubelet", &group.kubelet_args, version, findings);
        of_a_node(group, findings);
    }
}

fn refused(message: String, help: &str) -> Fault {
    Fault::new(Code::Component, message).help(help)
}

fn flags(
    component: &str,
    args: &Option<At<Map<FlagName, FlagValue>>>,
    version: Option<KubernetesVersion>,
    findings: &mut Findings,
) {
    for (name, _) in args.iter().flat_map(|args| &args.value.0) {
        let kept = KEPT_FLAGS.iter().find(|(of, flag, _)| *of == component && *flag == name.value.0);
        if let Some((.., instead)) = kept {
            findings.error(&name.span, refused(format!("`{}` of {component} is not to be set", name.value.0), instead));
        }
        if let Some(version) = version
            && policy(version).removed_flags.contains(&(component, name.value.0.as_str()))
        {
            let message = format!("{component} of Kubernetes {version} has no flag `{}` any more", name.value.0);
            findings.error(&name.span, refused(message, "leave it out"));
        }
    }
}

fn envs(envs: &Option<At<Map<EnvName, FlagValue>>>, version: Option<KubernetesVersion>, findings: &mut Findings) {
    let Some((name, _)) = envs.as_ref().and_then(|envs| envs.value.0.first()) else { return };
    if version.is_some_and(|version| version.minor < 31) {
        let message = "environment variables of components need Kubernetes 1.31".into();
        findings.error(&name.span, refused(message, "kubeadm's older configuration has no place for them"));
    }
}

fn volumes(volumes: &Option<At<List<HostPathKeys>>>, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for name in volumes.iter().flat_map(|volumes| volumes.value.values()).filter_map(|keys| keys.name.as_ref()) {
        if !seen.insert(&name.value.0) || name.value.0.starts_with("kubewright-") {
            let message = format!("the volume name `{}` is taken", name.value.0);
            findings.error(&name.span, refused(message, "each volume of a component needs a name of its own"));
        }
    }
}

fn fields(table: &str, fields: &Option<At<FreeFields>>, findings: &mut Findings) {
    for (name, _) in fields.iter().flat_map(|fields| &fields.value.0) {
        if let Some((.., why)) = KEPT_FIELDS.iter().find(|(of, field, _)| *of == table && *field == name.value) {
            findings.error(&name.span, refused(format!("`{}` of {table} is not to be set", name.value), why));
        }
    }
}

/// A bastion runs no kubelet; a machine that is no control plane runs no static pods.
fn of_a_node(group: &GroupKeys, findings: &mut Findings) {
    let Some(role) = group.role.as_ref().map(|at| at.value) else { return };
    if role == Role::Bastion {
        let places = [
            group.kubelet.as_ref().filter(|at| !at.value.0.is_empty()).map(|at| &at.span),
            group.kubelet_args.as_ref().filter(|at| !at.value.0.is_empty()).map(|at| &at.span),
            group.patches.as_ref().filter(|at| at.value.written > 0).map(|at| &at.span),
            group.ignore_preflight_errors.as_ref().filter(|at| at.value.written > 0).map(|at| &at.span),
        ];
        for span in places.into_iter().flatten() {
            let fault = Fault::new(Code::Bastion, "a bastion is no Kubernetes node and has no kubelet");
            findings.error(span, fault.help("leave this out"));
        }
    }
    for PatchKeys { target, .. } in group.patches.iter().flat_map(|patches| patches.value.values()) {
        if let Some(target) = target.as_ref().filter(|at| at.value != crate::cluster::PatchTarget::Kubelet)
            && role == Role::Node
        {
            let message = format!("machines of this group run no {}", target.value.as_str());
            findings.error(&target.span, refused(message, "only control planes do; `kubeletconfiguration` is for every machine"));
        }
    }
}
