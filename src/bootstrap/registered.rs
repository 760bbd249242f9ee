//! Waiting for a Node: an exit code of 0 from `kubeadm join` does not mean that the kubelet runs.

use std::time::Duration;

use serde_json::json;

use super::failure::Failure;
use super::inspect::{CRASHES, Cause, Look, release};
use super::line::ROOT;
use super::run::{Run, SHORT};
use super::steps::Step;
use super::{NodeEvent, cause, clean};
use crate::cluster::KubernetesVersion;

impl Run<'_> {
    /// Waits until the API knows the Node, with a kubelet of this version, and until it is Ready if it can become so.
    pub(super) async fn registered(&self, step: &Step, ready: bool, version: Option<KubernetesVersion>) -> Result<(), Failure> {
        let body = self.part("node", json!({"node": self.place.machine.instance}))?;
        let deadline = self.after(step.limit);
        let mut pause = Duration::from_millis(200);
        let mut next_look = self.after(BETWEEN_LOOKS);
        let mut restarts = None;
        loop {
            let state = match self.on_control_plane(step, &body).await {
                Ok(json) => NodeState::read(&json),
                Err(failure) if failure.retryable => return Err(failure),
                Err(failure) => {
                    NodeState { why: failure.stderr.last().cloned().unwrap_or(failure.cause), ..NodeState::default() }
                }
            };
            let old = version.is_some() && state.kubelet != version;
            if state.registered && !old && (state.ready || !ready) {
                return Ok(());
            }
            let (what, wait) = match state.registered {
                true if old => ("the Node still tells the old kubelet", "the new kubelet to report"),
                true => ("the Node is registered but not Ready", "the Node to be Ready"),
                false => ("the Node does not register", "the Node to register"),
            };
            let late = self.clock.now() > deadline;
            if late || self.clock.now() > next_look {
                let look = self.look().await;
                // Only what happens while it is waited for counts: a kubelet may restart until its configuration is there.
                let before = *restarts.get_or_insert(look.kubelet_restarts);
                if late || look.kubelet_restarts >= before + CRASHES {
                    let log = match self.line {
                        Some(line) => self.logs(line).await,
                        None => Vec::new(),
                    };
                    let found = look.crash().filter(|_| !late).or_else(|| look.cause()).map(|Cause { what, .. }| what);
                    let cause = found.or_else(|| cause::guess(&log)).unwrap_or(state.why);
                    let after = if late { format!(" after {} minutes", step.limit.as_secs() / 60) } else { String::new() };
                    return Err(Failure { log, ..Failure::at(step.name, format!("{what}{after}: {cause}")) });
                }
                next_look = self.after(BETWEEN_LOOKS);
            }
            (self.events)(NodeEvent::Waiting(wait.into()));
            self.clock.wait(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// What the machine says of its own kubelet; nothing if it cannot be asked.
    async fn look(&self) -> Look {
        let (Some(line), Ok(script)) = (self.line, self.part("look", json!({}))) else { return Look::default() };
        match line.script(ROOT, &script, SHORT, &self.waiting()).await {
            Ok(output) => Look::parse(&String::from_utf8_lossy(&output.stdout), self.clock.now().as_duration().as_secs_f64()),
            Err(_) => Look::default(),
        }
    }
}

/// systemd starts a kubelet that ended again after ten seconds.
const BETWEEN_LOOKS: Duration = Duration::from_secs(15);

#[derive(Default)]
struct NodeState {
    registered: bool,
    ready: bool,
    kubelet: Option<KubernetesVersion>,
    why: String,
}

impl NodeState {
    fn read(json: &[u8]) -> Self {
        let node: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
        let conditions = node.pointer("/status/conditions").and_then(|list| list.as_array()).cloned().unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition.get("type").is_some_and(|kind| kind == "Ready"));
        let text = |name: &str| ready.and_then(|ready| ready.get(name)).and_then(|text| text.as_str()).unwrap_or_default();
        Self {
            registered: node.pointer("/metadata/name").is_some(),
            ready: text("status") == "True",
            kubelet: node.pointer("/status/nodeInfo/kubeletVersion").and_then(|text| release(text.as_str()?)),
            why: clean::line(text("message")),
        }
    }
}
