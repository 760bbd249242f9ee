//! What each Kubernetes minor asks for. Sources: kubeadm's changelogs and `cmd/kubeadm/app/constants`.

use crate::cluster::KubernetesVersion;

/// Version of kubeadm's configuration API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    V1Beta3,
    V1Beta4,
}

impl Api {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1Beta3 => "kubeadm.k8s.io/v1beta3",
            Self::V1Beta4 => "kubeadm.k8s.io/v1beta4",
        }
    }

    /// 1.29 and 1.30 read v1beta3 only; v1beta4 is there from 1.31 and alone from 1.37 (kubernetes PR 136016).
    pub fn of(version: KubernetesVersion) -> Self {
        if version.minor < 31 { Self::V1Beta3 } else { Self::V1Beta4 }
    }
}

/// The sandbox image that kubeadm of this minor expects (`constants.PauseVersion`).
pub fn pause_image(version: KubernetesVersion) -> &'static str {
    match version.minor {
        ..=30 => "registry.k8s.io/pause:3.9",
        31..=33 => "registry.k8s.io/pause:3.10",
        _ => "registry.k8s.io/pause:3.10.1",
    }
}

/// The oldest containerd that the kubelet of this minor works with, as (major, minor). The fallback for a missing CRI
/// RuntimeConfig goes in 1.38 (KEP-4033).
pub fn containerd_minimum(version: KubernetesVersion) -> (u32, u32) {
    if version.minor < 38 { (1, 6) } else { (2, 0) }
}

/// From 1.35 on the kubelet refuses cgroup v1 (`failCgroupV1`).
pub fn refuses_cgroup_v1(version: KubernetesVersion) -> bool {
    version.minor >= 35
}

/// Fingerprint of the key that signs the community's per-minor repositories (the `isv:kubernetes` project).
pub const REPOSITORY_KEY: &str = "DE15B14486CD377B9E876E1A234654DA9A296436";
