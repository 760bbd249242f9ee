//! Security groups, their rules, and key pairs.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

use super::world::{Answer, Refusal, World, check_tags, not_found};
use crate::cloud::resolve::{self, known};
use crate::desired::{Peer, Protocol, Rule};
use crate::observed::{KeyPair, SecurityGroup, Tags};
use crate::plan::{Changed, Ref};

/// Rules are the same rule whatever their descriptions.
fn same(one: &Rule, other: &Rule) -> bool {
    one.egress == other.egress && one.protocol == other.protocol && one.ports == other.ports && one.peer == other.peer
}

/// `a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*`, at most 255 (API reference of CreateSecurityGroup and IpRange).
fn description_is_allowed(text: &str) -> bool {
    text.len() <= 255 && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-:/()#,@[]+=&;{}!$* ".contains(c))
}

impl World {
    /// A new group lets everything out, until that rule is revoked.
    pub(super) fn create_security_group(&mut self, vpc: &Ref, name: &str, description: &str, tags: &Tags) -> Answer<Changed> {
        check_tags(tags)?;
        let vpc = known(vpc)?.to_owned();
        if !self.vpcs.contains_key(&vpc) {
            return Err(not_found(&vpc));
        }
        if name.is_empty() || name.len() > 255 || name.starts_with("sg-") || !description_is_allowed(name) {
            return Err(Refusal::new("InvalidParameterValue", format!("Value ({name}) for parameter GroupName is invalid.")));
        }
        if description.is_empty() || !description_is_allowed(description) {
            return Err(Refusal::new("InvalidParameterValue", "Value for parameter GroupDescription is invalid."));
        }
        if self.security_groups.values().any(|group| group.vpc == vpc && group.name == name) {
            return Err(Refusal::new(
                "InvalidGroup.Duplicate",
                format!("The security group '{name}' already exists for VPC '{vpc}'"),
            ));
        }
        let id = self.id("sg");
        let out = Rule {
            egress: true,
            protocol: Protocol::All,
            ports: None,
            peer: Peer::Cidr(Ipv4Net::default()),
            description: String::new(),
        };
        let group = SecurityGroup { id: id.clone(), name: name.to_owned(), vpc, rules: vec![out], tags: tags.clone() };
        self.security_groups.insert(id.clone(), group);
        Ok(Changed { id: Some(id), ..Changed::default() })
    }

    /// Refused while an interface uses the group or a rule of another group names it.
    pub(super) fn delete_security_group(&mut self, group: &Ref) -> Answer<Changed> {
        let id = known(group)?;
        let group = self.security_groups.get(id).ok_or_else(|| not_found(id))?;
        if group.name == "default" {
            return Err(Refusal::new(
                "CannotDelete",
                format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"),
            ));
        }
        let me = Peer::Foreign(id.to_owned());
        let named = self.security_groups.values().any(|other| other.id != id && other.rules.iter().any(|rule| rule.peer == me));
        let used = self.all_interfaces().iter().any(|interface| interface.groups.iter().any(|group| group == id));
        if named || used {
            return Err(Refusal::new("DependencyViolation", format!("resource {id} has a dependent object")));
        }
        self.security_groups.remove(id);
        Ok(Changed::default())
    }

    /// All or nothing.
    pub(super) fn authorize_rules(
        &mut self,
        group: &Ref,
        egress: bool,
        rules: &[Rule],
        groups: &BTreeMap<String, Ref>,
    ) -> Answer<Changed> {
        let id = known(group)?;
        let rules = resolve::rules(rules, groups)?;
        let mut held = self.security_groups.get(id).ok_or_else(|| not_found(id))?.rules.clone();
        if rules.is_empty() {
            return Err(Refusal::new("MissingParameter", "Either 'ipPermissions' or 'securityGroupRuleIds' should be provided."));
        }
        for rule in rules {
            check_rule(&rule)?;
            if let Peer::Foreign(peer) = &rule.peer
                && peer.starts_with("sg-")
                && !self.security_groups.contains_key(peer)
            {
                return Err(not_found(peer));
            }
            // AWS keeps the network of an address range, not its host bits.
            let peer = match rule.peer {
                Peer::Cidr(cidr) => Peer::Cidr(cidr.trunc()),
                peer => peer,
            };
            let rule = Rule { egress, peer, ..rule };
            if held.iter().any(|other| same(other, &rule)) {
                return Err(Refusal::new("InvalidPermission.Duplicate", "the specified rule already exists"));
            }
            held.push(rule);
        }
        if held.iter().filter(|rule| rule.egress == egress).count() > 60 {
            return Err(Refusal::new(
                "RulesPerSecurityGroupLimitExceeded",
                "The maximum number of rules per security group has been reached.",
            ));
        }
        if let Some(group) = self.security_groups.get_mut(id) {
            group.rules = held;
        }
        Ok(Changed::default())
    }

    /// All or nothing.
    pub(super) fn revoke_rules(
        &mut self,
        group: &Ref,
        egress: bool,
        rules: &[Rule],
        groups: &BTreeMap<String, Ref>,
    ) -> Answer<Changed> {
        let id = known(group)?;
        let rules = resolve::rules(rules, groups)?;
        let mut held = self.security_groups.get(id).ok_or_else(|| not_found(id))?.rules.clone();
        if rules.is_empty() {
            return Err(Refusal::new("MissingParameter", "Either 'ipPermissions' or 'securityGroupRuleIds' should be provided."));
        }
        for rule in rules {
            let rule = Rule { egress, ..rule };
            let before = held.len();
            held.retain(|other| !same(other, &rule));
            if held.len() == before {
                return Err(Refusal::new(
                    "InvalidPermission.NotFound",
                    "The specified rule does not exist in this security group.",
                ));
            }
        }
        if let Some(group) = self.security_groups.get_mut(id) {
            group.rules = held;
        }
        Ok(Changed::default())
    }

    pub(super) fn import_key_pair(&mut self, name: &str, public_key: &str, tags: &Tags) -> Answer<Changed> {
        check_tags(tags)?;
        if self.key_pairs.contains_key(name) {
            return Err(Refusal::new("InvalidKeyPair.Duplicate", format!("The keypair already exists: {name}")));
        }
        if !(public_key.starts_with("ssh-ed25519 ") || public_key.starts_with("ssh-rsa ")) {
            return Err(Refusal::new("InvalidKey.Format", "Key is not in valid OpenSSH public key format"));
        }
        let id = self.id("key");
        let pair =
            KeyPair { id: id.clone(), name: name.to_owned(), public_key: Some(public_key.trim().to_owned()), tags: tags.clone() };
        self.key_pairs.insert(name.to_owned(), pair);
        Ok(Changed { id: Some(id), ..Changed::default() })
    }

    /// AWS answers "yes" for a name that does not exist.
    pub(super) fn delete_key_pair(&mut self, name: &str) -> Answer<Changed> {
        self.key_pairs.remove(name);
        Ok(Changed::default())
    }
}

fn check_rule(rule: &Rule) -> Answer<()> {
    let ports_wanted = matches!(rule.protocol, Protocol::Tcp | Protocol::Udp);
    if ports_wanted != rule.ports.is_some() && rule.protocol != Protocol::Icmp {
        return Err(Refusal::new("InvalidParameterValue", "Invalid value for portRange"));
    }
    if let (true, Some((from, to))) = (ports_wanted, rule.ports)
        && from > to
    {
        return Err(Refusal::new("InvalidParameterValue", format!("Invalid TCP/UDP port range ({from}:{to})")));
    }
    if !description_is_allowed(&rule.description) {
        return Err(Refusal::new(
            "InvalidParameterValue",
            "Invalid rule description. Valid descriptions are strings less than 256 characters from the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*",
        ));
    }
    Ok(())
}
