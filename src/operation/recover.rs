//! Recover: a state for a cluster whose own is lost or damaged, from the tags of what the account holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::apply::observe::observe;
use crate::apply::resume::reconcile;
use crate::apply::{Addresses, NodeInputs, fleet_of};
use crate::bootstrap::inspect::{self, Query};
use crate::cloud::{Cloud, CloudError, Scope};
use crate::cluster::{Cluster, Role};
use crate::desired::dns::{names, owner_value};
use crate::desired::{ResourceId, tags};
use crate::observed::{Account, Instance, Observed};
use crate::operation::OperationError;
use crate::operation::delete::by_tags;
use crate::operation::keys::stored_pki;
use crate::operation::session::Env;
use crate::operation::update::SpecFile;
use crate::plan::images;
use crate::recorded::{NodePhase, PinnedImage, Recorded, Run, State};
use crate::store::{ClusterStore, Earlier, Lock, StoreError};

/// What would be, or was, recorded.
pub struct Recovery {
    pub cluster: String,
    pub uid: String,
    pub account: Account,
    /// Where the state is.
    pub location: String,
    pub state: State,
    /// Why the state that is there cannot be used; `None`: there is none.
    pub damaged: Option<String>,
    /// Where the damaged state was put.
    pub set_aside: Option<String>,
    /// Machines of which nobody could be asked whether they had joined: `update` looks at each.
    pub unknown: Vec<String>,
}

impl Recovery {
    /// Objects by kind, sorted.
    pub fn kinds(&self) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for resource in self.state.resources.keys() {
            let text = resource.to_string();
            *kinds.entry(text.split('/').next().unwrap_or_default().to_owned()).or_default() += 1;
        }
        kinds
    }
}

struct Opened {
    store: ClusterStore,
    damaged: Option<String>,
    cloud: Arc<dyn Cloud>,
    account: Account,
}

/// A state that can be read is never replaced.
async fn open(env: &Env, cluster: &Cluster) -> Result<Opened, OperationError> {
    let store = env.store(&cluster.name)?;
    let damaged = match store.load().await {
        Ok(None) => None,
        Ok(Some(_)) => return Err(OperationError::NothingToRecover { name: cluster.name.clone(), location: store.location() }),
        // Of a newer kubewright it is good, only not for this one.
        Err(StoreError::State { why, .. }) if why.is_damage() => Some(why.to_string()),
        Err(error) => return Err(error.into()),
    };
    let cloud = (env.connect)(Some(cluster.region.clone())).await?;
    let account = cloud.account().await?;
    Ok(Opened { store, damaged, cloud, account })
}

/// The specs that the store has registered, the newest first, for those who have no file.
pub async fn registered_specs(env: &Env, name: &str) -> Result<Vec<(u32, Vec<u8>)>, OperationError> {
    let store = env.store(name)?;
    let mut specs = vec![];
    for number in store.revisions().await?.into_iter().rev().take(2) {
        specs.push((number, store.revision(number).await?));
    }
    Ok(specs)
}

/// What to recover from.
pub struct Sources {
    pub spec: SpecFile,
    /// The revision before it: what it had set and the newer one no longer names is still ours to take away.
    pub before: Option<(u32, Cluster)>,
}

/// The dry run: looks, and writes nothing.
pub async fn prepare_recover(env: &Env, sources: &Sources) -> Result<Recovery, OperationError> {
    let opened = open(env, &sources.spec.cluster).await?;
    look(env, &opened, sources).await
}

/// Looks under the lock, and records what was found.
pub async fn apply_recover(env: &Env, sources: &Sources) -> Result<Recovery, OperationError> {
    let before = open(env, &sources.spec.cluster).await?;
    env.under_lock(&before.store, &CancellationToken::new(), async |env, lock| locked(env, sources, lock).await).await
}

async fn locked(env: &Env, sources: &Sources, lock: &Lock) -> Result<Recovery, OperationError> {
    let opened = open(env, &sources.spec.cluster).await?;
    lock.check().await?;
    let mut recovery = look(env, &opened, sources).await?;
    if opened.damaged.is_some() {
        recovery.set_aside = opened.store.set_aside().await?;
    }
    let revision = opened.store.register(&sources.spec.bytes).await?;
    recovery.state.revision = revision;
    let mut held = opened.store.first(recovery.state.clone()).await?;
    lock.check().await?;
    opened.store.save(&mut held).await?;
    Ok(recovery)
}

/// Whole states of this cluster that the store still has, the newest first.
pub async fn earlier_states(env: &Env, name: &str) -> Result<Vec<Earlier>, OperationError> {
    Ok(env.store(name)?.earlier_states().await?)
}

/// Puts the newest whole state in the place of a damaged or missing one, without a look at the account.
pub async fn restore_previous(env: &Env, name: &str) -> Result<Earlier, OperationError> {
    let store = env.store(name)?;
    env.under_lock(&store, &CancellationToken::new(), async |_, _| Ok(store.restore_previous().await?)).await
}

async fn look(env: &Env, opened: &Opened, sources: &Sources) -> Result<Recovery, OperationError> {
    let spec = &sources.spec;
    let Opened { store, cloud, account, .. } = opened;
    let cluster = &spec.cluster;
    let observed = settled(env, cloud.as_ref(), cluster).await?;
    let (uid, _) = by_tags(env, cloud.as_ref(), &cluster.name).await?;
    let (number, _) = store.number_of(&spec.bytes).await?;
    let now = env.clock.now().to_string();
    let mut state = State::new(cluster.clone(), &uid, &account.id, &account.partition);
    state.revision = number;
    if let Some((number, model)) = &sources.before {
        state.applied = *number;
        state.applied_model = Some(model.clone());
    }
    state.last_run = Some(Run { finished: true, ..env.begin(0) });
    reconcile(&mut state, &observed, &uid, &now);
    records(&mut state, &observed, &now);
    state.images = pinned(cloud.as_ref(), cluster, &observed.instances).await?;
    let unknown = phases(env, opened, &mut state, &observed).await?;
    Ok(Recovery {
        cluster: cluster.name.clone(),
        uid,
        account: account.clone(),
        location: store.location(),
        state,
        damaged: opened.damaged.clone(),
        set_aside: None,
        unknown,
    })
}

/// A listing by tag may lag behind: what counts is the second of two that agree, a settle window apart.
async fn settled(env: &Env, cloud: &dyn Cloud, cluster: &Cluster) -> Result<Observed, CloudError> {
    let scope = Scope::Name(cluster.name.clone());
    let zone = &cluster.api.dns_zone;
    let mut last = observe(cloud, &scope, zone, &cluster.name, None).await?;
    loop {
        env.clock.wait(env.settle).await;
        let again = observe(cloud, &scope, zone, &cluster.name, None).await?;
        if again == last {
            return Ok(again);
        }
        last = again;
    }
}

/// The records of a cluster are its own where their mark says so.
fn records(state: &mut State, observed: &Observed, now: &str) {
    let mark = owner_value(&state.cluster, &state.uid);
    let owner = names(&state.model).owner;
    let is_ours = observed.records.iter().any(|record| record.name == owner && record.values.contains(&mark));
    let zone = observed.hosted_zones.iter().find(|zone| !zone.private).or(observed.hosted_zones.first());
    if let (true, Some(zone)) = (is_ours, zone) {
        let record = Recorded { id: zone.id.clone(), created: now.to_owned(), ..Recorded::default() };
        state.resources.insert(ResourceId::Records, record);
    }
}

/// The images that machines run on stay those of their groups: an alias must not be looked up again because a state was lost.
async fn pinned(
    cloud: &dyn Cloud,
    cluster: &Cluster,
    instances: &[Instance],
) -> Result<BTreeMap<String, PinnedImage>, CloudError> {
    let mut used = BTreeMap::new();
    for group in &cluster.groups {
        let of_group = |instance: &&Instance| {
            instance.is_live()
                && instance.tags.get(tags::GROUP) == Some(&group.name)
                && instance.machine_type == group.machine_type
        };
        if let Some(instance) = instances.iter().find(of_group) {
            used.insert(images::key(group), instance.image.clone());
        }
    }
    let mut ids: Vec<String> = used.values().cloned().collect();
    ids.dedup();
    let known = if ids.is_empty() { vec![] } else { cloud.images_by_id(&ids).await? };
    let pin = |id: &String| {
        let image = known.iter().find(|image| image.id == *id)?;
        Some(PinnedImage {
            id: image.id.clone(),
            name: image.name.clone(),
            architecture: image.architecture.clone(),
            root_device: image.root_device.clone(),
        })
    };
    Ok(used.into_iter().filter_map(|(key, id)| Some((key, pin(&id)?))).collect())
}

/// Which machines have joined, as the first control plane that answers tells it. Gives those of which nothing is known.
async fn phases(env: &Env, opened: &Opened, state: &mut State, observed: &Observed) -> Result<Vec<String>, OperationError> {
    let planes: Vec<String> =
        state.nodes.keys().filter(|slot| role(state, observed, slot) == Some(Role::ControlPlane)).cloned().collect();
    if planes.is_empty() {
        return Ok(vec![]);
    }
    let Some(pki) = stored_pki(&opened.store).await? else {
        return Err(OperationError::LostKeys { name: state.cluster.clone(), location: opened.store.location() });
    };
    let inputs = NodeInputs { cluster: state.model.clone(), pki, in_place: false };
    let fleet = Arc::new(fleet_of(state, &inputs, &Addresses::new()));
    let nodes = env.nodes(Arc::clone(&opened.cloud));
    for plane in &planes {
        let Ok(said) = nodes.ask(Query::Nodes, plane, Arc::clone(&fleet)).await else { continue };
        let Ok(seen) = inspect::nodes(&said) else { continue };
        for node in state.nodes.values_mut() {
            if seen.iter().any(|seen| seen.ready && seen.name == node.instance) {
                node.phase = NodePhase::Joined;
            }
        }
        return Ok(vec![]);
    }
    Ok(state.nodes.keys().cloned().collect())
}

fn role(state: &State, observed: &Observed, slot: &str) -> Option<Role> {
    let id = &state.nodes.get(slot)?.instance;
    let group = observed.instances.iter().find(|instance| instance.id == *id)?.tags.get(tags::GROUP)?;
    Some(state.model.group(group)?.role)
}
