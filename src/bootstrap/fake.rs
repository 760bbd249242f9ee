//! [`Nodes`] that remember what they were asked, for tests of what calls them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::fake_etcd::FakeEtcd;
use super::inspect::Query;
use super::{EtcdWork, Events, Fleet, NodeError, NodeEvent, NodeTask, Nodes, OVERDUE};
use crate::clock::Clock;
use crate::cluster::{KubernetesVersion, Role};

/// Remembers tasks, fails on demand, takes time on a clock. Clones share what they remember.
#[derive(Clone, Default)]
pub struct FakeNodes {
    inner: Arc<Mutex<Inner>>,
    clock: Option<Arc<dyn Clock>>,
}

#[derive(Default)]
struct Inner {
    tasks: Vec<Asked>,
    faults: BTreeMap<(NodeTask, String), Vec<NodeError>>,
    durations: BTreeMap<NodeTask, Duration>,
    answers: Vec<(Query, String, Result<String, String>)>,
    etcd: FakeEtcd,
    works: Vec<(String, String)>,
    etcd_faults: Vec<(String, String, String)>,
    working: usize,
    most_at_once: usize,
}

/// One task that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub task: NodeTask,
    pub slot: String,
    pub instance: String,
    pub ready_control_planes: Vec<String>,
    /// Version of Kubernetes that the cluster was to have.
    pub kubernetes: Option<KubernetesVersion>,
    /// `None` while it works, and for ever if its caller went away.
    pub succeeded: Option<bool>,
}

impl FakeNodes {
    pub fn new() -> Self {
        Self::default()
    }

    /// Nodes of their own, which start equal.
    pub fn fork(&self) -> Self {
        let Inner { tasks, faults, durations, answers, etcd, .. } = &*self.lock();
        let inner = Inner {
            tasks: tasks.clone(),
            faults: faults.clone(),
            durations: durations.clone(),
            answers: answers.clone(),
            etcd: etcd.clone(),
            ..Inner::default()
        };
        Self { inner: Arc::new(Mutex::new(inner)), clock: self.clock.clone() }
    }

    /// Tasks with a duration wait on this clock.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// The next run of this task on this slot fails with this error; several add up, one run each.
    pub fn fail(&self, task: NodeTask, slot: &str, error: NodeError) {
        self.lock().faults.entry((task, slot.to_string())).or_default().push(error);
    }

    /// The next drain of this slot finds pods left when its time is over.
    pub fn keep_pods(&self, slot: &str, cause: &str) {
        self.fail(NodeTask::Evict, slot, NodeError { exit: Some(OVERDUE), ..made_up(slot, "evict", cause) });
    }

    /// As [`FakeNodes::fail`], with an error made up.
    pub fn fail_at(&self, task: NodeTask, slot: &str, step: &str, cause: &str) {
        self.fail(task, slot, made_up(slot, step, cause));
    }

    /// What a slot answers to a question from now on; an error is why it does not.
    pub fn answer(&self, query: Query, slot: &str, said: Result<&str, &str>) {
        let mut inner = self.lock();
        inner.answers.retain(|(other, of, _)| (*other, of.as_str()) != (query, slot));
        inner.answers.push((query, slot.into(), said.map(Into::into).map_err(Into::into)));
    }

    /// Gives etcd this content.
    pub fn write_etcd(&self, data: &[u8]) {
        self.lock().etcd.write(data);
    }

    /// What the etcd of a control plane holds.
    pub fn etcd_data(&self, slot: &str) -> Vec<u8> {
        self.lock().etcd.data(slot).to_vec()
    }

    /// Work on etcd in the order of the starts: its name and the slot.
    pub fn etcd_works(&self) -> Vec<(String, String)> {
        self.lock().works.clone()
    }

    /// What a real etcd would not have survived, and control planes that do not run.
    pub fn etcd_violations(&self) -> Vec<String> {
        let inner = self.lock();
        let stopped = inner.etcd.stopped.iter().map(|slot| format!("{slot} does not run"));
        inner.etcd.violations.iter().cloned().chain(stopped).collect()
    }

    /// The next work of this name on this slot fails.
    pub fn fail_etcd(&self, work: &str, slot: &str, cause: &str) {
        self.lock().etcd_faults.push((work.into(), slot.into(), cause.into()));
    }

    /// How long each task of this kind takes.
    pub fn take(&self, task: NodeTask, duration: Duration) {
        self.lock().durations.insert(task, duration);
    }

    /// Everything that was asked, in the order of the starts.
    pub fn asked(&self) -> Vec<Asked> {
        self.lock().tasks.clone()
    }

    /// Tasks in the order of their starts, in short.
    pub fn tasks(&self) -> Vec<(NodeTask, String)> {
        self.lock().tasks.iter().map(|asked| (asked.task, asked.slot.clone())).collect()
    }

    /// The largest number of tasks that were in work at the same time.
    pub fn most_at_once(&self) -> usize {
        self.lock().most_at_once
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn made_up(slot: &str, step: &str, cause: &str) -> NodeError {
    NodeError {
        slot: slot.into(),
        address: String::new(),
        step: step.into(),
        command: Some(format!("{step} --fake")),
        exit: Some(1),
        stderr: vec![format!("error: {cause}")],
        log: Vec::new(),
        cause: cause.into(),
        left: "the machine is up".into(),
        retryable: false,
        seconds: 1,
    }
}

/// Control planes that joined and were not removed are healthy members; the first leads until it gives that away.
fn etcd(tasks: &[Asked], asked: &str, revision: u64) -> String {
    let (mut members, mut leader): (Vec<(usize, &str)>, usize) = (vec![], 0);
    for (number, done) in tasks.iter().enumerate().filter(|(_, done)| done.succeeded == Some(true)) {
        let at = members.iter().position(|(_, name)| *name == done.instance);
        match (done.task, at) {
            (NodeTask::Init | NodeTask::JoinControlPlane, None) => members.push((number + 1, &done.instance)),
            (NodeTask::RemoveMember, Some(at)) => drop(members.remove(at)),
            (NodeTask::MoveLeader, Some(_)) => {
                let other = members.iter().rev().find(|(_, name)| *name != done.instance);
                leader = other.map_or(leader, |(id, _)| *id);
            }
            _ => {}
        }
        if !members.iter().any(|(id, _)| *id == leader) {
            leader = members.first().map_or(0, |(id, _)| *id);
        }
    }
    let url = |name: &str| format!("https://{name}:2379");
    let list: Vec<_> =
        members.iter().map(|(id, name)| serde_json::json!({"ID": id, "name": name, "clientURLs": [url(name)]})).collect();
    let health: Vec<_> = members.iter().map(|(_, name)| serde_json::json!({"endpoint": url(name), "health": true})).collect();
    let status = |id: &usize| {
        serde_json::json!({"Endpoint": "fake", "Status": {
            "header": {"member_id": id, "revision": revision}, "version": "3.6.5", "leader": leader, "dbSize": 20_480,
            "dbSizeInUse": 16_384, "raftTerm": 2, "raftIndex": 100, "raftAppliedIndex": 100,
        }})
    };
    let all: Vec<_> = members.iter().map(|(id, _)| status(id)).collect();
    let own: Vec<_> = members.iter().filter(|(_, name)| *name == asked).map(|(id, _)| status(id)).collect();
    format!(
        "local {}\nmembers {}\nhealth {}\nstatus {}\nalarms {{}}\n",
        serde_json::json!(own),
        serde_json::json!({"members": list}),
        serde_json::json!(health),
        serde_json::json!(all)
    )
}

#[async_trait]
impl Nodes for FakeNodes {
    /// Every control plane answers, and every machine that joined is a Ready node.
    async fn ask(&self, query: Query, slot: &str, fleet: Arc<Fleet>) -> Result<String, NodeError> {
        let inner = self.lock();
        if let Some((.., said)) = inner.answers.iter().find(|(other, of, _)| (*other, of.as_str()) == (query, slot)) {
            return said.clone().map_err(|cause| made_up(slot, "ask", &cause));
        }
        let stopped = inner.etcd.stopped.contains(slot);
        if stopped && !matches!(query, Query::EtcdStatus | Query::Look) {
            return Err(made_up(slot, "ask", "connection refused"));
        }
        let instance = fleet.machines.get(slot).map(|machine| machine.instance.clone()).unwrap_or_default();
        let joins = [NodeTask::Init, NodeTask::JoinControlPlane, NodeTask::JoinWorker];
        let did = |asked: &&Asked| asked.succeeded == Some(true);
        let joined = inner.tasks.iter().filter(|asked| joins.contains(&asked.task)).filter(did);
        let last = |instance: &str, tasks: &[NodeTask]| {
            let of = inner.tasks.iter().filter(did).filter(|asked| asked.instance == instance && tasks.contains(&asked.task));
            of.map(|asked| asked.task).next_back()
        };
        let version = |instance: &str| {
            let upgrades = [NodeTask::Upgrade, NodeTask::UpgradeFirst];
            let moved = |asked: &&Asked| upgrades.contains(&asked.task) || joins.contains(&asked.task);
            let of = inner.tasks.iter().filter(did).filter(moved).filter(|asked| asked.instance == instance);
            of.filter_map(|asked| asked.kubernetes).next_back().map(|version| format!("v{version}")).unwrap_or_default()
        };
        let gone = [NodeTask::Drain, NodeTask::Forget];
        let marks = [NodeTask::Cordon, NodeTask::Uncordon, NodeTask::Evict, NodeTask::DeletePods];
        let nodes: Vec<_> = joined
            .filter(|asked| !gone.iter().any(|task| last(&asked.instance, &[*task]).is_some()))
            .map(|asked| {
                let unschedulable = last(&asked.instance, &marks).is_some_and(|task| task != NodeTask::Uncordon);
                serde_json::json!({
                    "metadata": {"name": asked.instance},
                    "spec": {"unschedulable": unschedulable},
                    "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": version(&asked.instance)}},
                })
            })
            .collect();
        Ok(match query {
            Query::Readyz => "ok".into(),
            Query::Version => {
                let instance = fleet.machines.get(slot).map(|machine| machine.instance.clone()).unwrap_or_default();
                serde_json::json!({ "gitVersion": version(&instance) }).to_string()
            }
            Query::Nodes => serde_json::json!({ "items": nodes }).to_string(),
            Query::Pods => serde_json::json!({ "items": [] }).to_string(),
            Query::Vitals | Query::Look => String::new(),
            Query::EtcdStatus if stopped => String::new(),
            Query::Etcd | Query::EtcdStatus => etcd(&inner.tasks, &instance, inner.etcd.revision),
            Query::Deprecated => "process_start_time_seconds 1.7672256e+09\n".into(),
            Query::Budgets => "{\"items\":[]}\n{\"items\":[]}".into(),
        })
    }

    async fn etcd(&self, work: &EtcdWork, slot: &str, fleet: Arc<Fleet>, _: Events) -> Result<Vec<u8>, NodeError> {
        tokio::task::yield_now().await;
        let mut inner = self.lock();
        inner.works.push((work.as_str().into(), slot.into()));
        let of = |fault: &(String, String, String)| fault.0 == work.as_str() && fault.1 == slot;
        if let Some(at) = inner.etcd_faults.iter().position(of) {
            let (.., cause) = inner.etcd_faults.remove(at);
            return Err(made_up(slot, work.as_str(), &cause));
        }
        let is_plane = |machine: &&super::Machine| fleet.group_of(machine).is_some_and(|group| group.role == Role::ControlPlane);
        let planes: Vec<(String, String)> = fleet
            .machines
            .values()
            .filter(is_plane)
            .filter(|machine| fleet.ready_control_planes.contains(&machine.slot))
            .map(|machine| (machine.slot.clone(), machine.instance.clone()))
            .collect();
        inner.etcd.work(work, slot, &planes).map_err(|cause| made_up(slot, work.as_str(), &cause))
    }

    async fn run(&self, task: NodeTask, slot: &str, fleet: Arc<Fleet>, events: Events) -> Result<(), NodeError> {
        let machine = fleet.machines.get(slot);
        let (number, duration) = {
            let mut inner = self.lock();
            inner.tasks.push(Asked {
                task,
                slot: slot.into(),
                instance: machine.map(|machine| machine.instance.clone()).unwrap_or_default(),
                ready_control_planes: fleet.ready_control_planes.clone(),
                kubernetes: Some(fleet.cluster.kubernetes),
                succeeded: None,
            });
            inner.working += 1;
            inner.most_at_once = inner.most_at_once.max(inner.working);
            (inner.tasks.len() - 1, inner.durations.get(&task).copied().unwrap_or_default())
        };
        if let Some(machine) = machine.filter(|machine| machine.host_keys.is_empty() && task != NodeTask::Drain) {
            events(NodeEvent::HostKeys(vec![format!("ssh-ed25519 FAKE{}", machine.instance)]));
        }
        let step = format!("{task:?}").to_lowercase();
        events(NodeEvent::StepStarted { step: step.clone(), index: 0, total: 1 });
        match &self.clock {
            Some(clock) => clock.wait(duration).await,
            None => tokio::task::yield_now().await,
        }
        let mut inner = self.lock();
        inner.working -= 1;
        let faults = inner.faults.get_mut(&(task, slot.to_string()));
        let fault = faults.filter(|faults| !faults.is_empty()).map(|faults| faults.remove(0));
        if let Some(asked) = inner.tasks.get_mut(number) {
            asked.succeeded = Some(fault.is_none());
        }
        drop(inner);
        match fault {
            Some(error) => Err(error),
            None => {
                events(NodeEvent::StepDone { step, skipped: false });
                Ok(())
            }
        }
    }
}
