//! What the emulator holds, as the nodes, the firewall and the DNS server need it.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct World {
    pub instances: Vec<Instance>,
    pub groups: Vec<Group>,
    pub zones: Vec<Zone>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    pub id: String,
    pub account: String,
    pub region: String,
    pub state: String,
    pub name: String,
    pub private_ip: Option<Ipv4Addr>,
    pub public_ip: Option<Ipv4Addr>,
    pub mac: Option<String>,
    pub subnet: Option<String>,
    pub subnet_cidr: Option<String>,
    pub groups: Vec<String>,
    pub public_key: Option<String>,
    pub user_data: Option<String>,
    pub login_user: String,
    pub image: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    pub id: String,
    pub ingress: Vec<Rule>,
    pub egress: Vec<Rule>,
}

/// One rule has one peer: a CIDR or a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub protocol: String,
    pub from: Option<i32>,
    pub to: Option<i32>,
    pub cidr: Option<String>,
    pub group: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Zone {
    pub id: String,
    pub name: String,
    pub private: bool,
    pub records: Vec<Record>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Record {
    pub name: String,
    #[serde(rename = "Type")]
    pub kind: String,
    /// Route 53 takes a number or its text.
    #[serde(default, rename = "TTL")]
    pub ttl: serde_json::Value,
    #[serde(default)]
    pub resource_records: Vec<String>,
    #[serde(default)]
    pub alias_target: Option<serde_json::Value>,
}

impl Record {
    pub fn seconds(&self) -> u32 {
        let value = &self.ttl;
        value.as_u64().map(|n| n as u32).or_else(|| value.as_str()?.parse().ok()).unwrap_or(60)
    }
}

impl Instance {
    /// Whether a node can stand for it: it needs an address in a subnet that exists.
    pub fn placeable(&self) -> bool {
        self.private_ip.is_some() && self.subnet_cidr.is_some()
    }
}
