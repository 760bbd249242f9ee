//! What a step is made of: a small plan, carried out like any other, with intents before calls and records after them.

use std::collections::{BTreeMap, BTreeSet};

use crate::desired::dns::{TTL, names};
use crate::desired::{ResourceId, Slot};
use crate::observed::Observed;
use crate::plan::{Action, Call, Change, NodeTask, Plan, RecordChange, RecordVerb, Ref, Until, Verb, Work as Does};
use crate::recorded::{Node, State};
use crate::rolling::{Step, Work};

use super::{Site, has_joined};

/// The actions of a step, or why there are none.
pub(super) fn plan_of(site: &Site, state: &State, observed: &Observed, step: &Step) -> Result<Plan, String> {
    let slot = step.slot.to_string();
    let of = |actions| Plan {
        cluster: state.cluster.clone(),
        uid: state.uid.clone(),
        region: state.region.clone(),
        actions,
        ..Plan::default()
    };
    let recorded = state.nodes.get(&slot);
    let live = state.resources.contains_key(&ResourceId::Instance(slot.clone()));
    let gone = recorded.map(|node| node.instance.clone()).filter(|_| !live);
    let one = |task| Ok(of(vec![task_on(task, &slot, gone.clone(), vec![])]));
    match &step.work {
        Work::Create => made(site, state, step, |action| action.verb == Verb::Create).map(of),
        Work::Join => made(site, state, step, |action| matches!(action.work, Does::Node { .. })).map(of),
        Work::Clear if !live => one(NodeTask::Forget),
        Work::Clear | Work::Terminate => ended(state, &slot).map(of),
        Work::Publish => records(site, state, observed, &step.slot, true).map(|action| of(vec![action])),
        Work::Withdraw => records(site, state, observed, &step.slot, false).map(|action| of(vec![action])),
        Work::Snapshot => one(NodeTask::Snapshot),
        Work::MoveLeader { .. } => one(NodeTask::MoveLeader),
        Work::Cordon => one(NodeTask::Cordon),
        Work::Uncordon => one(NodeTask::Uncordon),
        Work::Drain { force: false, .. } => one(NodeTask::Evict),
        Work::Drain { force: true, .. } => one(NodeTask::DeletePods),
        Work::RemoveMember(_) => one(NodeTask::RemoveMember),
        Work::Upgrade { first: true, .. } => one(NodeTask::UpgradeFirst),
        Work::Upgrade { first: false, .. } => one(NodeTask::Upgrade),
    }
}

fn task_on(task: NodeTask, slot: &str, instance: Option<String>, after: Vec<String>) -> Action {
    Action {
        id: format!("{} {slot}", task.as_str()),
        verb: Verb::Node,
        resource: ResourceId::Instance(slot.to_owned()),
        reasons: vec![],
        details: vec![],
        after,
        disruptive: None,
        work: Does::Node { task, slot: slot.to_owned(), instance },
    }
}

/// Every machine that has joined gets what its next version is made of; beside each other, since nothing that runs is touched.
pub(super) fn fetched(state: &State) -> Plan {
    let live = |slot: &String, node: &Node| {
        let record = state.resources.get(&ResourceId::Instance(slot.clone()));
        has_joined(node.phase) && record.is_some_and(|record| record.id == node.instance)
    };
    let slots = state.nodes.iter().filter(|(slot, node)| live(slot, node)).map(|(slot, _)| slot);
    Plan {
        cluster: state.cluster.clone(),
        uid: state.uid.clone(),
        region: state.region.clone(),
        actions: slots.map(|slot| task_on(NodeTask::Fetch, slot, None, vec![])).collect(),
        ..Plan::default()
    }
}

/// Actions of the machine of one slot, out of the plan of a cluster that calls for it.
fn made(site: &Site, state: &State, step: &Step, wanted: impl Fn(&Action) -> bool) -> Result<Vec<Action>, String> {
    let plan = site.plan(state, &BTreeSet::from([step.slot.clone()]));
    let resource = ResourceId::Instance(step.slot.to_string());
    let tasks = |action: &Action| match &action.work {
        Does::Node { task, .. } => {
            matches!(task, NodeTask::Prepare | NodeTask::JoinControlPlane | NodeTask::JoinWorker | NodeTask::Ready)
        }
        Does::Calls(_) => true,
    };
    let mut actions: Vec<Action> =
        plan.actions.into_iter().filter(|action| action.resource == resource && tasks(action) && wanted(action)).collect();
    let ids: BTreeSet<String> = actions.iter().map(|action| action.id.clone()).collect();
    for action in &mut actions {
        action.after.retain(|before| ids.contains(before));
    }
    match (actions.is_empty(), plan.errors.first()) {
        (false, _) => Ok(actions),
        (true, Some(error)) => Err(error.what.clone()),
        (true, None) => Err(format!("the plan has no machine {}; kubewright update says what is missing", step.slot)),
    }
}

/// The Node first: afterwards nobody would know which one it was.
fn ended(state: &State, slot: &str) -> Result<Vec<Action>, String> {
    let resource = ResourceId::Instance(slot.to_owned());
    let Some(record) = state.resources.get(&resource) else { return Err(format!("no instance of {slot} is recorded")) };
    let this = || Ref::Known(record.id.clone());
    let calls = vec![Call::Change(Change::TerminateInstance { instance: this() }), Call::Wait(Until::InstanceTerminated, this())];
    let forget = task_on(NodeTask::Forget, slot, Some(record.id.clone()), vec![]);
    let delete = Action {
        id: format!("delete {resource}"),
        verb: Verb::Delete,
        after: vec![forget.id.clone()],
        work: Does::Calls(calls),
        ..task_on(NodeTask::Forget, slot, None, vec![])
    };
    Ok(vec![forget, delete])
}

/// The records of the API with a control plane more or less; what is not a live control plane's goes with it.
fn records(site: &Site, state: &State, observed: &Observed, slot: &Slot, publish: bool) -> Result<Action, String> {
    let names = names(&site.cluster);
    let zone = state.resources.get(&ResourceId::Records).map(|record| record.id.clone()).ok_or("no hosted zone is recorded")?;
    let by_id: BTreeMap<&str, _> =
        observed.instances.iter().filter(|one| one.is_live()).map(|one| (one.id.as_str(), one)).collect();
    let known = observed.records.iter().find(|record| record.name == names.api_internal && record.kind == "A");
    let before = known.map(|record| record.values.clone()).unwrap_or_default();
    let (mut private, mut public) = (vec![], vec![]);
    for (resource, record) in &state.resources {
        let ResourceId::Instance(name) = resource else { continue };
        let Some(instance) = by_id.get(record.id.as_str()) else { continue };
        let Some(address) = instance.private_address.clone() else { continue };
        let is_this = *name == slot.to_string();
        if if is_this { publish } else { before.contains(&address) } {
            let shown = if names.api_public { instance.public_address.clone() } else { Some(address.clone()) };
            public.extend(shown.map(Ref::Known));
            private.push(Ref::Known(address));
        }
    }
    if private.is_empty() || public.is_empty() {
        return Err("the API would have no address left".into());
    }
    let upsert = |name: &str, values: Vec<Ref>| RecordChange {
        verb: RecordVerb::Upsert,
        name: name.to_owned(),
        kind: "A".into(),
        ttl: TTL,
        values,
    };
    let changes = vec![upsert(&names.api_internal, private), upsert(&names.api, public)];
    let verb = if publish { "publish" } else { "withdraw" };
    Ok(Action {
        id: format!("{verb} {slot}"),
        verb: Verb::Update,
        resource: ResourceId::Records,
        reasons: vec![format!("{slot} {}", if publish { "serves the API" } else { "goes" })],
        work: Does::Calls(vec![Call::Change(Change::ChangeRecords { zone, changes })]),
        ..task_on(NodeTask::Forget, "", None, vec![])
    })
}
