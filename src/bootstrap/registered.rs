//! Waiting for a Node: an exit code of 0 from `kubeadm join` does not mean that the kubelet runs.

use std::time::Duration;

use serde_json::json;

use super::failure::Failure;
use super::inspect::{CRASHES, Cause, Look, release};
use super::line::ROOT;
use super::run::{Run, SHORT};
use super::steps::Step;
use super::{NodeEvent, cause, clean};
use crate::cluster::{KubernetesVersion, Packages};

impl Run<'_> {
    /// Waits until the API knows the Node, with a kubelet of this version, and until it is Ready if it can become so.
    pub(super) async fn registered(&self, step: &Step, ready: bool, version: Option<KubernetesVersion>) -> Result<(), Failure> {
        let body = self.part("node", json!({"node": self.place.machine.instance}))?;
        let deadline = self.after(step.limit);
        let mut pause = Duration::from_millis(200);
        let mut next_look = self.after(BETWEEN_LOOKS);
        let mut restarts = None;
        let mut in_vain = 0;
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
                let missing = if state.registered { self.missing_image(step).await } else { None };
                // A pull may succeed the next time, but nowhere is anything to pull from where a bundle brings the images.
                in_vain = if missing.is_some() && self.bundled() { in_vain + 1 } else { 0 };
                // Only what happens while it is waited for counts: a kubelet may restart until its configuration is there.
                let before = *restarts.get_or_insert(look.kubelet_restarts);
                let crashes = look.kubelet_restarts >= before + CRASHES;
                if late || crashes || in_vain >= PULLS {
                    let log = match self.line {
                        Some(line) => self.logs(line).await,
                        None => Vec::new(),
                    };
                    let crash = look.crash().filter(|_| crashes && !late);
                    let found = crash.map(|crash| crash.what).or(missing).or_else(|| look.cause().map(|Cause { what, .. }| what));
                    let cause = found.or_else(|| cause::guess(&log)).unwrap_or(state.why);
                    let after = if late { format!(" after {} minutes", step.limit.as_secs() / 60) } else { String::new() };
                    return Err(Failure { log, ..Failure::at(step.name, format!("{what}{after}: {cause}")) });
                }
                next_look = self.after(BETWEEN_LOOKS);
            }
            (self.events)(NodeEvent::Waiting(wait.into()));
            self.clock.wait(pause).await;
            pause = (pause * 3 / 2).min(Duration::from_secs(2));
        }
    }

    fn bundled(&self) -> bool {
        matches!(self.place.cluster.packages, Packages::Bundle(_))
    }

    /// A pod on the machine whose image is not there and cannot be pulled.
    async fn missing_image(&self, step: &Step) -> Option<String> {
        let body = self.part("pods", json!({"node": self.place.machine.instance})).ok()?;
        let said = self.on_control_plane(step, &body).await.ok()?;
        missing(&String::from_utf8_lossy(&said))
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

/// So many looks in a row at an image that cannot be pulled are enough.
const PULLS: u32 = 4;

/// `NAMESPACE/POD`, and `REASON=IMAGE` of each container, one pod a line.
fn missing(said: &str) -> Option<String> {
    const REASONS: [&str; 5] = ["ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "ImageInspectError", "InvalidImageName"];
    said.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let pod = words.next()?;
        let (_, image) = words.filter_map(|word| word.split_once('=')).find(|(reason, _)| REASONS.contains(reason))?;
        Some(clean::line(&format!("pod {pod}: the image {image} is neither on this machine nor can it be pulled")))
    })
}

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

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn an_image_that_cannot_be_pulled_is_told_with_its_pod() {
        let said = "kube-system/kube-proxy-x =registry.k8s.io/kube-proxy:v1.34.2\n\
            kube-flannel/flannel-y =docker.io/a:1 ImagePullBackOff=docker.io/flannel:1\u{7} PodInitializing=docker.io/flannel:1\n";
        let told = missing(said).unwrap();
        assert_eq!(
            told,
            "pod kube-flannel/flannel-y: the image docker.io/flannel:1 is neither on this machine nor can it be pulled"
        );
        assert_eq!(missing("kube-system/a =b:1 ContainerCreating=c:1\nkube-system/d\n"), None);
    }
}
