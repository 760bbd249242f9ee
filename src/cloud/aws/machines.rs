//! Instances, their consoles and their interfaces.

use aws_sdk_ec2::primitives::DateTimeFormat;
use aws_sdk_ec2::types::{
    self as sdk, AttributeBooleanValue, BlockDeviceMapping, EbsBlockDevice, HttpTokensState, IamInstanceProfileSpecification,
    InstanceMetadataEndpointState, InstanceMetadataOptionsRequest, InstanceNetworkInterfaceSpecification, InstanceType,
    ResourceType, VolumeType,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::pages::{PAGE, filter, pages, scoped, seen_tags, tagged, within};
use super::send::{Repeat, send};
use super::{AwsCloud, Result, hole, hollow};
use crate::cloud::resolve::known;
use crate::cloud::{NetworkInterface, Scope, calls};
use crate::observed::Instance;
use crate::plan::change::RunInstance;
use crate::plan::{Changed, Ref};

impl AwsCloud {
    pub(super) async fn list_instances(&self, scope: &Scope) -> Result<Vec<Instance>> {
        let request = self.ec2_long.describe_instances().filters(scoped(scope, "vpc-id")).max_results(PAGE);
        let fetch = |token| request.clone().set_next_token(token).send();
        let pages = pages(&self.pace, &calls::DESCRIBE_INSTANCES, fetch, |page| page.next_token()).await?;
        let all = pages.iter().flat_map(|page| page.reservations()).flat_map(|reservation| reservation.instances());
        Ok(all.filter_map(seen).filter(|one| within(scope, &one.tags)).collect())
    }

    /// One machine, with its interface, root volume and tags in one request. IMDSv2 only; the volume is encrypted and goes with
    /// the machine. `source_dest_check` is a change of its own: the request has no place for it.
    pub(super) async fn run_instance(&self, token: &str, wanted: &RunInstance) -> Result<Changed> {
        let call = &calls::RUN_INSTANCES;
        let groups = wanted
            .security_groups
            .iter()
            .map(|group| known(group).map(str::to_owned))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(hole(call))?;
        let interface = InstanceNetworkInterfaceSpecification::builder()
            .device_index(0)
            .subnet_id(known(&wanted.subnet).map_err(hole(call))?)
            .set_groups(Some(groups))
            .associate_public_ip_address(wanted.public_address)
            .delete_on_termination(true)
            .build();
        let metadata = InstanceMetadataOptionsRequest::builder()
            .http_endpoint(InstanceMetadataEndpointState::Enabled)
            .http_tokens(HttpTokensState::Required)
            .http_put_response_hop_limit(i32::from(wanted.metadata_hop_limit))
            .build();
        let profile = wanted.instance_profile.as_ref().map(|name| IamInstanceProfileSpecification::builder().name(name).build());
        let kinds = [ResourceType::Instance, ResourceType::Volume, ResourceType::NetworkInterface];
        let tags: Vec<_> = kinds.into_iter().filter_map(|kind| tagged(kind, &wanted.tags)).collect();
        let user_data = (!wanted.user_data.is_empty()).then(|| STANDARD.encode(&wanted.user_data));
        let request = self
            .ec2
            .run_instances()
            .client_token(token)
            .min_count(1)
            .max_count(1)
            .image_id(&wanted.image)
            .instance_type(InstanceType::from(wanted.machine_type.as_str()))
            .key_name(&wanted.key_name)
            .network_interfaces(interface)
            .block_device_mappings(root_volume(wanted))
            .metadata_options(metadata)
            .set_iam_instance_profile(profile)
            .set_user_data(user_data)
            .set_tag_specifications((!tags.is_empty()).then_some(tags));
        let answer = send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?;
        let instance = answer.instances().first().ok_or_else(|| hollow(call, "instance"))?;
        let some = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Changed {
            id: Some(some(instance.instance_id()).ok_or_else(|| hollow(call, "id"))?),
            private_address: some(instance.private_ip_address()),
            public_address: some(instance.public_ip_address()),
        })
    }

    pub(super) async fn terminate_instance(&self, instance: &Ref) -> Result<Changed> {
        let call = &calls::TERMINATE_INSTANCES;
        let request = self.ec2.terminate_instances().instance_ids(known(instance).map_err(hole(call))?);
        send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?;
        Ok(Changed::default())
    }

    pub(super) async fn modify_source_dest_check(&self, instance: &Ref, value: bool) -> Result<Changed> {
        let call = &calls::MODIFY_INSTANCE_ATTRIBUTE;
        let request = self
            .ec2
            .modify_instance_attribute()
            .instance_id(known(instance).map_err(hole(call))?)
            .source_dest_check(AttributeBooleanValue::builder().value(value).build());
        send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?;
        Ok(Changed::default())
    }

    /// The live console where the machine has one (Nitro), otherwise the text that AWS keeps from the last boot.
    pub(super) async fn console(&self, instance: &str) -> Result<Option<String>> {
        let call = &calls::GET_CONSOLE_OUTPUT;
        let request = self.ec2.get_console_output().instance_id(instance);
        let live = send(&self.pace, call, Repeat::Harmless, || request.clone().latest(true).send()).await;
        let answer = match live {
            Err(error) if error.code == "UnsupportedOperation" => {
                send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?
            }
            live => live?,
        };
        let Some(encoded) = answer.output().filter(|text| !text.is_empty()) else { return Ok(None) };
        let packed: String = encoded.split_whitespace().collect();
        let bytes = STANDARD.decode(packed).map_err(|_| hollow(call, "readable console text"))?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()).filter(|text| !text.is_empty()))
    }

    pub(super) async fn list_network_interfaces(&self, vpc: &str) -> Result<Vec<NetworkInterface>> {
        let request = self.ec2.describe_network_interfaces().filters(filter("vpc-id", [vpc])).max_results(PAGE);
        let fetch = |token| request.clone().set_next_token(token).send();
        let pages = pages(&self.pace, &calls::DESCRIBE_NETWORK_INTERFACES, fetch, |page| page.next_token()).await?;
        let seen = pages.iter().flat_map(|page| page.network_interfaces()).filter_map(|interface| {
            let some = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
            Some(NetworkInterface {
                id: interface.network_interface_id()?.to_owned(),
                subnet: interface.subnet_id().unwrap_or_default().to_owned(),
                groups: interface.groups().iter().filter_map(|group| group.group_id().map(str::to_owned)).collect(),
                description: interface.description().unwrap_or_default().to_owned(),
                instance: interface.attachment().and_then(|attachment| some(attachment.instance_id())),
                requester: some(interface.requester_id()),
            })
        });
        Ok(seen.collect())
    }
}

/// `io1` and `io2` must name their operations per second: 50 for each GiB, the most that every size allows, up to 3,000, what a
/// `gp3` has.
fn root_volume(wanted: &RunInstance) -> BlockDeviceMapping {
    let size = i32::try_from(wanted.volume_gib).unwrap_or(i32::MAX);
    let provisioned = wanted.volume_kind.starts_with("io");
    let volume = EbsBlockDevice::builder()
        .volume_size(size)
        .volume_type(VolumeType::from(wanted.volume_kind.as_str()))
        .set_iops(provisioned.then(|| size.saturating_mul(50).clamp(100, 3000)))
        .encrypted(true)
        .delete_on_termination(true)
        .build();
    BlockDeviceMapping::builder().device_name(&wanted.root_device).ebs(volume).build()
}

fn seen(instance: &sdk::Instance) -> Option<Instance> {
    let some = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    // The instance's groups are those of its first interface; an emulator may give them only there.
    let first = instance
        .network_interfaces()
        .iter()
        .min_by_key(|interface| interface.attachment().and_then(|attachment| attachment.device_index()).unwrap_or(i32::MAX));
    let groups = match (instance.security_groups(), first) {
        ([], Some(interface)) => interface.groups(),
        (groups, _) => groups,
    };
    Some(Instance {
        id: instance.instance_id()?.to_owned(),
        state: instance.state()?.name()?.as_str().to_owned(),
        image: instance.image_id().unwrap_or_default().to_owned(),
        machine_type: instance.instance_type().map_or("", InstanceType::as_str).to_owned(),
        zone: instance.placement().and_then(|place| place.availability_zone()).unwrap_or_default().to_owned(),
        subnet: some(instance.subnet_id()),
        private_address: some(instance.private_ip_address()),
        public_address: some(instance.public_ip_address()),
        key_name: some(instance.key_name()),
        security_groups: groups.iter().filter_map(|group| some(group.group_id())).collect(),
        source_dest_check: instance.source_dest_check(),
        launched: instance.launch_time().and_then(|time| time.fmt(DateTimeFormat::DateTime).ok()),
        tags: seen_tags(instance.tags()),
    })
}
