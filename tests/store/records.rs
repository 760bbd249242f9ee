//! Records of a large cluster: those that come close together share a write, and none is told as stored that is not.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use kubewright::clock::Clock;
use kubewright::recorded::State;
use kubewright::store::memory::Fault;
use kubewright::store::{MemoryObjects, Objects, Recorder, StoreError};
use libtest_mimic::Trial;
use tokio::time::Instant;

use super::rig::{VirtualClock, mark, marked, paused, state, store, trial};

/// So many bytes of a state may be written in a second, the first save aside.
const BYTES_PER_SECOND: usize = 1 << 20;

pub fn add(trials: &mut Vec<Trial>) {
    trials.push(trial("records::of_a_small_state_are_stored_at_once", || paused(at_once())));
    trials.push(trial("records::of_a_large_state_share_writes_and_are_stored_when_told_so", || paused(shared())));
    trials.push(trial("records::after_a_quiet_while_nothing_waits", || paused(quiet())));
    trials.push(trial("records::that_share_a_write_share_its_error", || paused(one_error())));
    trials.push(trial("records::that_wait_are_refused_when_the_state_is_lost", || paused(lost())));
    trials.push(trial("records::are_not_lost_with_who_waits_to_save_them", || paused(dropped())));
}

struct Site {
    memory: Arc<MemoryObjects>,
    clock: Arc<dyn Clock>,
    recorder: Recorder,
}

impl Site {
    /// With a state of so many resources that has been saved a moment ago.
    async fn new(resources: usize) -> Self {
        let clock: Arc<dyn Clock> = VirtualClock::new();
        let memory = Arc::new(MemoryObjects::new(clock.clone()));
        let objects: Arc<dyn Objects> = memory.clone();
        let store = store(&objects, clock.clone(), "ops@host");
        let mut state = state();
        (0..resources).for_each(|n| mark(&mut state, &format!("before-{n}")));
        let recorder = Recorder::new(store.clone(), store.first(state).await.expect("first"));
        recorder.update(|_| ()).await.expect("the first save");
        Self { memory, clock, recorder }
    }

    async fn large() -> Self {
        let site = Self::new(1_000).await;
        assert!(site.size() > 128 << 10, "{} bytes", site.size());
        site
    }

    fn size(&self) -> usize {
        self.memory.dump().get("demo/state.json").map_or(0, Vec::len)
    }

    async fn stored(&self) -> State {
        let objects: Arc<dyn Objects> = self.memory.clone();
        store(&objects, self.clock.clone(), "reader@host").load().await.expect("load").expect("a state").state
    }

    async fn record(&self, name: &str) -> Result<(), StoreError> {
        self.recorder.update(|state| mark(state, name)).await
    }
}

async fn at_once() {
    let site = Site::new(0).await;
    let (begun, before) = (Instant::now(), site.memory.writes());
    for n in 0..20 {
        site.record(&format!("r{n}")).await.expect("stored");
        assert_eq!(site.memory.writes(), before + n + 1);
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waited");
}

async fn shared() {
    let site = Site::large().await;
    let (begun, before, size) = (Instant::now(), site.memory.writes(), site.size());
    let records = (0..100).map(|n| {
        let site = &site;
        async move {
            site.clock.wait(Duration::from_millis(40 * n)).await;
            let name = format!("r{n}");
            site.record(&name).await.expect("stored");
            assert!(marked(&site.stored().await, &name), "{name} was told as stored");
        }
    });
    join_all(records).await;
    let (writes, seconds) = ((site.memory.writes() - before) as usize, begun.elapsed().as_secs_f64());
    assert!(writes > 1 && writes * size <= (seconds * BYTES_PER_SECOND as f64) as usize + size, "{writes} writes");
    assert!(seconds < 5.0, "records came for 4 s, and the last one was stored after {seconds} s");
}

async fn quiet() {
    let site = Site::large().await;
    for n in 0..3 {
        site.clock.wait(Duration::from_secs(10)).await;
        let begun = Instant::now();
        site.record(&format!("r{n}")).await.expect("stored");
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}

async fn one_error() {
    for fault in [Fault::Full, Fault::Denied] {
        let site = Site::large().await;
        let before = site.memory.writes();
        site.memory.fault(before + 1, fault);
        let names: Vec<String> = (0..20).map(|n| format!("r{n}")).collect();
        let done = join_all(names.iter().map(|name| site.record(name))).await;
        let error = done[0].clone().expect_err("not stored");
        assert!(done.iter().all(|done| done.as_ref() == Err(&error)), "{done:?}");
        assert_eq!(site.memory.writes(), before + 1, "one try for all");
        let after = site.stored().await;
        assert!(!names.iter().any(|name| marked(&after, name)));
        site.record("later").await.expect("stored");
        let stored = site.stored().await;
        assert!(names.iter().all(|name| marked(&stored, name)), "the next save carries them along");
    }
}

async fn lost() {
    let site = Site::large().await;
    let objects: Arc<dyn Objects> = site.memory.clone();
    let theirs = store(&objects, site.clock.clone(), "eve@laptop");
    let names: Vec<String> = (0..20).map(|n| format!("r{n}")).collect();
    let records = join_all(names.iter().map(|name| site.record(name)));
    // While they wait for each other.
    let taken = async { theirs.save(&mut theirs.load().await.expect("load").expect("a state")).await.expect("save") };
    let (done, ()) = tokio::join!(records, taken);
    assert!(done.iter().all(|done| matches!(done, Err(StoreError::Lost { by, .. }) if by == "eve@laptop")), "{done:?}");
    let writes = site.memory.writes();
    assert!(site.record("later").await.is_err());
    assert_eq!(site.memory.writes(), writes, "nothing is tried after a loss");
    let stored = site.stored().await;
    assert!(!names.iter().any(|name| marked(&stored, name)));
}

async fn dropped() {
    let site = Site::large().await;
    let before = site.memory.writes();
    let cut = tokio::time::timeout(Duration::from_millis(1), site.record("cut")).await;
    assert!(cut.is_err(), "it waits for others");
    assert_eq!(site.memory.writes(), before);
    site.record("next").await.expect("stored");
    let stored = site.stored().await;
    assert!(marked(&stored, "cut") && marked(&stored, "next"));
}
