//! The sixteen ways in which a call goes wrong, and what each is for an AWS action, an operation of the store, a task on a node.

use std::time::Duration;

use kubewright::bootstrap::NodeError;
use kubewright::cloud::calls::Service;
use kubewright::cloud::fake::Fault;
use kubewright::cloud::{CloudError, ErrorClass};
use kubewright::store::ObjectError;

use crate::gate::Site;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The connection broke before the request arrived.
    ResetBefore,
    /// Carried out; the connection broke before the answer came.
    ResetAfter,
    /// No answer until the client's own time-out; not carried out.
    Hang,
    /// 500: carried out or not, nobody says.
    InternalError,
    Unavailable,
    Throttled,
    ExpiredToken,
    AccessDenied,
    ClockSkew,
    /// Carried out; half of the answer.
    Truncated,
    /// What it names is not there, three times.
    NotFound,
    /// A listing shows the account as it was before the last change, three times.
    Stale,
    /// Something still needs the object, three times.
    Dependency,
    Capacity,
    /// 409
    Conflict,
    /// 412: the client sent it twice, and the second met the first.
    Precondition,
}

pub const TROUBLES: [Trouble; 16] = [
    Trouble::ResetBefore,
    Trouble::ResetAfter,
    Trouble::Hang,
    Trouble::InternalError,
    Trouble::Unavailable,
    Trouble::Throttled,
    Trouble::ExpiredToken,
    Trouble::AccessDenied,
    Trouble::ClockSkew,
    Trouble::Truncated,
    Trouble::NotFound,
    Trouble::Stale,
    Trouble::Dependency,
    Trouble::Capacity,
    Trouble::Conflict,
    Trouble::Precondition,
];

/// How long the client waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

impl Trouble {
    pub fn times(self) -> u32 {
        match self {
            Self::NotFound | Self::Stale | Self::Dependency => 3,
            _ => 1,
        }
    }

    /// Whether AWS, the store or a node can answer so at that place.
    pub fn can_happen_to(self, site: &Site) -> bool {
        match site {
            Site::Cloud(action, changes) => match self {
                Self::Stale => !changes,
                Self::NotFound => {
                    *changes
                        && !matches!(
                            action.as_str(),
                            "ec2:CreateVpc" | "ec2:CreateInternetGateway" | "ec2:AllocateAddress" | "ec2:ImportKeyPair"
                        )
                }
                Self::Dependency => {
                    action.starts_with("ec2:Delete") || action.starts_with("ec2:Detach") || action == "ec2:ReleaseAddress"
                }
                Self::Capacity => action == "ec2:RunInstances",
                // Route 53 while another batch of the zone is in work; EC2 while an object changes its state.
                Self::Conflict => *changes,
                Self::Precondition => false,
                _ => true,
            },
            Site::Store(..) => match self {
                Self::Stale | Self::Dependency | Self::Capacity | Self::NotFound => false,
                Self::Conflict | Self::Precondition | Self::ResetAfter | Self::Truncated => site.changes(),
                _ => true,
            },
            Site::Node(_) => matches!(self, Self::ResetBefore | Self::ResetAfter | Self::Hang),
        }
    }

    /// For an AWS action: what the account's client gets, and how long it takes.
    pub fn on_cloud(self, action: &str) -> (Duration, Fault) {
        let is_change = crate::gate::Site::all().contains(&Site::Cloud(action.to_owned(), true));
        let refused = |code: &str| Fault::refused(code, "made up");
        let fault = match self {
            Self::ResetBefore => lost(is_change, false, "the connection was closed"),
            Self::ResetAfter => lost(is_change, true, "the connection was closed"),
            Self::Hang => return (TIMEOUT, lost(is_change, false, "no answer within 30 s")),
            Self::InternalError => refused("InternalError"),
            Self::Unavailable => refused("Unavailable"),
            Self::Throttled => refused("RequestLimitExceeded"),
            Self::ExpiredToken => refused("ExpiredToken"),
            Self::AccessDenied => refused("UnauthorizedOperation"),
            Self::ClockSkew => refused("RequestTimeTooSkewed"),
            Self::Truncated => lost(is_change, true, "the answer ends in the middle"),
            Self::NotFound => refused(match (service(action), action.contains("SecurityGroup")) {
                (Some(Service::Route53), _) => "NoSuchHostedZone",
                (_, true) => "InvalidGroup.NotFound",
                (_, false) => "InvalidVpcID.NotFound",
            }),
            Self::Stale => Fault::Stale,
            Self::Dependency => refused("DependencyViolation"),
            Self::Capacity => refused("InsufficientInstanceCapacity"),
            Self::Conflict => {
                refused(if service(action) == Some(Service::Route53) { "PriorRequestNotComplete" } else { "IncorrectState" })
            }
            Self::Precondition => refused("PreconditionFailed"),
        };
        (Duration::ZERO, fault)
    }

    /// For the store: whether it is carried out all the same, how long it takes, and what the client gets.
    pub fn on_store(self, key: &str) -> (bool, Duration, ObjectError) {
        let key = key.to_owned();
        let ambiguous = |key, message: &str| ObjectError::Ambiguous { key, message: message.to_owned() };
        match self {
            Self::ResetBefore => (false, Duration::ZERO, ambiguous(key, "the connection was closed")),
            Self::ResetAfter => (true, Duration::ZERO, ambiguous(key, "the connection was closed")),
            Self::Truncated => (true, Duration::ZERO, ambiguous(key, "the answer ends in the middle")),
            Self::Hang => (false, TIMEOUT, ambiguous(key, "no answer within 30 s")),
            Self::InternalError => (false, Duration::ZERO, ambiguous(key, "500 InternalError")),
            Self::Unavailable => (false, Duration::ZERO, ambiguous(key, "503 ServiceUnavailable")),
            Self::Throttled => (false, Duration::ZERO, ambiguous(key, "503 SlowDown")),
            Self::Conflict => (false, Duration::ZERO, ObjectError::Conflict { key }),
            Self::Precondition => (true, Duration::ZERO, ObjectError::Conflict { key }),
            other => (false, Duration::ZERO, ObjectError::Denied { key, message: format!("{other:?}") }),
        }
    }

    /// For a task: whether it is done all the same, how long it takes, and what comes back.
    pub fn on_node(self, slot: &str) -> (bool, Duration, NodeError) {
        let wait = if self == Self::Hang { TIMEOUT } else { Duration::ZERO };
        (self == Self::ResetAfter, wait, no_answer(slot))
    }
}

/// A task of which nobody knows whether it was done.
pub fn no_answer(slot: &str) -> NodeError {
    NodeError {
        slot: slot.to_owned(),
        address: "10.20.0.4".into(),
        step: "made-up".into(),
        command: None,
        exit: None,
        stderr: vec![],
        log: vec![],
        cause: "the connection was lost".into(),
        left: "the machine is up".into(),
        retryable: true,
        seconds: 1,
    }
}

/// No answer: a read may simply be made again, a change may have been carried out.
fn lost(is_change: bool, done: bool, message: &str) -> Fault {
    let class = if is_change { ErrorClass::Ambiguous } else { ErrorClass::Retryable };
    let error = CloudError { class, action: String::new(), code: "no answer".into(), message: message.into(), request_id: None };
    if done { Fault::After(error) } else { Fault::Before(error) }
}

fn service(action: &str) -> Option<Service> {
    kubewright::cloud::calls::CALLS.iter().find(|call| call.name() == action).map(|call| call.service)
}
