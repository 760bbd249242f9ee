//! What runs on the user's machine without AWS: the spec, the state file, the start of the program.

#[path = "support/account.rs"]
mod account;
mod support;

use std::process::{Command, Stdio};
use std::sync::Arc;

use account::before_and_after;
use kubewright::clock::{RandomIds, SystemClock};
use kubewright::store::{ClusterStore, FileObjects, Objects};
use support::{load, median, profile, spec_text};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("{}, median; cpu is this process's, children apart", profile());
    println!("{:<44} {:>10} {:>10}", "", "wall", "cpu");
    for groups in [3, 500] {
        let text = spec_text(5_000, groups);
        let cost = median(21, || drop(std::hint::black_box(load(&text))));
        println!("{:<44} {cost}", format!("spec, 5,000 nodes in {groups} groups, {} KiB", text.len() / 1024));
    }
    starts();
    if let Err(error) = store().await {
        println!("store: not measured: {error}");
    }
}

fn starts() {
    let ours = env!("CARGO_BIN_EXE_kubewright");
    let spawn = |name: &str, program: &str, words: &[&str]| {
        let cost = median(41, || {
            let _ = Command::new(program).args(words).stdout(Stdio::null()).stderr(Stdio::null()).status();
        });
        println!("{name:<44} {cost}");
        cost.wall.as_secs_f64()
    };
    let floor = spawn("start of /bin/true", "/bin/true", &[]);
    for words in [&["version"][..], &["--help"], &["create", "cluster", "--help"]] {
        let time = spawn(&format!("kubewright {} (goal: 10 ms)", words.join(" ")), ours, words);
        println!("{:<44} {:>10}", "", format!("{:.1} x", time / floor));
    }
}

async fn store() -> Result<(), Box<dyn std::error::Error>> {
    let (_, after) = before_and_after(&load(&spec_text(4_999, 3))).await;
    let folder = tempfile::tempdir()?;
    let clock = Arc::new(SystemClock);
    let objects: Arc<dyn Objects> = Arc::new(FileObjects::new(folder.path(), clock.clone())?);
    let store = ClusterStore::new(objects, &after.state.cluster, clock, Arc::new(RandomIds), "bench@localhost")?;
    let mut held = store.first(after.state.clone()).await?;
    for (name, write) in [("state of 5,000 nodes, written", true), ("state of 5,000 nodes, read", false)] {
        let mut wall = Vec::new();
        for _ in 0..7 {
            let begun = std::time::Instant::now();
            if write {
                store.save(&mut held).await?;
            } else {
                store.load().await?;
            }
            wall.push(begun.elapsed());
        }
        println!("{name:<44} {:>10}", support::milliseconds(support::middle(&mut wall)));
    }
    Ok(())
}
