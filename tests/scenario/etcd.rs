//! Snapshots of etcd and their way back: what is stored, what is noticed, and what a kill at any place leaves.

use std::collections::BTreeSet;

use kubewright::bootstrap::inspect::Query;
use kubewright::plan::{Change, Ref};
use kubewright::store::memory::Fault;
use kubewright::store::{Condition, Objects, PART};
use serde_json::Value;

use crate::rolling::HA;
use crate::world::*;

const PLANES: [&str; 3] = ["control-plane-us-east-1a-1", "control-plane-us-east-1b-1", "control-plane-us-east-1c-1"];
const THEN: &[u8] = b"what etcd held when the snapshot was taken";
const NOW: &[u8] = b"what was written since";

/// With a snapshot of THEN, and NOW in etcd; and the snapshot's name.
async fn saved(spec: &str) -> (World, String) {
    let world = World::of(spec).await;
    world.nodes.inner.write_etcd(THEN);
    let id = snapshot(&world, &[]).await;
    world.nodes.inner.write_etcd(NOW);
    (world, id)
}

async fn snapshot(world: &World, more: &[&str]) -> String {
    let ran = world.run(&[&["etcd", "snapshot", "-o", "json"], more].concat()).await.expect(0);
    let said: Value = serde_json::from_str(&ran.out).unwrap();
    said["snapshot"]["id"].as_str().unwrap().to_owned()
}

async fn listed(world: &World) -> Vec<Value> {
    let ran = world.run(&["etcd", "list", "-o", "json"]).await.expect(0);
    let said: Value = serde_json::from_str(&ran.out).unwrap();
    said["snapshots"].as_array().unwrap().clone()
}

fn assert_restored(world: &World, what: &str) {
    assert_eq!(world.nodes.inner.etcd_violations(), Vec::<String>::new(), "{what}");
    for slot in PLANES {
        assert_eq!(world.nodes.inner.etcd_data(slot), THEN, "{what}: {slot}");
    }
}

#[tokio::test(start_paused = true)]
async fn status_tells_members_quorum_and_how_many_may_be_lost() {
    let world = World::of(&HA).await;
    let before = world.everything().await;
    let ran = world.run(&["etcd", "status"]).await.expect(0);
    let ran = ran.says(&["3 of 3 voting members healthy, quorum 2, 1 may be lost", "leader", "3.6.5", "There is no snapshot"]);
    for slot in PLANES {
        let _ = ran.out.lines().find(|line| line.starts_with(slot)).unwrap_or_else(|| panic!("{slot}\n{ran}"));
    }
    let ran = world.run(&["etcd", "status", "-o", "json"]).await.expect(0);
    let said: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((said["may_lose"].as_u64(), said["members"].as_array().unwrap().len()), (Some(1), 3));
    let _ = world.run(&["etcd", "status", "-o", "yaml"]).await.expect(0).says(&["quorum: 2"]);
    // Those that do not answer are named; with none there is nothing to say but that.
    world.nodes.inner.answer(Query::EtcdStatus, PLANES[0], Err("connection refused"));
    let _ = world.run(&["etcd", "status"]).await.expect(0).says(&[PLANES[0], "connection refused", "3 of 3"]);
    for slot in PLANES {
        world.nodes.inner.answer(Query::EtcdStatus, slot, Ok("local \nmembers \nhealth \nstatus \nalarms \n"));
    }
    let _ = world.run(&["etcd", "status"]).await.expect(1).says(&["has no quorum", "kubewright etcd restore latest"]);
    let _ = world.run(&["etcd", "snapshot"]).await.expect(1).says(&["none of its members answers"]);
    assert_eq!(world.everything().await.0, before.0);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_stored_whole_described_and_bounded_in_number() {
    let world = World::of(&HA).await;
    let large: Vec<u8> = (0..PART * 2 + 1234).map(|n| (n % 251) as u8).collect();
    world.nodes.inner.write_etcd(&large);
    let id = snapshot(&world, &[]).await;
    let (_, stored) = world.everything().await;
    let parts: Vec<&Vec<u8>> =
        stored.iter().filter(|(key, _)| key.starts_with(&format!("{NAME}/etcd/{id}.db."))).map(|(_, bytes)| bytes).collect();
    assert_eq!(parts.len(), 3);
    assert!(parts.iter().all(|part| part.len() <= PART));
    assert!(parts.into_iter().flatten().eq(large.iter()), "the parts joined are the snapshot");
    let works = world.nodes.inner.etcd_works();
    assert_eq!(works.last().unwrap().0, "etcd-drop", "nothing stays on the machine: {works:?}");

    let all = listed(&world).await;
    assert_eq!(all.len(), 1);
    for (key, wanted) in [("kubernetes", "1.34.2"), ("etcd", "3.6.5"), ("by", "ops@build-7"), ("cluster", NAME)] {
        assert_eq!(all[0][key], wanted);
    }
    assert_eq!((all[0]["size"].as_u64(), all[0]["usable"].as_bool()), (Some(large.len() as u64), Some(true)));
    let _ = world.run(&["etcd", "list"]).await.expect(0).says(&[&id, "8.0 MiB", "etcd restore"]);
    let _ = world.run(&["etcd", "status"]).await.expect(0).says(&[&format!("Newest snapshot: {id}")]);

    world.nodes.inner.write_etcd(THEN);
    let mut ids = vec![id];
    for _ in 0..4 {
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        ids.push(snapshot(&world, &["--keep", "2"]).await);
        let kept: Vec<String> = listed(&world).await.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(kept, ids[ids.len().saturating_sub(2)..], "the newest two");
    }
    let left: BTreeSet<String> = world.dump().await.into_keys().filter(|key| key.contains("/etcd/")).collect();
    assert_eq!(left.len(), 4, "two descriptions and their parts: {left:?}");
    let _ = world.run(&["etcd", "snapshot", "--keep", "0"]).await.expect(64);
}

#[tokio::test(start_paused = true)]
async fn a_delete_keeps_snapshots_and_says_so_and_a_purge_takes_them() {
    let (world, id) = saved(SMALL).await;
    let ran = world.run(&["delete", "cluster", NAME, "--yes"]).await.expect(0);
    let _ = ran.says(&["1 snapshot of etcd", "--purge"]);
    assert!(world.dump().await.keys().any(|key| key.contains(&id)));
    // A new cluster of that name does not take them for its own.
    world.create(SMALL).await;
    assert_eq!(listed(&world).await[0]["usable"], false);
    let refused = world.run(&["etcd", "restore", &id, "--yes"]).await.expect(5);
    let _ = refused.says(&["it is of another cluster of that name", "nothing was changed"]);
    let _ = world.run(&["etcd", "restore", "latest"]).await.expect(1).says(&["has no snapshot latest"]);
    let _ = snapshot(&world, &["--keep", "1"]).await;
    assert_eq!(listed(&world).await.len(), 2, "those of another cluster are left to people");
    let _ = world.run(&["delete", "cluster", NAME, "--purge", "--yes"]).await.expect(0);
    assert!(!world.dump().await.keys().any(|key| key.contains("/etcd/")), "{:?}", world.dump().await.keys());
}

#[tokio::test(start_paused = true)]
async fn a_restore_shows_what_is_lost_and_brings_back_what_was_on_every_control_plane() {
    let (world, id) = saved(&HA).await;
    let before = world.everything().await;
    let works = world.nodes.inner.etcd_works().len();
    let ran = world.run(&["etcd", "restore", &id]).await.expect(0);
    let _ = ran.says(&[
        "everything that was written",
        "1 revisions (etcd is at 2)",
        PLANES[0],
        PLANES[2],
        "Nothing was changed",
        "--yes",
    ]);
    assert_eq!((world.everything().await, world.nodes.inner.etcd_works().len()), (before, works), "a dry run");
    let _ = world.run(&["etcd", "restore", "20200101T000000Z-00000000"]).await.expect(1).says(&["has no snapshot", &id]);

    let ran = world.run(&["etcd", "restore", "latest", "--yes"]).await.expect(0);
    let _ = ran.says(&["Restored", &id, "3 control planes", "kubewright validate"]);
    assert_restored(&world, "calm");
    let works = world.nodes.inner.etcd_works();
    let last = |work: &str| works.iter().rposition(|(name, _)| name == work).unwrap();
    let first = |work: &str| works.iter().position(|(name, _)| name == work).unwrap();
    assert!(last("etcd-stage") < first("etcd-stop"), "all is made before anything is stopped: {works:?}");
    assert!(last("etcd-stop") < first("etcd-swap") && last("etcd-swap") < first("etcd-start"), "{works:?}");
    assert!(!world.dump().await.keys().any(|key| key.contains("etcd-restore")), "it has ended");
    // Again is again: what was written meanwhile goes.
    world.nodes.inner.write_etcd(NOW);
    let _ = world.run(&["etcd", "restore", &id, "--yes"]).await.expect(0);
    assert_restored(&world, "a second time");
    let _ = world.settled().await;
}

#[tokio::test(start_paused = true)]
async fn every_flipped_bit_and_every_cut_of_a_snapshot_is_noticed() {
    let (world, id) = saved(SMALL).await;
    let stored = world.dump().await;
    let of: Vec<String> = stored.keys().filter(|key| key.contains(&format!("etcd/{id}"))).cloned().collect();
    assert_eq!(of.len(), 2);
    let works = world.nodes.inner.etcd_works().len();
    for key in &of {
        let whole = &stored[key];
        let flips = (0..whole.len()).map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            bytes
        });
        let cuts = (0..whole.len()).map(|length| whole[..length].to_vec());
        for (n, bytes) in flips.chain(cuts).enumerate() {
            world.memory().put(key, bytes, Condition::Always).await.unwrap();
            let ran = world.run(&["etcd", "restore", &id, "--yes"]).await;
            assert!(ran.code == 5, "{key} {n}\n{ran}");
            if key.ends_with(".json") {
                let ran = world.run(&["etcd", "list"]).await.expect(0);
                let _ = ran.says(&[&id, "damaged"]);
            }
        }
        world.memory().put(key, whole.clone(), Condition::Always).await.unwrap();
    }
    world.memory().delete(&format!("{NAME}/etcd/{id}.db.0001"), Condition::Always).await.unwrap();
    let _ = world.run(&["etcd", "restore", &id, "--yes"]).await.expect(5).says(&["part 1 of 1 is gone"]);
    let done: BTreeSet<String> = world.nodes.inner.etcd_works().into_iter().skip(works).map(|(work, _)| work).collect();
    assert!(!done.contains("etcd-stop") && !done.contains("etcd-stage"), "{done:?}");
    assert_eq!(world.nodes.inner.etcd_data("control-plane-us-east-1a-1"), NOW);
}

#[tokio::test(start_paused = true)]
async fn whatever_the_store_does_to_a_write_no_half_snapshot_is_listed_and_no_good_one_lost() {
    let calm = World::of(SMALL).await;
    calm.nodes.inner.write_etcd(THEN);
    let first = snapshot(&calm, &[]).await;
    let stored = calm.dump().await;
    let count = {
        let begun = calm.memory().writes();
        let _ = snapshot(&calm, &["--keep", "1"]).await;
        calm.memory().writes() - begun
    };
    assert!(count >= 6, "lock, part, description, two deletes, lock: {count}");
    let faults = [
        Fault::LostAnswer,
        Fault::OwnRetry,
        Fault::LostRequest,
        Fault::Late,
        Fault::Busy,
        Fault::Denied,
        Fault::Full,
        Fault::Hang { done: false },
        Fault::Hang { done: true },
    ];
    for n in 1..=count {
        for fault in &faults {
            let what = format!("write {n}, {fault:?}");
            let world = World { cloud: calm.cloud.fork(), ids: calm.ids.clone(), nodes: calm.nodes.fork(), ..World::new() };
            world.restore(&stored).await;
            tokio::time::sleep(std::time::Duration::from_secs(60)).await;
            world.memory().fault(world.memory().writes() + n, fault.clone());
            let run = world.run(&["etcd", "snapshot", "--keep", "1"]);
            let ended = tokio::time::timeout(std::time::Duration::from_secs(3600), run).await;
            let all = listed(&world).await;
            let ids: Vec<&str> = all.iter().map(|one| one["id"].as_str().unwrap()).collect();
            assert!(!ids.is_empty(), "{what}");
            if !matches!(ended, Ok(Ran { code: 0, .. })) {
                assert!(ids.contains(&first.as_str()) || ids.len() == 1, "{what}: {ids:?}");
            }
            let _ = world.run(&["lock", "break", NAME, "--yes"]).await;
            for id in &ids {
                let ran = world.run(&["etcd", "restore", id]).await;
                assert_eq!(ran.code, 0, "{what}: {id} is listed and cannot be restored\n{ran}");
            }
            // What was left is no snapshot, and does not stay.
            let id = snapshot(&world, &["--keep", "1"]).await;
            let left: Vec<String> = world.dump().await.into_keys().filter(|key| key.contains("/etcd/")).collect();
            assert_eq!(left, [format!("{NAME}/etcd/{id}.db.0001"), format!("{NAME}/etcd/{id}.json")], "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_is_killed_at_any_work_or_any_write_is_finished_by_the_same_command() {
    let (calm, id) = saved(&HA).await;
    let (stored, nodes) = (calm.dump().await, calm.nodes.fork());
    let (works, writes) = {
        let begun = (calm.nodes.inner.etcd_works().len(), calm.memory().writes());
        let _ = calm.run(&["etcd", "restore", &id, "--yes"]).await.expect(0);
        (calm.nodes.inner.etcd_works().len() - begun.0, calm.memory().writes() - begun.1)
    };
    assert!(works >= 3 * 5 && writes >= 5, "{works} {writes}");
    let places = (0..works).map(|n| (n as u64, true)).chain((1..=writes).map(|n| (n, false)));
    for (n, of_nodes) in places {
        for done in [false, true] {
            let what = format!("killed at {} {n}, done: {done}", if of_nodes { "work" } else { "write" });
            let world = World { cloud: calm.cloud.fork(), ids: calm.ids.clone(), nodes: nodes.fork(), ..World::new() };
            world.restore(&stored).await;
            if of_nodes {
                *world.nodes.hang.lock().unwrap() = Some((usize::try_from(n).unwrap(), done));
            } else {
                world.memory().fault(world.memory().writes() + n, Fault::Hang { done });
            }
            let command = ["etcd", "restore", &id, "--yes"];
            tokio::select! {
                ran = world.run(&command) => panic!("{what}: it ended by itself\n{ran}"),
                () = world.nodes.hung.notified() => {}
                () = tokio::time::sleep(std::time::Duration::from_secs(3600)) => {}
            }
            let _ = world.run(&["lock", "break", NAME, "--yes"]).await;
            if world.dump().await.keys().any(|key| key.contains("etcd-restore")) {
                let _ = world.run(&["etcd", "list"]).await.expect(0).says(&["has not ended"]);
            }
            let ran = world.run(&["etcd", "restore", &id, "--yes"]).await;
            assert_eq!(ran.code, 0, "{what}\n{ran}");
            assert_restored(&world, &what);
            assert!(!world.dump().await.keys().any(|key| key.contains("etcd-restore")), "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn work_that_fails_on_any_control_plane_is_named_and_gone_on_with() {
    for work in ["etcd-write", "etcd-stage", "etcd-stop", "etcd-swap", "etcd-start", "etcd-tidy", "etcd-node", "etcd-labels"] {
        let (world, id) = saved(&HA).await;
        world.nodes.inner.fail_etcd(work, PLANES[0], "the disk is full");
        let ran = world.run(&["etcd", "restore", &id, "--yes"]).await.expect(7).says(&["the disk is full", PLANES[0], work]);
        if ["etcd-write", "etcd-stage"].contains(&work) {
            assert_eq!(world.nodes.inner.etcd_violations(), Vec::<String>::new(), "nothing was stopped\n{ran}");
            assert!(PLANES.iter().all(|slot| world.nodes.inner.etcd_data(slot) == NOW), "{work}");
        }
        let _ = world.run(&["etcd", "restore", &id, "--yes"]).await.expect(0);
        assert_restored(&world, work);
    }
    for work in ["etcd-save", "etcd-read"] {
        let world = World::of(SMALL).await;
        world.nodes.inner.write_etcd(THEN);
        world.nodes.inner.fail_etcd(work, PLANES[0], "the disk is full");
        let _ = world.run(&["etcd", "snapshot"]).await.expect(7).says(&["the disk is full", work]);
        assert!(listed(&world).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_a_newer_etcd_or_kubernetes_is_refused() {
    let (world, id) = saved(&HA).await;
    let members = |version: &str| {
        format!(
            "local [{{\"Endpoint\":\"x\",\"Status\":{{\"header\":{{\"member_id\":1,\"revision\":9}},\"version\":\"{version}\"}}}}]\n"
        )
    };
    for slot in PLANES {
        world.nodes.inner.answer(Query::EtcdStatus, slot, Ok(&members("3.5.24")));
    }
    let _ = world.run(&["etcd", "restore", &id, "--yes"]).await.expect(5).says(&["etcd 3.6.5 wrote it", "3.5.24"]);
    assert_eq!(world.nodes.inner.etcd_data(PLANES[0]), NOW);
    for slot in PLANES {
        world.nodes.inner.answer(Query::EtcdStatus, slot, Ok(&members("3.6.9")));
    }
    let _ = world.run(&["etcd", "restore", &id, "--yes"]).await.expect(0);
}

#[tokio::test(start_paused = true)]
async fn when_all_control_planes_are_lost_new_ones_get_the_data_back() {
    let (world, id) = saved(&HA).await;
    let lost: Vec<String> = PLANES.iter().map(|slot| world.instance(slot)).collect();
    let end = |instances: &[String]| {
        for instance in instances {
            let end = Change::TerminateInstance { instance: Ref::Known(instance.clone()) };
            world.cloud.plant(&end).unwrap();
        }
    };
    // One of three: its member is still in etcd, and the roll is what replaces it.
    end(&lost[..1]);
    let _ = world.run(&["update", "--yes"]).await.expect(5).says(&["its etcd member must be removed"]);
    end(&lost);
    let _ =
        world.run(&["etcd", "restore", &id, "--yes"]).await.expect(5).says(&["no control plane is left", "kubewright update"]);
    let dry = world.run(&["update"]).await.expect(0);
    let _ = dry.says(&["all control planes are gone", "empty etcd", "etcd restore latest"]);
    world.nodes.inner.write_etcd(b"empty");
    let _ = world.run(&["update", "--yes"]).await.expect(0);
    let new: Vec<String> = PLANES.iter().map(|slot| world.instance(slot)).collect();
    assert!(new.iter().all(|instance| !lost.contains(instance)), "{lost:?} {new:?}");
    let _ = world.run(&["etcd", "restore", "latest", "--yes"]).await.expect(0).says(&["Restored", &id]);
    assert_restored(&world, "new control planes");
    let _ = world.settled().await;
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_ends_a_snapshot_and_a_restore_between_two_steps() {
    let (world, id) = saved(&HA).await;
    let before = world.dump().await;
    world.interrupts.add_permits(1);
    let _ = world.run(&["etcd", "restore", &id, "--yes"]).await.expect(130).says(&["same command"]);
    assert_eq!(world.nodes.inner.etcd_violations(), Vec::<String>::new());
    assert!(PLANES.iter().all(|slot| world.nodes.inner.etcd_data(slot) == NOW));
    world.interrupts.add_permits(1);
    let _ = world.run(&["etcd", "snapshot"]).await.expect(130).says(&["none was stored"]);
    assert_eq!(world.dump().await, before, "nothing is left of either");
    let _ = world.run(&["etcd", "restore", &id, "--yes"]).await.expect(0);
    assert_restored(&world, "after an interrupt");
}

#[tokio::test(start_paused = true)]
async fn in_a_folder_only_its_owner_can_read_a_snapshot() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::on_disk();
    world.create(SMALL).await;
    world.nodes.inner.write_etcd(THEN);
    let _ = world.run(&["etcd", "snapshot"]).await.expect(0);
    let folder = world.folder().join(NAME).join("etcd");
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
    let _ = world.run(&["etcd", "restore", "latest", "--yes"]).await.expect(0);
}
