//! Route 53 records: ownership, publication of control planes, the bastion's name.

use crate::cluster::Role;
use crate::desired::dns::{TTL, bastion_name, owner_value};
use crate::desired::{Machine, ResourceId};
use crate::observed::HostedZone;
use crate::plan::action::{Action, Call, Verb};
use crate::plan::machines::await_id;
use crate::plan::planner::{Planner, create, create_id, update};
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

fn observed_values(planner: &Planner<'_>, name: &str, kind: &str) -> Option<Vec<String>> {
    let record = planner.input.observed.records.iter().find(|record| record.name == name && record.kind == kind)?;
    let mut values = record.values.clone();
    values.sort();
    Some(values)
}

/// The ownership record comes before every other record and every machine; it is created, never overwritten.
pub fn ownership(planner: &mut Planner<'_>) {
    let names = &planner.desired.names;
    let value = owner_value(&planner.input.cluster.name, planner.input.uid);
    let Some(zone) = zone(planner) else { return };
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
            if !foreign.is_empty() {
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
        planner.control_planes().into_iter().filter(|machine| planner.phase(machine) >= NodePhase::Joined).collect();
    let mut changes = if publishing { vec![] } else { wanted(planner, &joined) };
    if let Some(name) = &names.bastion {
        let machines = planner.desired.machines.iter().filter(|machine| machine.role == Role::Bastion);
        let values: Vec<Ref> = machines.filter_map(|machine| address(planner, machine, true)).collect();
        let change = RecordChange { verb: RecordVerb::Upsert, name: name.clone(), kind: "A".into(), ttl: TTL, values };
        changes.extend((!change.values.is_empty()).then_some(change));
    }
    let mut details = vec![];
    let no_longer = bastion_name(&planner.input.cluster.name);
    let surplus = planner.input.observed.records.iter().find(|record| record.name == no_longer && record.kind == "A");
    let surplus = surplus.filter(|_| names.bastion.is_none() && is_owned(planner)).cloned();
    changes.retain(|change| {
        let mut want: Vec<String> = change.values.iter().map(ToString::to_string).collect();
        want.sort();
        let have = observed_values(planner, &change.name, "A");
        let differs = have.as_ref() != Some(&want);
        if differs {
            let was = have.map_or_else(|| "nothing".to_owned(), |values| values.join(", "));
            details.push(format!("~ {}: {was} -> {}", change.name, want.join(", ")));
        }
        differs
    });
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
    let action = Action {
        after,
        details,
        ..update("addresses", ResourceId::Records, vec![Call::Change(change)], "addresses of machines".into())
    };
    planner.add(Action { verb: Verb::Update, ..action });
}
