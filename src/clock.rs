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

/// Time that tokio counts, from a fixed moment: with tokio's clock paused, a run of minutes takes none.
pub struct VirtualClock {
    begun: tokio::time::Instant,
}

impl VirtualClock {
    /// Needs a tokio runtime.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self { begun: tokio::time::Instant::now() }
    }
}

#[async_trait::async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        // 2026-01-01T00:00:00Z
        Timestamp::from_second(1_767_225_600).unwrap_or_default() + self.begun.elapsed()
    }

    async fn wait(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Ids that count up: the same run gives the same ids.
#[derive(Default)]
pub struct CountingIds(std::sync::atomic::AtomicU64);

impl CountingIds {
    /// From a number on: ids of another run.
    pub fn starting_at(first: u64) -> Self {
        Self(std::sync::atomic::AtomicU64::new(first))
    }
}

impl Ids for CountingIds {
    fn fresh(&self) -> String {
        format!("{:032x}", 0xa000_0000_0000_u64 + self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }
}

/// Ids from the operating system's randomness.
pub struct RandomIds;

impl Ids for RandomIds {
    fn fresh(&self) -> String {
        uuid::Uuid::new_v4().simple().to_string()
    }
}

/// `3.1 s`, `41 s`, `1 min 48 s`, `2 h 5 min`.
pub fn in_words(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "0.0 s".into();
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    // Cannot exceed u64: checked finite, and a run of that length does not exist.
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        let said: Vec<String> = [0.04, 3.12, 9.96, 41.2, 60.0, 108.0, 3600.0, 7500.0].map(in_words).into();
        assert_eq!(said, ["0.0 s", "3.1 s", "10 s", "41 s", "1 min", "1 min 48 s", "1 h", "2 h 5 min"]);
    }
}
