//! Defects, planted one at a time around `next_step`: a simulator that does not find them proves nothing.

use kubewright::rolling::{Address, Decision, Step, Time, View, Work, next_step};

use crate::schedules::first_broken;

/// Few enough to be found at once, and by chance by none.
const ENOUGH: u64 = 5_000;

/// `expected` is what it breaks, or several such, with strokes between.
fn found(name: &str, expected: &str, decide: &(dyn Fn(&View) -> Decision + Sync)) {
    let (_, broken) = first_broken(0..ENOUGH, decide);
    let Some((seed, what)) = broken else { panic!("nobody misses it: {name}") };
    assert!(
        expected.split('|').any(|expected| what.contains(expected)),
        "{name}: found as something else, in schedule {seed}: {what}"
    );
}

/// Decides from a view that somebody has put a wrong colour on.
fn seen(change: impl Fn(&mut View) + Sync) -> impl Fn(&View) -> Decision + Sync {
    move |view| {
        let mut view = view.clone();
        change(&mut view);
        next_step(&view)
    }
}

/// Does something else instead of a step.
fn instead(change: impl Fn(&View, Step) -> Decision + Sync) -> impl Fn(&View) -> Decision + Sync {
    move |view| match next_step(view) {
        Decision::Do(step) => change(view, step),
        other => other,
    }
}

/// Takes a step for done before it is begun.
fn skipped(view: &View, done: impl Fn(&mut View, &Step)) -> Decision {
    let mut view = view.clone();
    for _ in 0..100 {
        match next_step(&view) {
            Decision::Do(step) => {
                let before = view.clone();
                done(&mut view, &step);
                if view == before {
                    return Decision::Do(step);
                }
            }
            other => return other,
        }
    }
    Decision::Done
}

#[test]
fn a_learner_that_counts_as_a_voter_is_found() {
    let decide = seen(|view| {
        for member in view.members.iter_mut().flatten() {
            member.learner = false;
        }
    });
    found("a learner counts", "quorum", &decide);
}

#[test]
fn an_unknown_member_that_counts_as_healthy_is_found() {
    let decide = seen(|view| {
        for member in view.members.iter_mut().flatten().filter(|member| member.healthy.is_none()) {
            member.healthy = Some(true);
        }
        for machine in &mut view.machines {
            if machine.health == kubewright::rolling::Health::Unknown {
                machine.health = kubewright::rolling::Health::Ready;
            }
        }
    });
    found("unknown counts as healthy", "quorum", &decide);
}

#[test]
fn a_quorum_that_nobody_counts_is_found() {
    let decide = seen(|view| {
        for member in view.members.iter_mut().flatten() {
            member.healthy = Some(true);
        }
    });
    found("health is not looked at", "quorum", &decide);
}

#[test]
fn a_missing_snapshot_is_found() {
    let decide = |view: &View| {
        skipped(view, |view, step| {
            if step.work == Work::Snapshot {
                let machine = view.machines.iter().find(|machine| machine.slot == step.slot);
                view.snapshot = machine.map(|machine| machine.instance.clone());
            }
        })
    };
    found("no snapshot", "no snapshot", &decide);
}

#[test]
fn a_leader_that_is_not_moved_is_found() {
    let decide = seen(|view| view.members.iter_mut().flatten().for_each(|member| member.leader = false));
    found("the leader stays", "the leader is removed", &decide);
}

#[test]
fn an_address_that_stays_published_is_found() {
    let decide = seen(|view| {
        for machine in &mut view.machines {
            if machine.address == Address::Published && machine.is_behind() && machine.cordon != kubewright::rolling::Cordon::No {
                machine.address = Address::Withdrawn(0);
            }
        }
    });
    let decide = |view: &View| match decide(view) {
        Decision::Do(Step { slot, group, work: Work::Withdraw }) => Decision::Do(Step { slot, group, work: Work::Cordon }),
        other => other,
    };
    found("the address stays", "clients know its address", &decide);
}

#[test]
fn clients_that_are_given_no_time_to_forget_are_found() {
    let decide = seen(|view| {
        for machine in &mut view.machines {
            if let Address::Withdrawn(at) = &mut machine.address {
                *at = 0;
            }
        }
        view.now += 100;
    });
    found("no time to forget", "clients know its address", &decide);
}

#[test]
fn pods_that_are_not_evicted_are_found() {
    let decide = |view: &View| {
        skipped(view, |view, step| {
            if matches!(step.work, Work::Drain { .. }) {
                view.machines.iter_mut().filter(|machine| machine.slot == step.slot).for_each(|machine| machine.drained = true);
            }
        })
    };
    found("no drain", "pods", &decide);
}

#[test]
fn pods_that_are_deleted_without_having_had_their_time_are_found() {
    let decide = instead(|_, step| match step.work {
        Work::Drain { within, .. } => Decision::Do(Step { work: Work::Drain { within, force: true }, ..step }),
        _ => Decision::Do(step),
    });
    found("force at once", "before their time is over|that a budget keeps", &decide);
    let decide = instead(|_, step| match step.work {
        Work::Drain { force, .. } => Decision::Do(Step { work: Work::Drain { within: 1, force }, ..step }),
        _ => Decision::Do(step),
    });
    found("a second for a drain", "too little time", &decide);
}

#[test]
fn a_budget_that_is_overruled_where_nobody_said_so_is_found() {
    let decide = seen(|view| view.groups.iter_mut().for_each(|group| group.force_drain = true));
    found("force without being told", "that a budget keeps", &decide);
}

#[test]
fn a_budget_that_is_heeded_where_it_is_not_to_be_is_found() {
    let decide = seen(|view| view.groups.iter_mut().for_each(|group| group.force_drain = false));
    found("no force although told", "is not to heed", &decide);
}

#[test]
fn one_node_too_many_that_is_missing_is_found() {
    let decide = seen(|view| view.groups.iter_mut().for_each(|group| group.max_unavailable += 1));
    found("max_unavailable by one", "max_unavailable", &decide);
}

#[test]
fn one_new_machine_too_many_is_found() {
    let decide = seen(|view| view.groups.iter_mut().for_each(|group| group.max_surge += 1));
    found("max_surge by one", "max_surge", &decide);
}

#[test]
fn an_instance_that_goes_before_its_member_is_found() {
    let decide = instead(|_, step| match step.work {
        Work::RemoveMember(_) => Decision::Do(Step { work: Work::Terminate, ..step }),
        _ => Decision::Do(step),
    });
    found("no member removal", "etcd member", &decide);
}

#[test]
fn a_second_change_beside_the_first_is_found() {
    let decide = |view: &View| {
        let mut blind = view.clone();
        for machine in &mut blind.machines {
            if machine.work == Some(Work::Withdraw) || machine.work == Some(Work::Cordon) {
                machine.work = None;
            }
        }
        next_step(&blind)
    };
    found("work is not seen", "at once", &decide);
}

#[test]
fn a_cordon_that_is_not_taken_back_is_found() {
    let decide = |view: &View| {
        skipped(view, |view, step| {
            if step.work == Work::Uncordon {
                let machine = view.machines.iter_mut().find(|machine| machine.slot == step.slot);
                if let Some(machine) = machine {
                    (machine.cordon, machine.drained) = (kubewright::rolling::Cordon::No, false);
                }
            }
        })
    };
    found("no uncordon", "is cordoned by us|a second control plane is begun", &decide);
}

#[test]
fn a_machine_that_is_waited_for_without_end_is_found() {
    let decide = |view: &View| match next_step(view) {
        Decision::Blocked(_) => Decision::Wait { what: "better times".into(), until: view.now + 10 as Time },
        other => other,
    };
    found("no deadline", "does not come to an end", &decide);
}

#[test]
fn nodes_that_overtake_the_control_planes_are_found() {
    let decide = |view: &View| {
        let mut nodes_first = view.clone();
        nodes_first.groups.iter_mut().filter(|group| group.control_plane).for_each(|group| group.selected = false);
        match next_step(&nodes_first) {
            step @ Decision::Do(_) => step,
            _ => next_step(view),
        }
    };
    found("nodes first", "before the control planes", &decide);
}

#[test]
fn a_group_that_is_to_be_replaced_and_is_upgraded_where_it_stands_is_found() {
    let decide = seen(|view| view.groups.iter_mut().for_each(|group| group.replace = false));
    found("in place instead of replaced", "is upgraded where it stands|max_unavailable", &decide);
}
