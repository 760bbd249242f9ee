//! The account keeps AWS's promises and refusals.

use std::collections::{BTreeMap, BTreeSet};

use crate::cloud::calls::{CALLS, Call, Service};
use crate::cloud::fake::{FakeCloud, Fault, Options, When};
use crate::cloud::{Cloud, CloudError, ErrorClass, NetworkInterface, Scope};
use crate::cluster::{ImageAlias, Role};
use crate::desired::{Peer, Protocol, Rule, tags};
use crate::observed::RecordSet;
use crate::plan::change::{RecordChange, RecordVerb, RunInstance};
use crate::plan::{Change, Changed, Ref, Tags};

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

async fn network(fake: &FakeCloud) -> (String, String, String) {
    let vpc = make(fake, Change::CreateVpc { cidr: "10.0.0.0/16".parse().unwrap(), tags: owned() }).await;
    let cidr = "10.0.0.0/28".parse().unwrap();
    let subnet = make(fake, Change::CreateSubnet { vpc: known(&vpc), cidr, zone: "us-east-1a".into(), tags: owned() }).await;
    let group =
        make(fake, Change::CreateSecurityGroup { vpc: known(&vpc), name: "g".into(), description: "g".into(), tags: owned() })
            .await;
    make(fake, Change::ImportKeyPair { name: "demo".into(), public_key: KEY.into(), tags: owned() }).await;
    (vpc, subnet, group)
}

async fn run(fake: &FakeCloud, token: &str, request: &RunInstance) -> Result<Changed, CloudError> {
    fake.change(&Change::RunInstance { token: token.to_owned(), request: Box::new(request.clone()) }).await
}

#[tokio::test]
async fn a_client_token_makes_one_object_and_is_spent_with_it() {
    let fake = FakeCloud::default();
    let (vpc, subnet, group) = network(&fake).await;
    let request = machine(&subnet, &group);
    let first = run(&fake, "t", &request).await.unwrap();
    assert_eq!(run(&fake, "t", &request).await.unwrap(), first);
    assert_eq!(fake.instances(&uid()).await.unwrap().len(), 1);
    let other = RunInstance { volume_gib: 21, ..request.clone() };
    assert_eq!(run(&fake, "t", &other).await.unwrap_err().code, "IdempotentParameterMismatch");
    fake.change(&Change::TerminateInstance { instance: known(&first.id.unwrap()) }).await.unwrap();
    settle(&fake).await;
    assert_eq!(run(&fake, "t", &request).await.unwrap_err().code, "IdempotentInstanceTerminated");
    assert_eq!(fake.instances(&uid()).await.unwrap().len(), 1, "terminated ones stay listed");

    let allocation = make(&fake, Change::AllocateAddress { tags: owned() }).await;
    let nat = |token: &str| Change::CreateNatGateway {
        subnet: known(&subnet),
        allocation: known(&allocation),
        token: token.to_owned(),
        tags: owned(),
    };
    assert_eq!(make(&fake, nat("n")).await, make(&fake, nat("n")).await);
    assert_eq!(fake.change(&nat("n2")).await.unwrap_err().code, "Resource.AlreadyAssociated");
    let table = |tags: Tags| Change::CreateRouteTable { vpc: known(&vpc), token: "r".into(), tags };
    assert_eq!(make(&fake, table(owned())).await, make(&fake, table(owned())).await);
    assert_eq!(fake.change(&table(Tags::new())).await.unwrap_err().class, ErrorClass::TokenSpent);
}

#[tokio::test]
async fn wrong_requests_get_the_code_that_aws_gives() {
    let fake = FakeCloud::default();
    let (vpc, subnet, group) = network(&fake).await;
    let v = || known(&vpc);
    let arm = fake.edit(|world| world.catalogue.images.iter().find(|image| image.architecture == "arm64").cloned()).unwrap();
    let good = machine(&subnet, &group);
    let run = |request: RunInstance| Change::RunInstance { token: "x".into(), request: Box::new(request) };
    let authorize = |rules| Change::AuthorizeRules { group: known(&group), egress: false, rules, groups: BTreeMap::new() };
    let one = rule(Peer::Cidr("10.0.0.0/8".parse().unwrap()), 22);
    fake.change(&authorize(vec![one.clone()])).await.unwrap();
    let subnet_of = |cidr: &str, zone: &str| Change::CreateSubnet {
        vpc: v(),
        cidr: cidr.parse().unwrap(),
        zone: zone.into(),
        tags: Tags::new(),
    };
    let before = fake.snapshot();
    for (change, code) in [
        (subnet_of("10.0.0.0/24", "us-east-1a"), "InvalidSubnet.Conflict"),
        (subnet_of("10.1.0.0/24", "us-east-1a"), "InvalidSubnet.Range"),
        (subnet_of("10.0.9.0/24", "us-east-1z"), "InvalidParameterValue"),
        (Change::DeleteVpc { vpc: known("vpc-0") }, "InvalidVpcID.NotFound"),
        (Change::DeleteVpc { vpc: Ref::Id(crate::desired::ResourceId::Vpc) }, "InvalidParameterValue"),
        (
            Change::CreateSecurityGroup { vpc: v(), name: "g".into(), description: "g".into(), tags: owned() },
            "InvalidGroup.Duplicate",
        ),
        (Change::ImportKeyPair { name: "demo".into(), public_key: KEY.into(), tags: owned() }, "InvalidKeyPair.Duplicate"),
        (authorize(vec![rule(Peer::Foreign("sg-0".into()), 1)]), "InvalidGroup.NotFound"),
        (authorize(vec![rule(Peer::Cidr("10.0.0.0/8".parse().unwrap()), 23), one.clone()]), "InvalidPermission.Duplicate"),
        (authorize((100..200).map(|port| rule(one.peer.clone(), port)).collect()), "RulesPerSecurityGroupLimitExceeded"),
        (
            Change::RevokeRules {
                group: known(&group),
                egress: false,
                rules: vec![one.clone(), rule(one.peer.clone(), 9)],
                groups: BTreeMap::new(),
            },
            "InvalidPermission.NotFound",
        ),
        (run(RunInstance { image: "ami-0".into(), ..good.clone() }), "InvalidAMIID.NotFound"),
        (run(RunInstance { image: arm.id, ..good.clone() }), "InvalidParameterValue"),
        (run(RunInstance { machine_type: "t9.huge".into(), ..good.clone() }), "InvalidInstanceType"),
        (run(RunInstance { key_name: "none".into(), ..good.clone() }), "InvalidKeyPair.NotFound"),
        (run(RunInstance { security_groups: vec![known("sg-0")], ..good.clone() }), "InvalidGroup.NotFound"),
        (run(RunInstance { subnet: known("subnet-0"), ..good.clone() }), "InvalidSubnetID.NotFound"),
        (run(RunInstance { user_data: "x".repeat(17_000), ..good.clone() }), "InvalidParameterValue"),
    ] {
        let error = fake.change(&change).await.expect_err(&format!("{change:?}"));
        assert_eq!(error.code, code, "{change:?}");
        assert_eq!(before, fake.snapshot(), "{change:?} changed something");
    }
    // A /28 has 11 addresses for machines; a terminated machine gives its own back.
    let mut ids = Vec::new();
    for n in 0..11 {
        let change = Change::RunInstance { token: format!("m{n}"), request: Box::new(good.clone()) };
        ids.push(fake.change(&change).await.unwrap());
    }
    assert_eq!(ids.first().unwrap().private_address.as_deref(), Some("10.0.0.4"));
    assert_eq!(ids.last().unwrap().private_address.as_deref(), Some("10.0.0.14"));
    assert_eq!(fake.change(&run(good.clone())).await.unwrap_err().code, "InsufficientFreeAddressesInSubnet");
    fake.change(&Change::TerminateInstance { instance: known(ids[0].id.as_deref().unwrap()) }).await.unwrap();
    settle(&fake).await;
    assert_eq!(fake.change(&run(good)).await.unwrap().private_address.as_deref(), Some("10.0.0.4"));
}

#[tokio::test]
async fn slow_objects_come_and_go_after_the_reads_that_were_asked_for() {
    let options = Options {
        reads_until_running: 3,
        reads_until_terminated: 2,
        reads_until_in_sync: 2,
        reads_until_console: 2,
        ..Options::default()
    };
    let fake = FakeCloud::with("us-east-1", options);
    let (_, subnet, group) = network(&fake).await;
    let id = run(&fake, "t", &machine(&subnet, &group)).await.unwrap().id.unwrap();
    assert_eq!(fake.console_output(&id).await.unwrap(), None);
    let state = async || fake.instances(&uid()).await.unwrap().remove(0);
    assert_eq!([state().await.state, state().await.state, state().await.state], ["pending", "pending", "running"]);
    assert_eq!(state().await.public_address.as_deref(), Some("198.18.0.1"));
    assert_eq!(fake.console_output(&id).await.unwrap(), None);
    assert!(fake.console_output(&id).await.unwrap().unwrap().contains(&super::host_key(&id)));
    fake.change(&Change::TerminateInstance { instance: known(&id) }).await.unwrap();
    assert_eq!([state().await.state, state().await.state], ["shutting-down", "terminated"]);
    let zone = fake.plant_zone("example.com", false);
    let create = Change::ChangeRecords { zone, changes: vec![record(RecordVerb::Create, "10.0.0.4")] };
    let change = make(&fake, create).await;
    assert!(!fake.records_in_sync(&change).await.unwrap());
    assert!(fake.records_in_sync(&change).await.unwrap());
    assert_eq!(fake.records_in_sync("C0").await.unwrap_err().class, ErrorClass::NotFound);
}

#[tokio::test]
async fn new_objects_may_be_missing_from_listings_for_a_while() {
    let fake = FakeCloud::with("us-east-1", Options { listing_lag: 2, ..Options::default() });
    make(&fake, Change::CreateVpc { cidr: "10.0.0.0/16".parse().unwrap(), tags: owned() }).await;
    let mut counts = Vec::new();
    for _ in 0..4 {
        counts.push(fake.vpcs(&uid()).await.unwrap().len());
    }
    assert_eq!(counts, [0, 0, 1, 1]);
}

#[tokio::test]
async fn record_batches_are_atomic_and_never_overwrite_by_accident() {
    let fake = FakeCloud::default();
    let zone = fake.plant_zone("example.com", false);
    assert_eq!(fake.hosted_zones("Example.com.").await.unwrap().len(), 1);
    let batch = |changes: Vec<RecordChange>| Change::ChangeRecords { zone: zone.clone(), changes };
    fake.change(&batch(vec![record(RecordVerb::Create, "10.0.0.4")])).await.unwrap();
    let fresh = RecordChange { name: "other.example.com".into(), ..record(RecordVerb::Create, "10.0.0.9") };
    let outside = RecordChange { name: "xexample.com".into(), ..fresh.clone() };
    let before = fake.snapshot();
    for (bad, class) in [
        (record(RecordVerb::Create, "10.0.0.5"), ErrorClass::Exists),
        (record(RecordVerb::Delete, "10.0.0.5"), ErrorClass::NotFound),
        (RecordChange { ttl: 61, ..record(RecordVerb::Delete, "10.0.0.4") }, ErrorClass::NotFound),
        (outside, ErrorClass::Fatal),
        (record(RecordVerb::Upsert, "not an address"), ErrorClass::Fatal),
    ] {
        let error = fake.change(&batch(vec![fresh.clone(), bad.clone()])).await.expect_err(&format!("{bad:?}"));
        assert_eq!((error.code.as_str(), error.class), ("InvalidChangeBatch", class), "{bad:?}: {error}");
        assert_eq!(before, fake.snapshot(), "{bad:?}");
    }
    let alias = RecordSet { name: "www.example.com".into(), kind: "A".into(), ttl: 0, values: vec![], special: true };
    fake.plant_record(&zone, alias);
    let upsert = RecordChange { name: "www.example.com".into(), ..record(RecordVerb::Upsert, "10.0.0.4") };
    assert!(fake.change(&batch(vec![upsert])).await.is_err());
    let names: Vec<String> = fake.records(&zone, "demo.example.com").await.unwrap().into_iter().map(|set| set.name).collect();
    assert_eq!(names, ["api.demo.example.com"]);
}

#[tokio::test]
async fn faults_strike_the_call_that_was_named_before_or_after_its_effect() {
    let fake = FakeCloud::default();
    let create = Change::CreateVpc { cidr: "10.0.0.0/16".parse().unwrap(), tags: owned() };
    let empty = fake.snapshot();
    fake.fail(When::Action("CreateVpc".into(), 1), Fault::refused("VpcLimitExceeded", "no more"));
    fake.fail(When::Change(2), Fault::answer_lost());
    fake.fail(When::Every("DescribeVpcs".into()), Fault::throttled());
    let error = fake.change(&create).await.unwrap_err();
    assert_eq!((error.class, error.action.as_str()), (ErrorClass::Quota, "ec2:CreateVpc"));
    assert_eq!(fake.snapshot(), empty);
    assert_eq!(fake.change(&create).await.unwrap_err().class, ErrorClass::Ambiguous);
    assert_ne!(fake.snapshot(), empty, "the answer was lost, not the request");
    assert_eq!(fake.vpcs(&uid()).await.unwrap_err().class, ErrorClass::Throttled);
    fake.clear_faults();
    assert_eq!(fake.vpcs(&uid()).await.unwrap().len(), 1);
    let calls = fake.calls();
    assert_eq!((calls.reads, calls.changes, calls.throttled), (2, 2, 1));
    let log: Vec<String> = fake.log().into_iter().map(|call| call.action).collect();
    assert_eq!(log, ["ec2:CreateVpc", "ec2:CreateVpc", "ec2:DescribeVpcs", "ec2:DescribeVpcs"]);

    let twin = fake.fork();
    fake.fail(When::Change(3), Fault::HangAfter);
    let before = fake.snapshot();
    tokio::select! {
        answer = fake.change(&create) => panic!("{answer:?}"),
        () = fake.hung() => {}
    }
    assert_ne!(fake.snapshot(), before);
    assert_eq!(twin.snapshot(), before, "a fork is another account");
}

#[tokio::test]
async fn the_catalogue_has_both_architectures_of_every_alias() {
    let fake = FakeCloud::default();
    assert_eq!(fake.zones().await.unwrap().len(), 6);
    assert_eq!(FakeCloud::new("eu-central-1").zones().await.unwrap().len(), 3);
    for alias in ImageAlias::ALL {
        for (arch, architecture) in [("amd64", "x86_64"), ("arm64", "arm64")] {
            let images = fake.images_by_name(alias.owner(), &[alias.name_pattern(arch)]).await.unwrap();
            assert_eq!(images.len(), 2, "{alias:?} {arch}");
            for image in images {
                assert_eq!(image.architecture, architecture);
                assert_eq!(fake.images_by_id(std::slice::from_ref(&image.id)).await.unwrap(), [image]);
            }
        }
    }
    let kinds = fake.machine_types(&["t3.medium".into(), "t4g.small".into(), "nonsense".into()]).await.unwrap();
    assert_eq!(kinds.len(), 2);
    assert!(kinds.iter().all(|kind| !kind.zones.contains(&"us-east-1e".to_owned())));
}
