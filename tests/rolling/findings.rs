//! What the simulator has found, each kept as a case of its own.

use kubewright::rolling::next_step;

use crate::schedules::run;

/// `(seed, what went wrong)`
const FOUND: &[(u64, &str)] = &[
    (1511, "an instance that is being cleared away did not count, so that one more than max_surge was there"),
    (2222, "a control plane that was dead while its member was removed came back, and nobody knew what to do with it"),
    (4912, "a roll was done while it still uncordoned a node of a group that nobody had asked for"),
    (
        16615,
        "a member was to be removed although etcd had no quorum to do it; and an only control plane that a killed run had withdrawn was never replaced",
    ),
    (
        16810,
        "without surge a new control plane came into the zone of the next one to go, so that one zone had two and one had none",
    ),
    (23912, "a machine that was being cleared away counted for its zone, so that the zone lost its other one as well"),
    (
        3831,
        "a control plane that a budget keeps for ever got a new one beside it, which was taken away again, and so on without end",
    ),
];

#[test]
fn what_was_found_once_stays_mended() {
    for (seed, what) in FOUND {
        if let Err(error) = run(*seed, &next_step, false) {
            panic!("{what}: schedule {seed}: {error}");
        }
    }
}
