//! Makes one change and knows what each kind of failure allows.

use std::time::Duration;

use jiff::Timestamp;

use crate::apply::event::{Event, Failure};
use crate::apply::observe::SETTLE;
use crate::apply::world::World;
use crate::cloud::{CloudError, ErrorClass, Scope};
use crate::desired::tags;
use crate::plan::found::Tagged;
use crate::plan::{Change, Changed, RecordVerb, Ref, Tags};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How long a passing failure is put up with.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// Which way a change goes, as far as failures are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    /// Makes an object; the same token makes the same one.
    CreateWithToken,
    /// Makes an object; a second call may make a second one.
    Create,
    Delete,
    /// Sets something to a value: may be repeated.
    Set,
}

fn nature(change: &Change) -> Nature {
    match change {
        Change::CreateNatGateway { .. } | Change::CreateRouteTable { .. } | Change::RunInstance { .. } => Nature::CreateWithToken,
        Change::CreateVpc { .. }
        | Change::CreateSubnet { .. }
        | Change::CreateInternetGateway { .. }
        | Change::AllocateAddress { .. }
        | Change::CreateSecurityGroup { .. }
        | Change::ImportKeyPair { .. } => Nature::Create,
        Change::DeleteVpc { .. }
        | Change::DeleteSubnet { .. }
        | Change::DetachInternetGateway { .. }
        | Change::DeleteInternetGateway { .. }
        | Change::ReleaseAddress { .. }
        | Change::DeleteNatGateway { .. }
        | Change::DeleteRouteTable { .. }
        | Change::DisassociateRouteTable { .. }
        | Change::DeleteSecurityGroup { .. }
        | Change::RevokeRules { .. }
        | Change::DeleteKeyPair { .. }
        | Change::TerminateInstance { .. } => Nature::Delete,
        Change::ModifyVpcAttribute { .. }
        | Change::AttachInternetGateway { .. }
        | Change::CreateRoute { .. }
        | Change::ReplaceRoute { .. }
        | Change::AssociateRouteTable { .. }
        | Change::AuthorizeRules { .. }
        | Change::ModifySourceDestCheck { .. }
        // "Not found" is the object, not the tag: it does not mean that the tag is gone.
        | Change::DeleteTags { .. }
        | Change::CreateTags { .. }
        | Change::ChangeRecords { .. } => Nature::Set,
    }
}

/// Creates and deletes are announced in the state before they are sent; what merely sets a value is planned again from what is
/// observed.
pub fn needs_intent(change: &Change) -> bool {
    match nature(change) {
        Nature::CreateWithToken | Nature::Create => true,
        Nature::Delete => !matches!(change, Change::RevokeRules { .. } | Change::DisassociateRouteTable { .. }),
        Nature::Set => false,
    }
}

pub fn is_create(change: &Change) -> bool {
    matches!(nature(change), Nature::CreateWithToken | Nature::Create)
}

/// Puts the attempt into a create: as client token, where the call has one, and as tag.
pub fn stamp(change: &mut Change, attempt: &str) {
    match change {
        Change::CreateNatGateway { token, tags, .. } | Change::CreateRouteTable { token, tags, .. } => {
            attempt.clone_into(token);
            tags.insert(tags::ATTEMPT.into(), attempt.into());
        }
        Change::RunInstance { token, request } => {
            attempt.clone_into(token);
            request.tags.insert(tags::ATTEMPT.into(), attempt.into());
        }
        Change::CreateVpc { tags, .. }
        | Change::CreateSubnet { tags, .. }
        | Change::CreateInternetGateway { tags }
        | Change::AllocateAddress { tags }
        | Change::CreateSecurityGroup { tags, .. }
        | Change::ImportKeyPair { tags, .. } => {
            tags.insert(tags::ATTEMPT.into(), attempt.into());
        }
        _ => {}
    }
}

/// Makes a change, again where the failure says that this is safe. `resumed`: the change may have been carried out by an
/// earlier run.
pub async fn make(world: &World, action: &str, change: &Change, resumed: bool) -> Result<Changed, Failure> {
    let nature = nature(change);
    let begun = world.clock.now();
    let mut pause = FIRST_PAUSE;
    // Once an answer was lost, "it exists" or "it is gone" may be our own doing.
    let mut maybe_done = resumed;
    loop {
        let error = match world.cloud.change(change).await {
            Ok(changed) => return Ok(changed),
            Err(error) => error,
        };
        let waited = elapsed(begun, world.clock.now());
        let again = match (error.class, nature) {
            (ErrorClass::Retryable | ErrorClass::Throttled, _) => waited < PATIENCE,
            (ErrorClass::Ambiguous, _) => {
                maybe_done = true;
                if nature == Nature::Create
                    && let Some(changed) = find(world, change, world.clock.now()).await?
                {
                    return Ok(changed);
                }
                waited < PATIENCE
            }
            // Of an object that is not known everywhere yet it does not mean that it is gone: it would stay, and nobody would know.
            (ErrorClass::NotFound, Nature::Delete) if waited < SETTLE && names_young(world, change, &error) => true,
            (ErrorClass::NotFound, Nature::Delete) => return Ok(Changed::default()),
            // Of an object that this run has just made, or that a listing has just shown: not visible everywhere yet.
            (ErrorClass::NotFound, _) => waited < SETTLE,
            (ErrorClass::Exists, Nature::Set) if !is_record_create(change) => return Ok(Changed::default()),
            (ErrorClass::Exists, Nature::Create | Nature::Set) if maybe_done => {
                match find(world, change, world.clock.now()).await? {
                    Some(changed) => return Ok(changed),
                    None => waited < SETTLE,
                }
            }
            (ErrorClass::InUse, Nature::Delete) => waited < PATIENCE && !blocked_for_good(world, change, waited).await,
            _ => false,
        };
        if !again {
            return Err(failure(world, change, error).await);
        }
        (world.events)(Event::Again { action: action.to_owned(), error, in_seconds: pause.as_secs() });
        world.clock.wait(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether "not found" may mean that an object was made a moment ago.
fn names_young(world: &World, change: &Change, error: &CloudError) -> bool {
    match change {
        // The group is not found, rather than the rule that is to go.
        Change::RevokeRules { .. } => error.code.starts_with("InvalidGroup"),
        // The tie is not found, not the object.
        Change::DetachInternetGateway { .. } | Change::DisassociateRouteTable { .. } | Change::DeleteKeyPair { .. } => false,
        _ => {
            let mut change = change.clone();
            change.refs_mut().first().and_then(|reference| reference.known()).is_some_and(|id| is_young(world, id))
        }
    }
}

/// Whether AWS may not know an object everywhere yet (EC2 developer guide, "Eventual consistency"). Of one that is not recorded nobody
/// knows when it was made.
pub fn is_young(world: &World, id: &str) -> bool {
    let state = world.record.state();
    let created = state.resources.values().find(|record| record.id == id).and_then(|record| record.created.parse().ok());
    created.is_none_or(|created| elapsed(created, world.clock.now()) < SETTLE)
}

pub fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).try_into().unwrap_or_default()
}

fn is_record_create(change: &Change) -> bool {
    let Change::ChangeRecords { changes, .. } = change else { return false };
    changes.iter().any(|change| change.verb == RecordVerb::Create)
}

/// An object that carries this change's attempt: made by a call whose answer was lost. `asked` is when, or a moment before.
pub async fn find(world: &World, change: &Change, asked: Timestamp) -> Result<Option<Changed>, Failure> {
    looked_for(world, asked, || find_once(world, change)).await
}

/// A negative answer counts when the call is old enough, and given twice; tag listings lag behind (cluster-api-provider-aws#6131).
/// Of a call that was made again long after its intent was written this may still come too early: what it made is then a twin, and
/// the next plan deletes it.
async fn looked_for<F>(world: &World, asked: Timestamp, look: impl Fn() -> F) -> Result<Option<Changed>, Failure>
where
    F: Future<Output = Result<Option<Changed>, CloudError>>,
{
    // By a clock that is ahead of this one it would be of the future, and waited for until then.
    let asked = asked.min(world.clock.now());
    let mut misses = 0;
    loop {
        if let Some(found) = look().await.map_err(Failure::Cloud)? {
            return Ok(Some(found));
        }
        misses += 1;
        if misses >= 2 && elapsed(asked, world.clock.now()) >= world.settle {
            return Ok(None);
        }
        world.clock.wait(Duration::from_secs(2)).await;
    }
}

async fn find_once(world: &World, change: &Change) -> Result<Option<Changed>, CloudError> {
    let cloud = world.cloud.as_ref();
    let scope = Scope::Uid(world.uid.clone());
    Ok(match change {
        Change::CreateVpc { tags, .. } => carrying(&cloud.vpcs(&scope).await?, tags),
        Change::CreateSubnet { tags, .. } => carrying(&cloud.subnets(&scope).await?, tags),
        Change::CreateInternetGateway { tags } => carrying(&cloud.internet_gateways(&scope).await?, tags),
        Change::AllocateAddress { tags } => carrying(&cloud.addresses(&scope).await?, tags),
        Change::CreateSecurityGroup { tags, .. } => carrying(&cloud.security_groups(&scope).await?, tags),
        Change::ImportKeyPair { tags, .. } => carrying(&cloud.key_pairs(&scope).await?, tags),
        Change::ChangeRecords { zone, changes } => {
            let Some(suffix) = changes.first().map(|change| change.name.clone()) else { return Ok(None) };
            let records = cloud.records(zone, &suffix).await?;
            let done = changes.iter().all(|change| {
                let want: Vec<&str> = change.values.iter().filter_map(Ref::known).collect();
                records.iter().any(|record| record.name == change.name && record.kind == change.kind && record.values == want)
            });
            done.then(Changed::default)
        }
        _ => None,
    })
}

/// The live object with the attempt of these tags.
fn carrying<T: Tagged>(objects: &[T], own: &Tags) -> Option<Changed> {
    let attempt = own.get(tags::ATTEMPT)?;
    let found = objects.iter().find(|object| object.live() && object.tags().get(tags::ATTEMPT) == Some(attempt))?;
    Some(Changed { id: Some(found.id().to_owned()), ..Changed::default() })
}

/// Gives up early where something that is not the cluster's holds the object: waiting does not help.
async fn blocked_for_good(world: &World, change: &Change, waited: Duration) -> bool {
    waited > Duration::from_secs(30) && matches!(blocker(world, change).await, Ok(Some(_)))
}

/// The interface that holds an object, and whose it is.
async fn blocker(world: &World, change: &Change) -> Result<Option<(String, String)>, CloudError> {
    let held = match change {
        Change::DeleteSubnet { subnet: held }
        | Change::DeleteSecurityGroup { group: held }
        | Change::DeleteVpc { vpc: held }
        | Change::DetachInternetGateway { gateway: held, .. } => held.known(),
        _ => None,
    };
    let (Some(held), Some(vpc)) = (held, world.vpc_id()) else { return Ok(None) };
    let interfaces = world.cloud.network_interfaces(&vpc).await?;
    let holds = |interface: &&crate::cloud::NetworkInterface| {
        interface.subnet == held || interface.groups.iter().any(|group| group == held) || held == vpc || held.starts_with("igw-")
    };
    Ok(interfaces.iter().find(holds).map(|interface| {
        let owner = match (&interface.instance, &interface.requester) {
            (Some(instance), _) => format!("instance {instance}"),
            (None, Some(requester)) => format!("{} (made by {requester})", interface.description),
            (None, None) => interface.description.clone(),
        };
        (format!("network interface {} is in use", interface.id), owner)
    }))
}

async fn failure(world: &World, change: &Change, mut error: CloudError) -> Failure {
    if error.class != ErrorClass::InUse {
        return Failure::Cloud(error);
    }
    match blocker(world, change).await {
        Ok(Some((blocker, owner))) => {
            let mut change = change.clone();
            let resource = change.refs_mut().first().and_then(|reference| reference.known()).unwrap_or("it").to_owned();
            return Failure::Blocked { resource, blocker, owner };
        }
        Ok(None) => {}
        Err(unseen) => error.message.push_str(&format!("; what holds it cannot be seen: {unseen}")),
    }
    Failure::Cloud(error)
}

/// An object of a kind with client token that carries an attempt, found by tag: where sending again is not wanted or not
/// possible any more.
pub async fn find_by_token(world: &World, change: &Change, attempt: &str, asked: Timestamp) -> Result<Option<Changed>, Failure> {
    let scope = &Scope::Uid(world.uid.clone());
    let own = &Tags::from([(tags::ATTEMPT.to_owned(), attempt.to_owned())]);
    let cloud = world.cloud.as_ref();
    let look = || async move {
        match change {
            Change::RunInstance { .. } => cloud.instances(scope).await.map(|all| carrying(&all, own)),
            Change::CreateNatGateway { .. } => cloud.nat_gateways(scope).await.map(|all| carrying(&all, own)),
            _ => cloud.route_tables(scope).await.map(|all| carrying(&all, own)),
        }
    };
    looked_for(world, asked, look).await
}
