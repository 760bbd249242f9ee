//! What kubewright promises whatever goes wrong, each promise tried at every point that there is (research: reliability, P1 to P20).
//! Whole commands, in this process, in virtual time, on the account and the store in memory. At the end a table: promise, points,
//! violations.
//!
//! `KUBEWRIGHT_POINT='p1 create-1+1 37'` tries one point; a violation prints what to type.

mod gate;
mod idle;
mod kill;
mod lives;
mod model;
mod paused;
mod rig;
mod seeds;
mod spoilt;
mod tally;
mod trouble;
mod weak;
// Shared with the scenario tests, which use more of it.
#[allow(dead_code)]
#[path = "../scenario/world.rs"]
mod world;

use std::future::Future;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use lives::{LIVES, Life};
use rig::Without;
use tally::Tally;

const P1: &str = "P1  killed at every call, the next run ends it";
const P2: &str = "P2  every call with every trouble";
const PAIRS: &str = "P2  two troubles in one run, by seed";
const P4: &str = "P4  a stopped process whose lock was taken over";
const P5: &str = "P5  recover after a crash and a lost state";
const P6: &str = "P6  delete without a state, from every crash";
const P7: &str = "P7  nothing to do after an apply, random specs and edits";
const P8: &str = "P8  a hundred machines within the request budgets";
const P10: &str = "P10 one seed, one run";
const P11: &str = "P11 random sequences agree with a model";
const P19: &str = "P19 credentials that end between two calls";

/// In virtual time, on one thread.
fn virtually<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime").block_on(work)
}

fn trial<F>(promise: &'static str, name: &str, work: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = Tally>,
{
    Trial::test(name.to_owned(), move || -> Result<(), Failed> {
        // Every violation is told in full; the panics of a run that is caught need not be told twice.
        virtually(work()).end(promise)
    })
}

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let mut trials = vec![];
    for life in LIVES {
        trials.push(trial(P1, &format!("p1 {}", life.name), move || kill::p1(life)));
    }
    for name in ["create-1+1", "scale-down", "change", "delete-1+1"] {
        let life = Life::named(name);
        trials.push(trial(P4, &format!("p4 {name}"), move || paused::p4(life, Without::Nothing)));
    }
    for name in ["create-1+1", "create-private", "scale-up", "change", "roll"] {
        let life = Life::named(name);
        trials.push(trial(P5, &format!("p5 {name}"), move || kill::p5(life)));
    }
    for name in ["create-private", "change", "delete-private"] {
        let life = Life::named(name);
        trials.push(trial(P6, &format!("p6 {name}"), move || kill::p6(life)));
    }
    for name in ["create-1+1", "scale-up", "scale-down", "change", "replace", "delete-private"] {
        let life = Life::named(name);
        trials.push(trial(P2, &format!("p2 {name}"), move || spoilt::p2(life, true)));
        trials.push(trial(PAIRS, &format!("p2-pairs {name}"), move || spoilt::pairs(life, 60)));
    }
    // Of these each place once, with every trouble.
    for name in ["create-3+3", "create-private", "roll"] {
        let life = Life::named(name);
        trials.push(trial(P2, &format!("p2 {name}"), move || spoilt::p2(life, false)));
    }
    for life in LIVES {
        trials.push(trial(P19, &format!("p19 {}", life.name), move || spoilt::p19(life)));
    }
    for part in 0..idle::PARTS {
        trials.push(trial(P7, &format!("p7 {part}"), move || idle::p7(part)));
    }
    for scale in [1.0, 0.5] {
        trials.push(trial(P8, &format!("p8 {scale}"), move || seeds::p8(scale)));
    }
    for name in ["create-1+1", "change", "delete-private"] {
        let life = Life::named(name);
        trials.push(trial(P10, &format!("p10 {name}"), move || seeds::p10(life, 10)));
    }
    for seed in 0..2 {
        trials.push(Trial::test(format!("p11 {seed}"), move || model::p11(seed, 300, 9).end(P11)));
    }
    for (name, before, change, then) in model::TURNS {
        trials.push(Trial::test(format!("p11 {name}"), move || model::turned(name, before, change, then).end(P11)));
    }
    for (off, lives) in weak::EACH {
        let name = format!("without {off:?}");
        trials.push(Trial::test(name, move || virtually(weak::is_missed(off, lives))));
    }
    let args = Arguments::from_args();
    let whole = args.filter.is_none() && !args.list;
    let conclusion = libtest_mimic::run(&args, trials);
    tally::print();
    let unhit = if whole { tally::unhit() } else { vec![] };
    for line in &unhit {
        println!("not tried: {line}");
    }
    if conclusion.has_failed() || !unhit.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
