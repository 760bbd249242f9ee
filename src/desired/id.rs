//! Addresses of resources: the stable name that a resource keeps through plan, intent, tag and state.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::Role;

/// Who uses a subnet or route table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Audience {
    /// The cluster's machines.
    Machines,
    /// NAT gateways, bastions and public load balancers of a private topology.
    Utility,
}

/// What a resource is in the cluster, in words that outlive AWS's ids. The text form is the tag
/// `kubewright.io/resource` and the key in the state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String")]
pub enum ResourceId {
    Vpc,
    InternetGateway,
    /// Of a zone.
    Subnet(Audience, String),
    /// Elastic address of the NAT gateway of a zone.
    NatAddress(String),
    NatGateway(String),
    /// Route table of subnets with a public route.
    PublicRouteTable,
    /// Route table of a zone's private subnet.
    PrivateRouteTable(String),
    SecurityGroup(Role),
    /// The VPC's own default group, emptied; created and deleted with the VPC.
    DefaultSecurityGroup,
    KeyPair,
    /// An instance, by its slot: `<group>-<zone>-<n>`.
    Instance(String),
    /// All Route 53 records of the cluster, with their ownership record.
    Records,
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vpc => f.write_str("vpc"),
            Self::InternetGateway => f.write_str("internet-gateway"),
            Self::Subnet(Audience::Machines, zone) => write!(f, "subnet/{zone}"),
            Self::Subnet(Audience::Utility, zone) => write!(f, "utility-subnet/{zone}"),
            Self::NatAddress(zone) => write!(f, "nat-address/{zone}"),
            Self::NatGateway(zone) => write!(f, "nat-gateway/{zone}"),
            Self::PublicRouteTable => f.write_str("route-table/public"),
            Self::PrivateRouteTable(zone) => write!(f, "route-table/{zone}"),
            Self::SecurityGroup(role) => write!(f, "security-group/{}", role.as_str()),
            Self::DefaultSecurityGroup => f.write_str("security-group/default"),
            Self::KeyPair => f.write_str("key-pair"),
            Self::Instance(slot) => write!(f, "instance/{slot}"),
            Self::Records => f.write_str("records"),
        }
    }
}

impl From<ResourceId> for String {
    fn from(id: ResourceId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for ResourceId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for ResourceId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once('/').unwrap_or((text, ""));
        let owned = || rest.to_owned();
        Ok(match (kind, rest) {
            ("vpc", "") => Self::Vpc,
            ("internet-gateway", "") => Self::InternetGateway,
            ("key-pair", "") => Self::KeyPair,
            ("records", "") => Self::Records,
            ("route-table", "public") => Self::PublicRouteTable,
            ("security-group", "default") => Self::DefaultSecurityGroup,
            ("security-group", "control-plane") => Self::SecurityGroup(Role::ControlPlane),
            ("security-group", "node") => Self::SecurityGroup(Role::Node),
            ("security-group", "bastion") => Self::SecurityGroup(Role::Bastion),
            (_, "") => return Err(format!("`{text}` is not a resource")),
            ("subnet", _) => Self::Subnet(Audience::Machines, owned()),
            ("utility-subnet", _) => Self::Subnet(Audience::Utility, owned()),
            ("nat-address", _) => Self::NatAddress(owned()),
            ("nat-gateway", _) => Self::NatGateway(owned()),
            ("route-table", _) => Self::PrivateRouteTable(owned()),
            ("instance", _) => Self::Instance(owned()),
            _ => return Err(format!("`{text}` is not a resource")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_reads_back_from_its_text() {
        let zone = || "us-east-1a".to_owned();
        for id in [
            ResourceId::Vpc,
            ResourceId::InternetGateway,
            ResourceId::Subnet(Audience::Machines, zone()),
            ResourceId::Subnet(Audience::Utility, zone()),
            ResourceId::NatAddress(zone()),
            ResourceId::NatGateway(zone()),
            ResourceId::PublicRouteTable,
            ResourceId::PrivateRouteTable(zone()),
            ResourceId::SecurityGroup(Role::ControlPlane),
            ResourceId::SecurityGroup(Role::Node),
            ResourceId::SecurityGroup(Role::Bastion),
            ResourceId::DefaultSecurityGroup,
            ResourceId::KeyPair,
            ResourceId::Instance("nodes-us-east-1a-1".into()),
            ResourceId::Records,
        ] {
            assert_eq!(id.to_string().parse::<ResourceId>().as_ref(), Ok(&id));
        }
        assert!("volume/x".parse::<ResourceId>().is_err());
        assert!("instance".parse::<ResourceId>().is_err());
    }
}
