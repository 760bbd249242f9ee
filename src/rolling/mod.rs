//! Replacing machines that are behind, as one pure function: [`next_step`] decides from what is observed and from nothing else.
//!
//! The same function is shown as the list of a dry run ([`outline()`]), carried out by the runner, and beaten with random
//! schedules by `tests/rolling`. It keeps no memory: a run that was killed is gone on with by the next one, because
//! everything that it needs to know is seen again or recorded.
//!
//! Where the view names a version ([`View::to`]), machines are brought there instead, in place or by new ones: [`upgrade`].
//!
//! The order: control planes first, one change at a time; then all node groups beside each other, each as far as its settings
//! allow. Kubernetes supports kubelets that are older than the API server, never newer ones (version skew policy).

mod control;
mod decision;
mod nodes;
mod outline;
mod quorum;
pub mod upgrade;
mod view;

pub use decision::{Blocked, Decision, Step, Work};
pub use nodes::floor;
pub use outline::{Line, Outline, outline, outlined};
pub use quorum::Quorum;
pub use view::{Address, Blocker, Cordon, Group, Health, Machine, Member, Stage, Time, View, resolve};

/// Seconds that something may be not Ready before it counts as lost rather than as late. kube-controller-manager evicts after
/// five minutes, too (`--default-not-ready-toleration-seconds`).
pub const PATIENCE: Time = 300;
/// Seconds that a new machine may take from its join until its Node and its system pods are ready.
pub const READY: Time = 600;
/// Seconds that clients may remember a withdrawn address: the records' TTL.
pub const FORGETTING: Time = crate::desired::dns::TTL as Time;
/// Seconds that pods which are deleted have at least, to end as they like to.
pub const FORCED: Time = 300;
/// Seconds until the next look where nothing of our own is in work.
pub const LOOK: Time = 5;

/// What to do next. Steps are to be begun at once and asked for again, with the step marked in the view, until the answer is to wait,
/// or is the end.
pub fn next_step(view: &View) -> Decision {
    if let Some(to) = view.to {
        return upgrade::next(view, to);
    }
    match control::next(view) {
        Decision::Done => {}
        // Node groups never go on before control planes are finished: they may need what is new there.
        stop @ Decision::Blocked(_) => return last(view, stop),
        other => return other,
    }
    beside(node_groups(view).map(|(number, group)| nodes::next(view, number, group)))
}

fn node_groups(view: &View) -> impl Iterator<Item = (usize, &Group)> {
    view.groups.iter().enumerate().filter(|(_, group)| !group.control_plane)
}

/// Groups beside each other: the first that can begin something, else the wait that is over first, else what blocks.
fn beside(decisions: impl Iterator<Item = Decision>) -> Decision {
    let mut waiting: Option<(String, Time)> = None;
    let mut blocked = None;
    for decision in decisions {
        match decision {
            step @ Decision::Do(_) => return step,
            Decision::Wait { what, until } => {
                if waiting.as_ref().is_none_or(|(_, earlier)| until < *earlier) {
                    waiting = Some((what, until));
                }
            }
            stop @ Decision::Blocked(_) => blocked = blocked.or(Some(stop)),
            Decision::Done => {}
        }
    }
    match (waiting, blocked) {
        (Some((what, until)), _) => Decision::Wait { what, until },
        (None, Some(stop)) => stop,
        (None, None) => Decision::Done,
    }
}

/// What failed with a machine, with the budgets that keep its pods.
fn stuck(view: &View, machine: &Machine, next: &str) -> Decision {
    let kept = machine.blockers.iter().map(|blocker| format!("; {blocker}")).collect::<String>();
    let slot = &machine.slot;
    let failed = machine.failed.as_ref().map(|(work, why)| (work.as_str(), why.as_str()));
    match (failed, &machine.overdue) {
        (None, Some(why)) => {
            let timeout = view.groups.get(machine.group).map_or(0, |group| group.drain_timeout);
            let what = format!("{slot}: drain failed: pods are left after {timeout} s (drain_timeout): {why}{kept}");
            Decision::blocked(what, format!("{next}; on_drain_timeout = \"force\" would delete these pods"))
        }
        (failed, _) => {
            let (work, why) = failed.unwrap_or(("work", "it is not known why"));
            Decision::blocked(format!("{slot}: {work} failed: {why}{kept}"), next)
        }
    }
}

/// A stop, or the wait for what is still in work elsewhere.
fn last(view: &View, stop: Decision) -> Decision {
    let busy = view.machines.iter().find_map(|machine| Some((machine, machine.work.as_ref()?)));
    match busy {
        Some((machine, work)) => in_work(view, machine, work),
        None => stop,
    }
}

/// Our own work has an end of its own, and until then there is nothing else to do here.
fn in_work(view: &View, machine: &Machine, work: &Work) -> Decision {
    let until = (machine.since + work.limit()).max(view.now + LOOK);
    Decision::Wait { what: format!("{}: {}", machine.slot, work.doing()), until }
}
