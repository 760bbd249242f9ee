//! A cluster to bootstrap in tests.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use kubewright::bootstrap::{Events, Fleet, Machine, NodeEvent, Pki};
use kubewright::cluster::{
    Api, Cluster, Cni, HostKeys, Image, ImageAlias, InstanceGroup, Network, Packages, Role, Ssh, SshAddress, SshAuth, Topology,
    Volume,
};

pub fn group(name: &str, role: Role, count: u32) -> InstanceGroup {
    InstanceGroup {
        name: name.into(),
        role,
        count,
        zones: vec!["us-east-1a".into()],
        machine_type: "t3.medium".into(),
        image: Image::Alias(ImageAlias::Debian12),
        volume: Volume { size_gib: 20, kind: "gp3".into() },
        labels: BTreeMap::from([("team".to_string(), "blue".to_string())]),
        taints: vec![],
        tags: BTreeMap::new(),
        instance_profile: None,
        metadata_hop_limit: 1,
        rolling_update: Default::default(),
        settings: Default::default(),
    }
}

pub fn cluster(public_key: &str, key: &Path, bundle: &Path) -> Cluster {
    Cluster {
        name: "demo.k8s.example.com".into(),
        kubernetes: "1.34.2".parse().unwrap(),
        region: "us-east-1".into(),
        zones: vec!["us-east-1a".into()],
        network: Network {
            cidr: "10.20.0.0/16".parse().unwrap(),
            pods: "192.168.0.0/16".parse().unwrap(),
            services: "10.96.0.0/12".parse().unwrap(),
            cni: Cni::Calico,
            ports: vec![],
            topology: Topology::Public,
        },
        api: Api { dns_zone: "k8s.example.com".into(), sans: vec!["extra.example.com".into()], access: vec![] },
        ssh: Ssh {
            user: None,
            port: 22,
            public_key: public_key.into(),
            auth: SshAuth::KeyFile(key.into()),
            access: vec![],
            address: SshAddress::Private,
            host_keys: HostKeys::Console,
        },
        node_ports: vec![],
        groups: vec![group("control-plane", Role::ControlPlane, 3), group("nodes", Role::Node, 3)],
        tags: BTreeMap::new(),
        packages: Packages::Bundle(bundle.into()),
        components: Default::default(),
        prevent_destroy: false,
        snapshots_kept: 10,
    }
}

pub fn machine(slot: &str, group: &str, instance: &str, address: &str) -> Machine {
    Machine {
        slot: slot.into(),
        group: group.into(),
        instance: instance.into(),
        zone: "us-east-1a".into(),
        private_address: address.into(),
        public_address: None,
        host_keys: vec![],
        marks: Default::default(),
    }
}

pub fn fleet(cluster: &Cluster, pki: &Pki, machines: &[Machine], ready: &[&str]) -> Arc<Fleet> {
    Arc::new(Fleet {
        cluster: cluster.clone(),
        pki: pki.clone(),
        machines: machines.iter().map(|machine| (machine.slot.clone(), machine.clone())).collect(),
        ready_control_planes: ready.iter().map(|slot| slot.to_string()).collect(),
    })
}

/// Remembers what a task told.
#[derive(Clone, Default)]
pub struct Told(Arc<Mutex<Vec<NodeEvent>>>);

impl Told {
    pub fn events(&self) -> Events {
        let told = self.0.clone();
        let begun = std::time::Instant::now();
        Arc::new(move |event| {
            if std::env::var_os("KUBEWRIGHT_TRACE").is_some() {
                eprintln!("{:7.3} {event:?}", begun.elapsed().as_secs_f64());
            }
            told.lock().unwrap().push(event)
        })
    }

    pub fn all(&self) -> Vec<NodeEvent> {
        self.0.lock().unwrap().clone()
    }

    /// Steps that were done, in order, with whether they were skipped.
    pub fn steps(&self) -> Vec<(String, bool)> {
        let done = |event| match event {
            NodeEvent::StepDone { step, skipped } => Some((step, skipped)),
            _ => None,
        };
        self.all().into_iter().filter_map(done).collect()
    }
}
