//! Security groups, their rules, and key pairs.

use std::collections::BTreeMap;

use aws_sdk_ec2::primitives::Blob;
use aws_sdk_ec2::types::{IpPermission, IpRange, Ipv6Range, PrefixListId, ResourceType, UserIdGroupPair};

use super::pages::{PAGE, pages, scoped, seen_tags, tagged, within};
use super::send::{Repeat, send};
use super::{AwsCloud, Result, hole, made, unsent};
use crate::cloud::resolve::{self, known};
use crate::cloud::{Scope, calls};
use crate::desired::{Peer, Protocol, Rule};
use crate::observed::{KeyPair, SecurityGroup, Tags};
use crate::plan::{Changed, Ref};

impl AwsCloud {
    pub(super) async fn list_security_groups(&self, scope: &Scope) -> Result<Vec<SecurityGroup>> {
        let request = self.ec2.describe_security_groups().filters(scoped(scope, "vpc-id")).max_results(PAGE);
        let fetch = |token| request.clone().set_next_token(token).send();
        let pages = pages(&self.pace, &calls::DESCRIBE_SECURITY_GROUPS, fetch, |page| page.next_token()).await?;
        let seen = pages.iter().flat_map(|page| page.security_groups()).filter_map(|group| {
            let ingress = group.ip_permissions().iter().flat_map(|permission| seen_rules(permission, false));
            let egress = group.ip_permissions_egress().iter().flat_map(|permission| seen_rules(permission, true));
            Some(SecurityGroup {
                id: group.group_id()?.to_owned(),
                name: group.group_name()?.to_owned(),
                vpc: group.vpc_id()?.to_owned(),
                rules: ingress.chain(egress).collect(),
                tags: seen_tags(group.tags()),
            })
        });
        Ok(seen.filter(|one| within(scope, &one.tags)).collect())
    }

    /// Key pairs belong to no VPC; the call has no pages.
    pub(super) async fn list_key_pairs(&self, scope: &Scope) -> Result<Vec<KeyPair>> {
        if matches!(scope, Scope::Vpc(_)) {
            return Ok(Vec::new());
        }
        let request = self.ec2.describe_key_pairs().filters(scoped(scope, "vpc-id")).include_public_key(true);
        let answer = send(&self.pace, &calls::DESCRIBE_KEY_PAIRS, Repeat::Harmless, || request.clone().send()).await?;
        let seen = answer.key_pairs().iter().filter_map(|pair| {
            Some(KeyPair {
                id: pair.key_pair_id().unwrap_or_default().to_owned(),
                name: pair.key_name()?.to_owned(),
                public_key: pair.public_key().map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()),
                tags: seen_tags(pair.tags()),
            })
        });
        Ok(seen.filter(|one| within(scope, &one.tags)).collect())
    }

    pub(super) async fn create_security_group(&self, vpc: &Ref, name: &str, description: &str, tags: &Tags) -> Result<Changed> {
        let call = &calls::CREATE_SECURITY_GROUP;
        let request = self
            .ec2
            .create_security_group()
            .vpc_id(known(vpc).map_err(hole(call))?)
            .group_name(name)
            .description(description)
            .set_tag_specifications(tagged(ResourceType::SecurityGroup, tags).map(|t| vec![t]));
        let answer = send(&self.pace, call, Repeat::Never, || request.clone().send()).await?;
        made(call, answer.group_id())
    }

    pub(super) async fn delete_security_group(&self, group: &Ref) -> Result<Changed> {
        let call = &calls::DELETE_SECURITY_GROUP;
        let request = self.ec2.delete_security_group().group_id(known(group).map_err(hole(call))?);
        send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?;
        Ok(Changed::default())
    }

    pub(super) async fn authorize(
        &self,
        group: &Ref,
        egress: bool,
        rules: &[Rule],
        groups: &BTreeMap<String, Ref>,
    ) -> Result<Changed> {
        let call = if egress { &calls::AUTHORIZE_EGRESS } else { &calls::AUTHORIZE_INGRESS };
        let permissions = Some(permissions(call, rules, groups)?);
        let id = known(group).map_err(hole(call))?;
        if egress {
            let request = self.ec2.authorize_security_group_egress().group_id(id).set_ip_permissions(permissions);
            send(&self.pace, call, Repeat::Never, || request.clone().send()).await?;
        } else {
            let request = self.ec2.authorize_security_group_ingress().group_id(id).set_ip_permissions(permissions);
            send(&self.pace, call, Repeat::Never, || request.clone().send()).await?;
        }
        Ok(Changed::default())
    }

    pub(super) async fn revoke(
        &self,
        group: &Ref,
        egress: bool,
        rules: &[Rule],
        groups: &BTreeMap<String, Ref>,
    ) -> Result<Changed> {
        let call = if egress { &calls::REVOKE_EGRESS } else { &calls::REVOKE_INGRESS };
        let permissions = Some(permissions(call, rules, groups)?);
        let id = known(group).map_err(hole(call))?;
        if egress {
            let request = self.ec2.revoke_security_group_egress().group_id(id).set_ip_permissions(permissions);
            send(&self.pace, call, Repeat::Never, || request.clone().send()).await?;
        } else {
            let request = self.ec2.revoke_security_group_ingress().group_id(id).set_ip_permissions(permissions);
            send(&self.pace, call, Repeat::Never, || request.clone().send()).await?;
        }
        Ok(Changed::default())
    }

    pub(super) async fn import_key_pair(&self, name: &str, public_key: &str, tags: &Tags) -> Result<Changed> {
        let call = &calls::IMPORT_KEY_PAIR;
        let request = self
            .ec2
            .import_key_pair()
            .key_name(name)
            .public_key_material(Blob::new(public_key.as_bytes()))
            .set_tag_specifications(tagged(ResourceType::KeyPair, tags).map(|t| vec![t]));
        let answer = send(&self.pace, call, Repeat::Never, || request.clone().send()).await?;
        Ok(Changed { id: answer.key_pair_id().map(str::to_owned), ..Changed::default() })
    }

    pub(super) async fn delete_key_pair(&self, name: &str) -> Result<Changed> {
        let request = self.ec2.delete_key_pair().key_name(name);
        send(&self.pace, &calls::DELETE_KEY_PAIR, Repeat::Harmless, || request.clone().send()).await?;
        Ok(Changed::default())
    }
}

/// One permission for each rule, so that each keeps its description.
fn permissions(call: &'static calls::Call, rules: &[Rule], groups: &BTreeMap<String, Ref>) -> Result<Vec<IpPermission>> {
    if rules.is_empty() {
        return Err(unsent(call, "no rules"));
    }
    Ok(resolve::rules(rules, groups).map_err(hole(call))?.iter().map(permission).collect())
}

fn permission(rule: &Rule) -> IpPermission {
    let text = (!rule.description.is_empty()).then(|| rule.description.clone());
    let (from, to) = sdk_ports(rule);
    let builder = IpPermission::builder().ip_protocol(sdk_protocol(rule.protocol)).set_from_port(from).set_to_port(to);
    match &rule.peer {
        Peer::Cidr(cidr) => builder.ip_ranges(IpRange::builder().cidr_ip(cidr.trunc().to_string()).set_description(text).build()),
        Peer::Foreign(id) if id.contains(':') => {
            builder.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(id).set_description(text).build())
        }
        Peer::Foreign(id) if id.starts_with("pl-") => {
            builder.prefix_list_ids(PrefixListId::builder().prefix_list_id(id).set_description(text).build())
        }
        Peer::Foreign(id) => builder.user_id_group_pairs(UserIdGroupPair::builder().group_id(id).set_description(text).build()),
        // `resolve::rules` has turned every role into an id.
        Peer::Group(role) => {
            builder.user_id_group_pairs(UserIdGroupPair::builder().group_id(role.as_str()).set_description(text).build())
        }
    }
    .build()
}

fn sdk_protocol(protocol: Protocol) -> String {
    match protocol {
        Protocol::All => "-1".to_owned(),
        Protocol::Tcp => "tcp".to_owned(),
        Protocol::Udp => "udp".to_owned(),
        Protocol::Icmp => "icmp".to_owned(),
        Protocol::IpInIp => "4".to_owned(),
        Protocol::Other(number) => number.to_string(),
    }
}

/// For ICMP the ports are type and code, -1 for all of them.
fn sdk_ports(rule: &Rule) -> (Option<i32>, Option<i32>) {
    let code = |port: u16| if port == u16::MAX { -1 } else { i32::from(port) };
    match (rule.protocol, rule.ports) {
        (Protocol::Icmp, None) => (Some(-1), Some(-1)),
        (Protocol::Icmp, Some((kind, code_))) => (Some(i32::from(kind)), Some(code(code_))),
        (Protocol::Tcp | Protocol::Udp, Some((from, to))) => (Some(i32::from(from)), Some(i32::from(to))),
        (Protocol::Tcp | Protocol::Udp, None) => (Some(0), Some(65_535)),
        (Protocol::All, _) => (None, None),
        // Protocols without ports: AWS ignores these two, which other provisioners send as well.
        (Protocol::IpInIp | Protocol::Other(_), _) => (Some(-1), Some(65_535)),
    }
}

fn seen_protocol(text: &str) -> Option<Protocol> {
    Some(match text {
        "-1" => Protocol::All,
        "tcp" | "6" => Protocol::Tcp,
        "udp" | "17" => Protocol::Udp,
        "icmp" | "1" => Protocol::Icmp,
        "4" | "ipip" => Protocol::IpInIp,
        "icmpv6" => Protocol::Other(58),
        number => Protocol::Other(number.parse().ok()?),
    })
}

/// AWS folds rules of the same ports into one permission; here each peer is a rule again.
fn seen_rules(permission: &IpPermission, egress: bool) -> Vec<Rule> {
    let Some(protocol) = permission.ip_protocol().and_then(seen_protocol) else { return Vec::new() };
    let port = |port: i32| if port < 0 { u16::MAX } else { u16::try_from(port).unwrap_or(u16::MAX) };
    let ports = match (protocol, permission.from_port(), permission.to_port()) {
        (Protocol::Tcp | Protocol::Udp, Some(from), Some(to)) => Some((port(from), port(to))),
        (Protocol::Tcp | Protocol::Udp, _, _) => Some((0, 65_535)),
        (Protocol::Icmp, Some(kind), Some(code)) if kind >= 0 => Some((port(kind), port(code))),
        _ => None,
    };
    let rule =
        |peer, text: Option<&str>| Rule { egress, protocol, ports, peer, description: text.unwrap_or_default().to_owned() };
    let ranges = permission.ip_ranges().iter().filter_map(|range| {
        let cidr = range.cidr_ip()?.parse::<ipnet::Ipv4Net>().ok()?;
        Some(rule(Peer::Cidr(cidr.trunc()), range.description()))
    });
    let groups = permission
        .user_id_group_pairs()
        .iter()
        .filter_map(|pair| Some(rule(Peer::Foreign(pair.group_id()?.to_owned()), pair.description())));
    let wide = permission
        .ipv6_ranges()
        .iter()
        .filter_map(|range| Some(rule(Peer::Foreign(range.cidr_ipv6()?.to_owned()), range.description())));
    let lists = permission
        .prefix_list_ids()
        .iter()
        .filter_map(|list| Some(rule(Peer::Foreign(list.prefix_list_id()?.to_owned()), list.description())));
    ranges.chain(groups).chain(wide).chain(lists).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_reads_back_from_the_permission_that_it_becomes() {
        let peers = [
            Peer::Cidr("10.0.0.0/8".parse().unwrap()),
            Peer::Foreign("sg-1".into()),
            Peer::Foreign("pl-1".into()),
            Peer::Foreign("2001:db8::/32".into()),
        ];
        let kinds = [
            (Protocol::All, None),
            (Protocol::Tcp, Some((22, 22))),
            (Protocol::Tcp, Some((0, 65_535))),
            (Protocol::Udp, Some((30_000, 32_767))),
            (Protocol::Icmp, None),
            (Protocol::Icmp, Some((8, u16::MAX))),
            (Protocol::Icmp, Some((3, 4))),
            (Protocol::IpInIp, None),
            (Protocol::Other(50), None),
        ];
        for peer in peers {
            for (protocol, ports) in kinds {
                for egress in [false, true] {
                    for description in ["", "why"] {
                        let description = description.to_owned();
                        let rule = Rule { egress, protocol, ports, peer: peer.clone(), description };
                        assert_eq!(seen_rules(&permission(&rule), egress), [rule]);
                    }
                }
            }
        }
    }
}
