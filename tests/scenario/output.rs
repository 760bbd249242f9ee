//! What is printed: the same again for the same, the same for people and machines, and never a secret.

use kubewright::cli::ui::Streams;
use kubewright::plan::{Plan, Totals};

use crate::world::*;

/// Not in a test of tokio's: there is no runtime that they could use.
#[test]
fn what_needs_no_world_needs_no_runtime_either() {
    let world = World::new();
    for (words, needs_none) in [
        (&["version"][..], true),
        (&["version", "-o", "json"], true),
        (&["schema"], true),
        (&["completion", "bash"], true),
        (&["get", "clusters"], false),
    ] {
        let args = || std::iter::once("kubewright").chain(words.iter().copied()).map(Into::into).collect();
        let (streams, captured) = Streams::captured();
        let parsed = kubewright::cli::parse(args(), streams, &world).unwrap_or_else(|code| panic!("{words:?}: {code}"));
        assert_eq!(parsed.needs_no_world(), needs_none, "{words:?}");
        if needs_none {
            assert_eq!(futures::executor::block_on(parsed.run(&world)), 0, "{words:?}");
            assert!(!captured.out.text().is_empty(), "{words:?}");
        }
    }
}

#[derive(serde::Deserialize)]
struct Printed {
    plan: Plan,
    totals: Totals,
}

#[tokio::test(start_paused = true)]
async fn a_printed_plan_reads_back_as_the_same_plan() {
    for (example, text) in EXAMPLES {
        let world = World::new();
        let file = world.spec(text);
        let created = world.run(&["create", "-f", &file, "-o", "json"]).await.expect(0);
        let _ = world.run(&["create", "-f", &file, "--yes"]).await.expect(0);
        let more = world.spec(&text.replace("t3.large", "m5.large").replace("203.0.113.0/24", "198.51.100.0/24"));
        let changed = world.run(&["update", "-f", &more, "-o", "json"]).await.expect(0);
        let name = name_of(text);
        let open = world.spec(&text.replace("prevent_destroy = true", "prevent_destroy = false"));
        let _ = world.run(&["update", "-f", &open, "--yes"]).await.expect(0);
        let deleted = world.run(&["delete", "cluster", name, "-o", "json"]).await.expect(0);
        for ran in [created, changed, deleted] {
            let Printed { plan, totals } =
                serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{example}: {error}\n{ran}"));
            assert!(!plan.is_empty() && plan.totals() == totals && plan.check().is_empty(), "{example}\n{ran}");
            let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
            assert_eq!(serde_json::to_value(&plan).unwrap(), value["plan"], "{example}: something is lost on the way");
        }
    }
}

/// Ids, time and order come from outside, so that two equal worlds tell the same story to the byte.
#[tokio::test(start_paused = true)]
async fn equal_worlds_print_equal_bytes() {
    for (example, text) in EXAMPLES {
        let mut stories = vec![];
        for _ in 0..2 {
            let world = World::new();
            let (file, home) = (world.spec(text), world.home.path().to_str().unwrap().to_owned());
            let mut story = String::new();
            for args in [
                &["create", "-f", &file][..],
                &["create", "-f", &file, "-o", "json"],
                &["create", "-f", &file, "-o", "yaml"],
                &["create", "-f", &file, "-v"],
                &["create", "-f", &file, "--yes"],
                &["update", "--detailed-exitcode"],
                &["get", "instances", "-o", "wide"],
                &["get", "clusters", "-o", "json"],
                &["validate"],
                &["delete", "cluster", name_of(text)],
                &["delete", "cluster", name_of(text), "--yes"],
            ] {
                let ran = world.run(args).await;
                story += &without_digests(&ran.to_string().replace(&home, "~"));
                // Once more, with nothing changed in between.
                if !args.contains(&"--yes") {
                    let again = world.run(args).await;
                    assert_eq!(counted_off(&again.out), counted_off(&ran.out), "{example} {args:?}");
                }
            }
            stories.push(story);
        }
        for (one, other) in stories[0].lines().zip(stories[1].lines()) {
            assert_eq!(one, other, "{example}");
        }
        assert_eq!(stories[0], stories[1]);
    }
}

/// Without digests of specs: these say where the world's home is.
fn without_digests(text: &str) -> String {
    let is_digest = |word: &str| word.len() == 64 && word.chars().all(|c| c.is_ascii_hexdigit());
    let lines = text.lines().filter(|line| !line.split(|c: char| !c.is_alphanumeric()).any(is_digest));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Without what counts calls since the world began.
fn counted_off(text: &str) -> String {
    text.lines().filter(|line| !line.contains("reads")).collect::<Vec<_>>().join("\n")
}

#[tokio::test(start_paused = true)]
async fn no_secret_leaves_its_place() {
    let world = World::new();
    let file = world.spec(EXAMPLES[1].1);
    world.nodes.inner.fail_at(kubewright::bootstrap::NodeTask::JoinWorker, "nodes-us-east-1a-1", "join", "timed out");
    let config = world.home.path().join("kubeconfig");
    let config = config.to_str().unwrap();
    let out = world.home.path().join("rendered");
    let mut said = String::new();
    for args in [
        &["create", "-f", &file, "-vv"][..],
        &["create", "-f", &file, "--yes", "-vv"],
        &["update", "--yes", "-o", "json", "--log-format", "json"],
        &["get", "instances", "-o", "yaml"],
        &["validate"],
        &["export", "kubeconfig", "--kubeconfig", config],
        &["render", "--out", out.to_str().unwrap()],
        &["lock", "status"],
        &["delete", "cluster", NAME, "-o", "json"],
    ] {
        said += &world.run(args).await.to_string();
    }
    let dump = world.dump().await;
    let keys: std::collections::BTreeMap<String, String> =
        serde_json::from_slice(&dump[&format!("{NAME}/secrets/pki.json")]).unwrap();
    let mut canaries: Vec<&str> =
        keys.values().filter(|text| text.contains("PRIVATE KEY")).flat_map(|text| text.lines()).collect();
    let kubeconfig = std::fs::read_to_string(config).unwrap();
    canaries.extend(kubeconfig.lines().filter_map(|line| line.split_once("client-key-data: ").map(|(_, key)| key.trim())));
    canaries.retain(|line| line.len() >= 20 && !line.contains("-----"));
    assert!(canaries.len() > 8, "{}", canaries.len());
    let mut places: Vec<(String, String)> = vec![
        ("the streams".into(), said),
        ("the account's log".into(), format!("{:?}", world.cloud.log())),
        ("the account".into(), world.cloud.edit(|account| format!("{account:?}"))),
        ("what nodes were asked".into(), format!("{:?}", world.nodes.inner.asked())),
    ];
    let public = |key: &String| !key.contains("/secrets/");
    places.extend(
        dump.iter().filter(|(key, _)| public(key)).map(|(key, bytes)| (key.clone(), String::from_utf8_lossy(bytes).into_owned())),
    );
    walk(&out, &mut places);
    for (place, text) in &places {
        for canary in &canaries {
            assert!(!text.contains(canary), "{place} holds a private key");
        }
        assert!(!text.contains("PRIVATE KEY"), "{place}");
    }
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(config).unwrap().permissions().mode() & 0o777, 0o600);
}

fn walk(folder: &std::path::Path, places: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, places);
        } else {
            places.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Text that came from the account or the store steers no terminal, in any form of output.
#[tokio::test(start_paused = true)]
async fn names_from_outside_steer_no_terminal() {
    let world = World::of(SMALL).await;
    world.cloud.edit(|account| {
        for instance in account.instances.values_mut() {
            instance.seen.tags.insert("kubewright.io/instance-group".into(), "\u{1b}[2Jnodes\r\n".into());
            instance.seen.machine_type = "t3\u{7}".into();
        }
    });
    for args in [&["get", "instances"][..], &["get", "instances", "-o", "wide"], &["update"], &["update", "-v"], &["validate"]] {
        // Each is looked at by the world itself.
        let _ = world.run(args).await;
    }
}
