//! The plan as a value, and its parts.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desired::ResourceId;
use crate::plan::{Change, Drift, NodeTask, Ref};
use crate::recorded::PinnedImage;

/// A complete, inert plan: actions in an order in which each stands behind all that it waits for.
///
/// Invariants, checked by [`Plan::check`]: ids are unique, `after` names earlier actions only, and a reference to a resource
/// that does not exist yet is made by an action that comes before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    pub cluster: String,
    pub uid: String,
    pub region: String,
    pub kubernetes: String,
    /// Revision of the spec that this plan leads to.
    pub revision: u32,
    pub actions: Vec<Action>,
    /// Per instance group, in the order of the spec.
    pub groups: Vec<GroupSummary>,
    /// Live machines that differ from what the spec asks; `update` leaves them alone.
    pub behind: Vec<Behind>,
    /// What was changed by hand in the account since it was last applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<Drift>,
    /// Reasons why this plan may not be applied at all.
    pub errors: Vec<Problem>,
    pub warnings: Vec<String>,
    /// Images to be pinned when the plan is applied, as in [`crate::recorded::State::images`].
    pub images: BTreeMap<String, PinnedImage>,
    /// Calls of an earlier run that had no answer.
    pub unanswered: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub next: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupSummary {
    pub name: String,
    pub role: String,
    pub machine_type: String,
    pub have: u32,
    pub want: u32,
    pub behind: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Behind {
    pub group: String,
    pub slot: String,
    /// `image ami-0a -> ami-0b`
    pub reasons: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    Create,
    Update,
    Delete,
    /// Work on a node over SSH.
    Node,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Action {
    /// Unique in the plan and readable: `create subnet/us-east-1a`.
    pub id: String,
    pub verb: Verb,
    pub resource: ResourceId,
    /// Field-level reasons, shown beside the action; they never steer apply.
    pub reasons: Vec<String>,
    /// Lines that show what changes inside, each with its sign: `+ tcp 6443 from 198.51.100.0/24`.
    pub details: Vec<String>,
    /// Ids of actions that must have succeeded before.
    pub after: Vec<String>,
    /// What a user of the cluster may notice; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruptive: Option<String>,
    pub work: Work,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// One after the other.
    Calls(Vec<Call>),
    Node {
        task: NodeTask,
        slot: String,
        /// Instance of a [`NodeTask::Forget`]: the machine is gone, only its Node object is left.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instance: Option<String>,
    },
}

/// Part of an action's work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    Change(Change),
    /// Poll until the object is so.
    Wait(Until, Ref),
    /// Revoke every rule of the VPC's default group; AWS makes that group with the VPC, so its id is not known before.
    EmptyDefaultGroup(Ref),
    /// Note that a resource without an AWS object of its own is there: the records of the cluster, by their hosted zone.
    Record(String),
    /// Note that all calls of the resource's creation are done.
    Complete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    InstanceRunning,
    InstanceTerminated,
    NatAvailable,
    NatDeleted,
}

/// How many resources a plan touches, each counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    pub create: usize,
    pub change: usize,
    pub replace: usize,
    pub delete: usize,
    /// Machines with node work only.
    pub nodes: usize,
}

impl Plan {
    pub fn totals(&self) -> Totals {
        let of = |verb: Verb| -> BTreeSet<String> {
            self.actions.iter().filter(|action| action.verb == verb).map(Action::subject).collect()
        };
        let (create, delete) = (of(Verb::Create), of(Verb::Delete));
        let change = of(Verb::Update).difference(&create).count();
        let nodes = of(Verb::Node).iter().filter(|subject| !create.contains(*subject) && !delete.contains(*subject)).count();
        Totals { create: create.len(), change, replace: 0, delete: delete.len(), nodes }
    }

    /// Nothing to do and nothing wrong.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// The lint of a finished plan; what it returns are defects of the planner, not of the user.
    pub fn check(&self) -> Vec<String> {
        let mut defects = vec![];
        let mut done: BTreeSet<&str> = BTreeSet::new();
        let mut made: BTreeSet<ResourceId> = BTreeSet::new();
        for action in &self.actions {
            if done.contains(action.id.as_str()) {
                defects.push(format!("`{}` stands twice", action.id));
            }
            for before in &action.after {
                if !done.contains(before.as_str()) {
                    defects.push(format!("`{}` waits for `{before}`, which does not come before", action.id));
                }
            }
            for mut change in action.changes().cloned() {
                for reference in change.refs_mut() {
                    let (Ref::Id(resource) | Ref::PrivateAddress(resource) | Ref::PublicAddress(resource)) = reference else {
                        continue;
                    };
                    if !made.contains(resource) && *resource != action.resource {
                        defects.push(format!("`{}` refers to {resource}, which nothing before it makes", action.id));
                    }
                }
            }
            let waits = matches!(&action.work, Work::Calls(calls) if calls.iter().any(|call| matches!(call, Call::Wait(Until::InstanceRunning, _))));
            if action.verb == Verb::Create || waits {
                made.insert(action.resource.clone());
            }
            done.insert(&action.id);
        }
        defects
    }
}

/// Parts of a run, in the order in which people read them.
pub const PHASES: [&str; 7] =
    ["network and firewall", "instances", "prepare machines", "control plane", "join nodes", "labels", "drain nodes"];

impl Action {
    /// The one of [`PHASES`] that this belongs to.
    pub fn phase(&self) -> &'static str {
        match (&self.work, &self.resource) {
            (Work::Node { task: NodeTask::Prepare, .. }, _) => "prepare machines",
            (Work::Node { task: NodeTask::Init | NodeTask::JoinControlPlane | NodeTask::Ready, .. }, _) => "control plane",
            (Work::Node { task: NodeTask::JoinWorker, .. }, _) => "join nodes",
            (Work::Node { task: NodeTask::Label, .. }, _) => "labels",
            (Work::Node { .. }, _) => "drain nodes",
            (Work::Calls(_), ResourceId::Instance(_)) => "instances",
            (Work::Calls(_), ResourceId::Records) if self.verb == Verb::Update => "control plane",
            (Work::Calls(_), _) => "network and firewall",
        }
    }

    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        let calls = match &self.work {
            Work::Calls(calls) => calls.as_slice(),
            Work::Node { .. } => &[],
        };
        calls.iter().filter_map(|call| match call {
            Call::Change(change) => Some(change),
            Call::Wait(..) | Call::EmptyDefaultGroup(_) | Call::Record(_) | Call::Complete => None,
        })
    }

    /// What is counted: a resource, but duplicates that are cleared away count each.
    fn subject(&self) -> String {
        match self.id.split_once(" twin ") {
            Some((_, twin)) => twin.to_owned(),
            None => self.resource.to_string(),
        }
    }
}
