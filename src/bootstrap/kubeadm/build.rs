//! From cluster and machine to kubeadm's files.

use serde_json::Value;

use super::api_server::{self, CIPHERS};
use super::check::document;
use super::model::*;
use super::patches;
use crate::bootstrap::Machine;
use crate::cluster::components::lay_over;
use crate::cluster::{Cluster, Fields, InstanceGroup, KubeadmApi, Role, policy};
use crate::secret::Secret;

pub const CRI_SOCKET: &str = "unix:///run/containerd/containerd.sock";
const API_PORT: u16 = 6443;
const CA_FILE: &str = "/etc/kubernetes/pki/ca.crt";

/// A machine in its place.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub cluster: &'a Cluster,
    pub group: &'a InstanceGroup,
    pub machine: &'a Machine,
}

/// How a joining node finds and proves the cluster.
#[derive(Clone, Debug)]
pub struct Discovery {
    pub token: Secret,
    /// `sha256:...` of the CA's public key.
    pub ca_cert_hash: String,
}

/// `init.yaml`: Init, Cluster, Kubelet and KubeProxy configuration. Holds the token: for a file of mode 0600.
pub fn init_file(place: Place<'_>, token: &Secret) -> Result<Secret, String> {
    let api = policy(place.cluster.kubernetes).kubeadm_api;
    let init = InitConfiguration {
        api_version: api.as_str(),
        kind: "InitConfiguration",
        // Without one of ours kubeadm makes a token that lives for a day.
        bootstrap_tokens: vec![BootstrapToken {
            token: token.expose().into(),
            ttl: "20m0s",
            usages: ["signing", "authentication"],
            groups: ["system:bootstrappers:kubeadm:default-node-token"],
        }],
        local_api_endpoint: endpoint(place.machine),
        node_registration: registration(place, api),
        patches: patches_of(place),
    };
    let documents = [
        document("kubeadm/init.yaml.j2", &init)?,
        document("kubeadm/cluster.yaml.j2", &cluster_configuration(place, api))?,
        document("kubeadm/fields.yaml.j2", &with_settings(&kubelet_configuration(), &place.cluster.components.kubelet)?)?,
        document(
            "kubeadm/fields.yaml.j2",
            &with_settings(&kube_proxy_configuration(place.cluster), &place.cluster.components.kube_proxy)?,
        )?,
    ];
    Ok(Secret::new(documents.join("---\n")))
}

/// `join.yaml`. Holds the token: for a file of mode 0600.
pub fn join_file(place: Place<'_>, discovery: &Discovery) -> Result<Secret, String> {
    let api = policy(place.cluster.kubernetes).kubeadm_api;
    let join = JoinConfiguration {
        api_version: api.as_str(),
        kind: "JoinConfiguration",
        discovery: JoinDiscovery {
            bootstrap_token: TokenDiscovery {
                token: discovery.token.expose().into(),
                api_server_endpoint: control_plane_endpoint(place.cluster),
                ca_cert_hashes: vec![discovery.ca_cert_hash.clone()],
            },
        },
        node_registration: registration(place, api),
        control_plane: (place.group.role == Role::ControlPlane)
            .then(|| JoinControlPlane { local_api_endpoint: endpoint(place.machine) }),
        patches: patches_of(place),
    };
    document("kubeadm/join.yaml.j2", &join).map(Secret::new)
}

/// Ours, with the user's fields laid over them.
fn with_settings(ours: &impl serde::Serialize, theirs: &Fields) -> Result<Value, String> {
    let mut value = serde_json::to_value(ours).map_err(|error| error.to_string())?;
    if let Some(fields) = value.as_object_mut() {
        lay_over(fields, theirs);
    }
    Ok(value)
}

fn patches_of(place: Place<'_>) -> Option<Patches> {
    patches::has_any(place).then(|| Patches { directory: patches::folder() })
}

/// Host and port.
pub fn control_plane_endpoint(cluster: &Cluster) -> String {
    format!("{}:{API_PORT}", cluster.api_internal_name())
}

/// The API server of this machine, whatever the endpoint's name leads to.
pub fn own_server(machine: &Machine) -> String {
    format!("https://{}:{API_PORT}", machine.private_address)
}

fn endpoint(machine: &Machine) -> LocalApiEndpoint {
    LocalApiEndpoint { advertise_address: machine.private_address.clone(), bind_port: API_PORT }
}

/// Taints are set at registration, so that no pod slips onto the node before; labels that a kubelet may not give itself come later.
fn registration(place: Place<'_>, api: KubeadmApi) -> NodeRegistration {
    let reserved = (place.group.role == Role::ControlPlane).then(|| NodeTaint {
        key: "node-role.kubernetes.io/control-plane".into(),
        value: String::new(),
        effect: "NoSchedule".into(),
    });
    let wanted = place.group.taints.iter().map(|taint| NodeTaint {
        key: taint.key.clone(),
        value: taint.value.clone(),
        effect: taint.effect.as_str().into(),
    });
    let mut args = vec![("node-ip", place.machine.private_address.clone())];
    if place.machine.instance.starts_with("i-") || place.machine.instance.starts_with('<') {
        args.push(("provider-id", format!("aws:///{}/{}", place.machine.zone, place.machine.instance)));
    }
    let ignored: std::collections::BTreeSet<String> = place
        .cluster
        .components
        .ignore_preflight_errors
        .iter()
        .chain(&place.group.settings.ignore_preflight_errors)
        .cloned()
        .collect();
    NodeRegistration {
        name: place.machine.instance.clone(),
        cri_socket: CRI_SOCKET,
        image_pull_policy: "IfNotPresent",
        taints: reserved.into_iter().chain(wanted).collect(),
        kubelet_extra_args: ExtraArgs::new(api, args, &place.group.settings.kubelet_args),
        ignore_preflight_errors: ignored.into_iter().collect(),
    }
}

/// Names and addresses of the API server's certificate beside those that kubeadm adds itself (node name, service address, own address).
fn cert_sans(place: Place<'_>) -> Vec<String> {
    let mut names = vec![place.cluster.api_name(), place.cluster.api_internal_name()];
    let addresses = std::iter::once(&place.machine.private_address).chain(&place.machine.public_address);
    for name in place.cluster.api.sans.iter().chain(addresses) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn cluster_configuration(place: Place<'_>, api: KubeadmApi) -> ClusterConfiguration {
    let off = || ("profiling", "false".to_string());
    let components = &place.cluster.components;
    ClusterConfiguration {
        api_version: api.as_str(),
        kind: "ClusterConfiguration",
        cluster_name: place.cluster.name.clone(),
        kubernetes_version: format!("v{}", place.cluster.kubernetes),
        control_plane_endpoint: control_plane_endpoint(place.cluster),
        networking: Networking {
            pod_subnet: place.cluster.network.pods.to_string(),
            service_subnet: place.cluster.network.services.to_string(),
            dns_domain: "cluster.local",
        },
        encryption_algorithm: (api == KubeadmApi::V1Beta4).then_some("ECDSA-P256"),
        api_server: ApiServer {
            cert_sans: cert_sans(place),
            component: Component::new(api, api_server::flags(), api_server::volumes(), &components.api_server),
        },
        // CIS 1.3.1, 1.3.2, 1.4.1.
        controller_manager: Component::new(
            api,
            vec![off(), ("terminated-pod-gc-threshold", "1000".into())],
            vec![],
            &components.controller_manager,
        ),
        scheduler: Component::new(api, vec![off()], vec![], &components.scheduler),
        etcd: Etcd::of(api, &components.etcd),
    }
}

fn kubelet_configuration() -> KubeletConfiguration {
    KubeletConfiguration {
        api_version: "kubelet.config.k8s.io/v1beta1",
        kind: "KubeletConfiguration",
        cgroup_driver: "systemd",
        authentication: KubeletAuthentication {
            anonymous: Enabled { enabled: false },
            webhook: Enabled { enabled: true },
            x509: X509 { client_ca_file: CA_FILE },
        },
        authorization: KubeletAuthorization { mode: "Webhook" },
        read_only_port: 0,
        rotate_certificates: true,
        seccomp_default: true,
        pod_pids_limit: 4096,
        streaming_connection_idle_timeout: "5m0s",
        tls_cipher_suites: CIPHERS,
        tls_min_version: "VersionTLS12",
    }
}

fn kube_proxy_configuration(cluster: &Cluster) -> KubeProxyConfiguration {
    KubeProxyConfiguration {
        api_version: "kubeproxy.config.k8s.io/v1alpha1",
        kind: "KubeProxyConfiguration",
        cluster_cidr: cluster.network.pods.to_string(),
        mode: "iptables",
        metrics_bind_address: "127.0.0.1:10249",
    }
}
