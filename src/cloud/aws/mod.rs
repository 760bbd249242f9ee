//! The AWS SDK behind [`super::Cloud`].

use async_trait::async_trait;
use aws_sdk_ec2::config::retry::RetryConfig;

mod catalogue;
pub mod classify;
pub mod connect;
mod dns;
mod machines;
mod network;
pub mod objects;
mod pages;
mod routing;
mod security;
mod send;
#[cfg(test)]
mod wire_tests;

pub use connect::{Connection, connect};

use crate::cloud::pace::Pace;
use crate::cloud::resolve::Unresolved;
use crate::cloud::{Calls, Cloud, CloudError, ErrorClass, NetworkInterface, Scope, calls};
use crate::observed::{
    Account, Address, HostedZone, Image, Instance, InternetGateway, KeyPair, MachineType, NatGateway, RecordSet, RouteTable,
    SecurityGroup, Subnet, Vpc,
};
use crate::plan::{Change, Changed};
use send::{Repeat, send};

type Result<T> = std::result::Result<T, CloudError>;

/// One account and region of AWS.
pub struct AwsCloud {
    ec2: aws_sdk_ec2::Client,
    /// With time for pages of 1,000 instances.
    ec2_long: aws_sdk_ec2::Client,
    route53: aws_sdk_route53::Client,
    sts: aws_sdk_sts::Client,
    pace: Pace,
}

impl AwsCloud {
    pub fn new(connection: &Connection) -> Self {
        let sdk = &connection.sdk;
        // Attempts are made, paced and counted in `send`.
        let ec2 = aws_sdk_ec2::config::Builder::from(sdk).retry_config(RetryConfig::disabled());
        let long = ec2.clone().timeout_config(connect::timeouts(connect::LONG_ATTEMPT_TIMEOUT));
        let route53 = aws_sdk_route53::config::Builder::from(sdk).retry_config(RetryConfig::disabled());
        let sts = aws_sdk_sts::config::Builder::from(sdk).retry_config(RetryConfig::disabled());
        Self {
            ec2: aws_sdk_ec2::Client::from_conf(ec2.build()),
            ec2_long: aws_sdk_ec2::Client::from_conf(long.build()),
            route53: aws_sdk_route53::Client::from_conf(route53.build()),
            sts: aws_sdk_sts::Client::from_conf(sts.build()),
            pace: Pace::default(),
        }
    }
}

/// A request that must not be sent as it is.
fn unsent(call: &calls::Call, why: impl ToString) -> CloudError {
    CloudError {
        class: ErrorClass::Fatal,
        action: call.name(),
        code: "not sent".to_owned(),
        message: why.to_string(),
        request_id: None,
    }
}

/// An answer without the part that it always has. A change was carried out, but what it made is not known.
fn hollow(call: &calls::Call, what: &str) -> CloudError {
    CloudError {
        class: if call.is_change() { ErrorClass::Ambiguous } else { ErrorClass::Fatal },
        action: call.name(),
        code: "answer".to_owned(),
        message: format!("the answer has no {what}"),
        request_id: None,
    }
}

/// The id that a create call gave.
fn made(call: &calls::Call, id: Option<&str>) -> Result<Changed> {
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| hollow(call, "id"))?;
    Ok(Changed { id: Some(id.to_owned()), ..Changed::default() })
}

fn hole(call: &'static calls::Call) -> impl Fn(Unresolved) -> CloudError {
    move |hole| unsent(call, hole)
}

#[async_trait]
impl Cloud for AwsCloud {
    async fn account(&self) -> Result<Account> {
        let call = &calls::GET_CALLER_IDENTITY;
        let answer = send(&self.pace, call, Repeat::Harmless, || self.sts.get_caller_identity().send()).await?;
        let id = answer.account().ok_or_else(|| hollow(call, "account"))?.to_owned();
        let arn = answer.arn().ok_or_else(|| hollow(call, "ARN"))?.to_owned();
        let partition = arn.split(':').nth(1).unwrap_or("aws").to_owned();
        Ok(Account { id, arn, partition })
    }

    async fn vpcs(&self, scope: &Scope) -> Result<Vec<Vpc>> {
        self.list_vpcs(scope).await
    }

    async fn subnets(&self, scope: &Scope) -> Result<Vec<Subnet>> {
        self.list_subnets(scope).await
    }

    async fn internet_gateways(&self, scope: &Scope) -> Result<Vec<InternetGateway>> {
        self.list_internet_gateways(scope).await
    }

    async fn nat_gateways(&self, scope: &Scope) -> Result<Vec<NatGateway>> {
        self.list_nat_gateways(scope).await
    }

    async fn addresses(&self, scope: &Scope) -> Result<Vec<Address>> {
        self.list_addresses(scope).await
    }

    async fn route_tables(&self, scope: &Scope) -> Result<Vec<RouteTable>> {
        self.list_route_tables(scope).await
    }

    async fn security_groups(&self, scope: &Scope) -> Result<Vec<SecurityGroup>> {
        self.list_security_groups(scope).await
    }

    async fn key_pairs(&self, scope: &Scope) -> Result<Vec<KeyPair>> {
        self.list_key_pairs(scope).await
    }

    async fn instances(&self, scope: &Scope) -> Result<Vec<Instance>> {
        self.list_instances(scope).await
    }

    async fn hosted_zones(&self, name: &str) -> Result<Vec<HostedZone>> {
        self.list_hosted_zones(name).await
    }

    async fn records(&self, zone: &str, suffix: &str) -> Result<Vec<RecordSet>> {
        self.list_records(zone, suffix).await
    }

    async fn records_in_sync(&self, change: &str) -> Result<bool> {
        self.is_in_sync(change).await
    }

    async fn zones(&self) -> Result<Vec<String>> {
        self.list_zones().await
    }

    async fn machine_types(&self, names: &[String]) -> Result<Vec<MachineType>> {
        self.list_machine_types(names).await
    }

    async fn images_by_id(&self, ids: &[String]) -> Result<Vec<Image>> {
        self.list_images_by_id(ids).await
    }

    async fn images_by_name(&self, owner: &str, patterns: &[String]) -> Result<Vec<Image>> {
        self.list_images_by_name(owner, patterns).await
    }

    async fn console_output(&self, instance: &str) -> Result<Option<String>> {
        self.console(instance).await
    }

    async fn network_interfaces(&self, vpc: &str) -> Result<Vec<NetworkInterface>> {
        self.list_network_interfaces(vpc).await
    }

    async fn change(&self, change: &Change) -> Result<Changed> {
        match change {
            Change::CreateVpc { cidr, tags } => self.create_vpc(*cidr, tags).await,
            Change::ModifyVpcAttribute { vpc, attribute, value } => self.modify_vpc_attribute(vpc, attribute, *value).await,
            Change::DeleteVpc { vpc } => self.delete_vpc(vpc).await,
            Change::CreateSubnet { vpc, cidr, zone, tags } => self.create_subnet(vpc, *cidr, zone, tags).await,
            Change::DeleteSubnet { subnet } => self.delete_subnet(subnet).await,
            Change::CreateInternetGateway { tags } => self.create_internet_gateway(tags).await,
            Change::AttachInternetGateway { gateway, vpc } => self.attach_internet_gateway(gateway, vpc).await,
            Change::DetachInternetGateway { gateway, vpc } => self.detach_internet_gateway(gateway, vpc).await,
            Change::DeleteInternetGateway { gateway } => self.delete_internet_gateway(gateway).await,
            Change::AllocateAddress { tags } => self.allocate_address(tags).await,
            Change::ReleaseAddress { allocation } => self.release_address(allocation).await,
            Change::CreateNatGateway { subnet, allocation, token, tags } => {
                self.create_nat_gateway(subnet, allocation, token, tags).await
            }
            Change::DeleteNatGateway { gateway } => self.delete_nat_gateway(gateway).await,
            Change::CreateRouteTable { vpc, token, tags } => self.create_route_table(vpc, token, tags).await,
            Change::DeleteRouteTable { table } => self.delete_route_table(table).await,
            Change::CreateRoute { table, destination, target, nat } => self.create_route(table, *destination, target, *nat).await,
            Change::ReplaceRoute { table, destination, target, nat } => {
                self.replace_route(table, *destination, target, *nat).await
            }
            Change::AssociateRouteTable { table, subnet } => self.associate_route_table(table, subnet).await,
            Change::DisassociateRouteTable { association } => self.disassociate_route_table(association).await,
            Change::CreateSecurityGroup { vpc, name, description, tags } => {
                self.create_security_group(vpc, name, description, tags).await
            }
            Change::DeleteSecurityGroup { group } => self.delete_security_group(group).await,
            Change::AuthorizeRules { group, egress, rules, groups } => self.authorize(group, *egress, rules, groups).await,
            Change::RevokeRules { group, egress, rules, groups } => self.revoke(group, *egress, rules, groups).await,
            Change::ImportKeyPair { name, public_key, tags } => self.import_key_pair(name, public_key, tags).await,
            Change::DeleteKeyPair { name } => self.delete_key_pair(name).await,
            Change::RunInstance { token, request } => self.run_instance(token, request).await,
            Change::TerminateInstance { instance } => self.terminate_instance(instance).await,
            Change::ModifySourceDestCheck { instance, value } => self.modify_source_dest_check(instance, *value).await,
            Change::CreateTags { resource, tags } => self.create_tags(resource, tags).await,
            Change::DeleteTags { resource, keys } => self.delete_tags(resource, keys).await,
            Change::ChangeRecords { zone, changes } => self.change_records(zone, changes).await,
        }
    }

    fn calls(&self) -> Calls {
        self.pace.calls()
    }
}
