//! One node's processes: systemd-nspawn with systemd as its first process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::disk::Disk;
use crate::cgroups;

/// What nspawn ends with when the node asked for a reboot.
pub const REBOOT: i32 = 133;

/// Starts the node in its control groups. The `join` command of this binary enters them and becomes nspawn.
pub fn start(id: &str, disk: &Disk, groups: &[PathBuf]) -> Result<Child> {
    for group in groups {
        // a real machine boots without the groups of its last life; a kubelet would wait for each of them
        cgroups::remove(group, false);
    }
    let console = fs::OpenOptions::new().create(true).append(true).open(disk.console())?;
    // not its path: the binary may have been built anew since the lab came up
    let mut command = Command::new("/proc/self/exe");
    command.arg("join");
    for group in groups {
        command.arg("--group").arg(group);
    }
    command.args(["--", "systemd-nspawn", "--quiet"]);
    command.arg("-D").arg(disk.root()).args(["-M", id]);
    command.arg(format!("--network-namespace-path={}", disk.namespace().display()));
    command.args([
        "--register=no",
        "--keep-unit",
        "--private-users=no",
        "--capability=all",
        "--drop-capability=CAP_SYS_TIME",
        "--system-call-filter=@known",
        "--kill-signal=SIGRTMIN+3",
        "--console=pipe",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        "--notify-ready=yes",
    ]);
    for device in ["/dev/kmsg", "/dev/fuse", "/dev/net/tun"] {
        if Path::new(device).exists() {
            command.arg(format!("--bind={device}"));
        }
    }
    command.arg(format!("--bind={}:/var/lib/containerd", disk.containerd().display()));
    command.arg(format!("--bind={}:/lab-console", disk.console().display()));
    command.arg("/lab-init");
    command
        // only the node's own network settings may be written; lab-init stands in for the rest
        .env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network")
        .env("SYSTEMD_NSPAWN_LOCK", "0")
        .stdin(Stdio::null())
        .stdout(console.try_clone()?)
        .stderr(console)
        .spawn()
        .with_context(|| format!("starting the node of {id}"))
}

/// The node's first process as the hub sees it.
pub fn first_process(nspawn: u32) -> Option<u32> {
    let path = format!("/proc/{nspawn}/task/{nspawn}/children");
    fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

/// Whether something listens on port 22 in the network of process `pid`.
pub fn ssh_listens(pid: u32) -> bool {
    ["tcp", "tcp6"].iter().any(|table| {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        text.lines().skip(1).any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next().unwrap_or_default();
            local.ends_with(":0016") && fields.nth(1) == Some("0A")
        })
    })
}

pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        kill_process(pid, signal).ok(); // it may have ended by itself
    }
}
