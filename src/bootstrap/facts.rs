//! What a machine is, before anything on it is changed, and what about it stands in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::inspect::CLOCK_LIMIT;
use crate::cluster::{Cluster, InstanceGroup, Packages, Role, policy};

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
    /// Names of images and digests of contents that the container runtime holds, where it was asked.
    pub images: BTreeSet<String>,
    /// It was asked for them, and answered.
    pub images_listed: bool,
    /// Checksum of containerd's configuration; empty: there is none.
    pub containerd_config: String,
    /// Destinations and interfaces of the routes of a machine that is no node yet, the default route left out.
    pub routes: Vec<(String, String)>,
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
                Some(("image", rest)) => drop(facts.images.insert(rest.into())),
                Some(("route", rest)) => {
                    let (destination, interface) = rest.split_once(' ').unwrap_or((rest, ""));
                    facts.routes.push((super::clean::line(destination), super::clean::line(interface)));
                }
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
            images_listed: text("images") == "listed",
            containerd_config: text("containerd_config"),
            kubernetes: text("kubernetes").split_whitespace().map(Into::into).collect(),
            clock_ahead: clock.map_or(0.0, |clock| clock - now),
            ..facts
        }
    }
}

/// The spec says that the kubelet may run on cgroup v1.
fn accepts_cgroup_v1(cluster: &Cluster, group: &InstanceGroup) -> bool {
    let own = group.settings.kubelet.get("failCgroupV1");
    own.or_else(|| cluster.components.kubelet.get("failCgroupV1")).is_some_and(|fails| fails == false)
}

/// What of a machine this version of Kubernetes does not take: asked also where it ran an older one until now.
pub fn suits(facts: &Facts, cluster: &Cluster, group: &InstanceGroup) -> Vec<Problem> {
    let (policy, version) = (policy(cluster.kubernetes), cluster.kubernetes);
    let mut problems = Vec::new();
    let mut add = |is: bool, what: String, fix: &str| {
        if is {
            problems.push(Problem { what, fix: fix.into() });
        }
    };
    let old = facts.cgroup == 1 && !policy.cgroup_v1;
    let accepted = accepts_cgroup_v1(cluster, group);
    add(
        old && !accepted,
        format!("cgroup v1: the kubelet of Kubernetes {} refuses it", version.minor_line()),
        "use an image with cgroup v2, or set failCgroupV1 = false in the kubelet settings of the instance group",
    );
    let ignored = [&cluster.components.ignore_preflight_errors, &group.settings.ignore_preflight_errors];
    let is_check = |name: &String| ["systemverification", "all"].contains(&name.to_lowercase().as_str());
    add(
        old && accepted && !ignored.iter().any(|names| names.iter().any(is_check)),
        format!("cgroup v1: the preflight of kubeadm {} refuses it", version.minor_line()),
        "use an image with cgroup v2, or name SystemVerification in ignore_preflight_errors of the instance group",
    );
    if let Some((major, minor)) = major_minor(&facts.containerd) {
        let (wanted_major, wanted_minor, _) = policy.containerd_minimum;
        add(
            (major, minor) < (wanted_major, wanted_minor),
            format!("containerd {} is too old; Kubernetes {version} needs {wanted_major}.{wanted_minor}", facts.containerd),
            "use a newer image",
        );
    }
    problems
}

/// Everything that is wrong with a machine of a group, at once. `identity` is the cluster's, as in [`Facts::cluster`].
pub fn judge(facts: &Facts, cluster: &Cluster, group: &InstanceGroup, identity: &str) -> Vec<Problem> {
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
    let control_plane = group.role == Role::ControlPlane;
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
        facts.clock_ahead.abs() > CLOCK_LIMIT,
        format!("the clock is {:.0} s {}", facts.clock_ahead.abs(), if facts.clock_ahead > 0.0 { "ahead" } else { "behind" }),
        "set the clocks of this machine and of the node right (chrony)",
    );
    add(
        facts.cloud_init == "error",
        "cloud-init ended with an error".into(),
        "see /var/log/cloud-init-output.log on the machine",
    );
    for (key, range) in [("pods", cluster.network.pods), ("services", cluster.network.services)] {
        for (destination, interface) in facts.routes.iter().filter(|route| overlaps(route, range)) {
            add(
                true,
                format!("its route {destination} by {interface} overlaps network.{key} {range}"),
                "take the route away, or give the cluster another range",
            );
        }
    }
    let foreign = match facts.cluster.as_str() {
        "" => !facts.kubernetes.is_empty(),
        known => known != identity,
    };
    let owner = match facts.cluster.split(' ').next() {
        None | Some("") => format!("there is a kubeadm cluster already ({})", facts.kubernetes.join(", ")),
        Some(name) => format!("this machine belongs to another cluster ({name})"),
    };
    add(foreign, owner, "use a fresh machine, or run `kubeadm reset` there and remove /var/lib/kubewright");
    problems.extend(suits(facts, cluster, group));
    let mut add = |is: bool, what: String, fix: &str| {
        if is {
            problems.push(Problem { what, fix: fix.into() });
        }
    };
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

/// Interfaces that pod networks make, and leave behind.
const OF_POD_NETWORKS: [&str; 7] = ["cni0", "flannel", "cali", "vxlan.calico", "tunl", "cilium", "lxc"];

fn overlaps((destination, interface): &(String, String), range: Ipv4Net) -> bool {
    let net = destination.parse::<Ipv4Net>().ok().or_else(|| destination.parse::<Ipv4Addr>().ok().map(Ipv4Net::from));
    let own = OF_POD_NETWORKS.iter().any(|name| interface.starts_with(name));
    net.is_some_and(|net| !own && net.prefix_len() > 0 && (net.contains(&range) || range.contains(&net)))
}

fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "fact root yes\nfact os_id debian\nfact os_version 12\nfact os_name Debian GNU/Linux 12\nfact arch x86_64\nfact kernel 6.1\n\
        fact hostname i-1\nfact systemd yes\nfact container none\nfact cpus 2\nfact memory_kib 3900000\nfact cgroup 2\nfact cloud_init done\n\
        fact package_lock \nfact disk_free_kib 18000000\nfact swap 0\nfact containerd 1.6.20~ds1\nfact apt /usr/bin/apt-get\nfact source yes\nfact cluster \n\
        fact kubernetes \njournal hostname aaa 2026-01-01T00:00:00Z\njournal hostname bbb 2026-01-02T00:00:00Z\njournal cut\nhave 00  bin/kubeadm\nroute 10.20.0.0/24 ens5\n\
        route 169.254.0.0/16 ens5\nroute 172.31.0.0/16 ens6\nroute 192.168.3.0/24 flannel.1\nroute 192.168.4.0/24 cni0\nroute 0.0.0.0/0 ens5\nfact clock 1000.5\n";

    fn cluster(version: &str, packages: Packages) -> Cluster {
        let mut cluster: Cluster = serde_json::from_value(serde_json::json!({
            "name": "demo.example.com", "kubernetes": version, "region": "us-east-1", "zones": ["us-east-1a"],
            "network": {"cidr": "10.20.0.0/16", "pods": "192.168.0.0/16", "services": "10.96.0.0/12", "cni": "calico", "topology": "public"},
            "api": {"dns_zone": "example.com", "sans": [], "access": []},
            "ssh": {"user": "admin", "port": 22, "public_key": "", "auth": "agent", "access": [], "address": "public", "host_keys": "console"},
            "node_ports": [], "groups": [], "tags": {}, "packages": {"apt": {"mirror": null}}, "prevent_destroy": false
        }))
        .unwrap();
        cluster.packages = packages;
        cluster
    }

    fn group(role: Role) -> InstanceGroup {
        InstanceGroup { role, ..crate::desired::fixture::cluster().groups.remove(0) }
    }

    #[test]
    fn cgroup_v1_is_accepted_where_the_spec_says_so() {
        let text = GOOD.replace("fact cgroup 2", "fact cgroup 1");
        let mut cluster = cluster("1.36.0", Packages::Apt { mirror: None, signing_key: None });
        let problems =
            |cluster: &Cluster, group: &InstanceGroup| judge(&Facts::parse(&text, 1000.0), cluster, group, "demo x").len();
        let mut group = group(Role::Node);
        assert_eq!(problems(&cluster, &group), 1);
        cluster.components.kubelet.insert("failCgroupV1".into(), false.into());
        assert_eq!(problems(&cluster, &group), 1, "kubeadm's preflight does not take it either");
        group.settings.ignore_preflight_errors.push("SystemVerification".into());
        assert_eq!(problems(&cluster, &group), 0);
        group.settings.kubelet.insert("failCgroupV1".into(), true.into());
        assert_eq!(problems(&cluster, &group), 1);
    }

    #[test]
    fn a_good_machine_has_no_problems_and_its_journal_is_read() {
        let facts = Facts::parse(GOOD, 1000.0);
        for version in ["1.29.0", "1.34.2", "1.37.0"] {
            for packages in [Packages::Apt { mirror: None, signing_key: None }, Packages::Bundle("/b".into())] {
                for role in [Role::ControlPlane, Role::Node] {
                    assert_eq!(judge(&facts, &cluster(version, packages.clone()), &group(role), "demo x"), []);
                }
            }
        }
        assert_eq!(
            facts.journal,
            BTreeMap::from([("hostname".to_string(), "bbb".to_string())]),
            "the last line of a step counts"
        );
        assert!(facts.have.contains("00  bin/kubeadm"));
        assert!((facts.clock_ahead - 0.5).abs() < 0.01);
    }

    #[test]
    fn each_fault_is_one_problem_with_a_way_out_and_all_are_told_together() {
        let cases = [
            ("fact root yes", "fact root no", "sudo"),
            ("os_name Debian GNU/Linux 12", "os_name Fedora 42", "Fedora 42"),
            ("fact systemd yes", "fact systemd no", "systemd"),
            ("fact arch x86_64", "fact arch riscv64", "riscv64"),
            ("fact cpus 2", "fact cpus 1", "CPU"),
            ("memory_kib 3900000", "memory_kib 900000", "memory"),
            ("disk_free_kib 18000000", "disk_free_kib 90000", "/var/lib"),
            ("fact cgroup 2", "fact cgroup 1", "cgroup v1"),
            ("fact cloud_init done", "fact cloud_init error", "cloud-init"),
            ("containerd 1.6.20~ds1", "containerd 1.5.9", "1.5.9"),
            ("fact source yes", "fact source no", "package source"),
            ("fact cluster ", "fact cluster other sha256:1", "other"),
            ("fact kubernetes ", "fact kubernetes /etc/kubernetes/admin.conf", "admin.conf"),
            ("fact clock 1000.5", "fact clock 5000", "ahead"),
            ("fact clock 1000.5", "fact clock 100", "behind"),
            ("route 10.20.0.0/24 ens5", "route 192.168.128.0/20 vpn0", "192.168.128.0/20 by vpn0 overlaps network.pods"),
            ("route 169.254.0.0/16 ens5", "route 192.168.7.7 vpn0", "192.168.7.7 by vpn0"),
            ("route 172.31.0.0/16 ens6", "route 10.64.0.0/10 vpn0", "overlaps network.services"),
        ];
        let cluster = cluster("1.36.0", Packages::Apt { mirror: None, signing_key: None });
        let mut worst = GOOD.to_string();
        for (good, bad, told) in cases {
            let mut text = GOOD.replacen(good, bad, 1);
            if told == "Fedora 42" {
                text = text.replace("os_id debian", "os_id fedora");
                worst = worst.replace("os_id debian", "os_id fedora");
            }
            let problems = judge(&Facts::parse(&text, 1000.0), &cluster, &group(Role::ControlPlane), "demo.example.com sha256:0");
            assert!(problems.len() == 1 && problems[0].what.contains(told) && !problems[0].fix.is_empty(), "{bad}: {problems:?}");
            worst = worst.replacen(good, bad, 1);
        }
        let all = judge(&Facts::parse(&worst, 1000.0), &cluster, &group(Role::ControlPlane), "demo.example.com sha256:0");
        assert!(all.len() >= 13, "{all:?}");
        assert!(
            !judge(&Facts::parse("", 0.0), &cluster, &group(Role::Node), "x").is_empty(),
            "a machine that says nothing is not good"
        );
    }

    #[test]
    fn what_a_machine_says_of_itself_cannot_reach_the_terminal() {
        let facts = Facts::parse("fact os_name \u{1b}[2Jevil\u{7}\nfact arch x\u{1b}]0;t\u{7}y\n", 0.0);
        assert_eq!((facts.os_name.as_str(), facts.arch.as_str()), ("evil", "xy"));
    }
}
