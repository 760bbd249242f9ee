//! What each Kubernetes minor asks for, as a table. A new minor is one more row, and a wider
//! [`KubernetesVersion::SUPPORTED_MINORS`].
//!
//! Sources: kubeadm's `constants.go` of each release branch (`PauseVersion`, `MinExternalEtcdVersion`); CHANGELOG-1.31 and
//! CHANGELOG-1.37 (`v1beta4` added, `v1beta3` removed); CHANGELOG-1.35 (`failCgroupV1`); kubernetes/kubernetes#130713 (pause
//! 3.10.1); kubeclipper#947 (pause 3.10.2 from 1.36 on). The kubelet has asked for CRI v1 since 1.26, which containerd has from
//! 1.6.0 on; the fallback for runtimes without `RuntimeConfig` (containerd 1.x) stays until 1.38 (KEP-4033).

use super::KubernetesVersion;

/// `apiVersion` of kubeadm's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KubeadmApi {
    V1Beta3,
    V1Beta4,
}

impl KubeadmApi {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1Beta3 => "kubeadm.k8s.io/v1beta3",
            Self::V1Beta4 => "kubeadm.k8s.io/v1beta4",
        }
    }
}

/// What one minor asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub minor: u32,
    pub kubeadm_api: KubeadmApi,
    /// Tag of `registry.k8s.io/pause`, the sandbox image that kubeadm of this minor expects of the runtime.
    pub pause: &'static str,
    /// Oldest etcd that kubeadm's preflight takes, (major, minor, patch).
    pub etcd_minimum: (u32, u32, u32),
    /// Oldest containerd that the kubelet works with.
    pub containerd_minimum: (u32, u32, u32),
    /// The kubelet starts on cgroup v1; if false, only with `failCgroupV1: false`.
    pub cgroup_v1: bool,
}

const ETCD: (u32, u32, u32) = (3, 5, 24);
const CONTAINERD: (u32, u32, u32) = (1, 6, 0);

const fn row(minor: u32, kubeadm_api: KubeadmApi, pause: &'static str, cgroup_v1: bool) -> Policy {
    Policy { minor, kubeadm_api, pause, etcd_minimum: ETCD, containerd_minimum: CONTAINERD, cgroup_v1 }
}

/// Ascending, without gaps.
const TABLE: [Policy; 9] = [
    row(29, KubeadmApi::V1Beta3, "3.9", true),
    row(30, KubeadmApi::V1Beta3, "3.9", true),
    row(31, KubeadmApi::V1Beta4, "3.10", true),
    row(32, KubeadmApi::V1Beta4, "3.10", true),
    row(33, KubeadmApi::V1Beta4, "3.10", true),
    row(34, KubeadmApi::V1Beta4, "3.10.1", true),
    row(35, KubeadmApi::V1Beta4, "3.10.1", false),
    row(36, KubeadmApi::V1Beta4, "3.10.2", false),
    row(37, KubeadmApi::V1Beta4, "3.10.2", false),
];

impl Policy {
    /// `registry.k8s.io/pause:<tag>`
    pub fn sandbox_image(&self) -> String {
        format!("registry.k8s.io/pause:{}", self.pause)
    }
}

/// The row of a version. Versions outside the table, which the spec's checks refuse, get the nearest row.
pub fn policy(version: KubernetesVersion) -> Policy {
    let [oldest, ..] = TABLE;
    TABLE.into_iter().rev().find(|policy| policy.minor <= version.minor).unwrap_or(oldest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_supported_minor_has_its_row() {
        let minors: Vec<u32> = TABLE.iter().map(|policy| policy.minor).collect();
        assert_eq!(minors, KubernetesVersion::SUPPORTED_MINORS.collect::<Vec<_>>());
        for minor in KubernetesVersion::SUPPORTED_MINORS {
            let policy = policy(KubernetesVersion { major: 1, minor, patch: 0 });
            assert_eq!(policy.minor, minor);
            assert_eq!(policy.kubeadm_api == KubeadmApi::V1Beta3, minor < 31, "1.{minor}");
            assert_eq!(policy.cgroup_v1, minor < 35, "1.{minor}");
        }
    }
}
