//! What is made once and kept: moto in a virtual environment, and the nodes' base image.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::run;
use crate::state::Lab;

const MOTO: &str = "moto[server]==5.2.5";

/// What a node has, besides Debian's smallest system.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,openssh-server,sudo,iproute2,procps,ca-certificates,iputils-ping,kmod,\
iptables,nftables,ipset,ebtables,conntrack,socat,ethtool,curl,gpg,containerd,runc,containernetworking-plugins,\
python3-minimal,python3,python3-yaml,openssl,netcat-openbsd,util-linux,less,xz-utils";

/// Units that have no place in a machine that lives for minutes and has no hardware of its own.
const MASKED: [&str; 13] = [
    "systemd-udevd.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udev-trigger.service",
    "getty.target",
    "console-getty.service",
    "systemd-firstboot.service",
    "systemd-networkd-wait-online.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "systemd-pstore.service",
];

/// What lies over the base image as a layer of its own, written at every `up`.
const FILES: [(&str, u32, &str); 9] = [
    ("lab-init", 0o755, include_str!("../base/lab-init")),
    ("usr/sbin/runc", 0o755, include_str!("../base/runc")),
    ("usr/lib/lab/host-keys-on-console", 0o755, include_str!("../base/host-keys-on-console")),
    ("etc/systemd/system/lab-host-keys.service", 0o644, include_str!("../base/lab-host-keys.service")),
    ("etc/systemd/journald.conf.d/lab.conf", 0o644, "[Journal]\nReadKMsg=no\nStorage=persistent\n"),
    ("etc/systemd/system.conf.d/lab.conf", 0o644, "[Manager]\nDefaultTimeoutStopSec=10s\n"),
    ("etc/dpkg/dpkg.cfg.d/lab", 0o644, "path-exclude=/usr/share/doc/*\n"),
    ("etc/resolv.conf", 0o644, ""),
    // as in an image for machines without a way out: apt asks nobody that it cannot reach
    ("etc/apt/sources.list", 0o644, ""),
];

/// debootstrap mounts /proc and more in the new system: in a namespace of its own they go with it, whatever ends it.
const PRIVATE_MOUNTS: [&str; 4] = ["--mount", "--propagation", "private", "--"];

pub fn fill(lab: &Lab) -> Result<()> {
    fs::create_dir_all(lab.cache())?;
    moto(lab)?;
    base_image(lab)
}

fn moto(lab: &Lab) -> Result<()> {
    let venv = lab.cache().join("venv");
    let marker = venv.join("lab-ready");
    if fs::read_to_string(&marker).is_ok_and(|text| text == MOTO) {
        return Ok(());
    }
    let log = lab.cache().join("venv.log");
    if venv.exists() {
        fs::remove_dir_all(&venv)?; // half a run's, or another version's
    }
    run::step(
        "python virtual environment",
        Command::new("python3").args(["-m", "venv"]).arg(&venv),
        &log,
        Duration::from_secs(120),
    )?;
    run::step(
        &format!("pip install {MOTO}"),
        Command::new(venv.join("bin/python")).args(["-m", "pip", "install", "-q", MOTO]),
        &log,
        Duration::from_secs(600),
    )?;
    fs::write(marker, MOTO)?;
    Ok(())
}

fn base_image(lab: &Lab) -> Result<()> {
    let base = lab.base_image();
    let version = version();
    let marker = base.join("usr/lib/lab/version");
    if fs::read_to_string(&marker).is_ok_and(|text| text == version) {
        return Ok(());
    }
    let log = lab.cache().join("base.log");
    let part = lab.cache().join("base.part");
    for dir in [&part, &base] {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
    }
    run::step(
        "debootstrap Debian 12",
        Command::new("unshare")
            .args(PRIVATE_MOUNTS)
            .args(["debootstrap", "--variant=minbase", &format!("--include={PACKAGES}"), "bookworm"])
            .arg(&part),
        &log,
        Duration::from_secs(900),
    )?;
    finish(&part).context("finishing the base image")?;
    fs::create_dir_all(part.join("usr/lib/lab"))?;
    fs::write(part.join("usr/lib/lab/version"), version)?;
    fs::rename(&part, &base)?;
    Ok(())
}

/// Changes with everything that the image is made of.
fn version() -> String {
    use sha2::{Digest, Sha256};
    let mut digest = Sha256::new();
    digest.update(PACKAGES);
    for text in MASKED {
        digest.update(text);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn finish(base: &Path) -> Result<()> {
    let inside = |program: &str, arguments: &[&str]| {
        let root = base.to_string_lossy();
        let mut all = vec![&*root, program];
        all.extend(arguments);
        run::output("chroot", &all)
    };
    for dir in ["var/cache/apt/archives", "var/lib/apt/lists", "var/log/apt"] {
        fs::remove_dir_all(base.join(dir)).ok();
        fs::create_dir_all(base.join(dir))?;
    }
    for entry in fs::read_dir(base.join("etc/ssh"))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("ssh_host_") {
            fs::remove_file(entry.path())?; // every node makes its own
        }
    }
    fs::write(base.join("etc/machine-id"), "")?;
    fs::rename(base.join("usr/sbin/runc"), base.join("usr/sbin/runc.real"))?;
    for (user, id) in [("admin", "1000"), ("ubuntu", "1001")] {
        inside("useradd", &["-m", "-u", id, "-s", "/bin/bash", user])?;
    }
    let mut mask = vec!["mask"];
    mask.extend(MASKED);
    inside("systemctl", &mask)?;
    inside("systemctl", &["enable", "ssh.service"])?;
    modules(base, &inside)
}

/// Writes the layer over the base image: what the lab itself adds to Debian.
pub fn write_layer(layer: &Path) -> Result<()> {
    for (path, mode, text) in FILES {
        let path = layer.join(path);
        fs::create_dir_all(path.parent().unwrap_or(layer))?;
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    let wants = layer.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    std::os::unix::fs::symlink("/etc/systemd/system/lab-host-keys.service", wants.join("lab-host-keys.service"))?;
    Ok(())
}

/// Tells modprobe which modules the machine's kernel has built in, so that `modprobe br_netfilter` succeeds.
fn modules(base: &Path, inside: &dyn Fn(&str, &[&str]) -> Result<String>) -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned();
    let dir = base.join("lib/modules").join(&release);
    fs::create_dir_all(&dir)?;
    let config = run::output("zcat", &["/proc/config.gz"]).unwrap_or_default();
    let mut builtin = String::new();
    for (option, path) in BUILT_IN {
        if config.lines().any(|line| line == format!("CONFIG_{option}=y")) {
            builtin.push_str(&format!("kernel/{path}.ko\n"));
        }
    }
    fs::write(dir.join("modules.builtin"), builtin)?;
    fs::write(dir.join("modules.order"), "")?;
    inside("depmod", &[&release])?;
    Ok(())
}

const BUILT_IN: [(&str, &str); 18] = [
    ("OVERLAY_FS", "fs/overlayfs/overlay"),
    ("BRIDGE", "net/bridge/bridge"),
    ("BRIDGE_NETFILTER", "net/bridge/br_netfilter"),
    ("VETH", "drivers/net/veth"),
    ("VXLAN", "drivers/net/vxlan"),
    ("NF_CONNTRACK", "net/netfilter/nf_conntrack"),
    ("NF_NAT", "net/netfilter/nf_nat"),
    ("NF_TABLES", "net/netfilter/nf_tables"),
    ("IP_NF_IPTABLES", "net/ipv4/netfilter/ip_tables"),
    ("IP_NF_NAT", "net/ipv4/netfilter/iptable_nat"),
    ("IP_NF_FILTER", "net/ipv4/netfilter/iptable_filter"),
    ("IP_SET", "net/netfilter/ipset/ip_set"),
    ("TUN", "drivers/net/tun"),
    ("NETFILTER_XT_MATCH_COMMENT", "net/netfilter/xt_comment"),
    ("NETFILTER_XT_MATCH_STATISTIC", "net/netfilter/xt_statistic"),
    ("NETFILTER_XT_TARGET_MASQUERADE", "net/netfilter/xt_MASQUERADE"),
    ("IP_VS", "net/netfilter/ipvs/ip_vs"),
    ("BLK_DEV_LOOP", "drivers/block/loop"),
];
