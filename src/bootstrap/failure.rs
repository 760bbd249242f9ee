//! Why a task stopped, before it is known of which machine.

use super::{NodeError, NodeTask};

/// Why a task stopped; what only the caller knows is added by [`Failure::into_error`].
#[derive(Clone, Debug, Default)]
pub(super) struct Failure {
    pub step: &'static str,
    pub command: Option<&'static str>,
    pub exit: Option<i32>,
    pub stderr: Vec<String>,
    pub log: Vec<String>,
    pub cause: String,
    pub retryable: bool,
}

impl Failure {
    pub fn plain(cause: String) -> Self {
        Self::at("plan", cause)
    }

    pub fn at(step: &'static str, cause: String) -> Self {
        Self { step, cause, ..Self::default() }
    }

    pub fn into_error(self, task: NodeTask, slot: &str, address: String, seconds: u64) -> NodeError {
        let left = match task {
            NodeTask::Prepare => "the machine is up, not joined",
            NodeTask::Init => "the machine is up; the cluster has no API server yet",
            NodeTask::JoinControlPlane | NodeTask::JoinWorker => "the machine is up, not fully joined",
            NodeTask::Ready => "it serves the API and is a member of etcd; its Node is not Ready",
            NodeTask::Label => "the node works on, with the labels and taints that it had",
            NodeTask::Forget => "the Node object of a machine that is gone is still there",
            NodeTask::Cordon | NodeTask::Uncordon => "the Node is as it was",
            NodeTask::Evict | NodeTask::DeletePods => {
                "the node is cordoned, some of its pods are still there; --abort uncordons it"
            }
            NodeTask::Snapshot | NodeTask::MoveLeader | NodeTask::RemoveMember => "etcd and its members are as they were",
            NodeTask::Fetch => "the node works on, with the kubelet that it had",
            NodeTask::Upgrade | NodeTask::UpgradeFirst => "the node is cordoned; the same command goes on with it",
            NodeTask::Drain => "the node is still in the cluster, cordoned if the drain had begun",
        };
        NodeError {
            slot: slot.into(),
            address,
            step: self.step.into(),
            command: self.command.map(Into::into),
            exit: self.exit,
            stderr: self.stderr,
            log: self.log,
            cause: self.cause,
            left: left.into(),
            retryable: self.retryable,
            seconds,
        }
    }
}
