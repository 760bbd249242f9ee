//! Staying below AWS's limits: a token bucket for each API, refilled as AWS refills its own, and slower after a throttle.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::cloud::Calls;
use crate::cloud::calls::{self, Call, Kind, Service};

/// A bucket: how many calls at once, and how many more each second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub burst: f64,
    pub per_second: f64,
}

/// `RunInstances`: the request bucket is 5 and 2/s, the resource bucket 1,000 instances and 2/s, one instance per request here
/// (EC2 developer guide, "Request throttling for the Amazon EC2 API").
pub const RUN_INSTANCES: Rate = Rate { burst: 5.0, per_second: 2.0 };
/// Mutating actions without a bucket of their own (same page).
pub const CHANGES: Rate = Rate { burst: 50.0, per_second: 5.0 };
/// Describe actions that filter and page (same page).
pub const READS: Rate = Rate { burst: 100.0, per_second: 20.0 };
/// Describe actions without filter and page, and actions for one object (same page).
pub const UNFILTERED_READS: Rate = Rate { burst: 50.0, per_second: 10.0 };
/// Route 53: one bucket for the whole account since 2026-07-30 (Route 53 developer guide, "Quotas": throttling of API requests).
pub const ROUTE_53: Rate = Rate { burst: 50.0, per_second: 10.0 };
/// Not published; called once a run.
pub const STS: Rate = Rate { burst: 50.0, per_second: 50.0 };

/// The bucket of a call: its name, and its size.
pub fn bucket(call: &Call) -> (&'static str, Rate) {
    let unfiltered = [calls::DESCRIBE_AVAILABILITY_ZONES.action, calls::GET_CONSOLE_OUTPUT.action];
    match (call.service, call.kind) {
        (Service::Route53, _) => ("Route 53", ROUTE_53),
        (Service::Sts | Service::S3, _) => (call.action, STS),
        (Service::Ec2, Kind::Change) if call.action == calls::RUN_INSTANCES.action => (call.action, RUN_INSTANCES),
        (Service::Ec2, Kind::Change) => (call.action, CHANGES),
        (Service::Ec2, Kind::Read) if unfiltered.contains(&call.action) => (call.action, UNFILTERED_READS),
        (Service::Ec2, Kind::Read) => (call.action, READS),
    }
}

/// A throttle halves the rate, down to this part of it.
const SLOWEST: f64 = 1.0 / 16.0;

struct Bucket {
    rate: Rate,
    /// Below zero: calls that wait already.
    tokens: f64,
    /// 1 for the full rate.
    speed: f64,
    filled: Instant,
}

impl Bucket {
    /// Adds what has come since the last look; always before the speed changes.
    fn refill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + since * self.rate.per_second * self.speed).min(self.rate.burst);
        self.filled = now;
    }

    /// Takes a token and says how long to wait for it; callers wait in the order of their calls.
    fn take(&mut self) -> Duration {
        self.tokens -= 1.0;
        let missing = (-self.tokens).max(0.0);
        Duration::from_secs_f64(missing / (self.rate.per_second * self.speed))
    }
}

/// The pace of one account and region, and the count of its calls.
#[derive(Default)]
pub struct Pace {
    buckets: Mutex<HashMap<&'static str, Bucket>>,
    /// Route 53 refuses a batch while another one of the same zone is in work (`PriorRequestNotComplete`).
    zones: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    reads: AtomicU64,
    changes: AtomicU64,
    throttled: AtomicU64,
}

impl Pace {
    /// The call's bucket, refilled.
    fn with<T>(&self, call: &Call, use_it: impl FnOnce(&mut Bucket) -> T) -> T {
        let (name, rate) = bucket(call);
        let now = Instant::now();
        let mut buckets: MutexGuard<'_, _> = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(name).or_insert(Bucket { rate, tokens: rate.burst, speed: 1.0, filled: now });
        bucket.refill(now);
        use_it(bucket)
    }

    /// Waits for the call's turn and counts it.
    pub async fn turn(&self, call: &Call) {
        let wait = self.with(call, Bucket::take);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let counter = if call.is_change() { &self.changes } else { &self.reads };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// AWS said "too fast": its bucket is empty, so ours is too, and refills at half the speed.
    pub fn throttled(&self, call: &Call) {
        self.throttled.fetch_add(1, Ordering::Relaxed);
        self.with(call, |bucket| {
            bucket.tokens = bucket.tokens.min(0.0);
            bucket.speed = (bucket.speed / 2.0).max(SLOWEST);
        });
    }

    /// An answer came: back to the full rate, a tenth at a time.
    pub fn answered(&self, call: &Call) {
        self.with(call, |bucket| bucket.speed = (bucket.speed + 0.1).min(1.0));
    }

    /// One batch of a zone at a time.
    pub async fn zone(&self, zone: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
            zones.entry(zone.to_owned()).or_default().clone()
        };
        lock.lock_owned().await
    }

    pub fn calls(&self) -> Calls {
        Calls {
            reads: self.reads.load(Ordering::Relaxed),
            changes: self.changes.load(Ordering::Relaxed),
            throttled: self.throttled.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In virtual time: nothing here waits for real.
    async fn seconds_for(pace: &Pace, call: &Call, count: u32) -> f64 {
        let start = Instant::now();
        for _ in 0..count {
            pace.turn(call).await;
        }
        start.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn no_call_ever_overdraws_the_bucket_that_aws_keeps_for_it() {
        for call in calls::CALLS {
            let pace = Pace::default();
            let (_, rate) = bucket(call);
            let burst = rate.burst as u32;
            assert_eq!(seconds_for(&pace, call, burst).await, 0.0, "{}", call.name());
            let more = 2 * rate.per_second as u32;
            let waited = seconds_for(&pace, call, more).await;
            assert!((1.9..2.2).contains(&waited), "{}: {waited}", call.name());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn actions_have_buckets_of_their_own_and_all_of_route_53_has_one() {
        let pace = Pace::default();
        seconds_for(&pace, &calls::RUN_INSTANCES, 5).await;
        assert_eq!(seconds_for(&pace, &calls::CREATE_VPC, 1).await, 0.0);
        seconds_for(&pace, &calls::GET_CHANGE, 50).await;
        assert!(seconds_for(&pace, &calls::CHANGE_RESOURCE_RECORD_SETS, 1).await > 0.0);
        assert_eq!(pace.calls(), Calls { reads: 50, changes: 7, throttled: 0 });
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_empties_the_bucket_and_answers_bring_the_rate_back() {
        let pace = Pace::default();
        let call = &calls::CREATE_VPC;
        pace.turn(call).await;
        pace.throttled(call);
        let slow = seconds_for(&pace, call, 10).await;
        assert!((3.9..4.2).contains(&slow), "{slow}");
        for _ in 0..5 {
            pace.answered(call);
        }
        let full = seconds_for(&pace, call, 10).await;
        assert!((1.9..2.2).contains(&full), "{full}");
        for _ in 0..20 {
            pace.throttled(call);
        }
        assert!(seconds_for(&pace, call, 1).await <= 3.3, "never stops altogether");
        assert_eq!(pace.calls().throttled, 21);
    }

    #[tokio::test(start_paused = true)]
    async fn batches_of_one_zone_wait_for_each_other_and_other_zones_do_not() {
        let pace = Pace::default();
        let first = pace.zone("Z1").await;
        let _other = pace.zone("Z2").await;
        assert!(tokio::time::timeout(Duration::from_secs(1), pace.zone("Z1")).await.is_err());
        drop(first);
        assert!(tokio::time::timeout(Duration::from_secs(1), pace.zone("Z1")).await.is_ok());
    }
}
