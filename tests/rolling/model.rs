//! The cluster as it is, of which a view shows what can be observed.

use kubewright::rolling::{Address, Blocker, Cordon, Health, Machine, Member, Stage, Step, Time, View, Work};

use crate::dice::Dice;
use crate::schedule::{Schedule, Session};

/// What is true of a machine and no view shows.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// When its work ends.
    pub ends: Time,
    /// Its join never ends well.
    pub never_ready: bool,
    /// Its member never gets beyond a learner.
    pub stuck: bool,
    /// Its member votes from then on.
    pub votes_at: Time,
    pub down: bool,
    pub cut: bool,
    pub slow: bool,
}

impl Truth {
    pub fn is_well(&self) -> bool {
        !self.down && !self.cut
    }

    /// Its member votes in time.
    pub fn votes(&self) -> bool {
        self.is_well() && !self.slow
    }
}

pub struct Model {
    pub view: View,
    /// Beside the view's machines, in their order.
    pub truth: Vec<Truth>,
    pub schedule: Schedule,
    pub dice: Dice,
    /// Members while nobody can ask for them.
    pub aside: Vec<Member>,
    /// After which nothing goes wrong any more.
    pub mended: bool,
    made: u32,
    /// Troubles that end an instance, done.
    pub ended: Vec<bool>,
}

impl Model {
    pub fn new(schedule: &Schedule, seed: u64) -> Self {
        let mut view = schedule.view.clone();
        for place in &schedule.never {
            view.machines[*place].blockers = vec![budget(true)];
        }
        Self {
            truth: vec![Truth::default(); view.machines.len()],
            view,
            dice: Dice::new(!seed),
            aside: vec![],
            mended: false,
            made: 0,
            ended: vec![false; schedule.troubles.len()],
            schedule: schedule.clone(),
        }
    }

    pub fn members(&self) -> &[Member] {
        self.view.members.as_deref().unwrap_or(&self.aside)
    }

    pub fn members_mut(&mut self) -> &mut Vec<Member> {
        self.view.members.as_mut().unwrap_or(&mut self.aside)
    }

    pub fn place(&self, step: &Step) -> Option<usize> {
        self.view.machines.iter().position(|machine| machine.slot == step.slot)
    }

    pub fn truth_of(&self, member: &Member) -> Option<&Truth> {
        let place = self.view.machines.iter().position(|machine| machine.instance == member.instance)?;
        (self.view.machines[place].stage != Stage::Lost).then(|| &self.truth[place])
    }

    /// Begins a step; what it leads to is decided when it ends.
    pub fn begin(&mut self, step: &Step) {
        let now = self.view.now;
        if step.work == Work::Create {
            self.made += 1;
            let machine = Machine { stage: Stage::Requested, ..Machine::new(step.slot.clone(), "", step.group) };
            self.view.machines.push(machine);
            let never_ready = !self.mended && self.dice.percent(self.schedule.never_ready);
            let stuck = !self.mended && self.dice.percent(self.schedule.stuck);
            let late = !self.mended && self.dice.percent(self.schedule.stuck);
            let votes_at = if late { now + self.dice.from(&[200, 600, 5000]) } else { 0 };
            self.truth.push(Truth { never_ready, stuck, votes_at, ..Truth::default() });
        }
        let mut ends = now + 1 + self.dice.below(2 * step.work.usual().max(1));
        let place = self.place(step).expect("a machine that is there");
        if let Work::Drain { within, force: false } = step.work
            && self.view.machines[place].blockers.iter().any(|blocker| blocker.never)
        {
            ends = now + within;
        }
        self.truth[place].ends = ends;
        self.view.machines[place].work = Some(step.work.clone());
        self.view.machines[place].since = now;
    }

    /// When something changes by itself.
    pub fn next_event(&self) -> Option<Time> {
        let works = self.view.machines.iter().zip(&self.truth).filter(|(machine, _)| machine.work.is_some());
        let ends = works.map(|(_, truth)| truth.ends).chain(self.truth.iter().map(|truth| truth.votes_at));
        let troubles = self.schedule.troubles.iter().filter(|_| !self.mended).flat_map(|trouble| [trouble.from, trouble.to]);
        ends.chain(troubles).filter(|time| *time > self.view.now).min()
    }

    /// Ends the works whose time has come.
    pub fn end_works(&mut self) {
        let mut place = 0;
        while place < self.view.machines.len() {
            let due = self.view.machines[place].work.is_some() && self.truth[place].ends <= self.view.now;
            if !due || !self.end(place) {
                place += 1;
            }
        }
    }

    /// Ends one work; true if its machine is gone with it.
    fn end(&mut self, place: usize) -> bool {
        let now = self.view.now;
        let work = self.view.machines[place].work.take().expect("a work");
        self.view.machines[place].since = now;
        self.view.machines[place].overdue = None;
        if self.keeps(place, &work) {
            self.view.machines[place].overdue = Some("pods are left".into());
            return false;
        }
        let why = self.fails(place, &work);
        // What failed may have been done nevertheless.
        let done = why.is_none() || (self.dice.percent(30) && !matches!(work, Work::Create | Work::Join | Work::Drain { .. }));
        let gone = done && self.effect(place, &work);
        if let (Some(why), false) = (why, gone) {
            let group = self.view.machines[place].group;
            if work == Work::Create {
                self.view.groups[group].refused = Some(why);
                self.take_away(place);
                return true;
            }
            self.view.machines[place].failed = Some((work, why));
        }
        gone
    }

    /// A budget keeps pods until a drain has had its time.
    fn keeps(&mut self, place: usize, work: &Work) -> bool {
        if !matches!(work, Work::Drain { force: false, .. }) || self.mended {
            return false;
        }
        if self.view.machines[place].blockers.iter().any(|blocker| blocker.never) {
            return true;
        }
        let keeps = self.dice.percent(self.schedule.kept);
        if keeps {
            self.view.machines[place].blockers = vec![budget(false)];
        }
        keeps
    }

    fn fails(&mut self, place: usize, work: &Work) -> Option<String> {
        if self.mended {
            return None;
        }
        let truth = self.truth[place].clone();
        let control_plane = self.view.groups[self.view.machines[place].group].control_plane;
        let instance = self.view.machines[place].instance.clone();
        match work {
            Work::Create if self.made > self.schedule.quota => return Some("VcpuLimitExceeded".into()),
            Work::Join if control_plane && truth.stuck => {
                if !self.members().iter().any(|member| member.instance == instance) {
                    let learner = self.member(&instance, true);
                    self.members_mut().push(learner);
                }
                return Some("can only promote a learner member which is in sync with leader".into());
            }
            Work::Join if truth.never_ready || !truth.is_well() => return Some("the Node is not Ready".into()),
            Work::Snapshot | Work::RemoveMember(_) | Work::MoveLeader { .. } if !self.has_quorum() => {
                return Some("etcdserver: no leader".into());
            }
            _ => {}
        }
        self.dice.percent(self.schedule.fails).then(|| "the connection was lost".into())
    }

    pub fn has_quorum(&self) -> bool {
        let voters = self.members().iter().filter(|member| !member.learner);
        let (all, able) = voters
            .fold((0, 0), |(all, able), member| (all + 1, able + usize::from(self.truth_of(member).is_some_and(Truth::votes))));
        able > all / 2
    }

    fn member(&self, instance: &str, learner: bool) -> Member {
        let id = format!("m{instance}");
        Member { id, instance: instance.into(), learner, healthy: Some(true), since: self.view.now, leader: false }
    }

    fn take_away(&mut self, place: usize) {
        self.view.machines.remove(place);
        self.truth.remove(place);
        // Troubles name machines by their place, which is another's now: as good as any.
    }

    fn effect(&mut self, place: usize, work: &Work) -> bool {
        let now = self.view.now;
        let control_plane = self.view.groups[self.view.machines[place].group].control_plane;
        let made = self.made;
        let machine = &mut self.view.machines[place];
        match work {
            Work::Create => {
                machine.instance = format!("n-{made}-{now}");
                machine.stage = Stage::Created;
            }
            Work::Join => {
                (machine.stage, machine.kubelet) = (Stage::Joined, self.view.to);
                if control_plane {
                    let instance = machine.instance.clone();
                    let learner = self.truth[place].votes_at > now;
                    let member = self.member(&instance, learner);
                    self.members_mut().retain(|member| member.instance != instance);
                    self.members_mut().push(member);
                }
            }
            Work::Publish => machine.address = Address::Published,
            Work::Withdraw => machine.address = Address::Withdrawn(now),
            Work::Snapshot => self.view.snapshot = Some(machine.instance.clone()),
            Work::Cordon => machine.cordon = Cordon::Ours,
            Work::Uncordon => (machine.cordon, machine.drained) = (Cordon::No, false),
            Work::Drain { .. } => machine.drained = true,
            Work::RemoveMember(id) => self.members_mut().retain(|member| member.id != *id),
            Work::MoveLeader { to } => {
                let to = self.view.machines.iter().find(|machine| machine.slot == *to).map(|machine| machine.instance.clone());
                for member in self.members_mut() {
                    member.leader = Some(&member.instance) == to.as_ref();
                }
            }
            Work::Upgrade { .. } => panic!("a roll upgrades nothing where it stands"),
            Work::Terminate | Work::Clear => {
                self.take_away(place);
                return true;
            }
        }
        false
    }

    /// The run ends, by itself or by a kill in the middle of everything; the next one begins.
    pub fn restart(&mut self, session: &Session, killed: bool) {
        let mut place = 0;
        while place < self.view.machines.len() {
            let gone = match self.view.machines[place].work.take() {
                // A call without an answer, or a step whose end nobody saw.
                Some(Work::Create) if self.dice.percent(50) => {
                    self.take_away(place);
                    true
                }
                Some(work) if killed && (work == Work::Create || self.dice.percent(50)) => self.effect(place, &work),
                _ => false,
            };
            place += usize::from(!gone);
        }
        self.view.now += self.dice.below(600);
        (self.view.abort, self.view.force) = (session.abort, session.force);
        for (number, group) in self.view.groups.iter_mut().enumerate() {
            group.refused = None;
            group.selected = session.only == 0 || session.only >> number & 1 == 1;
        }
        if self.mended {
            self.schedule.quota = u32::MAX;
        }
        self.observe();
        let now = self.view.now;
        for (machine, truth) in self.view.machines.iter_mut().zip(&mut self.truth) {
            (machine.failed, machine.overdue, machine.since) = (None, None, now);
            if session.reverted {
                machine.behind.clear();
            }
            if session.changed && machine.stage != Stage::Lost {
                machine.behind = vec!["image".into()];
            }
            if self.mended {
                (truth.never_ready, truth.stuck) = (false, false);
                machine.blockers.clear();
                if machine.cordon == Cordon::Foreign {
                    machine.cordon = Cordon::No;
                }
            }
            machine.blockers.retain(|blocker| blocker.never);
            // What is being taken away by us was not ill before.
            machine.ill_before = machine.stage == Stage::Joined && machine.health != Health::Ready;
        }
        for member in self.members_mut() {
            member.since = now;
        }
    }
}

fn budget(never: bool) -> Blocker {
    Blocker { budget: "default/web".into(), pods: vec!["web-0".into()], owner: "StatefulSet web".into(), since: None, never }
}
