//! Aliases resolved to AMIs once, and machine types checked against what the region sells.

use std::collections::BTreeSet;

use crate::cluster::{Cluster, Image, InstanceGroup};
use crate::desired::{Audience, ResourceId};
use crate::observed;
use crate::plan::planner::Planner;
use crate::recorded::{PinnedImage, State};

/// Key of [`State::images`]. The machine type is part of it because it decides the architecture; a new type, or a new image,
/// is looked up, and an old pair never again.
pub fn key(group: &InstanceGroup) -> String {
    let image = match &group.image {
        Image::Alias(alias) => alias.as_str(),
        Image::Ami(id) => id,
    };
    format!("{image}/{}", group.machine_type)
}

/// What to ask the region before planning; nothing, once everything is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogueQuery {
    pub machine_types: BTreeSet<String>,
    /// `(owner, name patterns)`
    pub image_names: Vec<(String, Vec<String>)>,
    pub image_ids: BTreeSet<String>,
}

pub fn needs_catalogue(cluster: &Cluster, recorded: &State) -> Option<CatalogueQuery> {
    let known_zone = |zone: &String| recorded.resources.contains_key(&ResourceId::Subnet(Audience::Machines, zone.clone()));
    let zones_are_new = !cluster.zones.iter().all(known_zone);
    let unknown: Vec<&InstanceGroup> =
        cluster.groups.iter().filter(|group| zones_are_new || !recorded.images.contains_key(&key(group))).collect();
    if unknown.is_empty() {
        return None;
    }
    let mut query = CatalogueQuery::default();
    for group in unknown {
        query.machine_types.insert(group.machine_type.clone());
        match &group.image {
            Image::Ami(id) => {
                query.image_ids.insert(id.clone());
            }
            Image::Alias(alias) => {
                let patterns = ["amd64", "arm64"].map(|arch| alias.name_pattern(arch));
                match query.image_names.iter_mut().find(|(owner, _)| owner == alias.owner()) {
                    Some((_, all)) => {
                        all.extend(patterns.into_iter().filter(|pattern| !all.contains(pattern)).collect::<Vec<_>>())
                    }
                    None => query.image_names.push((alias.owner().into(), patterns.to_vec())),
                }
            }
        }
    }
    Some(query)
}

/// Pins what is new; everything wrong with zones, types and images is an error of the plan.
pub fn resolve(planner: &mut Planner<'_>) {
    planner.plan.images = planner.input.recorded.images.clone();
    let Some(catalogue) = planner.input.catalogue else {
        for group in &planner.input.cluster.groups {
            if !planner.plan.images.contains_key(&key(group)) {
                planner
                    .error(format!("the image of instance group {} is not known", group.name), "run `kubewright update` again");
            }
        }
        return;
    };
    for zone in &planner.input.cluster.zones {
        if !catalogue.zones.contains(zone) {
            let available = catalogue.zones.join(", ");
            planner.error(format!("zone {zone} is not available to this account"), format!("use one of {available}"));
        }
    }
    for group in &planner.input.cluster.groups {
        let Some(machine_type) = catalogue.machine_types.iter().find(|known| known.name == group.machine_type) else {
            if !planner.plan.images.contains_key(&key(group)) {
                planner.error(
                    format!(
                        "instance group {}: machine type {} does not exist in {}",
                        group.name, group.machine_type, planner.input.cluster.region
                    ),
                    "choose another machine_type",
                );
            }
            continue;
        };
        for zone in group.zones.iter().filter(|zone| catalogue.zones.contains(zone)) {
            if !machine_type.zones.contains(zone) {
                planner.error(
                    format!("instance group {}: machine type {} is not offered in {zone}", group.name, group.machine_type),
                    format!("choose another machine_type, or zones of {}", machine_type.zones.join(", ")),
                );
            }
        }
        if planner.plan.images.contains_key(&key(group)) {
            continue;
        }
        match find(group, machine_type, &catalogue.images) {
            Ok(image) => {
                let pinned = PinnedImage {
                    id: image.id.clone(),
                    name: image.name.clone(),
                    architecture: image.architecture.clone(),
                    root_device: image.root_device.clone(),
                };
                planner.plan.images.insert(key(group), pinned);
            }
            Err((what, next)) => planner.error(format!("instance group {}: {what}", group.name), next),
        }
    }
}

fn find<'a>(
    group: &InstanceGroup,
    machine_type: &observed::MachineType,
    images: &'a [observed::Image],
) -> Result<&'a observed::Image, (String, String)> {
    let runs = |image: &&observed::Image| machine_type.architectures.contains(&image.architecture);
    match &group.image {
        Image::Ami(id) => {
            let Some(image) = images.iter().find(|image| image.id == *id) else {
                return Err((
                    format!("image {id} does not exist, or is not shared with this account"),
                    "check the id and the region".into(),
                ));
            };
            if !runs(&image) {
                let what = format!(
                    "image {id} is for {}, machine type {} is {}",
                    image.architecture,
                    machine_type.name,
                    machine_type.architectures.join(" or ")
                );
                return Err((what, "choose an image or a machine_type of the same architecture".into()));
            }
            Ok(image)
        }
        Image::Alias(alias) => {
            let matches = |image: &&observed::Image| {
                ["amd64", "arm64"].iter().any(|arch| {
                    let pattern = alias.name_pattern(arch);
                    image.owner == alias.owner() && image.name.starts_with(pattern.trim_end_matches('*'))
                })
            };
            images.iter().filter(matches).filter(runs).max_by_key(|image| (&image.created, &image.id)).ok_or_else(|| {
                (
                    format!("no image of {} for {} in this region", alias.as_str(), machine_type.architectures.join(" or ")),
                    "name an AMI id of your own: image = \"ami-...\"".to_owned(),
                )
            })
        }
    }
}
