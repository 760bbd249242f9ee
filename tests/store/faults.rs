//! Every write of a run, with every fault: nothing is lost, nothing is doubled, and no run locks itself out.

use std::sync::Arc;
use std::time::Duration;

use kubewright::clock::Clock;
use kubewright::secret::Secret;
use kubewright::store::memory::Fault;
use kubewright::store::{Condition, MemoryObjects, Objects, Recorder, StoreError, Version};
use libtest_mimic::Trial;

use super::rig::{VirtualClock, mark, marked, owner, paused, state, store, trial};

const OLD_SPEC: &[u8] = b"name = \"demo\"";
const SPEC: &[u8] = b"name = \"demo\"\nkubernetes = \"1.34.2\"";
const MARKS: [&str; 4] = ["a-1", "b-1", "c-1", "d-1"];

pub fn add(trials: &mut Vec<Trial>) {
    trials.push(trial("faults::a_run_survives_every_passing_fault_at_every_write", || paused(every_passing_fault())));
    trials.push(trial("faults::a_run_survives_two_faults_in_a_row", || paused(two_in_a_row())));
    trials.push(trial("faults::a_run_survives_a_fault_at_all_writes", || paused(at_all_writes())));
    trials.push(trial("faults::the_next_run_goes_on_after_every_error_and_crash", || paused(next_run_goes_on())));
    trials.push(trial("faults::a_deletion_survives_every_passing_fault", || paused(deletion())));
    trials.push(trial("faults::concurrent_updates_share_one_write", || paused(one_write())));
    trials.push(trial("faults::after_a_loss_nothing_is_even_tried", || paused(nothing_is_tried())));
    trials.push(trial("faults::a_full_disk_does_not_end_recording", || paused(full_disk_passes())));
    trials.push(trial("faults::a_dropped_save_does_not_lose_the_state", || paused(dropped_save())));
}

fn passing() -> [Fault; 6] {
    let delay = Fault::Delay(Duration::from_secs(3));
    [Fault::LostAnswer, Fault::OwnRetry, Fault::LostRequest, Fault::Late, Fault::Busy, delay]
}

fn world() -> (Arc<MemoryObjects>, Arc<dyn Clock>) {
    let clock: Arc<dyn Clock> = VirtualClock::new();
    (Arc::new(MemoryObjects::new(clock.clone())), clock)
}

/// A run as `create cluster --yes` makes it, able to go on where an earlier one stopped.
async fn run(memory: &Arc<MemoryObjects>, clock: &Arc<dyn Clock>, by: &str) -> Result<(), StoreError> {
    let objects: Arc<dyn Objects> = memory.clone();
    let store = store(&objects, clock.clone(), by);
    let lock = store.acquire(&owner(by)).await?;
    if store.latest().await?.is_none_or(|(_, spec)| spec != SPEC) {
        store.register(OLD_SPEC).await?;
    }
    let held = match store.load().await? {
        Some(held) => held,
        None => {
            let mut held = store.first(state()).await?;
            store.save(&mut held).await?;
            held
        }
    };
    let recorder = Recorder::new(store.clone(), held);
    for name in &MARKS[..2] {
        recorder.update(|state| mark(state, name)).await?;
    }
    // Long enough for heartbeats.
    clock.wait(Duration::from_secs(25)).await;
    store.put_secret("ca.key", &Secret::new("key")).await?;
    store.register(SPEC).await?;
    for name in &MARKS[2..] {
        recorder.update(|state| mark(state, name)).await?;
    }
    if let Some(error) = lock.broken() {
        return Err(error);
    }
    lock.release().await
}

async fn assert_complete(memory: &Arc<MemoryObjects>, clock: &Arc<dyn Clock>, what: &str) {
    let objects: Arc<dyn Objects> = memory.clone();
    let store = store(&objects, clock.clone(), "reader@host");
    let held = store.load().await.expect(what).expect(what);
    assert!(MARKS.iter().all(|name| marked(&held.state, name)), "{what}: a record is lost");
    let keys: Vec<String> = memory.dump().into_keys().collect();
    let right =
        ["demo/revisions/0001.toml", "demo/revisions/0002.toml", "demo/secrets/ca.key", "demo/spec.toml", "demo/state.json"];
    assert_eq!(keys, right, "{what}");
    assert_eq!(store.latest().await, Ok(Some((2, SPEC.to_vec()))), "{what}");
    assert_eq!(memory.dump().get("demo/spec.toml").map(Vec::as_slice), Some(SPEC), "{what}");
}

async fn writes_of_a_run() -> u64 {
    let (memory, clock) = world();
    run(&memory, &clock, "ops@host").await.expect("no fault");
    assert_complete(&memory, &clock, "no fault").await;
    assert!(memory.writes() > 12, "{}", memory.writes());
    memory.writes()
}

async fn every_passing_fault() {
    for number in 1..=writes_of_a_run().await {
        for fault in passing() {
            let what = format!("{fault:?} at write {number}");
            let (memory, clock) = world();
            memory.fault(number, fault);
            run(&memory, &clock, "ops@host").await.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_complete(&memory, &clock, &what).await;
        }
    }
}

async fn two_in_a_row() {
    for number in 1..=writes_of_a_run().await {
        for first in passing() {
            for second in passing() {
                let what = format!("{first:?} at write {number}, then {second:?}");
                let (memory, clock) = world();
                memory.fault(number, first.clone());
                memory.fault(number + 1, second);
                run(&memory, &clock, "ops@host").await.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_complete(&memory, &clock, &what).await;
            }
        }
    }
}

async fn at_all_writes() {
    for fault in passing() {
        let (memory, clock) = world();
        memory.always(Some(fault.clone()));
        let done = run(&memory, &clock, "ops@host").await;
        if [Fault::LostRequest, Fault::Busy].contains(&fault) {
            // Nothing ever arrives: it ends, with an error that says so.
            assert!(matches!(done, Err(StoreError::NoAnswer { .. })), "{fault:?}: {done:?}");
            assert!(memory.dump().is_empty());
        } else {
            done.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
            assert_complete(&memory, &clock, &format!("{fault:?} always")).await;
        }
    }
}

async fn next_run_goes_on() {
    let crashes = [Fault::Denied, Fault::Full, Fault::Hang { done: false }, Fault::Hang { done: true }];
    for number in 1..=writes_of_a_run().await {
        for fault in crashes.clone() {
            let what = format!("{fault:?} at write {number}");
            let (memory, clock) = world();
            memory.fault(number, fault);
            // A heartbeat that fails or hangs does not end a run.
            let ended = tokio::time::timeout(Duration::from_secs(3600), run(&memory, &clock, "ops@host")).await;
            if !matches!(ended, Ok(Ok(()))) {
                let objects: Arc<dyn Objects> = memory.clone();
                store(&objects, clock.clone(), "next@host").lock_break().await.unwrap_or_else(|error| panic!("{what}: {error}"));
                run(&memory, &clock, "next@host").await.unwrap_or_else(|error| panic!("{what}: {error}"));
            }
            assert_complete(&memory, &clock, &what).await;
        }
    }
}

async fn deletion() {
    let mut writes = None;
    for number in 0.. {
        if writes.is_some_and(|writes| number > writes) {
            break;
        }
        for fault in passing() {
            let what = format!("{fault:?} at write {number} of the deletion");
            let (memory, clock) = world();
            run(&memory, &clock, "ops@host").await.expect("a cluster");
            let before = memory.writes();
            if number > 0 {
                memory.fault(before + number, fault);
            }
            let objects: Arc<dyn Objects> = memory.clone();
            let store = store(&objects, clock.clone(), "ops@host");
            let lock = store.acquire(&owner("ops@host")).await.expect(&what);
            let held = store.load().await.expect(&what);
            store.forget(held.as_ref(), true).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            lock.release().await.unwrap_or_else(|error| panic!("{what}: {error}"));
            let left: Vec<String> = memory.dump().into_keys().collect();
            assert_eq!(left, ["demo/revisions/0001.toml", "demo/revisions/0002.toml"], "{what}");
            writes.get_or_insert(memory.writes() - before);
        }
    }
}

async fn one_write() {
    let (memory, clock) = world();
    let objects: Arc<dyn Objects> = memory.clone();
    let store = store(&objects, clock, "ops@host");
    let held = store.first(state()).await.expect("first");
    memory.always(Some(Fault::Delay(Duration::from_millis(100))));
    let recorder = Recorder::new(store.clone(), held);
    let updates = (0..100).map(|n| recorder.update(move |state| mark(state, &format!("r{n}"))));
    for done in futures::future::join_all(updates).await {
        assert_eq!(done, Ok(()));
    }
    assert_eq!(memory.writes(), 2, "one for the first update, one for all that came meanwhile");
    let stored = store.load().await.expect("load").expect("a state").state;
    assert!((0..100).all(|n| marked(&stored, &format!("r{n}"))));
}

async fn nothing_is_tried() {
    let (memory, clock) = world();
    let objects: Arc<dyn Objects> = memory.clone();
    let ours = store(&objects, clock.clone(), "ops@host");
    let mut held = ours.first(state()).await.expect("first");
    ours.save(&mut held).await.expect("save");
    let recorder = Recorder::new(ours.clone(), held);
    let theirs = store(&objects, clock, "eve@laptop");
    theirs.save(&mut theirs.load().await.expect("load").expect("a state")).await.expect("save");
    let updates = (0..10).map(|n| recorder.update(move |state| mark(state, &format!("r{n}"))));
    for done in futures::future::join_all(updates).await {
        assert!(matches!(&done, Err(StoreError::Lost { by, .. }) if by == "eve@laptop"), "{done:?}");
    }
    assert!(recorder.fence().is_some());
    let writes = memory.writes();
    assert!(recorder.update(|_| ()).await.is_err());
    assert_eq!(memory.writes(), writes);
}

async fn full_disk_passes() {
    for fault in [Fault::Full, Fault::Denied, Fault::LostRequest] {
        let (memory, clock) = world();
        let objects: Arc<dyn Objects> = memory.clone();
        let store = store(&objects, clock, "ops@host");
        let held = store.first(state()).await.expect("first");
        let recorder = Recorder::new(store.clone(), held);
        memory.always(Some(fault));
        let error = recorder.update(|state| mark(state, "a-1")).await.expect_err("not stored");
        assert!(!error.is_fenced());
        memory.always(None);
        recorder.update(|state| mark(state, "b-1")).await.expect("room again");
        let stored = store.load().await.expect("load").expect("a state").state;
        assert!(marked(&stored, "a-1") && marked(&stored, "b-1"));
    }
}

async fn dropped_save() {
    for done in [false, true] {
        let (memory, clock) = world();
        let objects: Arc<dyn Objects> = memory.clone();
        let store = store(&objects, clock, "ops@host");
        let held = store.first(state()).await.expect("first");
        let recorder = Recorder::new(store.clone(), held);
        recorder.update(|state| mark(state, "a-1")).await.expect("stored");
        memory.fault(memory.writes() + 1, Fault::Hang { done });
        let dropped = tokio::time::timeout(Duration::from_secs(5), recorder.update(|state| mark(state, "b-1"))).await;
        assert!(dropped.is_err());
        recorder.update(|state| mark(state, "c-1")).await.expect("ours was the last write");
        let stored = store.load().await.expect("load").expect("a state").state;
        assert!(["a-1", "b-1", "c-1"].iter().all(|name| marked(&stored, name)));
    }
    // The double itself keeps its word.
    let (memory, _) = world();
    memory.fault(1, Fault::LostRequest);
    assert!(memory.put("k", vec![], Condition::Absent).await.is_err());
    assert!(memory.put("k", vec![], Condition::Is(Version("1".into()))).await.is_err());
    assert!(memory.dump().is_empty());
}
