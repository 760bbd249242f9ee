//! Saving and restoring etcd on control planes, piece by piece: each is idempotent, so that a run that was killed is gone on with.
//!
//! A restore does the same on every control plane, from the same snapshot and with the same list of members: that is how etcd's own manual does it, and no member has to
//! be added to another one. It makes the new data beside that of the running etcd ([`EtcdWork::Stage`]), so that whatever can go wrong does so before anything is stopped.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::failure::Failure;
use super::kubeadm::Place;
use super::line::{RECEIVE, ROOT};
use super::ssh::{Output, Stdin};
use super::template::render;
use super::{Events, Fleet, NodeError, NodeEvent, NodeTask, SshNodes, clean, steps};

/// A piece of work on a control plane's etcd.
#[derive(Clone, Debug)]
pub enum EtcdWork {
    /// Takes a snapshot into a file of this name and checks it; answers what [`Saved`] reads.
    Save { name: String },
    /// Part of that file, from 1; answers its bytes.
    Read { name: String, part: u32, size: usize },
    /// Takes that file away.
    Drop { name: String },
    /// Sends a part of a snapshot, from 1.
    Write { name: String, part: u32, bytes: Arc<Vec<u8>> },
    /// Makes new data out of the parts that were sent, beside that of etcd.
    Stage(Box<Stage>),
    /// Stops the static pods of the control plane.
    Stop,
    /// Puts the staged data into etcd's place.
    Swap { restore: String },
    /// Starts etcd, waits for its quorum, then starts the rest, until the API server is ready.
    Start,
    /// Deletes Nodes that kubewright made and that are not among these; answers their names.
    Tidy { live: Vec<String> },
    /// Has the kubelet register its Node again. For any machine.
    Register,
    /// Waits for the Node of another machine, and marks it as a control plane's.
    Node { node: String, control_plane: bool },
    /// Puts labels and taints of its group on the Node of the machine in that slot.
    Labels { of: String },
}

/// What the data of a member is made from.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Of this restore; names what it leaves on machines, and the new cluster of members.
    pub restore: String,
    /// Of the snapshot.
    pub name: String,
    pub sha256: String,
    pub size: u64,
    /// Instance and private address of every member.
    pub members: Vec<(String, String)>,
}

/// By how much a restore raises etcd's revision: more than what was written since any snapshot, so that no watcher takes the old for the new. The number
/// is that of etcd's manual: a week of 1,500 writes a second.
const RAISE: u64 = 1_000_000_000;
const MINUTE: Duration = Duration::from_secs(60);

impl EtcdWork {
    /// As people call it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Save { .. } => "etcd-save",
            Self::Read { .. } => "etcd-read",
            Self::Drop { .. } => "etcd-drop",
            Self::Write { .. } => "etcd-write",
            Self::Stage(_) => "etcd-stage",
            Self::Stop => "etcd-stop",
            Self::Swap { .. } => "etcd-swap",
            Self::Start => "etcd-start",
            Self::Tidy { .. } => "etcd-tidy",
            Self::Register => "etcd-register",
            Self::Node { .. } => "etcd-node",
            Self::Labels { .. } => "etcd-labels",
        }
    }

    fn limit(&self) -> Duration {
        match self {
            Self::Read { .. } | Self::Drop { .. } | Self::Swap { .. } | Self::Register => 2 * MINUTE,
            Self::Write { .. } | Self::Stop | Self::Tidy { .. } | Self::Node { .. } | Self::Labels { .. } => 6 * MINUTE,
            Self::Save { .. } | Self::Stage(_) | Self::Start => 20 * MINUTE,
        }
    }

    fn left(&self) -> &'static str {
        match self {
            Self::Save { .. } | Self::Read { .. } | Self::Drop { .. } => "etcd is as it was",
            Self::Write { .. } | Self::Stage(_) => "etcd is as it was; the new data is not in its place yet",
            Self::Stop | Self::Swap { .. } | Self::Start => "control planes are stopped; the same command goes on",
            Self::Tidy { .. } | Self::Register | Self::Node { .. } | Self::Labels { .. } => {
                "etcd is restored; the same command goes on"
            }
        }
    }

    /// The script that defines `main`, below the prelude.
    pub(super) fn body(&self, fleet: &Fleet, slot: &str) -> Result<String, String> {
        let script = |values| render(&format!("steps/{}.sh.j2", self.as_str()), values);
        let with_tool = |script: String| Ok(render("steps/etcdctl.sh.j2", json!({}))? + &script);
        match self {
            Self::Save { name } => with_tool(script(json!({"name": name}))?),
            Self::Read { name, part, size } => script(json!({"name": name, "size": size, "skip": part.saturating_sub(1)})),
            Self::Drop { name } => script(json!({"name": name})),
            // Sent as a stream, by a command of its own.
            Self::Write { .. } => Ok("main() { :; }\n".into()),
            Self::Stage(stage) => {
                let machine = fleet.machines.get(slot).ok_or(format!("there is no machine in slot {slot}"))?;
                let peer = |address: &str| format!("https://{address}:2380");
                let cluster: Vec<String> =
                    stage.members.iter().map(|(name, address)| format!("{name}={}", peer(address))).collect();
                script(json!({
                    "restore": stage.restore, "name": stage.name, "sha256": stage.sha256, "member": machine.instance,
                    "cluster": cluster.join(","), "peer": peer(&machine.private_address), "raise": RAISE,
                    // The joined snapshot and the data that is made of it.
                    "room": stage.size.saturating_mul(2).saturating_add(256 << 20),
                }))
            }
            Self::Stop => script(json!({})),
            Self::Swap { restore } => script(json!({"restore": restore})),
            Self::Start => with_tool(script(json!({}))?),
            Self::Tidy { live } => script(json!({"live": format!(" {} ", live.join(" "))})),
            Self::Register => script(json!({})),
            Self::Node { node, control_plane } => script(json!({"node": node, "control_plane": control_plane})),
            Self::Labels { of } => {
                let machine = fleet.machines.get(of).ok_or(format!("there is no machine in slot {of}"))?;
                let group = fleet.group_of(machine).ok_or(format!("no instance group `{}`", machine.group))?;
                steps::labels(Place { cluster: &fleet.cluster, group, machine })
            }
        }
    }
}

/// What a machine said of a snapshot that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    pub revision: u64,
    pub keys: u64,
    pub size: u64,
    pub sha256: String,
    /// Version of etcd.
    pub etcd: String,
}

impl Saved {
    /// `None`: it did not say all of it.
    pub fn parse(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Status {
            revision: u64,
            total_key: u64,
        }
        #[derive(Deserialize)]
        struct Member {
            #[serde(rename = "Status")]
            status: Version,
        }
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let status: Status = serde_json::from_str(of("status")?).ok()?;
        let members: Vec<Member> = serde_json::from_str(of("local")?).ok()?;
        let sha256 = of("sha256")?.trim().to_owned();
        let is_digest = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_digest.then_some(Self {
            revision: status.revision,
            keys: status.total_key,
            size: of("size")?.trim().parse().ok().filter(|size| *size > 0)?,
            sha256,
            etcd: clean::line(&members.first()?.status.version),
        })
    }
}

impl SshNodes {
    pub(super) async fn work_on_etcd(
        &self,
        work: &EtcdWork,
        slot: &str,
        fleet: &Fleet,
        events: &Events,
    ) -> Result<Vec<u8>, NodeError> {
        let begun = self.clock.now();
        let result = self.try_etcd(work, slot, fleet, events).await;
        let seconds = u64::try_from(self.clock.now().duration_since(begun).as_secs()).unwrap_or_default();
        result.map_err(|failure| {
            let address = fleet.machines.get(slot).map(|machine| machine.private_address.clone()).unwrap_or_default();
            let error = failure.into_error(NodeTask::Snapshot, slot, address, seconds);
            NodeError { left: work.left().into(), ..error }
        })
    }

    async fn try_etcd(&self, work: &EtcdWork, slot: &str, fleet: &Fleet, events: &Events) -> Result<Vec<u8>, Failure> {
        let machine = fleet.machines.get(slot).ok_or_else(|| Failure::plain(format!("there is no machine in slot {slot}")))?;
        let line = self.line(fleet, machine, events).await?;
        // Nobody waits for a machine to boot here: all of them have been in the cluster.
        line.try_open().await?;
        let waiting = {
            let events = events.clone();
            move |text| events(NodeEvent::Waiting(text))
        };
        if let EtcdWork::Write { name, part, bytes } = work {
            let stream = tarred(&format!("{name}.db.{part:04}"), bytes).map_err(|error| Failure::plain(error.to_string()))?;
            let output = line.call(RECEIVE, Stdin::Bytes(stream), work.limit(), &waiting).await?;
            return answer(work, output);
        }
        let prelude = json!({"step": work.as_str(), "hash": "-", "run": self.run, "take": "yes"});
        let script = render("steps/prelude.sh.j2", prelude).map_err(Failure::plain)?
            + &work.body(fleet, slot).map_err(Failure::plain)?
            + "\nown\nlock\nmain </dev/null\n";
        let output = line.script(ROOT, &script, work.limit(), &waiting).await?;
        answer(work, output)
    }
}

fn answer(work: &EtcdWork, output: Output) -> Result<Vec<u8>, Failure> {
    if output.status == Some(0) {
        return Ok(output.stdout);
    }
    let stderr = clean::last_lines(&output.stderr, 12, &[]);
    let cause = stderr.last().cloned().unwrap_or_else(|| match output.status {
        Some(status) => format!("it ended with {status} and said nothing"),
        None => "it was killed".into(),
    });
    Err(Failure { exit: output.status, stderr, ..Failure::at(work.as_str(), cause) })
}

/// A tar stream of one file that only root may read.
fn tarred(name: &str, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o600);
    header.set_entry_type(tar::EntryType::Regular);
    let mut archive = tar::Builder::new(Vec::with_capacity(bytes.len() + 2048));
    archive.append_data(&mut header, name, bytes)?;
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_answer_describes_a_snapshot() {
        let text = format!(
            "status {{\"hash\":1,\"revision\":1234,\"totalKey\":99,\"totalSize\":4096,\"version\":\"3.6.0\"}}\n\
             local [{{\"Endpoint\":\"x\",\"Status\":{{\"version\":\"3.6.5\"}}}}]\nsize 4128\nsha256 {}\n",
            "ab".repeat(32)
        );
        let saved = Saved::parse(&text).unwrap();
        assert_eq!((saved.revision, saved.keys, saved.size, saved.etcd.as_str()), (1234, 99, 4128, "3.6.5"));
        for (n, _) in text.lines().enumerate() {
            let without: Vec<&str> = text.lines().enumerate().filter(|(m, _)| *m != n).map(|(_, line)| line).collect();
            assert_eq!(Saved::parse(&without.join("\n")), None, "line {n}");
        }
        assert_eq!(Saved::parse(&text.replace("size 4128", "size 0")), None);
        assert_eq!(Saved::parse(&text.replace("abab", "ab..")), None);
    }
}
