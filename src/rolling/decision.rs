//! What comes out of a decision.

use crate::cluster::KubernetesVersion;
use crate::desired::Slot;
use crate::rolling::Time;

/// The answer of [`super::next_step`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Begin this now, then ask again.
    Do(Step),
    /// Nothing can be begun until something changes; look again then, at the latest at this time.
    Wait { what: String, until: Time },
    /// The cluster is where it is to be, and at rest.
    Done,
    /// It cannot go on by itself.
    Blocked(Blocked),
}

/// Why a roll stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    pub what: String,
    /// What to do about it.
    pub next: String,
}

/// One thing to do with one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub slot: Slot,
    /// Its place in [`super::View::groups`].
    pub group: usize,
    pub work: Work,
}

/// What is done with a machine. Each is idempotent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Make an instance in this slot, which is free.
    Create,
    /// Prepare and join; ends when the Node is Ready.
    Join,
    /// Clear away a machine that never joined, or a lost one: its Node, its record, its instance.
    Clear,
    /// Put a control plane's address into the records of the API.
    Publish,
    Withdraw,
    /// An etcd snapshot, before this machine is replaced.
    Snapshot,
    MoveLeader {
        to: Slot,
    },
    Cordon,
    Uncordon,
    /// Evict its pods, or delete those that are left when that had its time.
    Drain {
        /// Seconds for the pods to go.
        within: Time,
        force: bool,
    },
    /// Take its member, by id, out of etcd.
    RemoveMember(String),
    /// End its instance, then delete its Node.
    Terminate,
    /// Another version of Kubernetes, where it stands. The first control plane brings the cluster's own configuration and add-ons there.
    Upgrade {
        to: KubernetesVersion,
        first: bool,
    },
}

impl Work {
    /// As people say it of one machine: `nodes-us-east-1a-1: drain`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Join => "join",
            Self::Clear => "clear away",
            Self::Publish => "publish",
            Self::Withdraw => "withdraw",
            Self::Snapshot => "etcd snapshot",
            Self::MoveLeader { .. } => "move etcd leader",
            Self::Cordon => "cordon",
            Self::Uncordon => "uncordon",
            Self::Drain { force: false, .. } => "drain",
            Self::Drain { force: true, .. } => "delete pods",
            Self::RemoveMember(_) => "remove etcd member",
            Self::Terminate => "terminate",
            Self::Upgrade { .. } => "upgrade",
        }
    }

    /// While it runs.
    pub fn doing(&self) -> &'static str {
        match self {
            Self::Create => "its instance to run",
            Self::Join => "its node to be Ready",
            Self::Clear => "it to be cleared away",
            Self::Publish | Self::Withdraw => "the records of the API",
            Self::Snapshot => "the etcd snapshot before it goes",
            Self::MoveLeader { .. } => "another etcd leader",
            Self::Cordon | Self::Uncordon => "its Node to be marked",
            Self::Drain { .. } => "its pods to go",
            Self::RemoveMember(_) => "its etcd member to go",
            Self::Terminate => "its instance to end",
            Self::Upgrade { .. } => "its upgrade",
        }
    }

    /// Machines are connected to for most of its time; the rest waits for AWS.
    pub fn is_over_ssh(&self) -> bool {
        !matches!(self, Self::Create | Self::Clear | Self::Publish | Self::Withdraw | Self::Terminate)
    }

    /// Seconds that it may take; whoever carries it out has shorter limits of its own.
    pub fn limit(&self) -> Time {
        match self {
            // As long as a large database may take on its way to the store.
            Self::Join | Self::Upgrade { .. } | Self::Snapshot => 60 * 60,
            Self::Drain { within, .. } => within + 10 * 60,
            Self::Create | Self::Terminate | Self::Clear => 20 * 60,
            _ => 10 * 60,
        }
    }

    /// Seconds that it usually takes, for estimates: measured on t3 machines with packages from the network.
    pub fn usual(&self) -> Time {
        match self {
            Self::Create => 20,
            Self::Join => 95,
            Self::Upgrade { first: true, .. } => 150,
            Self::Upgrade { .. } => 75,
            Self::Drain { within, .. } => 40.min(*within),
            Self::Terminate => 40,
            Self::Clear => 30,
            Self::Publish | Self::Withdraw => 15,
            Self::Snapshot => 10,
            Self::MoveLeader { .. } | Self::Cordon | Self::Uncordon | Self::RemoveMember(_) => 2,
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.work {
            Work::MoveLeader { to } => write!(f, "{}: move the etcd leader to {to}", self.slot),
            Work::Drain { force: true, .. } => write!(f, "{}: delete the pods that budgets keep", self.slot),
            Work::Upgrade { to, first } => {
                let command = if *first { "apply" } else { "node" };
                write!(f, "{}: kubeadm upgrade {command}, kubelet and kubectl {to}", self.slot)
            }
            work => write!(f, "{}: {}", self.slot, work.as_str()),
        }
    }
}

impl Decision {
    /// Why it cannot go on.
    pub fn stop(&self) -> Option<&Blocked> {
        match self {
            Self::Blocked(stop) => Some(stop),
            _ => None,
        }
    }

    pub(super) fn blocked(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Blocked(Blocked { what: what.into(), next: next.into() })
    }
}
