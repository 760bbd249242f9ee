//! Upgrades, in place and by new machines: whatever the cluster, the order in which steps end, and the moments at which runs die, the
//! rules hold after every step, and the end is the same.

use kubewright::cluster::{Cluster, KubernetesVersion, Packages};
use kubewright::rolling::upgrade::{NoWay, SETTLED, course};
use kubewright::rolling::{Address, Cordon, Decision, Health, Machine, Stage, Step, View, Work, next_step};
use proptest::prelude::*;

use crate::climb::{Nodes, climb, cluster, in_place, version};

/// Defects in what an upgrade does with groups that are replaced, planted one at a time.
#[test]
fn what_is_planted_around_the_decision_is_found() {
    let found = |expected: &str, decide: &dyn Fn(&View) -> Decision| {
        let groups = [in_place(2, 1), Nodes { count: 3, room: 1, surge: Some(1) }, Nodes { count: 2, room: 0, surge: Some(2) }];
        let climbed = std::panic::AssertUnwindSafe(|| climb((3, &groups), (29, 6), &mut std::iter::empty(), false, decide));
        let why = std::panic::catch_unwind(climbed).expect_err(expected);
        let why = why.downcast_ref::<String>().expect("a reason");
        assert!(why.contains(expected), "{expected}: found as something else: {why}");
    };
    let seen = |change: &'static dyn Fn(&mut View)| {
        move |view: &View| {
            let mut view = view.clone();
            change(&mut view);
            next_step(&view)
        }
    };
    found("replaced before it has to be", &seen(&|view| view.then = None));
    found(
        " runs Some(",
        &seen(&|view| {
            let Some(then) = view.then else { return };
            let old = view.machines.iter_mut().filter(|machine| machine.kubelet.is_some_and(|is| is.minor + 3 < then.minor));
            old.for_each(|machine| machine.kubelet = Some(version(then.minor - 3, 0)));
        }),
    );
    // In the last hop, where all of them are due.
    found(
        "its group is replaced",
        &seen(&|view| {
            let last = view.then.is_none();
            view.groups.iter_mut().for_each(|group| group.replace &= !last || group.max_unavailable == 0);
        }),
    );
    found("max_surge", &seen(&|view| view.groups.iter_mut().for_each(|group| group.max_surge += 1)));
    found(
        "max_unavailable",
        &seen(&|view| {
            view.groups.iter_mut().filter(|group| group.replace).for_each(|group| group.max_unavailable += 1);
        }),
    );
}

proptest! {
    #[test]
    fn the_rules_hold_after_every_step_and_whoever_dies_where_the_end_is_the_same(
        planes in prop::sample::select(vec![1_u32, 3, 5]),
        groups in prop::collection::vec(
            (0_u32..6, 0_u32..4, prop::option::of(0_u32..3)).prop_map(|(count, room, surge)| Nodes { count, room, surge }), 0..4,
        ),
        (from, hops) in (29_u32..36).prop_flat_map(|from| (Just(from), 1..=6_u32.min(37 - from))),
        dice in prop::collection::vec(any::<u8>(), 0..400),
        deaths in any::<bool>(),
    ) {
        climb((planes, &groups), (from, hops), &mut dice.into_iter(), deaths, &next_step);
    }

    #[test]
    fn hops_skip_no_minor_and_end_at_the_target(
        from in 29_u32..38, to in 27_u32..40, patches in (0_u32..9, 0_u32..9), begun in any::<bool>(), late in any::<bool>(),
    ) {
        let (from, to) = (version(from, patches.0), version(to, patches.1));
        let cluster = Cluster {
            kubernetes: from,
            packages: Packages::Apt { mirror: None, signing_key: None },
            ..Cluster::unknown("demo.k8s.example.com")
        };
        let applied = if begun { version(from.minor - 1, 0) } else { from };
        let oldest = if late { version(from.minor - 1, 0) } else { from };
        match course(&cluster, applied, Some(oldest), to, &[], &[]) {
            Ok(hops) => {
                prop_assert!(to >= from);
                let first = hops.first().copied();
                prop_assert_eq!(first == Some(from), begun || late, "{:?}", hops);
                prop_assert_eq!(hops.last().copied(), (to != from || begun || late).then_some(to));
                let whole: Vec<_> = std::iter::once(oldest.min(applied)).chain(hops).collect();
                for pair in whole.windows(2) {
                    prop_assert!(pair[0] < pair[1] && pair[1].minor - pair[0].minor <= 1, "{:?}", whole);
                }
            }
            Err(NoWay::Unknown { .. }) => prop_assert!(!KubernetesVersion::SUPPORTED_MINORS.contains(&to.minor)),
            Err(NoWay::Downgrade { .. }) => prop_assert!(to < from && !begun),
            Err(NoWay::UnderWay(version)) => prop_assert!(to < from && begun && version == from),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn what_is_not_well_stops_it_and_what_comes_back_does_not() {
    let to = version(35, 1);
    let whole = |edit: &dyn Fn(&mut View)| {
        let mut view = cluster(3, &[in_place(3, 1)], version(34, 2));
        view.to = Some(to);
        edit(&mut view);
        next_step(&view)
    };
    let stopped = |edit: &dyn Fn(&mut View), says: &str| match whole(edit) {
        Decision::Blocked(stop) => assert!(stop.what.contains(says), "{}", stop.what),
        other => panic!("{says}: {other:?}"),
    };
    let ill = |machine: &mut Machine| (machine.health, machine.ill_before) = (Health::NotReady("broken".into()), true);
    stopped(&|view| ill(&mut view.machines[4]), "is not Ready: broken");
    stopped(&|view| view.machines[4].cordon = Cordon::Foreign, "and not by kubewright");
    stopped(&|view| view.machines[4].kubelet = Some(version(36, 0)), "by hand");
    stopped(&|view| view.machines[1].api = Some(version(33, 0)), "no minor may be skipped");
    stopped(&|view| view.machines[4].stage = Stage::Created, "has not joined");
    stopped(&|view| view.machines[1].stage = Stage::Lost, "is gone");
    stopped(&|view| (view.members, view.now) = (None, 1000), "etcd does not tell its members");
    let sick = |view: &mut View| {
        view.now = 1000;
        view.members.as_mut().unwrap()[2].healthy = Some(false);
    };
    stopped(&sick, "is not healthy");
    // Forced or not: the quorum is kept.
    let forced = |view: &mut View| {
        sick(view);
        view.force = true;
    };
    stopped(&forced, "would lose its quorum");
    // The new kubelet starts the static pods anew: an API server that is silent then is waited for, and its machine not upgraded again.
    let silent = |view: &mut View| {
        let machine = &mut view.machines[1];
        (machine.cordon, machine.drained, machine.kubelet, machine.api) = (Cordon::Ours, true, Some(to), None);
        machine.health = Health::NotReady("its API server does not answer".into());
    };
    assert!(matches!(whole(&silent), Decision::Wait { .. }), "{:?}", whole(&silent));
    let long = |view: &mut View| {
        silent(view);
        view.now = 1000;
    };
    stopped(&long, "its API server does not answer");
    let answers = |view: &mut View| {
        silent(view);
        (view.machines[1].api, view.machines[1].health) = (Some(to), Health::Ready);
    };
    assert!(matches!(whole(&answers), Decision::Do(Step { work: Work::Uncordon, .. })));
    // Also to a run that found it ill, because the one before had died there.
    let back = |view: &mut View| {
        answers(view);
        let machine = &mut view.machines[1];
        (machine.cordon, machine.address, machine.ill_before) = (Cordon::No, Address::Withdrawn(0), true);
    };
    let again = |view: &mut View| {
        back(view);
        view.machines[1].health = Health::NotReady("its API server does not answer".into());
    };
    assert!(matches!(whole(&again), Decision::Wait { .. }), "{:?}", whole(&again));
    assert!(matches!(whole(&back), Decision::Wait { .. }), "{:?}", whole(&back));
    let settled = |view: &mut View| {
        back(view);
        view.now = SETTLED;
    };
    assert!(matches!(whole(&settled), Decision::Do(Step { work: Work::Publish, .. })));
    // A control plane that is silent because it is being upgraded is gone on with, where nobody else can be asked.
    let mut view = cluster(1, &[], version(34, 2));
    view.to = Some(to);
    view.members = None;
    let only = &mut view.machines[0];
    (only.cordon, only.drained, only.kubelet, only.api, only.health) = (Cordon::Ours, true, None, None, Health::Unknown);
    assert!(matches!(next_step(&view), Decision::Do(Step { work: Work::Upgrade { first: true, .. }, .. })));
}
