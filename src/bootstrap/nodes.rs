//! The real [`Nodes`]: finds out how to reach a machine, and runs a task's steps on it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{OnceCell, Semaphore};

use super::bundle::Bundle;
use super::console::wait_for_host_keys;
use super::failure::Failure;
use super::inspect::Query;
use super::kubeadm::Place;
use super::line::{Line, ROOT};
use super::run::Run;
use super::ssh::{Known, Limits, Login, SshError, Stdin, Target};
use super::template::render;
use super::{Consoles, EtcdWork, Events, Fleet, Machine, NodeError, NodeEvent, NodeTask, Nodes, Permission};
use crate::clock::{Clock, Ids};
use crate::cluster::{HostKeys, Packages, Role, SshAddress, SshAuth};
use crate::secret::Secret;

/// Connections at once through one bastion, for workers and again for control planes: a worker that holds one waits for a control plane's,
/// so that sharing them could end in a deadlock.
const THROUGH_BASTION: usize = 8;
/// Connections to a control plane that is asked on behalf of others: each carries one call at a time, and every join asks for a token, labels
/// and the Node's state. Through a bastion there is one, so that its permits cannot be used up by those who ask.
const TO_CONTROL_PLANE: usize = 4;

/// Carries tasks out over SSH. One value serves one run of kubewright; connections are kept between tasks.
pub struct SshNodes {
    consoles: Arc<dyn Consoles>,
    pub(super) clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    limits: Limits,
    passphrase: Option<Secret>,
    permission: Option<Permission>,
    /// Owner of the nodes' fences.
    pub(super) run: String,
    lines: Mutex<BTreeMap<(String, usize), Arc<Line>>>,
    host_keys: Mutex<BTreeMap<String, Vec<String>>>,
    learning: tokio::sync::Mutex<()>,
    permits: [Arc<Semaphore>; 2],
    /// Counts the tasks that ask a control plane.
    asked: AtomicUsize,
    bundle: OnceCell<Arc<Bundle>>,
}

impl SshNodes {
    /// Takes the passphrase of key files from `KUBEWRIGHT_SSH_PASSPHRASE`.
    pub fn new(consoles: Arc<dyn Consoles>, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        let run = ids.fresh();
        Self {
            consoles,
            clock,
            ids,
            limits: Limits::default(),
            passphrase: std::env::var("KUBEWRIGHT_SSH_PASSPHRASE").ok().filter(|phrase| !phrase.is_empty()).map(Secret::new),
            permission: None,
            run,
            lines: Mutex::default(),
            host_keys: Mutex::default(),
            learning: tokio::sync::Mutex::default(),
            permits: [Arc::new(Semaphore::new(THROUGH_BASTION)), Arc::new(Semaphore::new(THROUGH_BASTION))],
            asked: AtomicUsize::new(0),
            bundle: OnceCell::new(),
        }
    }

    /// Other time limits of connections.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Asks before each script that may change a machine.
    pub fn with_permission(self, permission: Option<Permission>) -> Self {
        Self { permission, ..self }
    }

    /// The line to a machine; learns its host keys first where they are not known.
    pub(super) async fn line(&self, fleet: &Fleet, machine: &Machine, events: &Events) -> Result<Arc<Line>, Failure> {
        self.nth_line(fleet, machine, events, 0).await
    }

    async fn nth_line(&self, fleet: &Fleet, machine: &Machine, events: &Events, nth: usize) -> Result<Arc<Line>, Failure> {
        let place = (machine.instance.clone(), nth);
        if let Some(line) = locked(&self.lines).get(&place) {
            return Ok(line.clone());
        }
        let group = fleet.group_of(machine).ok_or_else(|| Failure::plain(format!("no instance group `{}`", machine.group)))?;
        let bastion = fleet
            .machines
            .values()
            .find(|other| group.role != Role::Bastion && fleet.group_of(other).is_some_and(|group| group.role == Role::Bastion));
        let mut target = self.target(fleet, machine, bastion.is_some(), events, true).await?;
        if let Some(bastion) = bastion {
            let mut jump = self.target(fleet, bastion, false, events, false).await?;
            if matches!(jump.known, Known::FirstUse) {
                jump.known = Known::Keys(self.first_use(bastion, &jump, events).await?);
            }
            target.through = Some(Box::new(jump));
        }
        let permits = bastion.map(|_| match group.role {
            Role::ControlPlane => self.permits[0].clone(),
            Role::Node | Role::Bastion => self.permits[1].clone(),
        });
        let line = Line::new(target, self.limits, self.clock.clone(), permits).with_permission(self.permission.clone());
        let line = Arc::new(line);
        if fleet.cluster.ssh.host_keys == HostKeys::TrustOnFirstUse && machine.host_keys.is_empty() {
            let key = line.host_key(&|text| events(NodeEvent::Waiting(text))).await?;
            locked(&self.host_keys).insert(machine.instance.clone(), vec![key.clone()]);
            events(NodeEvent::HostKeys(vec![key]));
        }
        Ok(locked(&self.lines).entry(place).or_insert(line).clone())
    }

    async fn target(
        &self,
        fleet: &Fleet,
        machine: &Machine,
        private: bool,
        events: &Events,
        own: bool,
    ) -> Result<Target, Failure> {
        let ssh = &fleet.cluster.ssh;
        let group = fleet.group_of(machine).ok_or_else(|| Failure::plain(format!("no instance group `{}`", machine.group)))?;
        let address = match (&machine.public_address, ssh.address) {
            (Some(address), SshAddress::Public) if !private => address.clone(),
            _ => machine.private_address.clone(),
        };
        let login = match &ssh.auth {
            SshAuth::Agent => Login::Agent { socket: None, public_key: ssh.public_key.clone() },
            SshAuth::KeyFile(path) => Login::KeyFile { path: path.clone(), passphrase: self.passphrase.clone() },
        };
        let known = self.known(fleet, machine, events, own).await?;
        Ok(Target { address, port: ssh.port, user: fleet.cluster.login_user(group).into(), login, known, through: None })
    }

    async fn known(&self, fleet: &Fleet, machine: &Machine, events: &Events, own: bool) -> Result<Known, Failure> {
        // Many tasks need the same bastion's keys at once: one asks.
        let _one_at_a_time = match own {
            true => None,
            false => Some(self.learning.lock().await),
        };
        let learnt = locked(&self.host_keys).get(&machine.instance).cloned();
        let pinned = Some(machine.host_keys.clone()).filter(|keys| !keys.is_empty()).or(learnt);
        match (pinned, fleet.cluster.ssh.host_keys) {
            (Some(keys), _) => Ok(Known::Keys(keys)),
            (None, HostKeys::TrustOnFirstUse) => Ok(Known::FirstUse),
            (None, HostKeys::Console) => {
                let waiting = |text| events(NodeEvent::Waiting(text));
                let keys = wait_for_host_keys(&self.consoles, &*self.clock, &machine.instance, &waiting)
                    .await
                    .map_err(|error| Failure::at("host-keys", error))?;
                locked(&self.host_keys).insert(machine.instance.clone(), keys.clone());
                // Those of a bastion are recorded when it is prepared itself.
                if own {
                    events(NodeEvent::HostKeys(keys.clone()));
                }
                Ok(Known::Keys(keys))
            }
        }
    }

    /// Believes the first key of a bastion, once per run: everything after it is pinned.
    async fn first_use(&self, bastion: &Machine, target: &Target, events: &Events) -> Result<Vec<String>, Failure> {
        let _one_at_a_time = self.learning.lock().await;
        if let Some(keys) = locked(&self.host_keys).get(&bastion.instance) {
            return Ok(keys.clone());
        }
        let line = Line::new(target.clone(), self.limits, self.clock.clone(), None);
        let keys = vec![line.host_key(&|text| events(NodeEvent::Waiting(text))).await?];
        locked(&self.host_keys).insert(bastion.instance.clone(), keys.clone());
        Ok(keys)
    }

    async fn bundle(&self, fleet: &Fleet) -> Result<Option<Arc<Bundle>>, Failure> {
        let Packages::Bundle(path) = &fleet.cluster.packages else { return Ok(None) };
        let load = || async {
            let (path, version, cni) = (path.clone(), fleet.cluster.kubernetes, fleet.cluster.network.cni);
            let loaded = tokio::task::spawn_blocking(move || Bundle::load(&path, version, cni)).await;
            loaded.map_err(|error| error.to_string()).and_then(|bundle| bundle).map(Arc::new)
        };
        let bundle = self.bundle.get_or_try_init(load).await.map_err(|error| Failure::at("packages", error))?;
        Ok(Some(bundle.clone()))
    }

    async fn question(&self, query: Query, machine: &Machine, fleet: &Fleet) -> Result<String, Failure> {
        let line = self.line(fleet, machine, &silent()).await?;
        let script = question(query).map_err(Failure::plain)?;
        let mut attempt = 0;
        let output = loop {
            // A machine that is down is an answer too: nobody waits for it to boot here.
            line.try_open().await?;
            attempt += 1;
            match line.call(ROOT, Stdin::Bytes(script.clone().into_bytes()), QUESTION_LIMIT, &|_| {}).await {
                // A connection of an earlier look may have died since.
                Err(SshError::Lost { .. }) if attempt < 2 => {}
                other => break other?,
            }
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status == Some(0) {
            return Ok(text);
        }
        let said = super::clean::last_lines(&output.stderr, 1, &[]).pop().unwrap_or_else(|| "no answer".into());
        Err(Failure { exit: output.status, ..Failure::at("ask", said) })
    }

    /// A ready control plane that can be reached; where none can, the first one is waited for.
    async fn control<'a>(&self, fleet: &'a Fleet, machine: &Machine) -> Result<(&'a Machine, Arc<Line>), Failure> {
        let others = fleet.ready_control_planes.iter().filter_map(|slot| fleet.machines.get(slot));
        let others: Vec<&Machine> = others.filter(|other| other.instance != machine.instance).collect();
        let [first, rest @ ..] = others.as_slice() else {
            return Err(Failure::plain("no control plane is ready, so nobody can be asked".into()));
        };
        let nth = match fleet.cluster.has_bastion() {
            true => 0,
            false => self.asked.fetch_add(1, Ordering::Relaxed) % TO_CONTROL_PLANE,
        };
        if !rest.is_empty() {
            for other in &others {
                let line = self.nth_line(fleet, other, &silent(), nth).await?;
                if line.try_open().await.is_ok() {
                    return Ok((other, line));
                }
            }
        }
        Ok((first, self.nth_line(fleet, first, &silent(), nth).await?))
    }

    async fn attempt(&self, task: NodeTask, machine: &Machine, fleet: &Fleet, events: &Events) -> Result<(), Failure> {
        let group = fleet.group_of(machine).ok_or_else(|| Failure::plain(format!("no instance group `{}`", machine.group)))?;
        let place = Place { cluster: &fleet.cluster, group, machine };
        let bundle = async {
            match task {
                NodeTask::Prepare if group.role == Role::Bastion => Ok(None),
                // `Init` installs the pod network.
                NodeTask::Prepare | NodeTask::Init => self.bundle(fleet).await,
                NodeTask::Fetch | NodeTask::Upgrade | NodeTask::UpgradeFirst => self.bundle(fleet).await,
                _ => Ok(None),
            }
        };
        let others = fleet.ready_control_planes.iter().any(|slot| *slot != machine.slot);
        let line = async {
            match task {
                // Others are asked about it: it may be dead.
                NodeTask::Drain
                | NodeTask::Forget
                | NodeTask::Cordon
                | NodeTask::Uncordon
                | NodeTask::Evict
                | NodeTask::DeletePods
                | NodeTask::MoveLeader
                | NodeTask::RemoveMember => Ok(None),
                _ => self.line(fleet, machine, events).await.map(Some),
            }
        };
        // The bundle is read while the machine boots.
        let (bundle, line) = tokio::try_join!(bundle, line)?;
        let control = match task {
            NodeTask::Prepare | NodeTask::Init | NodeTask::Fetch => None,
            // A control plane that has joined answers for itself.
            NodeTask::Label | NodeTask::Ready if group.role == Role::ControlPlane => None,
            // The only one drains itself, and is asked about itself while it is upgraded.
            _ if !others && comes_back(task) && group.role == Role::ControlPlane => {
                Some((machine, self.line(fleet, machine, events).await?))
            }
            _ => Some(self.control(fleet, machine).await?),
        };
        let serving = fleet.ready_control_planes.iter().filter_map(|slot| fleet.machines.get(slot));
        let mut run = Run {
            clock: &*self.clock,
            ids: &*self.ids,
            run: &self.run,
            pki: &fleet.pki,
            place,
            line: line.as_deref(),
            control: control.as_ref().map(|(machine, line)| (*machine, &**line)),
            bundle: bundle.as_deref(),
            members: serving.chain([machine]).map(|machine| machine.private_address.as_str()).collect(),
            events,
            take: true,
        };
        let result = run.task(task).await;
        if fleet.cluster.has_bastion()
            && let Some(line) = &line
        {
            line.close().await;
        }
        result
    }
}

/// Tasks after which a machine is still what it was.
fn comes_back(task: NodeTask) -> bool {
    use NodeTask::{Cordon, DeletePods, Evict, Uncordon, Upgrade, UpgradeFirst};
    matches!(task, Cordon | Uncordon | Evict | DeletePods | Upgrade | UpgradeFirst)
}

const QUESTION_LIMIT: Duration = Duration::from_secs(120);

/// `admin.conf` names the endpoint that the control plane maps to itself, so each one answers for its own API server.
fn question(query: Query) -> Result<String, String> {
    let fixed = match query {
        Query::Readyz => "kubectl --kubeconfig=/etc/kubernetes/admin.conf --request-timeout=10s get --raw=/readyz",
        Query::Nodes => "kubectl --kubeconfig=/etc/kubernetes/admin.conf --request-timeout=30s get nodes -o json",
        Query::Version => "kubectl --kubeconfig=/etc/kubernetes/admin.conf --request-timeout=10s get --raw=/version",
        Query::Pods => "kubectl --kubeconfig=/etc/kubernetes/admin.conf --request-timeout=30s get pods -A -o json",
        Query::Vitals => return render("steps/vitals.sh.j2", serde_json::json!({})),
        Query::Look => return render("steps/look.sh.j2", serde_json::json!({})),
        Query::Etcd | Query::EtcdStatus => {
            let path = "export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n";
            let asked = if query == Query::Etcd { "etcd" } else { "etcd-status" };
            let [tool, asked] = ["etcdctl", asked].map(|name| render(&format!("steps/{name}.sh.j2"), serde_json::json!({})));
            return Ok(format!("{path}{}{}", tool?, asked?));
        }
        Query::Deprecated => return render("steps/deprecated.sh.j2", serde_json::json!({})),
        Query::Budgets => return render("steps/budgets.sh.j2", serde_json::json!({"selector": "status.phase!=Succeeded"})),
    };
    Ok(fixed.to_owned())
}

#[async_trait]
impl Nodes for SshNodes {
    async fn ask(&self, query: Query, slot: &str, fleet: Arc<Fleet>) -> Result<String, NodeError> {
        let result = match fleet.machines.get(slot) {
            Some(machine) => self.question(query, machine, &fleet).await,
            None => Err(Failure::plain(format!("there is no machine in slot {slot}"))),
        };
        result.map_err(|failure| {
            let address = fleet.machines.get(slot).map(|machine| machine.private_address.clone()).unwrap_or_default();
            NodeError { left: "nothing was changed".into(), ..failure.into_error(NodeTask::Prepare, slot, address, 0) }
        })
    }

    async fn etcd(&self, work: &EtcdWork, slot: &str, fleet: Arc<Fleet>, events: Events) -> Result<Vec<u8>, NodeError> {
        self.work_on_etcd(work, slot, &fleet, &events).await
    }

    async fn run(&self, task: NodeTask, slot: &str, fleet: Arc<Fleet>, events: Events) -> Result<(), NodeError> {
        let begun = self.clock.now();
        let result = match fleet.machines.get(slot) {
            Some(machine) => self.attempt(task, machine, &fleet, &events).await,
            None => Err(Failure::plain(format!("there is no machine in slot {slot}"))),
        };
        let seconds = u64::try_from(self.clock.now().duration_since(begun).as_secs()).unwrap_or_default();
        result.map_err(|failure| {
            let address = fleet.machines.get(slot).map(|machine| machine.private_address.clone()).unwrap_or_default();
            failure.into_error(task, slot, address, seconds)
        })
    }
}

impl From<SshError> for Failure {
    fn from(error: SshError) -> Self {
        Self { retryable: error.is_retryable(), ..Self::at("ssh", error.to_string()) }
    }
}

fn silent() -> Events {
    Arc::new(|_| {})
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
