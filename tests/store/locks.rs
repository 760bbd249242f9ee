//! The lock over time: heartbeats, staleness, breaking, and what people are told.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kubewright::clock::Clock;
use kubewright::store::lock::{HEARTBEAT, LEASE, STALE};
use kubewright::store::memory::Fault;
use kubewright::store::{Condition, MemoryObjects, Objects, StoreError};
use libtest_mimic::Trial;

use super::rig::{VirtualClock, owner, paused, state, store, trial};

pub fn add(trials: &mut Vec<Trial>) {
    trials.push(trial("locks::a_heartbeat_keeps_a_lock_fresh", || paused(stays_fresh())));
    trials.push(trial("locks::a_dead_holder_is_named_and_broken_by_one_command", || paused(dead_holder())));
    trials.push(trial("locks::a_holder_notices_that_its_lock_was_broken", || paused(notices())));
    trials.push(trial("locks::a_heartbeat_outlives_an_outage", || paused(outage())));
    trials.push(trial("locks::a_late_heartbeat_does_not_break_its_own_lock", || paused(late_heartbeat())));
    trials.push(trial("locks::age_is_judged_by_the_clock_of_the_store", || paused(clock_of_the_store())));
    trials.push(trial("locks::who_was_asleep_asks_the_store_first", || paused(asleep())));
    trials.push(trial("locks::a_damaged_lock_is_a_lock", || paused(damaged())));
}

fn world() -> (Arc<MemoryObjects>, Arc<dyn Objects>, Arc<dyn Clock>) {
    let clock: Arc<dyn Clock> = VirtualClock::new();
    let memory = Arc::new(MemoryObjects::new(clock.clone()));
    (memory.clone(), memory, clock)
}

async fn stays_fresh() {
    let (_, objects, clock) = world();
    let store = store(&objects, clock.clone(), "ops@build-7");
    let lock = store.acquire(&owner("ops@build-7")).await.expect("acquire");
    for minute in 1..=30 {
        clock.wait(Duration::from_secs(60)).await;
        let status = store.lock_status().await.expect("status").expect("held");
        assert!(!status.stale && status.heartbeat_age <= HEARTBEAT, "{status:?}");
        assert_eq!(status.age, Some(Duration::from_secs(60 * minute)));
    }
    lock.release().await.expect("release");
    clock.wait(Duration::from_secs(60)).await;
    assert_eq!(store.lock_status().await, Ok(None), "a heartbeat after the release");
}

async fn dead_holder() {
    let (_, objects, clock) = world();
    let store = store(&objects, clock.clone(), "new@laptop");
    drop(store.acquire(&owner("eve\u{1b}[2J@build-7")).await.expect("acquire"));
    clock.wait(STALE - Duration::from_secs(1)).await;
    let young = store.acquire(&owner("new@laptop")).await.err().expect("held");
    assert_eq!(young.exit_code(), 4);
    let text = young.to_string();
    for part in [
        "demo is locked by another run",
        "where     memory:///demo/lock.json",
        "@build-7 (pid 4242 on build-7)",
        "command   update demo --yes",
        "since     2026-11-21 09:12:00Z (59 s ago)",
        "heartbeat 59 s ago\n",
        "lock status demo",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert!(!text.replace('\n', "").chars().any(char::is_control), "{text:?}");

    clock.wait(Duration::from_secs(121)).await;
    let old = store.acquire(&owner("new@laptop")).await.err().expect("held");
    let text = old.to_string();
    for part in
        ["heartbeat 3 min 0 s ago; that run has probably died", "next      run the same command again; it takes the lock over"]
    {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert!(store.lock_break().await.expect("break").expect("a lock").stale);
    store.acquire(&owner("new@laptop")).await.expect("free").release().await.expect("release");
}

async fn notices() {
    let (memory, objects, clock) = world();
    let old = store(&objects, clock.clone(), "old@host");
    let new = store(&objects, clock.clone(), "new@host");
    for taken_over in [false, true] {
        let lock = old.acquire(&owner("old@host")).await.expect("acquire");
        assert_eq!(lock.broken(), None);
        new.lock_break().await.expect("break").expect("a lock");
        let other = if taken_over { Some(new.acquire(&owner("new@host")).await.expect("acquire")) } else { None };
        let error = tokio::time::timeout(HEARTBEAT * 2, lock.until_broken()).await.expect("a heartbeat notices");
        let by = taken_over.then(|| "new@host".to_owned());
        assert!(matches!(&error, StoreError::LockBroken { by: found, .. } if *found == by), "{error}");
        let writes = memory.writes();
        let others = u64::from(taken_over);
        clock.wait(HEARTBEAT + Duration::from_secs(1)).await;
        assert!(memory.writes() <= writes + 2 * others, "it goes on beating");
        assert!(lock.release().await.is_err());
        assert_eq!(new.lock_status().await.expect("status").is_some(), taken_over, "released what is somebody else's");
        if let Some(other) = other {
            other.release().await.expect("release");
        }
    }
}

async fn outage() {
    let rounds = [Fault::LostAnswer, Fault::OwnRetry, Fault::LostRequest, Fault::Late, Fault::Busy, Fault::Denied, Fault::Full];
    for fault in rounds {
        let (memory, objects, clock) = world();
        let store = store(&objects, clock.clone(), "ops@build-7");
        let lock = store.acquire(&owner("ops@build-7")).await.expect("acquire");
        memory.always(Some(fault.clone()));
        clock.wait(Duration::from_secs(300)).await;
        memory.always(None);
        clock.wait(Duration::from_secs(30)).await;
        assert_eq!(lock.broken(), None, "{fault:?}");
        let status = store.lock_status().await.expect("status").expect("held");
        assert!(!status.stale, "{fault:?}: {status:?}");
        lock.release().await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(store.lock_status().await, Ok(None));
    }
}

/// A heartbeat that was given up and arrives after all, just before the next one.
async fn late_heartbeat() {
    let (memory, objects, clock) = world();
    let store = store(&objects, clock.clone(), "ops@build-7");
    let lock = store.acquire(&owner("ops@build-7")).await.expect("acquire");
    let attempts = 6;
    for number in 2..2 + attempts - 1 {
        memory.fault(number, Fault::LostRequest);
    }
    memory.fault(1 + attempts, Fault::Late);
    clock.wait(Duration::from_secs(120)).await;
    assert!(memory.writes() > 1 + attempts);
    assert_eq!(lock.broken(), None);
    lock.release().await.expect("release");
    assert_eq!(store.lock_status().await, Ok(None));
}

/// A machine whose clock is wrong.
struct Skewed(Arc<dyn Clock>, SignedDuration);

#[async_trait::async_trait]
impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        self.0.now() + self.1
    }

    async fn wait(&self, duration: Duration) {
        self.0.wait(duration).await;
    }
}

async fn clock_of_the_store() {
    for hours in [-48, -1, 1, 48] {
        let (_, objects, clock) = world();
        let holder = store(&objects, clock.clone(), "ops@build-7");
        let wrong: Arc<dyn Clock> = Arc::new(Skewed(clock.clone(), SignedDuration::from_hours(hours)));
        let skewed = store(&objects, wrong, "late@laptop");
        for (holder, other) in [(&holder, &skewed), (&skewed, &holder)] {
            let mut held = holder.first(state()).await.expect("first");
            holder.save(&mut held).await.expect("save");
            let lock = holder.acquire(&owner("ops@build-7")).await.expect("acquire");
            clock.wait(Duration::from_secs(45)).await;
            let status = other.lock_status().await.expect("status").expect("held");
            assert!(!status.stale, "{hours} h: {status:?}");
            assert_eq!(status.age, Some(Duration::from_secs(45)));
            drop(lock);
            clock.wait(STALE).await;
            assert!(other.lock_status().await.expect("status").expect("held").stale);
            let seen = other.lock_status().await.expect("status").expect("held");
            let taken = other.take_over(&owner("late@laptop"), &seen).await.expect("taken over");
            assert!(!holder.lock_status().await.expect("status").expect("held").stale, "{hours} h");
            taken.hold().confirm().await.expect("its own");
            taken.release().await.expect("release");
            let held = holder.load().await.expect("load");
            holder.forget(held.as_ref(), false).await.expect("forget");
        }
    }
}

/// As of a process that was stopped: no heartbeat is sent meanwhile. While heartbeats arrive nothing is asked.
async fn asleep() {
    let (memory, objects, clock) = world();
    let store = store(&objects, clock.clone(), "ops@build-7");
    let lock = store.acquire(&owner("ops@build-7")).await.expect("acquire");
    let hold = lock.hold();
    // Between two heartbeats.
    clock.wait(HEARTBEAT * 30 + HEARTBEAT / 2).await;
    let writes = memory.writes();
    hold.confirm().await.expect("its own");
    assert_eq!(memory.writes(), writes, "a question costs nothing");
    let seen = store.lock_status().await.expect("status").expect("held");
    // The heart stops with the lock; the hold asks for itself.
    drop(lock);
    clock.wait(LEASE - HEARTBEAT).await;
    hold.confirm().await.expect("its own");
    assert_eq!(memory.writes(), writes);
    clock.wait(HEARTBEAT * 2).await;
    hold.confirm().await.expect("nobody took it");
    assert_eq!(memory.writes(), writes + 1);
    assert!(
        matches!(store.take_over(&owner("new@host"), &seen).await, Err(StoreError::Locked { .. })),
        "it has sent a heartbeat since"
    );
    let seen = store.lock_status().await.expect("status").expect("held");
    let new = store.take_over(&owner("new@host"), &seen).await.expect("taken over");
    clock.wait(LEASE).await;
    for _ in 0..2 {
        let error = hold.confirm().await.expect_err("taken over");
        assert!(matches!(&error, StoreError::LockBroken { by: Some(by), .. } if by == "new@host"), "{error}");
    }
    memory.always(Some(Fault::LostRequest));
    clock.wait(LEASE).await;
    assert!(matches!(new.hold().confirm().await, Err(StoreError::NoAnswer { .. })), "who cannot ask does not act");
    assert!(STALE >= LEASE * 2);
}

async fn damaged() {
    for bytes in ["", "{", "[]", "null", "{\"format\": 2, \"pid\": \"x\"}", "{\"since\": \"yesterday\"}"] {
        let (_, objects, clock) = world();
        let store = store(&objects, clock, "ops@build-7");
        objects.put("demo/lock.json", bytes.into(), Condition::Absent).await.expect("put");
        let error = store.acquire(&owner("ops@build-7")).await.err().expect("held");
        assert!(error.to_string().contains("unknown"), "{bytes}: {error}");
        store.lock_break().await.expect("break").expect("a lock");
        store.acquire(&owner("ops@build-7")).await.expect("free").release().await.expect("release");
    }
}
