//! Which observed object is which resource of the cluster.

use std::collections::{BTreeMap, BTreeSet};

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

/// What is known beforehand of the objects: ids that are recorded, and the attempts that made them.
struct Known<'a> {
    uid: &'a str,
    by_id: BTreeMap<&'a str, &'a ResourceId>,
    attempts: BTreeSet<&'a str>,
}

impl<'a> Known<'a> {
    fn new(uid: &'a str, recorded: &'a State) -> Self {
        let own = recorded.resources.iter().filter(|(resource, _)| !matches!(resource, ResourceId::Records));
        let attempts = recorded.resources.values().map(|record| record.attempt.as_str());
        Self {
            uid,
            by_id: own.map(|(resource, record)| (record.id.as_str(), resource)).collect(),
            attempts: attempts.filter(|attempt| !attempt.is_empty()).collect(),
        }
    }

    /// Live objects of one kind that are the cluster's, by resource. The recorded one stands first, whatever became of its
    /// tags, then by id: whatever stands behind the first is a twin, left by an interrupted run.
    ///
    /// An object that has the cluster's tags, but was made by no attempt of its own, is none of ours: tags are copied easily.
    fn sort<'o, T: Tagged>(&self, objects: &'o [T], strangers: &mut Vec<&'o str>) -> BTreeMap<ResourceId, Vec<&'o T>> {
        let mut found: BTreeMap<ResourceId, Vec<&'o T>> = BTreeMap::new();
        for object in objects.iter().filter(|object| object.live()) {
            if let Some(resource) = self.by_id.get(object.id()) {
                found.entry((*resource).clone()).or_default().insert(0, object);
                continue;
            }
            if object.tags().get(tags::CLUSTER_UID).map(String::as_str) != Some(self.uid) {
                continue;
            }
            let attempt = object.tags().get(tags::ATTEMPT).map(String::as_str);
            let copied = !self.by_id.is_empty() && attempt.is_none_or(|attempt| self.attempts.contains(attempt));
            match object.tags().get(tags::RESOURCE).map(|text| text.parse::<ResourceId>()) {
                Some(Ok(resource)) if !copied => found.entry(resource).or_default().push(object),
                _ => strangers.push(object.id()),
            }
        }
        for twins in found.values_mut() {
            let known = twins.first().is_some_and(|object| self.by_id.contains_key(object.id()));
            if let Some(rest) = twins.get_mut(usize::from(known)..) {
                rest.sort_by_key(|object| object.id().to_owned());
            }
        }
        found
    }
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
    /// Ids of objects that have the cluster's tags and are not the cluster's.
    pub strangers: Vec<&'a str>,
}

impl<'a> Found<'a> {
    pub fn new(observed: &'a Observed, uid: &str, recorded: &State) -> Self {
        let known = Known::new(uid, recorded);
        let mut strangers = vec![];
        Self {
            vpcs: known.sort(&observed.vpcs, &mut strangers),
            subnets: known.sort(&observed.subnets, &mut strangers),
            internet_gateways: known.sort(&observed.internet_gateways, &mut strangers),
            nat_gateways: known.sort(&observed.nat_gateways, &mut strangers),
            addresses: known.sort(&observed.addresses, &mut strangers),
            route_tables: known.sort(&observed.route_tables, &mut strangers),
            security_groups: known.sort(&observed.security_groups, &mut strangers),
            key_pairs: known.sort(&observed.key_pairs, &mut strangers),
            instances: known.sort(&observed.instances, &mut strangers),
            strangers,
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
            strangers: _,
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
