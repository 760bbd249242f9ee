//! Node tasks: which machine is prepared, initialised, joined, and in which order.

use crate::cluster::{DrainEnd, InstanceGroup, Marks, Role, TaintEffect};
use crate::desired::{Machine, ResourceId};
use crate::plan::action::{Action, Verb, Work};
use crate::plan::planner::{Planner, await_id, create_id};
use crate::plan::{NodeTask, dns};
use crate::recorded::NodePhase;

/// `prepare nodes-us-east-1a-1`
pub fn task_id(task: NodeTask, slot: &str) -> String {
    format!("{} {slot}", task.as_str())
}

pub fn task(task: NodeTask, slot: &str, after: Vec<String>) -> Action {
    Action {
        id: task_id(task, slot),
        verb: Verb::Node,
        resource: ResourceId::Instance(slot.to_owned()),
        reasons: vec![],
        details: vec![],
        after,
        disruptive: None,
        work: Work::Node { task, slot: slot.to_owned(), instance: None },
    }
}

impl<'a> Planner<'a> {
    /// Phase of the machine that lives in a slot; what is recorded of an earlier machine there does not count.
    pub fn phase(&self, machine: &Machine) -> NodePhase {
        match self.input.recorded.nodes.get(&machine.name) {
            Some(node) if self.found.id(&machine.id) == Some(&node.instance) => node.phase,
            _ => NodePhase::Created,
        }
    }

    /// Whether a machine of this slot exists or is made by this plan.
    fn will_exist(&self, machine: &Machine) -> bool {
        self.exists(&machine.id) || self.has(&create_id(&machine.id))
    }

    pub fn control_planes(&self) -> Vec<&'a Machine> {
        let all = self.desired.machines.iter().filter(|machine| machine.role == Role::ControlPlane);
        all.filter(|machine| self.will_exist(machine)).collect()
    }
}

/// Labels and taints of nodes that have joined, where the spec has others now.
pub fn labels(planner: &mut Planner<'_>) {
    for machine in &planner.desired.machines {
        let slot = &machine.name;
        let after = match planner.phase(machine) {
            NodePhase::Joined if machine.role != Role::Bastion => vec![],
            NodePhase::Serving => vec![task_id(NodeTask::Ready, slot)],
            _ => continue,
        };
        let have = planner.input.recorded.nodes.get(slot).and_then(|node| node.marks.as_ref());
        let (Some(have), Some(group)) = (have, planner.group(machine)) else { continue };
        let details = differences(have, &group.marks());
        if !details.is_empty() {
            let mut label = task(NodeTask::Label, slot, after);
            label.reasons = vec![format!("labels or taints of instance group {} changed", group.name)];
            label.disruptive = evicts(have, &group.marks()).then(|| "pods that do not tolerate the taint are evicted".to_owned());
            label.details = details;
            planner.add(label);
        }
    }
}

fn differences(have: &Marks, want: &Marks) -> Vec<String> {
    let mut lines = vec![];
    for (key, value) in &want.labels {
        match have.labels.get(key) {
            None => lines.push(format!("+ label {key}={value}")),
            Some(old) if old != value => lines.push(format!("~ label {key}: {old} -> {value}")),
            Some(_) => {}
        }
    }
    for taint in &want.taints {
        let effect = taint.effect.as_str();
        match have.taints.iter().find(|old| (&old.key, old.effect) == (&taint.key, taint.effect)) {
            None => lines.push(format!("+ taint {}={}:{effect}", taint.key, taint.value)),
            Some(old) if old.value != taint.value => {
                lines.push(format!("~ taint {}:{effect}: {} -> {}", taint.key, old.value, taint.value));
            }
            Some(_) => {}
        }
    }
    let (labels, taints) = have.lost(want);
    lines.extend(labels.into_iter().map(|key| format!("- label {key}")));
    lines.extend(taints.into_iter().map(|(key, effect)| format!("- taint {key}:{}", effect.as_str())));
    lines
}

fn evicts(have: &Marks, want: &Marks) -> bool {
    want.taints.iter().any(|taint| taint.effect == TaintEffect::NoExecute && !have.taints.contains(taint))
}

/// Everything on its own as far as it can; barriers only where Kubernetes has them: the first control plane before all joins,
/// control planes one at a time (etcd takes one new member at a time), the published name before workers look it up.
pub fn bootstrap(planner: &mut Planner<'_>) {
    let machines: Vec<&Machine> = planner.desired.machines.iter().filter(|machine| planner.will_exist(machine)).collect();
    // Of a bastion only the host keys are learnt; everybody else is reached through it.
    let (bastions, others): (Vec<&Machine>, Vec<&Machine>) =
        machines.iter().copied().partition(|machine| machine.role == Role::Bastion);
    let through: Vec<String> = bastions.iter().map(|machine| task_id(NodeTask::Prepare, &machine.name)).collect();
    let mut to_join = vec![];
    for (machine, mut after) in
        bastions.into_iter().map(|machine| (machine, vec![])).chain(others.into_iter().map(|machine| (machine, through.clone())))
    {
        // A machine that has not joined is prepared again, although it may have been before: the packages' source may hold something
        // else by now, which a join needs. Where nothing differs this is one question to the machine.
        let enough = match machine.role {
            Role::Bastion => NodePhase::Prepared,
            Role::ControlPlane => NodePhase::Serving,
            Role::Node => NodePhase::Joined,
        };
        if planner.phase(machine) < enough {
            if machine.role == Role::Node {
                to_join.push(machine);
            }
            after.extend([create_id(&machine.id), await_id(&machine.id)]);
            // Its way out.
            after.extend(planner.desired.network.nat_zones.iter().map(|zone| await_id(&ResourceId::NatGateway(zone.clone()))));
            planner.add(task(NodeTask::Prepare, &machine.name, after));
        }
    }

    let control_planes = planner.control_planes();
    let serves = |planner: &Planner<'_>, machine: &Machine| planner.phase(machine) >= NodePhase::Serving;
    let mut ready: Vec<&Machine> = control_planes.iter().copied().filter(|machine| serves(planner, machine)).collect();
    // Nobody joins through a name: a control plane joins by the address of one that serves, so that only the publications wait for each
    // other, each naming those before it as well.
    let (mut previous, mut published): (Option<String>, Option<String>) = (None, None);
    for machine in control_planes {
        let slot = &machine.name;
        if serves(planner, machine) {
            if planner.phase(machine) == NodePhase::Serving {
                planner.add(task(NodeTask::Ready, slot, vec![]));
            }
            continue;
        }
        let kind = if ready.is_empty() { NodeTask::Init } else { NodeTask::JoinControlPlane };
        let mut after = vec![task_id(NodeTask::Prepare, slot)];
        after.extend(previous.take());
        planner.add(task(kind, slot, after));
        // The first address is published while the cluster is started: nobody is sent away from a server that answers, and the name
        // servers take up to a minute to know it.
        let (after, why) = match kind {
            NodeTask::Init => (vec![create_id(&machine.id), await_id(&machine.id)], format!("{slot} will serve the API")),
            _ => (vec![task_id(kind, slot)], format!("{slot} serves the API")),
        };
        ready.push(machine);
        previous = Some(task_id(kind, slot));
        published = Some(dns::publish(planner, &ready, after.into_iter().chain(published.take()).collect(), why));
        planner.add(task(NodeTask::Ready, slot, vec![task_id(kind, slot)]));
    }
    // The first publication is enough for workers; later control planes join beside them.
    let first = |planner: &Planner<'_>, word: &str| {
        planner.plan.actions.iter().find(|action| action.id.starts_with(word)).map(|action| action.id.clone())
    };
    let there: Vec<String> = first(planner, "init ").into_iter().chain(first(planner, "publish ")).collect();
    for machine in to_join {
        let slot = &machine.name;
        let mut after = vec![task_id(NodeTask::Prepare, slot)];
        after.extend(there.clone());
        planner.add(task(NodeTask::JoinWorker, slot, after));
        if let Some(node) = planner.input.recorded.nodes.get(slot)
            && planner.found.id(&machine.id) != Some(&node.instance)
            && node.phase >= NodePhase::Joined
        {
            let mut forget = task(NodeTask::Forget, slot, vec![task_id(NodeTask::JoinWorker, slot)]);
            forget.reasons = vec![format!("Node {} has no machine any more", node.instance)];
            forget.work = Work::Node { task: NodeTask::Forget, slot: slot.clone(), instance: Some(node.instance.clone()) };
            planner.add(forget);
        }
    }
}

/// What the drain of this machine ends with, where its group does not stop at budgets.
pub(super) fn forced_drain(planner: &Planner<'_>, slot: &str) -> Option<String> {
    let groups = [Some(planner.input.cluster), planner.input.previous].into_iter().flatten().flat_map(|cluster| &cluster.groups);
    let its = |group: &&InstanceGroup| slot.strip_prefix(&group.name).is_some_and(|rest| rest.starts_with('-'));
    let rolling = groups.filter(its).max_by_key(|group| group.name.len())?.rolling_update;
    let forces = rolling.on_drain_timeout == DrainEnd::Force;
    forces.then(|| format!("pods that budgets keep for {} s are deleted (on_drain_timeout = \"force\")", rolling.drain_timeout))
}
