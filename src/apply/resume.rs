//! Settles the intents of an earlier run before anything new is decided.

use crate::apply::call;
use crate::apply::event::{Event, Failure};
use crate::apply::work::record_created;
use crate::apply::world::World;
use crate::cloud::ErrorClass;
use crate::desired::ResourceId;
use crate::observed::{Instance, Observed};
use crate::plan::{Change, found::Found};
use crate::recorded::{Intent, Node, Recorded, State};

/// What became of one intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    pub resource: String,
    pub action: String,
    /// Id of the object that was found or made; `None`: the call had not been carried out, the plan decides anew.
    pub id: Option<String>,
}

/// Kinds with a client token send the stored request again and get the same object. Kinds without one are looked up by their
/// attempt; not found twice, a settle window after the intent was written, means not made. Deletes are planned again from what is observed.
pub async fn settle(world: &World) -> Result<Vec<Settled>, Failure> {
    let intents = world.record.state().intents.clone();
    if intents.is_empty() {
        return Ok(vec![]);
    }
    (world.events)(Event::Phase("resume"));
    let settled = futures::future::join_all(intents.into_iter().map(|(attempt, intent)| one(world, attempt, intent, true))).await;
    settled.into_iter().collect()
}

/// The same without sending anything again: for a delete, which takes away whatever it finds.
pub async fn look_up(world: &World) -> Result<Vec<Settled>, Failure> {
    let intents = world.record.state().intents.clone();
    let settled =
        futures::future::join_all(intents.into_iter().map(|(attempt, intent)| one(world, attempt, intent, false))).await;
    settled.into_iter().collect()
}

async fn one(world: &World, attempt: String, intent: Intent, send: bool) -> Result<Settled, Failure> {
    let mut settled = Settled { resource: intent.resource.to_string(), action: intent.change.action().into(), id: None };
    let with_token =
        matches!(intent.change, Change::RunInstance { .. } | Change::CreateNatGateway { .. } | Change::CreateRouteTable { .. });
    let written = intent.written.parse().unwrap_or_else(|_| world.clock.now());
    let answer = match (&intent.answer, call::is_create(&intent.change)) {
        (Some(answer), _) => Some(answer.clone()),
        (None, false) => None,
        (None, true) if with_token && !send => call::find_by_token(world, &intent.change, &attempt, written).await?,
        (None, true) if with_token => match call::make(world, &settled.action, &intent.change, true).await {
            Ok(changed) => Some(changed),
            // The instance of that token was terminated, or a subnet that it names is gone: nothing of it is left.
            Err(Failure::Cloud(error))
                if matches!(
                    error.class,
                    ErrorClass::TokenSpent | ErrorClass::NotFound | ErrorClass::Fatal | ErrorClass::Capacity | ErrorClass::Quota
                ) =>
            {
                // Sent again just now.
                call::find_by_token(world, &intent.change, &attempt, world.clock.now()).await?
            }
            Err(failure) => return Err(failure),
        },
        (None, true) => call::find(world, &intent.change, written).await?,
    };
    if let Some(changed) = answer {
        settled.id.clone_from(&changed.id);
        record_created(world, &attempt, &intent.resource, &intent.change, changed).await?;
    } else {
        world.record.update(Box::new(move |state| drop(state.intents.remove(&attempt)))).await.map_err(Failure::Record)?;
    }
    Ok(settled)
}

/// Brings the record in line with what was seen: objects that carry the cluster's uid and are not recorded are adopted, records
/// whose object is gone are dropped. A machine that is gone keeps its node record, so that the plan can say what was lost.
pub async fn adopt(world: &World, observed: &Observed) -> Result<(), Failure> {
    let before = world.record.state();
    let mut after = State::clone(&before);
    reconcile(&mut after, observed, &world.uid, &world.clock.now().to_string());
    if after == *before {
        return Ok(());
    }
    world
        .record
        .update(Box::new(move |state| {
            state.resources = after.resources;
            state.nodes = after.nodes;
        }))
        .await
        .map_err(Failure::Record)
}

/// What [`adopt`] does to the record.
pub fn reconcile(state: &mut State, observed: &Observed, uid: &str, now: &str) {
    let found = Found::new(observed, uid, state);
    let mut seen = std::collections::BTreeSet::new();
    let mut adopted = vec![];
    for (resource, id, tags, twin) in found.all() {
        seen.insert(resource.clone());
        if !twin && state.resources.get(resource).is_none_or(|record| record.id != id) {
            adopted.push((resource.clone(), id.to_owned(), tags.get(crate::desired::tags::ATTEMPT).cloned().unwrap_or_default()));
        }
    }
    // Records of the cluster have no object of their own, and the default group goes with its VPC.
    state.resources.retain(|resource, _| {
        seen.contains(resource) || matches!(resource, ResourceId::Records | ResourceId::DefaultSecurityGroup)
    });
    // A stop and start gives a machine another address.
    for (resource, record) in &mut state.resources {
        if let Some(instance) = found.instances.get(resource).and_then(|twins| twins.first()).filter(|seen| seen.id == record.id)
        {
            record.private_address.clone_from(&instance.private_address);
            record.public_address.clone_from(&instance.public_address);
        }
    }
    for (resource, id, attempt) in adopted {
        if let ResourceId::Instance(slot) = &resource
            && state.nodes.get(slot).is_none_or(|node| node.instance != id)
        {
            // Whether it joined is not known; the tasks find out on the node itself and skip what is done.
            state.nodes.insert(slot.clone(), Node::new(&id));
        }
        let instance: Option<&Instance> = found.instances.get(&resource).and_then(|twins| twins.first().copied());
        let record = Recorded {
            attempt,
            created: now.to_owned(),
            private_address: instance.and_then(|instance| instance.private_address.clone()),
            public_address: instance.and_then(|instance| instance.public_address.clone()),
            id,
            complete: false,
        };
        state.resources.insert(resource, record);
    }
}
