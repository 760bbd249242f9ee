//! The planner: one synchronous function, one step per line.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::Cluster;
use crate::desired::{Desired, ResourceId, Slot, desired, tags};
use crate::observed::{Catalogue, Observed};
use crate::plan::action::{Action, Call, Plan, Problem, Verb, Work};
use crate::plan::found::Found;
use crate::plan::{Change, Ref, Tags, deletion, dns, firewall, images, immutable, machines, network, nodes};
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
    let found = Found::new(input.observed, input.uid, input.recorded);
    let taken = machines::taken_slots(&found);
    let desired = desired(input.cluster, &taken, input.user_data);
    let mut planner = Planner {
        group_of: desired.machines.iter().map(|machine| (machine.slot.to_string(), machine.group.clone())).collect(),
        desired,
        known: known_ids(&found),
        ids: BTreeSet::new(),
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
        found,
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
    dns::ownership(&mut planner);
    machines::instances(&mut planner);
    nodes::bootstrap(&mut planner);
    nodes::labels(&mut planner);
    dns::refresh(&mut planner);
    deletion::surplus(&mut planner);
    tags_of_existing(&mut planner);
    planner.plan
}

pub struct Planner<'a> {
    pub input: Input<'a>,
    pub desired: Desired,
    /// Instance group of each slot that is wanted.
    pub group_of: BTreeMap<String, String>,
    pub found: Found<'a>,
    /// AWS ids of resources that exist.
    pub known: BTreeMap<ResourceId, String>,
    ids: BTreeSet<String>,
    pub plan: Plan,
}

fn known_ids(found: &Found<'_>) -> BTreeMap<ResourceId, String> {
    found.all().into_iter().filter(|(.., twin)| !twin).map(|(id, aws, ..)| (id.clone(), aws.to_owned())).collect()
}

impl Planner<'_> {
    /// The AWS id of a resource: known, or a reference to what an earlier action makes.
    pub fn id_of(&self, resource: &ResourceId) -> Ref {
        self.known.get(resource).map_or_else(|| Ref::Id(resource.clone()), |id| Ref::Known(id.clone()))
    }

    pub fn exists(&self, resource: &ResourceId) -> bool {
        self.known.contains_key(resource)
    }

    /// Adds an action; of `after`, what is not in the plan is already so and is left out.
    pub fn add(&mut self, mut action: Action) {
        action.after.retain(|id| self.ids.contains(id));
        action.after.sort();
        action.after.dedup();
        self.ids.insert(action.id.clone());
        self.plan.actions.push(action);
    }

    pub fn has(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    pub fn error(&mut self, what: impl Into<String>, next: impl Into<String>) {
        self.plan.errors.push(Problem { what: what.into(), next: next.into() });
    }

    /// Tags of a resource: the spec's, ours, and those of its kind.
    pub fn tags(&self, resource: &ResourceId, extra: &[(&str, &str)]) -> Tags {
        let cluster = self.input.cluster;
        let mut all = cluster.tags.clone();
        let name = match resource {
            ResourceId::Instance(slot) => slot.clone(),
            other => format!("{other}.{}", cluster.name),
        };
        let own = [
            ("Name", name.as_str()),
            (tags::CLUSTER, &cluster.name),
            (tags::CLUSTER_UID, self.input.uid),
            (tags::RESOURCE, &resource.to_string()),
        ];
        all.extend(own.iter().chain(extra).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        all
    }

    pub fn group_of_slot(&self, slot: &Slot) -> Option<&crate::cluster::InstanceGroup> {
        self.input.cluster.group(&slot.group)
    }
}

/// `create subnet/us-east-1a`
pub fn create_id(resource: &ResourceId) -> String {
    format!("create {resource}")
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

/// Tags that are missing or differ are set again; tags that the spec no longer has are taken away. Attempt and launch settings
/// belong to the moment of creation and are left alone.
fn tags_of_existing(planner: &mut Planner<'_>) {
    let mut actions = vec![];
    // The registered revision too: a run that did not finish may have set its tags.
    let before: Vec<&Cluster> = planner.input.previous.into_iter().chain([&planner.input.recorded.model]).collect();
    let deleted: BTreeSet<ResourceId> =
        planner.plan.actions.iter().filter(|action| action.verb == Verb::Delete).map(|action| action.resource.clone()).collect();
    for (resource, id, have, twin) in planner.found.all() {
        if twin || deleted.contains(resource) {
            continue;
        }
        let want = match resource {
            ResourceId::Vpc => network::vpc_tags(planner),
            ResourceId::Subnet(..) => network::subnet_tags(planner, resource),
            ResourceId::SecurityGroup(_) => firewall::group_tags(planner, resource),
            ResourceId::Instance(slot) => machines::live_tags(planner, slot),
            _ => planner.tags(resource, &[]),
        };
        let group = have.get("kubewright.io/instance-group").filter(|_| matches!(resource, ResourceId::Instance(_)));
        let of_group = group.iter().flat_map(|name| before.iter().filter_map(|cluster| cluster.group(name)));
        let of_spec: BTreeSet<&String> =
            before.iter().flat_map(|cluster| cluster.tags.keys()).chain(of_group.flat_map(|group| group.tags.keys())).collect();
        let surplus: Vec<String> =
            of_spec.into_iter().filter(|key| have.contains_key(*key) && !want.contains_key(*key)).cloned().collect();
        let missing: Tags = want.into_iter().filter(|(key, value)| have.get(key) != Some(value)).collect();
        let mut details: Vec<String> = missing
            .iter()
            .map(|(key, value)| match have.get(key) {
                Some(old) => format!("~ tag {key}: {old} -> {value}"),
                None => format!("+ tag {key}: {value}"),
            })
            .collect();
        details.extend(surplus.iter().map(|key| format!("- tag {key}")));
        let mut calls = vec![];
        if !missing.is_empty() {
            calls.push(Call::Change(Change::CreateTags { resource: Ref::Known(id.to_owned()), tags: missing }));
        }
        if !surplus.is_empty() {
            calls.push(Call::Change(Change::DeleteTags { resource: Ref::Known(id.to_owned()), keys: surplus }));
        }
        if !calls.is_empty() {
            let mut action = update("tag", resource.clone(), calls, "tags differ".into());
            action.details = details;
            actions.push(action);
        }
    }
    for action in actions {
        planner.add(action);
    }
}
