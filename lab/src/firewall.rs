//! Security groups as nftables rules of the hub, where every packet of every node passes.
//!
//! The rules stand outside of the machines, as at AWS: root on a node cannot undo them. What an instance sends
//! is judged before public addresses are translated, what it gets afterwards, so that a peer is seen with the
//! address that AWS would see.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::sync::Mutex;

use anyhow::{Context, Result};

use crate::hub;
use crate::node::{lock, network};
use crate::run;
use crate::world::{Rule, World};

/// The ruleset that is in force.
#[derive(Default)]
pub struct Firewall {
    last: Mutex<String>,
    /// Instances whose cable is out.
    cut: Mutex<BTreeSet<String>>,
}

impl Firewall {
    /// Puts the world's rules in force, in one transaction, when they differ from the last ones.
    pub fn apply(&self, world: &World) -> Result<bool> {
        let ruleset = render(world, &lock(&self.cut));
        let mut last = lock(&self.last);
        if *last == ruleset {
            return Ok(false);
        }
        run::with_input("nft", &["-f", "-"], &ruleset).context("loading the security groups")?;
        *last = ruleset;
        Ok(true)
    }

    /// Pulls an instance's cable, or plugs it in again: its packets are lost without a word.
    pub fn set_cut(&self, instance: &str, cut: bool) {
        let mut all = lock(&self.cut);
        if cut {
            all.insert(instance.to_owned())
        } else {
            all.remove(instance)
        };
    }

    pub fn is_cut(&self, instance: &str) -> bool {
        lock(&self.cut).contains(instance)
    }

    pub fn mend_all(&self) {
        lock(&self.cut).clear();
    }
}

/// The whole ruleset; the same world always gives the same text.
pub fn render(world: &World, cut: &BTreeSet<String>) -> String {
    let members = members(world);
    let mut out = String::from("table ip lab\ndelete table ip lab\ntable ip lab {\n");
    for group in &world.groups {
        chain(&mut out, &format!("in_{}", name(&group.id)), &group.ingress, "saddr", &members);
        chain(&mut out, &format!("out_{}", name(&group.id)), &group.egress, "daddr", &members);
    }
    let mut instances: Vec<_> = world.instances.iter().filter(|instance| instance.placeable()).collect();
    instances.sort_by(|one, other| one.id.cmp(&other.id));
    let (mut inward, mut outward, mut public) = (Vec::new(), Vec::new(), Vec::new());
    for instance in instances {
        let (id, Some(address)) = (name(&instance.id), instance.private_ip) else { continue };
        for way in ["in", "out"] {
            let _ = writeln!(out, "  chain {way}_{id} {{");
            for group in instance.groups.iter().filter(|id| world.groups.iter().any(|group| group.id == **id)) {
                let _ = writeln!(out, "    jump {way}_{}", name(group));
            }
            out.push_str("    drop\n  }\n");
        }
        inward.push(format!("{address} : jump in_{id}"));
        outward.push(format!("\"{}\" : jump out_{id}", network::link(&instance.id)));
        public.extend(instance.public_ip.map(|public| (public, address)));
    }
    translation(&mut out, &public);
    base(&mut out, &inward, &outward);
    cables(&mut out, world, cut);
    out.push_str("}\n");
    out
}

/// Before and after everything else, so that open connections are lost as well.
fn cables(out: &mut String, world: &World, cut: &BTreeSet<String>) {
    let (mut from, mut to) = (String::new(), String::new());
    for instance in world.instances.iter().filter(|instance| cut.contains(&instance.id)) {
        let _ = writeln!(from, "    iifname \"{}\" drop", network::link(&instance.id));
        if let Some(address) = instance.private_ip {
            let _ = writeln!(to, "    ip daddr {address} drop");
        }
    }
    let _ = write!(
        out,
        "  chain cut_from {{ type filter hook prerouting priority raw;\n{from}  }}\n\
        \x20 chain cut_to {{ type filter hook postrouting priority 300;\n{to}  }}\n"
    );
}

/// The private addresses of each group's members.
fn members(world: &World) -> BTreeMap<&str, Vec<Ipv4Addr>> {
    let mut members: BTreeMap<&str, Vec<Ipv4Addr>> = BTreeMap::new();
    for instance in world.instances.iter().filter(|instance| instance.placeable()) {
        for group in &instance.groups {
            members.entry(group).or_default().extend(instance.private_ip);
        }
    }
    for addresses in members.values_mut() {
        addresses.sort_unstable();
    }
    members
}

/// One group's rules of one direction; what none of them accepts goes back to the caller.
fn chain(out: &mut String, chain: &str, rules: &[Rule], side: &str, members: &BTreeMap<&str, Vec<Ipv4Addr>>) {
    let _ = writeln!(out, "  chain {chain} {{");
    let mut lines: Vec<String> = rules.iter().filter_map(|rule| line(rule, side, members)).collect();
    lines.sort_unstable();
    for line in lines {
        let _ = writeln!(out, "    {line}");
    }
    out.push_str("  }\n");
}

fn line(rule: &Rule, side: &str, members: &BTreeMap<&str, Vec<Ipv4Addr>>) -> Option<String> {
    let peer = match (&rule.cidr, &rule.group) {
        (Some(cidr), _) if cidr == "0.0.0.0/0" => String::new(),
        // one line that nft does not take would keep all others out of force
        (Some(cidr), _) if !is_cidr(cidr) => return None,
        (Some(cidr), _) => format!("ip {side} {cidr} "),
        (None, Some(group)) => {
            let addresses = members.get(group.as_str())?;
            let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!("ip {side} {{ {} }} ", list.join(", "))
        }
        (None, None) => return None, // IPv6 and prefix lists: the lab has neither
    };
    let ports = match (rule.from, rule.to) {
        (Some(from), Some(to)) if from >= 0 && from == to => Some(from.to_string()),
        (Some(from), Some(to)) if from > to && ["tcp", "udp"].contains(&rule.protocol.as_str()) => return None,
        (Some(from), Some(to)) if from >= 0 => Some(format!("{from}-{to}")),
        _ => None,
    };
    let protocol = match (rule.protocol.as_str(), ports) {
        ("-1", _) => String::new(),
        (protocol @ ("tcp" | "udp"), Some(ports)) => format!("{protocol} dport {ports} "),
        ("icmp", _) => match (rule.from, rule.to) {
            (Some(kind), Some(code)) if kind >= 0 && code >= 0 => format!("icmp type {kind} icmp code {code} "),
            (Some(kind), _) if kind >= 0 => format!("icmp type {kind} "),
            _ => "meta l4proto 1 ".to_owned(),
        },
        (protocol, _) if ["tcp", "udp"].contains(&protocol) || protocol.parse::<u8>().is_ok() => {
            format!("meta l4proto {protocol} ")
        }
        _ => return None,
    };
    Some(format!("{peer}{protocol}accept"))
}

fn is_cidr(text: &str) -> bool {
    let parts = text.split_once('/');
    parts.is_some_and(|(address, length)| {
        address.parse::<Ipv4Addr>().is_ok() && length.parse::<u8>().is_ok_and(|length| length <= 32)
    })
}

/// Public addresses, one to one, as an internet gateway does it.
fn translation(out: &mut String, public: &[(Ipv4Addr, Ipv4Addr)]) {
    let pairs = |turn: fn(&(Ipv4Addr, Ipv4Addr)) -> (Ipv4Addr, Ipv4Addr)| -> String {
        let list: Vec<String> = public.iter().map(turn).map(|(from, to)| format!("{from} : {to}")).collect();
        if list.is_empty() { String::new() } else { format!(" elements = {{ {} }};", list.join(", ")) }
    };
    let _ = write!(
        out,
        "  map private_of {{ type ipv4_addr : ipv4_addr;{} }}\n  map public_of {{ type ipv4_addr : ipv4_addr;{} }}\n",
        pairs(|pair| *pair),
        pairs(|(public, private)| (*private, *public)),
    );
    let _ = write!(
        out,
        "  chain arriving {{ type nat hook prerouting priority dstnat; dnat to ip daddr map @private_of; }}\n\
        \x20 chain from_the_operator {{ type nat hook output priority -100; dnat to ip daddr map @private_of; }}\n\
        \x20 chain leaving {{ type nat hook postrouting priority srcnat;\n\
        \x20   ct original ip daddr {} snat to ip saddr map @public_of;\n  }}\n",
        hub::PUBLIC
    );
}

/// The two places where packets are judged; answers to what was let through are let through.
fn base(out: &mut String, inward: &[String], outward: &[String]) {
    let map = |key: &str, entries: &[String]| match entries {
        [] => String::new(),
        entries => format!("    {key} vmap {{ {} }}\n", entries.join(", ")),
    };
    let _ = write!(
        out,
        "  chain egress {{ type filter hook prerouting priority mangle;\n\
        \x20   ct state established,related accept\n\
        \x20   ip daddr {dns} meta l4proto {{ tcp, udp }} th dport 53 accept\n{}  }}\n\
        \x20 chain ingress {{ type filter hook postrouting priority 110;\n\
        \x20   oifname \"lo\" ip daddr {{ {nobody} }} drop\n\
        \x20   ct state established,related accept\n{}  }}\n",
        map("iifname", outward),
        map("ip daddr", inward),
        dns = hub::DNS,
        nobody = hub::PRIVATE.iter().chain([&hub::PUBLIC]).copied().collect::<Vec<_>>().join(", "),
    );
}

fn name(id: &str) -> String {
    id.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Group, Instance};

    fn rule(protocol: &str, from: i32, to: i32, cidr: Option<&str>, group: Option<&str>) -> Rule {
        Rule {
            protocol: protocol.into(),
            from: Some(from),
            to: Some(to),
            cidr: cidr.map(Into::into),
            group: group.map(Into::into),
        }
    }

    fn world() -> World {
        let instance = |id: &str, ip: &str, public: Option<&str>| Instance {
            id: id.into(),
            account: String::new(),
            region: String::new(),
            state: "running".into(),
            name: String::new(),
            private_ip: ip.parse().ok(),
            public_ip: public.and_then(|ip| ip.parse().ok()),
            mac: None,
            subnet: None,
            subnet_cidr: Some("10.20.0.0/20".into()),
            groups: vec!["sg-1".into()],
            public_key: None,
            user_data: None,
            login_user: String::new(),
            image: String::new(),
        };
        World {
            instances: vec![instance("i-b", "10.20.0.5", None), instance("i-a", "10.20.0.4", Some("198.18.1.10"))],
            groups: vec![Group {
                id: "sg-1".into(),
                ingress: vec![
                    rule("tcp", 22, 22, Some("203.0.113.0/24"), None),
                    rule("tcp", 2379, 2380, None, Some("sg-1")),
                    rule("4", -1, -1, None, Some("sg-1")),
                    rule("udp", 9000, 9100, None, Some("sg-1")),
                    rule("icmp", -1, -1, None, Some("sg-1")),
                    rule("-1", -1, -1, None, Some("sg-1")),
                    rule("icmp", 8, -1, Some("0.0.0.0/0"), None),
                    rule("tcp", 80, 80, None, Some("sg-empty")),
                    rule("tcp", 81, 81, Some("10.0.0.0/33"), None),
                    rule("tcp", 82, 80, Some("10.0.0.0/8"), None),
                    rule("bogus", -1, -1, Some("10.0.0.0/8"), None),
                ],
                egress: vec![rule("-1", -1, -1, Some("0.0.0.0/0"), None)],
            }],
            zones: vec![],
        }
    }

    #[test]
    fn rules_of_every_kind() {
        let text = render(&world(), &BTreeSet::from(["i-b".to_owned()]));
        for line in [
            "    ip saddr 203.0.113.0/24 tcp dport 22 accept\n",
            "    ip saddr { 10.20.0.4, 10.20.0.5 } tcp dport 2379-2380 accept\n",
            "    ip saddr { 10.20.0.4, 10.20.0.5 } meta l4proto 4 accept\n",
            "    ip saddr { 10.20.0.4, 10.20.0.5 } udp dport 9000-9100 accept\n",
            "    ip saddr { 10.20.0.4, 10.20.0.5 } meta l4proto 1 accept\n",
            "    ip saddr { 10.20.0.4, 10.20.0.5 } accept\n",
            "    icmp type 8 accept\n",
            "  chain out_sg_1 {\n    accept\n  }\n",
            "  chain in_i_a {\n    jump in_sg_1\n    drop\n  }\n",
            "elements = { 198.18.1.10 : 10.20.0.4 };",
            "priority raw;\n    iifname \"vi-b\" drop\n",
            "ip daddr vmap { 10.20.0.4 : jump in_i_a, 10.20.0.5 : jump in_i_b }",
        ] {
            assert!(text.contains(line), "{line:?} is missing in\n{text}");
        }
        assert!(!text.contains("dport 80"), "a group without members opens nothing");
        for text_of_nonsense in ["/33", "82-80", "bogus"] {
            assert!(!text.contains(text_of_nonsense), "{text_of_nonsense} would keep nft from loading the rest");
        }
    }

    #[test]
    fn an_empty_world_is_a_valid_ruleset() {
        let text = render(&World::default(), &BTreeSet::new());
        assert!(!text.contains("vmap") && !text.contains("elements"));
    }
}
