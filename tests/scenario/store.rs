//! What is wrong with the state store: refused, damaged, answers lost.

use std::time::Duration;

use kubewright::store::lock::STALE;
use kubewright::store::memory::Fault;

use crate::world::*;

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_written_stops_a_run_before_the_account_is_touched() {
    for fault in [Fault::Denied, Fault::Full] {
        let world = World::new();
        world.memory().always(Some(fault.clone()));
        let file = world.spec(SMALL);
        let before = world.everything().await;
        let _ = world.run(&["create", "-f", &file]).await.expect(0);
        let _ = world.run(&["create", "-f", &file, "--yes"]).await.expect(1).says(&["the state store", "memory://"]);
        assert_eq!(world.everything().await, before, "{fault:?}");

        let world = World::of(SMALL).await;
        let file = world.spec(&edit(SMALL, "schema = 1\n", "schema = 1\ntags = { a = \"b\" }\n"));
        world.memory().always(Some(fault.clone()));
        let before = world.everything().await;
        for args in [&["update", "-f", &file, "--yes"][..], &["delete", "cluster", NAME, "--yes"]] {
            let _ = world.run(args).await.expect(1).says(&["the state store"]);
        }
        assert_eq!(world.everything().await, before, "{fault:?}");
        for args in [&["update"][..], &["get", "clusters"], &["get", "instances"], &["validate"], &["export", "kubeconfig"]] {
            let _ = world.run(args).await.expect(0);
        }
        world.memory().always(None);
        let _ = world.run(&["update", "-f", &file, "--yes"]).await.expect(0);
        let _ = world.settled().await;
    }
}

/// The disk fills at each write of a create: what was made is known, and the next run goes on.
#[tokio::test(start_paused = true)]
async fn a_folder_in_the_way_is_an_error_with_its_path() {
    let world = World::on_disk();
    let folder = world.folder();
    write(&folder.join(NAME), b"not a folder");
    let before = world.cloud.snapshot();
    let ran = world.run(&["create", "-f", &world.spec(SMALL), "--yes"]).await.expect(1);
    let _ = ran.says(&["the state store", folder.to_str().unwrap()]);
    assert_eq!(world.cloud.snapshot(), before);
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_damaged_newer_or_of_another_cluster_is_refused_by_every_command() {
    let world = World::on_disk();
    world.create(SMALL).await;
    world.create(&SMALL.replace(NAME, "prod.k8s.example.com")).await;
    let folder = world.folder();
    let path = folder.join(NAME).join("state.json");
    let good = std::fs::read(&path).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let half = &good[..good.len() / 2];
    let edited = text.replacen("\"joined\"", "\"created\"", 1);
    let newer = text.replacen("\"format\": 1", "\"format\": 2", 1);
    let other = std::fs::read(folder.join("prod.k8s.example.com/state.json")).unwrap();
    assert!(edited != text && newer != text);
    let cases: [(&str, &[u8], &str); 6] = [
        ("empty", b"", "cut short"),
        ("truncated", half, "cut short"),
        ("edited by hand", edited.as_bytes(), "edited by hand or damaged"),
        ("newer", newer.as_bytes(), "newer kubewright"),
        ("another cluster's", &other, "prod.k8s.example.com"),
        ("binary", &[0xff; 300], "not JSON"),
    ];
    let file = world.spec(SMALL);
    let out = world.home.path().join("out");
    for (what, bytes, why) in cases {
        write(&path, bytes);
        let before = world.everything().await;
        world.cloud.reset_log();
        for args in [
            &["create", "-f", &file, "--yes"][..],
            &["update", NAME],
            &["update", NAME, "--yes"],
            &["update", NAME, "-f", &file, "--yes"],
            &["delete", "cluster", NAME],
            &["delete", "cluster", NAME, "--yes"],
            &["delete", "cluster", NAME, "--purge", "--yes"],
            &["get", "instances", NAME],
            &["get", "instance-groups", NAME],
            &["validate", NAME],
            &["export", "kubeconfig", NAME],
            &["render", NAME, "--out", out.to_str().unwrap()],
        ] {
            let _ = world.run(args).await.expect(1).says(&[
                "the state of demo.k8s.example.com cannot be used",
                "state.json",
                why,
                "next",
            ]);
        }
        assert_eq!(changes(&world.cloud.log()), Vec::<String>::new(), "{what}");
        assert_eq!(world.everything().await, before, "{what}");
        let _ = world.run(&["get", "clusters"]).await.expect(0).says(&["unreadable", "prod.k8s.example.com"]);
        let _ = world.run(&["lock", "status", NAME]).await.expect(0);
    }
    write(&path, &good);
    let _ = world.run(&["update", NAME, "--detailed-exitcode"]).await.expect(0);
}

#[tokio::test(start_paused = true)]
async fn damaged_keys_are_an_error_and_are_never_made_anew() {
    let world = World::on_disk();
    world.create(SMALL).await;
    let folder = world.folder();
    let path = folder.join(NAME).join("secrets/pki.json");
    for bytes in [&b"{}"[..], b"", b"{\"ca.key\":\"x\"}", &[0xff; 9]] {
        write(&path, bytes);
        let file = world.spec(&edit(SMALL, "count = 1\nmachine_type = \"t3.large\"", "count = 2\nmachine_type = \"t3.large\""));
        for args in [&["update", "-f", &file, "--yes"][..], &["export", "kubeconfig"], &["validate"]] {
            let _ = world.run(args).await.expect(1).says(&["secrets/pki.json"]);
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
    // Keys are not needed to take the cluster away.
    let _ = world.run(&["delete", "cluster", NAME, "--yes"]).await.expect(0);
}

/// Every write of a create, with every fault: after at most a few more runs the cluster is the same, and there is one of each.
#[tokio::test(start_paused = true)]
async fn a_fault_at_any_write_of_a_create_leaks_nothing_and_doubles_nothing() {
    let whole = World::of(SMALL).await;
    let (writes, shape) = (whole.memory().writes(), whole.account());
    assert!(writes > 20, "{writes}");
    let faults = [
        Fault::LostAnswer,
        Fault::LostRequest,
        Fault::OwnRetry,
        Fault::Late,
        Fault::Busy,
        Fault::Full,
        Fault::Denied,
        Fault::Delay(Duration::from_secs(30)),
    ];
    for n in 1..=writes {
        for fault in &faults {
            let world = World::new();
            let file = world.spec(SMALL);
            world.memory().fault(n, fault.clone());
            let mut runs = 1;
            let mut ran = world.run(&["create", "-f", &file, "--yes"]).await;
            while ran.code != 0 {
                assert!(
                    matches!(fault, Fault::Full | Fault::Denied | Fault::Late | Fault::LostRequest | Fault::LostAnswer),
                    "{n} {fault:?}\n{ran}"
                );
                assert!(ran.code == 1 || ran.code == 4, "{n} {fault:?}\n{ran}");
                assert!(runs < 4, "{n} {fault:?} does not converge\n{ran}");
                runs += 1;
                if ran.code == 4 {
                    // The release was refused.
                    tokio::time::sleep(STALE).await;
                }
                ran = world.run(&["create", "-f", &file, "--yes"]).await;
                if ran.err.contains("exists already") {
                    ran = world.run(&["update", "--yes"]).await;
                }
            }
            assert_eq!(world.account(), shape, "{n} {fault:?}");
            let state = world.state();
            assert!(state.intents.is_empty() && state.applied == 1, "{n} {fault:?}: {state:?}");
            let _ = world.settled().await;
        }
    }
}

/// The process dies in the middle of any write: its lock goes stale, and the next run takes it over and goes on.
#[tokio::test(start_paused = true)]
async fn a_run_killed_at_any_write_of_a_create_is_finished_by_the_next() {
    let whole = World::of(SMALL).await;
    let (writes, shape) = (whole.memory().writes(), whole.account());
    for n in 1..=writes {
        for done in [false, true] {
            let world = World::new();
            let file = world.spec(SMALL);
            world.memory().fault(n, Fault::Hang { done });
            let args = ["create", "-f", file.as_str(), "--yes"];
            // Long after everything else has stopped, the process is gone.
            let killed = tokio::time::timeout(Duration::from_secs(7200), world.run(&args)).await;
            assert!(killed.is_err(), "{n} {done}: it ended by itself");
            tokio::time::sleep(Duration::from_secs(120)).await;
            let held = world.dump().await.keys().any(|key| key.ends_with("lock.json"));
            let mut ran = world.run(&args).await;
            if ran.err.contains("exists already") {
                ran = world.run(&["update", "--yes"]).await;
            }
            assert_eq!(ran.code, 0, "{n} {done}\n{ran}");
            assert_eq!(ran.err.contains("took over the lock of ops@build-7 (pid 42), silent for"), held, "{n} {done}\n{ran}");
            assert_eq!(world.account(), shape, "{n} {done}");
            assert!(world.state().intents.is_empty());
            let _ = world.settled().await;
        }
    }
}

/// A folder of kops, of Terraform, of somebody: it stays as it is, and so does the account.
#[tokio::test(start_paused = true)]
async fn a_store_in_which_another_program_keeps_something_is_left_alone() {
    let spec_of_another = "title = \"a book\"\n";
    for (name, content, says) in [
        ("config", "apiVersion: kops.k8s.io/v1alpha2", "is not kubewright's"),
        ("instancegroup/nodes", "kind: InstanceGroup", "is not kubewright's"),
        ("pki/private/ca.key", "secret", "is not kubewright's"),
        ("spec.toml", spec_of_another, "is not kubewright's"),
        ("state.json", "{\"version\": 4, \"terraform_version\": \"1.10.0\", \"serial\": 7}", "cannot be used"),
        ("lock.json", "{\"ID\": \"6e2e\"}", "no lock of this kubewright"),
    ] {
        let world = World::on_disk();
        let path = world.folder().join(NAME).join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write(&path, content.as_bytes());
        let file = world.spec(SMALL);
        let before = world.everything().await;
        let ran = world.run(&["create", "-f", &file, "--yes"]).await;
        assert!([1, 4].contains(&ran.code), "{name}\n{ran}");
        let _ = ran.says(&[says, &format!("{NAME}/{name}"), "next"]);
        let ran = world.run(&["create", "-f", &file]).await;
        assert!([0, 1].contains(&ran.code), "{name}\n{ran}");
        assert_eq!(world.everything().await, before, "{name}");
    }
    let world = World::on_disk();
    write(&world.folder().join("terraform.tfstate"), b"{}");
    let ran = world.run(&["create", "-f", &world.spec(SMALL), "--yes"]).await.expect(0);
    let _ = ran.says(&["also holds what is not kubewright's, for example terraform.tfstate", "/kubewright"]);
    let _ = world.run(&["delete", "cluster", NAME, "--purge", "--yes"]).await.expect(0);
    assert_eq!(world.dump().await.into_keys().collect::<Vec<_>>(), ["terraform.tfstate"]);
}

/// Its time stamp lies in the future, so that by the clock it is never old enough: then it is watched.
#[tokio::test(start_paused = true)]
async fn a_dead_runs_lock_outlives_no_clock_that_was_set_back() {
    use kubewright::cli::outside::Outside;
    let world = World::on_disk();
    world.create(SMALL).await;
    let env = world.env(&"file://state".parse().unwrap(), "update --yes").await.unwrap();
    drop(env.store(NAME).unwrap().acquire(&env.owner()).await.unwrap());
    let file = std::fs::File::options().write(true).open(world.folder().join(NAME).join("lock.json")).unwrap();
    file.set_modified(std::time::SystemTime::now() + Duration::from_secs(3 * 3600)).unwrap();
    let _ = world.run(&["update", "--yes"]).await.expect(4).says(&["--lock-wait"]);
    let ran = world.run(&["update", "--yes", "--lock-wait", "5m"]).await.expect(0);
    let _ = ran.says(&["waiting for the lock", "took over the lock of ops@build-7 (pid 42), silent for 1 min"]);
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_died_once_its_state_was_gone_is_ended_by_the_next() {
    use kubewright::cli::outside::Outside;
    let world = World::on_disk();
    world.create(SMALL).await;
    let _ = world.run(&["delete", "cluster", NAME, "--purge", "--yes"]).await.expect(0);
    let env = world.env(&"file://state".parse().unwrap(), "delete --yes").await.unwrap();
    drop(env.store(NAME).unwrap().acquire(&env.owner()).await.unwrap());
    let _ = world.run(&["delete", "cluster", NAME, "--yes"]).await.expect(4).says(&["--lock-wait"]);
    let ran = world.run(&["delete", "cluster", NAME, "--yes", "--lock-wait", "5m"]).await.expect(0);
    let _ = ran.says(&["took over the lock", "nothing of it is left in the account"]);
    assert!(world.dump().await.is_empty(), "{:?}", world.dump().await.keys());
    let _ = world.run(&["delete", "cluster", NAME, "--yes"]).await.expect(1).says(&["there is no cluster"]);
}

/// The disk rots: the state before is offered, and is as good as new after one more update.
#[tokio::test(start_paused = true)]
async fn a_damaged_state_names_the_whole_one_before_it() {
    use kubewright::cli::outside::Outside;
    let world = World::on_disk();
    world.create(SMALL).await;
    let path = world.folder().join(NAME).join("state.json");
    let mut bytes = std::fs::read(&path).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let before = document["serial"].as_u64().unwrap() - 1;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&path).unwrap();
    write(&path, &bytes);
    let ran = world.run(&["update", "--yes"]).await.expect(1);
    let _ = ran
        .says(&["edited by hand or damaged", "whole", &format!("serial {before}, written at 2026-01-01"), "by ops@build-7"])
        .says(&[&format!("kubewright recover {NAME} --previous --yes")]);
    let env = world.env(&"file://state".parse().unwrap(), "recover").await.unwrap();
    let store = env.store(NAME).unwrap();
    assert_eq!(store.restore_previous().await.unwrap().serial, before);
    let _ = world.run(&["update", "--yes"]).await.expect(0);
    let _ = world.settled().await;
}
