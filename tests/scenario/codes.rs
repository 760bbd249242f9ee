//! Exit codes, each with what is said and what the next run does.

use kubewright::bootstrap::NodeTask;
use kubewright::cloud::NetworkInterface;

use crate::world::*;

#[tokio::test(start_paused = true)]
async fn done_pending_and_wrong_usage() {
    let world = World::new();
    let file = world.spec(SMALL);
    let _ = world.run(&["create", "-f", &file]).await.expect(0);
    let _ = world.run(&["create", "-f", &file, "--detailed-exitcode"]).await.expect(2);
    world.create(SMALL).await;
    let _ = world.run(&["update", "--detailed-exitcode"]).await.expect(0);
    let tagged = world.spec(&edit(SMALL, "schema = 1\n", "schema = 1\ntags = { a = \"b\" }\n"));
    let _ = world.run(&["update", "-f", &tagged]).await.expect(0);
    let _ = world.run(&["update", "-f", &tagged, "--detailed-exitcode"]).await.expect(2);
    for args in [
        &["no-such-verb"][..],
        &["create", "cluster"],
        &["create", "-f"],
        &["update", "--no-such-flag"],
        &["delete", "cluster"],
        &["delete", "bucket", "x"],
        &["get", "pods"],
        &["lock"],
        &["export"],
        &["update", "-o", "xml"],
        &["update", "--state", "ftp://x"],
        &["render", "-f", &file],
        &["update", "cluster", "a", "b"],
    ] {
        let before = world.everything().await;
        let ran = world.run(args).await.expect(64);
        assert!(ran.out.is_empty() && (ran.err.contains("error: ") || ran.err.contains("Usage: ")), "{ran}");
        assert_eq!(world.everything().await, before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_spec_is_3_in_every_command_that_reads_one_and_touches_nothing() {
    let world = World::of(SMALL).await;
    let before = world.everything().await;
    let reads = world.cloud.log().len();
    for bad in ["", "not toml at all [", "schema = 1\nname = 7\n", &edit(SMALL, "role = \"node\"", "role = \"worker\"")] {
        let file = world.spec(bad);
        let out = world.home.path().join("out");
        for args in [
            &["create", "-f", &file][..],
            &["create", "-f", &file, "--yes"],
            &["update", "-f", &file],
            &["update", "-f", &file, "--yes"],
            &["render", "-f", &file, "--out", out.to_str().unwrap()],
        ] {
            let ran = world.run(args).await.expect(3);
            assert!(ran.out.is_empty() && ran.err.contains("spec.toml"), "{ran}");
        }
        assert!(!out.exists());
    }
    let _ = world.run(&["create", "-f", "/no/such/file.toml"]).await.expect(3).says(&["no such file"]);
    assert_eq!(world.everything().await, before);
    assert_eq!(world.cloud.log().len(), reads, "a bad spec costs no call");
}

#[tokio::test(start_paused = true)]
async fn a_held_lock_is_4_and_says_by_whom_since_when_for_which_command() {
    use kubewright::cli::outside::Outside;
    let world = World::of(SMALL).await;
    let env = world.env(&"file://state".parse().unwrap(), "update demo -f new.toml --yes").await.unwrap();
    let lock = env.store(NAME).unwrap().acquire(&env.owner()).await.unwrap();
    let before = world.cloud.snapshot();
    let file = world.spec(&edit(SMALL, "schema = 1\n", "schema = 1\ntags = { a = \"b\" }\n"));
    for args in [&["update", "--yes"][..], &["update", "-f", &file, "--yes"], &["delete", "cluster", NAME, "--yes"]] {
        let ran = world.run(args).await.expect(4);
        let _ = ran
            .says(&["is locked by another run", "ops@build-7 (pid 42 on build-7)", "update demo -f new.toml --yes"])
            .says(&["since     2026-01-01", "next", "lock"]);
    }
    assert_eq!(world.cloud.snapshot(), before);
    let _ = world.run(&["update", "-f", &file]).await.expect(0);
    lock.release().await.unwrap();
    let _ = world.run(&["update", "-f", &file, "--yes"]).await.expect(0);
}

/// At once, and only there: another host may have a process of that number, and a container with the name of its host has processes of
/// its own.
#[tokio::test(start_paused = true)]
async fn a_lock_whose_process_is_gone_from_this_host_is_taken_over() {
    use kubewright::cli::outside::Outside;
    const GONE: &str = "there is no process 43 on this host any more";
    let world = World::of(SMALL).await;
    let env = world.env(&"file://state".parse().unwrap(), "update --yes").await.unwrap();
    let key = format!("{NAME}/lock.json");
    for (host, pid, elsewhere, gone) in
        [("build-7", 43, false, true), ("build-7", 43, true, false), ("laptop", 43, false, false), ("build-7", 42, false, false)]
    {
        let owner = kubewright::store::Owner { host: host.into(), pid, ..env.owner() };
        let lock = env.store(NAME).unwrap().acquire(&owner).await.unwrap();
        if elsewhere {
            let mut note: serde_json::Value = serde_json::from_slice(&world.dump().await[&key]).unwrap();
            note["place"] = "another-start-of-the-machine pid:[4026532281]".into();
            world.restore(&[(key.clone(), note.to_string().into_bytes())].into()).await;
        }
        let ran = world.run(&["lock", "status", NAME]).await.expect(0);
        if gone {
            let _ = ran.says(&[GONE, "kubewright update", "takes the lock over"]);
            let ran = world.run(&["update", "--yes"]).await.expect(0);
            let _ = ran.says(&["took over the lock of ops@build-7 (pid 43), whose process is gone"]);
            drop(lock);
            continue;
        }
        let _ = ran.silent_about("any more").silent_about("takes");
        for args in [&["update", "--yes"][..], &["delete", "cluster", NAME, "--yes"]] {
            let _ = world.run(args).await.expect(4).silent_about("any more").says(&["--lock-wait"]);
        }
        if elsewhere {
            let _ = world.run(&["lock", "break", NAME, "--yes"]).await.expect(0);
        } else {
            lock.release().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_held_lock_is_waited_for_as_long_as_was_said() {
    use kubewright::cli::outside::Outside;
    use std::time::Duration;
    let world = World::of(SMALL).await;
    let env = world.env(&"file://state".parse().unwrap(), "update --yes").await.unwrap();
    let lock = env.store(NAME).unwrap().acquire(&env.owner()).await.unwrap();
    let begun = tokio::time::Instant::now();
    let ran = world.run(&["update", "--yes", "--lock-wait", "2m"]).await.expect(4);
    assert_eq!(begun.elapsed().as_secs(), 120);
    let ran = ran.says(&["waiting for the lock of ops@build-7 (pid 42), up to 2 min", "is locked by another run"]);
    assert_eq!(flat(&ran.err).matches("waiting for").count(), 1, "{ran}");
    // An interrupt ends the wait.
    let waiting = world.run(&["update", "--yes", "--lock-wait", "1h"]);
    let interrupt = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        world.interrupts.add_permits(1);
    };
    let _ = tokio::join!(waiting, interrupt).0.expect(4);
    // Given back in the meantime.
    let waiting = world.run(&["update", "--yes", "--lock-wait", "1h"]);
    let release = async {
        tokio::time::sleep(Duration::from_secs(90)).await;
        lock.release().await.unwrap();
    };
    let _ = tokio::join!(waiting, release).0.expect(0).silent_about("took over");
    // Its holder dies in the meantime.
    let lock = env.store(NAME).unwrap().acquire(&env.owner()).await.unwrap();
    let waiting = world.run(&["delete", "cluster", NAME, "--yes", "--lock-wait", "1h"]);
    let death = async {
        tokio::time::sleep(Duration::from_secs(90)).await;
        drop(lock);
    };
    let _ = tokio::join!(waiting, death).0.expect(0).says(&["took over the lock of ops@build-7 (pid 42), silent for 1 min"]);
}

/// Another program's, a newer kubewright's, a damaged one: left to people, however old it is.
#[tokio::test(start_paused = true)]
async fn a_lock_that_is_not_understood_is_never_taken_over() {
    let world = World::of(SMALL).await;
    let key = format!("{NAME}/lock.json");
    for bytes in ["", "{", "{\"ID\":\"6e2e\",\"Operation\":\"OperationTypeApply\"}", "{\"format\":2,\"id\":\"a\",\"pid\":43}"] {
        world.restore(&[(key.clone(), bytes.as_bytes().to_vec())].into()).await;
        tokio::time::sleep(std::time::Duration::from_secs(7200)).await;
        let before = world.everything().await;
        for args in [&["update", "--yes"][..], &["delete", "cluster", NAME, "--yes", "--lock-wait", "5m"]] {
            let ran = world.run(args).await.expect(4);
            let _ = ran.says(&["it is no lock of this kubewright", "kubewright lock break"]);
        }
        assert_eq!(world.everything().await, before);
        let _ = world.run(&["lock", "break", NAME, "--yes"]).await.expect(0);
        assert!(!world.dump().await.contains_key(&key));
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_balancer_in_the_way_is_6_and_only_what_it_holds_stays() {
    let world = World::new();
    let empty = world.cloud.snapshot();
    world.create(SMALL).await;
    let (subnet, group) = world.cloud.edit(|account| {
        let subnet = account.subnets.keys().next().unwrap().clone();
        let group = account.security_groups.values().find(|group| group.name.starts_with("node.")).unwrap().id.clone();
        (subnet, group)
    });
    world.cloud.plant_interface(NetworkInterface {
        id: "eni-0d2".into(),
        subnet: subnet.clone(),
        groups: vec![group.clone()],
        description: "ELB app/shop-frontend/a1b2c3".into(),
        instance: None,
        requester: Some("amazon-elb".into()),
    });
    let all = world.shape().values().sum::<usize>();
    let ran = world.run(&["delete", "cluster", NAME, "--yes"]).await.expect(6);
    let ran = ran.says(&[
        "cannot be deleted: network interface eni-0d2 is in use",
        "ELB app/shop-frontend/a1b2c3 (made by amazon-elb), not made by kubewright",
        "kubewright delete cluster demo.k8s.example.com --yes",
    ]);
    let left = world.shape();
    for gone in ["instance", "key-pair", "internet-gateway"] {
        assert_eq!(left.get(gone), None, "{gone} could go\n{ran}");
    }
    assert!(left.values().sum::<usize>() * 2 < all && left["subnet"] == 1 && left["vpc"] == 1, "{left:?}\n{ran}");
    let _ = world.run(&["get", "clusters"]).await.expect(0).says(&[NAME]);

    // Still in the way: the same answer, nothing more is lost.
    let _ = world.run(&["delete", "cluster", NAME, "--yes"]).await.expect(6).says(&["eni-0d2"]);
    world.cloud.edit(|account| account.interfaces.clear());
    let _ = world.run(&["delete", "cluster", NAME, "--yes"]).await.expect(0).says(&["0 remain"]);
    assert_eq!(world.cloud.snapshot(), empty);
}

#[tokio::test(start_paused = true)]
async fn failed_nodes_are_7_each_is_told_the_others_finish_and_the_next_run_goes_on() {
    let spec = EXAMPLES[1].1;
    let slots = [
        "nodes-us-east-1a-1",
        "nodes-us-east-1b-1",
        "nodes-us-east-1c-1",
        "control-plane-us-east-1a-1",
        "control-plane-us-east-1b-1",
    ];
    let cases: &[&[(NodeTask, &str)]] = &[
        &[(NodeTask::Prepare, slots[0])],
        &[(NodeTask::Prepare, slots[3])],
        &[(NodeTask::Init, slots[3])],
        &[(NodeTask::JoinControlPlane, slots[4])],
        &[(NodeTask::JoinWorker, slots[1])],
        &[(NodeTask::JoinWorker, slots[1]), (NodeTask::JoinWorker, slots[2])],
        &[(NodeTask::Prepare, slots[0]), (NodeTask::JoinWorker, slots[2])],
    ];
    for faults in cases {
        let world = World::new();
        for (task, slot) in *faults {
            world.nodes.inner.fail_at(*task, slot, "container-runtime", "containerd does not use the systemd cgroup driver");
        }
        let ran = world.run(&["create", "-f", &world.spec(spec), "--yes"]).await.expect(7);
        let mut ran = ran.says(&["Failed in", "Next:  kubewright update demo.k8s.example.com --yes", "goes on at step"]);
        for (_, slot) in *faults {
            ran = ran.says(&[&format!("error: node {slot} ("), "step `container-runtime` failed after", "cause", "left"]);
        }
        let state = world.state();
        let joined = state.nodes.values().filter(|node| node.phase == kubewright::recorded::NodePhase::Joined).count();
        let (task, first) = faults[0];
        let expected = match (task, first) {
            // Nobody joins without an API server.
            (NodeTask::Init, _) | (NodeTask::Prepare, "control-plane-us-east-1a-1") => 0,
            // The third control plane waits for the second.
            (NodeTask::JoinControlPlane, _) => 4,
            _ => 6 - faults.len(),
        };
        assert_eq!(joined, expected, "{faults:?}\n{ran}");
        let runs = world.cloud.log().iter().filter(|call| call.action == "ec2:RunInstances").count();
        let _ =
            world.run(&["update"]).await.expect(0).says(&["An earlier run by ops@build-7 (create -f", "This plan resumes it."]);
        let _ = world.run(&["update", "--yes"]).await.expect(0).says(&["6 of 6 nodes Ready"]);
        assert_eq!(
            world.cloud.log().iter().filter(|call| call.action == "ec2:RunInstances").count(),
            runs,
            "no machine was made again"
        );
        let _ = world.settled().await;
    }
}
