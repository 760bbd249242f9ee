//! One user's machine, store and account, and the commands that are typed there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use kubewright::bootstrap::inspect::Query;
use kubewright::bootstrap::{EtcdWork, Events, FakeNodes, Fleet, NodeError, NodeTask, Nodes};
use kubewright::cli::outside::Outside;
use kubewright::cli::ui::Streams;
use kubewright::clock::{Clock, CountingIds, VirtualClock};
use kubewright::cloud::fake::{Call, FakeCloud};
use kubewright::cloud::{Cloud, CloudError};
use kubewright::cluster::Marks;
use kubewright::operation::{Env, LockManners, OperationError};
use kubewright::store::{FileObjects, Location, MemoryObjects, Objects};

pub const NAME: &str = "demo.k8s.example.com";
pub const ZONE: &str = "k8s.example.com";
pub const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f demo@example";
pub const OTHER_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPIdMxaDYhlCwc8ZfbIQVEJxpL0IX39CPxuS0Bg5dCu5 ops";

/// The specs that are shipped.
pub const EXAMPLES: [(&str, &str); 3] = [
    ("minimal", include_str!("../../clusters/minimal.toml")),
    ("ha", include_str!("../../clusters/ha.toml")),
    ("private-bastion", include_str!("../../clusters/private-bastion.toml")),
];

/// One control plane and one worker: for sweeps.
pub const SMALL: &str = r#"schema = 1
name = "demo.k8s.example.com"
kubernetes = "1.34.2"
aws = { region = "us-east-1", zones = ["us-east-1a"] }
api = { dns_zone = "k8s.example.com", access = ["203.0.113.0/24"] }

[ssh]
public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f demo@example"
access = ["203.0.113.0/24"]

[[instance_group]]
name = "control-plane"
role = "control-plane"
count = 1
machine_type = "t3.medium"
image = "debian-12"

[[instance_group]]
name = "nodes"
role = "node"
count = 1
machine_type = "t3.large"
image = "debian-12"
"#;

/// Three control planes and three workers, over three zones.
pub const LARGE: &str = r#"schema = 1
name = "demo.k8s.example.com"
kubernetes = "1.34.2"
aws = { region = "us-east-1", zones = ["us-east-1a", "us-east-1b", "us-east-1c"] }
api = { dns_zone = "k8s.example.com", access = ["203.0.113.0/24"] }

[ssh]
public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f demo@example"
access = ["203.0.113.0/24"]

[[instance_group]]
name = "control-plane"
role = "control-plane"
count = 3
machine_type = "t3.medium"
image = "debian-12"

[[instance_group]]
name = "nodes"
role = "node"
count = 3
machine_type = "t3.large"
image = "debian-12"
"#;

/// Everything that there is a kind of: NAT gateways, a bastion, tags.
pub const PRIVATE: &str = r#"schema = 1
name = "demo.k8s.example.com"
kubernetes = "1.34.2"
tags = { team = "blue" }
aws = { region = "us-east-1", zones = ["us-east-1a", "us-east-1b"] }
network = { topology = "private", nat = "per-zone" }
api = { dns_zone = "k8s.example.com", access = ["203.0.113.0/24"] }

[ssh]
public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f demo@example"
access = ["203.0.113.0/24"]

[[instance_group]]
name = "bastion"
role = "bastion"
count = 1
zones = ["us-east-1a"]
machine_type = "t3.micro"
image = "debian-12"

[[instance_group]]
name = "control-plane"
role = "control-plane"
count = 1
machine_type = "t3.medium"
image = "debian-12"

[[instance_group]]
name = "nodes"
role = "node"
count = 2
machine_type = "t3.large"
image = "debian-12"
"#;

/// Nodes that insist on what the real ones need, and know what the API knows of each Node.
#[derive(Clone, Default)]
pub struct Strict {
    pub inner: FakeNodes,
    pub marks: Arc<Mutex<BTreeMap<String, Marks>>>,
    /// So many tasks from now, one never ends: the place to kill a run, before or after the task is done.
    pub hang: Arc<Mutex<Option<(usize, bool)>>>,
    pub hung: Arc<tokio::sync::Notify>,
    /// How long work on etcd takes.
    pub etcd_takes: Arc<Mutex<Duration>>,
    /// Task, slot and instance of the one that never ends.
    pub victim: Arc<Mutex<Option<(NodeTask, String, String)>>>,
}

impl Strict {
    /// Nodes of their own, which start equal.
    pub fn fork(&self) -> Self {
        let marks = Arc::new(Mutex::new(self.marks.lock().unwrap().clone()));
        Self { inner: self.inner.fork(), marks, ..Self::default() }
    }

    /// How often machines were asked to do something.
    pub fn calls(&self) -> usize {
        self.inner.asked().len() + self.inner.etcd_works().len()
    }

    /// Whether the task that begins now never ends, and is done nevertheless.
    fn hangs(&self) -> Option<bool> {
        let mut hang = self.hang.lock().unwrap();
        match hang.take() {
            Some((0, done)) => Some(done),
            Some((n, done)) => {
                *hang = Some((n - 1, done));
                None
            }
            None => None,
        }
    }
}

#[async_trait]
impl Nodes for Strict {
    async fn run(&self, task: NodeTask, slot: &str, fleet: Arc<Fleet>, events: Events) -> Result<(), NodeError> {
        let machine = fleet.machines.get(slot).unwrap_or_else(|| panic!("{task:?}: {slot} is not in the fleet")).clone();
        let group = fleet.group_of(&machine).unwrap_or_else(|| panic!("{task:?} {slot}: no group {}", machine.group)).marks();
        // Of a machine that is gone others are asked.
        let of_gone = matches!(task, NodeTask::Forget | NodeTask::RemoveMember);
        assert!(of_gone || !machine.private_address.is_empty(), "{task:?} {slot} has no address");
        if !matches!(task, NodeTask::Prepare | NodeTask::Init) {
            assert!(!fleet.ready_control_planes.is_empty(), "{task:?} {slot} without an API server");
        }
        let hangs = self.hangs();
        if hangs.is_some() {
            *self.victim.lock().unwrap() = Some((task, slot.to_owned(), machine.instance.clone()));
        }
        if hangs == Some(false) {
            self.hung.notify_one();
            std::future::pending::<()>().await;
        }
        self.inner.run(task, slot, Arc::clone(&fleet), events).await?;
        self.mark(task, &machine, group);
        if hangs == Some(true) {
            self.hung.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn ask(&self, query: Query, slot: &str, fleet: Arc<Fleet>) -> Result<String, NodeError> {
        self.inner.ask(query, slot, fleet).await
    }

    async fn etcd(&self, work: &EtcdWork, slot: &str, fleet: Arc<Fleet>, events: Events) -> Result<Vec<u8>, NodeError> {
        let hangs = self.hangs();
        if hangs == Some(false) {
            self.hung.notify_one();
            std::future::pending::<()>().await;
        }
        let answer = self.inner.etcd(work, slot, fleet, events).await?;
        let takes = *self.etcd_takes.lock().unwrap();
        tokio::time::sleep(takes).await;
        if hangs == Some(true) {
            self.hung.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(answer)
    }
}

impl Strict {
    fn mark(&self, task: NodeTask, machine: &kubewright::bootstrap::Machine, group: Marks) {
        let mut all = self.marks.lock().unwrap();
        match task {
            NodeTask::Init | NodeTask::JoinControlPlane | NodeTask::JoinWorker => {
                drop(all.insert(machine.instance.clone(), group))
            }
            NodeTask::Label => {
                // As `kubectl` does it: what is lost is what the machine was known to have.
                let have = all.get_mut(&machine.instance).expect("only what has joined is labelled");
                let (labels, taints) = machine.marks.lost(&group);
                have.labels.retain(|key, _| !labels.contains(&key.as_str()));
                have.taints.retain(|taint| !taints.contains(&(taint.key.as_str(), taint.effect)));
                have.labels.extend(group.labels);
                for taint in group.taints {
                    have.taints.retain(|old| (&old.key, old.effect) != (&taint.key, taint.effect));
                    have.taints.push(taint);
                }
            }
            NodeTask::Drain | NodeTask::Forget => drop(all.remove(&machine.instance)),
            _ => {}
        }
    }
}

pub enum Store {
    Memory(Arc<MemoryObjects>),
    Folder(Arc<FileObjects>, tempfile::TempDir),
}

pub struct World {
    pub store: Store,
    pub cloud: FakeCloud,
    pub nodes: Strict,
    pub clock: Arc<VirtualClock>,
    pub ids: Arc<CountingIds>,
    pub home: tempfile::TempDir,
    pub interrupts: Arc<Semaphore>,
    /// The account cannot be opened.
    pub no_account: Mutex<Option<CloudError>>,
}

#[async_trait]
impl Outside for World {
    async fn env(&self, _: &Location, command: &str) -> Result<Env, OperationError> {
        let objects: Arc<dyn Objects> = match &self.store {
            Store::Memory(objects) => objects.clone(),
            Store::Folder(objects, _) => objects.clone(),
        };
        let (cloud, nodes, closed) = (self.cloud.clone(), self.nodes.clone(), self.no_account.lock().unwrap().clone());
        Ok(Env {
            objects,
            connect: Arc::new(move |_| {
                let answer = match &closed {
                    Some(error) => Err(error.clone()),
                    None => Ok(Arc::new(cloud.clone()) as Arc<dyn Cloud>),
                };
                Box::pin(async move { answer })
            }),
            make_nodes: Arc::new(move |_, _| Arc::new(nodes.clone())),
            resolver: Arc::new(kubewright::operation::FakeResolver(Ok(vec!["ns-0.awsdns-fake.example.".into()]))),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            by: "ops@build-7".into(),
            host: "build-7".into(),
            pid: 42,
            process_exists: |pid| Some(pid != 43),
            command: command.into(),
            settle: Duration::from_secs(10),
            node_limit: 8,
            lock: LockManners::default(),
            hold: None,
        })
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    fn home(&self) -> Option<PathBuf> {
        Some(self.home.path().to_owned())
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    async fn interrupted(&self) {
        self.interrupts.acquire().await.unwrap().forget();
    }
}

/// What a command left on the two streams.
#[derive(Debug)]
#[must_use]
pub struct Ran {
    pub command: String,
    pub code: u8,
    pub out: String,
    pub err: String,
}

impl Ran {
    #[track_caller]
    pub fn expect(self, code: u8) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// The texts are somewhere on the streams, wherever lines were broken.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        let flat = flat(&format!("{} {}", self.out, self.err));
        for text in texts {
            assert!(flat.contains(&super::world::flat(text)), "it does not say {text:?}\n{self}");
        }
        self
    }

    pub fn silent_about(self, text: &str) -> Self {
        assert!(!self.out.contains(text) && !self.err.contains(text), "it says {text:?}\n{self}");
        self
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "$ kubewright {}\nexit {}\nstdout:\n{}\nstderr:\n{}", self.command, self.code, self.out, self.err)
    }
}

/// Without the places where lines are broken.
pub fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl World {
    pub fn new() -> Self {
        Self::with(|clock| Store::Memory(Arc::new(MemoryObjects::new(clock))))
    }

    /// The state in a folder.
    pub fn on_disk() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::with(|clock| Store::Folder(Arc::new(FileObjects::new(folder.path(), clock).unwrap()), folder))
    }

    fn with(store: impl FnOnce(Arc<dyn Clock>) -> Store) -> Self {
        let clock = Arc::new(VirtualClock::new());
        let cloud = FakeCloud::default();
        cloud.plant_zone(ZONE, false);
        let home = tempfile::tempdir().unwrap();
        for (path, text) in [
            (".ssh/id_ed25519.pub", KEY),
            (".lab/bundle/VERSION", "v1.34.2\n"),
            ("clusters/patch.yaml", "maxPods: 60\n"),
            ("other/VERSION", "v1.34.2\n"),
        ] {
            let path = home.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::fs::create_dir_all(home.path().join("clusters")).unwrap();
        Self {
            store: store(clock.clone()),
            cloud,
            nodes: Strict::default(),
            clock,
            ids: Arc::default(),
            home,
            interrupts: Arc::new(Semaphore::new(0)),
            no_account: Mutex::default(),
        }
    }

    /// A spec in the folder `clusters`, as an argument; `~` is this world's home.
    pub fn spec(&self, text: &str) -> String {
        let path = self.home.path().join("clusters/spec.toml");
        std::fs::write(&path, text.replace("~/", &format!("{}/", self.home.path().display()))).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// With this spec applied.
    pub async fn of(text: &str) -> Self {
        let world = Self::new();
        world.create(text).await;
        world
    }

    pub async fn create(&self, text: &str) {
        let _ = self.run(&["create", "cluster", "-f", &self.spec(text), "--yes"]).await.expect(0);
    }

    pub async fn run(&self, args: &[&str]) -> Ran {
        let (streams, captured) = Streams::captured();
        // Boxed: a test that runs many commands has room for all of them on its stack otherwise.
        let code = Box::pin(kubewright::cli::run(args, streams, self)).await;
        let ran = Ran { command: args.join(" "), code, out: captured.out.text(), err: captured.err.text() };
        if std::env::var_os("KUBEWRIGHT_TRACE").is_some() {
            eprintln!("{ran}");
        }
        ran.is_decent(args.contains(&"-o"));
        ran
    }

    /// All objects of the store.
    pub async fn dump(&self) -> BTreeMap<String, Vec<u8>> {
        match &self.store {
            Store::Memory(objects) => objects.dump(),
            Store::Folder(objects, _) => {
                let mut all = BTreeMap::new();
                for key in objects.list("").await.unwrap() {
                    let bytes = objects.get(&key).await.unwrap().unwrap().bytes;
                    all.insert(key, bytes);
                }
                all
            }
        }
    }

    pub fn memory(&self) -> &MemoryObjects {
        match &self.store {
            Store::Memory(objects) => objects,
            Store::Folder(..) => panic!("this world has a folder"),
        }
    }

    pub fn folder(&self) -> &Path {
        match &self.store {
            Store::Memory(_) => panic!("this world has no folder"),
            Store::Folder(_, folder) => folder.path(),
        }
    }

    /// Account and store, whole.
    pub async fn everything(&self) -> (String, BTreeMap<String, Vec<u8>>) {
        (self.cloud.snapshot(), self.dump().await)
    }

    /// What the account holds, without ids: kinds and counts.
    pub fn shape(&self) -> BTreeMap<String, usize> {
        let mut shape = BTreeMap::new();
        for line in self.cloud.snapshot().lines() {
            *shape.entry(line.split_whitespace().next().unwrap_or_default().to_owned()).or_default() += 1;
        }
        shape
    }

    /// The whole account, but for what differs from run to run: ids, addresses, attempts.
    pub fn account(&self) -> Vec<String> {
        let plain = |word: &str| match word.split_once('=') {
            Some(("kubewright.io/attempt", _)) => String::new(),
            Some((key, value)) => format!("{key}={}", without_ids(value)),
            None if word.split(',').all(|part| part.parse::<std::net::Ipv4Addr>().is_ok()) => "address".into(),
            None => without_ids(word),
        };
        let snapshot = self.cloud.snapshot();
        let lines = snapshot.lines().map(|line| line.split(' ').map(plain).collect::<Vec<_>>().join(" "));
        let mut lines: Vec<String> = lines.collect();
        lines.sort();
        lines
    }

    /// Nothing to do for the registered spec.
    #[track_caller]
    pub fn settled(&self) -> impl Future<Output = Ran> {
        let at = std::panic::Location::caller();
        async move {
            let ran = self.run(&["update", "--detailed-exitcode"]).await;
            assert!(ran.code == 0 && ran.out.contains("No changes"), "{at}: there is more to do\n{ran}");
            ran
        }
    }

    pub fn state(&self) -> kubewright::recorded::State {
        self.state_if_any().expect("a state")
    }

    pub fn state_if_any(&self) -> Option<kubewright::recorded::State> {
        let bytes = self.memory().dump().remove(&format!("{NAME}/state.json"))?;
        let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        serde_json::from_value(document["state"].clone()).unwrap()
    }

    pub fn instance(&self, slot: &str) -> String {
        self.state().nodes[slot].instance.clone()
    }
}

impl Ran {
    /// What holds of every command: no secret, nothing that steers a terminal, nothing too wide for one except what is copied.
    pub fn is_decent(&self, machine: bool) {
        for text in [&self.out, &self.err] {
            assert!(!text.chars().any(|c| c != '\n' && c.is_control()), "control characters: {text:?}");
            for secret in ["PRIVATE KEY", "client-key-data", "<token>"] {
                assert!(!text.contains(secret), "{secret} in\n{self}");
            }
            // Help has a width of its own.
            for line in text.lines().filter(|_| !machine && !text.contains("Usage: ")) {
                let dated = line.starts_with("2026-01-");
                let copied =
                    line.contains("kubewright ") || line.contains("aws ") || line.contains("://") || line.contains(".toml");
                // A word has no place to be broken.
                let words = line.split_whitespace().map(|word| word.chars().count()).max().unwrap_or(0);
                assert!(dated || copied || words > 60 || line.chars().count() <= 80, "wider than 80: {line:?}\n{self}");
            }
        }
    }
}

/// One more of nearly everything that an update can do.
pub fn changed() -> String {
    let text = edit(PRIVATE, "team = \"blue\"", "owner = \"ops\"");
    let text = edit(&text, "per-zone", "one");
    let text = edit(&text, "count = 2", "count = 1");
    edit(&text, KEY, OTHER_KEY)
}

/// Replaces a piece of a spec that is there exactly once.
#[track_caller]
pub fn edit(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "`{from}` must be there once");
    text.replace(from, to)
}

pub fn reads(calls: &[Call]) -> usize {
    calls.iter().filter(|call| call.is_read() && !call.action.starts_with("sts:")).count()
}

pub fn changes(calls: &[Call]) -> Vec<String> {
    calls.iter().filter(|call| !call.is_read()).map(|call| call.action.clone()).collect()
}

pub fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

/// The cluster's name in a spec.
pub fn name_of(text: &str) -> &str {
    text.lines().find_map(|line| line.strip_prefix("name = \"")?.split('"').next()).unwrap()
}

impl World {
    /// Makes the store what another one was.
    pub async fn restore(&self, stored: &BTreeMap<String, Vec<u8>>) {
        for (key, bytes) in stored {
            self.memory().put(key, bytes.clone(), kubewright::store::Condition::Always).await.unwrap();
        }
    }
}

/// `vpc-00000000000000001` becomes `vpc-#`.
fn without_ids(word: &str) -> String {
    let mut out = String::new();
    let mut run = String::new();
    for c in word.chars().chain(['\0']) {
        if c.is_ascii_hexdigit() {
            run.push(c);
            continue;
        }
        out.push_str(if run.len() >= 17 { "#" } else { &run });
        run.clear();
        out.extend((c != '\0').then_some(c));
    }
    out
}
