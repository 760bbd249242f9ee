//! Where kubeadm, kubelet, kubectl and the images come from: an apt repository, or a bundle.

use serde_json::json;

use super::bundle::{Bundle, needed_images};
use super::kubeadm::CRI_SOCKET;
use super::steps::{Work, body, digest};
use crate::cluster::policy::REPOSITORY_KEY;
use crate::cluster::{Cluster, Role};

/// Folder of the per-minor repository below a mirror, as the community lays it out.
pub(super) fn repository(cluster: &Cluster, mirror: Option<&str>) -> String {
    let root = mirror.unwrap_or("https://pkgs.k8s.io").trim_end_matches('/');
    format!("{root}/core:/stable:/v{}/deb/", cluster.kubernetes.minor_line())
}

/// The line of `/etc/apt/sources.list.d/kubernetes.list`.
pub(super) fn apt_source(cluster: &Cluster, mirror: Option<&str>) -> String {
    format!("deb [signed-by={APT_KEY}] {} /\n", repository(cluster, mirror))
}

const APT_KEY: &str = "/etc/apt/keyrings/kubernetes.gpg";

/// Programs of one version.
pub(super) const PROGRAMS: [&str; 3] = ["kubelet", "kubeadm", "kubectl"];

pub(super) fn apt_packages(
    cluster: &Cluster,
    mirror: Option<&str>,
    signing_key: Option<&str>,
    programs: &[&str],
) -> Result<String, String> {
    let values = json!({
        "programs": programs,
        "repository": repository(cluster, mirror),
        "source": apt_source(cluster, mirror),
        "key_file": APT_KEY,
        "fingerprint": signing_key.unwrap_or(REPOSITORY_KEY),
        "version": cluster.kubernetes.to_string(),
    });
    body("apt", values)
}

/// What of a bundle a machine of this role lacks, and its images. Programs that are held are put in place by a later step.
pub(super) fn bundled(bundle: &Bundle, cluster: &Cluster, role: Role, held: &[&str]) -> Result<[Work; 2], String> {
    let wanted = bundle.wanted(role);
    let sums: String = wanted.iter().map(|line| format!("{line}\n")).collect();
    let images: String = bundle.recognisable(&wanted).concat();
    let install = body("bundle", json!({"sums": sums, "images": images, "held": held}))?;
    let needed = needed_images(cluster.kubernetes, role);
    let pinned = body("images", json!({"names": bundle.image_names(&wanted), "needed": needed}))?;
    Ok([Work::Upload { wanted, body: install }, Work::Unit(pinned + &format!("# {}\n", digest(&sums)))])
}

pub(super) fn pull(cluster: &Cluster) -> Result<String, String> {
    body("pull", json!({"version": format!("v{}", cluster.kubernetes), "cri_socket": CRI_SOCKET}))
}
