//! CPU of the planner on given observations, and the memory that it needs.
//!
//! Goals at 5,000 nodes: under 100 ms and 100 MB.

#[path = "support/account.rs"]
mod account;
mod support;

use account::{Given, before_and_after};
use support::{arguments, load, median, memory, profile, spec_text};

/// Nodes and groups; 5,000 is the most that a spec may ask for, and one more is planned.
const SIZES: [(usize, usize); 4] = [(6, 1), (100, 3), (4_999, 3), (4_999, 500)];

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if let [word, path] = arguments().as_slice()
        && word == "memory"
    {
        return peak(path);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut files = vec![];
    println!("plan, {}, median (goal at 5,000 nodes: under 100 ms)", profile());
    println!("{:>6} {:>6}  {:<22} {:>10} {:>10} {:>8}", "nodes", "groups", "plan", "wall", "cpu", "actions");
    for (nodes, groups) in SIZES {
        let (before, after) = before_and_after(&load(&spec_text(nodes, groups))).await;
        let grown = after.with(load(&spec_text(nodes + 1, groups)));
        let shrunk = after.with(load(&spec_text(nodes - 1, groups)));
        for (name, given) in
            [("first", &before), ("nothing to do", &after), ("one more node", &grown), ("one node less", &shrunk)]
        {
            let made = given.plan();
            let cost = median(if nodes > 1000 { 5 } else { 51 }, || drop(std::hint::black_box(given.plan())));
            println!("{nodes:>6} {groups:>6}  {name:<22} {cost} {:>8}", made.actions.len());
            if name == "nothing to do" {
                for action in made.actions.iter().take(5) {
                    println!("                 left: {} {:?}", action.id, action.reasons);
                }
            }
            if let Some(error) = made.errors.first() {
                println!("                 refused: {}", error.what);
            }
        }
        for (name, given) in [("first", &before), ("nothing to do", &after)] {
            let path = folder.path().join(files.len().to_string());
            std::fs::write(&path, serde_json::to_vec(given).unwrap_or_default()).expect("a file");
            files.push((format!("{nodes:>6} {groups:>6}  {name:<22}"), path));
        }
        let made = before.plan();
        let cost = median(5, || drop(std::hint::black_box(made.check())));
        println!("{nodes:>6} {groups:>6}  {:<22} {cost}", "(check of the first)");
    }
    println!("\npeak memory of a process that holds the observations and plans (goal at 5,000 nodes: under 100 MB)");
    for (name, path) in files {
        let exe = std::env::current_exe();
        match exe.and_then(|exe| std::process::Command::new(exe).arg("memory").arg(path).output()) {
            Ok(output) => print!("{name} {}", String::from_utf8_lossy(&output.stdout)),
            Err(error) => println!("{name} not measured: {error}"),
        }
    }
}

/// In a process of its own: what making the observations needed must not count. Of what reading them needed, what was given back.
fn peak(path: &str) {
    let file = std::fs::File::open(path).map(std::io::BufReader::new);
    let Some(given) = file.ok().and_then(|file| serde_json::from_reader::<_, Given>(file).ok()) else {
        return println!("not measured: nothing to read");
    };
    let held = memory("VmRSS");
    // proc(5): 5 sets VmHWM back to the present size.
    let reset = std::fs::write("/proc/self/clear_refs", "5").is_ok();
    let plan = std::hint::black_box(given.plan());
    let top = memory("VmHWM");
    let note = if reset { "" } else { " (with the set-up)" };
    println!("{top:>7.1} MB{note}, of which the plan {:.1} MB", top - held);
    drop(plan);
}
