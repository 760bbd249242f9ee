//! The snapshots that rolls and upgrades take: in the store, whole, with their reason, and not without number.

use std::collections::BTreeSet;
use std::time::Duration;

use kubewright::bootstrap::NodeTask;
use kubewright::store::PART;
use kubewright::store::memory::Fault;
use serde_json::Value;

use crate::rolling::{HA, assert_rolled, behind, machines};
use crate::world::*;

async fn listed(world: &World) -> Vec<Value> {
    let ran = world.run(&["etcd", "list", "-o", "json"]).await.expect(0);
    let said: Value = serde_json::from_str(&ran.out).unwrap();
    said["snapshots"].as_array().unwrap().clone()
}

fn reasons(snapshots: &[Value]) -> Vec<&str> {
    snapshots.iter().filter_map(|snapshot| snapshot["why"].as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn each_control_plane_that_a_roll_replaces_is_preceded_by_a_snapshot_that_can_be_restored() {
    let world = behind(&HA).await;
    let before = machines(&world);
    let data: Vec<u8> = (0..PART + 1234).map(|n| (n % 251) as u8).collect();
    world.nodes.inner.write_etcd(&data);
    let _ = world.run(&["rolling-update", "--yes"]).await.expect(0).says(&["taking a snapshot on", "saved etcd before"]);
    assert_rolled(&world, &before, "a calm roll");
    let all = listed(&world).await;
    let planes = before.keys().filter(|slot| slot.starts_with("control-plane"));
    let wanted: BTreeSet<String> = planes.map(|slot| format!("before {slot} was replaced")).collect();
    assert_eq!(reasons(&all).into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), wanted);
    assert_eq!((all.len(), world.nodes.inner.asked().iter().filter(|asked| asked.task == NodeTask::Snapshot).count()), (3, 0));
    let parts = world.dump().await.into_iter().filter(|(key, _)| key.contains(".db.")).map(|(_, bytes)| bytes.len());
    assert_eq!(parts.collect::<BTreeSet<_>>(), [PART, 1234].into(), "never whole in memory");
    let why = wanted.first().unwrap().as_str();
    let _ = world.run(&["etcd", "list"]).await.expect(0).says(&[why]);
    let _ = world.run(&["etcd", "list", "-o", "wide"]).await.expect(0).says(&["WHY"]);
    for snapshot in &all {
        let id = snapshot["id"].as_str().unwrap();
        let _ = world.run(&["etcd", "restore", id]).await.expect(0).says(&[snapshot["why"].as_str().unwrap()]);
    }
    let id = all[0]["id"].as_str().unwrap();
    let _ = world.run(&["etcd", "restore", id, "--yes"]).await.expect(0).says(&["Restored"]);
    assert_eq!(world.nodes.inner.etcd_data("control-plane-us-east-1a-1"), data);
}

/// It is no wait for a machine: what was begun is finished.
#[tokio::test(start_paused = true)]
async fn an_interrupt_does_not_cut_off_a_snapshot() {
    let world = behind(&HA).await;
    // The first work on a machine that is a work on etcd: the snapshot's own.
    let is_begun = || !world.nodes.inner.etcd_works().is_empty();
    *world.nodes.etcd_takes.lock().unwrap() = Duration::from_secs(60);
    let interrupt = async {
        while !is_begun() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        world.interrupts.add_permits(1);
    };
    let roll = ["rolling-update", "--yes"];
    let (ran, ()) = tokio::join!(world.run(&roll), interrupt);
    assert_eq!(ran.code, 130, "{ran}");
    assert_eq!(listed(&world).await.len(), 1, "{ran}");
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_saves_before_each_control_plane_of_each_hop_what_the_version_of_that_moment_wrote() {
    let world = World::of(&HA).await;
    let _ = world.run(&["upgrade", "--to", "1.36.3", "--yes"]).await.expect(0);
    let all = listed(&world).await;
    let of = |snapshot: &Value| {
        let why = snapshot["why"].as_str().unwrap().rsplit_once(' ').unwrap().1.to_owned();
        (snapshot["kubernetes"].as_str().unwrap().to_owned(), why)
    };
    let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let wanted = [
        pair("1.34.2", "1.35.4"),
        pair("1.35.4", "1.35.4"),
        pair("1.35.4", "1.35.4"),
        pair("1.35.4", "1.36.3"),
        pair("1.36.3", "1.36.3"),
        pair("1.36.3", "1.36.3"),
    ];
    assert_eq!(all.iter().map(of).collect::<Vec<_>>(), wanted);
}

#[tokio::test(start_paused = true)]
async fn whatever_a_store_does_to_a_write_no_control_plane_is_touched_without_its_snapshot() {
    // One control plane and nothing else: what a roll writes of it is what it writes of each.
    let alone = HA.split("[[instance_group]]\nname = \"nodes\"").next().unwrap().replace("count = 3", "count = 1");
    let calm = behind(&alone).await;
    let (stored, cloud, nodes, before) = (calm.dump().await, calm.cloud.fork(), calm.nodes.fork(), machines(&calm));
    let args = ["rolling-update", "--yes"];
    let begun = calm.memory().writes();
    let _ = calm.run(&args).await.expect(0);
    let writes = calm.memory().writes() - begun;
    assert!(writes > 15, "{writes}");
    let mut stopped = 0;
    for n in 1..=writes {
        for fault in [Fault::Full, Fault::Hang { done: n % 2 == 0 }] {
            let what = format!("write {n}, {fault:?}");
            let world = World { cloud: cloud.fork(), ids: calm.ids.clone(), nodes: nodes.fork(), ..World::new() };
            world.restore(&stored).await;
            world.memory().fault(world.memory().writes() + n, fault);
            let ran = tokio::time::timeout(std::time::Duration::from_secs(7200), world.run(&args)).await;
            let _ = world.run(&["lock", "break", NAME, "--yes"]).await;
            let all = listed(&world).await;
            for (slot, instance) in &before {
                let tasks = world.nodes.inner.asked();
                let touched = [NodeTask::Cordon, NodeTask::RemoveMember, NodeTask::Forget];
                let touched = tasks.iter().any(|asked| asked.instance == *instance && touched.contains(&asked.task));
                let saved = reasons(&all).iter().any(|why| why.contains(slot));
                assert!(saved || !touched, "{what}: {slot} was touched");
            }
            if let Ok(ran) = ran
                && ran.code != 0
                && ran.out.contains("etcd snapshot failed")
            {
                stopped += 1;
                let _ = ran.says(&["the state store has no snapshot of this moment", "Blocked"]);
            }
            let ran = world.run(&args).await;
            assert_eq!(ran.code, 0, "{what}\n{ran}");
            assert_rolled(&world, &before, &what);
            // The next snapshot takes away what a dead run left.
            let _ = world.run(&["etcd", "snapshot"]).await.expect(0);
            let ids: BTreeSet<String> =
                listed(&world).await.iter().map(|snapshot| snapshot["id"].as_str().unwrap().to_owned()).collect();
            let keys = world.dump().await.into_keys().filter(|key| key.contains("/etcd/"));
            assert!(keys.into_iter().all(|key| ids.iter().any(|id| key.contains(id))), "{what}");
        }
    }
    assert!(stopped >= 2, "a part and a description: {stopped}");
}

#[tokio::test(start_paused = true)]
async fn snapshots_of_rolls_do_not_pile_up_and_take_none_away_that_somebody_asked_for() {
    let world = behind(&HA).await;
    for _ in 0..2 {
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        let _ = world.run(&["etcd", "snapshot"]).await.expect(0);
    }
    for n in 0..5 {
        let _ = world.run(&["rolling-update", "--yes", "--instance-group-roles", "control-plane"]).await.expect(0);
        let image = if n % 2 == 0 { "debian-12" } else { "debian-13" };
        let _ = world.run(&["update", "-f", &world.spec(&HA.replace("debian-12", image)), "--yes"]).await.expect(0);
    }
    let all = listed(&world).await;
    assert_eq!((all.len(), reasons(&all).len()), (12, 10));
    // And the other way round.
    let _ = world.run(&["etcd", "snapshot", "--keep", "1"]).await.expect(0);
    let all = listed(&world).await;
    assert_eq!((all.len(), reasons(&all).len()), (11, 10));
}

#[tokio::test(start_paused = true)]
async fn a_spec_says_how_many_snapshots_stay_of_each_kind_and_keep_says_otherwise() {
    let few = HA.replace("[ssh]\n", "[etcd]\nsnapshots_kept = 2\n\n[ssh]\n");
    let world = behind(&few).await;
    for _ in 0..3 {
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        let _ = world.run(&["etcd", "snapshot"]).await.expect(0);
    }
    let _ = world.run(&["rolling-update", "--yes"]).await.expect(0);
    let all = listed(&world).await;
    assert_eq!((all.len(), reasons(&all).len()), (4, 2));
    let _ = world.run(&["etcd", "snapshot", "--keep", "5"]).await.expect(0);
    assert_eq!(listed(&world).await.len(), 5);
}
