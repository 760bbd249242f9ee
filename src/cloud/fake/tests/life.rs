//! One of everything: made, seen, needed, unmade.

use std::collections::{BTreeMap, BTreeSet};

use super::{KEY, known, machine, owned, record, rule, settle, uid};
use crate::cloud::calls::{CALLS, Call, Service};
use crate::cloud::fake::FakeCloud;
use crate::cloud::{Cloud, ErrorClass, NetworkInterface};
use crate::cluster::Role;
use crate::desired::Peer;
use crate::plan::change::RecordVerb;
use crate::plan::{Change, Ref, Tags};

/// Every listing of the cluster, as text.
async fn listed(fake: &FakeCloud, zone: &str) -> String {
    let scope = uid();
    format!(
        "{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}",
        fake.vpcs(&scope).await,
        fake.subnets(&scope).await,
        fake.internet_gateways(&scope).await,
        fake.nat_gateways(&scope).await,
        fake.addresses(&scope).await,
        fake.route_tables(&scope).await,
        fake.security_groups(&scope).await,
        fake.key_pairs(&scope).await,
        fake.instances(&scope).await,
        fake.records(zone, "demo.example.com").await,
    )
}

/// A step and what undoes it; a route goes with its table.
struct Step {
    change: Change,
    undo: Option<Change>,
}

/// One of everything, made in an order that works. Gives each step with the account's listing from before it.
async fn one_of_everything(fake: &FakeCloud, zone: &str) -> Vec<(Step, String)> {
    let mut steps: Vec<(Step, String)> = Vec::new();
    let mut run = async |change: Change, undo: &dyn Fn(Ref) -> Option<Change>| -> String {
        settle(fake).await;
        let (before, seen) = (fake.snapshot(), listed(fake, zone).await);
        let changed = fake.change(&change).await.unwrap_or_else(|error| panic!("{change:?}: {error}"));
        settle(fake).await;
        assert_ne!(before, fake.snapshot(), "no effect: {change:?}");
        let invisible = matches!(change, Change::ModifyVpcAttribute { .. });
        assert_eq!(seen == listed(fake, zone).await, invisible, "not listed: {change:?}");
        let id = changed.id.unwrap_or_default();
        let undo = undo(known(&id));
        steps.push((Step { change, undo }, before));
        id
    };
    let none = |_: Ref| None;
    let vpc =
        run(Change::CreateVpc { cidr: "10.0.0.0/16".parse().unwrap(), tags: owned() }, &|vpc| Some(Change::DeleteVpc { vpc }))
            .await;
    let v = known(&vpc);
    let attribute = |value| Change::ModifyVpcAttribute { vpc: v.clone(), attribute: "enableDnsHostnames".into(), value };
    run(attribute(true), &|_| Some(attribute(false))).await;
    let subnet =
        Change::CreateSubnet { vpc: v.clone(), cidr: "10.0.0.0/24".parse().unwrap(), zone: "us-east-1a".into(), tags: owned() };
    let subnet = run(subnet, &|subnet| Some(Change::DeleteSubnet { subnet })).await;
    let igw =
        run(Change::CreateInternetGateway { tags: owned() }, &|gateway| Some(Change::DeleteInternetGateway { gateway })).await;
    let (igw_ref, subnet_ref) = (known(&igw), known(&subnet));
    run(Change::AttachInternetGateway { gateway: igw_ref.clone(), vpc: v.clone() }, &|_| {
        Some(Change::DetachInternetGateway { gateway: igw_ref.clone(), vpc: v.clone() })
    })
    .await;
    let eip = run(Change::AllocateAddress { tags: owned() }, &|allocation| Some(Change::ReleaseAddress { allocation })).await;
    let nat = Change::CreateNatGateway { subnet: subnet_ref.clone(), allocation: known(&eip), token: "n1".into(), tags: owned() };
    let nat = run(nat, &|gateway| Some(Change::DeleteNatGateway { gateway })).await;
    let table = Change::CreateRouteTable { vpc: v.clone(), token: "r1".into(), tags: owned() };
    let table = known(&run(table, &|table| Some(Change::DeleteRouteTable { table })).await);
    let everywhere: ipnet::Ipv4Net = "0.0.0.0/0".parse().unwrap();
    let route = Change::CreateRoute { table: table.clone(), destination: everywhere, target: igw_ref.clone(), nat: false };
    run(route, &none).await;
    let replace =
        |target: &str, nat| Change::ReplaceRoute { table: table.clone(), destination: everywhere, target: known(target), nat };
    run(replace(&nat, true), &|_| Some(replace(&igw, false))).await;
    run(Change::AssociateRouteTable { table: table.clone(), subnet: subnet_ref.clone() }, &|id| {
        Some(Change::DisassociateRouteTable { association: id.known().unwrap().to_owned() })
    })
    .await;
    let group =
        |name: &str| Change::CreateSecurityGroup { vpc: v.clone(), name: name.into(), description: "x".into(), tags: owned() };
    let nodes = run(group("nodes"), &|group| Some(Change::DeleteSecurityGroup { group })).await;
    let control = run(group("control"), &|group| Some(Change::DeleteSecurityGroup { group })).await;
    for egress in [false, true] {
        let group = known(&control);
        let rules = vec![rule(Peer::Group(Role::Node), 6443), rule(Peer::Cidr("10.0.0.0/8".parse().unwrap()), 22)];
        let groups = BTreeMap::from([("node".to_owned(), known(&nodes))]);
        let undo = Change::RevokeRules { group: group.clone(), egress, rules: rules.clone(), groups: groups.clone() };
        run(Change::AuthorizeRules { group, egress, rules, groups }, &move |_| Some(undo.clone())).await;
    }
    run(Change::ImportKeyPair { name: "demo".into(), public_key: KEY.into(), tags: owned() }, &|_| {
        Some(Change::DeleteKeyPair { name: "demo".into() })
    })
    .await;
    let request = Box::new(machine(&subnet, &nodes));
    let instance =
        run(Change::RunInstance { token: "i1".into(), request }, &|instance| Some(Change::TerminateInstance { instance })).await;
    let check = |value| Change::ModifySourceDestCheck { instance: known(&instance), value };
    run(check(false), &|_| Some(check(true))).await;
    let extra = Tags::from([("extra".to_owned(), "1".to_owned())]);
    let keys = vec!["extra".to_owned()];
    for id in [&vpc, &subnet, &igw, &eip, &nat, &nodes, &instance] {
        run(Change::CreateTags { resource: known(id), tags: extra.clone() }, &|_| {
            Some(Change::DeleteTags { resource: known(id), keys: keys.clone() })
        })
        .await;
    }
    let records = |verb| Change::ChangeRecords { zone: zone.to_owned(), changes: vec![record(verb, "10.0.0.4")] };
    run(records(RecordVerb::Create), &|_| Some(records(RecordVerb::Delete))).await;
    steps
}

#[tokio::test]
async fn every_change_shows_in_a_listing_and_its_undo_leaves_nothing() {
    let fake = FakeCloud::default();
    let zone = fake.plant_zone("example.com", false);
    let steps = one_of_everything(&fake, &zone).await;
    let mut seen = BTreeSet::new();
    for (step, before) in steps.into_iter().rev() {
        seen.insert(step.change.action());
        let Some(undo) = step.undo else { continue };
        seen.insert(undo.action());
        fake.change(&undo).await.unwrap_or_else(|error| panic!("{undo:?}: {error}"));
        settle(&fake).await;
        assert_eq!(fake.snapshot(), before, "after {undo:?}");
    }
    let ours = |call: &&&Call| call.is_change() && call.service != Service::S3;
    let all: BTreeSet<&str> = CALLS.iter().filter(ours).map(|call| call.action).collect();
    assert_eq!(seen, all, "a change that this test does not make");
}

#[tokio::test]
async fn nothing_can_be_deleted_while_something_needs_it() {
    let fake = FakeCloud::default();
    let zone = fake.plant_zone("example.com", false);
    let steps = one_of_everything(&fake, &zone).await;
    // In the order of creation everything is still needed by something later.
    let free = ["DeleteNatGateway", "DeleteKeyPair", "TerminateInstances", "DisassociateRouteTable"];
    for (step, _) in &steps {
        let Some(undo) = &step.undo else { continue };
        let deletes =
            undo.action().starts_with("Delete") || undo.action().starts_with("Detach") || undo.action().starts_with("Release");
        if !deletes || undo.action() == "DeleteTags" || free.contains(&undo.action()) {
            continue;
        }
        // No rule names the group `control` and nothing runs in it.
        if matches!(&step.change, Change::CreateSecurityGroup { name, .. } if name == "control") {
            continue;
        }
        let before = fake.snapshot();
        let error = fake.change(undo).await.expect_err(&format!("{undo:?}"));
        assert_eq!(error.class, ErrorClass::InUse, "{undo:?}: {error}");
        assert_eq!(before, fake.snapshot(), "{undo:?}");
    }
    fake.plant_interface(NetworkInterface {
        id: "eni-lb".into(),
        subnet: "subnet-00000000000000001".into(),
        groups: vec![],
        description: "ELB net/x".into(),
        instance: None,
        requester: Some("amazon-elb".into()),
    });
    for (step, _) in steps.iter().rev() {
        let Some(undo) = &step.undo else { continue };
        let blocked = matches!(undo, Change::DeleteSubnet { .. } | Change::DeleteVpc { .. });
        let answer = fake.change(undo).await;
        settle(&fake).await;
        assert_eq!(answer.is_err(), blocked, "{undo:?}: {answer:?}");
    }
    let left = fake.network_interfaces("vpc-00000000000000001").await.unwrap();
    assert_eq!(left.iter().map(|interface| interface.description.as_str()).collect::<Vec<_>>(), ["ELB net/x"]);
}
