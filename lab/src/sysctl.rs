//! Proof that the lab leaves the machine's kernel settings alone: a snapshot at `up`, compared at `down`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Result;

/// Values that move by themselves, by the end of their path.
const MOVING: [&str; 14] = [
    "/random/",
    "/ns_last_pid",
    "/file-nr",
    "/inode-nr",
    "/inode-state",
    "/dentry-state",
    "/pty/nr",
    "/quota/",
    "nf_conntrack_count",
    "/aio-nr",
    "/usermodehelper/",
    "/sched_domain/",
    "/stat_refresh",
    "/netdev_budget_stat",
];

pub type Snapshot = BTreeMap<String, String>;

/// Every readable kernel setting of the namespaces that this process is in.
pub fn snapshot() -> Snapshot {
    let mut found = Snapshot::new();
    for top in ["kernel", "vm", "fs", "net/core", "net/ipv4", "net/bridge", "net/netfilter"] {
        collect(&Path::new("/proc/sys").join(top), &mut found);
    }
    found
}

fn collect(dir: &Path, found: &mut Snapshot) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = path.to_string_lossy().into_owned();
        if MOVING.iter().any(|moving| format!("{name}/").contains(moving) || name.contains(moving)) {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&path, found);
        } else if let Ok(value) = fs::read_to_string(&path) {
            found.insert(name, value.trim().to_owned());
        }
    }
}

/// Each systemd, container runtime and kubelet needs several instances, and all nodes' root is one user to the kernel: with the
/// usual 128 the seventh machine does not boot. Raised while a lab is up, put back when it ends.
const INSTANCES: (&str, u64) = ("/proc/sys/fs/inotify/max_user_instances", 2048);

/// Raises the limit if it is too low, and keeps the old one in `file`.
pub fn raise(file: &Path) -> Result<()> {
    let (path, wanted) = INSTANCES;
    let now = fs::read_to_string(path)?;
    if now.trim().parse::<u64>().is_ok_and(|now| now < wanted) {
        fs::write(file, now)?;
        fs::write(path, wanted.to_string())?;
    }
    Ok(())
}

/// Undoes [`raise`].
pub fn put_back(file: &Path) {
    if let Ok(old) = fs::read_to_string(file) {
        fs::write(INSTANCES.0, old).ok(); // the comparison at `down` tells if it could not be
    }
}

pub fn save(path: &Path) -> Result<usize> {
    let snapshot = snapshot();
    fs::write(path, serde_json::to_string(&snapshot)?)?;
    Ok(snapshot.len())
}

/// How many settings were compared, and a line for each one that differs now.
pub fn differences(path: &Path) -> Result<(usize, Vec<String>)> {
    let before: Snapshot = serde_json::from_str(&fs::read_to_string(path)?)?;
    let after = snapshot();
    let changed = before
        .iter()
        .filter_map(|(name, old)| {
            let new = after.get(name)?;
            (new != old).then(|| format!("{name}: {old} -> {new}"))
        })
        .collect();
    Ok((before.len(), changed))
}
