//! What a machine is, before anything on it is changed, and what about it stands in the way.

use std::collections::{BTreeMap, BTreeSet};

use crate::bootstrap::kubeadm::policy;
use crate::cluster::{Cluster, Packages, Role};

/// What the facts script found. Numbers that it could not find are 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    pub root: bool,
    pub systemd: bool,
    pub os_id: String,
    pub os_name: String,
    pub arch: String,
    pub kernel: String,
    pub hostname: String,
    /// `systemd-detect-virt --container`; `none` or empty on a real or virtual machine.
    pub container: String,
    pub cpus: u64,
    pub memory_kib: u64,
    pub disk_free_kib: u64,
    pub cgroup: u64,
    /// `absent`, `done`, `running`, `error`, ...
    pub cloud_init: String,
    /// Who holds apt's or dpkg's lock; empty: nobody.
    pub package_lock: String,
    /// Active swap areas.
    pub swap: u64,
    /// Empty: not installed.
    pub containerd: String,
    pub apt: bool,
    /// Whether the package source can be reached: `yes`, `no`, `proxy`, `unasked`.
    pub source: String,
    /// Name and CA hash of the cluster that kubewright prepared this machine for.
    pub cluster: String,
    /// Files of a kubeadm cluster that are there.
    pub kubernetes: Vec<String>,
    /// Seconds that the machine's clock is ahead of ours.
    pub clock_ahead: f64,
    /// Finished steps and the hash of their inputs.
    pub journal: BTreeMap<String, String>,
    /// Lines `SUM  PATH` of the bundle that were verified and installed.
    pub have: BTreeSet<String>,
}

/// Something that keeps a machine from becoming a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub what: String,
    pub fix: String,
}

impl Facts {
    /// Reads the script's output; `now` is our clock halfway through the call, in seconds since 1970.
    pub fn parse(text: &str, now: f64) -> Self {
        let mut facts = Self::default();
        let mut values = BTreeMap::new();
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("fact", rest)) => {
                    let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
                    values.insert(name, value.trim());
                }
                Some(("journal", rest)) => {
                    let mut words = rest.split(' ');
                    if let (Some(step), Some(hash), Some(_)) = (words.next(), words.next(), words.next()) {
                        facts.journal.insert(step.into(), hash.into());
                    }
                }
                Some(("have", rest)) => drop(facts.have.insert(rest.into())),
                _ => {}
            }
        }
        let text = |name: &str| values.get(name).map_or_else(String::new, |value| super::clean::line(value));
        let number = |name: &str| values.get(name).and_then(|value| value.parse().ok()).unwrap_or_default();
        let yes = |name: &str| values.get(name) == Some(&"yes");
        let clock = values.get("clock").and_then(|value| value.parse::<f64>().ok());
        Self {
            root: yes("root"),
            systemd: yes("systemd"),
            os_id: text("os_id"),
            os_name: text("os_name"),
            arch: text("arch"),
            kernel: text("kernel"),
            hostname: text("hostname"),
            container: text("container"),
            cpus: number("cpus"),
            memory_kib: number("memory_kib"),
            disk_free_kib: number("disk_free_kib"),
            cgroup: number("cgroup"),
            cloud_init: text("cloud_init"),
            package_lock: text("package_lock"),
            swap: number("swap"),
            containerd: text("containerd"),
            apt: !text("apt").is_empty(),
            source: text("source"),
            cluster: text("cluster"),
            kubernetes: text("kubernetes").split_whitespace().map(Into::into).collect(),
            clock_ahead: clock.map_or(0.0, |clock| clock - now),
            ..facts
        }
    }
}

/// Clocks that differ more than this break certificates sooner or later; kubeadm dates its own back by five minutes only.
const CLOCK_LIMIT: f64 = 60.0;

/// Everything that is wrong with a machine for its role, at once. `identity` is the cluster's, as in [`Facts::cluster`].
pub fn judge(facts: &Facts, cluster: &Cluster, role: Role, identity: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |is: bool, what: String, fix: &str| {
        if is {
            problems.push(Problem { what, fix: fix.into() });
        }
    };
    add(
        !facts.root,
        "`sudo -n` asks for a password or is refused".into(),
        "allow the login user (ssh.user) to use sudo without a password (NOPASSWD)",
    );
    add(
        !["debian", "ubuntu"].contains(&facts.os_id.as_str()),
        format!("the operating system is {}", if facts.os_name.is_empty() { "unknown" } else { &facts.os_name }),
        "use an image of Debian or Ubuntu",
    );
    add(!facts.systemd, "systemd is not running".into(), "use an image that boots with systemd");
    add(
        !["x86_64", "aarch64"].contains(&facts.arch.as_str()),
        format!("the architecture is {}", facts.arch),
        "use a machine type with amd64 or arm64",
    );
    let control_plane = role == Role::ControlPlane;
    // kubeadm's own preflight: 2 CPUs and 1700 MB for a control plane.
    add(
        control_plane && facts.cpus < 2,
        format!("{} CPU is too few for a control plane (2)", facts.cpus),
        "use a larger machine type",
    );
    let (memory, wanted) = (facts.memory_kib / 1024, if control_plane { 1700 } else { 700 });
    add(memory < wanted, format!("{memory} MiB of memory are too few ({wanted})"), "use a larger machine type");
    let (disk, wanted) = (facts.disk_free_kib / 1024, if control_plane { 4096 } else { 2048 });
    add(disk < wanted, format!("{disk} MiB free on /var/lib are too few ({wanted})"), "use a larger volume");
    add(
        facts.cgroup == 1 && policy::refuses_cgroup_v1(cluster.kubernetes),
        format!("cgroup v1: the kubelet of Kubernetes {} refuses it", cluster.kubernetes.minor_line()),
        "use an image with cgroup v2",
    );
    add(
        facts.clock_ahead.abs() > CLOCK_LIMIT,
        format!("the clock is {:.0} s {}", facts.clock_ahead.abs(), if facts.clock_ahead > 0.0 { "ahead" } else { "behind" }),
        "set the clocks of this machine and of the node right (chrony)",
    );
    add(
        facts.cloud_init == "error",
        "cloud-init ended with an error".into(),
        "see /var/log/cloud-init-output.log on the machine",
    );
    let foreign = match facts.cluster.as_str() {
        "" => !facts.kubernetes.is_empty(),
        known => known != identity,
    };
    let owner = match facts.cluster.split(' ').next() {
        None | Some("") => format!("there is a kubeadm cluster already ({})", facts.kubernetes.join(", ")),
        Some(name) => format!("this machine belongs to another cluster ({name})"),
    };
    add(foreign, owner, "use a fresh machine, or run `kubeadm reset` there and remove /var/lib/kubewright");
    if let Some((major, minor)) = major_minor(&facts.containerd) {
        let wanted = policy::containerd_minimum(cluster.kubernetes);
        add(
            (major, minor) < wanted,
            format!(
                "containerd {} is too old; Kubernetes {} needs {}.{}",
                facts.containerd, cluster.kubernetes, wanted.0, wanted.1
            ),
            "use a newer image",
        );
    }
    match &cluster.packages {
        Packages::Apt { .. } => {
            add(!facts.apt, "apt-get is missing".into(), "use an image of Debian or Ubuntu");
            add(
                facts.source == "no",
                "the package source cannot be reached".into(),
                "open the way out (NAT gateway, security group), or use a mirror or a bundle (packages)",
            );
        }
        Packages::Bundle(_) => add(
            facts.containerd.is_empty(),
            "containerd is missing and an air-gapped bundle does not bring it".into(),
            "use an image that has containerd",
        ),
    }
    problems
}

fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
