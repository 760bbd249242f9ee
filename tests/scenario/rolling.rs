//! Rolling update: every machine that is behind is replaced, one decision at a time, and whoever stops it anywhere loses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use kubewright::bootstrap::NodeTask;
use kubewright::bootstrap::inspect::Query;
use kubewright::cloud::fake::{Fault, When};
use kubewright::recorded::NodePhase;

use crate::world::*;

/// One more machine of a group at a time, none fewer.
pub static HA: LazyLock<String> = LazyLock::new(|| format!("{LARGE}rolling_update = {{ max_surge = 1, max_unavailable = 0 }}\n"));

/// A cluster of which everything is behind.
pub async fn behind(text: &str) -> World {
    let world = World::of(text).await;
    let _ = world.run(&["update", "-f", &world.spec(&text.replace("debian-12", "debian-13")), "--yes"]).await.expect(0);
    world
}

pub fn machines(world: &World) -> BTreeMap<String, String> {
    world.state().nodes.into_iter().map(|(slot, node)| (slot, node.instance)).collect()
}

/// Everything is new, and everything that a roll does on the way is taken back.
pub fn assert_rolled(world: &World, before: &BTreeMap<String, String>, what: &str) {
    let after = machines(world);
    assert_eq!(after.len(), before.len(), "{what}: {after:?}");
    let old: BTreeSet<&String> = before.values().collect();
    assert!(after.values().all(|instance| !old.contains(instance)), "{what}: {before:?} {after:?}");
    for (slot, node) in world.state().nodes {
        assert!(!node.cordoned && node.withdrawn.is_none() && node.phase == NodePhase::Joined, "{what}: {slot} {node:?}");
    }
    let live = world.cloud.snapshot().lines().filter(|line| line.starts_with("instance ") && line.contains("running")).count();
    assert!(live == 0 || live == before.len(), "{what}: {live} instances run");
    // Each zone has what it had.
    let zones = |all: &BTreeMap<String, String>| {
        let mut zones: Vec<String> = all.keys().filter_map(|slot| Some(slot.rsplit_once('-')?.0.to_owned())).collect();
        zones.sort();
        zones
    };
    assert_eq!(zones(&after), zones(before), "{what}");
}

#[tokio::test(start_paused = true)]
async fn a_roll_shows_what_it_will_do_does_it_and_is_at_rest() {
    let world = behind(&HA).await;
    let before = machines(&world);
    let all = world.everything().await;
    let shown = world.run(&["rolling-update", "--detailed-exitcode"]).await.expect(2);
    let shown = shown.says(&[
        "6 of 6 machines behind",
        "image ami-",
        "one at a time, the new one first",
        "max_surge 1, max_unavailable 0",
        "etcd snapshot",
        "then 4 of 4 etcd members healthy, 3 needed",
        "then 3 of 3 etcd members healthy, 2 needed",
        "Estimated: about",
        "kubewright rolling-update demo.k8s.example.com --yes",
    ]);
    let json = world.run(&["rolling-update", "-o", "json"]).await.expect(0);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["behind"].as_array().unwrap().len(), 6);
    assert_eq!(world.everything().await, all, "a dry run wrote\n{shown}");
    let planned: Vec<String> = json["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["step"] == "create" || line["step"] == "terminate")
        .map(|line| format!("{} {}", line["step"].as_str().unwrap(), line["slot"].as_str().unwrap()))
        .collect();

    world.cloud.reset_log();
    let _ = world.run(&["rolling-update", "cluster", NAME, "--yes"]).await.expect(0).says(&["Rolled after"]);
    assert_rolled(&world, &before, "a calm roll");
    let made = changes(&world.cloud.log());
    let count = |action: &str| made.iter().filter(|made| made.ends_with(action)).count();
    assert_eq!((count("RunInstances"), count("TerminateInstances")), (6, 6), "{made:?}");
    assert_eq!(planned.len(), 12, "{planned:?}");

    // Per control plane: led away from if it led, drained, and out of etcd before its instance ended.
    let tasks = world.nodes.inner.asked();
    for slot in before.keys().filter(|slot| slot.starts_with("control-plane")) {
        let of: Vec<NodeTask> =
            tasks.iter().filter(|asked| asked.slot == *slot && asked.instance == before[slot]).map(|asked| asked.task).collect();
        let at = |task: NodeTask| {
            of.iter().position(|other| *other == task).unwrap_or_else(|| panic!("{slot}: no {task:?} in {of:?}"))
        };
        let order = [NodeTask::Cordon, NodeTask::Evict, NodeTask::RemoveMember, NodeTask::Forget].map(at);
        assert!(order.is_sorted(), "{slot}: {of:?}");
    }
    assert!(tasks.iter().any(|asked| asked.task == NodeTask::MoveLeader));
    let rest = world.settled().await;
    let _ = rest.silent_about("behind");
    let _ = world.run(&["validate"]).await.expect(0);
    let again = world.run(&["rolling-update", "--detailed-exitcode"]).await.expect(0);
    let _ = again.says(&["0 of 6 machines behind", "Nothing to replace"]);
    let _ = world.run(&["rolling-update", "--yes"]).await.expect(0);
    assert_rolled(&world, &before, "nothing to do");
}

#[tokio::test(start_paused = true)]
async fn a_roll_that_is_killed_at_any_change_or_any_task_is_finished_by_the_next() {
    let calm = behind(&HA).await;
    let (stored, cloud, nodes, before) = (calm.dump().await, calm.cloud.fork(), calm.nodes.fork(), machines(&calm));
    let asked = calm.nodes.calls();
    calm.cloud.reset_log();
    let _ = calm.run(&["rolling-update", "--yes"]).await.expect(0);
    let (changed, tasks) = (changes(&calm.cloud.log()).len(), calm.nodes.calls() - asked);
    assert!(changed >= 18 && tasks > 30, "{changed} {tasks}");
    let places = (0..changed).map(|n| (n, true)).chain((0..tasks).map(|n| (n, false)));
    for (n, of_account) in places {
        for done in [false, true] {
            let what = format!("killed at {} {n}, done: {done}", if of_account { "change" } else { "task" });
            let world = World { cloud: cloud.fork(), ids: calm.ids.clone(), nodes: nodes.fork(), ..World::new() };
            world.restore(&stored).await;
            world.cloud.reset_log();
            if of_account {
                let fault = if done { Fault::HangAfter } else { Fault::HangBefore };
                let nth = n as u64 + 1;
                let mut seen = 0;
                world.cloud.fail_with(move |call| {
                    seen += u64::from(!call.is_read());
                    (!call.is_read() && seen == nth).then(|| fault.clone())
                });
            } else {
                *world.nodes.hang.lock().unwrap() = Some((n, done));
            }
            tokio::select! {
                ran = world.run(&["rolling-update", "--yes"]) => panic!("{what}: it ended by itself\n{ran}"),
                () = world.cloud.hung() => {}
                () = world.nodes.hung.notified() => {}
            }
            world.cloud.clear_faults();
            let _ = world.run(&["lock", "break", NAME, "--yes"]).await.expect(0);
            let ran = world.run(&["rolling-update", "--yes"]).await;
            assert_eq!(ran.code, 0, "{what}\n{ran}");
            assert_rolled(&world, &before, &what);
            let _ = world.settled().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_roll_that_is_killed_can_be_brought_to_rest() {
    let calm = behind(&HA).await;
    let (stored, cloud, nodes) = (calm.dump().await, calm.cloud.fork(), calm.nodes.fork());
    let asked = calm.nodes.calls();
    let _ = calm.run(&["rolling-update", "--yes"]).await.expect(0);
    let tasks = calm.nodes.calls() - asked;
    for n in (0..tasks).step_by(3) {
        let world = World { cloud: cloud.fork(), ids: calm.ids.clone(), nodes: nodes.fork(), ..World::new() };
        world.restore(&stored).await;
        *world.nodes.hang.lock().unwrap() = Some((n, true));
        tokio::select! {
            ran = world.run(&["rolling-update", "--yes"]) => panic!("{n}: it ended by itself\n{ran}"),
            () = world.nodes.hung.notified() => {}
        }
        let _ = world.run(&["lock", "break", NAME, "--yes"]).await.expect(0);
        let _ = world.run(&["rolling-update", "--abort", "--yes"]).await.expect(0);
        let state = world.state();
        assert_eq!(state.nodes.len(), 6, "{n}: {:?}", state.nodes);
        assert!(state.nodes.values().all(|node| !node.cordoned && node.phase == NodePhase::Joined), "{n}: {:?}", state.nodes);
        let _ = world.settled().await;
    }
}

pub const BUDGETS: &str = r#"{"items":[{"metadata":{"name":"web","namespace":"shop"},"spec":{"selector":{"matchLabels":{"app":"web"}}},"status":{"disruptionsAllowed":0,"currentHealthy":HEALTHY,"expectedPods":2,"conditions":[{"type":"DisruptionAllowed","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}]}"#;
pub const PODS: &str = r#"{"items":[{"metadata":{"name":"web-7d4b9-x","namespace":"shop","labels":{"app":"web"},"ownerReferences":[{"kind":"ReplicaSet","name":"web-7d4b9"}]},"spec":{"nodeName":"NODE"}}]}"#;

#[tokio::test(start_paused = true)]
async fn a_drain_that_a_budget_blocks_names_it_its_pods_and_their_owner() {
    for (healthy, never) in [("1", false), ("2", true)] {
        let world = behind(&HA).await;
        let slot = "nodes-us-east-1a-1";
        let said = format!("{}\n{}", BUDGETS.replace("HEALTHY", healthy), PODS.replace("NODE", &world.instance(slot)));
        for plane in ["a", "b", "c"].map(|zone| format!("control-plane-us-east-1{zone}-1")) {
            world.nodes.inner.answer(Query::Budgets, &plane, Ok(&said));
        }
        if never {
            // It is known before anything is touched.
            let shown = world.run(&["rolling-update", "--ig", "nodes"]).await.expect(5);
            let _ = shown.says(&["shop/web", "it never will", "web-7d4b9-x", "Nothing was changed."]);
        } else {
            world.nodes.inner.fail_at(NodeTask::Evict, slot, "evict", "error when evicting pods: timeout");
        }
        let ran = world.run(&["rolling-update", "--ig", "nodes", "--yes"]).await;
        assert_ne!(ran.code, 0, "{ran}");
        let ran = ran.says(&["Blocked", "shop/web", "web-7d4b9-x", "ReplicaSet web-7d4b9"]);
        let _ = ran.says(if never { &["run one more replica"] } else { &["timeout", "--abort"] });
        assert_eq!(world.state().nodes[slot].cordoned, !never);
        let _ = world.run(&["rolling-update", "--abort", "--yes"]).await.expect(0);
        assert!(world.state().nodes.values().all(|node| !node.cordoned));
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_not_well_is_explained_and_force_is_named() {
    let world = behind(&HA).await;
    for zone in ["b", "c"] {
        world.nodes.inner.answer(Query::Readyz, &format!("control-plane-us-east-1{zone}-1"), Err("connection refused"));
    }
    let (account, asked) = (world.cloud.snapshot(), world.nodes.inner.asked().len());
    for (args, code) in [(&["rolling-update"][..], 5), (&["rolling-update", "--yes"], 1)] {
        let ran = world.run(args).await.expect(code);
        let _ = ran.says(&["control-plane-us-east-1c-1 is not Ready", "connection refused", "--force", "kubewright validate"]);
    }
    assert_eq!((world.cloud.snapshot(), world.nodes.inner.asked().len()), (account, asked), "nothing was touched");
    let _ = world.run(&["rolling-update", "--force"]).await.expect(0).says(&["etcd members healthy"]);
    // What was ill before and stays does not keep nodes from being rolled.
    let before = machines(&world);
    let _ = world.run(&["rolling-update", "--ig", "nodes", "--yes"]).await.expect(0);
    assert_eq!(machines(&world).iter().filter(|(slot, instance)| before.get(*slot) == Some(instance)).count(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_rolled_is_refused_before_anything_is_written() {
    let world = behind(&HA).await;
    let before = world.everything().await;
    for yes in [&[][..], &["--yes"]] {
        let with = |args: &[&'static str]| [&["rolling-update"][..], args, yes].concat();
        let _ = world.run(&with(&["--instance-group", "node"])).await.expect(64).says(&["no instance group node", "nodes"]);
        let _ =
            world.run(&with(&["--instance-group-roles", "etcd"])).await.expect(64).says(&["role etcd", "control-plane, node"]);
        let _ = world.run(&with(&["nonsense.example.com"])).await.expect(1).says(&["there is no cluster nonsense"]);
    }
    assert_eq!(world.everything().await, before);
}

#[tokio::test(start_paused = true)]
async fn only_the_groups_that_were_asked_for_are_rolled() {
    let world = behind(&HA).await;
    let before = machines(&world);
    let _ = world.run(&["rolling-update", "--instance-group-roles", "node", "--yes"]).await.expect(0);
    let after = machines(&world);
    for (slot, instance) in &before {
        assert_eq!(after.get(slot) == Some(instance), slot.starts_with("control-plane"), "{slot}: {after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_quota_leaves_no_half_made_roll_and_says_what_to_do() {
    let world = behind(&HA).await;
    world
        .cloud
        .fail(When::Every("RunInstances".into()), Fault::refused("VcpuLimitExceeded", "You have requested more vCPU capacity."));
    let nodes = world.run(&["rolling-update", "--ig", "nodes", "--yes"]).await.expect(1);
    let _ = nodes.says(&["VcpuLimitExceeded", "max_unavailable = 1"]);
    assert!(world.state().nodes.values().all(|node| !node.cordoned && node.phase == NodePhase::Joined));
    world.cloud.clear_faults();
    let before = machines(&world);
    let _ = world.run(&["rolling-update", "--yes"]).await.expect(0);
    assert_rolled(&world, &before, "with a higher quota");
}

/// Somebody ends a control plane by hand: its member goes first, then another one is made.
#[tokio::test(start_paused = true)]
async fn a_control_plane_that_is_lost_is_replaced_after_its_member_is_removed() {
    let world = World::of(&HA).await;
    let slot = "control-plane-us-east-1b-1";
    let lost = world.instance(slot);
    let terminate = kubewright::plan::Change::TerminateInstance { instance: kubewright::plan::Ref::Known(lost.clone()) };
    world.cloud.plant(&terminate).unwrap();
    let _ = world.run(&["update"]).await.expect(5).says(&["is gone", "kubewright rolling-update demo.k8s.example.com --yes"]);
    let _ = world.run(&["rolling-update", "--yes"]).await.expect(0);
    let asked = world.nodes.inner.asked();
    let removed =
        asked.iter().position(|asked| asked.task == NodeTask::RemoveMember && asked.instance == lost).expect("its member");
    let joined = asked.iter().rposition(|asked| asked.task == NodeTask::JoinControlPlane).expect("another one");
    assert!(removed < joined);
    assert!(!machines(&world).values().any(|instance| *instance == lost));
    assert_eq!(machines(&world).len(), 6);
    let _ = world.settled().await;
}

/// New instances are listed late, and ended ones for a while (EC2 developer guide, "Eventual consistency").
#[tokio::test(start_paused = true)]
async fn a_region_that_lists_late_loses_no_machine_and_makes_none_twice() {
    let world = behind(&HA).await;
    let before = machines(&world);
    world.cloud.set_options(|options| {
        options.listing_lag = 3;
        options.reads_until_running = 4;
        options.reads_until_terminated = 4;
        options.reads_until_in_sync = 3;
    });
    world.cloud.reset_log();
    let _ = world.run(&["rolling-update", "--yes"]).await.expect(0);
    assert_rolled(&world, &before, "listed late");
    let made = changes(&world.cloud.log());
    assert_eq!(made.iter().filter(|made| made.ends_with("RunInstances")).count(), 6, "{made:?}");
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_ends_what_is_in_work_and_the_same_command_goes_on() {
    for seconds in [1, 20, 50, 100] {
        let world = behind(&HA).await;
        let before = machines(&world);
        let interrupts = world.interrupts.clone();
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
            interrupts.add_permits(1);
        });
        let ran = world.run(&["rolling-update", "--yes"]).await;
        if ran.code != 0 {
            let _ = ran.expect(130).says(&["Stopped after", "goes on where this run stopped"]);
            assert!(world.state().intents.is_empty());
            let _ = world.run(&["rolling-update", "--yes"]).await.expect(0);
        }
        assert_rolled(&world, &before, &format!("interrupted after {seconds} s"));
        let _ = world.settled().await;
    }
}

/// A Node that is Ready is not enough: what every node needs must run there before an old one goes.
#[tokio::test(start_paused = true)]
async fn the_system_pods_of_a_new_node_are_waited_for_and_not_for_ever() {
    for (ready, least, most) in [("True", 0, 90), ("False", 110, 400)] {
        let world = behind(&HA).await;
        let new = "i-00000000000000007";
        let pod = format!(
            r#"{{"items":[{{"metadata":{{"name":"kube-proxy-x","namespace":"kube-system"}},"spec":{{"nodeName":"{new}"}},"status":{{"phase":"Running","conditions":[{{"type":"Ready","status":"{ready}"}}]}}}}]}}"#
        );
        for slot in ["control-plane-us-east-1a-1", "control-plane-us-east-1b-1", "control-plane-us-east-1c-1"] {
            world.nodes.inner.answer(Query::Pods, slot, Ok(&pod));
        }
        let begun = tokio::time::Instant::now();
        let _ = world.run(&["rolling-update", "--ig", "nodes", "--yes"]).await.expect(0);
        assert!(machines(&world).values().any(|instance| instance == new), "{:?}", machines(&world));
        let took = begun.elapsed().as_secs();
        assert!((least..most).contains(&took), "{ready}: {took} s");
    }
}
