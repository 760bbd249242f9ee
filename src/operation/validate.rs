//! Validate: does the cluster work, and if not, what is the one thing to look at first.

use std::sync::Arc;
use std::time::Duration;

use crate::apply::observe::observe;
use crate::apply::{Addresses, NodeInputs, fleet_of};
use crate::bootstrap::inspect::{self, Query, SeenNode};
use crate::bootstrap::{Fleet, Nodes};
use crate::cloud::Scope;
use crate::cluster::{Cni, Role};
use crate::desired::{ResourceId, tags};
use crate::observed::{Instance, Observed};
use crate::operation::OperationError;
use crate::operation::session::Env;
use crate::operation::update::stored_pki;
use crate::recorded::State;

/// Namespaces of what kubewright installs: kubeadm's pods, and those of pod networks.
const SYSTEM: [&str; 2] = ["kube-system", "kube-flannel"];

/// The state of a cluster, as AWS and Kubernetes tell it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Validation {
    pub cluster: String,
    /// What is wrong, the most fundamental first: the first one blocks the others. Empty: the cluster works.
    pub problems: Vec<String>,
    pub nodes: Vec<NodeRow>,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct NodeRow {
    pub slot: String,
    pub instance: String,
    pub role: String,
    pub ready: bool,
    pub version: String,
    pub message: String,
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
    let mut problems = machines(&state, &observed);

    let inputs = NodeInputs {
        cluster: state.model.clone(),
        pki: stored_pki(&store).await?.ok_or(OperationError::NoKeys { cluster: name.clone() })?,
    };
    let fleet = Arc::new(fleet_of(&state, &inputs, &addresses(&observed)));
    let nodes = (env.nodes)(Arc::clone(&cloud));
    let answering = api(nodes.as_ref(), &fleet, &mut problems).await;
    let mut seen = vec![];
    match answering.first() {
        None => problems.push("no API server answers: the state of nodes and pods is not known".into()),
        Some(slot) => match nodes
            .ask(Query::Nodes, slot, Arc::clone(&fleet))
            .await
            .map_err(|error| error.to_string())
            .and_then(|json| inspect::nodes(&json))
        {
            Ok(nodes) => seen = nodes,
            Err(error) => problems.push(error),
        },
    }
    problems.extend(records(&state, &observed, &answering, &fleet));
    let rows = rows(&state, &seen);
    if let Some(slot) = answering.first() {
        problems.extend(
            rows.iter()
                .filter(|row| !row.ready)
                .map(|row| format!("node {} ({}) is not Ready: {}", row.slot, row.instance, row.message)),
        );
        let pods = nodes.ask(Query::Pods, slot, Arc::clone(&fleet)).await.map_err(|error| error.to_string());
        match pods.and_then(|json| inspect::pods(&json)) {
            Ok(pods) => problems.extend(
                pods.iter()
                    .filter(|pod| SYSTEM.contains(&pod.namespace.as_str()) && !pod.ready)
                    .filter(|_| state.model.network.cni != Cni::None)
                    .map(|pod| format!("pod {}/{} is not ready: {}", pod.namespace, pod.name, pod.reason)),
            ),
            Err(error) => problems.push(error),
        }
    }
    Ok(Validation { cluster: name, problems, nodes: rows })
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
fn machines(state: &State, observed: &Observed) -> Vec<String> {
    let mut problems = vec![];
    for group in &state.model.groups {
        let live: Vec<&Instance> = observed
            .instances
            .iter()
            .filter(|instance| instance.is_live() && instance.tags.get("kubewright.io/instance-group") == Some(&group.name))
            .collect();
        if live.len() < group.count as usize {
            problems.push(format!("instance group {}: {} of {} instances exist", group.name, live.len(), group.count));
        }
        let still = live.iter().filter(|instance| instance.state != "running");
        problems.extend(still.map(|instance| format!("instance {} of group {} is {}", instance.id, group.name, instance.state)));
    }
    problems
}

/// Control planes whose own API server is ready.
async fn api(nodes: &dyn Nodes, fleet: &Arc<Fleet>, problems: &mut Vec<String>) -> Vec<String> {
    let mut answering = vec![];
    for slot in &fleet.ready_control_planes {
        match nodes.ask(Query::Readyz, slot, Arc::clone(fleet)).await {
            Ok(text) if text.trim() == "ok" => answering.push(slot.clone()),
            Ok(_) => problems.push(format!("the API server of {slot} is not ready")),
            Err(error) => problems.push(format!("the API server of {slot} does not answer: {}", error.cause)),
        }
    }
    answering
}

/// Names that do not lead to the control planes that answer.
fn records(state: &State, observed: &Observed, answering: &[String], fleet: &Fleet) -> Vec<String> {
    let name = state.model.api_internal_name();
    let mut published: Vec<String> = observed
        .records
        .iter()
        .filter(|record| record.name == name && record.kind == "A")
        .flat_map(|record| record.values.clone())
        .collect();
    published.sort();
    let mut serving: Vec<String> =
        answering.iter().filter_map(|slot| fleet.machines.get(slot)).map(|machine| machine.private_address.clone()).collect();
    serving.sort();
    if published == serving {
        return vec![];
    }
    let words = |list: &[String]| if list.is_empty() { "nothing".to_owned() } else { list.join(", ") };
    vec![format!("{name} leads to {}, the API answers at {}", words(&published), words(&serving))]
}

fn rows(state: &State, seen: &[SeenNode]) -> Vec<NodeRow> {
    state
        .resources
        .iter()
        .filter_map(|(resource, record)| match resource {
            ResourceId::Instance(slot) => Some((slot, record)),
            _ => None,
        })
        .filter_map(|(slot, record)| {
            let role =
                state.model.groups.iter().find(|group| slot.starts_with(&format!("{}-{}", group.name, state.region)))?.role;
            if role == Role::Bastion {
                return None;
            }
            let node = seen.iter().find(|node| node.name == record.id);
            // Without a CNI of ours a node that has registered is as ready as kubewright can make it.
            let excused = state.model.network.cni == Cni::None;
            Some(NodeRow {
                slot: slot.clone(),
                instance: record.id.clone(),
                role: role.as_str().into(),
                ready: node.is_some_and(|node| node.ready || excused),
                version: node.map(|node| node.version.clone()).unwrap_or_default(),
                message: node.map_or_else(|| "has not registered".into(), |node| node.message.clone()),
            })
        })
        .collect()
}
