//! Create and update: one operation, the first revision or a later one.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::apply::observe::{catalogue, observe, observe_settled};
use crate::apply::resume::{Settled, adopt, settle};
use crate::apply::{Event, NodeInputs, Outcome, Sink, run};
use crate::bootstrap::user_data;
use crate::cloud::{Calls, Scope};
use crate::cluster::{Cluster, Cni, InstanceGroup, Role};
use crate::desired::tags;
use crate::observed::{Account, Observed};
use crate::operation::keys::pki_of;
use crate::operation::lock::watch_lock;
use crate::operation::opened::{Opened, open, world};
use crate::operation::saved::{self, SavedPlan};
use crate::operation::session::Env;
use crate::operation::{Guarded, OperationError, changed, delegation};
use crate::plan::document::{Basis, Command};
use crate::plan::found::objects;
use crate::plan::{Input, PHASES, Plan, images, plan};
use crate::recorded::{NodePhase, Run, State};
use crate::store::{Lock, Recorder, foreign};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct UpdateRequest {
    /// `None`: the cluster of the file, or the only one of the store.
    pub name: Option<String>,
    /// A spec to register as the next revision; `None`: the registered one.
    pub spec: Option<SpecFile>,
    /// The cluster must be new, or its creation unfinished.
    pub create: bool,
    /// The plan must come out as this one.
    pub saved: Option<Arc<SavedPlan>>,
}

/// A spec that was read and checked.
#[derive(Clone, Debug)]
pub struct SpecFile {
    /// As it was typed.
    pub file: String,
    pub bytes: Vec<u8>,
    pub cluster: Cluster,
}

/// A plan with all that it was made from.
pub struct Prepared {
    pub plan: Plan,
    pub cluster: Cluster,
    pub account: Account,
    pub is_new: bool,
    /// The last run, where it did not finish.
    pub interrupted: Option<Run>,
    /// Resources and joined nodes that are recorded.
    pub recorded: (usize, usize),
    /// Calls that making the plan took.
    pub calls: Calls,
    pub seconds: f64,
    /// Where the state is.
    pub location: String,
    /// The file differs from the registered revision.
    pub new_revision: bool,
    /// Keys of the spec in which it differs.
    pub changed: Vec<String>,
    /// What the plan stands on, but for the account's objects.
    pub(super) basis: Basis,
    pub(super) command: Command,
    /// The plan as every dry run of a new cluster shows it, before it has a uid.
    pub(super) without_uid: Option<Plan>,
    pub(super) state: State,
    pub(super) observed: Observed,
}

/// What a run did.
pub struct Report {
    pub cluster: String,
    pub outcome: Outcome,
    pub settled: Vec<Settled>,
    pub calls: Calls,
    pub seconds: f64,
    /// Machines that joined, and machines that should.
    pub joined: (usize, usize),
    /// They are NotReady until the user installs a pod network.
    pub waits_for_network: bool,
    /// `(phase, seconds)`
    pub phases: Vec<(String, f64)>,
}

pub(super) async fn make_plan(
    env: &Env,
    opened: &Opened,
    request: &UpdateRequest,
    state: State,
) -> Result<Prepared, OperationError> {
    let begun = env.clock.now();
    let Opened { cloud, cluster, .. } = opened;
    let is_new = opened.held.is_none();
    let scope = if is_new { Scope::Name(cluster.name.clone()) } else { Scope::Uid(state.uid.clone()) };
    let zone = &cluster.api.dns_zone;
    let query = images::needs_catalogue(cluster, &state);
    let reading = async {
        if is_new {
            observe(cloud.as_ref(), &scope, zone, &cluster.name, Some(&state)).await
        } else {
            observe_settled(cloud.as_ref(), env.clock.as_ref(), &scope, zone, &state).await
        }
    };
    let selling = async {
        match &query {
            Some(query) => catalogue(cloud.as_ref(), query).await.map(Some),
            None => Ok(None),
        }
    };
    let (observed, catalogue) = futures::try_join!(reading, selling)?;
    if is_new {
        refuse_other_cluster(&observed, cluster, &opened.account)?;
    }
    let user_data = user_data_of(cluster)?;
    let input = Input {
        cluster,
        previous: state.applied_model.as_ref(),
        uid: &state.uid,
        revision: opened.revision,
        recorded: &state,
        observed: &observed,
        catalogue: catalogue.as_ref(),
        user_data: &user_data,
    };
    let mut plan = plan(input);
    let without_uid =
        (is_new && request.saved.is_some() && state.uid != NO_UID).then(|| crate::plan::plan(Input { uid: NO_UID, ..input }));
    let zone = observed.hosted_zones.iter().find(|zone| !zone.private);
    if let (true, Some(zone)) = (state.applied == 0, zone) {
        plan.warnings.extend(delegation::warning(env.resolver.as_ref(), zone).await);
    }
    if is_new {
        plan.warnings.extend(warnings_of_the_store(env).await?);
    }
    let defects = plan.check();
    if let Some(defect) = defects.first() {
        return Err(OperationError::Failed(format!("the planner made a wrong plan, nothing was changed: {defect}")));
    }
    let prepared = Prepared {
        plan,
        basis: saved::basis(opened, request),
        command: if request.create { Command::Create } else { Command::Update },
        without_uid,
        cluster: cluster.clone(),
        account: opened.account.clone(),
        is_new,
        recorded: (state.resources.len(), state.nodes.values().filter(|node| node.phase == NodePhase::Joined).count()),
        interrupted: state.last_run.clone().filter(|run| !run.finished),
        calls: cloud.calls(),
        seconds: env.clock.now().duration_since(begun).as_secs_f64(),
        location: opened.store.location(),
        new_revision: opened.new_revision,
        changed: changed::keys(&state.model, cluster),
        state,
        observed,
    };
    match &request.saved {
        Some(saved) => saved.refuse_moved(&prepared).map(|()| prepared),
        None => Ok(prepared),
    }
}

/// Of a store that a first state goes into.
async fn warnings_of_the_store(env: &Env) -> Result<Vec<String>, OperationError> {
    let location = env.objects.location();
    let mut warnings = vec![];
    if let Some(example) = foreign(env.objects.as_ref()).await? {
        warnings.push(format!(
            "{location} also holds what is not kubewright's, for example {example}; it is left alone, but a place of its own is safer: \
             --state {location}/kubewright"
        ));
    }
    if env.objects.keeps_history().await == Some(false) {
        warnings.push(format!(
            "{location} keeps no versions: a damaged state could not be restored from it; switch versioning on \
             (aws s3api put-bucket-versioning)"
        ));
    }
    Ok(warnings)
}

pub(super) fn user_data_of(cluster: &Cluster) -> Result<BTreeMap<String, String>, OperationError> {
    cluster
        .groups
        .iter()
        .map(|group| {
            let text = user_data(cluster, group).map_err(|error| OperationError::Failed(error.to_string()))?;
            Ok((group.name.clone(), text))
        })
        .collect()
}

/// The name alone is no identity: whatever carries it with another uid belongs to somebody.
fn refuse_other_cluster(observed: &Observed, cluster: &Cluster, account: &Account) -> Result<(), OperationError> {
    let found = objects(observed).into_iter().find(|object| object.live());
    let Some(object) = found else { return Ok(()) };
    Err(OperationError::OtherCluster {
        name: cluster.name.clone(),
        account: account.id.clone(),
        uid: object.tags().get(tags::CLUSTER_UID).cloned().unwrap_or_else(|| "unknown".into()),
        example: object.id().to_owned(),
    })
}

const NO_UID: &str = "00000000000000000000000000000000";

/// The dry run: reads, and writes nothing, not even to the store.
pub async fn prepare_update(env: &Env, request: &UpdateRequest) -> Result<Prepared, OperationError> {
    let opened = open(env, request).await?;
    let mut state = opened.state.clone();
    if opened.held.is_none() {
        // The uid is made when the cluster is registered; until then every look at the plan is the same.
        state.uid = NO_UID.to_owned();
    }
    saved::refuse_early(&opened, request)?;
    make_plan(env, &opened, request, state).await
}

/// Locks, settles what an earlier run left, plans, shows the plan through `on_plan`, and applies it.
pub async fn apply_update(
    env: &Env,
    request: &UpdateRequest,
    events: Sink,
    stop: CancellationToken,
    on_plan: &(dyn Fn(&Prepared) + Sync),
) -> Result<Report, OperationError> {
    // Before the lock: a refused account or name must not leave even a lock behind.
    let before = open(env, request).await?;
    saved::refuse_early(&before, request)?;
    env.under_lock(&before.store, &stop.clone(), async |env, lock| locked(env, request, events, stop, on_plan, lock).await).await
}

async fn locked(
    env: &Env,
    request: &UpdateRequest,
    events: Sink,
    stop: CancellationToken,
    on_plan: &(dyn Fn(&Prepared) + Sync),
    lock: &Lock,
) -> Result<Report, OperationError> {
    let begun = env.clock.now();
    // What was read before the lock may be old.
    let mut opened = open(env, request).await?;
    saved::refuse_early(&opened, request)?;
    lock.check().await?;
    opened.cloud = Guarded::by(opened.cloud, lock.hold());
    let mut settled = vec![];
    let mut recorder = None;
    if let Some(held) = opened.held.take() {
        let held = Arc::new(Recorder::new(opened.store.clone(), held));
        settled = settle(&world(env, &opened, &held, &events, &stop)).await.map_err(OperationError::Unsettled)?;
        opened.held = Some(held.held().await);
        recorder = Some(held);
    }
    let state = recorder.as_ref().map_or_else(|| opened.state.clone(), |recorder| Arc::unwrap_or_clone(recorder.state()));
    let prepared = make_plan(env, &opened, request, state).await?;
    on_plan(&prepared);
    if !prepared.plan.errors.is_empty() {
        return Err(OperationError::Refused(prepared.plan.errors));
    }

    let recorder = register(env, &opened, &prepared, request, recorder, lock).await?;
    let world = world(env, &opened, &recorder, &events, &stop);
    adopt(&world, &prepared.observed).await.map_err(OperationError::Unsettled)?;
    let pki = pki_of(env, &opened.store, lock).await?;
    let inputs = Arc::new(NodeInputs { cluster: with_leaving(&prepared.cluster, &prepared.state), pki, in_place: false });

    (events)(Event::Phase("apply"));
    let watcher = watch_lock(lock, stop.clone());
    let outcome = tokio::select! {
        outcome = run(&prepared.plan, Arc::clone(&world), Some(inputs), &prepared.observed) => outcome,
        never = watcher => match never {},
    };
    finish(&recorder, &prepared, &outcome).await?;
    let state = recorder.state();
    Ok(Report {
        cluster: prepared.cluster.name.clone(),
        joined: joined(&prepared.cluster, &state),
        waits_for_network: prepared.cluster.network.cni == Cni::None,
        phases: phases(&outcome),
        outcome,
        settled,
        calls: world.cloud.calls(),
        seconds: env.clock.now().duration_since(begun).as_secs_f64(),
    })
}

/// The cluster, and the node groups that leave it: their machines are still to be drained.
fn with_leaving(cluster: &Cluster, state: &State) -> Cluster {
    let mut whole = cluster.clone();
    let before = state.applied_model.iter().chain([&state.model]).flat_map(|model| &model.groups);
    for group in before.filter(|group| group.role == Role::Node) {
        if whole.group(&group.name).is_none() {
            whole.groups.push(InstanceGroup { count: 0, ..group.clone() });
        }
    }
    whole
}

/// Writes the revision and the state that names it, before anything is made.
async fn register(
    env: &Env,
    opened: &Opened,
    prepared: &Prepared,
    request: &UpdateRequest,
    recorder: Option<Arc<Recorder>>,
    lock: &Lock,
) -> Result<Arc<Recorder>, OperationError> {
    let recorder = match recorder {
        Some(recorder) => recorder,
        None => {
            let held = opened.store.first(prepared.state.clone()).await?;
            Arc::new(Recorder::new(opened.store.clone(), held))
        }
    };
    let revision = match (&request.spec, prepared.new_revision) {
        (Some(spec), true) => Some(opened.store.add_revision(&spec.bytes).await?),
        _ => None,
    };
    if opened.held.is_none() {
        // A first state takes no other one's place, so that nothing but the lock keeps it from a store whose cluster was deleted meanwhile.
        lock.check().await?;
    }
    let total = u32::try_from(prepared.plan.actions.len()).unwrap_or(u32::MAX);
    let run = env.begin(total);
    let (model, pinned) = (prepared.cluster.clone(), prepared.plan.images.clone());
    recorder
        .update(move |state| {
            if let Some(revision) = revision {
                state.revision = revision;
            }
            state.model = model;
            state.images = pinned;
            state.last_run = Some(run);
        })
        .await?;
    if request.spec.is_some() {
        // After the state: a run that has lost it stops there, and brings back no spec of a cluster that is deleted.
        opened.store.set_spec(Some(lock)).await?;
    }
    Ok(recorder)
}

async fn finish(recorder: &Recorder, prepared: &Prepared, outcome: &Outcome) -> Result<(), OperationError> {
    if recorder.fence().is_some() {
        return Ok(());
    }
    let complete = outcome.is_complete() && !outcome.stopped;
    let done = u32::try_from(outcome.done.len()).unwrap_or(u32::MAX);
    let model = prepared.cluster.clone();
    recorder
        .update(move |state| {
            if complete {
                state.applied = state.revision;
                state.applied_model = Some(model);
            }
            if let Some(run) = &mut state.last_run {
                run.finished = complete;
                run.actions_done = Some(done);
            }
        })
        .await?;
    Ok(())
}

pub fn joined(cluster: &Cluster, state: &State) -> (usize, usize) {
    let want: u32 = cluster.groups.iter().filter(|group| group.role != Role::Bastion).map(|group| group.count).sum();
    (state.nodes.values().filter(|node| node.phase == NodePhase::Joined).count(), want as usize)
}

/// How long each part of the run took, from its first start to its last end.
fn phases(outcome: &Outcome) -> Vec<(String, f64)> {
    PHASES
        .into_iter()
        .filter_map(|name| {
            let of = outcome.done.iter().filter(|done| done.action.phase() == name);
            let begun = of.clone().map(|done| done.started).fold(f64::INFINITY, f64::min);
            let ended = of.map(|done| done.started + done.seconds).fold(0.0, f64::max);
            begun.is_finite().then(|| (name.to_owned(), ended - begun))
        })
        .collect()
}
