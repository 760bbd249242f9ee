//! The end of a cluster's record.

use super::aside::DAMAGED;
use super::cluster::{ClusterStore, Held, JOURNAL, REVISIONS, SECRETS, SPEC, STATE};
use super::envelope::Document;
use super::error::StoreError;
use super::lock::LOCK;
use super::objects::Version;
use super::settle::Settled;
use super::snapshots::ETCD;

impl ClusterStore {
    /// Ends the record of a cluster whose resources are gone: state, secrets, journal and spec; with `keep_history` the
    /// revisions and the snapshots of etcd stay. `held` is the state that this run has loaded or saved; one that somebody else wrote is not removed, nor
    /// anything else then. The lock stays until it is released. What an interruption leaves is taken away by the next call.
    ///
    /// Of a run that is paused in the middle, and whose lock is taken over, nothing of the next cluster of that name falls victim:
    /// each object goes only as it was while the empty state of this call was still there.
    pub async fn forget(&self, held: Option<&Held>, keep_history: bool) -> Result<(), StoreError> {
        let grave = self.bury(held).await?;
        let mut keys = Vec::new();
        for folder in [SECRETS, JOURNAL] {
            keys.extend(self.settler.list(&self.key(folder)).await?);
        }
        if !keep_history {
            for folder in [REVISIONS, DAMAGED, ETCD] {
                keys.extend(self.settler.list(&self.key(folder)).await?);
            }
        }
        keys.push(self.key(SPEC));
        for key in keys {
            let Some(object) = self.settler.read(&key).await? else { continue };
            // After the object was read: what a later holder of the lock makes has another version.
            self.check(&grave).await?;
            if let Settled::Other(Some(_)) = self.settler.remove(&key, &object.version).await? {
                self.check(&grave).await?;
                self.settler.discard(&key).await?;
            }
        }
        // Last: until then the cluster is listed, and an interrupted delete can be run again.
        match self.settler.remove(&self.key(STATE), &grave).await? {
            Settled::Done(()) => Ok(()),
            Settled::Other(found) => Err(self.lost_to(found)),
        }
    }

    /// Whether more than the history of its spec is left of a cluster that has no state: a delete that died as its last deeds leaves its lock.
    pub async fn has_remains(&self) -> Result<bool, StoreError> {
        for key in [STATE, SPEC, LOCK] {
            if self.settler.read(&self.key(key)).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(!self.settler.list(&self.key(SECRETS)).await?.is_empty())
    }

    /// Replaces the state by one that records nothing: from then on a run that held it can save nothing.
    async fn bury(&self, held: Option<&Held>) -> Result<Version, StoreError> {
        let Some(held) = held else {
            let (lineage, serial, base) = match self.document().await? {
                None => (self.ids.fresh(), 0, None),
                Some((Document { state: None, lineage, serial, .. }, version)) => (lineage, serial, Some(version)),
                Some((document, _)) => return Err(self.lost(document)),
            };
            let bytes = self.render(&lineage, serial + 1, None, &mut Vec::new())?;
            return match self.settler.write(&self.key(STATE), &bytes, base.as_ref()).await? {
                Settled::Done(version) => Ok(version),
                Settled::Other(found) => Err(self.lost_to(found)),
            };
        };
        let mut held = held.clone();
        loop {
            let bytes = self.render(&held.lineage, held.serial + 1, None, &mut held.unanswered)?;
            match self.settler.write(&self.key(STATE), &bytes, held.version.as_ref()).await? {
                Settled::Done(version) => return Ok(version),
                Settled::Other(found) => self.adopt(&mut held, found)?,
            }
        }
    }

    async fn check(&self, grave: &Version) -> Result<(), StoreError> {
        match self.settler.read(&self.key(STATE)).await? {
            Some(object) if object.version == *grave => Ok(()),
            found => Err(self.lost_to(found)),
        }
    }
}
