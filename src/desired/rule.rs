//! Rules of a security group.

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::Role;

/// `IpProtocol` of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// -1: everything.
    All,
    Tcp,
    Udp,
    Icmp,
    /// IP-in-IP, protocol number 4.
    IpInIp,
    /// Another protocol number; only seen in the account, never desired.
    Other(u8),
}

/// The other end of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    Cidr(#[schemars(with = "String")] Ipv4Net),
    /// The group of a role of this cluster.
    Group(Role),
    /// A group by its id, or a peer that is never desired: a prefix list (`pl-...`) or an IPv6 range. Only seen in the account.
    Foreign(String),
}

/// One ingress or egress rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    pub egress: bool,
    pub protocol: Protocol,
    /// First and last port; `None` for protocols without ports (all, IP-in-IP) and for every ICMP type. A rule for one ICMP type,
    /// never desired, has type and code here, with 65535 for every code.
    pub ports: Option<(u16, u16)>,
    pub peer: Peer,
    /// Shown in the AWS console; AWS allows `a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*`.
    pub description: String,
}
