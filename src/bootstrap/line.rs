//! A line to one machine that mends itself: waits while the machine boots, opens the connection again when it was lost.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::ssh::{Call, Connection, Limits, Output, SshError, Stdin, Target};
use super::{Permission, Refusal};
use crate::clock::Clock;

/// How long a machine may take to let us in.
pub(super) const BOOT_LIMIT: Duration = Duration::from_secs(600);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Runs the script on its stdin as root, or as the login user where `sudo -n` is refused (the facts script then says so).
pub(super) const PROBE: &str =
    "if [ \"$(id -u)\" != 0 ] && sudo -n true 2>/dev/null; then exec sudo -n /bin/sh -s; else exec /bin/sh -s; fi";
/// Runs the script on its stdin as root.
pub(super) const ROOT: &str = "if [ \"$(id -u)\" = 0 ]; then exec /bin/sh -s; else exec sudo -n /bin/sh -s; fi";
/// Unpacks the tar stream on its stdin into the folder where a bundle arrives.
pub(super) const UNPACK: &str = "set -e; d=/var/lib/kubewright/bundle/incoming; \
     if [ \"$(id -u)\" = 0 ]; then s=; else s='sudo -n'; fi; \
     $s mkdir -p $d; exec $s tar --extract --file=- --directory=$d --no-same-owner --overwrite";

/// Unpacks the tar stream on its stdin into the folder where parts of a snapshot arrive.
pub(super) const RECEIVE: &str = "set -e; umask 077; d=/var/lib/kubewright/etcd/incoming; \
     if [ \"$(id -u)\" = 0 ]; then s=; else s='sudo -n'; fi; \
     $s mkdir -p -m 0700 $d; exec $s tar --extract --file=- --directory=$d --no-same-owner --overwrite";

/// Told what is being waited for.
pub(super) type Waiting<'a> = &'a (dyn Fn(String) + Send + Sync);

pub(super) struct Line {
    target: Target,
    limits: Limits,
    clock: Arc<dyn Clock>,
    /// Bounds the connections through one bastion.
    permits: Option<Arc<Semaphore>>,
    permission: Option<Permission>,
    open: Mutex<Option<Open>>,
}

#[derive(Clone)]
struct Open {
    connection: Arc<Connection>,
    _permit: Option<Arc<OwnedSemaphorePermit>>,
}

impl Line {
    pub fn new(target: Target, limits: Limits, clock: Arc<dyn Clock>, permits: Option<Arc<Semaphore>>) -> Self {
        Self { target, limits, clock, permits, permission: None, open: Mutex::new(None) }
    }

    /// Asks before each command, but for [`PROBE`], which changes nothing.
    pub fn with_permission(self, permission: Option<Permission>) -> Self {
        Self { permission, ..self }
    }

    /// The machine's host key, once connected.
    pub async fn host_key(&self, waiting: Waiting<'_>) -> Result<String, SshError> {
        Ok(self.connection(waiting).await?.connection.host_key().to_string())
    }

    /// One attempt to connect, without waiting for a machine that boots.
    pub async fn try_open(&self) -> Result<(), SshError> {
        let mut slot = self.open.lock().await;
        if slot.as_ref().is_none_or(|open| !open.connection.is_open()) {
            *slot = None;
            let permit = self.permit().await;
            let connection = Arc::new(Connection::open(self.target.clone(), self.limits).await?);
            *slot = Some(Open { connection, _permit: permit });
        }
        Ok(())
    }

    async fn permit(&self) -> Option<Arc<OwnedSemaphorePermit>> {
        match &self.permits {
            Some(permits) => permits.clone().acquire_owned().await.ok().map(Arc::new),
            None => None,
        }
    }

    /// One attempt at a command. A lost connection is an error here: only the caller knows whether to repeat.
    pub async fn call(
        &self,
        command: &'static str,
        stdin: Stdin,
        limit: Duration,
        waiting: Waiting<'_>,
    ) -> Result<Output, SshError> {
        let open = self.connection(waiting).await?;
        // After the wait for the machine, not before it.
        if let Some(permission) = self.permission.as_ref().filter(|_| command != PROBE) {
            permission().await.map_err(|Refusal { cause, retryable }| SshError::NotAllowed { cause, retryable })?;
        }
        open.connection.call(Call { command, stdin, limit }).await
    }

    /// Runs a script that may be repeated, again after a lost connection.
    pub async fn script(
        &self,
        command: &'static str,
        script: &str,
        limit: Duration,
        waiting: Waiting<'_>,
    ) -> Result<Output, SshError> {
        let deadline = self.after(BOOT_LIMIT);
        loop {
            match self.call(command, Stdin::Bytes(script.as_bytes().to_vec()), limit, waiting).await {
                Err(error @ SshError::Lost { .. }) if self.clock.now() < deadline => {
                    waiting(format!("{error}; connecting again"));
                    self.clock.wait(FIRST_PAUSE).await;
                }
                other => return other,
            }
        }
    }

    /// Gives the connection up; the next call opens a new one.
    pub async fn close(&self) {
        *self.open.lock().await = None;
    }

    async fn connection(&self, waiting: Waiting<'_>) -> Result<Open, SshError> {
        let mut slot = self.open.lock().await;
        if let Some(open) = slot.as_ref().filter(|open| open.connection.is_open()) {
            return Ok(open.clone());
        }
        // The permit of a connection that was lost goes back first, or a bastion's last one would be waited for forever.
        *slot = None;
        let permit = self.permit().await;
        let deadline = self.after(BOOT_LIMIT);
        let mut pause = FIRST_PAUSE;
        loop {
            match Connection::open(self.target.clone(), self.limits).await {
                Ok(connection) => {
                    let open = Open { connection: Arc::new(connection), _permit: permit };
                    *slot = Some(open.clone());
                    return Ok(open);
                }
                Err(error) if error.is_retryable() && self.clock.now() < deadline => {
                    waiting(format!("SSH: {error}"));
                    self.clock.wait(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn after(&self, duration: Duration) -> Timestamp {
        let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        self.clock.now().checked_add(duration).unwrap_or(Timestamp::MAX)
    }
}
