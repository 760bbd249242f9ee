//! kubeadm's, the kubelet's and kube-proxy's configuration, as far as kubewright sets it. Field names are the API's.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cluster::{Component as Settings, HostPath, KubeadmApi};

/// Flags of a component: a map until v1beta3, a list from v1beta4 on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ExtraArgs {
    Map(BTreeMap<String, String>),
    List(Vec<ExtraArg>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExtraArg {
    pub name: String,
    pub value: String,
}

impl ExtraArgs {
    /// Ours, with the user's laid over them; sorted by name.
    pub fn new(api: KubeadmApi, ours: Vec<(&str, String)>, theirs: &BTreeMap<String, String>) -> Self {
        let mut args: BTreeMap<String, String> = ours.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        args.extend(theirs.clone());
        match api {
            KubeadmApi::V1Beta3 => Self::Map(args),
            KubeadmApi::V1Beta4 => Self::List(args.into_iter().map(|(name, value)| ExtraArg { name, value }).collect()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InitConfiguration {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub bootstrap_tokens: Vec<BootstrapToken>,
    #[serde(rename = "localAPIEndpoint")]
    pub local_api_endpoint: LocalApiEndpoint,
    pub node_registration: NodeRegistration,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patches: Option<Patches>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Patches {
    pub directory: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BootstrapToken {
    pub token: String,
    pub ttl: &'static str,
    pub usages: [&'static str; 2],
    pub groups: [&'static str; 1],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalApiEndpoint {
    pub advertise_address: String,
    pub bind_port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRegistration {
    pub name: String,
    pub cri_socket: &'static str,
    pub image_pull_policy: &'static str,
    /// Empty means none at all; absent would mean kubeadm's own default.
    pub taints: Vec<NodeTaint>,
    pub kubelet_extra_args: ExtraArgs,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore_preflight_errors: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeTaint {
    pub key: String,
    pub value: String,
    pub effect: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterConfiguration {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub cluster_name: String,
    pub kubernetes_version: String,
    pub control_plane_endpoint: String,
    pub networking: Networking,
    /// Of the certificates that kubeadm makes; only v1beta4 has it. Those of the authorities are of this kind as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_algorithm: Option<&'static str>,
    pub api_server: ApiServer,
    pub controller_manager: Component,
    pub scheduler: Component,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd: Option<Etcd>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Networking {
    pub pod_subnet: String,
    pub service_subnet: String,
    pub dns_domain: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiServer {
    #[serde(rename = "certSANs")]
    pub cert_sans: Vec<String>,
    #[serde(flatten)]
    pub component: Component,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    pub extra_args: ExtraArgs,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_envs: Vec<ExtraArg>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_volumes: Vec<HostPathMount>,
}

impl Component {
    pub fn new(api: KubeadmApi, args: Vec<(&str, String)>, volumes: Vec<HostPathMount>, settings: &Settings) -> Self {
        let theirs = settings.extra_volumes.iter().map(HostPathMount::of);
        Self {
            extra_args: ExtraArgs::new(api, args, &settings.extra_args),
            extra_envs: envs(settings),
            extra_volumes: volumes.into_iter().chain(theirs).collect(),
        }
    }
}

fn envs(settings: &Settings) -> Vec<ExtraArg> {
    let env = |(name, value): (&String, &String)| ExtraArg { name: name.clone(), value: value.clone() };
    settings.extra_envs.iter().map(env).collect()
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostPathMount {
    pub name: String,
    pub host_path: String,
    pub mount_path: String,
    pub read_only: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path_type: String,
}

impl HostPathMount {
    fn of(path: &HostPath) -> Self {
        let HostPath { name, host_path, mount_path, read_only, path_type } = path.clone();
        Self { name, host_path, mount_path, read_only, path_type }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Etcd {
    pub local: LocalEtcd,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalEtcd {
    pub data_dir: &'static str,
    pub extra_args: ExtraArgs,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_envs: Vec<ExtraArg>,
}

impl Etcd {
    /// `None`: kubeadm's own etcd is left as it is.
    pub fn of(api: KubeadmApi, settings: &Settings) -> Option<Self> {
        let extra_args = ExtraArgs::new(api, vec![], &settings.extra_args);
        let local = LocalEtcd { data_dir: "/var/lib/etcd", extra_args, extra_envs: envs(settings) };
        (!(settings.extra_args.is_empty() && settings.extra_envs.is_empty())).then_some(Self { local })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinConfiguration {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub discovery: JoinDiscovery,
    pub node_registration: NodeRegistration,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<JoinControlPlane>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patches: Option<Patches>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinDiscovery {
    pub bootstrap_token: TokenDiscovery,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenDiscovery {
    pub token: String,
    pub api_server_endpoint: String,
    pub ca_cert_hashes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JoinControlPlane {
    #[serde(rename = "localAPIEndpoint")]
    pub local_api_endpoint: LocalApiEndpoint,
}

/// `kubelet.config.k8s.io/v1beta1`; the values follow CIS 4.2 where nothing breaks by them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KubeletConfiguration {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub cgroup_driver: &'static str,
    pub authentication: KubeletAuthentication,
    pub authorization: KubeletAuthorization,
    pub read_only_port: u16,
    pub rotate_certificates: bool,
    pub seccomp_default: bool,
    pub pod_pids_limit: u32,
    pub streaming_connection_idle_timeout: &'static str,
    pub tls_cipher_suites: [&'static str; 6],
    pub tls_min_version: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KubeletAuthentication {
    pub anonymous: Enabled,
    pub webhook: Enabled,
    pub x509: X509,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Enabled {
    pub enabled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct X509 {
    #[serde(rename = "clientCAFile")]
    pub client_ca_file: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KubeletAuthorization {
    pub mode: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KubeProxyConfiguration {
    pub api_version: &'static str,
    pub kind: &'static str,
    #[serde(rename = "clusterCIDR")]
    pub cluster_cidr: String,
    pub mode: &'static str,
    pub metrics_bind_address: &'static str,
}
