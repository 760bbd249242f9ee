//! The snapshot before a control plane is replaced or upgraded: taken as `etcd snapshot` takes one, and kept where those are.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::bootstrap::inspect::Query;
use crate::bootstrap::{EtcdWork, Events, Fleet, NodeError, NodeEvent, NodeTask, Nodes};
use crate::clock::{Clock, Ids};
use crate::cluster::KubernetesVersion;
use crate::operation::OperationError;
use crate::operation::session::{Env, MakeNodes};
use crate::store::{ClusterStore, Hold, Lock, Recorder};

use super::Site;
use super::save::{Order, store};

/// Nodes whose snapshots go to the store. All other tasks go through.
struct SavingNodes {
    nodes: Arc<dyn Nodes>,
    store: ClusterStore,
    recorder: Arc<Recorder>,
    hold: Hold,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    by: String,
    /// The version that machines are upgraded to; `None`: they are replaced.
    to: Option<KubernetesVersion>,
}

/// The SSH side of a roll, or of an upgrade to a version.
pub(in crate::operation) fn saving_nodes(
    env: &Env,
    store: &ClusterStore,
    recorder: &Arc<Recorder>,
    lock: &Lock,
    to: Option<KubernetesVersion>,
) -> MakeNodes {
    let (make, store, recorder, hold) = (Arc::clone(&env.make_nodes), store.clone(), Arc::clone(recorder), lock.hold());
    let (clock, ids, by) = (Arc::clone(&env.clock), Arc::clone(&env.ids), env.by.clone());
    Arc::new(move |cloud, permission| {
        Arc::new(SavingNodes {
            nodes: make(cloud, permission),
            store: store.clone(),
            recorder: Arc::clone(&recorder),
            hold: hold.clone(),
            clock: Arc::clone(&clock),
            ids: Arc::clone(&ids),
            by: by.clone(),
            to,
        })
    })
}

impl SavingNodes {
    async fn save(&self, slot: &str, fleet: Arc<Fleet>, events: &Events) -> Result<(), OperationError> {
        let site = Site {
            store: self.store.clone(),
            state: Arc::unwrap_or_clone(self.recorder.state()),
            nodes: Arc::clone(&self.nodes),
            fleet,
            unready: vec![],
        };
        let why = match self.to {
            Some(to) => format!("before {slot} was upgraded to {to}"),
            None => format!("before {slot} was replaced"),
        };
        let tell = |text| events(NodeEvent::Waiting(text));
        let order = Order {
            clock: self.clock.as_ref(),
            fresh: self.ids.fresh(),
            by: &self.by,
            why: Some(why),
            keep: site.state.model.snapshots_kept,
            hold: &self.hold,
            // What was begun is finished: the machine is not touched before.
            stop: &CancellationToken::new(),
            tell: &tell,
        };
        let stored = store(&site, &order).await?;
        for warning in stored.warnings {
            events(NodeEvent::Warning(warning));
        }
        Ok(())
    }
}

/// The control plane is as it was; the roll stops at it.
fn not_saved(slot: &str, error: OperationError) -> NodeError {
    let left = "etcd and its members are as they were; no snapshot, so nothing is done with it".to_owned();
    match error {
        OperationError::Node(error) => NodeError { left, ..*error },
        error => NodeError {
            slot: slot.to_owned(),
            address: String::new(),
            step: "etcd-snapshot".into(),
            command: None,
            exit: None,
            stderr: vec![],
            log: vec![],
            cause: format!("the state store has no snapshot of this moment: {error}").replace('\n', "; "),
            left,
            retryable: false,
            seconds: 0,
        },
    }
}

#[async_trait]
impl Nodes for SavingNodes {
    async fn run(&self, task: NodeTask, slot: &str, fleet: Arc<Fleet>, events: Events) -> Result<(), NodeError> {
        match task {
            NodeTask::Snapshot => self.save(slot, fleet, &events).await.map_err(|error| not_saved(slot, error)),
            task => self.nodes.run(task, slot, fleet, events).await,
        }
    }

    async fn ask(&self, query: Query, slot: &str, fleet: Arc<Fleet>) -> Result<String, NodeError> {
        self.nodes.ask(query, slot, fleet).await
    }

    async fn etcd(&self, work: &EtcdWork, slot: &str, fleet: Arc<Fleet>, events: Events) -> Result<Vec<u8>, NodeError> {
        self.nodes.etcd(work, slot, fleet, events).await
    }
}
