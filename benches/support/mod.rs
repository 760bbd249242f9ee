//! What all benchmarks share: measuring, and clusters of any size. They print figures and assert nothing.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kubewright::cluster::Cluster;
use kubewright::spec::{self, SpecFiles};

/// Time on the clock and on the processor.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub wall: Duration,
    pub cpu: Duration,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>10} {:>10}", milliseconds(self.wall), milliseconds(self.cpu))
    }
}

pub fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// Median of the wall times of `runs`, and the mean of this thread's CPU: the kernel counts that in steps of some milliseconds.
pub fn median(runs: usize, mut work: impl FnMut()) -> Cost {
    let before = thread_cpu();
    let mut wall: Vec<Duration> = (0..runs.max(1))
        .map(|_| {
            let begun = Instant::now();
            work();
            begun.elapsed()
        })
        .collect();
    let cpu = thread_cpu().saturating_sub(before) / u32::try_from(wall.len()).unwrap_or(1);
    Cost { wall: middle(&mut wall), cpu }
}

pub fn middle(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// proc(5), `schedstat`: nanoseconds on a processor.
pub fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_default())
}

/// CPU of all children that were waited for, as the kernel counts it (100 a second).
pub fn children_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [13, 14].iter().filter_map(|n| fields.get(*n)?.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// A line of `/proc/self/status`, in MiB: `VmHWM` is the highest resident size so far, `VmRSS` the present one.
pub fn memory(name: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}

/// Arguments without those that cargo adds.
pub fn arguments() -> Vec<String> {
    std::env::args().skip(1).filter(|word| word != "--bench").collect()
}

pub fn profile() -> &'static str {
    if cfg!(debug_assertions) { "dev profile" } else { "optimised" }
}

struct Files;

impl SpecFiles for Files {
    fn read(&self, _: &Path) -> Result<Vec<u8>, String> {
        Ok(b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO8ZnBQAgBzqzBo7nLZs7uDgKcyeJ0pq9x5ZzTq7b0mD ops\n".to_vec())
    }

    fn home(&self) -> Option<PathBuf> {
        Some("/root".into())
    }
}

/// A spec of `nodes` machines, three of them control planes, the others spread over `groups`.
pub fn spec_text(nodes: usize, groups: usize) -> String {
    let mut text = String::from(
        "schema = 1\nname = \"demo.k8s.example.com\"\nkubernetes = \"1.34.2\"\n\
         [aws]\nregion = \"us-east-1\"\nzones = [\"us-east-1a\", \"us-east-1b\", \"us-east-1c\"]\n\
         [network]\ncidr = \"10.20.0.0/16\"\npods = \"172.16.0.0/12\"\nservices = \"10.96.0.0/12\"\ncni = \"calico\"\n\
         [api]\ndns_zone = \"k8s.example.com\"\naccess = [\"203.0.113.0/24\"]\n\
         [ssh]\npublic_key = \"~/.ssh/id_ed25519.pub\"\naccess = [\"203.0.113.0/24\"]\n\
         [[instance_group]]\nname = \"control-plane\"\nrole = \"control-plane\"\ncount = 3\nmachine_type = \"t3.medium\"\nimage = \"debian-12\"\n",
    );
    let workers = nodes.saturating_sub(3);
    for n in 0..groups {
        let count = workers / groups + usize::from(n < workers % groups);
        text += &format!(
            "[[instance_group]]\nname = \"nodes-{n}\"\nrole = \"node\"\ncount = {count}\nmachine_type = \"t3.large\"\nimage = \"debian-12\"\n\
             labels = {{ team = \"t{n}\" }}\n"
        );
    }
    text
}

pub fn load(text: &str) -> Cluster {
    match spec::load(Path::new("bench.toml"), text.as_bytes(), Path::new("/"), &Files) {
        Ok(loaded) => loaded.cluster,
        Err(problems) => panic!("{problems:?}"),
    }
}
