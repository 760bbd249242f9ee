//! Each change and what it does; the compiler names the one that is missing.

use super::world::{Answer, World};
use crate::plan::{Change, Changed};

impl World {
    pub(super) fn change(&mut self, change: &Change) -> Answer<Changed> {
        self.knows_what_it_names(change)?;
        match change {
            Change::CreateVpc { cidr, tags } => self.create_vpc(*cidr, tags),
            Change::ModifyVpcAttribute { vpc, attribute, value } => self.modify_vpc_attribute(vpc, attribute, *value),
            Change::DeleteVpc { vpc } => self.delete_vpc(vpc),
            Change::CreateSubnet { vpc, cidr, zone, tags } => self.create_subnet(vpc, *cidr, zone, tags),
            Change::DeleteSubnet { subnet } => self.delete_subnet(subnet),
            Change::CreateInternetGateway { tags } => self.create_internet_gateway(tags),
            Change::AttachInternetGateway { gateway, vpc } => self.attach_internet_gateway(gateway, vpc),
            Change::DetachInternetGateway { gateway, vpc } => self.detach_internet_gateway(gateway, vpc),
            Change::DeleteInternetGateway { gateway } => self.delete_internet_gateway(gateway),
            Change::AllocateAddress { tags } => self.allocate_address(tags),
            Change::ReleaseAddress { allocation } => self.release_address(allocation),
            Change::CreateNatGateway { subnet, allocation, token, tags } => {
                self.create_nat_gateway(subnet, allocation, token, tags)
            }
            Change::DeleteNatGateway { gateway } => self.delete_nat_gateway(gateway),
            Change::CreateRouteTable { vpc, token, tags } => self.create_route_table(vpc, token, tags),
            Change::DeleteRouteTable { table } => self.delete_route_table(table),
            Change::CreateRoute { table, destination, target, nat } => self.route(table, *destination, target, *nat, false),
            Change::ReplaceRoute { table, destination, target, nat } => self.route(table, *destination, target, *nat, true),
            Change::AssociateRouteTable { table, subnet } => self.associate_route_table(table, subnet),
            Change::DisassociateRouteTable { association } => self.disassociate_route_table(association),
            Change::CreateSecurityGroup { vpc, name, description, tags } => {
                self.create_security_group(vpc, name, description, tags)
            }
            Change::DeleteSecurityGroup { group } => self.delete_security_group(group),
            Change::AuthorizeRules { group, egress, rules, groups } => self.authorize_rules(group, *egress, rules, groups),
            Change::RevokeRules { group, egress, rules, groups } => self.revoke_rules(group, *egress, rules, groups),
            Change::ImportKeyPair { name, public_key, tags } => self.import_key_pair(name, public_key, tags),
            Change::DeleteKeyPair { name } => self.delete_key_pair(name),
            Change::RunInstance { token, request } => self.run_instance(token, request),
            Change::TerminateInstance { instance } => self.terminate_instance(instance),
            Change::ModifySourceDestCheck { instance, value } => self.modify_source_dest_check(instance, *value),
            Change::CreateTags { resource, tags } => self.create_tags(resource, tags),
            Change::DeleteTags { resource, keys } => self.delete_tags(resource, keys),
            Change::ChangeRecords { zone, changes } => self.change_records(zone, changes),
        }
    }
}
