//! What listings show: filtered by scope, and moving slow objects on as they are looked at.

use super::catalogue;
use super::world::{Answer, Refusal, World, not_found};
use crate::cloud::{NetworkInterface, Scope};
use crate::desired::tags;
use crate::observed::{
    Address, HostedZone, Image, Instance, InternetGateway, KeyPair, MachineType, NatGateway, RecordSet, RouteTable,
    SecurityGroup, Subnet, Tags, Vpc,
};

/// Whether an object is in scope: by its tags, or by the VPCs that it belongs to.
fn within(scope: &Scope, tagged: &Tags, vpcs: &[&str]) -> bool {
    match scope {
        Scope::Uid(uid) => tagged.get(tags::CLUSTER_UID) == Some(uid),
        Scope::Name(name) => tagged.get(tags::CLUSTER) == Some(name),
        Scope::Vpc(id) => vpcs.contains(&id.as_str()),
    }
}

impl World {
    pub(super) fn list_vpcs(&mut self, scope: &Scope) -> Vec<Vpc> {
        let all: Vec<Vpc> = self.vpcs.values().map(|vpc| vpc.seen.clone()).collect();
        all.into_iter().filter(|vpc| within(scope, &vpc.tags, &[&vpc.id]) && self.shown(&vpc.id, scope)).collect()
    }

    pub(super) fn list_subnets(&mut self, scope: &Scope) -> Vec<Subnet> {
        let all: Vec<Subnet> = self.subnets.values().cloned().collect();
        all.into_iter().filter(|subnet| within(scope, &subnet.tags, &[&subnet.vpc]) && self.shown(&subnet.id, scope)).collect()
    }

    pub(super) fn list_internet_gateways(&mut self, scope: &Scope) -> Vec<InternetGateway> {
        let all: Vec<InternetGateway> = self.internet_gateways.values().cloned().collect();
        let attached = |gateway: &InternetGateway| {
            within(scope, &gateway.tags, &gateway.attached.iter().map(String::as_str).collect::<Vec<_>>())
        };
        all.into_iter().filter(|gateway| attached(gateway) && self.shown(&gateway.id, scope)).collect()
    }

    pub(super) fn list_nat_gateways(&mut self, scope: &Scope) -> Vec<NatGateway> {
        let ids: Vec<String> = self.nat_gateways.keys().cloned().collect();
        let mut found = Vec::new();
        for id in ids {
            let Some(nat) = self.nat_gateways.get(&id) else { continue };
            if within(scope, &nat.seen.tags, &[&nat.vpc]) && self.shown(&id, scope) {
                self.age_nat_gateway(&id);
                found.extend(self.nat_gateways.get(&id).map(|nat| nat.seen.clone()));
            }
        }
        found
    }

    pub(super) fn list_addresses(&mut self, scope: &Scope) -> Vec<Address> {
        let all: Vec<Address> = self.addresses.values().cloned().collect();
        all.into_iter().filter(|address| within(scope, &address.tags, &[]) && self.shown(&address.allocation, scope)).collect()
    }

    pub(super) fn list_route_tables(&mut self, scope: &Scope) -> Vec<RouteTable> {
        let all: Vec<RouteTable> = self.route_tables.values().cloned().collect();
        all.into_iter().filter(|table| within(scope, &table.tags, &[&table.vpc]) && self.shown(&table.id, scope)).collect()
    }

    pub(super) fn list_security_groups(&mut self, scope: &Scope) -> Vec<SecurityGroup> {
        let all: Vec<SecurityGroup> = self.security_groups.values().cloned().collect();
        all.into_iter().filter(|group| within(scope, &group.tags, &[&group.vpc]) && self.shown(&group.id, scope)).collect()
    }

    pub(super) fn list_key_pairs(&mut self, scope: &Scope) -> Vec<KeyPair> {
        let all: Vec<KeyPair> = self.key_pairs.values().cloned().collect();
        all.into_iter().filter(|pair| within(scope, &pair.tags, &[]) && self.shown(&pair.id, scope)).collect()
    }

    pub(super) fn list_instances(&mut self, scope: &Scope) -> Vec<Instance> {
        let ids: Vec<String> = self.instances.keys().cloned().collect();
        let mut found = Vec::new();
        for id in ids {
            let Some(instance) = self.instances.get(&id) else { continue };
            // A terminated instance has left its VPC.
            let vpcs: &[&str] = if instance.seen.state == "terminated" { &[] } else { &[&instance.vpc] };
            if within(scope, &instance.seen.tags, vpcs) && self.shown(&id, scope) {
                self.age_instance(&id);
                found.extend(self.instances.get(&id).map(|instance| instance.seen.clone()));
            }
        }
        found
    }

    pub(super) fn list_hosted_zones(&self, name: &str) -> Vec<HostedZone> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.hosted_zones.values().filter(|zone| zone.seen.name == name).map(|zone| zone.seen.clone()).collect()
    }

    pub(super) fn list_records(&self, zone: &str, suffix: &str) -> Answer<Vec<RecordSet>> {
        let zone = self
            .hosted_zones
            .get(zone)
            .ok_or_else(|| Refusal::new("NoSuchHostedZone", format!("No hosted zone found with ID: {zone}")))?;
        let (suffix, below) = (suffix.to_ascii_lowercase(), format!(".{}", suffix.to_ascii_lowercase()));
        let mut found: Vec<RecordSet> =
            zone.records.values().filter(|set| set.name == suffix || set.name.ends_with(&below)).cloned().collect();
        found.sort_by_key(|set| (set.name.split('.').rev().map(str::to_owned).collect::<Vec<_>>(), set.kind.clone()));
        Ok(found)
    }

    pub(super) fn list_machine_types(&self, names: &[String]) -> Vec<MachineType> {
        self.catalogue.machine_types.iter().filter(|kind| names.contains(&kind.name)).cloned().collect()
    }

    pub(super) fn list_images_by_id(&self, ids: &[String]) -> Vec<Image> {
        self.catalogue.images.iter().filter(|image| ids.contains(&image.id)).cloned().collect()
    }

    pub(super) fn list_images_by_name(&self, owner: &str, patterns: &[String]) -> Vec<Image> {
        let wanted = |image: &&Image| {
            image.owner == owner
                && image.state == "available"
                && patterns.iter().any(|pattern| catalogue::matches(pattern, &image.name))
        };
        self.catalogue.images.iter().filter(wanted).cloned().collect()
    }

    pub(super) fn console_output(&mut self, id: &str) -> Answer<Option<Instance>> {
        let instance = self.instances.get_mut(id).ok_or_else(|| not_found(id))?;
        if instance.seen.state == "pending" {
            return Ok(None);
        }
        if instance.console_left > 1 {
            instance.console_left -= 1;
            return Ok(None);
        }
        Ok(Some(instance.seen.clone()))
    }

    pub(super) fn list_interfaces(&self, vpc: &str) -> Vec<NetworkInterface> {
        let inside = |interface: &NetworkInterface| self.subnets.get(&interface.subnet).is_some_and(|subnet| subnet.vpc == vpc);
        self.all_interfaces().into_iter().filter(inside).collect()
    }
}
