//! etcd: how it is, snapshots of it in the store, and putting one back.

mod before;
mod restore;
mod save;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::apply::{NodeInputs, fleet_of};
use crate::bootstrap::inspect::{self, EtcdStatus, Query};
use crate::bootstrap::{Fleet, Nodes};
use crate::cloud::Scope;
use crate::cluster::{KubernetesVersion, Role};
use crate::digest::hex;
use crate::operation::OperationError;
use crate::operation::keys::stored_pki;
use crate::operation::rolling::addresses;
use crate::operation::session::Env;
use crate::recorded::State;
use crate::store::{ClusterStore, Listed, Restore, Snapshot};

pub(in crate::operation) use before::saving_nodes;
pub use restore::{RestorePlan, RestoreReport, apply_restore, prepare_restore};
pub use save::{SnapshotReport, etcd_snapshot};

/// How etcd is.
#[derive(Debug, Serialize)]
pub struct EtcdReport {
    pub cluster: String,
    #[serde(flatten)]
    pub etcd: EtcdStatus,
    /// By slot, why a control plane did not say anything.
    pub silent: BTreeMap<String, String>,
    /// The newest usable snapshot of this cluster.
    pub newest: Option<Snapshot>,
    /// A restore that has not ended.
    pub restore: Option<Restore>,
}

/// The snapshots of a cluster.
#[derive(Debug)]
pub struct SnapshotList {
    pub cluster: String,
    pub uid: String,
    /// The oldest first.
    pub snapshots: Vec<Listed>,
    pub location: String,
    pub restore: Option<Restore>,
}

/// A cluster whose etcd is worked on.
struct Site {
    store: ClusterStore,
    state: State,
    nodes: Arc<dyn Nodes>,
    /// Of machines that live.
    fleet: Arc<Fleet>,
    /// Live control planes that have not joined, or are about to leave.
    unready: Vec<String>,
}

impl Site {
    async fn open(env: &Env, name: Option<&str>) -> Result<Self, OperationError> {
        let name = env.name(name).await?;
        let (store, held) = env.held(&name).await?;
        let state = held.state;
        let cloud = env.cloud_of(&state).await?;
        let instances = cloud.instances(&Scope::Uid(state.uid.clone())).await?;
        let pki = stored_pki(&store).await?.ok_or(OperationError::NoKeys { cluster: name })?;
        let inputs = NodeInputs { cluster: state.model.clone(), pki, in_place: false };
        let mut fleet = fleet_of(&state, &inputs, &addresses(&instances));
        let live: BTreeSet<&str> = instances.iter().filter(|one| one.is_live()).map(|one| one.id.as_str()).collect();
        fleet.machines.retain(|_, machine| live.contains(machine.instance.as_str()));
        let there: BTreeSet<String> = fleet.machines.keys().cloned().collect();
        fleet.ready_control_planes.retain(|slot| there.contains(slot));
        let planes = fleet.machines.values().filter(|machine| role(&fleet, &machine.slot) == Some(Role::ControlPlane));
        let unready = planes.map(|machine| machine.slot.clone()).filter(|slot| !fleet.ready_control_planes.contains(slot));
        let unready = unready.collect();
        Ok(Self { store, state, nodes: env.nodes(cloud), fleet: Arc::new(fleet), unready })
    }

    fn planes(&self) -> &[String] {
        &self.fleet.ready_control_planes
    }

    fn instance(&self, slot: &str) -> String {
        self.fleet.machines.get(slot).map(|machine| machine.instance.clone()).unwrap_or_default()
    }

    /// The newest Kubernetes that writes into etcd: in the middle of an upgrade not that of the spec.
    async fn version(&self) -> KubernetesVersion {
        let asked = self.planes().iter().map(|slot| self.nodes.ask(Query::Version, slot, Arc::clone(&self.fleet)));
        let said = futures::future::join_all(asked).await.into_iter().flatten();
        said.filter_map(|json| inspect::version(&json)).max().unwrap_or(self.state.model.kubernetes)
    }

    /// Asks every control plane.
    async fn status(&self) -> (EtcdStatus, BTreeMap<String, String>) {
        let asked = self
            .planes()
            .iter()
            .map(|slot| async move { (slot.clone(), self.nodes.ask(Query::EtcdStatus, slot, Arc::clone(&self.fleet)).await) });
        let (mut said, mut silent) = (vec![], BTreeMap::new());
        for (slot, answer) in futures::future::join_all(asked).await {
            match answer {
                Ok(text) if text.lines().any(|line| line.starts_with("local [{")) => said.push((slot, text)),
                Ok(_) => drop(silent.insert(slot, "etcd does not answer on it".to_owned())),
                Err(error) => drop(silent.insert(slot, error.cause)),
            }
        }
        let slots = self.fleet.machines.values().map(|machine| (machine.instance.clone(), machine.slot.clone())).collect();
        (EtcdStatus::parse(&said, &slots), silent)
    }
}

fn role(fleet: &Fleet, slot: &str) -> Option<Role> {
    fleet.group_of(fleet.machines.get(slot)?).map(|group| group.role)
}

/// Looks, and changes nothing.
pub async fn etcd_status(env: &Env, name: Option<&str>) -> Result<EtcdReport, OperationError> {
    let site = Site::open(env, name).await?;
    let ((etcd, silent), listed, restore) = futures::join!(site.status(), site.store.snapshots(), site.store.restore());
    let newest = newest(listed?, &site.state.uid);
    Ok(EtcdReport { cluster: site.state.cluster.clone(), etcd, silent, newest, restore: restore? })
}

/// Reads the store alone.
pub async fn etcd_snapshots(env: &Env, name: Option<&str>) -> Result<SnapshotList, OperationError> {
    let name = env.name(name).await?;
    let (store, held) = env.held(&name).await?;
    let (snapshots, restore) = (store.snapshots().await?, store.restore().await?);
    Ok(SnapshotList { cluster: name, uid: held.state.uid, snapshots, location: format!("{}/etcd", store.location()), restore })
}

pub(in crate::operation) fn newest(listed: Vec<Listed>, uid: &str) -> Option<Snapshot> {
    listed.into_iter().filter_map(|listed| listed.snapshot.ok()).rfind(|snapshot| snapshot.uid == uid)
}

/// Reads a stored snapshot part by part, and compares it with its description at the end.
struct Reader<'a> {
    store: &'a ClusterStore,
    snapshot: &'a Snapshot,
    part: u32,
    size: u64,
    digest: Sha256,
}

impl<'a> Reader<'a> {
    fn new(store: &'a ClusterStore, snapshot: &'a Snapshot) -> Self {
        Self { store, snapshot, part: 0, size: 0, digest: Sha256::new() }
    }

    /// The next part with its number; `None` after the last, when all of it was as it should be. `Err(Ok(why))`: it is damaged.
    async fn next(&mut self) -> Result<Option<(u32, Vec<u8>)>, Result<String, OperationError>> {
        if self.part == self.snapshot.parts {
            let sum = hex(self.digest.clone().finalize());
            return match (self.size == self.snapshot.size, sum == self.snapshot.sha256) {
                (true, true) => Ok(None),
                (false, _) => Err(Ok(format!("it has {} bytes, its description says {}", self.size, self.snapshot.size))),
                (_, false) => Err(Ok(format!("its checksum is {sum}, its description says {}", self.snapshot.sha256))),
            };
        }
        self.part += 1;
        let read = self.store.part(&self.snapshot.id, self.part).await.map_err(|error| Err(error.into()))?;
        let bytes = read.ok_or_else(|| Ok(format!("part {} of {} is gone", self.part, self.snapshot.parts)))?;
        self.size += bytes.len() as u64;
        self.digest.update(&bytes);
        Ok(Some((self.part, bytes)))
    }

    /// Reads all of it.
    async fn check(mut self) -> Result<(), Result<String, OperationError>> {
        while self.next().await?.is_some() {}
        Ok(())
    }
}
