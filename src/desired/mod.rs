//! Resources that the cluster calls for: computed, never fetched.

pub mod dns;
pub mod firewall;
#[cfg(test)]
pub mod fixture;
pub mod id;
pub mod machines;
pub mod network;
pub mod rule;
pub mod tags;

pub use id::{Audience, ResourceId};
pub use machines::{Machine, Slot};
pub use rule::{Peer, Protocol, Rule};

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::Cluster;

/// Everything that a cluster calls for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    pub network: network::Network,
    pub security_groups: Vec<firewall::SecurityGroup>,
    pub machines: Vec<Machine>,
    pub names: dns::Names,
}

/// `taken` are the slots that exist, `closed` those whose machines are about to end and which nobody gets; `user_data` is by group.
pub fn desired(
    cluster: &Cluster,
    taken: &BTreeSet<Slot>,
    closed: &BTreeSet<Slot>,
    user_data: &BTreeMap<String, String>,
) -> Desired {
    Desired {
        network: network::network(cluster),
        security_groups: firewall::security_groups(cluster),
        machines: machines::machines(cluster, taken, closed, user_data),
        names: dns::names(cluster),
    }
}
