//! From nothing to nothing: every shipped example is created, looked at, changed and deleted.

use crate::world::*;

#[tokio::test(start_paused = true)]
async fn every_example_lives_from_create_to_delete_and_leaves_no_trace() {
    for (example, text) in EXAMPLES {
        let world = World::new();
        let (account, _) = world.everything().await;
        let file = world.spec(text);
        let planned = world.run(&["create", "cluster", "-f", &file, "--detailed-exitcode"]).await.expect(2);
        let planned = planned.says(&["Nothing was changed. To apply:"]);
        assert_eq!(world.everything().await, (account.clone(), Default::default()), "{example}: a dry run wrote");
        assert!(world.nodes.inner.asked().is_empty());

        let created = world.run(&["create", "cluster", "-f", &file, "--yes"]).await.expect(0);
        let totals = planned.out.lines().find(|line| line.starts_with("Plan: ")).unwrap();
        assert!(created.out.contains(totals.split('(').next().unwrap().trim()), "{example}: applied what was planned\n{created}");

        world.cloud.reset_log();
        let _ = world.settled().await;
        assert!(reads(&world.cloud.log()) <= 15, "{example}: {:?}", world.cloud.log());
        let _ = world.run(&["update", "-f", &file, "--yes"]).await.expect(0).says(&["nothing changed in the account"]);
        assert_eq!(changes(&world.cloud.log()), Vec::<String>::new(), "{example}");
        let _ = world.run(&["validate"]).await.expect(0);

        let name = name_of(text);
        if text.contains("prevent_destroy = true") {
            let before = world.everything().await;
            for args in [vec!["delete", "cluster", name], vec!["delete", "cluster", name, "--yes"]] {
                let _ = world.run(&args).await.expect(6).says(&["prevent_destroy"]);
            }
            assert_eq!(world.everything().await, before);
            let open = world.spec(&edit(text, "prevent_destroy = true ", "prevent_destroy = false "));
            let said = world.run(&["update", "-f", &open]).await.expect(0);
            let _ = said.says(&["No changes", "differs from the registered one in prevent_destroy; it becomes revision 2"]);
            let _ = world.run(&["update", "-f", &open, "--yes"]).await.expect(0);
        }
        let deleted = world.run(&["delete", "cluster", name, "--yes"]).await.expect(0).says(&["0 remain"]);
        assert_eq!(world.cloud.snapshot(), account, "{example}");
        let left: Vec<String> = world.dump().await.into_keys().collect();
        assert!(left.iter().all(|key| key.starts_with(&format!("{name}/revisions/"))), "{example}: {left:?}");
        let _ = deleted.says(&["Kept: the history of the spec", "--purge --yes"]);
        let _ = world.run(&["get", "clusters"]).await.expect(0).says(&["There is no cluster"]);

        // What the last line said to type.
        let _ = world.run(&["delete", "cluster", name, "--purge"]).await.expect(0).says(&["Nothing was changed."]);
        assert_eq!(world.dump().await.into_keys().collect::<Vec<_>>(), left);
        let _ = world.run(&["delete", "cluster", name, "--purge", "--yes"]).await.expect(0);
        assert_eq!(world.everything().await, (account, Default::default()), "{example}");
        let _ = world.run(&["delete", "cluster", name, "--purge", "--yes"]).await.expect(1).says(&["there is no cluster"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_may_be_created_again_after_its_delete_and_its_revisions_count_on() {
    let world = World::of(SMALL).await;
    let shape = world.shape();
    let first = world.state().uid;
    let _ = world.run(&["delete", "cluster", NAME, "--yes"]).await.expect(0);
    let other = edit(SMALL, "schema = 1\n", "schema = 1\ntags = { a = \"b\" }\n");
    for (text, number) in [(SMALL, 1), (other.as_str(), 2)] {
        let shown = world.run(&["create", "-f", &world.spec(text), "-o", "json"]).await.expect(0);
        let shown: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
        assert_eq!(shown["plan"]["revision"], number, "what was registered before has its number already");
    }
    world.create(&other).await;
    assert_eq!(world.shape(), shape);
    let state = world.state();
    assert_ne!(state.uid, first, "another cluster of the same name");
    assert_eq!((state.revision, state.applied), (2, 2));
    let _ = world.settled().await;
}

/// Every command that has no `--yes`, on a cluster and where there is none: account, store and nodes stay as they are.
#[tokio::test(start_paused = true)]
async fn without_yes_nothing_is_written_anywhere() {
    let changed = edit(SMALL, "count = 1\nmachine_type = \"t3.large\"", "count = 2\nmachine_type = \"t3.large\"");
    for state in ["nothing", "unfinished", "applied"] {
        let world = World::new();
        match state {
            "unfinished" => {
                // Registered, and then the store went away.
                world.memory().fault(6, kubewright::store::memory::Fault::Denied);
                let _ = world.run(&["create", "cluster", "-f", &world.spec(SMALL), "--yes"]).await.expect(1);
                assert!(
                    world.dump().await.contains_key(&format!("{NAME}/state.json")),
                    "registered: {:?}",
                    world.dump().await.keys()
                );
            }
            "applied" => world.create(SMALL).await,
            _ => {}
        }
        let file = world.spec(&changed);
        let out = world.home.path().join("rendered");
        let out = out.to_str().unwrap();
        let before = world.everything().await;
        let asked = world.nodes.inner.asked().len();
        let commands: &[&[&str]] = &[
            &["create", "cluster", "-f", &file],
            &["update"],
            &["update", NAME],
            &["update", "cluster", NAME, "-f", &file],
            &["delete", "cluster", NAME],
            &["delete", "cluster", NAME, "--purge"],
            &["rolling-update"],
            &["rolling-update", "--abort", "--force"],
            &["get", "clusters"],
            &["get", "clusters", "-o", "wide"],
            &["get", "instance-groups"],
            &["get", "instances"],
            &["validate"],
            &["export", "kubeconfig"],
            &["render", "--out", out],
            &["render", "-f", &file, "--out", out],
            &["lock", "status"],
            &["lock", "break"],
        ];
        for args in commands {
            for form in [&[][..], &["-o", "json"], &["-o", "yaml"]] {
                let _ = world.run(&[args, form].concat()).await;
                assert_eq!(world.everything().await, before, "{state}: {args:?} wrote");
            }
        }
        assert_eq!(world.nodes.inner.asked().len(), asked, "{state}: nodes were touched");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_pod_network_nodes_are_told_as_registered_and_never_as_ready() {
    let world = World::new();
    let file = world.spec(&edit(EXAMPLES[0].1, "cni = \"flannel\"", "cni = \"none\""));
    let told = "registered, NotReady until you install a pod network (cni = \"none\").";
    let created = world.run(&["create", "cluster", "-f", &file, "--yes"]).await.expect(0);
    let _ = created.says(&[&format!("2 of 2 nodes {told}")]).silent_about("nodes Ready");
    let _ = world.run(&["update", "--yes"]).await.expect(0).says(&[&format!("2 of 2 nodes {told}")]);
}
