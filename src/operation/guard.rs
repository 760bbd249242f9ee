//! Keeps a run that has lost the lock from touching the account and the nodes.
//!
//! What creates or deletes is announced in the state first, and a run that has lost the state fails there. What only sets a value is not
//! announced: it is planned again from what is observed. So nothing but the lock would stop an old holder that wakes up from setting
//! values that a newer run has set otherwise. Therefore each call asks first whether the lock is still ours ([`Hold::confirm`]).

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;

use crate::bootstrap::inspect::Query;
use crate::bootstrap::{EtcdWork, Events, Fleet, NodeError, NodeTask, Nodes, Permission, Refusal};
use crate::cloud::{Calls, Cloud, CloudError, ErrorClass, NetworkInterface, Scope, calls};
use crate::observed::{
    Account, Address, HostedZone, Image, Instance, InternetGateway, KeyPair, MachineType, NatGateway, RecordSet, RouteTable,
    SecurityGroup, Subnet, Vpc,
};
use crate::plan::{Change, Changed};
use crate::store::{Hold, StoreError};

/// Asked before each change; an error is the answer to it.
pub type Ask = Arc<dyn Fn(&Change) -> BoxFuture<'static, Result<(), CloudError>> + Send + Sync>;

/// An account that is asked about before it is changed. Reads go through.
pub struct Guarded {
    cloud: Arc<dyn Cloud>,
    ask: Ask,
}

impl Guarded {
    pub fn new(cloud: Arc<dyn Cloud>, ask: Ask) -> Self {
        Self { cloud, ask }
    }

    /// Changes only while the lock is held.
    pub fn by(cloud: Arc<dyn Cloud>, hold: Hold) -> Arc<dyn Cloud> {
        let ask: Ask = Arc::new(move |change| {
            let (hold, action) = (hold.clone(), calls::of(change).name());
            Box::pin(async move { hold.confirm().await.map_err(|error| unsent(action, &error)) })
        });
        Arc::new(Self::new(cloud, ask))
    }
}

fn unsent(action: String, error: &StoreError) -> CloudError {
    let lost = matches!(error, StoreError::LockBroken { .. });
    CloudError {
        // A store that does not answer may answer later.
        class: if lost { ErrorClass::Fatal } else { ErrorClass::Retryable },
        action,
        code: if lost { "lock lost".into() } else { "lock unknown".into() },
        message: format!("not sent: {}", error.to_string().replace('\n', ";")),
        request_id: None,
    }
}

/// Asked once more when a machine that was waited for is reached.
pub(super) fn permission(hold: Hold) -> Permission {
    Arc::new(move || {
        let hold = hold.clone();
        Box::pin(async move {
            let refusal = |error: StoreError| {
                let NodeError { cause, retryable, .. } = untouched("", &error);
                Refusal { cause, retryable }
            };
            hold.confirm().await.map_err(refusal)
        })
    })
}

fn untouched(slot: &str, error: &StoreError) -> NodeError {
    NodeError {
        slot: slot.to_owned(),
        address: String::new(),
        step: "lock".into(),
        command: None,
        exit: None,
        stderr: vec![],
        log: vec![],
        cause: error.to_string().replace('\n', ";"),
        left: "nothing was done on it by this task".into(),
        retryable: !matches!(error, StoreError::LockBroken { .. }),
        seconds: 0,
    }
}

/// Nodes that are touched only while the lock is held. Questions go through.
pub struct GuardedNodes {
    nodes: Arc<dyn Nodes>,
    hold: Hold,
}

impl GuardedNodes {
    pub fn by(nodes: Arc<dyn Nodes>, hold: Hold) -> Arc<dyn Nodes> {
        Arc::new(Self { nodes, hold })
    }
}

#[async_trait]
impl Nodes for GuardedNodes {
    async fn run(&self, task: NodeTask, slot: &str, fleet: Arc<Fleet>, events: Events) -> Result<(), NodeError> {
        self.hold.confirm().await.map_err(|error| untouched(slot, &error))?;
        self.nodes.run(task, slot, fleet, events).await
    }

    async fn ask(&self, query: Query, slot: &str, fleet: Arc<Fleet>) -> Result<String, NodeError> {
        self.nodes.ask(query, slot, fleet).await
    }

    async fn etcd(&self, work: &EtcdWork, slot: &str, fleet: Arc<Fleet>, events: Events) -> Result<Vec<u8>, NodeError> {
        self.hold.confirm().await.map_err(|error| untouched(slot, &error))?;
        self.nodes.etcd(work, slot, fleet, events).await
    }
}

#[async_trait]
impl Cloud for Guarded {
    async fn account(&self) -> Result<Account, CloudError> {
        self.cloud.account().await
    }

    async fn vpcs(&self, scope: &Scope) -> Result<Vec<Vpc>, CloudError> {
        self.cloud.vpcs(scope).await
    }

    async fn subnets(&self, scope: &Scope) -> Result<Vec<Subnet>, CloudError> {
        self.cloud.subnets(scope).await
    }

    async fn internet_gateways(&self, scope: &Scope) -> Result<Vec<InternetGateway>, CloudError> {
        self.cloud.internet_gateways(scope).await
    }

    async fn nat_gateways(&self, scope: &Scope) -> Result<Vec<NatGateway>, CloudError> {
        self.cloud.nat_gateways(scope).await
    }

    async fn addresses(&self, scope: &Scope) -> Result<Vec<Address>, CloudError> {
        self.cloud.addresses(scope).await
    }

    async fn route_tables(&self, scope: &Scope) -> Result<Vec<RouteTable>, CloudError> {
        self.cloud.route_tables(scope).await
    }

    async fn security_groups(&self, scope: &Scope) -> Result<Vec<SecurityGroup>, CloudError> {
        self.cloud.security_groups(scope).await
    }

    async fn key_pairs(&self, scope: &Scope) -> Result<Vec<KeyPair>, CloudError> {
        self.cloud.key_pairs(scope).await
    }

    async fn instances(&self, scope: &Scope) -> Result<Vec<Instance>, CloudError> {
        self.cloud.instances(scope).await
    }

    async fn hosted_zones(&self, name: &str) -> Result<Vec<HostedZone>, CloudError> {
        self.cloud.hosted_zones(name).await
    }

    async fn records(&self, zone: &str, suffix: &str) -> Result<Vec<RecordSet>, CloudError> {
        self.cloud.records(zone, suffix).await
    }

    async fn records_in_sync(&self, change: &str) -> Result<bool, CloudError> {
        self.cloud.records_in_sync(change).await
    }

    async fn zones(&self) -> Result<Vec<String>, CloudError> {
        self.cloud.zones().await
    }

    async fn machine_types(&self, names: &[String]) -> Result<Vec<MachineType>, CloudError> {
        self.cloud.machine_types(names).await
    }

    async fn images_by_id(&self, ids: &[String]) -> Result<Vec<Image>, CloudError> {
        self.cloud.images_by_id(ids).await
    }

    async fn images_by_name(&self, owner: &str, patterns: &[String]) -> Result<Vec<Image>, CloudError> {
        self.cloud.images_by_name(owner, patterns).await
    }

    async fn console_output(&self, instance: &str) -> Result<Option<String>, CloudError> {
        self.cloud.console_output(instance).await
    }

    async fn network_interfaces(&self, vpc: &str) -> Result<Vec<NetworkInterface>, CloudError> {
        self.cloud.network_interfaces(vpc).await
    }

    async fn change(&self, change: &Change) -> Result<Changed, CloudError> {
        (self.ask)(change).await?;
        self.cloud.change(change).await
    }

    fn calls(&self) -> Calls {
        self.cloud.calls()
    }
}
