//! AWS's side of request throttling: a token bucket for each API, of the sizes that the client is paced by.

use std::collections::HashMap;

use tokio::time::Instant;

use crate::cloud::calls::{CALLS, Call};
use crate::cloud::pace::bucket;

/// The buckets of one account, refilled on tokio's clock.
#[derive(Default)]
pub(super) struct Buckets(HashMap<&'static str, (f64, Instant)>);

impl Buckets {
    /// Takes a token for an action (`ec2:RunInstances`), or says that there is none. `scale`: 1 for the documented sizes.
    pub(super) fn take(&mut self, action: &str, scale: f64) -> bool {
        let Some(call) = CALLS.iter().find(|call: &&&Call| call.name() == action) else { return true };
        let (name, rate) = bucket(call);
        let now = Instant::now();
        let (tokens, filled) = self.0.entry(name).or_insert((rate.burst * scale, now));
        let since = now.saturating_duration_since(*filled).as_secs_f64();
        *tokens = (*tokens + since * rate.per_second * scale).min(rate.burst * scale);
        *filled = now;
        let there = *tokens >= 1.0;
        if there {
            *tokens -= 1.0;
        }
        there
    }
}
