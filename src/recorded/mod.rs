//! What the state store remembers: ids, intents, node progress. The envelope around it (format, checksum, write id) is the store's.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, Marks};
use crate::desired::ResourceId;
use crate::plan::{Change, Changed};

/// The whole record of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub cluster: String,
    /// Identity of the cluster: 32 hexadecimal characters, made when it was registered.
    pub uid: String,
    pub account: String,
    pub partition: String,
    pub region: String,
    /// Number of the spec revision that was last registered, from 1.
    pub revision: u32,
    /// The registered revision, resolved: paths absolute, keys read, defaults filled in, so that a run from another machine
    /// means the same cluster.
    pub model: Cluster,
    /// Number of the spec revision that was last applied to its end; 0: none.
    pub applied: u32,
    /// Model of that revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_model: Option<Cluster>,
    /// Aliases resolved to AMIs, by `<alias>/<architecture>`; not looked up again by themselves.
    pub images: BTreeMap<String, PinnedImage>,
    pub resources: BTreeMap<ResourceId, Recorded>,
    /// Calls that were decided and have no answer yet, by attempt id.
    pub intents: BTreeMap<String, Intent>,
    /// By slot.
    pub nodes: BTreeMap<String, Node>,
    /// The last run that wrote here.
    pub last_run: Option<Run>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PinnedImage {
    pub id: String,
    pub name: String,
    pub architecture: String,
    pub root_device: String,
}

impl State {
    /// Of a cluster that was just registered.
    pub fn new(model: Cluster, uid: &str, account: &str, partition: &str) -> Self {
        Self {
            cluster: model.name.clone(),
            uid: uid.to_owned(),
            account: account.to_owned(),
            partition: partition.to_owned(),
            region: model.region.clone(),
            revision: 0,
            model,
            applied: 0,
            applied_model: None,
            images: BTreeMap::new(),
            resources: BTreeMap::new(),
            intents: BTreeMap::new(),
            nodes: BTreeMap::new(),
            last_run: None,
        }
    }
}

/// A resource that exists as far as we know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    pub id: String,
    pub attempt: String,
    /// RFC 3339.
    pub created: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_address: Option<String>,
    /// All calls that belong to its creation are done. Asked only of what no listing shows: the VPC's DNS attributes.
    #[serde(default)]
    pub complete: bool,
}

/// Written before the call; removed with the record of its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub resource: ResourceId,
    /// The full request, resolved, with its client token and tags.
    pub change: Change,
    /// RFC 3339.
    pub written: String,
    /// Set when the answer is known but the resource's other calls are not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Changed>,
}

/// Progress of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub instance: String,
    /// Public host keys in OpenSSH format, pinned to `instance`.
    #[serde(default)]
    pub host_keys: Vec<String>,
    pub phase: NodePhase,
    /// What was last put on its Node object; `None` until it has joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<Marks>,
    /// A roll has cordoned it, or was about to; the next one takes that back or finishes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cordoned: bool,
    /// When a roll took its address out of the records of the API, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<String>,
    /// When etcd was last saved before this machine is to be replaced, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
}

impl Node {
    /// Of a machine that was just made, or about which nothing is known.
    pub fn new(instance: &str) -> Self {
        Self {
            instance: instance.to_owned(),
            host_keys: vec![],
            phase: NodePhase::Created,
            marks: None,
            cordoned: false,
            withdrawn: None,
            snapshot: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodePhase {
    Created,
    Prepared,
    /// A control plane whose API server and etcd member serve; its Node need not be Ready yet.
    Serving,
    /// Registered with the API server and Ready (or as ready as `cni = "none"` allows).
    Joined,
    /// Cordoned and drained by a roll; its Node is there and can be taken back.
    Drained,
    /// Its Node is being deleted, or is: recorded before that begins. The machine ends, whatever the spec says by then.
    Leaving,
}

impl NodePhase {
    /// Of a control plane: it takes part in etcd, and its API server answers.
    pub fn serves(self) -> bool {
        matches!(self, Self::Serving | Self::Joined)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// `user@host`.
    pub by: String,
    /// `create cluster`, `update`, `delete cluster`.
    pub command: String,
    /// RFC 3339.
    pub started: String,
    pub finished: bool,
    /// `None`: the run did not come to its end.
    #[serde(default)]
    pub actions_done: Option<u32>,
    pub actions_total: u32,
}
