//! What every operation starts from: the store, the account, the registered cluster.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::apply::{Edit, Record};
use crate::bootstrap::{Consoles, Nodes, Permission};
use crate::clock::{Clock, Ids};
use crate::cloud::{Cloud, CloudError};
use crate::observed::Account;
use crate::operation::guard::{self, GuardedNodes};
use crate::operation::{LockManners, OperationError, Resolver};
use crate::recorded::{Run, State};
use crate::store::{ClusterStore, Held, Hold, Objects, Owner, Recorder, clusters};

/// Opens the account in a region; `None`: the region of the environment.
pub type Connect = Arc<dyn Fn(Option<String>) -> BoxFuture<'static, Result<Arc<dyn Cloud>, CloudError>> + Send + Sync>;

/// Makes the SSH side of a run over an account; a run without a lock needs no permission, as it changes nothing.
pub type MakeNodes = Arc<dyn Fn(Arc<dyn Cloud>, Option<Permission>) -> Arc<dyn Nodes> + Send + Sync>;

/// The world that an operation works in.
#[derive(Clone)]
pub struct Env {
    pub objects: Arc<dyn Objects>,
    pub connect: Connect,
    /// Makes the SSH side of a run; it reads console output through the account.
    pub make_nodes: MakeNodes,
    pub resolver: Arc<dyn Resolver>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    /// `user@host`
    pub by: String,
    pub host: String,
    pub pid: u32,
    /// Whether a process of this host exists; `None`: it cannot be known.
    pub process_exists: fn(u32) -> Option<bool>,
    /// The command line, for the lock; it never holds a secret.
    pub command: String,
    /// How long an object may be missing from a listing after it was made.
    pub settle: Duration,
    /// Machines worked on at the same time.
    pub node_limit: usize,
    pub lock: LockManners,
    /// The lock under which this run changes anything.
    pub hold: Option<Hold>,
}

impl Env {
    pub fn store(&self, cluster: &str) -> Result<ClusterStore, OperationError> {
        Ok(ClusterStore::new(Arc::clone(&self.objects), cluster, Arc::clone(&self.clock), Arc::clone(&self.ids), &self.by)?)
    }

    /// The SSH side of this run: machines are touched only while the lock is held.
    pub fn nodes(&self, cloud: Arc<dyn Cloud>) -> Arc<dyn Nodes> {
        match &self.hold {
            Some(hold) => GuardedNodes::by((self.make_nodes)(cloud, Some(guard::permission(hold.clone()))), hold.clone()),
            None => (self.make_nodes)(cloud, None),
        }
    }

    pub fn owner(&self) -> Owner {
        Owner {
            by: self.by.clone(),
            host: self.host.clone(),
            pid: self.pid,
            command: self.command.clone(),
            started: self.clock.now(),
        }
    }

    /// A run that begins now, as the state keeps it.
    pub fn begin(&self, actions_total: u32) -> Run {
        let (by, command, started) = (self.by.clone(), self.command.clone(), self.clock.now().to_string());
        Run { by, command, started, finished: false, actions_done: None, actions_total }
    }

    /// The cluster that is meant: the given name, or the only one of the store.
    pub async fn name(&self, given: Option<&str>) -> Result<String, OperationError> {
        if let Some(name) = given {
            return Ok(name.to_owned());
        }
        let mut known = clusters(self.objects.as_ref()).await?;
        match (known.pop(), known.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => Err(OperationError::NoClusters { location: self.objects.location() }),
            (Some(last), false) => {
                known.push(last);
                Err(OperationError::WhichCluster { known })
            }
        }
    }

    /// State of a registered cluster; an unknown name says which exist.
    pub async fn held(&self, name: &str) -> Result<(ClusterStore, Held), OperationError> {
        let store = self.store(name)?;
        match store.load().await? {
            Some(held) => Ok((store, held)),
            None => Err(self.unknown(name).await?),
        }
    }

    pub async fn unknown(&self, name: &str) -> Result<OperationError, OperationError> {
        let known = clusters(self.objects.as_ref()).await?;
        Ok(OperationError::UnknownCluster { name: name.to_owned(), location: self.objects.location(), known })
    }

    /// The account of a registered cluster; credentials of another one are refused before anything is read.
    pub async fn cloud_of(&self, state: &State) -> Result<Arc<dyn Cloud>, OperationError> {
        let cloud = (self.connect)(Some(state.region.clone())).await?;
        let account = cloud.account().await?;
        same_account(state, &account)?;
        Ok(cloud)
    }
}

/// Console output through the account.
pub struct CloudConsoles(pub Arc<dyn Cloud>);

#[async_trait::async_trait]
impl Consoles for CloudConsoles {
    async fn console(&self, instance: &str) -> Result<Option<String>, String> {
        self.0.console_output(instance).await.map_err(|error| error.to_string())
    }
}

pub fn same_account(state: &State, account: &Account) -> Result<(), OperationError> {
    if state.account == account.id && state.partition == account.partition {
        return Ok(());
    }
    Err(OperationError::OtherAccount {
        cluster: state.cluster.clone(),
        expected: state.account.clone(),
        found: account.id.clone(),
        arn: account.arn.clone(),
    })
}

#[async_trait::async_trait]
impl Record for Recorder {
    fn state(&self) -> Arc<State> {
        Recorder::state(self)
    }

    async fn update(&self, edit: Edit) -> Result<(), String> {
        Recorder::update(self, edit).await.map_err(|error| error.to_string())
    }
}
