//! Every key, with every TOML type that it cannot have; and loader and JSON Schema side by side.

use std::collections::BTreeSet;

use kubewright::spec::{self, Code};
use serde_json::Value as Json;

use crate::world::*;

/// Every key of the format, each on a line of its own.
const FULL: &str = r#"schema = 1
name = "demo.k8s.example.com"
kubernetes = "1.34.2"
prevent_destroy = false
ignore_preflight_errors = ["NumCPU"]
tags.team = "platform"
[aws]
region = "us-east-1"
zones = ["us-east-1a", "us-east-1b"]
[network]
cidr = "10.20.0.0/16"
pods = "192.168.0.0/16"
services = "10.96.0.0/12"
cni = "none"
ports = ["8472/udp"]
topology = "private"
nat = "one"
[api]
dns_zone = "k8s.example.com"
sans = ["api.example.org", "198.51.100.7"]
access = ["203.0.113.0/24"]
[ssh]
user = "admin"
port = 22
public_key = "~/.ssh/id_ed25519.pub"
private_key = "~/.ssh/id_ed25519"
agent = false
access = ["203.0.113.0/24"]
address = "private"
host_keys = "trust-on-first-use"
[node_ports]
access = ["203.0.113.0/24"]
[packages]
source = "bundle"
bundle = "../.lab/bundle"
[api_server]
extra_args.v = "2"
extra_envs.GODEBUG = "x"
[[api_server.extra_volumes]]
name = "extra"
host_path = "/etc/extra"
mount_path = "/etc/extra"
read_only = true
path_type = "File"
[controller_manager]
extra_args.v = "2"
extra_envs.GODEBUG = "x"
[[controller_manager.extra_volumes]]
name = "extra"
host_path = "/etc/extra"
mount_path = "/etc/extra"
read_only = true
path_type = "File"
[scheduler]
extra_args.v = "2"
extra_envs.GODEBUG = "x"
[[scheduler.extra_volumes]]
name = "extra"
host_path = "/etc/extra"
mount_path = "/etc/extra"
read_only = true
path_type = "File"
[etcd]
snapshots_kept = 48
extra_args.quota-backend-bytes = "8589934592"
extra_envs.GODEBUG = "x"
[kubelet]
maxPods = 60
[kube_proxy]
mode = "nftables"
[[patches]]
target = "etcd"
kind = "json"
file = "~/.ssh/patch.yaml"
[[instance_group]]
name = "bastion"
role = "bastion"
count = 1
machine_type = "t3.micro"
[[instance_group]]
name = "control-plane"
role = "control-plane"
count = 1
zones = ["us-east-1a"]
machine_type = "t3.medium"
image = "ami-0123456789abcdef0"
volume.size_gib = 50
volume.kind = "gp3"
labels."example.com/tier" = "x"
taints = ["dedicated=gpu:NoSchedule"]
tags.owner = "me"
instance_profile = "nodes"
metadata_hop_limit = 2
rolling_update.max_surge = 1
rolling_update.max_unavailable = 0
rolling_update.drain_timeout = "1h 30m"
rolling_update.on_drain_timeout = "force"
rolling_update.upgrade = "in-place"
kubelet.maxPods = 60
kubelet_args.v = "2"
ignore_preflight_errors = ["NumCPU"]
[[instance_group.patches]]
target = "kubeletconfiguration"
kind = "merge"
file = "~/.ssh/patch.yaml"
"#;

const VALUES: [(&str, &str); 7] = [
    ("string", "\"x\""),
    ("integer", "3"),
    ("number", "1.5"),
    ("boolean", "true"),
    ("datetime", "1979-05-27T07:32:00Z"),
    ("array", "[]"),
    ("object", "{}"),
];

/// `(table, key, schema)` of every key.
fn keys(table: &str, schema: &Json, found: &mut Vec<(String, String, Json)>) {
    for (key, inner) in schema["properties"].as_object().unwrap() {
        found.push((table.to_owned(), key.clone(), inner.clone()));
        let inner = if inner["type"] == "array" { &inner["items"] } else { inner };
        if inner["properties"].is_object() {
            keys(&full(table, key), inner, found);
        }
    }
}

/// A table by its path, as its header spells it.
fn full(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

/// Tables that `FULL` writes with dotted keys: the section that they stand in, and what goes before their keys.
fn home(table: &str) -> (&str, String) {
    match table.split_once('.') {
        Some((section, inner @ ("volume" | "rolling_update"))) => (section, format!("{inner}.")),
        _ => (table, String::new()),
    }
}

fn all_keys() -> Vec<(String, String, Json)> {
    let mut found = Vec::new();
    keys("", &spec::schema(), &mut found);
    found
}

/// `FULL` with one key set to a raw value, and the line where it stands; `None` if `FULL` lacks the key.
fn set(table: &str, key: &str, value: &str) -> Option<(String, usize)> {
    let mut section = "";
    let mut lines: Vec<String> = Vec::new();
    let mut at = None;
    let (home, prefix) = home(table);
    let path = full(table, key);
    for line in FULL.lines() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
        }
        let is_table = section == path || section.starts_with(&format!("{path}."));
        let left = line.split('=').next().unwrap().trim();
        let is_key = section == home && (left == format!("{prefix}{key}") || left.starts_with(&format!("{prefix}{key}.")));
        match (is_table || is_key, at) {
            (true, None) if is_table => {
                let header = |line: &String| line.starts_with('[') && line.trim_matches(['[', ']']) == table;
                let place = lines.iter().rposition(header).map_or(0, |header| header + 1);
                lines.insert(place, format!("{key} = {value}"));
                at = Some(place + 1);
            }
            (true, None) => {
                lines.push(format!("{prefix}{key} = {value}"));
                at = Some(lines.len());
            }
            // A key that two groups have is changed in the first of them only; other lines of a table go with it.
            (true, Some(_)) if is_table || left.contains('.') => {}
            _ => lines.push(line.to_owned()),
        }
    }
    at.map(|at| (lines.join("\n") + "\n", at))
}

#[test]
fn the_full_spec_loads_and_has_every_key() {
    load(FULL).unwrap_or_else(|problems| panic!("{}", problems.render(120, false)));
    let json: Json = toml::from_str(FULL).unwrap();
    assert_eq!(fits(&spec::schema(), &json, ""), Ok(()));
    for (table, key, _) in all_keys() {
        // These exclude `bundle`, which is there.
        assert!(
            ["mirror", "signing_key"].contains(&key.as_str()) || set(&table, &key, "0").is_some(),
            "`{key}` of `{table}` is not in FULL"
        );
    }
}

#[test]
fn a_wrong_type_of_any_key_is_reported_at_its_line_and_refused_by_the_schema() {
    let mut seen = 0;
    for (table, key, schema) in all_keys().into_iter().filter(|(_, key, _)| !["mirror", "signing_key"].contains(&key.as_str())) {
        let accepted: Vec<&str> = match &schema["type"] {
            Json::String(one) => vec![one],
            several => several.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect(),
        };
        let mut wrong: Vec<String> =
            VALUES.iter().filter(|(kind, _)| !accepted.contains(kind)).map(|(_, value)| value.to_string()).collect();
        if accepted == ["array"] {
            let element = schema["items"]["type"].as_str().unwrap();
            wrong.extend(VALUES.iter().filter(|(kind, _)| *kind != element).map(|(_, value)| format!("[{value}]")));
        }
        for value in wrong {
            let (text, line) = set(&table, &key, &value).unwrap();
            let problems = load(&text).expect_err(&text);
            let found = problems
                .list
                .iter()
                .find(|p| p.code == Code::WrongType)
                .unwrap_or_else(|| panic!("{table}.{key} = {value}\n{}", problems.render(120, false)));
            assert_eq!(found.place.as_ref().unwrap().line, line, "{table}.{key} = {value}");
            assert!(found.message.contains(&format!("`{key}`")), "{}", found.message);
            if !value.contains("1979") {
                let json: Json = toml::from_str(&text).unwrap();
                assert!(fits(&spec::schema(), &json, "").is_err(), "the schema takes {table}.{key} = {value}");
            }
            seen += 1;
        }
    }
    assert!(seen > 250, "only {seen} combinations");
}

/// What the loader knows is read from its own message about an unknown key.
#[test]
fn loader_and_schema_know_the_same_keys_at_every_level() {
    let root = spec::schema();
    let mut tables = vec![(String::new(), root.clone())];
    for (table, key, inner) in all_keys() {
        let inner = if inner["type"] == "array" { inner["items"].clone() } else { inner };
        if inner["properties"].is_object() {
            tables.push((full(&table, &key), inner));
        }
    }
    assert_eq!(tables.len(), 19);
    for (table, schema) in tables {
        let anchor = schema["properties"].as_object().unwrap().keys().find(|key| set(&table, key, "0").is_some()).unwrap();
        let (text, line) = set(&table, anchor, "0").unwrap();
        let (_, prefix) = home(&table);
        let text: String = text
            .lines()
            .enumerate()
            .map(|(at, old)| if at + 1 == line { format!("{prefix}zzqqxxzz = 0\n") } else { format!("{old}\n") })
            .collect();
        let problems = load(&text).expect_err(&text);
        let unknown = problems.list.iter().find(|problem| problem.code == Code::UnknownKey).unwrap();
        let listed: BTreeSet<&str> = unknown.help.as_ref().unwrap().trim_start_matches("known keys here: ").split(", ").collect();
        let schema: BTreeSet<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(listed, schema, "of `{table}`");
    }
}

/// Just enough of JSON Schema for ours; a keyword that it does not know fails the test.
pub fn fits(schema: &Json, value: &Json, path: &str) -> Result<(), String> {
    let kind = match value {
        Json::String(_) => "string",
        Json::Bool(_) => "boolean",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
        Json::Number(number) if number.is_f64() => "number",
        Json::Number(_) => "integer",
        Json::Null => "null",
    };
    let no = |why: String| Err(format!("{path}: {why}"));
    for (keyword, rule) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "$schema" | "$id" | "title" | "description" | "default" | "examples" => {}
            "type" => {
                let wanted = |rule: &Json| rule == kind;
                if !(wanted(rule) || rule.as_array().is_some_and(|several| several.iter().any(wanted))) {
                    return no(format!("{kind} is not {rule}"));
                }
            }
            "enum" if !rule.as_array().unwrap().contains(value) => return no(format!("{value} is not in {rule}")),
            "minimum" if value.as_i64().is_some_and(|n| n < rule.as_i64().unwrap()) => return no("too small".into()),
            "maximum" if value.as_i64().is_some_and(|n| n > rule.as_i64().unwrap()) => return no("too large".into()),
            "required" => {
                for key in rule.as_array().unwrap() {
                    if value.get(key.as_str().unwrap()).is_none() {
                        return no(format!("{key} is missing"));
                    }
                }
            }
            "properties" => {
                for (key, inner) in value.as_object().into_iter().flatten() {
                    match rule.get(key) {
                        Some(rule) => fits(rule, inner, &format!("{path}.{key}"))?,
                        None => return no(format!("unknown key {key}")),
                    }
                }
            }
            "additionalProperties" if rule == false => assert!(schema["properties"].is_object()),
            "additionalProperties" => {
                for (key, inner) in value.as_object().into_iter().flatten() {
                    fits(rule, inner, &format!("{path}.{key}"))?;
                }
            }
            "items" => {
                for inner in value.as_array().into_iter().flatten() {
                    fits(rule, inner, &format!("{path}[]"))?;
                }
            }
            "enum" | "minimum" | "maximum" => {}
            other => panic!("the schema uses `{other}`, which this test does not check"),
        }
    }
    Ok(())
}
