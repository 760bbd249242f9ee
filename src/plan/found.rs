//! Which observed object is which resource of the cluster.

use std::collections::BTreeMap;

use crate::desired::{ResourceId, tags};
use crate::observed::{
    Address, Instance, InternetGateway, KeyPair, NatGateway, Observed, RouteTable, SecurityGroup, Subnet, Tags, Vpc,
};
use crate::recorded::State;

/// An observed object with tags.
pub trait Tagged {
    fn id(&self) -> &str;
    fn tags(&self) -> &Tags;
    /// Still there: objects that AWS lists for a while after their end are not.
    fn live(&self) -> bool {
        true
    }
}

macro_rules! tagged {
    ($($kind:ty => $id:ident),*) => {$(
        impl Tagged for $kind {
            fn id(&self) -> &str { &self.$id }
            fn tags(&self) -> &Tags { &self.tags }
        }
    )*};
}
tagged!(Vpc => id, Subnet => id, InternetGateway => id, Address => allocation, RouteTable => id, SecurityGroup => id, KeyPair => id);

impl Tagged for NatGateway {
    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> &Tags {
        &self.tags
    }
    fn live(&self) -> bool {
        !matches!(self.state.as_str(), "deleting" | "deleted" | "failed")
    }
}

impl Tagged for Instance {
    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> &Tags {
        &self.tags
    }
    fn live(&self) -> bool {
        self.is_live()
    }
}

/// Every object with tags, whatever its kind.
pub fn objects(observed: &Observed) -> Vec<&dyn Tagged> {
    fn each<T: Tagged>(objects: &[T]) -> impl Iterator<Item = &dyn Tagged> {
        objects.iter().map(|object| object as &dyn Tagged)
    }
    let Observed {
        vpcs,
        subnets,
        internet_gateways,
        nat_gateways,
        addresses,
        route_tables,
        security_groups,
        key_pairs,
        instances,
        hosted_zones: _,
        records: _,
    } = observed;
    each(vpcs)
        .chain(each(subnets))
        .chain(each(internet_gateways))
        .chain(each(nat_gateways))
        .chain(each(addresses))
        .chain(each(route_tables))
        .chain(each(security_groups))
        .chain(each(key_pairs))
        .chain(each(instances))
        .collect()
}

/// Live objects of one kind that carry the cluster's uid, by resource. The recorded one stands first, then by id: whatever
/// stands behind the first is a twin, left by an interrupted run.
pub fn by_resource<'a, T: Tagged>(objects: &'a [T], uid: &str, recorded: &State) -> BTreeMap<ResourceId, Vec<&'a T>> {
    let mut found: BTreeMap<ResourceId, Vec<&T>> = BTreeMap::new();
    for object in objects.iter().filter(|object| object.live()) {
        if object.tags().get(tags::CLUSTER_UID).map(String::as_str) != Some(uid) {
            continue;
        }
        if let Some(Ok(resource)) = object.tags().get(tags::RESOURCE).map(|text| text.parse::<ResourceId>()) {
            found.entry(resource).or_default().push(object);
        }
    }
    for (resource, twins) in &mut found {
        let known = recorded.resources.get(resource).map(|record| record.id.as_str());
        twins.sort_by_key(|object| (Some(object.id()) != known, object.id().to_owned()));
    }
    found
}

/// All kinds at once.
pub struct Found<'a> {
    pub vpcs: BTreeMap<ResourceId, Vec<&'a Vpc>>,
    pub subnets: BTreeMap<ResourceId, Vec<&'a Subnet>>,
    pub internet_gateways: BTreeMap<ResourceId, Vec<&'a InternetGateway>>,
    pub nat_gateways: BTreeMap<ResourceId, Vec<&'a NatGateway>>,
    pub addresses: BTreeMap<ResourceId, Vec<&'a Address>>,
    pub route_tables: BTreeMap<ResourceId, Vec<&'a RouteTable>>,
    pub security_groups: BTreeMap<ResourceId, Vec<&'a SecurityGroup>>,
    pub key_pairs: BTreeMap<ResourceId, Vec<&'a KeyPair>>,
    pub instances: BTreeMap<ResourceId, Vec<&'a Instance>>,
}

impl<'a> Found<'a> {
    pub fn new(observed: &'a Observed, uid: &str, recorded: &State) -> Self {
        Self {
            vpcs: by_resource(&observed.vpcs, uid, recorded),
            subnets: by_resource(&observed.subnets, uid, recorded),
            internet_gateways: by_resource(&observed.internet_gateways, uid, recorded),
            nat_gateways: by_resource(&observed.nat_gateways, uid, recorded),
            addresses: by_resource(&observed.addresses, uid, recorded),
            route_tables: by_resource(&observed.route_tables, uid, recorded),
            security_groups: by_resource(&observed.security_groups, uid, recorded),
            key_pairs: by_resource(&observed.key_pairs, uid, recorded),
            instances: by_resource(&observed.instances, uid, recorded),
        }
    }

    /// `(resource, AWS id, tags, is twin)` of everything, in a fixed order.
    pub fn all(&self) -> Vec<(&ResourceId, &str, &Tags, bool)> {
        fn rows<'b, T: Tagged>(map: &'b BTreeMap<ResourceId, Vec<&T>>) -> Vec<(&'b ResourceId, &'b str, &'b Tags, bool)> {
            map.iter()
                .flat_map(|(id, twins)| twins.iter().enumerate().map(move |(n, object)| (id, object.id(), object.tags(), n > 0)))
                .collect()
        }
        let Self {
            vpcs,
            subnets,
            internet_gateways,
            nat_gateways,
            addresses,
            route_tables,
            security_groups,
            key_pairs,
            instances,
        } = self;
        [
            rows(vpcs),
            rows(subnets),
            rows(internet_gateways),
            rows(nat_gateways),
            rows(addresses),
            rows(route_tables),
            rows(security_groups),
            rows(key_pairs),
            rows(instances),
        ]
        .concat()
    }

    /// AWS id of a resource that exists.
    pub fn id(&self, resource: &ResourceId) -> Option<&str> {
        fn first<'b, T: Tagged>(map: &'b BTreeMap<ResourceId, Vec<&T>>, id: &ResourceId) -> Option<&'b str> {
            map.get(id)?.first().map(|object| object.id())
        }
        match resource {
            ResourceId::Vpc => first(&self.vpcs, resource),
            ResourceId::InternetGateway => first(&self.internet_gateways, resource),
            ResourceId::Subnet(..) => first(&self.subnets, resource),
            ResourceId::NatAddress(_) => first(&self.addresses, resource),
            ResourceId::NatGateway(_) => first(&self.nat_gateways, resource),
            ResourceId::PublicRouteTable | ResourceId::PrivateRouteTable(_) => first(&self.route_tables, resource),
            ResourceId::SecurityGroup(_) => first(&self.security_groups, resource),
            ResourceId::KeyPair => first(&self.key_pairs, resource),
            ResourceId::Instance(_) => first(&self.instances, resource),
            ResourceId::DefaultSecurityGroup | ResourceId::Records => None,
        }
    }
}
