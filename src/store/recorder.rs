//! The state during a run: many tasks record, few writes are made, and a run that has lost the state can record nothing.

use std::sync::{Arc, Mutex as Short, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;

use super::cluster::{ClusterStore, Held};
use super::error::StoreError;
use crate::recorded::State;

/// After a save the next one waits as long as the bytes of that one take at this rate. Each save writes the whole state, and the larger a
/// cluster, the more there is to record: without this a run writes by the square of its nodes.
const BYTES_PER_SECOND: usize = 1 << 20;
/// States up to this size (some 40 nodes) are saved as soon as there is something to save.
const SMALL: usize = 64 << 10;
/// No update waits longer than this for others.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Serialises updates of one state. While a save is on its way, further updates queue up and go into the next one together; a large
/// state is also left alone for a while after a save began, and what is updated meanwhile goes into one save too.
///
/// Invariants: an update has returned `Ok` only if a state that contains it is stored. After an error that means that the
/// state is somebody else's ([`StoreError::is_fenced`]) every update fails at once: a run that records before it acts
/// starts nothing more. After other errors (no answer, disk full) later updates are tried, and carry the failed ones along.
pub struct Recorder {
    store: ClusterStore,
    queue: Short<Queue>,
    saving: Mutex<Saving>,
}

struct Queue {
    /// Copied by an update only while somebody looks at it.
    state: Arc<State>,
    /// Number of updates that `state` contains.
    applied: u64,
    fence: Option<StoreError>,
}

struct Saving {
    held: Held,
    /// Number of updates that the stored state contains.
    saved: u64,
    /// The last save that failed: how many updates it contained, and why.
    failed: Option<(u64, StoreError)>,
    /// When the last save began, whatever became of it.
    begun: Option<Timestamp>,
}

/// How long to wait before a save, where the last one wrote so many bytes. Counted from when that began, so that an update after a quiet
/// while waits for nobody.
fn pause(bytes: usize, begun: Timestamp, now: Timestamp) -> Duration {
    if bytes <= SMALL {
        return Duration::ZERO;
    }
    // By a clock that was set back it has not begun yet.
    let since = Duration::try_from(now.duration_since(begun)).unwrap_or_default();
    Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND as f64).min(LONGEST_PAUSE).saturating_sub(since)
}

impl Recorder {
    /// `held` from [`ClusterStore::load`] or [`ClusterStore::first`].
    pub fn new(store: ClusterStore, held: Held) -> Self {
        let queue = Queue { state: Arc::new(held.state.clone()), applied: 0, fence: None };
        Self { store, queue: Short::new(queue), saving: Mutex::new(Saving { held, saved: 0, failed: None, begun: None }) }
    }

    /// Applies `change` to the state and returns once that is stored. Do not act on the result of `change` before.
    pub async fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        let (made, ticket) = {
            let mut queue = self.queue();
            if let Some(error) = &queue.fence {
                return Err(error.clone());
            }
            let made = change(Arc::make_mut(&mut queue.state));
            queue.applied += 1;
            (made, queue.applied)
        };
        let mut saving = self.saving.lock().await;
        if saving.saved >= ticket {
            return Ok(made);
        }
        // Whoever waited while a save that contained its update failed shares that failure, instead of trying once each.
        if let Some((last, error)) = &saving.failed
            && *last >= ticket
        {
            return Err(error.clone());
        }
        let clock = &self.store.settler.clock;
        if let Some(begun) = saving.begun {
            let pause = pause(saving.held.size, begun, clock.now());
            if !pause.is_zero() {
                clock.wait(pause).await;
            }
        }
        saving.begun = Some(clock.now());
        let last = {
            let queue = self.queue();
            if let Some(error) = &queue.fence {
                return Err(error.clone());
            }
            saving.held.state.clone_from(&queue.state);
            queue.applied
        };
        match self.store.save(&mut saving.held).await {
            Ok(()) => {
                saving.saved = last;
                saving.failed = None;
                Ok(made)
            }
            Err(error) => {
                saving.failed = Some((last, error.clone()));
                if error.is_fenced() {
                    self.queue().fence = Some(error.clone());
                }
                Err(error)
            }
        }
    }

    /// The state with all updates so far, stored or on their way.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.queue().state)
    }

    /// Whether this run has lost the state to somebody else.
    pub fn fence(&self) -> Option<StoreError> {
        self.queue().fence.clone()
    }

    /// What is stored, once the save that is on its way has ended: for [`ClusterStore::forget`].
    pub async fn held(&self) -> Held {
        self.saving.lock().await.held.clone()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_save_waits_in_proportion_to_the_last_one() {
        let begun = Timestamp::UNIX_EPOCH;
        let after = |bytes, millis| pause(bytes, begun, begun + Duration::from_millis(millis)).as_millis();
        assert_eq!([0, 1, SMALL].map(|bytes| after(bytes, 0)), [0; 3], "small states are saved at once");
        assert_eq!(after(256 << 10, 0), 250);
        assert_eq!(after(256 << 10, 100), 150, "what the last save took counts");
        assert_eq!(after(256 << 10, 10_000), 0, "after a quiet while nobody waits");
        assert_eq!(after(1 << 30, 0), LONGEST_PAUSE.as_millis());
        assert_eq!(pause(256 << 10, begun + Duration::from_hours(1), begun).as_millis(), 250, "the clock was set back");
    }
}
