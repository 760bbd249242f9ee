//! A cluster and what happens to it, made from a seed.

use kubewright::cluster::KubernetesVersion;
use kubewright::desired::Slot;
use kubewright::rolling::{Address, Cordon, Group, Machine, Member, Time, View};

use crate::dice::Dice;

/// What goes wrong, for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The machine is down.
    Down,
    /// Nobody can reach it, nor it anybody.
    Cut,
    /// Its etcd member answers too late.
    SlowDisk,
    /// Its instance is ended by hand, for good.
    Ended,
    /// etcd does not answer us.
    Silent,
}

/// A fault of one machine, by its place among the machines at that time.
#[derive(Clone, Copy, Debug)]
pub struct Trouble {
    pub fault: Fault,
    pub machine: usize,
    pub from: Time,
    pub to: Time,
}

/// One run of the command.
#[derive(Clone, Copy, Debug, Default)]
pub struct Session {
    /// Killed at this decision.
    pub kill: Option<u32>,
    pub abort: bool,
    pub force: bool,
    /// The spec is set back before it: nothing is behind any more.
    pub reverted: bool,
    /// The spec is changed before it: everything is behind.
    pub changed: bool,
    /// Groups that are asked for; 0: all.
    pub only: u64,
}

/// What a seed stands for.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub view: View,
    pub troubles: Vec<Trouble>,
    pub sessions: Vec<Session>,
    /// Of a hundred steps.
    pub fails: u64,
    /// Creations that AWS allows before it refuses.
    pub quota: u32,
    /// Of a hundred new machines.
    pub never_ready: u64,
    /// Of a hundred new control planes: the member stays a learner.
    pub stuck: u64,
    /// Of a hundred drains: a budget keeps the pods.
    pub kept: u64,
    /// Machines whose pods a budget keeps for ever.
    pub never: Vec<usize>,
}

/// What upgrades lead to, and from.
const NEW: KubernetesVersion = KubernetesVersion { major: 1, minor: 35, patch: 4 };
const OLD: KubernetesVersion = KubernetesVersion { major: 1, minor: 34, patch: 2 };

pub const ZONES: [&str; 3] = ["us-east-1a", "us-east-1b", "us-east-1c"];

impl Schedule {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let dice = &mut dice;
        // Some clusters in which all goes well: there, nothing may be blocked.
        let calm = dice.percent(15);
        let zones = 1 + dice.below(3) as usize;
        let mut view = View { groups: vec![control(dice, zones)], ..View::default() };
        for number in 0..dice.from(&[0, 1, 1, 2]) {
            view.groups.push(nodes(dice, number, zones));
        }
        let behind = dice.from(&[100, 100, 60, 30]);
        // From dice of their own: schedules keep what else happens in them.
        let mut drains = Dice::new(seed ^ 0x0d_4a1d);
        for group in &mut view.groups {
            (group.drain_timeout, group.force_drain) = (drains.from(&[30, 600, 3600]), drains.percent(30));
        }
        // Some are upgrades whose control planes are there already, of groups that are replaced; from dice of their own, too.
        let upgrade = Dice::new(seed ^ 0x0075_6707).percent(20);
        if upgrade {
            view.to = Some(NEW);
            view.groups.iter_mut().for_each(|group| group.replace = !group.control_plane);
        }
        let mut members = vec![];
        for (place, group) in view.groups.iter().enumerate() {
            for n in 0..group.count {
                let zone = &group.zones[n as usize % group.zones.len()];
                let slot = Slot { group: group.name.clone(), zone: zone.clone(), n: n / group.zones.len() as u32 + 1 };
                let instance = format!("i-{}", view.machines.len());
                let mut machine = Machine::new(slot, &instance, place);
                let is_behind = dice.percent(behind);
                if upgrade {
                    let is = if is_behind && !group.control_plane { OLD } else { NEW };
                    (machine.kubelet, machine.api) = (Some(is), group.control_plane.then_some(NEW));
                } else if is_behind {
                    machine.behind = vec!["image".into()];
                }
                if group.control_plane {
                    machine.address = Address::Published;
                    let id = format!("m{instance}");
                    members.push(Member { id, instance, learner: false, healthy: Some(true), since: 0, leader: n == 0 });
                } else if !calm && dice.percent(4) {
                    machine.cordon = Cordon::Foreign;
                }
                view.machines.push(machine);
            }
        }
        view.members = Some(members);
        let machines = view.machines.len() as u64;
        let mut troubles = vec![];
        if !calm {
            for _ in 0..dice.from(&[0, 0, 1, 1, 2, 4]) {
                let from = dice.from(&[0, 0, dice.clone().below(3000), dice.clone().below(600)]);
                let to = from + dice.from(&[30, 200, 400, 1500, 100_000]);
                let fault = dice.from(&[Fault::Down, Fault::Down, Fault::Cut, Fault::SlowDisk, Fault::Ended, Fault::Silent]);
                troubles.push(Trouble { fault, machine: dice.below(machines + 2) as usize, from, to });
            }
        }
        let mut sessions = sessions(dice, calm);
        if upgrade {
            // What befalls control planes meanwhile, and what other commands do, is not of this.
            let planes = view.machines.iter().filter(|machine| view.groups[machine.group].control_plane).count();
            troubles.retain(|trouble| trouble.machine >= planes && trouble.fault != Fault::Silent);
            let only = |session: &Session| Session { kill: session.kill, force: session.force, ..Session::default() };
            sessions = sessions.iter().map(only).collect();
        }
        let share = |dice: &mut Dice, choice: &[u64]| if calm { 0 } else { dice.from(choice) };
        Self {
            troubles,
            sessions,
            fails: share(dice, &[0, 0, 0, 2, 10]),
            quota: if calm { u32::MAX } else { dice.from(&[u32::MAX, u32::MAX, u32::MAX, 0, 1, 3]) },
            never_ready: share(dice, &[0, 0, 0, 10, 50]),
            stuck: share(dice, &[0, 0, 30]),
            kept: share(dice, &[0, 0, 0, 20]),
            never: if !calm && dice.percent(10) { vec![dice.below(machines) as usize] } else { vec![] },
            view,
        }
    }

    /// That nothing could be done about, whatever is mended: one control plane that must go before another may come.
    pub fn is_hopeless(&self) -> bool {
        self.view.groups.iter().any(|group| group.control_plane && group.count == 1 && group.max_surge == 0)
    }
}

fn zones_of(zones: usize) -> Vec<String> {
    ZONES[..zones].iter().map(ToString::to_string).collect()
}

fn control(dice: &mut Dice, zones: usize) -> Group {
    Group {
        name: "control-plane".into(),
        control_plane: true,
        count: dice.from(&[1, 1, 3, 3, 3, 5]),
        max_surge: dice.from(&[1, 1, 1, 0]),
        max_unavailable: 0,
        zones: zones_of(zones),
        selected: true,
        ..Group::default()
    }
}

fn nodes(dice: &mut Dice, number: u32, zones: usize) -> Group {
    let (max_surge, max_unavailable) = dice.from(&[(1, 0), (1, 0), (0, 1), (1, 1), (2, 0), (3, 2), (0, 2)]);
    Group {
        name: format!("nodes-{number}"),
        control_plane: false,
        count: dice.below(6) as u32,
        max_surge,
        max_unavailable,
        zones: zones_of(zones),
        selected: true,
        ..Group::default()
    }
}

fn sessions(dice: &mut Dice, calm: bool) -> Vec<Session> {
    let mut all = vec![];
    for _ in 0..dice.from(&[0, 0, 1, 1, 2, 3]) {
        all.push(Session {
            kill: dice.percent(80).then(|| dice.below(60) as u32),
            abort: dice.percent(20),
            force: dice.percent(20),
            reverted: !calm && dice.percent(8),
            changed: !calm && dice.percent(8),
            only: if dice.percent(15) { 1 + dice.below(7) } else { 0 },
        });
    }
    // The last one: nobody interferes.
    all.push(Session { force: dice.percent(10), ..Session::default() });
    all
}
