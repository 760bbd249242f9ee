//! Every key of a spec, changed on a live cluster: the plan shows exactly that and why, and after it there is nothing to do; or
//! it is refused with the old and the new value.

use std::collections::{BTreeMap, BTreeSet};

use kubewright::desired::{Peer, Protocol, Rule};
use kubewright::plan::{Change, Plan, Ref};

use crate::by_hand::{authorize, id};
use crate::cases::*;
use crate::world::*;

fn plan_of(ran: &Ran) -> Plan {
    let printed: serde_json::Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}\n{ran}"));
    serde_json::from_value(printed["plan"].clone()).unwrap()
}

/// What Kubernetes knows of each machine is what its group says.
fn assert_marks(world: &World) {
    let state = world.state();
    for (slot, node) in &state.nodes {
        let group = state.model.groups.iter().find(|group| slot.starts_with(&format!("{}-us-", group.name))).unwrap();
        if group.role != kubewright::cluster::Role::Bastion {
            let mut want = group.marks();
            let mut have = world.nodes.marks.lock().unwrap()[&node.instance].clone();
            want.taints.sort();
            have.taints.sort();
            assert_eq!(have, want, "{slot}");
        }
    }
    let joined = state.nodes.values().filter(|node| node.marks.is_some()).count();
    assert_eq!(world.nodes.marks.lock().unwrap().len(), joined, "Nodes of machines that are gone");
}

#[tokio::test(start_paused = true)]
async fn every_key_of_a_spec_has_a_case() {
    let world = World::of(BASE).await;
    let of_cases: BTreeSet<&str> = cases().into_iter().map(|(key, ..)| key).collect();
    // The name is what says which cluster is meant: a test of its own.
    assert_eq!(keys(world.state().model), of_cases);
}

#[tokio::test(start_paused = true)]
async fn a_changed_key_is_planned_with_its_reason_applied_and_then_at_rest() {
    for (key, from, to, then, says) in cases() {
        let what = format!("{key}: {from:?} -> {to:?}");
        let world = World::of(BASE).await;
        let (original, kinds) = (world.account(), world.shape());
        if key == "api.dns_zone" {
            world.cloud.plant_zone("example.com", false);
        }
        let text = edit(BASE, from, to);
        let text = if key == "aws.region" { text.replace("us-east-1", "us-west-2") } else { text };
        // A bastion has no labels, and is for private addresses.
        let text = if key == "group.role" {
            text.replace("labels = {", "# ").replace("taints = [", "# ").replace("address = \"public\"", "address = \"private\"")
        } else {
            text
        };
        let text = if key == "network.topology" { text.replace("address = \"public\"", "address = \"private\"") } else { text };
        let file = world.spec(&text);
        let before = world.everything().await;
        let shown = world.run(&["update", "-f", &file, "--detailed-exitcode"]).await;
        let plan = plan_of(&world.run(&["update", "-f", &file, "-o", "json"]).await);
        assert_eq!(world.everything().await, before, "{what}: a dry run wrote");
        let ids: Vec<&str> = plan.actions.iter().map(|action| action.id.as_str()).collect();
        let text = shown.to_string();
        let exactly = |wanted: &[&str]| {
            for id in &ids {
                assert!(wanted.iter().any(|begin| id.starts_with(begin)), "{what}: {id} was not asked for\n{text}");
            }
            for begin in wanted {
                assert!(ids.iter().any(|id| id.starts_with(begin)), "{what}: no {begin}\n{text}");
            }
        };
        if let Refused = then {
            let _ = shown.expect(5).says(says);
            let _ = world.run(&["update", "-f", &file, "--yes"]).await.expect(5).says(says);
            assert_eq!(world.everything().await, before, "{what}");
            continue;
        }
        assert!(plan.errors.is_empty() && plan.warnings.is_empty(), "{what}\n{shown}");
        assert!(
            plan.actions.iter().all(|action| !action.reasons.is_empty()
                || action.id.starts_with("create subnet")
                || ids.iter().any(|id| id.starts_with("create instance/"))),
            "{what}: no reason\n{shown}"
        );
        let shown = shown.says(says);
        match &then {
            Does(wanted) => {
                let shown = shown.expect(2);
                exactly(wanted);
                assert!(plan.behind.is_empty(), "{what}\n{shown}");
            }
            Behind(wanted) => {
                exactly(wanted);
                let slots: BTreeSet<&str> = plan.behind.iter().map(|behind| behind.slot.as_str()).collect();
                assert_eq!(slots.len(), if key.starts_with("ssh") { 3 } else { 2 }, "{what}");
            }
            Registers => {
                assert!(ids.is_empty() && plan.behind.is_empty(), "{what}\n{shown}");
                let _ = shown.says(&["it becomes revision 2"]);
            }
            Refused => {}
        }
        let machines =
            |world: &World| world.state().nodes.into_iter().map(|(slot, node)| (slot, node.instance)).collect::<BTreeSet<_>>();
        let (old, asked) = (machines(&world), world.nodes.inner.asked().len());
        let _ = world.run(&["update", "-f", &file, "--yes"]).await.expect(0);
        let planned: BTreeSet<&str> = plan
            .actions
            .iter()
            .filter_map(|action| action.id.split_once(' '))
            .map(|(_, subject)| subject.trim_start_matches("instance/"))
            .collect();
        for (slot, instance) in old.difference(&machines(&world)) {
            assert!(planned.contains(slot.as_str()), "{what}: {slot} ({instance}) is gone");
        }
        for asked in &world.nodes.inner.asked()[asked..] {
            assert!(planned.contains(asked.slot.as_str()), "{what}: {asked:?} was not planned");
        }
        let rest = world.settled().await;
        if let Behind(_) = then {
            let _ = rest.says(says.iter().copied().filter(|text| !text.contains("changed")).collect::<Vec<_>>().as_slice());
        } else {
            let _ = rest.silent_about("behind");
        }
        assert_marks(&world);

        // And back again.
        let file = world.spec(BASE);
        if key == "group.count" && to.contains("= 3") {
            let _ = world.run(&["update", "-f", &file]).await.expect(5).says(&["control plane", "set the count back"]);
            continue;
        }
        let _ = world.run(&["update", "-f", &file, "--yes"]).await.expect(0);
        let _ = world.settled().await.silent_about("behind");
        // Machines do not move because a zone comes back.
        if key == "group.zones" {
            assert_eq!(world.shape(), kinds, "{what}");
        } else {
            assert_eq!(world.account(), original, "{what}");
        }
        assert_marks(&world);
    }
}

/// Of the private topology: how many NAT gateways, and whether there is a bastion.
#[tokio::test(start_paused = true)]
async fn nat_gateways_and_the_bastion_come_and_go() {
    let one = edit(PRIVATE, "per-zone", "one");
    let end = PRIVATE.find("[[instance_group]]\nname = \"control-plane\"").unwrap();
    let begin = PRIVATE.find("[[instance_group]]\nname = \"bastion\"").unwrap();
    let without = format!("{}{}", &PRIVATE[..begin], &PRIVATE[end..]);
    for other in [one, without] {
        let there = World::of(PRIVATE).await.account();
        let back = World::of(&other).await.account();
        let world = World::of(PRIVATE).await;
        for (text, shape) in [(other.as_str(), &back), (PRIVATE, &there)] {
            let file = world.spec(text);
            world.cloud.reset_log();
            let _ = world.run(&["update", "-f", &file, "--yes"]).await.expect(0);
            let _ = world.settled().await.silent_about("behind");
            assert_eq!(world.account(), *shape);
            let calls = changes(&world.cloud.log());
            let place = |action: &str| calls.iter().position(|call| call == action);
            if let (Some(deleted), Some(replaced)) = (place("ec2:DeleteNatGateway"), place("ec2:ReplaceRoute")) {
                assert!(replaced < deleted, "the route leads nowhere meanwhile: {calls:?}");
            }
            assert!(world.state().resources.contains_key(&"records".parse().unwrap()), "the records are still known");
        }
        let _ = world.run(&["delete", "cluster", NAME, "--yes"]).await.expect(0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_leaves_takes_its_subnet_and_its_machines_along() {
    let world = World::of(PRIVATE).await;
    let file = world.spec(&edit(PRIVATE, "zones = [\"us-east-1a\", \"us-east-1b\"]", "zones = [\"us-east-1a\"]"));
    let _ = world.run(&["update", "-f", &file, "--yes"]).await.expect(0);
    let _ = world.settled().await.silent_about("behind");
    assert!(!world.cloud.snapshot().contains("us-east-1b"), "{}", world.cloud.snapshot());
    assert_marks(&world);
}

/// The name says which cluster is meant; in a file it cannot become another one.
#[tokio::test(start_paused = true)]
async fn another_name_is_another_cluster() {
    let world = World::of(BASE).await;
    let file = world.spec(&edit(BASE, NAME, "prod.k8s.example.com"));
    let before = world.everything().await;
    for yes in [&[][..], &["--yes"]] {
        let named = [&["update", NAME, "-f", &file][..], yes].concat();
        let _ = world.run(&named).await.expect(5).says(&["prod.k8s.example.com", NAME]);
        let _ =
            world.run(&[&["update", "-f", &file][..], yes].concat()).await.expect(1).says(&["there is no cluster prod", NAME]);
    }
    assert_eq!(world.everything().await, before);
}

/// A tag that one run set and did not live to record as applied is still taken away when it leaves the spec.
#[tokio::test(start_paused = true)]
async fn tags_of_an_unfinished_revision_are_taken_away_again() {
    use kubewright::cloud::fake::{Fault, When};
    let world = World::of(SMALL).await;
    let clean = world.cloud.snapshot();
    let tagged = world.spec(&edit(SMALL, "schema = 1\n", "schema = 1\ntags = { team = \"blue\" }\n"));
    world.cloud.fail(When::Action("CreateTags".into(), 3), Fault::refused("UnauthorizedOperation", "no"));
    let _ = world.run(&["update", "-f", &tagged, "--yes"]).await.expect(1);
    assert!(world.cloud.snapshot().contains("team=blue"));
    let _ = world.run(&["update", "-f", &world.spec(SMALL), "--yes"]).await.expect(0);
    assert_eq!(world.cloud.snapshot(), clean);
}

#[tokio::test(start_paused = true)]
async fn labels_of_a_node_that_fails_are_shown_again_and_the_others_have_theirs() {
    let world = World::of(BASE).await;
    let text = edit(BASE, "tier = \"general\"", "tier = \"web\"");
    let file = world.spec(&text);
    world.nodes.inner.fail_at(
        kubewright::bootstrap::NodeTask::Label,
        "nodes-us-east-1b-1",
        "labels",
        "the API server does not answer",
    );
    let _ =
        world.run(&["update", "-f", &file, "--yes"]).await.expect(7).says(&["node nodes-us-east-1b-1", "step `labels` failed"]);
    let plan = plan_of(&world.run(&["update", "-o", "json"]).await);
    assert_eq!(plan.actions.iter().map(|action| action.id.as_str()).collect::<Vec<_>>(), ["label nodes-us-east-1b-1"]);
    let _ = world.run(&["update", "--yes"]).await.expect(0);
    let _ = world.settled().await;
    assert_marks(&world);
}

/// A port between machines is opened by the spec, and by nothing else; what is not wanted any more goes before what is new comes.
#[tokio::test(start_paused = true)]
async fn ports_between_machines_are_those_of_the_spec() {
    let spec = |ports: &str| edit(BASE, "\"4789/udp\", \"9000/udp\", \"icmp\"", ports).replace("\"calico\"", "\"none\"");
    let world = World::of(&spec("")).await;
    let closed = world.account();
    let by_hand = Rule {
        egress: false,
        protocol: Protocol::Udp,
        ports: Some((8472, 8472)),
        peer: Peer::Foreign(id(&world, "security-group/node")),
        description: "overlay".into(),
    };
    authorize(&world, "security-group/node", by_hand.clone());
    let _ =
        world.run(&["update", "--yes"]).await.expect(0).says(&["udp 8472 from node machines overlay is there, was not there"]);
    assert_eq!(world.account(), closed, "a port that was opened by hand");

    // The spec takes over what a hand did.
    authorize(&world, "security-group/node", by_hand);
    let file = world.spec(&spec("\"8472/udp\""));
    let _ = world.run(&["update", "-f", &file, "--yes"]).await.expect(0).says(&["network.ports, control-plane"]);
    let _ = world.settled().await;
    let open = |world: &World, port: u16| {
        world.cloud.edit(|account| {
            let rules = account.security_groups.values().flat_map(|group| &group.rules);
            rules.filter(|rule| rule.ports == Some((port, port))).count()
        })
    };
    assert_eq!(open(&world, 8472), 4, "two groups, each from both");

    world.cloud.reset_log();
    let file = world.spec(&spec("\"51820/udp\""));
    let _ = world.run(&["update", "-f", &file, "--yes"]).await.expect(0).says(&["the spec changed", "disruptive"]);
    let mut order = BTreeMap::<String, Vec<&str>>::new();
    for change in world.cloud.log().into_iter().filter_map(|call| call.change) {
        match change {
            Change::RevokeRules { group: Ref::Known(group), .. } => order.entry(group).or_default().push("revoke"),
            Change::AuthorizeRules { group: Ref::Known(group), .. } => order.entry(group).or_default().push("authorize"),
            other => panic!("{other:?}"),
        }
    }
    assert!(order.len() == 2 && order.values().all(|calls| *calls == ["revoke", "authorize"]), "{order:?}");
    assert_eq!((open(&world, 8472), open(&world, 51820)), (0, 4));
    let _ = world.settled().await;

    let file = world.spec(&spec(""));
    let _ = world.run(&["update", "-f", &file, "--yes"]).await.expect(0);
    assert_eq!(world.account(), closed);
}
