//! Everything that exists in the account, and the way objects come into being.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Options;
use super::catalogue;
use crate::cloud::NetworkInterface;
use crate::cloud::resolve::{self, Unresolved};
use crate::observed::{
    Address, Catalogue, HostedZone, Instance, InternetGateway, KeyPair, NatGateway, RecordSet, RouteTable, SecurityGroup, Subnet,
    Tags, Vpc,
};
use crate::plan::change::RunInstance;
use crate::plan::{Changed, Ref};

/// AWS's answer "no": its code and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: &'static str,
    pub message: String,
}

impl Refusal {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// A hole in a request is refused here as AWS would refuse the empty parameter.
impl From<Unresolved> for Refusal {
    fn from(hole: Unresolved) -> Self {
        Self::new("InvalidParameterValue", hole.to_string())
    }
}

pub type Answer<T> = Result<T, Refusal>;

#[derive(Clone, Debug)]
pub struct FakeVpc {
    pub seen: Vpc,
    pub dns_support: bool,
    pub dns_hostnames: bool,
}

#[derive(Clone, Debug)]
pub struct FakeNat {
    pub seen: NatGateway,
    pub vpc: String,
    /// Listings until the next state.
    pub reads_left: u32,
}

#[derive(Clone, Debug)]
pub struct FakeInstance {
    pub seen: Instance,
    pub vpc: String,
    pub request: RunInstance,
    /// Listings until the next state.
    pub reads_left: u32,
    /// Console calls until there is a text.
    pub console_left: u32,
}

#[derive(Clone, Debug)]
pub struct FakeZone {
    pub seen: HostedZone,
    /// By name and kind.
    pub records: BTreeMap<(String, String), RecordSet>,
}

/// The account. Public to tests, which may edit it to make drift.
#[derive(Clone, Debug)]
pub struct World {
    pub region: String,
    pub account: String,
    pub options: Options,
    pub catalogue: Catalogue,
    pub vpcs: BTreeMap<String, FakeVpc>,
    pub subnets: BTreeMap<String, Subnet>,
    pub internet_gateways: BTreeMap<String, InternetGateway>,
    pub nat_gateways: BTreeMap<String, FakeNat>,
    pub addresses: BTreeMap<String, Address>,
    pub route_tables: BTreeMap<String, RouteTable>,
    pub security_groups: BTreeMap<String, SecurityGroup>,
    /// By name.
    pub key_pairs: BTreeMap<String, KeyPair>,
    pub instances: BTreeMap<String, FakeInstance>,
    pub hosted_zones: BTreeMap<String, FakeZone>,
    /// Interfaces that are neither an instance's nor a NAT gateway's: load balancers and the like.
    pub interfaces: Vec<NetworkInterface>,
    /// Route 53 changes, with the reads until they are in sync.
    pub(super) record_changes: BTreeMap<String, u32>,
    /// Client token and action -> request, and the object that it made.
    pub(super) tokens: BTreeMap<(String, &'static str), (String, Changed)>,
    /// Taken addresses of each subnet.
    pub(super) taken: BTreeMap<String, BTreeSet<Ipv4Addr>>,
    /// Objects that listings do not show yet, with the listings left.
    pub(super) unseen: BTreeMap<String, u32>,
    /// Objects that listings by tag never show: for tests of what depends on these.
    pub untagged: BTreeSet<String>,
    /// When objects were made, since the account was.
    pub(super) born: BTreeMap<String, Duration>,
    /// Since the account was made.
    pub(super) time: Duration,
    counters: BTreeMap<&'static str, u64>,
    now: Timestamp,
}

impl World {
    pub fn new(region: &str, options: Options) -> Self {
        Self {
            region: region.to_owned(),
            account: "123456789012".to_owned(),
            options,
            catalogue: catalogue::of(region),
            vpcs: BTreeMap::new(),
            subnets: BTreeMap::new(),
            internet_gateways: BTreeMap::new(),
            nat_gateways: BTreeMap::new(),
            addresses: BTreeMap::new(),
            route_tables: BTreeMap::new(),
            security_groups: BTreeMap::new(),
            key_pairs: BTreeMap::new(),
            instances: BTreeMap::new(),
            hosted_zones: BTreeMap::new(),
            interfaces: Vec::new(),
            record_changes: BTreeMap::new(),
            tokens: BTreeMap::new(),
            taken: BTreeMap::new(),
            unseen: BTreeMap::new(),
            untagged: BTreeSet::new(),
            born: BTreeMap::new(),
            time: Duration::ZERO,
            counters: BTreeMap::new(),
            now: Timestamp::UNIX_EPOCH + SignedDuration::from_hours(20_454 * 24), // 2026-01-01
        }
    }

    /// The next id of a kind: `vpc-00000000000000001`, `vpc-00000000000000002`, ...
    pub(super) fn id(&mut self, prefix: &'static str) -> String {
        let counter = self.count(prefix);
        let id = format!("{prefix}-{counter:017x}");
        if self.options.listing_lag > 0 {
            self.unseen.insert(id.clone(), self.options.listing_lag);
        }
        self.born.insert(id.clone(), self.time);
        id
    }

    /// How many objects of each kind were ever made.
    pub(super) fn made(&self) -> BTreeMap<&'static str, u64> {
        self.counters.clone()
    }

    pub(super) fn count(&mut self, what: &'static str) -> u64 {
        let counter = self.counters.entry(what).or_default();
        *counter += 1;
        *counter
    }

    /// The account's clock: one second later with each object.
    pub(super) fn tick(&mut self) -> Timestamp {
        self.now += SignedDuration::from_secs(1);
        self.now
    }

    /// The next public address of 198.18.0.0/15, which no real host has (RFC 2544).
    pub(super) fn public_address(&mut self) -> String {
        let offset = u32::try_from(self.count("public address")).unwrap_or(1);
        Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits().wrapping_add(offset % (1 << 17))).to_string()
    }

    /// The answer of an earlier call with the same token: `None` for a new token.
    pub(super) fn replay(&self, action: &'static str, token: &str, request: &str) -> Answer<Option<Changed>> {
        if token.is_empty() || token.len() > 64 || !token.is_ascii() {
            return Err(Refusal::new("InvalidParameterValue", "The client token must have 1 to 64 ASCII characters"));
        }
        match self.tokens.get(&(token.to_owned(), action)) {
            None => Ok(None),
            Some(_) if self.options.forgets_tokens => Ok(None),
            Some((stored, changed)) if stored == request => Ok(Some(changed.clone())),
            Some(_) => Err(Refusal::new(
                "IdempotentParameterMismatch",
                "The client token you have provided has already been used with a different request",
            )),
        }
    }

    pub(super) fn remember(&mut self, action: &'static str, token: &str, request: String, changed: &Changed) {
        self.tokens.insert((token.to_owned(), action), (request, changed.clone()));
    }

    /// The tags of any object that has some; `None` for an object that does not exist.
    pub(super) fn tags_of(&mut self, id: &str) -> Option<&mut Tags> {
        let kind = id.split('-').next().unwrap_or_default();
        match kind {
            "vpc" => self.vpcs.get_mut(id).map(|vpc| &mut vpc.seen.tags),
            "subnet" => self.subnets.get_mut(id).map(|subnet| &mut subnet.tags),
            "igw" => self.internet_gateways.get_mut(id).map(|gateway| &mut gateway.tags),
            "nat" => self.nat_gateways.get_mut(id).map(|gateway| &mut gateway.seen.tags),
            "eipalloc" => self.addresses.get_mut(id).map(|address| &mut address.tags),
            "rtb" => self.route_tables.get_mut(id).map(|table| &mut table.tags),
            "sg" => self.security_groups.get_mut(id).map(|group| &mut group.tags),
            "i" => self.instances.get_mut(id).map(|instance| &mut instance.seen.tags),
            "key" => self.key_pairs.values_mut().find(|pair| pair.id == id).map(|pair| &mut pair.tags),
            _ => None,
        }
    }

    pub(super) fn create_tags(&mut self, resource: &Ref, tags: &Tags) -> Answer<Changed> {
        let id = resolve::known(resource)?;
        check_tags(tags)?;
        let held = self.tags_of(id).ok_or_else(|| not_found(id))?;
        let mut after = held.clone();
        after.extend(tags.clone());
        check_tags(&after)?;
        *held = after;
        Ok(Changed::default())
    }

    pub(super) fn delete_tags(&mut self, resource: &Ref, keys: &[String]) -> Answer<Changed> {
        let id = resolve::known(resource)?;
        let held = self.tags_of(id).ok_or_else(|| not_found(id))?;
        held.retain(|key, _| !keys.contains(key));
        Ok(Changed::default())
    }
}

/// What AWS accepts as tags of one resource.
pub(super) fn check_tags(tags: &Tags) -> Answer<()> {
    if tags.len() > 50 {
        return Err(Refusal::new("TagLimitExceeded", "The maximum number of Tags for a resource has been reached"));
    }
    for (key, value) in tags {
        if key.to_ascii_lowercase().starts_with("aws:") || key.is_empty() || key.chars().count() > 128 {
            return Err(Refusal::new(
                "InvalidParameterValue",
                format!("Tag keys starting with 'aws:' are reserved, or length: {key}"),
            ));
        }
        if value.chars().count() > 256 {
            return Err(Refusal::new("InvalidParameterValue", format!("Tag value exceeds the maximum length of 256: {key}")));
        }
    }
    Ok(())
}

/// AWS's `NotFound` for an id, by the id's kind.
pub(super) fn not_found(id: &str) -> Refusal {
    let (code, what) = match id.split('-').next().unwrap_or_default() {
        "vpc" => ("InvalidVpcID.NotFound", "vpc ID"),
        "subnet" => ("InvalidSubnetID.NotFound", "subnet ID"),
        "igw" => ("InvalidInternetGatewayID.NotFound", "internetGateway ID"),
        "nat" => ("NatGatewayNotFound", "NAT gateway"),
        "eipalloc" => ("InvalidAllocationID.NotFound", "allocation ID"),
        "rtb" => ("InvalidRouteTableID.NotFound", "routeTable ID"),
        "rtbassoc" => ("InvalidAssociationID.NotFound", "association ID"),
        "sg" => ("InvalidGroup.NotFound", "security group"),
        "i" => ("InvalidInstanceID.NotFound", "instance ID"),
        "ami" => ("InvalidAMIID.NotFound", "image id"),
        "key" => ("InvalidKeyPair.NotFound", "key pair"),
        _ => ("InvalidID", "ID"),
    };
    Refusal::new(code, format!("The {what} '{id}' does not exist"))
}
