//! Deprecated APIs that clients still ask for: told before an upgrade takes them away, and kept from being taken away.

use kubewright::bootstrap::inspect::Query;

use crate::upgrade::{HA, version};
use crate::world::*;

const PLANES: [&str; 3] = ["control-plane-us-east-1a-1", "control-plane-us-east-1b-1", "control-plane-us-east-1c-1"];

/// As a control plane tells it whose API server was asked for a resource that goes with a release, by one client.
fn told(removed: &str, resource: &str) -> String {
    let labels =
        format!("group=\"policy\",removed_release=\"{removed}\",resource=\"{resource}\",subresource=\"\",version=\"v1beta1\"");
    let object = format!("{{\"resource\":\"{resource}\",\"apiGroup\":\"policy\",\"apiVersion\":\"v1beta1\"}}");
    format!(
        "process_start_time_seconds 1.7672256e+09\napiserver_requested_deprecated_apis{{{labels}}} 1\n   \
         3 client {{\"user\":\"jane\",\"agent\":\"old-\\u001b[31mtool/v1\",\"object\":{object}}}\n"
    )
}

#[tokio::test(start_paused = true)]
async fn an_api_that_clients_ask_for_keeps_the_hop_that_takes_it_away_from_being_begun() {
    let world = World::of(&HA).await;
    let _ = world
        .run(&["upgrade", "--to", "1.35.4"])
        .await
        .expect(0)
        .says(&["No API that is to go was asked for since the youngest API server started"]);
    for plane in &PLANES[1..] {
        world.nodes.inner.answer(Query::Deprecated, plane, Ok(&told("1.36", "evictions")));
    }
    let all = world.everything().await;
    let says = ["policy/v1beta1 evictions", PLANES[1], PLANES[2], "old-tool/v1 as jane"];
    // Served by all versions on the way: a note.
    let ran = world.run(&["upgrade", "--to", "1.35.4"]).await.expect(0).says(&says);
    let ran = ran.says(&["Deprecated:", "not served from 1.36 on"]).silent_about("Blocked");
    assert!(!ran.out.contains('\u{1b}'), "{ran}");
    for force in [false, true] {
        let args: Vec<&str> = ["upgrade", "--to", "1.36.3"].into_iter().chain(force.then_some("--force")).collect();
        let ran =
            world.run(&args).await.expect(if force { 0 } else { 5 }).says(&says).says(&["Hop 1", "Hop 2: 1.35.4 -> 1.36.3"]);
        let _ = match force {
            false => {
                ran.says(&["Blocked: clients use what Kubernetes 1.36 does not serve", "--force", "/var/log/kubernetes/audit"])
            }
            true => ran.says(&["! policy/v1beta1 evictions is not served any more"]).silent_about("Blocked"),
        };
        let args: Vec<&str> = args.into_iter().chain(["-o", "json"]).collect();
        let json = world.run(&args).await;
        let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
        let want = serde_json::json!([{
            "group": "policy", "version": "v1beta1", "resource": "evictions", "removed": "1.36",
            "control_planes": PLANES[1..], "clients": ["old-tool/v1 as jane"],
        }]);
        assert_eq!((&json["deprecated_apis"], &json["hops"][1]["removed_apis"]), (&want, &want));
        assert_eq!(json["hops"][0]["removed_apis"], serde_json::json!([]));
        assert_eq!((json["hops"][0]["blocked"].is_null(), json["hops"][1]["blocked"].is_null()), (true, force));
        assert_eq!(json["deprecated_apis_unknown"], serde_json::json!({}));
    }
    assert_eq!(world.everything().await, all, "a dry run wrote");

    let asked = world.nodes.inner.asked().len();
    let ran = world.run(&["upgrade", "--to", "1.36.3", "--yes"]).await.expect(1).says(&says);
    let _ = ran.says(&["Blocked after", "clients use what Kubernetes 1.36 does not serve", "--force"]);
    assert_eq!(
        (world.nodes.inner.asked().len(), world.state().model.kubernetes),
        (asked, version("1.34.2")),
        "nothing was begun"
    );
    let _ = world.run(&["upgrade", "--to", "1.35.4", "--yes"]).await.expect(0).says(&["Upgraded to 1.35.4"]);
    let ran = world.run(&["upgrade", "--to", "1.36.3", "--yes", "--force"]).await.expect(0).says(&["Upgraded to 1.36.3"]);
    let _ = ran.says(&["not served by 1.36.3 any more: policy/v1beta1 evictions"]);
}

#[tokio::test(start_paused = true)]
async fn what_no_version_is_known_to_remove_blocks_nothing() {
    let world = World::of(&HA).await;
    for plane in PLANES {
        world.nodes.inner.answer(Query::Deprecated, plane, Ok(&told("", "endpoints")));
    }
    let says =
        ["No API that is to go was asked for", "Deprecated, with no version named that does without: policy/v1beta1 endpoints."];
    let _ = world.run(&["upgrade", "--to", "1.37.0"]).await.expect(0).says(&says);
}

#[tokio::test(start_paused = true)]
async fn a_hop_that_was_begun_is_finished_whoever_asks() {
    let world = World::of(&HA).await;
    world.nodes.inner.fail_at(kubewright::bootstrap::NodeTask::Upgrade, "nodes-us-east-1a-1", "upgrade", "the disk is full");
    let _ = world.run(&["upgrade", "--to", "1.35.4", "--yes"]).await.expect(7);
    for plane in PLANES {
        world.nodes.inner.answer(Query::Deprecated, plane, Ok(&told("1.35", "evictions")));
    }
    let begun = ["what is left of the upgrade to 1.35.4", "! policy/v1beta1 evictions is not served any more"];
    let _ = world.run(&["upgrade", "--to", "1.35.4"]).await.expect(0).says(&begun);
    let _ = world.run(&["upgrade", "--to", "1.35.4", "--yes"]).await.expect(0).says(&["Upgraded to 1.35.4"]);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_does_not_tell_is_named_and_stops_nothing() {
    for said in [Err("connection refused"), Ok("Not Found\u{1b}[2J"), Ok("")] {
        let world = World::of(&HA).await;
        world.nodes.inner.answer(Query::Deprecated, PLANES[1], said);
        let says = [
            "control-plane-us-east-1b-1 does not tell which deprecated APIs it was asked for",
            said.err().unwrap_or("its metrics"),
        ];
        let _ = world.run(&["upgrade", "--to", "1.35.4"]).await.expect(0).says(&says).says(&["Estimated"]);
        let json = world.run(&["upgrade", "--to", "1.35.4", "-o", "json"]).await.expect(0);
        let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!(json["deprecated_apis_unknown"].as_object().unwrap().keys().collect::<Vec<_>>(), [PLANES[1]]);
        let _ = world.run(&["upgrade", "--to", "1.35.4", "--yes"]).await.expect(0).says(&says);
    }
}
