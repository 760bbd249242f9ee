//! Every attribute that listings give, and what a hand can do to it.

use std::collections::BTreeMap;

use kubewright::desired::{Peer, Protocol, ResourceId, Rule};
use kubewright::observed::*;
use kubewright::plan::{Change, Ref};

use crate::world::*;

/// How an attribute is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// There is a case below.
    Watched,
    /// It cannot be changed while the object lives, or is AWS's own.
    Fixed,
}
pub use Kept::{Fixed, Watched};

/// Every attribute of every kind; one that is missing here does not compile.
macro_rules! attributes {
    ($($kind:ident { $($field:ident: $kept:expr),* $(,)? })*) => {{
        $(let _ = |value: $kind| { let $kind { $($field: _),* } = value; };)*
        vec![$($((stringify!($kind), stringify!($field), $kept)),*),*]
    }};
}

pub fn attributes() -> Vec<(&'static str, &'static str, Kept)> {
    attributes! {
        Vpc { id: Fixed, cidr: Fixed, tags: Watched }
        Subnet { id: Fixed, vpc: Fixed, cidr: Fixed, zone: Fixed, tags: Watched }
        InternetGateway { id: Fixed, attached: Watched, tags: Watched }
        // One that failed or was deleted is made again.
        NatGateway { id: Fixed, subnet: Fixed, state: Watched, allocations: Fixed, tags: Watched }
        Address { allocation: Fixed, public: Fixed, association: Fixed, tags: Watched }
        RouteTable { id: Fixed, vpc: Fixed, routes: Watched, associations: Watched, tags: Watched }
        SecurityGroup { id: Fixed, name: Fixed, vpc: Fixed, rules: Watched, tags: Watched }
        KeyPair { id: Fixed, name: Fixed, public_key: Watched, tags: Watched }
        Instance {
            id: Fixed, state: Watched, image: Fixed, machine_type: Watched, zone: Fixed, subnet: Fixed, private_address: Fixed,
            public_address: Watched, key_name: Fixed, security_groups: Watched, source_dest_check: Watched, launched: Fixed,
            tags: Watched,
        }
        HostedZone { id: Fixed, name: Fixed, private: Fixed, name_servers: Fixed }
        RecordSet { name: Watched, kind: Fixed, ttl: Watched, values: Watched, special: Watched }
    }
}

/// What follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Set right, so that the account is as before.
    Mended,
    /// Set right in another way: something was made anew.
    Remade,
    /// Said, with what a person can do, and left alone.
    Left,
    /// Said without a guess about who did it.
    Said,
    /// Nothing can be applied before a person did something.
    Refused,
}
pub use End::{Left, Mended, Refused, Remade, Said};

/// `(kind, attribute, by hand: returns what has to be said, what follows)`
pub type Case = (&'static str, &'static str, fn(&World) -> Vec<String>, End);

pub fn id(world: &World, resource: &str) -> String {
    world.state().resources[&resource.parse::<ResourceId>().unwrap()].id.clone()
}

pub fn known(world: &World, resource: &str) -> Ref {
    Ref::Known(id(world, resource))
}

pub fn rule(egress: bool, peer: Peer, text: &str) -> Rule {
    Rule { egress, protocol: Protocol::Tcp, ports: Some((22, 22)), peer, description: text.into() }
}

pub fn everywhere() -> Peer {
    Peer::Cidr("0.0.0.0/0".parse().unwrap())
}

pub fn authorize(world: &World, group: &str, rule: Rule) {
    let change =
        Change::AuthorizeRules { group: known(world, group), egress: rule.egress, rules: vec![rule], groups: BTreeMap::new() };
    world.cloud.plant(&change).unwrap();
}

fn of_group(world: &World, group: &str, edit: impl FnOnce(&mut Vec<Rule>)) {
    let id = id(world, group);
    world.cloud.edit(|account| edit(&mut account.security_groups.get_mut(&id).unwrap().rules));
}

pub fn of_table(world: &World, table: &str, edit: impl FnOnce(&mut RouteTable)) {
    let id = id(world, table);
    world.cloud.edit(|account| edit(account.route_tables.get_mut(&id).unwrap()));
}

fn of_instance(world: &World, slot: &str, edit: impl FnOnce(&mut Instance)) {
    let id = world.instance(slot);
    world.cloud.edit(|account| edit(&mut account.instances.get_mut(&id).unwrap().seen));
}

fn of_records(world: &World, edit: impl FnOnce(&mut BTreeMap<(String, String), RecordSet>)) {
    world.cloud.edit(|account| edit(&mut account.hosted_zones.values_mut().next().unwrap().records));
}

fn api() -> (String, String) {
    (format!("api.{NAME}"), "A".into())
}

pub fn cases() -> Vec<Case> {
    vec![
        (
            "InternetGateway",
            "attached",
            |world| {
                let gateway = id(world, "internet-gateway");
                world.cloud.edit(|account| account.internet_gateways.get_mut(&gateway).unwrap().attached.clear());
                vec![format!("attachment is nothing, was {}", id(world, "vpc"))]
            },
            Mended,
        ),
        (
            "InternetGateway",
            "attached",
            |world| {
                let gateway = id(world, "internet-gateway");
                world.cloud.edit(|account| account.internet_gateways.get_mut(&gateway).unwrap().attached = vec!["vpc-9".into()]);
                vec![format!("internet gateway {gateway} is attached to vpc-9"), "aws ec2 detach-internet-gateway".into()]
            },
            Refused,
        ),
        (
            "NatGateway",
            "state",
            |world| {
                let gateway = id(world, "nat-gateway/us-east-1a");
                world.cloud.plant(&Change::DeleteNatGateway { gateway: Ref::Known(gateway.clone()) }).unwrap();
                vec![format!("deleted by hand: {gateway} is gone")]
            },
            Remade,
        ),
        (
            "RouteTable",
            "routes",
            |world| {
                let (internet, nat) = (id(world, "internet-gateway"), id(world, "nat-gateway/us-east-1a"));
                of_table(world, "route-table/us-east-1a", |table| {
                    table
                        .routes
                        .iter_mut()
                        .filter(|route| route.destination == "0.0.0.0/0")
                        .for_each(|route| route.target = "igw-1".into());
                    table
                        .routes
                        .iter_mut()
                        .filter(|route| route.target == "igw-1")
                        .for_each(|route| route.target.clone_from(&internet));
                });
                vec![format!("route 0.0.0.0/0 is {internet}, was {nat}")]
            },
            Mended,
        ),
        (
            "RouteTable",
            "routes",
            |world| {
                of_table(world, "route-table/us-east-1b", |table| table.routes.retain(|route| route.target == "local"));
                vec![format!("route 0.0.0.0/0 is nothing, was {}", id(world, "nat-gateway/us-east-1b"))]
            },
            Mended,
        ),
        (
            "RouteTable",
            "routes",
            |world| {
                of_table(world, "route-table/public", |table| {
                    let (destination, target) = ("10.9.0.0/16".into(), "pcx-1".into());
                    table.routes.push(Route { destination, target, state: "active".into() });
                });
                vec!["route 10.9.0.0/16 is pcx-1, was nothing".into(), "aws ec2 delete-route".into()]
            },
            Left,
        ),
        (
            "RouteTable",
            "associations",
            |world| {
                of_table(world, "route-table/us-east-1a", |table| table.associations.clear());
                vec!["route table of subnet/us-east-1a is none of the cluster's, was".into(), id(world, "route-table/us-east-1a")]
            },
            Mended,
        ),
        (
            "RouteTable",
            "associations",
            |world| {
                // A private subnet made public.
                of_table(world, "route-table/us-east-1a", |table| table.associations.clear());
                let (table, subnet) = (known(world, "route-table/public"), known(world, "subnet/us-east-1a"));
                world.cloud.plant(&Change::AssociateRouteTable { table, subnet }).unwrap();
                let (is, was) = (id(world, "route-table/public"), id(world, "route-table/us-east-1a"));
                vec![format!("route table of subnet/us-east-1a is {is}, was {was}")]
            },
            Mended,
        ),
        (
            "RouteTable",
            "associations",
            |world| {
                // In somebody else's table.
                of_table(world, "route-table/us-east-1a", |table| table.associations.clear());
                let made = world.cloud.plant(&Change::CreateRouteTable {
                    vpc: known(world, "vpc"),
                    token: "t".into(),
                    tags: Tags::new(),
                });
                let theirs = made.unwrap().id.unwrap();
                let (table, subnet) = (Ref::Known(theirs.clone()), known(world, "subnet/us-east-1a"));
                world.cloud.plant(&Change::AssociateRouteTable { table, subnet }).unwrap();
                vec![format!("route table of subnet/us-east-1a is {theirs}, was")]
            },
            Remade,
        ),
        (
            "RouteTable",
            "associations",
            |world| {
                of_table(world, "route-table/public", |table| {
                    table.associations.push(Association { id: "rtbassoc-9".into(), subnet: Some("subnet-9".into()) });
                });
                vec!["association with subnet-9 is there, was not there".into(), "aws ec2 disassociate-route-table".into()]
            },
            Left,
        ),
        (
            "SecurityGroup",
            "rules",
            |world| {
                authorize(world, "security-group/node", rule(false, everywhere(), "by hand"));
                vec!["tcp 22 from 0.0.0.0/0 by hand is there, was not there".into()]
            },
            Mended,
        ),
        (
            "SecurityGroup",
            "rules",
            |world| {
                authorize(world, "security-group/control-plane", rule(false, Peer::Foreign("::/0".into()), ""));
                vec!["tcp 22 from ::/0 no description is there, was not there".into()]
            },
            Mended,
        ),
        (
            "SecurityGroup",
            "rules",
            |world| {
                authorize(world, "security-group/bastion", rule(true, Peer::Cidr("198.51.100.0/24".parse().unwrap()), "out"));
                vec!["tcp 22 to 198.51.100.0/24 out is there, was not there".into()]
            },
            Mended,
        ),
        (
            "SecurityGroup",
            "rules",
            |world| {
                of_group(world, "security-group/control-plane", |rules| {
                    rules.retain(|rule| rule.description != "API server, api.access")
                });
                vec!["tcp 6443 from 203.0.113.0/24 API server, api.access is not there, was there".into()]
            },
            Mended,
        ),
        (
            "SecurityGroup",
            "rules",
            |world| {
                of_group(world, "security-group/control-plane", |rules| {
                    let rule = rules.iter_mut().find(|rule| rule.description == "API server, api.access").unwrap();
                    rule.description = "mine".into();
                });
                vec!["tcp 6443 from 203.0.113.0/24 mine is there, was not there".into()]
            },
            Mended,
        ),
        (
            "SecurityGroup",
            "rules",
            |world| {
                world.cloud.edit(|account| {
                    let vpc = account.vpcs.keys().next().unwrap().clone();
                    let default =
                        account.security_groups.values_mut().find(|group| group.vpc == vpc && group.name == "default").unwrap();
                    default.rules.push(rule(false, everywhere(), ""));
                });
                vec!["tcp 22 from 0.0.0.0/0 no description is there, was not there".into(), "default group has rules".into()]
            },
            Mended,
        ),
        (
            "KeyPair",
            "public_key",
            |world| {
                world
                    .cloud
                    .edit(|account| account.key_pairs.values_mut().for_each(|pair| pair.public_key = Some(OTHER_KEY.into())));
                vec![
                    "public key is ssh-ed25519 ...".into(),
                    "bS0Bg5dCu5".chars().rev().take(6).collect::<String>().chars().rev().collect(),
                ]
            },
            Remade,
        ),
        (
            "Instance",
            "state",
            |world| {
                of_instance(world, "nodes-us-east-1a-1", |instance| instance.state = "stopped".into());
                vec!["is stopped".into(), "what is on its disk is lost".into(), "in the place of nodes-us-east-1a-1".into()]
            },
            Remade,
        ),
        (
            "Instance",
            "state",
            |world| {
                of_instance(world, "control-plane-us-east-1a-1", |instance| instance.state = "stopped".into());
                vec!["is stopped; start it".into()]
            },
            Said,
        ),
        (
            "Instance",
            "machine_type",
            |world| {
                of_instance(world, "nodes-us-east-1a-1", |instance| instance.machine_type = "t3.nano".into());
                vec!["machine type t3.nano -> t3.large".into()]
            },
            Said,
        ),
        (
            "Instance",
            "public_address",
            |world| {
                of_instance(world, "bastion-us-east-1a-1", |instance| instance.public_address = Some("192.0.2.77".into()));
                vec!["192.0.2.77".into(), "addresses of machines".into()]
            },
            Said,
        ),
        (
            "Instance",
            "security_groups",
            |world| {
                of_instance(world, "nodes-us-east-1a-1", |instance| instance.security_groups.push("sg-9".into()));
                vec!["security groups is".into(), "sg-9, was sg-".into(), "aws ec2 modify-instance-attribute".into()]
            },
            Left,
        ),
        (
            "Instance",
            "source_dest_check",
            |world| {
                of_instance(world, "nodes-us-east-1a-1", |instance| instance.source_dest_check = Some(false));
                vec!["source/dest check is off, was on".into()]
            },
            Mended,
        ),
        (
            "RecordSet",
            "values",
            |world| {
                of_records(world, |records| records.get_mut(&api()).unwrap().values = vec!["192.0.2.66".into()]);
                vec![format!("api.{NAME} is 192.0.2.66, was 10.20.")]
            },
            Mended,
        ),
        (
            "RecordSet",
            "ttl",
            |world| {
                of_records(world, |records| records.get_mut(&api()).unwrap().ttl = 86_400);
                vec![format!("TTL of api.{NAME} is 86400, was 30")]
            },
            Mended,
        ),
        (
            "RecordSet",
            "special",
            |world| {
                of_records(world, |records| records.get_mut(&api()).unwrap().special = true);
                vec![format!("record api.{NAME} has a routing policy that kubewright did not set")]
            },
            Refused,
        ),
        (
            "RecordSet",
            "name",
            |world| {
                of_records(world, |records| drop(records.remove(&api())));
                vec![format!("api.{NAME} is nothing, was 10.20.")]
            },
            Mended,
        ),
        (
            "RecordSet",
            "name",
            |world| {
                of_records(world, |records| drop(records.remove(&(format!("kubewright-owner.{NAME}"), "TXT".into()))));
                vec![format!("deleted by hand: kubewright-owner.{NAME} is gone")]
            },
            Mended,
        ),
    ]
}
