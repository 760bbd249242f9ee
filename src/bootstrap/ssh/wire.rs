//! What carries the bytes of a session: a TCP socket, or the near end of a bridge through a bastion.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(super) enum Wire {
    Tcp(TcpStream),
    Bridge(UnixStream),
}

impl Wire {
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
            Self::Bridge(socket) => Self::Bridge(socket.try_clone()?),
        })
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Bridge(socket) => socket.as_fd(),
        }
    }
}

impl AsRawFd for Wire {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(socket) => socket.as_raw_fd(),
            Self::Bridge(socket) => socket.as_raw_fd(),
        }
    }
}

/// Waits until one of the descriptors is ready, at most `limit`; true for each one that has something to read (or is closed).
pub(super) fn wait_ready<const N: usize>(fds: [(BorrowedFd<'_>, PollFlags); N], limit: Duration) -> io::Result<[bool; N]> {
    let mut polled = fds.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags));
    let limit = Timespec { tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: limit.subsec_nanos().into() };
    match poll(&mut polled, Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    Ok(polled.map(|fd| fd.revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)))
}

/// The directions in which libssh2 is blocked, as poll flags; reading is always of interest.
pub(super) fn interest(session: &ssh2::Session) -> PollFlags {
    match session.block_directions() {
        ssh2::BlockDirections::Outbound | ssh2::BlockDirections::Both => PollFlags::IN | PollFlags::OUT,
        ssh2::BlockDirections::None | ssh2::BlockDirections::Inbound => PollFlags::IN,
    }
}
