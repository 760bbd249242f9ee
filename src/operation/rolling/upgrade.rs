//! Upgrade: hop by hop, each a revision of the spec, machines brought there or replaced by [`crate::rolling::next_step`].
//!
//! What is recorded of it is the revision: a registered version that is not the applied one is an upgrade that was begun, and the next
//! run finishes it first. Which machines are there already is seen, not remembered.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::apply::observe::observe_settled;
use crate::apply::resume::{Settled, adopt, settle};
use crate::apply::{Event, NodeInputs, Outcome, Sink};
use crate::bootstrap::Pki;
use crate::cloud::{Calls, Scope};
use crate::cluster::{Cluster, KubernetesVersion, Packages, Role, UpgradeBy};
use crate::observed::Observed;
use crate::operation::keys::stored_pki;
use crate::operation::lock::watch_lock;
use crate::operation::opened::{Opened, open, world};
use crate::operation::session::Env;
use crate::operation::update::{make_plan, user_data_of};
use crate::operation::{Guarded, OperationError, UpdateRequest};
use crate::recorded::State;
use crate::rolling::upgrade::{blocks, changes, course, images};
use crate::rolling::{Address, Blocked, Cordon, Decision, Line, Outline, Time, View, outlined};
use crate::store::{Lock, Recorder};

use super::apis::{self, ApiUse, ApiUses};
use super::climb::Climb;
use super::fetch::bundles;
use super::look::{Eyes, Memory};
use super::{End, RollRequest, Site, record_end, view, with_images};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct UpgradeRequest {
    pub name: Option<String>,
    pub to: KubernetesVersion,
    /// Versions to take at minors on the way.
    pub via: Vec<KubernetesVersion>,
    /// Folders of bundles, absolute.
    pub bundles: Vec<PathBuf>,
    /// Begin although the cluster is not well.
    pub force: bool,
}

/// One minor, or one patch.
pub struct Hop {
    pub from: KubernetesVersion,
    pub to: KubernetesVersion,
    /// Begun by an earlier run.
    pub begun: bool,
    pub changes: Vec<String>,
    pub images: Vec<String>,
    /// APIs that go with it although clients ask for them.
    pub gone: Vec<ApiUse>,
    /// Machines that a later hop replaces, by slot.
    pub waiting: Vec<String>,
    pub lines: Vec<Line>,
    pub seconds: Time,
    pub end: Decision,
}

/// What an upgrade would do.
pub struct UpgradePrepared {
    pub cluster: String,
    pub to: KubernetesVersion,
    pub hops: Vec<Hop>,
    pub apis: ApiUses,
    /// As the cluster is now.
    pub view: View,
    pub location: String,
    pub calls: Calls,
}

/// What an upgrade did.
pub struct UpgradeReport {
    pub cluster: String,
    /// Versions that were gone to, one after the other; machines that are replaced may have left out all but the last.
    pub reached: Vec<KubernetesVersion>,
    pub to: KubernetesVersion,
    /// Of the spec.
    pub revision: u32,
    pub end: End,
    pub outcome: Outcome,
    pub settled: Vec<Settled>,
    pub calls: Calls,
    pub seconds: f64,
}

/// The way, and what it was found from.
pub(super) struct Way {
    pub hops: Vec<KubernetesVersion>,
    applied: KubernetesVersion,
    pub bundles: BTreeMap<KubernetesVersion, PathBuf>,
    pub apis: ApiUses,
    pub view: View,
}

impl Way {
    /// Why the hop of this number is not begun for the sake of clients. One that was begun is finished: there is no way back.
    pub(super) fn lacks(&self, number: usize, registered: KubernetesVersion, force: bool) -> Option<Blocked> {
        let to = *self.hops.get(number)?;
        if force || to == registered { None } else { apis::stop(&self.apis.gone(&self.hops, number), to) }
    }
}

fn of(request: &UpgradeRequest) -> UpdateRequest {
    UpdateRequest { name: request.name.clone(), spec: None, create: false, saved: None }
}

/// The dry run: looks, and asks what would be done if all went well.
pub async fn prepare_upgrade(env: &Env, request: &UpgradeRequest) -> Result<UpgradePrepared, OperationError> {
    let opened = open(env, &of(request)).await?;
    let keys = stored_pki(&opened.store).await?.ok_or(OperationError::NoKeys { cluster: opened.cluster.name.clone() })?;
    let observed = look_around(env, &opened, &opened.state).await?;
    let way = way(env, &opened, request, keys, &observed, &opened.state).await?;
    let mut view = way.view.clone();
    let mut from = way.applied;
    let mut hops = vec![];
    for (number, &to) in way.hops.iter().enumerate() {
        (view.to, view.then) = (Some(to), way.hops.get(number + 1).copied());
        let waiting =
            view.machines.iter().filter(|machine| view.waits(machine)).map(|machine| machine.slot.to_string()).collect();
        let Outline { lines, seconds, end, view: after } = outlined(&view, env.node_limit);
        view = after;
        let blocked = blocks(&opened.cluster, to).first().map(|what| stop(what, &opened.cluster.name));
        let begun = number == 0 && to == opened.cluster.kubernetes;
        let blocked = blocked.or(end.stop().cloned());
        let blocked = blocked.or_else(|| way.lacks(number, opened.cluster.kubernetes, request.force));
        let end = blocked.map_or(end, Decision::Blocked);
        let mut changes = changes(from, to);
        if matches!(opened.cluster.packages, Packages::Bundle(_)) {
            changes.push("the bundle: sent to every machine before the first one is cordoned".into());
        }
        let gone = way.apis.gone(&way.hops, number);
        hops.push(Hop { from, to, begun, changes, images: images(to), gone, waiting, lines, seconds, end });
        arrive(&mut view, to);
        from = to;
    }
    Ok(UpgradePrepared {
        cluster: opened.cluster.name.clone(),
        to: request.to,
        hops,
        apis: way.apis,
        view: way.view,
        location: opened.store.location(),
        calls: opened.cloud.calls(),
    })
}

fn stop(what: &str, cluster: &str) -> Blocked {
    Blocked { what: what.to_owned(), next: format!("take it out of the spec, then kubewright update {cluster} -f FILE --yes") }
}

/// As it is after a hop that went well, also where something blocks it.
pub(super) fn arrive(view: &mut View, to: KubernetesVersion) {
    view.snapshot = None;
    let waits: Vec<bool> = view.machines.iter().map(|machine| view.waits(machine)).collect();
    for (machine, _) in view.machines.iter_mut().zip(waits).filter(|(_, waits)| !waits) {
        machine.kubelet = Some(to);
        machine.api = machine.api.map(|_| to);
        machine.drained = false;
        if machine.cordon == Cordon::Ours {
            machine.cordon = Cordon::No;
        }
        if matches!(machine.address, Address::Withdrawn(_)) {
            machine.address = Address::Published;
        }
    }
}

pub(super) async fn look_around(env: &Env, opened: &Opened, state: &State) -> Result<Observed, OperationError> {
    let scope = Scope::Uid(state.uid.clone());
    let zone = &opened.cluster.api.dns_zone;
    Ok(observe_settled(opened.cloud.as_ref(), env.clock.as_ref(), &scope, zone, state).await?)
}

pub(super) fn site(
    cluster: &Cluster,
    request: &UpgradeRequest,
    (to, then): (KubernetesVersion, Option<KubernetesVersion>),
    observed: Observed,
) -> Result<Site, OperationError> {
    Ok(Site {
        cluster: cluster.clone(),
        request: RollRequest { name: request.name.clone(), force: request.force, ..RollRequest::default() },
        to: Some(to),
        then,
        behind: BTreeMap::new(),
        bastions: vec![],
        observed,
        user_data: user_data_of(cluster)?,
    })
}

/// Whether machines of some group are replaced instead of upgraded where they stand.
pub(super) fn replaces(cluster: &Cluster) -> bool {
    cluster.groups.iter().any(|group| group.rolling_update.upgrade == UpgradeBy::Replace && group.role == Role::Node)
}

/// Finds the way, or says why there is none. Everything that is refused is refused here, before anything is touched.
async fn way(
    env: &Env,
    opened: &Opened,
    request: &UpgradeRequest,
    pki: Pki,
    observed: &Observed,
    state: &State,
) -> Result<Way, OperationError> {
    let cluster = &state.model;
    let Some(applied) = &state.applied_model else {
        return Err(OperationError::NotApplied { cluster: cluster.name.clone(), revision: state.revision });
    };
    // An upgrade moves these two, and what it has begun it finishes.
    let same = Cluster { kubernetes: cluster.kubernetes, packages: cluster.packages.clone(), ..applied.clone() };
    if same != *cluster {
        return Err(OperationError::NotApplied { cluster: cluster.name.clone(), revision: state.revision });
    }
    let no_way = |why| OperationError::NoWay { cluster: cluster.name.clone(), to: request.to, why };
    let bundles = bundles(cluster, &request.bundles).map_err(OperationError::Failed)?;
    let known: Vec<KubernetesVersion> = bundles.keys().copied().collect();
    // Before anybody is asked: what is refused anyway is refused at once.
    course(cluster, applied.kubernetes, None, request.to, &request.via, &known).map_err(no_way)?;
    let site = site(cluster, request, (cluster.kubernetes, None), observed.clone())?;
    let inputs = Arc::new(NodeInputs { cluster: cluster.clone(), pki, in_place: true });
    let eyes = Eyes { env, cloud: Arc::clone(&opened.cloud), nodes: env.nodes(Arc::clone(&opened.cloud)), inputs };
    let mut memory = Memory::default();
    let seen = eyes.look(&site, state, &mut memory).await?;
    let view = view::view(&site, state, &seen, &mut memory, view::now(env));
    let oldest = view.machines.iter().flat_map(|machine| machine.kubelet.into_iter().chain(machine.api)).min();
    let hops = course(cluster, applied.kubernetes, oldest, request.to, &request.via, &known).map_err(no_way)?;
    let apis = if hops.is_empty() { ApiUses::default() } else { apis::asked(&eyes, state, &seen).await };
    Ok(Way { hops, applied: applied.kubernetes, bundles, apis, view })
}

/// Locks, settles what an earlier run left, and goes hop by hop until all is done, something blocks, or `stop` is cancelled.
pub async fn apply_upgrade(
    env: &Env,
    request: &UpgradeRequest,
    events: Sink,
    stop: CancellationToken,
) -> Result<UpgradeReport, OperationError> {
    let before = open(env, &of(request)).await?;
    env.under_lock(&before.store, &stop.clone(), async |env, lock| locked(env, request, events, stop, lock).await).await
}

async fn locked(
    env: &Env,
    request: &UpgradeRequest,
    events: Sink,
    stop: CancellationToken,
    lock: &Lock,
) -> Result<UpgradeReport, OperationError> {
    let begun = env.clock.now();
    let mut opened = open(env, &of(request)).await?;
    lock.check().await?;
    opened.cloud = Guarded::by(opened.cloud, lock.hold());
    let Some(held) = opened.held.take() else {
        return Err(env.unknown(&opened.cluster.name).await?);
    };
    let recorder = Arc::new(Recorder::new(opened.store.clone(), held));
    let world = world(env, &opened, &recorder, &events, &stop);
    let settled = settle(&world).await.map_err(OperationError::Unsettled)?;
    let state = recorder.state();
    let observed = look_around(env, &opened, &state).await?;
    let pki = stored_pki(&opened.store).await?.ok_or(OperationError::NoKeys { cluster: opened.cluster.name.clone() })?;
    let way = way(env, &opened, request, pki, &observed, &state).await?;
    for &to in &way.hops {
        if let Some(what) = blocks(&state.model, to).first() {
            let stop = self::stop(what, &state.cluster);
            return Err(OperationError::Refused(vec![crate::plan::Problem { what: stop.what, next: stop.next }]));
        }
    }
    adopt(&world, &observed).await.map_err(OperationError::Unsettled)?;
    let mut images = state.images.clone();
    if replaces(&state.model) {
        // For the images of new machines; what it says of the version is what an upgrade is for.
        opened.held = Some(recorder.held().await);
        let now = Arc::unwrap_or_clone(recorder.state());
        let plan = make_plan(env, &opened, &of(request), now.clone()).await?.plan;
        images = with_images(now, &plan).images;
    }
    let run = env.begin(0);
    recorder.update(move |state| (state.last_run, state.images) = (Some(run), images)).await?;

    (events)(Event::Phase("apply"));
    let climb = Climb { env, opened: &opened, request, recorder: &recorder, events: &events, stop: &stop, lock };
    let (reached, outcome, end) = tokio::select! {
        climbed = Box::pin(climb.hops(&way, observed)) => climbed?,
        never = watch_lock(lock, stop.clone()) => match never {},
    };
    record_end(&recorder, &outcome, &end).await?;
    Ok(UpgradeReport {
        cluster: opened.cluster.name.clone(),
        reached,
        to: request.to,
        revision: recorder.state().revision,
        end,
        outcome,
        settled,
        calls: opened.cloud.calls(),
        seconds: env.clock.now().duration_since(begun).as_secs_f64(),
    })
}
