//! What plans look like on a screen.

use super::*;
use crate::cli::text::Page;
use crate::desired::fixture;
use crate::observed::{Catalogue, HostedZone, Image, MachineType, Observed};
use crate::plan::{Input, Problem, plan};
use crate::recorded::State;

fn state(cluster: &crate::cluster::Cluster) -> State {
    State::new(cluster.clone(), "0123456789abcdef0123456789abcdef", "123456789012", "aws")
}

/// The plan that makes the fixture's cluster in an empty account.
pub fn first_plan(cluster: &crate::cluster::Cluster) -> Plan {
    let state = state(cluster);
    let observed = Observed {
        hosted_zones: vec![HostedZone { id: "Z1".into(), name: "k8s.example.com".into(), private: false, name_servers: vec![] }],
        ..Observed::default()
    };
    let machine_type = |name: &str| MachineType {
        name: name.into(),
        architectures: vec!["x86_64".into()],
        vcpus: 2,
        memory_mib: 4096,
        zones: cluster.zones.clone(),
    };
    let catalogue = Catalogue {
        zones: cluster.zones.clone(),
        machine_types: vec![machine_type("t3.medium"), machine_type("t3.large")],
        images: vec![Image {
            id: "ami-0a1b2c3d".into(),
            name: "debian-12-amd64-20250101-1".into(),
            owner: "136693071363".into(),
            architecture: "x86_64".into(),
            root_device: "/dev/xvda".into(),
            created: "2025-01-01T00:00:00Z".into(),
            state: "available".into(),
        }],
    };
    plan(Input {
        cluster,
        previous: None,
        uid: &state.uid,
        revision: 1,
        recorded: &state,
        observed: &observed,
        catalogue: Some(&catalogue),
        user_data: &BTreeMap::new(),
    })
}

fn view(plan: &Plan) -> PlanView<'_> {
    PlanView {
        plan,
        location: "s3://acme-clusters",
        account: "",
        reads: 12,
        seconds: 0.4,
        interrupted: None,
        recorded: (9, 2),
        is_new: false,
        whole: false,
    }
}

fn text(view: PlanView<'_>, width: usize) -> String {
    view.page(width).plain()
}

fn check_width(text: &str, width: usize) {
    for line in text.lines() {
        // A sign and one long word cannot be wrapped.
        assert!(line.chars().count() <= width || line.split_whitespace().count() <= 2, "wider than {width}: {line}\n{text}");
        assert!(!line.ends_with(' '), "ends in a space: {line:?}");
    }
}

#[test]
fn a_first_plan_reads_as_a_person_thinks() {
    let plan = first_plan(&fixture::cluster());
    assert_eq!(plan.errors, []);
    let text = text(PlanView { is_new: true, ..view(&plan) }, 80);
    check_width(&text, 80);
    insist(
        &text,
        &[
            "demo.k8s.example.com  us-east-1  Kubernetes 1.34.2",
            "  network",
            "    + VPC                 cidr 10.20.0.0/16",
            "  firewall and SSH key",
            "        + tcp 6443 from 203.0.113.0/24",
            "  names",
            "  instance group nodes                          0 -> 3",
            "    t3.large, debian-12-amd64-20250101-1 (ami-0a1b2c3d), 40 GiB gp3",
            "    + nodes-us-east-1a-1",
            "  node work, over SSH",
            "    prepare             6 nodes",
            "    init                control-plane-us-east-1a-1",
            "Plan: ",
        ],
    );
    assert!(text.ends_with("(12 reads, 0.4 s)\n"), "{text}");
    assert!(text.lines().count() < 70, "{text}");
}

/// Each of these begins a line, in this order.
fn insist(text: &str, beginnings: &[&str]) {
    let mut lines = text.lines();
    for beginning in beginnings {
        assert!(lines.any(|line| line.starts_with(beginning)), "no line begins with {beginning:?} there:\n{text}");
    }
}

#[test]
fn a_change_shows_its_reason_and_what_is_behind() {
    let mut before = fixture::cluster();
    before.groups[1].count = 4;
    let mut plan = first_plan(&before);
    plan.actions.retain(|action| action.id == "create instance/nodes-us-east-1a-2" || action.id == "join nodes-us-east-1a-2");
    plan.actions[0].reasons = vec!["count 3 -> 4".into()];
    plan.groups[0].have = 3;
    plan.groups[0].behind = 1;
    plan.groups[1].have = 3;
    plan.revision = 7;
    plan.behind = vec![Behind {
        group: "control-plane".into(),
        slot: "control-plane-us-east-1b-1".into(),
        reasons: vec!["image ami-0a -> ami-0b".into()],
    }];
    assert_eq!(
        text(view(&plan), 100),
        "\
demo.k8s.example.com  us-east-1  Kubernetes 1.34.2          state s3://acme-clusters, revision 7

  instance group control-plane                  unchanged, 1 behind
    ! control-plane-us-east-1b-1  image ami-0a -> ami-0b
      needs: new machines in their place
  instance group nodes                          3 -> 4
    t3.large, debian-12-amd64-20250101-1 (ami-0a1b2c3d), 40 GiB gp3
    + nodes-us-east-1a-2  count 3 -> 4

  node work, over SSH
    join                nodes-us-east-1a-2

Plan: 1 to create, 0 to change, 0 to replace, 0 to delete.   (12 reads, 0.4 s)
"
    );
}

#[test]
fn nothing_to_do_is_said_in_one_line_per_group() {
    let mut plan = first_plan(&fixture::cluster());
    plan.actions.clear();
    plan.groups.iter_mut().for_each(|group| group.have = group.want);
    let text = text(view(&plan), 80);
    check_width(&text, 80);
    insist(&text, &["  instance group control-plane", "  instance group nodes", "No changes: the account is as the spec says."]);
    assert_eq!(text.lines().count(), 7, "{text}");
}

#[test]
fn an_interrupted_run_and_a_refusal_are_told() {
    let mut plan = first_plan(&fixture::cluster());
    plan.unanswered = 2;
    plan.errors.push(Problem { what: "hosted zone k8s.example.com does not exist".into(), next: "create it".into() });
    plan.warnings.push("instance x is stopped".into());
    let run = Run {
        by: "ops@build-7".into(),
        command: "update --yes".into(),
        started: "2026-03-01T09:12:44Z".into(),
        finished: false,
        actions_done: Some(18),
        actions_total: 31,
    };
    let killed = Run { actions_done: None, ..run.clone() };
    let of_killed = text(PlanView { interrupted: Some(&killed), ..view(&plan) }, 200);
    assert!(
        of_killed.contains("of 31 actions did not come to its end; recorded are 9 resources, and 2 nodes that joined."),
        "{of_killed}"
    );
    let text = text(PlanView { interrupted: Some(&run), ..view(&plan) }, 100);
    insist(
        &text,
        &[
            "An earlier run by ops@build-7 (update --yes, 2026-03-01 09:12 UTC) stopped after 18 of 31 actions.",
            "2 calls of an earlier run had no answer",
            "This plan resumes it.",
            "warning: instance x is stopped",
            "error: hosted zone k8s.example.com does not exist",
            "  next      create it",
            "This plan cannot be applied: 1 error.",
        ],
    );
}

#[test]
fn a_delete_lists_what_goes_by_id() {
    let observed = Observed {
        vpcs: vec![crate::observed::Vpc {
            id: "vpc-0aa".into(),
            cidr: "10.0.0.0/16".parse().unwrap(),
            tags: [("kubewright.io/cluster-uid", "u"), ("kubewright.io/resource", "vpc")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        }],
        ..Observed::default()
    };
    let plan = crate::plan::delete("demo.example.com", "u", "us-east-1", &state(&fixture::cluster()), &observed);
    let text = text(view(&plan), 80);
    insist(&text, &["  network", "    - VPC  vpc-0aa", "Plan: 0 to create, 0 to change, 0 to replace, 1 to delete."]);
}

#[test]
fn a_large_plan_is_counted_rather_than_listed_and_fits_every_width() {
    let mut cluster = fixture::cluster();
    cluster.groups[1].count = 300;
    cluster.groups[1].name = "workers-with-a-name-that-is-quite-long-indeed".into();
    let plan = first_plan(&cluster);
    for width in [60, 80, 100, 140] {
        let page: Page = view(&plan).page(width);
        check_width(&page.plain(), width);
        assert!(page.plain().contains("more like these"), "{}", page.plain());
        assert!(page.lines().len() < 130, "{}", page.lines().len());
    }
    let whole = text(PlanView { whole: true, ..view(&plan) }, 80);
    assert!(whole.matches("+ workers-with").count() >= 300);
}
