//! Where a run writes what it is about to do and what it has learnt.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::recorded::State;

/// A change of the state, to be written by compare-and-swap.
pub type Edit = Box<dyn FnOnce(&mut State) + Send>;

/// The state of one cluster, held by the run that has the lock. An error means that nothing more may be started: another run
/// has taken over, or the store cannot be written.
#[async_trait]
pub trait Record: Send + Sync {
    /// As it is now, without copying it: every call of a run asks for something of it, and it grows with the cluster.
    fn state(&self) -> Arc<State>;
    /// Returns when the edit is durable. Edits made at the same time may share one write.
    async fn update(&self, edit: Edit) -> Result<(), String>;
}

/// Keeps the state in memory: for tests.
pub struct MemoryRecord(Mutex<Arc<State>>);

impl MemoryRecord {
    pub fn new(state: State) -> Self {
        Self(Mutex::new(Arc::new(state)))
    }

    fn lock(&self) -> MutexGuard<'_, Arc<State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Record for MemoryRecord {
    fn state(&self) -> Arc<State> {
        Arc::clone(&self.lock())
    }

    async fn update(&self, edit: Edit) -> Result<(), String> {
        edit(Arc::make_mut(&mut self.lock()));
        Ok(())
    }
}
