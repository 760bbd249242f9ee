//! Security groups and their rules.

use std::collections::BTreeMap;

use crate::cluster::Role;
use crate::desired::firewall::SecurityGroup;
use crate::desired::{Peer, Protocol, ResourceId, Rule};
use crate::plan::action::Call;
use crate::plan::drift::{BY_HAND, BY_SPEC, Drift};
use crate::plan::planner::{Planner, create, create_id, update};
use crate::plan::{Change, Ref, Tags};

/// `kubernetes.io/cluster/<name> = owned` stands on the groups of Kubernetes machines only, and each machine has exactly one
/// group: the AWS cloud controller adds its rules there and refuses to choose between two.
pub fn group_tags(planner: &Planner<'_>, resource: &ResourceId) -> Tags {
    let key = format!("kubernetes.io/cluster/{}", planner.input.cluster.name);
    match resource {
        ResourceId::SecurityGroup(Role::Bastion) => planner.tags(resource, &[]),
        _ => planner.tags(resource, &[(&key, "owned")]),
    }
}

pub fn groups(planner: &mut Planner<'_>) {
    for group in &planner.desired.security_groups {
        let resource = ResourceId::SecurityGroup(group.role);
        if planner.exists(&resource) {
            continue;
        }
        let call = Change::CreateSecurityGroup {
            vpc: planner.id_of(&ResourceId::Vpc),
            name: group.name.clone(),
            description: group.description.clone(),
            tags: group_tags(planner, &resource),
        };
        planner.add(create(resource, vec![Call::Change(call)], vec![create_id(&ResourceId::Vpc)]));
    }
}

/// Id of the action that sets a group's rules.
pub fn rules_id(role: Role) -> String {
    format!("rules {}", ResourceId::SecurityGroup(role))
}

/// Every new group comes with a rule that lets everything out, without a description (EC2 user guide, "Default security groups").
fn rules_of_a_new_group() -> Vec<Rule> {
    let peer = Peer::Cidr(ipnet::Ipv4Net::default());
    vec![Rule { egress: true, protocol: Protocol::All, ports: None, peer, description: String::new() }]
}

pub fn rules(planner: &mut Planner<'_>) {
    let roles: BTreeMap<String, Role> = planner
        .found
        .security_groups
        .iter()
        .filter_map(|(resource, twins)| match resource {
            ResourceId::SecurityGroup(role) => Some((twins.first()?.id.clone(), *role)),
            _ => None,
        })
        .collect();
    for group in &planner.desired.security_groups {
        let resource = ResourceId::SecurityGroup(group.role);
        let observed = planner.found.security_groups.get(&resource).and_then(|twins| twins.first());
        let is_new = observed.is_none();
        let have = observed.map_or_else(rules_of_a_new_group, |group| named_peers(&group.rules, &roles));
        let (add, remove) = difference(group, &have);
        let drift = observed.map_or_else(Vec::new, |observed| drift(planner, &resource, group.role, &observed.id, &add, &remove));
        let by_hand = |rule: &Rule| drift.iter().any(|(changed, _)| changed == rule);
        let access = |rule: &Rule| Rule { description: String::new(), ..rule.clone() };
        // What differs in its description only is no access that somebody gained; to take it away first would cut off others.
        let widened = |rule: &Rule| by_hand(rule) && !group.rules.iter().any(|wanted| access(wanted) == access(rule));
        let (gained, remove): (Vec<Rule>, Vec<Rule>) = remove.into_iter().partition(widened);
        if !gained.is_empty() {
            let mut action = update("revoke", resource.clone(), calls(planner, &resource, &gained, true), BY_HAND.into());
            action.details = gained.iter().map(|rule| format!("- {}", words(rule))).collect();
            action.disruptive = Some("connections that the removed rules allowed end".to_owned());
            planner.drifted(
                &mut action,
                drift.iter().filter(|(rule, _)| gained.contains(rule)).map(|(_, drift)| drift.clone()).collect(),
            );
            planner.revoked.push(action);
        }
        if add.is_empty() && remove.is_empty() {
            continue;
        }
        // Revoked first: a rule that differs in its description only is a duplicate to AWS while the old one stands.
        let mut all = calls(planner, &resource, &remove, true);
        all.extend(calls(planner, &resource, &add, false));
        let mut reasons: Vec<String> = vec![];
        let rest = || add.iter().chain(&remove);
        if !rest().all(by_hand) {
            reasons.push(reason(planner, is_new, rest().filter(|rule| !by_hand(rule)), &remove));
        }
        if rest().any(by_hand) {
            reasons.push(BY_HAND.into());
        }
        let mut action = update("rules", resource, all, String::new());
        action.reasons = reasons;
        action.id = rules_id(group.role);
        action.after = planner.desired.security_groups.iter().map(|g| create_id(&ResourceId::SecurityGroup(g.role))).collect();
        if !is_new {
            action.details = add.iter().map(|rule| format!("+ {}", words(rule))).collect();
            action.details.extend(remove.iter().map(|rule| format!("- {}", words(rule))));
            action.disruptive = (!remove.is_empty()).then(|| "connections that the removed rules allowed end".to_owned());
        }
        planner
            .drifted(&mut action, drift.into_iter().filter(|(rule, _)| !gained.contains(rule)).map(|(_, drift)| drift).collect());
        planner.add(action);
    }
}

/// Calls that revoke or authorise these rules, each direction at once.
fn calls(planner: &Planner<'_>, resource: &ResourceId, rules: &[Rule], revoke: bool) -> Vec<Call> {
    let mut calls = vec![];
    for egress in [false, true] {
        let rules: Vec<Rule> = rules.iter().filter(|rule| rule.egress == egress).cloned().collect();
        if rules.is_empty() {
            continue;
        }
        let groups = peers(planner, &rules);
        let group = planner.id_of(resource);
        calls.push(Call::Change(if revoke {
            Change::RevokeRules { group, egress, rules, groups }
        } else {
            Change::AuthorizeRules { group, egress, rules, groups }
        }));
    }
    calls
}

/// Rules that no applied spec explains: there, and never asked for; or asked for once, and not there any more.
fn drift(
    planner: &Planner<'_>,
    resource: &ResourceId,
    role: Role,
    id: &str,
    add: &[Rule],
    remove: &[Rule],
) -> Vec<(Rule, Drift)> {
    if !planner.was_finished(resource) {
        return vec![];
    }
    let previous = planner.input.previous.map(crate::desired::firewall::security_groups).unwrap_or_default();
    let of = |rule: &Rule, is: &str, was: &str| {
        let words = words(rule).split_whitespace().collect::<Vec<_>>().join(" ");
        (rule.clone(), Drift::new(resource, id, words, is, was))
    };
    let lost = |rule: &&Rule| previous.iter().any(|group| group.role == role && group.rules.contains(rule));
    let gained = remove.iter().filter(|rule| !planner.had_rule(role, rule)).map(|rule| of(rule, "there", "not there"));
    add.iter().filter(lost).map(|rule| of(rule, "not there", "there")).chain(gained).collect()
}

/// Of the rules that were not changed by hand.
fn reason<'r>(planner: &Planner<'_>, is_new: bool, mut rules: impl Iterator<Item = &'r Rule>, remove: &[Rule]) -> String {
    if is_new {
        return "new group".into();
    }
    let from_spec = planner.input.previous.is_some_and(|previous| {
        let before = crate::desired::firewall::security_groups(previous);
        rules.all(|rule| before.iter().any(|group| group.rules.contains(rule)) == remove.contains(rule))
    });
    if from_spec { BY_SPEC.into() } else { "differs in the account".into() }
}

/// Rules to add and to remove. Rules that the cluster's own controllers made stay: their peer is a group that is not the
/// cluster's, or their description is in a controller's words.
fn difference(group: &SecurityGroup, have: &[Rule]) -> (Vec<Rule>, Vec<Rule>) {
    let add = group.rules.iter().filter(|rule| !have.contains(rule)).cloned().collect();
    let controllers = ["kubernetes.io/", "elbv2.k8s.aws/"];
    let ours = |rule: &&Rule| {
        let group = matches!(&rule.peer, Peer::Foreign(id) if id.starts_with("sg-"));
        !group && !controllers.iter().any(|words| rule.description.starts_with(words))
    };
    let remove = have.iter().filter(|rule| !group.rules.contains(rule)).filter(ours).cloned().collect();
    (add, remove)
}

fn named_peers(rules: &[Rule], roles: &BTreeMap<String, Role>) -> Vec<Rule> {
    rules
        .iter()
        .cloned()
        .map(|mut rule| {
            if let Peer::Foreign(id) = &rule.peer
                && let Some(role) = roles.get(id)
            {
                rule.peer = Peer::Group(*role);
            }
            rule
        })
        .collect()
}

/// Group ids that rules refer to, by role name.
pub fn peers(planner: &Planner<'_>, rules: &[Rule]) -> BTreeMap<String, Ref> {
    rules
        .iter()
        .filter_map(|rule| match rule.peer {
            Peer::Group(role) => Some((role.as_str().to_owned(), planner.id_of(&ResourceId::SecurityGroup(role)))),
            Peer::Cidr(_) | Peer::Foreign(_) => None,
        })
        .collect()
}

/// `tcp 6443 from 198.51.100.0/24        API server, api.access`
pub fn words(rule: &Rule) -> String {
    let protocol = match rule.protocol {
        Protocol::Other(number) => &format!("protocol {number}"),
        Protocol::All => "all",
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Icmp => "icmp",
        Protocol::IpInIp => "ip-in-ip",
    };
    let ports = match rule.ports {
        None => String::new(),
        Some((first, last)) if first == last => format!(" {first}"),
        Some((first, last)) => format!(" {first}-{last}"),
    };
    let direction = if rule.egress { "to" } else { "from" };
    let peer = match &rule.peer {
        Peer::Cidr(cidr) => cidr.to_string(),
        Peer::Group(role) => format!("{} machines", role.as_str()),
        Peer::Foreign(id) => id.clone(),
    };
    let description = if rule.description.is_empty() { "no description" } else { &rule.description };
    format!("{:<42} {description}", format!("{protocol}{ports} {direction} {peer}"))
}
