//! How the account in memory behaves where AWS leaves it open.

use std::time::Duration;

use super::Delays;

/// How the account behaves where AWS leaves it open. Counts of reads are of listings that show the object; 0 and 1 both mean
/// that the first listing shows the new state.
#[derive(Clone, Debug)]
pub struct Options {
    pub reads_until_running: u32,
    pub reads_until_terminated: u32,
    pub reads_until_nat_available: u32,
    pub reads_until_nat_deleted: u32,
    pub reads_until_in_sync: u32,
    /// Console calls of a running instance until there is a text.
    pub reads_until_console: u32,
    /// Listings that do not show a new object yet: EC2's eventual consistency.
    pub listing_lag: u32,
    pub delays: Delays,
    /// Time of each call, on tokio's clock; zero still lets other tasks run.
    pub latency: Duration,
    /// Longest time that a call may take besides; each call's own part is drawn.
    pub jitter: Duration,
    /// Of everything that is drawn.
    pub seed: u64,
    /// AWS's request buckets, 1 for their documented sizes; `None`: no throttling. The account's client is paced then.
    pub buckets: Option<f64>,
    /// Client tokens mean nothing: for tests of what depends on them.
    pub forgets_tokens: bool,
    pub vpc_quota: usize,
    pub address_quota: usize,
    /// Live instances.
    pub instance_quota: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reads_until_running: 1,
            reads_until_terminated: 1,
            reads_until_nat_available: 1,
            reads_until_nat_deleted: 1,
            reads_until_in_sync: 1,
            reads_until_console: 1,
            listing_lag: 0,
            delays: Delays::default(),
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            seed: 0,
            buckets: None,
            forgets_tokens: false,
            vpc_quota: 5,
            address_quota: 5,
            instance_quota: 100_000,
        }
    }
}
