//! Runs the graph: every action as soon as all that it waits for is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{RwLock, Semaphore};

use crate::apply::event::{Event, Failure};
use crate::apply::work::{self, Shared};
use crate::apply::world::{Addresses, NodeInputs, World};
use crate::desired::ResourceId;
use crate::observed::Observed;
use crate::plan::{Action, Plan};

#[derive(Clone, Debug)]
pub struct Done {
    pub action: Action,
    pub aws_id: Option<String>,
    /// Seconds since the run began.
    pub started: f64,
    pub seconds: f64,
}

#[derive(Clone, Debug)]
pub struct Failed {
    pub action: Action,
    pub failure: Failure,
}

/// An action that was not started.
#[derive(Clone, Debug)]
pub struct Skipped {
    pub action: Action,
    /// The failed action that it waits for; `None`: the run was stopped.
    pub because: Option<String>,
}

/// What became of every action of a plan.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub done: Vec<Done>,
    pub failed: Vec<Failed>,
    pub skipped: Vec<Skipped>,
    pub stopped: bool,
}

impl Outcome {
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty() && self.skipped.is_empty()
    }
}

/// Runs a plan to its end, or as far as failures and interrupts let it. What does not depend on a failed action still runs,
/// except after [`Failure::Record`]: then nothing may be started any more.
pub async fn run(plan: &Plan, world: Arc<World>, inputs: Option<Arc<NodeInputs>>, observed: &Observed) -> Outcome {
    let shared = Arc::new(Shared {
        node_permits: Semaphore::new(world.node_limit.max(1)),
        watch: Default::default(),
        addresses: RwLock::new(addresses(observed, &world)),
        world: Arc::clone(&world),
        inputs,
    });
    let mut outcome = Outcome::default();
    let mut waiting: BTreeMap<usize, BTreeSet<&str>> =
        plan.actions.iter().enumerate().map(|(n, action)| (n, action.after.iter().map(String::as_str).collect())).collect();
    let begun = world.clock.now();
    let mut running = FuturesUnordered::new();
    let mut fenced = false;
    loop {
        if !world.stop.is_cancelled() && !fenced {
            let ready: Vec<usize> = waiting.iter().filter(|(_, after)| after.is_empty()).map(|(n, _)| *n).collect();
            for n in ready {
                waiting.remove(&n);
                let Some(action) = plan.actions.get(n) else { continue };
                (world.events)(Event::ActionStarted(action.clone()));
                running.push(timed(Arc::clone(&shared), action.clone()));
            }
        }
        let Some((action, result, seconds)) = running.next().await else { break };
        match result {
            Ok(aws_id) => {
                for after in waiting.values_mut() {
                    after.remove(action.id.as_str());
                }
                (world.events)(Event::ActionDone { action: action.clone(), aws_id: aws_id.clone(), seconds });
                let started = world.clock.now().duration_since(begun).as_secs_f64() - seconds;
                outcome.done.push(Done { action, aws_id, started, seconds });
            }
            Err(failure) => {
                fenced |= matches!(failure, Failure::Record(_));
                (world.events)(Event::ActionFailed { action: action.clone(), failure: failure.clone() });
                outcome.failed.push(Failed { action, failure });
            }
        }
    }
    let failed: BTreeSet<String> = outcome.failed.iter().map(|failed| failed.action.id.clone()).collect();
    outcome.stopped = world.stop.is_cancelled() && !waiting.is_empty();
    outcome.skipped = waiting
        .keys()
        .filter_map(|n| plan.actions.get(*n))
        .map(|action| Skipped { action: action.clone(), because: root_cause(plan, action, &failed) })
        .collect();
    outcome
}

async fn timed(shared: Arc<Shared>, action: Action) -> (Action, Result<Option<String>, Failure>, f64) {
    let begun = shared.world.clock.now();
    let result = work::perform(&shared, &action).await;
    let seconds = shared.world.clock.now().duration_since(begun).as_secs_f64();
    (action, result, seconds)
}

/// The failed action at the start of the chain that an action waits for.
fn root_cause(plan: &Plan, action: &Action, failed: &BTreeSet<String>) -> Option<String> {
    let mut open: Vec<&str> = action.after.iter().map(String::as_str).collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if failed.contains(id) {
            return Some(id.to_owned());
        }
        if seen.insert(id)
            && let Some(before) = plan.actions.iter().find(|action| action.id == id)
        {
            open.extend(before.after.iter().map(String::as_str));
        }
    }
    None
}

fn addresses(observed: &Observed, world: &World) -> Addresses {
    let state = world.record.state();
    let of_instance = |resource: &ResourceId, id: &str| {
        matches!(resource, ResourceId::Instance(_))
            .then(|| observed.instances.iter().find(|instance| instance.id == id))
            .flatten()
    };
    state
        .resources
        .iter()
        .filter_map(|(resource, record)| {
            let instance = of_instance(resource, &record.id)?;
            Some((resource.clone(), (instance.private_address.clone(), instance.public_address.clone())))
        })
        .collect()
}
