//! Waiting for a Node: an exit code of 0 from `kubeadm join` does not mean that the kubelet runs.

use std::time::Duration;

use serde_json::json;

use super::failure::Failure;
use super::run::Run;
use super::steps::Step;
use super::{NodeEvent, cause, clean};

impl Run<'_> {
    /// Waits until the API knows the Node, and until it is Ready if it can become so.
    pub(super) async fn registered(&self, step: &Step, ready: bool) -> Result<(), Failure> {
        let body = self.part("node", json!({"node": self.place.machine.instance}))?;
        let deadline = self.after(step.limit);
        let mut pause = Duration::from_millis(200);
        loop {
            let state = match self.on_control_plane(step, &body).await {
                Ok(json) => NodeState::read(&json),
                Err(failure) if failure.retryable => return Err(failure),
                Err(failure) => {
                    NodeState { why: failure.stderr.last().cloned().unwrap_or(failure.cause), ..NodeState::default() }
                }
            };
            if state.registered && (state.ready || !ready) {
                return Ok(());
            }
            if self.clock.now() > deadline {
                let log = match self.line {
                    Some(line) => self.logs(line).await,
                    None => Vec::new(),
                };
                let what = if state.registered { "the Node is registered but not Ready" } else { "the Node does not register" };
                let cause = cause::guess(&log).unwrap_or(state.why);
                return Err(Failure {
                    log,
                    ..Failure::at(step.name, format!("{what} after {} minutes: {cause}", step.limit.as_secs() / 60))
                });
            }
            (self.events)(NodeEvent::Waiting(
                if state.registered { "the Node to be Ready" } else { "the Node to register" }.into(),
            ));
            self.clock.wait(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }
}

#[derive(Default)]
struct NodeState {
    registered: bool,
    ready: bool,
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
            why: clean::line(text("message")),
        }
    }
}
