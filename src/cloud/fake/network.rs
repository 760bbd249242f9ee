//! VPCs, subnets and internet gateways.

use ipnet::Ipv4Net;

use super::world::{Answer, FakeVpc, Refusal, World, check_tags, not_found};
use crate::cloud::resolve::known;
use crate::desired::{Peer, Protocol, Rule};
use crate::observed::{Association, InternetGateway, Route, RouteTable, SecurityGroup, Subnet, Tags, Vpc};
use crate::plan::{Changed, Ref};

fn made(id: String) -> Changed {
    Changed { id: Some(id), ..Changed::default() }
}

impl World {
    /// A VPC brings its main route table and its default group with AWS's default rules; neither has tags.
    pub(super) fn create_vpc(&mut self, cidr: Ipv4Net, tags: &Tags) -> Answer<Changed> {
        check_tags(tags)?;
        if !(16..=28).contains(&cidr.prefix_len()) {
            return Err(Refusal::new("InvalidVpc.Range", format!("The CIDR '{cidr}' is invalid.")));
        }
        if self.vpcs.len() >= self.options.vpc_quota {
            return Err(Refusal::new("VpcLimitExceeded", "The maximum number of VPCs has been reached."));
        }
        let cidr = cidr.trunc();
        let id = self.id("vpc");
        let table = self.id("rtb");
        let association = self.id("rtbassoc");
        let group = self.id("sg");
        self.route_tables.insert(
            table.clone(),
            RouteTable {
                id: table,
                vpc: id.clone(),
                routes: vec![local_route(cidr)],
                associations: vec![Association { id: association, subnet: None }],
                tags: Tags::new(),
            },
        );
        let everything = |egress, peer| Rule { egress, protocol: Protocol::All, ports: None, peer, description: String::new() };
        self.security_groups.insert(
            group.clone(),
            SecurityGroup {
                id: group.clone(),
                name: "default".to_owned(),
                vpc: id.clone(),
                rules: vec![everything(false, Peer::Foreign(group)), everything(true, Peer::Cidr(Ipv4Net::default()))],
                tags: Tags::new(),
            },
        );
        self.vpcs.insert(
            id.clone(),
            FakeVpc { seen: Vpc { id: id.clone(), cidr, tags: tags.clone() }, dns_support: true, dns_hostnames: false },
        );
        Ok(made(id))
    }

    pub(super) fn modify_vpc_attribute(&mut self, vpc: &Ref, attribute: &str, value: bool) -> Answer<Changed> {
        let id = known(vpc)?;
        let vpc = self.vpcs.get_mut(id).ok_or_else(|| not_found(id))?;
        match attribute {
            "enableDnsSupport" => vpc.dns_support = value,
            "enableDnsHostnames" => vpc.dns_hostnames = value,
            _ => return Err(Refusal::new("InvalidParameterValue", format!("unknown attribute {attribute}"))),
        }
        Ok(Changed::default())
    }

    pub(super) fn delete_vpc(&mut self, vpc: &Ref) -> Answer<Changed> {
        let id = known(vpc)?;
        if !self.vpcs.contains_key(id) {
            return Err(not_found(id));
        }
        let blocked = self.subnets.values().any(|subnet| subnet.vpc == id)
            || self.internet_gateways.values().any(|gateway| gateway.attached.iter().any(|attached| attached == id))
            || self.security_groups.values().any(|group| group.vpc == id && group.name != "default")
            || self.route_tables.values().any(|table| table.vpc == id && !is_main(table));
        if blocked {
            return Err(Refusal::new("DependencyViolation", format!("The vpc '{id}' has dependencies and cannot be deleted.")));
        }
        self.vpcs.remove(id);
        self.security_groups.retain(|_, group| group.vpc != id);
        self.route_tables.retain(|_, table| table.vpc != id);
        Ok(Changed::default())
    }

    pub(super) fn create_subnet(&mut self, vpc: &Ref, cidr: Ipv4Net, zone: &str, tags: &Tags) -> Answer<Changed> {
        check_tags(tags)?;
        let vpc = known(vpc)?.to_owned();
        let whole = self.vpcs.get(&vpc).ok_or_else(|| not_found(&vpc))?.seen.cidr;
        let cidr = cidr.trunc();
        if !whole.contains(&cidr) || !(16..=28).contains(&cidr.prefix_len()) {
            return Err(Refusal::new("InvalidSubnet.Range", format!("The CIDR '{cidr}' is invalid.")));
        }
        if !self.catalogue.zones.iter().any(|known| known == zone) {
            return Err(Refusal::new(
                "InvalidParameterValue",
                format!("Value ({zone}) for parameter availabilityZone is invalid."),
            ));
        }
        let overlaps = |other: &Subnet| other.vpc == vpc && (other.cidr.contains(&cidr) || cidr.contains(&other.cidr));
        if self.subnets.values().any(overlaps) {
            return Err(Refusal::new("InvalidSubnet.Conflict", format!("The CIDR '{cidr}' conflicts with another subnet")));
        }
        let id = self.id("subnet");
        self.subnets.insert(id.clone(), Subnet { id: id.clone(), vpc, cidr, zone: zone.to_owned(), tags: tags.clone() });
        Ok(made(id))
    }

    /// Refused while an interface is in it; an association with a route table goes with the subnet.
    pub(super) fn delete_subnet(&mut self, subnet: &Ref) -> Answer<Changed> {
        let id = known(subnet)?;
        if !self.subnets.contains_key(id) {
            return Err(not_found(id));
        }
        let used = self.all_interfaces().iter().any(|interface| interface.subnet == id);
        if used {
            return Err(Refusal::new(
                "DependencyViolation",
                format!("The subnet '{id}' has dependencies and cannot be deleted."),
            ));
        }
        self.subnets.remove(id);
        self.taken.remove(id);
        for table in self.route_tables.values_mut() {
            table.associations.retain(|association| association.subnet.as_deref() != Some(id));
        }
        Ok(Changed::default())
    }

    pub(super) fn create_internet_gateway(&mut self, tags: &Tags) -> Answer<Changed> {
        check_tags(tags)?;
        let id = self.id("igw");
        self.internet_gateways.insert(id.clone(), InternetGateway { id: id.clone(), attached: Vec::new(), tags: tags.clone() });
        Ok(made(id))
    }

    pub(super) fn attach_internet_gateway(&mut self, gateway: &Ref, vpc: &Ref) -> Answer<Changed> {
        let (id, vpc) = (known(gateway)?, known(vpc)?);
        if !self.vpcs.contains_key(vpc) {
            return Err(not_found(vpc));
        }
        let gateway = self.internet_gateways.get(id).ok_or_else(|| not_found(id))?;
        if let Some(attached) = gateway.attached.first() {
            return Err(Refusal::new(
                "Resource.AlreadyAssociated",
                format!("resource {id} is already attached to network {attached}"),
            ));
        }
        if self.internet_gateways.values().any(|other| other.attached.iter().any(|attached| attached == vpc)) {
            return Err(Refusal::new("InvalidParameterValue", format!("Network {vpc} already has an internet gateway attached")));
        }
        if let Some(gateway) = self.internet_gateways.get_mut(id) {
            gateway.attached.push(vpc.to_owned());
        }
        Ok(Changed::default())
    }

    pub(super) fn detach_internet_gateway(&mut self, gateway: &Ref, vpc: &Ref) -> Answer<Changed> {
        let (id, vpc) = (known(gateway)?, known(vpc)?);
        if !self.vpcs.contains_key(vpc) {
            return Err(not_found(vpc));
        }
        let attached = &self.internet_gateways.get(id).ok_or_else(|| not_found(id))?.attached;
        if !attached.iter().any(|attached| attached == vpc) {
            return Err(Refusal::new("Gateway.NotAttached", format!("resource {id} is not attached to network {vpc}")));
        }
        let mapped = self
            .instances
            .values()
            .any(|instance| instance.vpc == vpc && instance.seen.state != "terminated" && instance.request.public_address)
            || self.nat_gateways.values().any(|nat| nat.vpc == vpc && nat.is_there());
        if mapped {
            return Err(Refusal::new(
                "DependencyViolation",
                format!(
                    "Network {vpc} has some mapped public address(es). Please unmap those public address(es) before detaching the gateway."
                ),
            ));
        }
        if let Some(gateway) = self.internet_gateways.get_mut(id) {
            gateway.attached.retain(|attached| attached != vpc);
        }
        self.refresh_routes();
        Ok(Changed::default())
    }

    pub(super) fn delete_internet_gateway(&mut self, gateway: &Ref) -> Answer<Changed> {
        let id = known(gateway)?;
        let gateway = self.internet_gateways.get(id).ok_or_else(|| not_found(id))?;
        if !gateway.attached.is_empty() {
            return Err(Refusal::new(
                "DependencyViolation",
                format!("The internetGateway '{id}' has dependencies and cannot be deleted."),
            ));
        }
        self.internet_gateways.remove(id);
        self.refresh_routes();
        Ok(Changed::default())
    }
}

pub(super) fn is_main(table: &RouteTable) -> bool {
    table.associations.iter().any(|association| association.subnet.is_none())
}

pub(super) fn local_route(cidr: Ipv4Net) -> Route {
    Route { destination: cidr.to_string(), target: "local".to_owned(), state: "active".to_owned() }
}
