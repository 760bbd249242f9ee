//! Tags of what exists: those that are missing or differ are set again, those that the spec no longer has are taken away.
//!
//! Attempt and launch settings belong to the moment of creation. Tags that nobody asked for are somebody else's and stay.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::{Cluster, InstanceGroup};
use crate::desired::{ResourceId, tags};
use crate::plan::action::{Call, Verb};
use crate::plan::drift::{BY_HAND, Drift};
use crate::plan::planner::{Planner, update};
use crate::plan::{Change, Ref, Tags, firewall, network};

pub fn existing(planner: &mut Planner<'_>) {
    let mut actions = vec![];
    // The registered revision too: a run that did not finish may have set its tags.
    let before: Vec<&Cluster> = planner.input.previous.into_iter().chain([&planner.input.recorded.model]).collect();
    let mut groups_before = BTreeMap::<&str, Vec<&InstanceGroup>>::new();
    for group in before.iter().flat_map(|cluster| &cluster.groups) {
        groups_before.entry(&group.name).or_default().push(group);
    }
    let deleted: BTreeSet<ResourceId> =
        planner.plan.actions.iter().filter(|action| action.verb == Verb::Delete).map(|action| action.resource.clone()).collect();
    for (resource, id, have, twin) in planner.found.all() {
        // What is replaced gets its tags with its new object.
        if twin || deleted.contains(resource) || planner.has(&format!("replace {resource}")) {
            continue;
        }
        let shared = match resource {
            ResourceId::Vpc => Cow::Owned(network::vpc_tags(planner)),
            ResourceId::Subnet(..) => Cow::Owned(network::subnet_tags(planner, resource)),
            ResourceId::SecurityGroup(_) => Cow::Owned(firewall::group_tags(planner, resource)),
            ResourceId::Instance(slot) => planner.live_tags(slot),
            _ => Cow::Owned(planner.shared_tags(&[])),
        };
        let own = planner.own_tags(resource);
        let want = || {
            let own = own.iter().map(|(key, value)| (*key, value));
            shared.iter().map(|(key, value)| (key.as_str(), value)).chain(own)
        };
        let group = have.get(tags::GROUP).filter(|_| matches!(resource, ResourceId::Instance(_)));
        let of_group: Vec<&InstanceGroup> =
            group.and_then(|name| groups_before.get(name.as_str())).into_iter().flatten().copied().collect();
        let of_spec: BTreeSet<&String> = before
            .iter()
            .flat_map(|cluster| cluster.tags.keys())
            .chain(of_group.iter().flat_map(|group| group.tags.keys()))
            .collect();
        let surplus: Vec<String> =
            of_spec.into_iter().filter(|key| have.contains_key(*key) && !want().any(|(name, _)| name == *key)).cloned().collect();
        let missing: Tags = want()
            .filter(|(key, value)| have.get(*key) != Some(value))
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect();
        if missing.is_empty() && surplus.is_empty() {
            continue;
        }
        let mut details: Vec<String> = missing
            .iter()
            .map(|(key, value)| match have.get(key) {
                Some(old) => format!("~ tag {key}: {old} -> {value}"),
                None => format!("+ tag {key}: {value}"),
            })
            .collect();
        details.extend(surplus.iter().map(|key| format!("- tag {key}")));
        let drift = if planner.was_finished(resource) { drift(planner, resource, id, have, &missing) } else { vec![] };
        let mut calls = vec![];
        let all_by_hand = !drift.is_empty() && drift.len() == missing.len() && surplus.is_empty();
        if !missing.is_empty() {
            calls.push(Call::Change(Change::CreateTags { resource: Ref::Known(id.to_owned()), tags: missing }));
        }
        if !surplus.is_empty() {
            calls.push(Call::Change(Change::DeleteTags { resource: Ref::Known(id.to_owned()), keys: surplus }));
        }
        let reason = if all_by_hand { BY_HAND } else { "tags differ" };
        let mut action = update("tag", resource.clone(), calls, reason.into());
        action.details = details;
        actions.push((action, drift));
    }
    for (mut action, drift) in actions {
        planner.drifted(&mut action, drift);
        planner.add(action);
    }
}

/// Those of the tags to be set that no applied spec explains.
fn drift(planner: &Planner<'_>, resource: &ResourceId, id: &str, have: &Tags, missing: &Tags) -> Vec<Drift> {
    let text = |value: Option<&String>| value.map_or_else(|| "nothing".to_owned(), Clone::clone);
    let applied = planner.applied();
    let mut all = vec![];
    for (key, want) in missing {
        let is = have.get(key);
        // What the spec says of this tag, in each that may have been applied; ours were always as they are.
        let was: Vec<Option<&String>> = match tags::is_reserved(key) {
            true => vec![Some(want)],
            false => applied.iter().map(|cluster| of_spec(cluster, resource, have, key)).collect(),
        };
        if !was.contains(&is) {
            let was = was.first().copied().flatten();
            all.push(Drift::new(resource, id, format!("tag {key}"), text(is), text(was)));
        }
    }
    all
}

fn of_spec<'c>(cluster: &'c Cluster, resource: &ResourceId, have: &Tags, key: &str) -> Option<&'c String> {
    let group = match resource {
        ResourceId::Instance(_) => have.get(tags::GROUP).and_then(|name| cluster.group(name)),
        _ => None,
    };
    group.and_then(|group| group.tags.get(key)).or_else(|| cluster.tags.get(key))
}
