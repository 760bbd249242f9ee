//! What a new revision of a spec changes, by its keys.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cluster::Cluster;

/// Keys, as a spec spells them, in which two models differ.
pub fn keys(before: &Cluster, now: &Cluster) -> Vec<String> {
    let tree = |cluster: &Cluster| serde_json::to_value(cluster).unwrap_or_default();
    let mut keys = vec![];
    compare("", &tree(before), &tree(now), &mut keys);
    keys
}

fn compare(path: &str, before: &Value, now: &Value, keys: &mut Vec<String>) {
    let below = |key: &str| match (path, key) {
        ("", "region" | "zones") => format!("aws.{key}"),
        ("", "node_ports") => "node_ports.access".to_owned(),
        // The spec has these without a table around them.
        ("", "components") => String::new(),
        (group, "settings") if group.ends_with(':') => group.to_owned(),
        ("", _) => key.to_owned(),
        (group, _) if group.ends_with(':') => format!("{group} {key}"),
        _ => format!("{path}.{key}"),
    };
    match (before, now) {
        (before, now) if before == now => {}
        (Value::Object(before), Value::Object(now)) if before.keys().eq(now.keys()) => {
            for (key, (before, now)) in before.keys().zip(before.values().zip(now.values())) {
                if key == "groups" {
                    groups(before, now, keys);
                } else {
                    compare(&below(key), before, now, keys);
                }
            }
        }
        _ => keys.push(path.to_owned()),
    }
}

/// Groups have names, not places.
fn groups(before: &Value, now: &Value, keys: &mut Vec<String>) {
    let named = |list: &Value| -> BTreeMap<String, Value> {
        let groups = list.as_array().into_iter().flatten().cloned();
        groups.map(|group| (group.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(), group)).collect()
    };
    let (before, now) = (named(before), named(now));
    for name in before.keys().chain(now.keys().filter(|name| !before.contains_key(*name))) {
        match (before.get(name), now.get(name)) {
            (Some(before), Some(now)) => compare(&format!("instance group {name}:"), before, now, keys),
            _ => keys.push(format!("instance group {name}")),
        }
    }
}
