//! The settings that are laid over a release, and the script that gets one, run by a real shell with a real curl.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use ipnet::Ipv4Net;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::release::{CILIUM, FLANNEL, Helm, Release};
use super::*;
use crate::bootstrap::kubeadm::Place;
use crate::bootstrap::{Machine, NodeTask, Pki, steps};
use crate::cluster::Role;
use crate::desired::fixture;
use crate::digest::sha256;

const NETWORKS: [Cni; 4] = [Cni::Calico, Cni::Cilium, Cni::Flannel, Cni::None];

fn cluster(cni: Cni) -> Cluster {
    let mut cluster = fixture::cluster();
    cluster.network.cni = cni;
    cluster
}

fn read(cluster: &Cluster, name: &str) -> Value {
    let (_, text) = files(cluster).unwrap().into_iter().find(|(file, _)| *file == name).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

proptest! {
    #[test]
    fn every_cidr_of_pods_arrives_in_the_settings(address: u32, prefix in 8_u8..=24) {
        let pods = Ipv4Net::new(address.into(), prefix).unwrap().trunc();
        let with = |cni| {
            let mut cluster = cluster(cni);
            cluster.network.pods = pods;
            cluster
        };
        let conf = read(&with(Cni::Flannel), "settings.yaml");
        let conf: Value = serde_json::from_str(conf["data"]["net-conf.json"].as_str().unwrap()).unwrap();
        prop_assert_eq!(conf, json!({"Network": pods.to_string(), "EnableNFTables": false, "Backend": {"Type": "vxlan"}}));
        let daemon = read(&with(Cni::Calico), "settings.yaml");
        let container = &daemon["spec"]["template"]["spec"]["containers"][0];
        prop_assert_eq!(&container["name"], "calico-node");
        let wanted = json!({"name": "CALICO_IPV4POOL_CIDR", "value": pods.to_string()});
        prop_assert!(container["env"].as_array().unwrap().contains(&wanted));
    }
}

#[test]
fn a_kustomization_names_its_neighbours_and_patches_one_object() {
    for (cni, object) in [(Cni::Calico, ("DaemonSet", "calico-node")), (Cni::Flannel, ("ConfigMap", "kube-flannel-cfg"))] {
        let cluster = cluster(cni);
        let wanted = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": ["release.yaml"],
            "patches": [{"path": "settings.yaml"}],
        });
        assert_eq!(read(&cluster, "kustomization.yaml"), wanted);
        let settings = read(&cluster, "settings.yaml");
        assert_eq!((settings["kind"].as_str(), settings["metadata"]["name"].as_str()), (Some(object.0), Some(object.1)));
    }
    assert_eq!(files(&cluster(Cni::None)).unwrap(), []);
}

#[test]
fn cilium_keeps_kube_proxy_and_fits_on_one_machine() {
    let mut one = cluster(Cni::Cilium);
    let values = read(&one, "values.yaml");
    assert_eq!(values["kubeProxyReplacement"], false);
    assert_eq!((&values["tunnelProtocol"], &values["tunnelPort"]), (&json!("vxlan"), &json!(8472)));
    assert_eq!((&values["operator"]["replicas"], &values["image"]["useDigest"]), (&json!(2), &json!(true)));
    one.groups.truncate(1);
    one.groups[0].count = 1;
    one.groups.push(fixture::group("bastion", Role::Bastion, 1, "t3.micro", &one.zones[..1]));
    one.packages = Packages::Bundle("/bundle".into());
    let values = read(&one, "values.yaml");
    assert_eq!(values["operator"]["replicas"], 1);
    for image in [&values["image"], &values["envoy"]["image"], &values["operator"]["image"]] {
        assert_eq!(image["useDigest"], false, "a bundle's archives have no digests");
    }
}

#[test]
fn the_step_is_another_one_when_pods_or_release_change() {
    let pki = Pki::generate(jiff::Timestamp::UNIX_EPOCH).unwrap();
    let hash = |cluster: &Cluster| {
        let machine = Machine {
            slot: "control-plane-1".into(),
            group: "control-plane".into(),
            instance: "i-1".into(),
            zone: "us-east-1a".into(),
            private_address: "10.20.0.4".into(),
            public_address: None,
            host_keys: vec![],
            marks: Default::default(),
        };
        let place = Place { cluster, group: &cluster.groups[0], machine: &machine };
        let steps = steps::steps(NodeTask::Init, place, &pki, None).unwrap();
        steps.into_iter().find(|step| step.name == "cni").map(|step| step.hash)
    };
    for cni in NETWORKS {
        let mut cluster = cluster(cni);
        let before = hash(&cluster);
        assert_eq!(before, hash(&cluster));
        cluster.network.pods = "172.20.0.0/16".parse().unwrap();
        assert_eq!(before.is_some(), cni != Cni::None);
        assert!(cni == Cni::None || before != hash(&cluster), "{cni:?}");
    }
    let flannel = cluster(Cni::Flannel);
    let text = |release: &Release| script(&flannel, Source::Download { release, helm: &HELM }, FOLDER).unwrap();
    for other in [Release { url: "https://example.com/v2", ..FLANNEL }, Release { sha256: CILIUM.sha256, ..FLANNEL }] {
        assert_ne!(text(&FLANNEL), text(&other));
    }
    let text = |sum: &str| script(&flannel, Source::Bundle { path: "manifests/flannel.yml", sum }, FOLDER).unwrap();
    assert_ne!(text(FLANNEL.sha256), text(CILIUM.sha256));
}

/// A machine of sorts: `kubectl` and `helm` write down how they are called.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn put(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        sha256(content)
    }

    fn url(&self, name: &str) -> &'static str {
        format!("file://{}", self.path(name)).leak()
    }

    /// Whether the step went well, and what it said.
    fn run(&self, cluster: &Cluster, source: Source<'_>) -> (bool, String) {
        let prelude = json!({"step": "cni", "hash": "h", "run": "r", "take": "no"});
        let prelude = render("steps/prelude.sh.j2", prelude).unwrap();
        let body = script(cluster, source, &self.path("cni")).unwrap();
        let kube = format!("kube() {{ printf '%s\\n' \"$*\" >>{}; }}", self.path("calls"));
        let text = format!("{prelude}\nDIR={}\n{kube}\n{body}\nmain </dev/null", self.path("state"));
        let mut child = Command::new("/bin/sh")
            .arg("-s")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    /// Arguments of the calls since the last question.
    fn calls(&self) -> String {
        let path = self.0.path().join("calls");
        let calls = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(path);
        calls
    }

    fn has(&self, name: &str) -> bool {
        Path::new(&self.path(name)).exists()
    }
}

#[test]
fn a_release_is_downloaded_once_compared_and_applied_with_the_settings() {
    let (site, cluster) = (Site::new(), cluster(Cni::Flannel));
    let sum: &'static str = site.put("release/flannel.yml", b"kind: ConfigMap\n").leak();
    let release = Release { url: site.url("release/flannel.yml"), sha256: sum, ..FLANNEL };
    let source = Source::Download { release: &release, helm: &[] };
    let (ok, said) = site.run(&cluster, source);
    assert!(ok && said.contains("downloading file://") && said.contains("waiting for the API server"), "{said}");
    assert_eq!(site.calls(), format!("apply --server-side --force-conflicts -k {}\n", site.path("cni")));
    assert_eq!(std::fs::read_to_string(site.path("cni/release.yaml")).unwrap(), "kind: ConfigMap\n");
    for (name, text) in files(&cluster).unwrap() {
        assert_eq!(std::fs::read_to_string(site.path(&format!("cni/{name}"))).unwrap(), text);
    }
    std::fs::remove_file(site.path("release/flannel.yml")).unwrap();
    let (ok, said) = site.run(&cluster, source);
    assert!(ok && !said.contains("downloading"), "what is there and whole is not asked for again: {said}");
    assert!(!site.calls().is_empty());
    site.put("cni/release.yaml", b"changed");
    let (ok, said) = site.run(&cluster, source);
    assert!(!ok && said.contains("cannot be downloaded") && said.contains(release.url) && site.calls().is_empty(), "{said}");
}

#[test]
fn a_release_with_another_checksum_is_refused_and_nothing_of_it_stays() {
    for cni in [Cni::Calico, Cni::Cilium, Cni::Flannel] {
        let (site, cluster) = (Site::new(), cluster(cni));
        let sum = site.put("release/file", b"something else");
        let release = Release { url: site.url("release/file"), ..FLANNEL };
        let (ok, said) = site.run(&cluster, Source::Download { release: &release, helm: &HELM });
        assert!(!ok && said.contains(&sum) && said.contains(release.sha256) && said.contains(release.url), "{said}");
        assert_eq!(site.calls(), "");
        assert_eq!(std::fs::read_dir(site.path("cni")).unwrap().count(), 0);
    }
}

#[test]
fn the_copy_of_a_bundle_is_compared_again_on_the_machine() {
    let (site, cluster) = (Site::new(), cluster(Cni::Calico));
    let (path, sum) = ("manifests/calico.yml", site.put("state/bundle/manifests/calico.yml", b"kind: DaemonSet\n"));
    let source = Source::Bundle { path, sum: &sum };
    let (ok, said) = site.run(&cluster, source);
    assert!(ok && !said.contains("downloading") && site.calls().contains("apply"), "{said}");
    let other = site.put("state/bundle/manifests/calico.yml", b"changed");
    let (ok, said) = site.run(&cluster, source);
    assert!(!ok && said.contains(&sum) && said.contains(&other) && site.calls().is_empty(), "{said}");
    std::fs::remove_file(site.path("state/bundle/manifests/calico.yml")).unwrap();
    let (ok, said) = site.run(&cluster, source);
    assert!(!ok && said.contains("manifests/calico.yml") && said.contains("is not on this machine"), "{said}");
}

#[test]
fn a_chart_is_installed_by_the_pinned_helm_and_by_no_other() {
    let (site, cluster) = (Site::new(), cluster(Cni::Cilium));
    let chart: &'static str = site.put("release/cilium.tgz", b"chart").leak();
    let program = format!("#!/bin/sh\nprintf '%s\\n' \"$*\" >>{}\n", site.path("calls"));
    site.put("pack/linux/helm", program.as_bytes());
    let packed = Command::new("tar").args(["-czf", &site.path("helm.tar.gz"), "-C", &site.path("pack"), "linux/helm"]).status();
    assert!(packed.unwrap().success());
    let sum: &'static str = sha256(std::fs::read(site.path("helm.tar.gz")).unwrap()).leak();
    let release = Release { url: site.url("release/cilium.tgz"), sha256: chart, ..CILIUM };
    let machine: &'static str = {
        let uname = Command::new("uname").arg("-m").output().unwrap().stdout;
        String::from_utf8(uname).unwrap().trim().to_string().leak()
    };
    let helm = Helm { machine, folder: "linux", url: site.url("helm.tar.gz"), sha256: sum };
    let (ok, said) = site.run(&cluster, Source::Download { release: &release, helm: &[helm] });
    assert!(ok, "{said}");
    let (folder, admin) = (site.path("cni"), "/etc/kubernetes/admin.conf");
    let wanted = format!(
        "--kubeconfig {admin} upgrade --install cilium {folder}/chart.tgz --namespace kube-system --values {folder}/values.yaml\n"
    );
    assert_eq!(site.calls(), wanted);
    assert!(!site.has("cni/helm") && !site.has("cni/helm.tar.gz"), "a program that nobody updates does not stay");

    let other = Helm { sha256: FLANNEL.sha256, ..helm };
    let (ok, said) = site.run(&cluster, Source::Download { release: &release, helm: &[other] });
    assert!(!ok && said.contains(sum) && said.contains(FLANNEL.sha256) && site.calls().is_empty(), "{said}");
    let strange = Helm { machine: "pdp11", ..helm };
    let (ok, said) = site.run(&cluster, Source::Download { release: &release, helm: &[strange] });
    assert!(!ok && said.contains("no helm for a machine") && site.calls().is_empty(), "{said}");
}
