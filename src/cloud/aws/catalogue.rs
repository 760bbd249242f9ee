//! What the region sells: zones, machine types, images.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{self as sdk, LocationType};

use super::pages::{FILTER_VALUES, PAGE, SMALL_PAGE, filter, pages};
use super::send::{Repeat, send};
use super::{AwsCloud, Result};
use crate::cloud::calls;
use crate::observed::{Image, MachineType};

impl AwsCloud {
    /// Without local and wavelength zones, where control planes cannot be.
    pub(super) async fn list_zones(&self) -> Result<Vec<String>> {
        let request = self
            .ec2
            .describe_availability_zones()
            .filters(filter("state", ["available"]))
            .filters(filter("zone-type", ["availability-zone"]));
        let answer = send(&self.pace, &calls::DESCRIBE_AVAILABILITY_ZONES, Repeat::Harmless, || request.clone().send()).await?;
        let mut zones: Vec<String> =
            answer.availability_zones().iter().filter_map(|zone| zone.zone_name().map(str::to_owned)).collect();
        zones.sort();
        Ok(zones)
    }

    /// By filter and not by name: an unknown name is left out instead of failing the call.
    pub(super) async fn list_machine_types(&self, names: &[String]) -> Result<Vec<MachineType>> {
        let mut found = Vec::new();
        for names in names.chunks(FILTER_VALUES) {
            let wanted = filter("instance-type", names);
            let request = self.ec2.describe_instance_types().filters(wanted.clone()).max_results(SMALL_PAGE);
            let fetch = |token| request.clone().set_next_token(token).send();
            let types = pages(&self.pace, &calls::DESCRIBE_INSTANCE_TYPES, fetch, |page| page.next_token()).await?;
            let request = self
                .ec2
                .describe_instance_type_offerings()
                .location_type(LocationType::AvailabilityZone)
                .filters(wanted)
                .max_results(PAGE);
            let fetch = |token| request.clone().set_next_token(token).send();
            let offers = pages(&self.pace, &calls::DESCRIBE_INSTANCE_TYPE_OFFERINGS, fetch, |page| page.next_token()).await?;
            let mut zones: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for offer in offers.iter().flat_map(|page| page.instance_type_offerings()) {
                if let (Some(kind), Some(zone)) = (offer.instance_type(), offer.location()) {
                    zones.entry(kind.as_str()).or_default().push(zone.to_owned());
                }
            }
            zones.values_mut().for_each(|zones| zones.sort());
            let kinds = types.iter().flat_map(|page| page.instance_types());
            found.extend(kinds.filter_map(|kind| machine_type(kind, &zones)));
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// By filter, for the same reason; deprecated images too, since a pinned image stays usable after its deprecation.
    pub(super) async fn list_images_by_id(&self, ids: &[String]) -> Result<Vec<Image>> {
        let mut found = Vec::new();
        for ids in ids.chunks(FILTER_VALUES) {
            let request = self.ec2.describe_images().filters(filter("image-id", ids)).include_deprecated(true).max_results(PAGE);
            let fetch = |token| request.clone().set_next_token(token).send();
            let pages = pages(&self.pace, &calls::DESCRIBE_IMAGES, fetch, |page| page.next_token()).await?;
            found.extend(pages.iter().flat_map(|page| page.images()).filter_map(image));
        }
        Ok(found)
    }

    pub(super) async fn list_images_by_name(&self, owner: &str, patterns: &[String]) -> Result<Vec<Image>> {
        if patterns.is_empty() {
            return Ok(Vec::new());
        }
        let request = self
            .ec2
            .describe_images()
            .owners(owner)
            .filters(filter("name", patterns))
            .filters(filter("state", ["available"]))
            .max_results(PAGE);
        let fetch = |token| request.clone().set_next_token(token).send();
        let pages = pages(&self.pace, &calls::DESCRIBE_IMAGES, fetch, |page| page.next_token()).await?;
        Ok(pages.iter().flat_map(|page| page.images()).filter_map(image).collect())
    }
}

fn machine_type(kind: &sdk::InstanceTypeInfo, zones: &BTreeMap<&str, Vec<String>>) -> Option<MachineType> {
    let name = kind.instance_type()?.as_str();
    let architectures = kind.processor_info().map(|cpu| cpu.supported_architectures()).unwrap_or_default();
    Some(MachineType {
        name: name.to_owned(),
        architectures: architectures.iter().map(|architecture| architecture.as_str().to_owned()).collect(),
        vcpus: kind.v_cpu_info().and_then(|cpu| cpu.default_v_cpus()).and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
        memory_mib: kind
            .memory_info()
            .and_then(|memory| memory.size_in_mib())
            .and_then(|mib| u64::try_from(mib).ok())
            .unwrap_or(0),
        zones: zones.get(name).cloned().unwrap_or_default(),
    })
}

fn image(image: &sdk::Image) -> Option<Image> {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    Some(Image {
        id: image.image_id()?.to_owned(),
        name: text(image.name()),
        owner: text(image.owner_id()),
        architecture: text(image.architecture().map(|architecture| architecture.as_str())),
        root_device: text(image.root_device_name()),
        created: text(image.creation_date()),
        state: text(image.state().map(|state| state.as_str())),
    })
}
