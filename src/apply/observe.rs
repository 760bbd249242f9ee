//! Reads what the account holds of one cluster: each kind once, all kinds at the same time.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Clock;
use crate::cloud::{Cloud, CloudError, Scope};
use crate::desired::ResourceId;
use crate::observed::Catalogue;
use crate::observed::{Observed, RouteTable};
use crate::plan::found::{Tagged, objects};
use crate::plan::images::CatalogueQuery;
use crate::recorded::State;

/// An object that AWS made less than this ago may be missing from a listing (EC2 developer guide, "Eventual consistency"). A
/// negative answer counts once the record is older, and two reads agree.
pub const SETTLE: Duration = Duration::from_secs(60);
const BETWEEN_READS: Duration = Duration::from_secs(3);

/// One listing of everything. `zone` is the hosted zone's name; with a VPC recorded, its default group is read as well.
pub async fn observe(
    cloud: &dyn Cloud,
    scope: &Scope,
    zone: &str,
    cluster: &str,
    recorded: Option<&State>,
) -> Result<Observed, CloudError> {
    let vpc = recorded.and_then(|state| state.resources.get(&ResourceId::Vpc)).map(|record| Scope::Vpc(record.id.clone()));
    let zone_id = recorded.and_then(|state| state.resources.get(&ResourceId::Records)).map(|record| record.id.clone());
    let names = async {
        let zones = if zone.is_empty() { vec![] } else { cloud.hosted_zones(zone).await? };
        let id = zone_id.or_else(|| zones.iter().find(|zone| !zone.private).or(zones.first()).map(|zone| zone.id.clone()));
        let records = match id {
            Some(id) => match cloud.records(&id, cluster).await {
                // The zone itself may be gone; then so are its records.
                Err(error) if error.class == crate::cloud::ErrorClass::NotFound => vec![],
                answer => answer?,
            },
            None => vec![],
        };
        Ok((zones, records))
    };
    let in_vpc = async {
        match &vpc {
            Some(vpc) => cloud.security_groups(vpc).await,
            None => Ok(vec![]),
        }
    };
    let (
        vpcs,
        subnets,
        internet_gateways,
        nat_gateways,
        addresses,
        route_tables,
        security_groups,
        in_vpc,
        key_pairs,
        instances,
        names,
    ) = futures::try_join!(
        cloud.vpcs(scope),
        cloud.subnets(scope),
        cloud.internet_gateways(scope),
        cloud.nat_gateways(scope),
        cloud.addresses(scope),
        cloud.route_tables(scope),
        cloud.security_groups(scope),
        in_vpc,
        cloud.key_pairs(scope),
        cloud.instances(scope),
        names,
    )?;
    let mut security_groups = security_groups;
    let seen: BTreeSet<String> = security_groups.iter().map(|group| group.id.clone()).collect();
    security_groups.extend(in_vpc.into_iter().filter(|group| !seen.contains(&group.id)));
    let (hosted_zones, records) = names;
    let mut observed = Observed {
        vpcs,
        subnets,
        internet_gateways,
        nat_gateways,
        addresses,
        route_tables,
        security_groups,
        key_pairs,
        instances,
        hosted_zones,
        records,
    };
    if let Some(state) = recorded {
        look_closer(cloud, &mut observed, cluster, state).await?;
    }
    Ok(observed)
}

/// A listing by tag does not show an object whose identity tag was changed by hand. What is recorded and was not seen is looked
/// for by the cluster's other tag and in its VPC, so that nothing is made twice; that costs calls only where something is missing.
async fn look_closer(cloud: &dyn Cloud, observed: &mut Observed, cluster: &str, state: &State) -> Result<(), CloudError> {
    let unseen: Vec<(&ResourceId, &str)> = {
        let seen = ids(observed);
        let own = state.resources.iter().filter(|(resource, _)| !matches!(resource, ResourceId::Records));
        own.map(|(resource, record)| (resource, record.id.as_str())).filter(|(_, id)| !seen.contains(id)).collect()
    };
    let associated: BTreeSet<&String> =
        observed.route_tables.iter().flat_map(|table| &table.associations).filter_map(|one| one.subnet.as_ref()).collect();
    let vpc = state.resources.get(&ResourceId::Vpc).map(|record| Scope::Vpc(record.id.clone()));
    // A subnet that was moved to somebody else's table: that table says so.
    if let (Some(vpc), true) = (&vpc, observed.subnets.iter().any(|subnet| !associated.contains(&subnet.id))) {
        let theirs = cloud.route_tables(vpc).await?;
        let holds = |table: &RouteTable| table.associations.iter().any(|one| one.subnet.is_some());
        let all: BTreeSet<String> = theirs.iter().filter(|table| holds(table)).map(|table| table.id.clone()).collect();
        add(&mut observed.route_tables, theirs, &all.iter().map(String::as_str).collect());
    }
    let mut scopes = vec![Scope::Name(cluster.to_owned())];
    scopes.extend(vpc);
    let all: BTreeSet<&str> = unseen.iter().map(|(_, id)| *id).collect();
    let kinds: BTreeSet<Kind> = unseen.iter().filter_map(|(resource, _)| kind(resource)).collect();
    for kind in kinds {
        for scope in &scopes {
            // Addresses and key pairs are in no VPC.
            if matches!((kind, scope), (Kind::Address | Kind::KeyPair, Scope::Vpc(_))) {
                continue;
            }
            match kind {
                Kind::Vpc => add(&mut observed.vpcs, cloud.vpcs(scope).await?, &all),
                Kind::Subnet => add(&mut observed.subnets, cloud.subnets(scope).await?, &all),
                Kind::InternetGateway => add(&mut observed.internet_gateways, cloud.internet_gateways(scope).await?, &all),
                Kind::NatGateway => add(&mut observed.nat_gateways, cloud.nat_gateways(scope).await?, &all),
                Kind::Address => add(&mut observed.addresses, cloud.addresses(scope).await?, &all),
                Kind::RouteTable => add(&mut observed.route_tables, cloud.route_tables(scope).await?, &all),
                Kind::SecurityGroup => add(&mut observed.security_groups, cloud.security_groups(scope).await?, &all),
                Kind::KeyPair => add(&mut observed.key_pairs, cloud.key_pairs(scope).await?, &all),
                Kind::Instance => add(&mut observed.instances, cloud.instances(scope).await?, &all),
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Vpc,
    Subnet,
    InternetGateway,
    NatGateway,
    Address,
    RouteTable,
    SecurityGroup,
    KeyPair,
    Instance,
}

fn kind(resource: &ResourceId) -> Option<Kind> {
    Some(match resource {
        ResourceId::Vpc => Kind::Vpc,
        ResourceId::InternetGateway => Kind::InternetGateway,
        ResourceId::Subnet(..) => Kind::Subnet,
        ResourceId::NatAddress(_) => Kind::Address,
        ResourceId::NatGateway(_) => Kind::NatGateway,
        ResourceId::PublicRouteTable | ResourceId::PrivateRouteTable(_) => Kind::RouteTable,
        ResourceId::SecurityGroup(_) => Kind::SecurityGroup,
        ResourceId::KeyPair => Kind::KeyPair,
        ResourceId::Instance(_) => Kind::Instance,
        ResourceId::DefaultSecurityGroup | ResourceId::Records => return None,
    })
}

/// Of what a wider listing shows, the recorded objects that are not there yet.
fn add<T: Tagged>(there: &mut Vec<T>, listed: Vec<T>, wanted: &BTreeSet<&str>) {
    for object in listed {
        if wanted.contains(object.id()) && !there.iter().any(|seen| seen.id() == object.id()) {
            there.push(object);
        }
    }
}

/// Observes until every recent record is seen or old enough to be missed for good.
pub async fn observe_settled(
    cloud: &dyn Cloud,
    clock: &dyn Clock,
    scope: &Scope,
    zone: &str,
    recorded: &State,
) -> Result<Observed, CloudError> {
    let deadline = clock.now() + SETTLE;
    loop {
        let observed = observe(cloud, scope, zone, &recorded.cluster, Some(recorded)).await?;
        let now = clock.now();
        let unseen = recorded.resources.values().any(|record| {
            let young = record
                .created
                .parse::<jiff::Timestamp>()
                .is_ok_and(|created| now.duration_since(created) < jiff::SignedDuration::from_secs(60));
            young && !ids(&observed).contains(record.id.as_str())
        });
        if !unseen || now >= deadline {
            return Ok(observed);
        }
        clock.wait(BETWEEN_READS).await;
    }
}

/// Ids of everything that was seen, objects on their way out included.
pub fn ids(observed: &Observed) -> BTreeSet<&str> {
    let zones = observed.hosted_zones.iter().map(|zone| zone.id.as_str());
    objects(observed).into_iter().map(Tagged::id).chain(zones).collect()
}

/// What the region sells, as far as the plan asks.
pub async fn catalogue(cloud: &dyn Cloud, query: &CatalogueQuery) -> Result<Catalogue, CloudError> {
    let types: Vec<String> = query.machine_types.iter().cloned().collect();
    let ids: Vec<String> = query.image_ids.iter().cloned().collect();
    let images = async {
        let mut images = if ids.is_empty() { vec![] } else { cloud.images_by_id(&ids).await? };
        for (owner, patterns) in &query.image_names {
            images.extend(cloud.images_by_name(owner, patterns).await?);
        }
        Ok(images)
    };
    let (zones, machine_types, images) = futures::try_join!(cloud.zones(), cloud.machine_types(&types), images)?;
    Ok(Catalogue { zones, machine_types, images })
}
