//! VPC, subnets, gateways, route tables.

use ipnet::Ipv4Net;

use crate::cluster::{Cluster, Nat, Topology};
use crate::desired::{Audience, ResourceId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    pub id: ResourceId,
    pub zone: String,
    pub cidr: Ipv4Net,
    /// Has a route to the internet gateway.
    pub public: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTable {
    pub id: ResourceId,
    /// Target of 0.0.0.0/0: the internet gateway or a NAT gateway.
    pub default_route: ResourceId,
    pub subnets: Vec<ResourceId>,
}

/// Network of a cluster, in the order of its zones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    pub cidr: Ipv4Net,
    pub subnets: Vec<Subnet>,
    /// Zones that have a NAT gateway (and an elastic address for it).
    pub nat_zones: Vec<String>,
    pub route_tables: Vec<RouteTable>,
}

/// The block of a zone: the VPC is cut into 16 equal blocks, 0 to 7 for the machines of zones a to h, 8 to 15 for the utility
/// subnets of the same zones. The zone's letter decides, so that adding a zone never moves another one's subnet.
///
/// `None` where the letter is beyond h or the VPC is smaller than /24 (AWS's smallest subnet is a /28); the spec's checks
/// refuse both.
pub fn subnet_cidr(vpc: Ipv4Net, zone: &str, audience: Audience) -> Option<Ipv4Net> {
    let letter = zone.bytes().last().filter(|letter| (b'a'..=b'h').contains(letter))?;
    let offset = match audience {
        Audience::Machines => 0,
        Audience::Utility => 8,
    };
    let prefix = vpc.prefix_len().checked_add(4).filter(|prefix| *prefix <= 28)?;
    vpc.subnets(prefix).ok()?.nth(usize::from(letter - b'a') + offset)
}

pub fn network(cluster: &Cluster) -> Network {
    let cidr = cluster.network.cidr;
    let subnet = |zone: &String, audience, public| {
        let id = ResourceId::Subnet(audience, zone.clone());
        subnet_cidr(cidr, zone, audience).map(|cidr| Subnet { id, zone: zone.clone(), cidr, public })
    };
    let machines_public = cluster.network.topology == Topology::Public;
    let mut subnets: Vec<Subnet> =
        cluster.zones.iter().filter_map(|zone| subnet(zone, Audience::Machines, machines_public)).collect();
    let public_table = |audience| RouteTable {
        id: ResourceId::PublicRouteTable,
        default_route: ResourceId::InternetGateway,
        subnets: cluster.zones.iter().map(|zone| ResourceId::Subnet(audience, zone.clone())).collect(),
    };
    match cluster.network.topology {
        Topology::Public => Network { cidr, subnets, nat_zones: vec![], route_tables: vec![public_table(Audience::Machines)] },
        Topology::Private { nat } => {
            subnets.extend(cluster.zones.iter().filter_map(|zone| subnet(zone, Audience::Utility, true)));
            let nat_zones: Vec<String> = match nat {
                Nat::One => cluster.zones.iter().take(1).cloned().collect(),
                Nat::PerZone => cluster.zones.clone(),
            };
            let route_tables = std::iter::once(public_table(Audience::Utility))
                .chain(cluster.zones.iter().map(|zone| {
                    let through = nat_zones.iter().find(|nat| *nat == zone).or(nat_zones.first()).unwrap_or(zone);
                    RouteTable {
                        id: ResourceId::PrivateRouteTable(zone.clone()),
                        default_route: ResourceId::NatGateway(through.clone()),
                        subnets: vec![ResourceId::Subnet(Audience::Machines, zone.clone())],
                    }
                }))
                .collect();
            Network { cidr, subnets, nat_zones, route_tables }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::fixture;

    #[test]
    fn subnets_do_not_overlap_and_do_not_move_when_a_zone_is_added() {
        let mut cluster = fixture::cluster();
        cluster.network.topology = Topology::Private { nat: Nat::PerZone };
        let all = network(&cluster).subnets;
        assert_eq!(all.len(), 6);
        for (i, one) in all.iter().enumerate() {
            assert!(cluster.network.cidr.contains(&one.cidr));
            for other in &all[i + 1..] {
                assert!(!one.cidr.contains(&other.cidr) && !other.cidr.contains(&one.cidr), "{one:?} {other:?}");
            }
        }
        cluster.zones.remove(1);
        for subnet in network(&cluster).subnets {
            assert!(all.contains(&subnet), "{subnet:?} moved");
        }
    }

    #[test]
    fn one_nat_gateway_serves_every_zone() {
        let mut cluster = fixture::cluster();
        cluster.network.topology = Topology::Private { nat: Nat::One };
        let network = network(&cluster);
        assert_eq!(network.nat_zones, ["us-east-1a"]);
        let private: Vec<_> = network.route_tables.iter().filter(|table| table.id != ResourceId::PublicRouteTable).collect();
        assert_eq!(private.len(), 3);
        for table in private {
            assert_eq!(table.default_route, ResourceId::NatGateway("us-east-1a".into()));
        }
    }

    #[test]
    fn too_small_a_vpc_and_far_letters_have_no_block() {
        assert!(subnet_cidr("10.0.0.0/25".parse().unwrap(), "us-east-1a", Audience::Machines).is_none());
        assert!(subnet_cidr("10.0.0.0/24".parse().unwrap(), "us-east-1h", Audience::Utility).is_some());
        assert!(subnet_cidr("10.0.0.0/16".parse().unwrap(), "us-east-1i", Audience::Machines).is_none());
    }
}
