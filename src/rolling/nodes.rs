//! Node groups: as many new machines as `max_surge` allows, as few missing ones as `max_unavailable` does, zones even throughout.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::desired::Slot;
use crate::rolling::{
    Cordon, Decision, FORCED, Group, Health, LOOK, Machine, PATIENCE, READY, Stage, Step, Time, View, Work, control, in_work,
};

/// What a group asks for next; done where it is at rest.
pub(super) fn next(view: &View, number: usize, group: &Group) -> Decision {
    let machines: Vec<&Machine> = view.machines.iter().filter(|machine| machine.group == number).collect();
    let waits = view.then.is_some() && !machines.iter().any(|machine| view.is_due(machine));
    let crew = Crew { view, number, group, machines, rests: view.abort || waits };
    if !group.selected {
        return crew.leave_alone();
    }
    let step = crew.begun().or_else(|| crew.fill()).or_else(|| crew.go_on()).or_else(|| crew.begin());
    step.unwrap_or_else(|| crew.rest())
}

/// How many machines of a group must be available for one of them to be taken away: the count without `max_unavailable`, and without
/// those that stay and were not available before the roll began.
pub fn floor(view: &View, number: usize, group: &Group) -> usize {
    let out_before = |machine: &&Machine| {
        let foreign = machine.cordon == Cordon::Foreign;
        machine.group == number && !view.is_due(machine) && !machine.is_available() && (machine.ill_before || foreign)
    };
    let ill = view.machines.iter().filter(|machine| machine.stage == Stage::Joined).filter(out_before).count();
    (group.count.saturating_sub(group.max_unavailable) as usize).saturating_sub(ill)
}

/// The machines of one group.
struct Crew<'a> {
    view: &'a View,
    number: usize,
    group: &'a Group,
    machines: Vec<&'a Machine>,
    /// Nothing is begun, and what was begun is finished or undone.
    rests: bool,
}

impl<'a> Crew<'a> {
    fn step(&self, machine: &Machine, work: Work) -> Decision {
        Decision::Do(Step { slot: machine.slot.clone(), group: self.number, work })
    }

    fn idle(&self) -> impl Iterator<Item = &'a Machine> + '_ {
        self.machines.iter().copied().filter(|machine| machine.work.is_none() && !self.view.is_stuck(machine))
    }

    /// Instances that there are; one that is ending is still one.
    fn live(&self) -> usize {
        self.machines.iter().filter(|machine| machine.is_live()).count()
    }

    fn count(&self) -> usize {
        self.group.count as usize
    }

    fn available(&self) -> usize {
        self.machines.iter().filter(|machine| machine.is_available()).count()
    }

    /// Machines that will be there in the end.
    fn staying(&self) -> usize {
        let stays = |machine: &&&Machine| machine.is_live() && !self.view.is_due(machine) && !self.is_ending(machine);
        self.machines.iter().filter(stays).count()
    }

    fn is_stuck(&self) -> bool {
        self.machines.iter().any(|machine| self.view.is_stuck(machine))
    }

    fn is_ending(&self, machine: &Machine) -> bool {
        matches!(machine.work, Some(Work::Terminate | Work::Clear))
    }

    /// Only what an earlier run took from machines of a group that nobody asked for.
    fn leave_alone(&self) -> Decision {
        let cordoned = self.idle().find(|machine| machine.stage == Stage::Joined && machine.cordon == Cordon::Ours);
        let undone = cordoned.map(|machine| self.step(machine, Work::Uncordon));
        undone.or_else(|| self.busy()).unwrap_or_else(|| match self.machines.iter().find(|machine| self.view.is_stuck(machine)) {
            Some(machine) => control::failed(self.view, machine),
            None => Decision::Done,
        })
    }

    /// Leftovers and machines on their way in.
    fn begun(&self) -> Option<Decision> {
        for machine in self.idle() {
            let unwanted = self.view.is_due(machine) || (self.rests && self.live() - self.ending() > self.count());
            match machine.stage {
                Stage::Lost => return Some(self.step(machine, Work::Clear)),
                Stage::Created if unwanted => return Some(self.step(machine, Work::Clear)),
                Stage::Created => return Some(self.step(machine, Work::Join)),
                _ => {}
            }
        }
        None
    }

    /// Machines that are missing, and new ones before old ones go.
    fn fill(&self) -> Option<Decision> {
        let live = self.live();
        let surge = if self.rests { 0 } else { self.group.max_surge as usize };
        let missing = live < self.count();
        let ahead = self.staying() < self.count() && live < self.count() + surge;
        // A failed one must be mended first: the next would fail as well.
        if self.group.refused.is_some() || self.is_stuck() || !(missing || ahead) {
            return None;
        }
        let slot = free_slot(self.view, self.number, self.group, None);
        Some(Decision::Do(Step { slot, group: self.number, work: Work::Create }))
    }

    /// Machines whose way out has begun, in this run or in an earlier one.
    fn go_on(&self) -> Option<Decision> {
        let leaving = || self.idle().filter(|machine| machine.stage == Stage::Joined && machine.is_leaving());
        leaving().next()?;
        let goes: Vec<&Slot> = self.going().into_iter().map(|machine| &machine.slot).collect();
        for machine in leaving() {
            if !goes.contains(&&machine.slot) {
                // A cordon of somebody else's is theirs to take back.
                if machine.cordon == Cordon::Ours {
                    return Some(self.step(machine, Work::Uncordon));
                }
                continue;
            }
            if machine.drained || machine.is_dead(self.view.now) {
                return Some(self.step(machine, Work::Terminate));
            }
            if !machine.is_ready() {
                continue;
            }
            // Others were lost since: it is needed more than its replacement is.
            if machine.cordon == Cordon::Ours && self.available() < floor(self.view, self.number, self.group) {
                return Some(self.step(machine, Work::Uncordon));
            }
            return Some(drain(self.view, machine));
        }
        None
    }

    /// Machines that may go, the first one first: those that have begun to, then the dead, then out of the fullest zone.
    fn going(&self) -> Vec<&'a Machine> {
        let joined =
            || self.machines.iter().copied().filter(|machine| machine.stage == Stage::Joined && !self.is_ending(machine));
        let surplus = joined().count().saturating_sub(self.count());
        let counts = self.counts();
        let mut going: Vec<&Machine> =
            if self.rests { vec![] } else { joined().filter(|machine| self.view.is_due(machine)).collect() };
        if going.len() < surplus {
            // The old ones first: what was begun is finished rather than undone.
            let mut all: Vec<&Machine> = joined().collect();
            all.sort_by_cached_key(|machine| {
                let begun = (!machine.drained, self.rests && self.view.is_kept(machine), !machine.is_leaving());
                (begun, !self.view.is_old(machine), self.order(machine, &counts))
            });
            going = all.into_iter().take(surplus).collect();
        }
        going.sort_by_cached_key(|machine| (!machine.is_leaving(), self.order(machine, &counts)));
        going
    }

    fn ending(&self) -> usize {
        self.machines.iter().filter(|machine| machine.is_live() && self.is_ending(machine)).count()
    }

    /// Live machines in each zone of the group; one that is ending is none.
    fn counts(&self) -> Vec<usize> {
        let of = |zone: &String| {
            let counts = |other: &&&Machine| other.is_live() && !self.is_ending(other) && other.slot.zone == *zone;
            self.machines.iter().filter(counts).count()
        };
        self.group.zones.iter().map(of).collect()
    }

    fn order(&self, machine: &Machine, counts: &[usize]) -> (bool, Reverse<usize>, Reverse<u32>) {
        let zone = self.group.zones.iter().position(|zone| *zone == machine.slot.zone);
        // A zone that the group no longer has is left first.
        let in_zone = zone.and_then(|zone| counts.get(zone).copied()).unwrap_or(usize::MAX);
        let surplus_first = if self.view.is_old(machine) { u32::MAX - machine.slot.n } else { machine.slot.n };
        (!machine.is_dead(self.view.now), Reverse(in_zone), Reverse(surplus_first))
    }

    /// The next machine to take away, if that leaves enough.
    fn begin(&self) -> Option<Decision> {
        if self.is_stuck() {
            return None;
        }
        let floor = floor(self.view, self.number, self.group);
        let available = self.available();
        let fit = |machine: &&Machine| machine.work.is_none() && !machine.is_leaving() && !self.view.is_kept(machine);
        for machine in self.going().into_iter().filter(fit) {
            let dead = machine.is_dead(self.view.now);
            // One that is not well for a moment is waited for: its pods may still run.
            if !machine.is_ready() && !dead {
                continue;
            }
            if machine.cordon == Cordon::Foreign {
                return Some(if dead { self.step(machine, Work::Terminate) } else { drain(self.view, machine) });
            }
            if dead || available > floor {
                return Some(self.step(machine, Work::Cordon));
            }
        }
        None
    }

    /// The work that is waited for, if there is some.
    fn busy(&self) -> Option<Decision> {
        let mut busy = self.machines.iter().filter_map(|machine| Some((*machine, machine.work.as_ref()?)));
        busy.next().map(|(machine, work)| in_work(self.view, machine, work))
    }

    /// Nothing can be begun: what is waited for, or what blocks.
    fn rest(&self) -> Decision {
        if let Some(wait) = self.busy() {
            return wait;
        }
        if let Some(machine) = self.machines.iter().find(|machine| self.view.is_stuck(machine)) {
            return control::failed(self.view, machine);
        }
        let going = self.going();
        if going.is_empty() && self.live() == self.count() {
            return Decision::Done;
        }
        if let Some((machine, until, why)) = self.late() {
            let what = format!("{} to be Ready: {why}", machine.slot);
            return match self.view.now < until {
                true => Decision::Wait { what, until: until.max(self.view.now + LOOK) },
                false => Decision::blocked(
                    format!("node {} is not Ready: {why}", machine.slot),
                    "kubewright validate says why; terminate the machine or mend it, then run the same command again",
                ),
            };
        }
        if let Some(why) = &self.group.refused {
            let hint = if self.group.max_unavailable == 0 && self.view.to.is_none() {
                "; or set max_unavailable = 1 for the group"
            } else {
                ""
            };
            return Decision::blocked(
                format!("no machine can be made in {}: {why}", self.group.name),
                format!("make room for one, then run the same command again{hint}"),
            );
        }
        let never = |machine: &Machine| machine.blockers.iter().find(|blocker| blocker.never).cloned();
        let kept = going.iter().filter(|machine| self.view.is_kept(machine)).find_map(|machine| Some((machine, never(machine)?)));
        match kept {
            Some((machine, blocker)) => Decision::blocked(
                format!("{} would never be drained: {blocker}", machine.slot),
                format!("change {}, or run one more replica of what it protects", blocker.budget),
            ),
            None => Decision::blocked(
                format!(
                    "{}: {} of {} nodes are available, and none of them may be missing (max_unavailable = {})",
                    self.group.name,
                    self.available(),
                    self.group.count,
                    self.group.max_unavailable
                ),
                "uncordon or mend the others; kubewright validate names them",
            ),
        }
    }

    /// A node that is not Ready and may still become so, or has had its time.
    fn late(&self) -> Option<(&'a Machine, Time, &'a str)> {
        let joined = self.machines.iter().copied().filter(|machine| machine.stage == Stage::Joined && !machine.is_ready());
        let known = joined.filter(|machine| !machine.ill_before || self.view.is_due(machine));
        known
            .map(|machine| {
                let patience = if self.view.is_due(machine) { PATIENCE } else { READY };
                let why = match &machine.health {
                    Health::NotReady(why) => why.as_str(),
                    Health::Unknown | Health::Ready => "it cannot be asked",
                };
                (machine, machine.since + patience, why)
            })
            .min_by_key(|(_, until, _)| *until)
    }
}

/// Evicts the pods of a machine, unless it is known that this can never end; deletes them where that had its time.
pub(super) fn drain(view: &View, machine: &Machine) -> Decision {
    let kept = machine.blockers.iter().find(|blocker| blocker.never && view.is_kept(machine));
    if let Some(blocker) = kept {
        let what = format!("{} would never be drained: {blocker}", machine.slot);
        let abort = if view.to.is_none() { "; or --abort" } else { "" };
        let next = format!("change {}, or run one more replica of what it protects{abort}", blocker.budget);
        return Decision::blocked(what, next);
    }
    let timeout = view.groups.get(machine.group).map_or(0, |group| group.drain_timeout);
    let work = match machine.overdue {
        // Pods have a grace of their own, which is not what the time of a drain was chosen for.
        Some(_) => Work::Drain { within: timeout.max(FORCED), force: true },
        None => Work::Drain { within: timeout, force: false },
    };
    Decision::Do(Step { slot: machine.slot.clone(), group: machine.group, work })
}

/// A place for a new machine: in the given zone, or where the fewest are; the lowest number that is free there.
pub(super) fn free_slot(view: &View, number: usize, group: &Group, zone: Option<String>) -> Slot {
    let of_group = || view.machines.iter().filter(|machine| machine.group == number);
    let zone = zone.filter(|zone| group.zones.contains(zone)).or_else(|| {
        let missing = of_group().filter(|machine| machine.is_live()).count() < group.count as usize;
        let fewest = group.zones.iter().enumerate().min_by_key(|(place, zone)| {
            let there = || of_group().filter(|machine| machine.is_live() && machine.slot.zone == **zone);
            let (all, staying) = (there().count(), there().filter(|machine| !view.is_old(machine)).count());
            // One that is missing is made where it is missing; one ahead of its time where the next one goes.
            if missing { (all, staying, *place) } else { (staying, usize::MAX - all, *place) }
        });
        fewest.map(|(_, zone)| zone.clone())
    });
    let zone = zone.unwrap_or_default();
    let taken: BTreeSet<u32> = of_group().filter(|machine| machine.slot.zone == zone).map(|machine| machine.slot.n).collect();
    let n = (1..).find(|n| !taken.contains(n)).unwrap_or(1);
    Slot { group: group.name.clone(), zone, n }
}
