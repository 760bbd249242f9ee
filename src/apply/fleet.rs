//! The machines that node tasks work with, as they are recorded.

use std::collections::BTreeMap;

use crate::apply::world::{Addresses, NodeInputs};
use crate::bootstrap::{Fleet, Machine};
use crate::cluster::{Cluster, InstanceGroup, Role};
use crate::desired::ResourceId;
use crate::recorded::{NodePhase, State};

/// Machines of the recorded state; `addresses` are newer than the recorded ones.
pub fn fleet_of(state: &State, inputs: &NodeInputs, addresses: &Addresses) -> Fleet {
    let mut machines = BTreeMap::new();
    let mut ready_control_planes = vec![];
    for (resource, record) in &state.resources {
        let ResourceId::Instance(name) = resource else { continue };
        let Some((group, zone)) = place(&inputs.cluster, name) else { continue };
        let node = state.nodes.get(name).filter(|node| node.instance == record.id);
        let (private, public) = addresses.get(resource).cloned().unwrap_or_default();
        let serves = |phase: NodePhase| phase.serves() || (inputs.in_place && phase == NodePhase::Drained);
        if group.role == Role::ControlPlane && node.is_some_and(|node| serves(node.phase)) {
            ready_control_planes.push(name.clone());
        }
        let machine = Machine {
            slot: name.clone(),
            group: group.name.clone(),
            instance: record.id.clone(),
            zone,
            private_address: private.or_else(|| record.private_address.clone()).unwrap_or_default(),
            public_address: public.or_else(|| record.public_address.clone()),
            host_keys: node.map(|node| node.host_keys.clone()).unwrap_or_default(),
            marks: node.and_then(|node| node.marks.clone()).unwrap_or_default(),
        };
        machines.insert(name.clone(), machine);
    }
    Fleet { cluster: inputs.cluster.clone(), pki: inputs.pki.clone(), machines, ready_control_planes }
}

/// Puts the machine into its slot that a task is about and that is gone; another may live there now.
pub(super) fn with_gone(fleet: &mut Fleet, slot: &str, gone: String) {
    if let Some(machine) = fleet.machines.get_mut(slot) {
        machine.instance = gone;
        return;
    }
    let Some((group, zone)) = place(&fleet.cluster, slot) else { return };
    let lost = Machine {
        slot: slot.to_owned(),
        group: group.name.clone(),
        instance: gone,
        zone,
        private_address: String::new(),
        public_address: None,
        host_keys: vec![],
        marks: Default::default(),
    };
    fleet.machines.insert(slot.to_owned(), lost);
}

/// Group and zone of a slot's text.
fn place<'a>(cluster: &'a Cluster, slot: &str) -> Option<(&'a InstanceGroup, String)> {
    let (rest, _) = slot.rsplit_once('-')?;
    let fits = |group: &&InstanceGroup| {
        rest.strip_prefix(&group.name)
            .and_then(|zone| zone.strip_prefix('-'))
            .is_some_and(|zone| zone.starts_with(&cluster.region))
    };
    let group = cluster.groups.iter().find(fits)?;
    let zone = rest.strip_prefix(&group.name)?.strip_prefix('-')?;
    Some((group, zone.to_owned()))
}
