//! Who may reach what: what locks the user out, and what lets the whole internet in.

use crate::cluster::{Role, SshAddress};
use crate::spec::file::SpecFile;
use crate::spec::place::At;
use crate::spec::problem::{Code, Fault, Findings};
use crate::spec::read::List;
use crate::spec::values::net::Cidr;
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
        repeated(list, findings);
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
        for (index, san) in sans.value.items.iter().enumerate() {
            if sans.value.items.iter().take(index).any(|earlier| earlier.value.0 == san.value.0) {
                findings.error(&san.span, Fault::new(Code::Repeated, format!("{} is listed twice", san.value.0)));
            }
        }
    }
    route(spec, findings);
}

/// AWS refuses the same rule twice.
fn repeated(list: &At<List<Cidr>>, findings: &mut Findings) {
    for (index, cidr) in list.value.items.iter().enumerate() {
        if list.value.items.iter().take(index).any(|earlier| earlier.value == cidr.value) {
            findings.error(&cidr.span, Fault::new(Code::Repeated, format!("{} is listed twice", cidr.value.0)));
        }
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
