//! Changes of the account, as data: every mutating AWS call that kubewright can make.
//!
//! A plan holds them with symbolic references; just before the call the references are resolved, and the resolved request is
//! what the intent stores and what a crashed run sends again, byte for byte.

use std::collections::BTreeMap;
use std::fmt;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desired::{ResourceId, Rule};

pub type Tags = BTreeMap<String, String>;

/// A value that may only be known once another action is done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ref {
    Known(String),
    /// The AWS id of a resource of this cluster.
    Id(ResourceId),
    PrivateAddress(ResourceId),
    PublicAddress(ResourceId),
}

impl Ref {
    /// The value, once resolved. An unresolved reference that reaches a call is a defect; the call must refuse it.
    pub fn known(&self) -> Option<&str> {
        match self {
            Self::Known(value) => Some(value),
            Self::Id(_) | Self::PrivateAddress(_) | Self::PublicAddress(_) => None,
        }
    }
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(value) => f.write_str(value),
            Self::Id(id) => write!(f, "<{id}>"),
            Self::PrivateAddress(id) => write!(f, "<private address of {id}>"),
            Self::PublicAddress(id) => write!(f, "<public address of {id}>"),
        }
    }
}

/// `RunInstances` for one machine (`MinCount` = `MaxCount` = 1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunInstance {
    pub image: String,
    pub machine_type: String,
    pub subnet: Ref,
    pub security_groups: Vec<Ref>,
    pub public_address: bool,
    pub key_name: String,
    /// Plain text; the call encodes it in base64. Never a secret.
    pub user_data: String,
    pub root_device: String,
    pub volume_gib: u32,
    pub volume_kind: String,
    pub instance_profile: Option<String>,
    pub metadata_hop_limit: u8,
    pub source_dest_check: bool,
    /// Also put on the root volume and the network interface.
    pub tags: Tags,
}

/// Action on one Route 53 record set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordVerb {
    Create,
    Upsert,
    Delete,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordChange {
    pub verb: RecordVerb,
    /// Without the trailing dot, lower case.
    pub name: String,
    /// `A` or `TXT`.
    pub kind: String,
    /// Seconds.
    pub ttl: u32,
    /// Addresses, or TXT strings without their quotes.
    pub values: Vec<Ref>,
}

/// One mutating AWS call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "call")]
pub enum Change {
    CreateVpc {
        #[schemars(with = "String")]
        cidr: Ipv4Net,
        tags: Tags,
    },
    /// `attribute`: `enableDnsSupport` or `enableDnsHostnames`.
    ModifyVpcAttribute {
        vpc: Ref,
        attribute: String,
        value: bool,
    },
    DeleteVpc {
        vpc: Ref,
    },
    CreateSubnet {
        vpc: Ref,
        #[schemars(with = "String")]
        cidr: Ipv4Net,
        zone: String,
        tags: Tags,
    },
    DeleteSubnet {
        subnet: Ref,
    },
    CreateInternetGateway {
        tags: Tags,
    },
    AttachInternetGateway {
        gateway: Ref,
        vpc: Ref,
    },
    DetachInternetGateway {
        gateway: Ref,
        vpc: Ref,
    },
    DeleteInternetGateway {
        gateway: Ref,
    },
    AllocateAddress {
        tags: Tags,
    },
    ReleaseAddress {
        allocation: Ref,
    },
    CreateNatGateway {
        subnet: Ref,
        allocation: Ref,
        token: String,
        tags: Tags,
    },
    DeleteNatGateway {
        gateway: Ref,
    },
    CreateRouteTable {
        vpc: Ref,
        token: String,
        tags: Tags,
    },
    DeleteRouteTable {
        table: Ref,
    },
    /// `target`: an internet gateway or a NAT gateway, told apart by `nat`.
    CreateRoute {
        table: Ref,
        #[schemars(with = "String")]
        destination: Ipv4Net,
        target: Ref,
        nat: bool,
    },
    ReplaceRoute {
        table: Ref,
        #[schemars(with = "String")]
        destination: Ipv4Net,
        target: Ref,
        nat: bool,
    },
    AssociateRouteTable {
        table: Ref,
        subnet: Ref,
    },
    DisassociateRouteTable {
        association: String,
    },
    CreateSecurityGroup {
        vpc: Ref,
        name: String,
        description: String,
        tags: Tags,
    },
    DeleteSecurityGroup {
        group: Ref,
    },
    /// All rules of one direction at once. `groups` resolves [`crate::desired::Peer::Group`]: role name -> group id.
    AuthorizeRules {
        group: Ref,
        egress: bool,
        rules: Vec<Rule>,
        groups: BTreeMap<String, Ref>,
    },
    RevokeRules {
        group: Ref,
        egress: bool,
        rules: Vec<Rule>,
        groups: BTreeMap<String, Ref>,
    },
    ImportKeyPair {
        name: String,
        public_key: String,
        tags: Tags,
    },
    DeleteKeyPair {
        name: String,
    },
    RunInstance {
        token: String,
        request: Box<RunInstance>,
    },
    TerminateInstance {
        instance: Ref,
    },
    ModifySourceDestCheck {
        instance: Ref,
        value: bool,
    },
    CreateTags {
        resource: Ref,
        tags: Tags,
    },
    DeleteTags {
        resource: Ref,
        keys: Vec<String>,
    },
    ChangeRecords {
        zone: String,
        changes: Vec<RecordChange>,
    },
}

impl Change {
    /// Name of the AWS action, as in IAM policies without the service prefix.
    pub fn action(&self) -> &'static str {
        match self {
            Self::CreateVpc { .. } => "CreateVpc",
            Self::ModifyVpcAttribute { .. } => "ModifyVpcAttribute",
            Self::DeleteVpc { .. } => "DeleteVpc",
            Self::CreateSubnet { .. } => "CreateSubnet",
            Self::DeleteSubnet { .. } => "DeleteSubnet",
            Self::CreateInternetGateway { .. } => "CreateInternetGateway",
            Self::AttachInternetGateway { .. } => "AttachInternetGateway",
            Self::DetachInternetGateway { .. } => "DetachInternetGateway",
            Self::DeleteInternetGateway { .. } => "DeleteInternetGateway",
            Self::AllocateAddress { .. } => "AllocateAddress",
            Self::ReleaseAddress { .. } => "ReleaseAddress",
            Self::CreateNatGateway { .. } => "CreateNatGateway",
            Self::DeleteNatGateway { .. } => "DeleteNatGateway",
            Self::CreateRouteTable { .. } => "CreateRouteTable",
            Self::DeleteRouteTable { .. } => "DeleteRouteTable",
            Self::CreateRoute { .. } => "CreateRoute",
            Self::ReplaceRoute { .. } => "ReplaceRoute",
            Self::AssociateRouteTable { .. } => "AssociateRouteTable",
            Self::DisassociateRouteTable { .. } => "DisassociateRouteTable",
            Self::CreateSecurityGroup { .. } => "CreateSecurityGroup",
            Self::DeleteSecurityGroup { .. } => "DeleteSecurityGroup",
            Self::AuthorizeRules { egress: false, .. } => "AuthorizeSecurityGroupIngress",
            Self::AuthorizeRules { egress: true, .. } => "AuthorizeSecurityGroupEgress",
            Self::RevokeRules { egress: false, .. } => "RevokeSecurityGroupIngress",
            Self::RevokeRules { egress: true, .. } => "RevokeSecurityGroupEgress",
            Self::ImportKeyPair { .. } => "ImportKeyPair",
            Self::DeleteKeyPair { .. } => "DeleteKeyPair",
            Self::RunInstance { .. } => "RunInstances",
            Self::TerminateInstance { .. } => "TerminateInstances",
            Self::ModifySourceDestCheck { .. } => "ModifyInstanceAttribute",
            Self::CreateTags { .. } => "CreateTags",
            Self::DeleteTags { .. } => "DeleteTags",
            Self::ChangeRecords { .. } => "ChangeResourceRecordSets",
        }
    }

    /// Every reference of the request, to be resolved before the call.
    pub fn refs_mut(&mut self) -> Vec<&mut Ref> {
        match self {
            Self::CreateVpc { .. }
            | Self::CreateInternetGateway { .. }
            | Self::AllocateAddress { .. }
            | Self::DisassociateRouteTable { .. }
            | Self::ImportKeyPair { .. }
            | Self::DeleteKeyPair { .. } => vec![],
            Self::ModifyVpcAttribute { vpc, .. }
            | Self::DeleteVpc { vpc }
            | Self::CreateSubnet { vpc, .. }
            | Self::CreateRouteTable { vpc, .. }
            | Self::CreateSecurityGroup { vpc, .. } => vec![vpc],
            Self::DeleteSubnet { subnet } => vec![subnet],
            Self::AttachInternetGateway { gateway, vpc } | Self::DetachInternetGateway { gateway, vpc } => vec![gateway, vpc],
            Self::DeleteInternetGateway { gateway } | Self::DeleteNatGateway { gateway } => vec![gateway],
            Self::ReleaseAddress { allocation } => vec![allocation],
            Self::CreateNatGateway { subnet, allocation, .. } => vec![subnet, allocation],
            Self::DeleteRouteTable { table } => vec![table],
            Self::CreateRoute { table, target, .. } | Self::ReplaceRoute { table, target, .. } => vec![table, target],
            Self::AssociateRouteTable { table, subnet } => vec![table, subnet],
            Self::DeleteSecurityGroup { group } => vec![group],
            Self::AuthorizeRules { group, groups, .. } | Self::RevokeRules { group, groups, .. } => {
                std::iter::once(group).chain(groups.values_mut()).collect()
            }
            Self::RunInstance { request, .. } => {
                std::iter::once(&mut request.subnet).chain(request.security_groups.iter_mut()).collect()
            }
            Self::TerminateInstance { instance } | Self::ModifySourceDestCheck { instance, .. } => vec![instance],
            Self::CreateTags { resource, .. } | Self::DeleteTags { resource, .. } => vec![resource],
            Self::ChangeRecords { changes, .. } => changes.iter_mut().flat_map(|change| change.values.iter_mut()).collect(),
        }
    }
}

/// What a successful call gave back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Id of the created object (`vpc-...`, `i-...`, allocation id, association id, change id of Route 53); `None` where the call makes none.
    pub id: Option<String>,
    pub private_address: Option<String>,
    pub public_address: Option<String>,
}
