//! From nothing to an authenticated session: socket (or bridge), key exchange, host key, login. Runs in the connection's thread.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use ssh2::{MethodType, Session};

use super::error::{code, session_code};
use super::wire::Wire;
use super::{Known, Limits, SshError, Target, auth, hostkey, jump};

/// Ciphers in order of preference: AES-GCM is the cheapest with hardware support, and bundles are large.
const CIPHERS: [&str; 6] = [
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
];

/// An authenticated session, blocking mode off.
pub(super) struct Link {
    pub session: Session,
    /// Second handle of the session's socket, to poll on.
    pub wire: Wire,
    /// `TYPE BASE64` of the far end.
    pub host_key: String,
    pub at: String,
}

pub(super) fn dial(target: &Target, limits: &Limits) -> Result<Link, SshError> {
    let at = match &target.through {
        Some(bastion) => format!("{}:{} (through {}:{})", target.address, target.port, bastion.address, bastion.port),
        None => format!("{}:{}", target.address, target.port),
    };
    if let Known::Keys(lines) = &target.known
        && !lines.iter().any(|line| hostkey::is_public_key(line))
    {
        return Err(SshError::NoHostKey { at });
    }
    let (session, wire) = match shake(target, limits, &at, &target.known) {
        // The far end has no key of the pinned types: show which one it has instead, without logging in.
        Err(Failure::NoCommonAlgorithm(detail)) => {
            let (session, _) = shake(target, limits, &at, &Known::FirstUse).map_err(|failure| failure.into_error(&at))?;
            let offered = session.host_key().map(|(blob, _)| blob.to_vec()).unwrap_or_default();
            return Err(hostkey::check(&at, &target.known, &offered).err().unwrap_or(SshError::Handshake { at, detail }));
        }
        other => other.map_err(|failure| failure.into_error(&at))?,
    };
    let no_key = || SshError::Handshake { at: at.clone(), detail: "no host key was offered".into() };
    let host_key = hostkey::check(&at, &target.known, session.host_key().ok_or_else(no_key)?.0)?;
    session.set_timeout(milliseconds(limits.auth));
    auth::log_in(&session, target, &at)?;
    session.set_timeout(0);
    session.set_blocking(false);
    // Without an interval libssh2 sends no keepalive at all. Half of ours: when one is due is our own decision.
    session.set_keepalive(true, u32::try_from(limits.keepalive.as_secs() / 2).unwrap_or(u32::MAX));
    Ok(Link { session, wire, host_key, at })
}

enum Failure {
    Ssh(SshError),
    NoCommonAlgorithm(String),
}

impl Failure {
    fn into_error(self, at: &str) -> SshError {
        match self {
            Self::Ssh(error) => error,
            Self::NoCommonAlgorithm(detail) => SshError::Handshake { at: at.into(), detail },
        }
    }
}

impl From<SshError> for Failure {
    fn from(error: SshError) -> Self {
        Self::Ssh(error)
    }
}

/// Socket and key exchange; nothing of ours has been sent but algorithm names.
fn shake(target: &Target, limits: &Limits, at: &str, known: &Known) -> Result<(Session, Wire), Failure> {
    let wire = match &target.through {
        Some(bastion) => jump::through(bastion, &target.address, target.port, limits, at)?,
        None => Wire::Tcp(socket(&target.address, target.port, limits.connect, at)?),
    };
    let io_error = |error: io::Error| SshError::Unreachable { at: at.into(), detail: error.to_string() };
    let ssh_error = |error: ssh2::Error| SshError::Handshake { at: at.into(), detail: error.message().to_string() };
    let mut session = Session::new().map_err(ssh_error)?;
    session.set_tcp_stream(wire.try_clone().map_err(io_error)?);
    session.set_timeout(milliseconds(limits.handshake));
    let supported = session.supported_algs(MethodType::HostKey).unwrap_or_default();
    session.method_pref(MethodType::HostKey, &hostkey::algorithms(known, &supported)).map_err(ssh_error)?;
    for direction in [MethodType::CryptCs, MethodType::CryptSc] {
        let supported = session.supported_algs(direction).unwrap_or_default();
        let ciphers: Vec<&str> = CIPHERS.into_iter().filter(|name| supported.contains(name)).collect();
        session.method_pref(direction, &ciphers.join(",")).map_err(ssh_error)?;
    }
    session.handshake().map_err(|error| {
        let detail = error.message().to_string();
        match session_code(&error) {
            code::KEX_FAILURE | code::KEY_EXCHANGE_FAILURE => Failure::NoCommonAlgorithm(detail),
            code::TIMEOUT => SshError::TimedOut { at: at.into(), during: "SSH handshake", limit: limits.handshake }.into(),
            code::BANNER_RECV => SshError::Handshake { at: at.into(), detail: format!("{detail} (not an SSH server?)") }.into(),
            _ => SshError::Handshake { at: at.into(), detail }.into(),
        }
    })?;
    Ok((session, wire))
}

fn socket(address: &str, port: u16, limit: Duration, at: &str) -> Result<TcpStream, SshError> {
    let unreachable = |error: io::Error| SshError::Unreachable { at: at.into(), detail: error.to_string() };
    let mut last = SshError::Unreachable { at: at.into(), detail: "the name has no address".into() };
    for candidate in (address, port).to_socket_addrs().map_err(unreachable)? {
        match TcpStream::connect_timeout(&candidate, limit) {
            Ok(socket) => {
                socket.set_nodelay(true).map_err(unreachable)?;
                return Ok(socket);
            }
            Err(error) => {
                last = match error.kind() {
                    io::ErrorKind::ConnectionRefused => SshError::Refused { at: at.into() },
                    io::ErrorKind::TimedOut => SshError::TimedOut { at: at.into(), during: "TCP connect", limit },
                    _ => unreachable(error),
                }
            }
        }
    }
    Err(last)
}

pub(super) fn milliseconds(duration: Duration) -> u32 {
    duration.as_millis().try_into().unwrap_or(u32::MAX)
}
