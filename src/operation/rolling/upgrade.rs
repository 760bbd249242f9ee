//! Upgrade: hop by hop, each a revision of the spec, machines brought there where they stand by [`crate::rolling::next_step`].
//!
//! What is recorded of it is the revision: a registered version that is not the applied one is an upgrade that was begun, and the next
//! run finishes it first. Which machines are there already is seen, not remembered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::apply::observe::observe_settled;
use crate::apply::resume::{Settled, adopt, settle};
use crate::apply::{Event, NodeInputs, Outcome, Sink};
use crate::bootstrap::Pki;
use crate::cloud::{Calls, Scope};
use crate::cluster::{Cluster, KubernetesVersion, Packages};
use crate::observed::Observed;
use crate::operation::etcd::saving_nodes;
use crate::operation::keys::{pki_of, stored_pki};
use crate::operation::lock::watch_lock;
use crate::operation::opened::{Opened, open, world};
use crate::operation::session::Env;
use crate::operation::{Guarded, OperationError, UpdateRequest};
use crate::recorded::State;
use crate::rolling::upgrade::{blocks, changes, course, images};
use crate::rolling::{Address, Blocked, Cordon, Decision, Line, Time, View, next_step, outline};
use crate::spec::with_version;
use crate::store::{Lock, Recorder};

use super::apis::{self, ApiUse, ApiUses};
use super::fetch::{bundles, fetch};
use super::look::{Eyes, Memory};
use super::{End, RollRequest, Site, record_end, run, view};

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
    /// Versions to which all machines were brought.
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
struct Way {
    hops: Vec<KubernetesVersion>,
    applied: KubernetesVersion,
    bundles: BTreeMap<KubernetesVersion, PathBuf>,
    apis: ApiUses,
    view: View,
}

impl Way {
    /// Why the hop of this number is not begun for the sake of clients. One that was begun is finished: there is no way back.
    fn lacks(&self, number: usize, registered: KubernetesVersion, force: bool) -> Option<Blocked> {
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
        view.to = Some(to);
        let (lines, seconds, end) = outline(&view, env.node_limit);
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
        hops.push(Hop { from, to, begun, changes, images: images(to), gone, lines, seconds, end });
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

/// As it is after a hop that went well.
fn arrive(view: &mut View, to: KubernetesVersion) {
    view.snapshot = None;
    for machine in &mut view.machines {
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

async fn look_around(env: &Env, opened: &Opened, state: &State) -> Result<Observed, OperationError> {
    let scope = Scope::Uid(state.uid.clone());
    let zone = &opened.cluster.api.dns_zone;
    Ok(observe_settled(opened.cloud.as_ref(), env.clock.as_ref(), &scope, zone, state).await?)
}

fn site(cluster: &Cluster, request: &UpgradeRequest, to: KubernetesVersion, observed: Observed) -> Site {
    Site {
        cluster: cluster.clone(),
        request: RollRequest { name: request.name.clone(), force: request.force, ..RollRequest::default() },
        to: Some(to),
        behind: BTreeMap::new(),
        bastions: vec![],
        observed,
        user_data: BTreeMap::new(),
    }
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
    let site = site(cluster, request, cluster.kubernetes, observed.clone());
    let inputs = Arc::new(NodeInputs { cluster: cluster.clone(), pki, in_place: true });
    let eyes = Eyes { env, cloud: Arc::clone(&opened.cloud), nodes: (env.nodes)(Arc::clone(&opened.cloud)), inputs };
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
    let run = env.begin(0);
    recorder.update(move |state| state.last_run = Some(run)).await?;

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

/// One run on its way.
struct Climb<'a> {
    env: &'a Env,
    opened: &'a Opened,
    request: &'a UpgradeRequest,
    recorder: &'a Arc<Recorder>,
    events: &'a Sink,
    stop: &'a CancellationToken,
    lock: &'a Lock,
}

impl Climb<'_> {
    async fn hops(&self, way: &Way, observed: Observed) -> Result<(Vec<KubernetesVersion>, Outcome, End), OperationError> {
        let (mut reached, mut all) = (vec![], Outcome::default());
        // What is not well is told before anything is registered.
        if let Some(&to) = way.hops.first()
            && let Decision::Blocked(stop) = next_step(&View { to: Some(to), ..way.view.clone() })
        {
            return Ok((reached, all, End::Blocked(stop)));
        }
        for (slot, why) in &way.apis.unread {
            (self.events)(Event::Note(format!("{slot} does not tell which deprecated APIs it was asked for: {why}")));
        }
        let registered = self.recorder.state().model.kubernetes;
        if let Some(stop) = (0..way.hops.len()).find_map(|number| way.lacks(number, registered, self.request.force)) {
            return Ok((reached, all, End::Blocked(stop)));
        }
        for (number, &to) in way.hops.iter().enumerate() {
            if self.stop.is_cancelled() {
                all.stopped = true;
                return Ok((reached, all, End::Stopped));
            }
            (self.events)(Event::Note(format!("Kubernetes {to}")));
            for gone in way.apis.gone(&way.hops, number) {
                (self.events)(Event::Note(format!("not served by {to} any more: {gone}")));
            }
            let (outcome, end) = self.hop(to, way.bundles.get(&to), observed.clone()).await?;
            all.done.extend(outcome.done);
            all.failed.extend(outcome.failed);
            all.stopped |= outcome.stopped;
            if end != End::Done {
                return Ok((reached, all, end));
            }
            self.recorder
                .update(move |state| {
                    state.applied = state.revision;
                    state.applied_model = Some(state.model.clone());
                })
                .await?;
            reached.push(to);
        }
        Ok((reached, all, End::Done))
    }

    /// The cluster of this version, and the folder of its bundle if that moves.
    fn model<'a>(&self, to: KubernetesVersion, bundle: Option<&'a PathBuf>) -> (Cluster, Option<&'a Path>) {
        let mut cluster = Cluster { kubernetes: to, ..self.recorder.state().model.clone() };
        let moved = match (&mut cluster.packages, bundle) {
            (Packages::Bundle(path), Some(bundle)) if path != bundle => {
                path.clone_from(bundle);
                Some(bundle.as_path())
            }
            _ => None,
        };
        (cluster, moved)
    }

    /// The version becomes the spec's before the first machine moves, so that whoever comes next knows where it was going.
    async fn register(&self, cluster: &Cluster, moved: Option<&Path>) -> Result<(), OperationError> {
        let state = self.recorder.state();
        let store = &self.opened.store;
        if *cluster != state.model {
            let bytes = store.revision(state.revision).await?;
            let bytes = with_version(&bytes, cluster.kubernetes, moved).map_err(|why| {
                let what = format!("revision {} of the spec ({}) cannot be edited", state.revision, store.location());
                OperationError::Failed(format!("{what}: {why}"))
            })?;
            let (revision, model) = (store.add_revision(&bytes).await?, cluster.clone());
            self.recorder
                .update(move |state| {
                    (state.revision, state.model) = (revision, model);
                    // Of the hop before: each hop saves etcd again.
                    state.nodes.values_mut().for_each(|node| node.snapshot = None);
                })
                .await?;
        }
        Ok(store.set_spec(Some(self.lock)).await?)
    }

    async fn hop(
        &self,
        to: KubernetesVersion,
        bundle: Option<&PathBuf>,
        observed: Observed,
    ) -> Result<(Outcome, End), OperationError> {
        let (cluster, moved) = self.model(to, bundle);
        // Nodes of its own for each hop: they keep the bundle that they have read.
        let nodes = saving_nodes(self.env, &self.opened.store, self.recorder, self.lock, Some(to));
        let env = &Env { nodes, ..self.env.clone() };
        let world = world(env, self.opened, self.recorder, self.events, self.stop);
        let pki = pki_of(self.env, &self.opened.store, self.lock).await?;
        let inputs = Arc::new(NodeInputs { cluster: cluster.clone(), pki, in_place: true });
        let (fetched, end) = fetch(&world, &inputs, &observed, self.request.force).await;
        if end != End::Done {
            return Ok((fetched, end));
        }
        self.register(&cluster, moved).await?;
        let cloud = Arc::clone(&self.opened.cloud);
        let eyes = Eyes { env: self.env, cloud, nodes: Arc::clone(&world.nodes), inputs: Arc::clone(&inputs) };
        let mut site = site(&cluster, self.request, to, observed);
        let (mut outcome, end) = run::roll(&mut site, &eyes, world, inputs).await?;
        outcome.done.splice(0..0, fetched.done);
        Ok((outcome, end))
    }
}
