//! What a cluster says of itself: `kubectl`'s JSON, read leniently, because it comes from outside.

use serde::Deserialize;

use crate::cluster::KubernetesVersion;

mod budgets;
mod deprecated;
mod etcd;
mod etcd_status;
mod look;
mod vitals;

pub use budgets::{Kept, kept};
pub use deprecated::{Api, Deprecated};
pub use etcd::Etcd;
pub use etcd_status::{Alarm, EtcdStatus, MemberStatus};
pub use look::{CLOCK_LIMIT, CRASHES, Cause, Look};
pub use vitals::{AddOn, Dns, Lease, Member, Request, Vitals};

/// A question to a machine, most of them asked with `kubectl` on a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// `get --raw /readyz`, of that machine's own API server.
    Readyz,
    Nodes,
    /// Pods of all namespaces.
    Pods,
    /// What a control plane sees beside those: [`Vitals`].
    Vitals,
    /// Asked of any machine, about itself: [`Look`].
    Look,
    /// Members of etcd, their health and who leads: [`Etcd`].
    Etcd,
    /// As much as there is to know of etcd: [`EtcdStatus`].
    EtcdStatus,
    /// Disruption budgets, and pods that they may keep: [`kept`].
    Budgets,
    /// `get --raw /version`, of that machine's own API server: [`version`].
    Version,
    /// What that machine's own API server was asked for: [`Deprecated`].
    Deprecated,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SeenNode {
    pub name: String,
    pub ready: bool,
    /// `kubelet is not posting` and the like; empty when ready.
    pub message: String,
    pub version: String,
    /// Cordoned.
    pub unschedulable: bool,
    /// `DiskPressure` and the like, as the kubelet last told them.
    pub pressure: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SeenPod {
    pub namespace: String,
    pub name: String,
    pub node: String,
    pub ready: bool,
    /// Why not, as the container or the phase says it.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct List<T> {
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Item {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Metadata {
    name: String,
    namespace: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    unschedulable: bool,
    node_name: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: String,
    reason: String,
    conditions: Vec<Condition>,
    node_info: NodeSystem,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
    /// Of a container that ended.
    exit_code: i64,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct NodeSystem {
    kubelet_version: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ContainerStatus {
    ready: bool,
    state: std::collections::BTreeMap<String, Condition>,
    #[serde(rename = "lastState")]
    last_state: std::collections::BTreeMap<String, Condition>,
    #[serde(rename = "restartCount")]
    restarts: u64,
}

impl ContainerStatus {
    /// `CrashLoopBackOff (7 restarts; Error, exit code 1)`
    fn reason(&self) -> Option<String> {
        let (_, state) = self.state.iter().find(|(kind, _)| *kind != "running")?;
        let before = self.last_state.get("terminated").or(self.state.get("terminated"));
        let ended = before.map(|state| format!("; {}, exit code {}", state.reason, state.exit_code)).unwrap_or_default();
        let again = if self.restarts > 0 { format!(" ({} restarts{ended})", self.restarts) } else { String::new() };
        (!state.reason.is_empty()).then(|| format!("{}{again}", state.reason))
    }
}

/// `kubectl get nodes -o json`
pub fn nodes(json: &str) -> Result<Vec<SeenNode>, String> {
    let list: List<Item> = serde_json::from_str(json).map_err(|error| format!("kubectl get nodes: {error}"))?;
    Ok(list
        .items
        .into_iter()
        .map(|item| {
            let ready = item.status.conditions.iter().find(|condition| condition.kind == "Ready");
            let pressed = |condition: &&Condition| condition.kind.ends_with("Pressure") && condition.status == "True";
            let pressure = item.status.conditions.iter().filter(pressed).map(|condition| clean(&condition.kind)).collect();
            let is_ready = ready.is_some_and(|condition| condition.status == "True");
            SeenNode {
                name: clean(&item.metadata.name),
                ready: is_ready,
                message: match ready {
                    _ if is_ready => String::new(),
                    Some(condition) => clean(&format!("{}: {}", condition.reason, condition.message)),
                    None => "has never reported".into(),
                },
                version: clean(&item.status.node_info.kubelet_version),
                unschedulable: item.spec.unschedulable,
                pressure,
            }
        })
        .collect())
}

/// `kubectl get pods -A -o json`; finished pods are left out.
pub fn pods(json: &str) -> Result<Vec<SeenPod>, String> {
    let list: List<Item> = serde_json::from_str(json).map_err(|error| format!("kubectl get pods: {error}"))?;
    Ok(list
        .items
        .into_iter()
        .filter(|item| item.status.phase != "Succeeded")
        .map(|item| {
            let ready = item.status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True");
            let waiting = item.status.container_statuses.iter().filter(|status| !status.ready).find_map(ContainerStatus::reason);
            let reason = if ready {
                String::new()
            } else {
                waiting.unwrap_or_else(|| {
                    if item.status.reason.is_empty() { item.status.phase.clone() } else { item.status.reason.clone() }
                })
            };
            SeenPod {
                namespace: clean(&item.metadata.namespace),
                name: clean(&item.metadata.name),
                node: clean(&item.spec.node_name),
                ready,
                reason: clean(&reason),
            }
        })
        .collect())
}

/// What [`Query::Version`] was answered with.
pub fn version(json: &str) -> Option<KubernetesVersion> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        git_version: String,
    }
    release(&serde_json::from_str::<Answer>(json).ok()?.git_version)
}

/// `v1.34.2`, also with what a builder appended: `v1.34.2+k3s1`.
pub fn release(text: &str) -> Option<KubernetesVersion> {
    text.trim().trim_start_matches('v').split(['-', '+']).next()?.parse().ok()
}

fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_say_why_they_are_not_ready() {
        let json = r#"{"items":[
          {"metadata":{"name":"i-1"},"status":{"conditions":[{"type":"Ready","status":"True"}],"nodeInfo":{"kubeletVersion":"v1.34.2"}}},
          {"metadata":{"name":"i-2"},"spec":{"unschedulable":true},"status":{"conditions":[{"type":"Ready","status":"False","reason":"KubeletNotReady","message":"cni \u001b[31mplugin not initialized"}]}},
          {"metadata":{"name":"i-3"}}]}"#;
        let nodes = nodes(json).unwrap();
        assert!(nodes[0].ready && nodes[0].version == "v1.34.2");
        assert_eq!(nodes[1].message, "KubeletNotReady: cni [31mplugin not initialized");
        assert!(nodes[1].unschedulable);
        assert_eq!(nodes[2].message, "has never reported");
        assert!(super::nodes("not json").is_err());
    }

    #[test]
    fn pods_say_what_they_wait_for() {
        let json = r#"{"items":[
          {"metadata":{"name":"a","namespace":"kube-system"},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}},
          {"metadata":{"name":"b","namespace":"kube-system"},"status":{"phase":"Pending","containerStatuses":[{"ready":false,"state":{"waiting":{"reason":"ImagePullBackOff"}}}]}},
          {"metadata":{"name":"c","namespace":"x"},"status":{"phase":"Succeeded"}}]}"#;
        let pods = pods(json).unwrap();
        assert_eq!(pods.len(), 2);
        assert_eq!(pods[1].reason, "ImagePullBackOff");
    }
}
