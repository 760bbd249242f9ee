//! Runs the graph: every action as soon as all that it waits for is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{RwLock, Semaphore};

use crate::apply::event::{Event, Failure};
use crate::apply::graph::Graph;
use crate::apply::work::{self, Performed, Shared};
use crate::apply::world::{Addresses, NodeInputs, World};
use crate::desired::ResourceId;
use crate::observed::{Instance, Observed};
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
    let mut graph = Graph::new(&plan.actions);
    let begun = world.clock.now();
    let mut running = FuturesUnordered::new();
    let mut fenced = false;
    let mut untouched = vec![];
    loop {
        if !world.stop.is_cancelled() && !fenced {
            for action in graph.start() {
                (world.events)(Event::ActionStarted(action.clone()));
                running.push(timed(Arc::clone(&shared), action.clone()));
            }
        }
        let Some((action, result, seconds)) = running.next().await else { break };
        match result {
            Ok(Performed::Untouched) => {
                (world.events)(Event::ActionUntouched(action.clone()));
                untouched.push(Skipped { action, because: None });
            }
            Ok(Performed::Done(aws_id)) => {
                graph.done(&action.id);
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
    let failed: BTreeSet<&str> = outcome.failed.iter().map(|failed| failed.action.id.as_str()).collect();
    let skipped = graph.not_started(&failed);
    let skipped =
        skipped.into_iter().map(|(action, because)| Skipped { action: action.clone(), because: because.map(str::to_owned) });
    outcome.skipped = untouched.into_iter().chain(skipped).collect();
    outcome.stopped = world.stop.is_cancelled() && !outcome.skipped.is_empty();
    outcome
}

async fn timed(shared: Arc<Shared>, action: Action) -> (Action, Result<Performed, Failure>, f64) {
    let begun = shared.world.clock.now();
    let result = work::perform(&shared, &action).await;
    let seconds = shared.world.clock.now().duration_since(begun).as_secs_f64();
    (action, result, seconds)
}

fn addresses(observed: &Observed, world: &World) -> Addresses {
    let state = world.record.state();
    let by_id: BTreeMap<&str, &Instance> = observed.instances.iter().map(|instance| (instance.id.as_str(), instance)).collect();
    state
        .resources
        .iter()
        .filter(|(resource, _)| matches!(resource, ResourceId::Instance(_)))
        .filter_map(|(resource, record)| {
            let instance = by_id.get(record.id.as_str())?;
            Some((resource.clone(), (instance.private_address.clone(), instance.public_address.clone())))
        })
        .collect()
}
