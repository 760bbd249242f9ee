//! The hops of an upgrade, carried out: each is registered, rolled, and recorded as applied.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::apply::{Event, NodeInputs, Outcome, Sink};
use crate::cluster::{Cluster, KubernetesVersion, Packages};
use crate::observed::Observed;
use crate::operation::OperationError;
use crate::operation::etcd::saving_nodes;
use crate::operation::keys::pki_of;
use crate::operation::opened::{Opened, world};
use crate::operation::session::Env;
use crate::rolling::{Decision, next_step};
use crate::spec::with_version;
use crate::store::{Lock, Recorder};

use super::fetch::fetch;
use super::look::Eyes;
use super::upgrade::{UpgradeRequest, Way, arrive, look_around, replaces, site};
use super::{End, run};

/// One run on its way.
pub(super) struct Climb<'a> {
    pub env: &'a Env,
    pub opened: &'a Opened,
    pub request: &'a UpgradeRequest,
    pub recorder: &'a Arc<Recorder>,
    pub events: &'a Sink,
    pub stop: &'a CancellationToken,
    pub lock: &'a Lock,
}

impl Climb<'_> {
    pub async fn hops(
        &self,
        way: &Way,
        mut observed: Observed,
    ) -> Result<(Vec<KubernetesVersion>, Outcome, End), OperationError> {
        let (mut reached, mut all) = (vec![], Outcome::default());
        let mut view = way.view.clone();
        (view.to, view.then) = (way.hops.first().copied(), way.hops.get(1).copied());
        // What is not well is told before anything is registered.
        if !way.hops.is_empty()
            && let Decision::Blocked(stop) = next_step(&view)
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
        let replaces = replaces(&self.recorder.state().model);
        for (number, &to) in way.hops.iter().enumerate() {
            if self.stop.is_cancelled() {
                all.stopped = true;
                return Ok((reached, all, End::Stopped));
            }
            (self.events)(Event::Note(format!("Kubernetes {to}")));
            for gone in way.apis.gone(&way.hops, number) {
                (self.events)(Event::Note(format!("not served by {to} any more: {gone}")));
            }
            if replaces && number > 0 {
                observed = look_around(self.env, self.opened, &self.recorder.state()).await?;
            }
            let then = way.hops.get(number + 1).copied();
            (view.to, view.then) = (Some(to), then);
            for (number, group) in view.groups.iter().enumerate() {
                let waits = view.machines.iter().filter(|machine| machine.group == number && view.waits(machine)).count();
                if waits > 0 {
                    let what =
                        format!("{}: {waits} of {} machines wait for a later hop, which replaces them", group.name, group.count);
                    (self.events)(Event::Note(what));
                }
            }
            arrive(&mut view, to);
            let (outcome, end) = self.hop((to, then), way.bundles.get(&to), observed.clone()).await?;
            all.done.extend(outcome.done);
            all.failed.extend(outcome.failed);
            all.stopped |= outcome.stopped;
            if end != End::Done {
                return Ok((reached, all, end));
            }
            reached.push(to);
            // Machines may wait for a later hop to replace them: until then this one is not applied to its end.
            if replaces && then.is_some() {
                continue;
            }
            self.recorder
                .update(move |state| {
                    state.applied = state.revision;
                    state.applied_model = Some(state.model.clone());
                })
                .await?;
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
        (to, then): (KubernetesVersion, Option<KubernetesVersion>),
        bundle: Option<&PathBuf>,
        observed: Observed,
    ) -> Result<(Outcome, End), OperationError> {
        let (cluster, moved) = self.model(to, bundle);
        // Nodes of its own for each hop: they keep the bundle that they have read.
        let nodes = saving_nodes(self.env, &self.opened.store, self.recorder, self.lock, Some(to));
        let env = &Env { make_nodes: nodes, ..self.env.clone() };
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
        let mut site = site(&cluster, self.request, (to, then), observed)?;
        let (mut outcome, end) = run::roll(&mut site, &eyes, world, inputs).await?;
        outcome.done.splice(0..0, fetched.done);
        Ok((outcome, end))
    }
}
