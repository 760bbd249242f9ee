//! What commands take from the process that they run in; tests give another one.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;

use crate::bootstrap::SshNodes;
use crate::clock::{Clock, Ids, RandomIds, SystemClock};
use crate::cloud::aws::objects::{Patience, S3Objects};
use crate::cloud::aws::{AwsCloud, connect};
use crate::cloud::{Cloud, CloudError};
use crate::operation::{CloudConsoles, Env, LockManners, OperationError, SystemResolver};
use crate::store::{FileObjects, Location, Objects};

/// Machines worked on at the same time; each costs a thread and an SSH connection.
const NODE_LIMIT: usize = 32;

#[async_trait]
pub trait Outside: Send + Sync {
    /// The world for one command; `command` is what is written into the lock.
    async fn env(&self, state: &Location, command: &str) -> Result<Env, OperationError>;
    fn clock(&self) -> Arc<dyn Clock>;
    fn home(&self) -> Option<PathBuf>;
    fn variable(&self, name: &str) -> Option<String>;
    /// Returns at the next SIGINT or SIGTERM. From the first call on, these no longer end the process.
    async fn interrupted(&self);
}

/// The process itself, its credentials and its disk.
#[derive(Default)]
pub struct Process {
    signals: Mutex<Option<(Signal, Signal)>>,
}

#[async_trait]
impl Outside for Process {
    async fn env(&self, state: &Location, command: &str) -> Result<Env, OperationError> {
        let clock = self.clock();
        let objects: Arc<dyn Objects> = match state {
            Location::File(path) => {
                let failed = |error: std::io::Error| OperationError::Failed(format!("{}: {error}", path.display()));
                Arc::new(FileObjects::new(path, Arc::clone(&clock)).map_err(failed)?)
            }
            Location::S3 { bucket, prefix } => {
                let connection = match connect(None).await {
                    // The bucket's own region is found by its answer.
                    Err(error) if error.code == "no region" => connect(Some("us-east-1")).await,
                    answer => answer,
                }?;
                let key = self.variable("KUBEWRIGHT_KMS_KEY");
                Arc::new(S3Objects::connect(&connection.sdk, bucket, prefix, key, Patience::default()))
            }
        };
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        let user = ["USER", "LOGNAME"].iter().find_map(|name| self.variable(name)).unwrap_or_else(|| "unknown".into());
        let ids: Arc<dyn Ids> = Arc::new(RandomIds);
        let (nodes_clock, nodes_ids) = (Arc::clone(&clock), Arc::clone(&ids));
        Ok(Env {
            objects,
            connect: Arc::new(|region| Box::pin(open(region))),
            make_nodes: Arc::new(move |cloud, permission| {
                let consoles = Arc::new(CloudConsoles(cloud));
                let nodes = SshNodes::new(consoles, Arc::clone(&nodes_clock), Arc::clone(&nodes_ids));
                Arc::new(nodes.with_permission(permission))
            }),
            resolver: Arc::new(SystemResolver),
            clock,
            ids,
            by: format!("{user}@{host}"),
            host,
            pid: std::process::id(),
            process_exists,
            command: command.to_owned(),
            settle: crate::apply::observe::SETTLE,
            node_limit: NODE_LIMIT,
            lock: LockManners::default(),
            hold: None,
        })
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SystemClock)
    }

    fn home(&self) -> Option<PathBuf> {
        std::env::home_dir().filter(|home| !home.as_os_str().is_empty())
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    async fn interrupted(&self) {
        let mut signals = self.signals.lock().await;
        if signals.is_none() {
            *signals = signal(SignalKind::interrupt()).and_then(|one| Ok((one, signal(SignalKind::terminate())?))).ok();
        }
        match signals.as_mut() {
            Some((interrupt, terminate)) => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            None => std::future::pending().await,
        }
    }
}

async fn open(region: Option<String>) -> Result<Arc<dyn Cloud>, CloudError> {
    let connection = connect(region.as_deref()).await?;
    Ok(Arc::new(AwsCloud::new(&connection)))
}

/// As far as /proc tells; elsewhere than on Linux nothing does without `unsafe`.
fn process_exists(pid: u32) -> Option<bool> {
    let folder = std::path::Path::new("/proc");
    folder.join("self").exists().then(|| folder.join(pid.to_string()).exists())
}
