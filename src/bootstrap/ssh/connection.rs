//! The asynchronous end of a connection's thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use tokio::sync::oneshot;

use super::dial::{Link, dial};
use super::{Call, Limits, Output, SshError, Target, exec};

/// An open, authenticated connection. Calls are carried out one after the other; dropping it ends the one in progress.
pub struct Connection {
    requests: Sender<Request>,
    host_key: String,
    at: String,
    over: Arc<AtomicBool>,
    unwanted: Arc<AtomicBool>,
}

struct Request {
    call: Call,
    reply: oneshot::Sender<Result<Output, SshError>>,
}

impl Connection {
    /// One attempt. Waits at most for the limits' sum (twice that through a bastion).
    pub async fn open(target: Target, limits: Limits) -> Result<Self, SshError> {
        let at = format!("{}:{}", target.address, target.port);
        let broken = |detail: String| SshError::Unreachable { at: at.clone(), detail };
        let (requests, inbox) = channel();
        let (opened, open) = oneshot::channel();
        let (over, unwanted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (thread_over, thread_unwanted) = (over.clone(), unwanted.clone());
        let work = move || match dial(&target, &limits) {
            Ok(link) => {
                let said = opened.send(Ok((link.host_key.clone(), link.at.clone())));
                if said.is_ok() {
                    serve(&link, &inbox, limits.keepalive, &thread_unwanted);
                }
                thread_over.store(true, Ordering::Relaxed);
                let _ = link.session.disconnect(None, "done", None);
            }
            Err(error) => drop(opened.send(Err(error))),
        };
        std::thread::Builder::new().name("ssh".into()).spawn(work).map_err(|error| broken(error.to_string()))?;
        let (host_key, at) = open.await.map_err(|_| broken("the connection's thread ended".into()))??;
        Ok(Self { requests, host_key, at, over, unwanted })
    }

    /// Runs a command to its end. Any error but [`SshError::Source`] leaves the connection unusable.
    pub async fn call(&self, call: Call) -> Result<Output, SshError> {
        let gone = || SshError::Lost { at: self.at.clone(), detail: "it was closed".into() };
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request { call, reply }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// `TYPE BASE64` of the machine, proved by the key exchange.
    pub fn host_key(&self) -> &str {
        &self.host_key
    }

    pub fn is_open(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.unwanted.store(true, Ordering::Relaxed);
    }
}

fn serve(link: &Link, inbox: &Receiver<Request>, keepalive: Duration, unwanted: &AtomicBool) {
    loop {
        match inbox.recv_timeout(keepalive) {
            Ok(request) => {
                let result = exec::run(link, request.call, keepalive, unwanted);
                let ended = result.is_err();
                let _ = request.reply.send(result);
                if ended {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                // Blocked is no failure here; a dead connection shows itself at the next call.
                let _ = link.session.keepalive_send();
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
