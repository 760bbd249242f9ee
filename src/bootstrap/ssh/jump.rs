//! Through a bastion: a `direct-tcpip` channel of a session to the bastion, bridged to a local socket pair by a thread.
//!
//! The inner session runs end to end: the bastion sees ciphertext only and holds no key of ours.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use ssh2::Channel;

use super::dial::{Link, dial, milliseconds};
use super::error::{code, session_code};
use super::wire::{Wire, interest, wait_ready};
use super::{Limits, SshError, Target};

const CHUNK: usize = 64 * 1024;

/// Logs in to the bastion, opens the way to `address:port`, and returns its near end.
pub(super) fn through(bastion: &Target, address: &str, port: u16, limits: &Limits, at: &str) -> Result<Wire, SshError> {
    let link = dial(bastion, limits)?;
    link.session.set_blocking(true);
    link.session.set_timeout(milliseconds(limits.connect));
    let channel = link.session.channel_direct_tcpip(address, port, None).map_err(|error| match session_code(&error) {
        // sshd does not tell libssh2 why: refused, no route, forwarding forbidden.
        code::CHANNEL_FAILURE => SshError::Unreachable { at: at.into(), detail: "the bastion cannot connect to it".into() },
        code::TIMEOUT => SshError::TimedOut { at: at.into(), during: "TCP connect from the bastion", limit: limits.connect },
        _ => SshError::Unreachable { at: at.into(), detail: format!("the bastion said: {}", error.message()) },
    })?;
    link.session.set_timeout(0);
    link.session.set_blocking(false);
    let broken = |error: io::Error| SshError::Unreachable { at: at.into(), detail: error.to_string() };
    let (near, far) = UnixStream::pair().map_err(broken)?;
    far.set_nonblocking(true).map_err(broken)?;
    let keepalive = limits.keepalive;
    std::thread::Builder::new()
        .name("ssh-bridge".into())
        .spawn(move || bridge(&link, channel, far, keepalive))
        .map_err(broken)?;
    Ok(Wire::Bridge(near))
}

/// Copies both ways until either side ends; dropping the socket tells the inner session.
fn bridge(link: &Link, mut channel: Channel, mut local: UnixStream, keepalive: Duration) {
    let mut out = Buffer::default();
    let mut back = Buffer::default();
    let mut moved = Instant::now();
    while let (Ok(sent), Ok(received)) = (out.pass(&mut local, &mut channel), back.pass(&mut channel, &mut local)) {
        if out.ended && out.is_empty() || back.ended && back.is_empty() || channel.eof() && back.is_empty() {
            break;
        }
        if sent || received {
            moved = Instant::now();
            continue;
        }
        // Never between data: one that is stuck in a full socket would make libssh2 refuse the next packet, and the upload with it.
        if out.is_empty() && back.is_empty() && moved.elapsed() >= keepalive {
            moved = Instant::now();
            let _ = link.session.keepalive_send();
        }
        let mut near = PollFlags::empty();
        if out.is_empty() {
            near |= PollFlags::IN;
        }
        if !back.is_empty() {
            near |= PollFlags::OUT;
        }
        if wait_ready([(link.wire.as_fd(), interest(&link.session)), (local.as_fd(), near)], keepalive).is_err() {
            break;
        }
    }
    let _ = channel.close();
    let _ = link.session.disconnect(None, "done", None);
}

/// Bytes on their way in one direction.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    ended: bool,
}

impl Buffer {
    fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Moves what can be moved without waiting; says whether anything was.
    fn pass(&mut self, from: &mut impl Read, to: &mut impl Write) -> io::Result<bool> {
        let mut moved = false;
        if self.is_empty() && !self.ended {
            self.bytes.resize(CHUNK, 0);
            self.start = 0;
            match from.read(&mut self.bytes) {
                Ok(0) => {
                    self.bytes.clear();
                    self.ended = true;
                }
                Ok(length) => {
                    self.bytes.truncate(length);
                    moved = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.bytes.clear(),
                Err(error) => return Err(error),
            }
        }
        if !self.is_empty() {
            match to.write(self.bytes.get(self.start..).unwrap_or_default()) {
                Ok(length) => {
                    self.start += length;
                    moved |= length > 0;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(moved)
    }
}
