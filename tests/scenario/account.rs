//! What is wrong with the account: whose it is, what it lacks, what is in it already.

use kubewright::cloud::codes::QUOTAS;
use kubewright::cloud::fake::{Fault, When};
use kubewright::cloud::{CloudError, ErrorClass};
use kubewright::desired::tags;
use kubewright::plan::Change;

use crate::world::*;

#[tokio::test(start_paused = true)]
async fn without_credentials_every_command_says_so_and_writes_nothing() {
    let none = |code: &str| CloudError {
        class: ErrorClass::Credentials,
        action: "sts:GetCallerIdentity".into(),
        code: code.into(),
        message: "no provider in the chain gave credentials".into(),
        request_id: None,
    };
    let fresh = World::new();
    let file = fresh.spec(SMALL);
    for code in ["no credentials", "ExpiredToken", "InvalidClientTokenId"] {
        *fresh.no_account.lock().unwrap() = Some(none(code));
        for args in [&["create", "-f", &file][..], &["create", "-f", &file, "--yes"], &["delete", "cluster", NAME, "--yes"]] {
            let _ = fresh.run(args).await.expect(1).says(&[code, "get valid credentials", "AWS_PROFILE"]);
        }
        assert!(fresh.dump().await.is_empty(), "not even a lock");
    }
    let world = World::of(SMALL).await;
    let before = world.everything().await;
    for (opens, code) in [(true, "no credentials"), (false, "ExpiredToken")] {
        *world.no_account.lock().unwrap() = opens.then(|| none(code));
        if !opens {
            world
                .cloud
                .fail_with(|_| Some(Fault::refused("ExpiredToken", "The security token included in the request is expired")));
        }
        for args in
            [&["update"][..], &["update", "--yes"], &["delete", "cluster", NAME, "--yes"], &["get", "instances"], &["validate"]]
        {
            let _ = world.run(args).await.expect(1).says(&[code, "get valid credentials"]);
        }
    }
    assert_eq!(world.everything().await, before);
}

#[tokio::test(start_paused = true)]
async fn credentials_of_another_account_are_refused_with_both_ids_and_never_plan_a_second_cluster() {
    for finished in [true, false] {
        let world = World::new();
        let file = world.spec(SMALL);
        if !finished {
            world.cloud.fail(When::Every("RunInstances".into()), Fault::refused("InsufficientInstanceCapacity", "none"));
        }
        let _ = world.run(&["create", "-f", &file, "--yes"]).await.expect(u8::from(!finished));
        world.cloud.clear_faults();
        world.cloud.edit(|account| account.account = "999999999999".into());
        let before = world.everything().await;
        world.cloud.reset_log();
        for args in [
            &["update"][..],
            &["update", "--yes"],
            &["update", "-f", &file, "--yes"],
            &["delete", "cluster", NAME],
            &["delete", "cluster", NAME, "--yes"],
            &["get", "instances"],
            &["validate"],
        ] {
            let _ = world.run(args).await.expect(1).says(&["123456789012", "999999999999", "AWS_PROFILE"]);
        }
        for args in [&["create", "-f", &file][..], &["create", "-f", &file, "--yes"]] {
            let ran = world.run(args).await.expect(1);
            assert!(!ran.out.contains("Plan:"), "{ran}");
            let _ = if finished { ran.says(&["exists already"]) } else { ran.says(&["123456789012", "999999999999"]) };
        }
        assert_eq!(reads(&world.cloud.log()), 0, "nothing is read of an account that is not the cluster's");
        assert_eq!(world.everything().await, before);
    }
}

/// Each with what the user is told; nothing is made, and nothing registered.
#[tokio::test(start_paused = true)]
async fn what_the_account_lacks_stops_the_plan_before_anything_is_made() {
    type Spoil = fn(&World);
    let image = "image = \"debian-12\"\n\n[[instance_group]]\nname = \"nodes\"";
    let at = |to: &str| edit(SMALL, image, &image.replacen("debian-12", to, 1)).replace("[ssh]\n", "[ssh]\nuser = \"admin\"\n");
    let nothing: Spoil = |_| {};
    let cases: Vec<(&str, String, Spoil, Vec<&str>)> = vec![
        (
            "no image",
            SMALL.into(),
            |world| world.cloud.edit(|account| account.catalogue.images.clear()),
            vec!["no image of debian-12 for x86_64", "image = \"ami-...\""],
        ),
        ("no such AMI", at("ami-00000000000000bad"), nothing, vec!["image ami-00000000000000bad does not exist"]),
        // The first arm64 image of the fake account.
        (
            "AMI of another architecture",
            at("ami-00000000000000003"),
            nothing,
            vec!["is for arm64, machine type t3.medium is x86_64"],
        ),
        (
            "no such machine type",
            edit(SMALL, "t3.large", "t9.mega"),
            nothing,
            vec!["machine type t9.mega does not exist in us-east-1"],
        ),
        (
            "not sold in the zone",
            SMALL.replace("us-east-1a", "us-east-1e"),
            nothing,
            vec!["t3.large is not offered in us-east-1e"],
        ),
        ("no such zone", SMALL.replace("us-east-1a", "us-east-1h"), nothing, vec!["zone us-east-1h is not available"]),
        (
            "no hosted zone",
            SMALL.into(),
            |world| world.cloud.edit(|account| account.hosted_zones.clear()),
            vec!["hosted zone k8s.example.com does not exist", "aws route53 create-hosted-zone"],
        ),
        ("two hosted zones", SMALL.into(), |world| drop(world.cloud.plant_zone(ZONE, false)), vec!["more than one hosted zone"]),
        (
            "somebody's records",
            SMALL.into(),
            |world| {
                let zone = world.cloud.edit(|account| account.hosted_zones.keys().next().unwrap().clone());
                world.cloud.plant_record(
                    &zone,
                    kubewright::observed::RecordSet {
                        name: format!("api.{NAME}"),
                        kind: "A".into(),
                        ttl: 60,
                        values: vec!["192.0.2.1".into()],
                        special: false,
                    },
                );
            },
            vec!["records exist that kubewright did not make: api.demo"],
        ),
    ];
    for (what, text, spoil, says) in cases {
        let world = World::new();
        spoil(&world);
        let before = world.cloud.snapshot();
        let file = world.spec(&text);
        for args in [&["create", "-f", &file][..], &["create", "-f", &file, "--yes"]] {
            let _ = world.run(args).await.expect(5).says(&says);
            assert_eq!(world.cloud.snapshot(), before, "{what}");
            assert!(world.dump().await.is_empty(), "{what}: {:?}", world.dump().await.keys());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_private_zone_beside_the_public_one_is_no_second_zone() {
    let world = World::new();
    world.cloud.plant_zone(ZONE, true);
    world.create(SMALL).await;
    let _ = world.settled().await;
}

/// The call that can hit each quota.
fn call_of(quota: &str) -> &'static str {
    match quota {
        "AddressLimitExceeded" => "AllocateAddress",
        "InternetGatewayLimitExceeded" => "CreateInternetGateway",
        "NatGatewayLimitExceeded" => "CreateNatGateway",
        "RouteLimitExceeded" => "CreateRoute",
        "RouteTableLimitExceeded" => "CreateRouteTable",
        "RulesPerSecurityGroupLimitExceeded" => "AuthorizeSecurityGroupIngress",
        "SecurityGroupLimitExceeded" => "CreateSecurityGroup",
        "SubnetLimitExceeded" => "CreateSubnet",
        "VpcLimitExceeded" | "TagLimitExceeded" => "CreateVpc",
        "ResourceCountExceeded" | "ResourceLimitExceeded" => "ImportKeyPair",
        "InstanceLimitExceeded"
        | "MaxSpotInstanceCountExceeded"
        | "SecurityGroupsPerInstanceLimitExceeded"
        | "SecurityGroupsPerInterfaceLimitExceeded"
        | "VcpuLimitExceeded"
        | "VolumeLimitExceeded" => "RunInstances",
        other => panic!("which call hits {other}?"),
    }
}

#[tokio::test(start_paused = true)]
async fn every_quota_is_named_and_a_higher_one_lets_the_run_go_on() {
    let reference = World::of(PRIVATE).await.account();
    for (code, quota) in QUOTAS {
        let world = World::new();
        world.cloud.fail(When::Every(call_of(code).into()), Fault::refused(code, "You have reached the limit"));
        let file = world.spec(PRIVATE);
        let ran = world.run(&["create", "-f", &file, "--yes"]).await.expect(1);
        let _ = ran.says(&[code, quota, call_of(code), "Service Quotas"]);
        assert!(world.state().intents.is_empty(), "{code}: a clear refusal leaves nothing in doubt");
        world.cloud.clear_faults();
        let _ = world.run(&["create", "-f", &file, "--yes"]).await.expect(0);
        assert_eq!(world.account(), reference, "{code}");
    }
}

/// Whatever is left of a cluster of that name, with another uid: a create stops, whichever kind it is.
#[tokio::test(start_paused = true)]
async fn the_remains_of_another_cluster_of_that_name_are_never_mixed_with_a_new_one() {
    let other = World::of(PRIVATE).await;
    let uid = other.state().uid;
    let kinds: Vec<&str> = vec![
        "vpcs",
        "subnets",
        "internet_gateways",
        "nat_gateways",
        "addresses",
        "route_tables",
        "security_groups",
        "key_pairs",
        "instances",
    ];
    for kept in kinds {
        let world = World::new();
        let whole = other.cloud.fork();
        let remains = whole.edit(|account| account.clone());
        world.cloud.edit(|account| match kept {
            "vpcs" => account.vpcs = remains.vpcs,
            "subnets" => account.subnets = remains.subnets,
            "internet_gateways" => account.internet_gateways = remains.internet_gateways,
            "nat_gateways" => account.nat_gateways = remains.nat_gateways,
            "addresses" => account.addresses = remains.addresses,
            "route_tables" => account.route_tables = remains.route_tables,
            "security_groups" => account.security_groups = remains.security_groups,
            "key_pairs" => account.key_pairs = remains.key_pairs,
            _ => account.instances = remains.instances,
        });
        let before = world.cloud.snapshot();
        let file = world.spec(PRIVATE);
        for args in [&["create", "-f", &file][..], &["create", "-f", &file, "--yes"]] {
            let ran = world.run(args).await.expect(1);
            let _ = ran.says(&["holds resources of another cluster", &uid, "kubewright delete cluster demo.k8s.example.com"]);
        }
        assert_eq!(world.cloud.snapshot(), before, "{kept}");
        assert!(world.dump().await.is_empty(), "{kept}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_whose_state_is_lost_is_deleted_by_its_tags_alone() {
    for text in [SMALL, PRIVATE] {
        let world = World::of(text).await;
        // Another machine: same account, a store that knows nothing.
        let elsewhere = World::new();
        let empty = elsewhere.cloud.snapshot();
        let elsewhere = World { cloud: world.cloud.clone(), ..elsewhere };
        let before = elsewhere.everything().await;
        let _ = elsewhere
            .run(&["delete", "cluster", NAME])
            .await
            .expect(0)
            .says(&["does not know this cluster", "found by its tags"]);
        assert_eq!(elsewhere.everything().await, before);
        let _ = elsewhere.run(&["delete", "cluster", NAME, "--yes"]).await.expect(0).says(&["0 remain"]);
        assert_eq!(elsewhere.cloud.snapshot(), empty);
        assert!(elsewhere.dump().await.is_empty(), "{:?}", elsewhere.dump().await.keys());
        let _ = elsewhere.run(&["delete", "cluster", NAME, "--yes"]).await.expect(1).says(&["there is no cluster"]);

        // The first store still believes in it: nothing is there, so it is deleted at once.
        let _ = world.run(&["delete", "cluster", NAME, "--yes"]).await.expect(0).says(&["0 remain"]);
    }
}

#[tokio::test(start_paused = true)]
async fn two_uids_of_one_name_are_not_deleted_by_guesswork() {
    let world = World::of(SMALL).await;
    world.cloud.edit(|account| {
        let twin = kubewright::observed::InternetGateway {
            id: "igw-other".into(),
            attached: vec![],
            tags: [(tags::CLUSTER.to_owned(), NAME.to_owned()), (tags::CLUSTER_UID.to_owned(), "f".repeat(32))].into(),
        };
        account.internet_gateways.insert(twin.id.clone(), twin);
    });
    let elsewhere = World { cloud: world.cloud.clone(), ..World::new() };
    let before = elsewhere.everything().await;
    let _ = elsewhere.run(&["delete", "cluster", NAME, "--yes"]).await.expect(1).says(&["two clusters named", &"f".repeat(32)]);
    assert_eq!(elsewhere.everything().await, before);
    // With its state it knows which is its own.
    let _ = world.run(&["delete", "cluster", NAME, "--yes"]).await.expect(0);
    assert_eq!(world.shape()["internet-gateway"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_terminated_by_hand_is_made_anew() {
    let world = World::of(EXAMPLES[1].1).await;
    let gone = world.instance("nodes-us-east-1b-1");
    world.cloud.plant(&Change::TerminateInstance { instance: kubewright::plan::Ref::Known(gone.clone()) }).unwrap();
    let _ = world.run(&["get", "instances"]).await;
    let _ = world.run(&["update"]).await.expect(0).says(&["nodes-us-east-1b-1", &format!("{gone} is gone"), "1 to create"]);
    let _ = world.run(&["update", "--yes"]).await.expect(0).says(&["6 of 6 nodes Ready"]);
    let _ = world.settled().await;

    let gone = world.instance("control-plane-us-east-1b-1");
    world.cloud.plant(&Change::TerminateInstance { instance: kubewright::plan::Ref::Known(gone.clone()) }).unwrap();
    let _ = world.run(&["get", "instances"]).await;
    let before = world.cloud.snapshot();
    for args in [&["update"][..], &["update", "--yes"]] {
        let _ = world.run(args).await.expect(5).says(&["control plane control-plane-us-east-1b-1", &gone, "etcd member"]);
    }
    assert_eq!(world.cloud.snapshot(), before);
}
