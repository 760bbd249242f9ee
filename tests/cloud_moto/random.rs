//! Random sequences of calls, by seed, sent to both accounts: the same answer to each, or a difference that is known with its reason.

use std::collections::{BTreeMap, BTreeSet};

use kubewright::cloud::Cloud;
use kubewright::cloud::fake::draw;
use kubewright::desired::{Peer, Protocol, Rule};
use kubewright::plan::{Change, Tags};

use crate::script::known;

const SEQUENCES: u64 = 40;
const CALLS: u64 = 60;

/// `(call, the client's answer, the fake's answer, why)`.
const DIFFERENCES: &[(&str, &str, &str, &str)] = &[
    ("AssociateRouteTable", "done", "Fatal InvalidParameterValue", "moto lets a table serve a subnet of another VPC"),
    (
        "CreateRoute",
        "done",
        "Fatal InvalidParameterValue",
        "moto does not look whether the gateway is attached to the table's VPC",
    ),
    ("CreateRoute", "Exists RouteAlreadyExists", "Fatal InvalidParameterValue", "the same, where there is such a route already"),
    ("CreateSecurityGroup", "done", "NotFound InvalidVpcID.NotFound", "moto makes groups in VPCs that are gone"),
    ("DetachInternetGateway", "NotFound Gateway.NotAttached", "NotFound InvalidVpcID.NotFound", "moto does not look for the VPC"),
    (
        "DisassociateRouteTable",
        "done",
        "NotFound InvalidAssociationID.NotFound",
        "moto keeps the associations of subnets that are gone",
    ),
];

/// One object in both accounts.
#[derive(Clone)]
struct Pair {
    real: String,
    fake: String,
}

/// Objects that were made, the deleted ones among them: calls on what is gone are calls too.
#[derive(Default)]
struct Made {
    of: BTreeMap<&'static str, Vec<Pair>>,
}

struct Dice {
    seed: u64,
    throws: u64,
}

impl Dice {
    fn upto(&mut self, sides: usize) -> usize {
        self.throws += 1;
        ((draw(self.seed, &["calls", &self.throws.to_string()]) * sides as f64) as usize).min(sides - 1)
    }
}

/// A call, for the account whose ids `id` gives.
type Make<'a> = Box<dyn Fn(&dyn Fn(&Pair) -> String) -> Change + 'a>;

/// A call on objects that there are; `None` where its operands were never made. With the kind of what it makes.
fn call(dice: &mut Dice, made: &Made, uid: &str) -> Option<(&'static str, Option<&'static str>, Make<'static>)> {
    let tags = Tags::from([("uid".to_owned(), uid.to_owned())]);
    let pick = |dice: &mut Dice, kind: &str| {
        let all = made.of.get(kind)?;
        Some(all[dice.upto(all.len())].clone())
    };
    let name = format!("{uid}-{}", dice.upto(2));
    let rule = |dice: &mut Dice| Rule {
        egress: false,
        protocol: Protocol::Tcp,
        ports: Some([(22, 22), (443, 443)][dice.upto(2)]),
        peer: Peer::Cidr(["10.0.0.0/8", "192.168.0.0/16"][dice.upto(2)].parse().expect("a range")),
        description: String::new(),
    };
    let word = [
        "vpc",
        "subnet",
        "subnet",
        "igw",
        "attach",
        "detach",
        "table",
        "route",
        "associate",
        "disassociate",
        "group",
        "authorize",
        "revoke",
        "key",
        "address",
        "tag",
        "attribute",
        "delete",
    ];
    Some(match word[dice.upto(word.len())] {
        "vpc" => {
            let cidr = ["10.1.0.0/16", "10.2.0.0/16"][dice.upto(2)].parse().expect("a range");
            ("CreateVpc", Some("vpc"), Box::new(move |_| Change::CreateVpc { cidr, tags: tags.clone() }))
        }
        "subnet" => {
            let vpc = pick(dice, "vpc")?;
            let cidr = ["10.1.0.0/24", "10.1.1.0/24", "10.1.0.0/20", "10.2.0.0/24"][dice.upto(4)].parse().expect("a range");
            let make = move |id: &dyn Fn(&Pair) -> String| Change::CreateSubnet {
                vpc: known(&id(&vpc)),
                cidr,
                zone: "us-east-1a".into(),
                tags: tags.clone(),
            };
            ("CreateSubnet", Some("subnet"), Box::new(make))
        }
        "igw" => ("CreateInternetGateway", Some("igw"), Box::new(move |_| Change::CreateInternetGateway { tags: tags.clone() })),
        word @ ("attach" | "detach") => {
            let (gateway, vpc) = (pick(dice, "igw")?, pick(dice, "vpc")?);
            match word {
                "attach" => (
                    "AttachInternetGateway",
                    None,
                    Box::new(move |id| Change::AttachInternetGateway { gateway: known(&id(&gateway)), vpc: known(&id(&vpc)) }),
                ),
                _ => (
                    "DetachInternetGateway",
                    None,
                    Box::new(move |id| Change::DetachInternetGateway { gateway: known(&id(&gateway)), vpc: known(&id(&vpc)) }),
                ),
            }
        }
        "table" => {
            let (vpc, token) = (pick(dice, "vpc")?, format!("{uid}-{}", dice.throws));
            let make = move |id: &dyn Fn(&Pair) -> String| Change::CreateRouteTable {
                vpc: known(&id(&vpc)),
                token: token.clone(),
                tags: tags.clone(),
            };
            ("CreateRouteTable", Some("table"), Box::new(make))
        }
        "route" => {
            let (table, target) = (pick(dice, "table")?, pick(dice, "igw")?);
            let destination = ["0.0.0.0/0", "10.1.0.0/16"][dice.upto(2)].parse().expect("a range");
            let make = move |id: &dyn Fn(&Pair) -> String| Change::CreateRoute {
                table: known(&id(&table)),
                destination,
                target: known(&id(&target)),
                nat: false,
            };
            ("CreateRoute", None, Box::new(make))
        }
        "associate" => {
            let (table, subnet) = (pick(dice, "table")?, pick(dice, "subnet")?);
            let make = move |id: &dyn Fn(&Pair) -> String| Change::AssociateRouteTable {
                table: known(&id(&table)),
                subnet: known(&id(&subnet)),
            };
            ("AssociateRouteTable", Some("association"), Box::new(make))
        }
        "disassociate" => {
            let association = pick(dice, "association")?;
            let make = move |id: &dyn Fn(&Pair) -> String| Change::DisassociateRouteTable { association: id(&association) };
            ("DisassociateRouteTable", None, Box::new(make))
        }
        "group" => {
            let vpc = pick(dice, "vpc")?;
            let make = move |id: &dyn Fn(&Pair) -> String| Change::CreateSecurityGroup {
                vpc: known(&id(&vpc)),
                name: name.clone(),
                description: "of a test".into(),
                tags: tags.clone(),
            };
            ("CreateSecurityGroup", Some("group"), Box::new(make))
        }
        word @ ("authorize" | "revoke") => {
            let (group, rules) = (pick(dice, "group")?, vec![rule(dice)]);
            match word {
                "authorize" => (
                    "AuthorizeRules",
                    None,
                    Box::new(move |id| Change::AuthorizeRules {
                        group: known(&id(&group)),
                        egress: false,
                        rules: rules.clone(),
                        groups: BTreeMap::new(),
                    }),
                ),
                _ => (
                    "RevokeRules",
                    None,
                    Box::new(move |id| Change::RevokeRules {
                        group: known(&id(&group)),
                        egress: false,
                        rules: rules.clone(),
                        groups: BTreeMap::new(),
                    }),
                ),
            }
        }
        "key" => match dice.upto(2) {
            0 => ("DeleteKeyPair", None, Box::new(move |_| Change::DeleteKeyPair { name: name.clone() })),
            _ => {
                let public_key = crate::life::KEY.to_owned();
                let make = move |_: &dyn Fn(&Pair) -> String| Change::ImportKeyPair {
                    name: name.clone(),
                    public_key: public_key.clone(),
                    tags: tags.clone(),
                };
                ("ImportKeyPair", None, Box::new(make))
            }
        },
        "address" => match dice.upto(2) {
            0 => ("AllocateAddress", Some("address"), Box::new(move |_| Change::AllocateAddress { tags: tags.clone() })),
            _ => {
                let address = pick(dice, "address")?;
                ("ReleaseAddress", None, Box::new(move |id| Change::ReleaseAddress { allocation: known(&id(&address)) }))
            }
        },
        "tag" => {
            let kind = ["vpc", "subnet", "igw", "table", "group"][dice.upto(5)];
            let resource = pick(dice, kind)?;
            ("CreateTags", None, Box::new(move |id| Change::CreateTags { resource: known(&id(&resource)), tags: tags.clone() }))
        }
        "attribute" => {
            let vpc = pick(dice, "vpc")?;
            let make = move |id: &dyn Fn(&Pair) -> String| Change::ModifyVpcAttribute {
                vpc: known(&id(&vpc)),
                attribute: "enableDnsHostnames".into(),
                value: true,
            };
            ("ModifyVpcAttribute", None, Box::new(make))
        }
        _ => {
            let kind = ["vpc", "subnet", "igw", "table", "group"][dice.upto(5)];
            let gone = pick(dice, kind)?;
            match kind {
                "vpc" => ("DeleteVpc", None, Box::new(move |id| Change::DeleteVpc { vpc: known(&id(&gone)) })),
                "subnet" => ("DeleteSubnet", None, Box::new(move |id| Change::DeleteSubnet { subnet: known(&id(&gone)) })),
                "igw" => (
                    "DeleteInternetGateway",
                    None,
                    Box::new(move |id| Change::DeleteInternetGateway { gateway: known(&id(&gone)) }),
                ),
                "table" => ("DeleteRouteTable", None, Box::new(move |id| Change::DeleteRouteTable { table: known(&id(&gone)) })),
                _ => ("DeleteSecurityGroup", None, Box::new(move |id| Change::DeleteSecurityGroup { group: known(&id(&gone)) })),
            }
        }
    })
}

/// Sends each sequence to both accounts until they differ: after that they are no longer the same account.
pub async fn sequences(real: &dyn Cloud, fake: &dyn Cloud) {
    let (mut known, mut surprises, mut sent) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::<&str, BTreeSet<String>>::new());
    for seed in 0..SEQUENCES {
        let (mut dice, mut made) = (Dice { seed, throws: 0 }, Made::default());
        let uid = uuid::Uuid::new_v4().simple().to_string();
        for _ in 0..CALLS {
            let Some((name, makes, change)) = call(&mut dice, &made, &uid) else { continue };
            let answers =
                [real.change(&change(&|pair| pair.real.clone())).await, fake.change(&change(&|pair| pair.fake.clone())).await];
            let said = answers.each_ref().map(|answer| match answer {
                Ok(_) => "done".to_owned(),
                Err(error) => format!("{:?} {}", error.class, error.code),
            });
            sent.entry(name).or_default().insert(said[0].clone());
            if said[0] != said[1] {
                match DIFFERENCES.iter().position(|(call, real, fake, _)| (*call, *real, *fake) == (name, &*said[0], &*said[1])) {
                    Some(listed) => drop(known.insert(listed)),
                    None => drop(surprises.insert((name, said), seed)),
                }
                break;
            }
            let ids = answers.map(|answer| answer.ok().and_then(|changed| changed.id));
            if let (Some(kind), [Some(real), Some(fake)]) = (makes, ids) {
                made.of.entry(kind).or_default().push(Pair { real, fake });
            }
        }
    }
    for (name, answers) in &sent {
        eprintln!("{name}: {answers:?}");
    }
    assert!(surprises.is_empty(), "answers that differ, with the seed: {surprises:#?}");
    for (listed, (call, real, fake, why)) in DIFFERENCES.iter().enumerate() {
        assert!(known.contains(&listed), "{call} no longer differs, {real} and {fake} ({why})");
    }
}
