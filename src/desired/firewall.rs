//! One security group per role, with the rules that Kubernetes and the CNI need and no others.
//!
//! Sources: kubernetes.io "Ports and Protocols"; Calico's network requirements (VXLAN only, no BGP, no Typha); Flannel's page on
//! backends (VXLAN on Linux); Cilium's system requirements ("Firewall Rules", VXLAN, without Hubble and WireGuard).

use ipnet::Ipv4Net;

use crate::cluster::{Cluster, Cni, Ports, Role};
use crate::desired::{Peer, Protocol, Rule};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityGroup {
    pub role: Role,
    /// `GroupName`, unique in the VPC.
    pub name: String,
    pub description: String,
    pub rules: Vec<Rule>,
}

/// Groups of the roles that the cluster has machines for, and always those of control planes and nodes: they refer to each other.
pub fn security_groups(cluster: &Cluster) -> Vec<SecurityGroup> {
    let mut roles = vec![Role::ControlPlane, Role::Node];
    if cluster.has_bastion() {
        roles.push(Role::Bastion);
    }
    roles
        .into_iter()
        .map(|role| SecurityGroup {
            role,
            name: format!("{}.{}", role.as_str(), cluster.name),
            description: format!("{} machines of {}", role.as_str(), cluster.name),
            rules: rules(cluster, role),
        })
        .collect()
}

fn rules(cluster: &Cluster, role: Role) -> Vec<Rule> {
    let mut rules = vec![Rule {
        egress: true,
        protocol: Protocol::All,
        ports: None,
        peer: Peer::Cidr(Ipv4Net::default()),
        description: "outbound: packages, images, AWS, DNS, time".into(),
    }];
    let machines = [Role::ControlPlane, Role::Node];
    match role {
        Role::ControlPlane => {
            rules.extend(machines.map(|peer| tcp(6443, 6443, Peer::Group(peer), format!("API server, {}", peer.as_str()))));
            rules.extend(
                cluster.api.access.iter().map(|cidr| tcp(6443, 6443, Peer::Cidr(*cidr), "API server, api.access".into())),
            );
            rules.push(tcp(2379, 2380, Peer::Group(Role::ControlPlane), "etcd clients and peers".into()));
        }
        Role::Node => rules.extend(cluster.node_ports.iter().flat_map(|cidr| {
            [Protocol::Tcp, Protocol::Udp]
                .map(|protocol| Rule { protocol, ..tcp(30000, 32767, Peer::Cidr(*cidr), "NodePorts, node_ports.access".into()) })
        })),
        Role::Bastion => {}
    }
    if role != Role::Bastion {
        rules.push(tcp(10250, 10250, Peer::Group(Role::ControlPlane), "kubelet, API server".into()));
        rules.push(tcp(10250, 10250, Peer::Group(Role::Node), "kubelet, metrics-server".into()));
        rules.extend(pod_network(cluster.network.cni).iter().flat_map(|(protocol, ports, what)| {
            machines.map(|peer| Rule {
                egress: false,
                protocol: *protocol,
                ports: ports.map(|port| (port, port)),
                peer: Peer::Group(peer),
                description: format!("{what}, {}", peer.as_str()),
            })
        }));
    }
    let port = cluster.ssh.port;
    if role != Role::Bastion && cluster.has_bastion() {
        rules.push(tcp(port, port, Peer::Group(Role::Bastion), "SSH, bastion".into()));
    } else {
        rules.extend(cluster.ssh.access.iter().map(|cidr| tcp(port, port, Peer::Cidr(*cidr), "SSH, ssh.access".into())));
    }
    if role != Role::Bastion {
        for rule in cluster.network.ports.iter().flat_map(|ports| machines.map(|peer| of_the_spec(*ports, peer))) {
            // AWS refuses a rule that differs from another one in its description only.
            if !rules.iter().any(|other| Rule { description: rule.description.clone(), ..other.clone() } == rule) {
                rules.push(rule);
            }
        }
    }
    rules
}

/// What the machines of a pod network say to each other, with the one port of each protocol that has ports.
fn pod_network(cni: Cni) -> &'static [(Protocol, Option<u16>, &'static str)] {
    match cni {
        Cni::Calico => &[(Protocol::Udp, Some(4789), "Calico VXLAN")],
        Cni::Cilium => &[
            (Protocol::Udp, Some(8472), "Cilium VXLAN"),
            (Protocol::Tcp, Some(4240), "Cilium health"),
            (Protocol::Icmp, None, "Cilium health"),
        ],
        Cni::Flannel => &[(Protocol::Udp, Some(8472), "Flannel VXLAN")],
        Cni::None => &[],
    }
}

fn of_the_spec(ports: Ports, peer: Role) -> Rule {
    let (protocol, ports) = match ports {
        Ports::Tcp(first, last) => (Protocol::Tcp, Some((first, last))),
        Ports::Udp(first, last) => (Protocol::Udp, Some((first, last))),
        Ports::Icmp => (Protocol::Icmp, None),
        Ports::IpInIp => (Protocol::IpInIp, None),
        Ports::All => (Protocol::All, None),
    };
    Rule { egress: false, protocol, ports, peer: Peer::Group(peer), description: format!("network.ports, {}", peer.as_str()) }
}

fn tcp(first: u16, last: u16, peer: Peer, description: String) -> Rule {
    Rule { egress: false, protocol: Protocol::Tcp, ports: Some((first, last)), peer, description }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::fixture;

    #[test]
    fn no_ingress_from_everywhere_unless_the_spec_asks() {
        let mut cluster = fixture::cluster();
        cluster.node_ports = vec!["198.51.100.0/24".parse().unwrap()];
        let everywhere = Peer::Cidr(Ipv4Net::default());
        for group in security_groups(&cluster) {
            for rule in &group.rules {
                assert!(rule.egress || rule.peer != everywhere, "{}: {rule:?}", group.name);
                assert!(!rule.description.is_empty());
                let allowed = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
                assert!(rule.description.chars().all(allowed), "{rule:?}");
            }
        }
    }

    #[test]
    fn a_pod_network_opens_its_ports_between_machines_and_to_nobody_else() {
        for (cni, wanted) in [
            (Cni::Calico, &[(Protocol::Udp, Some((4789, 4789)))][..]),
            (Cni::Cilium, &[(Protocol::Udp, Some((8472, 8472))), (Protocol::Tcp, Some((4240, 4240))), (Protocol::Icmp, None)]),
            (Cni::Flannel, &[(Protocol::Udp, Some((8472, 8472)))]),
            (Cni::None, &[]),
        ] {
            let rules_with = |cni| {
                let mut cluster = fixture::cluster();
                cluster.network.cni = cni;
                cluster.groups.push(fixture::group("bastion", Role::Bastion, 1, "t3.micro", &cluster.zones[..1]));
                security_groups(&cluster)
            };
            for (group, bare) in rules_with(cni).into_iter().zip(rules_with(Cni::None)) {
                let own: Vec<Rule> = group.rules.into_iter().filter(|rule| !bare.rules.contains(rule)).collect();
                let mut found: Vec<_> = own.iter().map(|rule| (rule.protocol, rule.ports, rule.peer.clone())).collect();
                let both = [Role::ControlPlane, Role::Node].map(Peer::Group);
                let mut expected: Vec<_> =
                    wanted.iter().flat_map(|(protocol, ports)| both.clone().map(|peer| (*protocol, *ports, peer))).collect();
                if group.role == Role::Bastion {
                    expected.clear();
                }
                found.sort();
                expected.sort();
                assert_eq!(found, expected, "{cni:?}, {:?}", group.role);
                assert!(
                    own.iter().all(|rule| !rule.egress && rule.description.to_lowercase().starts_with(cni.as_str())),
                    "{own:?}"
                );
            }
        }
    }

    #[test]
    fn ports_of_the_spec_are_opened_between_machines_once_and_to_nobody_else() {
        let ports = [
            (Ports::Tcp(9000, 9100), Protocol::Tcp, Some((9000, 9100))),
            (Ports::Tcp(10250, 10250), Protocol::Tcp, Some((10250, 10250))),
            (Ports::Udp(4789, 4789), Protocol::Udp, Some((4789, 4789))),
            (Ports::Udp(8472, 8472), Protocol::Udp, Some((8472, 8472))),
            (Ports::Icmp, Protocol::Icmp, None),
            (Ports::IpInIp, Protocol::IpInIp, None),
            (Ports::All, Protocol::All, None),
        ];
        for cni in [Cni::Calico, Cni::Cilium, Cni::Flannel, Cni::None] {
            let mut cluster = fixture::cluster();
            cluster.network.cni = cni;
            cluster.groups.push(fixture::group("bastion", Role::Bastion, 1, "t3.micro", &cluster.zones[..1]));
            let before = security_groups(&cluster);
            cluster.network.ports = ports.iter().map(|(ports, ..)| *ports).collect();
            for (group, before) in security_groups(&cluster).into_iter().zip(before) {
                let (old, new) = group.rules.split_at(before.rules.len());
                assert_eq!(old, before.rules, "{cni:?}: what is opened anyway stays as it is");
                if group.role == Role::Bastion {
                    assert_eq!(new, []);
                    continue;
                }
                let access = |rule: &Rule| (rule.egress, rule.protocol, rule.ports, rule.peer.clone());
                for (_, protocol, ports) in ports {
                    for peer in [Role::ControlPlane, Role::Node].map(Peer::Group) {
                        let same = |rule: &&Rule| access(rule) == (false, protocol, ports, peer.clone());
                        assert_eq!(
                            group.rules.iter().filter(same).count(),
                            1,
                            "{cni:?}, {:?}: {protocol:?} {peer:?}",
                            group.role
                        );
                    }
                }
                assert!(new.iter().all(|rule| matches!(rule.peer, Peer::Group(Role::ControlPlane | Role::Node))), "{new:?}");
            }
        }
    }

    #[test]
    fn with_a_bastion_only_it_is_open_to_ssh_from_outside() {
        let mut cluster = fixture::cluster();
        let zones = cluster.zones.clone();
        cluster.groups.push(fixture::group("bastion", Role::Bastion, 1, "t3.micro", &zones[..1]));
        for group in security_groups(&cluster) {
            let from_outside = group.rules.iter().any(|rule| rule.ports == Some((22, 22)) && matches!(rule.peer, Peer::Cidr(_)));
            assert_eq!(from_outside, group.role == Role::Bastion, "{}", group.name);
        }
    }
}
