//! What a roll will do, step by step: [`next_step`] asked against a cluster in which everything goes well.

use crate::rolling::{Address, Cordon, Decision, Health, Machine, Member, Quorum, Stage, Step, Time, View, Work, next_step};

/// One step of a roll that goes well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Seconds after the start.
    pub at: Time,
    pub step: Step,
    /// Of etcd, after a step that changes its members, or during one that stops a member for a moment.
    pub quorum: Option<Quorum>,
}

/// A whole roll that goes well.
pub struct Outline {
    /// In the order of their starts.
    pub lines: Vec<Line>,
    pub seconds: Time,
    /// What stops it, if something does.
    pub end: Decision,
    /// As the cluster is then.
    pub view: View,
}

/// The steps in the order of their starts, how long they take in all, and what stops them if something does; `at_once` machines
/// are connected to at the same time, at most.
pub fn outline(view: &View, at_once: usize) -> (Vec<Line>, Time, Decision) {
    let Outline { lines, seconds, end, .. } = outlined(view, at_once);
    (lines, seconds, end)
}

/// As [`outline`], with what it leads to.
pub fn outlined(view: &View, at_once: usize) -> Outline {
    let mut view = view.clone();
    let begun = view.now;
    let mut lines = vec![];
    // Each step of each machine once, and room for waits: a defect must not hang a dry run.
    for _ in 0..view.machines.len() * 64 + 64 {
        let busy = view.machines.iter().filter(|machine| machine.work.as_ref().is_some_and(Work::is_over_ssh)).count();
        let decision = match next_step(&view) {
            Decision::Do(step) if step.work.is_over_ssh() && busy >= at_once.max(1) => {
                Decision::Wait { what: step.slot.to_string(), until: Time::MAX }
            }
            decision => decision,
        };
        match decision {
            Decision::Do(step) => {
                let quorum = begin(&mut view, &step);
                lines.push(Line { at: view.now - begun, step, quorum });
            }
            Decision::Wait { until, .. } => {
                let ends = |machine: &Machine| machine.work.as_ref().map(|work| machine.since + takes(machine, work));
                let next = view.machines.iter().filter_map(ends).min().unwrap_or(until).min(until);
                view.now = next.max(view.now);
                view.told = view.now;
                finish(&mut view);
            }
            end @ (Decision::Done | Decision::Blocked(_)) => return Outline { lines, seconds: view.now - begun, end, view },
        }
    }
    let end = Decision::blocked("the order of steps does not come to an end", "please report this");
    Outline { lines, seconds: view.now - begun, end, view }
}

/// Marks a step as in work; gives the quorum that it leads to.
fn begin(view: &mut View, step: &Step) -> Option<Quorum> {
    let now = view.now;
    if step.work == Work::Create {
        let made =
            Machine { stage: Stage::Requested, ..Machine::new(step.slot.clone(), &format!("new {}", step.slot), step.group) };
        view.machines.push(made);
    }
    let control_plane = view.groups.get(step.group).is_some_and(|group| group.control_plane);
    let machine = view.machines.iter_mut().find(|machine| machine.slot == step.slot)?;
    machine.work = Some(step.work.clone());
    machine.since = now;
    let instance = machine.instance.clone();
    let mut members = view.members.clone()?;
    match &step.work {
        Work::Join if control_plane => members.push(voter(&instance, now)),
        Work::RemoveMember(id) => members.retain(|member| member.id != *id),
        // Its member is away for a moment.
        Work::Upgrade { .. } if control_plane => return Some(Quorum::of(&members).less(1)),
        _ => return None,
    }
    Some(Quorum::of(&members))
}

fn voter(instance: &str, now: Time) -> Member {
    Member { id: instance.into(), instance: instance.into(), learner: false, healthy: Some(true), since: now, leader: false }
}

/// A budget keeps its pods for ever.
fn never(machine: &Machine) -> bool {
    machine.blockers.iter().any(|blocker| blocker.never)
}

/// Seconds that a work usually takes; a drain that nothing can end has all of its time.
fn takes(machine: &Machine, work: &Work) -> Time {
    match work {
        Work::Drain { within, force: false } if never(machine) => *within,
        work => work.usual(),
    }
}

/// Ends what has taken its usual time.
fn finish(view: &mut View) {
    let (now, to) = (view.now, view.to);
    let done = |machine: &Machine| machine.work.clone().filter(|work| machine.since + takes(machine, work) <= now);
    let ended: Vec<(usize, Work)> =
        view.machines.iter().enumerate().filter_map(|(place, machine)| Some((place, done(machine)?))).collect();
    let mut gone = vec![];
    for (place, work) in ended {
        let successor = match &work {
            Work::MoveLeader { to } => view.machines.iter().find(|machine| machine.slot == *to).map(|to| to.instance.clone()),
            _ => None,
        };
        let Some(machine) = view.machines.get_mut(place) else { continue };
        let control_plane = view.groups.get(machine.group).is_some_and(|group| group.control_plane);
        machine.work = None;
        machine.since = now;
        match work {
            Work::Create => machine.stage = Stage::Created,
            Work::Join => {
                (machine.stage, machine.health, machine.kubelet) = (Stage::Joined, Health::Ready, to);
                if control_plane {
                    let member = voter(&machine.instance, now);
                    view.members.get_or_insert_default().push(member);
                }
            }
            Work::Publish => machine.address = Address::Published,
            Work::Withdraw => machine.address = Address::Withdrawn(now),
            Work::Snapshot => view.snapshot = Some(machine.instance.clone()),
            Work::MoveLeader { .. } => {
                for member in view.members.iter_mut().flatten() {
                    member.leader = successor.as_ref() == Some(&member.instance);
                }
            }
            Work::Cordon => machine.cordon = Cordon::Ours,
            Work::Uncordon => (machine.cordon, machine.drained) = (Cordon::No, false),
            Work::Drain { force: false, .. } if never(machine) => machine.overdue = Some("a budget keeps them".into()),
            Work::Drain { .. } => (machine.drained, machine.overdue) = (true, None),
            Work::RemoveMember(id) => view.members.iter_mut().for_each(|members| members.retain(|member| member.id != id)),
            Work::Upgrade { to, .. } => {
                (machine.kubelet, machine.health) = (Some(to), Health::Ready);
                machine.api = control_plane.then_some(to);
            }
            Work::Terminate | Work::Clear => gone.push(machine.slot.clone()),
        }
    }
    view.machines.retain(|machine| !gone.contains(&machine.slot));
}
