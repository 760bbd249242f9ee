//! Time and randomness as inputs, so that a run can be repeated.

use std::time::Duration;

use jiff::Timestamp;

/// The wall clock and the timer of a run. Waits go through it, so that tests run in virtual time (`tokio::time::pause`).
#[async_trait::async_trait]
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
    async fn wait(&self, duration: Duration);
}

/// Source of ids that must never repeat: attempt ids, client tokens, write ids, cluster uids.
pub trait Ids: Send + Sync {
    /// 32 lower-case hexadecimal characters.
    fn fresh(&self) -> String;
}

/// The machine's own clock.
pub struct SystemClock;

#[async_trait::async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn wait(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Ids from the operating system's randomness.
pub struct RandomIds;

impl Ids for RandomIds {
    fn fresh(&self) -> String {
        uuid::Uuid::new_v4().simple().to_string()
    }
}
