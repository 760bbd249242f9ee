//! Whole commands in the lab: calls, CPU, and how bootstrap grows with the number of nodes.

mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use support::{children_cpu, profile};

/// kops on the same emulator, as measured: create, no-op and delete of 3 + 3 nodes.
const KOPS_CALLS: [(&str, u32, Option<f64>); 3] = [("create", 470, None), ("no-op", 240, Some(1.38)), ("delete", 107, None)];

fn main() {
    let (Ok(folder), Ok(lab)) = (std::env::var("KUBEWRIGHT_LAB_DIR"), std::env::var("KUBEWRIGHT_LAB_BIN")) else {
        println!(
            "lab: not measured. Start it first (as root, on Linux):\n  target/debug/lab up --kubernetes 1.34.2\n  \
             KUBEWRIGHT_LAB_DIR=$PWD/.lab KUBEWRIGHT_LAB_BIN=$PWD/target/debug/lab cargo bench --profile dev --bench lab"
        );
        return;
    };
    let bench = Lab { lab, folder };
    println!("lab, {}; one run each; the nodes share this machine's processors", profile());
    println!(
        "{:<12} {:>6} {:>12} {:>7} {:>9} {:>9} {:>12}",
        "ha.toml", "calls", "kops's calls", "ratio", "wall", "cpu", "kops's cpu"
    );
    let spec = bench.spec(3, 3);
    bench.run(&["reset"]);
    let commands: [&[&str]; 3] =
        [&["create", "cluster", "-f", &spec, "--yes"], &["update"], &["delete", "cluster", "demo.k8s.example.com", "--yes"]];
    for ((name, calls, cpu), command) in KOPS_CALLS.into_iter().zip(commands) {
        bench.run(&["calls", "--reset"]);
        let done = bench.kubewright(command);
        let ours = bench.calls();
        let cpu = cpu.map_or_else(|| "-".into(), |cpu| format!("{cpu:.2} s"));
        println!(
            "{name:<12} {ours:>6} {calls:>12} {:>7.2} {:>9} {:>9} {cpu:>12}{}",
            f64::from(ours) / f64::from(calls),
            seconds(done.wall),
            seconds(done.cpu),
            done.trouble()
        );
    }
    println!("\nbootstrap: the longest single node, as the run tells it, beside the whole");
    println!("{:<12} {:>14} {:>14} {:>7} {:>9}", "nodes", "slowest node", "all nodes", "ratio", "cpu");
    for (control_planes, workers) in [(1, 0), (3, 3), (3, 9)] {
        bench.run(&["reset"]);
        let spec = bench.spec(control_planes, workers);
        let done = bench.kubewright(&["create", "cluster", "-f", &spec, "--yes", "-v"]);
        let slowest = done.slowest_prepare();
        let all = done.phase("prepare machines");
        println!(
            "{:<12} {:>14} {:>14} {:>7.2} {:>9}{}",
            control_planes + workers,
            format!("{slowest:.1} s"),
            format!("{all:.1} s"),
            all / slowest,
            seconds(done.cpu),
            done.trouble()
        );
    }
    bench.run(&["reset"]);
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

struct Lab {
    lab: String,
    folder: String,
}

struct Done {
    wall: Duration,
    cpu: Duration,
    ok: bool,
    text: String,
}

impl Done {
    fn trouble(&self) -> &'static str {
        if self.ok { "" } else { "  (it failed)" }
    }

    /// Of the lines `prepared node SLOT 6.2 s`.
    fn slowest_prepare(&self) -> f64 {
        let lines = self.text.lines().filter(|line| line.contains(" prepared node "));
        lines.filter_map(|line| line.split_whitespace().rev().nth(1)?.parse().ok()).fold(0.0, f64::max)
    }

    /// Of the summary `prepare machines 11 s`, which may be wrapped.
    fn phase(&self, name: &str) -> f64 {
        let text = self.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let rest = text.split_once(&format!("{name} ")).map(|(_, rest)| rest).unwrap_or_default();
        rest.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_default()
    }
}

impl Lab {
    fn run(&self, words: &[&str]) -> Option<Output> {
        Command::new(&self.lab).args(words).output().ok()
    }

    /// The lab replaces itself by the command, so that the CPU is kubewright's (and a few milliseconds of `lab exec`).
    fn kubewright(&self, words: &[&str]) -> Done {
        let (begun, before) = (Instant::now(), children_cpu());
        let output = Command::new(&self.lab)
            .args(["exec", "--", env!("CARGO_BIN_EXE_kubewright")])
            .args(words)
            .env("KUBEWRIGHT_STATE", format!("file://{}/bench-state", self.folder))
            .output();
        let (wall, cpu) = (begun.elapsed(), children_cpu().saturating_sub(before));
        match output {
            Ok(output) => {
                let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
                Done { wall, cpu, ok: output.status.success(), text }
            }
            Err(error) => Done { wall, cpu, ok: false, text: error.to_string() },
        }
    }

    fn calls(&self) -> u32 {
        let json = self.run(&["calls", "-o", "json"]).map(|output| output.stdout).unwrap_or_default();
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap_or_default();
        value["total"].as_u64().and_then(|total| u32::try_from(total).ok()).unwrap_or_default()
    }

    /// `clusters/ha.toml` with other counts, and the lab's own bundle. A finished cluster's state must not refuse the next one.
    fn spec(&self, control_planes: u32, workers: u32) -> String {
        let _ = std::fs::remove_dir_all(Path::new(&self.folder).join("bench-state"));
        let text = concat!(include_str!("../clusters/ha.toml"), include_str!("../lab/settings.toml"))
            .replace("../.lab/bundle", &format!("{}/bundle", self.folder));
        let (head, tail) = text.rsplit_once("count = 3").unwrap_or((&text, ""));
        let head = head.replacen("count = 3", &format!("count = {control_planes}"), 1);
        let text = match workers {
            0 => head.rsplit_once("[[instance_group]]").map(|(head, _)| head.to_owned()).unwrap_or_default(),
            _ => format!("{head}count = {workers}{tail}"),
        };
        let path = format!("{}/bench.toml", self.folder);
        let _ = std::fs::write(&path, text);
        path
    }
}
