//! The planner: one synchronous function, one step per line.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::{Cluster, InstanceGroup};
use crate::desired::{Desired, Machine, ResourceId, Slot, desired, tags};
use crate::observed::{Catalogue, Observed};
use crate::plan::action::{Action, Call, Plan, Problem, Verb, Work};
use crate::plan::found::Found;
use crate::plan::{Ref, Tags, deletion, dns, firewall, images, immutable, machines, network, nodes, retag};
use crate::recorded::State;

/// All that a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub cluster: &'a Cluster,
    /// Of the spec revision that was applied before; for reasons only, and for changes that are not possible.
    pub previous: Option<&'a Cluster>,
    pub uid: &'a str,
    pub revision: u32,
    pub recorded: &'a State,
    pub observed: &'a Observed,
    /// What the region sells, where [`images::needs_catalogue`] asked for it.
    pub catalogue: Option<&'a Catalogue>,
    /// User-data by instance group.
    pub user_data: &'a BTreeMap<String, String>,
}

/// Compares desired, observed and recorded. The same input gives the same plan, byte for byte.
pub fn plan(input: Input<'_>) -> Plan {
    plan_with(input, &BTreeSet::new())
}

/// With machines in these slots as well, beside those that exist; the groups' counts must have room for them.
pub fn plan_with(input: Input<'_>, slots: &BTreeSet<Slot>) -> Plan {
    let found = Found::new(input.observed, input.uid, input.recorded);
    let mut taken = machines::taken_slots(&found);
    taken.extend(slots.iter().cloned());
    let closed = machines::closed_slots(&found, input.recorded);
    let desired = desired(input.cluster, &taken, &closed, input.user_data);
    let groups: BTreeMap<&str, &InstanceGroup> = input.cluster.groups.iter().map(|group| (group.name.as_str(), group)).collect();
    let mut planner = Planner {
        machines: desired.machines.iter().map(|machine| (machine.name.as_str(), machine)).collect(),
        groups,
        live_tags: BTreeMap::new(),
        taken: &taken,
        closed: &closed,
        desired: &desired,
        ids: BTreeSet::new(),
        revoked: vec![],
        plan: Plan {
            cluster: input.cluster.name.clone(),
            uid: input.uid.to_owned(),
            region: input.cluster.region.clone(),
            kubernetes: input.cluster.kubernetes.to_string(),
            revision: input.revision,
            unanswered: u32::try_from(input.recorded.intents.len()).unwrap_or(u32::MAX),
            ..Plan::default()
        },
        input,
        found: &found,
    };
    immutable::refuse_changes(&mut planner);
    images::resolve(&mut planner);
    dns::check_zone(&mut planner);
    network::vpc(&mut planner);
    network::internet_gateway(&mut planner);
    network::subnets(&mut planner);
    network::nat_gateways(&mut planner);
    network::route_tables(&mut planner);
    firewall::groups(&mut planner);
    firewall::rules(&mut planner);
    machines::key_pair(&mut planner);
    machines::live_tags(&mut planner);
    dns::ownership(&mut planner);
    machines::instances(&mut planner);
    nodes::bootstrap(&mut planner);
    nodes::labels(&mut planner);
    dns::refresh(&mut planner);
    deletion::surplus(&mut planner);
    retag::existing(&mut planner);
    planner.strangers();
    planner.revoke_first();
    planner.plan
}

pub struct Planner<'a> {
    pub input: Input<'a>,
    pub desired: &'a Desired,
    /// Of the spec, by name.
    groups: BTreeMap<&'a str, &'a InstanceGroup>,
    /// Those that are wanted, by name.
    machines: BTreeMap<&'a str, &'a Machine>,
    /// Of each group's instances.
    pub live_tags: BTreeMap<&'a str, Tags>,
    /// Slots of live instances.
    pub taken: &'a BTreeSet<Slot>,
    /// Those of machines that are about to end.
    pub closed: &'a BTreeSet<Slot>,
    pub found: &'a Found<'a>,
    ids: BTreeSet<String>,
    /// Access that was given by hand: taken away before anything else is done.
    pub revoked: Vec<Action>,
    pub plan: Plan,
}

impl<'a> Planner<'a> {
    /// The AWS id of a resource: known, or a reference to what an earlier action makes.
    pub fn id_of(&self, resource: &ResourceId) -> Ref {
        self.found.id(resource).map_or_else(|| Ref::Id(resource.clone()), |id| Ref::Known(id.to_owned()))
    }

    pub fn exists(&self, resource: &ResourceId) -> bool {
        self.found.id(resource).is_some()
    }

    /// Adds an action; of `after`, what is not in the plan is already so and is left out.
    pub fn add(&mut self, mut action: Action) {
        action.after = self.planned(action.after);
        self.push(action);
    }

    /// Those that are in the plan, in order.
    pub fn planned(&self, mut ids: Vec<String>) -> Vec<String> {
        ids.retain(|id| self.ids.contains(id));
        ids.sort();
        ids.dedup();
        ids
    }

    /// Adds an action whose `after` is from [`Self::planned`].
    pub fn push(&mut self, mut action: Action) {
        if action.verb == Verb::Create {
            self.deleted_by_hand(&mut action);
        }
        self.ids.insert(action.id.clone());
        self.plan.actions.push(action);
    }

    /// What was revoked stands first, and everything waits for it: who came in by a rule made by hand is to be out before
    /// anything else happens.
    fn revoke_first(&mut self) {
        let mut first = std::mem::take(&mut self.revoked);
        let ids: Vec<String> = first.iter().map(|action| action.id.clone()).collect();
        for action in self.plan.actions.iter_mut().filter(|action| action.after.is_empty()) {
            action.after.clone_from(&ids);
        }
        first.append(&mut self.plan.actions);
        self.plan.actions = first;
    }

    /// Objects with the cluster's tags that kubewright did not make.
    fn strangers(&mut self) {
        for id in &self.found.strangers {
            self.plan.warnings.push(format!(
                "{id} has tags of this cluster, but kubewright did not make it (tags that were copied?); it is left alone: take \
                 its tags {}* away, or delete it",
                tags::RESERVED_PREFIX
            ));
        }
    }

    pub fn has(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    pub fn error(&mut self, what: impl Into<String>, next: impl Into<String>) {
        self.plan.errors.push(Problem { what: what.into(), next: next.into() });
    }

    /// Tags of a resource: the spec's, ours, and those of its kind.
    pub fn tags(&self, resource: &ResourceId, extra: &[(&str, &str)]) -> Tags {
        let mut all = self.shared_tags(extra);
        all.extend(self.own_tags(resource).map(|(key, value)| (key.to_owned(), value)));
        all
    }

    /// Those that other resources of its kind have as well.
    pub fn shared_tags(&self, extra: &[(&str, &str)]) -> Tags {
        let cluster = self.input.cluster;
        let mut all = cluster.tags.clone();
        let ours = [(tags::CLUSTER, cluster.name.as_str()), (tags::CLUSTER_UID, self.input.uid)];
        all.extend(ours.iter().chain(extra).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        all
    }

    /// Those that no other resource has.
    pub fn own_tags(&self, resource: &ResourceId) -> [(&'static str, String); 2] {
        let name = match resource {
            ResourceId::Instance(slot) => slot.clone(),
            other => format!("{other}.{}", self.input.cluster.name),
        };
        [("Name", name), (tags::RESOURCE, resource.to_string())]
    }

    /// What the live instance of a slot shares with others of its group.
    pub fn live_tags(&self, slot: &str) -> Cow<'_, Tags> {
        let group = self.machines.get(slot).and_then(|machine| self.live_tags.get(machine.group.as_str()));
        group.map_or_else(|| Cow::Owned(self.shared_tags(&[])), Cow::Borrowed)
    }

    pub fn is_wanted(&self, slot: &str) -> bool {
        self.machines.contains_key(slot)
    }

    pub fn group(&self, machine: &Machine) -> Option<&'a InstanceGroup> {
        self.groups.get(machine.group.as_str()).copied()
    }
}

/// `create subnet/us-east-1a`
pub fn create_id(resource: &ResourceId) -> String {
    format!("create {resource}")
}

/// `await instance/nodes-us-east-1a-1`: what an earlier run made and did not see ready.
pub fn await_id(resource: &ResourceId) -> String {
    format!("await {resource}")
}

/// An action that makes a resource with these calls.
pub fn create(resource: ResourceId, calls: Vec<Call>, after: Vec<String>) -> Action {
    Action {
        id: create_id(&resource),
        verb: Verb::Create,
        resource,
        reasons: vec![],
        details: vec![],
        after,
        disruptive: None,
        work: Work::Calls(calls),
    }
}

/// An action that changes a resource in place; `what` makes the id unique.
pub fn update(what: &str, resource: ResourceId, calls: Vec<Call>, reason: String) -> Action {
    Action {
        id: format!("{what} {resource}"),
        verb: Verb::Update,
        resource,
        reasons: vec![reason],
        details: vec![],
        after: vec![],
        disruptive: None,
        work: Work::Calls(calls),
    }
}
