//! `lab down`: ends what the lab started and removes what it made, also after a crash.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::components;
use crate::state::Lab;
use crate::{cgroups, requirements, sysctl, up};

pub fn run(lab: &Lab, purge: bool) -> Result<()> {
    requirements::check()?;
    let start = Instant::now();
    stop_supervisor(lab);
    let snapshot = lab.run().join("sysctl.json");
    sysctl::put_back(&lab.run().join("inotify"));
    let compared = snapshot.exists().then(|| sysctl::differences(&snapshot));
    clean(lab)?;
    remove(&lab.home())?;
    if purge {
        remove(&lab.cache())?;
        fs::remove_dir(&lab.dir).ok(); // others may have put files there
    }
    match compared {
        None => {}
        Some(Ok((count, changed))) if changed.is_empty() => {
            eprintln!("the machine's kernel settings are as they were ({count} compared)");
        }
        Some(Ok((_, changed))) => eprintln!("these kernel settings changed since `lab up`:\n  {}", changed.join("\n  ")),
        Some(Err(error)) => eprintln!("kernel settings could not be compared: {error:#}"),
    }
    eprintln!("lab down in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Asks the supervisor to end; `clean` ends what does not.
fn stop_supervisor(lab: &Lab) {
    let Some(supervisor) = lab.supervisor() else { return };
    let Some(pid) = rustix::process::Pid::from_raw(supervisor.pid as i32) else { return };
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
    let end = Instant::now() + Duration::from_secs(3);
    while lab.supervisor().is_some() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ends every process in the lab's control groups and removes groups and folders. Mounts and namespaces live
/// in the supervisor's namespaces and go with the last process.
pub fn clean(lab: &Lab) -> Result<()> {
    let name = up::group_name(lab);
    let groups = groups(&name)?;
    cgroups::end_all(&groups).context("ending the lab's processes")?;
    for group in &groups {
        cgroups::remove(group, true);
    }
    if let Some(left) = groups.iter().find(|group| group.exists()) {
        bail!("{} cannot be removed", left.display());
    }
    sysctl::put_back(&lab.run().join("inotify"));
    let further = fs::read_dir(&lab.dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let further = further.filter(|path| version_of(path).is_some_and(|version| lab.bundle_of(version) == *path));
    for dir in [lab.nodes(), lab.run(), lab.bundle(), lab.stand_in_bundle(), lab.packages()].into_iter().chain(further) {
        remove(&dir)?;
    }
    remove_file(&lab.calls())
}

/// The version that the folder of a further bundle names.
fn version_of(path: &Path) -> Option<&str> {
    let version = path.file_name()?.to_str()?.strip_prefix("bundle-")?;
    components::check_version(version).is_ok().then_some(version)
}

/// Every group of the lab's name, wherever the process that ran `up` was.
fn groups(name: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in fs::read_to_string("/proc/self/mounts")?.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        if let [_, target, "cgroup" | "cgroup2", ..] = fields[..] {
            search(Path::new(target), name, 6, &mut found);
        }
    }
    Ok(found)
}

fn search(dir: &Path, name: &str, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name().to_string_lossy() == name {
            found.push(entry.path());
        } else if depth > 0 && !entry.file_name().to_string_lossy().starts_with("kubewright-lab-") {
            search(&entry.path(), name, depth - 1, found);
        }
    }
}

fn remove(dir: &Path) -> Result<()> {
    // a last process's files may still be on their way out
    for _ in 0..20 {
        match fs::remove_dir_all(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_further_bundle_is_told_from_other_folders() {
        assert_eq!(version_of(Path::new("/a/.lab/bundle-1.33.5")), Some("1.33.5"));
        for other in ["bundle", "bundle-stand-ins", "bundle-", "bundle-1.33", "other-1.33.5"] {
            assert_eq!(version_of(&Path::new("/a/.lab").join(other)), None, "{other}");
        }
    }
}
