//! kubeadm's, the kubelet's and kube-proxy's configuration, as far as kubewright sets it. Field names are the API's.

use std::collections::BTreeMap;

use serde::Serialize;

use super::policy::Api;

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
    pub fn new(api: Api, args: Vec<(&str, String)>) -> Self {
        let args = args.into_iter().map(|(name, value)| (name.to_string(), value));
        match api {
            Api::V1Beta3 => Self::Map(args.collect()),
            Api::V1Beta4 => Self::List(args.map(|(name, value)| ExtraArg { name, value }).collect()),
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
    pub api_server: ApiServer,
    pub controller_manager: Component,
    pub scheduler: Component,
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
    #[serde(rename = "extraArgs")]
    pub extra_args: ExtraArgs,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    pub extra_args: ExtraArgs,
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
