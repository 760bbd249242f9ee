//! Getting the lock of a cluster: at once, after a wait, or from a run that is dead.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::in_words;
use crate::operation::{Env, OperationError};
use crate::store::lock::STALE;
use crate::store::{ClusterStore, Lock, LockStatus, StoreError};

/// Between two looks at a lock that is waited for.
const PAUSE: Duration = Duration::from_secs(3);

/// What a command does about a lock that another run holds.
#[derive(Clone)]
pub struct LockManners {
    /// How long it waits for a holder that lives.
    pub wait: Duration,
    /// Hears of waiting and of taking over, one line each.
    pub tell: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Default for LockManners {
    /// No wait, and nobody is told.
    fn default() -> Self {
        Self { wait: Duration::ZERO, tell: Arc::new(|_| {}) }
    }
}

/// A write of the lock that was seen, and for how long no other one was.
struct Silence {
    seen: LockStatus,
    for_: Duration,
}

impl Env {
    /// Takes the lock. From a run that is dead it is taken over: one whose process is gone from this very machine, or that has been
    /// silent for [`STALE`] by the store's clock. Of a run that lives it is waited for as long as [`LockManners::wait`] says; then, or
    /// when `stop` is cancelled, the error says who holds it.
    async fn acquire(&self, store: &ClusterStore, stop: &CancellationToken) -> Result<Lock, OperationError> {
        let mut waited = Duration::ZERO;
        let mut silence: Option<Silence> = None;
        loop {
            let error = match store.acquire(&self.owner()).await {
                Err(error @ StoreError::Locked { .. }) => error,
                answer => return Ok(answer?),
            };
            let StoreError::Locked { cluster, location, held } = error else { return Err(error.into()) };
            let held = self.seen(*held);
            silence = Some(match silence.take() {
                Some(before) if before.seen.is_same_write(&held) => before,
                _ => Silence { seen: held.clone(), for_: Duration::ZERO },
            });
            // What was waited for counts besides what the clock of the store says: a clock that was set back would keep a dead run alive.
            let watched = silence.as_ref().is_some_and(|silence| silence.for_ >= STALE);
            if held.readable && (held.gone || held.stale || watched) {
                match store.take_over(&self.owner(), &held).await {
                    Ok(lock) => {
                        (self.lock.tell)(&took_over(&held, silence.map(|silence| silence.for_)));
                        return Ok(lock);
                    }
                    // It woke up, or somebody else was faster.
                    Err(StoreError::Locked { .. }) if waited < self.lock.wait => {}
                    Err(StoreError::Locked { cluster, location, held }) => {
                        return Err(StoreError::Locked { cluster, location, held: Box::new(self.seen(*held)) }.into());
                    }
                    Err(error) => return Err(error.into()),
                }
            } else if waited >= self.lock.wait {
                return Err(StoreError::Locked { cluster, location, held: Box::new(held) }.into());
            } else if waited.is_zero() {
                (self.lock.tell)(&format!("waiting for the lock of {}, up to {}", holder(&held), words(self.lock.wait)));
            }
            let pause = PAUSE.min(self.lock.wait.saturating_sub(waited)).max(Duration::from_millis(1));
            tokio::select! {
                () = self.clock.wait(pause) => {}
                // Only while nothing is under way: a write that is dropped may still take the lock.
                () = stop.cancelled() => return Err(StoreError::Locked { cluster, location, held: Box::new(held) }.into()),
            }
            waited += pause;
            if let Some(silence) = &mut silence {
                silence.for_ += pause;
            }
        }
    }

    /// Does this under the lock, with nodes that are touched only while it is held, and releases it whatever comes out.
    pub(super) async fn under_lock<T>(
        &self,
        store: &ClusterStore,
        stop: &CancellationToken,
        work: impl AsyncFnOnce(&Self, &Lock) -> Result<T, OperationError>,
    ) -> Result<T, OperationError> {
        let lock = self.acquire(store, stop).await?;
        let env = Self { hold: Some(lock.hold()), ..self.clone() };
        let result = Box::pin(work(&env, &lock)).await;
        let released = lock.release().await;
        let value = result?;
        released?;
        Ok(value)
    }

    /// A lock as it is seen from this host.
    pub fn seen(&self, mut held: LockStatus) -> LockStatus {
        held.gone = held.here && held.host == self.host && (self.process_exists)(held.pid) == Some(false);
        held
    }
}

/// Stops the run when the lock is lost, and then never ends: what is in flight must still be recorded or refused by the fence.
pub(super) async fn watch_lock(lock: &Lock, stop: CancellationToken) -> Infallible {
    lock.until_broken().await;
    stop.cancel();
    std::future::pending().await
}

fn holder(held: &LockStatus) -> String {
    format!("{} (pid {})", held.by, held.pid)
}

fn words(duration: Duration) -> String {
    in_words(duration.as_secs_f64().round())
}

fn took_over(held: &LockStatus, watched: Option<Duration>) -> String {
    let why = if held.gone {
        "whose process is gone".to_owned()
    } else {
        format!("silent for {}", words(held.heartbeat_age.max(watched.unwrap_or_default())))
    };
    format!("took over the lock of {}, {why}", holder(held))
}
