//! The state during a run: many tasks record, few writes are made, and a run that has lost the state can record nothing.

use std::sync::{Mutex as Short, MutexGuard, PoisonError};

use tokio::sync::Mutex;

use super::cluster::{ClusterStore, Held};
use super::error::StoreError;
use crate::recorded::State;

/// Serialises updates of one state. While a save is on its way, further updates queue up and go into the next one together.
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
    state: State,
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
}

impl Recorder {
    /// `held` from [`ClusterStore::load`] or [`ClusterStore::first`].
    pub fn new(store: ClusterStore, held: Held) -> Self {
        let queue = Queue { state: held.state.clone(), applied: 0, fence: None };
        Self { store, queue: Short::new(queue), saving: Mutex::new(Saving { held, saved: 0, failed: None }) }
    }

    /// Applies `change` to the state and returns once that is stored. Do not act on the result of `change` before.
    pub async fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        let (made, ticket) = {
            let mut queue = self.queue();
            if let Some(error) = &queue.fence {
                return Err(error.clone());
            }
            let made = change(&mut queue.state);
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
    pub fn state(&self) -> State {
        self.queue().state.clone()
    }

    /// Looks at the state without copying it; `look` must be short.
    pub fn view<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.queue().state)
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
