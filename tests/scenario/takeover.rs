//! A run that is paused, and another one that takes its lock: what the first may still do when it wakes up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use kubewright::cli::outside::Outside;
use kubewright::cli::ui::Streams;
use kubewright::clock::Clock;
use kubewright::cloud::Cloud;
use kubewright::operation::{Ask, Env, Guarded, OperationError};
use kubewright::store::lock::STALE;
use kubewright::store::{Condition, Location, Object, ObjectError, Objects, Version};

use crate::world::*;

/// Writes of the store and changes of the account are numbered together; at one of them the run stands still: that call, and whatever
/// else of it wants to reach the store or to change the account, its heartbeat too.
struct Gate {
    passed: AtomicU64,
    at: u64,
    shut: AtomicBool,
    reached: Notify,
    open: watch::Sender<bool>,
    /// The key of the write that stands at the gate; empty: a change of the account.
    stands: Mutex<String>,
    /// Changes of the account that were sent, carried out or not.
    sent: AtomicU64,
}

impl Gate {
    fn new(at: u64) -> Arc<Self> {
        Arc::new(Self {
            passed: AtomicU64::new(0),
            at,
            shut: AtomicBool::new(false),
            reached: Notify::new(),
            open: watch::channel(false).0,
            stands: Mutex::default(),
            sent: AtomicU64::new(0),
        })
    }

    async fn pass(&self, write: Option<&str>) {
        if let Some(key) = write
            && self.passed.fetch_add(1, Ordering::Relaxed) + 1 == self.at
        {
            key.clone_into(&mut self.stands.lock().unwrap());
            self.shut.store(true, Ordering::Relaxed);
            self.reached.notify_one();
        }
        if self.shut.load(Ordering::Relaxed) {
            self.open.subscribe().wait_for(|open| *open).await.unwrap();
        }
    }
}

struct GatedObjects {
    inner: Arc<dyn Objects>,
    gate: Arc<Gate>,
}

#[async_trait]
impl Objects for GatedObjects {
    async fn get(&self, key: &str) -> Result<Option<Object>, ObjectError> {
        self.gate.pass(None).await;
        self.inner.get(key).await
    }

    async fn put(&self, key: &str, bytes: Vec<u8>, condition: Condition) -> Result<Version, ObjectError> {
        self.gate.pass(Some(key)).await;
        self.inner.put(key, bytes, condition).await
    }

    async fn delete(&self, key: &str, condition: Condition) -> Result<(), ObjectError> {
        self.gate.pass(Some(key)).await;
        self.inner.delete(key, condition).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, ObjectError> {
        self.gate.pass(None).await;
        self.inner.list(prefix).await
    }

    async fn now(&self) -> Result<Timestamp, ObjectError> {
        self.gate.pass(None).await;
        self.inner.now().await
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

/// The same world, to a run that can be paused.
struct Pausable<'a> {
    world: &'a World,
    gate: Arc<Gate>,
}

#[async_trait]
impl Outside for Pausable<'_> {
    async fn env(&self, state: &Location, command: &str) -> Result<Env, OperationError> {
        let env = self.world.env(state, command).await?;
        let (connect, gate) = (env.connect.clone(), self.gate.clone());
        let objects = Arc::new(GatedObjects { inner: env.objects.clone(), gate: gate.clone() });
        let connect: kubewright::operation::Connect = Arc::new(move |region| {
            let (connect, gate) = (connect.clone(), gate.clone());
            Box::pin(async move {
                let ask: Ask = Arc::new(move |_| {
                    let gate = gate.clone();
                    Box::pin(async move {
                        gate.sent.fetch_add(1, Ordering::Relaxed);
                        gate.pass(Some("")).await;
                        Ok(())
                    })
                });
                Ok(Arc::new(Guarded::new(connect(region).await?, ask)) as Arc<dyn Cloud>)
            })
        });
        Ok(Env { objects, connect, ..env })
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.world.clock()
    }

    fn home(&self) -> Option<PathBuf> {
        self.world.home()
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.world.variable(name)
    }

    async fn interrupted(&self) {
        self.world.interrupted().await;
    }
}

async fn run_on(outside: &dyn Outside, args: &[&str]) -> Ran {
    let (streams, captured) = Streams::captured();
    let code = kubewright::cli::run(args, streams, outside).await;
    Ran { command: args.join(" "), code, out: captured.out.text(), err: captured.err.text() }
}

/// Tags, one machine more, other rules of the firewall.
fn changed() -> String {
    let text = edit(SMALL, "schema = 1\n", "schema = 1\ntags = { a = \"b\" }\n");
    let text = edit(&text, "count = 1\nmachine_type = \"t3.large\"", "count = 2\nmachine_type = \"t3.large\"");
    text.replace("203.0.113.0/24", "198.51.100.0/24")
}

struct Start {
    cloud: kubewright::cloud::fake::FakeCloud,
    stored: BTreeMap<String, Vec<u8>>,
    like: World,
}

impl Start {
    /// Nothing, or a cluster of [`SMALL`].
    async fn of(exists: bool) -> Self {
        let like = World::new();
        if exists {
            like.create(SMALL).await;
        }
        Self { cloud: like.cloud.fork(), stored: like.dump().await, like }
    }

    async fn world(&self) -> World {
        let world = World { cloud: self.cloud.fork(), ids: self.like.ids.clone(), ..World::new() };
        world.restore(&self.stored).await;
        *world.nodes.marks.lock().unwrap() = self.like.nodes.marks.lock().unwrap().clone();
        world
    }
}

fn args(stage: &str, world: &World) -> Vec<String> {
    let text = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    match stage {
        "create" => text(&["create", "cluster", "-f", &world.spec(SMALL), "--yes"]),
        "update" => text(&["update", "-f", &world.spec(&changed()), "--yes"]),
        _ => text(&["delete", "cluster", NAME, "--yes"]),
    }
}

fn words(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// `first` is paused at each of its points, `second` is run meanwhile, and then the first goes on.
async fn sweep(first: &str, second: &str) {
    let start = Start::of(first != "create").await;
    let calm = start.world().await;
    let gate = Gate::new(0);
    let count = {
        let _ = run_on(&Pausable { world: &calm, gate: gate.clone() }, &words(&args(first, &calm))).await.expect(0);
        gate.passed.load(Ordering::Relaxed)
    };
    let direct = start.world().await;
    if second != "delete" || first == "delete" {
        let _ = direct.run(&words(&args(second, &direct))).await.expect(0);
    }
    let shape = if second == "delete" { World::new().account() } else { direct.account() };
    let (mut taken, mut sent, mut points) = (0, 0, 0);
    for n in 1..=count {
        let what = format!("{first} paused at {n} of {count}, {second}");
        let world = start.world().await;
        let gate = Gate::new(n);
        let paused = Pausable { world: &world, gate: gate.clone() };
        let first_args = args(first, &world);
        let first_words = words(&first_args);
        let mut run = pin!(run_on(&paused, &first_words));
        tokio::select! {
            biased;
            () = gate.reached.notified() => {}
            ran = &mut run => panic!("{what}: it ended\n{ran}"),
        }
        points += 1;
        let on_their_way = gate.sent.load(Ordering::Relaxed) - changes(&world.cloud.log()).len() as u64;
        tokio::time::sleep(STALE + Duration::from_secs(1)).await;
        let held = world.dump().await.keys().any(|key| key.ends_with("lock.json"));
        let second_args = args(second, &world);
        let ran = world.run(&words(&second_args)).await;
        let over = ran.err.contains("took over the lock of ops@build-7 (pid 42), silent for 1 min");
        let nothing_there = ["there is no cluster", "exists already"].iter().any(|text| ran.err.contains(text));
        assert!(ran.code == 0 || nothing_there, "{what}\n{ran}");
        assert!(over == held || nothing_there, "{what}: lock held: {held}\n{ran}");
        taken += u64::from(over);
        let (stored, calls) = (world.dump().await, world.cloud.log().len());
        gate.open.send_replace(true);
        let woken = tokio::time::timeout(Duration::from_secs(3 * 3600), run).await.unwrap_or_else(|_| panic!("{what}: it hangs"));
        if over {
            let mut after = world.dump().await;
            // On its way as well: a revision has a number of its own; keys, a first spec and a first state are stored where there are none.
            let stands = gate.stands.lock().unwrap().clone();
            let makes = ["/revisions/", "/secrets/", "/spec.toml", "/state.json"].iter().any(|name| stands.contains(name));
            if makes && !stored.contains_key(&stands) {
                after.remove(&stands);
            }
            assert_eq!(after, stored, "{what}: the old holder wrote to the store: {stands}\n{woken}");
            let late = changes(&world.cloud.log()[calls..]);
            assert!(
                late.len() as u64 <= on_their_way,
                "{what}: {on_their_way} calls were on their way, then came {late:?}\n{woken}"
            );
            sent += late.len();
        }
        // What was on its way may have left a twin, or set an old value: the next run takes it away.
        let mend = if second == "delete" { vec!["delete", "cluster", NAME, "--yes"] } else { vec!["update", "--yes"] };
        let mended = world.run(&mend).await;
        assert!(mended.code == 0 || second == "delete" && mended.err.contains("there is no cluster"), "{what}\n{mended}");
        let mut account = world.account();
        if second == "delete" && on_their_way > 0 {
            // A record has no tags by which a delete could find it once the state is gone.
            account.retain(|line| !(line.starts_with("record ") && line.contains(NAME)));
        }
        assert_eq!(account, shape, "{what}");
        if second != "delete" {
            let _ = world.settled().await;
        }
    }
    println!("{first} paused, {second}: {points} points, {taken} takeovers, {sent} calls that were on their way");
    assert!(taken > points / 2, "{taken} of {points}");
}

#[tokio::test(start_paused = true)]
async fn a_paused_create_that_was_taken_over_writes_nothing_and_starts_nothing() {
    sweep("create", "create").await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_update_that_was_taken_over_writes_nothing_and_starts_nothing() {
    sweep("update", "update").await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_delete_that_was_taken_over_writes_nothing_and_starts_nothing() {
    sweep("delete", "delete").await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_create_cannot_bring_back_a_cluster_that_was_deleted_meanwhile() {
    sweep("create", "delete").await;
}

/// The new run wants something else.
#[tokio::test(start_paused = true)]
async fn a_paused_update_cannot_bring_back_a_cluster_that_was_deleted_meanwhile() {
    sweep("update", "delete").await;
}
