//! Resources that the account holds: fetched by [`crate::cloud`], never knowing what is desired.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::desired::Rule;

pub type Tags = BTreeMap<String, String>;

/// Whose credentials these are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Twelve digits.
    pub id: String,
    pub arn: String,
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: String,
}

/// Everything that one run read about one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    pub vpcs: Vec<Vpc>,
    pub subnets: Vec<Subnet>,
    pub internet_gateways: Vec<InternetGateway>,
    pub nat_gateways: Vec<NatGateway>,
    pub addresses: Vec<Address>,
    pub route_tables: Vec<RouteTable>,
    /// Tagged groups, and the default group of a tagged VPC.
    pub security_groups: Vec<SecurityGroup>,
    pub key_pairs: Vec<KeyPair>,
    /// Every state, terminated ones too.
    pub instances: Vec<Instance>,
    /// Hosted zones of the wanted name; usually one.
    pub hosted_zones: Vec<HostedZone>,
    /// Record sets of the hosted zone at or below the cluster's name.
    pub records: Vec<RecordSet>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    pub id: String,
    pub cidr: Ipv4Net,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    pub id: String,
    pub vpc: String,
    pub cidr: Ipv4Net,
    pub zone: String,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InternetGateway {
    pub id: String,
    /// VPCs that it is attached to.
    pub attached: Vec<String>,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatGateway {
    pub id: String,
    pub subnet: String,
    /// `pending`, `available`, `failed`, `deleting`, `deleted`.
    pub state: String,
    pub allocations: Vec<String>,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// `eipalloc-...`
    pub allocation: String,
    pub public: String,
    pub association: Option<String>,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    pub id: String,
    pub vpc: String,
    pub routes: Vec<Route>,
    pub associations: Vec<Association>,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub destination: String,
    /// `local`, `igw-...`, `nat-...` or another target's id.
    pub target: String,
    /// `active` or `blackhole`.
    pub state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Association {
    pub id: String,
    /// `None` for the main association.
    pub subnet: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    pub id: String,
    pub name: String,
    pub vpc: String,
    /// One rule for each peer; groups are always [`crate::desired::Peer::Foreign`] with their id here: what they mean is the planner's business.
    pub rules: Vec<Rule>,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPair {
    pub id: String,
    pub name: String,
    /// OpenSSH line, where AWS gives it (`IncludePublicKey`).
    pub public_key: Option<String>,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub id: String,
    /// `pending`, `running`, `stopping`, `stopped`, `shutting-down`, `terminated`.
    pub state: String,
    pub image: String,
    pub machine_type: String,
    pub zone: String,
    pub subnet: Option<String>,
    pub private_address: Option<String>,
    pub public_address: Option<String>,
    pub key_name: Option<String>,
    pub security_groups: Vec<String>,
    pub source_dest_check: Option<bool>,
    /// RFC 3339.
    pub launched: Option<String>,
    pub tags: Tags,
}

impl Instance {
    /// Exists as far as the cluster is concerned: not terminated and not on the way there.
    pub fn is_live(&self) -> bool {
        !matches!(self.state.as_str(), "terminated" | "shutting-down")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostedZone {
    /// Without the `/hostedzone/` prefix.
    pub id: String,
    /// Without the trailing dot.
    pub name: String,
    pub private: bool,
    /// Of a public zone: the zone's name servers, where known.
    pub name_servers: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSet {
    /// Lower case, without the trailing dot; `\052` is `*`.
    pub name: String,
    pub kind: String,
    pub ttl: u32,
    /// TXT values without their quotes.
    pub values: Vec<String>,
    /// An alias or routing policy: not ours to touch.
    pub special: bool,
}

/// An AMI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    pub id: String,
    pub name: String,
    pub owner: String,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    pub root_device: String,
    /// RFC 3339; the newest wins.
    pub created: String,
    pub state: String,
}

/// What the region sells: facts of AWS rather than of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogue {
    /// Zones of the region whose state is `available`.
    pub zones: Vec<String>,
    pub machine_types: Vec<MachineType>,
    pub images: Vec<Image>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineType {
    pub name: String,
    pub architectures: Vec<String>,
    pub vcpus: u32,
    pub memory_mib: u64,
    /// Zones of the region that offer it.
    pub zones: Vec<String>,
}
