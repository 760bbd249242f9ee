//! Schedules by the hundred thousand, and one of them again.

use kubewright::rolling::{Decision, Machine, View, next_step};

use crate::model::Model;
use crate::rules;
use crate::schedule::Schedule;

/// How a run of the command decides.
pub type Decide<'a> = &'a (dyn Fn(&View) -> Decision + Sync);

/// No roll of these clusters takes more.
const MOST: u32 = 4000;
const SCHEDULES: u64 = 100_000;

/// Goes through a schedule; gives the number of decisions, or which rule was broken and what led there.
pub fn run(seed: u64, decide: Decide<'_>, trace: bool) -> Result<u32, String> {
    let schedule = Schedule::new(seed);
    play(&schedule, seed, decide, trace)
}

pub fn play(schedule: &Schedule, seed: u64, decide: Decide<'_>, trace: bool) -> Result<u32, String> {
    let mut model = Model::new(schedule, seed);
    let told = |what: String| {
        if trace {
            eprintln!("{what}")
        }
    };
    let calm = schedule.troubles.is_empty() && schedule.fails + schedule.never_ready + schedule.stuck + schedule.kept == 0;
    let calm = calm && schedule.quota == u32::MAX && schedule.never.is_empty();
    // A roll that is broken off leaves zones as they are at that moment.
    let calm = calm && schedule.sessions.iter().all(|session| !session.abort);
    let (mut decisions, mut killed) = (0, false);
    for (number, session) in schedule.sessions.iter().enumerate() {
        let last = number + 1 == schedule.sessions.len();
        model.mended = last;
        model.restart(session, killed);
        told(format!("-- run {number}: {session:?}"));
        if trace {
            show(&model);
        }
        killed = false;
        let begun = decisions;
        let broken = |what: String, model: &Model| {
            if trace {
                show(model);
            }
            format!("{what} (at {} s)", model.view.now)
        };
        loop {
            model.end_works();
            model.observe();
            let decision = decide(&model.view);
            decisions += 1;
            if decisions - begun > MOST {
                return Err(broken("it does not come to an end".into(), &model));
            }
            if session.kill == Some(decisions - begun) {
                killed = true;
            }
            match decision {
                Decision::Do(step) => {
                    told(format!("{:>6} {step}", model.view.now));
                    if let Some(what) = rules::broken(&model, &step) {
                        return Err(broken(format!("{what}: {step}"), &model));
                    }
                    model.begin(&step);
                }
                Decision::Wait { what, until } => {
                    told(format!("{:>6} waits for {what} until {until}", model.view.now));
                    if until <= model.view.now || what.is_empty() {
                        return Err(broken(format!("it waits for the past: {what}"), &model));
                    }
                    model.view.now = model.next_event().map_or(until, |event| event.min(until));
                }
                Decision::Done => {
                    told(format!("{:>6} done", model.view.now));
                    if let Some(what) = rules::unfinished(&model) {
                        return Err(broken(format!("it says that it is done: {what}"), &model));
                    }
                    if calm && let Some(what) = rules::uneven(&model) {
                        return Err(broken(what, &model));
                    }
                    break;
                }
                Decision::Blocked(stop) => {
                    told(format!("{:>6} blocked: {} -> {}", model.view.now, stop.what, stop.next));
                    if stop.what.is_empty() || stop.next.is_empty() {
                        return Err(broken("it does not say what blocks, or what next".into(), &model));
                    }
                    if model.view.machines.iter().any(|machine| machine.work.is_some()) {
                        return Err(broken(format!("it stops with work in work: {}", stop.what), &model));
                    }
                    let forced = |machine: &Machine| model.view.is_forced(machine) && machine.failed.is_none();
                    let held = |machine: &&Machine| forced(machine) && stop.what.starts_with(&format!("{}", machine.slot));
                    if let Some(machine) = model.view.machines.iter().find(held).filter(|_| stop.what.contains("drain")) {
                        return Err(broken(format!("a budget stops it, which {} is not to heed", machine.slot), &model));
                    }
                    // All is mended, and only a roll that is impossible may stop.
                    if last && !schedule.is_hopeless() && model.has_quorum() {
                        return Err(broken(format!("it is blocked by nothing: {}", stop.what), &model));
                    }
                    break;
                }
            }
            if killed {
                told("-- killed".into());
                break;
            }
        }
    }
    Ok(decisions)
}

fn show(model: &Model) {
    for machine in &model.view.machines {
        eprintln!(
            "       {} {} {:?} {:?} cordon {:?}{}{} {:?} since {} work {:?} failed {:?}",
            machine.slot,
            machine.instance,
            machine.stage,
            machine.health,
            machine.cordon,
            if machine.drained { " drained" } else { "" },
            if machine.behind.is_empty() { "" } else { " behind" },
            machine.address,
            machine.since,
            machine.work,
            machine.failed,
        );
    }
    for member in model.members() {
        eprintln!("       member {member:?}");
    }
}

fn replay(seed: u64) -> String {
    format!("KUBEWRIGHT_SEED={seed} cargo test --workspace --test rolling one_schedule -- --nocapture")
}

/// The first seed of a range whose schedule breaks a rule.
pub fn first_broken(seeds: std::ops::Range<u64>, decide: Decide<'_>) -> (u64, Option<(u64, String)>) {
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let one = |thread: u64| {
        let mut decisions = 0;
        for seed in seeds.clone().filter(|seed| seed % threads == thread) {
            match run(seed, decide, false) {
                Ok(more) => decisions += u64::from(more),
                Err(what) => return (decisions, Some((seed, what))),
            }
        }
        (decisions, None)
    };
    let one = &one;
    std::thread::scope(|scope| {
        let works: Vec<_> = (0..threads).map(|thread| scope.spawn(move || one(thread))).collect();
        let results = works.into_iter().map(|work| work.join().expect("a thread that ends"));
        results.fold((0, None), |(sum, first), (decisions, found)| {
            let first = match (first, found) {
                (Some(one), Some(other)) => Some(if one < other { one } else { other }),
                (one, other) => one.or(other),
            };
            (sum + decisions, first)
        })
    })
}

#[test]
fn a_hundred_thousand_schedules_break_no_rule() {
    let (decisions, broken) = first_broken(0..SCHEDULES, &next_step);
    if let Some((seed, what)) = broken {
        panic!("schedule {seed}: {what}\n  again: {}", replay(seed));
    }
    println!("{SCHEDULES} schedules, {decisions} decisions");
    assert!(decisions > 20 * SCHEDULES, "the schedules have become empty: {decisions} decisions");
}

/// The schedule of `KUBEWRIGHT_SEED`, with all that happens in it; seed 0 without.
#[test]
fn one_schedule() {
    let seed = std::env::var("KUBEWRIGHT_SEED").ok().and_then(|seed| seed.parse().ok());
    if let Err(what) = run(seed.unwrap_or(0), &next_step, seed.is_some()) {
        panic!("schedule {}: {what}", seed.unwrap_or(0));
    }
}
