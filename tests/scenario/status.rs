//! `status`: what is so is said, whatever state a cluster is in, and nothing is written to find it out.

use kubewright::cloud::fake::{Fault, When};
use kubewright::cloud::{CloudError, ErrorClass};
use kubewright::store::Objects as _;

use crate::world::*;

async fn look(world: &World, code: u8) -> (Ran, serde_json::Value) {
    // Slow things come up while they are looked at.
    let _ = world.run(&["get", "instances"]).await;
    let before = world.everything().await;
    let ran = world.run(&["status"]).await.expect(code);
    let json = world.run(&["status", NAME, "-o", "json"]).await.expect(code).out;
    assert_eq!(world.everything().await, before, "to look wrote");
    (ran, serde_json::from_str(&json).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_cluster_at_rest_with_changes_and_with_drift() {
    let world = World::of(PRIVATE).await;
    let (ran, json) = look(&world, 0).await;
    let ran = ran.says(&[NAME, "us-east-1", "Kubernetes 1.34.2", "revision 1, applied", "ops@build-7 (create cluster -f"]);
    let ran = ran.says(&["finished", "lock free", "bastion: 1 of 1 prepared", "nodes: 2 of 2 joined", "no changes pending"]);
    let _ = ran.says(&["none without an answer", "kubewright validate"]).silent_about("earlier run");
    assert_eq!((&json["revision"], &json["applied"], &json["interrupted"]), (&1.into(), &1.into(), &false.into()));
    assert_eq!(json["pending"]["changes"], 0);

    // One machine that is gone, one rule too many, one route that is left alone.
    let node = crate::by_hand::id(&world, "instance/nodes-us-east-1a-1");
    world.cloud.edit(|account| account.instances.get_mut(&node).unwrap().seen.state = "terminated".into());
    crate::by_hand::authorize(
        &world,
        "security-group/node",
        crate::by_hand::rule(false, crate::by_hand::everywhere(), "by hand"),
    );
    crate::by_hand::of_table(&world, "route-table/public", |table| {
        let (destination, target) = ("10.9.0.0/16".into(), "pcx-1".into());
        table.routes.push(kubewright::observed::Route { destination, target, state: "active".into() });
    });
    let (ran, json) = look(&world, 0).await;
    let _ =
        ran.says(&["2 changes pending, 2 of them because of changes by hand; 1 change by hand left alone", "kubewright update"]);
    assert_eq!(json["pending"]["by_hand"], 2, "{json}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_stopped_a_lock_that_is_held_and_calls_without_an_answer() {
    use kubewright::cli::outside::Outside;
    let world = World::new();
    let file = world.spec(SMALL);
    world.cloud.fail(When::Action("RunInstances".into(), 2), Fault::HangAfter);
    let create = ["create", "-f", &file, "--yes"];
    tokio::select! {
        _ = world.run(&create) => panic!("it was to hang"),
        () = world.cloud.hung() => {}
    }
    // Killed: its lock is still there, and looks alive for a while.
    let (ran, json) = look(&world, 0).await;
    let _ = ran.says(&["is under way", "lock held by ops@build-7", "1 without an answer (RunInstances instance/"]);
    assert_eq!(json["interrupted"], false);
    let _ = world.run(&["lock", "break", NAME, "--yes"]).await.expect(0);
    let (ran, json) = look(&world, 0).await;
    let sentence = "resumes it.";
    let ran = ran.says(&["An earlier run by ops@build-7 (create -f", "did not come to its end", sentence, "never applied"]);
    let _ = ran.says(&[&format!("`kubewright update {NAME} --yes`"), "Next: kubewright update"]);
    assert_eq!(json["interrupted"], true);
    assert_eq!(json["intents"].as_array().unwrap().len(), 1);
    // The same at the top of the next plan.
    let _ = world.run(&["update"]).await.expect(0).says(&["An earlier run by ops@build-7 (create -f", "resumes it."]);
    let _ = world.run(&["update", "--yes"]).await.expect(0);
    let (ran, _) = look(&world, 0).await;
    let _ = ran.silent_about("earlier run");

    let env = world.env(&"file://state".parse().unwrap(), "update --yes").await.unwrap();
    let owner = kubewright::store::Owner { pid: 43, ..env.owner() };
    let _lock = env.store(NAME).unwrap().acquire(&owner).await.unwrap();
    let (ran, json) = look(&world, 0).await;
    let _ = ran.says(&["which has probably died", "kubewright lock break"]);
    assert_eq!(json["lock"]["stale"], true);
}

#[tokio::test(start_paused = true)]
async fn without_the_account_what_the_store_knows_is_still_shown() {
    let world = World::of(SMALL).await;
    *world.no_account.lock().unwrap() = Some(CloudError {
        class: ErrorClass::Credentials,
        action: "sts:GetCallerIdentity".into(),
        code: "no credentials".into(),
        message: "no provider in the chain gave credentials".into(),
        request_id: None,
    });
    let (ran, json) = look(&world, 1).await;
    let _ = ran.says(&["revision 1, applied", "account cannot be read", "get valid credentials"]);
    assert_eq!(json["pending"], serde_json::Value::Null);
    let _ = world.run(&["status", "other.example.com"]).await.expect(1).says(&["there is no cluster other.example.com"]);
}

#[tokio::test(start_paused = true)]
async fn the_newest_snapshot_and_the_end_of_the_authorities() {
    let world = World::of(SMALL).await;
    let (ran, json) = look(&world, 0).await;
    // The clock of these tests begins with 2026, and authorities live ten years.
    let _ = ran.says(&["snapshot none of this cluster's etcd", "CAs valid until 2035-12-30 (ca, etcd-ca, front-proxy-ca)"]);
    assert_eq!(json["snapshot"], serde_json::Value::Null);
    let names: Vec<&String> = json["authorities"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["ca", "etcd-ca", "front-proxy-ca"]);
    let _ = world.run(&["etcd", "snapshot"]).await.expect(0);
    tokio::time::sleep(std::time::Duration::from_secs(3 * 3600 + 600)).await;
    let (ran, json) = look(&world, 0).await;
    let id = json["snapshot"]["id"].as_str().unwrap().to_owned();
    let _ = ran.says(&[&format!("{id}, 3 h 10 min ago")]);
    tokio::time::sleep(std::time::Duration::from_secs(3622 * 86_400)).await;
    let _ = look(&world, 0).await.0.says(&["expires in", "(2035-12-30)"]);
    tokio::time::sleep(std::time::Duration::from_secs(40 * 86_400)).await;
    let _ = look(&world, 0).await.0.says(&["has expired (2035-12-30)"]);
    // One that cannot be read is no reason to say nothing of the rest.
    let key = world.dump().await.into_keys().find(|key| key.contains("/secrets/")).unwrap();
    world.memory().put(&key, b"no keys".to_vec(), kubewright::store::Condition::Always).await.unwrap();
    let (ran, json) = look(&world, 0).await;
    let _ = ran.says(&["CAs cannot be read", "damaged", "nodes: 1 of 1 joined"]);
    assert!(json["authorities"]["error"].is_string(), "{json}");
}
