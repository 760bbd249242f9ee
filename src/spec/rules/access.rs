//! Who may reach what: what locks the user out, and what lets the whole internet in.

use crate::cluster::{Cni, Role, SshAddress};
use crate::spec::file::SpecFile;
use crate::spec::place::At;
use crate::spec::problem::{Code, Fault, Findings};
use crate::spec::read::List;
use crate::spec::values::words::Reach;

pub(super) fn check(spec: &SpecFile, findings: &mut Findings) {
    let api = spec.api.as_ref().and_then(|api| api.value.access.as_ref());
    let ssh = spec.ssh.as_ref().and_then(|ssh| ssh.value.access.as_ref());
    let node_ports = spec.node_ports.as_ref().and_then(|ports| ports.value.access.as_ref());
    let lists = [
        ("api.access", "the Kubernetes API", api, Some("kubectl and `validate` will not work from here")),
        ("ssh.access", "SSH", ssh, Some("kubewright itself cannot bootstrap the machines, unless it runs inside the VPC")),
        ("node_ports.access", "NodePorts", node_ports, None),
    ];
    for (key, words, list, locked_out) in lists {
        let Some(list) = list else { continue };
        repeated(list, |cidr| cidr.0.to_string(), findings);
        for cidr in list.value.items.iter().filter(|cidr| cidr.value.0.prefix_len() == 0) {
            let message = format!("the whole internet may reach {words}");
            findings.warning(&cidr.span, Fault::new(Code::OpenToAll, message).help("name the networks that need it"));
        }
        if let Some(consequence) = locked_out
            && list.value.written == 0
        {
            let message = format!("`{key}` is empty, so nobody outside the cluster may reach {words}: {consequence}");
            findings.warning(
                &list.span,
                Fault::new(Code::NobodyMayReach, message).help("list your own network, such as \"203.0.113.0/24\""),
            );
        }
    }
    if let Some(sans) = spec.api.as_ref().and_then(|api| api.value.sans.as_ref()) {
        repeated(sans, |san| san.0.clone(), findings);
    }
    between_machines(spec, findings);
    route(spec, findings);
}

/// AWS refuses the same rule twice.
fn repeated<T>(list: &At<List<T>>, text: impl Fn(&T) -> String, findings: &mut Findings) {
    for (index, item) in list.value.items.iter().enumerate() {
        let words = text(&item.value);
        if list.value.items.iter().take(index).any(|earlier| text(&earlier.value) == words) {
            findings.error(&item.span, Fault::new(Code::Repeated, format!("{words} is listed twice")));
        }
    }
}

fn between_machines(spec: &SpecFile, findings: &mut Findings) {
    let Some(network) = &spec.network else { return };
    let (Some(cni), Some(ports)) = (&network.value.cni, &network.value.ports) else { return };
    repeated(ports, ToString::to_string, findings);
    if cni.value == Cni::None && ports.value.written == 0 {
        let message = "no port is open between machines for a pod network of your own";
        findings
            .warning(&cni.span, Fault::new(Code::NoPorts, message).help("list what it needs, such as ports = [\"8472/udp\"]"));
    }
}

/// Which way SSH takes, and whether a bastion is on it.
fn route(spec: &SpecFile, findings: &mut Findings) {
    let (Some(network), Some(ssh), Some(groups)) = (&spec.network, &spec.ssh, &spec.instance_group) else { return };
    let Some(topology) = &network.value.topology else { return };
    let bastions = || groups.value.values().filter(|keys| keys.role.as_ref().is_some_and(|role| role.value == Role::Bastion));
    let address = ssh.value.address.as_ref();
    let private = address.map_or(topology.value == Reach::Private, |address| address.value == SshAddress::Private);
    match (topology.value, private) {
        (Reach::Private, false) => {
            let span = address.map(|address| address.span.clone()).unwrap_or_default();
            let fault = Fault::new(Code::Login, "machines of the private topology have no public address");
            findings.error(&span, fault.help("leave `address` out, or set topology = \"public\""));
        }
        (Reach::Public, false) => {
            for role in bastions().filter_map(|keys| keys.role.as_ref()) {
                let fault = Fault::new(Code::Bastion, "nothing uses this bastion: SSH goes to the machines' public addresses");
                findings.error(&role.span, fault.help("remove the group, or set ssh.address = \"private\""));
            }
        }
        (_, true) if bastions().next().is_none() && groups.value.items.len() == groups.value.written => {
            let span = address.map_or(&topology.span, |address| &address.span);
            let fault = Fault::new(
                Code::NoRoute,
                "SSH goes to private addresses and there is no bastion: kubewright needs a route into the VPC",
            );
            findings.warning(
                span,
                fault.help(
                    "add an instance group with role = \"bastion\", or run kubewright where a VPN or peering leads to the VPC",
                ),
            );
        }
        (_, true) => {}
    }
}
