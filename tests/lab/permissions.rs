//! Least privilege: the policy that kubewright generates is enough, and without one of its actions the error names that action.

use kubewright::cloud::calls::iam_policy_of_actions;
use serde_json::Value;

use crate::account::account;
use crate::cluster::{Cluster, MINIMAL};
use crate::lab::Lab;

/// Credentials of a new user who may do what the policy says, but for one action.
fn user_without(cluster: &mut Cluster<'_>, name: &str, action: Option<&str>) {
    // The emulator knows neither conditions nor most resources; a unit test compares the actions with the whole policy's.
    let mut policy = iam_policy_of_actions();
    if let Some(action) = action {
        let actions = policy["Statement"][0]["Action"].as_array_mut().expect("actions");
        let all = actions.len();
        actions.retain(|other| other != action);
        assert_eq!(actions.len() + 1, all, "{action} is no action of the policy");
    }
    let file = cluster.path(&format!("{name}.json"));
    std::fs::write(&file, policy.to_string()).expect("a policy");
    let keys: Value = cluster.lab.json(&["iam", "user", name, "--policy", &file]);
    let text = |key: &str| keys[key].as_str().unwrap_or_else(|| panic!("{keys}")).to_owned();
    cluster.env = vec![
        ("KUBEWRIGHT_LAB_KEYS".into(), "keep".into()),
        ("AWS_ACCESS_KEY_ID".into(), text("access_key_id")),
        ("AWS_SECRET_ACCESS_KEY".into(), text("secret_access_key")),
    ];
}

pub fn policy(lab: &Lab) {
    let before = account(lab);
    let mut cluster = Cluster::new(lab, "policy", true);
    let name = cluster.name.clone();
    let spec = cluster.spec(MINIMAL);
    let file = cluster.write("policy.toml", &spec);
    lab.ask(&["iam", "on"]);

    let create: &[&str] = &["create", "cluster", "-f", &file, "--yes"];
    for (user, action) in [
        ("reader", "ec2:DescribeInstances"),
        ("store", "s3:PutObject"),
        ("network", "ec2:CreateVpc"),
        ("machines", "ec2:RunInstances"),
        ("names", "route53:ChangeResourceRecordSets"),
    ] {
        user_without(&mut cluster, user, Some(action));
        let done = cluster.run(create);
        assert_ne!(done.code, Some(0), "{action}: {done:?}");
        done.says(&[action]);
    }
    user_without(&mut cluster, "whole", None);
    cluster.ok(create).says(&["2 of 2 nodes Ready"]);
    cluster.assert_ready(2);
    let more = cluster.write("more.toml", &spec.api_access(&["203.0.113.0/24", "198.51.100.0/24"]));
    cluster.ok(&["update", &name, "-f", &more, "--yes"]);
    cluster.assert_no_op();

    let delete: &[&str] = &["delete", "cluster", &name, "--purge", "--yes"];
    user_without(&mut cluster, "keeper", Some("ec2:DeleteVpc"));
    let done = cluster.run(delete);
    assert_ne!(done.code, Some(0), "{done:?}");
    done.says(&["ec2:DeleteVpc"]);
    user_without(&mut cluster, "deleter", None);
    cluster.ok(delete).says(&["0 remain"]);
    lab.ask(&["iam", "off"]);
    account(lab).without("iam-user").assert_same_as(&before);
}
