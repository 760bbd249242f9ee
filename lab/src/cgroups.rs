//! The lab's own control groups, one per cgroup v1 hierarchy, below the groups of the process that made them.
//! Whatever the lab starts stays inside, so that `down` finds it even after the supervisor was killed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Hierarchies that a node's systemd, containerd and kubelet use.
const NEEDED: [&str; 5] = ["cpu", "memory", "pids", "devices", "name=systemd"];

/// The folder of this process's own group in every hierarchy that is mounted.
fn own() -> Result<Vec<(String, PathBuf)>> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(names), Some(path)) = (fields.next(), fields.next()) else { continue };
        if let Some(mount) = mount_of(&mounts, names) {
            found.push((names.to_owned(), mount.join(path.trim_start_matches('/'))));
        }
    }
    Ok(found)
}

fn mount_of(mounts: &str, names: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, target, kind, options, ..] = fields[..] else { return None };
        let fits = match (kind, names) {
            ("cgroup2", "") => true,
            ("cgroup", "") | ("cgroup2", _) => false,
            ("cgroup", names) => names.split(',').all(|name| options.split(',').any(|option| option == name)),
            _ => false,
        };
        fits.then(|| PathBuf::from(target))
    })
}

/// Which of the needed hierarchies this machine lacks.
pub fn missing() -> Result<Vec<&'static str>> {
    let own = own()?;
    Ok(NEEDED.into_iter().filter(|needed| !own.iter().any(|(names, _)| names.split(',').any(|name| name == *needed))).collect())
}

/// Makes the group `name` in every hierarchy and gives back the folders.
pub fn create(name: &str) -> Result<Vec<PathBuf>> {
    own()?.into_iter().map(|(_, own)| make(&own.join(name))).collect()
}

/// Makes one group below each of `parents`.
pub fn create_below(parents: &[PathBuf], name: &str) -> Result<Vec<PathBuf>> {
    parents.iter().map(|parent| make(&parent.join(name))).collect()
}

fn make(dir: &Path) -> Result<PathBuf> {
    fs::create_dir_all(dir).with_context(|| format!("making control group {}", dir.display()))?;
    // a new cpuset is empty, and a process cannot join it before it has processors and memory
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let parent = dir.parent().map(|parent| parent.join(file));
        if let Some(value) = parent.and_then(|parent| fs::read_to_string(parent).ok())
            && dir.join(file).exists()
        {
            fs::write(dir.join(file), value)?;
        }
    }
    Ok(dir.to_owned())
}

/// Moves a process into the groups.
pub fn join(groups: &[PathBuf], pid: u32) -> Result<()> {
    for group in groups {
        let file = group.join("cgroup.procs");
        fs::write(&file, pid.to_string()).with_context(|| format!("joining {}", file.display()))?;
    }
    Ok(())
}

/// Every process in the groups and below.
pub fn processes(groups: &[PathBuf]) -> Vec<u32> {
    let mut pids = Vec::new();
    for group in groups {
        each_below(group, &mut |dir| {
            let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        });
    }
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Removes the groups below `group`, deepest first; `group` itself only when `itself` is set.
pub fn remove(group: &Path, itself: bool) {
    let mut dirs = Vec::new();
    each_below(group, &mut |dir| dirs.push(dir.to_owned()));
    for dir in dirs.iter().rev() {
        if itself || dir != group {
            fs::remove_dir(dir).ok(); // a group that still has a process stays; the caller looks again
        }
    }
}

fn each_below(dir: &Path, visit: &mut dyn FnMut(&Path)) {
    if !dir.is_dir() {
        return;
    }
    visit(dir);
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            each_below(&entry.path(), visit);
        }
    }
}

/// Ends every process in the groups by its id, within about ten seconds.
pub fn end_all(groups: &[PathBuf]) -> Result<usize> {
    let mut ended = std::collections::BTreeSet::new();
    for round in 0..100 {
        let pids = processes(groups);
        if pids.is_empty() {
            return Ok(ended.len());
        }
        for pid in pids {
            ended.insert(pid);
            if let Some(pid) = rustix::process::Pid::from_raw(pid as i32) {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(if round < 20 { 20 } else { 120 }));
    }
    bail!("processes {:?} of the lab do not end", processes(groups))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_mount_of_a_hierarchy() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
                      cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(mount_of(mounts, "cpu,cpuacct"), Some("/sys/fs/cgroup/cpu,cpuacct".into()));
        assert_eq!(mount_of(mounts, "name=systemd"), Some("/sys/fs/cgroup/systemd".into()));
        assert_eq!(mount_of(mounts, ""), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_of(mounts, "memory"), None);
    }
}
