//! Validate: does the cluster work, and if not, what is the one thing to look at first.

mod findings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;

use crate::apply::observe::observe;
use crate::apply::{Addresses, NodeInputs, fleet_of};
use crate::bootstrap::inspect::{self, Look, Query, SeenNode, Vitals};
use crate::bootstrap::{Fleet, Nodes};
use crate::cloud::Scope;
use crate::cluster::{Cni, Role};
use crate::desired::{ResourceId, tags};
use crate::observed::{Instance, Observed};
use crate::operation::OperationError;
use crate::operation::keys::stored_pki;
use crate::operation::session::Env;
use crate::recorded::State;
use findings::Seen;

/// The state of a cluster, as AWS, Kubernetes and its machines tell it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Validation {
    pub cluster: String,
    /// What is wrong, the most fundamental first: the first one blocks the others. Empty: the cluster works.
    pub problems: Vec<Problem>,
    pub nodes: Vec<NodeRow>,
    /// Nodes have registered and wait for the pod network that the user installs.
    pub waits_for_network: bool,
    /// What could not be asked is null.
    #[serde(flatten)]
    pub vitals: Vitals,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    pub what: String,
    /// What to type.
    pub next: Option<String>,
}

impl Problem {
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), next: None }
    }

    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct NodeRow {
    pub slot: String,
    pub instance: String,
    pub role: String,
    pub address: String,
    pub ready: bool,
    pub version: String,
    /// What Kubernetes says of a node that is not Ready.
    pub message: String,
    /// Why it does not work, as its machine tells it.
    pub cause: Option<String>,
    /// What its machine said, where it was asked.
    pub look: Option<Look>,
    /// `ssh ...`, without a command.
    #[serde(skip)]
    pub ssh: String,
}

impl NodeRow {
    /// A command as root on the machine.
    fn on(&self, command: &str) -> String {
        format!("{} sudo {command}", self.ssh)
    }
}

impl Validation {
    pub fn is_valid(&self) -> bool {
        self.problems.is_empty()
    }
}

const BETWEEN_LOOKS: Duration = Duration::from_secs(10);

/// Looks once, or until the cluster is valid or `wait` is over; `looked` is told of every look.
pub async fn validate(
    env: &Env,
    name: Option<&str>,
    wait: Option<Duration>,
    looked: &(dyn Fn(&Validation) + Sync),
) -> Result<Validation, OperationError> {
    let deadline = wait.map(|wait| env.clock.now() + wait);
    loop {
        let validation = look(env, name).await?;
        looked(&validation);
        if validation.is_valid() || deadline.is_none_or(|deadline| env.clock.now() >= deadline) {
            return Ok(validation);
        }
        env.clock.wait(BETWEEN_LOOKS).await;
    }
}

async fn look(env: &Env, name: Option<&str>) -> Result<Validation, OperationError> {
    let name = env.name(name).await?;
    let (store, held) = env.held(&name).await?;
    let state = held.state;
    let cloud = env.cloud_of(&state).await?;
    let scope = Scope::Uid(state.uid.clone());
    let observed = observe(cloud.as_ref(), &scope, &state.model.api.dns_zone, &name, Some(&state)).await?;
    let inputs = NodeInputs {
        cluster: state.model.clone(),
        pki: stored_pki(&store).await?.ok_or(OperationError::NoKeys { cluster: name.clone() })?,
        // In the middle of an upgrade one is drained and serves.
        in_place: true,
    };
    let fleet = Arc::new(fleet_of(&state, &inputs, &addresses(&observed)));
    let site = Site { env, state: &state, observed: &observed, nodes: env.nodes(Arc::clone(&cloud)), fleet };
    Ok(site.validation().await)
}

/// A cluster that is looked at.
struct Site<'a> {
    env: &'a Env,
    state: &'a State,
    observed: &'a Observed,
    nodes: Arc<dyn Nodes>,
    fleet: Arc<Fleet>,
}

impl Site<'_> {
    async fn validation(&self) -> Validation {
        let mut problems = machines(self.state, self.observed);
        let (answering, silent) = self.apis().await;
        let mut rows = self.rows(&[]);
        let (mut pods, mut vitals) = (vec![], Vitals::default());
        if let Some(slot) = answering.first() {
            // They share one connection.
            let (nodes, all_pods, rest) =
                futures::join!(self.ask(Query::Nodes, slot), self.ask(Query::Pods, slot), self.ask(Query::Vitals, slot));
            match nodes.and_then(|json| inspect::nodes(&json)) {
                Ok(seen) => rows = self.rows(&seen),
                Err(error) => problems.push(Problem::new(error)),
            }
            match all_pods.and_then(|json| inspect::pods(&json)) {
                Ok(seen) => pods = seen,
                Err(error) => problems.push(Problem::new(error)),
            }
            vitals = rest.map(|text| Vitals::parse(&text)).unwrap_or_default();
        }
        let waiting = rows.iter().filter(|row| self.waits_for_network(row)).count();
        let mends = self.look_at(&mut rows, &silent, &vitals).await;
        for (slot, error) in &silent {
            let row = rows.iter().find(|row| row.slot == *slot);
            let why = row.and_then(|row| row.cause.clone()).unwrap_or_else(|| error.clone());
            let next = mends.get(slot).cloned().flatten();
            problems.push(Problem { what: format!("the API server of {slot} does not answer: {why}"), next });
        }
        if answering.is_empty() {
            problems.push(Problem::new("no API server answers: the state of nodes and pods is not known"));
        }
        problems.extend(self.records(&answering));
        let asked = answering.first().cloned().unwrap_or_default();
        if !asked.is_empty() {
            problems.extend(rows.iter().filter_map(|row| self.of_node(row, &silent, &mends)));
            // Without a network nothing but kubeadm's own pods runs.
            if waiting == 0 {
                let seen = Seen { rows: &rows, pods: &pods, vitals: &vitals, cni: self.state.model.network.cni, asked: &asked };
                problems.extend(seen.problems());
            }
        }
        Validation { cluster: self.state.cluster.clone(), problems, nodes: rows, waits_for_network: waiting > 0, vitals }
    }

    async fn ask(&self, query: Query, slot: &str) -> Result<String, String> {
        self.nodes.ask(query, slot, Arc::clone(&self.fleet)).await.map_err(|error| error.cause)
    }

    /// Control planes whose own API server is ready, and what the others say.
    async fn apis(&self) -> (Vec<String>, Vec<(String, String)>) {
        let asked = self.fleet.ready_control_planes.iter().map(|slot| async move { (slot, self.ask(Query::Readyz, slot).await) });
        let (mut answering, mut silent) = (vec![], vec![]);
        for (slot, said) in futures::future::join_all(asked).await {
            match said {
                Ok(text) if text.trim() == "ok" => answering.push(slot.clone()),
                Ok(_) => silent.push((slot.clone(), "it is not ready".to_owned())),
                Err(error) => silent.push((slot.clone(), error)),
            }
        }
        (answering, silent)
    }

    /// A node that has nothing against it but the network that its owner is to install.
    fn waits_for_network(&self, row: &NodeRow) -> bool {
        let words = row.message.to_lowercase();
        self.state.model.network.cni == Cni::None && !row.ready && (words.contains("network") || words.contains("cni"))
    }

    /// Asks the machines of nodes that do not work, all at once; gives what to type for each slot.
    async fn look_at(
        &self,
        rows: &mut [NodeRow],
        silent: &[(String, String)],
        vitals: &Vitals,
    ) -> BTreeMap<String, Option<String>> {
        let doubtful = |row: &NodeRow| {
            (!row.ready && !self.waits_for_network(row))
                || silent.iter().any(|(slot, _)| *slot == row.slot)
                || findings::odd_lease(vitals, &row.instance).is_some()
        };
        let one = |row: NodeRow| async move {
            let (look, cause) = self.cause(&row).await;
            (row.slot, look, cause)
        };
        let asked: Vec<_> = rows.iter().filter(|row| doubtful(row)).cloned().map(one).collect();
        let found: Vec<_> = futures::stream::iter(asked).buffer_unordered(self.env.node_limit.max(1)).collect().await;
        let mut mends = BTreeMap::new();
        for (slot, look, cause) in found {
            let Some(row) = rows.iter_mut().find(|row| row.slot == slot) else { continue };
            row.look = look;
            if let Some(cause) = cause {
                row.cause = Some(cause.what);
                mends.insert(slot, cause.next);
            }
        }
        mends
    }

    /// Why a node does not work: what AWS says of its instance, then what its machine says of itself.
    async fn cause(&self, row: &NodeRow) -> (Option<Look>, Option<Cause>) {
        let cause = |what: String, next: Option<String>| (None, Some(Cause { what, next }));
        let update = Some(format!("kubewright update {} --yes", self.state.cluster));
        match self.observed.instances.iter().find(|instance| instance.id == row.instance) {
            Some(instance) if instance.state == "running" => {}
            Some(instance) if instance.state == "stopped" || instance.state == "stopping" => {
                let mut start = format!("aws ec2 start-instances --instance-ids {}", instance.id);
                if row.role == Role::Node.as_str() {
                    start += &format!("; or have another made:  kubewright update {} --yes", self.state.cluster);
                }
                return cause(format!("its instance is {}", instance.state), Some(start));
            }
            Some(instance) if instance.is_live() => return cause(format!("its instance is {}", instance.state), None),
            // `update` makes no lost control plane anew.
            _ => return cause("its instance is gone".into(), update.filter(|_| row.role != Role::ControlPlane.as_str())),
        }
        // The host keys of a machine that nobody has spoken to would be waited for.
        let known = self.fleet.machines.get(&row.slot).is_some_and(|machine| !machine.host_keys.is_empty());
        if !known {
            return cause("it has not been prepared".into(), update);
        }
        let text = match self.ask(Query::Look, &row.slot).await {
            Ok(text) => text,
            Err(error) => {
                let reboot = format!("aws ec2 reboot-instances --instance-ids {}", row.instance);
                return cause(format!("its machine cannot be asked: {error}"), Some(reboot));
            }
        };
        let look = Look::parse(&text, self.env.clock.now().as_duration().as_secs_f64());
        let network = findings::network(self.state.model.network.cni);
        let cause = look.cause().map(|cause| {
            let next = match (&cause.mend, network) {
                (Some(mend), _) => Some(row.on(mend)),
                (None, _) if !look.joined => update,
                (None, Some((namespace, name))) => Some(format!("kubectl -n {namespace} rollout restart daemonset/{name}")),
                (None, None) => None,
            };
            Cause { what: cause.what, next }
        });
        (Some(look), cause)
    }

    fn of_node(&self, row: &NodeRow, silent: &[(String, String)], mends: &BTreeMap<String, Option<String>>) -> Option<Problem> {
        // Its API server is told already, for the same reason.
        if self.waits_for_network(row) || silent.iter().any(|(slot, _)| *slot == row.slot) {
            return None;
        }
        let next = mends.get(&row.slot).cloned().flatten();
        let why = row.cause.as_ref().unwrap_or(&row.message);
        let what = match (row.ready, &row.cause) {
            (true, None) => return None,
            (true, Some(_)) => format!("node {} ({}) is about to be NotReady: {why}", row.slot, row.instance),
            (false, _) => format!("node {} ({}) is not Ready: {why}", row.slot, row.instance),
        };
        Some(Problem { what, next })
    }

    /// Names that do not lead to the control planes that answer.
    fn records(&self, answering: &[String]) -> Option<Problem> {
        let name = self.state.model.api_internal_name();
        let records = self.observed.records.iter().filter(|record| record.name == name && record.kind == "A");
        let mut published: Vec<String> = records.flat_map(|record| record.values.clone()).collect();
        published.sort();
        let machines = answering.iter().filter_map(|slot| self.fleet.machines.get(slot));
        let mut serving: Vec<String> = machines.map(|machine| machine.private_address.clone()).collect();
        serving.sort();
        let words = |list: &[String]| if list.is_empty() { "nothing".to_owned() } else { list.join(", ") };
        (published != serving)
            .then(|| Problem::new(format!("{name} leads to {}, the API answers at {}", words(&published), words(&serving))))
    }

    fn rows(&self, seen: &[SeenNode]) -> Vec<NodeRow> {
        let mut rows = vec![];
        for (resource, record) in &self.state.resources {
            let ResourceId::Instance(slot) = resource else { continue };
            let Some(machine) = self.fleet.machines.get(slot) else { continue };
            let Some(group) = self.fleet.group_of(machine).filter(|group| group.role != Role::Bastion) else { continue };
            let node = seen.iter().find(|node| node.name == record.id);
            let message = |node: &SeenNode| match node.pressure.as_slice() {
                [] => node.message.clone(),
                pressure => format!("{}: {}", pressure.join(", "), node.message),
            };
            rows.push(NodeRow {
                slot: slot.clone(),
                instance: record.id.clone(),
                role: group.role.as_str().into(),
                address: machine.private_address.clone(),
                ready: node.is_some_and(|node| node.ready),
                version: node.map(|node| node.version.clone()).unwrap_or_default(),
                message: node.map_or_else(|| "has not registered".into(), message),
                cause: None,
                look: None,
                ssh: self.fleet.ssh(machine),
            });
        }
        rows
    }
}

/// Why, and what to type.
struct Cause {
    what: String,
    next: Option<String>,
}

fn addresses(observed: &Observed) -> Addresses {
    let resource = |instance: &Instance| instance.tags.get(tags::RESOURCE).and_then(|text| text.parse::<ResourceId>().ok());
    observed
        .instances
        .iter()
        .filter(|instance| instance.is_live())
        .filter_map(|instance| Some((resource(instance)?, (instance.private_address.clone(), instance.public_address.clone()))))
        .collect()
}

/// Instances that are missing or do not run.
fn machines(state: &State, observed: &Observed) -> Vec<Problem> {
    let mut problems = vec![];
    for group in &state.model.groups {
        let live: Vec<&Instance> = observed
            .instances
            .iter()
            .filter(|instance| instance.is_live() && instance.tags.get(tags::GROUP) == Some(&group.name))
            .collect();
        if live.len() < group.count as usize {
            let what = format!("instance group {}: {} of {} instances exist", group.name, live.len(), group.count);
            // `update` makes no lost control plane anew.
            let next = (group.role != Role::ControlPlane).then(|| format!("kubewright update {} --yes", state.cluster));
            problems.push(Problem { what, next });
        }
        let still = live.iter().filter(|instance| instance.state != "running");
        problems.extend(still.map(|instance| {
            let what = format!("instance {} of group {} is {}", instance.id, group.name, instance.state);
            let start = format!("aws ec2 start-instances --instance-ids {}", instance.id);
            Problem { what, next: (instance.state == "stopped").then_some(start) }
        }));
    }
    problems
}
