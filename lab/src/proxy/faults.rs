//! Faults that are done to calls, chosen by service, action and number.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::name::Name;
use crate::node::lock;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Answer with an error; the call is not carried out.
    Error,
    /// Answer as the service does when it is asked too often.
    Throttle,
    /// Cut the connection; the call is not carried out.
    DropBefore,
    /// Carry the call out, then cut the connection.
    DropAfter,
    /// Never answer; the call is not carried out.
    Hang,
    /// Answer late.
    Delay,
    /// Send a signal to the client process (or --pid).
    Signal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Read,
    Change,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    #[default]
    Before,
    After,
}

/// What to do to which call. Over HTTP the same fields in JSON.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub struct Fault {
    /// ec2, route53, s3, sts, iam; every service when left out
    #[arg(long)]
    pub service: Option<String>,
    /// An action such as RunInstances, or the start of one with a star: Create*
    #[arg(long)]
    pub action: Option<String>,
    /// Only reads, or only changes
    #[arg(long)]
    pub kind: Option<Kind>,
    /// Only calls whose resource holds this text (see `lab calls --each`)
    #[arg(long)]
    pub resource: Option<String>,
    /// Only calls that are signed with this access key
    #[arg(long)]
    pub key: Option<String>,
    /// Only this attempt of the client's retries
    #[arg(long)]
    pub attempt: Option<u32>,
    /// The first matching call, from now on, that is hit
    #[arg(long, default_value_t = 1)]
    #[serde(default = "one")]
    pub nth: u64,
    /// How many calls are hit; 0 means every one from then on
    #[arg(long, default_value_t = 1)]
    #[serde(default = "one")]
    pub times: u64,
    #[arg(long, value_enum)]
    pub mode: Mode,
    /// HTTP status of an error
    #[arg(long)]
    pub status: Option<u16>,
    /// Code of an error
    #[arg(long)]
    pub code: Option<String>,
    /// Milliseconds of a delay, or of a hang (an hour when left out)
    #[arg(long, default_value_t = 0)]
    #[serde(default)]
    pub ms: u64,
    /// KILL, STOP, TERM, INT or HUP
    #[arg(long)]
    pub signal: Option<String>,
    /// Whom to signal; the process that made the call when left out
    #[arg(long)]
    pub pid: Option<u32>,
    /// A delay or signal before the call is carried out, or after. A KILL before means: not carried out
    #[arg(long, value_enum, default_value_t)]
    #[serde(default)]
    pub when: When,
    #[arg(skip)]
    #[serde(default)]
    pub id: u64,
    /// Matching calls since the fault was added.
    #[arg(skip)]
    #[serde(default)]
    pub seen: u64,
    #[arg(skip)]
    #[serde(default)]
    pub hit: u64,
}

fn one() -> u64 {
    1
}

impl Fault {
    fn matches(&self, name: &Name) -> bool {
        let action = self.action.as_ref().is_none_or(|wanted| match wanted.strip_suffix('*') {
            Some(start) => name.action.starts_with(start),
            None => name.action == *wanted,
        });
        action
            && self.service.as_ref().is_none_or(|service| name.service == *service)
            && self.kind.is_none_or(|kind| (kind == Kind::Change) == name.change)
            && self.resource.as_ref().is_none_or(|text| name.hint.contains(text))
            && self.key.as_ref().is_none_or(|key| name.key == *key)
            && self.attempt.is_none_or(|attempt| name.attempt == attempt)
    }

    /// `drop-after`, as it is typed and logged.
    pub fn label(&self) -> String {
        self.mode.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

#[derive(Default)]
pub struct Faults {
    next: AtomicU64,
    list: Mutex<Vec<Fault>>,
}

impl Faults {
    pub fn add(&self, mut fault: Fault) -> u64 {
        fault.id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        (fault.seen, fault.hit) = (0, 0);
        let id = fault.id;
        lock(&self.list).push(fault);
        id
    }

    pub fn list(&self) -> Vec<Fault> {
        lock(&self.list).clone()
    }

    pub fn clear(&self) -> usize {
        std::mem::take(&mut *lock(&self.list)).len()
    }

    /// Removes one and gives it back, with how often it hit.
    pub fn remove(&self, id: u64) -> Option<Fault> {
        let mut list = lock(&self.list);
        let place = list.iter().position(|fault| fault.id == id)?;
        Some(list.remove(place))
    }

    /// Counts the call in every fault that it matches and gives back the first that hits it.
    pub fn hit(&self, name: &Name) -> Option<Fault> {
        let mut chosen = None;
        for fault in lock(&self.list).iter_mut().filter(|fault| fault.matches(name)) {
            fault.seen += 1;
            let due = fault.seen >= fault.nth && (fault.times == 0 || fault.hit < fault.times);
            if due && chosen.is_none() {
                fault.hit += 1;
                chosen = Some(fault.clone());
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Fault {
        serde_json::from_str(text).unwrap()
    }

    fn call(action: &str, change: bool) -> Name {
        Name { service: "ec2".into(), action: action.into(), change, attempt: 1, ..Name::default() }
    }

    #[test]
    fn hits_the_nth_call_as_often_as_asked() {
        let faults = Faults::default();
        faults.add(fault(r#"{"action": "RunInstances", "nth": 2, "times": 2, "mode": "drop-after"}"#));
        let hits: Vec<bool> = (0..5).map(|_| faults.hit(&call("RunInstances", true)).is_some()).collect();
        assert_eq!(hits, [false, true, true, false, false]);
        assert!(faults.hit(&call("CreateVpc", true)).is_none());
        assert_eq!(faults.list()[0].seen, 5);
    }

    #[test]
    fn numbers_changes_of_any_action() {
        let faults = Faults::default();
        faults.add(fault(r#"{"kind": "change", "nth": 2, "mode": "signal", "signal": "KILL"}"#));
        assert!(faults.hit(&call("DescribeVpcs", false)).is_none());
        assert!(faults.hit(&call("CreateVpc", true)).is_none());
        assert_eq!(faults.hit(&call("CreateSubnet", true)).unwrap().label(), "signal");
    }

    #[test]
    fn one_key_s_calls_are_counted_apart() {
        let faults = Faults::default();
        let id = faults.add(fault(r#"{"key": "AKIAONE", "nth": 2, "mode": "drop-after"}"#));
        let by = |key: &str| faults.hit(&Name { key: key.into(), ..call("CreateVpc", true) }).is_some();
        assert_eq!(["AKIAONE", "AKIAOTHER", "AKIAONE", "AKIAONE"].map(by), [false, false, true, false]);
        assert_eq!(faults.remove(id).map(|fault| fault.hit), Some(1));
        assert!(faults.remove(id).is_none());
    }

    #[test]
    fn a_star_ends_an_action() {
        let faults = Faults::default();
        faults.add(fault(r#"{"action": "Create*", "times": 0, "mode": "throttle"}"#));
        assert!(faults.hit(&call("CreateTags", true)).is_some());
        assert!(faults.hit(&call("DeleteTags", true)).is_none());
    }
}
