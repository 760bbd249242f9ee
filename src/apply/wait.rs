//! Waiting for instances and gateways: one listing serves everybody who waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, SemaphorePermit};

use crate::apply::call::{elapsed, is_young};
use crate::apply::event::{Event, Failure};
use crate::apply::observe::SETTLE;
use crate::apply::world::World;
use crate::bootstrap::NodeEvent;
use crate::cloud::{CloudError, ErrorClass, Scope};
use crate::observed::{Instance, NatGateway};
use crate::plan::Until;

const BETWEEN_READS: Duration = Duration::from_secs(2);
/// Between two looks at the instances whose machines are worked on; one listing serves all of them.
const BETWEEN_GLANCES: Duration = Duration::from_secs(30);
/// Instances boot within minutes; a NAT gateway takes two or three.
const DEADLINE: Duration = Duration::from_secs(15 * 60);

/// The last listing, shared by all waiters.
#[derive(Default)]
pub struct Watch {
    instances: Mutex<Option<(jiff::Timestamp, Arc<Vec<Instance>>)>>,
    gateways: Mutex<Option<(jiff::Timestamp, Arc<Vec<NatGateway>>)>>,
}

impl Watch {
    /// A listing that began after `since`; whoever comes first reads, the others wait for the answer.
    async fn instances(&self, world: &World, since: jiff::Timestamp) -> Result<Arc<Vec<Instance>>, CloudError> {
        let mut last = self.instances.lock().await;
        if let Some((at, listing)) = last.as_ref()
            && *at > since
        {
            return Ok(Arc::clone(listing));
        }
        let begun = world.clock.now();
        let listing = Arc::new(world.cloud.instances(&Scope::Uid(world.uid.clone())).await?);
        *last = Some((begun, Arc::clone(&listing)));
        Ok(listing)
    }

    async fn gateways(&self, world: &World, since: jiff::Timestamp) -> Result<Arc<Vec<NatGateway>>, CloudError> {
        let mut last = self.gateways.lock().await;
        if let Some((at, listing)) = last.as_ref()
            && *at > since
        {
            return Ok(Arc::clone(listing));
        }
        let begun = world.clock.now();
        let listing = Arc::new(world.cloud.nat_gateways(&Scope::Uid(world.uid.clone())).await?);
        *last = Some((begun, Arc::clone(&listing)));
        Ok(listing)
    }
}

/// Waits for an object; gives the instance's addresses where it waited for one to run.
pub async fn until(world: &World, watch: &Watch, action: &str, until: Until, id: &str) -> Result<Option<Instance>, Failure> {
    let begun = world.clock.now();
    loop {
        let since = world.clock.now();
        let what = match look(world, watch, since, until, id).await {
            Ok(Looked::Gone) if elapsed(begun, since) >= SETTLE || !is_young(world, id) => return Ok(None),
            Ok(Looked::Gone) => "not listed".into(),
            Ok(Looked::Done(instance)) => return Ok(instance.map(|instance| *instance)),
            Ok(Looked::NotYet(what)) => what,
            Ok(Looked::Never(why)) => return Err(Failure::Timeout(why)),
            Err(error) if matches!(error.class, ErrorClass::Retryable | ErrorClass::Throttled | ErrorClass::Ambiguous) => {
                error.to_string()
            }
            Err(error) => return Err(Failure::Cloud(error)),
        };
        if elapsed(begun, world.clock.now()) > DEADLINE {
            return Err(Failure::Timeout(format!("{id}: {what} after {} min", DEADLINE.as_secs() / 60)));
        }
        (world.events)(Event::Waiting { action: action.to_owned(), what });
        world.clock.wait(BETWEEN_READS).await;
    }
}

/// Ends only when AWS says that a machine that is worked on has ended or stands still: SSH alone would wait for it to boot.
pub async fn lost(world: &World, watch: &Watch, instance: &str) -> String {
    loop {
        let since = world.clock.now();
        world.clock.wait(BETWEEN_GLANCES).await;
        // Whoever works on it meets what keeps the account from answering.
        let Ok(listing) = watch.instances(world, since).await else { continue };
        let state = listing.iter().find(|seen| seen.id == instance).map(|seen| seen.state.as_str());
        if let Some(state @ ("shutting-down" | "terminated" | "stopping" | "stopped")) = state {
            return format!("{instance} is {state}: AWS or somebody else has ended it meanwhile");
        }
    }
}

/// A place among the nodes that are worked on at once.
pub async fn turn<'a>(world: &World, places: &'a Semaphore, slot: &str) -> Result<SemaphorePermit<'a>, Failure> {
    if let Ok(place) = places.try_acquire() {
        return Ok(place);
    }
    let event = NodeEvent::Waiting(format!("its turn: no more than {} nodes at once", world.node_limit));
    (world.events)(Event::Node { slot: slot.to_owned(), event });
    places.acquire().await.map_err(|_| Failure::Defect("the run is over".into()))
}

enum Looked {
    Done(Option<Box<Instance>>),
    /// Not in the listing: ended long ago, or made a moment ago.
    Gone,
    NotYet(String),
    Never(String),
}

async fn look(world: &World, watch: &Watch, since: jiff::Timestamp, until: Until, id: &str) -> Result<Looked, CloudError> {
    Ok(match until {
        Until::InstanceRunning | Until::InstanceTerminated => {
            let listing = watch.instances(world, since).await?;
            let instance = listing.iter().find(|instance| instance.id == id);
            match (until, instance.map(|instance| instance.state.as_str())) {
                (Until::InstanceRunning, Some("running")) => Looked::Done(instance.cloned().map(Box::new)),
                (Until::InstanceRunning, Some(state @ ("terminated" | "shutting-down"))) => {
                    Looked::Never(format!("{id} is {state}: AWS ended it while it started (see its state reason in the console)"))
                }
                // Terminated instances leave the listing after about an hour.
                (Until::InstanceTerminated, Some("terminated")) => Looked::Done(None),
                (Until::InstanceTerminated, None) => Looked::Gone,
                (_, state) => Looked::NotYet(format!("{id} is {}", state.unwrap_or("not listed yet"))),
            }
        }
        Until::NatAvailable | Until::NatDeleted => {
            let listing = watch.gateways(world, since).await?;
            let state = listing.iter().find(|gateway| gateway.id == id).map(|gateway| gateway.state.as_str());
            match (until, state) {
                (Until::NatAvailable, Some("available")) | (Until::NatDeleted, Some("deleted")) => Looked::Done(None),
                (Until::NatDeleted, None) => Looked::Gone,
                (Until::NatAvailable, Some("failed")) => Looked::Never(format!("{id} failed to start")),
                (_, state) => Looked::NotYet(format!("{id} is {}", state.unwrap_or("not listed yet"))),
            }
        }
    })
}
