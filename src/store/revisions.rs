//! The revisions of a cluster's spec: numbered, never changed.

use super::cluster::{ClusterStore, REVISIONS, SPEC};
use super::error::StoreError;
use super::lock::Lock;
use super::objects::ObjectError;
use super::settle::Settled;

/// How often a number is tried again because somebody else took it.
const RACES: u32 = 20;

impl ClusterStore {
    /// [`ClusterStore::add_revision`] and [`ClusterStore::set_spec`] in one.
    pub async fn register(&self, spec: &[u8]) -> Result<u32, StoreError> {
        let number = self.add_revision(spec).await?;
        self.set_spec(None).await?;
        Ok(number)
    }

    /// Stores a spec as the next revision and returns its number, from 1. A spec equal to the newest revision gets no new
    /// number, so adding it again after an interruption is safe.
    pub async fn add_revision(&self, spec: &[u8]) -> Result<u32, StoreError> {
        for _ in 0..RACES {
            let (number, is_there) = self.number_of(spec).await?;
            if is_there {
                return Ok(number);
            }
            if let Settled::Done(_) = self.settler.write(&self.revision_key(number), spec, None).await? {
                return Ok(number);
            }
        }
        Err(self.crowded(REVISIONS))
    }

    /// The number that registering a spec would give it, and whether it has it already. Reads only.
    pub async fn number_of(&self, spec: &[u8]) -> Result<(u32, bool), StoreError> {
        let newest = self.revisions().await?.last().copied().unwrap_or(0);
        if newest > 0 && self.revision(newest).await? == spec {
            return Ok((newest, true));
        }
        Ok((newest.saturating_add(1), false))
    }

    /// The spec of a revision, byte for byte.
    pub async fn revision(&self, number: u32) -> Result<Vec<u8>, StoreError> {
        match self.settler.read(&self.revision_key(number)).await? {
            Some(object) => Ok(object.bytes),
            None => {
                let newest = self.revisions().await?.last().copied();
                Err(StoreError::NoRevision { cluster: self.cluster.clone(), number, newest })
            }
        }
    }

    /// The registered spec with its number; None where none is registered, also after the cluster was deleted.
    pub async fn latest(&self) -> Result<Option<(u32, Vec<u8>)>, StoreError> {
        if self.settler.read(&self.key(SPEC)).await?.is_none() {
            return Ok(None);
        }
        match self.revisions().await?.last() {
            Some(newest) => Ok(Some((*newest, self.revision(*newest).await?))),
            None => Ok(None),
        }
    }

    /// Numbers of the revisions, ascending; they outlive the cluster unless it was purged.
    pub async fn revisions(&self) -> Result<Vec<u32>, StoreError> {
        let folder = format!("{}/", self.key(REVISIONS));
        let mut numbers: Vec<u32> = self
            .settler
            .list(&folder)
            .await?
            .iter()
            .filter_map(|key| key.strip_prefix(&folder)?.strip_suffix(".toml")?.parse().ok())
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Makes `spec.toml` the newest revision. A slower run of an older one cannot undo that: it compares and swaps too. After the
    /// state was saved, and with the lock, which is looked at before each write: a run that has lost them must not bring back the spec of a
    /// cluster that is deleted.
    pub async fn set_spec(&self, lock: Option<&Lock>) -> Result<(), StoreError> {
        for _ in 0..RACES {
            // Read before the revisions are: a swap then never replaces a spec that is newer than the one it writes.
            let there = self.settler.read(&self.key(SPEC)).await?;
            let newest = self.revisions().await?.last().copied().unwrap_or(0);
            let spec = self.revision(newest).await?;
            if there.as_ref().is_some_and(|object| object.bytes == spec) {
                return Ok(());
            }
            if let Some(lock) = lock {
                lock.check().await?;
            }
            let base = there.map(|object| object.version);
            if let Settled::Done(_) = self.settler.write(&self.key(SPEC), &spec, base.as_ref()).await? {
                return Ok(());
            }
        }
        Err(self.crowded(SPEC))
    }

    fn revision_key(&self, number: u32) -> String {
        self.key(&format!("{REVISIONS}/{number:04}.toml"))
    }

    fn crowded(&self, name: &str) -> StoreError {
        self.settler.error(ObjectError::Conflict { key: self.key(name) })
    }
}
