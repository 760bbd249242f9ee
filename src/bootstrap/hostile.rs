//! Every string of a spec and of a machine, made hostile: it must come out of YAML and of the shell as it went in.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::kubeadm::{self, Discovery, Place};
use super::template::{render, shell_word};
use super::{EtcdWork, Fleet, Machine, NodeTask, Pki, Stage, steps, user_data};
use crate::cluster::Cluster;
use crate::secret::Secret;

const HOSTILE: [&str; 6] = [
    "'; touch /tmp/owned; echo '",
    "$(touch /tmp/owned) `id` \\\" & | > < * ~ ! {{ 7 }} {% if %} %s %n",
    "a: b # c\n---\n- !!python/object x\n&a *a\t\u{85}\u{2028}\u{feff}\u{7f}",
    "no",
    " 0o17 \u{1f600}\u{fffd}e\u{301} ",
    "\n\n'EOF'\r\n\\",
];

fn cluster() -> Value {
    json!({
        "name": "demo.example.com", "kubernetes": "1.34.2", "region": "us-east-1", "zones": ["us-east-1a"],
        "network": {"cidr": "10.20.0.0/16", "pods": "192.168.0.0/16", "services": "10.96.0.0/12", "cni": "calico", "topology": "public"},
        "api": {"dns_zone": "example.com", "sans": ["extra.example.com"], "access": []},
        "ssh": {"user": "admin", "port": 22, "public_key": "ssh-ed25519 AAAA", "auth": "agent", "access": [], "address": "public", "host_keys": "console"},
        "node_ports": [],
        "groups": [
            {"name": "control-plane", "role": "control-plane", "count": 1, "zones": ["us-east-1a"], "machine_type": "t3.medium",
             "image": {"ami": "ami-1"}, "volume": {"size_gib": 20, "kind": "gp3"}, "labels": {"team": "blue"},
             "taints": [{"key": "only", "value": "gpu", "effect": "NoSchedule"}], "tags": {"a": "b"}, "instance_profile": "p", "metadata_hop_limit": 1},
            {"name": "nodes", "role": "node", "count": 1, "zones": ["us-east-1a"], "machine_type": "t3.medium",
             "image": {"ami": "ami-1"}, "volume": {"size_gib": 20, "kind": "gp3"}, "labels": {"team": "blue"},
             "taints": [{"key": "only", "value": "gpu", "effect": "NoSchedule"}], "tags": {"a": "b"}, "instance_profile": null, "metadata_hop_limit": 1}
        ],
        "tags": {"cost": "center"},
        "packages": {"apt": {"mirror": "https://mirror.example.com"}},
        "prevent_destroy": false
    })
}

fn machine(group: &str) -> Machine {
    Machine {
        slot: format!("{group}-1"),
        group: group.into(),
        instance: "i-0123456789abcdef0".into(),
        zone: "us-east-1a".into(),
        private_address: "10.20.0.4".into(),
        public_address: Some("203.0.113.4".into()),
        host_keys: vec![],
        marks: Default::default(),
    }
}

/// Paths of all strings, keys of maps left out.
fn strings(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(path.into()),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| strings(item, &format!("{path}/{index}"), found))
        }
        Value::Object(fields) => fields.iter().for_each(|(key, item)| strings(item, &format!("{path}/{key}"), found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// All specs with one hostile string each; strings that the type itself checks (versions, CIDRs, enums) drop out.
fn hostile_clusters() -> Vec<(String, Cluster)> {
    let mut paths = Vec::new();
    strings(&cluster(), "", &mut paths);
    let mut all = Vec::new();
    for path in paths {
        for text in HOSTILE {
            let mut changed = cluster();
            *changed.pointer_mut(&path).unwrap() = json!(text);
            if let Ok(cluster) = serde_json::from_value::<Cluster>(changed) {
                all.push((format!("{path} = {text:?}"), cluster));
            }
        }
    }
    assert!(all.len() > 60, "{}", all.len());
    all
}

fn hostile_machines(group: &str) -> Vec<Machine> {
    let change = |edit: fn(&mut Machine, String)| {
        HOSTILE.map(|text| {
            let mut machine = machine(group);
            edit(&mut machine, text.into());
            machine
        })
    };
    [
        change(|machine, text| machine.slot = text),
        change(|machine, text| machine.instance = text),
        change(|machine, text| machine.zone = text),
        change(|machine, text| machine.private_address = text),
        change(|machine, text| machine.public_address = Some(text)),
    ]
    .concat()
}

fn sh(args: &[&str], script: &str) -> (bool, Vec<u8>) {
    let mut child =
        Command::new("sh").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), output.stdout)
}

/// Work on etcd, about a machine.
fn works(machine: &Machine) -> Vec<EtcdWork> {
    let Machine { slot, instance, private_address, .. } = machine.clone();
    let stage = Stage {
        restore: instance.clone(),
        name: instance.clone(),
        sha256: instance.clone(),
        size: 1,
        members: vec![(instance.clone(), private_address)],
    };
    vec![
        EtcdWork::Save { name: instance.clone() },
        EtcdWork::Read { name: instance.clone(), part: 1, size: 1 },
        EtcdWork::Drop { name: instance.clone() },
        EtcdWork::Stage(Box::new(stage)),
        EtcdWork::Stop,
        EtcdWork::Swap { restore: instance.clone() },
        EtcdWork::Start,
        EtcdWork::Tidy { live: vec![instance.clone()] },
        EtcdWork::Register,
        EtcdWork::Node { node: instance, control_plane: true },
        EtcdWork::Labels { of: slot },
    ]
}

/// Renders everything that this place leads to; YAML is compared with its model on the way.
fn everything(place: Place<'_>, pki: &Pki) -> Result<String, String> {
    let discovery = Discovery { token: Secret::new("abcdef.0123456789abcdef"), ca_cert_hash: "sha256:00".into() };
    let mut scripts = String::new();
    for task in
        [NodeTask::Prepare, NodeTask::Init, NodeTask::JoinControlPlane, NodeTask::JoinWorker, NodeTask::Drain, NodeTask::Forget]
            .into_iter()
            .chain([NodeTask::DeletePods, NodeTask::Cordon, NodeTask::Evict, NodeTask::MoveLeader, NodeTask::RemoveMember])
            .chain([NodeTask::Fetch, NodeTask::Upgrade, NodeTask::UpgradeFirst])
    {
        for step in steps::steps(task, place, pki, None)? {
            scripts += match &step.work {
                steps::Work::Registered { .. } => "",
                steps::Work::Upload { body, .. } => body,
                steps::Work::Now(body)
                | steps::Work::Unit(body)
                | steps::Work::Init(body)
                | steps::Work::Join(body)
                | steps::Work::Elsewhere(body)
                | steps::Work::Drain(body) => body,
            };
        }
    }
    for work in works(place.machine) {
        let (slot, machine) = (&place.machine.slot, place.machine);
        let machines = [(slot.clone(), machine.clone())].into();
        let fleet =
            Fleet { cluster: place.cluster.clone(), pki: pki.clone(), machines, ready_control_planes: vec![slot.clone()] };
        scripts += &work.body(&fleet, slot)?;
    }
    let (node, address) = (&place.machine.instance, &place.machine.private_address);
    scripts += &render("steps/taken.sh.j2", json!({"node": node, "address": address}))?;
    scripts += &render("steps/pods.sh.j2", json!({"node": node}))?;
    scripts += &steps::etcd("strays", json!({"addresses": address}))?;
    scripts += steps::init_files(place, &discovery.token)?.expose();
    scripts += steps::join_files(place, &discovery, place.machine)?.expose();
    kubeadm::init_file(place, &discovery.token)?;
    let user_data = user_data(place.cluster, place.group)?;
    let read: Value = serde_saphyr::from_str(&user_data).map_err(|error| format!("user-data: {error}"))?;
    if read.pointer("/ssh/emit_keys_to_console") != Some(&json!(true)) || !user_data.starts_with("#cloud-config\n") {
        return Err("user-data is not what it should be".into());
    }
    Ok(scripts)
}

#[test]
fn every_string_of_a_spec_and_a_machine_goes_through_yaml_and_shell() {
    let pki = Pki::generate(jiff::Timestamp::UNIX_EPOCH).unwrap();
    let check = |what: &str, place: Place<'_>| {
        let scripts = everything(place, &pki).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(sh(&["-n"], &scripts).0, "{what}: not valid for sh");
    };
    for (what, cluster) in hostile_clusters() {
        for group in &cluster.groups {
            check(&what, Place { cluster: &cluster, group, machine: &machine(&group.name) });
        }
    }
    let cluster: Cluster = serde_json::from_value(cluster()).unwrap();
    for group in &cluster.groups {
        for machine in hostile_machines(&group.name) {
            check(&format!("{machine:?}"), Place { cluster: &cluster, group, machine: &machine });
        }
    }
    assert!(!std::path::Path::new("/tmp/owned").exists());
}

#[test]
fn labels_and_taints_reach_kubectl_as_they_were_written() {
    for text in HOSTILE {
        let values = json!({"node": text, "labels": [text, format!("a={text}")], "taints": [text], "lost_taints": [text]});
        let body = render("steps/labels.sh.j2", values).unwrap();
        let script = format!("kube() {{ printf '%s\\0' \"$@\"; }}\n{body}\nmain 2>&1");
        let (ok, said) = sh(&["-s"], &script);
        let wanted =
            ["label", "--overwrite", "node", text, text, &format!("a={text}"), "taint", "--overwrite", "node", text, text];
        let said: Vec<&[u8]> = said.strip_suffix(b"\0").unwrap().split(|byte| *byte == 0).collect();
        assert!(ok && said == wanted.iter().map(|word| word.as_bytes()).collect::<Vec<_>>(), "{text:?}: {said:?}");
    }
}

#[test]
fn a_taint_that_is_gone_already_is_taken_away_and_another_error_is_told() {
    let body =
        render("steps/labels.sh.j2", json!({"node": "n", "labels": ["a-"], "taints": [], "lost_taints": ["a:NoSchedule-"]}))
            .unwrap();
    for (said, gone) in [("error: taint \"a:NoSchedule\" not found", true), ("Unable to connect to the server: EOF", false)] {
        let kube = format!("kube() {{ [ \"$1\" = label ] || {{ echo '{said}' >&2; return 1; }}; }}");
        let script = format!("set -eu\n{kube}\nfail() {{ printf %s \"$*\"; exit 1; }}\n{body}\nmain");
        let (ok, told) = sh(&["-s"], &script);
        assert_eq!((ok, told.as_slice()), (gone, if gone { &b""[..] } else { said.as_bytes() }), "{said}");
    }
}

#[test]
fn a_file_is_written_whole_with_its_mode_and_only_if_it_differs() {
    let dir = tempfile::tempdir().unwrap();
    let prelude = render("steps/prelude.sh.j2", json!({"step": "s", "hash": "h", "run": "r", "take": "no"})).unwrap();
    for (number, text) in HOSTILE.into_iter().chain(["", "no end of line", "two\nlines\n"]).enumerate() {
        let path = dir.path().join(format!("new/{number}"));
        let word = shell_word(text).unwrap();
        let script = format!(
            "{prelude}\nput {0} 0640 {word}; printf %s $changed; changed=no; put {0} 0640 {word}; printf %s $changed",
            path.display()
        );
        let (ok, said) = sh(&["-s"], &script);
        assert!(ok, "{text:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o640);
        // As another user than root the owner never fits, so that the second call writes again: harmless, but not this assertion's matter.
        if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&path).unwrap()) == 0 {
            assert_eq!(said, b"yesno", "{text:?}");
        }
    }
    assert_eq!(shell_word("a\0b"), None);
}

#[test]
fn a_block_in_a_shared_file_is_replaced_and_the_rest_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hosts");
    std::fs::write(&path, "127.0.0.1 localhost\n# mine\n").unwrap();
    let prelude = render("steps/prelude.sh.j2", json!({"step": "s", "hash": "h", "run": "r", "take": "no"})).unwrap();
    let block = |name: &str, lines: &str| {
        let script = format!("{prelude}\nblock {} {name} {}", path.display(), shell_word(lines).unwrap());
        assert!(sh(&["-s"], &script).0);
    };
    block("endpoint", "10.0.0.1 api");
    block("node", "10.0.0.4 i-1");
    block("endpoint", "10.0.0.4 api");
    block("node", "10.0.0.4 i-1");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("127.0.0.1 localhost\n# mine\n"), "{text}");
    let mut ours: Vec<&str> = text.lines().filter(|line| line.starts_with("10.")).collect();
    ours.sort_unstable();
    assert_eq!(ours, ["10.0.0.4 api", "10.0.0.4 i-1"], "{text}");
}
