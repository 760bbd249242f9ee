//! The loop: look, decide, begin; look again when something has ended.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;

use crate::apply::{self, Event, Failure, NodeInputs, Outcome, World};
use crate::cloud::{CloudError, ErrorClass};
use crate::cluster::DrainEnd;
use crate::operation::OperationError;
use crate::recorded::State;
use crate::rolling::{Blocked, Decision, LOOK, Machine, Stage, Step, View, Work, next_step};

use super::look::{Eyes, Memory};
use super::{End, Site, steps, view};

/// How often a step is tried whose connection was lost.
const ATTEMPTS: u32 = 3;
/// Looks in a row that AWS may refuse for the moment.
const PATIENCE: u32 = 20;

type Ended = (Step, Result<Outcome, String>);

/// Rolls until there is nothing left to do, something blocks, or the run is stopped.
pub(super) async fn roll(
    site: &mut Site,
    eyes: &Eyes<'_>,
    world: Arc<World>,
    inputs: Arc<NodeInputs>,
) -> Result<(Outcome, End), OperationError> {
    let mut memory = Memory::default();
    let mut all = Outcome::default();
    let mut works: FuturesUnordered<BoxFuture<'static, Ended>> = FuturesUnordered::new();
    let mut refused = 0;
    let mut told = String::new();
    loop {
        if world.stop.is_cancelled() && works.is_empty() {
            all.stopped = true;
            return Ok((all, End::Stopped));
        }
        let state = world.record.state();
        let seen = match eyes.look(site, &state, &mut memory).await {
            Ok(seen) => seen,
            Err(error) if is_passing(error.class) && refused < PATIENCE => {
                refused += 1;
                world.clock.wait(Duration::from_secs(LOOK)).await;
                continue;
            }
            // What is in work is recorded as it ends; the next run looks again.
            Err(error) => {
                while let Some((step, ended)) = works.next().await {
                    keep(site, &mut memory, &mut all, &step, ended);
                }
                return Err(error.into());
            }
        };
        refused = 0;
        site.observed.records.clone_from(&seen.records);
        site.observed.instances.clone_from(&seen.instances);
        let mut view = view::view(site, &state, &seen, &mut memory, view::now(eyes.env));
        let decision = begin(site, &world, &inputs, &mut view, &mut memory);
        let (begun, decision) = decision;
        for work in begun {
            works.push(work);
        }
        let until = match decision {
            Decision::Done if works.is_empty() => return Ok((all, End::Done)),
            Decision::Blocked(stop) if works.is_empty() => return Ok((all, End::Blocked(stop))),
            Decision::Wait { what, until } => {
                if what != told {
                    (world.events)(Event::Note(format!("waiting for {what}")));
                    told = what;
                }
                until
            }
            _ => view.now + LOOK,
        };
        // While nothing of ours is in work only looking again can tell what has changed.
        let drains = memory.works.values().any(|(_, work, _)| matches!(work, Work::Drain { .. }));
        let pause = match (works.is_empty(), drains) {
            (true, _) => until.saturating_sub(view.now).clamp(1, LOOK),
            (false, true) => 3 * LOOK,
            (false, false) => until.saturating_sub(view.now).max(1),
        };
        tokio::select! {
            Some((step, ended)) = works.next(), if !works.is_empty() => {
                let stops = keep(site, &mut memory, &mut all, &step, ended);
                if let Some(stop) = stops {
                    while let Some((step, ended)) = works.next().await {
                        keep(site, &mut memory, &mut all, &step, ended);
                    }
                    return Ok((all, End::Blocked(stop)));
                }
            }
            () = world.clock.wait(Duration::from_secs(pause)) => {}
            () = world.stop.cancelled(), if works.is_empty() => {}
        }
    }
}

/// Begins all that may be begun at this moment; gives the works, and the decision that ended it.
fn begin(
    site: &Site,
    world: &Arc<World>,
    inputs: &Arc<NodeInputs>,
    view: &mut View,
    memory: &mut Memory,
) -> (Vec<BoxFuture<'static, Ended>>, Decision) {
    let mut begun: Vec<BoxFuture<'static, Ended>> = vec![];
    loop {
        let decision = next_step(view);
        let Decision::Do(step) = decision else { return (begun, decision) };
        // Waiting for AWS takes nobody's turn.
        let busy = memory.works.values().filter(|(_, work, _)| work.is_over_ssh()).count();
        if world.stop.is_cancelled() || (step.work.is_over_ssh() && busy >= world.node_limit.max(1)) {
            let what = "its turn: no more machines are worked on at once".to_owned();
            return (begun, Decision::Wait { what, until: view.now + LOOK });
        }
        if step.work == Work::Create {
            view.machines.push(Machine { stage: Stage::Requested, ..Machine::new(step.slot.clone(), "", step.group) });
        }
        if let Some(machine) = view.machines.iter_mut().find(|machine| machine.slot == step.slot) {
            (machine.work, machine.since) = (Some(step.work.clone()), view.now);
        }
        memory.works.insert(step.slot.to_string(), (step.slot.clone(), step.work.clone(), view.now));
        let observed = site.observed.clone();
        let plan = steps::plan_of(site, &world.record.state(), &observed, &step);
        let (world, inputs) = (Arc::clone(world), Arc::clone(inputs));
        begun.push(Box::pin(async move {
            let ended = match plan {
                Ok(plan) => Ok(carry_out(&world, inputs, &observed, &step, plan).await),
                Err(why) => Err(why),
            };
            (step, ended)
        }));
    }
}

async fn carry_out(
    world: &Arc<World>,
    inputs: Arc<NodeInputs>,
    observed: &crate::observed::Observed,
    step: &Step,
    plan: crate::plan::Plan,
) -> Outcome {
    let slot = step.slot.to_string();
    let now = world.clock.now().to_string();
    if step.work == Work::Withdraw {
        // Before it: an address that is out, and nobody knows since when, would be taken for one that never was in.
        let mark = note(world, &slot, Some(now)).await;
        if let Err(why) = mark {
            return failed(&plan, why);
        }
    }
    let outcome = tried(world, inputs, observed, &plan).await;
    if step.work == Work::Publish && outcome.is_complete() {
        match note(world, &slot, None).await {
            Ok(()) => {}
            Err(why) => return failed(&plan, why),
        }
    }
    outcome
}

/// Carries a plan out, again while nothing but connections fails.
pub(super) async fn tried(
    world: &Arc<World>,
    inputs: Arc<NodeInputs>,
    observed: &crate::observed::Observed,
    plan: &crate::plan::Plan,
) -> Outcome {
    let mut attempt = 1;
    loop {
        let outcome = apply::run(plan, Arc::clone(world), Some(Arc::clone(&inputs)), observed).await;
        let again = !outcome.failed.is_empty() && outcome.failed.iter().all(|failed| is_lost(&failed.failure));
        if !again || attempt >= ATTEMPTS || world.stop.is_cancelled() {
            return outcome;
        }
        attempt += 1;
        world.clock.wait(Duration::from_secs(LOOK)).await;
    }
}

/// The connection, not what was asked of the machine.
pub(super) fn is_lost(failure: &Failure) -> bool {
    matches!(failure, Failure::Node(error) if error.retryable)
}

/// Records since when an address is out of the records of the API.
async fn note(world: &World, slot: &str, withdrawn: Option<String>) -> Result<(), String> {
    let slot = slot.to_owned();
    let edit = move |state: &mut State| {
        if let Some(node) = state.nodes.get_mut(&slot) {
            node.withdrawn = withdrawn;
        }
    };
    world.record.update(Box::new(edit)).await
}

fn failed(plan: &crate::plan::Plan, why: String) -> Outcome {
    let action = plan.actions.first().cloned();
    let failed = action.map(|action| apply::Failed { action, failure: Failure::Record(why) });
    Outcome { failed: failed.into_iter().collect(), ..Outcome::default() }
}

/// Remembers how a step ended; gives what ends the roll, if it does.
fn keep(site: &Site, memory: &mut Memory, all: &mut Outcome, step: &Step, ended: Result<Outcome, String>) -> Option<Blocked> {
    let slot = step.slot.to_string();
    memory.works.remove(&slot);
    // Whatever comes next with this slot begins anew.
    memory.overdue.remove(&slot);
    let group = site.cluster.group(&step.slot.group);
    let forces = group.is_some_and(|group| group.rolling_update.on_drain_timeout == DrainEnd::Force);
    let ended = match (&step.work, ended) {
        (Work::Drain { force: false, .. }, Ok(outcome)) => match overdue(&outcome) {
            Some(why) => {
                memory.overdue.insert(slot, why);
                memory.asked = None;
                // What is gone on from is no failure of the run.
                if !forces {
                    all.failed.extend(outcome.failed);
                }
                return None;
            }
            None => Ok(outcome),
        },
        (_, ended) => ended,
    };
    let failure = match ended {
        Ok(outcome) => {
            let first = outcome.failed.first().map(|failed| failed.failure.clone());
            all.done.extend(outcome.done);
            all.failed.extend(outcome.failed);
            first
        }
        Err(why) => Some(Failure::Timeout(why)),
    };
    let failure = failure?;
    let why = match &failure {
        Failure::Node(error) => error.cause.clone(),
        other => other.to_string(),
    };
    match (&step.work, &failure) {
        (_, Failure::Record(why)) => {
            let next = "kubewright lock status says who works on this cluster now".into();
            return Some(Blocked { what: why.clone(), next });
        }
        // Only where there is no room does the old machine go first: after any other refusal nothing may be taken away.
        (Work::Create, failure) if !is_want_of_room(failure) => {
            let what = format!("no machine can be made in {}: {why}", step.slot.group);
            return Some(Blocked { what, next: "mend that, then run the same command again".into() });
        }
        (Work::Create, _) => drop(memory.refused.insert(step.slot.group.clone(), why)),
        (work, _) => drop(memory.failed.insert(slot, (work.clone(), why))),
    }
    // The budgets of this very moment explain a drain that did not end.
    memory.asked = None;
    None
}

/// Why pods are left, where a drain had all of its time.
fn overdue(outcome: &Outcome) -> Option<String> {
    outcome.failed.iter().find_map(|failed| match &failed.failure {
        Failure::Node(error) if error.is_overdue() => Some(error.cause.clone()),
        _ => None,
    })
}

fn is_want_of_room(failure: &Failure) -> bool {
    // A zone without capacity would not have it for the next machine either.
    let full = |error: &CloudError| error.class == ErrorClass::Quota || error.code == "InsufficientFreeAddressesInSubnet";
    matches!(failure, Failure::Cloud(error) if full(error))
}

fn is_passing(class: ErrorClass) -> bool {
    matches!(class, ErrorClass::Retryable | ErrorClass::Throttled | ErrorClass::Ambiguous)
}
