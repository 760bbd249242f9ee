//! Upgrade: every machine comes to the version where it stands, one minor at a time, and whoever stops it anywhere loses nothing.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use kubewright::bootstrap::NodeTask;
use kubewright::bootstrap::fake::Asked;
use kubewright::bootstrap::inspect::Query;
use kubewright::cluster::KubernetesVersion;
use kubewright::recorded::NodePhase;

use crate::world::*;

/// Three control planes and four workers; the version has company on its line.
pub static HA: LazyLock<String> = LazyLock::new(|| {
    let line = "  kubernetes   = '1.34.2'   # agreed with the shop team";
    let spec = edit(LARGE, "kubernetes = \"1.34.2\"", line);
    edit(&spec, "count = 3\nmachine_type = \"t3.large\"", "count = 4\nmachine_type = \"t3.large\"")
        + "rolling_update = { max_surge = 0, max_unavailable = 2 }\n"
});

const UPGRADES: [NodeTask; 2] = [NodeTask::Upgrade, NodeTask::UpgradeFirst];

pub fn version(text: &str) -> KubernetesVersion {
    text.parse().unwrap()
}

/// What each machine runs, and that nothing on the way broke a rule of the version skew policy. A control plane counts as new in all its
/// parts from the moment at which its upgrade begins, and as old in its kubelet of the others.
pub fn replay(tasks: &[Asked]) -> BTreeMap<String, KubernetesVersion> {
    let joins = [NodeTask::Init, NodeTask::JoinControlPlane, NodeTask::JoinWorker];
    let mut runs = BTreeMap::<String, KubernetesVersion>::new();
    let mut planes = vec![];
    let mut busy = None;
    for asked in tasks {
        let to = asked.kubernetes.unwrap();
        let plane = asked.slot.starts_with("control-plane");
        if joins.contains(&asked.task) {
            runs.insert(asked.instance.clone(), to);
            planes.extend(plane.then(|| asked.instance.clone()));
        }
        if !UPGRADES.contains(&asked.task) {
            continue;
        }
        let from = runs[&asked.instance];
        assert!(from <= to && to.minor <= from.minor + 1, "{from} -> {to}: {asked:?}");
        for other in planes.iter().filter(|other| **other != asked.instance) {
            let other = runs[other];
            assert!(other.minor.abs_diff(to.minor) <= 1, "API servers {other} and {to}: {asked:?}");
            assert!(plane || other >= to, "kubelet {to} and an API server {other}: {asked:?}");
        }
        let first = plane && !planes.iter().any(|plane| runs[plane] == to);
        assert!(first == (asked.task == NodeTask::UpgradeFirst) || from == to, "{asked:?}");
        if plane {
            assert!(busy.is_none() || busy == Some(asked.instance.clone()), "{busy:?} is not there yet: {asked:?}");
            busy = Some(asked.instance.clone()).filter(|_| asked.succeeded != Some(true));
        }
        if asked.succeeded == Some(true) {
            runs.insert(asked.instance.clone(), to);
        }
    }
    runs
}

/// Everything runs this version, and all that an upgrade does on the way is taken back.
pub async fn assert_upgraded(world: &World, to: &str, what: &str) {
    let state = world.state();
    let runs = replay(&world.nodes.inner.asked());
    for (slot, node) in &state.nodes {
        assert_eq!(runs[&node.instance], version(to), "{what}: {slot}");
        assert!(!node.cordoned && node.phase == NodePhase::Joined, "{what}: {slot} {node:?}");
    }
    assert_eq!(state.model.kubernetes, version(to), "{what}");
    assert_eq!(state.applied_model.as_ref().map(|model| model.kubernetes), Some(version(to)), "{what}");
    assert_eq!(state.applied, state.revision, "{what}");
    let spec = world.dump().await.remove(&format!("{NAME}/spec.toml")).unwrap();
    let line = format!("  kubernetes   = \"{to}\"   # agreed with the shop team\n");
    assert!(String::from_utf8(spec).unwrap().contains(&line), "{what}");
    let _ = world.settled().await.silent_about("behind");
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_shows_its_hops_goes_them_and_is_at_rest() {
    let world = World::of(&HA).await;
    let all = world.everything().await;
    let shown = world.run(&["upgrade", "--to", "1.36.3", "--detailed-exitcode"]).await.expect(2);
    let shown = shown.says(&[
        "1.34.2 -> 1.36.3, 7 machines, 2 hops",
        "Hop 1: 1.34.2 -> 1.35.4",
        "Hop 2: 1.35.4 -> 1.36.3",
        "kubelet loses its flag --pod-infra-container-image",
        "etcd: 3.6.5-0 -> 3.6.6-0",
        "kube-apiserver:v1.35.4",
        "kubeadm upgrade apply, kubelet and kubectl 1.35.4 meanwhile 2 of 3 etcd members healthy, 2 needed",
        "kubeadm upgrade node, kubelet and kubectl 1.36.3",
        "in place: 2 at a time (max_unavailable)",
        "Estimated: about",
        "kubewright upgrade demo.k8s.example.com --to 1.36.3 --yes",
    ]);
    let json = world.run(&["upgrade", "--to", "1.36.3", "-o", "json"]).await.expect(0);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let hops: Vec<&str> = json["hops"].as_array().unwrap().iter().map(|hop| hop["to"].as_str().unwrap()).collect();
    assert_eq!(hops, ["1.35.4", "1.36.3"]);
    assert_eq!(world.everything().await, all, "a dry run wrote\n{shown}");

    let before = world.state();
    let told = world.nodes.inner.asked().len();
    let _ = world
        .run(&["upgrade", "cluster", NAME, "--to", "1.36.3", "--yes"])
        .await
        .expect(0)
        .says(&["Upgraded to 1.35.4, 1.36.3 after", "Revision 3 of the spec says kubernetes = \"1.36.3\""]);
    assert_upgraded(&world, "1.36.3", "a calm upgrade").await;
    let instances =
        |state: &kubewright::recorded::State| -> Vec<String> { state.nodes.values().map(|node| node.instance.clone()).collect() };
    assert_eq!(instances(&world.state()), instances(&before), "nothing is replaced");
    let tasks = world.nodes.inner.asked().split_off(told);
    for slot in before.nodes.keys() {
        let of: Vec<NodeTask> = tasks.iter().filter(|asked| asked.slot == *slot).map(|asked| asked.task).collect();
        let each: Vec<NodeTask> = of.iter().copied().filter(|task| !matches!(task, NodeTask::MoveLeader)).collect();
        let first = if slot == "control-plane-us-east-1a-1" { NodeTask::UpgradeFirst } else { NodeTask::Upgrade };
        let rest = [NodeTask::Cordon, NodeTask::Evict];
        let hop: Vec<NodeTask> = [NodeTask::Fetch].into_iter().chain(rest).collect();
        // Which control plane leads, and so goes last, differs from hop to hop.
        let upgrade = |n: usize| each.get(n).copied().filter(|task| UPGRADES.contains(task)).unwrap_or(first);
        let want = |n: usize| hop.iter().copied().chain([upgrade(n), NodeTask::Uncordon]).collect::<Vec<_>>();
        let length = hop.len() + 2;
        assert_eq!(each, [want(hop.len()), want(length + hop.len())].concat(), "{slot}");
    }
    let json = world.run(&["upgrade", "--to", "1.36.3", "-o", "json"]).await.expect(0);
    assert!(json.out.contains("\"hops\": []"), "{json}");
    for args in [&["upgrade", "--to", "1.36.3", "--detailed-exitcode"][..], &["upgrade", "--to", "1.36.3", "--yes"]] {
        let _ = world.run(args).await.expect(0).says(&["Nothing to upgrade", "runs Kubernetes 1.36.3"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_upgrade_fails_stops_it_and_is_named() {
    for (task, slot) in [
        (NodeTask::UpgradeFirst, "control-plane-us-east-1a-1"),
        (NodeTask::Upgrade, "nodes-us-east-1a-1"),
        (NodeTask::Evict, "nodes-us-east-1b-1"),
    ] {
        let world = World::of(&HA).await;
        // Whichever leads goes last; the first of the others is the first.
        let slot = if task == NodeTask::UpgradeFirst { first_of(&world).await } else { slot.to_owned() };
        world.nodes.inner.fail_at(task, &slot, "upgrade", "the static pod of kube-apiserver did not restart");
        let ran = world.run(&["upgrade", "--to", "1.35.4", "--yes"]).await.expect(7);
        let _ = ran.says(&["Blocked after", &slot, "did not restart", "goes on where this run stopped"]);
        assert!(world.state().nodes[&slot].cordoned);
        let _ = world.run(&["upgrade", "--to", "1.35.4", "--yes"]).await.expect(0);
        assert_upgraded(&world, "1.35.4", &slot).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_the_version_does_not_suit_is_named_before_anything_is_touched_or_registered() {
    let world = World::of(&HA).await;
    let (slot, revision) = ("nodes-us-east-1a-1", world.state().revision);
    world.nodes.inner.fail_at(NodeTask::Fetch, slot, "facts", "cgroup v1: the kubelet of Kubernetes 1.35 refuses it");
    let begun = world.nodes.inner.asked().len();
    let ran = world.run(&["upgrade", "--to", "1.35.4", "--yes"]).await.expect(7);
    let _ = ran.says(&["Blocked after", slot, "cannot be upgraded: cgroup v1", "goes on where this run stopped"]);
    let asked = world.nodes.inner.asked().split_off(begun);
    assert!(asked.iter().all(|asked| asked.task == NodeTask::Fetch), "{asked:?}");
    assert_eq!(asked.len(), world.state().nodes.len(), "all of them are looked at, so that all are named at once");
    assert_eq!((world.state().revision, world.state().model.kubernetes), (revision, version("1.34.2")));
    // So that the spec can still be changed.
    let _ = world.settled().await.silent_about("under way");
    let _ = world.run(&["upgrade", "--to", "1.35.4", "--yes"]).await.expect(0);
    assert_upgraded(&world, "1.35.4", "after it was mended").await;
}

/// The control plane that is upgraded first.
async fn first_of(world: &World) -> String {
    let json = world.run(&["upgrade", "--to", "1.35.4", "-o", "json"]).await.expect(0);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    json["hops"][0]["steps"][0]["slot"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_is_refused_before_anything_is_touched() {
    let world = World::of(&HA).await;
    let all = world.everything().await;
    let long = |to| vec!["upgrade", "--to", to];
    for (args, code, says) in [
        (long("1.34.1"), 5, &["1.34.1 is older than 1.34.2", "name a version from 1.34.2 on"][..]),
        (long("1.33.9"), 5, &["is older than 1.34.2"]),
        (long("1.38.0"), 5, &["1.38.0 is not known", "1.29 to 1.37 are"]),
        (long("2.34.2"), 5, &["2.34.2 is not known"]),
        (long("1.35"), 64, &["invalid value '1.35'", "write it as 1.34.2"]),
        (long("v1.35.4"), 64, &["write it as 1.34.2"]),
        (long("newest"), 64, &["write it as 1.34.2"]),
        (vec!["upgrade"], 64, &["--to"]),
        (vec!["upgrade", "--to", "1.36.3", "--via", "1.37.0"], 5, &["--via 1.37.0 is not on the way from 1.34.2 to 1.36.3"]),
        (vec!["upgrade", "--to", "1.36.3", "--via", "1.34.9"], 5, &["--via 1.34.9 is not on the way"]),
        (vec!["upgrade", "--to", "1.35.4", "--bundle", "/nowhere"], 1, &["come from apt", "/nowhere"]),
    ] {
        for yes in [false, true] {
            let args: Vec<&str> = args.iter().copied().chain(yes.then_some("--yes")).collect();
            let _ = world.run(&args).await.expect(code).says(says);
            assert_eq!(world.everything().await, all, "{args:?}");
        }
    }
    let _ = world
        .run(&["upgrade", "--to", "1.36.3", "--via", "1.35.1"])
        .await
        .expect(0)
        .says(&["1.34.2 -> 1.35.1", "1.35.1 -> 1.36.3"]);
    let _ = world.run(&["upgrade", "--to", "1.34.7"]).await.expect(0).says(&["Hop 1: 1.34.2 -> 1.34.7"]);

    // A spec that is registered with another version is no way around it.
    let ran = world.run(&["update", "-f", &world.spec(&HA.replace("1.34.2", "1.35.4")), "--yes"]).await.expect(5);
    let _ = ran.says(&["is an upgrade", "kubewright upgrade demo.k8s.example.com --to 1.35.4"]);

    let flagged = HA.replace(
        "[[instance_group]]\nname = \"nodes\"",
        "[[instance_group]]\nkubelet_args = { pod-infra-container-image = \"x\" }\nname = \"nodes\"",
    );
    let world = World::of(&flagged).await;
    for yes in [false, true] {
        let args: Vec<&str> = ["upgrade", "--to", "1.36.3"].into_iter().chain(yes.then_some("--yes")).collect();
        let _ = world.run(&args).await.expect(5).says(&[
            "kubelet of 1.35.4 has no flag",
            "pod-infra-container-image",
            "instance group nodes",
        ]);
    }
    assert_eq!(world.state().model.kubernetes, version("1.34.2"));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_not_well_is_left_alone_unless_it_is_forced() {
    let world = World::of(&HA).await;
    let sick = world.instance("nodes-us-east-1a-1");
    let items: Vec<serde_json::Value> = world
        .state()
        .nodes
        .values()
        .map(|node| {
            let ready = if node.instance == sick { "False" } else { "True" };
            serde_json::json!({
                "metadata": {"name": node.instance},
                "status": {"conditions": [{"type": "Ready", "status": ready, "reason": "KubeletNotReady", "message": "broken"}],
                    "nodeInfo": {"kubeletVersion": "v1.34.2"}},
            })
        })
        .collect();
    let said = serde_json::json!({ "items": items }).to_string();
    for slot in world.state().nodes.keys().filter(|slot| slot.starts_with("control-plane")) {
        world.nodes.inner.answer(Query::Nodes, slot, Ok(&said));
    }
    let _ = world.run(&["upgrade", "--to", "1.35.4"]).await.expect(5).says(&["nodes-us-east-1a-1 is not Ready", "--force"]);
    let told = world.nodes.inner.asked().len();
    let _ = world.run(&["upgrade", "--to", "1.35.4", "--yes"]).await.expect(1).says(&["Blocked", "is not Ready"]);
    assert_eq!(world.nodes.inner.asked().len(), told, "nothing was begun");
    let forced = world.run(&["upgrade", "--to", "1.35.4", "--force"]).await.expect(0);
    let _ = forced.says(&["nodes-us-east-1a-1: kubeadm upgrade node"]);
}

#[tokio::test(start_paused = true)]
async fn each_hop_has_a_bundle_of_its_own() {
    let world = World::new();
    let bundle = |name: &str, version: &str| {
        let path = world.home.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("VERSION"), format!("v{version}\n")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (old, middle, new) = (bundle("old", "1.34.2"), bundle("middle", "1.35.1"), bundle("new", "1.36.3"));
    world.create(&format!("{SMALL}\n[packages]\nsource = \"bundle\"\nbundle = \"{old}\" # air-gapped\n")).await;
    let _ =
        world.run(&["upgrade", "--to", "1.36.3"]).await.expect(5).says(&["none is given for Kubernetes 1.35", "--bundle DIR"]);
    let lacking = world.run(&["upgrade", "--to", "1.36.3", "--bundle", &middle]).await.expect(5);
    let _ = lacking.says(&["none is given for Kubernetes 1.36.3"]);
    let args = ["upgrade", "--to", "1.36.3", "--bundle", &new, "--bundle", &middle, "--yes"];
    let _ = world.run(&args).await.expect(0).says(&["Upgraded to 1.35.1, 1.36.3"]);
    let spec = String::from_utf8(world.dump().await.remove(&format!("{NAME}/spec.toml")).unwrap()).unwrap();
    assert!(spec.contains(&format!("bundle = \"{new}\" # air-gapped\n")), "{spec}");
    let _ = world.settled().await;
}
