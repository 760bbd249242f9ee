//! What `kubewright render` shows: and what must never be in it.

use std::collections::BTreeMap;
use std::path::Path;

use kubewright::bootstrap::{Machine, Pki, render, render_fleet, user_data};
use kubewright::cluster::{Cluster, Cni, Packages, Role};

use crate::fleet::{cluster, fleet, machine};
use crate::goldens::golden;

fn spec() -> Cluster {
    let mut spec = cluster("ssh-ed25519 AAAA", Path::new("/key"), Path::new("/bundle"));
    spec.packages = Packages::Apt { mirror: None, signing_key: None };
    spec
}

fn machines() -> Vec<Machine> {
    vec![
        machine("control-plane-us-east-1a-1", "control-plane", "i-0a", "10.20.0.4"),
        machine("control-plane-us-east-1b-1", "control-plane", "", ""),
        machine("nodes-us-east-1a-1", "nodes", "", ""),
    ]
}

fn text(files: &BTreeMap<String, Vec<u8>>, path: &str) -> String {
    let file = files.get(path).unwrap_or_else(|| panic!("{path} is not among {:?}", files.keys()));
    String::from_utf8(file.clone()).unwrap()
}

#[test]
fn user_data_is_as_a_reader_expects_it() {
    let spec = spec();
    let text = user_data(&spec, &spec.groups[0]).unwrap();
    golden("user-data.yaml", &text);
}

#[test]
fn old_minors_get_v1beta3_with_maps_and_new_ones_v1beta4_with_lists() {
    for minor in 29..=37 {
        let mut spec = spec();
        spec.kubernetes = format!("1.{minor}.1").parse().unwrap();
        let files = render(&spec, &machines(), None).unwrap();
        let init = text(&files, "control-plane-us-east-1a-1/etc/kubernetes/kubewright/init.yaml");
        let (version, args) = match minor {
            ..31 => ("kubeadm.k8s.io/v1beta3", "    \"profiling\": \"false\""),
            _ => ("kubeadm.k8s.io/v1beta4", "  - {\"name\":\"profiling\",\"value\":\"false\"}"),
        };
        assert!(init.contains(version) && init.contains(args) && init.contains(&format!("\"v1.{minor}.1\"")), "{init}");
        let list = text(&files, "nodes-us-east-1a-1/etc/apt/sources.list.d/kubernetes.list");
        assert!(list.contains(&format!("/v1.{minor}/deb/")), "{list}");
    }
}

#[test]
fn no_secret_is_ever_rendered_and_every_machine_but_a_bastion_has_its_files() {
    let mut spec = spec();
    spec.groups.push(crate::fleet::group("bastion", Role::Bastion, 1));
    let mut all = machines();
    all.push(machine("bastion-1", "bastion", "i-0b", "10.20.0.9"));
    let pki = Pki::generate(jiff::Timestamp::now()).unwrap();
    let files = render_fleet(&fleet(&spec, &pki, &all, &[])).unwrap();
    for (path, content) in &files {
        let content = String::from_utf8_lossy(content);
        assert!(!path.starts_with("bastion"), "{path}");
        for (name, secret) in pki.to_files() {
            let inside = secret.expose().lines().nth(1).unwrap_or(secret.expose());
            assert!(!content.contains(inside), "{path} holds {name}");
        }
        assert!(!content.contains("PRIVATE KEY"), "{path}");
    }
    for machine in machines() {
        assert!(files.keys().filter(|path| path.starts_with(&machine.slot)).count() >= 7, "{}", machine.slot);
    }
}

#[test]
fn what_is_laid_over_the_pod_network_is_a_file_of_the_first_control_plane() {
    let folder = "etc/kubernetes/kubewright/cni";
    let mut spec = spec();
    for (cni, names) in [
        (Cni::Calico, &["kustomization.yaml", "settings.yaml"][..]),
        (Cni::Cilium, &["values.yaml"]),
        (Cni::Flannel, &["kustomization.yaml", "settings.yaml"]),
        (Cni::None, &[]),
    ] {
        spec.network.cni = cni;
        let files = render(&spec, &machines(), None).unwrap();
        let found: Vec<&String> = files.keys().filter(|path| path.contains("/cni/")).collect();
        let wanted: Vec<String> = names.iter().map(|name| format!("control-plane-us-east-1a-1/{folder}/{name}")).collect();
        assert_eq!(found, wanted.iter().collect::<Vec<_>>(), "{cni:?}");
        if cni != Cni::None {
            let name = names.last().unwrap();
            golden(&format!("{}-{name}", cni.as_str()), &text(&files, &format!("control-plane-us-east-1a-1/{folder}/{name}")));
        }
    }
}
