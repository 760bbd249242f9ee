//! What `kubewright render` shows: and what must never be in it.

use std::collections::BTreeMap;
use std::path::Path;

use kubewright::bootstrap::{Machine, Pki, render, render_fleet, user_data};
use kubewright::cluster::{Cluster, Cni, Packages, Role};

use crate::fleet::{cluster, fleet, machine};

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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bootstrap/golden/user-data.yaml");
    assert_eq!(text, std::fs::read_to_string(path).unwrap());
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
    assert!(files.contains_key("cni/calico.yaml"));
    spec.network.cni = Cni::None;
    assert!(!render(&spec, &all, None).unwrap().contains_key("cni/calico.yaml"));
}

#[test]
fn the_network_manifest_is_yaml_that_names_every_object_once_and_the_pods() {
    let files = render(&spec(), &machines(), None).unwrap();
    let objects: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text(&files, "cni/calico.yaml")).unwrap();
    let name = |object: &serde_json::Value| {
        let part = |path: &str| object.pointer(path).and_then(|text| text.as_str()).unwrap_or_default().to_string();
        (part("/kind"), part("/metadata/namespace"), part("/metadata/name"))
    };
    let mut names: Vec<_> = objects.iter().map(name).collect();
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(names.iter().all(|(kind, _, name)| !kind.is_empty() && !name.is_empty()), "{names:?}");
    assert_eq!(names.iter().filter(|(kind, ..)| kind == "CustomResourceDefinition").count(), 20);
    for object in objects.iter().filter(|object| object["kind"] == "CustomResourceDefinition") {
        let wanted =
            format!("{}.{}", object["spec"]["names"]["plural"].as_str().unwrap(), object["spec"]["group"].as_str().unwrap());
        assert_eq!(object["metadata"]["name"], wanted.as_str());
    }
    let node = objects.iter().find(|object| object["kind"] == "DaemonSet").unwrap();
    let pool = serde_json::json!({"name": "CALICO_IPV4POOL_CIDR", "value": "192.168.0.0/16"});
    assert!(node.pointer("/spec/template/spec/containers/0/env").unwrap().as_array().unwrap().contains(&pool));
    let config = objects.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
    let network = config["data"]["cni_network_config"].as_str().unwrap().replace("__CNI_MTU__", "0");
    let network: serde_json::Value = serde_json::from_str(&network).unwrap();
    assert_eq!(network["plugins"][0]["type"], "calico");
}
