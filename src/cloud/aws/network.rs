//! VPCs, subnets and internet gateways.

use aws_sdk_ec2::types::{AttributeBooleanValue, ResourceType};
use ipnet::Ipv4Net;

use super::pages::{PAGE, pages, scoped, sdk_tags, seen_tags, tagged, within};
use super::send::{Repeat, send};
use super::{AwsCloud, Result, hole, made, unsent};
use crate::cloud::resolve::known;
use crate::cloud::{Scope, calls};
use crate::observed::{InternetGateway, Subnet, Tags, Vpc};
use crate::plan::{Changed, Ref};

impl AwsCloud {
    pub(super) async fn list_vpcs(&self, scope: &Scope) -> Result<Vec<Vpc>> {
        let request = self.ec2.describe_vpcs().filters(scoped(scope, "vpc-id")).max_results(PAGE);
        let fetch = |token| request.clone().set_next_token(token).send();
        let pages = pages(&self.pace, &calls::DESCRIBE_VPCS, fetch, |page| page.next_token()).await?;
        let seen = pages.iter().flat_map(|page| page.vpcs()).filter_map(|vpc| {
            Some(Vpc { id: vpc.vpc_id()?.to_owned(), cidr: vpc.cidr_block()?.parse().ok()?, tags: seen_tags(vpc.tags()) })
        });
        Ok(seen.filter(|one| within(scope, &one.tags)).collect())
    }

    pub(super) async fn list_subnets(&self, scope: &Scope) -> Result<Vec<Subnet>> {
        let request = self.ec2.describe_subnets().filters(scoped(scope, "vpc-id")).max_results(PAGE);
        let fetch = |token| request.clone().set_next_token(token).send();
        let pages = pages(&self.pace, &calls::DESCRIBE_SUBNETS, fetch, |page| page.next_token()).await?;
        // A subnet of IPv6 alone has no `cidr_block`; kubewright makes none and can put nothing into it.
        let seen = pages.iter().flat_map(|page| page.subnets()).filter_map(|subnet| {
            Some(Subnet {
                id: subnet.subnet_id()?.to_owned(),
                vpc: subnet.vpc_id()?.to_owned(),
                cidr: subnet.cidr_block()?.parse().ok()?,
                zone: subnet.availability_zone()?.to_owned(),
                tags: seen_tags(subnet.tags()),
            })
        });
        Ok(seen.filter(|one| within(scope, &one.tags)).collect())
    }

    pub(super) async fn list_internet_gateways(&self, scope: &Scope) -> Result<Vec<InternetGateway>> {
        let request = self.ec2.describe_internet_gateways().filters(scoped(scope, "attachment.vpc-id")).max_results(PAGE);
        let fetch = |token| request.clone().set_next_token(token).send();
        let pages = pages(&self.pace, &calls::DESCRIBE_INTERNET_GATEWAYS, fetch, |page| page.next_token()).await?;
        let seen = pages.iter().flat_map(|page| page.internet_gateways()).filter_map(|gateway| {
            let attached = gateway.attachments().iter().filter_map(|attached| attached.vpc_id().map(str::to_owned));
            Some(InternetGateway {
                id: gateway.internet_gateway_id()?.to_owned(),
                attached: attached.collect(),
                tags: seen_tags(gateway.tags()),
            })
        });
        Ok(seen.filter(|one| within(scope, &one.tags)).collect())
    }

    pub(super) async fn create_vpc(&self, cidr: Ipv4Net, tags: &Tags) -> Result<Changed> {
        let call = &calls::CREATE_VPC;
        let request = self
            .ec2
            .create_vpc()
            .cidr_block(cidr.to_string())
            .set_tag_specifications(tagged(ResourceType::Vpc, tags).map(|t| vec![t]));
        let answer = send(&self.pace, call, Repeat::Never, || request.clone().send()).await?;
        made(call, answer.vpc().and_then(|vpc| vpc.vpc_id()))
    }

    pub(super) async fn modify_vpc_attribute(&self, vpc: &Ref, attribute: &str, value: bool) -> Result<Changed> {
        let call = &calls::MODIFY_VPC_ATTRIBUTE;
        let request = self.ec2.modify_vpc_attribute().vpc_id(known(vpc).map_err(hole(call))?);
        let value = AttributeBooleanValue::builder().value(value).build();
        let request = match attribute {
            "enableDnsSupport" => request.enable_dns_support(value),
            "enableDnsHostnames" => request.enable_dns_hostnames(value),
            _ => return Err(unsent(call, format!("unknown attribute {attribute}"))),
        };
        send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?;
        Ok(Changed::default())
    }

    pub(super) async fn delete_vpc(&self, vpc: &Ref) -> Result<Changed> {
        let call = &calls::DELETE_VPC;
        let request = self.ec2.delete_vpc().vpc_id(known(vpc).map_err(hole(call))?);
        send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?;
        Ok(Changed::default())
    }

    pub(super) async fn create_subnet(&self, vpc: &Ref, cidr: Ipv4Net, zone: &str, tags: &Tags) -> Result<Changed> {
        let call = &calls::CREATE_SUBNET;
        let request = self
            .ec2
            .create_subnet()
            .vpc_id(known(vpc).map_err(hole(call))?)
            .cidr_block(cidr.to_string())
            .availability_zone(zone)
            .set_tag_specifications(tagged(ResourceType::Subnet, tags).map(|t| vec![t]));
        let answer = send(&self.pace, call, Repeat::Never, || request.clone().send()).await?;
        made(call, answer.subnet().and_then(|subnet| subnet.subnet_id()))
    }

    pub(super) async fn delete_subnet(&self, subnet: &Ref) -> Result<Changed> {
        let call = &calls::DELETE_SUBNET;
        let request = self.ec2.delete_subnet().subnet_id(known(subnet).map_err(hole(call))?);
        send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?;
        Ok(Changed::default())
    }

    pub(super) async fn create_internet_gateway(&self, tags: &Tags) -> Result<Changed> {
        let call = &calls::CREATE_INTERNET_GATEWAY;
        let tags = tagged(ResourceType::InternetGateway, tags).map(|t| vec![t]);
        let request = self.ec2.create_internet_gateway().set_tag_specifications(tags);
        let answer = send(&self.pace, call, Repeat::Never, || request.clone().send()).await?;
        made(call, answer.internet_gateway().and_then(|gateway| gateway.internet_gateway_id()))
    }

    pub(super) async fn attach_internet_gateway(&self, gateway: &Ref, vpc: &Ref) -> Result<Changed> {
        let call = &calls::ATTACH_INTERNET_GATEWAY;
        let request = self
            .ec2
            .attach_internet_gateway()
            .internet_gateway_id(known(gateway).map_err(hole(call))?)
            .vpc_id(known(vpc).map_err(hole(call))?);
        send(&self.pace, call, Repeat::Never, || request.clone().send()).await?;
        Ok(Changed::default())
    }

    pub(super) async fn detach_internet_gateway(&self, gateway: &Ref, vpc: &Ref) -> Result<Changed> {
        let call = &calls::DETACH_INTERNET_GATEWAY;
        let request = self
            .ec2
            .detach_internet_gateway()
            .internet_gateway_id(known(gateway).map_err(hole(call))?)
            .vpc_id(known(vpc).map_err(hole(call))?);
        send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?;
        Ok(Changed::default())
    }

    pub(super) async fn delete_internet_gateway(&self, gateway: &Ref) -> Result<Changed> {
        let call = &calls::DELETE_INTERNET_GATEWAY;
        let request = self.ec2.delete_internet_gateway().internet_gateway_id(known(gateway).map_err(hole(call))?);
        send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?;
        Ok(Changed::default())
    }

    pub(super) async fn create_tags(&self, resource: &Ref, tags: &Tags) -> Result<Changed> {
        let call = &calls::CREATE_TAGS;
        let request = self.ec2.create_tags().resources(known(resource).map_err(hole(call))?).set_tags(Some(sdk_tags(tags)));
        send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?;
        Ok(Changed::default())
    }

    pub(super) async fn delete_tags(&self, resource: &Ref, keys: &[String]) -> Result<Changed> {
        let call = &calls::DELETE_TAGS;
        // Without keys the call would delete every tag of the object, ours first.
        if keys.is_empty() {
            return Err(unsent(call, "no tag keys"));
        }
        let tags = keys.iter().map(|key| aws_sdk_ec2::types::Tag::builder().key(key).build()).collect();
        let request = self.ec2.delete_tags().resources(known(resource).map_err(hole(call))?).set_tags(Some(tags));
        send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?;
        Ok(Changed::default())
    }
}
