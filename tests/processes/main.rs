//! The built program in processes of its own, against the lab's AWS: each is killed, stopped, ended or left without an answer at each of
//! its calls that change something, and the next one has to end what it began, with nothing doubled and nothing left behind.
//!
//! Accounts without machines: a run is followed until it only waits for consoles to show host keys, which they never do. A sample
//! of the points, fixed by a seed, is tried in `./test`; `./test processes` tries all of them. `KUBEWRIGHT_POINT='kill-after s3 7'`
//! tries one, or several with commas between them.

mod account;
mod control;
#[path = "../lab/inside.rs"]
mod inside;
mod lives;
mod points;
mod race;
mod run;
mod table;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if !arguments.list
        && let Some(well) = inside::ran_whole()
    {
        return if well { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if !arguments.list {
        control::ask("POST", "/reset", &serde_json::Value::Null);
    }
    // They mostly wait: a run that resumes looks a minute for what may have been made.
    arguments.test_threads = Some(3);
    let mut trials = vec![Trial::test("every_point_converges", points::all)];
    for on_s3 in [false, true] {
        let store = points::store(on_s3);
        trials.push(Trial::test(format!("eight_runs_at_once_on_{store}"), move || race::at_once(on_s3)));
        trials.push(Trial::test(format!("eight_runs_in_turn_on_{store}"), move || race::in_turn(on_s3)));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    table::print();
    conclusion.exit_code()
}
