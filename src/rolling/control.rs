//! Control planes: one change at a time, and etcd never below its quorum by our hand.
//!
//! A change is: an etcd snapshot, a new machine where one may be made, then of the old one: leadership, address, pods, member,
//! instance, in this order. Without room for a new machine the old one goes first, if the others keep the quorum. The old machine's
//! member is removed before its instance ends: a member that is gone without having been removed still counts (kubeone#3577).

use crate::rolling::{
    Address, Cordon, Decision, FORGETTING, Group, LOOK, Machine, Member, PATIENCE, Quorum, READY, Stage, Step, View, Work,
    in_work,
};
use crate::rolling::{Health, nodes};

/// What control planes ask for next; done where they are at rest.
pub(super) fn next(view: &View) -> Decision {
    let site = Site::new(view);
    for machine in &site.planes {
        if let Some(work) = &machine.work {
            return in_work(view, machine, work);
        }
    }
    if !site.selected().any(|group| site.is_restless(group)) {
        return Decision::Done;
    }
    if let Some(machine) = site.planes.iter().find(|machine| view.is_stuck(machine)) {
        return failed(view, machine);
    }
    let Some(members) = &view.members else { return site.silent() };
    site.tidy(members).or_else(|| site.join(members)).or_else(|| site.restore(members)).unwrap_or_else(|| site.replace(members))
}

pub(super) fn failed(view: &View, machine: &Machine) -> Decision {
    let abort = if view.to.is_none() { "; or --abort" } else { "" };
    super::stuck(view, machine, &format!("mend that, then run the same command again{abort}"))
}

struct Site<'a> {
    view: &'a View,
    planes: Vec<&'a Machine>,
}

impl<'a> Site<'a> {
    fn new(view: &'a View) -> Self {
        let of_control = |machine: &&Machine| view.groups.get(machine.group).is_some_and(|group| group.control_plane);
        Self { view, planes: view.machines.iter().filter(of_control).collect() }
    }

    fn group(&self, machine: &Machine) -> Option<&'a Group> {
        self.view.groups.get(machine.group)
    }

    /// Places in [`View::groups`].
    fn selected(&self) -> impl Iterator<Item = usize> + '_ {
        let groups = self.view.groups.iter().enumerate();
        groups.filter(|(_, group)| group.control_plane && group.selected).map(|(number, _)| number)
    }

    fn of(&self, group: usize) -> impl Iterator<Item = &'a Machine> + '_ {
        self.planes.iter().copied().filter(move |machine| machine.group == group)
    }

    /// How many machines a group has beyond its count; negative: too few.
    fn surplus(&self, group: usize) -> i64 {
        let live = self.of(group).filter(|machine| machine.is_live()).count();
        let count = self.view.groups.get(group).map_or(0, |group| group.count);
        i64::try_from(live).unwrap_or(i64::MAX) - i64::from(count)
    }

    fn is_restless(&self, group: usize) -> bool {
        let orphan = self.view.members.iter().flatten().any(|member| self.machine_of(member).is_none());
        let machine = |machine: &Machine| {
            machine.stage != Stage::Joined
                || machine.is_leaving()
                || machine.address != Address::Published
                || (machine.is_behind() && !self.view.abort)
        };
        orphan || self.surplus(group) != 0 || self.of(group).any(machine)
    }

    fn machine_of(&self, member: &Member) -> Option<&'a Machine> {
        self.planes.iter().copied().find(|machine| !machine.instance.is_empty() && machine.instance == member.instance)
    }

    fn silent(&self) -> Decision {
        let until = self.view.told + PATIENCE;
        match self.view.now < until {
            true => Decision::Wait { what: "etcd to tell its members".into(), until },
            false => Decision::blocked(
                "etcd does not tell its members, so nothing may be taken from it or added to it",
                "kubewright validate names what blocks; then run the same command again",
            ),
        }
    }

    fn step(&self, machine: &Machine, work: Work) -> Decision {
        Decision::Do(Step { slot: machine.slot.clone(), group: machine.group, work })
    }

    /// What is left of machines that are gone, and of members whose machine is.
    fn tidy(&self, members: &[Member]) -> Option<Decision> {
        if let Some(member) = members.iter().find(|member| self.machine_of(member).is_none()) {
            let what = format!("etcd has a member {} that belongs to no machine of this cluster", member.id);
            return Some(Decision::blocked(what, format!("on a control plane:  etcdctl member remove {}", member.id)));
        }
        for machine in self.selected().flat_map(|group| self.of(group)) {
            let member = member_of(members, machine);
            match (machine.stage, member) {
                (Stage::Lost, Some(member)) => return Some(self.remove(members, machine, member)),
                (Stage::Lost, None) => return Some(self.step(machine, Work::Clear)),
                // Its member was removed: its API server stores nothing any more.
                (Stage::Joined, None) if machine.is_leaving() || machine.is_dead(self.view.now) || was_leaving(machine) => {
                    return Some(self.headless(machine));
                }
                (Stage::Joined, None) => {
                    return Some(Decision::blocked(
                        format!("control plane {} has no member in etcd", machine.slot),
                        format!("terminate {}, then run the same command again", machine.instance),
                    ));
                }
                _ => {}
            }
        }
        None
    }

    /// A control plane without a member, which may have been dead while that was removed, and have come back since.
    fn headless(&self, machine: &Machine) -> Decision {
        let until = machine.since + PATIENCE;
        match machine {
            Machine { address: Address::Published, .. } => self.step(machine, Work::Withdraw),
            _ if machine.drained || machine.is_dead(self.view.now) => self.step(machine, Work::Terminate),
            _ if !machine.is_ready() && self.view.now < until => {
                Decision::Wait { what: format!("{} to be Ready, or dead", machine.slot), until }
            }
            Machine { cordon: Cordon::No, .. } if machine.is_ready() => self.step(machine, Work::Cordon),
            _ if machine.is_ready() => nodes::drain(self.view, machine),
            _ => Decision::blocked(
                format!("control plane {} has no member in etcd, and cannot be asked", machine.slot),
                format!("terminate {}, then run the same command again", machine.instance),
            ),
        }
    }

    /// A machine that an earlier run, or an earlier step, has made.
    fn join(&self, members: &[Member]) -> Option<Decision> {
        let mut made = self.selected().flat_map(|group| self.of(group)).filter(|machine| machine.stage == Stage::Created);
        let machine = made.next()?;
        let member = member_of(members, machine);
        if machine.is_behind() || (self.view.abort && self.surplus(machine.group) > 0) {
            return Some(match member {
                Some(member) => self.remove(members, machine, member),
                None => self.step(machine, Work::Clear),
            });
        }
        if let Some(learner) = members.iter().find(|other| other.learner && Some(*other) != member) {
            return Some(self.learning(learner));
        }
        let quorum = Quorum::of(members);
        let added = usize::from(member.is_none_or(|member| member.learner));
        let after = Quorum { voters: quorum.voters + added, healthy: quorum.healthy + added };
        if !quorum.is_kept() || !after.is_kept() {
            return Some(self.ill(members, None).unwrap_or_else(|| no_quorum(machine, quorum, "joins")));
        }
        Some(self.step(machine, Work::Join))
    }

    /// Machines that stay get back what a roll took from them.
    fn restore(&self, members: &[Member]) -> Option<Decision> {
        for group in self.selected() {
            let surplus = self.surplus(group);
            let target = self.target(members, group).filter(|machine| surplus > 0 || (machine.is_behind() && !self.view.abort));
            for machine in self.of(group).filter(|machine| machine.stage == Stage::Joined) {
                if target.is_some_and(|target| target.slot == machine.slot) {
                    continue;
                }
                if machine.cordon == Cordon::Ours {
                    return Some(self.step(machine, Work::Uncordon));
                }
                if machine.address != Address::Published && machine.is_ready() {
                    return Some(self.step(machine, Work::Publish));
                }
            }
        }
        None
    }

    fn replace(&self, members: &[Member]) -> Decision {
        for number in self.selected() {
            let Some(group) = self.view.groups.get(number) else { continue };
            let surplus = self.surplus(number);
            let target = self.target(members, number);
            if surplus > 0
                && let Some(target) = target
            {
                return self.ill(members, Some(target)).unwrap_or_else(|| self.leave(members, target));
            }
            if surplus < 0 {
                return self.ill(members, None).unwrap_or_else(|| self.create(number, group, None));
            }
            let Some(target) = target.filter(|machine| machine.is_behind() && !self.view.abort) else { continue };
            if let Some(wait) = self.ill(members, Some(target)) {
                return wait;
            }
            let first = group.max_surge > 0 && group.refused.is_none() && !target.is_dead(self.view.now);
            if !first {
                return self.leave(members, target);
            }
            if self.view.snapshot.as_deref() != Some(&target.instance) {
                return self.step(target, Work::Snapshot);
            }
            return self.create(number, group, Some(target));
        }
        // Restless, and nothing to be done about it: what there is to wait for.
        let late = self.planes.iter().find(|machine| machine.address != Address::Published);
        match late {
            Some(machine) => self.unwell(machine).unwrap_or(Decision::Done),
            None => Decision::Done,
        }
    }

    /// Which machine of a group goes next: one that has begun to go, then one that is dead, out of the fullest zone, the leader last.
    fn target(&self, members: &[Member], group: usize) -> Option<&'a Machine> {
        let surplus = self.surplus(group) > 0;
        let leads = |machine: &Machine| member_of(members, machine).is_some_and(|member| member.leader);
        let in_zone =
            |machine: &Machine| self.of(group).filter(|other| other.is_live() && other.slot.zone == machine.slot.zone).count();
        let of_group = self.of(group).filter(|machine| machine.stage == Stage::Joined);
        of_group.filter(|machine| surplus || machine.is_behind()).min_by_key(|machine| {
            let begun = machine.is_leaving() || (machine.is_behind() && self.view.snapshot.as_deref() == Some(&machine.instance));
            // Of several that have begun, the one that got furthest.
            (
                !machine.drained,
                self.view.abort && self.view.is_kept(machine),
                !begun,
                !machine.is_behind(),
                !machine.is_dead(self.view.now),
                // Zones stay even, also where it is a machine too many that goes.
                std::cmp::Reverse(in_zone(machine)),
                leads(machine),
                &machine.slot,
            )
        })
    }

    fn create(&self, number: usize, group: &Group, instead_of: Option<&Machine>) -> Decision {
        if let Some(why) = &group.refused {
            return Decision::blocked(
                format!("no control plane can be made in {}: {why}", group.name),
                "make room for one, then run the same command again",
            );
        }
        let zone = instead_of.map(|machine| machine.slot.zone.clone());
        let slot = nodes::free_slot(self.view, number, group, zone);
        Decision::Do(Step { slot, group: number, work: Work::Create })
    }

    /// The next step on the way out of a control plane that works, or that is dead.
    fn leave(&self, members: &[Member], target: &Machine) -> Decision {
        let Some(member) = member_of(members, target) else { return self.step(target, Work::Terminate) };
        let quorum = Quorum::without(members, &member.id);
        if !quorum.is_kept() {
            let why = self.group(target).and_then(|group| group.refused.clone());
            return match why {
                Some(why) => Decision::blocked(
                    format!(
                        "{} cannot be replaced: no new machine can be made ({why}), and without it etcd has {quorum}",
                        target.slot
                    ),
                    "make room for one more machine, then run the same command again",
                ),
                None => no_quorum(target, quorum, "goes"),
            };
        }
        if self.view.snapshot.as_deref() != Some(&target.instance) {
            return self.step(target, Work::Snapshot);
        }
        if member.leader
            && let Some(to) = self.successor(members, target)
        {
            return self.step(target, Work::MoveLeader { to });
        }
        let alive = !target.is_dead(self.view.now);
        match target.address {
            Address::Published => return self.step(target, Work::Withdraw),
            _ if target.cordon == Cordon::No && alive => return self.step(target, Work::Cordon),
            _ if !target.drained && alive => return nodes::drain(self.view, target),
            Address::Withdrawn(at) if self.view.now < at + FORGETTING && alive => {
                let what = format!("clients to forget the address of {}", target.slot);
                return Decision::Wait { what, until: at + FORGETTING };
            }
            _ => {}
        }
        self.remove(members, target, member)
    }

    /// The last look before a member goes.
    fn remove(&self, members: &[Member], machine: &Machine, member: &Member) -> Decision {
        // The others must keep the quorum, and those that there are must have one: they are asked.
        let (before, after) = (Quorum::of(members), Quorum::without(members, &member.id));
        match before.is_kept() && after.is_kept() {
            true => self.step(machine, Work::RemoveMember(member.id.clone())),
            false => self
                .ill(members, Some(machine))
                .unwrap_or_else(|| no_quorum(machine, if before.is_kept() { after } else { before }, "goes")),
        }
    }

    /// A healthy voter that takes over; one that stays rather than one that goes next.
    fn successor(&self, members: &[Member], target: &Machine) -> Option<crate::desired::Slot> {
        let able = members.iter().filter(|member| !member.learner && member.healthy == Some(true));
        let machines = able.filter_map(|member| self.machine_of(member));
        let others = machines.filter(|machine| machine.slot != target.slot && machine.is_ready());
        others.min_by_key(|machine| (machine.is_behind(), &machine.slot)).map(|machine| machine.slot.clone())
    }

    /// Why nothing may be begun: a member or a control plane that is not well, but for the one that goes.
    fn ill(&self, members: &[Member], but: Option<&Machine>) -> Option<Decision> {
        for member in members {
            let machine = self.machine_of(member);
            if machine.is_some_and(|machine| but.is_some_and(|but| but.slot == machine.slot)) {
                continue;
            }
            if member.learner {
                return Some(self.learning(member));
            }
            let name = machine.map_or_else(|| member.id.clone(), |machine| machine.slot.to_string());
            let until = member.since + PATIENCE;
            match member.healthy {
                Some(true) => {}
                _ if self.view.now < until => return Some(Decision::Wait { what: format!("the etcd member of {name}"), until }),
                Some(false) if self.view.force => {}
                health => {
                    let is = if health.is_none() { "is silent" } else { "is not healthy" };
                    let what = format!("the etcd member of {name} {is}: {}", Quorum::of(members));
                    return Some(Decision::blocked(what, MEND));
                }
            }
        }
        let others = self.planes.iter().filter(|machine| but.is_none_or(|but| but.slot != machine.slot));
        others.filter(|machine| machine.stage == Stage::Joined && !machine.is_ready()).find_map(|machine| self.unwell(machine))
    }

    fn learning(&self, member: &Member) -> Decision {
        let name = self.machine_of(member).map_or_else(|| member.id.clone(), |machine| machine.slot.to_string());
        let until = member.since + READY;
        match self.view.now < until {
            true => Decision::Wait { what: format!("the etcd member of {name} to catch up"), until },
            false => Decision::blocked(
                format!("the etcd member of {name} has been a learner for {} min", (self.view.now - member.since) / 60),
                "look at the log of etcd there; or --abort, which takes it out again",
            ),
        }
    }

    /// A control plane that stays and is not Ready.
    fn unwell(&self, machine: &Machine) -> Option<Decision> {
        let (patience, why) = match &machine.health {
            Health::Ready => return None,
            Health::NotReady(_) if machine.ill_before && self.view.force => return None,
            Health::NotReady(why) => (if machine.ill_before { 0 } else { PATIENCE }, why.as_str()),
            Health::Unknown => (PATIENCE, "it cannot be asked"),
        };
        let until = machine.since + patience;
        Some(match self.view.now < until {
            true => {
                Decision::Wait { what: format!("{} to be Ready: {why}", machine.slot), until: until.max(self.view.now + LOOK) }
            }
            false => Decision::blocked(format!("control plane {} is not Ready: {why}", machine.slot), MEND),
        })
    }
}

const MEND: &str =
    "kubewright validate says what to do; --force goes on with what was unhealthy before, as far as the quorum allows";

fn no_quorum(machine: &Machine, quorum: Quorum, does: &str) -> Decision {
    Decision::blocked(
        format!("etcd would lose its quorum if {} {does}: {quorum}", machine.slot),
        "kubewright validate names the members that are not healthy; mend them, then run the same command again",
    )
}

fn member_of<'a>(members: &'a [Member], machine: &Machine) -> Option<&'a Member> {
    members.iter().find(|member| !machine.instance.is_empty() && member.instance == machine.instance)
}

/// A record that was lost said so: what a roll had done to it by then is still to be seen.
fn was_leaving(machine: &Machine) -> bool {
    machine.is_behind() && machine.address == Address::None && machine.cordon != Cordon::No
}
