//! Delete: from the recorded state, or from tags alone, with a proof at the end.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::apply::observe::{observe, observe_settled};
use crate::apply::resume::{adopt, look_up};
use crate::apply::{Event, MemoryRecord, Outcome, Record, Sink, World, run};
use crate::cloud::{Calls, Cloud, Scope};
use crate::desired::dns::owner_uid;
use crate::desired::tags;
use crate::observed::{Account, Observed};
use crate::operation::lock::watch_lock;
use crate::operation::session::{Env, same_account};
use crate::operation::{Guarded, OperationError};
use crate::plan::found::objects;
use crate::plan::{Plan, delete};
use crate::recorded::State;
use crate::store::{ClusterStore, Held, Lock, Recorder};

/// A plan that takes a cluster away.
pub struct DeletePrepared {
    pub plan: Plan,
    pub account: Account,
    /// The state store knows nothing of the cluster: what is shown was found by tags.
    pub from_tags: bool,
    pub calls: Calls,
    pub seconds: f64,
    pub location: String,
}

/// What a delete did, and what it saw when it looked again.
pub struct DeleteReport {
    pub cluster: String,
    pub outcome: Outcome,
    /// Objects that still carry the cluster's uid, as `kind id`; empty is the proof.
    pub remaining: Vec<String>,
    /// Where the history of the spec is kept; `None` after a purge, or where there was none.
    pub kept: Option<String>,
    /// How many snapshots of etcd are kept, and where.
    pub kept_snapshots: Option<(usize, String)>,
    pub calls: Calls,
    pub seconds: f64,
}

struct Opened {
    store: ClusterStore,
    held: Option<Held>,
    state: State,
    cloud: Arc<dyn Cloud>,
    account: Account,
    zone: String,
    /// Of a deleted cluster: nothing is left of it but the history of its spec, or what an interrupted delete left in the store.
    only_history: bool,
}

/// `purge`: a cluster of which only the history of its spec is left is as good as an empty one.
async fn open(env: &Env, name: &str, purge: bool) -> Result<Opened, OperationError> {
    let store = env.store(name)?;
    if let Some(held) = store.load().await? {
        if held.state.model.prevent_destroy {
            return Err(OperationError::Protected(name.to_owned()));
        }
        let cloud = (env.connect)(Some(held.state.region.clone())).await?;
        let account = cloud.account().await?;
        same_account(&held.state, &account)?;
        let zone = held.state.model.api.dns_zone.clone();
        return Ok(Opened { store, state: held.state.clone(), held: Some(held), cloud, account, zone, only_history: false });
    }
    let cloud = (env.connect)(None).await?;
    let account = cloud.account().await?;
    let (uid, zone, only_history) = match by_tags(env, cloud.as_ref(), name).await {
        Ok((uid, zone)) => (uid, zone, false),
        // A fresh uid is on nothing: there is only the history to delete.
        Err(OperationError::UnknownCluster { .. })
            if store.has_remains().await? || purge && !store.revisions().await?.is_empty() =>
        {
            (env.ids.fresh(), String::new(), true)
        }
        Err(error) => return Err(error),
    };
    let state = stand_in(name, &uid, &account);
    Ok(Opened { store, held: None, state, cloud, account, zone, only_history })
}

/// Finds the one uid that carries the name, and the hosted zone that may hold its records.
pub(super) async fn by_tags(env: &Env, cloud: &dyn Cloud, name: &str) -> Result<(String, String), OperationError> {
    let observed = observe(cloud, &Scope::Name(name.to_owned()), "", name, None).await?;
    let mut uids = uids(&observed);
    let mut zone = String::new();
    let labels: Vec<&str> = name.split('.').collect();
    for from in 0..labels.len().saturating_sub(1) {
        let suffix = labels.get(from..).unwrap_or_default().join(".");
        let zones = cloud.hosted_zones(&suffix).await?;
        if let Some(found) = zones.iter().find(|zone| !zone.private).or(zones.first()) {
            // The mark of the records is the first thing that a create makes, and has no tags.
            let records = cloud.records(&found.id, name).await?;
            uids.extend(records.iter().flat_map(|record| &record.values).filter_map(|value| owner_uid(name, value)));
            zone = suffix;
            break;
        }
    }
    let mut uids = uids.into_iter();
    match (uids.next(), uids.next()) {
        (Some(uid), None) => Ok((uid, zone)),
        (None, _) => Err(env.unknown(name).await?),
        (Some(one), Some(two)) => Err(OperationError::Failed(format!(
            "the account holds two clusters named {name} (uids {one} and {two}); restore the state of one of them first"
        ))),
    }
}

fn uids(observed: &Observed) -> BTreeSet<String> {
    objects(observed)
        .into_iter()
        .filter(|object| object.live())
        .filter_map(|object| object.tags().get(tags::CLUSTER_UID).cloned())
        .collect()
}

/// A state for a cluster that the store does not know; its model is never read.
fn stand_in(name: &str, uid: &str, account: &Account) -> State {
    let mut state = State::new(crate::cluster::Cluster::unknown(name), uid, &account.id, &account.partition);
    state.cluster = name.to_owned();
    state
}

/// The dry run.
pub async fn prepare_delete(env: &Env, name: &str, purge: bool) -> Result<DeletePrepared, OperationError> {
    let opened = open(env, name, purge).await?;
    Ok(make_plan(env, &opened, &opened.state).await?.0)
}

async fn make_plan(env: &Env, opened: &Opened, state: &State) -> Result<(DeletePrepared, Observed), OperationError> {
    let begun = env.clock.now();
    let scope = Scope::Uid(state.uid.clone());
    let cloud = opened.cloud.as_ref();
    let observed = if opened.held.is_some() {
        observe_settled(cloud, env.clock.as_ref(), &scope, &opened.zone, state).await?
    } else {
        observe(cloud, &scope, &opened.zone, &state.cluster, Some(state)).await?
    };
    let mut plan = delete(&state.cluster, &state.uid, &state.region, state, &observed);
    if opened.only_history {
        plan.warnings.push("nothing of it is left in the account; only what the state store still has of it goes".into());
    }
    if let Some(defect) = plan.check().first() {
        return Err(OperationError::Failed(format!("the planner made a wrong plan, nothing was changed: {defect}")));
    }
    let prepared = DeletePrepared {
        plan,
        account: opened.account.clone(),
        from_tags: opened.held.is_none() && !opened.only_history,
        calls: cloud.calls(),
        seconds: env.clock.now().duration_since(begun).as_secs_f64(),
        location: opened.store.location(),
    };
    Ok((prepared, observed))
}

/// Deletes everything that carries the cluster's uid, looks again, and only when nothing is left forgets the cluster.
pub async fn apply_delete(
    env: &Env,
    name: &str,
    purge: bool,
    events: Sink,
    stop: CancellationToken,
    on_plan: &(dyn Fn(&DeletePrepared) + Sync),
) -> Result<DeleteReport, OperationError> {
    let before = open(env, name, purge).await?;
    env.under_lock(&before.store, &stop.clone(), async |env, lock| locked(env, name, purge, events, stop, on_plan, lock).await)
        .await
}

async fn locked(
    env: &Env,
    name: &str,
    purge: bool,
    events: Sink,
    stop: CancellationToken,
    on_plan: &(dyn Fn(&DeletePrepared) + Sync),
    lock: &Lock,
) -> Result<DeleteReport, OperationError> {
    let begun = env.clock.now();
    let mut opened = open(env, name, purge).await?;
    lock.check().await?;
    opened.cloud = Guarded::by(opened.cloud, lock.hold());
    let recorder = opened.held.take().map(|held| Arc::new(Recorder::new(opened.store.clone(), held)));
    let record: Arc<dyn Record> = match &recorder {
        Some(recorder) => Arc::clone(recorder) as Arc<dyn Record>,
        None => Arc::new(MemoryRecord::new(opened.state.clone())),
    };
    let world = Arc::new(World {
        cloud: Arc::clone(&opened.cloud),
        nodes: env.nodes(Arc::clone(&opened.cloud)),
        record,
        clock: Arc::clone(&env.clock),
        ids: Arc::clone(&env.ids),
        events: Arc::clone(&events),
        stop: stop.clone(),
        uid: opened.state.uid.clone(),
        settle: env.settle,
        node_limit: env.node_limit,
    });
    // Only looked up: to send a create again would make what is about to be deleted.
    look_up(&world).await.map_err(OperationError::Unsettled)?;
    if let Some(recorder) = &recorder {
        opened.held = Some(recorder.held().await);
    }
    let (prepared, observed) = make_plan(env, &opened, &world.record.state()).await?;
    on_plan(&prepared);
    if !prepared.plan.errors.is_empty() {
        return Err(OperationError::Refused(prepared.plan.errors));
    }
    adopt(&world, &observed).await.map_err(OperationError::Unsettled)?;
    (events)(Event::Phase("delete"));
    let before = world.record.state();
    let outcome = tokio::select! {
        outcome = run(&prepared.plan, Arc::clone(&world), None, &observed) => outcome,
        never = watch_lock(lock, stop.clone()) => match never {},
    };

    (events)(Event::Phase("verify"));
    let again = observe(opened.cloud.as_ref(), &Scope::Uid(opened.state.uid.clone()), &opened.zone, name, None).await?;
    // With the record as it was: by it, copies of what is gone now are known not to be the cluster's.
    let left = delete(name, &opened.state.uid, &opened.state.region, &before, &again);
    let remaining: Vec<String> = left
        .actions
        .iter()
        .filter(|action| action.id.starts_with("delete "))
        .map(|action| action.id.trim_start_matches("delete ").to_owned())
        .collect();
    let (mut kept, mut kept_snapshots) = (None, None);
    if remaining.is_empty() && outcome.is_complete() && !outcome.stopped {
        let held = match &recorder {
            Some(recorder) => Some(recorder.held().await),
            None => None,
        };
        opened.store.forget(held.as_ref(), !purge).await?;
        let snapshots = if purge { 0 } else { opened.store.snapshots().await?.len() };
        kept_snapshots = (snapshots > 0).then(|| (snapshots, format!("{}/etcd", opened.store.location())));
        kept = (!purge && recorder.is_some()).then(|| format!("{}/revisions", opened.store.location()));
    }
    Ok(DeleteReport {
        cluster: name.to_owned(),
        outcome,
        remaining,
        kept,
        kept_snapshots,
        calls: opened.cloud.calls(),
        seconds: env.clock.now().duration_since(begun).as_secs_f64(),
    })
}
