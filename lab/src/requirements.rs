//! What the machine must be able to do, checked before anything is made.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::state::Lab;
use crate::{cgroups, run};

/// A command that is needed, and the Debian package that has it.
const TOOLS: [(&str, &str); 15] = [
    ("systemd-nspawn", "systemd-container"),
    ("debootstrap", "debootstrap"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("ssh-keygen", "openssh-client"),
    ("ssh", "openssh-client"),
    ("python3", "python3-venv"),
    ("dpkg-deb", "dpkg"),
    ("gzip", "gzip"),
    ("tar", "tar"),
    ("curl", "curl"),
    ("gpg", "gpg"),
    ("gpg-agent", "gpg-agent"),
];

/// Capabilities, by their number, without which no node boots.
const CAPABILITIES: [(u32, &str); 6] = [
    (0, "CAP_CHOWN"),
    (12, "CAP_NET_ADMIN"),
    (18, "CAP_SYS_CHROOT"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
    (27, "CAP_MKNOD"),
];

pub fn check() -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("the lab runs on Linux only; use a Debian 12 virtual machine");
    }
    if !rustix::process::geteuid().is_root() {
        bail!("the lab makes namespaces and mounts, which needs root; run it with sudo");
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap_or("0");
    let bounding = u64::from_str_radix(bounding.trim(), 16)?;
    let lacking: Vec<&str> = CAPABILITIES.iter().filter(|(bit, _)| bounding & (1 << bit) == 0).map(|(_, name)| *name).collect();
    if !lacking.is_empty() {
        bail!("this root lacks {}; in a container, start it with --privileged", lacking.join(", "));
    }
    let missing = cgroups::missing()?;
    if !missing.is_empty() {
        bail!(
            "no cgroup v1 hierarchy for {}; the nodes' Debian 12 is booted on cgroup v1: start the machine with \
             systemd.unified_cgroup_hierarchy=0",
            missing.join(", ")
        );
    }
    let filesystems = std::fs::read_to_string("/proc/filesystems")?;
    if !filesystems.split_whitespace().any(|name| name == "overlay") {
        bail!("this kernel has no overlay file system; load the module overlay");
    }
    Ok(())
}

/// Installs the Debian packages whose commands are not there.
pub fn install_tools(lab: &Lab) -> Result<()> {
    let mut packages: Vec<&str> = TOOLS.iter().filter(|(tool, _)| !in_path(tool)).map(|(_, package)| *package).collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    if !in_path("apt-get") {
        bail!("missing: {}; there is no apt-get here to install them", packages.join(", "));
    }
    let log = lab.cache().join("apt.log");
    run::step("apt-get update", &mut apt(&["update", "-q"]), &log, Duration::from_secs(300))?;
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(&packages);
    run::step(&format!("apt-get install {}", packages.join(" ")), &mut apt(&arguments), &log, Duration::from_secs(600))
}

fn apt(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

pub fn in_path(tool: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|dir| Path::new(dir).join(tool).exists())
}
