//! Settles the intents of an earlier run before anything new is decided.

use crate::apply::call;
use crate::apply::event::{Event, Failure};
use crate::apply::work::record_created;
use crate::apply::world::World;
use crate::cloud::ErrorClass;
use crate::recorded::Intent;

/// What became of one intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    pub resource: String,
    pub action: String,
    /// Id of the object that was found or made; `None`: the call had not been carried out, the plan decides anew.
    pub id: Option<String>,
}

/// Kinds with a client token send the stored request again and get the same object. Kinds without one are looked up by their
/// attempt; not found after the settle window means not made. Deletes are planned again from what is observed.
pub async fn settle(world: &World) -> Result<Vec<Settled>, Failure> {
    let intents = world.record.state().intents;
    if intents.is_empty() {
        return Ok(vec![]);
    }
    (world.events)(Event::Phase("resume"));
    let settled = futures::future::join_all(intents.into_iter().map(|(attempt, intent)| one(world, attempt, intent))).await;
    settled.into_iter().collect()
}

async fn one(world: &World, attempt: String, intent: Intent) -> Result<Settled, Failure> {
    let mut settled = Settled { resource: intent.resource.to_string(), action: intent.change.action().into(), id: None };
    let with_token = matches!(
        intent.change,
        crate::plan::Change::RunInstance { .. }
            | crate::plan::Change::CreateNatGateway { .. }
            | crate::plan::Change::CreateRouteTable { .. }
    );
    let answer = match (&intent.answer, call::is_create(&intent.change)) {
        (Some(answer), _) => Some(answer.clone()),
        (None, false) => None,
        (None, true) if with_token => match call::make(world, &settled.action, &intent.change, true).await {
            Ok(changed) => Some(changed),
            // The instance of that token was terminated, or a subnet that it names is gone: nothing of it is left.
            Err(Failure::Cloud(error))
                if matches!(
                    error.class,
                    ErrorClass::TokenSpent | ErrorClass::NotFound | ErrorClass::Fatal | ErrorClass::Capacity | ErrorClass::Quota
                ) =>
            {
                call::find_tagged_instance(world, &attempt).await?
            }
            Err(failure) => return Err(failure),
        },
        (None, true) => call::find(world, &intent.change).await?,
    };
    if let Some(changed) = answer {
        settled.id.clone_from(&changed.id);
        record_created(world, &attempt, &intent.resource, &intent.change, changed).await?;
    } else {
        world.record.update(Box::new(move |state| drop(state.intents.remove(&attempt)))).await.map_err(Failure::Record)?;
    }
    Ok(settled)
}
