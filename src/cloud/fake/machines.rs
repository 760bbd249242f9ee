//! Instances, their interfaces and their consoles.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::world::{Answer, FakeInstance, Refusal, World, check_tags, not_found};
use crate::cloud::NetworkInterface;
use crate::cloud::resolve::known;
use crate::observed::{Image, Instance};
use crate::plan::change::RunInstance;
use crate::plan::{Changed, Ref};

impl World {
    pub(super) fn run_instance(&mut self, token: &str, request: &RunInstance) -> Answer<Changed> {
        let stored = serde_json::to_string(request).unwrap_or_default();
        if let Some(answer) = self.replay("RunInstances", token, &stored)? {
            let id = answer.id.clone().unwrap_or_default();
            let ended = self.instances.get(&id).is_none_or(|instance| instance.seen.state == "terminated");
            if ended {
                return Err(Refusal::new(
                    "IdempotentInstanceTerminated",
                    format!("The request cannot be completed because the instance {id} of this client token is terminated"),
                ));
            }
            return Ok(answer);
        }
        check_tags(&request.tags)?;
        let subnet_id = known(&request.subnet)?.to_owned();
        let subnet = self.subnets.get(&subnet_id).ok_or_else(|| not_found(&subnet_id))?.clone();
        let groups = request
            .security_groups
            .iter()
            .map(|group| known(group).map(str::to_owned).map_err(Refusal::from))
            .collect::<Answer<Vec<_>>>()?;
        for id in &groups {
            let group = self.security_groups.get(id).ok_or_else(|| not_found(id))?;
            if group.vpc != subnet.vpc {
                return Err(Refusal::new(
                    "InvalidParameter",
                    format!("Security group {id} and subnet {subnet_id} belong to different networks."),
                ));
            }
        }
        let image =
            self.catalogue.images.iter().find(|image| image.id == request.image).ok_or_else(|| not_found(&request.image))?;
        self.check_machine(request, &subnet.zone, image)?;
        if !self.key_pairs.contains_key(&request.key_name) {
            return Err(Refusal::new("InvalidKeyPair.NotFound", format!("The key pair '{}' does not exist", request.key_name)));
        }
        let live = self.instances.values().filter(|instance| instance.seen.is_live()).count();
        if live >= self.options.instance_quota {
            return Err(Refusal::new(
                "VcpuLimitExceeded",
                "You have requested more vCPU capacity than your current vCPU limit allows.",
            ));
        }
        let address = self.private_address(&subnet_id)?;
        let id = self.id("i");
        let launched = self.tick().to_string();
        let seen = Instance {
            id: id.clone(),
            state: "pending".to_owned(),
            image: request.image.clone(),
            machine_type: request.machine_type.clone(),
            zone: subnet.zone,
            subnet: Some(subnet_id),
            private_address: Some(address.to_string()),
            public_address: None,
            key_name: Some(request.key_name.clone()),
            security_groups: groups,
            source_dest_check: Some(true),
            launched: Some(launched),
            tags: request.tags.clone(),
        };
        let reads_left = self.options.reads_until_running;
        let console_left = self.options.reads_until_console;
        self.instances
            .insert(id.clone(), FakeInstance { seen, vpc: subnet.vpc, request: request.clone(), reads_left, console_left });
        let answer = Changed { id: Some(id), private_address: Some(address.to_string()), public_address: None };
        self.remember("RunInstances", token, stored, &answer);
        Ok(answer)
    }

    fn check_machine(&self, request: &RunInstance, zone: &str, image: &Image) -> Answer<()> {
        let name = &request.machine_type;
        let invalid = |message: String| Err(Refusal::new("InvalidParameterValue", message));
        let Some(kind) = self.catalogue.machine_types.iter().find(|kind| kind.name == *name) else {
            return Err(Refusal::new("InvalidInstanceType", format!("Invalid value '{name}' for InstanceType.")));
        };
        if !kind.zones.iter().any(|offered| offered == zone) {
            return Err(Refusal::new(
                "Unsupported",
                format!("Your requested instance type ({name}) is not supported in your requested Availability Zone ({zone})."),
            ));
        }
        if !kind.architectures.contains(&image.architecture) {
            return invalid(format!(
                "The architecture '{}' of the specified instance type does not match the architecture '{}' of the specified AMI.",
                kind.architectures.join(","),
                image.architecture
            ));
        }
        if request.user_data.len() > 16 * 1024 {
            return invalid("User data is limited to 16384 bytes".to_owned());
        }
        if request.root_device != image.root_device {
            return Err(Refusal::new(
                "InvalidBlockDeviceMapping",
                format!("{} is not the image's root device", request.root_device),
            ));
        }
        if !(1..=64).contains(&request.metadata_hop_limit) {
            return invalid("httpPutResponseHopLimit must be 1 to 64".to_owned());
        }
        Ok(())
    }

    /// The lowest free address; AWS keeps the first four and the last.
    fn private_address(&mut self, subnet: &str) -> Answer<Ipv4Addr> {
        let cidr = self.subnets.get(subnet).ok_or_else(|| not_found(subnet))?.cidr;
        let first = cidr.network().to_bits().saturating_add(4);
        let last = cidr.broadcast().to_bits().saturating_sub(1);
        let taken: &mut BTreeSet<Ipv4Addr> = self.taken.entry(subnet.to_owned()).or_default();
        let free = (first..=last).map(Ipv4Addr::from_bits).find(|address| !taken.contains(address)).ok_or_else(|| {
            Refusal::new(
                "InsufficientFreeAddressesInSubnet",
                format!("There are not enough free addresses in subnet '{subnet}' to satisfy the requested number of instances."),
            )
        })?;
        taken.insert(free);
        Ok(free)
    }

    /// The same instance twice is fine, as at AWS.
    pub(super) fn terminate_instance(&mut self, instance: &Ref) -> Answer<Changed> {
        let id = known(instance)?;
        let reads = self.options.reads_until_terminated;
        let instance = self.instances.get_mut(id).ok_or_else(|| not_found(id))?;
        if instance.seen.is_live() {
            instance.seen.state = "shutting-down".to_owned();
            instance.reads_left = reads;
        }
        Ok(Changed::default())
    }

    pub(super) fn modify_source_dest_check(&mut self, instance: &Ref, value: bool) -> Answer<Changed> {
        let id = known(instance)?;
        let instance = self.instances.get_mut(id).ok_or_else(|| not_found(id))?;
        if !instance.seen.is_live() {
            return Err(Refusal::new("IncorrectInstanceState", format!("The instance '{id}' is not in a valid state")));
        }
        instance.seen.source_dest_check = Some(value);
        Ok(Changed::default())
    }

    /// Moves an instance on when a listing looks at it. A terminated one stays listed, without address, subnet and groups.
    pub(super) fn age_instance(&mut self, id: &str) {
        let Some(instance) = self.instances.get_mut(id) else { return };
        if !matches!(instance.seen.state.as_str(), "pending" | "shutting-down") {
            return;
        }
        if instance.reads_left > 1 {
            instance.reads_left -= 1;
            return;
        }
        if instance.seen.state == "pending" {
            instance.seen.state = "running".to_owned();
            if instance.request.public_address {
                let address = self.public_address();
                if let Some(instance) = self.instances.get_mut(id) {
                    instance.seen.public_address = Some(address);
                }
            }
            return;
        }
        instance.seen.state = "terminated".to_owned();
        instance.seen.public_address = None;
        instance.seen.security_groups.clear();
        let (subnet, address) = (instance.seen.subnet.take(), instance.seen.private_address.take());
        if let (Some(subnet), Some(address)) = (subnet, address)
            && let Some(taken) = self.taken.get_mut(&subnet)
            && let Ok(address) = address.parse()
        {
            taken.remove(&address);
        }
    }

    /// Every interface of the account: of instances, of NAT gateways, and those that were planted.
    pub(super) fn all_interfaces(&self) -> Vec<NetworkInterface> {
        let instances =
            self.instances.values().filter(|instance| instance.seen.state != "terminated").map(|instance| NetworkInterface {
                id: format!("eni-{}", instance.seen.id.trim_start_matches("i-")),
                subnet: instance.seen.subnet.clone().unwrap_or_default(),
                groups: instance.seen.security_groups.clone(),
                description: String::new(),
                instance: Some(instance.seen.id.clone()),
                requester: None,
            });
        let gateways = self.nat_gateways.values().filter(|nat| nat.is_there()).map(|nat| NetworkInterface {
            id: format!("eni-a{}", nat.seen.id.trim_start_matches("nat-0")),
            subnet: nat.seen.subnet.clone(),
            groups: Vec::new(),
            description: format!("Interface for NAT Gateway {}", nat.seen.id),
            instance: None,
            requester: Some("amazon-nat".to_owned()),
        });
        instances.chain(gateways).chain(self.interfaces.iter().cloned()).collect()
    }
}
