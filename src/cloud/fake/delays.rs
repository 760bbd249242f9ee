//! EC2's eventual consistency (EC2 developer guide, "Eventual consistency"): a new object is listed, found by its tags and known to
//! other calls only after a while, each object after a while of its own.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::world::{Answer, World, not_found};
use crate::cloud::Scope;
use crate::plan::Change;

/// Longest delays, on tokio's clock; each object's own is drawn between nothing and that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// Until listings of a VPC show it.
    pub listed: Duration,
    /// Until listings by tag show it: the index of tags is another one, and later.
    pub tagged: Duration,
    /// Until other calls may name it.
    pub usable: Duration,
}

/// A number from 0 to 1, the same for the same seed and words.
pub fn draw(seed: u64, words: &[&str]) -> f64 {
    let mut hash = Sha256::new_with_prefix(seed.to_be_bytes());
    for word in words {
        hash.update(word.as_bytes());
        hash.update([0]);
    }
    let bytes = hash.finalize();
    let top = bytes.iter().take(4).fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
    f64::from(top) / f64::from(u32::MAX)
}

impl World {
    /// Whether an object is old enough: `delay` at most, of which it has its own part.
    fn is_older(&self, id: &str, what: &str, delay: Duration) -> bool {
        let Some(born) = self.born.get(id) else { return true };
        let own = delay.mul_f64(draw(self.options.seed, &[what, id]));
        self.time.saturating_sub(*born) >= own
    }

    /// Whether a listing shows the object.
    pub(super) fn shown(&mut self, id: &str, scope: &Scope) -> bool {
        let delays = &self.options.delays;
        let old_enough = match scope {
            Scope::Vpc(_) => self.is_older(id, "listed", delays.listed),
            // Never in the index before the object itself is there.
            Scope::Uid(_) | Scope::Name(_) => {
                !self.untagged.contains(id)
                    && self.is_older(id, "listed", delays.listed)
                    && self.is_older(id, "tagged", delays.tagged)
            }
        };
        let left = self.unseen.get_mut(id);
        match left {
            _ if !old_enough => false,
            None => true,
            Some(left) if *left > 0 => {
                *left -= 1;
                false
            }
            Some(_) => {
                self.unseen.remove(id);
                true
            }
        }
    }

    /// Refuses a call that names an object which is too young for it, as EC2 does.
    pub(super) fn knows_what_it_names(&self, change: &Change) -> Answer<()> {
        if self.options.delays.usable.is_zero() {
            return Ok(());
        }
        let mut change = change.clone();
        let refs = change.refs_mut();
        let ids = refs.iter().filter_map(|reference| reference.known());
        match ids.into_iter().find(|id| !self.is_older(id, "usable", self.options.delays.usable)) {
            Some(young) => Err(not_found(young)),
            None => Ok(()),
        }
    }
}
