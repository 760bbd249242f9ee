//! Trouble on order: which call fails, and whether it had its effect before it failed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::cloud::{CloudError, ErrorClass};
use crate::plan::Change;

/// One call, as the log keeps it and as faults see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// From 1, over reads and changes.
    pub number: u64,
    /// From 1, over changes; `None` for a read.
    pub change_number: Option<u64>,
    /// With the service: `ec2:RunInstances`.
    pub action: String,
    pub change: Option<Change>,
}

impl Call {
    pub fn is_read(&self) -> bool {
        self.change.is_none()
    }
}

/// What goes wrong with a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Refused; nothing happened.
    Before(CloudError),
    /// Not carried out, and this answer after a while.
    Late(Duration, CloudError),
    /// Carried out, and then this answer instead of the true one.
    After(CloudError),
    /// Never answered and never carried out: the place to kill a run before a call.
    HangBefore,
    /// Carried out and never answered: the place to kill a run after a call.
    HangAfter,
    /// A listing shows the account as it was before the last change; nothing for a change.
    Stale,
    /// Carried out when it is told so: a process that was stopped and goes on.
    Pause(Arc<Notify>),
}

impl Fault {
    /// With the action's name in its error, where there is none.
    pub(super) fn of_action(mut self, action: &str) -> Self {
        if let Self::Before(error) | Self::After(error) | Self::Late(_, error) = &mut self
            && error.action.is_empty()
        {
            error.action = action.to_owned();
        }
        self
    }

    /// Refused with an AWS code, sorted as the real client sorts it.
    pub fn refused(code: &str, message: &str) -> Self {
        let class = crate::cloud::codes::class(code, message).unwrap_or(ErrorClass::Fatal);
        Self::Before(error(class, code, message))
    }

    pub fn throttled() -> Self {
        Self::refused("RequestLimitExceeded", "Request limit exceeded.")
    }

    /// Carried out, and the connection broke before the answer came.
    pub fn answer_lost() -> Self {
        Self::After(error(ErrorClass::Ambiguous, "no answer", "the connection was closed before the answer came"))
    }

    /// The connection broke before AWS saw the request; the caller cannot tell this from [`Fault::answer_lost`].
    pub fn request_lost() -> Self {
        Self::Before(error(ErrorClass::Ambiguous, "no answer", "the connection was closed before the answer came"))
    }
}

fn error(class: ErrorClass, code: &str, message: &str) -> CloudError {
    CloudError { class, action: String::new(), code: code.to_owned(), message: message.to_owned(), request_id: None }
}

/// Which calls a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// The n-th of all calls, from 1.
    Call(u64),
    /// The n-th of all changes, from 1.
    Change(u64),
    /// The n-th call of an action (`RunInstances`, without the service), from 1, counted since the account was made.
    Action(String, u64),
    /// Every call of an action.
    Every(String),
}

#[derive(Clone, Debug)]
struct Planned {
    when: When,
    fault: Fault,
    seen: u64,
}

type Choose = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;

#[derive(Default)]
pub(super) struct Faults {
    planned: Vec<Planned>,
    choose: Option<Choose>,
}

impl Faults {
    /// `seen`: calls of the action so far, where the rule counts them.
    pub(super) fn add(&mut self, when: When, fault: Fault, seen: u64) {
        self.planned.push(Planned { when, fault, seen });
    }

    pub(super) fn set(&mut self, choose: Choose) {
        self.choose = Some(choose);
    }

    pub(super) fn clear(&mut self) {
        self.planned.clear();
        self.choose = None;
    }

    /// The fault of this call; the first rule that is for it wins, and every rule counts it.
    pub(super) fn of(&mut self, call: &Call) -> Option<Fault> {
        let mut chosen = None;
        for planned in &mut self.planned {
            let action = call.action.split_once(':').map_or(call.action.as_str(), |(_, action)| action);
            let hit = match &planned.when {
                When::Call(number) => call.number == *number,
                When::Change(number) => call.change_number == Some(*number),
                When::Every(wanted) => wanted == action,
                When::Action(wanted, number) => {
                    if wanted == action {
                        planned.seen += 1;
                    }
                    wanted == action && planned.seen == *number
                }
            };
            if hit && chosen.is_none() {
                chosen = Some(planned.fault.clone());
            }
        }
        let chosen = chosen.or_else(|| self.choose.as_mut().and_then(|choose| choose(call)));
        chosen.map(|fault| fault.of_action(&call.action))
    }
}
