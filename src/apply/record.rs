//! Where a run writes what it is about to do and what it has learnt.

use async_trait::async_trait;

use crate::recorded::State;

/// A change of the state, to be written by compare-and-swap.
pub type Edit = Box<dyn FnOnce(&mut State) + Send>;

/// The state of one cluster, held by the run that has the lock. An error means that nothing more may be started: another run
/// has taken over, or the store cannot be written.
#[async_trait]
pub trait Record: Send + Sync {
    fn state(&self) -> State;
    /// Returns when the edit is durable. Edits made at the same time may share one write.
    async fn update(&self, edit: Edit) -> Result<(), String>;
}

/// Keeps the state in memory: for tests.
pub struct MemoryRecord(std::sync::Mutex<State>);

impl MemoryRecord {
    pub fn new(state: State) -> Self {
        Self(std::sync::Mutex::new(state))
    }
}

#[async_trait]
impl Record for MemoryRecord {
    fn state(&self) -> State {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    async fn update(&self, edit: Edit) -> Result<(), String> {
        edit(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        Ok(())
    }
}
