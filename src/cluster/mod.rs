//! The validated model of a spec: defaults filled in, nothing optional that is required.
//!
//! A value of [`Cluster`] is only made by [`crate::spec`], which has checked every rule; the code after it does not check again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod components;
pub mod policy;
pub mod ports;
pub mod rolling;
pub mod version;
pub use components::{Component, Components, Fields, HostPath, NodeSettings, Patch, PatchKind, PatchTarget};
pub use policy::{KubeadmApi, Policy, policy};
pub use ports::Ports;
pub use rolling::{Amount, DrainEnd, RollingUpdate, UpgradeBy};
pub use version::KubernetesVersion;

/// One cluster, as the spec describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// A DNS name; the API answers at `api.<name>`.
    pub name: String,
    pub kubernetes: KubernetesVersion,
    pub region: String,
    /// Availability zones, in the order of the spec, without repeats; all lie in `region`.
    pub zones: Vec<String>,
    pub network: Network,
    pub api: Api,
    pub ssh: Ssh,
    /// CIDRs that may reach NodePorts (30000-32767) on nodes; empty: nobody.
    pub node_ports: Vec<Ipv4Net>,
    /// In the order of the spec; at least one `control-plane` group.
    pub groups: Vec<InstanceGroup>,
    /// Extra tags of every resource; never a reserved one.
    pub tags: BTreeMap<String, String>,
    pub packages: Packages,
    #[serde(default)]
    pub components: Box<Components>,
    /// `delete cluster` refuses.
    pub prevent_destroy: bool,
    /// Snapshots of etcd that stay in the store, of each kind.
    #[serde(default = "snapshots_kept")]
    pub snapshots_kept: u32,
}

fn snapshots_kept() -> u32 {
    10
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub cidr: Ipv4Net,
    pub pods: Ipv4Net,
    pub services: Ipv4Net,
    pub cni: Cni,
    /// Between control planes and nodes, beyond what kubewright opens itself; without repeats.
    #[serde(default)]
    pub ports: Vec<Ports>,
    pub topology: Topology,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cni {
    Calico,
    Cilium,
    Flannel,
    /// The user installs one; nodes stay NotReady until then.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// Machines have public addresses and a route to the internet gateway.
    Public,
    /// Machines have private addresses only and reach out through NAT gateways in public ("utility") subnets.
    Private { nat: Nat },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nat {
    /// One gateway, in the first zone: cheaper, lost with that zone.
    One,
    PerZone,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Api {
    /// Name of the Route 53 hosted zone that holds `api.<name>`; a suffix of the cluster's name.
    pub dns_zone: String,
    /// More names or addresses in the API server's certificate.
    pub sans: Vec<String>,
    /// CIDRs that may reach the API (tcp 6443).
    pub access: Vec<Ipv4Net>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ssh {
    /// `None`: the login user of each image's alias.
    pub user: Option<String>,
    pub port: u16,
    /// One line of OpenSSH format: `ssh-ed25519 AAAA... comment`.
    pub public_key: String,
    pub auth: SshAuth,
    /// CIDRs that may reach tcp 22 of machines (private topology with bastion: of the bastion only).
    pub access: Vec<Ipv4Net>,
    pub address: SshAddress,
    pub host_keys: HostKeys,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SshAuth {
    /// The agent at `SSH_AUTH_SOCK`.
    Agent,
    /// Private key file, absolute; its passphrase comes from `KUBEWRIGHT_SSH_PASSPHRASE`, never from the spec.
    KeyFile(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SshAddress {
    Public,
    Private,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostKeys {
    /// Read from the instance's console output before the first connection.
    Console,
    /// The first key seen is believed and pinned; only where the spec names it.
    TrustOnFirstUse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    ControlPlane,
    Node,
    Bastion,
}

/// Machines made alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceGroup {
    pub name: String,
    pub role: Role,
    pub count: u32,
    /// Subset of the cluster's zones, in their order; never empty.
    pub zones: Vec<String>,
    pub machine_type: String,
    pub image: Image,
    pub volume: Volume,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    pub tags: BTreeMap<String, String>,
    /// Name of an existing IAM instance profile.
    pub instance_profile: Option<String>,
    /// `HttpPutResponseHopLimit` of the instance metadata service; 1 keeps pods away from it.
    pub metadata_hop_limit: u8,
    #[serde(default)]
    pub rolling_update: RollingUpdate,
    #[serde(default)]
    pub settings: NodeSettings,
}

/// What a group puts on the Node objects of its machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
}

impl InstanceGroup {
    pub fn marks(&self) -> Marks {
        Marks { labels: self.labels.clone(), taints: self.taints.clone() }
    }
}

impl Marks {
    /// Labels and taints, as `(key, effect)`, that these marks have and others lack.
    pub fn lost(&self, others: &Self) -> (Vec<&str>, Vec<(&str, TaintEffect)>) {
        let labels = self.labels.keys().filter(|key| !others.labels.contains_key(*key)).map(String::as_str).collect();
        let kept = |taint: &&Taint| others.taints.iter().any(|other| (&other.key, other.effect) == (&taint.key, taint.effect));
        let taints = self.taints.iter().filter(|taint| !kept(taint)).map(|taint| (taint.key.as_str(), taint.effect)).collect();
        (labels, taints)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Image {
    /// A name that the plan resolves to a pinned AMI.
    Alias(ImageAlias),
    /// `ami-...`; the login user must be in `ssh.user`.
    Ami(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ImageAlias {
    #[serde(rename = "debian-12")]
    Debian12,
    #[serde(rename = "debian-13")]
    Debian13,
    #[serde(rename = "ubuntu-22.04")]
    Ubuntu2204,
    #[serde(rename = "ubuntu-24.04")]
    Ubuntu2404,
}

impl ImageAlias {
    pub const ALL: [Self; 4] = [Self::Debian12, Self::Debian13, Self::Ubuntu2204, Self::Ubuntu2404];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debian12 => "debian-12",
            Self::Debian13 => "debian-13",
            Self::Ubuntu2204 => "ubuntu-22.04",
            Self::Ubuntu2404 => "ubuntu-24.04",
        }
    }

    /// Login user of the distribution's official AMI.
    pub fn user(self) -> &'static str {
        match self {
            Self::Debian12 | Self::Debian13 => "admin",
            Self::Ubuntu2204 | Self::Ubuntu2404 => "ubuntu",
        }
    }

    /// AWS account that publishes the official AMIs (wiki.debian.org/Cloud/AmazonEC2Image, Canonical's documentation).
    pub fn owner(self) -> &'static str {
        match self {
            Self::Debian12 | Self::Debian13 => "136693071363",
            Self::Ubuntu2204 | Self::Ubuntu2404 => "099720109477",
        }
    }

    /// `DescribeImages` filter `name`; `arch` is `amd64` or `arm64`.
    pub fn name_pattern(self, arch: &str) -> String {
        match self {
            Self::Debian12 => format!("debian-12-{arch}-*"),
            Self::Debian13 => format!("debian-13-{arch}-*"),
            Self::Ubuntu2204 => format!("ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-{arch}-server-*"),
            Self::Ubuntu2404 => format!("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-{arch}-server-*"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub size_gib: u32,
    /// `gp3`, `gp2`, `io1`, `io2`.
    pub kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: TaintEffect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TaintEffect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

/// Where kubeadm, kubelet, kubectl, crictl and the CNI plugins come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Packages {
    /// The per-minor apt repository; `None`: the community's own. The signing key is pinned.
    Apt {
        mirror: Option<String>,
        /// Fingerprint of a mirror's own key, 40 hexadecimal digits in upper case; `None`: the community's key.
        #[serde(default)]
        signing_key: Option<String>,
    },
    /// An air-gapped bundle: a folder, absolute, with `VERSION`, `SHA256SUMS`, `bin/`, `cni/`, `images/`, `systemd/`.
    Bundle(PathBuf),
}

impl Cluster {
    pub fn groups_of(&self, role: Role) -> impl Iterator<Item = &InstanceGroup> {
        self.groups.iter().filter(move |group| group.role == role)
    }

    /// A model for a cluster of which nothing but the name is known: to delete it by its tags.
    pub fn unknown(name: &str) -> Self {
        let nothing = Ipv4Net::default();
        Self {
            name: name.to_owned(),
            kubernetes: KubernetesVersion { major: 0, minor: 0, patch: 0 },
            region: String::new(),
            zones: vec![],
            network: Network {
                cidr: nothing,
                pods: nothing,
                services: nothing,
                cni: Cni::None,
                ports: vec![],
                topology: Topology::Public,
            },
            api: Api { dns_zone: String::new(), sans: vec![], access: vec![] },
            ssh: Ssh {
                user: None,
                port: 22,
                public_key: String::new(),
                auth: SshAuth::Agent,
                access: vec![],
                address: SshAddress::Public,
                host_keys: HostKeys::Console,
            },
            node_ports: vec![],
            groups: vec![],
            tags: BTreeMap::new(),
            packages: Packages::Apt { mirror: None, signing_key: None },
            components: Box::default(),
            prevent_destroy: false,
            snapshots_kept: snapshots_kept(),
        }
    }

    pub fn group(&self, name: &str) -> Option<&InstanceGroup> {
        self.groups.iter().find(|group| group.name == name)
    }

    pub fn has_bastion(&self) -> bool {
        self.groups_of(Role::Bastion).next().is_some()
    }

    /// The name at which users and `export kubeconfig` reach the API.
    pub fn api_name(&self) -> String {
        format!("api.{}", self.name)
    }

    /// `controlPlaneEndpoint`, without the port.
    pub fn api_internal_name(&self) -> String {
        format!("api.internal.{}", self.name)
    }

    /// Login user of a group's machines. An AMI id without `ssh.user` is refused by the spec's checks.
    pub fn login_user<'a>(&'a self, group: &'a InstanceGroup) -> &'a str {
        match (&self.ssh.user, &group.image) {
            (Some(user), _) => user,
            (None, Image::Alias(alias)) => alias.user(),
            (None, Image::Ami(_)) => "admin",
        }
    }
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Node => "node",
            Self::Bastion => "bastion",
        }
    }
}

impl TaintEffect {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

impl Cni {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Calico => "calico",
            Self::Cilium => "cilium",
            Self::Flannel => "flannel",
            Self::None => "none",
        }
    }
}
