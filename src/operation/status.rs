//! What is known of a cluster at a glance: from the store, and from one reading of the account.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::bootstrap::pki::expiry;
use crate::cluster::Role;
use crate::operation::etcd::newest;
use crate::operation::keys::stored_pki;
use crate::operation::session::Env;
use crate::operation::{OperationError, Prepared, UpdateRequest, prepare_update};
use crate::recorded::{NodePhase, Run, State};
use crate::store::{ClusterStore, LockStatus, Snapshot};

/// One cluster. Nothing was written to find it out.
#[derive(Debug, Serialize)]
pub struct Status {
    pub cluster: String,
    pub region: String,
    pub kubernetes: String,
    pub account: String,
    /// Where the state is.
    pub location: String,
    /// Of the spec: registered, and applied to its end (0: none).
    pub revision: u32,
    pub applied: u32,
    pub last_run: Option<Run>,
    /// The last run did not come to its end, and is not under way.
    pub interrupted: bool,
    pub lock: Option<LockSummary>,
    /// Calls that were decided and have no answer.
    pub intents: Vec<OpenIntent>,
    /// In the order of the spec.
    pub machines: Vec<GroupPhases>,
    /// Resources and joined nodes that are recorded.
    #[serde(skip)]
    pub recorded: (usize, usize),
    /// The newest usable snapshot of etcd in the store; an error says why nobody knows.
    #[serde(serialize_with = "or_error")]
    pub snapshot: Result<Option<Newest>, String>,
    /// When the cluster's certificate authorities expire, by their names; empty where there are none yet.
    #[serde(serialize_with = "or_error")]
    pub authorities: Result<BTreeMap<String, Timestamp>, String>,
    /// `None`: the account could not be read.
    pub pending: Option<Pending>,
}

/// A snapshot in short.
#[derive(Debug, Serialize)]
pub struct Newest {
    pub id: String,
    pub taken: Timestamp,
    /// What it was taken before; `None`: somebody asked for it.
    pub why: Option<String>,
}

fn or_error<T: Serialize, S: Serializer>(known: &Result<T, String>, to: S) -> Result<S::Ok, S::Error> {
    match known {
        Ok(known) => known.serialize(to),
        Err(error) => BTreeMap::from([("error", error)]).serialize(to),
    }
}

/// Who holds the lock.
#[derive(Debug, Serialize)]
pub struct LockSummary {
    pub by: String,
    pub command: String,
    pub since: Option<String>,
    /// Its holder has probably died.
    pub stale: bool,
}

/// A call whose answer is not known.
#[derive(Debug, Serialize)]
pub struct OpenIntent {
    pub resource: String,
    /// Name of the AWS action.
    pub action: String,
    pub written: String,
}

/// How far the machines of an instance group have come.
#[derive(Debug, Serialize)]
pub struct GroupPhases {
    pub group: String,
    pub role: String,
    pub want: u32,
    /// `created`, `prepared`, `joined`, `drained`, with how many; what is not made yet is in none.
    pub phases: BTreeMap<&'static str, usize>,
}

/// What a plan of the registered spec would do now.
#[derive(Debug, Serialize)]
pub struct Pending {
    /// Resources and nodes that it would touch.
    pub changes: usize,
    /// Resources among them that were changed by hand.
    pub by_hand: usize,
    /// Changes by hand that are left alone.
    pub left_alone: usize,
    /// Machines behind the spec.
    pub behind: usize,
    /// Why it could not be applied.
    pub errors: Vec<String>,
}

/// The status, and why the account could not be read, where it could not.
pub async fn status(env: &Env, name: Option<&str>) -> Result<(Status, Option<OperationError>), OperationError> {
    let name = env.name(name).await?;
    let (store, held) = env.held(&name).await?;
    let lock = store.lock_status().await?.map(|lock| env.seen(lock));
    let request = UpdateRequest { name: Some(name), spec: None, create: false, saved: None };
    let (pending, failure) = match prepare_update(env, &request).await {
        Ok(prepared) => (Some(pending(&prepared)), None),
        Err(error) => (None, Some(error)),
    };
    let mut status = of_state(&held.state, store.location(), lock, pending);
    // Not everybody may read them.
    let (snapshots, authorities) = futures::join!(store.snapshots(), authorities(&store));
    let short = |snapshot: Snapshot| Newest { id: snapshot.id, taken: snapshot.taken, why: snapshot.why };
    status.snapshot =
        snapshots.map(|listed| newest(listed, &held.state.uid).map(short)).map_err(|error| error.to_string().replace('\n', "; "));
    status.authorities = authorities;
    Ok((status, failure))
}

async fn authorities(store: &ClusterStore) -> Result<BTreeMap<String, Timestamp>, String> {
    let Some(pki) = stored_pki(store).await.map_err(|error| error.to_string().replace('\n', "; "))? else {
        return Ok(BTreeMap::new());
    };
    let all = [("ca", &pki.ca_cert), ("etcd-ca", &pki.etcd_ca_cert), ("front-proxy-ca", &pki.front_proxy_ca_cert)];
    all.into_iter().map(|(name, cert)| Ok((name.to_owned(), expiry(cert)?))).collect()
}

fn of_state(state: &State, location: String, lock: Option<LockStatus>, pending: Option<Pending>) -> Status {
    let is_under_way = lock.as_ref().is_some_and(|lock| !lock.stale && !lock.gone);
    Status {
        cluster: state.cluster.clone(),
        region: state.region.clone(),
        kubernetes: state.model.kubernetes.to_string(),
        account: state.account.clone(),
        location,
        revision: state.revision,
        applied: state.applied,
        interrupted: state.last_run.as_ref().is_some_and(|run| !run.finished) && !is_under_way,
        last_run: state.last_run.clone(),
        lock: lock.map(|lock| LockSummary {
            stale: lock.stale || lock.gone,
            since: lock.since.map(|since| since.to_string()),
            by: lock.by,
            command: lock.command,
        }),
        intents: state
            .intents
            .values()
            .map(|intent| OpenIntent {
                resource: intent.resource.to_string(),
                action: intent.change.action().to_owned(),
                written: intent.written.clone(),
            })
            .collect(),
        machines: machines(state),
        recorded: (state.resources.len(), state.nodes.values().filter(|node| node.phase == NodePhase::Joined).count()),
        snapshot: Ok(None),
        authorities: Ok(BTreeMap::new()),
        pending,
    }
}

fn machines(state: &State) -> Vec<GroupPhases> {
    let of_group = |group: &str| {
        let mut phases = BTreeMap::new();
        for (slot, node) in &state.nodes {
            let rest = slot.strip_prefix(group).and_then(|rest| rest.strip_prefix('-'));
            if rest.is_some_and(|rest| rest.starts_with(&state.region)) {
                let phase = match node.phase {
                    NodePhase::Created => "created",
                    NodePhase::Prepared => "prepared",
                    NodePhase::Serving => "serving",
                    NodePhase::Joined => "joined",
                    NodePhase::Drained => "drained",
                    NodePhase::Leaving => "leaving",
                };
                *phases.entry(phase).or_default() += 1;
            }
        }
        phases
    };
    let groups = state.model.groups.iter();
    groups
        .map(|group| GroupPhases {
            phases: of_group(&group.name),
            group: group.name.clone(),
            role: group.role.as_str().into(),
            want: group.count,
        })
        .collect()
}

impl GroupPhases {
    /// The phase in which a machine of this group is as it should be.
    pub fn last(&self) -> &'static str {
        if self.role == Role::Bastion.as_str() { "prepared" } else { "joined" }
    }
}

fn pending(prepared: &Prepared) -> Pending {
    let plan = &prepared.plan;
    let totals = plan.totals();
    let mended = plan.drift.iter().filter(|drift| drift.action.is_some()).map(|drift| &drift.resource);
    Pending {
        changes: totals.create + totals.change + totals.delete + totals.nodes,
        by_hand: mended.collect::<std::collections::BTreeSet<_>>().len(),
        left_alone: plan.drift.iter().filter(|drift| drift.action.is_none()).count(),
        behind: plan.behind.len(),
        errors: plan.errors.iter().map(|problem| problem.what.clone()).collect(),
    }
}
