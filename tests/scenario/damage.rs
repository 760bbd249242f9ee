//! States that are lost or damaged: what is refused, what `recover` makes of them, and what it leaves alone.

use kubewright::store::{Condition, Objects as _};

use crate::world::*;

fn ids(world: &World) -> Vec<(String, String)> {
    let state = world.state();
    state.resources.iter().map(|(resource, record)| (resource.to_string(), record.id.clone())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_lost_state_is_made_anew_with_the_same_ids_and_changes_nothing_in_the_account() {
    for text in [SMALL, PRIVATE] {
        let world = World::of(text).await;
        let (known, account) = (ids(&world), world.cloud.snapshot());
        world.memory().delete(&format!("{NAME}/state.json"), Condition::Always).await.unwrap();
        let before = world.everything().await;
        let shown = world.run(&["recover", NAME]).await.expect(0);
        let _ = shown.says(&[
            "The state can be made anew",
            "1 vpc",
            "Nothing was changed. To record this:",
            "recover demo.k8s.example.com --yes",
        ]);
        assert_eq!(world.everything().await, before, "a dry run wrote");
        let _ = world.run(&["recover", NAME, "--yes"]).await.expect(0).says(&["The state was made anew", "kubewright update"]);
        assert_eq!(world.cloud.snapshot(), account);
        let found = ids(&world);
        for (resource, id) in known.iter().filter(|(resource, _)| resource != "security-group/default") {
            assert!(found.contains(&(resource.clone(), id.clone())), "{resource} {id} is not in {found:?}");
        }
        let _ = world.run(&["update", NAME, "--yes"]).await.expect(0);
        let _ = world.settled().await;
        let _ = world.run(&["recover", NAME, "--yes"]).await.expect(1).says(&["there is nothing to recover"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_state_is_put_aside_and_never_lost() {
    let world = World::of(SMALL).await;
    let known = ids(&world);
    let key = format!("{NAME}/state.json");
    let whole = world.dump().await.remove(&key).unwrap();
    let damaged = whole[..whole.len() / 2].to_vec();
    world.restore(&[(key, damaged.clone())].into()).await;
    for args in [&["update"][..], &["delete", "cluster", NAME, "--yes"], &["get", "instances"]] {
        let _ = world.run(args).await.expect(1).says(&["the state of demo.k8s.example.com cannot be used"]);
    }
    let _ = world.run(&["recover", NAME]).await.expect(0).says(&["damaged"]);
    let _ = world.run(&["recover", NAME, "--yes"]).await.expect(0).says(&["kept", "/damaged/"]);
    let kept = world.dump().await.into_iter().find(|(key, _)| key.contains("/damaged/")).expect("the damaged state");
    assert_eq!(kept.1, damaged);
    assert!(ids(&world).iter().all(|id| known.contains(id)));
    let _ = world.run(&["update", NAME, "--yes"]).await.expect(0);
    let _ = world.run(&["delete", "cluster", NAME, "--purge", "--yes"]).await.expect(0);
    assert!(world.dump().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_last_whole_state_of_a_folder_is_put_back() {
    let world = World::on_disk();
    world.create(SMALL).await;
    let path = world.folder().join(NAME).join("state.json");
    let whole = std::fs::read(&path).unwrap();
    write(&path, &whole[..100]);
    let _ = world.run(&["update"]).await.expect(1).says(&["recover demo.k8s.example.com --previous --yes"]);
    let _ = world.run(&["recover", NAME, "--previous"]).await.expect(0).says(&["can be put back", "Nothing was changed"]);
    assert_eq!(std::fs::read(&path).unwrap().len(), 100);
    let _ = world.run(&["recover", NAME, "--previous", "--yes"]).await.expect(0).says(&["was put back"]);
    let _ = world.run(&["update", NAME, "--yes"]).await.expect(0);
    let _ = world.settled().await;
}

#[tokio::test(start_paused = true)]
async fn without_its_keys_or_its_spec_a_cluster_is_not_made_up() {
    let world = World::of(SMALL).await;
    let account = world.cloud.snapshot();
    world.memory().delete(&format!("{NAME}/state.json"), Condition::Always).await.unwrap();
    let stored = world.dump().await;
    for (key, bytes) in &stored {
        if key.contains("secrets/") {
            world.memory().delete(key, Condition::Always).await.unwrap();
            let _ = world.run(&["recover", NAME, "--yes"]).await.expect(1).says(&["its keys", "are gone", "from a backup"]);
            world.restore(&[(key.clone(), bytes.clone())].into()).await;
        }
    }
    for key in stored.keys().filter(|key| key.contains("revisions/")) {
        world.memory().delete(key, Condition::Always).await.unwrap();
    }
    let _ = world.run(&["recover", NAME, "--yes"]).await.expect(1).says(&["the store has no spec", "-f FILE"]);
    let other = edit(SMALL, "name = \"demo.k8s.example.com\"", "name = \"other.k8s.example.com\"");
    let file = world.spec(&other);
    let _ = world.run(&["recover", NAME, "-f", &file]).await.expect(64).says(&["is the spec of other.k8s.example.com"]);
    let _ = world.run(&["recover", "-f", &file, "--yes"]).await.expect(1).says(&["there is no cluster other.k8s.example.com"]);
    assert_eq!(world.cloud.snapshot(), account);
    let file = world.spec(SMALL);
    let _ = world.run(&["recover", "-f", &file, "--yes"]).await.expect(0);
    assert_eq!(world.cloud.snapshot(), account);
}
