//! Operations that change nothing.

use std::time::Duration;

use crate::bootstrap::pki;
use crate::cloud::Scope;
use crate::cluster::Role;
use crate::desired::{ResourceId, tags};
use crate::operation::OperationError;
use crate::operation::keys::stored_pki;
use crate::operation::session::Env;
use crate::recorded::{NodePhase, State};
use crate::secret::Secret;
use crate::store::clusters as names;

/// Life of an exported client certificate. Short, because a certificate cannot be taken back; exporting again costs nothing.
const ADMIN_VALIDITY: Duration = Duration::from_secs(7 * 24 * 3600);

/// One line of `get clusters`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ClusterSummary {
    pub name: String,
    pub region: String,
    pub kubernetes: String,
    pub control_planes: u32,
    pub nodes: u32,
    pub revision: u32,
    /// `applied`, `not applied`, `interrupted`, `unreadable`.
    pub state: String,
    /// `user@host` of the run that holds the lock.
    pub locked_by: Option<String>,
}

pub async fn clusters(env: &Env) -> Result<Vec<ClusterSummary>, OperationError> {
    let mut out = vec![];
    for name in names(env.objects.as_ref()).await? {
        let store = env.store(&name)?;
        let locked_by = store.lock_status().await?.map(|lock| lock.by);
        let row = match store.load().await {
            Ok(Some(held)) => summary(&held.state, locked_by),
            Ok(None) => unreadable(name, "not applied", locked_by),
            Err(_) => unreadable(name, "unreadable", locked_by),
        };
        out.push(row);
    }
    Ok(out)
}

fn unreadable(name: String, state: &str, locked_by: Option<String>) -> ClusterSummary {
    ClusterSummary {
        name,
        region: String::new(),
        kubernetes: String::new(),
        control_planes: 0,
        nodes: 0,
        revision: 0,
        state: state.into(),
        locked_by,
    }
}

fn summary(state: &State, locked_by: Option<String>) -> ClusterSummary {
    let count = |role| state.model.groups_of(role).map(|group| group.count).sum();
    let interrupted = state.last_run.as_ref().is_some_and(|run| !run.finished);
    ClusterSummary {
        name: state.cluster.clone(),
        region: state.region.clone(),
        kubernetes: state.model.kubernetes.to_string(),
        control_planes: count(Role::ControlPlane),
        nodes: count(Role::Node),
        revision: state.revision,
        state: match (interrupted, state.applied == state.revision) {
            (true, _) => "interrupted",
            (false, true) => "applied",
            (false, false) => "not applied",
        }
        .into(),
        locked_by,
    }
}

/// One line of `get instances`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct InstanceRow {
    pub slot: String,
    pub group: String,
    pub role: String,
    pub id: String,
    /// As EC2 says it.
    pub state: String,
    /// `created`, `prepared`, `joined`, `drained`; empty for a bastion.
    pub node: String,
    pub zone: String,
    pub machine_type: String,
    pub image: String,
    pub private_address: String,
    pub public_address: String,
    pub launched: String,
}

/// Live instances of a cluster, with what is recorded of their nodes; one listing.
pub async fn instances(env: &Env, name: Option<&str>) -> Result<Vec<InstanceRow>, OperationError> {
    let name = env.name(name).await?;
    let (_, held) = env.held(&name).await?;
    let state = held.state;
    let cloud = env.cloud_of(&state).await?;
    let mut rows: Vec<InstanceRow> = cloud
        .instances(&Scope::Uid(state.uid.clone()))
        .await?
        .into_iter()
        .filter(crate::observed::Instance::is_live)
        .map(|instance| {
            let resource = instance.tags.get(tags::RESOURCE).and_then(|text| text.parse().ok());
            let slot = match resource {
                Some(ResourceId::Instance(slot)) => slot,
                _ => "?".into(),
            };
            let tag = |key: &str| instance.tags.get(key).cloned().unwrap_or_default();
            let node = state.nodes.get(&slot).filter(|node| node.instance == instance.id);
            InstanceRow {
                group: tag(tags::GROUP),
                role: tag("kubewright.io/role"),
                node: match (tag("kubewright.io/role").as_str(), node.map(|node| node.phase)) {
                    ("bastion", _) | (_, None) => "",
                    (_, Some(NodePhase::Created)) => "created",
                    (_, Some(NodePhase::Prepared)) => "prepared",
                    (_, Some(NodePhase::Serving)) => "serving",
                    (_, Some(NodePhase::Joined)) => "joined",
                    (_, Some(NodePhase::Drained)) => "drained",
                    (_, Some(NodePhase::Leaving)) => "leaving",
                }
                .into(),
                slot,
                id: instance.id,
                state: instance.state,
                zone: instance.zone,
                machine_type: instance.machine_type,
                image: instance.image,
                private_address: instance.private_address.unwrap_or_default(),
                public_address: instance.public_address.unwrap_or_default(),
                launched: instance.launched.unwrap_or_default(),
            }
        })
        .collect();
    rows.sort_by(|a, b| (&a.role, &a.slot, &a.id).cmp(&(&b.role, &b.slot, &b.id)));
    Ok(rows)
}

/// A kubeconfig with a fresh client certificate, made from the store's keys alone.
pub async fn kubeconfig(env: &Env, name: Option<&str>) -> Result<(String, Secret), OperationError> {
    let name = env.name(name).await?;
    let (store, held) = env.held(&name).await?;
    let keys = stored_pki(&store).await?.ok_or(OperationError::NoKeys { cluster: name.clone() })?;
    let url = format!("https://{}:6443", held.state.model.api_name());
    let text = pki::admin_kubeconfig(&keys, &url, &name, env.clock.now(), ADMIN_VALIDITY)
        .map_err(|error| OperationError::Failed(format!("the client certificate: {error}")))?;
    Ok((name, text))
}
