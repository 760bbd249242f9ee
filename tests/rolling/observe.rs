//! What can be observed of a model at a moment.

use kubewright::rolling::{Health, Stage};

use crate::model::Model;
use crate::schedule::Fault;

impl Model {
    /// Brings the view up to the moment.
    pub fn observe(&mut self) {
        let now = self.view.now;
        for truth in &mut self.truth {
            (truth.down, truth.cut, truth.slow) = (false, false, false);
        }
        let mut silent = false;
        if !self.mended {
            for (number, trouble) in self.schedule.troubles.iter().enumerate() {
                if now < trouble.from || now >= trouble.to {
                    continue;
                }
                let Some(truth) = self.truth.get_mut(trouble.machine) else { continue };
                let machine = &mut self.view.machines[trouble.machine];
                match trouble.fault {
                    Fault::Down => truth.down = true,
                    Fault::Cut => truth.cut = true,
                    Fault::SlowDisk => truth.slow = true,
                    Fault::Silent => silent = true,
                    Fault::Ended if !self.ended[number] && machine.stage == Stage::Joined && machine.work.is_none() => {
                        self.ended[number] = true;
                        machine.stage = Stage::Lost;
                        machine.since = now;
                    }
                    Fault::Ended => {}
                }
            }
        }
        for place in 0..self.view.machines.len() {
            let machine = &self.view.machines[place];
            // Its API server has nothing to store in.
            let headless = self.view.groups[machine.group].control_plane
                && machine.stage == Stage::Joined
                && !self.members().iter().any(|member| member.instance == machine.instance);
            let (machine, truth) = (&mut self.view.machines[place], &self.truth[place]);
            // As two kinds of observers have it: a kubelet that is silent, and a machine that cannot be asked.
            let is = match () {
                () if truth.cut => 2,
                () if truth.down || headless => 1,
                () => 0,
            };
            let was = match machine.health {
                Health::Ready => 0,
                Health::NotReady(_) => 1,
                Health::Unknown => 2,
            };
            if is != was {
                machine.health = match is {
                    0 => Health::Ready,
                    1 => Health::NotReady("down".into()),
                    _ => Health::Unknown,
                };
                if machine.work.is_none() {
                    machine.since = now;
                }
            }
        }
        self.observe_members(silent);
    }

    /// Learners that have caught up.
    fn promote(&mut self) {
        let now = self.view.now;
        for place in 0..self.members().len() {
            let member = &self.members()[place];
            let machine = self.view.machines.iter().position(|machine| machine.instance == member.instance);
            let due = machine.is_some_and(|machine| {
                self.view.machines[machine].stage == Stage::Joined && (self.mended || self.truth[machine].votes_at <= now)
            });
            if member.learner && due {
                let member = &mut self.members_mut()[place];
                (member.learner, member.since) = (false, now);
            }
        }
    }

    fn observe_members(&mut self, silent: bool) {
        let now = self.view.now;
        self.promote();
        let mut healths = [None; 16];
        for (health, member) in healths.iter_mut().zip(self.members()) {
            *health = match self.truth_of(member) {
                Some(truth) if truth.cut => None,
                Some(truth) => Some(truth.votes()),
                None => Some(false),
            };
        }
        let mut leader = false;
        for (member, health) in self.members_mut().iter_mut().zip(healths) {
            if member.healthy != health {
                (member.healthy, member.since) = (health, now);
            }
            member.leader &= health == Some(true);
            leader |= member.leader;
        }
        if (!leader || self.dice.percent(2)) && !self.members().is_empty() {
            let able: Vec<usize> = (0..self.members().len())
                .filter(|place| self.members()[*place].healthy == Some(true) && !self.members()[*place].learner)
                .collect();
            if !able.is_empty() {
                let next = self.dice.from(&able);
                for (place, member) in self.members_mut().iter_mut().enumerate() {
                    member.leader = place == next;
                }
            }
        }
        match (silent, self.view.members.is_none()) {
            (true, false) => self.aside = self.view.members.take().unwrap_or_default(),
            (false, true) => self.view.members = Some(std::mem::take(&mut self.aside)),
            _ => {}
        }
        if !silent {
            self.view.told = now;
        }
    }
}
