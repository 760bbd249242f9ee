//! The smallest interface to AWS that kubewright calls. [`aws`] is the only place that names `aws-sdk-*`; [`fake`] remembers.

use async_trait::async_trait;

pub mod aws;
pub mod calls;
pub mod codes;
pub mod error;
pub mod fake;
pub mod pace;
pub mod resolve;

pub use error::{CloudError, ErrorClass};

use crate::observed::{
    Account, Address, HostedZone, Image, Instance, InternetGateway, KeyPair, MachineType, NatGateway, RecordSet, RouteTable,
    SecurityGroup, Subnet, Vpc,
};
use crate::plan::{Change, Changed};

/// Which objects a listing returns. Listings follow every page, at the largest page size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Objects with the tag `kubewright.io/cluster-uid` = uid.
    Uid(String),
    /// Objects with the tag `kubewright.io/cluster` = name, whatever their uid.
    Name(String),
    /// Objects in a VPC, whoever made them (subnets, route tables, groups, instances); the VPC itself for [`Cloud::vpcs`].
    Vpc(String),
}

/// How many calls were made since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    pub reads: u64,
    pub changes: u64,
    pub throttled: u64,
}

/// One account and region. Every method is one AWS action (with its pages), bounded by a time-out and paced below AWS's limits.
#[async_trait]
pub trait Cloud: Send + Sync {
    async fn account(&self) -> Result<Account, CloudError>;

    async fn vpcs(&self, scope: &Scope) -> Result<Vec<Vpc>, CloudError>;
    async fn subnets(&self, scope: &Scope) -> Result<Vec<Subnet>, CloudError>;
    async fn internet_gateways(&self, scope: &Scope) -> Result<Vec<InternetGateway>, CloudError>;
    async fn nat_gateways(&self, scope: &Scope) -> Result<Vec<NatGateway>, CloudError>;
    async fn addresses(&self, scope: &Scope) -> Result<Vec<Address>, CloudError>;
    async fn route_tables(&self, scope: &Scope) -> Result<Vec<RouteTable>, CloudError>;
    async fn security_groups(&self, scope: &Scope) -> Result<Vec<SecurityGroup>, CloudError>;
    async fn key_pairs(&self, scope: &Scope) -> Result<Vec<KeyPair>, CloudError>;
    async fn instances(&self, scope: &Scope) -> Result<Vec<Instance>, CloudError>;

    /// Public and private hosted zones of exactly this name.
    async fn hosted_zones(&self, name: &str) -> Result<Vec<HostedZone>, CloudError>;
    /// Record sets of the zone whose name is `suffix` or ends in `.suffix`.
    async fn records(&self, zone: &str, suffix: &str) -> Result<Vec<RecordSet>, CloudError>;
    /// `true` once a Route 53 change is on all name servers (`INSYNC`).
    async fn records_in_sync(&self, change: &str) -> Result<bool, CloudError>;

    /// Available zones of the region.
    async fn zones(&self) -> Result<Vec<String>, CloudError>;
    /// Types that exist, with the zones that offer them; unknown names are left out.
    async fn machine_types(&self, names: &[String]) -> Result<Vec<MachineType>, CloudError>;
    /// Images by id; unknown ids are left out.
    async fn images_by_id(&self, ids: &[String]) -> Result<Vec<Image>, CloudError>;
    /// Available images of an owner whose name matches one of the patterns.
    async fn images_by_name(&self, owner: &str, patterns: &[String]) -> Result<Vec<Image>, CloudError>;
    /// The console text (`Latest`), decoded; `None` while there is none.
    async fn console_output(&self, instance: &str) -> Result<Option<String>, CloudError>;
    /// What keeps an object from being deleted: network interfaces in a VPC, `(id, description, owner)` each.
    async fn network_interfaces(&self, vpc: &str) -> Result<Vec<NetworkInterface>, CloudError>;

    /// Makes one change. All references must be resolved. A lost answer is [`ErrorClass::Ambiguous`].
    async fn change(&self, change: &Change) -> Result<Changed, CloudError>;

    fn calls(&self) -> Calls;
}

/// An interface that may block a delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkInterface {
    pub id: String,
    pub subnet: String,
    pub groups: Vec<String>,
    pub description: String,
    /// Instance that it is attached to.
    pub instance: Option<String>,
    pub requester: Option<String>,
}
