//! Everything that exists, as sorted text: equal before a create and after the delete, or something was left behind.

use std::fmt::{Display, Write as _};

use super::world::World;
use crate::desired::{Peer, Rule};
use crate::observed::Tags;

impl World {
    /// One line for each object; terminated instances and deleted NAT gateways are gone and have none.
    pub(super) fn snapshot(&self) -> String {
        let mut lines = Vec::new();
        for vpc in self.vpcs.values() {
            let dns = format!("support={} hostnames={}", vpc.dns_support, vpc.dns_hostnames);
            lines.push(line("vpc", &vpc.seen.id, [&vpc.seen.cidr as &dyn Display, &dns], &vpc.seen.tags));
        }
        for subnet in self.subnets.values() {
            lines.push(line("subnet", &subnet.id, [&subnet.vpc as &dyn Display, &subnet.cidr, &subnet.zone], &subnet.tags));
        }
        for gateway in self.internet_gateways.values() {
            lines.push(line("internet-gateway", &gateway.id, [&gateway.attached.join(",") as &dyn Display], &gateway.tags));
        }
        for nat in self.nat_gateways.values().filter(|nat| nat.seen.state != "deleted") {
            let nat = &nat.seen;
            let addresses = nat.allocations.join(",");
            lines.push(line("nat-gateway", &nat.id, [&nat.subnet as &dyn Display, &nat.state, &addresses], &nat.tags));
        }
        for address in self.addresses.values() {
            let association = address.association.clone().unwrap_or_else(|| "-".to_owned());
            lines.push(line("address", &address.allocation, [&address.public as &dyn Display, &association], &address.tags));
        }
        for table in self.route_tables.values() {
            lines.push(line("route-table", &table.id, [&table.vpc as &dyn Display], &table.tags));
            for route in &table.routes {
                lines.push(format!("route {} {} {} {}", table.id, route.destination, route.target, route.state));
            }
            for association in &table.associations {
                let subnet = association.subnet.as_deref().unwrap_or("main");
                lines.push(format!("association {} {} {subnet}", table.id, association.id));
            }
        }
        for group in self.security_groups.values() {
            lines.push(line("security-group", &group.id, [&group.vpc as &dyn Display, &group.name], &group.tags));
            lines.extend(group.rules.iter().map(|rule| format!("rule {} {}", group.id, rule_text(rule))));
        }
        for pair in self.key_pairs.values() {
            lines.push(line("key-pair", &pair.id, [&pair.name as &dyn Display], &pair.tags));
        }
        for instance in self.instances.values().filter(|instance| instance.seen.state != "terminated") {
            let seen = &instance.seen;
            let (subnet, address) = (seen.subnet.clone().unwrap_or_default(), seen.private_address.clone().unwrap_or_default());
            let check = format!("source-dest-check={}", seen.source_dest_check.unwrap_or(true));
            let parts = [&seen.state as &dyn Display, &seen.machine_type, &seen.image, &subnet, &address, &check];
            lines.push(line("instance", &seen.id, parts, &seen.tags));
        }
        for interface in &self.interfaces {
            lines.push(format!("interface {} {} {}", interface.id, interface.subnet, interface.description));
        }
        for zone in self.hosted_zones.values() {
            lines.push(format!("hosted-zone {} {} private={}", zone.seen.id, zone.seen.name, zone.seen.private));
            for set in zone.records.values() {
                lines.push(format!("record {} {} {} {} {}", zone.seen.id, set.name, set.kind, set.ttl, set.values.join(" ")));
            }
        }
        lines.sort();
        lines.join("\n") + "\n"
    }
}

fn line<const N: usize>(kind: &str, id: &str, parts: [&dyn Display; N], tags: &Tags) -> String {
    let mut text = format!("{kind} {id}");
    for part in parts {
        let _ = write!(text, " {part}");
    }
    for (key, value) in tags {
        let _ = write!(text, " {key}={value}");
    }
    text
}

fn rule_text(rule: &Rule) -> String {
    let direction = if rule.egress { "out" } else { "in" };
    let ports = rule.ports.map_or_else(|| "all".to_owned(), |(from, to)| format!("{from}-{to}"));
    let peer = match &rule.peer {
        Peer::Cidr(cidr) => cidr.to_string(),
        Peer::Foreign(id) => id.clone(),
        Peer::Group(role) => role.as_str().to_owned(),
    };
    format!("{direction} {:?} {ports} {peer} {}", rule.protocol, rule.description)
}
