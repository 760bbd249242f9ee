//! The account keeps AWS's promises and refusals.

use crate::cloud::fake::FakeCloud;
use crate::cloud::{Cloud, Scope};
use crate::desired::{Peer, Protocol, Rule, tags};
use crate::plan::change::{RecordChange, RecordVerb, RunInstance};
use crate::plan::{Change, Ref, Tags};

mod answers;
mod life;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJunkJunkJunkJunkJunkJunkJunkJunkJunkJunkJun me";

fn owned() -> Tags {
    Tags::from([(tags::CLUSTER_UID.to_owned(), "u1".to_owned()), (tags::CLUSTER.to_owned(), "demo".to_owned())])
}

fn uid() -> Scope {
    Scope::Uid("u1".to_owned())
}

fn known(text: &str) -> Ref {
    Ref::Known(text.to_owned())
}

fn rule(peer: Peer, port: u16) -> Rule {
    Rule { egress: false, protocol: Protocol::Tcp, ports: Some((port, port)), peer, description: "a test".to_owned() }
}

fn machine(subnet: &str, group: &str) -> RunInstance {
    let fake = FakeCloud::default();
    let image = fake.edit(|world| world.catalogue.images.first().cloned()).unwrap();
    RunInstance {
        image: image.id,
        machine_type: "t3.medium".to_owned(),
        subnet: known(subnet),
        security_groups: vec![known(group)],
        public_address: true,
        key_name: "demo".to_owned(),
        user_data: "#cloud-config\n".to_owned(),
        root_device: image.root_device,
        volume_gib: 20,
        volume_kind: "gp3".to_owned(),
        instance_profile: None,
        metadata_hop_limit: 1,
        source_dest_check: true,
        tags: owned(),
    }
}

fn record(verb: RecordVerb, value: &str) -> RecordChange {
    RecordChange { verb, name: "api.demo.example.com".into(), kind: "A".into(), ttl: 60, values: vec![known(value)] }
}

async fn make(fake: &FakeCloud, change: Change) -> String {
    fake.change(&change).await.unwrap_or_else(|error| panic!("{change:?}: {error}")).id.unwrap()
}

/// Listings until nothing moves any more.
async fn settle(fake: &FakeCloud) {
    for _ in 0..3 {
        fake.instances(&uid()).await.unwrap();
        fake.nat_gateways(&uid()).await.unwrap();
    }
}
