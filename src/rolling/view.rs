//! All that a decision is made from: values that somebody has observed. What could not be observed is said to be so.

use crate::cluster::{Amount, KubernetesVersion, policy::KUBELET_SKEW};
use crate::desired::Slot;
use crate::rolling::Work;

/// Seconds of one clock, whichever it is.
pub type Time = u64;

/// A cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub now: Time,
    /// In the order of the spec; bastions are not among them.
    pub groups: Vec<Group>,
    pub machines: Vec<Machine>,
    /// Members of etcd; `None`: nobody could be asked.
    pub members: Option<Vec<Member>>,
    /// When etcd last told its members.
    pub told: Time,
    /// Instance before whose replacement the last etcd snapshot was taken.
    pub snapshot: Option<String>,
    /// Begin nothing, finish or undo what was begun.
    pub abort: bool,
    /// Go on although machines that stay were not well when the roll began. Quorum is never given up for it.
    pub force: bool,
    /// Bring every machine to this version, by its group's [`Group::replace`]; `None`: replace those that are behind.
    pub to: Option<KubernetesVersion>,
    /// The version after that one: machines that are replaced wait for the last as long as the version skew policy lets them.
    pub then: Option<KubernetesVersion>,
}

/// An instance group and how its machines are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub control_plane: bool,
    /// Machines that it is to have.
    pub count: u32,
    pub max_surge: u32,
    pub max_unavailable: u32,
    /// Seconds that the pods of a machine may take to leave it.
    pub drain_timeout: Time,
    /// Pods that are left then are deleted, whatever budgets say.
    pub force_drain: bool,
    /// An upgrade makes new machines instead of upgrading them where they stand; never of control planes.
    pub replace: bool,
    /// In the order of the spec.
    pub zones: Vec<String>,
    /// Asked for; others are left alone.
    pub selected: bool,
    /// Why AWS made no more machines of it: a quota, capacity, a full subnet.
    pub refused: Option<String>,
}

/// A machine of a group; also one that is being made, and one whose instance is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    pub slot: Slot,
    /// Empty until AWS has made it.
    pub instance: String,
    /// Its place in [`View::groups`].
    pub group: usize,
    /// Why it is to be replaced; empty: it stays.
    pub behind: Vec<String>,
    pub stage: Stage,
    pub health: Health,
    pub cordon: Cordon,
    /// Its pods were evicted by us, since it was cordoned.
    pub drained: bool,
    pub address: Address,
    /// Was not well when the roll began.
    pub ill_before: bool,
    /// When `work` was begun, or else since when this run has seen it in its stage and health.
    pub since: Time,
    /// What is being done with it now.
    pub work: Option<Work>,
    /// What was tried with it in this run and failed, and why.
    pub failed: Option<(Work, String)>,
    /// Its drain in this run has had its time, and pods are left: why.
    pub overdue: Option<String>,
    /// Disruption budgets that keep its pods.
    pub blockers: Vec<Blocker>,
    /// Of its kubelet, as its Node tells it; asked only for upgrades.
    pub kubelet: Option<KubernetesVersion>,
    /// Of a control plane's own API server.
    pub api: Option<KubernetesVersion>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Being made.
    Requested,
    /// Has not joined, or not to the end.
    Created,
    Joined,
    /// Its instance is gone; what is left of it is its Node, its etcd member and its record.
    Lost,
}

/// Of a machine that has joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The Node is Ready, its system pods run, and a control plane's API server answers.
    Ready,
    /// With the reason.
    NotReady(String),
    /// It could not be asked.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cordon {
    No,
    /// By a roll, as it is recorded.
    Ours,
    /// By somebody else, and theirs to take back.
    Foreign,
}

/// Of a control plane, in the records of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    Published,
    /// Taken out, at this time or before.
    Withdrawn(Time),
    /// A node has none.
    None,
}

/// A disruption budget that keeps pods on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// `default/web`
    pub budget: String,
    pub pods: Vec<String>,
    /// `ReplicaSet web-7d4b9`
    pub owner: String,
    /// Seconds for which it has allowed no disruption, where that is known.
    pub since: Option<Time>,
    /// All its pods are healthy, and still it allows none.
    pub never: bool,
}

/// A member of etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// As `etcdctl` takes it, hexadecimal.
    pub id: String,
    /// Instance of its machine; empty where it is not known.
    pub instance: String,
    /// Does not vote yet.
    pub learner: bool,
    /// `None`: it could not be found out.
    pub healthy: Option<bool>,
    /// Since when this run has seen it so.
    pub since: Time,
    pub leader: bool,
}

impl View {
    /// Pods of a machine that are left after its drain are deleted.
    pub fn is_forced(&self, machine: &Machine) -> bool {
        self.groups.get(machine.group).is_some_and(|group| group.force_drain)
    }

    /// A machine is to be replaced in this roll, or in this hop of an upgrade.
    pub fn is_due(&self, machine: &Machine) -> bool {
        match self.to {
            Some(to) => self.is_replaced(machine) && is_old(machine, to) && !self.may_wait(machine),
            None => machine.is_behind(),
        }
    }

    /// A machine is to be replaced, in this hop of an upgrade or in a later one.
    pub fn is_old(&self, machine: &Machine) -> bool {
        self.to.map_or_else(|| machine.is_behind(), |to| self.is_replaced(machine) && is_old(machine, to))
    }

    /// A later hop of an upgrade replaces it.
    pub fn waits(&self, machine: &Machine) -> bool {
        self.is_old(machine) && !self.is_due(machine)
    }

    fn is_replaced(&self, machine: &Machine) -> bool {
        self.groups.get(machine.group).is_some_and(|group| group.replace)
    }

    /// An upgrade goes on after this hop, and the next one suits the kubelet of this machine, too.
    fn may_wait(&self, machine: &Machine) -> bool {
        let suits = |then: KubernetesVersion| machine.kubelet.is_some_and(|is| is.minor + KUBELET_SKEW >= then.minor);
        self.then.is_some_and(suits)
    }

    /// Something failed with a machine in this run, and nothing is left to be tried.
    pub fn is_stuck(&self, machine: &Machine) -> bool {
        machine.failed.is_some() || (machine.overdue.is_some() && !self.is_forced(machine))
    }

    /// A budget keeps the pods of a machine for ever, and is heeded.
    pub fn is_kept(&self, machine: &Machine) -> bool {
        !self.is_forced(machine) && machine.blockers.iter().any(|blocker| blocker.never)
    }
}

/// Of a machine that tells no version the Node is gone.
fn is_old(machine: &Machine, to: KubernetesVersion) -> bool {
    machine.stage == Stage::Joined && machine.kubelet.is_none_or(|is| is < to)
}

impl Machine {
    /// A machine that is well and stays.
    pub fn new(slot: Slot, instance: &str, group: usize) -> Self {
        Self {
            slot,
            instance: instance.to_owned(),
            group,
            behind: vec![],
            stage: Stage::Joined,
            health: Health::Ready,
            cordon: Cordon::No,
            drained: false,
            address: Address::None,
            ill_before: false,
            since: 0,
            work: None,
            failed: None,
            overdue: None,
            blockers: vec![],
            kubelet: None,
            api: None,
        }
    }

    pub fn is_ready(&self) -> bool {
        self.stage == Stage::Joined && self.health == Health::Ready
    }

    /// Pods run there, and new ones may come.
    pub fn is_available(&self) -> bool {
        let leaving = matches!(self.work, Some(Work::Cordon | Work::Drain { .. } | Work::Terminate));
        self.is_ready() && self.cordon == Cordon::No && !leaving
    }

    /// A roll has begun to take it away.
    pub fn is_leaving(&self) -> bool {
        self.drained || self.cordon == Cordon::Ours || matches!(self.address, Address::Withdrawn(_))
    }

    /// Not well for so long that nobody waits for it any more.
    pub fn is_dead(&self, now: Time) -> bool {
        self.stage == Stage::Joined
            && matches!(self.health, Health::NotReady(_))
            && (self.ill_before || now >= self.since + super::PATIENCE)
    }

    pub fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Has, or will have, an instance that is not on its way out of AWS.
    pub fn is_live(&self) -> bool {
        self.stage != Stage::Lost
    }
}

impl std::fmt::Display for Blocker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "disruption budget {} keeps {} ({})", self.budget, self.pods.join(", "), self.owner)?;
        if let Some(since) = self.since {
            write!(f, ", and has allowed no disruption for {} min", since.div_ceil(60))?;
        }
        if self.never {
            f.write_str("; all its pods are healthy and it still allows none, so it never will")?;
        }
        Ok(())
    }
}

/// `max_surge` and `max_unavailable` of a group, as numbers of machines. As in a Deployment (apps/v1), a share of surge is rounded up
/// and one of unavailable down; where both come to nothing, one machine may be missing.
pub fn resolve(count: u32, surge: Amount, unavailable: Amount) -> (u32, u32) {
    let share = |percent: u8| u64::from(count) * u64::from(percent);
    let of = |amount: Amount, up: bool| match amount {
        Amount::Count(count) => count,
        Amount::Percent(percent) if up => u32::try_from(share(percent).div_ceil(100)).unwrap_or(u32::MAX),
        Amount::Percent(percent) => u32::try_from(share(percent) / 100).unwrap_or(u32::MAX),
    };
    match (of(surge, true), of(unavailable, false).min(count)) {
        (0, 0) => (0, 1),
        both => both,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_as_a_deployment_rounds_them() {
        let percent = Amount::Percent;
        for (count, surge, unavailable, want) in [
            (3, Amount::Count(1), Amount::Count(0), (1, 0)),
            (10, percent(25), percent(25), (3, 2)),
            (3, percent(25), percent(25), (1, 0)),
            (3, percent(0), percent(25), (0, 1)),
            (3, Amount::Count(0), Amount::Count(9), (0, 3)),
            (0, percent(100), percent(100), (0, 1)),
        ] {
            assert_eq!(resolve(count, surge, unavailable), want, "{count} {surge:?} {unavailable:?}");
        }
    }
}
