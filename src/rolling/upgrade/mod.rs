//! Upgrade: every machine to one version, control planes first.
//!
//! A control plane is brought there by: an etcd snapshot, leadership and address away, cordon, drain, kubeadm, kubelet, uncordon, address
//! back; one at a time, and only while the other members keep the quorum. While its etcd is replaced its API server takes connections
//! and answers nobody, so clients have to have forgotten it by then. The first one runs `kubeadm upgrade apply`, which moves the cluster's
//! configuration and add-ons; all others `kubeadm upgrade node`. Then node groups beside each other, each within its
//! `max_unavailable`. Kubelets are never newer than the API servers they talk to: a control plane's kubelet talks to its own.
//!
//! Groups of nodes that are replaced instead go by the rules of a roll. Over several versions they are replaced once, in the last hop,
//! unless the kubelets would be too old for the API servers of the next one.

mod course;
mod skew;

pub use course::{NoWay, blocks, changes, course, images};
pub use skew::skew;

use crate::cluster::KubernetesVersion;
use crate::rolling::{
    Address, Cordon, Decision, FORGETTING, Group, Health, LOOK, Machine, Member, PATIENCE, Quorum, READY, Stage, Step, Time,
    View, Work, beside, in_work, node_groups, nodes, stuck,
};

/// What comes next on the way of all machines to this version.
pub(super) fn next(view: &View, to: KubernetesVersion) -> Decision {
    let site = Site { view, to };
    if let Some((machine, work)) = site.planes().find_map(|machine| Some((machine, machine.work.as_ref()?))) {
        return in_work(view, machine, work);
    }
    match site.unfit().or_else(|| site.control_planes()) {
        // What is in work elsewhere has an end of its own.
        Some(stop @ Decision::Blocked(_)) => super::last(view, stop),
        Some(other) => other,
        // Node groups beside each other.
        None => beside(node_groups(view).map(|(number, group)| match group.replace {
            true => site.replace(number, group),
            false => site.group(number, group),
        })),
    }
}

/// Seconds within which a kubelet of another version starts the static pods anew. Its Node is Ready meanwhile, and at first their old
/// containers answer.
pub const SETTLED: Time = 20;
const MEND: &str =
    "kubewright validate says what to do; --force goes on with what was unhealthy before, as far as the quorum allows";
const AGAIN: &str = "mend that, then run the same command again";

struct Site<'a> {
    view: &'a View,
    to: KubernetesVersion,
}

impl<'a> Site<'a> {
    fn planes(&self) -> impl Iterator<Item = &'a Machine> + '_ {
        self.view.machines.iter().filter(|machine| self.is_control(machine))
    }

    fn is_control(&self, machine: &Machine) -> bool {
        self.view.groups.get(machine.group).is_some_and(|group| group.control_plane)
    }

    fn is_replaced(&self, machine: &Machine) -> bool {
        self.view.groups.get(machine.group).is_some_and(|group| group.replace)
    }

    fn is_there(&self, machine: &Machine) -> bool {
        // The kubelet comes last, and starts the static pods anew: an API server that is silent then is waited for, not upgraded again.
        machine.kubelet == Some(self.to) && (!self.is_control(machine) || machine.api.is_none_or(|api| api == self.to))
    }

    fn step(&self, machine: &Machine, work: Work) -> Decision {
        Decision::Do(Step { slot: machine.slot.clone(), group: machine.group, work })
    }

    fn upgrade(&self, machine: &Machine) -> Decision {
        let first = self.is_control(machine) && !self.planes().any(|plane| self.is_there(plane));
        self.step(machine, Work::Upgrade { to: self.to, first })
    }

    /// What stops an upgrade before anything is touched.
    fn unfit(&self) -> Option<Decision> {
        for machine in &self.view.machines {
            let slot = &machine.slot;
            // Whoever died in the middle of it left it ill.
            let begun = machine.cordon == Cordon::Ours || is_away(machine) || self.is_there(machine);
            match (machine.stage, &machine.health) {
                // When its group's turn comes another one is made, or it is brought in.
                (Stage::Lost | Stage::Requested | Stage::Created, _) if self.is_replaced(machine) => {}
                (Stage::Lost, _) => {
                    return Some(Decision::blocked(
                        format!("{slot} is gone"),
                        "kubewright update, or rolling-update, replaces it first",
                    ));
                }
                (Stage::Requested | Stage::Created, _) => {
                    return Some(Decision::blocked(format!("{slot} has not joined"), "kubewright update --yes joins it first"));
                }
                (Stage::Joined, Health::NotReady(why)) if machine.ill_before && !begun && !self.view.force => {
                    return Some(Decision::blocked(format!("{slot} is not Ready: {why}"), MEND));
                }
                _ => {}
            }
            if machine.cordon == Cordon::Foreign && !self.is_there(machine) && !self.view.force {
                let does = if self.is_replaced(machine) { "replaces it" } else { "drains, upgrades and uncordons it" };
                let next = format!("kubectl uncordon {}; or --force, which {does}", machine.instance);
                return Some(Decision::blocked(format!("{slot} is cordoned, and not by kubewright"), next));
            }
            if let Some(newer) = machine.kubelet.max(machine.api).filter(|version| *version > self.to) {
                let what = format!("{slot} runs {newer} already, newer than {}: somebody has upgraded it by hand", self.to);
                return Some(Decision::blocked(what, format!("kubewright upgrade --to {newer} brings all machines there")));
            }
            if let Some(older) = machine.api.filter(|api| api.minor + 1 < self.to.minor) {
                let what = format!("{slot} runs {older}, and no minor may be skipped on the way to {}", self.to);
                return Some(Decision::blocked(what, "terminate it, and kubewright rolling-update makes it anew"));
            }
        }
        None
    }

    fn control_planes(&self) -> Option<Decision> {
        if let Some(machine) = self.planes().find(|machine| self.view.is_stuck(machine)) {
            return Some(stuck(self.view, machine, AGAIN));
        }
        let open = |machine: &&Machine| !self.is_there(machine) || machine.cordon == Cordon::Ours || is_away(machine);
        if !self.planes().any(|machine| open(&machine)) {
            return self.planes().find_map(|machine| self.unwell(machine, PATIENCE));
        }
        let Some(members) = &self.view.members else { return Some(self.silent()) };
        let leads = |machine: &Machine| member_of(members, machine).is_some_and(|member| member.leader);
        let begun = |machine: &Machine| machine.cordon == Cordon::Ours || is_away(machine) || machine.api == Some(self.to);
        let target = self.planes().filter(open).min_by_key(|machine| {
            // What has begun is finished before anything else is touched; the leader goes last.
            (!begun(machine), machine.cordon != Cordon::Ours, leads(machine), &machine.slot)
        })?;
        let others = self.planes().filter(|machine| machine.slot != target.slot);
        if let Some(wait) = others.into_iter().find_map(|machine| self.unwell(machine, PATIENCE)) {
            return Some(wait);
        }
        if self.is_there(target) {
            return Some(self.unwell(target, READY).unwrap_or_else(|| self.back(target)));
        }
        Some(self.ill(members, target).unwrap_or_else(|| self.change(members, target)))
    }

    /// What a control plane that is there gets back.
    fn back(&self, target: &Machine) -> Decision {
        let until = target.since + SETTLED;
        match target.cordon {
            Cordon::Ours => self.step(target, Work::Uncordon),
            _ if self.view.now < until => Decision::Wait { what: format!("{} to stay Ready", target.slot), until },
            _ => self.step(target, Work::Publish),
        }
    }

    fn change(&self, members: &[Member], target: &Machine) -> Decision {
        let leads = member_of(members, target).is_some_and(|member| member.leader);
        let heir = || {
            let mut others = self.planes().filter(|machine| machine.slot != target.slot);
            others
                .find(|machine| member_of(members, machine).is_some_and(|member| !member.learner && member.healthy == Some(true)))
        };
        let others_serve = || {
            let mut others = self.planes().filter(|machine| machine.slot != target.slot);
            others.any(|machine| machine.address == Address::Published && machine.is_ready())
        };
        match target {
            _ if self.view.snapshot.as_deref() != Some(&target.instance) => self.step(target, Work::Snapshot),
            _ if leads && let Some(heir) = heir() => self.step(target, Work::MoveLeader { to: heir.slot.clone() }),
            Machine { address: Address::Published, .. } if others_serve() => self.step(target, Work::Withdraw),
            Machine { cordon: Cordon::No, .. } => self.step(target, Work::Cordon),
            Machine { drained: false, .. } => nodes::drain(self.view, target),
            Machine { address: Address::Withdrawn(at), .. } if self.view.now < at + FORGETTING => {
                Decision::Wait { what: format!("clients to forget the address of {}", target.slot), until: at + FORGETTING }
            }
            _ => self.upgrade(target),
        }
    }

    /// Nobody tells etcd's members.
    fn silent(&self) -> Decision {
        let mut planes = self.planes();
        let (only, more) = (planes.next(), planes.next());
        let until = self.view.told + PATIENCE;
        match (only, more) {
            // The only one is silent because it is being upgraded: that is gone on with.
            (Some(only), None) if only.cordon == Cordon::Ours && only.drained => self.upgrade(only),
            _ if self.view.now < until => Decision::Wait { what: "etcd to tell its members".into(), until },
            _ => Decision::blocked("etcd does not tell its members, so no control plane may be stopped", MEND),
        }
    }

    /// What is wrong with etcd, or would be while this machine's member is away.
    fn ill(&self, members: &[Member], target: &Machine) -> Option<Decision> {
        let own = member_of(members, target);
        for member in members.iter().filter(|member| Some(*member) != own) {
            let machine = self.planes().find(|machine| machine.instance == member.instance);
            let name = machine.map_or_else(|| member.id.clone(), |machine| machine.slot.to_string());
            let (is, patience) = match member {
                Member { learner: true, .. } => ("is a learner", READY),
                Member { healthy: Some(true), .. } => continue,
                Member { healthy: Some(false), .. } if self.view.force && self.view.now >= member.since + PATIENCE => continue,
                Member { healthy: None, .. } => ("is silent", PATIENCE),
                _ => ("is not healthy", PATIENCE),
            };
            let until = member.since + patience;
            return Some(match self.view.now < until {
                true => Decision::Wait { what: format!("the etcd member of {name}"), until },
                false => Decision::blocked(format!("the etcd member of {name} {is}: {}", Quorum::of(members)), MEND),
            });
        }
        let during = Quorum::of(members).less(usize::from(own.is_some_and(|member| member.healthy == Some(true))));
        // One or two members have no quorum without each of them: they are away for a moment, and come back.
        (during.voters > 2 && !during.is_kept()).then(|| {
            let what = format!("etcd would lose its quorum while {} is upgraded: {during}", target.slot);
            Decision::blocked(
                what,
                "kubewright validate names the members that are not healthy; mend them, then run the same command again",
            )
        })
    }

    /// A machine that is not Ready and should be.
    fn unwell(&self, machine: &Machine, patience: Time) -> Option<Decision> {
        let why = match &machine.health {
            Health::Ready => return None,
            Health::NotReady(_) if machine.ill_before && self.view.force && machine.cordon != Cordon::Ours => return None,
            Health::NotReady(why) => why.as_str(),
            Health::Unknown => "it cannot be asked",
        };
        let until = machine.since + patience;
        Some(match self.view.now < until {
            true => {
                Decision::Wait { what: format!("{} to be Ready: {why}", machine.slot), until: until.max(self.view.now + LOOK) }
            }
            false => Decision::blocked(format!("{} is not Ready: {why}", machine.slot), AGAIN),
        })
    }

    /// As in a roll, once it is known which machines are old.
    fn replace(&self, number: usize, group: &Group) -> Decision {
        let unknown = |machine: &&Machine| {
            let joined = machine.group == number && machine.stage == Stage::Joined;
            joined && machine.kubelet.is_none() && machine.health == Health::Unknown
        };
        let Some(unknown) = self.view.machines.iter().find(unknown) else { return nodes::next(self.view, number, group) };
        let mut of_group = self.view.machines.iter().filter(|machine| machine.group == number);
        match of_group.find_map(|machine| Some((machine, machine.work.as_ref()?))) {
            Some((machine, work)) => in_work(self.view, machine, work),
            None => self.unwell(unknown, PATIENCE).unwrap_or(Decision::Done),
        }
    }

    fn group(&self, number: usize, group: &Group) -> Decision {
        let machines: Vec<&Machine> = self.view.machines.iter().filter(|machine| machine.group == number).collect();
        let idle = || machines.iter().copied().filter(|machine| machine.work.is_none() && !self.view.is_stuck(machine));
        let failed = machines.iter().find(|machine| self.view.is_stuck(machine));
        let mut late = None;
        for machine in idle().filter(|machine| machine.cordon == Cordon::Ours) {
            match machine {
                _ if self.is_there(machine) => match self.unwell(machine, READY) {
                    None => return self.step(machine, Work::Uncordon),
                    wait => late = late.or(wait),
                },
                // Where one has failed the next would fail as well.
                _ if failed.is_some() => {}
                Machine { drained: true, .. } => return self.upgrade(machine),
                _ => match nodes::drain(self.view, machine) {
                    step @ Decision::Do(_) => return step,
                    stop => late = late.or(Some(stop)),
                },
            }
        }
        let counts = |machine: &&&Machine| !(machine.is_available() || machine.ill_before && self.view.force);
        let out = machines.iter().filter(counts).count();
        let room = out < room(group);
        let mut left = idle().filter(|machine| !self.is_there(machine) && machine.cordon != Cordon::Ours).collect::<Vec<_>>();
        // What is out already costs nothing.
        left.sort_by_key(|machine| (machine.is_available(), &machine.slot));
        if let Some(machine) = left.first()
            && failed.is_none()
            && late.is_none()
        {
            let available = machine.is_available();
            match machine.cordon {
                Cordon::No if machine.is_ready() && room => return self.step(machine, Work::Cordon),
                Cordon::No if machine.ill_before && self.view.force => return self.step(machine, Work::Cordon),
                Cordon::Foreign => return nodes::drain(self.view, machine),
                _ if !available => late = self.unwell(machine, PATIENCE),
                _ => {}
            }
        }
        if let Some((machine, work)) = machines.iter().find_map(|machine| Some((machine, machine.work.as_ref()?))) {
            return in_work(self.view, machine, work);
        }
        match (failed, late) {
            (Some(machine), _) => stuck(self.view, machine, AGAIN),
            (None, Some(stop)) => stop,
            // Room that is taken by machines that are there already, and not well.
            (None, None) if !left.is_empty() => {
                let out = machines.iter().find_map(|machine| self.unwell(machine, PATIENCE));
                out.unwrap_or_else(|| {
                    let what = format!("no machine of {} may go: {} of them are not available", group.name, out_of(&machines));
                    Decision::blocked(what, "uncordon those that are cordoned, or raise max_unavailable")
                })
            }
            (None, None) => Decision::Done,
        }
    }
}

fn is_away(machine: &Machine) -> bool {
    matches!(machine.address, Address::Withdrawn(_))
}

fn out_of(machines: &[&Machine]) -> usize {
    machines.iter().filter(|machine| !machine.is_available()).count()
}

/// Machines of a group that may be away at the same time: where it stands a machine cannot be upgraded without being away.
pub fn room(group: &Group) -> usize {
    (group.max_unavailable as usize).max(1)
}

fn member_of<'a>(members: &'a [Member], machine: &Machine) -> Option<&'a Member> {
    members.iter().find(|member| !machine.instance.is_empty() && member.instance == machine.instance)
}
