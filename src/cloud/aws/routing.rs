//! Elastic addresses, NAT gateways and route tables.

use aws_sdk_ec2::types::{self as sdk, ConnectivityType, DomainType, ResourceType};
use ipnet::Ipv4Net;

use super::pages::{PAGE, SMALL_PAGE, pages, scoped, seen_tags, tagged, within};
use super::send::{Repeat, send};
use super::{AwsCloud, Result, hole, hollow, made};
use crate::cloud::resolve::known;
use crate::cloud::{Scope, calls};
use crate::observed::{Address, Association, NatGateway, Route, RouteTable, Tags};
use crate::plan::{Changed, Ref};

impl AwsCloud {
    pub(super) async fn list_nat_gateways(&self, scope: &Scope) -> Result<Vec<NatGateway>> {
        let request = self.ec2.describe_nat_gateways().filter(scoped(scope, "vpc-id")).max_results(PAGE);
        let fetch = |token| request.clone().set_next_token(token).send();
        let pages = pages(&self.pace, &calls::DESCRIBE_NAT_GATEWAYS, fetch, |page| page.next_token()).await?;
        let seen = pages.iter().flat_map(|page| page.nat_gateways()).filter_map(|gateway| {
            let addresses = gateway.nat_gateway_addresses().iter();
            Some(NatGateway {
                id: gateway.nat_gateway_id()?.to_owned(),
                subnet: gateway.subnet_id().unwrap_or_default().to_owned(),
                state: gateway.state()?.as_str().to_owned(),
                allocations: addresses.filter_map(|address| address.allocation_id().map(str::to_owned)).collect(),
                tags: seen_tags(gateway.tags()),
            })
        });
        Ok(seen.filter(|one| within(scope, &one.tags)).collect())
    }

    /// Addresses belong to no VPC; the call has no pages.
    pub(super) async fn list_addresses(&self, scope: &Scope) -> Result<Vec<Address>> {
        if matches!(scope, Scope::Vpc(_)) {
            return Ok(Vec::new());
        }
        let request = self.ec2.describe_addresses().filters(scoped(scope, "vpc-id"));
        let answer = send(&self.pace, &calls::DESCRIBE_ADDRESSES, Repeat::Harmless, || request.clone().send()).await?;
        let seen = answer.addresses().iter().filter_map(|address| {
            Some(Address {
                allocation: address.allocation_id()?.to_owned(),
                public: address.public_ip()?.to_owned(),
                association: address.association_id().filter(|id| !id.is_empty()).map(str::to_owned),
                tags: seen_tags(address.tags()),
            })
        });
        Ok(seen.filter(|one| within(scope, &one.tags)).collect())
    }

    pub(super) async fn list_route_tables(&self, scope: &Scope) -> Result<Vec<RouteTable>> {
        let request = self.ec2.describe_route_tables().filters(scoped(scope, "vpc-id")).max_results(SMALL_PAGE);
        let fetch = |token| request.clone().set_next_token(token).send();
        let pages = pages(&self.pace, &calls::DESCRIBE_ROUTE_TABLES, fetch, |page| page.next_token()).await?;
        let seen = pages.iter().flat_map(|page| page.route_tables()).filter_map(|table| {
            Some(RouteTable {
                id: table.route_table_id()?.to_owned(),
                vpc: table.vpc_id()?.to_owned(),
                routes: table.routes().iter().map(route).collect(),
                associations: table.associations().iter().filter_map(association).collect(),
                tags: seen_tags(table.tags()),
            })
        });
        Ok(seen.filter(|one| within(scope, &one.tags)).collect())
    }

    pub(super) async fn allocate_address(&self, tags: &Tags) -> Result<Changed> {
        let call = &calls::ALLOCATE_ADDRESS;
        let tags = tagged(ResourceType::ElasticIp, tags).map(|t| vec![t]);
        let request = self.ec2.allocate_address().domain(DomainType::Vpc).set_tag_specifications(tags);
        let answer = send(&self.pace, call, Repeat::Never, || request.clone().send()).await?;
        let public_address = answer.public_ip().map(str::to_owned);
        Ok(Changed { public_address, ..made(call, answer.allocation_id())? })
    }

    pub(super) async fn release_address(&self, allocation: &Ref) -> Result<Changed> {
        let call = &calls::RELEASE_ADDRESS;
        let request = self.ec2.release_address().allocation_id(known(allocation).map_err(hole(call))?);
        send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?;
        Ok(Changed::default())
    }

    pub(super) async fn create_nat_gateway(&self, subnet: &Ref, allocation: &Ref, token: &str, tags: &Tags) -> Result<Changed> {
        let call = &calls::CREATE_NAT_GATEWAY;
        let request = self
            .ec2
            .create_nat_gateway()
            .subnet_id(known(subnet).map_err(hole(call))?)
            .allocation_id(known(allocation).map_err(hole(call))?)
            .connectivity_type(ConnectivityType::Public)
            .client_token(token)
            .set_tag_specifications(tagged(ResourceType::Natgateway, tags).map(|t| vec![t]));
        let answer = send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?;
        made(call, answer.nat_gateway().and_then(|gateway| gateway.nat_gateway_id()))
    }

    pub(super) async fn delete_nat_gateway(&self, gateway: &Ref) -> Result<Changed> {
        let call = &calls::DELETE_NAT_GATEWAY;
        let request = self.ec2.delete_nat_gateway().nat_gateway_id(known(gateway).map_err(hole(call))?);
        send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?;
        Ok(Changed::default())
    }

    pub(super) async fn create_route_table(&self, vpc: &Ref, token: &str, tags: &Tags) -> Result<Changed> {
        let call = &calls::CREATE_ROUTE_TABLE;
        let request = self
            .ec2
            .create_route_table()
            .vpc_id(known(vpc).map_err(hole(call))?)
            .client_token(token)
            .set_tag_specifications(tagged(ResourceType::RouteTable, tags).map(|t| vec![t]));
        let answer = send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?;
        made(call, answer.route_table().and_then(|table| table.route_table_id()))
    }

    pub(super) async fn delete_route_table(&self, table: &Ref) -> Result<Changed> {
        let call = &calls::DELETE_ROUTE_TABLE;
        let request = self.ec2.delete_route_table().route_table_id(known(table).map_err(hole(call))?);
        send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?;
        Ok(Changed::default())
    }

    pub(super) async fn create_route(&self, table: &Ref, to: Ipv4Net, target: &Ref, nat: bool) -> Result<Changed> {
        let call = &calls::CREATE_ROUTE;
        let target = known(target).map_err(hole(call))?;
        let request =
            self.ec2.create_route().route_table_id(known(table).map_err(hole(call))?).destination_cidr_block(to.to_string());
        let request = if nat { request.nat_gateway_id(target) } else { request.gateway_id(target) };
        send(&self.pace, call, Repeat::Never, || request.clone().send()).await?;
        Ok(Changed::default())
    }

    pub(super) async fn replace_route(&self, table: &Ref, to: Ipv4Net, target: &Ref, nat: bool) -> Result<Changed> {
        let call = &calls::REPLACE_ROUTE;
        let target = known(target).map_err(hole(call))?;
        let request =
            self.ec2.replace_route().route_table_id(known(table).map_err(hole(call))?).destination_cidr_block(to.to_string());
        let request = if nat { request.nat_gateway_id(target) } else { request.gateway_id(target) };
        send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?;
        Ok(Changed::default())
    }

    pub(super) async fn associate_route_table(&self, table: &Ref, subnet: &Ref) -> Result<Changed> {
        let call = &calls::ASSOCIATE_ROUTE_TABLE;
        let request = self
            .ec2
            .associate_route_table()
            .route_table_id(known(table).map_err(hole(call))?)
            .subnet_id(known(subnet).map_err(hole(call))?);
        let answer = send(&self.pace, call, Repeat::Never, || request.clone().send()).await?;
        made(call, answer.association_id())
    }

    pub(super) async fn disassociate_route_table(&self, association: &str) -> Result<Changed> {
        let call = &calls::DISASSOCIATE_ROUTE_TABLE;
        if association.is_empty() {
            return Err(hollow(call, "association"));
        }
        let request = self.ec2.disassociate_route_table().association_id(association);
        send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?;
        Ok(Changed::default())
    }
}

fn route(route: &sdk::Route) -> Route {
    let destination = [route.destination_cidr_block(), route.destination_ipv6_cidr_block(), route.destination_prefix_list_id()];
    let target = [
        route.gateway_id(),
        route.nat_gateway_id(),
        route.transit_gateway_id(),
        route.vpc_peering_connection_id(),
        route.egress_only_internet_gateway_id(),
        // A route to an instance names its interface too; the interface is what it goes to.
        route.network_interface_id(),
        route.instance_id(),
        route.local_gateway_id(),
        route.carrier_gateway_id(),
        route.core_network_arn(),
    ];
    let first = |names: &[Option<&str>]| {
        names.iter().flatten().find(|name| !name.is_empty()).map_or_else(String::new, |name| (*name).to_owned())
    };
    Route {
        destination: first(&destination),
        target: first(&target),
        state: route.state().map_or("active", |state| state.as_str()).to_owned(),
    }
}

/// `None` for one that is gone, or of a gateway.
fn association(association: &sdk::RouteTableAssociation) -> Option<Association> {
    let state = association.association_state().and_then(|state| state.state());
    if matches!(
        state,
        Some(sdk::RouteTableAssociationStateCode::Disassociated | sdk::RouteTableAssociationStateCode::Disassociating)
    ) {
        return None;
    }
    let main = association.main().unwrap_or(false);
    let subnet = association.subnet_id().filter(|id| !id.is_empty());
    (main || subnet.is_some()).then(|| Association {
        id: association.route_table_association_id().unwrap_or_default().to_owned(),
        subnet: subnet.filter(|_| !main).map(str::to_owned),
    })
}
