//! What can go wrong with a connection, in words that say what to do.

use std::path::PathBuf;
use std::time::Duration;

/// Why a connection or a call on it failed. `at` is `ADDRESS:PORT`, with the bastion where there is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SshError {
    #[error("{at} refuses SSH connections: sshd is not running there, or a firewall rejects them")]
    Refused { at: String },
    #[error(
        "{at} did not answer within {limit:?} ({during}): the machine is down, or a security group or route drops the packets"
    )]
    TimedOut { at: String, during: &'static str, limit: Duration },
    #[error("{at} cannot be reached: {detail}")]
    Unreachable { at: String, detail: String },
    #[error("{at} ended the SSH handshake: {detail}")]
    Handshake { at: String, detail: String },
    #[error(
        "the host key of {at} is not the one that is pinned; nothing was sent to it. offered {offered}, pinned {}. \
         either another machine answers at this address, or its key was changed",
        .pinned.join(" or ")
    )]
    HostKey { at: String, offered: String, pinned: Vec<String> },
    #[error("no host key is known for {at}, so it cannot be told from another machine; nothing was sent to it")]
    NoHostKey { at: String },
    #[error(
        "{at} does not let user `{user}` in with {key}: the key is not authorized there, or the user is another one (ssh.user)"
    )]
    Denied { at: String, user: String, key: String },
    #[error("no SSH agent: {detail}; start one and `ssh-add` the key, or name a key file in the spec (ssh.key_file)")]
    NoAgent { detail: String },
    #[error("the SSH agent does not hold the key {fingerprint} of ssh.public_key; `ssh-add` it")]
    AgentLacksKey { fingerprint: String },
    #[error("private key {}: {detail}", .path.display())]
    KeyFile { path: PathBuf, detail: String },
    #[error("the connection to {at} was lost: {detail}")]
    Lost { at: String, detail: String },
    #[error("the command did not end within {limit:?}")]
    TooSlow { limit: Duration },
    #[error("cannot read what is to be uploaded: {detail}")]
    Source { detail: String },
    #[error("not sent: {cause}")]
    NotAllowed { cause: String, retryable: bool },
}

impl SshError {
    /// Worth another attempt by itself: the machine may still boot, or the network may heal. Wrong keys never heal.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { .. }
            | Self::TimedOut { .. }
            | Self::Unreachable { .. }
            | Self::Handshake { .. }
            | Self::Lost { .. } => true,
            Self::NotAllowed { retryable, .. } => *retryable,
            Self::HostKey { .. }
            | Self::NoHostKey { .. }
            | Self::Denied { .. }
            | Self::NoAgent { .. }
            | Self::AgentLacksKey { .. }
            | Self::KeyFile { .. }
            | Self::TooSlow { .. }
            | Self::Source { .. } => false,
        }
    }
}

/// libssh2's numbers that are told apart (libssh2.h).
pub(super) mod code {
    pub const BANNER_RECV: i32 = -2;
    pub const KEX_FAILURE: i32 = -5;
    pub const KEY_EXCHANGE_FAILURE: i32 = -8;
    pub const TIMEOUT: i32 = -9;
    pub const AUTHENTICATION_FAILED: i32 = -18;
    pub const PUBLICKEY_UNVERIFIED: i32 = -19;
    pub const CHANNEL_FAILURE: i32 = -21;
    pub const EAGAIN: i32 = -37;
}

pub(super) fn session_code(error: &ssh2::Error) -> i32 {
    match error.code() {
        ssh2::ErrorCode::Session(code) | ssh2::ErrorCode::SFTP(code) => code,
    }
}

pub(super) fn again(error: &ssh2::Error) -> bool {
    session_code(error) == code::EAGAIN
}
