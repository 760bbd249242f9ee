//! What was seen, recorded and done, put together as the view that decisions are made from.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::bootstrap::inspect;
use crate::cluster::{DrainEnd, InstanceGroup, Role, UpgradeBy};
use crate::desired::{ResourceId, Slot};
use crate::operation::session::Env;
use crate::recorded::{Node, NodePhase, State};
use crate::rolling::{Address, Blocker, Cordon, Group, Health, Machine, Member, Stage, Time, View, Work, resolve};

use super::look::{Memory, Seen};
use super::{Site, has_joined, slots};

pub(super) fn now(env: &Env) -> Time {
    seconds(env.clock.now())
}

fn seconds(time: Timestamp) -> Time {
    Time::try_from(time.as_second()).unwrap_or_default()
}

/// Seconds for which an instance must be missing from listings before it counts as gone (EC2 developer guide, "Eventual consistency").
const ABSENT: Time = 60;

/// Whether a group is asked for.
pub(super) fn is_selected(site: &Site, group: &InstanceGroup) -> bool {
    let request = &site.request;
    let named = request.groups.is_empty() || request.groups.contains(&group.name);
    named && (request.roles.is_empty() || request.roles.iter().any(|role| role == group.role.as_str()))
}

pub(super) fn view(site: &Site, state: &State, seen: &Seen, memory: &mut Memory, now: Time) -> View {
    let of_spec: Vec<&InstanceGroup> = site.cluster.groups.iter().filter(|group| group.role != Role::Bastion).collect();
    let groups = of_spec.iter().map(|group| {
        let (max_surge, max_unavailable) =
            resolve(group.count, group.rolling_update.max_surge, group.rolling_update.max_unavailable);
        Group {
            name: group.name.clone(),
            control_plane: group.role == Role::ControlPlane,
            count: group.count,
            max_surge,
            max_unavailable,
            drain_timeout: Time::from(group.rolling_update.drain_timeout),
            force_drain: group.rolling_update.on_drain_timeout == DrainEnd::Force,
            replace: group.rolling_update.upgrade == UpgradeBy::Replace,
            zones: group.zones.clone(),
            selected: is_selected(site, group),
            refused: memory.refused.get(&group.name).cloned(),
        }
    });
    let mut view = View {
        now,
        groups: groups.collect(),
        abort: site.request.abort,
        force: site.request.force,
        to: site.to,
        then: site.then,
        ..View::default()
    };
    for (slot, instance, node) in machines(site, state) {
        let Some(place) = view.groups.iter().position(|group| group.name == slot.group) else { continue };
        if let Some(machine) = machine(site, seen, memory, &view, (slot, place), &instance, node) {
            view.machines.push(machine);
        }
    }
    for (slot, work, since) in memory.works.values() {
        let known = view.machines.iter().any(|machine| machine.slot == *slot);
        let place = view.groups.iter().position(|group| group.name == slot.group);
        if let (false, Some(place)) = (known, place) {
            let work = Some(work.clone());
            view.machines.push(Machine { stage: Stage::Requested, work, since: *since, ..Machine::new(slot.clone(), "", place) });
        }
    }
    if memory.ill.is_none() && seen.nodes.is_some() {
        let ill = view.machines.iter().filter(|machine| machine.stage == Stage::Joined && machine.health != Health::Ready);
        let ill: BTreeSet<String> = ill.map(|machine| machine.instance.clone()).collect();
        for machine in &mut view.machines {
            machine.ill_before = ill.contains(&machine.instance);
        }
        memory.ill = Some(ill);
    }
    view.members = members(seen, memory, &view, now);
    view.told = *memory.told.get_or_insert(now);
    let saved = state.nodes.values().filter_map(|node| Some((node.snapshot.as_ref()?, &node.instance)));
    view.snapshot = saved.max().map(|(_, instance)| instance.clone());
    view
}

/// Machines that are recorded, with the instance of each: those that are there, then those that are gone.
fn machines<'a>(site: &Site, state: &'a State) -> Vec<(Slot, String, Option<&'a Node>)> {
    let known = slots(&site.cluster, &site.observed, state);
    let slot_of = |text: &str| known.get(text).cloned().or_else(|| read_slot(site, text));
    let mut all = vec![];
    for (resource, record) in &state.resources {
        let ResourceId::Instance(text) = resource else { continue };
        let node = state.nodes.get(text).filter(|node| node.instance == record.id);
        all.extend(slot_of(text).map(|slot| (slot, record.id.clone(), node)));
    }
    for (text, node) in &state.nodes {
        let recorded = state.resources.get(&ResourceId::Instance(text.clone()));
        if recorded.is_none() && left_something(node.phase) {
            all.extend(slot_of(text).map(|slot| (slot, node.instance.clone(), Some(node))));
        }
    }
    all
}

/// A machine of this phase that is gone has left a Node, or at least a member of etcd.
fn left_something(phase: NodePhase) -> bool {
    phase >= NodePhase::Serving
}

/// A slot of which no instance is left: `<group>-<zone>-<n>`, where both names may hold hyphens.
fn read_slot(site: &Site, text: &str) -> Option<Slot> {
    let (rest, n) = text.rsplit_once('-')?;
    let n = n.parse().ok()?;
    site.cluster.groups.iter().find_map(|group| {
        let zone = rest.strip_prefix(&group.name)?.strip_prefix('-')?;
        zone.starts_with(&site.cluster.region).then(|| Slot { group: group.name.clone(), zone: zone.to_owned(), n })
    })
}

fn machine(
    site: &Site,
    seen: &Seen,
    memory: &mut Memory,
    view: &View,
    (slot, place): (Slot, usize),
    instance: &str,
    node: Option<&Node>,
) -> Option<Machine> {
    let text = slot.to_string();
    let there = seen.instances.iter().find(|other| other.id == instance);
    let live = there.filter(|other| other.is_live());
    let joined = node.is_some_and(|node| has_joined(node.phase));
    let mut work = memory.works.get(&text).cloned();
    let now = view.now;
    let absent = there.is_none() && work.is_none() && now < since(memory, &format!("absence of {instance}"), "", now) + ABSENT;
    if absent && !joined {
        work = Some((slot.clone(), Work::Create, now));
    }
    let stage = match (live, joined, &work) {
        (_, _, Some((_, Work::Create, _))) => Stage::Requested,
        (None, true, None) if absent => Stage::Joined,
        (Some(_), true, _) => Stage::Joined,
        (Some(_), false, _) => Stage::Created,
        // Its end is ours, or it is not listed yet.
        (None, true, Some(_)) => Stage::Joined,
        (None, false, Some(_)) => Stage::Created,
        (None, _, None) if node.is_some_and(|node| left_something(node.phase)) => Stage::Lost,
        (None, _, None) => return None,
    };
    let control_plane = view.groups.get(place).is_some_and(|group| group.control_plane);
    let its_node = seen.nodes.as_ref().map(|nodes| nodes.iter().find(|node| node.name == instance));
    let health = match (live, its_node) {
        _ if stage != Stage::Joined => Health::Ready,
        (None, _) if absent => Health::Unknown,
        (Some(live), _) if live.state.starts_with("stop") => Health::NotReady(format!("its instance is {}", live.state)),
        (_, None) => Health::Unknown,
        (_, Some(None)) => Health::NotReady("it has no Node".into()),
        (_, Some(Some(node))) if !node.ready => Health::NotReady(node.message.clone()),
        _ => {
            let settling = memory.settling.get(instance).and_then(|(_, why)| why.as_ref());
            match seen.silent.get(&text).filter(|_| control_plane).or(settling) {
                Some(why) => Health::NotReady(why.clone()),
                None => Health::Ready,
            }
        }
    };
    let ours = node.is_some_and(|node| node.cordoned);
    let marked = its_node.map(|node| node.is_some_and(|node| node.unschedulable));
    let cordon = match (marked, ours) {
        (Some(true), true) | (None, true) => Cordon::Ours,
        // An upgrade that died around the mark: it is set, or taken back, again, and the record with it.
        (Some(false), true) if site.to.is_some() => Cordon::Ours,
        (Some(true), false) => Cordon::Foreign,
        (Some(false) | None, _) => Cordon::No,
    };
    // A Node that is deleted already has nobody to evict.
    let deleted = matches!(its_node, Some(None));
    let drained = node.is_some_and(|node| node.phase >= NodePhase::Drained) && (cordon != Cordon::No || deleted);
    // Pods may have come back to one that is open.
    let drained = drained && !(site.to.is_some() && marked == Some(false) && !deleted);
    let withdrawn = node.and_then(|node| node.withdrawn.as_ref()).and_then(|at| at.parse::<Timestamp>().ok()).map(seconds);
    let private = live.and_then(|live| live.private_address.as_ref());
    // Both names: a new machine may have the private address of one that is gone.
    let names = crate::desired::dns::names(&site.cluster);
    let public = if names.api_public { live.and_then(|live| live.public_address.as_ref()) } else { private };
    let has = |name: &String, address: Option<&String>| {
        let mut records = seen.records.iter().filter(|record| record.name == *name && record.kind == "A");
        address.is_some_and(|address| records.any(|record| record.values.contains(address)))
    };
    let published = if withdrawn.is_some() {
        has(&names.api_internal, private) || has(&names.api, public)
    } else {
        has(&names.api_internal, private) && has(&names.api, public)
    };
    let address = match withdrawn {
        _ if !control_plane => Address::None,
        _ if published => Address::Published,
        Some(at) => Address::Withdrawn(at),
        None => Address::None,
    };
    let kept = seen.kept.iter().filter(|kept| kept.node == instance).map(|kept| {
        let since = kept.since.as_ref().and_then(|since| since.parse::<Timestamp>().ok()).map(seconds);
        Blocker {
            budget: kept.budget.clone(),
            pods: kept.pods.clone(),
            owner: kept.owner.clone(),
            since: since.map(|since| view.now.saturating_sub(since)),
            never: kept.never,
        }
    });
    let kubelet = its_node.flatten().and_then(|node| inspect::release(&node.version));
    let since = match &work {
        Some((_, _, since)) => *since,
        None => since(memory, instance, &format!("{stage:?} {} {kubelet:?}", matches!(health, Health::Ready)), view.now),
    };
    Some(Machine {
        kubelet,
        api: seen.versions.get(&text).copied().filter(|_| control_plane),
        behind: site.behind.get(instance).cloned().unwrap_or_default(),
        stage,
        health,
        cordon,
        drained,
        address,
        ill_before: memory.ill.as_ref().is_some_and(|ill| ill.contains(instance)),
        since,
        work: work.map(|(_, work, _)| work),
        failed: memory.failed.get(&text).cloned(),
        overdue: memory.overdue.get(&text).cloned(),
        blockers: kept.collect(),
        ..Machine::new(slot, instance, place)
    })
}

/// Since when something is as it is now.
fn since(memory: &mut Memory, what: &str, is: &str, now: Time) -> Time {
    match memory.since.get(what) {
        Some((was, since)) if was == is => *since,
        _ => {
            memory.since.insert(what.to_owned(), (is.to_owned(), now));
            now
        }
    }
}

fn members(seen: &Seen, memory: &mut Memory, view: &View, now: Time) -> Option<Vec<Member>> {
    let etcd = seen.etcd.as_ref()?;
    let instance_at = |address: &str| {
        let at = |one: &&crate::observed::Instance| one.is_live() && one.private_address.as_deref() == Some(address);
        seen.instances.iter().find(at).map(|instance| instance.id.clone())
    };
    let members = etcd.members.iter().flatten().map(|member| {
        let known = view.machines.iter().any(|machine| machine.instance == member.name);
        let instance = if known { Some(member.name.clone()) } else { instance_at(&member.address) };
        let healthy = etcd.health.then_some(member.healthy);
        Member {
            id: member.id.clone(),
            instance: instance.unwrap_or_default(),
            learner: member.learner,
            healthy,
            since: since(memory, &format!("member {}", member.id), &format!("{healthy:?} {}", member.learner), now),
            leader: etcd.leader.as_ref() == Some(&member.id),
        }
    });
    Some(members.collect())
}
