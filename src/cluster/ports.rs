//! What the machines of a cluster may say to each other.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Traffic between control planes and nodes that is let through beyond what kubewright opens itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ports {
    /// First and last port, in this order.
    Tcp(u16, u16),
    /// First and last port, in this order.
    Udp(u16, u16),
    /// Every type of ICMP.
    Icmp,
    /// IP-in-IP, protocol number 4.
    IpInIp,
    All,
}

/// As a spec spells it.
impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(first, last) if first == last => write!(f, "{first}/tcp"),
            Self::Tcp(first, last) => write!(f, "{first}-{last}/tcp"),
            Self::Udp(first, last) if first == last => write!(f, "{first}/udp"),
            Self::Udp(first, last) => write!(f, "{first}-{last}/udp"),
            Self::Icmp => f.write_str("icmp"),
            Self::IpInIp => f.write_str("ipip"),
            Self::All => f.write_str("all"),
        }
    }
}
