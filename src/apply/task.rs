//! Carries out one task on a node, and records how far the node is.

use std::sync::{Arc, Mutex, PoisonError};

use crate::apply::call::elapsed;
use crate::apply::event::{Event, Failure};
use crate::apply::fleet::{fleet_of, with_gone};
use crate::apply::wait;
use crate::apply::work::{Performed, Shared};
use crate::bootstrap::{Fleet, NodeError, NodeEvent};
use crate::desired::ResourceId;
use crate::plan::NodeTask;
use crate::recorded::{Node, NodePhase, State};

pub(super) async fn node(shared: &Arc<Shared>, task: NodeTask, slot: &str, gone: Option<String>) -> Result<Performed, Failure> {
    let world = &shared.world;
    // Before anything is recorded of it: a machine that only waits is not leaving yet.
    let _permit = tokio::select! {
        permit = wait::turn(world, &shared.node_permits, slot) => permit?,
        () = world.stop.cancelled() => return Ok(Performed::Untouched),
    };
    let leaves = match task {
        NodeTask::Drain => true,
        // Of a machine that is there, but stopped.
        NodeTask::Forget => {
            let state = world.record.state();
            let node = state.nodes.get(slot).filter(|node| gone.as_ref() == Some(&node.instance));
            node.is_some_and(|node| node.phase == NodePhase::Joined)
                && state.resources.contains_key(&ResourceId::Instance(slot.to_owned()))
        }
        _ => false,
    };
    if leaves || matches!(task, NodeTask::Cordon | NodeTask::Evict | NodeTask::DeletePods) {
        // First of all: a cordon that nobody has written down would be taken for somebody else's, and a machine whose Node is gone for
        // one that has joined.
        let slot = slot.to_owned();
        let edit = move |state: &mut State| match state.nodes.get_mut(&slot) {
            Some(node) if leaves => node.phase = NodePhase::Leaving,
            Some(node) => node.cordoned = true,
            None => {}
        };
        world.record.update(Box::new(edit)).await.map_err(Failure::Record)?;
    }
    let fleet = Arc::new(fleet(shared, slot, gone.clone()).await?);
    let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
    let last_step = Arc::new(Mutex::new(CONNECT.to_owned()));
    let events = {
        let (world, slot, last_step) = (Arc::clone(world), slot.to_owned(), Arc::clone(&last_step));
        Arc::new(move |event: NodeEvent| {
            if let NodeEvent::HostKeys(keys) = &event {
                // The receiver lives as long as the task; a failed send has nobody left to tell.
                let _ = send.send(keys.clone());
            }
            if let NodeEvent::StepStarted { step, .. } = &event {
                step.clone_into(&mut last_step.lock().unwrap_or_else(PoisonError::into_inner));
            }
            (world.events)(Event::Node { slot: slot.clone(), event });
        })
    };
    let pin = async {
        let mut written = Ok(());
        while let Some(keys) = receive.recv().await {
            let slot = slot.to_owned();
            let edit = move |state: &mut State| {
                if let Some(node) = state.nodes.get_mut(&slot) {
                    node.host_keys = keys;
                }
            };
            written = written.and(world.record.update(Box::new(edit)).await);
        }
        written
    };
    let marks = fleet.machines.get(slot).and_then(|machine| fleet.group_of(machine)).map(|group| group.marks());
    let machine = fleet.machines.get(slot).cloned();
    let begun = world.clock.now();
    let work = async { tokio::join!(world.nodes.run(task, slot, fleet, events), pin) };
    let lost = async {
        match &machine {
            Some(machine) if speaks_to(task) => (wait::lost(world, &shared.watch, &machine.instance).await, machine),
            _ => std::future::pending().await,
        }
    };
    // What is done on a machine is ended properly; a machine that does not let us in, or says nothing of its keys, may take many minutes.
    let untouched = async {
        world.stop.cancelled().await;
        if !speaks_to(task) || step(&last_step) != CONNECT {
            std::future::pending::<()>().await;
        }
    };
    let (done, pinned) = tokio::select! {
        ended = work => ended,
        () = untouched => return Ok(Performed::Untouched),
        (cause, machine) = lost => {
            let seconds = elapsed(begun, world.clock.now()).as_secs();
            let error = NodeError::lost(slot, &machine.private_address, step(&last_step), cause, seconds);
            return Err(Failure::Node(Box::new(error)));
        }
    };
    pinned.map_err(Failure::Record)?;
    done.map_err(|error| Failure::Node(Box::new(error)))?;
    let phase = match task {
        NodeTask::Prepare => Some(NodePhase::Prepared),
        NodeTask::Init | NodeTask::JoinControlPlane => Some(NodePhase::Serving),
        NodeTask::JoinWorker | NodeTask::Ready | NodeTask::Label | NodeTask::Uncordon => Some(NodePhase::Joined),
        NodeTask::Evict | NodeTask::DeletePods => Some(NodePhase::Drained),
        NodeTask::Drain => Some(NodePhase::Leaving),
        NodeTask::Snapshot | NodeTask::Forget => None,
        NodeTask::Cordon | NodeTask::MoveLeader | NodeTask::RemoveMember => return Ok(Performed::Done(None)),
        NodeTask::Fetch | NodeTask::Upgrade | NodeTask::UpgradeFirst => return Ok(Performed::Done(None)),
    };
    let (slot, now) = (slot.to_owned(), world.clock.now().to_string());
    let edit = move |state: &mut State| {
        let resource = ResourceId::Instance(slot.clone());
        let lost = |node: &Node| gone.as_ref() == Some(&node.instance) && !state.resources.contains_key(&resource);
        if task == NodeTask::Forget {
            // Of a machine that is still there the record goes with its instance.
            if state.nodes.get(&slot).is_some_and(lost) {
                state.nodes.remove(&slot);
            }
            return;
        }
        if task == NodeTask::Snapshot {
            // The last one counts, and two may be of the same moment.
            state.nodes.values_mut().for_each(|node| node.snapshot = None);
        }
        if let Some(node) = state.nodes.get_mut(&slot) {
            if task == NodeTask::Snapshot {
                node.snapshot = Some(now);
            }
            node.cordoned &= task != NodeTask::Uncordon;
            let Some(phase) = phase else { return };
            node.phase = phase;
            let is_marked = [NodeTask::Init, NodeTask::JoinControlPlane, NodeTask::JoinWorker, NodeTask::Label].contains(&task);
            if is_marked {
                node.marks = marks;
            }
        }
    };
    world.record.update(Box::new(edit)).await.map_err(Failure::Record)?;
    Ok(Performed::Done(None))
}

/// Before the first step of a task.
const CONNECT: &str = "connect";

fn step(last: &Mutex<String>) -> String {
    last.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Tasks that work on the machine itself, step by step, after they have got into it; of others the machine may be dead.
fn speaks_to(task: NodeTask) -> bool {
    use NodeTask::{Fetch, Init, JoinControlPlane, JoinWorker, Label, Prepare, Ready, Upgrade, UpgradeFirst};
    matches!(task, Prepare | Init | JoinControlPlane | JoinWorker | Label | Ready | Fetch | Upgrade | UpgradeFirst)
}

/// The machines as they are known now. `gone` is the instance that the task is about, where another lives in its slot.
async fn fleet(shared: &Shared, slot: &str, gone: Option<String>) -> Result<Fleet, Failure> {
    let Some(inputs) = &shared.inputs else {
        return Err(Failure::Defect("node tasks need the cluster's spec".into()));
    };
    let state = shared.world.record.state();
    let addresses = shared.addresses.read().await;
    let mut fleet = fleet_of(&state, inputs, &addresses);
    if let Some(gone) = gone {
        with_gone(&mut fleet, slot, gone);
    }
    Ok(fleet)
}
