//! What is laid over a release: a kustomization with one patch, or the values of a chart.

use serde::Serialize;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Packages, Role};

/// Name of the release's manifest beside the kustomization, which may name nothing outside of its folder.
pub(super) const MANIFEST: &str = "release.yaml";
pub(super) const SETTINGS: &str = "settings.yaml";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kustomization {
    api_version: &'static str,
    kind: &'static str,
    resources: [&'static str; 1],
    patches: [Patch; 1],
}

/// Merged into the object of its name; without one of that name nothing is applied.
#[derive(Serialize)]
struct Patch {
    path: &'static str,
}

pub(super) fn kustomization() -> Kustomization {
    Kustomization {
        api_version: "kustomize.config.k8s.io/v1beta1",
        kind: "Kustomization",
        resources: [MANIFEST],
        patches: [Patch { path: SETTINGS }],
    }
}

/// A strategic merge patch.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Settings {
    api_version: &'static str,
    kind: &'static str,
    metadata: Name,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Serialize)]
struct Name {
    name: &'static str,
    namespace: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Rest {
    Data(Value),
    Spec(Value),
}

/// Flannel's configuration is JSON in one string of a ConfigMap.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NetConf {
    network: String,
    #[serde(rename = "EnableNFTables")]
    enable_nftables: bool,
    backend: Backend,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Backend {
    #[serde(rename = "Type")]
    kind: &'static str,
}

pub(super) fn flannel(cluster: &Cluster) -> Result<Settings, String> {
    let conf = NetConf { network: cluster.network.pods.to_string(), enable_nftables: false, backend: Backend { kind: "vxlan" } };
    let conf = serde_json::to_string(&conf).map_err(|error| error.to_string())?;
    Ok(Settings {
        api_version: "v1",
        kind: "ConfigMap",
        metadata: Name { name: "kube-flannel-cfg", namespace: "kube-flannel" },
        rest: Rest::Data(json!({"net-conf.json": conf})),
    })
}

pub(super) fn calico(cluster: &Cluster) -> Settings {
    let env = json!([
        {"name": "CALICO_IPV4POOL_CIDR", "value": cluster.network.pods.to_string()},
        // The release says CrossSubnet. Packets of pods that leave a machine as they are fail AWS's source/destination check.
        {"name": "CALICO_IPV4POOL_VXLAN", "value": "Always"},
        // Otherwise the first interface that looks right counts.
        {"name": "IP_AUTODETECTION_METHOD", "value": "kubernetes-internal-ip"},
    ]);
    Settings {
        api_version: "apps/v1",
        kind: "DaemonSet",
        metadata: Name { name: "calico-node", namespace: "kube-system" },
        rest: Rest::Spec(json!({"template": {"spec": {"containers": [{"name": "calico-node", "env": env}]}}})),
    }
}

/// Values of Cilium's chart.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CiliumValues {
    /// kubeadm installs kube-proxy.
    kube_proxy_replacement: bool,
    routing_mode: &'static str,
    tunnel_protocol: &'static str,
    tunnel_port: u16,
    /// Each machine's pods have the addresses that its Node object was given out of the pods' CIDR.
    ipam: Ipam,
    k8s: K8s,
    /// Its port is not open between machines.
    hubble: Enabled,
    image: Image,
    envoy: Envoy,
    operator: Operator,
}

#[derive(Serialize)]
struct Ipam {
    mode: &'static str,
}

#[derive(Serialize)]
struct K8s {
    #[serde(rename = "requireIPv4PodCIDR")]
    require_ipv4_pod_cidr: bool,
}

#[derive(Serialize)]
struct Enabled {
    enabled: bool,
}

/// An archive of a bundle has the names of its images, and seldom the digests under which a registry knows them.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Image {
    use_digest: bool,
}

#[derive(Serialize)]
struct Envoy {
    image: Image,
}

#[derive(Serialize)]
struct Operator {
    /// Two never share a machine: with one machine the second would stay pending.
    replicas: u32,
    image: Image,
}

pub(super) fn cilium(cluster: &Cluster) -> CiliumValues {
    let image = Image { use_digest: matches!(cluster.packages, Packages::Apt { .. }) };
    let machines: u32 = cluster.groups.iter().filter(|group| group.role != Role::Bastion).map(|group| group.count).sum();
    CiliumValues {
        kube_proxy_replacement: false,
        routing_mode: "tunnel",
        tunnel_protocol: "vxlan",
        tunnel_port: 8472,
        ipam: Ipam { mode: "kubernetes" },
        k8s: K8s { require_ipv4_pod_cidr: true },
        hubble: Enabled { enabled: false },
        image,
        envoy: Envoy { image },
        operator: Operator { replicas: machines.clamp(1, 2), image },
    }
}
