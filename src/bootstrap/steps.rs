//! What a task does, step by step: written once, in order.

use std::time::Duration;

use serde_json::{Value, json};

use super::bundle::Bundle;
use super::kubeadm::{self, CRI_SOCKET, Discovery, FOLDER, File, Place};
use super::packages::{PROGRAMS, apt_packages, bundled, pull};
use super::template::render;
use super::upgrade::{fetch, upgrade};
use super::{Machine, NodeTask, Pki, cni, pki};
use crate::cluster::{Cluster, Cni, DrainEnd, KubernetesVersion, Packages, Role, policy};
use crate::digest::sha256;
use crate::secret::Secret;

/// One idempotent thing done on one node.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub name: &'static str,
    /// Hash of everything that the step's result depends on. A journal line with the same hash means: done.
    pub hash: String,
    pub limit: Duration,
    /// What a user would recognise of it, where that is one command.
    pub command: Option<&'static str>,
    pub work: Work,
}

/// How a step is carried out. Bodies are shell texts that define `main`; they may hold secrets, so they are never shown.
#[derive(Clone)]
pub(super) enum Work {
    /// Within one call.
    Now(String),
    /// In a transient systemd unit, which outlives the connection.
    Unit(String),
    /// What the machine lacks of the bundle is sent before the body runs.
    Upload { wanted: Vec<String>, body: String },
    /// In a unit, with a token of our own that is revoked afterwards.
    Init(String),
    /// In a unit, with a token that a ready control plane makes and takes back.
    Join(String),
    /// On a ready control plane, about this machine.
    Elsewhere(String),
    /// Until the Node is registered, with this version where one is named, and Ready where a network is installed.
    Registered { ready: bool, version: Option<KubernetesVersion> },
    /// In a unit on a ready control plane.
    Drain(String),
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Work")
    }
}

pub(super) const MINUTE: Duration = Duration::from_secs(60);
/// Seconds that pods which are deleted have at least, to end as they like to.
const FORCED: u32 = 300;

/// The steps of a task on a machine. `bundle` is there if the cluster's packages come from one.
pub(super) fn steps(task: NodeTask, place: Place<'_>, pki: &Pki, bundle: Option<&Bundle>) -> Result<Vec<Step>, String> {
    let cluster = place.cluster;
    let mut list = List(Vec::new());
    match task {
        NodeTask::Prepare if place.group.role == Role::Bastion => {}
        NodeTask::Prepare => {
            let apt = matches!(cluster.packages, Packages::Apt { .. });
            list.add("cloud-init", 16 * MINUTE, Work::Unit(body("cloud-init", json!({}))?));
            list.add(
                "hostname",
                MINUTE,
                Work::Now(body("hostname", json!({"instance": place.machine.instance, "identity": identity(cluster, pki)?}))?),
            );
            list.add("hosts", MINUTE, Work::Now(body("hosts", json!({"lines": own_name(place.machine)}))?));
            list.add("time", 10 * MINUTE, Work::Now(body("time", json!({"apt": apt}))?));
            list.add(
                "kernel",
                MINUTE,
                Work::Now(body("kernel", json!({"modules": MODULES, "settings": SYSCTLS, "machine_settings": MACHINE_SYSCTLS}))?),
            );
            list.add("swap", MINUTE, Work::Now(body("swap", json!({}))?));
            list.add("container-runtime", 15 * MINUTE, Work::Unit(container_runtime(cluster, apt)?));
            match (&cluster.packages, bundle) {
                (Packages::Apt { mirror, signing_key }, _) => {
                    let packages = apt_packages(cluster, mirror.as_deref(), signing_key.as_deref(), &PROGRAMS)?;
                    list.add("packages", 15 * MINUTE, Work::Unit(packages));
                }
                (Packages::Bundle(_), Some(bundle)) => {
                    let [packages, images] = bundled(bundle, cluster, place.group.role, &[])?;
                    list.add("packages", 15 * MINUTE, packages);
                    list.add("images", 15 * MINUTE, images);
                }
                (Packages::Bundle(path), None) => return Err(format!("the bundle {} is not loaded", path.display())),
            }
            list.add("cri", 2 * MINUTE, Work::Now(body("cri", json!({"pause": policy(cluster.kubernetes).sandbox_image()}))?));
            list.add("kubelet", MINUTE, Work::Now(kubelet(cluster, false)?));
            list.mix(bundle.and_then(|bundle| bundle.sum("bin/kubelet")).unwrap_or_default());
            if apt && place.group.role == Role::ControlPlane {
                list.add("images", 15 * MINUTE, Work::Unit(pull(cluster)?));
            }
            if place.group.role == Role::ControlPlane {
                list.add("certificates", MINUTE, Work::Now(certificates(pki)?));
                list.add("api-server", MINUTE, Work::Now(files(None, kubeadm::api_server_files(&pki.encryption_key)?)?));
            }
            let patches = kubeadm::patch_files(place)?;
            if !patches.is_empty() {
                list.add("patches", MINUTE, Work::Now(files(Some(&format!("{FOLDER}/patches")), patches)?));
            }
        }
        NodeTask::Init => {
            list.named("init", 10 * MINUTE, "kubeadm init --config /etc/kubernetes/kubewright/init.yaml", {
                Work::Init(body("init", json!({"cri_socket": CRI_SOCKET}))?)
            });
            list.mix(init_files(place, &redacted())?.expose());
            list.add("api", 5 * MINUTE, Work::Now(body("api", json!({"own": kubeadm::own_server(place.machine)}))?));
            if let Some((command, script)) = cni::step(cluster, bundle)? {
                list.named("cni", 10 * MINUTE, command, Work::Unit(script));
                // Not every network is told the CIDR; each of them lives by it.
                list.mix(&cluster.network.pods.to_string());
            }
        }
        NodeTask::JoinControlPlane | NodeTask::JoinWorker => {
            let control_plane = place.group.role == Role::ControlPlane;
            let server = format!("https://{}", kubeadm::control_plane_endpoint(cluster));
            let own = kubeadm::own_server(place.machine);
            let values = json!({
                "cri_socket": CRI_SOCKET, "control_plane": control_plane, "server": server, "own": own, "node": place.machine.instance,
            });
            list.named("join", 15 * MINUTE, "kubeadm join --config /etc/kubernetes/kubewright/join.yaml", {
                Work::Join(body("join", values)?)
            });
            let discovery = Discovery { token: redacted(), ca_cert_hash: pki::ca_cert_hash(&pki.ca_cert)? };
            list.mix(kubeadm::join_file(place, &discovery)?.expose());
            if control_plane {
                list.add("api", 5 * MINUTE, Work::Now(body("api", json!({"own": kubeadm::own_server(place.machine)}))?));
                list.add("endpoint", MINUTE, Work::Now(body("endpoint", json!({"lines": endpoint(cluster, place.machine)}))?));
            }
            // A control plane's come with `Ready`: the next one waits for this task.
            if !control_plane {
                settled(&mut list, place)?;
            }
        }
        NodeTask::Ready => settled(&mut list, place)?,
        NodeTask::Label => list.add("labels", MINUTE, Work::Elsewhere(labels(place)?)),
        NodeTask::Forget => {
            let body = body("forget", json!({"node": place.machine.instance}))?;
            list.named("forget", 2 * MINUTE, "kubectl delete node", Work::Elsewhere(body));
        }
        NodeTask::Cordon | NodeTask::Uncordon => {
            let (verb, name) = if task == NodeTask::Cordon { ("cordon", "cordon") } else { ("uncordon", "uncordon") };
            list.add(name, MINUTE, Work::Elsewhere(body("cordon", json!({"node": place.machine.instance, "verb": verb}))?));
        }
        NodeTask::Evict => {
            let seconds = place.group.rolling_update.drain_timeout;
            let values = json!({"node": place.machine.instance, "timeout": seconds, "force": "false"});
            list.named("evict", drain_limit(seconds), DRAIN, Work::Drain(body("evict", values)?));
        }
        NodeTask::DeletePods => {
            let seconds = place.group.rolling_update.drain_timeout.max(FORCED);
            let values = json!({"node": place.machine.instance, "timeout": seconds, "force": "true"});
            let command = "kubectl drain --ignore-daemonsets --delete-emptydir-data --disable-eviction";
            list.named("delete-pods", drain_limit(seconds), command, Work::Drain(body("evict", values)?));
        }
        // Its bytes go to whoever asks, piece by piece: `EtcdWork`.
        NodeTask::Snapshot => return Err("a snapshot is nothing that a machine keeps for itself".into()),
        NodeTask::MoveLeader => {
            let body = etcd("leader", json!({"address": place.machine.private_address}))?;
            list.named("leader", 2 * MINUTE, "etcdctl move-leader", Work::Elsewhere(body));
        }
        NodeTask::RemoveMember => {
            let values = json!({"instance": place.machine.instance, "address": place.machine.private_address});
            list.named("member", 2 * MINUTE, "etcdctl member remove", Work::Elsewhere(etcd("member", values)?));
        }
        NodeTask::Fetch => fetch(&mut list, place, bundle)?,
        NodeTask::Upgrade => upgrade(&mut list, place, bundle, false)?,
        NodeTask::UpgradeFirst => upgrade(&mut list, place, bundle, true)?,
        NodeTask::Drain => {
            let rolling = &place.group.rolling_update;
            let (seconds, force) = (rolling.drain_timeout, rolling.on_drain_timeout == DrainEnd::Force);
            let forced = seconds.max(FORCED);
            let values = json!({
                "node": place.machine.instance, "timeout": seconds, "forced": forced, "force": if force { "true" } else { "false" },
            });
            let limit = drain_limit(if force { seconds.saturating_add(forced) } else { seconds });
            list.named("drain", limit, DRAIN, Work::Drain(body("drain", values)?));
        }
    }
    Ok(list.0)
}

const DRAIN: &str = "kubectl drain --ignore-daemonsets --delete-emptydir-data";

/// Time for a drain to end by itself, after the time that its pods have.
fn drain_limit(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds)) + 2 * MINUTE
}

pub(super) struct List(pub Vec<Step>);

impl List {
    pub(super) fn add(&mut self, name: &'static str, limit: Duration, work: Work) {
        let hash = match &work {
            Work::Now(body)
            | Work::Unit(body)
            | Work::Init(body)
            | Work::Join(body)
            | Work::Elsewhere(body)
            | Work::Drain(body) => digest(body),
            Work::Upload { body, .. } => digest(body),
            Work::Registered { ready, version: None } => digest(&format!("ready {ready}")),
            Work::Registered { ready, version: Some(version) } => digest(&format!("ready {ready} {version}")),
        };
        self.0.push(Step { name, hash, limit, command: None, work });
    }

    pub(super) fn named(&mut self, name: &'static str, limit: Duration, command: &'static str, work: Work) {
        self.add(name, limit, work);
        if let Some(step) = self.0.last_mut() {
            step.command = Some(command);
        }
    }

    /// Makes the last step depend on something more.
    pub(super) fn mix(&mut self, more: &str) {
        if let Some(step) = self.0.last_mut() {
            step.hash = digest(&format!("{} {more}", step.hash));
        }
    }
}

/// The Node has its labels and is Ready, and CoreDNS finds it: kubeadm starts all of CoreDNS on the first control plane, and nothing moves it from there.
fn settled(list: &mut List, place: Place<'_>) -> Result<(), String> {
    let ready = place.cluster.network.cni != Cni::None;
    list.add("labels", MINUTE, Work::Elsewhere(labels(place)?));
    list.add("ready", 10 * MINUTE, Work::Registered { ready, version: None });
    // A taint of the group's own would keep CoreDNS away from here.
    if ready && place.group.taints.is_empty() {
        list.add("dns", 2 * MINUTE, Work::Elsewhere(body("dns", json!({"node": place.machine.instance}))?));
    }
    Ok(())
}

pub(super) fn digest(text: &str) -> String {
    sha256(text).chars().take(24).collect()
}

/// Checksums of the configurations that containerd may have.
pub(super) fn containerd_sums(cluster: &Cluster) -> Result<[String; 2], String> {
    Ok(containerd_configs(cluster)?.map(sha256))
}

pub(super) fn body(name: &str, values: Value) -> Result<String, String> {
    render(&format!("steps/{name}.sh.j2"), values)
}

/// A script that may ask etcd.
pub(super) fn etcd(name: &str, values: Value) -> Result<String, String> {
    Ok(body("etcdctl", json!({}))? + &body(name, values)?)
}

/// Name and CA of a cluster: what a prepared machine remembers.
pub(super) fn identity(cluster: &Cluster, pki: &Pki) -> Result<String, String> {
    Ok(format!("{} {}", cluster.name, pki::ca_cert_hash(&pki.ca_cert)?))
}

/// Stands for a token where the text is hashed or shown.
pub(super) fn redacted() -> Secret {
    Secret::new("<token>")
}

/// The `/etc/hosts` line by which the API's internal name means one control plane.
pub(super) fn endpoint(cluster: &Cluster, control_plane: &Machine) -> String {
    format!("{} {}", control_plane.private_address, cluster.api_internal_name())
}

/// The `/etc/hosts` line by which a machine knows its own name.
pub(super) fn own_name(machine: &Machine) -> String {
    format!("{} {}", machine.private_address, machine.instance)
}

/// Kernel modules that pods need.
pub(super) const MODULES: &str = "overlay\nbr_netfilter\n";
/// Kernel settings of each network namespace.
pub(super) const SYSCTLS: &str =
    "net.ipv4.ip_forward = 1\nnet.bridge.bridge-nf-call-iptables = 1\nnet.bridge.bridge-nf-call-ip6tables = 1\n";
/// Kernel settings of the whole machine; a container leaves them to its host.
const MACHINE_SYSCTLS: &str = "fs.inotify.max_user_instances = 8192\nfs.inotify.max_user_watches = 1048576\n";

/// What `init` needs before it runs: the endpoint's name means this machine, and the configuration is in its place.
pub(super) fn init_files(place: Place<'_>, token: &Secret) -> Result<Secret, String> {
    let config = kubeadm::init_file(place, token)?;
    let values = json!({"endpoint": endpoint(place.cluster, place.machine), "config": config.expose()});
    body("init-files", values).map(Secret::new)
}

/// What `join` needs before it runs. A control plane reaches the API through `through` until its own server answers.
pub(super) fn join_files(place: Place<'_>, discovery: &Discovery, through: &Machine) -> Result<Secret, String> {
    let config = kubeadm::join_file(place, discovery)?;
    let endpoint = match place.group.role {
        Role::ControlPlane => endpoint(place.cluster, through),
        Role::Node | Role::Bastion => String::new(),
    };
    body("join-files", json!({"endpoint": endpoint, "config": config.expose()})).map(Secret::new)
}

/// `/etc/containerd/config.toml` for containerd 1.x and 2.x.
pub(super) fn containerd_configs(cluster: &Cluster) -> Result<[String; 2], String> {
    let values = json!({"pause": policy(cluster.kubernetes).sandbox_image()});
    Ok([render("containerd/v2.toml.j2", &values)?, render("containerd/v3.toml.j2", &values)?])
}

pub(super) fn container_runtime(cluster: &Cluster, apt: bool) -> Result<String, String> {
    let [config_v2, config_v3] = containerd_configs(cluster)?;
    let (major, minor, _) = policy(cluster.kubernetes).containerd_minimum;
    let crictl = format!("runtime-endpoint: {CRI_SOCKET}\nimage-endpoint: {CRI_SOCKET}\n");
    let values = json!({"apt": apt, "minimum": [major, minor], "config_v2": config_v2, "config_v3": config_v3, "crictl": crictl});
    body("container-runtime", values)
}

/// The kubelet's systemd drop-ins: kubeadm's, and the order after containerd that it lacks.
pub(super) const KUBELET_DROP_IN: &str = r#"# Written by kubewright; changes are overwritten.
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
"#;
pub(super) const KUBELET_ORDER: &str = "[Unit]\nWants=containerd.service\nAfter=containerd.service\n";

/// `held`: the program of this version is put in place by a later step.
pub(super) fn kubelet(cluster: &Cluster, held: bool) -> Result<String, String> {
    let version = format!("v{}", cluster.kubernetes);
    body("kubelet", json!({"drop_in": KUBELET_DROP_IN, "order": KUBELET_ORDER, "version": version, "held": held}))
}

fn certificates(pki: &Pki) -> Result<String, String> {
    let file = |path: &str, mode, text: Secret| File { path: format!("/etc/kubernetes/pki/{path}"), mode, text };
    let public = |path: &str, text: &str| file(path, "0644", Secret::new(text));
    let private = |path: &str, text: &Secret| file(path, "0600", text.clone());
    let pairs = vec![
        public("ca.crt", &pki.ca_cert),
        private("ca.key", &pki.ca_key),
        public("etcd/ca.crt", &pki.etcd_ca_cert),
        private("etcd/ca.key", &pki.etcd_ca_key),
        public("front-proxy-ca.crt", &pki.front_proxy_ca_cert),
        private("front-proxy-ca.key", &pki.front_proxy_ca_key),
        public("sa.pub", &pki.sa_public),
        private("sa.key", &pki.sa_key),
    ];
    files(None, pairs)
}

/// Files of a machine; all that is in the folder `only_in` and not among them goes away.
fn files(only_in: Option<&str>, files: Vec<File>) -> Result<String, String> {
    let one = |file: File| json!({"path": file.path, "mode": file.mode, "content": file.text.expose()});
    let mut values = json!({"files": files.into_iter().map(one).collect::<Vec<_>>()});
    if let (Some(folder), Some(values)) = (only_in, values.as_object_mut()) {
        values.insert("only_in".into(), folder.into());
    }
    body("files", values)
}

/// Labels and taints, as `kubectl` takes them. A kubelet may not give itself most of them, so a control plane does.
pub(super) fn labels(place: Place<'_>) -> Result<String, String> {
    let (cluster, group, machine) = (place.cluster, place.group, place.machine);
    let role = match group.role {
        Role::ControlPlane => "control-plane",
        Role::Node | Role::Bastion => "node",
    };
    let own = [
        (format!("node-role.kubernetes.io/{role}"), String::new()),
        ("kubewright.io/instance-group".into(), group.name.clone()),
        ("kubewright.io/slot".into(), machine.slot.clone()),
        ("topology.kubernetes.io/region".into(), cluster.region.clone()),
        ("topology.kubernetes.io/zone".into(), machine.zone.clone()),
        ("node.kubernetes.io/instance-type".into(), group.machine_type.clone()),
    ];
    let wanted = group.labels.iter().map(|(key, value)| (key.clone(), value.clone()));
    let (lost_labels, lost_taints) = machine.marks.lost(&group.marks());
    let mut labels: Vec<String> = own.into_iter().chain(wanted).map(|(key, value)| format!("{key}={value}")).collect();
    labels.extend(lost_labels.into_iter().map(|key| format!("{key}-")));
    let lost_taints: Vec<String> = lost_taints.into_iter().map(|(key, effect)| format!("{key}:{}-", effect.as_str())).collect();
    let taints: Vec<String> =
        group.taints.iter().map(|taint| format!("{}={}:{}", taint.key, taint.value, taint.effect.as_str())).collect();
    body("labels", json!({"node": machine.instance, "labels": labels, "taints": taints, "lost_taints": lost_taints}))
}
