//! Looks at a cluster: its instances and records, its nodes, its etcd, its disruption budgets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::apply::{Addresses, NodeInputs, fleet_of};
use crate::bootstrap::inspect::{self, Etcd, Kept, Query, SeenNode};
use crate::bootstrap::{Fleet, Nodes};
use crate::cloud::{Cloud, CloudError, Scope};
use crate::cluster::{KubernetesVersion, Role};
use crate::desired::{ResourceId, tags};
use crate::observed::{Instance, RecordSet};
use crate::operation::session::Env;
use crate::recorded::State;
use crate::rolling::{LOOK, Time, Work};

use super::Site;

/// What one look has seen.
pub(super) struct Seen {
    pub instances: Vec<Instance>,
    pub records: Vec<RecordSet>,
    /// `None`: no API server could be asked.
    pub nodes: Option<Vec<SeenNode>>,
    /// By slot, why the API server of a control plane does not answer.
    pub silent: BTreeMap<String, String>,
    pub etcd: Option<Etcd>,
    pub kept: Vec<Kept>,
    /// By slot, of each API server that answers; asked only for upgrades.
    pub versions: BTreeMap<String, KubernetesVersion>,
}

/// What a run knows beside what it sees: its own doing, and since when things are as they are.
#[derive(Default)]
pub(super) struct Memory {
    /// By slot, with the time of the start.
    pub works: BTreeMap<String, (crate::desired::Slot, Work, Time)>,
    pub failed: BTreeMap<String, (Work, String)>,
    /// By slot, why pods are left there although their time is over.
    pub overdue: BTreeMap<String, String>,
    /// By group.
    pub refused: BTreeMap<String, String>,
    /// Instances that were not well at the first look.
    pub ill: Option<BTreeSet<String>>,
    /// By whatever it is about: how it was, and since when.
    pub since: BTreeMap<String, (String, Time)>,
    /// When etcd last told its members.
    pub told: Option<Time>,
    pub kept: Vec<Kept>,
    /// When budgets were last asked for.
    pub asked: Option<Time>,
    /// Instances that had joined at the first look.
    pub first: Option<BTreeSet<String>>,
    /// Of instances that joined since: when that was first seen, and which system pod is not ready there; `None`: all are.
    pub settling: BTreeMap<String, (Time, Option<String>)>,
}

/// Seconds for which the system pods of a new node are waited for; whatever fails longer than that is not the roll's doing.
const SETTLING: Time = 120;

/// Seconds for which what is known of budgets is good enough; it takes every pod of the cluster to know it.
const BUDGETS: Time = 15;

pub(super) struct Eyes<'a> {
    pub env: &'a Env,
    pub cloud: Arc<dyn Cloud>,
    pub nodes: Arc<dyn Nodes>,
    pub inputs: Arc<NodeInputs>,
}

impl Eyes<'_> {
    pub async fn look(&self, site: &Site, state: &State, memory: &mut Memory) -> Result<Seen, CloudError> {
        let zone = state.resources.get(&ResourceId::Records).map(|record| record.id.clone());
        let records = async {
            match &zone {
                Some(zone) => self.cloud.records(zone, &state.cluster).await,
                None => Ok(vec![]),
            }
        };
        let scope = Scope::Uid(state.uid.clone());
        let (instances, records) = futures::try_join!(self.cloud.instances(&scope), records)?;
        let fleet = Arc::new(fleet_of(state, &self.inputs, &addresses(&instances)));
        let planes = live_planes(&fleet, &instances);
        let (answering, silent) = self.apis(&planes, &fleet).await;
        let now = super::view::now(self.env);
        // Node by node the budgets matter only while pods are to go, or before the first are.
        let stale = memory.asked.is_none_or(|asked| now >= asked + BUDGETS);
        let going = memory.works.values().any(|(_, work, _)| matches!(work, Work::Drain { .. }))
            || memory.kept.iter().any(|kept| kept.never);
        let budgets = (site.to.is_some() || !site.behind.is_empty()) && (memory.asked.is_none() || (going && stale));
        let control = site.cluster.groups_of(Role::ControlPlane).any(|group| super::view::is_selected(site, group));
        let (mut nodes, mut etcd) = (None, None);
        for slot in &answering {
            let (seen, members, kept) = futures::join!(
                self.ask(Query::Nodes, slot, &fleet),
                async { if control { Some(self.ask(Query::Etcd, slot, &fleet).await) } else { None } },
                async { if budgets { Some(self.ask(Query::Budgets, slot, &fleet).await) } else { None } },
            );
            nodes = seen.and_then(|json| inspect::nodes(&json)).ok();
            etcd = members.and_then(Result::ok).map(|text| Etcd::parse(&text)).filter(|etcd| etcd.members.is_some());
            if let Some(Ok(kept)) = kept.map(|kept| kept.and_then(|text| inspect::kept(&text))) {
                (memory.kept, memory.asked) = (kept, Some(now));
            }
            if nodes.is_some() && (etcd.is_some() || !control) {
                break;
            }
        }
        if etcd.is_some() {
            memory.told = Some(now);
        }
        if let Some(slot) = answering.first() {
            self.settle(state, slot, &fleet, memory, now).await;
        }
        let mut versions = BTreeMap::new();
        if site.to.is_some() {
            let asked = answering.iter().map(|slot| async { (slot.clone(), self.ask(Query::Version, slot, &fleet).await) });
            for (slot, said) in futures::future::join_all(asked).await {
                versions.extend(said.ok().and_then(|json| Some((slot, inspect::version(&json)?))));
            }
        }
        Ok(Seen { instances, records, nodes, silent, etcd, kept: memory.kept.clone(), versions })
    }

    pub(super) async fn ask(&self, query: Query, slot: &str, fleet: &Arc<Fleet>) -> Result<String, String> {
        self.nodes.ask(query, slot, Arc::clone(fleet)).await.map_err(|error| error.cause)
    }

    /// New nodes come to rest: asked for only while there are some, because it takes every pod of the cluster to know it.
    async fn settle(&self, state: &State, slot: &str, fleet: &Arc<Fleet>, memory: &mut Memory, now: Time) {
        let joined = state.nodes.values().filter(|node| super::has_joined(node.phase)).map(|node| node.instance.clone());
        let joined: BTreeSet<String> = joined.collect();
        let first = memory.first.get_or_insert_with(|| joined.clone());
        for instance in joined.difference(first) {
            memory.settling.entry(instance.clone()).or_insert((now, Some("its system pods".into())));
        }
        let open = |(since, why): &(Time, Option<String>)| why.is_some() && now < since + SETTLING;
        if memory.settling.values().any(open) {
            let pods = self.ask(Query::Pods, slot, fleet).await.and_then(|json| inspect::pods(&json)).unwrap_or_default();
            for (instance, (since, why)) in memory.settling.iter_mut().filter(|(_, entry)| open(entry)) {
                let unready = |pod: &&inspect::SeenPod| pod.node == *instance && pod.namespace == "kube-system" && !pod.ready;
                let late = now + LOOK >= *since + SETTLING;
                *why =
                    pods.iter().find(unready).filter(|_| !late).map(|pod| format!("{} is not ready: {}", pod.name, pod.reason));
            }
        }
    }

    /// Control planes whose own API server is ready, and why others are not.
    async fn apis(&self, planes: &[String], fleet: &Arc<Fleet>) -> (Vec<String>, BTreeMap<String, String>) {
        let asked = planes.iter().map(|slot| async move { (slot, self.ask(Query::Readyz, slot, fleet).await) });
        let (mut answering, mut silent) = (vec![], BTreeMap::new());
        for (slot, said) in futures::future::join_all(asked).await {
            match said {
                Ok(text) if text.trim() == "ok" => answering.push(slot.clone()),
                Ok(_) => drop(silent.insert(slot.clone(), "its API server is not ready".to_owned())),
                Err(why) => drop(silent.insert(slot.clone(), format!("its API server does not answer: {why}"))),
            }
        }
        (answering, silent)
    }
}

/// Slots of control planes that have an API server, and run.
pub(super) fn live_planes(fleet: &Fleet, instances: &[Instance]) -> Vec<String> {
    let live: BTreeSet<&str> = instances.iter().filter(|one| one.is_live()).map(|one| one.id.as_str()).collect();
    let alive = |slot: &&String| fleet.machines.get(*slot).is_some_and(|machine| live.contains(machine.instance.as_str()));
    fleet.ready_control_planes.iter().filter(alive).cloned().collect()
}

pub(in crate::operation) fn addresses(instances: &[Instance]) -> Addresses {
    let resource = |instance: &Instance| instance.tags.get(tags::RESOURCE).and_then(|text| text.parse::<ResourceId>().ok());
    let live = instances.iter().filter(|instance| instance.is_live());
    live.filter_map(|instance| Some((resource(instance)?, (instance.private_address.clone(), instance.public_address.clone()))))
        .collect()
}
