//! Machines without public addresses, behind a bastion.

use crate::account::account;
use crate::cluster::{Cluster, PRIVATE};
use crate::lab::Lab;
use crate::machine::{machine, machines};

pub fn private(lab: &Lab) {
    let before = account(lab);
    let cluster = Cluster::new(lab, "private", false);
    let name = cluster.name.as_str();
    // One of each, in one zone: the path is what counts here.
    let spec = cluster.spec(PRIVATE).count("control-plane", 1).count("nodes", 1);
    let spec = spec.set("[aws]", "zones", r#"["us-east-1a"]"#).set("[network]", "nat", r#""one""#);
    let file = cluster.write("private.toml", &spec);
    cluster.ok(&["create", "cluster", "-f", &file, "--yes"]).says(&["2 of 2 nodes Ready"]);
    cluster.assert_ready(2);
    cluster.assert_no_op();

    let bastion = machine(lab, "bastion-us-east-1a-1");
    assert!(lab.reaches(&bastion.public, 22), "the bastion lets the operator in");
    for machine in machines(lab).into_iter().filter(|machine| machine.slot != bastion.slot) {
        assert_eq!(machine.public, "", "{} has a public address", machine.slot);
        machine.listen(2379);
        machine.listen(10250);
        for port in [22, 2379, 10250] {
            assert!(!lab.reaches(&machine.private, port), "{} port {port} answers the operator", machine.slot);
        }
        assert!(bastion.reaches(&machine, 22), "{}", machine.slot);
        let logins = machine.logins();
        let from = format!(" from {} port ", bastion.private);
        assert!(!logins.is_empty() && logins.iter().all(|line| line.contains(&from)), "{}: {logins:?}", machine.slot);
    }

    cluster.run(&["delete", "cluster", name, "--yes"]).expect(6).says(&["prevent_destroy"]);
    let file = cluster.write("private.toml", &spec.set("schema", "prevent_destroy", "false"));
    cluster.ok(&["update", name, "-f", &file, "--yes"]);
    cluster.ok(&["delete", "cluster", name, "--yes"]).says(&["0 remain"]);
    account(lab).assert_same_as(&before);
}
