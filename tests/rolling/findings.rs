//! What the simulator has found, each kept as a case of its own.

use kubewright::rolling::next_step;

use crate::schedules::run;

/// `(seed, what went wrong)`
const FOUND: &[(u64, &str)] = &[];

#[test]
fn what_was_found_once_stays_mended() {
    for (seed, what) in FOUND {
        if let Err(error) = run(*seed, &next_step, false) {
            panic!("{what}: schedule {seed}: {error}");
        }
    }
}
