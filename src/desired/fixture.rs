//! A cluster for unit tests.

use std::collections::BTreeMap;

use crate::cluster::{
    Api, Cluster, Cni, HostKeys, Image, ImageAlias, InstanceGroup, KubernetesVersion, Network, Packages, Role, Ssh, SshAddress,
    SshAuth, Topology, Volume,
};

/// 3 control planes and 3 nodes over 3 zones, public topology, Calico.
pub fn cluster() -> Cluster {
    let zones: Vec<String> = ["us-east-1a", "us-east-1b", "us-east-1c"].map(String::from).to_vec();
    let office = vec!["203.0.113.0/24".parse().unwrap()];
    Cluster {
        name: "demo.k8s.example.com".into(),
        kubernetes: KubernetesVersion { major: 1, minor: 34, patch: 2 },
        region: "us-east-1".into(),
        network: Network {
            cidr: "10.20.0.0/16".parse().unwrap(),
            pods: "192.168.0.0/16".parse().unwrap(),
            services: "10.96.0.0/12".parse().unwrap(),
            cni: Cni::Calico,
            ports: vec![],
            topology: Topology::Public,
        },
        api: Api { dns_zone: "k8s.example.com".into(), sans: vec![], access: office.clone() },
        ssh: Ssh {
            user: None,
            port: 22,
            public_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGv0 ops".into(),
            auth: SshAuth::Agent,
            access: office,
            address: SshAddress::Public,
            host_keys: HostKeys::Console,
        },
        node_ports: vec![],
        groups: vec![
            group("control-plane", Role::ControlPlane, 3, "t3.medium", &zones),
            group("nodes", Role::Node, 3, "t3.large", &zones),
        ],
        zones,
        tags: BTreeMap::new(),
        packages: Packages::Apt { mirror: None, signing_key: None },
        components: Default::default(),
        prevent_destroy: false,
        snapshots_kept: 10,
    }
}

pub fn group(name: &str, role: Role, count: u32, machine_type: &str, zones: &[String]) -> InstanceGroup {
    InstanceGroup {
        name: name.into(),
        role,
        count,
        zones: zones.to_vec(),
        machine_type: machine_type.into(),
        image: Image::Alias(ImageAlias::Debian12),
        volume: Volume { size_gib: 40, kind: "gp3".into() },
        labels: BTreeMap::new(),
        taints: vec![],
        tags: BTreeMap::new(),
        instance_profile: None,
        metadata_hop_limit: 1,
        rolling_update: Default::default(),
        settings: Default::default(),
    }
}
