//! What a run tells while it works; views for people and for machines are made from the same events.

use std::sync::Arc;

use crate::bootstrap::{NodeError, NodeEvent};
use crate::cloud::CloudError;
use crate::plan::Action;

#[derive(Clone, Debug)]
pub enum Event {
    /// A phase of the run begins: `resume`, `apply`, `verify`.
    Phase(&'static str),
    ActionStarted(Action),
    /// What an action waits for.
    Waiting {
        action: String,
        what: String,
    },
    /// A call failed and will be made again.
    Again {
        action: String,
        error: CloudError,
        in_seconds: u64,
    },
    ActionDone {
        action: Action,
        aws_id: Option<String>,
        seconds: f64,
    },
    /// The run was stopped while the action still waited for its machine.
    ActionUntouched(Action),
    ActionFailed {
        action: Action,
        failure: Failure,
    },
    Node {
        slot: String,
        event: NodeEvent,
    },
    Note(String),
}

pub type Sink = Arc<dyn Fn(Event) + Send + Sync>;

/// Why an action failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Cloud(CloudError),
    /// Something that is not ours keeps an object from being deleted.
    #[error("{resource} cannot be deleted: {blocker}")]
    Blocked { resource: String, blocker: String, owner: String },
    #[error("{0}")]
    Node(Box<NodeError>),
    /// The store refused a record: another run took over, or it cannot be written.
    #[error("{0}")]
    Record(String),
    #[error("{0}")]
    Timeout(String),
    /// A defect: the plan or the state does not say what it must.
    #[error("defect: {0}")]
    Defect(String),
}
