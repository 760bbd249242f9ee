//! Which cluster is meant, what is listed, what is kept.

use kubewright::store::memory::Fault;

use crate::world::*;

const SECOND: &str = "prod.k8s.example.com";

async fn two() -> World {
    let world = World::of(SMALL).await;
    world.create(&SMALL.replace(NAME, SECOND)).await;
    world
}

#[tokio::test(start_paused = true)]
async fn an_unknown_name_says_which_there_are() {
    let world = two().await;
    let out = world.home.path().join("out");
    let out = out.to_str().unwrap();
    let wrong = "demo.k8s.exmaple.com";
    for args in [
        &["update", wrong][..],
        &["update", "cluster", wrong, "--yes"],
        &["delete", "cluster", wrong],
        &["delete", "cluster", wrong, "--yes"],
        &["get", "clusters", wrong],
        &["get", "instances", wrong],
        &["get", "instance-groups", wrong],
        &["validate", wrong],
        &["export", "kubeconfig", wrong],
        &["render", wrong, "--out", out],
        &["lock", "status", wrong],
        &["lock", "break", wrong, "--yes"],
    ] {
        let before = world.everything().await;
        let _ =
            world.run(args).await.expect(1).says(&["there is no cluster", NAME, SECOND, "did you mean demo.k8s.example.com?"]);
        assert_eq!(world.everything().await, before, "{args:?}");
    }
    let file = world.spec(&SMALL.replace(NAME, "new.k8s.example.com"));
    let _ = world.run(&["update", "-f", &file, "--yes"]).await.expect(1).says(&["there is no cluster new.k8s.example.com", NAME]);
}

#[tokio::test(start_paused = true)]
async fn names_that_are_no_names_are_refused_before_anything_is_read() {
    let world = World::of(SMALL).await;
    for wrong in ["../demo", "/etc", "a b", "", "..", "demo\u{1b}[2J"] {
        let before = (world.everything().await, world.cloud.log().len());
        for args in [&["update", wrong, "--yes"][..], &["delete", "cluster", wrong, "--yes"], &["lock", "break", wrong, "--yes"]]
        {
            let ran = world.run(args).await;
            // An empty name is no name: then the only cluster is meant, but never by a delete.
            assert!(ran.code == 1 || ran.code == 64 || wrong.is_empty() && args[0] != "delete", "{ran}");
        }
        if !wrong.is_empty() {
            assert_eq!((world.everything().await, world.cloud.log().len()), before, "{wrong:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_clusters_one_must_be_named_and_is_all_that_is_touched() {
    let world = two().await;
    for args in [
        &["update"][..],
        &["update", "--yes"],
        &["get", "instances"],
        &["get", "instance-groups"],
        &["validate"],
        &["export", "kubeconfig"],
        &["lock", "status"],
    ] {
        let _ = world.run(args).await.expect(1).says(&["which cluster?", NAME, SECOND, "--name"]);
    }
    let _ = world.run(&["get", "clusters"]).await.expect(0).says(&[NAME, SECOND]);
    let one = world.run(&["get", "clusters", SECOND]).await.expect(0).silent_about(NAME);
    assert_eq!(one.out.lines().count(), 2);
    for args in [&["get", "instances", "--name", SECOND][..], &["get", "instances", SECOND]] {
        assert_eq!(world.run(args).await.expect(0).out.lines().count(), 3);
    }
    let uid = world.state().uid;
    let mine = |snapshot: String| snapshot.lines().filter(|line| line.contains(&uid)).map(str::to_owned).collect::<Vec<_>>();
    let before = mine(world.cloud.snapshot());
    let _ = world.run(&["delete", "cluster", SECOND, "--yes"]).await.expect(0);
    assert_eq!(mine(world.cloud.snapshot()), before);
    let _ = world.settled().await;
}

#[tokio::test(start_paused = true)]
async fn get_lists_each_kind_in_each_form() {
    let world = World::of(EXAMPLES[2].1).await;
    let columns = |ran: Ran, words: &[&str]| {
        let head = ran.out.lines().next().unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(head, words, "{ran}");
    };
    columns(world.run(&["get", "clusters"]).await.expect(0), &["NAME", "REGION", "KUBERNETES", "MACHINES", "STATE"]);
    columns(world.run(&["get", "ig"]).await.expect(0), &["NAME", "ROLE", "MACHINES", "MACHINE-TYPE", "IMAGE"]);
    columns(world.run(&["get", "nodes"]).await.expect(0), &["NAME", "ID", "STATE", "NODE", "PRIVATE-IP"]);
    let instances = world.run(&["get", "instances"]).await.expect(0);
    assert_eq!(instances.out.lines().count(), 8, "{instances}");
    assert_eq!(instances.out.matches("joined").count(), 6);
    for kind in ["clusters", "instance-groups", "instances"] {
        let table = world.run(&["get", kind]).await.expect(0);
        let json = world.run(&["get", kind, "-o", "json"]).await.expect(0);
        let yaml = world.run(&["get", kind, "-o", "yaml"]).await.expect(0);
        let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!(serde_saphyr::from_str::<serde_json::Value>(&yaml.out).unwrap(), json);
        assert_eq!(json.as_array().unwrap().len(), table.out.lines().count() - 1, "{kind}");
        assert!(world.run(&["get", kind, "-o", "wide"]).await.expect(0).out.len() > table.out.len());
    }
}

#[tokio::test(start_paused = true)]
async fn create_goes_on_where_it_was_cut_off_and_refuses_a_cluster_that_is_there() {
    let world = World::new();
    let file = world.spec(SMALL);
    for write in [6, 9, 14] {
        world.memory().fault(world.memory().writes() + write, Fault::Denied);
        let ran = world.run(&["create", "-f", &file, "--yes"]).await;
        assert_ne!(ran.code, 0, "{ran}");
    }
    let _ = world.run(&["get", "clusters"]).await.expect(0).says(&["interrupted"]);
    let _ = world.run(&["create", "-f", &file]).await.expect(0).says(&["An earlier run", "This plan resumes it."]);
    let _ = world.run(&["create", "-f", &file, "--yes"]).await.expect(0);
    let done = World::of(SMALL).await;
    assert_eq!(world.account(), done.account(), "nothing twice");
    let before = world.everything().await;
    for args in [&["create", "-f", &file][..], &["create", "-f", &file, "--yes"]] {
        let _ = world.run(args).await.expect(1).says(&["exists already", "kubewright update demo.k8s.example.com -f"]);
    }
    assert_eq!(world.everything().await, before);
}

/// A creation that stopped has real objects: what they cannot follow is refused although no revision was applied yet.
#[tokio::test(start_paused = true)]
async fn an_unfinished_create_follows_a_corrected_spec_where_it_can() {
    let world = World::new();
    world.nodes.inner.fail_at(kubewright::bootstrap::NodeTask::Init, "control-plane-us-east-1a-1", "packages", "no such version");
    let _ = world.run(&["create", "-f", &world.spec(SMALL), "--yes"]).await.expect(7);
    let moved = world.spec(&edit(SMALL, "[ssh]", "[network]\ncidr = \"10.30.0.0/16\"\n[ssh]"));
    let _ = world.run(&["create", "-f", &moved, "--yes"]).await.expect(5).says(&["network.cidr", "10.20.0.0/16 -> 10.30.0.0/16"]);
    let fixed = world.spec(&edit(SMALL, "1.34.2", "1.34.1"));
    let _ = world.run(&["create", "-f", &fixed, "--yes"]).await.expect(0);
    let _ = world.settled().await;
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_any_name_leads_to_create() {
    for args in [&["validate", NAME][..], &["get", "clusters", NAME], &["export", "kubeconfig", NAME], &["lock", "status", NAME]]
    {
        let ran = World::new().run(args).await.expect(1);
        let _ = ran.says(&["there is no cluster demo.k8s.example.com in", "it holds none", "kubewright create cluster -f FILE"]);
    }
}
