//! The final value of a run: what changed, what is left behind, what to type next. Views for people and machines are made of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::apply::{Failed, Failure, Outcome, Skipped};
use crate::cloud::{CloudError, ErrorClass};
use crate::operation::OperationError;
use crate::plan::{Action, Verb, Work};

#[cfg(test)]
mod made_up;
pub mod picture;
pub mod timeline;

/// Exit codes of the program, see the table in the design.
pub mod exit {
    pub const DONE: u8 = 0;
    pub const ERROR: u8 = 1;
    pub const CHANGES_PENDING: u8 = 2;
    pub const BAD_SPEC: u8 = 3;
    pub const REFUSED: u8 = 5;
    pub const DELETE_BLOCKED: u8 = 6;
    pub const NODE_FAILED: u8 = 7;
    pub const USAGE: u8 = 64;
    /// Stopped by a signal; what shells say of a process that SIGINT ended.
    pub const INTERRUPTED: u8 = 130;
}

/// Something that went wrong: what, why, what is left, what next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    pub what: String,
    /// `(label, text)`, in the order in which a person asks.
    pub rows: Vec<(String, String)>,
    /// What to type or do.
    pub next: Option<String>,
}

impl Trouble {
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), ..Self::default() }
    }

    #[must_use]
    pub fn row(mut self, label: &str, text: impl Into<String>) -> Self {
        self.rows.push((label.into(), text.into()));
        self
    }

    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

impl From<&OperationError> for Trouble {
    fn from(error: &OperationError) -> Self {
        let mut trouble = match error {
            OperationError::Cloud(error) => of_cloud(&error.message.clone(), error),
            OperationError::Unsettled(Failure::Cloud(cloud)) => {
                let mut trouble = of_cloud("an earlier run could not be settled", cloud);
                trouble.rows.push(("left".into(), "nothing new was started".into()));
                trouble
            }
            OperationError::Node(error) => of_failure(&error.to_string(), &Failure::Node(error.clone())),
            OperationError::Refused(problems) => {
                let mut trouble = Self::new("the plan cannot be applied; nothing was changed");
                trouble.rows = problems.iter().map(|problem| ("why".to_owned(), problem.what.clone())).collect();
                trouble.next = problems.first().map(|problem| problem.next.clone());
                trouble
            }
            other => of_text(&other.to_string()),
        };
        trouble.next = error.next().or(trouble.next);
        trouble
    }
}

/// Reads the layout that errors of the store have: a first line, then `  label  text` lines.
fn of_text(text: &str) -> Trouble {
    let mut lines = text.lines();
    let mut trouble = Trouble::new(lines.next().unwrap_or_default());
    for line in lines {
        let (label, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        match label {
            "next" => trouble.next = Some(rest.trim().to_owned()),
            label => trouble.rows.push((label.to_owned(), rest.trim().to_owned())),
        }
    }
    trouble
}

/// The call, the reason by class, and what a person may do about that class.
fn of_cloud(what: &str, error: &CloudError) -> Trouble {
    let request = error.request_id.as_ref().map(|id| format!(" (request {id})")).unwrap_or_default();
    let mut trouble = Trouble::new(what).row("call", format!("{}: {}{request}", error.action, error.code));
    if what != error.message {
        trouble = trouble.row("why", error.message.clone());
    }
    if let Some(quota) = crate::cloud::codes::quota(&error.code).filter(|quota| !error.message.contains(quota)) {
        trouble = trouble.row("quota", quota);
    }
    let next = match error.class {
        ErrorClass::Denied => {
            format!("allow {} in the IAM policy of these credentials, then run the same command again", error.action)
        }
        ErrorClass::Credentials => "get valid credentials (AWS_PROFILE, aws sso login), then run the same command again".into(),
        ErrorClass::Quota => {
            "ask for a higher quota in Service Quotas, or free some of it, then run the same command again".into()
        }
        ErrorClass::Capacity => "try again later, or choose another machine type or zone for the group".into(),
        ErrorClass::Retryable | ErrorClass::Throttled | ErrorClass::Ambiguous => {
            "run the same command again; it goes on where this one stopped".into()
        }
        ErrorClass::NotFound | ErrorClass::Exists | ErrorClass::InUse | ErrorClass::TokenSpent | ErrorClass::Fatal => {
            return trouble;
        }
    };
    trouble.next(next)
}

/// `what` an action could not do, for example `instance nodes-us-east-1a-1 cannot be created`.
pub fn of_failure(what: &str, failure: &Failure) -> Trouble {
    match failure {
        Failure::Cloud(error) => of_cloud(what, error),
        Failure::Blocked { resource, blocker, owner } => Trouble::new(format!("{resource} cannot be deleted: {blocker}"))
            .row("owner", format!("{owner}, not made by kubewright"))
            .next("delete that first, then run the same command again"),
        Failure::Node(error) => {
            let mut trouble = Trouble::new(format!(
                "node {} ({}): step `{}` failed after {}",
                error.slot,
                error.address,
                error.step,
                crate::clock::in_words(error.seconds as f64)
            ));
            let rows = [("command", error.command.clone()), ("exit", error.exit.map(|code| code.to_string()))];
            trouble.rows.extend(rows.into_iter().filter_map(|(label, text)| Some((label.to_owned(), text?))));
            let lines =
                |label: &str, lines: &[String]| lines.iter().map(|line| (label.to_owned(), line.clone())).collect::<Vec<_>>();
            trouble.rows.extend(lines("stderr", &error.stderr));
            trouble.rows.extend(lines("log", &error.log));
            trouble.row("cause", error.cause.clone()).row("left", error.left.clone())
        }
        Failure::Record(text) => {
            let why = of_text(text);
            let mut trouble = Trouble::new(what).row("why", why.what);
            trouble.rows.extend(why.rows);
            trouble.next = why.next;
            trouble
        }
        Failure::Timeout(text) => Trouble::new(what).row("why", text.clone()),
        Failure::Defect(text) => {
            Trouble::new(what).row("why", format!("{text}; this is a defect of kubewright, please report it"))
        }
    }
}

/// Failures that tell the same story, told once: the first, and what else failed in that way.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    pub first: &'a Failed,
    pub others: Vec<&'a Failed>,
    /// Actions that were not started because they wait for one of these.
    pub waiting: Vec<&'a Skipped>,
}

pub fn groups(outcome: &Outcome) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = vec![];
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for failed in &outcome.failed {
        let key = match &failed.failure {
            Failure::Cloud(error) => format!("{} {}", error.action, error.code),
            Failure::Record(text) => text.clone(),
            Failure::Blocked { blocker, .. } => blocker.clone(),
            Failure::Node(_) | Failure::Timeout(_) | Failure::Defect(_) => failed.action.id.clone(),
        };
        match places.get(&key).and_then(|place| groups.get_mut(*place)) {
            Some(group) => group.others.push(failed),
            None => {
                places.insert(key, groups.len());
                groups.push(Group { first: failed, others: vec![], waiting: vec![] });
            }
        }
    }
    for skipped in &outcome.skipped {
        let Some(because) = &skipped.because else { continue };
        let of = |group: &&mut Group<'_>| {
            group.first.action.id == *because || group.others.iter().any(|failed| failed.action.id == *because)
        };
        if let Some(group) = groups.iter_mut().find(of) {
            group.waiting.push(skipped);
        }
    }
    groups
}

/// How many resources and nodes were touched, each counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    pub created: usize,
    pub changed: usize,
    pub deleted: usize,
    /// Nodes that were worked on over SSH.
    pub nodes: usize,
}

pub fn counts(outcome: &Outcome) -> Counts {
    let of = |wanted: &dyn Fn(&Action) -> bool| -> BTreeSet<String> {
        let actions = outcome.done.iter().map(|done| &done.action).filter(|action| wanted(action));
        actions
            .map(|action| action.id.split_once(" twin ").map_or_else(|| action.resource.to_string(), |(_, id)| id.to_owned()))
            .collect()
    };
    let calls = |verb: Verb| {
        of(&|action| action.verb == verb && matches!(action.work, Work::Calls(_)) && !action.id.starts_with("disarm "))
    };
    let created = calls(Verb::Create);
    Counts {
        changed: calls(Verb::Update).difference(&created).count(),
        created: created.len(),
        deleted: calls(Verb::Delete).len(),
        nodes: of(&|action| matches!(action.work, Work::Node { .. })).len(),
    }
}

/// What a run's outcome means for the exit code.
pub fn exit_code(outcome: &Outcome) -> u8 {
    let any = |wanted: &dyn Fn(&Failure) -> bool| outcome.failed.iter().any(|failed| wanted(&failed.failure));
    if any(&|failure| matches!(failure, Failure::Node(_))) {
        exit::NODE_FAILED
    } else if any(&|failure| matches!(failure, Failure::Blocked { .. })) {
        exit::DELETE_BLOCKED
    } else if !outcome.failed.is_empty() {
        exit::ERROR
    } else if outcome.stopped {
        exit::INTERRUPTED
    } else if !outcome.is_complete() {
        exit::ERROR
    } else {
        exit::DONE
    }
}
