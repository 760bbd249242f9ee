//! Key pair and instances: what to make, what is behind, what is missing.

use std::collections::BTreeSet;

use crate::cluster::Role;
use crate::desired::{Machine, ResourceId, Slot, tags};
use crate::observed::Instance;
use crate::plan::action::{Behind, Call, GroupSummary, Until};
use crate::plan::found::Found;
use crate::plan::planner::{Planner, create, create_id, update};
use crate::plan::{Change, Ref, RunInstance, Tags, firewall, images};
use crate::recorded::NodePhase;

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
            let mut action = update("replace", resource, calls, "ssh.public_key changed".into());
            action.details = vec!["~ public key; machines that live keep the old one".into()];
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

/// Tags of an instance that lives; launch settings are not among them, they tell what was true at launch.
pub fn live_tags(planner: &Planner<'_>, slot: &str) -> Tags {
    let resource = ResourceId::Instance(slot.to_owned());
    let group = planner.group_of.get(slot).and_then(|group| planner.input.cluster.group(group));
    let Some(group) = group else { return planner.tags(&resource, &[]) };
    let owned = format!("kubernetes.io/cluster/{}", planner.input.cluster.name);
    let mut extra = vec![("kubewright.io/instance-group", group.name.as_str()), ("kubewright.io/role", group.role.as_str())];
    if group.role != Role::Bastion {
        extra.push((&owned, "owned"));
    }
    // What the group says counts more than what the cluster says; of ours it can say nothing.
    let mut tags = planner.tags(&resource, &extra);
    tags.extend(group.tags.clone());
    tags
}

pub fn instances(planner: &mut Planner<'_>) {
    let mut have_by_group = std::collections::BTreeMap::<String, u32>::new();
    for slot in taken_slots(&planner.found) {
        *have_by_group.entry(slot.group).or_default() += 1;
    }
    for machine in planner.desired.machines.clone() {
        let slot = machine.slot.to_string();
        let resource = ResourceId::Instance(slot.clone());
        if let Some(instance) = planner.found.instances.get(&resource).and_then(|twins| twins.first()).copied() {
            behind(planner, &machine, instance);
            mend(planner, &machine, instance);
            continue;
        }
        let lost = planner.input.recorded.nodes.get(&slot).filter(|node| node.phase == NodePhase::Joined);
        if machine.role == Role::ControlPlane
            && let Some(node) = lost
        {
            planner.error(
                format!(
                    "control plane {slot} ({}) is gone; its etcd member must be removed before another can join",
                    node.instance
                ),
                "replacing a lost control plane is not possible yet; the other control planes keep running",
            );
            continue;
        }
        let reason = match (lost, planner.input.previous.and_then(|previous| previous.group(&machine.group))) {
            (Some(node), _) => format!("{} is gone", node.instance),
            (None, Some(before)) => {
                let count = planner.group_of_slot(&machine.slot).map_or(0, |group| group.count);
                if before.count == count { "missing".into() } else { format!("count {} -> {count}", before.count) }
            }
            (None, None) if planner.input.previous.is_some() => "new instance group".into(),
            (None, None) => String::new(),
        };
        create_instance(planner, &machine, reason);
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
            have: have_by_group.get(&group.name).copied().unwrap_or(0),
            want: group.count,
            behind: planner.plan.behind.iter().filter(|behind| behind.group == group.name).count().try_into().unwrap_or(0),
        })
        .collect();
}

fn create_instance(planner: &mut Planner<'_>, machine: &Machine, reason: String) {
    let cluster = planner.input.cluster;
    let Some(group) = cluster.group(&machine.group) else { return };
    let Some(image) = planner.plan.images.get(&images::key(group)).cloned() else { return };
    let slot = machine.slot.to_string();
    let resource = ResourceId::Instance(slot.clone());
    let mut tags = live_tags(planner, &slot);
    tags.insert(tags::MADE_FROM.into(), machine.made_from.to_tag());
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
    let this = Ref::Id(resource.clone());
    let mut calls = vec![
        Call::Change(Change::RunInstance { token: String::new(), request: Box::new(request) }),
        Call::Wait(Until::InstanceRunning, this.clone()),
    ];
    if !machine.source_dest_check {
        calls.push(Call::Change(Change::ModifySourceDestCheck { instance: this, value: false }));
    }
    let routes = planner.desired.network.route_tables.iter().filter(|table| table.subnets.contains(&machine.subnet));
    let mut after: Vec<String> = routes.flat_map(|table| [create_id(&table.id), format!("routes {}", table.id)]).collect();
    // Rules first: a machine must not stand for a moment with other rules than its own.
    after.extend(planner.desired.security_groups.iter().map(|group| firewall::rules_id(group.role)));
    after.extend([create_id(&machine.subnet), create_id(&ResourceId::KeyPair), format!("replace {}", ResourceId::KeyPair)]);
    after.push(create_id(&ResourceId::SecurityGroup(machine.role)));
    // Records that belong to somebody else must stop the run before a machine costs money.
    after.push(create_id(&ResourceId::Records));
    let mut action = create(resource, calls, after);
    action.details = vec![format!("{}  {} ({})  {}", group.machine_type, image.name, image.id, machine.slot.zone)];
    action.reasons.extend((!reason.is_empty()).then_some(reason));
    planner.add(action);
}

fn behind(planner: &mut Planner<'_>, machine: &Machine, instance: &Instance) {
    let Some(group) = planner.input.cluster.group(&machine.group) else { return };
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
    if instance.state == "stopped" || instance.state == "stopping" {
        planner.plan.warnings.push(format!(
            "instance {} ({}) is {}; start it, or terminate it to have it made anew",
            machine.slot, instance.id, instance.state
        ));
    }
    if !reasons.is_empty() {
        planner.plan.behind.push(Behind { group: group.name.clone(), slot: machine.slot.to_string(), reasons });
    }
}

/// What can be set right without a new machine.
fn mend(planner: &mut Planner<'_>, machine: &Machine, instance: &Instance) {
    if instance.source_dest_check.is_some_and(|have| have != machine.source_dest_check) {
        let resource = ResourceId::Instance(machine.slot.to_string());
        let value = machine.source_dest_check;
        let calls = vec![Call::Change(Change::ModifySourceDestCheck { instance: Ref::Known(instance.id.clone()), value })];
        let mut action = update("source/dest check", resource, calls, "differs in the account".into());
        action.details = vec![format!("~ source/dest check {} -> {value}", !value)];
        planner.add(action);
    }
}
