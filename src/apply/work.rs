//! Carries out one action.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::RwLock;

use crate::apply::call;
use crate::apply::event::{Event, Failure};
use crate::apply::task;
use crate::apply::wait::{self, Watch};
use crate::apply::world::{Addresses, NodeInputs, World};
use crate::cloud::Scope;
use crate::desired::ResourceId;
use crate::observed::SecurityGroup;
use crate::plan::{Action, Call, Change, Changed, Ref, Until, Work};
use crate::recorded::{Intent, Node, Recorded, State};

/// What actions of one run share.
pub struct Shared {
    pub world: Arc<World>,
    pub inputs: Option<Arc<NodeInputs>>,
    pub watch: Watch,
    pub addresses: RwLock<Addresses>,
    pub node_permits: tokio::sync::Semaphore,
}

/// How an action ended that did not fail.
pub enum Performed {
    /// With the AWS id of what it made, if it made something.
    Done(Option<String>),
    /// The run was stopped while it still waited for its machine.
    Untouched,
}

pub async fn perform(shared: &Arc<Shared>, action: &Action) -> Result<Performed, Failure> {
    match &action.work {
        Work::Calls(calls) => {
            let mut made = None;
            for call in calls {
                if let Some(id) = perform_call(shared, action, call).await? {
                    made.get_or_insert(id);
                }
            }
            Ok(Performed::Done(made))
        }
        Work::Node { task, slot, instance } => task::node(shared, *task, slot, instance.clone()).await,
    }
}

async fn perform_call(shared: &Shared, action: &Action, call: &Call) -> Result<Option<String>, Failure> {
    let world = &shared.world;
    match call {
        Call::Change(change) => change_one(shared, action, change.clone()).await,
        Call::Wait(until, reference) => {
            let id = resolve(shared, reference).await?;
            let instance = wait::until(world, &shared.watch, &action.id, *until, &id).await?;
            if let (Until::InstanceRunning, Some(instance)) = (*until, instance) {
                let addresses = (instance.private_address.clone(), instance.public_address.clone());
                shared.addresses.write().await.insert(action.resource.clone(), addresses);
                let resource = action.resource.clone();
                let edit = move |state: &mut State| {
                    if let Some(record) = state.resources.get_mut(&resource) {
                        record.private_address = instance.private_address;
                        record.public_address = instance.public_address;
                    }
                };
                world.record.update(Box::new(edit)).await.map_err(Failure::Record)?;
            }
            if *until == Until::InstanceTerminated {
                forget(world, &action.resource, &id).await?;
            }
            Ok(None)
        }
        Call::EmptyDefaultGroup(reference) => {
            let vpc = resolve(shared, reference).await?;
            let group = default_group(world, &action.id, vpc).await?;
            for egress in [false, true] {
                let rules: Vec<_> = group.rules.iter().filter(|rule| rule.egress == egress).cloned().collect();
                if !rules.is_empty() {
                    let target = Ref::Known(group.id.clone());
                    let change = Change::RevokeRules { group: target, egress, rules, groups: Default::default() };
                    call::make(world, &action.id, &change, false).await?;
                }
            }
            Ok(None)
        }
        Call::Complete => {
            let resource = action.resource.clone();
            let edit = move |state: &mut State| {
                if let Some(record) = state.resources.get_mut(&resource) {
                    record.complete = true;
                }
            };
            world.record.update(Box::new(edit)).await.map_err(Failure::Record)?;
            Ok(None)
        }
        Call::Record(id) => {
            let record = Recorded {
                id: id.clone(),
                attempt: String::new(),
                created: world.clock.now().to_string(),
                ..Recorded::default()
            };
            let resource = action.resource.clone();
            let edit = move |state: &mut State| drop(state.resources.insert(resource, record));
            world.record.update(Box::new(edit)).await.map_err(Failure::Record)?;
            Ok(Some(id.clone()))
        }
    }
}

/// Every VPC has a default group; of a new one it may be listed late.
async fn default_group(world: &World, action: &str, vpc: String) -> Result<SecurityGroup, Failure> {
    let scope = Scope::Vpc(vpc);
    let begun = world.clock.now();
    loop {
        let groups = world.cloud.security_groups(&scope).await.map_err(Failure::Cloud)?;
        if let Some(group) = groups.into_iter().find(|group| group.name == "default") {
            return Ok(group);
        }
        if call::elapsed(begun, world.clock.now()) > Duration::from_secs(60) {
            return Err(Failure::Timeout("the default security group of the VPC is not listed after 60 s".into()));
        }
        (world.events)(Event::Waiting { action: action.to_owned(), what: "the VPC's default group to be listed".into() });
        world.clock.wait(Duration::from_secs(2)).await;
    }
}

/// Intent, call, record.
async fn change_one(shared: &Shared, action: &Action, mut change: Change) -> Result<Option<String>, Failure> {
    let world = &shared.world;
    for reference in change.refs_mut() {
        *reference = Ref::Known(resolve(shared, reference).await?);
    }
    let attempt = world.ids.fresh();
    call::stamp(&mut change, &attempt);
    if call::needs_intent(&change) {
        let intent = Intent {
            resource: action.resource.clone(),
            change: change.clone(),
            written: world.clock.now().to_string(),
            answer: None,
        };
        let key = attempt.clone();
        world.record.update(Box::new(move |state| drop(state.intents.insert(key, intent)))).await.map_err(Failure::Record)?;
    }
    let answer = call::make(world, &action.id, &change, false).await;
    match answer {
        Ok(changed) if call::is_create(&change) => {
            let id = changed.id.clone();
            record_created(world, &attempt, &action.resource, &change, changed).await?;
            Ok(id)
        }
        Ok(changed) => {
            if let Change::ChangeRecords { .. } = change {
                in_sync(world, &action.id, changed.id.as_deref()).await?;
            }
            record_deleted(world, &attempt, &action.resource, &change).await?;
            Ok(None)
        }
        Err(failure) => {
            // Only a clear refusal proves that nothing was made; otherwise the intent stays for the next run.
            if refused(&failure) && call::needs_intent(&change) {
                world
                    .record
                    .update(Box::new(move |state| drop(state.intents.remove(&attempt))))
                    .await
                    .map_err(Failure::Record)?;
            }
            Err(failure)
        }
    }
}

fn refused(failure: &Failure) -> bool {
    use crate::cloud::ErrorClass as Class;
    match failure {
        Failure::Cloud(error) => !matches!(error.class, Class::Ambiguous | Class::Retryable),
        Failure::Blocked { .. } => true,
        Failure::Node(_) | Failure::Record(_) | Failure::Timeout(_) | Failure::Defect(_) => false,
    }
}

/// Removes the intent and writes the record, in one edit.
pub async fn record_created(
    world: &World,
    attempt: &str,
    resource: &ResourceId,
    change: &Change,
    changed: Changed,
) -> Result<(), Failure> {
    let Some(id) = changed.id else {
        return Err(Failure::Defect(format!("{} gave no id for {resource}", change.action())));
    };
    let created = world.clock.now().to_string();
    let (attempt, resource, is_instance) = (attempt.to_owned(), resource.clone(), matches!(change, Change::RunInstance { .. }));
    let edit = move |state: &mut State| {
        state.intents.remove(&attempt);
        if let (true, ResourceId::Instance(slot)) = (is_instance, &resource) {
            state.nodes.insert(slot.clone(), Node::new(&id));
        }
        let record = Recorded {
            id,
            attempt,
            created,
            private_address: changed.private_address,
            public_address: changed.public_address,
            complete: false,
        };
        state.resources.insert(resource, record);
    };
    world.record.update(Box::new(edit)).await.map_err(Failure::Record)
}

/// Takes a deleted object out of the record; calls that delete nothing only lose their intent.
async fn record_deleted(world: &World, attempt: &str, resource: &ResourceId, change: &Change) -> Result<(), Failure> {
    let deleted = match change {
        Change::DeleteVpc { vpc: id }
        | Change::DeleteSubnet { subnet: id }
        | Change::DeleteInternetGateway { gateway: id }
        | Change::ReleaseAddress { allocation: id }
        | Change::DeleteNatGateway { gateway: id }
        | Change::DeleteRouteTable { table: id }
        | Change::DeleteSecurityGroup { group: id } => id.known().map(str::to_owned),
        Change::DeleteKeyPair { .. } => world.record.state().resources.get(resource).map(|record| record.id.clone()),
        // The ownership record goes last: with it the cluster has no records any more.
        Change::ChangeRecords { changes, .. }
            if changes.iter().any(|change| change.kind == "TXT" && change.verb == crate::plan::RecordVerb::Delete) =>
        {
            world.record.state().resources.get(resource).map(|record| record.id.clone())
        }
        _ => None,
    };
    if deleted.is_none() && !call::needs_intent(change) {
        return Ok(());
    }
    let (attempt, resource) = (attempt.to_owned(), resource.clone());
    let edit = move |state: &mut State| {
        state.intents.remove(&attempt);
        if deleted.is_some() && state.resources.get(&resource).map(|record| &record.id) == deleted.as_ref() {
            state.resources.remove(&resource);
        }
    };
    world.record.update(Box::new(edit)).await.map_err(Failure::Record)
}

/// A machine is gone for good; a twin's end leaves the record of the other alone.
async fn forget(world: &World, resource: &ResourceId, id: &str) -> Result<(), Failure> {
    let (resource, id) = (resource.clone(), id.to_owned());
    let edit = move |state: &mut State| {
        if state.resources.get(&resource).is_some_and(|record| record.id == id) {
            state.resources.remove(&resource);
        }
        if let ResourceId::Instance(slot) = &resource
            && state.nodes.get(slot).is_some_and(|node| node.instance == id)
        {
            state.nodes.remove(slot);
        }
    };
    world.record.update(Box::new(edit)).await.map_err(Failure::Record)
}

/// Waits until Route 53 has a change on all its servers; a change without an id was found done.
async fn in_sync(world: &World, action: &str, change: Option<&str>) -> Result<(), Failure> {
    let Some(change) = change else { return Ok(()) };
    let begun = world.clock.now();
    loop {
        match world.cloud.records_in_sync(change).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if matches!(error.class, crate::cloud::ErrorClass::Fatal | crate::cloud::ErrorClass::Denied) => {
                return Err(Failure::Cloud(error));
            }
            Err(_) => {}
        }
        if call::elapsed(begun, world.clock.now()) > std::time::Duration::from_secs(5 * 60) {
            return Err(Failure::Timeout(format!("Route 53 change {change} is still pending after 5 min")));
        }
        (world.events)(Event::Waiting { action: action.to_owned(), what: "Route 53 to serve the change".into() });
        world.clock.wait(std::time::Duration::from_secs(1)).await;
    }
}

async fn resolve(shared: &Shared, reference: &Ref) -> Result<String, Failure> {
    let missing = || Failure::Defect(format!("{reference} is not known"));
    match reference {
        Ref::Known(value) => Ok(value.clone()),
        Ref::Id(resource) => {
            shared.world.record.state().resources.get(resource).map(|record| record.id.clone()).ok_or_else(missing)
        }
        Ref::PrivateAddress(resource) => {
            shared.addresses.read().await.get(resource).and_then(|(private, _)| private.clone()).ok_or_else(missing)
        }
        Ref::PublicAddress(resource) => {
            shared.addresses.read().await.get(resource).and_then(|(_, public)| public.clone()).ok_or_else(missing)
        }
    }
}
