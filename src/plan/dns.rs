//! Route 53 records: ownership, publication of control planes, the bastion's name.

use std::collections::BTreeSet;

use crate::cluster::Role;
use crate::desired::dns::{TTL, bastion_name, owner_value};
use crate::desired::{Machine, ResourceId};
use crate::observed::{HostedZone, RecordSet};
use crate::plan::action::{Action, Call};
use crate::plan::drift::{BY_HAND, Drift};
use crate::plan::planner::{Planner, await_id, create, create_id, update};
use crate::plan::{Change, RecordChange, RecordVerb, Ref};
use crate::recorded::NodePhase;

/// The hosted zone exists once. Of a public and a private zone of one name, the public one is meant.
pub fn check_zone(planner: &mut Planner<'_>) {
    let name = &planner.input.cluster.api.dns_zone;
    let of = |private: bool| planner.input.observed.hosted_zones.iter().filter(|zone| zone.private == private).count();
    let ids = || {
        let zones = planner.input.observed.hosted_zones.iter();
        zones.map(|zone| zone.id.as_str()).collect::<Vec<_>>().join(", ")
    };
    let (what, next) = match (of(false), of(true)) {
        (1, _) | (0, 1) => return,
        (0, 0) => (
            format!("hosted zone {name} does not exist in this account"),
            format!(
                "create it, and delegate it from the parent zone: aws route53 create-hosted-zone --name {name} --caller-reference \"$(date +%s)\""
            ),
        ),
        _ => (format!("there is more than one hosted zone {name}: {}", ids()), "delete the one that is not delegated".into()),
    };
    planner.error(what, next);
}

pub fn zone<'a>(planner: &Planner<'a>) -> Option<&'a HostedZone> {
    let zones = &planner.input.observed.hosted_zones;
    zones.iter().find(|zone| !zone.private).or_else(|| zones.first())
}

fn observed<'a>(planner: &Planner<'a>, name: &str, kind: &str) -> Option<&'a RecordSet> {
    planner.input.observed.records.iter().find(|record| record.name == name && record.kind == kind)
}

fn observed_values(planner: &Planner<'_>, name: &str, kind: &str) -> Option<Vec<String>> {
    observed(planner, name, kind).map(|record| sorted(record.values.clone()))
}

fn sorted(mut values: Vec<String>) -> Vec<String> {
    values.sort();
    values
}

/// Whether the ownership record was deleted by hand: it is recorded as made, and every record that it marks holds nothing but
/// addresses of the cluster's machines.
fn lost_its_mark(planner: &Planner<'_>, zone: &HostedZone) -> bool {
    let recorded = planner.input.recorded;
    let machines =
        planner.input.observed.instances.iter().flat_map(|instance| [&instance.private_address, &instance.public_address]);
    let addresses: BTreeSet<&String> = recorded
        .resources
        .values()
        .flat_map(|record| [&record.private_address, &record.public_address])
        .chain(machines)
        .flatten()
        .collect();
    let names = &planner.desired.names;
    let ours = [Some(&names.api), Some(&names.api_internal), names.bastion.as_ref()];
    let mut marked = planner.input.observed.records.iter().filter(|record| ours.contains(&Some(&record.name)));
    recorded.resources.get(&ResourceId::Records).is_some_and(|record| record.id == zone.id)
        && planner.was_finished(&ResourceId::Records)
        && marked.all(|record| !record.special && record.values.iter().all(|value| addresses.contains(value)))
}

/// The ownership record comes before every other record and every machine; it is created, never overwritten.
pub fn ownership(planner: &mut Planner<'_>) {
    let names = &planner.desired.names;
    let value = owner_value(&planner.input.cluster.name, planner.input.uid);
    let Some(zone) = zone(planner).cloned() else { return };
    let zone = &zone;
    match observed_values(planner, &names.owner, "TXT") {
        Some(values) if values.contains(&value) => {}
        Some(values) => planner.error(
            format!("the records of {} belong to another cluster: {}", planner.input.cluster.name, values.join(", ")),
            format!("choose another name, or delete that cluster; the mark is the TXT record {}", names.owner),
        ),
        None => {
            let ours = [Some(&names.api), Some(&names.api_internal), names.bastion.as_ref()];
            let foreign: Vec<String> = ours
                .into_iter()
                .flatten()
                .filter(|name| planner.input.observed.records.iter().any(|record| record.name == **name))
                .cloned()
                .collect();
            let lost = lost_its_mark(planner, zone);
            if !foreign.is_empty() && !lost {
                planner.error(
                    format!("records exist that kubewright did not make: {}", foreign.join(", ")),
                    "delete them, or choose another name",
                );
                return;
            }
            let record = RecordChange {
                verb: RecordVerb::Create,
                name: names.owner.clone(),
                kind: "TXT".into(),
                ttl: 300,
                values: vec![Ref::Known(value)],
            };
            let change = Change::ChangeRecords { zone: zone.id.clone(), changes: vec![record] };
            let calls = vec![Call::Change(change), Call::Record(zone.id.clone())];
            let mut action = create(ResourceId::Records, calls, vec![]);
            let all = [&names.api, &names.api_internal].into_iter().chain(&names.bastion);
            action.details = all.map(|name| format!("{name} in {}", zone.name)).collect();
            planner.add(action);
        }
    }
}

/// Whether the cluster's records are marked as this cluster's.
fn is_owned(planner: &Planner<'_>) -> bool {
    let value = owner_value(&planner.input.cluster.name, planner.input.uid);
    observed_values(planner, &planner.desired.names.owner, "TXT").is_some_and(|values| values.contains(&value))
}

/// Address of a machine: known, or a reference to what this run will learn; `None`: a machine that does not run has none.
fn address(planner: &Planner<'_>, machine: &Machine, public: bool) -> Option<Ref> {
    let reference = if public { Ref::PublicAddress(machine.id.clone()) } else { Ref::PrivateAddress(machine.id.clone()) };
    let Some(instance) = planner.found.instances.get(&machine.id).and_then(|twins| twins.first()) else { return Some(reference) };
    let known = if public { instance.public_address.clone() } else { instance.private_address.clone() };
    known.map(Ref::Known).or_else(|| (instance.state == "pending").then_some(reference))
}

fn wanted(planner: &Planner<'_>, control_planes: &[&Machine]) -> Vec<RecordChange> {
    let names = &planner.desired.names;
    let upsert = |name: &str, machines: &[&Machine], public: bool| RecordChange {
        verb: RecordVerb::Upsert,
        name: name.to_owned(),
        kind: "A".into(),
        ttl: TTL,
        values: machines.iter().filter_map(|machine| address(planner, machine, public)).collect(),
    };
    let mut changes = vec![];
    if !control_planes.is_empty() {
        changes.push(upsert(&names.api_internal, control_planes, false));
        changes.push(upsert(&names.api, control_planes, names.api_public));
    }
    // A record needs a value: with nothing that runs, the old one stays.
    changes.retain(|change| !change.values.is_empty());
    changes
}

/// Publishes control planes whose API answers. Returns the action's id.
pub fn publish(planner: &mut Planner<'_>, ready: &[&Machine], after: Vec<String>, reason: String) -> String {
    let last = ready.last().map_or("", |machine| &machine.name);
    let id = format!("publish {last}");
    let zone_id = zone(planner).map(|zone| zone.id.clone()).unwrap_or_default();
    let change = Change::ChangeRecords { zone: zone_id, changes: wanted(planner, ready) };
    let mut action = update("publish", ResourceId::Records, vec![Call::Change(change)], reason);
    action.id.clone_from(&id);
    action.after = after;
    action.after.push(create_id(&ResourceId::Records));
    planner.add(action);
    id
}

/// Names whose addresses changed under us (a stop and start, a lost machine), and the bastion's name.
pub fn refresh(planner: &mut Planner<'_>) {
    let Some(zone) = zone(planner).cloned() else { return };
    let names = &planner.desired.names;
    let publishing = planner.plan.actions.iter().any(|action| action.id.starts_with("publish "));
    let joined: Vec<&Machine> =
        planner.control_planes().into_iter().filter(|machine| planner.phase(machine) >= NodePhase::Serving).collect();
    let mut changes = if publishing { vec![] } else { wanted(planner, &joined) };
    if let Some(name) = &names.bastion {
        let machines = planner.desired.machines.iter().filter(|machine| machine.role == Role::Bastion);
        let values: Vec<Ref> = machines.filter_map(|machine| address(planner, machine, true)).collect();
        let change = RecordChange { verb: RecordVerb::Upsert, name: name.clone(), kind: "A".into(), ttl: TTL, values };
        changes.extend((!change.values.is_empty()).then_some(change));
    }
    let mut details = vec![];
    let mut drift = vec![];
    let no_longer = bastion_name(&planner.input.cluster.name);
    let surplus = planner.input.observed.records.iter().find(|record| record.name == no_longer && record.kind == "A");
    let surplus = surplus.filter(|_| names.bastion.is_none() && is_owned(planner)).cloned();
    let mut special = vec![];
    changes.retain(|change| {
        let want = sorted(change.values.iter().map(ToString::to_string).collect());
        let have = observed(planner, &change.name, "A");
        if have.is_some_and(|record| record.special) {
            special.push(change.name.clone());
        }
        let values = have.map(|record| sorted(record.values.clone()));
        let (values_differ, ttl_differs) = (values.as_ref() != Some(&want), have.is_some_and(|record| record.ttl != change.ttl));
        if values_differ {
            let is = values.as_ref().map_or_else(|| "nothing".to_owned(), |values| values.join(", "));
            details.push(format!("~ {}: {is} -> {}", change.name, want.join(", ")));
            drift.extend(by_hand(planner, &change.name, values.as_ref(), &is));
        }
        if let (true, Some(record)) = (ttl_differs, have) {
            details.push(format!("~ {}: TTL {} -> {}", change.name, record.ttl, change.ttl));
            let (attribute, is) = (format!("TTL of {}", change.name), record.ttl.to_string());
            drift.push(Drift::new(&ResourceId::Records, &change.name, attribute, is, change.ttl.to_string()));
        }
        values_differ || ttl_differs
    });
    for name in special {
        planner.error(
            format!("record {name} has a routing policy that kubewright did not set"),
            "delete it by hand, then run the same command again: it is made anew",
        );
    }
    if let Some(record) = surplus {
        details.push(format!("- {}: {}", record.name, record.values.join(", ")));
        changes.push(RecordChange {
            verb: RecordVerb::Delete,
            name: record.name,
            kind: record.kind,
            ttl: record.ttl,
            values: record.values.into_iter().map(Ref::Known).collect(),
        });
    }
    if changes.is_empty() {
        return;
    }
    let after = planner
        .desired
        .machines
        .iter()
        .filter(|machine| machine.role == Role::Bastion)
        .flat_map(|machine| [create_id(&machine.id), await_id(&machine.id)])
        .chain([create_id(&ResourceId::Records)])
        .collect();
    let change = Change::ChangeRecords { zone: zone.id, changes };
    let reason = if drift.is_empty() { "addresses of machines" } else { BY_HAND };
    let mut action =
        Action { after, details, ..update("addresses", ResourceId::Records, vec![Call::Change(change)], reason.into()) };
    planner.drifted(&mut action, drift);
    planner.add(action);
}

/// Drift of a name whose values are neither the addresses of machines now nor those that are recorded of them.
fn by_hand(planner: &Planner<'_>, name: &str, values: Option<&Vec<String>>, is: &str) -> Option<Drift> {
    let names = &planner.desired.names;
    let recorded = planner.input.recorded;
    let role = if names.bastion.as_deref() == Some(name) { Role::Bastion } else { Role::ControlPlane };
    let machines = planner.desired.machines.iter().filter(|machine| machine.role == role);
    let was = machines.filter_map(|machine| {
        let record = recorded.resources.get(&machine.id)?;
        let public = role == Role::Bastion || (name == names.api && names.api_public);
        if public { record.public_address.clone() } else { record.private_address.clone() }
    });
    let was = sorted(was.collect());
    let explained = values == Some(&was) || was.is_empty() || !planner.was_finished(&ResourceId::Records);
    (!explained).then(|| Drift::new(&ResourceId::Records, name, name, is, was.join(", ")))
}
