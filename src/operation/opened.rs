//! A cluster that a command has opened: its store, its state and its account, which belong together.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::apply::{Record, Sink, World};
use crate::cloud::Cloud;
use crate::cluster::Cluster;
use crate::observed::Account;
use crate::operation::session::{Env, same_account};
use crate::operation::{OperationError, UpdateRequest};
use crate::recorded::State;
use crate::store::{ClusterStore, Held, Recorder};

pub(super) struct Opened {
    pub store: ClusterStore,
    pub held: Option<Held>,
    pub cluster: Cluster,
    pub state: State,
    pub cloud: Arc<dyn Cloud>,
    pub account: Account,
    pub new_revision: bool,
    /// That the plan leads to.
    pub revision: u32,
}

pub(super) async fn open(env: &Env, request: &UpdateRequest) -> Result<Opened, OperationError> {
    let name = match (&request.name, &request.spec) {
        (Some(name), Some(spec)) if *name != spec.cluster.name => {
            return Err(OperationError::OtherName { expected: name.clone(), found: spec.cluster.name.clone() });
        }
        (_, Some(spec)) => spec.cluster.name.clone(),
        (name, None) => env.name(name.as_deref()).await?,
    };
    let store = env.store(&name)?;
    let held = store.load().await?;
    if let (Some(held), true) = (&held, request.create)
        && held.state.applied > 0
    {
        return Err(OperationError::Exists { name, location: env.objects.location() });
    }
    let cluster = match (&request.spec, &held) {
        (Some(spec), Some(_)) => spec.cluster.clone(),
        (Some(spec), None) if request.create => spec.cluster.clone(),
        (None, Some(held)) => held.state.model.clone(),
        (_, None) => return Err(env.unknown(&name).await?),
    };
    if held.is_none() {
        store.refuse_foreign().await?;
    }
    let region = held.as_ref().map_or(&cluster.region, |held| &held.state.region).clone();
    let cloud = (env.connect)(Some(region)).await?;
    let account = cloud.account().await?;
    let state = match &held {
        Some(held) => {
            same_account(&held.state, &account)?;
            held.state.clone()
        }
        None => State::new(cluster.clone(), &env.ids.fresh(), &account.id, &account.partition),
    };
    let new_revision = state.revision == 0 || state.model != cluster;
    let revision = match &request.spec {
        // Not one more than the state's: revisions outlive a cluster, and a run that was killed may have registered one.
        Some(spec) if new_revision => store.number_of(&spec.bytes).await?.0,
        _ => state.revision,
    };
    Ok(Opened { store, held, cluster, state, cloud, account, new_revision, revision })
}

pub(super) fn world(env: &Env, opened: &Opened, recorder: &Arc<Recorder>, events: &Sink, stop: &CancellationToken) -> Arc<World> {
    Arc::new(World {
        cloud: Arc::clone(&opened.cloud),
        nodes: env.nodes(Arc::clone(&opened.cloud)),
        record: Arc::clone(recorder) as Arc<dyn Record>,
        clock: Arc::clone(&env.clock),
        ids: Arc::clone(&env.ids),
        events: Arc::clone(events),
        stop: stop.clone(),
        uid: opened.state.uid.clone(),
        settle: env.settle,
        node_limit: env.node_limit,
    })
}
