//! Tasks on nodes, as a plan names them. What they are made of is [`crate::bootstrap`]'s business.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What may be asked of a node. Each task is made of steps; each is idempotent and resumes at its first unfinished step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NodeTask {
    /// Host keys, facts, packages, container runtime, kubelet: all that needs no API server.
    Prepare,
    /// `kubeadm init` and the CNI.
    Init,
    JoinControlPlane,
    JoinWorker,
    /// Waits until the Node of a control plane is Ready. Nobody else waits for it: its API server and its etcd member serve before.
    Ready,
    /// Labels and taints of a node that has joined.
    Label,
    /// Cordon and drain, then delete the Node object.
    Drain,
    /// Delete the Node object of a machine that no longer exists.
    Forget,
    /// Mark a Node as unschedulable.
    Cordon,
    Uncordon,
    /// Cordon, and evict the pods; the Node object stays.
    Evict,
    /// Delete the pods that an eviction has left, whatever budgets say; the Node object stays.
    DeletePods,
    /// An etcd snapshot, kept in the state store.
    Snapshot,
    /// Give the leadership of etcd from this machine to another one.
    MoveLeader,
    /// Take this machine's member out of etcd, if the others keep the quorum.
    RemoveMember,
    /// Brings a bundle's programs and images to a machine that runs an older version; the kubelet goes on with its own.
    Fetch,
    /// Brings this machine to the cluster's version of Kubernetes, where it stands, after the first control plane.
    Upgrade,
    /// The same of the first control plane: `kubeadm upgrade apply`.
    UpgradeFirst,
}

impl NodeTask {
    pub const ALL: [Self; 18] = [
        Self::Prepare,
        Self::Init,
        Self::JoinControlPlane,
        Self::JoinWorker,
        Self::Ready,
        Self::Label,
        Self::Drain,
        Self::Forget,
        Self::Cordon,
        Self::Uncordon,
        Self::Evict,
        Self::DeletePods,
        Self::Snapshot,
        Self::MoveLeader,
        Self::RemoveMember,
        Self::Fetch,
        Self::UpgradeFirst,
        Self::Upgrade,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Init => "init",
            Self::JoinControlPlane => "join-control-plane",
            Self::JoinWorker => "join",
            Self::Ready => "ready",
            Self::Label => "label",
            Self::Drain => "drain",
            Self::Forget => "forget",
            Self::Cordon => "cordon",
            Self::Uncordon => "uncordon",
            Self::Evict => "evict",
            Self::DeletePods => "delete-pods",
            Self::Snapshot => "snapshot",
            Self::MoveLeader => "move-leader",
            Self::RemoveMember => "remove-member",
            Self::Fetch => "fetch",
            Self::Upgrade => "upgrade",
            Self::UpgradeFirst => "upgrade-first",
        }
    }
}
