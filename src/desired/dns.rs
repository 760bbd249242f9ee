//! Names that the cluster answers to.

use crate::cluster::{Cluster, Topology};

/// Seconds. Short, because an address is withdrawn before its instance goes.
pub const TTL: u32 = 30;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// `api.<name>`
    pub api: String,
    /// Whether `api.<name>` holds public addresses; else private ones.
    pub api_public: bool,
    /// `api.internal.<name>`, always private addresses.
    pub api_internal: String,
    /// `bastion.<name>`, where there is one.
    pub bastion: Option<String>,
    /// TXT record that says whose the others are.
    pub owner: String,
}

pub fn names(cluster: &Cluster) -> Names {
    Names {
        api: cluster.api_name(),
        api_public: cluster.network.topology == Topology::Public,
        api_internal: cluster.api_internal_name(),
        bastion: cluster.has_bastion().then(|| bastion_name(&cluster.name)),
        owner: format!("kubewright-owner.{}", cluster.name),
    }
}

pub fn bastion_name(cluster: &str) -> String {
    format!("bastion.{cluster}")
}

/// The uid in the content of an ownership record of this cluster.
pub fn owner_uid(cluster: &str, value: &str) -> Option<String> {
    value.strip_prefix(&format!("kubewright cluster={cluster} uid=")).map(str::to_owned)
}

/// Content of the ownership record.
pub fn owner_value(cluster: &str, uid: &str) -> String {
    format!("kubewright cluster={cluster} uid={uid}")
}
