//! SSH to one machine: one connection, one thread, many commands. The only place that names `ssh2`.
//!
//! libssh2 is a blocking C library with one lock per session, so each connection lives in a thread of its own and is asked
//! through a channel; [`Connection`] is the asynchronous end. Nothing here waits without a limit.

mod auth;
mod connection;
mod dial;
mod error;
mod exec;
mod hostkey;
mod jump;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

pub use connection::Connection;
pub use error::SshError;
pub use hostkey::{fingerprint, is_public_key};

use crate::secret::Secret;

/// Where to connect, as whom, and what the far end must prove.
#[derive(Clone, Debug)]
pub struct Target {
    /// IP address or DNS name.
    pub address: String,
    pub port: u16,
    pub user: String,
    pub login: Login,
    pub known: Known,
    /// Bastion that the connection goes through; its own `through` is followed as well.
    pub through: Option<Box<Target>>,
}

/// How kubewright proves who it is.
#[derive(Clone, Debug)]
pub enum Login {
    Agent {
        /// `None`: `SSH_AUTH_SOCK`.
        socket: Option<PathBuf>,
        /// The one key of the agent that is offered: more would use up sshd's `MaxAuthTries`.
        public_key: String,
    },
    KeyFile {
        path: PathBuf,
        passphrase: Option<Secret>,
    },
}

/// What is known of the far end's host key before the connection.
#[derive(Clone, Debug)]
pub enum Known {
    /// Lines of OpenSSH format; the far end must hold one of them.
    Keys(Vec<String>),
    /// The first key seen is believed; only where the spec says so.
    FirstUse,
}

/// Time limits of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connect: Duration,
    pub handshake: Duration,
    pub auth: Duration,
    /// Silence after which the far end is asked for a sign of life; three times this is a lost connection.
    pub keepalive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(20),
            auth: Duration::from_secs(20),
            keepalive: Duration::from_secs(10),
        }
    }
}

/// One command on a machine.
pub struct Call {
    /// A fixed text: nothing from a spec, and no secret, is ever part of it.
    pub command: &'static str,
    pub stdin: Stdin,
    pub limit: Duration,
}

/// What a command reads.
pub enum Stdin {
    Bytes(Vec<u8>),
    /// Streamed; read errors end the call with [`SshError::Source`].
    Stream(Box<dyn std::io::Read + Send>),
}

/// What a command left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// `None`: ended by a signal, or the far end sent no status.
    pub status: Option<i32>,
    /// At most 4 MiB are kept.
    pub stdout: Vec<u8>,
    /// At most 1 MiB is kept.
    pub stderr: Vec<u8>,
}
