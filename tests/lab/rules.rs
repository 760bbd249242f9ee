//! Each rule of the firewall is needed: with one of them taken away, something that a cluster does fails. A rule whose absence
//! nothing notices would be open for nothing.

use std::time::Duration;

use crate::cluster::{Cluster, HA};
use crate::kubernetes::{deploy, get, pods, system_is_ready};
use crate::lab::{Lab, until};
use crate::machine::{Machine, machines};

/// A rule that lets something in, as EC2 lists it.
struct Rule {
    id: String,
    group: String,
    /// Its ports and whom it lets in.
    name: String,
}

impl Rule {
    /// Of the one cluster: default groups let nobody in.
    fn all(lab: &Lab) -> Vec<Self> {
        let listed = ask_ec2(lab, "Action=DescribeSecurityGroupRules");
        let rules = listed.split("<securityGroupRuleId>").skip(1);
        rules
            .filter_map(|rule| {
                let (id, rule) = rule.split_once('<')?;
                let of = |tag: &str| Some(rule.split_once(&format!("<{tag}>"))?.1.split_once('<')?.0.to_owned());
                if of("isEgress")? == "true" {
                    return None;
                }
                let group = of("groupId")?;
                let source = of("cidrIpv4").or_else(|| Some(rule.rsplit_once("<groupId>")?.1.split_once('<')?.0.to_owned()))?;
                let name = format!("{group} {} {}-{} from {source}", of("ipProtocol")?, of("fromPort")?, of("toPort")?);
                Some(Self { id: id.to_owned(), group, name })
            })
            .collect()
    }

    /// Takes it away, as somebody in the AWS console would.
    fn revoke(&self, lab: &Lab) {
        let Self { id, group, .. } = self;
        ask_ec2(lab, &format!("Action=RevokeSecurityGroupIngress&GroupId={group}&SecurityGroupRuleId.1={id}"));
    }
}

fn ask_ec2(lab: &Lab, form: &str) -> String {
    let script = "curl -sS --fail-with-body --aws-sigv4 aws:amz:us-east-1:ec2 --user lab:lab -d \"$0&Version=2016-11-15\" \"$AWS_ENDPOINT_URL\"";
    let done = lab.exec(&["sh", "-c", script, form]);
    let [out, err] = [&done.stdout, &done.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(done.status.success(), "{form}: {out}{err}");
    out
}

/// Who asks whom, and at which ports.
type Between<'a> = (&'a str, &'a [Machine], &'a [Machine], &'a [u16]);

/// What the cluster and its users do, each with a name, and whether it works.
struct Uses<'a> {
    cluster: &'a Cluster<'a>,
    planes: Vec<Machine>,
    workers: Vec<Machine>,
}

impl Uses<'_> {
    /// The first that fails.
    fn failing(&self) -> Option<String> {
        let Self { cluster, planes, workers } = self;
        let lab = cluster.lab;
        let ready = |address: &str| {
            let url = format!("https://{address}:6443/readyz");
            lab.exec(&["curl", "-skf", "-m", "3", &url]).status.success()
        };
        if let Some(plane) = planes.iter().find(|plane| !ready(&plane.public)) {
            return Some(format!("an operator asks the API of {}", plane.slot));
        }
        if let Some(machine) = planes.iter().chain(workers).find(|machine| !lab.reaches(&machine.public, 22)) {
            return Some(format!("an operator logs in to {}", machine.slot));
        }
        let between: [Between<'_>; 7] = [
            ("a kubelet or kube-proxy of a control plane asks the API of", planes, planes, &[6443]),
            ("a kubelet or kube-proxy of a node asks the API of", workers, planes, &[6443]),
            ("an etcd client or peer speaks to", planes, planes, &[2379, 2380]),
            ("an API server asks the kubelet of", planes, planes, &[10250]),
            ("an API server asks the kubelet of", planes, workers, &[10250]),
            ("a metrics collector on a node asks the kubelet of", workers, workers, &[10250]),
            ("a metrics collector on a node asks the kubelet of", workers, planes, &[10250]),
        ];
        for (what, from, to, ports) in between {
            for (from, to) in from.iter().flat_map(|from| to.iter().map(move |to| (from, to))).filter(|(a, b)| a.slot != b.slot) {
                if let Some(port) = ports.iter().find(|port| !from.reaches(to, **port)) {
                    return Some(format!("{what} {} ({} -> {port})", to.slot, from.slot));
                }
            }
        }
        self.pods()
    }

    /// Pods of every kind of machine ask pods of every kind of machine.
    fn pods(&self) -> Option<String> {
        let web = pods(self.cluster, "web");
        let on = |machine: &Machine| web.iter().find(|pod| pod.node == machine.instance).expect("a pod on every machine");
        let (planes, workers) = (&self.planes, &self.workers);
        let pairs = [(&planes[0], &planes[1]), (&planes[0], &workers[1]), (&workers[0], &planes[1]), (&workers[0], &workers[1])];
        let talk = |from: &Machine, to: &Machine| {
            get(self.cluster, &on(from).name, &format!("http://{}:8080/", on(to).address)).is_some()
        };
        let (from, to) = pairs.into_iter().find(|(from, to)| !talk(from, to))?;
        Some(format!("a pod on {} asks a pod on {}", from.slot, to.slot))
    }
}

pub fn each_is_needed(lab: &Lab) {
    let cluster = Cluster::real(lab, "rules", false);
    let spec = cluster.spec(HA).count("nodes", 2);
    let file = cluster.write("rules.toml", &spec);
    cluster.ok(&["create", "cluster", "-f", &file, "--yes"]);
    cluster.kubeconfig();
    system_is_ready(&cluster);
    deploy(&cluster);
    let of = |group: &str| machines(lab).into_iter().filter(|machine| machine.slot.starts_with(group)).collect();
    let uses = Uses { cluster: &cluster, planes: of("control-plane"), workers: of("nodes") };
    assert_eq!(uses.failing(), None, "with all rules");
    let rules = Rule::all(lab);
    assert!(rules.len() >= 13, "{}", rules.len());
    let mut unnoticed = Vec::new();
    for rule in &rules {
        rule.revoke(lab);
        match uses.failing() {
            Some(what) => eprintln!("without {}: {what}", rule.name),
            None => unnoticed.push(rule.name.clone()),
        }
        // What somebody took away by hand comes back.
        let mended = cluster.ok(&["update", &cluster.name, "--yes"]);
        mended.says(&["1 changed"]);
    }
    assert!(unnoticed.is_empty(), "rules that nothing needs: {unnoticed:#?}");
    until("everything with all rules again", Duration::from_secs(60), || uses.failing().is_none());
    cluster.ok(&["delete", "cluster", &cluster.name, "--yes"]);
}
