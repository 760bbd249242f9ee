//! A cluster from an apt repository of the lab: each way in which a repository can be wrong is refused before anything is
//! installed, and the right one makes a cluster of real Kubernetes. Every signature is checked by the product's own step and by apt.

#[allow(dead_code, reason = "the rig of another binary, which uses all of it")]
#[path = "lab/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "the rig of another binary, which uses all of it")]
#[path = "lab/lab.rs"]
mod lab;
#[allow(dead_code, reason = "the rig of another binary, which uses all of it")]
#[path = "lab/machine.rs"]
mod machine;

use std::fs;
use std::process::{Command, ExitCode};
use std::time::Duration;

use cluster::{Cluster, Done, MINIMAL, Spec};
use lab::{Lab, finish, until};
use libtest_mimic::{Arguments, Trial};
use machine::{Machine, machine};

const VERSION: &str = "1.34.2";
const FOLDER: &str = "core:/stable:/v1.34/deb";
const SLOTS: [&str; 2] = ["control-plane-us-east-1a-1", "nodes-us-east-1a-1"];
const NO_KEY: &str = "0123456789ABCDEF0123456789ABCDEF01234567";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trial = Trial::test("only_the_right_repository_is_installed_from", || lab::run(only_the_right_repository));
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

/// A repository like the right one, with this done to its list of packages, signed by a key of its own; prints the fingerprint.
const VARIANT: &str = r#"
set -eu
export GNUPGHOME="$(mktemp -d)"
trap 'gpgconf --kill gpg-agent; rm -rf "$GNUPGHOME"' EXIT
rm -rf "$2" && mkdir -p "${2%/*}" && cp -al "$1" "$2" && cd "$2"
list=$(sed "$4" Packages)
rm -f Packages* Release* InRelease
printf '%s\n\n' "$list" >Packages
gzip -k Packages
{
  printf 'Architectures: amd64\nDate: %s\nSHA256:\n' "$(date -Ru -d "$3" | sed 's/+0000/UTC/')"
  for f in Packages Packages.gz; do printf ' %s %s %s\n' "$(sha256sum <$f | cut -d' ' -f1)" "$(stat -c %s $f)" $f; done
} >Release
stamp="$(date -u -d "$3" +%Y%m%dT%H%M%S)!"
gpg() { command gpg --batch --quiet --faked-system-time "$stamp" "$@"; }
gpg --passphrase '' --quick-generate-key test@lab.internal ed25519 sign 1y >&2
gpg --armor --export >Release.key
gpg --armor --detach-sign --output Release.gpg Release
gpg --clearsign --output InRelease Release
gpg --with-colons --list-secret-keys | awk -F: '$1 == "fpr" { print $10; exit }'
"#;

/// The mirror of a variant and the fingerprint of its key.
fn variant(lab: &Lab, name: &str, date: &str, edit: &str) -> (String, String) {
    let root = lab.folder.join("packages");
    let mut command = Command::new("sh");
    command.args(["-c", VARIANT, "sh"]).arg(root.join(FOLDER)).arg(root.join(name).join(FOLDER)).args([date, edit]);
    let done = Done::of(finish(&mut command)).expect(0);
    (format!("https://packages.lab.internal/{name}"), done.out.trim().to_owned())
}

fn from(spec: &Spec, mirror: &str, key: &str) -> Spec {
    let lines = spec.0.lines().map(|line| match line.split(" =").next() {
        Some("source") => format!("source = \"apt\"\nmirror = \"{mirror}\"\nsigning_key = \"{key}\""),
        Some("bundle") => String::new(),
        _ => line.to_owned(),
    });
    Spec(lines.collect::<Vec<_>>().join("\n") + "\n")
}

fn nothing_is_installed(machines: &[Machine]) {
    for machine in machines {
        let found = machine
            .sh("dpkg-query -W -f '${Package} ${Status}\\n' kubelet kubeadm kubectl 2>/dev/null | grep ' installed' || true");
        assert_eq!(found, "", "{}", machine.slot);
    }
}

fn only_the_right_repository(lab: &Lab) {
    lab.ask(&["up", "--kubernetes", VERSION]);
    let packages = lab.json(&["status", "-o", "json"])["packages"].clone();
    let text = |key: &str| packages[key].as_str().expect("a repository").to_owned();
    let (mirror, key) = (text("mirror"), text("signing_key"));
    let cluster = Cluster::real(lab, "apt", false);
    let spec = cluster.spec(MINIMAL).set("[network]", "cni", "\"none\"\nports = [\"8472/udp\"]");
    let file = |mirror: &str, key: &str| cluster.write("apt.toml", &from(&spec, mirror, key));

    let done = cluster.run(&["create", "cluster", "-f", &file(&mirror, NO_KEY), "--yes"]).expect(7);
    done.says(&[
        "step `packages` failed",
        &format!("has the fingerprint {key}; pinned is {NO_KEY}"),
        "the package repository is signed by another key than the pinned one",
    ]);
    let machines = SLOTS.map(|slot| machine(lab, slot));
    let untouched = "! test -e /etc/apt/sources.list.d/kubernetes.list && ! test -e /etc/apt/keyrings/kubernetes.gpg";
    for machine in &machines {
        done.says(&[&machine.slot]);
        machine.sh(untouched);
    }
    nothing_is_installed(&machines);

    let (expired, old_key) = variant(lab, "expired", "2020-01-01", "");
    let (older, other_key) = variant(lab, "older", "now", &format!("s/{VERSION}-1.1/1.34.1-1.1/g"));
    let (damaged, damaged_key) = variant(lab, "damaged", "now", "");
    let list = lab.folder.join("packages/damaged").join(FOLDER).join("Packages.gz");
    fs::write(&list, [fs::read(&list).expect("a list"), vec![0]].concat()).expect("a list");
    fs::remove_file(list.with_extension("")).expect("a list");
    let none = format!("{mirror}/none");
    let refused = "https://packages.lab.internal:444";
    let wrong: [(&str, &str, &[&str]); 6] = [
        (refused, &key, &["step `facts` failed", "the package source cannot be reached"]),
        ("https://nowhere.lab.internal", &key, &["step `facts` failed", "the package source cannot be reached"]),
        (&none, &key, &["404", &format!("the package repository {none}/{FOLDER}/ gives no Release.key")]),
        (&expired, &old_key, &["has expired on 2020-12-31", "the key that signs the package repository has expired"]),
        (&older, &other_key, &["has no kubelet 1.34.2; it has 1.34.1", "does not have this version of Kubernetes"]),
        (&damaged, &damaged_key, &["step `packages` failed", "Packages"]),
    ];
    for (mirror, key, texts) in wrong {
        let done = cluster.run(&["update", &cluster.name, "-f", &file(mirror, key), "--yes"]).expect(7);
        done.says(texts);
        nothing_is_installed(&machines);
    }

    // As unattended upgrades do after a boot: somebody else is at dpkg for a while, and apt waits. (Who it is cannot be told here: on the
    // lab's overlay a file has not the inode that /proc/locks names.)
    let lock = "import fcntl, time; file = open(\"/var/lib/dpkg/lock-frontend\", \"w\"); fcntl.lockf(file, fcntl.LOCK_EX";
    machines[1].sh(&format!("systemd-run --quiet --collect python3 -c '{lock}); time.sleep(40)'"));
    let held = format!("python3 -c '{lock} | fcntl.LOCK_NB)' 2>/dev/null && echo free || echo held");
    until("the lock of dpkg", Duration::from_secs(30), || machines[1].sh(&held).trim() == "held");
    let done = cluster.ok(&["update", &cluster.name, "-f", &file(&mirror, &key), "--yes"]);
    let registered = "registered, NotReady until you install a pod network (cni = \"none\")";
    done.says(&[&format!("2 of 2 nodes {registered}")]);
    cluster.ok(&["validate", &cluster.name]).says(&[&format!("2 nodes {registered}")]);
    assert!(cluster.kubectl_nodes().iter().all(|(_, status)| status == "NotReady"));
    for machine in &machines {
        let versions = machine.sh("dpkg-query -W -f '${Package} ${Version}\\n' kubelet kubeadm kubectl cri-tools kubernetes-cni");
        let wanted = [
            "cri-tools 1.34.0-1.1",
            "kubeadm 1.34.2-1.1",
            "kubectl 1.34.2-1.1",
            "kubelet 1.34.2-1.1",
            "kubernetes-cni 1.7.1-1.1",
        ];
        let mut versions: Vec<&str> = versions.lines().collect();
        versions.sort_unstable();
        assert_eq!(versions, wanted, "{}", machine.slot);
        assert_eq!(machine.sh("apt-mark showhold | wc -l").trim(), "5");
        assert_eq!(
            machine.sh("dpkg --verify kubelet kubeadm kubectl cri-tools kubernetes-cni"),
            "",
            "files differ from the packages'"
        );
        assert_eq!(
            machine.sh("systemctl show --property FragmentPath --value kubelet").trim(),
            "/lib/systemd/system/kubelet.service"
        );
        machine.sh("systemctl is-active kubelet");
    }
    a_network_makes_them_ready(&cluster);
    cluster.assert_no_op();
    cluster.ok(&["delete", "cluster", &cluster.name, "--yes"]);
}

/// kubewright was told to leave the network to us.
fn a_network_makes_them_ready(cluster: &Cluster<'_>) {
    let nodes = cluster.kubectl_nodes();
    assert_eq!(nodes.len(), 2, "{nodes:?}");
    let manifest = fs::read_to_string(cluster.bundle().join("manifests/flannel.yml")).expect("a manifest");
    let manifest = manifest.replace("10.244.0.0/16", "192.168.0.0/16");
    let (path, config) = (cluster.path("flannel.yml"), cluster.path("kubeconfig"));
    fs::write(&path, manifest).expect("a manifest");
    Done::of(cluster.lab.exec(&["kubectl", "--kubeconfig", &config, "apply", "-f", &path])).expect(0);
    until("both nodes are Ready", Duration::from_secs(180), || {
        let nodes = cluster.kubectl_nodes();
        nodes.len() == 2 && nodes.iter().all(|(_, status)| status == "Ready")
    });
    cluster.assert_ready(2);
    let versions =
        ["kubectl", "--kubeconfig", &config, "get", "nodes", "-o", "jsonpath={.items[*].status.nodeInfo.kubeletVersion}"];
    assert_eq!(Done::of(cluster.lab.exec(&versions)).expect(0).out, format!("v{VERSION} v{VERSION}"));
}
