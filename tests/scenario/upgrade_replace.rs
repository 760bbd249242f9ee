//! Upgrades of groups whose machines are replaced: once, in the last hop, by new machines of its version.

use std::collections::BTreeMap;

use kubewright::bootstrap::NodeTask;
use serde_json::Value;

use crate::upgrade::{HA, assert_upgraded, version};
use crate::world::*;

/// Three control planes, one worker in place and this many that are replaced.
pub fn mixed(count: u32, rolling: &str) -> String {
    let spec = HA.replace("count = 4", "count = 1");
    format!(
        "{spec}\n[[instance_group]]\nname = \"pool\"\nrole = \"node\"\ncount = {count}\nmachine_type = \"t3.large\"\nimage = \"debian-12\"\n\
         rolling_update = {{ upgrade = \"replace\"{rolling} }}\n"
    )
}

fn instances(world: &World, group: &str) -> BTreeMap<String, String> {
    let nodes = world.state().nodes;
    nodes.into_iter().filter(|(slot, _)| slot.starts_with(group)).map(|(slot, node)| (slot, node.instance)).collect()
}

async fn plan(world: &World, to: &str) -> Value {
    let json = world.run(&["upgrade", "--to", to, "-o", "json"]).await.expect(0);
    serde_json::from_str(&json.out).unwrap()
}

/// Tasks of machines whose slot begins so, since then.
fn tasks(world: &World, group: &str, since: usize) -> Vec<NodeTask> {
    let asked = world.nodes.inner.asked().split_off(since);
    asked.into_iter().filter(|asked| asked.slot.starts_with(group)).map(|asked| asked.task).collect()
}

#[tokio::test(start_paused = true)]
async fn machines_that_are_replaced_wait_for_the_last_hop_and_the_plan_says_so() {
    let world = World::of(&mixed(3, ", max_surge = 2")).await;
    let shown = world.run(&["upgrade", "--to", "1.36.3", "-v"]).await.expect(0);
    let first = instances(&world, "pool-us-east-1a").into_iter().next().unwrap();
    let _ = shown.says(&[
        "nodes in place: 1 at a time (max_unavailable)",
        "not yet: 3 machines, which a later hop replaces",
        "nodes-us-east-1a-1",
        "1.34.2, in place",
        "pool replaced: max_surge 2, max_unavailable 0",
        &format!("{} ({}) 1.34.2, replaced in hop 2", first.0, first.1),
        "pool-us-east-1a-1: terminate",
    ]);
    let json = plan(&world, "1.36.3").await;
    let about = |hop: usize, what: &str| {
        let steps = json["hops"][hop]["steps"].as_array().unwrap();
        steps.iter().filter(|step| step["slot"].as_str().unwrap().starts_with("pool") && step["step"] == what).count()
    };
    assert!(json["hops"][0]["steps"].as_array().unwrap().iter().all(|step| !step["slot"].as_str().unwrap().starts_with("pool")));
    assert_eq!(
        (about(1, "create"), about(1, "join"), about(1, "drain"), about(1, "terminate"), about(1, "upgrade")),
        (3, 3, 3, 3, 0)
    );
    for machine in json["machines"].as_array().unwrap() {
        let pool = machine["group"] == "pool";
        let want = if pool { ("replace", Value::from(2)) } else { ("in-place", Value::Null) };
        assert_eq!((machine["upgrade"].as_str().unwrap(), machine["replaced_in_hop"].clone()), want, "{machine}");
    }
    assert_eq!(json["groups"][2]["upgrade"], "replace");
    assert_eq!([0, 1].map(|hop| json["hops"][hop]["waiting"].as_array().unwrap().len()), [3, 0]);

    let (before, since) = ([instances(&world, "pool"), instances(&world, "")], world.nodes.inner.asked().len());
    let ran = world.run(&["upgrade", "--to", "1.36.3", "--yes"]).await.expect(0);
    let waits = "pool: 3 of 3 machines wait for a later hop, which replaces them";
    let _ = ran.says(&[waits, "Upgraded to 1.35.4, 1.36.3 after", "3 created, 3 deleted", "says kubernetes = \"1.36.3\""]);
    assert_upgraded(&world, "1.36.3", "a calm upgrade").await;
    let after = instances(&world, "pool");
    assert!(after.len() == 3 && after.values().all(|id| !before[0].values().any(|old| old == id)), "{before:?} {after:?}");
    let stays = |(slot, id): (&String, &String)| slot.starts_with("pool") || before[1].get(slot) == Some(id);
    assert!(instances(&world, "").iter().all(stays), "others were replaced");
    let done = tasks(&world, "pool", since);
    assert!(!done.iter().any(|task| matches!(task, NodeTask::Upgrade | NodeTask::Uncordon)), "{done:?}");
    assert_eq!(done.iter().filter(|task| **task == NodeTask::JoinWorker).count(), 3, "once, not in each hop: {done:?}");
    let _ = world.run(&["upgrade", "--to", "1.36.3", "--yes"]).await.expect(0).says(&["Nothing to upgrade"]);
}

#[tokio::test(start_paused = true)]
async fn they_do_not_wait_until_their_kubelets_are_too_old() {
    let world = World::of(&mixed(1, "").replace("1.34.2", "1.30.14")).await;
    let json = plan(&world, "1.36.3").await;
    let ends = |hop: &Value| {
        let steps = hop["steps"].as_array().unwrap();
        steps.iter().any(|step| step["slot"].as_str().unwrap().starts_with("pool") && step["step"] == "terminate")
    };
    let replaced: Vec<&str> =
        json["hops"].as_array().unwrap().iter().filter(|hop| ends(hop)).map(|hop| hop["to"].as_str().unwrap()).collect();
    // 1.30 suits API servers up to 1.33, and the last hop asks for its own.
    assert_eq!(replaced, ["1.33.13", "1.36.3"]);
    let _ = world.run(&["upgrade", "--to", "1.36.3", "--yes"]).await.expect(0);
    assert_upgraded(&world, "1.36.3", "over six minors").await;
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_that_stops_while_they_wait_is_under_way_and_can_end_at_the_hop_that_was_reached() {
    let world = World::of(&mixed(2, "")).await;
    let since = world.nodes.inner.asked().len();
    *world.nodes.hang.lock().unwrap() = Some((hop_of(&world).await, false));
    tokio::select! {
        ran = world.run(&["upgrade", "--to", "1.36.3", "--yes"]) => panic!("it ended by itself\n{ran}"),
        () = world.nodes.hung.notified() => {}
    }
    let _ = world.run(&["lock", "break", NAME, "--yes"]).await.expect(0);
    assert_eq!(tasks(&world, "pool", since).iter().filter(|task| **task == NodeTask::JoinWorker).count(), 0);
    assert_eq!(world.state().model.kubernetes, version("1.35.4"));
    for args in [&["update"][..], &["rolling-update"]] {
        let _ = world.run(args).await.expect(5).says(&["is under way", "kubewright upgrade"]);
    }
    let shown = world.run(&["upgrade", "--to", "1.35.4"]).await.expect(0);
    let _ = shown.says(&["what is left of the upgrade to 1.35.4", "pool-us-east-1a-1: terminate", "1.34.2, replaced"]);
    let _ = world.run(&["upgrade", "--to", "1.35.4", "--yes"]).await.expect(0);
    assert_upgraded(&world, "1.35.4", "ended at the first hop").await;
}

/// How many tasks a run has until the second hop begins.
async fn hop_of(world: &World) -> usize {
    let json = plan(world, "1.36.3").await;
    let tasks = json["hops"][0]["steps"].as_array().unwrap().iter();
    let over_ssh = tasks.filter(|step| !["publish", "withdraw"].contains(&step["step"].as_str().unwrap())).count();
    // Each machine is looked at first.
    over_ssh + world.state().nodes.len()
}

#[tokio::test(start_paused = true)]
async fn one_that_was_killed_while_it_replaces_goes_on_to_a_later_version() {
    for task in [NodeTask::Prepare, NodeTask::JoinWorker, NodeTask::Evict, NodeTask::Forget] {
        let world = World::of(&mixed(2, "")).await;
        let slot = if [NodeTask::Evict, NodeTask::Forget].contains(&task) { "pool-us-east-1a-1" } else { "pool-us-east-1a-2" };
        world.nodes.inner.fail_at(task, slot, "step", "the machine went away");
        let ran = world.run(&["upgrade", "--to", "1.35.4", "--yes"]).await;
        assert_ne!(ran.code, 0, "{task:?}\n{ran}");
        let _ = world.run(&["upgrade", "--to", "1.36.3", "--yes"]).await.expect(0);
        assert_upgraded(&world, "1.36.3", &format!("{task:?}")).await;
        assert_eq!(instances(&world, "pool").len(), 2, "{task:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_was_ended_by_hand_is_made_anew() {
    let world = World::of(&mixed(2, "")).await;
    let lost = kubewright::plan::Ref::Known(world.instance("pool-us-east-1a-1"));
    world.cloud.plant(&kubewright::plan::Change::TerminateInstance { instance: lost }).unwrap();
    let _ = world.run(&["upgrade", "--to", "1.35.4", "--yes"]).await.expect(0);
    assert_upgraded(&world, "1.35.4", "after a loss").await;
    assert_eq!(instances(&world, "pool").len(), 2);
}
