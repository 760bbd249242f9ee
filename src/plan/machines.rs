//! Key pair and instances: what to make, what is behind, what is missing.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::Role;
use crate::desired::{Machine, ResourceId, Slot, tags};
use crate::observed::Instance;
use crate::plan::action::{Behind, Call, GroupSummary, Until};
use crate::plan::drift::{BY_HAND, Drift};
use crate::plan::found::Found;
use crate::plan::planner::{Planner, await_id, create, create_id, update};
use crate::plan::{Change, Ref, RunInstance, firewall, images};
use crate::recorded::{NodePhase, State};

/// Slots of machines that are about to end: their Nodes are gone, or may be, so that nothing but a new machine replaces them. A worker
/// that somebody stopped is one of them.
pub fn closed_slots(found: &Found<'_>, recorded: &State) -> BTreeSet<Slot> {
    let leaves = |resource: &ResourceId, instance: &Instance| {
        let ResourceId::Instance(slot) = resource else { return false };
        let left = recorded.nodes.get(slot).is_some_and(|node| node.phase == NodePhase::Leaving && node.instance == instance.id);
        left || is_stopped_worker(instance)
    };
    let first = found.instances.iter().filter_map(|(resource, twins)| Some((resource, *twins.first()?)));
    first
        .filter(|(resource, instance)| leaves(resource, instance))
        .filter_map(|(resource, instance)| slot_of(resource, instance))
        .collect()
}

pub fn is_stopped_worker(instance: &Instance) -> bool {
    let is_worker = instance.tags.get("kubewright.io/role").is_some_and(|role| role == Role::Node.as_str());
    is_worker && is_stopped(instance)
}

fn is_stopped(instance: &Instance) -> bool {
    matches!(instance.state.as_str(), "stopped" | "stopping")
}

/// Slots of live instances.
pub fn taken_slots(found: &Found<'_>) -> BTreeSet<Slot> {
    found.instances.iter().filter_map(|(resource, twins)| slot_of(resource, twins.first()?)).collect()
}

/// A slot's text holds the group's name, which may hold hyphens itself; the instance's zone tells where it ends.
pub fn slot_of(resource: &ResourceId, instance: &Instance) -> Option<Slot> {
    let ResourceId::Instance(text) = resource else { return None };
    let (rest, n) = text.rsplit_once('-')?;
    let group = rest.strip_suffix(&instance.zone)?.strip_suffix('-')?;
    Some(Slot { group: group.to_owned(), zone: instance.zone.clone(), n: n.parse().ok()? })
}

/// Name of the cluster's key pair: a key pair is found by name, so the uid keeps two clusters of one name apart.
pub fn key_name(cluster: &str, uid: &str) -> String {
    format!("{cluster}-{}", uid.get(..8).unwrap_or(uid))
}

pub fn key_pair(planner: &mut Planner<'_>) {
    let resource = ResourceId::KeyPair;
    let name = key_name(&planner.input.cluster.name, planner.input.uid);
    let public_key = planner.input.cluster.ssh.public_key.clone();
    let import = |planner: &Planner<'_>| {
        let tags = planner.tags(&resource, &[]);
        Call::Change(Change::ImportKeyPair { name: name.clone(), public_key: public_key.clone(), tags })
    };
    match planner.found.key_pairs.get(&resource).and_then(|twins| twins.first()) {
        None => {
            let call = import(planner);
            planner.add(create(resource, vec![call], vec![]));
        }
        Some(have) if have.public_key.as_deref().is_some_and(|old| !same_key(old, &public_key)) => {
            let calls = vec![Call::Change(Change::DeleteKeyPair { name: have.name.clone() }), import(planner)];
            let asked = planner
                .applied()
                .iter()
                .any(|cluster| have.public_key.as_deref().is_some_and(|old| same_key(old, &cluster.ssh.public_key)));
            let by_hand = !asked && planner.was_finished(&resource);
            let reason = if by_hand { BY_HAND } else { "ssh.public_key changed" };
            let mut action = update("replace", resource.clone(), calls, reason.into());
            action.details = vec!["~ public key; machines that live keep the old one".into()];
            if let (true, Some(before)) = (by_hand, planner.input.previous) {
                let is = short_key(have.public_key.as_deref().unwrap_or_default());
                let drift = Drift::new(&resource, &have.id, "public key", is, short_key(&before.ssh.public_key));
                planner.drifted(&mut action, vec![drift]);
            }
            planner.add(action);
        }
        Some(_) => {}
    }
}

/// Compares type and key, not the comment: AWS replaces it by the key pair's name.
fn same_key(one: &str, other: &str) -> bool {
    let parts = |line: &str| line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>();
    parts(one) == parts(other)
}

/// `ssh-ed25519 ...ZGhscHR4f`: keys of one kind begin alike.
fn short_key(line: &str) -> String {
    let mut parts = line.split_whitespace();
    let (kind, key) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let end = key.char_indices().rev().nth(8).map_or(0, |(at, _)| at);
    format!("{kind} ...{}", key.get(end..).unwrap_or_default())
}

/// Tags of instances that live, by group; launch settings are not among them, they tell what was true at launch.
pub fn live_tags(planner: &mut Planner<'_>) {
    let cluster = planner.input.cluster;
    let owned = format!("kubernetes.io/cluster/{}", cluster.name);
    for group in &cluster.groups {
        let mut extra = vec![(tags::GROUP, group.name.as_str()), ("kubewright.io/role", group.role.as_str())];
        if group.role != Role::Bastion {
            extra.push((&owned, "owned"));
        }
        // What the group says counts more than what the cluster says; of ours it can say nothing.
        let mut tags = planner.shared_tags(&extra);
        tags.extend(group.tags.clone());
        planner.live_tags.insert(&group.name, tags);
    }
}

pub fn instances(planner: &mut Planner<'_>) {
    let mut have_by_group = BTreeMap::<&str, u32>::new();
    for slot in planner.taken {
        *have_by_group.entry(&slot.group).or_default() += 1;
    }
    let all_lost = all_control_planes_lost(planner);
    if all_lost {
        let name = &planner.input.cluster.name;
        planner.plan.warnings.push(format!(
            "all control planes are gone: the new ones begin with an empty etcd, and pods end on the nodes that are left; put the data back \
             right afterwards with `kubewright etcd restore latest {name} --yes`"
        ));
    }
    let mut after = BTreeMap::new();
    for machine in &planner.desired.machines {
        let slot = &machine.name;
        if let Some(instance) = planner.found.instances.get(&machine.id).and_then(|twins| twins.first()) {
            behind(planner, machine, instance);
            mend(planner, machine, instance);
            starting(planner, machine, instance);
            continue;
        }
        let lost = planner.input.recorded.nodes.get(slot).filter(|node| node.phase.serves());
        if machine.role == Role::ControlPlane
            && !all_lost
            && let Some(node) = lost
        {
            planner.error(
                format!(
                    "control plane {slot} ({}) is gone; its etcd member must be removed before another can join",
                    node.instance
                ),
                format!(
                    "kubewright rolling-update {} --yes    (removes the member and makes another control plane)",
                    planner.input.cluster.name
                ),
            );
            continue;
        }
        let gone = lost
            .map(|node| &node.instance)
            .or_else(|| planner.input.recorded.resources.get(&machine.id).map(|record| &record.id));
        let reason = match (gone, planner.input.previous.and_then(|previous| previous.group(&machine.group))) {
            (Some(id), _) => format!("{id} is gone"),
            (None, Some(before)) => {
                let count = planner.group(machine).map_or(0, |group| group.count);
                let closed = planner.closed.iter().filter(|closed| closed.group == machine.group);
                let closed: Vec<String> = closed.map(ToString::to_string).collect();
                match (before.count == count, closed.is_empty()) {
                    (false, _) => format!("count {} -> {count}", before.count),
                    (true, true) => "missing".into(),
                    (true, false) => format!("in the place of {}", closed.join(", ")),
                }
            }
            (None, None) if planner.input.previous.is_some() => "new instance group".into(),
            (None, None) => String::new(),
        };
        let after =
            after.entry((&machine.subnet, machine.role)).or_insert_with(|| before(planner, &machine.subnet, machine.role));
        create_instance(planner, machine, after.clone(), reason);
    }
    let mut behind_by_group = BTreeMap::<&str, u32>::new();
    for behind in &planner.plan.behind {
        *behind_by_group.entry(&behind.group).or_default() += 1;
    }
    planner.plan.groups = planner
        .input
        .cluster
        .groups
        .iter()
        .map(|group| GroupSummary {
            name: group.name.clone(),
            role: group.role.as_str().into(),
            machine_type: group.machine_type.clone(),
            have: have_by_group.get(group.name.as_str()).copied().unwrap_or(0),
            want: group.count,
            behind: behind_by_group.get(group.name.as_str()).copied().unwrap_or(0),
        })
        .collect();
}

/// Control planes had joined, and none of them is left: there is no etcd whose members would have to be asked.
fn all_control_planes_lost(planner: &Planner<'_>) -> bool {
    let planes = || planner.desired.machines.iter().filter(|machine| machine.role == Role::ControlPlane);
    let had = planes().any(|machine| {
        let node = planner.input.recorded.nodes.get(&machine.name);
        node.is_some_and(|node| node.phase.serves()) && !planner.found.instances.contains_key(&machine.id)
    });
    // Also one that the spec no longer calls for.
    let is_left = |(resource, twins): (&ResourceId, &Vec<&Instance>)| {
        let Some(slot) = twins.first().and_then(|instance| slot_of(resource, instance)) else { return false };
        let group = planner.input.cluster.group(&slot.group);
        let node = planner.input.recorded.nodes.get(&slot.to_string());
        group.is_some_and(|group| group.role == Role::ControlPlane)
            && node.is_some_and(|node| node.phase >= NodePhase::Serving && planner.found.id(resource) == Some(&node.instance))
    };
    had && !planner.found.instances.iter().any(is_left)
}

fn create_instance(planner: &mut Planner<'_>, machine: &Machine, after: Vec<String>, reason: String) {
    let cluster = planner.input.cluster;
    let Some(group) = planner.group(machine) else { return };
    let Some(image) = planner.plan.images.get(&images::key(group)).cloned() else { return };
    let mut tags = planner.live_tags.get(group.name.as_str()).cloned().unwrap_or_default();
    tags.extend(planner.own_tags(&machine.id).map(|(key, value)| (key.to_owned(), value)));
    tags.insert(tags::MADE_FROM.into(), machine.made_from.as_str().to_owned());
    let request = RunInstance {
        image: image.id.clone(),
        machine_type: group.machine_type.clone(),
        subnet: planner.id_of(&machine.subnet),
        security_groups: vec![planner.id_of(&ResourceId::SecurityGroup(machine.role))],
        public_address: machine.public_address,
        key_name: key_name(&cluster.name, planner.input.uid),
        user_data: planner.input.user_data.get(&group.name).cloned().unwrap_or_default(),
        root_device: image.root_device,
        volume_gib: group.volume.size_gib,
        volume_kind: group.volume.kind.clone(),
        instance_profile: group.instance_profile.clone(),
        metadata_hop_limit: group.metadata_hop_limit,
        source_dest_check: machine.source_dest_check,
        tags,
    };
    let this = Ref::Id(machine.id.clone());
    let mut calls = vec![
        Call::Change(Change::RunInstance { token: String::new(), request: Box::new(request) }),
        Call::Wait(Until::InstanceRunning, this.clone()),
    ];
    if !machine.source_dest_check {
        calls.push(Call::Change(Change::ModifySourceDestCheck { instance: this, value: false }));
    }
    let mut action = create(machine.id.clone(), calls, after);
    action.details = vec![format!("{}  {} ({})  {}", group.machine_type, image.name, image.id, machine.slot.zone)];
    action.reasons.extend((!reason.is_empty()).then_some(reason));
    planner.push(action);
}

/// What a new machine of this subnet and role waits for.
fn before(planner: &Planner<'_>, subnet: &ResourceId, role: Role) -> Vec<String> {
    let routes = planner.desired.network.route_tables.iter().filter(|table| table.subnets.contains(subnet));
    let mut before: Vec<String> =
        routes.flat_map(|table| [create_id(&table.id), await_id(&table.default_route), format!("routes {}", table.id)]).collect();
    // Rules first: a machine must not stand for a moment with other rules than its own.
    before.extend(planner.desired.security_groups.iter().map(|group| firewall::rules_id(group.role)));
    before.extend([create_id(subnet), create_id(&ResourceId::KeyPair), format!("replace {}", ResourceId::KeyPair)]);
    before.push(create_id(&ResourceId::SecurityGroup(role)));
    // Records that belong to somebody else must stop the run before a machine costs money.
    before.push(create_id(&ResourceId::Records));
    planner.planned(before)
}

fn behind(planner: &mut Planner<'_>, machine: &Machine, instance: &Instance) {
    let Some(group) = planner.group(machine) else { return };
    let mut reasons = vec![];
    if let Some(image) = planner.plan.images.get(&images::key(group))
        && image.id != instance.image
    {
        reasons.push(format!("image {} -> {}", instance.image, image.id));
    }
    if group.machine_type != instance.machine_type {
        reasons.push(format!("machine type {} -> {}", instance.machine_type, group.machine_type));
    }
    if let Some(tag) = instance.tags.get(tags::MADE_FROM) {
        reasons.extend(machine.made_from.differences(tag).into_iter().map(|(key, was, is)| format!("{key} {was} -> {is}")));
    }
    if is_stopped(instance) {
        planner.plan.warnings.push(format!(
            "instance {} ({}) is {}; start it, or terminate it to have it made anew",
            machine.slot, instance.id, instance.state
        ));
    }
    if !reasons.is_empty() {
        planner.plan.behind.push(Behind { group: group.name.clone(), slot: machine.name.clone(), reasons });
    }
}

/// A machine that an earlier run made has no public address before it runs.
fn starting(planner: &mut Planner<'_>, machine: &Machine, instance: &Instance) {
    if instance.state == "pending" {
        let calls = vec![Call::Wait(Until::InstanceRunning, Ref::Known(instance.id.clone()))];
        planner.add(update("await", machine.id.clone(), calls, "it is starting".into()));
    }
}

/// What can be set right without a new machine.
fn mend(planner: &mut Planner<'_>, machine: &Machine, instance: &Instance) {
    if instance.source_dest_check.is_some_and(|have| have != machine.source_dest_check) {
        let value = machine.source_dest_check;
        let calls = vec![Call::Change(Change::ModifySourceDestCheck { instance: Ref::Known(instance.id.clone()), value })];
        let by_hand = planner.was_finished(&machine.id);
        let reason = if by_hand { BY_HAND } else { "differs in the account" };
        let mut action = update("source/dest check", machine.id.clone(), calls, reason.into());
        action.details = vec![format!("~ source/dest check {} -> {value}", !value)];
        if by_hand {
            let word = |on: bool| if on { "on" } else { "off" };
            let drift = Drift::new(&machine.id, &instance.id, "source/dest check", word(!value), word(value));
            planner.drifted(&mut action, vec![drift]);
        }
        planner.add(action);
    }
    // There is no call for it in a plan: who may reach a machine is decided when it is made.
    let wanted = planner.found.id(&ResourceId::SecurityGroup(machine.role));
    if let Some(wanted) = wanted.filter(|wanted| instance.security_groups != [*wanted])
        && planner.was_finished(&machine.id)
    {
        let drift = Drift::new(&machine.id, &instance.id, "security groups", instance.security_groups.join(", "), wanted);
        let next = format!("aws ec2 modify-instance-attribute --instance-id {} --groups {wanted}", instance.id);
        planner.left_alone(drift, next);
    }
}
