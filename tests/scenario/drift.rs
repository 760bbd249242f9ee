//! What somebody changed by hand in the account: seen with both values, told from what the spec changed, and set right.

use std::collections::BTreeSet;

use kubewright::cloud::fake::{Fault, When};
use kubewright::observed::Tags;
use kubewright::plan::{Change, Plan};

use crate::by_hand::*;
use crate::world::*;

/// Another world with copies of an account and of a store.
async fn copy(base: &World) -> World {
    let world = World { cloud: base.cloud.fork(), ids: base.ids.clone(), clock: base.clock.clone(), ..World::new() };
    world.restore(&base.dump().await).await;
    *world.nodes.marks.lock().unwrap() = base.nodes.marks.lock().unwrap().clone();
    world
}

async fn plan(world: &World) -> Plan {
    let printed: serde_json::Value = serde_json::from_str(&world.run(&["update", "-o", "json"]).await.out).unwrap();
    serde_json::from_value(printed["plan"].clone()).unwrap()
}

fn texts(said: &[String]) -> Vec<&str> {
    said.iter().map(String::as_str).collect()
}

#[tokio::test(start_paused = true)]
async fn every_watched_attribute_is_seen_with_both_values_and_set_right() {
    let base = World::of(PRIVATE).await;
    let original = base.account();
    let mut covered = BTreeSet::new();
    for (n, (kind, attribute, by_hand, end)) in cases().into_iter().enumerate() {
        let what = format!("case {n}: {kind}.{attribute}");
        covered.insert((kind, attribute));
        let world = copy(&base).await;
        let said = by_hand(&world);
        // Slow things end while they are looked at.
        let _ = world.run(&["update"]).await;
        let before = world.everything().await;
        let ran = world.run(&["update"]).await.says(&texts(&said));
        assert_eq!(world.everything().await, before, "{what}: a dry run wrote");
        let planned = plan(&world).await;
        if end == Refused {
            let _ = ran.expect(5);
            let _ = world.run(&["update", "--yes"]).await.expect(5);
            assert_eq!(world.everything().await, before, "{what}");
            continue;
        }
        let ran = ran.expect(0);
        assert_eq!(planned.drift.is_empty(), end == Said, "{what}\n{ran}");
        assert!(
            planned.drift.iter().all(|drift| drift.is != drift.was && drift.action.is_some() != drift.next.is_some()),
            "{what}"
        );
        let _ = if end == Said { ran.silent_about("by hand") } else { ran.says(&["by hand"]) };
        if end == Left {
            assert!(planned.actions.is_empty(), "{what}");
        }
        let _ = world.run(&["update", "--yes"]).await.expect(0).says(&texts(&said));
        match end {
            Mended | Remade => {
                let _ = world.settled().await.silent_about("by hand");
            }
            Left => drop(world.run(&["update"]).await.expect(0).says(&texts(&said))),
            Said | Refused => {}
        }
        if end == Mended {
            assert_eq!(world.account(), original, "{what}");
        }
    }
    for (kind, attribute, kept) in attributes() {
        // Tags have a test of their own.
        let watched = attribute == "tags" || covered.contains(&(kind, attribute));
        assert_eq!(watched, kept == Watched, "{kind}.{attribute}");
    }
}

/// One resource of each kind that has tags.
const TAGGED: [&str; 9] = [
    "vpc",
    "subnet/us-east-1a",
    "internet-gateway",
    "nat-gateway/us-east-1a",
    "nat-address/us-east-1a",
    "route-table/us-east-1a",
    "security-group/node",
    "key-pair",
    "instance/nodes-us-east-1a-1",
];

/// Tags with the values that a hand gives them; none: taken away.
type Tagging = Vec<(&'static str, Option<&'static str>)>;

fn retag(world: &World, resource: &str, edit: impl FnOnce(&mut Tags)) {
    let id = id(world, resource);
    world.cloud.edit(|account| {
        let tags = match resource.split('/').next().unwrap() {
            "vpc" => &mut account.vpcs.get_mut(&id).unwrap().seen.tags,
            "subnet" => &mut account.subnets.get_mut(&id).unwrap().tags,
            "internet-gateway" => &mut account.internet_gateways.get_mut(&id).unwrap().tags,
            "nat-gateway" => &mut account.nat_gateways.get_mut(&id).unwrap().seen.tags,
            "nat-address" => &mut account.addresses.get_mut(&id).unwrap().tags,
            "route-table" => &mut account.route_tables.get_mut(&id).unwrap().tags,
            "security-group" => &mut account.security_groups.get_mut(&id).unwrap().tags,
            "key-pair" => &mut account.key_pairs.values_mut().next().unwrap().tags,
            "instance" => &mut account.instances.get_mut(&id).unwrap().seen.tags,
            other => panic!("{other}"),
        };
        edit(tags);
    });
}

#[tokio::test(start_paused = true)]
async fn tags_edited_by_hand_are_seen_and_set_again_and_nothing_is_made_twice() {
    const UID: &str = "kubewright.io/cluster-uid";
    const CLUSTER: &str = "kubewright.io/cluster";
    const RESOURCE: &str = "kubewright.io/resource";
    let base = World::of(PRIVATE).await;
    let (original, shape) = (base.account(), base.shape());
    for resource in TAGGED {
        let mut edits: Vec<(&str, Tagging)> = vec![
            ("the spec's, changed", vec![("team", Some("red"))]),
            ("the spec's, removed", vec![("team", None)]),
            ("Name", vec![("Name", Some("x"))]),
            ("name of the cluster", vec![(CLUSTER, None)]),
            ("uid changed", vec![(UID, Some("ffffffffffffffffffffffffffffffff"))]),
            ("uid removed", vec![(UID, None)]),
            ("resource removed", vec![(RESOURCE, None)]),
            ("resource of another", vec![(RESOURCE, Some("instance/nodes-us-east-1b-1"))]),
        ];
        // What is in no VPC is not found then.
        if !["nat-address/us-east-1a", "key-pair"].contains(&resource) {
            edits.push(("both identities", vec![(UID, None), (CLUSTER, None), (RESOURCE, None)]));
        }
        for (what, tags) in edits {
            let what = format!("{resource}: {what}");
            let world = copy(&base).await;
            let mut said = vec![];
            for (key, value) in tags {
                retag(&world, resource, |tags| {
                    let was = match value {
                        Some(value) => tags.insert(key.into(), value.into()),
                        None => tags.remove(key),
                    };
                    said.push(format!("changed by hand: tag {key} is {}, was {}", value.unwrap_or("nothing"), was.unwrap()));
                });
            }
            let ran = world.run(&["update", "-v"]).await.expect(0).says(&texts(&said));
            assert!(ran.out.contains("0 to create, 1 to change, 0 to replace, 0 to delete"), "{what}\n{ran}");
            let _ = world.run(&["update", "--yes"]).await.expect(0);
            let _ = world.settled().await;
            assert_eq!(world.shape(), shape, "{what}");
            assert_eq!(world.account(), original, "{what}");
        }
    }
    // Tags that others add are theirs.
    let world = copy(&base).await;
    for resource in TAGGED {
        retag(&world, resource, |tags| drop(tags.insert("cost-centre".into(), "7".into())));
    }
    let _ = world.settled().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_by_hand_is_made_again_after_it_was_shown() {
    type Delete = fn(&World) -> Vec<Change>;
    let base = World::of(PRIVATE).await;
    let shape = base.shape();
    fn nat(world: &World) -> Change {
        Change::DeleteNatGateway { gateway: known(world, "nat-gateway/us-east-1b") }
    }
    let deletes: Vec<(&str, Delete)> = vec![
        ("internet-gateway", |world| {
            let gateway = id(world, "internet-gateway");
            world.cloud.edit(|account| drop(account.internet_gateways.remove(&gateway)));
            vec![]
        }),
        ("nat-gateway/us-east-1b", |world| vec![Change::DeleteNatGateway { gateway: known(world, "nat-gateway/us-east-1b") }]),
        ("key-pair", |world| {
            let name = world.cloud.edit(|account| account.key_pairs.keys().next().unwrap().clone());
            vec![Change::DeleteKeyPair { name }]
        }),
        ("instance/nodes-us-east-1b-1", |world| {
            vec![Change::TerminateInstance { instance: known(world, "instance/nodes-us-east-1b-1") }]
        }),
        ("instance/bastion-us-east-1a-1", |world| {
            vec![Change::TerminateInstance { instance: known(world, "instance/bastion-us-east-1a-1") }]
        }),
        ("route-table/us-east-1b", |world| {
            of_table(world, "route-table/us-east-1b", |table| table.associations.clear());
            vec![Change::DeleteRouteTable { table: known(world, "route-table/us-east-1b") }]
        }),
        // What holds it goes first.
        ("nat-address/us-east-1b", |world| {
            vec![nat(world), Change::ReleaseAddress { allocation: known(world, "nat-address/us-east-1b") }]
        }),
        ("utility-subnet/us-east-1b", |world| {
            vec![nat(world), Change::DeleteSubnet { subnet: known(world, "utility-subnet/us-east-1b") }]
        }),
    ];
    for (what, delete) in deletes {
        let world = copy(&base).await;
        let gone = id(&world, what);
        for change in delete(&world) {
            world.cloud.plant(&change).unwrap_or_else(|error| panic!("{what}: {error}"));
            // Slow things end while they are looked at.
            let _ = world.run(&["update"]).await;
        }
        let before = world.everything().await;
        let _ = world.run(&["update"]).await.expect(0).says(&[&format!("{gone} is gone")]);
        assert_eq!(world.everything().await, before, "{what}");
        let planned = plan(&world).await;
        assert!(planned.drift.iter().any(|drift| drift.resource.to_string() == what && drift.was == gone), "{what}: {planned:?}");
        let _ = world.run(&["update", "--yes"]).await.expect(0).says(&[&format!("{gone} is gone")]);
        let _ = world.settled().await.silent_about("is gone");
        assert_eq!(world.shape(), shape, "{what}");
        assert_ne!(id(&world, what), gone);
    }
}

/// Consoles copy tags along: a copy is nobody's to delete.
#[tokio::test(start_paused = true)]
async fn what_only_has_our_tags_is_told_and_left_alone() {
    let base = World::of(PRIVATE).await;
    for attempt in [Some("copied"), None] {
        for resource in TAGGED {
            let world = copy(&base).await;
            let id = id(&world, resource);
            let strange = world.cloud.edit(|account| {
                macro_rules! clone {
                    ($map:ident, $key:expr, |$one:ident| $($field:tt)+) => {{
                        let mut $one = account.$map.get(&$key).unwrap().clone();
                        let strange = format!("{}-strange", $($field)+);
                        $($field)+.clone_from(&strange);
                        account.$map.insert(strange.clone(), $one);
                        strange
                    }};
                }
                match resource.split('/').next().unwrap() {
                    "vpc" => clone!(vpcs, id, |one| one.seen.id),
                    "subnet" => clone!(subnets, id, |one| one.id),
                    "internet-gateway" => clone!(internet_gateways, id, |one| one.id),
                    "nat-gateway" => clone!(nat_gateways, id, |one| one.seen.id),
                    "nat-address" => clone!(addresses, id, |one| one.allocation),
                    "route-table" => clone!(route_tables, id, |one| one.id),
                    "security-group" => clone!(security_groups, id, |one| one.id),
                    "key-pair" => {
                        let mut one = account.key_pairs.values().next().unwrap().clone();
                        (one.id, one.name) = ("key-strange".into(), "strange".into());
                        account.key_pairs.insert(one.name.clone(), one);
                        "key-strange".into()
                    }
                    _ => clone!(instances, id, |one| one.seen.id),
                }
            });
            if attempt.is_none() {
                world.cloud.edit(|account| {
                    let all = account.instances.values_mut().map(|one| (one.seen.id.clone(), &mut one.seen.tags));
                    let all = all.chain(account.subnets.values_mut().map(|one| (one.id.clone(), &mut one.tags)));
                    let all = all.chain(account.key_pairs.values_mut().map(|one| (one.id.clone(), &mut one.tags)));
                    all.filter(|(id, _)| *id == strange).for_each(|(_, tags)| drop(tags.remove("kubewright.io/attempt")));
                });
            }
            let before = world.cloud.snapshot();
            let says = [strange.as_str(), "kubewright did not make it", "left alone"];
            let ran = world.run(&["update", "--yes"]).await.expect(0).says(&says);
            assert!(ran.out.contains("No changes"), "{resource}\n{ran}");
            assert_eq!(world.cloud.snapshot(), before, "{resource}");
            let ran = world.run(&["delete", "cluster", NAME]).await;
            assert!(!ran.out.contains(&format!("- {strange}")) && ran.code == 0, "{resource}\n{ran}");
            if ["internet-gateway", "nat-address", "key-pair"].contains(&resource) {
                // In the copy's attributes it is still attached.
                world.cloud.edit(|account| {
                    account.internet_gateways.values_mut().for_each(|one| {
                        if one.id == strange {
                            one.attached.clear();
                        }
                    })
                });
                let _ = world.run(&["delete", "cluster", NAME, "--yes"]).await.expect(0);
                assert!(world.cloud.snapshot().contains(&strange), "{resource}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn access_that_was_given_by_hand_is_taken_away_before_anything_else() {
    let world = World::of(PRIVATE).await;
    authorize(&world, "security-group/node", rule(false, everywhere(), "by hand"));
    authorize(&world, "security-group/control-plane", rule(false, everywhere(), "by hand"));
    let text = edit(&edit(PRIVATE, "count = 2", "count = 3"), "team = \"blue\"", "team = \"red\"");
    let text = edit(
        &text,
        "api = { dns_zone = \"k8s.example.com\", access = [\"203.0.113.0/24\"] }",
        "api = { dns_zone = \"k8s.example.com\", access = [\"198.51.100.0/24\"] }",
    );
    let file = world.spec(&text);
    world.cloud.reset_log();
    let ran = world.run(&["update", "-f", &file, "--yes"]).await.expect(0);
    let _ = ran.says(&["the spec changed", "changed by hand: tcp 22 from 0.0.0.0/0 by hand is there, was not there"]);
    let calls = changes(&world.cloud.log());
    assert!(calls.len() > 10, "{calls:?}");
    assert_eq!(calls[..2], ["ec2:RevokeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"], "{calls:?}");
    let _ = world.settled().await;
    // If it cannot be taken away, nothing else is done.
    authorize(&world, "security-group/node", rule(false, everywhere(), "by hand"));
    world.cloud.fail(When::Every("RevokeSecurityGroupIngress".into()), Fault::refused("UnauthorizedOperation", "no"));
    world.cloud.reset_log();
    let _ = world.run(&["update", "-f", &world.spec(PRIVATE), "--yes"]).await.expect(1);
    assert_eq!(changes(&world.cloud.log()), ["ec2:RevokeSecurityGroupIngress"]);
    world.cloud.clear_faults();
    let _ = world.run(&["update", "-f", &world.spec(PRIVATE), "--yes"]).await.expect(0);
    let _ = world.settled().await;
}

/// Spec, last applied and live value: who changed what is told apart, also where both did, or a run did not finish.
#[tokio::test(start_paused = true)]
async fn what_the_spec_changed_is_not_blamed_on_a_hand() {
    let world = World::of(PRIVATE).await;
    let green = edit(PRIVATE, "team = \"blue\"", "team = \"green\"");
    let file = world.spec(&green);
    let _ = world.run(&["update", "-f", &file]).await.expect(0).says(&["tag team: blue -> green"]).silent_about("by hand");
    retag(&world, "vpc", |tags| drop(tags.insert("team".into(), "red".into())));
    let ran = world.run(&["update", "-f", &file]).await.expect(0);
    let _ = ran.says(&["tag team: red -> green", "changed by hand: tag team is red, was blue"]);
    assert_eq!(plan(&world).await.drift.len(), 1);
    // Set by hand to what the spec wants: nothing to say.
    retag(&world, "vpc", |tags| drop(tags.insert("team".into(), "green".into())));
    let _ = world.run(&["update", "-f", &file]).await.expect(0).silent_about("by hand");

    // Half of the tags are set, then the run ends.
    let world = World::of(PRIVATE).await;
    world.cloud.fail(When::Action("CreateTags".into(), 6), Fault::refused("UnauthorizedOperation", "no"));
    let _ = world.run(&["update", "-f", &file, "--yes"]).await.expect(1);
    let _ = world.run(&["update"]).await.expect(0).silent_about("by hand");
    let back = world.spec(PRIVATE);
    let _ = world.run(&["update", "-f", &back]).await.expect(0).silent_about("by hand");
    // A creation that did not finish.
    for action in
        ["AuthorizeSecurityGroupIngress", "CreateRoute", "AssociateRouteTable", "AttachInternetGateway", "ModifyVpcAttribute"]
    {
        let world = World::new();
        world.cloud.fail(When::Every(action.into()), Fault::refused("UnauthorizedOperation", "no"));
        let _ = world.run(&["create", "-f", &world.spec(PRIVATE), "--yes"]).await.expect(1);
        world.cloud.clear_faults();
        let _ = world.run(&["update"]).await.expect(0).silent_about("by hand");
        let _ = world.run(&["update", "--yes"]).await.expect(0);
        let _ = world.settled().await;
    }
}
