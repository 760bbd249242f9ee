//! kubeadm's patches folder of one machine: what the spec gives for the cluster, then for the group, in the order of the spec.
//!
//! The names are kubeadm's: `TARGET[SUFFIX][+KIND].yaml`, applied in the order of their suffixes
//! (kubernetes.io/docs/setup/production-environment/tools/kubeadm/control-plane-flags).

use super::build::Place;
use super::check::document;
use super::{FOLDER, File};
use crate::cluster::{InstanceGroup, Patch, PatchKind, PatchTarget};
use crate::secret::Secret;

/// Folder of a machine's patches; there only if it has any.
pub(super) fn folder() -> String {
    format!("{FOLDER}/patches")
}

pub(super) fn has_any(place: Place<'_>) -> bool {
    !(place.cluster.components.patches.is_empty() && place.group.settings.patches.is_empty() && !has_fields(place.group))
}

fn has_fields(group: &InstanceGroup) -> bool {
    !group.settings.kubelet.is_empty()
}

/// The group's fields of the kubelet's configuration are a patch as well: kubeadm gives all machines of a cluster one configuration.
pub fn patch_files(place: Place<'_>) -> Result<Vec<File>, String> {
    let file = |index: usize, target: PatchTarget, kind: PatchKind, text: String| File {
        path: format!("{}/{}{index:03}+{}.yaml", folder(), target.as_str(), kind.as_str()),
        mode: "0600",
        text: Secret::new(text),
    };
    let cluster = place.cluster.components.patches.iter();
    let own = place.group.settings.patches.iter();
    let mut files: Vec<File> = cluster
        .chain(own)
        .enumerate()
        .map(|(index, Patch { target, kind, text })| file(index + 1, *target, *kind, text.clone()))
        .collect();
    if has_fields(place.group) {
        let text = document("kubeadm/fields.yaml.j2", &place.group.settings.kubelet)?;
        files.insert(0, file(0, PatchTarget::Kubelet, PatchKind::Merge, text));
    }
    Ok(files)
}
