//! Machines, bundles and leftovers that are wrong, on real Kubernetes: each has its own message, the other nodes go on, and the
//! next run mends it. One cluster is brought up, with something else in its way every time.
//!
//! Three faults are only shown to the product, since the lab's machines share a kernel and a disk: memory (a file over `/proc/meminfo`,
//! as container hosts do it), the clock (a `date` that is ten minutes ahead), and a disk that fills up (a small one over the bootstrap's folder).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::cluster::{Cluster, Done, MINIMAL, Spec, words};
use crate::lab::{Lab, finish, until, wait};
use crate::machine::{Machine, machine, machines};

const LIMIT: Duration = Duration::from_secs(300);
/// Who may do everything even before `init` has given that right to the administrators.
const KUBE: &str = "kubectl --kubeconfig /etc/kubernetes/super-admin.conf";
const ETCD: &str = "crictl exec $(crictl ps -q --state running --name '^etcd$') etcdctl --endpoints=https://127.0.0.1:2379 \
    --cacert=/etc/kubernetes/pki/etcd/ca.crt --cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt \
    --key=/etc/kubernetes/pki/etcd/healthcheck-client.key";
const CONTROL_PLANE: &str = "control-plane-us-east-1a-1";
const SHIM: &str = "/usr/local/sbin/kubeadm";
const KUBEADM: &str = r#"
#!/bin/sh
case "$*" in "config validate"*/join.yaml)
  sed -n 's/.*token"\{0,1\}: "\{0,1\}\([a-z0-9]\{6\}\)\.[a-z0-9]\{16\}.*/\1/p' /etc/kubernetes/kubewright/join.yaml >/run/token
  while [ -s /run/token ]; do sleep 0.1; done
esac
exec /usr/bin/kubeadm "$@"
"#;
const PROXY: &str = "registry.k8s.io/kube-proxy:v1.34.2";

pub fn faults(lab: &Lab) {
    let cluster = Cluster::real(lab, "broken", false);
    let spec = cluster.spec(MINIMAL).count("nodes", 7);
    let file = |name: &str, spec: &Spec| cluster.write(name, spec);

    let absent = Bundle::copy(&cluster, "absent").without_file("images/kube-proxy.tar");
    let done = cluster.run(&["create", "cluster", "-f", &file("absent.toml", &spec.bundle(&absent.0)), "--yes"]).expect(7);
    let site = Site::new(&cluster);
    for machine in site.all() {
        done.says(&[&format!("node {}", machine.slot), "images/kube-proxy.tar: No such file"]);
        machine.sh("! test -e /var/lib/kubewright");
    }
    before_anything_is_sent(&site, &spec);
    newer_kubelet(&site, &spec);
    cut_off_after_the_api_server(&site, &file("right.toml", &spec));
    while_workers_join(&site);
    while_control_planes_join(&site, &file("three.toml", &spec.count("control-plane", 3)));
    cluster.ok(&["delete", "cluster", &cluster.name, "--yes"]);
}

/// The lab's bundle with something changed; files that stay are links.
struct Bundle(PathBuf);

impl Bundle {
    fn copy(cluster: &Cluster<'_>, name: &str) -> Self {
        let path = cluster.bundle().with_file_name(format!("bundle-{name}"));
        let _ = fs::remove_dir_all(&path);
        let done = finish(Command::new("cp").arg("-al").arg(cluster.bundle()).arg(&path));
        assert!(done.status.success(), "{done:?}");
        Self(path)
    }

    /// The file is named, but not there.
    fn without_file(self, file: &str) -> Self {
        fs::remove_file(self.0.join(file)).expect("a file");
        self
    }

    /// Nobody ever put it in.
    fn without(self, file: &str) -> Self {
        let this = self.without_file(file);
        this.sums(|line| if line.ends_with(&format!("  {file}")) { String::new() } else { format!("{line}\n") });
        this
    }

    /// Another file in its place, its checksum too.
    fn with(self, file: &str, bytes: &[u8]) -> Self {
        let path = self.0.join(file);
        let mode = fs::metadata(&path).expect("a file").permissions();
        fs::remove_file(&path).expect("a file");
        fs::write(&path, bytes).expect("a file");
        fs::set_permissions(&path, mode).expect("its mode");
        let sum: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let end = format!("  {file}");
        self.sums(|line| if line.ends_with(&end) { format!("{sum}{end}\n") } else { format!("{line}\n") });
        self
    }

    fn sums(&self, line: impl Fn(&str) -> String) {
        let path = self.0.join("SHA256SUMS");
        let text = fs::read_to_string(&path).expect("sums");
        fs::remove_file(&path).expect("a link");
        fs::write(path, text.lines().map(line).collect::<String>()).expect("sums");
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A real kubelet that says that it is of the next minor.
fn newer(kubelet: &Path) -> Vec<u8> {
    let mut bytes = fs::read(kubelet).expect("a kubelet");
    let (from, to) = (b"v1.34.2", b"v1.35.2");
    let places: Vec<usize> = bytes.windows(from.len()).enumerate().filter(|(_, at)| at == from).map(|(place, _)| place).collect();
    assert!(!places.is_empty(), "the kubelet does not say its version");
    places.into_iter().for_each(|place| bytes[place..place + to.len()].copy_from_slice(to));
    bytes
}

struct Site<'a> {
    cluster: &'a Cluster<'a>,
    control_plane: Machine,
    workers: [Machine; 7],
}

impl<'a> Site<'a> {
    fn new(cluster: &'a Cluster<'a>) -> Self {
        until("all machines", LIMIT, || machines(cluster.lab).len() == 8);
        let worker = |number: usize| machine(cluster.lab, &format!("nodes-us-east-1a-{}", number + 1));
        let site = Self { cluster, control_plane: machine(cluster.lab, CONTROL_PLANE), workers: std::array::from_fn(worker) };
        site.all().for_each(has_booted);
        site
    }

    fn all(&self) -> impl Iterator<Item = &Machine> {
        std::iter::once(&self.control_plane).chain(&self.workers)
    }

    fn update(&self, file: &str) -> Done {
        self.cluster.run(&["update", &self.cluster.name, "-f", file, "--yes"])
    }

    fn kube(&self, command: &str) -> String {
        self.control_plane.sh(&format!("{KUBE} {command}"))
    }
}

fn has_booted(machine: &Machine) {
    let up = "ctr version >/dev/null 2>&1 && systemctl is-active containerd || true";
    until("containerd, after the boot", LIMIT, || machine.sh(up).trim() == "active");
}

/// Ends kubeadm on a machine as soon as something is so there.
fn kill_kubeadm_when(machine: &Machine, so: &str) {
    machine.sh(&format!("systemd-run --quiet --collect sh -c 'until {so}; do sleep 0.05; done; pkill -KILL -x kubeadm'"));
}

/// What stands in the block of one machine, one message after the other.
fn each_says(done: &Done, cases: &[(&Machine, &[&str])]) {
    for (machine, texts) in cases {
        done.says(&[&format!("node {} ({})", machine.slot, machine.private)]);
        done.says(texts);
    }
}

fn before_anything_is_sent(site: &Site<'_>, spec: &Spec) {
    let [little, late, routed, mute, grouped, bare, full] = &site.workers;
    little.sh("sed 's/^MemTotal:.*/MemTotal: 524288 kB/' /proc/meminfo >/var/tmp/meminfo && mount --bind /var/tmp/meminfo /proc/meminfo");
    late.sh("printf '#!/bin/sh\\nexec /bin/date -d \"+10 minutes\" \"$@\"\\n' >/usr/local/sbin/date && chmod 755 /usr/local/sbin/date");
    routed.sh("ip link add vpn0 type bridge && ip link set vpn0 up && ip route add 192.168.128.0/20 dev vpn0");
    for (machine, config) in [(mute, "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]"), (grouped, "version = 2")]
    {
        let unit = "[Service]\nExecStart=\nExecStart=/usr/bin/containerd --config /etc/containerd/own.toml";
        let folder = "/etc/systemd/system/containerd.service.d";
        machine.sh(&format!(
            "mkdir -p {folder} /etc/containerd && echo '{config}' >/etc/containerd/own.toml && echo '{unit}' >{folder}/own.conf && \
             systemctl daemon-reload && systemctl restart containerd"
        ));
    }
    bare.sh(&format!("ctr --namespace k8s.io images rm {PROXY}"));
    full.sh("mkdir -p /var/lib/kubewright && mount -t tmpfs -o size=20m tmpfs /var/lib/kubewright");
    kill_kubeadm_when(&site.control_plane, "[ -e /etc/kubernetes/manifests/etcd.yaml ]");

    let lacking = Bundle::copy(site.cluster, "lacking").without("images/kube-proxy.tar");
    let done = site.update(&site.cluster.write("lacking.toml", &spec.bundle(&lacking.0))).expect(7);
    let own = "it was started as /usr/bin/containerd --config /etc/containerd/own.toml";
    each_says(
        &done,
        &[
            (little, &["512 MiB of memory are too few (700): use a larger machine type"]),
            (late, &["s ahead: set the clocks of this machine and of the node right (chrony)"]),
            (routed, &["its route 192.168.128.0/20 by vpn0 overlaps network.pods 192.168.0.0/16: take the route away"]),
            (mute, &["step `container-runtime` failed", "the CRI plugin of containerd does not run"]),
            (grouped, &["step `cri` failed", "containerd on this node does not use the systemd cgroup driver", own]),
            (bare, &[&format!("the image {PROXY} is neither in the bundle nor on the machine")]),
            (full, &["step `packages` failed", "the node's disk is full"]),
            (&site.control_plane, &["step `init` failed", "kubeadm init --config", "it was ended by signal 9"]),
        ],
    );
    done.says(&[&format!("Next: kubewright update {} --yes", site.cluster.name)]);
    for refused in [little, late, routed, bare] {
        refused.sh("! test -e /var/lib/kubewright/journal");
    }

    little.sh("umount /proc/meminfo");
    late.sh("rm /usr/local/sbin/date");
    routed.sh("ip link del vpn0");
    full.sh("umount /var/lib/kubewright");
    for machine in [mute, grouped] {
        machine.sh(
            "rm /etc/systemd/system/containerd.service.d/own.conf && systemctl daemon-reload && systemctl restart containerd",
        );
    }
}

fn newer_kubelet(site: &Site<'_>, spec: &Spec) {
    let newer = Bundle::copy(site.cluster, "newer").with("bin/kubelet", &newer(&site.cluster.bundle().join("bin/kubelet")));
    let done = site.update(&site.cluster.write("newer.toml", &spec.bundle(&newer.0))).expect(7);
    for machine in site.all() {
        each_says(
            &done,
            &[(machine, &["step `kubelet` failed", "kubelet is v1.35.2, not v1.34.2", "must not be newer than its API server"])],
        );
    }
}

/// Half of `init` is done, and the API server answers: without the other half nobody could join.
fn cut_off_after_the_api_server(site: &Site<'_>, file: &str) {
    kill_kubeadm_when(&site.control_plane, &format!("[ \"$({KUBE} get --raw=/readyz 2>/dev/null)\" = ok ]"));
    let done = site.update(file).expect(7);
    each_says(&done, &[(&site.control_plane, &["step `init` failed", "it was ended by signal 9"])]);
    assert_eq!(site.kube("-n kube-system get daemonset kube-proxy --ignore-not-found"), "", "too late for this test");
}

fn while_workers_join(site: &Site<'_>) {
    let [healthy, named, begun, imageless, undone, tokenless, full] = &site.workers;
    // It holds the join right before kubeadm looks for its token.
    tokenless.sh(&format!("cat >{SHIM} <<'END'\n{}\nEND\nchmod 755 {SHIM}", KUBEADM.trim()));
    // What was undone since it was prepared is done again before it is needed.
    undone.sh(&format!(
        "sed -i 's/SystemdCgroup = true/SystemdCgroup = false/' /etc/containerd/config.toml && systemctl restart containerd && \
         ctr --namespace k8s.io images rm {PROXY}"
    ));
    kill_kubeadm_when(begun, "[ -e /etc/kubernetes/kubelet.conf ]");
    imageless
        .sh("systemd-run --quiet --collect sh -c 'until [ -e /etc/kubernetes/bootstrap-kubelet.conf ]; do sleep 0.05; done; \
         ctr --namespace k8s.io images ls -q | grep flannel | xargs ctr --namespace k8s.io images rm --sync'");
    // Another machine's kubelet, as the API server sees it: it reports every second.
    let other = format!(
        r#"until {KUBE} get --raw=/readyz >/dev/null 2>&1; do sleep 0.2; done
printf '{{"apiVersion":"v1","kind":"Node","metadata":{{"name":"{name}"}}}}' | {KUBE} create -f -
until [ -e /run/stop ]; do
  {KUBE} patch node {name} --subresource=status -p "{{\"status\":{{\"addresses\":[{{\"type\":\"InternalIP\",\"address\":\"10.20.0.99\"}}],\"conditions\":[{{\"type\":\"Ready\",\"status\":\"True\",\"lastHeartbeatTime\":\"$(date -u +%Y-%m-%dT%H:%M:%SZ)\"}}]}}}}"
  sleep 1
done"#,
        name = named.instance
    );
    site.control_plane.sh(&format!("cat >/run/other.sh <<'END'\n{other}\nEND\nsystemd-run --quiet --collect sh /run/other.sh"));
    until("the other machine's Node", LIMIT, || site.kube("get nodes").contains(&named.instance));

    let mut run = site.cluster.start(&["update", &site.cluster.name, "--yes"]);
    let (mut lost, mut status) = (0, None);
    until("the end of the run", LIMIT, || {
        lost += usize::from(lose_token(site, tokenless));
        status = run.try_wait().expect("a status");
        status.is_some()
    });
    let said = words(&site.cluster.said());
    assert_eq!(status.and_then(|status| status.code()), Some(7), "{said}");
    assert_eq!(lost, 3, "as often as a join is tried: {said}");
    assert!(!said.contains("could not be revoked"), "{said}");
    for text in [
        format!("node {} ({})", named.slot, named.private),
        format!("the name of this machine is taken: Node {} is Ready and belongs to 10.20.0.99", named.instance),
        format!("node {} ({})", begun.slot, begun.private),
        format!("node {} ({})", imageless.slot, imageless.private),
        "step `ready` failed".to_owned(),
        "the image ghcr.io/flannel-io/flannel".to_owned(),
        "is neither on this machine nor can it be pulled".to_owned(),
        format!("node {} ({})", tokenless.slot, tokenless.private),
        "step `join` failed".to_owned(),
        "the bootstrap token has expired or was revoked; joining again".to_owned(),
        format!("Next: kubewright update {} --yes", site.cluster.name),
        "4 of 8 nodes Ready".to_owned(),
    ] {
        assert!(said.contains(&text), "`{text}` is not said: {}", site.cluster.said());
    }
    let ready = site.kube("get nodes");
    for machine in [healthy, undone, full, &site.control_plane] {
        assert!(
            ready.lines().any(|line| line.starts_with(&machine.instance) && line.contains(" Ready ")),
            "{}: {ready}",
            machine.slot
        );
    }

    tokenless.sh(&format!("rm {SHIM}"));
    site.control_plane.sh("touch /run/stop");
    let taken = || site.kube(&format!("get node {} --no-headers", named.instance)).contains(" Ready ");
    until("the other machine to be missed", LIMIT, || !taken());
    // The worst moment to come back to a half of a join: its Node is Ready, so that kubeadm refuses it.
    until("the Node of half a join", LIMIT, || {
        site.kube("get nodes").lines().any(|line| line.starts_with(&begun.instance) && line.contains(" Ready "))
    });
    site.cluster.ok(&["update", &site.cluster.name, "--yes"]);
    site.cluster.assert_ready(8);
    site.cluster.assert_no_op();
}

/// Deletes the token with which a machine is about to join, as its expiry does, and lets it go on; `false` while it does not join.
fn lose_token(site: &Site<'_>, machine: &Machine) -> bool {
    let id = machine.sh("head -n 1 /run/token 2>/dev/null || true");
    let id = id.trim();
    if id.is_empty() {
        return false;
    }
    site.kube(&format!("-n kube-system delete secret bootstrap-token-{id}"));
    let signed = || site.kube("-n kube-public get configmap cluster-info -o yaml").contains(&format!("jws-kubeconfig-{id}"));
    until("the end of its signature", LIMIT, || !signed());
    machine.sh("rm /run/token");
    true
}

/// What a join leaves in etcd that ends between adding its member and starting it, of this machine and of one whose turn is later.
fn while_control_planes_join(site: &Site<'_>, file: &str) {
    let mut run = site.cluster.start(&["update", &site.cluster.name, "-f", file, "--yes"]);
    until("the new machines", LIMIT, || machines(site.cluster.lab).len() == 10);
    let [second, third] = [2, 3].map(|number| machine(site.cluster.lab, &format!("control-plane-us-east-1a-{number}")));
    has_booted(&second);
    kill_kubeadm_when(&second, "[ -e /etc/kubernetes/manifests/etcd.yaml ]");
    let url = format!("https://{}:2380", third.private);
    site.control_plane.sh(&format!("{ETCD} member add {} --learner --peer-urls={url}", third.instance));
    let status = wait(&mut run, LIMIT);
    let said = words(&site.cluster.said());
    assert_eq!(status.code(), Some(7), "{said}");
    for text in [
        format!("removed the etcd member at {url}, which another join left unfinished"),
        format!("node {} ({})", second.slot, second.private),
        "step `join` failed".to_owned(),
        "it was ended by signal 9".to_owned(),
        format!("Next: kubewright update {} --yes", site.cluster.name),
    ] {
        assert!(said.contains(&text), "`{text}` is not said: {}", site.cluster.said());
    }
    let members = || site.control_plane.sh(&format!("{ETCD} member list"));
    let left = members();
    assert!(left.contains(&second.private) && left.contains("true"), "no half of a join: {left}");

    site.cluster.ok(&["update", &site.cluster.name, "--yes"]);
    let members = members();
    assert!(members.lines().count() == 3 && members.lines().all(|line| line.ends_with("false")), "{members}");
    site.cluster.assert_ready(10);
    site.cluster.assert_no_op();
}
