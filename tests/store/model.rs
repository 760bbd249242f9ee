//! The protocol of lock and state, explored to its last state for three clients: breadth first, every step from every state.

#[path = "model/protocol.rs"]
mod protocol;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};

use libtest_mimic::Trial;
use protocol::{Bounds, Client, Phase, Step, Without, World};

use super::rig::trial;

type Property = (&'static str, fn(&Bounds, &World) -> bool);

const IN_ORDER: Property = ("each serial is written once, after the one before it", |_, world| !world.wrongs.serial_twice);
const NOT_LOST: Property = ("no update is lost", |_, world| world.told & !world.state.map_or(0, |state| state.marks) == 0);
const FENCED: Property = ("who is fenced saves nothing", |_, world| !world.wrongs.fenced_saved);
const INNOCENT: Property = ("nobody is fenced whose lock was not taken", |_, world| !world.wrongs.innocent_fenced);
const GOES_ON: Property = ("the next run can always go on", goes_on);

pub fn add(trials: &mut Vec<Trial>) {
    trials.push(trial("model::three_clients_with_every_fault_break_nothing", nothing_breaks));
    trials.push(trial("model::without_compare_and_swap_updates_are_lost", || misses(Without::CompareAndSwap, NOT_LOST)));
    trials.push(trial("model::without_a_fence_an_old_holder_saves", || misses(Without::Fence, FENCED)));
    trials.push(trial("model::a_slow_reader_of_the_state_would_get_round_the_fence", || misses(Without::LookAfterLoad, FENCED)));
    trials.push(trial("model::state_before_lock_fences_the_innocent", || misses(Without::LockFirst, INNOCENT)));
    trials.push(trial("model::a_fence_without_a_second_look_fences_the_innocent", || misses(Without::Check, INNOCENT)));
}

/// What was found.
struct Explored {
    states: usize,
    /// States in which all clients had saved: the bounds leave room for that.
    all_saved: usize,
    /// The first violation, with the shortest way to it.
    wrong: Option<(&'static str, Vec<Step>)>,
}

/// Remembers states by a hash of 64 bits, seeded anew each time: a collision would hide a state, once in a hundred thousand runs.
fn explore(bounds: &Bounds, properties: &[Property]) -> Explored {
    let hashes = RandomState::new();
    let start = World::new(bounds);
    let mut seen: HashMap<u64, (u64, Option<Step>)> = HashMap::new();
    seen.insert(hashes.hash_one(&start), (0, None));
    let (mut level, mut next) = (vec![start], Vec::new());
    let mut explored = Explored { states: 1, all_saved: 0, wrong: None };
    while !level.is_empty() {
        for world in level.drain(..) {
            let from = hashes.hash_one(&world);
            for step in world.steps() {
                let mut after = world.clone();
                after.go(bounds, step);
                let Entry::Vacant(place) = seen.entry(hashes.hash_one(&after)) else { continue };
                let here = *place.key();
                place.insert((from, Some(step)));
                explored.states += 1;
                explored.all_saved += usize::from(after.told.count_ones() as usize == bounds.clients * usize::from(bounds.saves));
                if let Some((name, _)) = properties.iter().find(|(_, holds)| !holds(bounds, &after)) {
                    explored.wrong = Some((name, way(&seen, here)));
                    return explored;
                }
                next.push(after);
            }
        }
        std::mem::swap(&mut level, &mut next);
    }
    explored
}

fn way(seen: &HashMap<u64, (u64, Option<Step>)>, to: u64) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at = to;
    while let Some((from, Some(step))) = seen.get(&at) {
        steps.push(*step);
        at = *from;
    }
    steps.reverse();
    steps
}

/// Everybody else is dead, nothing is on its way: one more client gets the lock, saves and gives it back.
fn goes_on(bounds: &Bounds, world: &World) -> bool {
    let bounds = Bounds { faults: 0, ..*bounds };
    let mut world = world.clone();
    world.network.clear();
    let n = world.clients.len();
    world.clients.push(Client::new(&bounds));
    world.allow_takeover();
    for _ in 0..20 {
        let step = match world.clients[n].phase {
            Phase::Done => return world.lock.is_none(),
            Phase::Idle if world.lock.is_some() => Step::TakeOver(n),
            Phase::Idle => Step::Acquire(n),
            Phase::Waiting(_) => Step::Deliver(0),
            Phase::Unsure(_) | Phase::Fencing { .. } | Phase::Loading | Phase::Loaded(_) => Step::Read(n),
            Phase::Working { .. } if world.wants_to_save(n) => Step::Save(n),
            Phase::Working { .. } => Step::Release(n),
            Phase::Stopped => return false,
        };
        world.go(&bounds, step);
    }
    false
}

/// `(faults, takeovers, heartbeats)` of all together; each client saves once. Several narrow explorations say more for their time than a wide
/// one.
const NARROW: [(u8, u8, u8); 3] = [(0, 2, 0), (1, 1, 0), (0, 1, 1)];
const WIDE: [(u8, u8, u8); 2] = [(0, 2, 1), (1, 1, 1)];
/// Set: the wide ones too, two million states.
const ALL: &str = "KUBEWRIGHT_TEST_MODEL_WIDE";

fn bounds(without: Without, (faults, takeovers, beats): (u8, u8, u8)) -> Bounds {
    Bounds { without, clients: 3, saves: 1, beats, faults, takeovers, tries: 1 }
}

fn nothing_breaks() {
    let wide = std::env::var_os(ALL).is_some();
    for counts in NARROW.into_iter().chain(WIDE.into_iter().filter(|_| wide)) {
        let begun = std::time::Instant::now();
        let bounds = bounds(Without::Nothing, counts);
        let explored = explore(&bounds, &[IN_ORDER, NOT_LOST, FENCED, INNOCENT, GOES_ON]);
        println!("{bounds:?}: {} states, {:.1} s", explored.states, begun.elapsed().as_secs_f64());
        if let Some((name, way)) = explored.wrong {
            panic!("{bounds:?}: violated: {name}\n  {way:?}");
        }
        assert!(explored.all_saved > 0 || bounds.takeovers < 2, "the bounds are too narrow");
    }
}

#[track_caller]
fn misses(without: Without, property: Property) {
    let explored = explore(&bounds(without, NARROW[0]), &[property]);
    let (_, way) =
        explored.wrong.unwrap_or_else(|| panic!("{without:?}: the model does not notice ({} states)", explored.states));
    println!("{without:?}, after {} states: {way:?}", explored.states);
}
