//! A user's machine, store and account behind a gate.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use kubewright::bootstrap::inspect::Query;
use kubewright::bootstrap::{EtcdWork, Events, Fleet, NodeError, NodeTask, Nodes, Permission, Refusal};
use kubewright::cli::outside::Outside;
use kubewright::cli::ui::Streams;
use kubewright::clock::{Clock, CountingIds};
use kubewright::cloud::Cloud;
use kubewright::cloud::fake::{Delays, FakeCloud, Fault, Options};
use kubewright::operation::{Env, OperationError};
use kubewright::store::{Condition, Location, Object, ObjectError, Objects, Version};

use crate::gate::{Gate, Script, Site, Verdict};
use crate::trouble::no_answer;
use crate::world::{Ran, Strict, World, ZONE};

/// Longer than any command may take, in virtual time: the longest deadlines of a run, one after the other.
const DEADLINE: Duration = Duration::from_secs(3 * 3600);

/// An account in which nothing is at once: new objects are listed late, found by tag later, and calls take their time.
pub fn weather(seed: u64) -> Options {
    Options {
        delays: Delays { listed: Duration::from_secs(3), tagged: Duration::from_secs(8), usable: Duration::from_secs(2) },
        latency: Duration::from_millis(20),
        jitter: Duration::from_millis(300),
        seed,
        reads_until_running: 2,
        reads_until_terminated: 2,
        reads_until_nat_available: 2,
        reads_until_nat_deleted: 2,
        reads_until_in_sync: 2,
        vpc_quota: 50,
        address_quota: 50,
        ..Options::default()
    }
}

/// Where a run begins.
#[derive(Clone)]
pub struct Start {
    pub cloud: FakeCloud,
    pub stored: BTreeMap<String, Vec<u8>>,
    pub nodes: Strict,
    /// Processes that there were.
    runs: u64,
}

impl Start {
    /// An empty account with its hosted zone, and an empty store.
    pub fn empty(seed: u64) -> Self {
        let cloud = FakeCloud::with("us-east-1", weather(seed));
        cloud.plant_zone(ZONE, false);
        Self { cloud, stored: BTreeMap::new(), nodes: Strict::default(), runs: 0 }
    }
}

/// What is switched off, to see that it is missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    Nothing,
    /// Intents never reach the store.
    Intents,
    /// Writes of the store replace whatever is there.
    Swap,
    /// A look for an object counts at once and when it is the first.
    Settle,
}

/// How a run ended.
#[derive(Debug)]
pub enum Ended {
    Code(Ran),
    Killed,
    Hung,
    Panicked(String),
}

pub struct Rig {
    pub world: World,
    pub without: Without,
    runs: AtomicU64,
}

impl Rig {
    pub async fn at(start: &Start) -> Self {
        let world = World { cloud: start.cloud.fork(), nodes: start.nodes.fork(), ..World::new() };
        world.restore(&start.stored).await;
        Self { world, without: Without::Nothing, runs: AtomicU64::new(start.runs) }
    }

    /// Whose objects' names end so are gone from the store.
    pub async fn lose(&self, names: &[&str]) {
        for key in self.world.dump().await.into_keys().filter(|key| names.iter().any(|name| key.ends_with(name))) {
            self.world.memory().delete(&key, Condition::Always).await.unwrap();
        }
    }

    pub async fn here(&self) -> Start {
        Start {
            cloud: self.world.cloud.fork(),
            stored: self.world.dump().await,
            nodes: self.world.nodes.fork(),
            runs: self.runs.load(Ordering::Relaxed),
        }
    }

    /// Runs a command through a new gate, as a new process with ids of its own.
    pub async fn run(&self, args: &[&str], script: Script) -> (Ended, Arc<Gate>) {
        self.run_through(args, Gate::new(script)).await
    }

    pub async fn run_through(&self, args: &[&str], gate: Arc<Gate>) -> (Ended, Arc<Gate>) {
        let process = self.process(Arc::clone(&gate));
        let (streams, captured) = Streams::captured();
        // Boxed: two of these in one future are too much for a thread's stack.
        let run: futures::future::LocalBoxFuture<'_, u8> = Box::pin(kubewright::cli::run(args, streams, &process));
        let run = std::panic::AssertUnwindSafe(run).catch_unwind();
        let limited = tokio::time::timeout(DEADLINE, run);
        let ended = tokio::select! {
            biased;
            () = gate.killed() => Ended::Killed,
            () = process.cloud.hung() => Ended::Killed,
            done = limited => match done {
                Err(_) => Ended::Hung,
                Ok(Err(panic)) => Ended::Panicked(said(panic.as_ref())),
                Ok(Ok(code)) => {
                    let ran = Ran { command: args.join(" "), code, out: captured.out.text(), err: captured.err.text() };
                    let decent = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ran.is_decent(args.contains(&"-o"))));
                    match decent {
                        Ok(()) => Ended::Code(ran),
                        Err(panic) => Ended::Panicked(said(panic.as_ref())),
                    }
                }
            },
        };
        (ended, gate)
    }

    /// A process of this machine; the next one has another number and other ids.
    pub fn process(&self, gate: Arc<Gate>) -> Process<'_> {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let asked = Arc::clone(&gate);
        let cloud = self.world.cloud.through(move |action, changes| match asked.enter(Site::Cloud(action.to_owned(), changes)) {
            Verdict::Go => None,
            Verdict::HangBefore => Some(Fault::HangBefore),
            Verdict::HangAfter => Some(Fault::HangAfter),
            Verdict::Pause => Some(Fault::Pause(asked.resume())),
            Verdict::Trouble(trouble) => {
                let (wait, fault) = trouble.on_cloud(action);
                Some(match fault {
                    Fault::Before(error) if !wait.is_zero() => Fault::Late(wait, error),
                    fault => fault,
                })
            }
        });
        Process {
            rig: self,
            cloud,
            gate,
            ids: Arc::new(CountingIds::starting_at((run + 1) << 20)),
            pid: 100 + u32::try_from(run).unwrap(),
        }
    }
}

/// What a panic says.
pub fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_else(|| "something".into())
}

/// One run of the program.
pub struct Process<'a> {
    rig: &'a Rig,
    cloud: FakeCloud,
    gate: Arc<Gate>,
    ids: Arc<CountingIds>,
    pid: u32,
}

#[async_trait]
impl Outside for Process<'_> {
    async fn env(&self, location: &Location, command: &str) -> Result<Env, OperationError> {
        let mut env = self.rig.world.env(location, command).await?;
        env.objects = Arc::new(GatedObjects { inner: env.objects, gate: Arc::clone(&self.gate), without: self.rig.without });
        let cloud = self.cloud.clone();
        env.connect = Arc::new(move |_| {
            let cloud = Arc::new(cloud.clone()) as Arc<dyn Cloud>;
            Box::pin(async move { Ok(cloud) })
        });
        let (nodes, gate) = (self.rig.world.nodes.clone(), Arc::clone(&self.gate));
        env.make_nodes = Arc::new(move |cloud, permission| {
            Arc::new(GatedNodes { inner: nodes.clone(), cloud, permission, gate: Arc::clone(&gate) })
        });
        env.ids = self.ids.clone();
        env.pid = self.pid;
        // One process at a time: every other one is dead.
        env.process_exists = |_| Some(false);
        if self.rig.without == Without::Settle {
            env.settle = Duration::ZERO;
        }
        Ok(env)
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.rig.world.clock.clone()
    }

    fn home(&self) -> Option<PathBuf> {
        self.rig.world.home()
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    async fn interrupted(&self) {
        std::future::pending().await
    }
}

struct GatedObjects {
    inner: Arc<dyn Objects>,
    gate: Arc<Gate>,
    without: Without,
}

impl GatedObjects {
    /// One operation, with what the gate says of it.
    async fn through<T>(
        &self,
        verb: &'static str,
        key: &str,
        work: impl Future<Output = Result<T, ObjectError>>,
    ) -> Result<T, ObjectError> {
        let site = Site::of_key(verb, key);
        let is_record = site == Site::Store("put", "state");
        match self.gate.enter(site) {
            Verdict::Go => {
                let done = work.await;
                if is_record && done.is_ok() {
                    self.gate.recorded();
                }
                done
            }
            Verdict::HangBefore => std::future::pending().await,
            Verdict::HangAfter => {
                let _ = work.await;
                self.gate.committed();
                std::future::pending().await
            }
            Verdict::Pause => {
                self.gate.resume().notified().await;
                work.await
            }
            Verdict::Trouble(trouble) => {
                let (done, wait, error) = trouble.on_store(key);
                if done {
                    work.await?;
                }
                tokio::time::sleep(wait).await;
                Err(error)
            }
        }
    }
}

#[async_trait]
impl Objects for GatedObjects {
    async fn get(&self, key: &str) -> Result<Option<Object>, ObjectError> {
        self.through("get", key, self.inner.get(key)).await
    }

    async fn put(&self, key: &str, bytes: Vec<u8>, condition: Condition) -> Result<Version, ObjectError> {
        let condition = if self.without == Without::Swap { Condition::Always } else { condition };
        let bytes = if self.without == Without::Intents { crate::weak::without_intents(key, bytes) } else { bytes };
        self.through("put", key, self.inner.put(key, bytes, condition)).await
    }

    async fn delete(&self, key: &str, condition: Condition) -> Result<(), ObjectError> {
        let condition = if self.without == Without::Swap { Condition::Always } else { condition };
        self.through("delete", key, self.inner.delete(key, condition)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, ObjectError> {
        self.through("list", prefix, self.inner.list(prefix)).await
    }

    async fn now(&self) -> Result<jiff::Timestamp, ObjectError> {
        self.through("now", "", self.inner.now()).await
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    async fn some(&self) -> Result<Vec<String>, ObjectError> {
        self.through("list", "", self.inner.some()).await
    }

    async fn history(&self, key: &str, limit: usize) -> Result<Vec<Object>, ObjectError> {
        self.through("history", key, self.inner.history(key, limit)).await
    }

    async fn keeps_history(&self) -> Option<bool> {
        self.inner.keeps_history().await
    }
}

/// Nodes whose tasks pass the gate; host keys are read from the console, as real ones are.
struct GatedNodes {
    inner: Strict,
    cloud: Arc<dyn Cloud>,
    permission: Option<Permission>,
    gate: Arc<Gate>,
}

#[async_trait]
impl Nodes for GatedNodes {
    async fn run(&self, task: NodeTask, slot: &str, fleet: Arc<Fleet>, events: Events) -> Result<(), NodeError> {
        if let Some(machine) = fleet.machines.get(slot)
            && task == NodeTask::Prepare
            && machine.host_keys.is_empty()
        {
            for _ in 0..30 {
                match self.cloud.console_output(&machine.instance).await {
                    Ok(Some(_)) => break,
                    Ok(None) | Err(_) => tokio::time::sleep(Duration::from_secs(5)).await,
                }
            }
        }
        if let Some(permission) = &self.permission {
            let refused = |Refusal { cause, retryable }| NodeError { cause, retryable, ..no_answer(slot) };
            permission().await.map_err(refused)?;
        }
        match self.gate.enter(Site::Node(task)) {
            Verdict::Go => self.inner.run(task, slot, fleet, events).await,
            Verdict::HangBefore => std::future::pending().await,
            Verdict::HangAfter => {
                let _ = self.inner.run(task, slot, fleet, events).await;
                self.gate.committed();
                std::future::pending().await
            }
            Verdict::Pause => {
                self.gate.resume().notified().await;
                self.inner.run(task, slot, fleet, events).await
            }
            Verdict::Trouble(trouble) => {
                let (done, wait, error) = trouble.on_node(slot);
                if done {
                    self.inner.run(task, slot, fleet, events).await?;
                }
                tokio::time::sleep(wait).await;
                Err(error)
            }
        }
    }

    async fn ask(&self, query: Query, slot: &str, fleet: Arc<Fleet>) -> Result<String, NodeError> {
        self.inner.ask(query, slot, fleet).await
    }

    async fn etcd(&self, work: &EtcdWork, slot: &str, fleet: Arc<Fleet>, events: Events) -> Result<Vec<u8>, NodeError> {
        // Of the works on etcd this one stands for the task that they are made of.
        let verdict = match work {
            EtcdWork::Save { .. } => self.gate.enter(Site::Node(NodeTask::Snapshot)),
            _ => Verdict::Go,
        };
        match verdict {
            Verdict::Go => self.inner.etcd(work, slot, fleet, events).await,
            Verdict::HangBefore => std::future::pending().await,
            Verdict::HangAfter => {
                let _ = self.inner.etcd(work, slot, fleet, events).await;
                self.gate.committed();
                std::future::pending().await
            }
            Verdict::Pause => {
                self.gate.resume().notified().await;
                self.inner.etcd(work, slot, fleet, events).await
            }
            Verdict::Trouble(trouble) => {
                let (_, wait, error) = trouble.on_node(slot);
                tokio::time::sleep(wait).await;
                Err(error)
            }
        }
    }
}
