//! An upgrade of real Kubernetes by a minor, whose workers are replaced, and of whose APIs one goes with it; then its control planes
//! are replaced by machines of the new version. Asked all the time.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::account::account;
use crate::cluster::{Cluster, Done, HA, Spec};
use crate::kubernetes;
use crate::lab::{Lab, until};
use crate::machine::{Machine, machine, machines};
use crate::probe::{Probe, assert_few_failed, now};
use crate::upgrade::{
    TO, UPGRADE, answer_at_each_machine, etcdctl, further, is_of_the_new_version, is_of_the_old_version,
    nothing_was_pulled_in_vain, on_cgroup_v1,
};

const LIMIT: Duration = Duration::from_secs(180);
/// Off by itself, deprecated since 1.32, and the one API that 1.34 serves and 1.35 does not.
const GOES: &str = "storage.k8s.io/v1alpha1 volumeattributesclasses";
/// Deprecated since 1.34; 1.37 is the first that does not serve it.
const STAYS: &str = "storage.k8s.io/v1beta1 volumeattributesclasses";
const WITH_OLD_APIS: &str = "[api_server]\nextra_args = { runtime-config = \"storage.k8s.io/v1alpha1=true,storage.k8s.io/v1beta1=true\" }\n\n[packages]\n";

pub fn replaces(lab: &Lab) {
    let bundle = further(lab);
    let before = account(lab);
    let cluster = Cluster::real(lab, "replaced", false);
    let name = cluster.name.as_str();
    let spec = on_cgroup_v1(&cluster.spec(HA).count("nodes", 2));
    let spec = Spec(spec.0.replacen("[packages]\n", WITH_OLD_APIS, 1));
    let spec = spec.set("name = \"nodes\"", "rolling_update", "{ max_surge = 1, max_unavailable = 0, upgrade = \"replace\" }");
    cluster.ok(&["create", "cluster", "-f", &cluster.write("replaced.toml", &spec), "--yes"]).says(&["5 of 5 nodes Ready"]);
    cluster.assert_ready(5);
    kubernetes::deploy_steady(&cluster);
    let kept = cluster.path("kept");
    fs::copy(cluster.kubeconfig(), &kept).expect("a kubeconfig");

    let words = ["upgrade", name, "--to", TO, "--bundle", &bundle.display().to_string()];
    let client = Client::new(&cluster);
    is_refused_while_a_client_uses_what_goes(&client, &words);
    let dry = cluster.run(&[&words[..], &["--detailed-exitcode"]].concat()).expect(2);
    dry.says(&["Hop 1: 1.34.2 -> 1.35.4", "5 machines", "1.34.2, in place", "nodes replaced: max_surge 1, max_unavailable 0"]);
    dry.says(&["Deprecated:", STAYS, "not served from 1.37 on"]);

    // A control plane stays where it is, and so does who asks on it.
    let (api, service) = probes(&cluster, &machine(lab, "control-plane-us-east-1a-1"));
    let (old, begun) = (machines(lab), now());
    let words = [&words[..], &["--yes"]].concat();
    let done = cluster.run_within(&words, UPGRADE).expect(0);
    done.says(&["Upgraded to 1.35.4", "2 created, 2 deleted", "kubernetes = \"1.35.4\""]);
    asked("upgraded", &[&api, &service], begun, &done);
    drop((api, service));
    is_of_the_new_version(&cluster, 5);
    nothing_was_pulled_in_vain(&cluster);
    let new = machines(lab);
    assert_eq!(of(&old, "control-plane"), of(&new, "control-plane"), "control planes are upgraded where they stand");
    assert!(of(&new, "nodes").len() == 2 && of(&old, "nodes").is_disjoint(&of(&new, "nodes")), "{old:?} {new:?}");
    assert_eq!(client.get(GOES).code, Some(1), "{GOES} is served still");
    client.get(STAYS).expect(0);
    cluster.assert_no_op();
    cluster.ok(&words).says(&["Nothing to upgrade"]);

    // What the last line of the output said to write into one's own file; and other control planes, which join what was upgraded.
    let spec = spec.set("schema", "kubernetes", &format!("{TO:?}")).bundle(&bundle);
    let spec = spec.set("name = \"control-plane\"", "machine_type", "\"t3.large\"");
    cluster.ok(&["update", name, "-f", &cluster.write("replaced.toml", &spec), "--yes"]);
    let worker = new.iter().find(|machine| machine.slot.starts_with("nodes-")).expect("a worker");
    let (api, service) = probes(&cluster, worker);
    let begun = now();
    let done = cluster.run_within(&["rolling-update", name, "--yes"], UPGRADE).expect(0);
    done.says(&["3 created, 3 deleted"]);
    asked("control planes replaced", &[&api, &service], begun, &done);
    drop((api, service));
    is_of_the_new_version(&cluster, 5);
    let last = machines(lab);
    assert!(of(&old, "").is_disjoint(&of(&last, "")), "{old:?} {last:?}");
    let nodes: BTreeSet<String> = cluster.kubectl_nodes().into_iter().map(|(node, _)| node).collect();
    assert_eq!(nodes, of(&last, ""));
    let members = etcdctl(&cluster, &["member", "list"]);
    let members = members["members"].as_array().expect("a list").iter();
    let members: Vec<String> = members.filter_map(|member| member["name"].as_str().map(str::to_owned)).collect();
    assert_eq!((members.len(), members.into_iter().collect()), (3, of(&last, "control-plane")));
    cluster.kubectl(&["--kubeconfig", &kept, "get", "nodes"]);
    kubernetes::works(&cluster);
    cluster.assert_ready(5);
    cluster.assert_no_op();
    cluster.ok(&["delete", "cluster", name, "--yes", "--purge"]).says(&["0 remain"]);
    account(lab).assert_same_as(&before);
}

/// Instances of slots that begin so.
fn of(machines: &[Machine], group: &str) -> BTreeSet<String> {
    machines.iter().filter(|machine| machine.slot.starts_with(group)).map(|machine| machine.instance.clone()).collect()
}

/// Both are answered once.
fn probes(cluster: &Cluster<'_>, from: &Machine) -> (Probe, Probe) {
    let begun = now();
    let (api, service) = (Probe::api(cluster), Probe::service(cluster, from, "steady"));
    until("answers to both probes", LIMIT, || [&api, &service].iter().all(|probe| probe.answered_between(begun, now())));
    (api, service)
}

fn asked(what: &str, probes: &[&Probe], begun: f64, done: &Done) {
    let ended = now();
    until("answers after the end", LIMIT, || probes.iter().all(|probe| probe.answered_between(ended, now())));
    println!("{what} in {:.0} s", ended - begun);
    assert_few_failed(probes, begun, ended);
    answer_at_each_machine(probes, &done.err);
}

/// Somebody with a token, who may read one resource.
struct Client<'a> {
    cluster: &'a Cluster<'a>,
    config: String,
}

impl<'a> Client<'a> {
    const USER: &'static str = "system:serviceaccount:default:legacy";

    fn new(cluster: &'a Cluster<'a>) -> Self {
        cluster.kubectl(&["create", "serviceaccount", "legacy"]);
        let resource = "--resource=volumeattributesclasses.storage.k8s.io";
        cluster.kubectl(&["create", "clusterrole", "legacy", "--verb=list", resource]);
        cluster.kubectl(&["create", "clusterrolebinding", "legacy", "--clusterrole=legacy", "--serviceaccount=default:legacy"]);
        let token = cluster.kubectl(&["create", "token", "legacy", "--duration=24h"]);
        let text = cluster.kubectl(&["config", "view", "--raw", "-o", "json"]);
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        config["users"][0]["user"] = json!({ "token": token.trim() });
        let path = cluster.path("legacy.json");
        fs::write(&path, config.to_string()).expect("a kubeconfig");
        Self { cluster, config: path }
    }

    /// Lists `GROUP/VERSION RESOURCE`.
    fn get(&self, api: &str) -> Done {
        let path = format!("/apis/{}", api.replace(' ', "/"));
        self.cluster.try_kubectl(&["--kubeconfig", &self.config, "get", "--raw", &path])
    }
}

/// Until nobody has asked for it since the API servers started.
fn is_refused_while_a_client_uses_what_goes(client: &Client<'_>, words: &[&str]) {
    let cluster = client.cluster;
    let plan = || -> Value {
        let done = cluster.run(&[words, &["-o", "json"]].concat());
        serde_json::from_str(&done.out).unwrap_or_else(|_| json!({ "said": done.err }))
    };
    let named = |list: &Value| -> Vec<String> {
        let apis = list.as_array().expect("a list").iter().filter(|api| !api["removed"].is_null());
        let text = |api: &Value, key: &str| api[key].as_str().expect("a text").to_owned();
        apis.map(|api| format!("{}/{} {}", text(api, "group"), text(api, "version"), text(api, "resource"))).collect()
    };
    let none = plan();
    assert_eq!((named(&none["deprecated_apis"]), &none["deprecated_apis_unknown"]), (vec![], &json!({})), "{none}");

    client.get(GOES).expect(0);
    client.get(STAYS).expect(0);
    let told = plan();
    assert_eq!(named(&told["deprecated_apis"]), [GOES, STAYS], "{told}");
    let gone = &told["hops"][0]["removed_apis"];
    assert_eq!(named(gone), [GOES], "{told}");
    assert_eq!(gone[0]["removed"], "1.35");
    let clients = gone[0]["clients"].as_array().expect("a list");
    let who = clients.iter().filter_map(Value::as_str).collect::<Vec<_>>();
    let is_named = |who: &str| who.starts_with("kubectl/") && who.ends_with(&format!(" as {}", Client::USER));
    assert!(who.len() == 1 && is_named(who[0]), "{who:?}");

    let blocked = format!("clients use what Kubernetes 1.35 does not serve: {GOES}, asked of control-plane-us-east-1");
    let says = ["Blocked", &blocked, Client::USER, "--force"];
    cluster.run(words).expect(5).says(&says);
    cluster.run(&[words, &["--yes"]].concat()).expect(1).says(&says);
    is_of_the_old_version(cluster, 5);
    cluster.assert_no_op();

    for slot in gone[0]["control_planes"].as_array().expect("a list") {
        let plane = machine(cluster.lab, slot.as_str().expect("a slot"));
        plane.sh("crictl stop --timeout 20 $(crictl ps --quiet --state running --name '^kube-apiserver$')");
    }
    until("API servers that were not asked for it", LIMIT, || {
        let now = plan();
        now["deprecated_apis_unknown"] == json!({}) && now["hops"][0]["blocked"].is_null()
    });
    client.get(STAYS).expect(0);
}
