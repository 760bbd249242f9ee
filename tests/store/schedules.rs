//! Sixteen writers over one store whose answers are lost, late or repeated, in random order: what they were told is what happened.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use kubewright::clock::Clock;
use kubewright::recorded::State;
use kubewright::store::memory::Fault;
use kubewright::store::{ClusterStore, MemoryObjects, Objects, Owner, StoreError};
use libtest_mimic::Trial;

use super::rig::{VirtualClock, mark, owner, paused, state, store, trial};

const WRITERS: u64 = 16;
const SAVES: u64 = 2;
const ROUNDS: u64 = 1000;
/// A round of its own, to look at a failure.
const SEED: &str = "KUBEWRIGHT_TEST_SEED";

pub fn add(trials: &mut Vec<Trial>) {
    trials.push(trial("schedules::sixteen_writers_lose_nothing_in_any_order", || rounds("sixteen_writers", writers)));
    trials.push(trial("schedules::a_lock_is_never_its_takers_own_obstacle", || rounds("a_lock", lockers)));
}

/// Each round from its number alone.
fn rounds<F: Future<Output = ()>>(name: &str, round: impl Fn(Dice) -> F) {
    let one = std::env::var(SEED).ok().map(|seed| seed.parse().expect("a seed is a number"));
    let seeds = one.map_or(0..ROUNDS, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| paused(round(Dice::new(seed)))));
        assert!(done.is_ok(), "again with: {SEED}={seed} cargo test --workspace --test store -- schedules::{name}");
    }
}

/// SplitMix64: the same seed gives the same throws.
#[derive(Clone)]
struct Dice(Arc<AtomicU64>);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x9e37_79b9_7f4a_7c15)))
    }

    fn below(&self, sides: u64) -> u64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    async fn pause(&self, clock: &Arc<dyn Clock>, longest: u64) {
        clock.wait(Duration::from_millis(self.below(longest))).await;
    }

    fn fault(&self) -> Fault {
        match self.below(6) {
            0 => Fault::LostAnswer,
            1 => Fault::OwnRetry,
            2 => Fault::LostRequest,
            3 => Fault::Late,
            4 => Fault::Busy,
            _ => Fault::Delay(Duration::from_millis(self.below(8000))),
        }
    }
}

/// A store of which every third write goes wrong.
fn world(dice: &Dice) -> (Arc<MemoryObjects>, Arc<dyn Clock>) {
    let clock: Arc<dyn Clock> = VirtualClock::new();
    let memory = Arc::new(MemoryObjects::new(clock.clone()));
    for number in 1..600 {
        if dice.below(3) == 0 {
            memory.fault(number, dice.fault());
        }
    }
    (memory, clock)
}

/// A save that was told to be stored, between which steps, and the serials that it read and left: more than one apart where an attempt
/// whose answer was lost had arrived and was written once more.
#[derive(Debug)]
struct Save {
    begun: u64,
    ended: u64,
    read: u64,
    left: u64,
    name: String,
}

type Told = Arc<Mutex<Vec<Save>>>;
/// What was read and what was to be saved, where no answer came and then somebody else had saved: it may have happened.
type Unknown = Arc<Mutex<Vec<(u64, String)>>>;
/// `(begun, ended, serial, marks)` of a load.
type Seen = Arc<Mutex<Vec<(u64, u64, u64, Vec<String>)>>>;

fn marks(state: &State) -> Vec<String> {
    state.resources.keys().map(ToString::to_string).filter(|name| name.starts_with("instance/w")).collect()
}

async fn writers(dice: Dice) {
    let (memory, clock) = world(&dice);
    let objects: Arc<dyn Objects> = memory.clone();
    let first = store(&objects, clock.clone(), "first@host");
    let mut held = first.first(state()).await.expect("first");
    until_answered(&first, &mut held).await.expect("the first state");
    let steps = Arc::new(AtomicU64::new(0));
    let (told, seen, unknown): (Told, Seen, Unknown) = Default::default();
    let tasks = (0..WRITERS).map(|n| {
        let store = store(&objects, clock.clone(), &format!("w{n}@host"));
        let (dice, clock, steps) = (dice.clone(), clock.clone(), steps.clone());
        let (told, seen, unknown) = (told.clone(), seen.clone(), unknown.clone());
        async move {
            let step = || steps.fetch_add(1, Ordering::Relaxed);
            for save in 0..SAVES {
                loop {
                    dice.pause(&clock, 3000).await;
                    let begun = step();
                    let mut held = store.load().await.expect("load").expect("a state");
                    seen.lock().expect("seen").push((begun, step(), held.serial(), marks(&held.state)));
                    dice.pause(&clock, 500).await;
                    let (name, base) = (format!("w{n}-{save}"), held.serial());
                    mark(&mut held.state, &name);
                    let begun = step();
                    match until_answered(&store, &mut held).await {
                        Ok(()) => {
                            let (ended, left) = (step(), held.serial());
                            told.lock().expect("told").push(Save { begun, ended, read: base, left, name });
                            break;
                        }
                        Err(StoreError::Lost { by, .. }) => {
                            assert_ne!(by, format!("w{n}@host"), "lost against itself");
                            unknown.lock().expect("unknown").push((base, name));
                        }
                        Err(error) => panic!("{name}: {error}"),
                    }
                }
            }
        }
    });
    join_all(tasks).await;
    let last = first.load().await.expect("load").expect("a state");
    let mut told = std::mem::take(&mut *told.lock().expect("told"));
    told.sort_by_key(|save| save.left);
    assert_eq!(told.len() as u64, WRITERS * SAVES);
    assert_eq!(marks(&last.state).len(), told.len(), "an update is lost");
    let unknown = std::mem::take(&mut *unknown.lock().expect("unknown"));
    let mut at = held.serial();
    for (n, save) in told.iter().enumerate() {
        while at < save.read && unknown.iter().any(|(read, _)| *read == at) {
            at += 1;
        }
        assert!(save.read == at && save.left > at, "{save:?} replaced something else than it had read: serial {at}");
        at = save.left;
        let later = told[n + 1..].iter().find(|later| later.ended < save.begun);
        assert!(later.is_none(), "{save:?} came before {later:?}, which had ended");
    }
    assert_eq!(last.serial(), at, "a write that nobody was told of");
    for (begun, ended, serial, marks) in seen.lock().expect("seen").iter() {
        let has = |name: &String| marks.contains(&format!("instance/{name}"));
        let missing = told.iter().find(|save| save.read < *serial && !has(&save.name));
        assert!(missing.is_none(), "a load of serial {serial} lacks {missing:?}");
        let may = told.iter().map(|save| (&save.read, &save.name)).chain(unknown.iter().map(|(read, name)| (read, name)));
        let known: Vec<String> = may.filter(|(read, _)| *read < serial).map(|(_, name)| format!("instance/{name}")).collect();
        let stray = marks.iter().find(|name| !known.contains(name));
        assert!(stray.is_none(), "a load of serial {serial} has {stray:?}");
        for save in &told {
            assert!(save.ended >= *begun || save.left <= *serial, "a load of serial {serial} after {save:?}");
            assert!(*ended >= save.begun || save.read >= *serial, "a load of serial {serial} before {save:?}");
        }
    }
}

/// A save whose outcome is not known is tried again as it is.
async fn until_answered(store: &ClusterStore, held: &mut kubewright::store::Held) -> Result<(), StoreError> {
    loop {
        match store.save(held).await {
            Err(StoreError::NoAnswer { .. }) => {}
            answer => return answer,
        }
    }
}

/// Runs take the lock, from dead ones too, and some die with it. Nobody is in the way of itself, at most one is inside, and all get in.
async fn lockers(dice: Dice) {
    let (memory, clock) = world(&dice);
    let objects: Arc<dyn Objects> = memory.clone();
    let inside = Arc::new(AtomicU64::new(0));
    let tasks = (0..WRITERS / 2).map(|n| {
        let store = store(&objects, clock.clone(), &format!("w{n}@host"));
        let (dice, clock, inside) = (dice.clone(), clock.clone(), inside.clone());
        async move {
            let mut tries = 0;
            loop {
                tries += 1;
                assert!(tries < 2000, "w{n} never gets the lock");
                dice.pause(&clock, 4000).await;
                let ours = Owner { command: format!("try {tries}"), ..owner(&format!("w{n}@host")) };
                let lock = match store.acquire(&ours).await {
                    Err(StoreError::Locked { held, .. }) if held.stale => store.take_over(&ours, &held).await,
                    answer => answer,
                };
                match lock {
                    Ok(lock) => {
                        assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "two hold the lock");
                        dice.pause(&clock, 20_000).await;
                        inside.fetch_sub(1, Ordering::Relaxed);
                        if dice.below(4) == 0 {
                            drop(lock);
                        } else {
                            // What is left of it goes stale.
                            let _ = lock.release().await;
                        }
                        break;
                    }
                    Err(StoreError::Locked { held, .. }) => {
                        assert!((held.by, held.command) != (ours.by, ours.command), "w{n} is in the way of itself");
                    }
                    Err(StoreError::NoAnswer { .. } | StoreError::LockBroken { .. }) => {}
                    Err(error) => panic!("w{n}: {error}"),
                }
            }
        }
    });
    join_all(tasks).await;
}
