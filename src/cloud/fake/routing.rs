//! Elastic addresses, NAT gateways and route tables.

use ipnet::Ipv4Net;

use super::network::{is_main, local_route};
use super::world::{Answer, FakeNat, Refusal, World, check_tags, not_found};
use crate::cloud::resolve::known;
use crate::observed::{Address, Association, NatGateway, Route, RouteTable, Tags};
use crate::plan::{Changed, Ref};

fn made(id: String) -> Changed {
    Changed { id: Some(id), ..Changed::default() }
}

impl FakeNat {
    /// Holds its address and its place in the subnet.
    pub(super) fn is_there(&self) -> bool {
        matches!(self.seen.state.as_str(), "pending" | "available" | "deleting")
    }
}

impl World {
    pub(super) fn allocate_address(&mut self, tags: &Tags) -> Answer<Changed> {
        check_tags(tags)?;
        if self.addresses.len() >= self.options.address_quota {
            return Err(Refusal::new("AddressLimitExceeded", "The maximum number of addresses has been reached."));
        }
        let id = self.id("eipalloc");
        let public = self.public_address();
        self.addresses.insert(
            id.clone(),
            Address { allocation: id.clone(), public: public.clone(), association: None, tags: tags.clone() },
        );
        Ok(Changed { id: Some(id), public_address: Some(public), private_address: None })
    }

    pub(super) fn release_address(&mut self, allocation: &Ref) -> Answer<Changed> {
        let id = known(allocation)?;
        let address = self.addresses.get(id).ok_or_else(|| not_found(id))?;
        if address.association.is_some() {
            return Err(Refusal::new("InvalidIPAddress.InUse", format!("Address {} is in use.", address.public)));
        }
        self.addresses.remove(id);
        Ok(Changed::default())
    }

    /// Without an internet gateway in the VPC it becomes `failed` instead of `available`, as AWS's does.
    pub(super) fn create_nat_gateway(&mut self, subnet: &Ref, allocation: &Ref, token: &str, tags: &Tags) -> Answer<Changed> {
        let (subnet, allocation) = (known(subnet)?.to_owned(), known(allocation)?.to_owned());
        let request = format!("{subnet} {allocation} {tags:?}");
        if let Some(answer) = self.replay("CreateNatGateway", token, &request)? {
            return Ok(answer);
        }
        check_tags(tags)?;
        let vpc = self.subnets.get(&subnet).ok_or_else(|| not_found(&subnet))?.vpc.clone();
        let address = self.addresses.get(&allocation).ok_or_else(|| not_found(&allocation))?;
        if address.association.is_some() {
            return Err(Refusal::new(
                "Resource.AlreadyAssociated",
                format!("Elastic IP address [{allocation}] is already associated"),
            ));
        }
        let id = self.id("nat");
        let association = self.id("eipassoc");
        if let Some(address) = self.addresses.get_mut(&allocation) {
            address.association = Some(association);
        }
        let seen =
            NatGateway { id: id.clone(), subnet, state: "pending".to_owned(), allocations: vec![allocation], tags: tags.clone() };
        self.nat_gateways.insert(id.clone(), FakeNat { seen, vpc, reads_left: self.options.reads_until_nat_available });
        let answer = made(id);
        self.remember("CreateNatGateway", token, request, &answer);
        Ok(answer)
    }

    pub(super) fn delete_nat_gateway(&mut self, gateway: &Ref) -> Answer<Changed> {
        let id = known(gateway)?;
        let reads = self.options.reads_until_nat_deleted;
        let gateway = self.nat_gateways.get_mut(id).filter(|nat| nat.seen.state != "deleted").ok_or_else(|| not_found(id))?;
        if gateway.seen.state != "deleting" {
            gateway.seen.state = "deleting".to_owned();
            gateway.reads_left = reads;
        }
        Ok(Changed::default())
    }

    /// Moves a NAT gateway on when a listing looks at it.
    pub(super) fn age_nat_gateway(&mut self, id: &str) {
        let Some(nat) = self.nat_gateways.get_mut(id) else { return };
        if !matches!(nat.seen.state.as_str(), "pending" | "deleting") {
            return;
        }
        if nat.reads_left > 1 {
            nat.reads_left -= 1;
            return;
        }
        let vpc = nat.vpc.clone();
        let reachable = self.internet_gateways.values().any(|gateway| gateway.attached.contains(&vpc));
        let Some(nat) = self.nat_gateways.get_mut(id) else { return };
        nat.seen.state = match (nat.seen.state.as_str(), reachable) {
            ("deleting", _) => "deleted",
            (_, true) => "available",
            (_, false) => "failed",
        }
        .to_owned();
        if !nat.is_there() {
            let allocations = nat.seen.allocations.clone();
            for allocation in allocations {
                if let Some(address) = self.addresses.get_mut(&allocation) {
                    address.association = None;
                }
            }
            self.refresh_routes();
        }
    }

    pub(super) fn create_route_table(&mut self, vpc: &Ref, token: &str, tags: &Tags) -> Answer<Changed> {
        let vpc = known(vpc)?.to_owned();
        let request = format!("{vpc} {tags:?}");
        if let Some(answer) = self.replay("CreateRouteTable", token, &request)? {
            return Ok(answer);
        }
        check_tags(tags)?;
        let cidr = self.vpcs.get(&vpc).ok_or_else(|| not_found(&vpc))?.seen.cidr;
        let id = self.id("rtb");
        let table =
            RouteTable { id: id.clone(), vpc, routes: vec![local_route(cidr)], associations: Vec::new(), tags: tags.clone() };
        self.route_tables.insert(id.clone(), table);
        let answer = made(id);
        self.remember("CreateRouteTable", token, request, &answer);
        Ok(answer)
    }

    pub(super) fn delete_route_table(&mut self, table: &Ref) -> Answer<Changed> {
        let id = known(table)?;
        let table = self.route_tables.get(id).ok_or_else(|| not_found(id))?;
        if !table.associations.is_empty() {
            return Err(Refusal::new(
                "DependencyViolation",
                format!("The routeTable '{id}' has dependencies and cannot be deleted."),
            ));
        }
        self.route_tables.remove(id);
        Ok(Changed::default())
    }

    fn check_target(&self, vpc: &str, target: &str, nat: bool) -> Answer<()> {
        let there = if nat {
            self.nat_gateways.get(target).map(|gateway| gateway.is_there() && gateway.vpc == vpc)
        } else {
            self.internet_gateways.get(target).map(|gateway| gateway.attached.iter().any(|attached| attached == vpc))
        };
        match there {
            Some(true) => Ok(()),
            Some(false) => Err(Refusal::new(
                "InvalidParameterValue",
                format!("the route table and network gateway {target} belong to different networks"),
            )),
            None if nat => {
                Err(Refusal::new("InvalidNatGatewayID.NotFound", format!("The natGateway ID '{target}' does not exist")))
            }
            None => Err(not_found(target)),
        }
    }

    pub(super) fn route(&mut self, table: &Ref, to: Ipv4Net, target: &Ref, nat: bool, replace: bool) -> Answer<Changed> {
        let (id, target) = (known(table)?, known(target)?);
        let vpc = self.route_tables.get(id).ok_or_else(|| not_found(id))?.vpc.clone();
        self.check_target(&vpc, target, nat)?;
        let destination = to.trunc().to_string();
        let wanted = Route { destination: destination.clone(), target: target.to_owned(), state: "active".to_owned() };
        let table = self.route_tables.get_mut(id).ok_or_else(|| not_found(id))?;
        match (table.routes.iter_mut().find(|route| route.destination == destination), replace) {
            (Some(_), false) => {
                Err(Refusal::new("RouteAlreadyExists", format!("The route identified by {destination} already exists.")))
            }
            (None, true) => Err(Refusal::new(
                "InvalidParameterValue",
                format!("There is no route defined for '{destination}' in the route table. Use CreateRoute instead."),
            )),
            (Some(route), true) => {
                *route = wanted;
                Ok(Changed::default())
            }
            (None, false) => {
                table.routes.push(wanted);
                Ok(Changed::default())
            }
        }
    }

    /// A route whose gateway is gone or detached stays, as a black hole.
    pub(super) fn refresh_routes(&mut self) {
        let alive = |vpc: &str, target: &str| {
            target == "local"
                || self.nat_gateways.get(target).is_some_and(FakeNat::is_there)
                || self
                    .internet_gateways
                    .get(target)
                    .is_some_and(|gateway| gateway.attached.iter().any(|attached| attached == vpc))
        };
        let mut dead = Vec::new();
        for table in self.route_tables.values() {
            for route in &table.routes {
                let foreign = !route.target.starts_with("igw-") && !route.target.starts_with("nat-");
                if !foreign && !alive(&table.vpc, &route.target) {
                    dead.push((table.id.clone(), route.destination.clone()));
                }
            }
        }
        for (table, destination) in dead {
            let route = self
                .route_tables
                .get_mut(&table)
                .and_then(|table| table.routes.iter_mut().find(|route| route.destination == destination));
            if let Some(route) = route {
                route.state = "blackhole".to_owned();
            }
        }
    }

    /// The same association again gives the same id.
    pub(super) fn associate_route_table(&mut self, table: &Ref, subnet: &Ref) -> Answer<Changed> {
        let (id, subnet) = (known(table)?, known(subnet)?);
        let vpc = &self.subnets.get(subnet).ok_or_else(|| not_found(subnet))?.vpc;
        let table = self.route_tables.get(id).ok_or_else(|| not_found(id))?;
        if table.vpc != *vpc {
            return Err(Refusal::new("InvalidParameterValue", format!("{id} and {subnet} belong to different networks")));
        }
        let holder = self.route_tables.values().find_map(|table| {
            let association = table.associations.iter().find(|association| association.subnet.as_deref() == Some(subnet))?;
            Some((table.id.clone(), association.id.clone()))
        });
        match holder {
            Some((holder, association)) if holder == id => return Ok(made(association)),
            Some(_) => {
                return Err(Refusal::new(
                    "Resource.AlreadyAssociated",
                    format!("the specified association for route table {id} conflicts with an existing association"),
                ));
            }
            None => {}
        }
        let association = self.id("rtbassoc");
        if let Some(table) = self.route_tables.get_mut(id) {
            table.associations.push(Association { id: association.clone(), subnet: Some(subnet.to_owned()) });
        }
        Ok(made(association))
    }

    pub(super) fn disassociate_route_table(&mut self, association: &str) -> Answer<Changed> {
        let table = self
            .route_tables
            .values_mut()
            .find(|table| table.associations.iter().any(|held| held.id == association))
            .ok_or_else(|| not_found(association))?;
        let main = table.associations.iter().any(|held| held.id == association && held.subnet.is_none());
        if main && is_main(table) {
            return Err(Refusal::new("InvalidParameterValue", "cannot disassociate the main route table association"));
        }
        table.associations.retain(|held| held.id != association);
        Ok(Changed::default())
    }
}
