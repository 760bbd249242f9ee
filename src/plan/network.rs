//! VPC, subnets, gateways, route tables: what to make and what to mend.

use ipnet::Ipv4Net;

use crate::desired::{Audience, ResourceId, network};
use crate::observed::RouteTable;
use crate::plan::action::{Call, Until};
use crate::plan::drift::{BY_HAND, Drift};
use crate::plan::planner::{Planner, await_id, create, create_id, update};
use crate::plan::{Change, Ref, Tags, firewall};

pub fn vpc_tags(planner: &Planner<'_>) -> Tags {
    planner.tags(&ResourceId::Vpc, &[(&owned_key(planner), "owned")])
}

fn owned_key(planner: &Planner<'_>) -> String {
    format!("kubernetes.io/cluster/{}", planner.input.cluster.name)
}

/// Load balancers of Services are placed by these tags (AWS load balancer controller, "Subnet auto-discovery").
pub fn subnet_tags(planner: &Planner<'_>, resource: &ResourceId) -> Tags {
    let public = planner.desired.network.subnets.iter().any(|subnet| subnet.id == *resource && subnet.public);
    let machines = matches!(resource, ResourceId::Subnet(Audience::Machines, _));
    let key = owned_key(planner);
    let mut extra = vec![(key.as_str(), "owned")];
    if public {
        extra.push(("kubernetes.io/role/elb", "1"));
    }
    if machines {
        extra.push(("kubernetes.io/role/internal-elb", "1"));
    }
    planner.tags(resource, &extra)
}

pub fn vpc(planner: &mut Planner<'_>) {
    let resource = ResourceId::Vpc;
    let vpc = planner.id_of(&resource);
    let attribute = |name: &str| {
        let (vpc, attribute) = (vpc.clone(), name.to_owned());
        Call::Change(Change::ModifyVpcAttribute { vpc, attribute, value: true })
    };
    // Complete only once its default group is empty: of a new VPC that group may be listed late, and then nothing but this says that it is
    // still open.
    let rest =
        [attribute("enableDnsSupport"), attribute("enableDnsHostnames"), Call::EmptyDefaultGroup(vpc.clone()), Call::Complete];
    if planner.exists(&resource) {
        let complete = planner
            .input
            .recorded
            .resources
            .get(&resource)
            .is_some_and(|record| record.complete && Some(record.id.as_str()) == vpc.known());
        if !complete {
            planner.add(update("attributes", resource, rest.to_vec(), "its creation was interrupted".into()));
            return;
        }
        let groups = &planner.input.observed.security_groups;
        let default = groups.iter().find(|group| Some(group.vpc.as_str()) == vpc.known() && group.name == "default");
        if let Some(group) = default.filter(|group| !group.rules.is_empty()) {
            let resource = ResourceId::DefaultSecurityGroup;
            let calls = vec![Call::EmptyDefaultGroup(vpc)];
            let mut action = update("empty", resource.clone(), calls, "the VPC's default group has rules".into());
            if planner.was_finished(&ResourceId::Vpc) {
                let rules = group.rules.iter().map(|rule| {
                    let words = firewall::words(rule).split_whitespace().collect::<Vec<_>>().join(" ");
                    Drift::new(&resource, &group.id, words, "there", "not there")
                });
                planner.drifted(&mut action, rules.collect());
                action.reasons.push(BY_HAND.into());
            }
            planner.revoked.push(action);
        }
        return;
    }
    let mut calls = vec![Call::Change(Change::CreateVpc { cidr: planner.desired.network.cidr, tags: vpc_tags(planner) })];
    calls.extend(rest);
    let mut action = create(resource, calls, vec![]);
    action.details = vec![format!("cidr {}", planner.desired.network.cidr)];
    planner.add(action);
}

pub fn internet_gateway(planner: &mut Planner<'_>) {
    let resource = ResourceId::InternetGateway;
    let vpc = planner.id_of(&ResourceId::Vpc);
    let gateway = planner.id_of(&resource);
    let attach = Call::Change(Change::AttachInternetGateway { gateway: gateway.clone(), vpc: vpc.clone() });
    let Some(have) = planner.found.internet_gateways.get(&resource).and_then(|twins| twins.first()) else {
        let calls = vec![Call::Change(Change::CreateInternetGateway { tags: planner.tags(&resource, &[]) }), attach];
        planner.add(create(resource, calls, vec![create_id(&ResourceId::Vpc)]));
        return;
    };
    if !have.attached.iter().any(|attached| Some(attached.as_str()) == vpc.known()) {
        if let Some(elsewhere) = have.attached.first() {
            planner.error(
                format!("internet gateway {} is attached to {elsewhere}, which is not the cluster's", have.id),
                format!("aws ec2 detach-internet-gateway --internet-gateway-id {} --vpc-id {elsewhere}", have.id),
            );
        }
        let mut action = update("attach", resource.clone(), vec![attach], "not attached to the VPC".into());
        if let (true, Some(vpc)) = (planner.was_finished(&resource), vpc.known()) {
            let is = have.attached.first().map_or("nothing", String::as_str);
            let drift = Drift::new(&resource, &have.id, "attachment", is, vpc);
            planner.drifted(&mut action, vec![drift]);
        }
        action.after = vec![create_id(&ResourceId::Vpc)];
        planner.add(action);
    }
}

pub fn subnets(planner: &mut Planner<'_>) {
    for subnet in &planner.desired.network.subnets {
        if planner.exists(&subnet.id) {
            continue;
        }
        let call = Change::CreateSubnet {
            vpc: planner.id_of(&ResourceId::Vpc),
            cidr: subnet.cidr,
            zone: subnet.zone.clone(),
            tags: subnet_tags(planner, &subnet.id),
        };
        let mut action = create(subnet.id.clone(), vec![Call::Change(call)], vec![create_id(&ResourceId::Vpc)]);
        action.details = vec![format!("{} in {}", subnet.cidr, subnet.zone)];
        planner.add(action);
    }
}

pub fn nat_gateways(planner: &mut Planner<'_>) {
    for zone in &planner.desired.network.nat_zones {
        let address = ResourceId::NatAddress(zone.clone());
        let gateway = ResourceId::NatGateway(zone.clone());
        let subnet = ResourceId::Subnet(Audience::Utility, zone.clone());
        if !planner.exists(&address) {
            let call = Change::AllocateAddress { tags: planner.tags(&address, &[]) };
            planner.add(create(address.clone(), vec![Call::Change(call)], vec![]));
        }
        if !planner.exists(&gateway) {
            let call = Change::CreateNatGateway {
                subnet: planner.id_of(&subnet),
                allocation: planner.id_of(&address),
                token: String::new(),
                tags: planner.tags(&gateway, &[]),
            };
            let calls = vec![Call::Change(call), Call::Wait(Until::NatAvailable, Ref::Id(gateway.clone()))];
            // A NAT gateway in a subnet whose VPC has no internet gateway fails (VPC user guide, "NAT gateway basics").
            let after = [&subnet, &address, &ResourceId::InternetGateway].map(create_id).to_vec();
            planner.add(create(gateway, calls, after));
        } else if let Some(pending) = planner.found.nat_gateways.get(&gateway).and_then(|twins| twins.first())
            && pending.state == "pending"
        {
            let calls = vec![Call::Wait(Until::NatAvailable, Ref::Known(pending.id.clone()))];
            planner.add(update("await", gateway, calls, "it is starting".into()));
        }
    }
}

pub fn route_tables(planner: &mut Planner<'_>) {
    for table in &planner.desired.network.route_tables {
        let id = planner.id_of(&table.id);
        let target = planner.id_of(&table.default_route);
        let nat = matches!(table.default_route, ResourceId::NatGateway(_));
        let destination = Ipv4Net::default();
        let route = Change::CreateRoute { table: id.clone(), destination, target: target.clone(), nat };
        let mut wait_for: Vec<String> = table.subnets.iter().map(create_id).collect();
        wait_for.extend([
            create_id(&table.default_route),
            await_id(&table.default_route),
            create_id(&ResourceId::Vpc),
            create_id(&table.id),
        ]);
        wait_for.push(format!("attach {}", ResourceId::InternetGateway));
        let associate = |subnet: &ResourceId, planner: &Planner<'_>| {
            Call::Change(Change::AssociateRouteTable { table: id.clone(), subnet: planner.id_of(subnet) })
        };

        let Some(have) = planner.found.route_tables.get(&table.id).and_then(|twins| twins.first()).copied() else {
            let tags = planner.tags(&table.id, &[]);
            let vpc = planner.id_of(&ResourceId::Vpc);
            let mut calls = vec![Call::Change(Change::CreateRouteTable { vpc, token: String::new(), tags }), Call::Change(route)];
            calls.extend(table.subnets.iter().map(|subnet| associate(subnet, planner)));
            let mut action = create(table.id.clone(), calls, wait_for);
            action.details = vec![format!("0.0.0.0/0 -> {}", table.default_route)];
            planner.add(action);
            continue;
        };

        let mut calls = vec![];
        let mut details = vec![];
        let mut drift = vec![];
        match have.routes.iter().find(|route| route.destination == "0.0.0.0/0") {
            None => {
                calls.push(Call::Change(route));
                details.push(format!("+ 0.0.0.0/0 -> {}", table.default_route));
                drift.extend(route_by_hand(planner, table, &have.id, None));
            }
            Some(old) if Some(old.target.as_str()) != target.known() || old.state == "blackhole" => {
                calls.push(Call::Change(Change::ReplaceRoute { table: id.clone(), destination, target, nat }));
                details.push(format!("~ 0.0.0.0/0 -> {} ({}) -> {}", old.target, old.state, table.default_route));
                drift.extend(route_by_hand(planner, table, &have.id, Some(&old.target)));
            }
            Some(_) => {}
        }
        for subnet in &table.subnets {
            let of = |table: &RouteTable, id: &str| {
                table.associations.iter().find(|association| association.subnet.as_deref() == Some(id)).cloned()
            };
            let subnet_id = planner.found.id(subnet);
            if subnet_id.is_some_and(|id| of(have, id).is_some()) {
                continue;
            }
            let tables = &planner.input.observed.route_tables;
            let other = subnet_id.and_then(|id| tables.iter().find_map(|table| Some((&table.id, of(table, id)?))));
            // A subnet has one table; it must leave the other one first.
            let leave =
                other.as_ref().map(|(_, association)| Change::DisassociateRouteTable { association: association.id.clone() });
            calls.extend(leave.map(Call::Change));
            calls.push(associate(subnet, planner));
            details.push(format!("+ {subnet}"));
            let had = planner.applied().into_iter().any(|cluster| {
                let tables = network::network(cluster).route_tables;
                tables.iter().any(|had| had.id == table.id && had.subnets.contains(subnet))
            });
            if had && planner.was_finished(&table.id) && planner.was_finished(subnet) && planner.exists(subnet) {
                let is = other.map_or("none of the cluster's", |(other, _)| other.as_str());
                drift.push(Drift::new(&table.id, &have.id, format!("route table of {subnet}"), is, &have.id));
            }
        }
        foreign_routes(planner, table, have);
        if !calls.is_empty() {
            let mut action = update("routes", table.id.clone(), calls, "routes or subnets differ".into());
            action.details = details;
            action.after = wait_for;
            planner.drifted(&mut action, drift);
            planner.add(action);
        }
    }
}

/// Drift of a default route that leads to `is`, unless an applied spec had it lead there, or its target is what is gone.
fn route_by_hand(planner: &Planner<'_>, table: &network::RouteTable, id: &str, is: Option<&str>) -> Option<Drift> {
    let recorded = &planner.input.recorded.resources;
    let targets = planner.applied().into_iter().filter_map(|cluster| {
        let had = network::network(cluster).route_tables.into_iter().find(|had| had.id == table.id)?;
        recorded.get(&had.default_route).map(|record| record.id.as_str())
    });
    let targets: Vec<&str> = targets.collect();
    let was = targets.first()?;
    let explained = is.is_some_and(|is| targets.contains(&is)) || !planner.was_finished(&table.id);
    (!explained).then(|| Drift::new(&table.id, id, "route 0.0.0.0/0", is.unwrap_or("nothing"), *was))
}

/// Routes and subnets that somebody added: peerings, endpoints. Nobody asked for them, and somebody may need them.
fn foreign_routes(planner: &mut Planner<'_>, table: &network::RouteTable, have: &RouteTable) {
    let foreign = have.routes.iter().filter(|route| route.target != "local" && route.destination != "0.0.0.0/0");
    for route in foreign {
        let drift = Drift::new(&table.id, &have.id, format!("route {}", route.destination), &route.target, "nothing");
        let option = match (route.destination.starts_with("pl-"), route.destination.contains(':')) {
            (true, _) => "prefix-list-id",
            (_, true) => "ipv6-cidr-block",
            _ => "cidr-block",
        };
        let next = format!("aws ec2 delete-route --route-table-id {} --destination-{option} {}", have.id, route.destination);
        planner.left_alone(drift, next);
    }
    let ours: Vec<&str> = planner.desired.network.subnets.iter().filter_map(|subnet| planner.found.id(&subnet.id)).collect();
    for association in &have.associations {
        let whose = association.subnet.as_deref().unwrap_or("the VPC's main route table");
        // A zone that leaves the spec takes its subnet along.
        let leaving = planner.found.subnets.values().flatten().any(|subnet| Some(&subnet.id) == association.subnet.as_ref());
        if !ours.contains(&whose) && !leaving {
            let drift = Drift::new(&table.id, &have.id, format!("association with {whose}"), "there", "not there");
            let next = format!("aws ec2 disassociate-route-table --association-id {}", association.id);
            planner.left_alone(drift, next);
        }
    }
}
