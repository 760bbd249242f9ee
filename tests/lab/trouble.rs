//! Machines that do not do what they should.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::account::account;
use crate::cluster::{Cluster, MINIMAL, words};
use crate::lab::{Lab, finish, until, wait};
use crate::machine::{Machine, machine};

/// Joins only what it finds in order.
const BROKEN: &str =
    "#!/bin/sh\nif [ \"$1\" = join ]; then echo 'the certificates of this lab are out of date' >&2; exit 1; fi\n";
/// Counts joins, and takes its time over one where it is asked to.
const SLOW: &str = "#!/bin/sh\nif [ \"$1\" = join ]; then echo >>/var/log/lab-joins; \
                    n=0; while [ -e /etc/lab-slow ] && [ $n -lt 600 ]; do n=$((n + 1)); sleep 0.2; done; fi\n";

/// The lab's bundle with another program before its kubeadm.
struct Bundle(PathBuf);

impl Bundle {
    fn copy(cluster: &Cluster<'_>) -> Self {
        let path = cluster.folder.path().join("bundle");
        let done = finish(Command::new("cp").arg("-a").arg(cluster.bundle()).arg(&path));
        assert!(done.status.success(), "{done:?}");
        Self(path)
    }

    /// What `before` does not end goes on with the stand-in, which therefore is no script of this bundle's sums but a part of it.
    fn put(&self, cluster: &Cluster<'_>, before: &str) {
        let stand_in = fs::read_to_string(cluster.bundle().join("bin/kubeadm")).expect("kubeadm");
        // kubelet and kubectl read kubeadm as a module, so that it has to stay one.
        let quoted = before.strip_prefix("#!/bin/sh\n").expect("a script");
        let (head, rest) = stand_in.split_once("if __name__ == \"__main__\":").expect("the end of the program");
        let own = format!(
            "if __name__ == \"__main__\":\n    before = subprocess.run([\"sh\", \"-c\", {}, \"sh\"] + sys.argv[1:])\n    \
             if before.returncode: sys.exit(before.returncode)\nif __name__ == \"__main__\":",
            serde_json::Value::from(quoted)
        );
        self.write("bin/kubeadm", &format!("{head}{own}{rest}"));
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.0.join(file);
        fs::write(&path, text).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
        let sum: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        let sums = self.0.join("SHA256SUMS");
        let lines = fs::read_to_string(&sums).expect("sums");
        let line =
            |line: &str| if line.ends_with(&format!("  {file}")) { format!("{sum}  {file}\n") } else { format!("{line}\n") };
        fs::write(&sums, lines.lines().map(line).collect::<String>()).expect("sums");
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

const WORKERS: [&str; 2] = ["nodes-us-east-1a-1", "nodes-us-east-1a-2"];

pub fn machines(lab: &Lab) {
    let before = account(lab);
    let cluster = Cluster::new(lab, "trouble", false);
    let bundle = Bundle::copy(&cluster);
    let spec = cluster.spec(MINIMAL).count("nodes", 2).bundle(bundle.path());
    let file = cluster.write("trouble.toml", &spec);

    bundle.put(&cluster, BROKEN);
    late_console_and_two_failed_joins(&cluster, &file);
    let workers = WORKERS.map(|slot| machine(lab, slot));
    other_host_key_and_no_sudo(&cluster, &workers);
    wrong_key(&cluster, &spec, &workers);
    bundle.put(&cluster, SLOW);
    no_sshd_and_a_cut_cable(&cluster, &file, &workers);

    cluster.assert_ready(3);
    cluster.assert_no_op();
    cluster.ok(&["delete", "cluster", &cluster.name, "--yes"]);
    account(lab).assert_same_as(&before);
}

fn late_console_and_two_failed_joins(cluster: &Cluster<'_>, file: &str) {
    cluster.lab.ask(&["fault", "console-delay", "20"]);
    let done = cluster.run(&["create", "cluster", "-f", file, "--yes"]).expect(7);
    cluster.lab.ask(&["fault", "console-delay", "0"]);
    done.says(&["waiting: host keys in the console", "1 of 3 nodes Ready", "started cluster on control-plane-us-east-1a-1"]);
    for slot in WORKERS {
        let address = machine(cluster.lab, slot).private;
        done.says(&[&format!("error: node {slot} ({address}): step `join` failed after")]);
    }
    done.says(&[
        "command kubeadm join --config /etc/kubernetes/kubewright/join.yaml",
        "exit 1",
        "stderr the certificates of this lab are out of date",
        "left the machine is up, not fully joined",
        &format!("Next: kubewright update {} --yes", cluster.name),
        "goes on at step `join` of nodes-us-east-1a-",
    ]);
    assert_eq!(cluster.kubectl_nodes().len(), 1, "the control plane works");
}

/// A machine that cannot prove who it is gets nothing from us, not even the name of a user.
fn other_host_key_and_no_sudo(cluster: &Cluster<'_>, [other, powerless]: &[Machine; 2]) {
    let fingerprint = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f2";
    let pinned = other.sh(fingerprint);
    other.sh("mkdir /var/tmp/kept && cp -a /etc/ssh/ssh_host_* /var/tmp/kept && rm /etc/ssh/ssh_host_* && ssh-keygen -qA && systemctl restart ssh");
    powerless.sh("mv /etc/sudoers.d/90-cloud-init-users /var/tmp/");
    let logins = other.logins();

    let done = cluster.update().expect(7);
    let offered = other.sh(fingerprint);
    done.says(&[
        &format!("node {} ({})", other.slot, other.private),
        "is not the one that is pinned",
        pinned.trim(),
        offered.trim(),
        &format!("node {} ({})", powerless.slot, powerless.private),
        "sudo",
    ]);
    assert_ne!(pinned, offered);
    assert_eq!(other.logins(), logins, "a login was tried");
    assert!(other.sh("journalctl --no-pager -o cat -t sshd -t sshd-session | grep -ci 'invalid user' || true").trim() == "0");

    other.sh("rm /etc/ssh/ssh_host_* && cp -a /var/tmp/kept/* /etc/ssh/ && systemctl restart ssh");
    powerless.sh("mv /var/tmp/90-cloud-init-users /etc/sudoers.d/");
}

fn wrong_key(cluster: &Cluster<'_>, spec: &crate::cluster::Spec, workers: &[Machine; 2]) {
    let key = cluster.path("other_key");
    let done = finish(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &key]));
    assert!(done.status.success(), "{done:?}");
    let file = cluster.write("wrong-key.toml", &spec.set("[ssh]", "private_key", &format!("{key:?}")));
    let done = cluster.run(&["update", &cluster.name, "-f", &file, "--yes"]).expect(7);
    for worker in workers {
        done.says(&[&format!("node {} ({})", worker.slot, worker.private)]);
    }
    done.says(&["does not let user `admin` in with", "the key is not authorized there"]);
}

fn no_sshd_and_a_cut_cable(cluster: &Cluster<'_>, file: &str, [silent, slow]: &[Machine; 2]) {
    let journal = slow.journal();
    silent.sh("systemctl stop ssh.socket ssh.service 2>/dev/null || systemctl stop ssh");
    slow.sh("touch /etc/lab-slow");
    let mut run = cluster.start(&["update", &cluster.name, "-f", file, "--yes"]);
    let says = |text: &str| words(&cluster.said()).contains(text);
    let limit = Duration::from_secs(120);
    until("SSH is refused", limit, || {
        says(&format!("{} waiting: SSH: {}:22 refuses SSH connections", silent.slot, silent.public))
    });
    silent.sh("systemctl start ssh");

    until(&format!("the slow machine joins; {}", cluster.said()), limit, || {
        slow.sh("cat /var/log/lab-joins 2>/dev/null || true") == "\n"
    });
    cluster.lab.ask(&["cut", &slow.instance]);
    until("the loss is noticed", limit, || {
        says(&format!("{} waiting: the connection to {}", slow.slot, slow.public)) || says("did not answer within")
    });
    slow.sh("rm /etc/lab-slow");
    cluster.lab.ask(&["uncut", &slow.instance]);
    let status = wait(&mut run, Duration::from_secs(180));
    assert_eq!(status.code(), Some(0), "{}", cluster.said());
    assert!(says("3 of 3 nodes Ready"), "{}", cluster.said());

    assert_eq!(slow.sh("cat /var/log/lab-joins"), "\n", "what ran on without a connection was begun again");
    let now = slow.journal();
    assert_eq!(now[..journal.len()], journal[..]);
    let step = |line: &String| line.split(' ').next().unwrap_or_default().to_owned();
    let new: Vec<String> = now[journal.len()..].iter().map(step).collect();
    assert!(new.contains(&"join".to_owned()), "{new:?}");
    // The bundle is another one, so that what came from it is done again; nothing else is.
    for step in ["cloud-init", "hostname", "hosts", "time", "kernel", "swap", "container-runtime", "cri", "kubelet"] {
        assert!(!new.contains(&step.to_owned()), "{step} was done again: {new:?}");
    }
}
