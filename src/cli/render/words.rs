//! The words for things that every view shares.

use crate::desired::{Audience, ResourceId};
use crate::plan::{Action, NodeTask, Verb, Work};

/// `subnet us-east-1a`
pub fn resource(id: &ResourceId) -> String {
    match id {
        ResourceId::Vpc => "VPC".into(),
        ResourceId::InternetGateway => "internet gateway".into(),
        ResourceId::Subnet(Audience::Machines, zone) => format!("subnet {zone}"),
        ResourceId::Subnet(Audience::Utility, zone) => format!("utility subnet {zone}"),
        ResourceId::NatAddress(zone) => format!("NAT address {zone}"),
        ResourceId::NatGateway(zone) => format!("NAT gateway {zone}"),
        ResourceId::PublicRouteTable => "route table public".into(),
        ResourceId::PrivateRouteTable(zone) => format!("route table {zone}"),
        ResourceId::SecurityGroup(role) => format!("security group {}", role.as_str()),
        ResourceId::DefaultSecurityGroup => "security group default".into(),
        ResourceId::KeyPair => "key pair".into(),
        ResourceId::Instance(slot) => format!("instance {slot}"),
        ResourceId::Records => "DNS records".into(),
    }
}

/// What an action works on: a resource, or a node.
pub fn subject(action: &Action) -> String {
    match &action.work {
        Work::Node { task: NodeTask::Init, slot, .. } => format!("cluster on {slot}"),
        Work::Node { slot, .. } => format!("node {slot}"),
        Work::Calls(_) => resource(&action.resource),
    }
}

/// `creating`, `created`, `create`.
pub struct Tense {
    pub now: &'static str,
    pub done: &'static str,
    /// As in `cannot be created`.
    pub passive: &'static str,
}

pub fn tense(action: &Action) -> Tense {
    let of = |now, done, passive| Tense { now, done, passive };
    match (&action.work, action.verb) {
        (Work::Node { task: NodeTask::Prepare, .. }, _) => of("preparing", "prepared", "prepared"),
        (Work::Node { task: NodeTask::Init, .. }, _) => of("starting", "started", "started"),
        (Work::Node { task: NodeTask::JoinControlPlane | NodeTask::JoinWorker, .. }, _) => of("joining", "joined", "joined"),
        (Work::Node { task: NodeTask::Ready, .. }, _) => of("waiting for", "Ready", "seen Ready"),
        (Work::Node { task: NodeTask::Label, .. }, _) => of("labelling", "labelled", "labelled"),
        (Work::Node { task: NodeTask::Drain, .. }, _) => of("draining", "drained", "drained"),
        (Work::Node { task: NodeTask::Forget, .. }, _) => of("forgetting", "forgot", "forgotten"),
        (Work::Node { task: NodeTask::Cordon, .. }, _) => of("cordoning", "cordoned", "cordoned"),
        (Work::Node { task: NodeTask::Uncordon, .. }, _) => of("uncordoning", "uncordoned", "uncordoned"),
        (Work::Node { task: NodeTask::Evict, .. }, _) => of("draining", "drained", "drained"),
        (Work::Node { task: NodeTask::DeletePods, .. }, _) => of("deleting pods of", "deleted pods of", "freed of its pods"),
        (Work::Node { task: NodeTask::Snapshot, .. }, _) => {
            of("saving etcd before", "saved etcd before", "preceded by a snapshot")
        }
        (Work::Node { task: NodeTask::MoveLeader, .. }, _) => {
            of("leading away from", "led away from", "relieved of the leadership")
        }
        (Work::Node { task: NodeTask::RemoveMember, .. }, _) => {
            of("removing member of", "removed member of", "removed from etcd")
        }
        (Work::Node { task: NodeTask::Fetch, .. }, _) => of("sending the bundle to", "sent the bundle to", "given the bundle"),
        (Work::Node { task: NodeTask::Upgrade | NodeTask::UpgradeFirst, .. }, _) => of("upgrading", "upgraded", "upgraded"),
        (Work::Calls(_), Verb::Create) => of("creating", "created", "created"),
        (Work::Calls(_), Verb::Update | Verb::Node) => of("changing", "changed", "changed"),
        (Work::Calls(_), Verb::Delete) if action.id.starts_with("disarm ") => of("emptying", "emptied", "emptied"),
        (Work::Calls(_), Verb::Delete) => of("deleting", "deleted", "deleted"),
    }
}

/// Instance group of a slot, among these names; a slot is `<group>-<zone>-<n>`, and both parts may hold hyphens.
pub fn group_of<'a>(slot: &str, region: &str, groups: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let fits = |group: &&str| {
        slot.strip_prefix(group).and_then(|rest| rest.strip_prefix('-')).is_some_and(|rest| rest.starts_with(region))
    };
    groups.into_iter().filter(fits).max_by_key(|group| group.len())
}
