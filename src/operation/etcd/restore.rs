//! `etcd restore`: every control plane gets new data from one snapshot, with all of them as members, and all are started together.
//!
//! New data is made beside that of the running etcd before anything is stopped or recorded. What is recorded then is one object: which snapshot,
//! which members, and what is being done; from the first swap on there is no way back but another restore; none is started before all are swapped, so
//! that old and new data never serve beside each other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use crate::apply::{Event, Sink};
use crate::bootstrap::inspect::{self, Query};
use crate::bootstrap::{EtcdWork, Events, NodeEvent, Stage};
use crate::cluster::{Cni, Role, policy};
use crate::operation::OperationError;
use crate::operation::session::Env;
use crate::store::{Lock, Restore, RestorePhase, Snapshot};

use super::{Reader, Site, newest, role};

/// The snapshot that is meant where no name is.
const LATEST: &str = "latest";
/// How long nodes may take to become Ready afterwards.
const READY: Duration = Duration::from_secs(300);
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);
/// Machines that are marked at the same time.
const AT_ONCE: usize = 4;

/// What a restore would do.
#[derive(Debug)]
pub struct RestorePlan {
    pub cluster: String,
    pub snapshot: Snapshot,
    /// Seconds since it was taken.
    pub age: u64,
    /// Revision of the etcd that runs; `None`: none answers.
    pub revision: Option<u64>,
    /// Slots of the control planes that get its data.
    pub planes: Vec<String>,
    /// It was begun by an earlier run: when, and by whom.
    pub resumes: Option<Restore>,
}

/// What a restore did.
#[derive(Debug)]
pub struct RestoreReport {
    pub cluster: String,
    pub snapshot: Snapshot,
    pub planes: Vec<String>,
    /// Nodes of machines that are gone.
    pub removed: Vec<String>,
    /// Slots whose Nodes were not in the snapshot.
    pub registered: Vec<String>,
    /// Slots that are not Ready yet.
    pub unready: Vec<String>,
    pub seconds: f64,
}

/// The dry run: reads the whole snapshot, and writes nothing.
pub async fn prepare_restore(env: &Env, name: Option<&str>, id: &str) -> Result<RestorePlan, OperationError> {
    let site = Site::open(env, name).await?;
    let (snapshot, revision) = chosen(&site, id).await?;
    Reader::new(&site.store, &snapshot).check().await.map_err(|trouble| damaged(&snapshot, trouble))?;
    Ok(RestorePlan {
        cluster: site.state.cluster.clone(),
        age: u64::try_from(env.clock.now().duration_since(snapshot.taken).as_secs()).unwrap_or_default(),
        revision,
        planes: site.planes().to_vec(),
        resumes: site.store.restore().await?.filter(|begun| goes_on(begun, &site, &snapshot)),
        snapshot,
    })
}

/// Locks, checks again, and restores; what an interruption leaves is gone on with by the same command.
pub async fn apply_restore(
    env: &Env,
    name: Option<&str>,
    id: &str,
    events: Sink,
    stop: CancellationToken,
) -> Result<RestoreReport, OperationError> {
    let before = Site::open(env, name).await?;
    let cluster = &before.state.cluster;
    env.under_lock(&before.store, &stop, async |env, lock| locked(env, cluster, id, &events, &stop, lock).await).await
}

/// A restore of the same snapshot onto the same machines.
fn goes_on(begun: &Restore, site: &Site, snapshot: &Snapshot) -> bool {
    begun.snapshot == snapshot.id && begun.members == members(site)
}

fn members(site: &Site) -> Vec<String> {
    site.planes().iter().map(|slot| site.instance(slot)).collect()
}

/// The snapshot of that name, if it may be put into this cluster; and the revision that runs.
async fn chosen(site: &Site, id: &str) -> Result<(Snapshot, Option<u64>), OperationError> {
    let listed = site.store.snapshots().await?;
    let names: Vec<String> = listed.iter().map(|listed| listed.id.clone()).collect();
    let found = match id {
        LATEST => newest(listed, &site.state.uid).map(Ok),
        id => listed.into_iter().find(|listed| listed.id == id).map(|listed| listed.snapshot),
    };
    let cluster = &site.state.cluster;
    let snapshot = match found {
        Some(Ok(snapshot)) => snapshot,
        Some(Err(why)) => return Err(refused(id, why, format!("kubewright etcd list {cluster}"))),
        None => return Err(OperationError::UnknownSnapshot { cluster: cluster.clone(), id: id.to_owned(), known: names }),
    };
    let list = format!("kubewright etcd list {cluster}");
    if snapshot.uid != site.state.uid {
        let why = format!("it is of another cluster of that name (uid {}, this one is {})", snapshot.uid, site.state.uid);
        return Err(refused(&snapshot.id, why, list));
    }
    if let Some(slot) = site.unready.first() {
        let why =
            format!("control plane {slot} has not joined, or is about to leave: it would be left out, with the data that it has");
        let next = format!("kubewright update {cluster} --yes, or kubewright rolling-update {cluster} --abort --yes");
        return Err(refused(&snapshot.id, why, next));
    }
    if site.planes().is_empty() {
        let why = "no control plane is left that it could be restored on".to_owned();
        return Err(refused(&snapshot.id, why, format!("kubewright update {cluster} --yes      (makes new ones)")));
    }
    let (status, _) = site.status().await;
    let installed = policy(site.state.model.kubernetes).etcd.to_owned();
    let running = status.members.iter().filter_map(|member| member.version.clone()).min_by_key(|version| minor(version));
    let have = running.unwrap_or(installed);
    if minor(&snapshot.etcd) > minor(&have) {
        let why = format!("etcd {} wrote it, and this cluster has {have}, which may not read it", snapshot.etcd);
        return Err(refused(&snapshot.id, why, list));
    }
    let kubernetes = site.state.model.kubernetes.to_string();
    if minor(&snapshot.kubernetes) > minor(&kubernetes) {
        let why =
            format!("Kubernetes {} wrote it, and this cluster has {kubernetes}, which may not read it", snapshot.kubernetes);
        return Err(refused(&snapshot.id, why, list));
    }
    Ok((snapshot, status.revision))
}

/// Major and minor of `3.6.5-0`; what is no version is newer than all.
fn minor(version: &str) -> (u32, u32) {
    let mut numbers = version.trim_start_matches('v').split('.').map(|part| part.parse().unwrap_or(u32::MAX));
    (numbers.next().unwrap_or(u32::MAX), numbers.next().unwrap_or(u32::MAX))
}

fn refused(id: &str, why: String, next: String) -> OperationError {
    OperationError::SnapshotRefused { id: id.to_owned(), why, next }
}

fn damaged(snapshot: &Snapshot, trouble: Result<String, OperationError>) -> OperationError {
    match trouble {
        Ok(why) => refused(&snapshot.id, why, format!("kubewright etcd list {}      (choose another)", snapshot.cluster)),
        Err(error) => error,
    }
}

async fn locked(
    env: &Env,
    name: &str,
    id: &str,
    events: &Sink,
    stop: &CancellationToken,
    lock: &Lock,
) -> Result<RestoreReport, OperationError> {
    let begun = env.clock.now();
    let site = Site::open(env, Some(name)).await?;
    lock.check().await?;
    let (snapshot, _) = chosen(&site, id).await?;
    // Read whole before anything is recorded or sent.
    Reader::new(&site.store, &snapshot).check().await.map_err(|trouble| damaged(&snapshot, trouble))?;
    let earlier = site.store.restore().await?.filter(|begun| goes_on(begun, &site, &snapshot));
    let is_new = earlier.is_none();
    let mut record = earlier.unwrap_or_else(|| Restore {
        id: env.ids.fresh(),
        snapshot: snapshot.id.clone(),
        begun,
        by: env.by.clone(),
        members: members(&site),
        phase: RestorePhase::Swapping,
    });
    let run = Restoring { env, site: &site, snapshot: &snapshot, events, stop, lock };
    if is_new {
        run.stage(&record).await?;
    }
    if record.phase == RestorePhase::Swapping {
        run.reach(&record).await?;
        run.note("stopping the control planes");
        run.on_all(|_| EtcdWork::Stop).await?;
        run.note("putting the new data in its place");
        run.on_all(|_| EtcdWork::Swap { restore: record.id.clone() }).await?;
        record.phase = RestorePhase::Starting;
    }
    run.reach(&record).await?;
    run.note("starting etcd and the API servers");
    run.on_all(|_| EtcdWork::Start).await?;
    let (removed, registered) = run.nodes().await?;
    let unready = run.settled().await;
    lock.check().await?;
    site.store.set_restore(None).await?;
    Ok(RestoreReport {
        cluster: name.to_owned(),
        planes: site.planes().to_vec(),
        removed,
        registered,
        unready,
        seconds: env.clock.now().duration_since(begun).as_secs_f64(),
        snapshot,
    })
}

struct Restoring<'a> {
    env: &'a Env,
    site: &'a Site,
    snapshot: &'a Snapshot,
    events: &'a Sink,
    stop: &'a CancellationToken,
    lock: &'a Lock,
}

impl Restoring<'_> {
    /// Records what is done next, unless the run is to stop.
    async fn reach(&self, record: &Restore) -> Result<(), OperationError> {
        self.go_on()?;
        self.lock.check().await?;
        Ok(self.site.store.set_restore(Some(record)).await?)
    }

    fn go_on(&self) -> Result<(), OperationError> {
        match self.stop.is_cancelled() {
            true => {
                Err(OperationError::Interrupted("the restore was stopped between two steps; the same command goes on".into()))
            }
            false => Ok(()),
        }
    }

    fn note(&self, text: &str) {
        (self.events)(Event::Note(text.to_owned()));
    }

    fn listener(&self, slot: &str) -> Events {
        let (events, slot) = (Arc::clone(self.events), slot.to_owned());
        Arc::new(move |event: NodeEvent| (events)(Event::Node { slot: slot.clone(), event }))
    }

    async fn on(&self, work: EtcdWork, slot: &str) -> Result<Vec<u8>, OperationError> {
        let done = self.site.nodes.etcd(&work, slot, Arc::clone(&self.site.fleet), self.listener(slot)).await;
        done.map_err(|error| OperationError::Node(Box::new(error)))
    }

    /// The same on every control plane at once; each is waited for, also when another one fails.
    async fn on_all(&self, work: impl Fn(&str) -> EtcdWork) -> Result<(), OperationError> {
        let all = self.site.planes().iter().map(|slot| self.on(work(slot), slot));
        futures::future::join_all(all).await.into_iter().try_for_each(|done| done.map(drop))
    }

    /// One reading of the store feeds all control planes.
    async fn stage(&self, record: &Restore) -> Result<(), OperationError> {
        let name = self.snapshot.id.clone();
        let mut reader = Reader::new(&self.site.store, self.snapshot);
        while let Some((part, bytes)) = reader.next().await.map_err(|trouble| damaged(self.snapshot, trouble))? {
            self.go_on()?;
            self.note(&format!("sending part {part} of {} to the control planes", self.snapshot.parts));
            let bytes = Arc::new(bytes);
            self.on_all(|_| EtcdWork::Write { name: name.clone(), part, bytes: Arc::clone(&bytes) }).await?;
        }
        let machines = self.site.planes().iter().filter_map(|slot| self.site.fleet.machines.get(slot));
        let stage = Stage {
            restore: record.id.clone(),
            name: name.clone(),
            sha256: self.snapshot.sha256.clone(),
            size: self.snapshot.size,
            members: machines.map(|machine| (machine.instance.clone(), machine.private_address.clone())).collect(),
        };
        self.note("making the new data beside the old");
        self.on_all(|_| EtcdWork::Stage(Box::new(stage.clone()))).await
    }

    /// Nodes of machines that are gone are deleted, those that the snapshot lacks are registered, and all get the marks of their groups.
    async fn nodes(&self) -> Result<(Vec<String>, Vec<String>), OperationError> {
        let Some(plane) = self.site.planes().first() else { return Ok((vec![], vec![])) };
        let machines: Vec<_> =
            self.site.fleet.machines.values().filter(|machine| self.role(&machine.slot) != Some(Role::Bastion)).collect();
        let live = machines.iter().map(|machine| machine.instance.clone()).collect();
        let removed = self.on(EtcdWork::Tidy { live }, plane).await?;
        let removed: Vec<String> = String::from_utf8_lossy(&removed).lines().map(|line| line.trim().to_owned()).collect();
        let there = self.seen(plane).await?;
        let there: BTreeSet<&String> = there.iter().map(|(name, _)| name).collect();
        // Of machines that have not joined yet there is nothing to find.
        let joined: Vec<&str> =
            machines.iter().filter(|machine| self.has_joined(&machine.slot)).map(|one| one.slot.as_str()).collect();
        let missing: Vec<&str> = joined.iter().copied().filter(|slot| !there.contains(&self.site.instance(slot))).collect();
        if !missing.is_empty() {
            self.note(&format!("registering {} again", missing.join(", ")));
        }
        let each = futures::stream::iter(joined.iter().map(|slot| async {
            if missing.contains(slot) {
                self.on(EtcdWork::Register, slot).await?;
            }
            let control_plane = self.role(slot) == Some(Role::ControlPlane);
            self.on(EtcdWork::Node { node: self.site.instance(slot), control_plane }, plane).await?;
            self.on(EtcdWork::Labels { of: (*slot).to_owned() }, plane).await.map(drop)
        }));
        let done: Vec<Result<(), OperationError>> = each.buffered(AT_ONCE).collect().await;
        done.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok((removed, missing.into_iter().map(str::to_owned).collect()))
    }

    fn role(&self, slot: &str) -> Option<Role> {
        role(&self.site.fleet, slot)
    }

    fn has_joined(&self, slot: &str) -> bool {
        self.site.state.nodes.get(slot).is_some_and(|node| node.phase.serves())
    }

    /// Names of the Nodes, and whether they are Ready.
    async fn seen(&self, plane: &str) -> Result<Vec<(String, bool)>, OperationError> {
        let said = self.site.nodes.ask(Query::Nodes, plane, Arc::clone(&self.site.fleet)).await;
        let said = said.map_err(|error| OperationError::Node(Box::new(error)))?;
        let nodes = inspect::nodes(&said).map_err(OperationError::Failed)?;
        Ok(nodes.into_iter().map(|node| (node.name, node.ready)).collect())
    }

    /// Waits until the nodes are Ready; gives those that are not.
    async fn settled(&self) -> Vec<String> {
        let Some(plane) = self.site.planes().first() else { return vec![] };
        let deadline = self.env.clock.now() + READY;
        let of = |slot: &&String| self.has_joined(slot) && self.role(slot) != Some(Role::Bastion);
        let joined: Vec<&String> = self.site.fleet.machines.keys().filter(of).collect();
        loop {
            let seen = self.seen(plane).await.unwrap_or_default();
            let ready = |slot: &&String| seen.contains(&(self.site.instance(slot), true));
            let unready: Vec<String> = joined.iter().filter(|slot| !ready(slot)).map(|slot| (*slot).clone()).collect();
            let waits_for_nothing = self.site.state.model.network.cni == Cni::None || self.stop.is_cancelled();
            if unready.is_empty() || waits_for_nothing || self.env.clock.now() >= deadline {
                return unready;
            }
            (self.events)(Event::Waiting { action: "restore".into(), what: format!("{} to be Ready", unready.join(", ")) });
            self.env.clock.wait(BETWEEN_LOOKS).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_minors() {
        assert_eq!(minor("3.6.5-0"), minor("v3.6.1"));
        assert!(minor("3.10.0") > minor("3.6.9") && minor("4.0.0") > minor("3.99.0"));
        assert!(minor("nonsense") > minor("3.6.5") && minor("") > minor("3.6.5"));
    }
}
