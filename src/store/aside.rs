//! A damaged state is put aside, never lost.

use super::cluster::{ClusterStore, STATE};
use super::error::StoreError;
use super::settle::Settled;

pub(super) const DAMAGED: &str = "damaged";

impl ClusterStore {
    /// Moves what stands where the state should be into the folder `damaged` and says where it is now; `None`: nothing is there.
    /// Whoever held the old state can save nothing afterwards.
    pub async fn set_aside(&self) -> Result<Option<String>, StoreError> {
        let Some(object) = self.settler.read(&self.key(STATE)).await? else { return Ok(None) };
        let name = format!("{DAMAGED}/{}.json", self.ids.fresh());
        self.settler.write(&self.key(&name), &object.bytes, None).await?;
        match self.settler.remove(&self.key(STATE), &object.version).await? {
            Settled::Done(()) | Settled::Other(None) => Ok(Some(self.place(&name))),
            Settled::Other(found) => Err(self.lost_to(found)),
        }
    }
}
