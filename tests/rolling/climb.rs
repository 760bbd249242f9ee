//! A cluster that is upgraded hop by hop, with ends of steps and deaths of runs as dice have it, and what must hold at every step.

use kubewright::cluster::KubernetesVersion;
use kubewright::desired::Slot;
use kubewright::rolling::upgrade::{SETTLED, room, skew};
use kubewright::rolling::{
    Address, Cordon, Decision, FORGETTING, Group, Health, Machine, Member, Quorum, Stage, Step, View, Work,
};

pub fn version(minor: u32, patch: u32) -> KubernetesVersion {
    KubernetesVersion { major: 1, minor, patch }
}

/// Of a group of nodes; `surge`: its machines are replaced.
#[derive(Clone, Copy, Debug)]
pub struct Nodes {
    pub count: u32,
    pub room: u32,
    pub surge: Option<u32>,
}

pub const fn in_place(count: u32, room: u32) -> Nodes {
    Nodes { count, room, surge: None }
}

/// A cluster at rest: one, three or five control planes, and node groups.
pub fn cluster(planes: u32, groups: &[Nodes], runs: KubernetesVersion) -> View {
    let group = |name: String, control_plane, Nodes { count, room, surge }: Nodes| Group {
        name,
        control_plane,
        count,
        max_surge: surge.unwrap_or(1),
        max_unavailable: if surge == Some(0) { room.max(1) } else { room },
        replace: surge.is_some(),
        drain_timeout: 600,
        // Some groups do, some do not.
        force_drain: count % 2 == 1,
        selected: true,
        zones: if surge.is_some() { vec!["us-east-1a".into(), "us-east-1b".into()] } else { vec!["us-east-1a".into()] },
        ..Group::default()
    };
    let mut view = View { groups: vec![group("control-plane".into(), true, in_place(planes, 0))], ..View::default() };
    let nodes = groups.iter().enumerate().map(|(n, nodes)| group(format!("nodes-{n}"), false, *nodes));
    view.groups.extend(nodes);
    for (place, group) in view.groups.clone().iter().enumerate() {
        let zones = group.zones.len() as u32;
        for n in 0..group.count {
            let slot = Slot { group: group.name.clone(), zone: group.zones[(n % zones) as usize].clone(), n: n / zones + 1 };
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
    if step.work == Work::Create {
        return check_new(view, step);
    }
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
        check_planes(view, step);
    }
    if group.replace {
        return check_replaced(view, step, machine);
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

fn check_planes(view: &View, step: &Step) {
    let mut planes = view.machines.iter().filter(|machine| view.groups[machine.group].control_plane);
    let back = |plane: &Machine| plane.cordon == Cordon::No && plane.address == Address::Published;
    let done = |plane: &Machine| plane.api == view.to && plane.kubelet == view.to && back(plane);
    assert!(planes.all(done), "nodes before control planes: {step}");
}

/// Kubelets of the next hop's API servers may be this old, by the words of the policy.
fn may_wait(view: &View, kubelet: Option<KubernetesVersion>) -> bool {
    view.then.is_some_and(|then| kubelet.is_some_and(|kubelet| then.minor - kubelet.minor <= 3))
}

fn live(view: &View, group: usize) -> usize {
    view.machines.iter().filter(|machine| machine.group == group && machine.stage != Stage::Lost).count()
}

fn check_new(view: &View, step: &Step) {
    let group = &view.groups[step.group];
    assert!(group.replace, "{step}: its group stays where it stands");
    check_planes(view, step);
    assert!(!view.machines.iter().any(|machine| machine.slot == step.slot), "{step}: the slot is taken");
    let there = live(view, step.group);
    assert!(there < (group.count + group.max_surge) as usize, "{step}: max_surge, {there} are there already");
    let waits =
        |machine: &Machine| machine.stage != Stage::Joined || machine.kubelet >= view.to || may_wait(view, machine.kubelet);
    let calm = view.machines.iter().filter(|machine| machine.group == step.group).all(waits);
    assert!(!calm || there < group.count as usize, "{step}: replaced before it has to be");
}

fn check_replaced(view: &View, step: &Step, machine: &Machine) {
    let group = &view.groups[step.group];
    let surplus = live(view, step.group) > group.count as usize;
    let others = view.machines.iter().filter(|other| other.group == step.group && other.slot != step.slot);
    let available = others.filter(|other| other.is_available()).count();
    let enough = available + group.max_unavailable as usize >= group.count as usize;
    match step.work {
        Work::Join => assert_eq!(machine.stage, Stage::Created, "{step}"),
        Work::Clear => assert_ne!(machine.stage, Stage::Joined, "{step}: cleared away with its pods"),
        Work::Cordon => {
            assert!(surplus || machine.kubelet < view.to, "{step}: it is there");
            assert!(surplus || !may_wait(view, machine.kubelet), "{step}: replaced before it has to be");
            assert!(enough || !machine.is_ready(), "{step}: max_unavailable, {available} are left of {}", group.count);
        }
        Work::Drain { force, .. } => {
            assert!(machine.cordon == Cordon::Ours && force == machine.overdue.is_some(), "{step}");
            assert!(enough, "{step}: max_unavailable, {available} are left of {}", group.count);
        }
        Work::Terminate => assert!(machine.drained || !machine.is_ready(), "{step}: terminated with its pods"),
        Work::Uncordon => assert_eq!(machine.cordon, Cordon::Ours, "{step}"),
        _ => panic!("{step}: its group is replaced"),
    }
}

/// Ends a step; true if its machine is gone with it.
fn end(view: &mut View, place: usize) -> bool {
    let to = view.to.unwrap();
    let Some(work) = view.machines[place].work.take() else { return false };
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
        Work::Create => machine.stage = Stage::Created,
        Work::Join => (machine.stage, machine.kubelet) = (Stage::Joined, Some(to)),
        Work::Terminate | Work::Clear => {
            view.machines.remove(place);
            return true;
        }
        other => panic!("{other:?}"),
    }
    false
}

/// What is left of a step whose run died: nothing, a half, or all of it.
fn die(view: &mut View, dice: &mut impl Iterator<Item = u8>) {
    // From behind: some are gone with it.
    for place in (0..view.machines.len()).rev() {
        let control = view.groups[view.machines[place].group].control_plane;
        let machine = &mut view.machines[place];
        match (dice.next().unwrap_or(0) % 3, &machine.work) {
            (_, None) => {}
            (0, Some(Work::Create)) => {
                view.machines.remove(place);
                continue;
            }
            // Its Node is deleted, and its instance is there, or it is gone as well.
            (0, Some(Work::Terminate)) => {
                (machine.kubelet, machine.health) = (None, Health::NotReady("it has no Node".into()));
                machine.work = None;
            }
            (1, Some(Work::Terminate)) => (machine.stage, machine.work) = (Stage::Lost, None),
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
            (_, Some(_)) => {
                if end(view, place) {
                    continue;
                }
            }
        }
        let machine = &mut view.machines[place];
        machine.since = view.now;
        machine.ill_before = machine.stage == Stage::Joined && machine.health != Health::Ready;
        // The next run knows nothing of it.
        machine.overdue = None;
    }
}

pub type Decide<'a> = &'a dyn Fn(&View) -> Decision;

/// Brings a cluster to a version, with ends and deaths as the dice have it; `then` is where it goes from there.
fn run(
    view: &mut View,
    (to, then): (KubernetesVersion, Option<KubernetesVersion>),
    dice: &mut impl Iterator<Item = u8>,
    deaths: bool,
    decide: Decide<'_>,
) {
    (view.to, view.then) = (Some(to), then);
    view.snapshot = None;
    for _ in 0..5000 {
        skew(view).unwrap();
        if deaths && dice.next().unwrap_or(9).is_multiple_of(8) {
            die(view, dice);
            skew(view).unwrap();
            // Whoever goes on may want to stay here, or no longer.
            if dice.next().unwrap_or(9).is_multiple_of(4) {
                view.then = then.filter(|_| view.then.is_none());
            }
        }
        view.now += 1;
        view.told = view.now;
        match decide(view) {
            Decision::Do(step) => {
                check(view, &step);
                if step.work == Work::Create {
                    let instance = format!("n-{}-{}", step.slot, view.now);
                    let made = Machine::new(step.slot.clone(), &instance, step.group);
                    view.machines.push(Machine { stage: Stage::Requested, ..made });
                }
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
                let _ = end(view, chosen);
            }
            Decision::Done => return,
            Decision::Blocked(stop) => panic!("{}", stop.what),
        }
    }
    panic!("it does not come to an end");
}

fn assert_there(view: &View, to: KubernetesVersion) {
    for (number, group) in view.groups.iter().enumerate() {
        assert_eq!(view.machines.iter().filter(|machine| machine.group == number).count(), group.count as usize);
    }
    for machine in &view.machines {
        let waits = view.groups[machine.group].replace && may_wait(view, machine.kubelet);
        assert!(machine.kubelet == Some(to) || waits, "{} runs {:?}", machine.slot, machine.kubelet);
        assert_eq!(machine.stage, Stage::Joined, "{}", machine.slot);
        assert!(machine.api.is_none_or(|api| api == to) && machine.cordon == Cordon::No && machine.work.is_none());
        assert_eq!(machine.address == Address::Published, machine.api.is_some(), "{}", machine.slot);
    }
}

/// All hops; a patch first: nothing of it is special.
pub fn climb(
    (planes, groups): (u32, &[Nodes]),
    (from, hops): (u32, u32),
    dice: &mut impl Iterator<Item = u8>,
    deaths: bool,
    decide: Decide<'_>,
) {
    let mut view = cluster(planes, groups, version(from, 2));
    let way: Vec<_> = std::iter::once(version(from, 5)).chain((1..=hops).map(|hop| version(from + hop, 0))).collect();
    for (number, &to) in way.iter().enumerate() {
        run(&mut view, (to, way.get(number + 1).copied()), dice, deaths, decide);
        assert_there(&view, to);
    }
}
