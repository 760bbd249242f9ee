//! What goes, in the order in which AWS lets it go.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::Role;
use crate::desired::dns::owner_value;
use crate::desired::{Peer, ResourceId, Rule, tags};
use crate::observed::{HostedZone, Instance, Observed, RecordSet, SecurityGroup};
use crate::plan::action::{Action, Call, Plan, Problem, Until, Verb, Work};
use crate::plan::drift::Drift;
use crate::plan::found::Found;
use crate::plan::planner::Planner;
use crate::plan::{Change, NodeTask, RecordChange, RecordVerb, Ref, nodes};
use crate::recorded::{NodePhase, State};

/// One object to delete.
struct Doomed {
    resource: ResourceId,
    id: String,
    twin: bool,
    /// On its way out already, by an earlier run or by hand: what it holds can go only after it.
    leaving: bool,
}

impl Doomed {
    fn action_id(&self) -> String {
        if self.leaving {
            return format!("end of {} {}", self.resource, self.id);
        }
        if self.twin { format!("delete {} twin {}", self.resource, self.id) } else { format!("delete {}", self.resource) }
    }

    /// Lower goes first; all of one rank go together. Sources: VPC user guide "Delete your VPC"; reliability of peers
    /// (cluster-api-provider-aws#1846, kops#9578) shows what happens in another order.
    fn rank(&self) -> u8 {
        match self.resource {
            ResourceId::Records => 0,
            ResourceId::Instance(_) => 1,
            ResourceId::NatGateway(_) => 2,
            ResourceId::NatAddress(_) | ResourceId::PublicRouteTable | ResourceId::PrivateRouteTable(_) => 3,
            ResourceId::KeyPair => 3,
            ResourceId::SecurityGroup(_) | ResourceId::DefaultSecurityGroup => 4,
            ResourceId::Subnet(..) | ResourceId::InternetGateway => 5,
            ResourceId::Vpc => 6,
        }
    }

    /// A group that somebody else still uses is no reason to keep subnets and gateway.
    fn waits_for(&self, earlier: u8) -> bool {
        (self.rank(), earlier) != (5, 4)
    }
}

/// The plan of `delete cluster`: everything that carries the uid, whether recorded or not, and the cluster's records.
pub fn delete(cluster: &str, uid: &str, region: &str, recorded: &State, observed: &Observed) -> Plan {
    let found = Found::new(observed, uid, recorded);
    let mut doomed: Vec<Doomed> = found
        .all()
        .into_iter()
        .map(|(resource, id, _, twin)| Doomed { resource: resource.clone(), id: id.to_owned(), twin, leaving: false })
        .collect();
    doomed.extend(leaving(observed, uid));
    let mut plan = Plan {
        cluster: cluster.to_owned(),
        uid: uid.to_owned(),
        region: region.to_owned(),
        revision: recorded.revision,
        unanswered: u32::try_from(recorded.intents.len()).unwrap_or(u32::MAX),
        ..Plan::default()
    };
    let records = records(&mut plan, cluster, uid, recorded, observed);
    plan.actions = actions(doomed, &found, observed, &BTreeMap::new(), records);
    plan
}

/// Machines and NAT gateways that are ending; both hold interfaces until they have ended.
fn leaving(observed: &Observed, uid: &str) -> Vec<Doomed> {
    let instances = observed.instances.iter().filter(|instance| instance.state == "shutting-down");
    let gateways = observed.nat_gateways.iter().filter(|gateway| gateway.state == "deleting");
    let all =
        instances.map(|instance| (&instance.id, &instance.tags)).chain(gateways.map(|gateway| (&gateway.id, &gateway.tags)));
    all.filter(|(_, object_tags)| object_tags.get(tags::CLUSTER_UID).is_some_and(|of| of == uid))
        .filter_map(|(id, object_tags)| {
            let resource = object_tags.get(tags::RESOURCE)?.parse().ok()?;
            Some(Doomed { resource, id: id.clone(), twin: false, leaving: true })
        })
        .collect()
}

/// Names that kubewright may have made, below the cluster's name.
pub(super) fn owned_names(cluster: &str) -> [String; 4] {
    ["api", "api.internal", "bastion", "kubewright-owner"].map(|label| format!("{label}.{cluster}"))
}

/// Deletes the records as they are now, provided that the ownership record is ours. The ownership record goes with the rest:
/// one batch, all or nothing.
fn records(plan: &mut Plan, cluster: &str, uid: &str, recorded: &State, observed: &Observed) -> Option<Action> {
    let names = owned_names(cluster);
    let ours: Vec<&RecordSet> = observed.records.iter().filter(|record| names.contains(&record.name)).collect();
    if ours.is_empty() {
        return None;
    }
    let owner = ours.iter().find(|record| record.kind == "TXT");
    if !owner.is_some_and(|record| record.values.contains(&owner_value(cluster, uid))) {
        let list: Vec<&str> = ours.iter().map(|record| record.name.as_str()).collect();
        plan.warnings.push(format!("left alone, not marked as this cluster's: records {}", list.join(", ")));
        return None;
    }
    let special: Vec<&str> = ours.iter().filter(|record| record.special).map(|record| record.name.as_str()).collect();
    if !special.is_empty() {
        plan.errors.push(Problem {
            what: format!("records have a routing policy that kubewright did not set: {}", special.join(", ")),
            next: "delete them by hand, then run the same command again".into(),
        });
        return None;
    }
    let zone = zone_of(recorded, observed)?;
    let changes = ours
        .iter()
        .map(|record| RecordChange {
            verb: RecordVerb::Delete,
            name: record.name.clone(),
            kind: record.kind.clone(),
            ttl: record.ttl,
            values: record.values.iter().cloned().map(Ref::Known).collect(),
        })
        .collect();
    let details = ours.iter().map(|record| format!("- {} {} {}", record.name, record.kind, record.values.join(", "))).collect();
    Some(Action {
        id: format!("delete {}", ResourceId::Records),
        verb: Verb::Delete,
        resource: ResourceId::Records,
        reasons: vec![],
        details,
        after: vec![],
        disruptive: None,
        work: Work::Calls(vec![Call::Change(Change::ChangeRecords { zone, changes })]),
    })
}

fn zone_of(recorded: &State, observed: &Observed) -> Option<String> {
    let of = |zone: &HostedZone| zone.id.clone();
    let public = observed.hosted_zones.iter().find(|zone| !zone.private).or_else(|| observed.hosted_zones.first());
    recorded.resources.get(&ResourceId::Records).map(|record| record.id.clone()).or_else(|| public.map(of))
}

/// Objects with the cluster's uid that the cluster does not call for: twins of interrupted runs, machines beyond the count,
/// zones that left the spec.
pub fn surplus(planner: &mut Planner<'_>) {
    let wanted = wanted(planner);
    let mut drains = BTreeMap::new();
    let mut doomed = vec![];
    let mut refused = vec![];
    for (resource, id, object_tags, twin) in planner.found.all() {
        let stays = match resource {
            ResourceId::Instance(slot) => planner.is_wanted(slot),
            other => wanted.contains(other),
        };
        if stays && !twin {
            continue;
        }
        if let (ResourceId::Instance(slot), false) = (resource, twin) {
            match object_tags.get("kubewright.io/role").map(String::as_str) {
                Some("control-plane")
                    if planner.input.recorded.nodes.get(slot).is_some_and(|node| node.phase >= NodePhase::Prepared) =>
                {
                    refused.push(slot.clone());
                    continue;
                }
                Some("node") => {
                    let joined = planner
                        .input
                        .recorded
                        .nodes
                        .get(slot)
                        .is_some_and(|node| node.instance == id && node.phase >= NodePhase::Joined);
                    if joined {
                        drains.insert(slot.clone(), reason(planner, slot));
                    }
                }
                _ => {}
            }
        }
        doomed.push(Doomed { resource: resource.clone(), id: id.to_owned(), twin, leaving: false });
    }
    if doomed.iter().any(|doomed| !matches!(doomed.resource, ResourceId::Instance(_))) {
        doomed.extend(leaving(planner.input.observed, planner.input.uid));
    }
    for slot in refused {
        planner.error(
            format!("control plane {slot} is to go; its etcd member must be removed first"),
            format!(
                "set the count back; or, if a roll was interrupted:  kubewright rolling-update {} --abort --yes",
                planner.input.cluster.name
            ),
        );
    }
    let mut why = BTreeMap::new();
    for (slot, reason) in &drains {
        let resource = ResourceId::Instance(slot.clone());
        let stopped = instance(planner, &resource).filter(|instance| super::machines::is_stopped_worker(instance));
        // Nothing runs on a machine that is stopped, and no kubelet is there to end it: the Node goes, and with it what was bound to it.
        let task = if stopped.is_some() { NodeTask::Forget } else { NodeTask::Drain };
        let mut first = nodes::task(task, slot, vec![]);
        first.reasons = vec![reason.clone()];
        first.disruptive = Some(match stopped {
            Some(_) => "what is on its disk is lost".into(),
            None => "its pods move to other nodes".into(),
        });
        first.details.extend(nodes::forced_drain(planner, slot).filter(|_| stopped.is_none()));
        if let Some(instance) = stopped {
            first.work = Work::Node { task, slot: slot.clone(), instance: Some(instance.id.clone()) };
            if planner.was_finished(&resource) {
                let drift = Drift::new(&resource, &instance.id, "state", &*instance.state, "running");
                planner.drifted(&mut first, vec![drift]);
            }
        }
        why.insert(resource, (first.id.clone(), reason.clone()));
        planner.add(first);
    }
    let tables: Vec<String> = planner.desired.network.route_tables.iter().map(|table| format!("routes {}", table.id)).collect();
    let rules: Vec<String> = planner.desired.security_groups.iter().map(|group| super::firewall::rules_id(group.role)).collect();
    for mut action in actions(doomed, planner.found, planner.input.observed, &why, None) {
        // What stays lets go of it first.
        match action.resource {
            ResourceId::NatGateway(_) => action.after.extend(tables.clone()),
            ResourceId::SecurityGroup(_) => action.after.extend(rules.clone()),
            _ => {}
        }
        planner.add(action);
    }
}

fn instance<'a>(planner: &Planner<'a>, resource: &ResourceId) -> Option<&'a Instance> {
    planner.found.instances.get(resource).and_then(|twins| twins.first()).copied()
}

fn reason(planner: &Planner<'_>, slot: &str) -> String {
    let resource = ResourceId::Instance(slot.to_owned());
    let instance = instance(planner, &resource);
    if let Some(stopped) = instance.filter(|instance| super::machines::is_stopped_worker(instance)) {
        return format!("is {}; what is on its disk is lost", stopped.state);
    }
    let group = instance.and_then(|instance| super::machines::slot_of(&resource, instance)).map(|slot| slot.group);
    let group = group.unwrap_or_default();
    let count =
        |cluster: Option<&crate::cluster::Cluster>| cluster.and_then(|cluster| cluster.group(&group)).map(|group| group.count);
    match (count(planner.input.previous), count(Some(planner.input.cluster))) {
        (_, None) => format!("instance group {group} left the spec"),
        (Some(before), Some(now)) if before != now => format!("count {before} -> {now}"),
        (_, Some(now)) => format!("beyond the count of {now}"),
    }
}

/// But for machines.
fn wanted(planner: &Planner<'_>) -> BTreeSet<ResourceId> {
    let network = &planner.desired.network;
    let mut wanted: BTreeSet<ResourceId> = [ResourceId::Vpc, ResourceId::InternetGateway, ResourceId::KeyPair].into();
    wanted.extend(network.subnets.iter().map(|subnet| subnet.id.clone()));
    wanted.extend(
        network.nat_zones.iter().flat_map(|zone| [ResourceId::NatAddress(zone.clone()), ResourceId::NatGateway(zone.clone())]),
    );
    wanted.extend(network.route_tables.iter().map(|table| table.id.clone()));
    wanted.extend(planner.desired.security_groups.iter().map(|group| ResourceId::SecurityGroup(group.role)));
    wanted
}

/// Actions for these objects. `drains` gives, for an instance, the action to wait for and the reason.
fn actions(
    mut doomed: Vec<Doomed>,
    found: &Found<'_>,
    observed: &Observed,
    drains: &BTreeMap<ResourceId, (String, String)>,
    records: Option<Action>,
) -> Vec<Action> {
    doomed.sort_by_key(|doomed| (doomed.rank(), doomed.resource.clone(), doomed.id.clone()));
    let going: BTreeSet<&str> = doomed.iter().map(|doomed| doomed.id.as_str()).collect();
    let mut out: Vec<Action> = records.into_iter().collect();
    // Groups that refer to each other cannot be deleted while the rules stand.
    for group in observed.security_groups.iter().filter(|group| going.contains(group.id.as_str())) {
        out.extend(disarm(group, &going));
    }
    // In the order of their ranks, so that what goes before an object is the start of the list.
    let ranks: Vec<u8> = doomed.iter().map(Doomed::rank).collect();
    let ids: Vec<String> = doomed.iter().map(Doomed::action_id).collect();
    let disarmed: Vec<String> =
        out.iter().filter(|action| action.id.starts_with("disarm ")).map(|action| action.id.clone()).collect();
    let records_first: Vec<String> =
        out.iter().filter(|action| action.resource == ResourceId::Records).map(|action| action.id.clone()).collect();
    for doomed in &doomed {
        let before = ranks.partition_point(|rank| *rank < doomed.rank());
        let earlier = ids.iter().zip(&ranks).take(before);
        let mut after: Vec<String> = earlier.filter(|(_, rank)| doomed.waits_for(**rank)).map(|(id, _)| id.clone()).collect();
        let mut reasons = vec![];
        match &doomed.resource {
            ResourceId::SecurityGroup(_) => after.extend(disarmed.clone()),
            ResourceId::Instance(_) => after.extend(records_first.clone()),
            _ => {}
        }
        if doomed.leaving {
            reasons.push("is ending already".to_owned());
        } else if doomed.twin {
            reasons.push("left by an interrupted run".to_owned());
        } else if let Some((drain, reason)) = drains.get(&doomed.resource) {
            after.push(drain.clone());
            reasons.push(reason.clone());
        }
        out.push(Action {
            id: doomed.action_id(),
            verb: Verb::Delete,
            resource: doomed.resource.clone(),
            reasons,
            details: vec![],
            after,
            disruptive: None,
            work: Work::Calls(calls(doomed, found)),
        });
    }
    out
}

fn calls(doomed: &Doomed, found: &Found<'_>) -> Vec<Call> {
    let this = || Ref::Known(doomed.id.clone());
    match &doomed.resource {
        ResourceId::Instance(_) if doomed.leaving => vec![Call::Wait(Until::InstanceTerminated, this())],
        ResourceId::NatGateway(_) if doomed.leaving => vec![Call::Wait(Until::NatDeleted, this())],
        ResourceId::Instance(_) => {
            vec![Call::Change(Change::TerminateInstance { instance: this() }), Call::Wait(Until::InstanceTerminated, this())]
        }
        ResourceId::NatGateway(_) => {
            vec![Call::Change(Change::DeleteNatGateway { gateway: this() }), Call::Wait(Until::NatDeleted, this())]
        }
        ResourceId::NatAddress(_) => vec![Call::Change(Change::ReleaseAddress { allocation: this() })],
        ResourceId::PublicRouteTable | ResourceId::PrivateRouteTable(_) => {
            let tables = found.route_tables.get(&doomed.resource).into_iter().flatten();
            let associations = tables.filter(|table| table.id == doomed.id).flat_map(|table| &table.associations);
            let mut calls: Vec<Call> = associations
                .filter(|association| association.subnet.is_some())
                .map(|association| Call::Change(Change::DisassociateRouteTable { association: association.id.clone() }))
                .collect();
            calls.push(Call::Change(Change::DeleteRouteTable { table: this() }));
            calls
        }
        ResourceId::KeyPair => {
            let pairs = found.key_pairs.get(&doomed.resource).into_iter().flatten();
            pairs
                .filter(|pair| pair.id == doomed.id)
                .map(|pair| Call::Change(Change::DeleteKeyPair { name: pair.name.clone() }))
                .collect()
        }
        ResourceId::SecurityGroup(_) | ResourceId::DefaultSecurityGroup => {
            vec![Call::Change(Change::DeleteSecurityGroup { group: this() })]
        }
        ResourceId::Subnet(..) => vec![Call::Change(Change::DeleteSubnet { subnet: this() })],
        ResourceId::InternetGateway => {
            let gateways = found.internet_gateways.get(&doomed.resource).into_iter().flatten();
            let attached = gateways.filter(|gateway| gateway.id == doomed.id).flat_map(|gateway| gateway.attached.clone());
            let mut calls: Vec<Call> = attached
                .map(|vpc| Call::Change(Change::DetachInternetGateway { gateway: this(), vpc: Ref::Known(vpc) }))
                .collect();
            calls.push(Call::Change(Change::DeleteInternetGateway { gateway: this() }));
            calls
        }
        ResourceId::Vpc => vec![Call::Change(Change::DeleteVpc { vpc: this() })],
        ResourceId::Records => vec![],
    }
}

/// Revokes rules that refer to other groups that go too.
fn disarm(group: &SecurityGroup, going: &BTreeSet<&str>) -> Option<Action> {
    let rules: Vec<Rule> = group
        .rules
        .iter()
        .filter(|rule| matches!(&rule.peer, Peer::Foreign(id) if going.contains(id.as_str())))
        .cloned()
        .collect();
    if rules.is_empty() {
        return None;
    }
    let resource =
        group.tags.get(tags::RESOURCE).and_then(|text| text.parse().ok()).unwrap_or(ResourceId::SecurityGroup(Role::Node));
    let calls = [false, true]
        .into_iter()
        .filter_map(|egress| {
            let rules: Vec<Rule> = rules.iter().filter(|rule| rule.egress == egress).cloned().collect();
            let group = Ref::Known(group.id.clone());
            (!rules.is_empty()).then(|| Call::Change(Change::RevokeRules { group, egress, rules, groups: BTreeMap::new() }))
        })
        .collect();
    Some(Action {
        id: format!("disarm {resource} {}", group.id),
        verb: Verb::Delete,
        resource,
        reasons: vec![],
        details: vec![],
        after: vec![],
        disruptive: None,
        work: Work::Calls(calls),
    })
}
