//! The account behind the interface that the rest of kubewright calls.

use async_trait::async_trait;

use super::{FakeCloud, qualified};
use crate::cloud::{Calls, Cloud, CloudError, NetworkInterface, Scope};
use crate::observed::{
    Account, Address, HostedZone, Image, Instance, InternetGateway, KeyPair, MachineType, NatGateway, RecordSet, RouteTable,
    SecurityGroup, Subnet, Vpc,
};
use crate::plan::{Change, Changed};

type Result<T> = std::result::Result<T, CloudError>;

#[async_trait]
impl Cloud for FakeCloud {
    async fn account(&self) -> Result<Account> {
        self.perform("sts:GetCallerIdentity", None, |world| {
            Ok(Account {
                id: world.account.clone(),
                arn: format!("arn:aws:iam::{}:user/fake", world.account),
                partition: "aws".to_owned(),
            })
        })
        .await
    }

    async fn vpcs(&self, scope: &Scope) -> Result<Vec<Vpc>> {
        self.perform("ec2:DescribeVpcs", None, |world| Ok(world.list_vpcs(scope))).await
    }

    async fn subnets(&self, scope: &Scope) -> Result<Vec<Subnet>> {
        self.perform("ec2:DescribeSubnets", None, |world| Ok(world.list_subnets(scope))).await
    }

    async fn internet_gateways(&self, scope: &Scope) -> Result<Vec<InternetGateway>> {
        self.perform("ec2:DescribeInternetGateways", None, |world| Ok(world.list_internet_gateways(scope))).await
    }

    async fn nat_gateways(&self, scope: &Scope) -> Result<Vec<NatGateway>> {
        self.perform("ec2:DescribeNatGateways", None, |world| Ok(world.list_nat_gateways(scope))).await
    }

    async fn addresses(&self, scope: &Scope) -> Result<Vec<Address>> {
        self.perform("ec2:DescribeAddresses", None, |world| Ok(world.list_addresses(scope))).await
    }

    async fn route_tables(&self, scope: &Scope) -> Result<Vec<RouteTable>> {
        self.perform("ec2:DescribeRouteTables", None, |world| Ok(world.list_route_tables(scope))).await
    }

    async fn security_groups(&self, scope: &Scope) -> Result<Vec<SecurityGroup>> {
        self.perform("ec2:DescribeSecurityGroups", None, |world| Ok(world.list_security_groups(scope))).await
    }

    async fn key_pairs(&self, scope: &Scope) -> Result<Vec<KeyPair>> {
        self.perform("ec2:DescribeKeyPairs", None, |world| Ok(world.list_key_pairs(scope))).await
    }

    async fn instances(&self, scope: &Scope) -> Result<Vec<Instance>> {
        let found = self.perform("ec2:DescribeInstances", None, |world| Ok(world.list_instances(scope))).await?;
        self.pages("ec2:DescribeInstances", found.len(), 1000);
        Ok(found)
    }

    async fn hosted_zones(&self, name: &str) -> Result<Vec<HostedZone>> {
        let found = self.perform("route53:ListHostedZonesByName", None, |world| Ok(world.list_hosted_zones(name))).await?;
        // The name servers of a public zone are in an answer of their own.
        for _ in found.iter().filter(|zone| !zone.private) {
            self.perform("route53:GetHostedZone", None, |_| Ok(())).await?;
        }
        Ok(found)
    }

    async fn records(&self, zone: &str, suffix: &str) -> Result<Vec<RecordSet>> {
        let found = self.perform("route53:ListResourceRecordSets", None, |world| world.list_records(zone, suffix)).await?;
        self.pages("route53:ListResourceRecordSets", found.len(), 300);
        Ok(found)
    }

    async fn records_in_sync(&self, change: &str) -> Result<bool> {
        self.perform("route53:GetChange", None, |world| world.records_in_sync(change)).await
    }

    async fn zones(&self) -> Result<Vec<String>> {
        self.perform("ec2:DescribeAvailabilityZones", None, |world| Ok(world.catalogue.zones.clone())).await
    }

    async fn machine_types(&self, names: &[String]) -> Result<Vec<MachineType>> {
        let found = self.perform("ec2:DescribeInstanceTypes", None, |world| Ok(world.list_machine_types(names))).await?;
        self.perform("ec2:DescribeInstanceTypeOfferings", None, |_| Ok(())).await?;
        Ok(found)
    }

    async fn images_by_id(&self, ids: &[String]) -> Result<Vec<Image>> {
        self.perform("ec2:DescribeImages", None, |world| Ok(world.list_images_by_id(ids))).await
    }

    async fn images_by_name(&self, owner: &str, patterns: &[String]) -> Result<Vec<Image>> {
        self.perform("ec2:DescribeImages", None, |world| Ok(world.list_images_by_name(owner, patterns))).await
    }

    async fn console_output(&self, instance: &str) -> Result<Option<String>> {
        let booted = self.perform("ec2:GetConsoleOutput", None, |world| world.console_output(instance)).await?;
        let console = self.lock().console.clone();
        Ok(booted.and_then(|instance| console(&instance)))
    }

    async fn network_interfaces(&self, vpc: &str) -> Result<Vec<NetworkInterface>> {
        self.perform("ec2:DescribeNetworkInterfaces", None, |world| Ok(world.list_interfaces(vpc))).await
    }

    async fn change(&self, change: &Change) -> Result<Changed> {
        self.perform(&qualified(change), Some(change), |world| world.change(change)).await
    }

    fn calls(&self) -> Calls {
        self.lock().calls
    }
}
