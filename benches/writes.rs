//! How often an apply writes to the store: on an account and a store in memory whose calls take their time, in virtual time.
//!
//! Goal: intents cost no more writes than the graph of actions is deep, however many nodes there are: a chain of actions needs
//! writes one after the other, and what runs beside it goes into the same ones. Records follow the answers, which come one by one;
//! of a large cluster those that come close together share a write as well. `apply` is how long the run takes in virtual time, and `CPU` what it
//! costs this machine. `cargo bench --profile dev --workspace --bench writes -- 300` measures other sizes.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kubewright::bootstrap::FakeNodes;
use kubewright::clock::{CountingIds, VirtualClock};
use kubewright::cloud::Cloud;
use kubewright::cloud::fake::{FakeCloud, Options};
use kubewright::operation::{Env, FakeResolver, LockManners, SpecFile, UpdateRequest, apply_update, prepare_update};
use kubewright::plan::Plan;
use kubewright::store::{Condition, MemoryObjects, Object, ObjectError, Objects, Version};
use support::{load, spec_text};
use tokio_util::sync::CancellationToken;

/// As S3 and EC2 answer on a good day.
const STORE: Duration = Duration::from_millis(30);
const CLOUD: (Duration, Duration) = (Duration::from_millis(150), Duration::from_millis(300));

fn main() {
    println!(
        "{:>6}  {:<10} {:>8} {:>6} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9} {:>9}",
        "nodes", "run", "actions", "depth", "intents", "/ depth", "states", "/ depth", "MiB", "apply", "CPU"
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    let asked: Vec<usize> = support::arguments().iter().filter_map(|word| word.parse().ok()).collect();
    for nodes in if asked.is_empty() { vec![6, 100, 1000] } else { asked } {
        runtime.block_on(figures(nodes));
    }
}

async fn figures(nodes: usize) {
    let (latency, jitter) = CLOUD;
    let options = Options { latency, jitter, instance_quota: 10_000, buckets: Some(1.0), ..Options::default() };
    let cloud = FakeCloud::with("us-east-1", options);
    cloud.plant_zone("k8s.example.com", false);
    let clock = Arc::new(VirtualClock::new());
    let store = Arc::new(Counting { inner: MemoryObjects::new(clock.clone()), counts: Mutex::default() });
    let env = env(&cloud, &store, &clock);
    for (name, size) in [("create", nodes), ("10 % more", nodes + nodes.div_ceil(10))] {
        let text = spec_text(size, 3);
        let file = SpecFile { file: "bench.toml".into(), bytes: text.clone().into_bytes(), cluster: load(&text) };
        let request = UpdateRequest { name: None, spec: Some(file), create: name == "create", saved: None };
        let plan = prepare_update(&env, &request).await.expect("a plan").plan;
        store.counts().clear();
        let cpu = support::thread_cpu();
        let done = apply_update(&env, &request, Arc::new(|_| {}), CancellationToken::new(), &|_| {}).await.expect("a report");
        let cpu = support::thread_cpu().saturating_sub(cpu).as_secs_f64();
        assert!(done.outcome.is_complete(), "{:?}", done.outcome.failed);
        let (depth, counts) = (depth(&plan), store.counts());
        let per = |writes: usize| format!("{:.2}", writes as f64 / depth as f64);
        let (intents, states, mib) = (counts.intents, counts.states, counts.bytes as f64 / f64::from(1 << 20));
        println!(
            "{size:>6}  {name:<10} {:>8} {depth:>6} {intents:>8} {:>8} {states:>8} {:>8} {mib:>9.1} {:>8.1}s {cpu:>8.1}s",
            plan.actions.len(),
            per(intents),
            per(states),
            done.seconds
        );
    }
}

/// Actions of the longest chain in which each waits for the one before.
fn depth(plan: &Plan) -> usize {
    let mut depths: BTreeMap<&str, usize> = BTreeMap::new();
    // Each pass settles at least one more link of every chain.
    loop {
        let mut changed = false;
        for action in &plan.actions {
            let before = action.after.iter().filter_map(|id| depths.get(id.as_str())).max().unwrap_or(&0);
            let depth = before + 1;
            changed |= depths.insert(&action.id, depth) != Some(depth);
        }
        if !changed {
            return depths.into_values().max().unwrap_or(0);
        }
    }
}

fn env(cloud: &FakeCloud, store: &Arc<Counting>, clock: &Arc<VirtualClock>) -> Env {
    let (cloud, nodes) = (cloud.clone(), FakeNodes::new());
    Env {
        objects: store.clone(),
        connect: Arc::new(move |_| {
            let cloud = Arc::new(cloud.clone()) as Arc<dyn Cloud>;
            Box::pin(async move { Ok(cloud) })
        }),
        make_nodes: Arc::new(move |_, _| Arc::new(nodes.clone())),
        resolver: Arc::new(FakeResolver(Ok(vec!["ns-0.awsdns-fake.example.".into()]))),
        clock: clock.clone(),
        ids: Arc::new(CountingIds::default()),
        by: "bench@localhost".into(),
        host: "localhost".into(),
        pid: 1,
        process_exists: |_| Some(false),
        command: "update --yes".into(),
        settle: Duration::from_secs(60),
        node_limit: 32,
        lock: LockManners::default(),
        hold: None,
    }
}

/// A store that takes its time and counts writes of states.
struct Counting {
    inner: MemoryObjects,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    states: usize,
    /// Those with an intent that was in none before.
    intents: usize,
    bytes: usize,
    seen: BTreeSet<String>,
}

impl Counts {
    fn clear(&mut self) {
        *self = Self::default();
    }

    fn state(&mut self, bytes: &[u8]) {
        self.states += 1;
        self.bytes += bytes.len();
        // Only this part of what may be megabytes.
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let Some((_, rest)) = text.split_once("\"intents\":") else { return };
        let part = serde_json::Deserializer::from_str(rest).into_iter::<BTreeMap<String, serde::de::IgnoredAny>>().next();
        let before = self.seen.len();
        self.seen.extend(part.and_then(Result::ok).into_iter().flat_map(BTreeMap::into_keys));
        self.intents += usize::from(self.seen.len() > before);
    }
}

impl Counting {
    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Objects for Counting {
    async fn get(&self, key: &str) -> Result<Option<Object>, ObjectError> {
        tokio::time::sleep(STORE).await;
        self.inner.get(key).await
    }

    async fn put(&self, key: &str, bytes: Vec<u8>, condition: Condition) -> Result<Version, ObjectError> {
        if key.ends_with("/state.json") {
            self.counts().state(&bytes);
        }
        tokio::time::sleep(STORE).await;
        self.inner.put(key, bytes, condition).await
    }

    async fn delete(&self, key: &str, condition: Condition) -> Result<(), ObjectError> {
        tokio::time::sleep(STORE).await;
        self.inner.delete(key, condition).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, ObjectError> {
        self.inner.list(prefix).await
    }

    async fn now(&self) -> Result<jiff::Timestamp, ObjectError> {
        self.inner.now().await
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    async fn some(&self) -> Result<Vec<String>, ObjectError> {
        self.inner.some().await
    }

    async fn history(&self, key: &str, limit: usize) -> Result<Vec<Object>, ObjectError> {
        self.inner.history(key, limit).await
    }

    async fn keeps_history(&self) -> Option<bool> {
        self.inner.keeps_history().await
    }
}
