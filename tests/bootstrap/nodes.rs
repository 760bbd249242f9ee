//! Machines that cannot be reached or are not fit: each has its own clear error, and nothing on them is changed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use kubewright::bootstrap::ssh::fingerprint;
use kubewright::bootstrap::{
    Bundle, Consoles, EtcdWork, Machine, NodeError, NodeEvent, NodeTask, Nodes, Permission, Pki, Refusal, SshNodes, Stage,
};
use kubewright::clock::{Clock, RandomIds, SystemClock};
use kubewright::cluster::{Cluster, Cni, HostKeys, Packages, Role};

use crate::fleet::{Told, cluster, fleet, machine};
use crate::sshd::{Sshd, free_port, keygen, limits, public};

struct Console(Option<String>);

#[async_trait]
impl Consoles for Console {
    async fn console(&self, _: &str) -> Result<Option<String>, String> {
        Ok(self.0.clone())
    }
}

/// Real time, but waits take none: deadlines of ten minutes pass at once.
struct Hurried(std::sync::Mutex<jiff::Timestamp>);

impl Hurried {
    fn new() -> Arc<Self> {
        Arc::new(Self(std::sync::Mutex::new(jiff::Timestamp::now())))
    }
}

#[async_trait]
impl Clock for Hurried {
    fn now(&self) -> jiff::Timestamp {
        *self.0.lock().unwrap()
    }

    async fn wait(&self, duration: std::time::Duration) {
        // Ten times as fast, so that a wait of minutes is a few attempts.
        let duration = jiff::SignedDuration::try_from(duration * 10).unwrap();
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(duration).unwrap();
    }
}

fn console_of(key: &str) -> String {
    format!("boot\n-----BEGIN SSH HOST KEY KEYS-----\n{key}\n-----END SSH HOST KEY KEYS-----\n")
}

/// Lets nobody become root: commands run as `nobody`.
const NOBODY: &str = "ForceCommand exec setpriv --reuid 65534 --regid 65534 --clear-groups /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"";

struct Site {
    sshd: Sshd,
    keys: tempfile::TempDir,
    spec: Cluster,
    pki: Pki,
}

impl Site {
    fn new() -> Self {
        Self::with(NOBODY)
    }

    fn with(command: &str) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let key = keygen(keys.path(), "id", "ed25519", "");
        let sshd = Sshd::start(&["ed25519"], &[public(&key)], command);
        let mut spec = cluster(&public(&key), &key, Path::new("/nonexistent"));
        spec.packages = Packages::Apt { mirror: Some("http://127.0.0.1:1".into()), signing_key: None };
        spec.ssh.port = sshd.port;
        spec.ssh.user = Some(crate::sshd::user());
        Self { sshd, keys, spec, pki: Pki::generate(jiff::Timestamp::now()).unwrap() }
    }

    fn machine(&self) -> Machine {
        machine("cp-1", "control-plane", "i-0a", "127.0.0.1")
    }

    async fn prepare(
        &self,
        console: Option<String>,
        spec: &Cluster,
        machine: Machine,
        clock: Arc<dyn Clock>,
    ) -> (NodeError, Told) {
        let nodes = SshNodes::new(Arc::new(Console(console)), clock, Arc::new(RandomIds)).with_limits(limits());
        let told = Told::default();
        let result = nodes.run(NodeTask::Prepare, "cp-1", fleet(spec, &self.pki, &[machine], &[]), told.events()).await;
        (result.unwrap_err(), told)
    }
}

#[tokio::test]
async fn a_machine_without_sudo_is_told_all_its_problems_and_none_of_its_steps_begins() {
    let site = Site::new();
    let key = site.sshd.host_key("ed25519");
    let (error, told) = site.prepare(Some(console_of(&key)), &site.spec, site.machine(), Arc::new(SystemClock)).await;
    assert_eq!(error.step, "facts");
    for problem in ["sudo", "the package source cannot be reached"] {
        assert!(error.cause.contains(problem), "{problem}: {error:?}");
    }
    assert!(told.steps().is_empty() && !told.all().iter().any(|event| matches!(event, NodeEvent::StepStarted { .. })));
    let pinned: Vec<NodeEvent> = told.all().into_iter().filter(|event| matches!(event, NodeEvent::HostKeys(_))).collect();
    let words: Vec<&str> = key.split(' ').take(2).collect();
    assert_eq!(pinned, [NodeEvent::HostKeys(vec![words.join(" ")])]);
}

#[tokio::test]
async fn what_keeps_us_from_a_machine_is_named() {
    let site = Site::new();
    let own = console_of(&site.sshd.host_key("ed25519"));
    let stranger = keygen(site.keys.path(), "stranger", "ed25519", "");
    let mut refused = site.spec.clone();
    refused.ssh.port = free_port();
    let (error, told) = site.prepare(Some(own.clone()), &refused, site.machine(), Hurried::new()).await;
    assert!(error.cause.contains("refuses SSH connections") && error.retryable && error.step == "ssh", "{error:?}");
    assert!(
        told.all().iter().any(|event| matches!(event, NodeEvent::Waiting(text) if text.contains("refuses"))),
        "says what it waits for"
    );

    let mut denied = site.spec.clone();
    denied.ssh.auth = kubewright::cluster::SshAuth::KeyFile(stranger.clone());
    let (error, _) = site.prepare(Some(own.clone()), &denied, site.machine(), Hurried::new()).await;
    assert!(error.cause.contains("does not let user") && !error.retryable, "{error:?}");

    let other = public(&stranger);
    let (error, _) = site.prepare(Some(console_of(&other)), &site.spec, site.machine(), Hurried::new()).await;
    for key in [&other, &site.sshd.host_key("ed25519")] {
        assert!(error.cause.contains(&fingerprint(key).unwrap()), "{error:?}");
    }
    let mut pinned = site.machine();
    pinned.host_keys = vec![other.clone()];
    let (error, _) = site.prepare(Some(own.clone()), &site.spec, pinned, Hurried::new()).await;
    assert!(error.cause.contains("pinned"), "a recorded key counts, not what the console says now: {error:?}");

    for (console, told) in [(None, "still empty"), (Some("booting\n".to_string()), "shows no host keys")] {
        let (error, _) = site.prepare(console, &site.spec, site.machine(), Hurried::new()).await;
        assert!(error.step == "host-keys" && error.cause.contains(told), "{error:?}");
    }
    assert!(!site.sshd.log().contains("sudo"), "{}", site.sshd.log());
}

#[tokio::test]
async fn trust_on_first_use_pins_what_it_saw_and_only_where_the_spec_says_so() {
    let site = Site::new();
    let mut spec = site.spec.clone();
    spec.ssh.host_keys = HostKeys::TrustOnFirstUse;
    let (error, told) = site.prepare(None, &spec, site.machine(), Arc::new(SystemClock)).await;
    assert_eq!(error.step, "facts", "{error:?}");
    let learnt = told.all().into_iter().find_map(|event| match event {
        NodeEvent::HostKeys(keys) => Some(keys),
        _ => None,
    });
    assert!(site.sshd.host_key("ed25519").starts_with(&learnt.unwrap()[0]));
    let mut pinned = site.machine();
    pinned.host_keys = vec![public(&site.keys.path().join("id"))];
    let (error, _) = site.prepare(None, &spec, pinned, Hurried::new()).await;
    assert!(error.cause.contains("pinned"), "{error:?}");
}

#[tokio::test]
async fn a_private_machine_is_reached_through_the_bastion() {
    let site = Site::new();
    let mut spec = site.spec.clone();
    spec.groups.push(crate::fleet::group("bastion", Role::Bastion, 1));
    let bastion = machine("bastion-1", "bastion", "i-0b", "127.0.0.1");
    let nodes = SshNodes::new(
        Arc::new(Console(Some(console_of(&site.sshd.host_key("ed25519"))))),
        Arc::new(SystemClock),
        Arc::new(RandomIds),
    );
    let all = fleet(&spec, &site.pki, &[site.machine(), bastion], &[]);
    let error = nodes.run(NodeTask::Prepare, "cp-1", all.clone(), Told::default().events()).await.unwrap_err();
    assert_eq!(error.step, "facts", "{error:?}");
    nodes.run(NodeTask::Prepare, "bastion-1", all, Told::default().events()).await.unwrap();
}

#[test]
fn a_bundle_of_another_version_or_with_damage_is_refused_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let version = "1.34.2".parse().unwrap();
    let load = || Bundle::load(dir.path(), version, Cni::None);
    assert!(load().unwrap_err().contains("VERSION"));
    let files = ["bin/kubeadm", "bin/kubelet", "bin/kubectl", "systemd/kubelet.service", "images/etcd.tar", "images/pause.tar"];
    for file in files {
        write(file, file);
    }
    let sum = |text: &str| {
        let hash = <sha2::Sha256 as sha2::Digest>::digest(text.as_bytes());
        hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let sums = |files: &[&str]| files.iter().map(|file| format!("{}  {file}\n", sum(file))).collect::<String>();
    write("SHA256SUMS", &sums(&files));
    write("VERSION", "v1.33.9\n");
    let error = load().unwrap_err();
    assert!(error.contains("1.33.9") && error.contains("1.34.2"), "{error}");
    write("VERSION", "v1.34.2\n");
    let bundle = load().unwrap();
    let names = |role| bundle.wanted(role).iter().map(|line| line[66..].to_string()).collect::<Vec<_>>();
    assert_eq!(names(Role::ControlPlane), files);
    assert_eq!(names(Role::Node).len(), files.len() - 1, "workers do not get etcd");
    for (cni, wanted) in [
        (Cni::Calico, &["manifests/calico.yml"][..]),
        (Cni::Cilium, &["bin/helm", "manifests/cilium.tgz"]),
        (Cni::Flannel, &["manifests/flannel.yml"]),
    ] {
        wanted.iter().for_each(|file| write(file, file));
        let all: Vec<&str> = files.iter().chain(wanted).copied().collect();
        write("SHA256SUMS", &sums(&all));
        let bundle = Bundle::load(dir.path(), version, cni).unwrap();
        assert_eq!(bundle.wanted(Role::ControlPlane).len(), all.len());
        assert_eq!(bundle.wanted(Role::Node).len(), files.len() - 1, "a control plane installs the pod network");
        assert_eq!(bundle.sum(wanted[0]), Some(sum(wanted[0]).as_str()));
        for missing in wanted {
            let rest: Vec<&str> = all.iter().copied().filter(|file| file != missing).collect();
            write("SHA256SUMS", &sums(&rest));
            let error = Bundle::load(dir.path(), version, cni).unwrap_err();
            assert!(error.contains(missing) && error.contains(cni.as_str()), "{error}");
        }
    }
    for missing in &files[..4] {
        let rest: Vec<&str> = files.iter().copied().filter(|file| file != missing).collect();
        write("SHA256SUMS", &sums(&rest));
        assert!(load().unwrap_err().contains(missing));
    }
    for bad in ["bin/../../etc/passwd", "/bin/x", "bin/a b", "bin/$(id)", "bin/x'"] {
        write("SHA256SUMS", &format!("{}{}  {bad}\n", sums(&files), sum("x")));
        assert!(load().unwrap_err().contains("SHA256SUMS:7"), "{bad}");
    }
    write("SHA256SUMS", &sums(&files));
    write("bin/kubelet", "changed");
    assert!(load().unwrap_err().contains("bin/kubelet has another checksum"));
    std::fs::remove_file(dir.path().join("bin/kubelet")).unwrap();
    assert!(load().unwrap_err().contains("bin/kubelet"));
}

/// Says what it is told to run, and runs nothing.
fn listing(to: &Path) -> String {
    format!("ForceCommand printf '%s\\n' \"$SSH_ORIGINAL_COMMAND\" >>{}; cat >/dev/null", to.display())
}

#[tokio::test]
async fn no_script_that_may_change_a_machine_is_sent_without_permission_and_it_is_asked_for_once_the_machine_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let sent = dir.path().join("sent");
    let site = Site::with(&listing(&sent));
    let known = vec![site.sshd.host_key("ed25519")];
    let machines =
        ["cp-1", "cp-2"].map(|slot| Machine { host_keys: known.clone(), ..machine(slot, "control-plane", slot, "127.0.0.1") });
    let all = fleet(&site.spec, &site.pki, &machines, &["cp-1"]);
    let stage = Stage { restore: "r".into(), name: "s".into(), sha256: "0".repeat(64), size: 1, members: vec![] };
    let works = [
        EtcdWork::Save { name: "s".into() },
        EtcdWork::Read { name: "s".into(), part: 1, size: 1 },
        EtcdWork::Drop { name: "s".into() },
        EtcdWork::Write { name: "s".into(), part: 1, bytes: Arc::default() },
        EtcdWork::Stage(Box::new(stage)),
        EtcdWork::Stop,
        EtcdWork::Swap { restore: "r".into() },
        EtcdWork::Start,
        EtcdWork::Tidy { live: vec![] },
        EtcdWork::Register,
        EtcdWork::Node { node: "i-0a".into(), control_plane: true },
        EtcdWork::Labels { of: "cp-1".into() },
    ];
    for allowed in [true, false] {
        let log = site.sshd.log().lines().count();
        std::fs::write(&sent, "").unwrap();
        let sshd = Arc::new(site.sshd.log_path());
        let asked = Arc::new(AtomicUsize::new(0));
        let permission: Permission = {
            let asked = Arc::clone(&asked);
            Arc::new(move || {
                asked.fetch_add(1, Ordering::Relaxed);
                let reached =
                    std::fs::read_to_string(&*sshd).unwrap().lines().skip(log).any(|line| line.contains("Accepted publickey"));
                let refusal = Refusal { cause: format!("the lock was lost; reached: {reached}"), retryable: false };
                Box::pin(async move { if allowed { Ok(()) } else { Err(refusal) } })
            })
        };
        let nodes = SshNodes::new(Arc::new(Console(None)), Hurried::new(), Arc::new(RandomIds));
        let nodes = nodes.with_limits(limits()).with_permission(Some(permission));
        let mut refused = vec![];
        for task in NodeTask::ALL {
            let error = nodes.run(task, "cp-2", Arc::clone(&all), Told::default().events()).await;
            refused.extend(
                error
                    .is_err_and(|error| error.cause.contains("not sent: the lock was lost; reached: true"))
                    .then_some(task.as_str()),
            );
        }
        for work in &works {
            let error = nodes.etcd(work, "cp-2", Arc::clone(&all), Told::default().events()).await;
            refused.extend(
                error
                    .is_err_and(|error| error.cause.contains("not sent: the lock was lost; reached: true"))
                    .then_some(work.as_str()),
            );
        }
        let commands = std::fs::read_to_string(&sent).unwrap();
        let changing =
            commands.lines().filter(|command| !command.starts_with("if [ \"$(id -u)\" != 0 ] && sudo -n true")).count();
        match allowed {
            true => {
                assert!(changing > NodeTask::ALL.len() && asked.load(Ordering::Relaxed) >= changing, "{changing}: {commands}")
            }
            // This machine is unfit for two of them, and a snapshot is made of works.
            false => {
                assert_eq!(changing, 0, "{commands}");
                let rest: Vec<&str> =
                    NodeTask::ALL.map(NodeTask::as_str).into_iter().filter(|task| !refused.contains(task)).collect();
                assert_eq!(rest, ["prepare", "snapshot", "fetch"], "{refused:?}");
                assert_eq!(refused.len(), NodeTask::ALL.len() - rest.len() + works.len(), "{refused:?}");
            }
        }
    }
}
