//! What a run may touch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::apply::event::Sink;
use crate::apply::record::Record;
use crate::bootstrap::{Nodes, Pki};
use crate::clock::{Clock, Ids};
use crate::cloud::Cloud;
use crate::cluster::Cluster;
use crate::desired::ResourceId;

/// The outside of one run.
pub struct World {
    pub cloud: Arc<dyn Cloud>,
    pub nodes: Arc<dyn Nodes>,
    pub record: Arc<dyn Record>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub events: Sink,
    /// Cancelled by the first interrupt: nothing new starts, what is in flight ends.
    pub stop: CancellationToken,
    pub uid: String,
    /// How long an object may be missing from a listing after it was made.
    pub settle: Duration,
    /// Machines worked on at the same time.
    pub node_limit: usize,
}

/// What node tasks need of the cluster; absent when a cluster is deleted without its spec.
pub struct NodeInputs {
    pub cluster: Cluster,
    pub pki: Pki,
    /// Machines are drained to come back: the API servers of those go on serving.
    pub in_place: bool,
}

/// Addresses of machines, learnt before and during the run.
pub type Addresses = BTreeMap<ResourceId, (Option<String>, Option<String>)>;

impl World {
    pub fn vpc_id(&self) -> Option<String> {
        self.record.state().resources.get(&ResourceId::Vpc).map(|record| record.id.clone())
    }
}
