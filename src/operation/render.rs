//! Render: the files that bootstrap would put on each machine, without touching one.

use std::collections::{BTreeMap, BTreeSet};

use crate::bootstrap::{Machine, render};
use crate::cluster::{Cluster, Role};
use crate::desired::{self, ResourceId};
use crate::operation::OperationError;
use crate::operation::session::Env;
use crate::recorded::State;

/// The files that bootstrap would put on each machine, by path; secrets are left out.
pub async fn render_files(
    env: &Env,
    name: Option<&str>,
    spec: Option<Cluster>,
) -> Result<BTreeMap<String, Vec<u8>>, OperationError> {
    let (cluster, state) = match spec {
        Some(cluster) => {
            let held = env.store(&cluster.name)?.load().await?;
            (cluster, held.map(|held| held.state))
        }
        None => {
            let name = env.name(name).await?;
            let (_, held) = env.held(&name).await?;
            (held.state.model.clone(), Some(held.state))
        }
    };
    let machines = machines_of(&cluster, state.as_ref());
    render(&cluster, &machines, None).map_err(OperationError::Failed)
}

/// Machines of a spec: as they are recorded, the others with named holes.
fn machines_of(cluster: &Cluster, state: Option<&State>) -> Vec<Machine> {
    let none = BTreeSet::new();
    let recorded = |slot: &str| state.and_then(|state| state.resources.get(&ResourceId::Instance(slot.to_owned())));
    desired::machines::machines(cluster, &none, &none, &BTreeMap::new())
        .into_iter()
        .filter(|machine| machine.role != Role::Bastion)
        .map(|machine| {
            let slot = machine.slot.to_string();
            let record = recorded(&slot);
            Machine {
                instance: record.map_or_else(|| "<instance id>".into(), |record| record.id.clone()),
                private_address: record
                    .and_then(|record| record.private_address.clone())
                    .unwrap_or_else(|| "<private address>".into()),
                public_address: record.and_then(|record| record.public_address.clone()),
                group: machine.group,
                zone: machine.slot.zone,
                host_keys: vec![],
                marks: Default::default(),
                slot,
            }
        })
        .collect()
}
