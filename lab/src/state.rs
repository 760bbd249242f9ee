//! The state folder: where everything of one lab lies, and which supervisor is alive.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// One lab, named by its state folder.
#[derive(Clone, Debug)]
pub struct Lab {
    pub dir: PathBuf,
}

/// The supervisor as it wrote itself down.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Supervisor {
    pub pid: u32,
    /// The process's start time in clock ticks since boot: with the pid it names one process for ever.
    pub started: u64,
}

impl Lab {
    /// The lab of `dir`, or of the workspace that holds the current folder.
    pub fn open(dir: Option<PathBuf>) -> Result<Self> {
        let dir = match dir {
            Some(dir) => dir,
            None => workspace()?.join(".lab"),
        };
        let dir = std::path::absolute(dir)?;
        // a folder that is reached through a link is the same lab
        let dir = fs::canonicalize(&dir).unwrap_or(dir);
        Ok(Self { dir })
    }

    /// Eight characters that tell this lab from another on the same machine.
    pub fn id(&self) -> String {
        let digest = Sha256::digest(self.dir.as_os_str().as_encoded_bytes());
        digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }

    /// What survives `down`: downloads and the base image.
    pub fn cache(&self) -> PathBuf {
        self.dir.join("cache")
    }

    /// What belongs to one run of the lab.
    pub fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    pub fn nodes(&self) -> PathBuf {
        self.dir.join("nodes")
    }

    pub fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    pub fn bundle(&self) -> PathBuf {
        self.dir.join("bundle")
    }

    /// A further one, of another version.
    pub fn bundle_of(&self, version: &str) -> PathBuf {
        self.dir.join(format!("bundle-{version}"))
    }

    /// The one of stand-ins.
    pub fn stand_in_bundle(&self) -> PathBuf {
        self.dir.join("bundle-stand-ins")
    }

    /// Which Kubernetes version's images new nodes have.
    pub fn kubernetes(&self) -> PathBuf {
        self.run().join("kubernetes")
    }

    /// The apt repositories, as they are served.
    pub fn packages(&self) -> PathBuf {
        self.dir.join("packages")
    }

    /// The fingerprint of the key that signs the apt repository.
    pub fn packages_key(&self) -> PathBuf {
        self.run().join("apt-key-fingerprint")
    }

    pub fn calls(&self) -> PathBuf {
        self.dir.join("calls.jsonl")
    }

    pub fn base_image(&self) -> PathBuf {
        self.cache().join("base")
    }

    /// The lab's own files over the base image.
    pub fn layer(&self) -> PathBuf {
        self.run().join("layer")
    }

    pub fn supervisor_log(&self) -> PathBuf {
        self.run().join("supervisor.log")
    }

    fn supervisor_file(&self) -> PathBuf {
        self.run().join("supervisor.json")
    }

    pub fn write_supervisor(&self) -> Result<()> {
        let pid = std::process::id();
        let started = start_time(pid).context("this process has no start time")?;
        let text = serde_json::to_string(&Supervisor { pid, started })?;
        fs::write(self.supervisor_file(), text)?;
        Ok(())
    }

    /// The supervisor, when it is alive.
    pub fn supervisor(&self) -> Option<Supervisor> {
        let text = fs::read_to_string(self.supervisor_file()).ok()?;
        let written: Supervisor = serde_json::from_str(&text).ok()?;
        (start_time(written.pid) == Some(written.started)).then_some(written)
    }

    /// Moves this thread into the hub's network. Call it before any other thread exists.
    pub fn enter_hub(&self) -> Result<()> {
        let Some(supervisor) = self.supervisor() else {
            bail!("this lab is not up ({}); start it with `lab up`", self.dir.display());
        };
        let path = format!("/proc/{}/ns/net", supervisor.pid);
        let file = fs::File::open(&path).with_context(|| path.clone())?;
        use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
        use std::os::fd::AsFd;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("entering the hub's network ({path}); the lab needs root"))
    }
}

/// Field 22 of /proc/PID/stat; the command name before it may hold spaces and brackets.
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after = &stat[stat.rfind(')')? + 2..];
    let mut fields = after.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn workspace() -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    here.ancestors()
        .find(|dir| is_workspace(&dir.join("Cargo.toml")))
        .map(Path::to_path_buf)
        .context("no Cargo workspace holds this folder; name the lab's folder with --dir")
}

fn is_workspace(manifest: &Path) -> bool {
    fs::read_to_string(manifest).is_ok_and(|text| text.lines().any(|line| line.trim() == "[workspace]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_folders_are_two_labs() {
        let one = Lab { dir: "/a/.lab".into() };
        let other = Lab { dir: "/b/.lab".into() };
        assert_ne!(one.id(), other.id());
        assert_eq!(one.id().len(), 8);
    }

    #[test]
    fn own_process_has_a_start_time() {
        assert!(start_time(std::process::id()).is_some());
        assert!(start_time(u32::MAX).is_none());
    }
}
