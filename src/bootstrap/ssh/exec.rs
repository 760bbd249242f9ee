//! One command on an open session: feeds its stdin, gathers its output, notices when the far end has gone.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ssh2::Channel;

use super::dial::Link;
use super::error::again;
use super::wire::{interest, wait_ready};
use super::{Call, Output, SshError, Stdin};

const STDOUT_KEPT: usize = 4 << 20;
const STDERR_KEPT: usize = 1 << 20;
const CHUNK: usize = 128 * 1024;
/// How often a wait looks whether it is still wanted.
const GLANCE: Duration = Duration::from_millis(200);

pub(super) fn run(link: &Link, call: Call, keepalive: Duration, unwanted: &AtomicBool) -> Result<Output, SshError> {
    let mut wait = Wait {
        link,
        keepalive,
        limit: call.limit,
        unwanted,
        begun: Instant::now(),
        heard: Instant::now(),
        asked: Instant::now(),
    };
    let mut channel = wait.until(|| link.session.channel_session())?;
    wait.until(|| channel.exec(call.command))?;
    let mut source = Source::new(call.stdin);
    let mut output = Output::default();
    let mut chunk = vec![0; CHUNK];
    loop {
        let mut moved = source.feed(&mut channel, link)?;
        moved |= drain(&mut channel.stream(0), &mut chunk, &mut output.stdout, STDOUT_KEPT, link)?;
        moved |= drain(&mut channel.stderr(), &mut chunk, &mut output.stderr, STDERR_KEPT, link)?;
        if channel.eof() {
            break;
        }
        match moved {
            true => wait.heard = Instant::now(),
            false => wait.once()?,
        }
        wait.check()?;
    }
    wait.until(|| channel.close())?;
    wait.until(|| channel.wait_close())?;
    let signalled = channel.exit_signal().ok().and_then(|signal| signal.exit_signal).is_some();
    output.status = channel.exit_status().ok().filter(|_| !signalled);
    Ok(output)
}

struct Wait<'a> {
    link: &'a Link,
    keepalive: Duration,
    limit: Duration,
    unwanted: &'a AtomicBool,
    begun: Instant,
    heard: Instant,
    asked: Instant,
}

impl Wait<'_> {
    fn until<T>(&mut self, mut attempt: impl FnMut() -> Result<T, ssh2::Error>) -> Result<T, SshError> {
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(error) if again(&error) => self.once()?,
                Err(error) => return Err(lost(self.link, error.message())),
            }
        }
    }

    fn check(&self) -> Result<(), SshError> {
        if self.unwanted.load(Ordering::Relaxed) {
            return Err(lost(self.link, "it is no longer wanted"));
        }
        if self.begun.elapsed() > self.limit {
            return Err(SshError::TooSlow { limit: self.limit });
        }
        Ok(())
    }

    /// Sleeps until the socket is ready or a glance is due; keeps the connection alive, and ends it when nobody answers.
    fn once(&mut self) -> Result<(), SshError> {
        self.check()?;
        let ready = wait_ready([(self.link.wire.as_fd(), interest(&self.link.session))], GLANCE);
        if ready.map_err(|error| lost(self.link, &error.to_string()))? == [true] {
            self.heard = Instant::now();
        }
        let silence = self.heard.elapsed();
        if silence > self.keepalive * 3 {
            return Err(lost(self.link, &format!("no sign of life for {} s", silence.as_secs())));
        }
        if silence > self.keepalive && self.asked.elapsed() > self.keepalive {
            self.asked = Instant::now();
            let _ = self.link.session.keepalive_send();
        }
        Ok(())
    }
}

struct Source {
    from: Box<dyn Read + Send>,
    chunk: Vec<u8>,
    filled: usize,
    sent: usize,
    drained: bool,
    closed: bool,
}

impl Source {
    fn new(stdin: Stdin) -> Self {
        let from: Box<dyn Read + Send> = match stdin {
            Stdin::Bytes(bytes) => Box::new(io::Cursor::new(bytes)),
            Stdin::Stream(stream) => stream,
        };
        Self { from, chunk: vec![0; CHUNK], filled: 0, sent: 0, drained: false, closed: false }
    }

    fn feed(&mut self, channel: &mut Channel, link: &Link) -> Result<bool, SshError> {
        if self.sent == self.filled && !self.drained {
            self.sent = 0;
            self.filled = self.from.read(&mut self.chunk).map_err(|error| SshError::Source { detail: error.to_string() })?;
            self.drained = self.filled == 0;
        }
        if self.sent < self.filled {
            let rest = self.chunk.get(self.sent..self.filled).unwrap_or_default();
            return match channel.write(rest) {
                Ok(length) => {
                    self.sent += length;
                    Ok(length > 0)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                // A command that ends without reading its stdin closes the channel: its output says why.
                Err(_) if channel.eof() => Ok(false),
                Err(error) => Err(lost(link, &error.to_string())),
            };
        }
        if self.drained && !self.closed {
            match channel.send_eof() {
                Ok(()) => self.closed = true,
                Err(error) if again(&error) => {}
                Err(error) => return Err(lost(link, error.message())),
            }
        }
        Ok(false)
    }
}

fn drain(from: &mut impl Read, chunk: &mut [u8], into: &mut Vec<u8>, kept: usize, link: &Link) -> Result<bool, SshError> {
    match from.read(chunk) {
        Ok(length) => {
            let room = kept.saturating_sub(into.len()).min(length);
            into.extend_from_slice(chunk.get(..room).unwrap_or_default());
            Ok(length > 0)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(lost(link, &error.to_string())),
    }
}

fn lost(link: &Link, detail: &str) -> SshError {
    SshError::Lost { at: link.at.clone(), detail: detail.into() }
}
