//! What each Kubernetes minor asks for, as a table. A new minor is one more row, and a wider
//! [`KubernetesVersion::SUPPORTED_MINORS`].
//!
//! Sources: `cmd/kubeadm/app/constants/constants.go` of v1.29.6, v1.30.14, v1.31.14, v1.32.13, v1.33.13, v1.34.2, v1.35.4, v1.36.3
//! and v1.37.0 (`PauseVersion`, `DefaultEtcdVersion`, `MinExternalEtcdVersion`, `CoreDNSVersion`); CHANGELOG-1.31 and CHANGELOG-1.37
//! (`v1beta4` added, `v1beta3` removed); CHANGELOG-1.35 (`failCgroupV1`, `--pod-infra-container-image` removed). The kubelet has
//! asked for CRI v1 since 1.26, which containerd has from 1.6.0 on; the fallback for runtimes without `RuntimeConfig`
//! (containerd 1.x) stays until 1.38 (KEP-4033).

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
    /// Patch of the row's source: what an upgrade takes on its way through this minor.
    pub patch: u32,
    pub kubeadm_api: KubeadmApi,
    /// Tag of `registry.k8s.io/pause`, the sandbox image that kubeadm of this minor expects of the runtime.
    pub pause: &'static str,
    /// Tag of `registry.k8s.io/etcd` that kubeadm of the row's source installs.
    pub etcd: &'static str,
    /// Oldest etcd that kubeadm's preflight takes, (major, minor, patch).
    pub etcd_minimum: (u32, u32, u32),
    /// Tag of `registry.k8s.io/coredns/coredns` that kubeadm of the row's source installs.
    pub coredns: &'static str,
    /// Oldest containerd that the kubelet works with.
    pub containerd_minimum: (u32, u32, u32),
    /// The kubelet starts on cgroup v1; if false, only with `failCgroupV1: false`.
    pub cgroup_v1: bool,
    /// `(component, flag)` that this minor does not know any more, of those that people still write.
    pub removed_flags: &'static [(&'static str, &'static str)],
}

const CONTAINERD: (u32, u32, u32) = (1, 6, 0);
const OLD_ETCD: (u32, u32, u32) = (3, 4, 13);
const ETCD: (u32, u32, u32) = (3, 5, 24);
/// Gone before the oldest minor of the table: container runtime by dockershim (1.24, 1.27).
const LONG_GONE: &[(&str, &str)] = &[("kubelet", "container-runtime"), ("kubelet", "network-plugin"), ("kubelet", "cni-bin-dir")];
const FROM_35: &[(&str, &str)] = &[
    ("kubelet", "container-runtime"),
    ("kubelet", "network-plugin"),
    ("kubelet", "cni-bin-dir"),
    ("kubelet", "pod-infra-container-image"),
];

const fn row(minor: u32, patch: u32, pause: &'static str, etcd: &'static str, coredns: &'static str) -> Policy {
    Policy {
        minor,
        patch,
        kubeadm_api: if minor < 31 { KubeadmApi::V1Beta3 } else { KubeadmApi::V1Beta4 },
        pause,
        etcd,
        etcd_minimum: if minor < 31 { OLD_ETCD } else { ETCD },
        coredns,
        containerd_minimum: CONTAINERD,
        cgroup_v1: minor < 35,
        removed_flags: if minor < 35 { LONG_GONE } else { FROM_35 },
    }
}

/// Ascending, without gaps.
const TABLE: [Policy; 9] = [
    row(29, 6, "3.9", "3.5.12-0", "v1.11.1"),
    row(30, 14, "3.9", "3.5.15-0", "v1.11.3"),
    row(31, 14, "3.10", "3.5.24-0", "v1.11.3"),
    row(32, 13, "3.10", "3.5.24-0", "v1.11.3"),
    row(33, 13, "3.10", "3.5.24-0", "v1.12.0"),
    row(34, 2, "3.10.1", "3.6.5-0", "v1.12.1"),
    row(35, 4, "3.10.1", "3.6.6-0", "v1.13.1"),
    row(36, 3, "3.10.2", "3.6.8-0", "v1.14.2"),
    row(37, 0, "3.10.2", "3.7.0-0", "v1.14.6"),
];

impl Policy {
    /// `registry.k8s.io/pause:<tag>`
    pub fn sandbox_image(&self) -> String {
        format!("registry.k8s.io/pause:{}", self.pause)
    }
}

/// Minors that a kubelet may be older than the API server (kubernetes.io/releases/version-skew-policy, since 1.28).
pub const KUBELET_SKEW: u32 = 3;

/// The newest patch that the table knows of a minor.
pub fn newest(minor: u32) -> Option<KubernetesVersion> {
    let row = TABLE.into_iter().find(|policy| policy.minor == minor)?;
    Some(KubernetesVersion { major: 1, minor, patch: row.patch })
}

/// Fingerprint of the key that signs the community's per-minor repositories (the `isv:kubernetes` project).
pub const REPOSITORY_KEY: &str = "DE15B14486CD377B9E876E1A234654DA9A296436";

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

    #[test]
    fn what_a_minor_ships_is_never_older_than_what_it_or_an_earlier_one_asks_for() {
        let number = |tag: &str| -> Vec<u32> {
            tag.trim_start_matches('v').split(['.', '-']).filter_map(|part| part.parse().ok()).collect()
        };
        for rows in TABLE.windows(2) {
            let [earlier, later] = rows else { continue };
            assert!(number(earlier.etcd) <= number(later.etcd), "{later:?}");
            assert!(number(earlier.coredns) <= number(later.coredns), "{later:?}");
            let (major, minor, patch) = later.etcd_minimum;
            assert!(number(later.etcd) >= vec![major, minor, patch], "{later:?}");
            assert!(later.removed_flags.len() >= earlier.removed_flags.len(), "{later:?}");
        }
    }
}
