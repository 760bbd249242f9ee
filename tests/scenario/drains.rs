//! Drains that have had their time: what is said before, what is done then, and what is not.

use kubewright::bootstrap::NodeTask;
use kubewright::bootstrap::inspect::Query;

use crate::rolling::{BUDGETS, PODS, assert_rolled, behind, machines};
use crate::world::*;

const NODE: &str = "nodes-us-east-1a-1";
const PLANE: &str = "control-plane-us-east-1b-1";

/// Both groups with these settings.
fn spec(settings: &str) -> String {
    let rolling = format!("image = \"debian-12\"\nrolling_update = {{ {settings} }}\n");
    LARGE.replace("image = \"debian-12\"\n", &rolling)
}

fn tasks(world: &World, slot: &str, instance: &str) -> Vec<NodeTask> {
    let asked = world.nodes.inner.asked();
    asked.iter().filter(|asked| asked.slot == slot && asked.instance == instance).map(|asked| asked.task).collect()
}

#[tokio::test(start_paused = true)]
async fn pods_that_are_left_are_deleted_where_the_spec_says_so_and_nowhere_else() {
    for slot in [NODE, PLANE] {
        for force in [false, true] {
            let settings =
                if force { "drain_timeout = \"90s\", on_drain_timeout = \"force\"" } else { "drain_timeout = \"90s\"" };
            let world = behind(&spec(settings)).await;
            let before = machines(&world);
            let shown = world.run(&["rolling-update"]).await.expect(0);
            let _ = shown.says(&[if force { "after 1 min 30 s of a drain are deleted" } else { "after 1 min 30 s stops it" }]);
            world.nodes.inner.keep_pods(slot, "pods \"web-7d4b9-x\" are left");
            let ran = world.run(&["rolling-update", "--yes"]).await;
            let done = tasks(&world, slot, &before[slot]);
            let at = |task: NodeTask| done.iter().position(|other| *other == task);
            if force {
                let ran = ran.expect(0).says(&["deleted pods of", slot]);
                assert!(at(NodeTask::Evict) < at(NodeTask::DeletePods) && at(NodeTask::DeletePods).is_some(), "{done:?}\n{ran}");
                assert_rolled(&world, &before, "forced");
                let all = world.nodes.inner.asked();
                assert_eq!(all.iter().filter(|asked| asked.task == NodeTask::DeletePods).count(), 1, "of nobody else");
            } else {
                assert_ne!(ran.code, 0);
                let _ = ran.says(&["web-7d4b9-x", "after 90 s (drain_timeout)", "on_drain_timeout = \"force\"", "--abort"]);
                assert_eq!(at(NodeTask::DeletePods), None, "{done:?}");
                assert_eq!(machines(&world).get(slot), before.get(slot));
                let _ = world.run(&["rolling-update", "--yes"]).await.expect(0);
                assert_rolled(&world, &before, "once they had gone");
            }
        }
    }
}

/// A connection that was lost, or an API server that was away, is no reason to delete anything.
#[tokio::test(start_paused = true)]
async fn a_drain_that_fails_before_its_time_is_over_forces_nothing() {
    let world = behind(&spec("on_drain_timeout = \"force\"")).await;
    world.nodes.inner.fail_at(NodeTask::Evict, NODE, "evict", "connection refused");
    let ran = world.run(&["rolling-update", "--yes"]).await;
    assert_ne!(ran.code, 0);
    let _ = ran.says(&["drain failed: connection refused"]);
    assert!(!world.nodes.inner.asked().iter().any(|asked| asked.task == NodeTask::DeletePods));
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_never_allows_anything_is_overruled_after_the_same_time_and_the_list_says_so() {
    let world = behind(&spec("drain_timeout = \"20m\", on_drain_timeout = \"force\"")).await;
    let said = format!("{}\n{}", BUDGETS.replace("HEALTHY", "2"), PODS.replace("NODE", &world.instance(NODE)));
    for zone in ["a", "b", "c"] {
        world.nodes.inner.answer(Query::Budgets, &format!("control-plane-us-east-1{zone}-1"), Ok(&said));
    }
    let shown = world.run(&["rolling-update", "--ig", "nodes"]).await.expect(0);
    let _ = shown.says(&[&format!("{NODE}: drain"), &format!("{NODE}: delete the pods that budgets keep")]);
    let json = world.run(&["rolling-update", "-o", "json"]).await.expect(0);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&json["groups"][1]["drain_timeout"], &json["groups"][1]["on_drain_timeout"]), (&1200.into(), &"force".into()));
    let seconds = json["seconds"].as_u64().unwrap();
    assert!(seconds > 1200, "the time that it waits is in the estimate: {seconds}");
    let before = machines(&world);
    world.nodes.inner.keep_pods(NODE, "pods are left");
    let _ = world.run(&["rolling-update", "--yes"]).await.expect(0);
    assert!(tasks(&world, NODE, &before[NODE]).contains(&NodeTask::DeletePods));
}

#[tokio::test(start_paused = true)]
async fn a_forced_drain_that_fails_stops_the_roll() {
    let world = behind(&spec("on_drain_timeout = \"force\"")).await;
    world.nodes.inner.keep_pods(NODE, "pods are left");
    world.nodes.inner.fail_at(NodeTask::DeletePods, NODE, "delete-pods", "a pod does not end");
    let ran = world.run(&["rolling-update", "--yes"]).await;
    assert_ne!(ran.code, 0);
    let _ = ran.says(&["delete pods failed: a pod does not end"]);
    let _ = world.run(&["rolling-update", "--abort", "--yes"]).await.expect(0);
    assert!(world.state().nodes.values().all(|node| !node.cordoned));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_update_takes_away_is_drained_by_the_settings_of_its_group() {
    for (settings, says) in [
        ("drain_timeout = \"5m\"", "their pods move to other nodes"),
        ("drain_timeout = \"5m\", on_drain_timeout = \"force\"", "pods that budgets keep for 300 s are deleted"),
    ] {
        let text = spec(settings);
        let world = World::of(&text).await;
        let (first, last) = text.rsplit_once("count = 3").unwrap();
        let fewer = world.spec(&format!("{first}count = 2{last}"));
        let _ = world.run(&["update", "-f", &fewer]).await.expect(0).says(&[says]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_deletes_pods_by_the_same_rule() {
    let world = World::of(&spec("on_drain_timeout = \"force\"")).await;
    for slot in [NODE, PLANE] {
        world.nodes.inner.keep_pods(slot, "pods are left");
    }
    let _ = world.run(&["upgrade", "--to", "1.34.3"]).await.expect(0).says(&["after 10 min of a drain are deleted"]);
    let _ = world.run(&["upgrade", "--to", "1.34.3", "--yes"]).await.expect(0).says(&["deleted pods of"]);
    for slot in [NODE, PLANE] {
        let done = tasks(&world, slot, &world.instance(slot));
        let at = |task: NodeTask| done.iter().position(|other| *other == task);
        assert!(at(NodeTask::Evict) < at(NodeTask::DeletePods) && at(NodeTask::DeletePods).is_some(), "{done:?}");
    }
}
