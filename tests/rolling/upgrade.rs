//! Upgrades in place: whatever the cluster, the order in which steps end, and the moments at which runs die, the rules hold after
//! every step, and the end is the same.

use kubewright::cluster::{Cluster, KubernetesVersion, Packages};
use kubewright::desired::Slot;
use kubewright::rolling::upgrade::{NoWay, SETTLED, course, room, skew};
use kubewright::rolling::{
    Address, Cordon, Decision, FORGETTING, Group, Health, Machine, Member, Quorum, Step, View, Work, next_step,
};
use proptest::prelude::*;

fn version(minor: u32, patch: u32) -> KubernetesVersion {
    KubernetesVersion { major: 1, minor, patch }
}

/// A cluster at rest: one, three or five control planes, and node groups of `(count, max_unavailable)`.
fn cluster(planes: u32, groups: &[(u32, u32)], runs: KubernetesVersion) -> View {
    let group = |name: String, control_plane, count, max_unavailable| Group {
        name,
        control_plane,
        count,
        max_unavailable,
        drain_timeout: 600,
        // Some groups do, some do not.
        force_drain: count % 2 == 1,
        selected: true,
        zones: vec!["us-east-1a".into()],
        ..Group::default()
    };
    let mut view = View { groups: vec![group("control-plane".into(), true, planes, 0)], ..View::default() };
    let nodes = groups.iter().enumerate().map(|(n, (count, room))| group(format!("nodes-{n}"), false, *count, *room));
    view.groups.extend(nodes);
    for (place, group) in view.groups.clone().iter().enumerate() {
        for n in 1..=group.count {
            let slot = Slot { group: group.name.clone(), zone: "us-east-1a".into(), n };
            let mut machine = Machine::new(slot.clone(), &format!("i-{slot}"), place);
            (machine.kubelet, machine.api) = (Some(runs), group.control_plane.then_some(runs));
            machine.address = if group.control_plane { Address::Published } else { Address::None };
            view.machines.push(machine);
        }
    }
    let planes = view.machines.iter().filter(|machine| machine.group == 0);
    let members = planes.map(|machine| Member {
        id: machine.instance.clone(),
        instance: machine.instance.clone(),
        learner: false,
        healthy: Some(true),
        since: 0,
        leader: machine.slot.n == 1,
    });
    view.members = Some(members.collect());
    view
}

fn place(view: &View, step: &Step) -> usize {
    view.machines.iter().position(|machine| machine.slot == step.slot).expect("a step is about a machine that there is")
}

/// What must hold when a step begins.
fn check(view: &View, step: &Step) {
    let group = &view.groups[step.group];
    let machine = &view.machines[place(view, step)];
    assert!(machine.work.is_none(), "two works at once: {step}");
    let (to, control) = (view.to.unwrap(), group.control_plane);
    let planes = || view.machines.iter().filter(|machine| view.groups[machine.group].control_plane);
    if control {
        assert!(planes().all(|plane| plane.work.is_none()), "two control planes at once: {step}");
        let is_away = |plane: &Machine| plane.cordon == Cordon::Ours || plane.address != Address::Published;
        let open = planes().filter(|plane| is_away(plane) && plane.slot != step.slot).count();
        assert_eq!(open, 0, "{step} while another one is away");
    } else {
        let back = |plane: &Machine| plane.cordon == Cordon::No && plane.address == Address::Published;
        let done = |plane: &Machine| plane.api == Some(to) && plane.kubelet == Some(to) && back(plane);
        assert!(planes().all(done), "nodes before control planes: {step}");
    }
    match &step.work {
        Work::Cordon => {
            let away = view.machines.iter().filter(|other| other.group == step.group && !other.is_available()).count();
            assert!(away < if control { 1 } else { room(group) }, "{step}: {away} are away");
            assert!(!control || view.snapshot.as_deref() == Some(&machine.instance), "{step} without a snapshot");
        }
        Work::Drain { force, .. } => {
            assert_eq!(*force, machine.overdue.is_some(), "{step}");
            assert_eq!(machine.cordon, Cordon::Ours, "{step}");
        }
        Work::Upgrade { to: this, first } => {
            assert!(*this == to && machine.drained && machine.cordon == Cordon::Ours, "{step}");
            let from = machine.kubelet.min(machine.api.or(machine.kubelet)).unwrap();
            assert!(from <= to && from.minor + 1 >= to.minor, "{step}: {from}");
            assert_eq!(*first, control && !planes().any(|plane| plane.kubelet == Some(to)), "{step}");
            let forgotten = matches!(machine.address, Address::Withdrawn(at) if view.now >= at + FORGETTING);
            assert!(forgotten || !control || planes().count() == 1, "{step}: clients still ask it");
            if let (true, Some(members)) = (control, &view.members) {
                let during = Quorum::of(members).less(1);
                assert!(during.voters < 3 || during.is_kept(), "{step}: {during}");
                assert!(during.voters < 2 || members.iter().all(|member| !member.leader || member.instance != machine.instance));
            }
        }
        Work::Uncordon => assert!(machine.kubelet == Some(to) && machine.is_ready(), "{step}"),
        Work::Publish => {
            let settled = view.now >= machine.since + SETTLED;
            assert!(machine.kubelet == Some(to) && machine.is_ready() && settled, "{step}");
        }
        Work::Withdraw => {
            let others = planes().filter(|plane| plane.slot != step.slot && plane.address == Address::Published).count();
            assert!(others > 0, "{step}: the API would have no address left");
            assert_eq!(view.snapshot.as_ref(), Some(&machine.instance), "{step} without a snapshot");
        }
        Work::Snapshot | Work::MoveLeader { .. } => {}
        other => panic!("{other:?} has no place in an upgrade"),
    }
}

/// Ends a step.
fn end(view: &mut View, place: usize) {
    let to = view.to.unwrap();
    let Some(work) = view.machines[place].work.take() else { return };
    let group = &view.groups[view.machines[place].group];
    let (control, group_forces) = (group.control_plane, group.force_drain);
    let machine = &mut view.machines[place];
    match work {
        Work::Snapshot => view.snapshot = Some(machine.instance.clone()),
        Work::MoveLeader { to } => {
            let heir = format!("i-{to}");
            view.members.iter_mut().flatten().for_each(|member| member.leader = member.instance == heir);
        }
        Work::Cordon => machine.cordon = Cordon::Ours,
        // A budget keeps the pods of machines of this number.
        Work::Drain { force: false, .. } if group_forces && machine.slot.n == 2 => machine.overdue = Some("kept".into()),
        Work::Drain { .. } => (machine.drained, machine.overdue) = (true, None),
        Work::Upgrade { .. } => {
            (machine.kubelet, machine.api, machine.health) = (Some(to), control.then_some(to), Health::Ready);
            machine.since = view.now;
        }
        Work::Uncordon => (machine.cordon, machine.drained) = (Cordon::No, false),
        Work::Withdraw => machine.address = Address::Withdrawn(view.now),
        Work::Publish => machine.address = Address::Published,
        other => panic!("{other:?}"),
    }
}

/// What is left of a step whose run died: nothing, a half, or all of it.
fn die(view: &mut View, dice: &mut impl Iterator<Item = u8>) {
    for place in 0..view.machines.len() {
        let control = view.groups[view.machines[place].group].control_plane;
        match (dice.next().unwrap_or(0) % 3, &view.machines[place].work) {
            (_, None) => {}
            (0, _) => view.machines[place].work = None,
            (1, Some(Work::Upgrade { to, .. })) => {
                // kubeadm is through, the kubelet is not.
                view.machines[place].api = control.then_some(*to);
                view.machines[place].work = None;
            }
            (1, Some(Work::Cordon | Work::Drain { .. })) => {
                view.machines[place].cordon = Cordon::Ours;
                view.machines[place].work = None;
            }
            (_, Some(_)) => end(view, place),
        }
        let machine = &mut view.machines[place];
        machine.since = view.now;
        // The next run knows nothing of it.
        machine.overdue = None;
    }
}

/// Brings a cluster to a version, with ends and deaths as the dice have it.
fn run(view: &mut View, to: KubernetesVersion, dice: &mut impl Iterator<Item = u8>, deaths: bool) {
    view.to = Some(to);
    view.snapshot = None;
    for _ in 0..5000 {
        skew(view).unwrap();
        if deaths && dice.next().unwrap_or(9).is_multiple_of(8) {
            die(view, dice);
            skew(view).unwrap();
        }
        view.now += 1;
        view.told = view.now;
        match next_step(view) {
            Decision::Do(step) => {
                check(view, &step);
                let place = place(view, &step);
                (view.machines[place].work, view.machines[place].since) = (Some(step.work), view.now);
            }
            Decision::Wait { what, until } => {
                let busy: Vec<usize> = (0..view.machines.len()).filter(|place| view.machines[*place].work.is_some()).collect();
                if busy.is_empty() {
                    assert!(
                        (what.contains("clients to forget") || what.contains("to stay Ready")),
                        "nothing is in work, and it waits for {what}"
                    );
                    view.now = until;
                    continue;
                }
                let chosen = busy[usize::from(dice.next().unwrap_or(0)) % busy.len()];
                end(view, chosen);
            }
            Decision::Done => return,
            Decision::Blocked(stop) => panic!("{}", stop.what),
        }
    }
    panic!("it does not come to an end");
}

fn assert_there(view: &View, to: KubernetesVersion) {
    for machine in &view.machines {
        assert_eq!(machine.kubelet, Some(to), "{}", machine.slot);
        assert!(machine.api.is_none_or(|api| api == to) && machine.cordon == Cordon::No && machine.work.is_none());
        assert_eq!(machine.address == Address::Published, machine.api.is_some(), "{}", machine.slot);
    }
}

proptest! {
    #[test]
    fn the_rules_hold_after_every_step_and_whoever_dies_where_the_end_is_the_same(
        planes in prop::sample::select(vec![1_u32, 3, 5]),
        groups in prop::collection::vec((0_u32..6, 0_u32..4), 0..3),
        (from, hops) in (29_u32..36).prop_flat_map(|from| (Just(from), 1..=3_u32.min(37 - from))),
        dice in prop::collection::vec(any::<u8>(), 0..400),
        deaths in any::<bool>(),
    ) {
        let mut view = cluster(planes, &groups, version(from, 2));
        let mut dice = dice.into_iter();
        // A patch first: nothing of it is special.
        for to in std::iter::once(version(from, 5)).chain((1..=hops).map(|hop| version(from + hop, 0))) {
            run(&mut view, to, &mut dice, deaths);
            assert_there(&view, to);
        }
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
        let mut view = cluster(3, &[(3, 1)], version(34, 2));
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
    stopped(&|view| view.machines[4].stage = kubewright::rolling::Stage::Created, "has not joined");
    stopped(&|view| view.machines[1].stage = kubewright::rolling::Stage::Lost, "is gone");
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
