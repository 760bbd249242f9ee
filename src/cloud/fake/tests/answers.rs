//! What single calls answer: tokens, refusals, slow objects, faults.

use std::collections::BTreeMap;

use super::{KEY, known, machine, make, owned, record, rule, settle, uid};
use crate::cloud::fake::{FakeCloud, Fault, Options, When, host_key};
use crate::cloud::{Cloud, CloudError, ErrorClass};
use crate::cluster::ImageAlias;
use crate::desired::Peer;
use crate::observed::RecordSet;
use crate::plan::change::{RecordChange, RecordVerb, RunInstance};
use crate::plan::{Change, Changed, Ref, Tags};

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
    assert!(fake.console_output(&id).await.unwrap().unwrap().contains(&host_key(&id)));
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
