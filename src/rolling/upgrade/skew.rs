//! The version skew policy (kubernetes.io/releases/version-skew-policy), as what must hold at every moment.

use crate::cluster::{KubernetesVersion, policy::KUBELET_SKEW};
use crate::rolling::{Machine, View};

/// Which rule of the version skew policy is broken, if one is.
pub fn skew(view: &View) -> Result<(), String> {
    let control = |machine: &&Machine| view.groups.get(machine.group).is_some_and(|group| group.control_plane);
    let planes: Vec<(&Machine, KubernetesVersion)> =
        view.machines.iter().filter(control).filter_map(|machine| Some((machine, machine.api?))).collect();
    let (Some((low, oldest)), Some((high, newest))) =
        (planes.iter().min_by_key(|(_, api)| *api), planes.iter().max_by_key(|(_, api)| *api))
    else {
        return Ok(());
    };
    if oldest.minor + 1 < newest.minor {
        return Err(format!("API servers are more than one minor apart: {} {oldest}, {} {newest}", low.slot, high.slot));
    }
    for machine in &view.machines {
        let Some(kubelet) = machine.kubelet else { continue };
        // Each control plane's kubelet talks to the API server beside it.
        let (least, most) = match machine.api {
            Some(own) => (own, own),
            None => (*oldest, *newest),
        };
        if kubelet > least {
            return Err(format!("{}: kubelet {kubelet} is newer than the API server {least}", machine.slot));
        }
        if kubelet.minor + KUBELET_SKEW < most.minor {
            return Err(format!("{}: kubelet {kubelet} is too old for the API server {most}", machine.slot));
        }
    }
    Ok(())
}
