//! What the simulator has found, each kept as the smallest view that shows it. The seed is that of the schedule it was found in.

use kubewright::desired::Slot;
use kubewright::rolling::{Address, Blocker, Cordon, Decision, Group, Machine, Member, Stage, Step, View, Work, next_step};

use crate::schedule::ZONES;

/// Three zones, a control-plane group and a node group of these counts, all of it well.
pub fn view(planes: u32, nodes: u32) -> View {
    let group = |name: &str, count| Group {
        name: name.into(),
        control_plane: name == "cp",
        count,
        max_surge: 1,
        zones: ZONES.map(str::to_owned).to_vec(),
        selected: true,
        ..Group::default()
    };
    let mut view = View { now: 1_000, told: 1_000, groups: vec![group("cp", planes), group("n", nodes)], ..View::default() };
    view.members = Some(vec![]);
    for (group, count) in [(0, planes), (1, nodes)] {
        for n in 0..count {
            add(&mut view, group, n as usize % 3, n / 3 + 1);
        }
    }
    view
}

/// A machine more, and its member.
pub fn add(view: &mut View, group: usize, zone: usize, n: u32) -> usize {
    let slot = Slot { group: view.groups[group].name.clone(), zone: ZONES[zone].into(), n };
    let instance = format!("i-{slot}");
    let mut machine = Machine::new(slot, &instance, group);
    if group == 0 {
        machine.address = Address::Published;
        let members = view.members.get_or_insert_default();
        let leader = members.is_empty();
        members.push(Member { id: instance.clone(), instance, learner: false, healthy: Some(true), since: 0, leader });
    }
    view.machines.push(machine);
    view.machines.len() - 1
}

pub fn all_behind(view: &mut View) {
    view.machines.iter_mut().for_each(|machine| machine.behind = vec!["image".into()]);
}

pub fn step(view: &View) -> Step {
    match next_step(view) {
        Decision::Do(step) => step,
        other => panic!("{other:?}"),
    }
}

/// Seed 1511.
#[test]
fn an_instance_that_is_being_cleared_away_is_still_one() {
    let mut view = view(1, 2);
    view.machines[1].behind = vec!["image".into()];
    let made = add(&mut view, 1, 2, 1);
    (view.machines[made].stage, view.machines[made].work) = (Stage::Created, Some(Work::Clear));
    assert!(matches!(next_step(&view), Decision::Wait { .. }), "a third one beside it: {:?}", next_step(&view));
}

/// Seed 2222.
#[test]
fn a_control_plane_that_came_back_after_its_member_was_removed_is_drained_and_ended() {
    let mut view = view(3, 0);
    view.machines[1].address = Address::Withdrawn(0);
    view.members.as_mut().unwrap().remove(1);
    assert_eq!(step(&view).work, Work::Cordon);
    view.machines[1].cordon = Cordon::Ours;
    assert!(matches!(step(&view).work, Work::Drain { force: false, .. }));
    view.machines[1].drained = true;
    assert_eq!(step(&view).work, Work::Terminate);
}

/// Seed 4912.
#[test]
fn a_roll_is_not_done_while_it_uncordons() {
    let mut view = view(1, 2);
    view.groups[1].selected = false;
    view.machines[1].cordon = Cordon::Ours;
    assert_eq!(step(&view).work, Work::Uncordon);
    view.machines[1].work = Some(Work::Uncordon);
    assert!(matches!(next_step(&view), Decision::Wait { .. }));
}

/// Seed 16615.
#[test]
fn no_member_is_removed_by_an_etcd_that_has_no_quorum_to_do_it() {
    let mut view = view(2, 0);
    view.machines[1].stage = Stage::Lost;
    view.members.as_mut().unwrap()[1].healthy = Some(false);
    let Decision::Blocked(stop) = next_step(&view) else { panic!("{:?}", next_step(&view)) };
    assert!(stop.what.contains("1 of 2 etcd members healthy, 2 needed"), "{}", stop.what);
}

/// Seed 16615 as well.
#[test]
fn an_only_control_plane_whose_replacement_was_begun_still_gets_a_new_one_first() {
    let mut view = view(1, 0);
    all_behind(&mut view);
    view.machines[0].address = Address::Withdrawn(0);
    assert_eq!(step(&view).work, Work::Snapshot);
    view.snapshot = Some(view.machines[0].instance.clone());
    assert_eq!(step(&view).work, Work::Create);
}

/// Seed 16810.
#[test]
fn without_surge_a_new_machine_comes_into_the_zone_that_lacks_one() {
    let mut view = view(3, 0);
    all_behind(&mut view);
    view.groups[0].max_surge = 0;
    view.machines.remove(1);
    view.members.as_mut().unwrap().remove(1);
    let step = step(&view);
    assert_eq!((step.work, step.slot.zone.as_str()), (Work::Create, ZONES[1]));
}

/// Seed 23912.
#[test]
fn what_is_being_cleared_away_does_not_count_for_its_zone() {
    let mut view = view(1, 2);
    view.abort = true;
    let ending = add(&mut view, 1, 0, 2);
    (view.machines[ending].stage, view.machines[ending].work) = (Stage::Created, Some(Work::Clear));
    add(&mut view, 1, 1, 2);
    view.machines[1].behind = vec!["image".into()];
    view.machines[2].behind = vec!["image".into()];
    let step = step(&view);
    assert_eq!((step.work, step.slot.zone.as_str()), (Work::Cordon, ZONES[1]));
}

/// Seed 3831.
#[test]
fn a_new_control_plane_is_not_taken_away_again_because_a_budget_keeps_the_old_one() {
    let mut view = view(3, 0);
    view.machines[0].behind = vec!["image".into()];
    let blocker = Blocker {
        budget: "shop/web".into(),
        pods: vec!["web-0".into()],
        owner: "StatefulSet web".into(),
        since: None,
        never: true,
    };
    view.machines[0].blockers = vec![blocker];
    view.snapshot = Some(view.machines[0].instance.clone());
    view.members.as_mut().unwrap().iter_mut().for_each(|member| member.leader = member.id.contains("1b"));
    (view.machines[0].address, view.machines[0].cordon) = (Address::Withdrawn(0), Cordon::Ours);
    add(&mut view, 0, 0, 2);
    let Decision::Blocked(stop) = next_step(&view) else { panic!("{:?}", next_step(&view)) };
    assert!(stop.what.contains("shop/web"), "{}", stop.what);
    // An abort takes the new one away, and the old one back.
    view.abort = true;
    assert_eq!(step(&view).work, Work::Uncordon);
}

/// Seed 1575175.
#[test]
fn a_control_plane_too_many_goes_out_of_the_fullest_zone() {
    let mut view = view(5, 0);
    add(&mut view, 0, 1, 3);
    let Decision::Do(step) = next_step(&view) else { panic!("{:?}", next_step(&view)) };
    assert_eq!(step.slot.zone, ZONES[1]);
}
