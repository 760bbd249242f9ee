//! One cluster in a store: its state, written only by compare-and-swap.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::envelope::{Document, Unreadable};
use super::error::StoreError;
use super::key::is_part;
use super::objects::{Object, Objects, Version};
use super::settle::{Settled, Settler};
use crate::clock::{Clock, Ids};
use crate::recorded::State;

pub(super) const STATE: &str = "state.json";
pub(super) const SPEC: &str = "spec.toml";
pub(super) const REVISIONS: &str = "revisions";
pub(super) const SECRETS: &str = "secrets";
pub(super) const JOURNAL: &str = "journal";

/// Names of the clusters that a store holds, sorted: those with a spec or a state. Of a deleted cluster only the history of
/// its spec is left, which does not count.
pub async fn clusters(objects: &dyn Objects) -> Result<Vec<String>, StoreError> {
    let keys = objects.list("").await.map_err(|error| StoreError::of_object(&objects.location(), error))?;
    let names: BTreeSet<String> = keys
        .iter()
        .filter_map(|key| key.split_once('/'))
        .filter(|(_, rest)| [STATE, SPEC].contains(rest))
        .map(|(name, _)| name.to_owned())
        .collect();
    Ok(names.into_iter().collect())
}

/// The store of one cluster. Cheap to clone.
#[derive(Clone)]
pub struct ClusterStore {
    pub(super) settler: Settler,
    pub(super) cluster: String,
    pub(super) ids: Arc<dyn Ids>,
    writer: String,
}

/// A state as it was read or written last, with what the next write of it must replace.
#[derive(Clone, Debug)]
pub struct Held {
    pub state: State,
    pub(super) version: Option<Version>,
    pub(super) lineage: String,
    pub(super) serial: u64,
    /// Write ids of ours that may or may not have arrived.
    pub(super) unanswered: Vec<String>,
    /// Bytes of the last write; 0 before the first.
    pub(super) size: usize,
}

impl Held {
    /// None until the first save.
    pub fn version(&self) -> Option<&Version> {
        self.version.as_ref()
    }

    pub fn lineage(&self) -> &str {
        &self.lineage
    }

    /// Of the stored state; 0 until the first save.
    pub fn serial(&self) -> u64 {
        self.serial
    }
}

impl ClusterStore {
    /// `writer`: `user@host`, shown to whoever meets this run's writes.
    pub fn new(
        objects: Arc<dyn Objects>,
        cluster: &str,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        writer: &str,
    ) -> Result<Self, StoreError> {
        if !is_part(cluster) {
            return Err(StoreError::Name { name: cluster.into(), what: "cluster" });
        }
        Ok(Self { settler: Settler { objects, clock }, cluster: cluster.into(), ids, writer: writer.into() })
    }

    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    pub(super) fn writer(&self) -> &str {
        &self.writer
    }

    /// Where this cluster's objects are, for messages.
    pub fn location(&self) -> String {
        format!("{}/{}", self.settler.objects.location(), self.cluster)
    }

    /// The recorded state; None where nothing is recorded.
    pub async fn load(&self) -> Result<Option<Held>, StoreError> {
        let Some((document, version)) = self.document().await? else { return Ok(None) };
        let Document { lineage, serial, state, .. } = document;
        Ok(state.map(|state| Held { state, version: Some(version), lineage, serial, unanswered: Vec::new(), size: 0 }))
    }

    /// Prepares the first state of a cluster; nothing is written before [`ClusterStore::save`]. Refused where one is
    /// recorded. Call it with the lock held: a lock that is broken later keeps this state from being saved.
    pub async fn first(&self, state: State) -> Result<Held, StoreError> {
        let unanswered = Vec::new();
        match self.document().await? {
            None => Ok(Held { state, version: None, lineage: self.ids.fresh(), serial: 0, unanswered, size: 0 }),
            Some((Document { state: None, lineage, serial, .. }, version)) => {
                Ok(Held { state, version: Some(version), lineage, serial, unanswered, size: 0 })
            }
            Some((document, _)) => Err(self.lost(document)),
        }
    }

    /// Writes the state if nobody else has since it was read. After [`StoreError::Lost`] and [`StoreError::Gone`] nothing that
    /// is held can be saved any more. After any other error the write may have happened; saving again is safe.
    pub async fn save(&self, held: &mut Held) -> Result<(), StoreError> {
        if held.state.cluster != self.cluster {
            return Err(self.unreadable(Unreadable::OtherCluster(held.state.cluster.clone())));
        }
        loop {
            let bytes = self.render(&held.lineage, held.serial + 1, Some(&held.state), &mut held.unanswered)?;
            held.size = bytes.len();
            match self.settler.write(&self.key(STATE), &bytes, held.version.as_ref()).await? {
                Settled::Done(version) => {
                    held.version = Some(version);
                    held.serial += 1;
                    held.unanswered.clear();
                    return Ok(());
                }
                Settled::Other(found) => self.adopt(held, found)?,
            }
        }
    }

    /// What a fence replaces: the state that is there, or that none is. `Err(Unreadable)`: damaged, which nobody can save upon.
    pub(super) async fn fence_base(&self) -> Result<Result<Option<(Document, Version)>, Unreadable>, StoreError> {
        match self.document().await {
            Ok(found) => Ok(Ok(found)),
            Err(StoreError::State { why, .. }) if why.is_damage() => Ok(Err(why)),
            Err(error) => Err(error),
        }
    }

    /// Writes the state again as it is, with a serial and a write id of its own, so that whoever holds it can save nothing; `false`
    /// where somebody was faster. Where nothing is recorded, that nothing is written.
    pub(super) async fn bump(&self, base: Option<(Document, Version)>) -> Result<bool, StoreError> {
        let (base, bytes) = match base {
            None => (None, self.render(&self.ids.fresh(), 1, None, &mut Vec::new())?),
            Some((document, version)) => {
                let bytes = self.render(&document.lineage, document.serial + 1, document.state.as_ref(), &mut Vec::new())?;
                (Some(version), bytes)
            }
        };
        Ok(matches!(self.settler.write(&self.key(STATE), &bytes, base.as_ref()).await?, Settled::Done(_)))
    }

    /// Goes on from a write of ours whose answer never came. Anything else means that the state is somebody else's now.
    pub(super) fn adopt(&self, held: &mut Held, found: Option<Object>) -> Result<(), StoreError> {
        let Some(object) = found else { return Err(self.gone()) };
        let document = self.read(&object)?;
        if !held.unanswered.contains(&document.write_id) {
            return Err(self.lost(document));
        }
        held.version = Some(object.version);
        held.serial = document.serial;
        Ok(())
    }

    pub(super) fn render(
        &self,
        lineage: &str,
        serial: u64,
        state: Option<&State>,
        unanswered: &mut Vec<String>,
    ) -> Result<Vec<u8>, StoreError> {
        let write_id = self.ids.fresh();
        // Before the write, so that a future dropped in the middle of it leaves the id here.
        unanswered.push(write_id.clone());
        Document::new(&self.cluster, lineage, serial, write_id, self.settler.clock.now(), &self.writer, state)
            .render()
            .map_err(|error| StoreError::Failed { location: self.place(STATE), message: error.to_string() })
    }

    pub(super) async fn document(&self) -> Result<Option<(Document, Version)>, StoreError> {
        let Some(object) = self.settler.read(&self.key(STATE)).await? else { return Ok(None) };
        match self.read(&object) {
            Ok(document) => Ok(Some((document, object.version))),
            Err(StoreError::State { cluster, location, why, .. }) if why.is_damage() => {
                Err(StoreError::State { cluster, location, why, earlier: self.last_good().await })
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn read(&self, object: &Object) -> Result<Document, StoreError> {
        Document::read(&object.bytes, &self.cluster).map_err(|why| self.unreadable(why))
    }

    pub(super) fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.cluster)
    }

    pub(super) fn place(&self, name: &str) -> String {
        format!("{}/{name}", self.location())
    }

    fn unreadable(&self, why: Unreadable) -> StoreError {
        StoreError::State { cluster: self.cluster.clone(), location: self.place(STATE), why, earlier: None }
    }

    fn gone(&self) -> StoreError {
        StoreError::Gone { cluster: self.cluster.clone(), location: self.place(STATE) }
    }

    pub(super) fn lost(&self, to: Document) -> StoreError {
        StoreError::Lost { cluster: self.cluster.clone(), location: self.place(STATE), by: to.writer, when: to.written }
    }

    pub(super) fn lost_to(&self, found: Option<Object>) -> StoreError {
        match found.map(|object| self.read(&object)) {
            None => self.gone(),
            Some(Ok(document)) => self.lost(document),
            Some(Err(error)) => error,
        }
    }
}
