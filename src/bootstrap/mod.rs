//! Facts, steps per node, and the SSH that carries them out. [`ssh`] is the only place that names `ssh2`.

mod bundle;
mod cause;
mod clean;
pub mod cni;
pub mod console;
#[cfg(test)]
mod dns_tests;
#[cfg(test)]
mod drain_tests;
pub mod etcd;
pub mod facts;
mod failure;
pub mod fake;
mod fake_etcd;
#[cfg(test)]
mod hostile;
pub mod inspect;
mod join;
pub mod kubeadm;
mod line;
mod nodes;
mod packages;
pub mod pki;
mod registered;
mod render;
mod run;
pub mod ssh;
mod steps;
mod template;
mod unit;
mod upgrade;
mod user_data;

pub use bundle::Bundle;
pub use etcd::{EtcdWork, Saved, Stage};
pub use fake::FakeNodes;
pub use nodes::SshNodes;
pub use render::{render, render_fleet};
pub use user_data::user_data;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;

use crate::cluster::{Cluster, InstanceGroup, Marks, Role, SshAddress};
pub use crate::plan::NodeTask;
use crate::secret::Secret;

/// A machine to work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    pub slot: String,
    pub group: String,
    /// EC2 instance id: hostname and Node name.
    pub instance: String,
    pub zone: String,
    pub private_address: String,
    pub public_address: Option<String>,
    /// Pinned public host keys; empty: not known yet.
    pub host_keys: Vec<String>,
    /// Labels and taints that its Node object has for its group; those that the group no longer has are taken away.
    pub marks: Marks,
}

/// Key material that kubewright made for the cluster, PEM.
#[derive(Clone, Debug)]
pub struct Pki {
    pub ca_cert: String,
    pub ca_key: Secret,
    pub etcd_ca_cert: String,
    pub etcd_ca_key: Secret,
    pub front_proxy_ca_cert: String,
    pub front_proxy_ca_key: Secret,
    /// Service-account key pair.
    pub sa_public: String,
    pub sa_key: Secret,
    /// Encrypts Secrets in etcd: 32 random bytes, in base64.
    pub encryption_key: Secret,
}

/// All that a task may use beside its machine.
pub struct Fleet {
    pub cluster: Cluster,
    pub pki: Pki,
    /// Machines by slot, the bastion included; grows while instances are created.
    pub machines: BTreeMap<String, Machine>,
    /// Slots whose API server answers, for tokens, labels and drain; the first is asked first.
    pub ready_control_planes: Vec<String>,
}

impl Fleet {
    pub fn group_of(&self, machine: &Machine) -> Option<&InstanceGroup> {
        self.cluster.group(&machine.group)
    }

    /// What a person types to get to a machine: `ssh admin@198.51.100.7`, through the bastion where there is one.
    pub fn ssh(&self, machine: &Machine) -> String {
        let ssh = &self.cluster.ssh;
        let role = |machine: &Machine| self.group_of(machine).map(|group| group.role);
        let jump =
            self.machines.values().find(|other| role(other) == Some(Role::Bastion) && role(machine) != Some(Role::Bastion));
        let login = |machine: &Machine, private: bool| {
            let address = match &machine.public_address {
                Some(address) if !private && ssh.address == SshAddress::Public => address,
                _ => &machine.private_address,
            };
            let user = self.group_of(machine).map(|group| self.cluster.login_user(group)).unwrap_or_default();
            format!("{user}@{address}")
        };
        let port = if ssh.port == 22 { String::new() } else { format!("-p {} ", ssh.port) };
        let through =
            jump.map(|jump| format!("-J {}:{} ", login(jump, false), ssh.port).replace(":22 ", " ")).unwrap_or_default();
        format!("ssh {port}{through}{}", login(machine, jump.is_some()))
    }
}

/// What a task tells while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeEvent {
    /// Host keys were learnt and must be recorded before anything is sent.
    HostKeys(Vec<String>),
    StepStarted {
        step: String,
        index: usize,
        total: usize,
    },
    StepDone {
        step: String,
        skipped: bool,
    },
    /// What is being waited for, shown beside the step.
    Waiting(String),
    Warning(String),
}

/// Why a task stopped, in the order of `screens.md`.
#[derive(Clone, Debug, thiserror::Error)]
#[error("node {slot} ({address}): step `{step}` failed: {cause}")]
pub struct NodeError {
    pub slot: String,
    pub address: String,
    pub step: String,
    pub command: Option<String>,
    pub exit: Option<i32>,
    /// Last lines, control characters neutralised, secrets removed.
    pub stderr: Vec<String>,
    /// Last telling lines of the kubelet or containerd log.
    pub log: Vec<String>,
    pub cause: String,
    pub left: String,
    /// Worth trying again by itself (connection trouble).
    pub retryable: bool,
    pub seconds: u64,
}

/// What a drain ends with that has had its time, and left pods.
const OVERDUE: i32 = 75;

impl NodeError {
    /// Of a machine whose instance ended while it was worked on.
    pub fn lost(slot: &str, address: &str, step: String, cause: String, seconds: u64) -> Self {
        Self {
            slot: slot.to_owned(),
            address: address.to_owned(),
            step,
            command: None,
            exit: None,
            stderr: vec![],
            log: vec![],
            cause,
            left: "nothing of it; the next update shows what takes its place".into(),
            retryable: true,
            seconds,
        }
    }

    /// A drain had all of its time, and pods are left.
    pub fn is_overdue(&self) -> bool {
        self.exit == Some(OVERDUE)
    }
}

/// Looks up console output, for host keys; implemented over [`crate::cloud::Cloud`].
#[async_trait]
pub trait Consoles: Send + Sync {
    async fn console(&self, instance: &str) -> Result<Option<String>, String>;
}

/// Receives events of one task.
pub type Events = Arc<dyn Fn(NodeEvent) + Send + Sync>;

/// Asked right before each script that may change a machine, once the connection to it is open: to wait for a machine takes minutes,
/// in which the run may have lost its lock. An error is the answer to the task.
pub type Permission = Arc<dyn Fn() -> BoxFuture<'static, Result<(), Refusal>> + Send + Sync>;

/// Why a script must not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub cause: String,
    /// Whether it may be allowed later.
    pub retryable: bool,
}

/// Carries tasks out. The real one speaks SSH; tests have one that remembers.
#[async_trait]
pub trait Nodes: Send + Sync {
    async fn run(&self, task: NodeTask, slot: &str, fleet: Arc<Fleet>, events: Events) -> Result<(), NodeError>;

    /// Asks a control plane; the answer is `kubectl`'s output as it came.
    async fn ask(&self, query: inspect::Query, slot: &str, fleet: Arc<Fleet>) -> Result<String, NodeError>;

    /// Saves or restores a control plane's etcd, one piece of work at a time; the answer is what its script printed.
    async fn etcd(&self, work: &EtcdWork, slot: &str, fleet: Arc<Fleet>, events: Events) -> Result<Vec<u8>, NodeError>;
}
