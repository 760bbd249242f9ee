//! VPC, subnets, gateways, route tables: what to make and what to mend.

use ipnet::Ipv4Net;

use crate::desired::{Audience, ResourceId};
use crate::plan::action::{Call, Until};
use crate::plan::planner::{Planner, create, create_id, update};
use crate::plan::{Change, Ref, Tags};

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
    let attributes = [attribute("enableDnsSupport"), attribute("enableDnsHostnames"), Call::Complete];
    if planner.exists(&resource) {
        let complete = planner
            .input
            .recorded
            .resources
            .get(&resource)
            .is_some_and(|record| record.complete && Some(record.id.as_str()) == vpc.known());
        if !complete {
            planner.add(update("attributes", resource, attributes.to_vec(), "its creation was interrupted".into()));
        }
        let default_has_rules = planner
            .input
            .observed
            .security_groups
            .iter()
            .any(|group| Some(group.vpc.as_str()) == vpc.known() && group.name == "default" && !group.rules.is_empty());
        if default_has_rules {
            let calls = vec![Call::EmptyDefaultGroup(vpc)];
            planner.add(update("empty", ResourceId::DefaultSecurityGroup, calls, "the VPC's default group has rules".into()));
        }
        return;
    }
    let mut calls = vec![Call::Change(Change::CreateVpc { cidr: planner.desired.network.cidr, tags: vpc_tags(planner) })];
    calls.extend(attributes);
    calls.push(Call::EmptyDefaultGroup(vpc));
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
        let mut action = update("attach", resource, vec![attach], "not attached to the VPC".into());
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
        wait_for.extend([create_id(&table.default_route), create_id(&ResourceId::Vpc), create_id(&table.id)]);
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
        match have.routes.iter().find(|route| route.destination == "0.0.0.0/0") {
            None => {
                calls.push(Call::Change(route));
                details.push(format!("+ 0.0.0.0/0 -> {}", table.default_route));
            }
            Some(old) if Some(old.target.as_str()) != target.known() || old.state == "blackhole" => {
                calls.push(Call::Change(Change::ReplaceRoute { table: id.clone(), destination, target, nat }));
                details.push(format!("~ 0.0.0.0/0 -> {} ({}) -> {}", old.target, old.state, table.default_route));
            }
            Some(_) => {}
        }
        for subnet in &table.subnets {
            let associated = planner
                .found
                .id(subnet)
                .is_some_and(|id| have.associations.iter().any(|association| association.subnet.as_deref() == Some(id)));
            if !associated {
                calls.push(associate(subnet, planner));
                details.push(format!("+ {subnet}"));
            }
        }
        if !calls.is_empty() {
            let mut action = update("routes", table.id.clone(), calls, "routes or subnets differ".into());
            action.details = details;
            action.after = wait_for;
            planner.add(action);
        }
    }
}
