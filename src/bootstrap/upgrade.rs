//! The steps that bring a machine to another version of Kubernetes where it stands: kubeadm first, then what it manages, the
//! kubelet last, so that a Node that tells the new version has all of it.

use serde_json::json;

use super::bundle::Bundle;
use super::kubeadm::{self, FOLDER, Place};
use super::steps::{List, MINUTE, Work, apt_packages, body, bundled, container_runtime, kubelet, pull};
use crate::cluster::{Cni, Packages, Role, policy};

/// Programs that follow kubeadm.
const LATER: [&str; 2] = ["kubelet", "kubectl"];

pub(super) fn upgrade(list: &mut List, place: Place<'_>, bundle: Option<&Bundle>, first: bool) -> Result<(), String> {
    let cluster = place.cluster;
    let control_plane = place.group.role == Role::ControlPlane;
    let version = format!("v{}", cluster.kubernetes);
    let apt = matches!(cluster.packages, Packages::Apt { .. });
    list.add("container-runtime", 15 * MINUTE, Work::Unit(container_runtime(cluster, apt)?));
    let mut late = String::new();
    match (&cluster.packages, bundle) {
        (Packages::Apt { mirror, signing_key }, _) => {
            let packages = |programs: &[&str]| apt_packages(cluster, mirror.as_deref(), signing_key.as_deref(), programs);
            list.add("packages", 15 * MINUTE, Work::Unit(packages(&["kubeadm"])?));
            late = packages(&LATER)?.replacen("main()", "programs()", 1);
            if control_plane {
                list.add("images", 15 * MINUTE, Work::Unit(pull(cluster)?));
            }
        }
        (Packages::Bundle(_), Some(bundle)) => {
            let [packages, images] = bundled(bundle, place.group.role, &LATER)?;
            list.add("packages", 15 * MINUTE, packages);
            list.add("images", 15 * MINUTE, images);
        }
        (Packages::Bundle(path), None) => return Err(format!("the bundle {} is not loaded", path.display())),
    }
    list.add("cri", 2 * MINUTE, Work::Now(body("cri", json!({"pause": policy(cluster.kubernetes).sandbox_image()}))?));
    list.add("kubelet", MINUTE, Work::Now(kubelet(cluster)?));
    let patches = match kubeadm::patch_files(place)?.is_empty() {
        true => String::new(),
        false => format!("{FOLDER}/patches"),
    };
    let mut ignored = cluster.components.ignore_preflight_errors.clone();
    ignored.extend(place.group.settings.ignore_preflight_errors.clone());
    let values = json!({"version": version, "first": first, "patches": patches, "ignored": ignored.join(",")});
    let command = if first { "kubeadm upgrade apply" } else { "kubeadm upgrade node" };
    list.named("upgrade", 30 * MINUTE, command, Work::Unit(body("upgrade", values)?));
    if control_plane {
        // The version is part of what is waited for: another one was ready before.
        list.add("api", 5 * MINUTE, Work::Now(format!("{}# {version}\n", body("api", json!({}))?)));
    }
    list.add("programs", 15 * MINUTE, Work::Unit(late + &body("upgrade-kubelet", json!({"version": version, "apt": apt}))?));
    let ready = cluster.network.cni != Cni::None;
    list.add("ready", 10 * MINUTE, Work::Registered { ready, version: Some(cluster.kubernetes) });
    Ok(())
}
