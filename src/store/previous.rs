//! States that were replaced: what is offered when the present one is damaged.

use jiff::Timestamp;

use super::cluster::{ClusterStore, STATE};
use super::envelope::{Document, Unreadable};
use super::error::StoreError;
use super::settle::Settled;

/// How many replaced states are looked at.
const LOOKED_AT: usize = 10;

/// A whole state that another one has replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    pub serial: u64,
    /// By its writer's clock.
    pub written: Timestamp,
    /// `user@host`.
    pub writer: String,
}

impl ClusterStore {
    /// Whole states that were replaced, the newest first, as far as the store keeps them: a folder keeps one, a bucket with versioning
    /// all of them, of which the newest ten are looked at. Reads only.
    pub async fn earlier_states(&self) -> Result<Vec<Earlier>, StoreError> {
        Ok(self.whole().await?.into_iter().map(|(_, document)| Earlier::of(&document)).collect())
    }

    /// Puts the newest whole state in the place of one that is damaged or gone, and returns which it was. A state that can be read, is of
    /// a newer kubewright or of another cluster stays. What was recorded after the restored one is missing in it: the resources are found
    /// by their tags. Call it with the lock held.
    pub async fn restore_previous(&self) -> Result<Earlier, StoreError> {
        let there = self.settler.read(&self.key(STATE)).await?;
        if let Some(object) = &there {
            match self.read(object) {
                Ok(Document { state: Some(_), serial, .. }) => {
                    let message = format!("it is whole (serial {serial}): there is nothing to restore");
                    return Err(StoreError::Failed { location: self.place(STATE), message });
                }
                Err(error @ StoreError::State { why: Unreadable::Newer(_) | Unreadable::OtherCluster(_), .. }) => {
                    return Err(error);
                }
                Ok(_) | Err(_) => {}
            }
        }
        let Some((newer, document)) = self.whole().await?.into_iter().next() else {
            let message = "no earlier state is kept here; put one back from a backup".into();
            return Err(StoreError::Failed { location: self.place(STATE), message });
        };
        let earlier = Earlier::of(&document);
        // Past the serials of those that it goes back behind.
        let serial = document.serial.saturating_add(2 + newer);
        let bytes = self.render(&document.lineage, serial, document.state.as_ref(), &mut Vec::new())?;
        let base = there.map(|object| object.version);
        match self.settler.write(&self.key(STATE), &bytes, base.as_ref()).await? {
            Settled::Done(_) => Ok(earlier),
            Settled::Other(found) => Err(self.lost_to(found)),
        }
    }

    /// For an error that has enough to tell already: what cannot be read is not offered.
    pub(super) async fn last_good(&self) -> Option<Box<Earlier>> {
        self.earlier_states().await.ok()?.into_iter().next().map(Box::new)
    }

    /// With the number of replaced ones that are newer.
    async fn whole(&self) -> Result<Vec<(u64, Document)>, StoreError> {
        let replaced = self.settler.history(&self.key(STATE), LOOKED_AT).await?;
        let read = (0..).zip(&replaced).filter_map(|(newer, object)| Some((newer, self.read(object).ok()?)));
        Ok(read.filter(|(_, document)| document.state.is_some()).collect())
    }
}

impl Earlier {
    fn of(document: &Document) -> Self {
        Self { serial: document.serial, written: document.written, writer: document.writer.clone() }
    }
}
