//! Sizes and overlaps of the cluster's networks.

use ipnet::Ipv4Net;

use crate::cluster::Role;
use crate::spec::file::{NetworkKeys, SpecFile};
use crate::spec::place::{At, Span};
use crate::spec::problem::{Code, Fault, Findings};
use crate::spec::values::net::Cidr;
use crate::spec::values::words::Reach;

/// A network of the spec, with the prefix lengths that it may have and why.
struct Net<'a> {
    words: &'static str,
    key: &'a Option<At<Cidr>>,
    widest: u8,
    narrowest: u8,
    why: &'static str,
}

fn nets(network: &NetworkKeys) -> [Net<'_>; 3] {
    [
        Net {
            words: "the VPC",
            key: &network.cidr,
            widest: 16,
            narrowest: 24,
            why: "AWS allows no VPC wider than /16, and the 16 subnets cut from it cannot be narrower than /28",
        },
        Net {
            words: "pods",
            key: &network.pods,
            widest: 8,
            narrowest: 24,
            why: "each machine takes a /24 of it, of which Kubernetes counts at most 65,536",
        },
        Net {
            words: "services",
            key: &network.services,
            widest: 12,
            narrowest: 24,
            why: "Kubernetes allows no range wider than /12",
        },
    ]
}

pub(super) fn check(spec: &SpecFile, findings: &mut Findings) {
    let Some(network) = &spec.network else { return };
    let network = &network.value;
    let mut earlier: Vec<(&str, Ipv4Net, Span)> = Vec::new();
    for net in nets(network) {
        let Some(Cidr(cidr)) = net.key.as_ref().map(|at| at.value) else { continue };
        let span = net.key.as_ref().map(|at| at.span.clone()).unwrap_or_default();
        if !(net.widest..=net.narrowest).contains(&cidr.prefix_len()) {
            let size = if cidr.prefix_len() < net.widest { "wide" } else { "narrow" };
            let message =
                format!("{} {cidr} {} too {size}; use /{} to /{}", net.words, is_are(net.words), net.widest, net.narrowest);
            findings.error(&span, Fault::new(Code::CidrSize, message).help(net.why));
        }
        if unusable(cidr) {
            let message = format!("{} {cidr} {} in a range that networks cannot use", net.words, is_are(net.words));
            findings.error(
                &span,
                Fault::new(Code::Cidr, message).help("use a private range: 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"),
            );
        }
        for (other, other_cidr, other_span) in &earlier {
            if overlap(cidr, *other_cidr) {
                let message = format!("{} {cidr} overlap {other} {other_cidr}", net.words);
                let taken: Vec<Ipv4Net> = nets(network)
                    .iter()
                    .filter(|n| n.words != net.words)
                    .filter_map(|n| n.key.as_ref())
                    .map(|at| at.value.0)
                    .collect();
                let mut fault = Fault::new(Code::CidrOverlap, message);
                fault.help = free_range(&taken, cidr.prefix_len()).map(|free| format!("for example \"{free}\""));
                // A default stands at its table; point at what was written, whichever of the two that is.
                let written = if span.len() >= cidr.to_string().len() { &span } else { other_span };
                findings.error(written, fault);
            }
        }
        earlier.push((net.words, cidr, span));
    }
    if let (Some(nat), Some(topology)) = (&network.nat, &network.topology)
        && topology.value == Reach::Public
    {
        let fault = Fault::new(Code::Nat, "`nat` has no meaning in the public topology: its machines need no NAT gateway");
        findings.error(&nat.span, fault.help("leave it out, or set topology = \"private\""));
    }
    pod_room(spec, network, findings);
}

fn is_are(words: &str) -> &'static str {
    if words.ends_with('s') { "are" } else { "is" }
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// Loopback, link-local, "this" network, multicast and above.
fn unusable(cidr: Ipv4Net) -> bool {
    let ranges = [([0, 0, 0, 0], 8), ([127, 0, 0, 0], 8), ([169, 254, 0, 0], 16), ([224, 0, 0, 0], 3)];
    ranges.into_iter().filter_map(|(address, prefix)| Ipv4Net::new(address.into(), prefix).ok()).any(|range| overlap(range, cidr))
}

/// A private range of this size beside the others.
fn free_range(taken: &[Ipv4Net], prefix: u8) -> Option<Ipv4Net> {
    let roots = [([192, 168, 0, 0], 16), ([10, 0, 0, 0], 8), ([172, 16, 0, 0], 12)];
    roots
        .into_iter()
        .filter_map(|(address, root)| Ipv4Net::new(address.into(), root).ok())
        .filter_map(|root| root.subnets(prefix.max(root.prefix_len())).ok().map(|subnets| subnets.take(4096)))
        .flatten()
        .find(|candidate| candidate.prefix_len() == prefix && !taken.iter().any(|other| overlap(*candidate, *other)))
}

/// The controller manager gives each node a /24; without one, a pod network that asks for it has no addresses.
fn pod_room(spec: &SpecFile, network: &NetworkKeys, findings: &mut Findings) {
    let (Some(pods), Some(groups)) = (&network.pods, &spec.instance_group) else { return };
    let machines: u64 = groups
        .value
        .values()
        .filter(|keys| keys.role.as_ref().is_some_and(|role| role.value != Role::Bastion))
        .filter_map(|keys| keys.count.as_ref())
        .map(|count| u64::from(count.value.0))
        .sum();
    let prefix = pods.value.0.prefix_len();
    let room = 1_u64 << 24_u8.saturating_sub(prefix);
    if machines > room && prefix <= 24 {
        let enough = 24_u8.saturating_sub(machines.next_power_of_two().trailing_zeros() as u8);
        let message = format!("pods {} hold a /24 for {room} machines; the spec has {machines}", pods.value.0);
        findings.warning(&pods.span, Fault::new(Code::PodRoom, message).help(format!("a /{enough} or wider has room for all")));
    }
}
