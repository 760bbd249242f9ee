//! The specs that are shipped, and the JSON Schema beside them.

use kubewright::cluster::{Amount, DrainEnd, Nat, Packages, Role, SshAddress, SshAuth, Topology};
use kubewright::spec;

use crate::types::fits;
use crate::world::*;

#[test]
fn every_example_loads_without_a_warning() {
    for (name, text) in EXAMPLES {
        let loaded = load(text).unwrap_or_else(|problems| panic!("{name}\n{}", problems.render(120, false)));
        assert!(loaded.warnings.is_empty(), "{name}\n{}", loaded.warnings.render(120, false));
        assert!(text.starts_with("#:schema ./kubewright.schema.json\n"), "{name} does not name its schema");
    }
    let shipped = std::fs::read_dir("clusters").unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(shipped.filter(|path| path.extension().is_some_and(|end| end == "toml")).count(), EXAMPLES.len());
}

#[test]
fn the_examples_mean_what_their_comments_say() {
    let ha = load(HA).unwrap().cluster;
    assert_eq!(ha.name, "demo.k8s.example.com");
    assert_eq!(ha.groups_of(Role::ControlPlane).map(|group| group.count).sum::<u32>(), 3);
    assert_eq!(ha.groups_of(Role::Node).map(|group| group.count).sum::<u32>(), 3);
    assert!(ha.groups.iter().all(|group| group.zones == ha.zones), "groups without zones span those of the cluster");
    assert_eq!(ha.network.topology, Topology::Public);
    assert_eq!(ha.ssh.address, SshAddress::Public);
    assert_eq!(ha.ssh.public_key, ED25519);
    assert_eq!(ha.ssh.auth, SshAuth::KeyFile("/home/demo/.ssh/id_ed25519".into()));
    assert_eq!(ha.packages, Packages::Bundle("/specs/clusters/../.lab/bundle".into()));
    assert_eq!(ha.groups[1].rolling_update.max_surge, Amount::Count(1));

    let private = load(PRIVATE).unwrap().cluster;
    assert_eq!(private.network.topology, Topology::Private { nat: Nat::PerZone });
    assert_eq!(private.ssh.address, SshAddress::Private);
    assert!(private.has_bastion() && private.prevent_destroy);
    let sizes: Vec<u32> = private.groups.iter().map(|group| group.volume.size_gib).collect();
    assert_eq!(sizes, [10, 40, 100], "defaults of bastion and control plane, and what the nodes ask for");
}

#[test]
fn what_is_left_out_is_safe() {
    let text = "schema = 1\nname = 'a.example.com'\nkubernetes = '1.34.2'\n\
        aws = { region = 'us-east-1', zones = ['us-east-1b', 'us-east-1a'] }\n\
        api.dns_zone = 'example.com'\nssh.public_key = '~/.ssh/id_ed25519.pub'\n\
        [[instance_group]]\nname = 'cp'\nrole = 'control-plane'\ncount = 1\nmachine_type = 't3.medium'\nzones = ['us-east-1a']\n";
    let loaded = load(text).unwrap();
    let cluster = loaded.cluster;
    assert!(
        cluster.api.access.is_empty() && cluster.ssh.access.is_empty() && cluster.node_ports.is_empty(),
        "nobody gets in unasked"
    );
    assert_eq!(cluster.ssh.auth, SshAuth::Agent);
    assert_eq!(cluster.packages, Packages::Apt { mirror: None, signing_key: None });
    assert_eq!(cluster.groups[0].metadata_hop_limit, 1);
    assert_eq!(cluster.groups[0].rolling_update.on_drain_timeout, DrainEnd::Stop, "no budget is overruled unasked");
    let warned: Vec<&str> = loaded.warnings.list.iter().map(|problem| problem.code.as_str()).collect();
    assert_eq!(warned, ["nobody-may-reach", "nobody-may-reach"], "who is locked out is told so");
}

#[test]
fn the_committed_json_schema_is_current() {
    let committed = std::fs::read_to_string("clusters/kubewright.schema.json").unwrap_or_default();
    assert!(committed == spec::schema_text(), "run: kubewright schema > clusters/kubewright.schema.json");
}

#[test]
fn the_json_schema_accepts_the_examples() {
    for (name, text) in EXAMPLES {
        let json: serde_json::Value = toml::from_str(text).unwrap();
        assert_eq!(fits(&spec::schema(), &json, ""), Ok(()), "{name}");
    }
}
