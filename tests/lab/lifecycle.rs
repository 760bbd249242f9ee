//! The example specs from nothing to nothing: create, look, change, delete.

use crate::account::{account, of_one_zone};
use crate::cluster::{Cluster, HA, MINIMAL};
use crate::lab::Lab;
use crate::machine::{machine, machines};
use crate::{hardening, kubernetes, race, terminal};

const OTHER_OFFICE: &str = "198.51.100.0/24";
const OFFICE: &str = "203.0.113.0/24";

pub fn minimal(lab: &Lab) {
    let before = account(lab);
    let cluster = Cluster::real(lab, "minimal", true);
    let name = cluster.name.as_str();
    let spec = cluster.spec(MINIMAL);
    let file = cluster.write("minimal.toml", &spec);

    let dry = cluster.ok(&["create", "cluster", "-f", &file]);
    dry.says(&["Plan: 10 to create, 0 to change", "Nothing was changed"]);
    account(lab).assert_same_as(&before);
    let created = cluster.ok(&["create", "cluster", "-f", &file, "--yes"]);
    created.says(&["2 of 2 nodes Ready", "Next:", "export kubeconfig"]);
    terminal::assert_plain(&created);
    assert_eq!(of_one_zone(1, 1), account(lab).without("object").more_than_but_rules(&before));
    cluster.assert_ready(2);
    cluster.assert_no_op();
    firewall(lab);

    let rendered = cluster.path("rendered");
    cluster.ok(&["render", name, "--out", &rendered]);
    for machine in machines(lab) {
        let files = std::fs::read_dir(format!("{rendered}/{}", machine.slot)).expect("a folder per machine").count();
        assert!(files > 0, "{}", machine.slot);
    }

    let more = cluster.write("more.toml", &spec.count("nodes", 2).api_access(&[OFFICE, OTHER_OFFICE]));
    let dry = cluster.run(&["update", name, "-f", &more, "--detailed-exitcode"]).expect(2);
    dry.says(&[
        "+ nodes-us-east-1a-2",
        "tcp 6443 from 198.51.100.0/24",
        "Plan: 1 to create, 1 to change, 0 to replace, 0 to delete",
    ]);
    terminal::looks(&cluster, &["update", name, "-f", &more]);
    let untouched = machine(lab, "nodes-us-east-1a-1");
    let trace = untouched.trace();
    let journal = machine(lab, "control-plane-us-east-1a-1").journal();
    race::one_applies(&cluster, &["update", name, "-f", &more, "--yes"]).says(&["1 created, 1 changed", "3 of 3 nodes Ready"]);
    assert_eq!(untouched.trace(), trace, "a machine that the change does not concern was touched");
    assert_eq!(machine(lab, "control-plane-us-east-1a-1").journal(), journal, "steps were done again");
    assert_eq!(of_one_zone(1, 2), account(lab).without("object").more_than_but_rules(&before));
    cluster.assert_ready(3);
    cluster.assert_no_op();

    // Nobody reads the result; the work is done all the same.
    terminal::with_a_closed_pipe(&cluster, &["update", name, "-f", &file, "--yes"]);
    cluster.assert_ready(2);
    cluster.assert_no_op();

    let deleted = cluster.ok(&["delete", "cluster", name, "--yes", "--purge"]);
    deleted.says(&["Looked again by tag and by state: 0 remain"]);
    account(lab).assert_same_as(&before);
    cluster.run(&["delete", "cluster", name, "--yes"]).expect(1).says(&["there is no cluster minimal.k8s.example.com"]);
}

pub fn ha(lab: &Lab) {
    let before = account(lab);
    let cluster = Cluster::real(lab, "demo", false);
    let name = cluster.name.as_str();
    let spec = cluster.spec(HA);
    let file = cluster.write("ha.toml", &spec);
    let created = terminal::on_a_terminal(&cluster, &["create", "cluster", "-f", &file, "--yes"]).expect(0);
    created.says(&["6 of 6 nodes Ready"]);
    cluster.assert_ready(6);
    cluster.assert_no_op();
    let zones: Vec<String> = machines(lab).into_iter().map(|machine| machine.slot).collect();
    let expected = ["control-plane", "nodes"].map(|group| ["a", "b", "c"].map(|zone| format!("{group}-us-east-1{zone}-1")));
    assert_eq!(zones, expected.concat());
    firewall_inside(lab);
    kubernetes::works(&cluster);
    hardening::shows(&cluster);
    kubernetes::survives(&cluster);

    let more = cluster.write("more.toml", &spec.count("nodes", 4).api_access(&[OFFICE, OTHER_OFFICE]));
    let all: Vec<_> = machines(lab).into_iter().map(|machine| (machine.journal(), machine)).collect();
    let workers: Vec<_> = all.iter().filter(|(_, machine)| machine.slot.starts_with("nodes")).collect();
    let traces: Vec<_> = workers.iter().map(|(_, machine)| machine.trace()).collect();
    race::one_applies(&cluster, &["update", name, "-f", &more, "--yes"]).says(&["1 created, 1 changed", "7 of 7 nodes Ready"]);
    assert_eq!(workers.iter().map(|(_, machine)| machine.trace()).collect::<Vec<_>>(), traces);
    for (journal, machine) in &all {
        assert_eq!(machine.journal(), *journal, "{}: steps were done again", machine.slot);
    }
    cluster.assert_ready(7);
    cluster.assert_no_op();

    let dry = cluster.ok(&["update", name, "-f", &file]);
    dry.says(&["- nodes-us-east-1a-2"]);
    let fewer = cluster.ok(&["update", name, "-f", &file, "--yes"]);
    let at = |text: &str| fewer.err.find(text).unwrap_or_else(|| panic!("`{text}` is not said: {}", fewer.err));
    assert!(at("drained node nodes-us-east-1a-2") < at("deleted instance nodes-us-east-1a-2"), "{}", fewer.err);
    cluster.assert_ready(6);
    cluster.assert_no_op();

    let deleted = cluster.ok(&["delete", "cluster", name, "--yes"]);
    deleted.says(&["Looked again by tag and by state: 0 remain", "Kept: the history of the spec"]);
    account(lab).assert_same_as(&before);
    cluster.run(&["delete", "cluster", name, "--yes"]).expect(1).says(&["there is no cluster demo.k8s.example.com"]);
}

/// From the operator's machine: what the spec opens is open, what it does not is closed.
fn firewall(lab: &Lab) {
    for machine in machines(lab) {
        let is_control_plane = machine.slot.starts_with("control-plane");
        machine.listen(2379);
        machine.listen(10250);
        machine.listen(30080);
        for (port, open) in [(22, true), (6443, is_control_plane), (2379, false), (10250, false), (30080, false)] {
            assert_eq!(lab.reaches(&machine.public, port), open, "{} port {port}", machine.slot);
        }
    }
}

/// Between machines: etcd answers control planes alone, a kubelet answers machines of the cluster.
fn firewall_inside(lab: &Lab) {
    let [one, other] = ["control-plane-us-east-1a-1", "control-plane-us-east-1b-1"].map(|slot| machine(lab, slot));
    let [worker, second] = ["nodes-us-east-1b-1", "nodes-us-east-1c-1"].map(|slot| machine(lab, slot));
    one.listen(2379);
    one.listen(10250);
    worker.listen(10250);
    for (from, to, port, open) in [
        (&other, &one, 2379, true),
        (&worker, &one, 2379, false),
        (&worker, &one, 6443, true),
        (&worker, &one, 10250, true),
        (&one, &worker, 10250, true),
        (&second, &worker, 10250, true),
        (&one, &worker, 22, false),
        (&second, &worker, 22, false),
    ] {
        assert_eq!(from.reaches(to, port), open, "{} -> {} port {port}", from.slot, to.slot);
    }
    for port in [2379, 10250] {
        assert!(!lab.reaches(&one.public, port), "port {port} from the operator");
    }
}
