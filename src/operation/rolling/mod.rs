//! Rolling update: machines that are behind are replaced, one decision of [`crate::rolling::next_step`] after the other.
//!
//! Nothing but what the cluster needs to be found again is recorded: cordons, withdrawn addresses, snapshots, phases of nodes. Each
//! decision is made from a fresh look, so a run that was killed is gone on with by the next one.

mod apis;
mod climb;
mod fetch;
mod look;
mod run;
mod steps;
mod upgrade;
mod view;

pub use apis::{ApiUse, ApiUses};
pub use upgrade::{Hop, UpgradePrepared, UpgradeReport, UpgradeRequest, apply_upgrade, prepare_upgrade};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::apply::resume::{Settled, adopt, settle};
use crate::apply::{Event, NodeInputs, Outcome, Sink};
use crate::cloud::Calls;
use crate::cluster::{Cluster, KubernetesVersion, Role};
use crate::desired::{ResourceId, Slot, desired};
use crate::observed::Observed;
use crate::operation::etcd::saving_nodes;
use crate::operation::keys::{pki_of, stored_pki};
use crate::operation::lock::watch_lock;
use crate::operation::opened::{open, world};
use crate::operation::session::Env;
use crate::operation::update::{make_plan, user_data_of};
use crate::operation::{Guarded, OperationError, UpdateRequest};
use crate::plan::{Input, Plan, found::Found, plan_with, slot_of};
use crate::recorded::{NodePhase, State};
use crate::rolling::{Blocked, Decision, Line, Time, View, outline};
use crate::store::{Lock, Recorder};
pub(super) use look::addresses;
use look::{Eyes, Memory};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct RollRequest {
    pub name: Option<String>,
    /// Instance groups by name; empty: all.
    pub groups: Vec<String>,
    /// Roles of instance groups; empty: all.
    pub roles: Vec<String>,
    /// Begin although the cluster is not well.
    pub force: bool,
    /// Bring a roll that was interrupted to rest.
    pub abort: bool,
}

/// What a roll would do.
pub struct RollPrepared {
    pub cluster: String,
    pub view: View,
    pub lines: Vec<Line>,
    /// How long it takes if all goes well.
    pub seconds: Time,
    pub end: Decision,
    /// What was not well before, and is left as it is.
    pub ill: Vec<String>,
    /// Bastions that are behind: nothing of a roll is for them.
    pub bastions: Vec<String>,
    pub calls: Calls,
    pub location: String,
}

/// How a roll ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Done,
    Blocked(Blocked),
    /// By an interrupt.
    Stopped,
}

/// What a roll did.
pub struct RollReport {
    pub cluster: String,
    pub end: End,
    pub outcome: Outcome,
    pub settled: Vec<Settled>,
    pub calls: Calls,
    pub seconds: f64,
}

/// A cluster on which a roll works: what does not change while it runs.
struct Site {
    cluster: Cluster,
    request: RollRequest,
    /// An upgrade: the version that machines are brought to.
    to: Option<KubernetesVersion>,
    /// And the one after that.
    then: Option<KubernetesVersion>,
    /// By instance, why a machine is behind: a new one may live in the same slot.
    behind: BTreeMap<String, Vec<String>>,
    /// Bastions that are behind: nothing of a roll is for them.
    bastions: Vec<String>,
    /// As it was seen last.
    observed: Observed,
    user_data: BTreeMap<String, String>,
}

impl Site {
    fn new(cluster: &Cluster, request: &RollRequest, state: &State, observed: Observed) -> Result<Self, OperationError> {
        check(cluster, request)?;
        let user_data = user_data_of(cluster)?;
        let mut site = Self {
            cluster: cluster.clone(),
            request: request.clone(),
            to: None,
            then: None,
            behind: BTreeMap::new(),
            bastions: vec![],
            observed,
            user_data,
        };
        let plan = site.plan(state, &BTreeSet::new());
        if !plan.errors.is_empty() {
            return Err(OperationError::Refused(plan.errors));
        }
        let found = Found::new(&site.observed, &state.uid, state);
        let id = |slot: &String| found.id(&ResourceId::Instance(slot.clone())).map(str::to_owned);
        let behind = plan.behind.iter().filter_map(|behind| Some((id(&behind.slot)?, behind.reasons.clone()))).collect();
        let of_bastions = |group: &String| cluster.groups_of(Role::Bastion).any(|bastion| bastion.name == *group);
        let bastions = plan.behind.iter().filter(|behind| of_bastions(&behind.group)).map(|behind| behind.slot.clone()).collect();
        (site.behind, site.bastions) = (behind, bastions);
        Ok(site)
    }

    /// The plan of a cluster that calls for every machine that there is, and for these as well.
    fn plan(&self, state: &State, slots: &BTreeSet<Slot>) -> Plan {
        let found = Found::new(&self.observed, &state.uid, state);
        let there = found.instances.iter().filter_map(|(resource, twins)| slot_of(resource, twins.first()?));
        let mut counts = BTreeMap::<String, u32>::new();
        for slot in there.chain(slots.iter().cloned()).collect::<BTreeSet<_>>() {
            *counts.entry(slot.group).or_default() += 1;
        }
        let mut cluster = self.cluster.clone();
        for group in &mut cluster.groups {
            group.count = group.count.max(counts.get(&group.name).copied().unwrap_or(0));
        }
        // Machines that are gone are the roll's own business.
        let mut recorded = state.clone();
        let live: BTreeSet<&str> =
            self.observed.instances.iter().filter(|one| one.is_live()).map(|one| one.id.as_str()).collect();
        recorded.nodes.retain(|_, node| live.contains(node.instance.as_str()));
        let input = Input {
            cluster: &cluster,
            previous: state.applied_model.as_ref(),
            uid: &state.uid,
            revision: state.revision,
            recorded: &recorded,
            observed: &self.observed,
            catalogue: None,
            user_data: &self.user_data,
        };
        plan_with(input, slots)
    }
}

/// Names and roles that the cluster has, and numbers of machines that can be rolled.
fn check(cluster: &Cluster, request: &RollRequest) -> Result<(), OperationError> {
    let groups: Vec<String> =
        cluster.groups.iter().filter(|group| group.role != Role::Bastion).map(|group| group.name.clone()).collect();
    let unknown = |kind, name: &String, known: Vec<String>| {
        Err(OperationError::UnknownGroup { cluster: cluster.name.clone(), kind, name: name.clone(), known })
    };
    if let Some(name) = request.groups.iter().find(|name| !groups.contains(name)) {
        return unknown("instance group", name, groups);
    }
    let roles = ["control-plane", "node"].map(str::to_owned).to_vec();
    match request.roles.iter().find(|role| !roles.contains(role)) {
        Some(role) => unknown("instance group of the role", role, roles),
        None => Ok(()),
    }
}

fn of(request: &RollRequest) -> UpdateRequest {
    UpdateRequest { name: request.name.clone(), spec: None, create: false, saved: None }
}

/// The dry run: looks, and asks [`crate::rolling::next_step`] what it would do if all went well.
pub async fn prepare_roll(env: &Env, request: &RollRequest) -> Result<RollPrepared, OperationError> {
    let opened = open(env, &of(request)).await?;
    check(&opened.cluster, request)?;
    let prepared = make_plan(env, &opened, &of(request), opened.state.clone()).await?;
    let state = with_images(prepared.state, &prepared.plan);
    let site = Site::new(&opened.cluster, request, &state, prepared.observed)?;
    let keys = stored_pki(&opened.store).await?.ok_or(OperationError::NoKeys { cluster: opened.cluster.name.clone() })?;
    let inputs = Arc::new(NodeInputs { cluster: opened.cluster.clone(), pki: keys, in_place: false });
    let eyes = Eyes { env, cloud: Arc::clone(&opened.cloud), nodes: env.nodes(Arc::clone(&opened.cloud)), inputs };
    let mut memory = Memory::default();
    let seen = eyes.look(&site, &state, &mut memory).await?;
    let view = view::view(&site, &state, &seen, &mut memory, view::now(env));
    let (lines, seconds, end) = outline(&view, env.node_limit);
    let ill = view.machines.iter().filter(|machine| machine.ill_before && !machine.is_behind());
    Ok(RollPrepared {
        cluster: opened.cluster.name.clone(),
        ill: ill.map(|machine| format!("{} is not Ready", machine.slot)).collect(),
        bastions: site.bastions,
        view,
        lines,
        seconds,
        end,
        calls: opened.cloud.calls(),
        location: opened.store.location(),
    })
}

/// Locks, settles what an earlier run left, and rolls until all is done, something blocks, or `stop` is cancelled.
pub async fn apply_roll(
    env: &Env,
    request: &RollRequest,
    events: Sink,
    stop: CancellationToken,
) -> Result<RollReport, OperationError> {
    let before = open(env, &of(request)).await?;
    check(&before.cluster, request)?;
    env.under_lock(&before.store, &stop.clone(), async |env, lock| locked(env, request, events, stop, lock).await).await
}

async fn locked(
    env: &Env,
    request: &RollRequest,
    events: Sink,
    stop: CancellationToken,
    lock: &Lock,
) -> Result<RollReport, OperationError> {
    let begun = env.clock.now();
    let mut opened = open(env, &of(request)).await?;
    lock.check().await?;
    opened.cloud = Guarded::by(opened.cloud, lock.hold());
    let Some(held) = opened.held.take() else {
        return Err(env.unknown(&opened.cluster.name).await?);
    };
    let recorder = Arc::new(Recorder::new(opened.store.clone(), held));
    let env = &Env { make_nodes: saving_nodes(env, &opened.store, &recorder, lock, None), ..env.clone() };
    let world = world(env, &opened, &recorder, &events, &stop);
    let settled = settle(&world).await.map_err(OperationError::Unsettled)?;
    opened.held = Some(recorder.held().await);
    let prepared = make_plan(env, &opened, &of(request), Arc::unwrap_or_clone(recorder.state())).await?;
    let state = with_images(Arc::unwrap_or_clone(recorder.state()), &prepared.plan);
    let mut site = Site::new(&opened.cluster, request, &state, prepared.observed)?;
    adopt(&world, &site.observed).await.map_err(OperationError::Unsettled)?;
    let inputs =
        Arc::new(NodeInputs { cluster: opened.cluster.clone(), pki: pki_of(env, &opened.store, lock).await?, in_place: false });
    let (run, images) = (env.begin(0), state.images);
    recorder.update(move |state| (state.last_run, state.images) = (Some(run), images)).await?;

    (events)(Event::Phase("apply"));
    let eyes = Eyes { env, cloud: Arc::clone(&opened.cloud), nodes: Arc::clone(&world.nodes), inputs: Arc::clone(&inputs) };
    let rolled = async { run::roll(&mut site, &eyes, Arc::clone(&world), inputs).await };
    let (outcome, end) = tokio::select! {
        rolled = rolled => rolled?,
        never = watch_lock(lock, stop.clone()) => match never {},
    };
    record_end(&recorder, &outcome, &end).await?;
    Ok(RollReport {
        cluster: opened.cluster.name.clone(),
        end,
        outcome,
        settled,
        calls: world.cloud.calls(),
        seconds: env.clock.now().duration_since(begun).as_secs_f64(),
    })
}

/// How many steps there are is known only at the end.
async fn record_end(recorder: &Recorder, outcome: &Outcome, end: &End) -> Result<(), OperationError> {
    if recorder.fence().is_some() {
        return Ok(());
    }
    let (done, finished) = (u32::try_from(outcome.done.len()).unwrap_or(u32::MAX), *end == End::Done);
    let edit = move |state: &mut State| {
        if let Some(run) = &mut state.last_run {
            (run.finished, run.actions_done, run.actions_total) = (finished, Some(done), done);
        }
    };
    Ok(recorder.update(edit).await?)
}

/// With the images of all groups: a state that was recovered in the middle of a roll knows only those that machines of it run on.
fn with_images(mut state: State, plan: &Plan) -> State {
    let known = plan.images.iter().map(|(key, image)| (key.clone(), image.clone()));
    state.images.extend(known);
    state
}

/// Whether a machine of this phase was part of the cluster.
fn has_joined(phase: NodePhase) -> bool {
    phase >= NodePhase::Joined
}

/// Slots of the desired machines of a cluster, by their text: what a slot's text means.
fn slots(cluster: &Cluster, observed: &Observed, state: &State) -> BTreeMap<String, Slot> {
    let found = Found::new(observed, &state.uid, state);
    let there: BTreeSet<Slot> =
        found.instances.iter().filter_map(|(resource, twins)| slot_of(resource, twins.first()?)).collect();
    let wanted = desired(cluster, &there, &BTreeSet::new(), &BTreeMap::new()).machines.into_iter().map(|machine| machine.slot);
    there.iter().cloned().chain(wanted).map(|slot| (slot.to_string(), slot)).collect()
}
