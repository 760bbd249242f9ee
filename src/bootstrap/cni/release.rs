//! Which release of each pod network is installed, by checksum, and where it comes from.
//!
//! To move to another one: change the lines here, and the table in README.md, which a test compares with them.

use crate::cluster::Cni;

/// A file of a project's release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    pub version: &'static str,
    pub url: &'static str,
    pub sha256: &'static str,
    /// The same file in a bundle. There the bundle's own checksum counts: it may name images of another registry.
    pub bundled: &'static str,
    /// What its pods run, as a bundle has to hold it.
    pub images: &'static [&'static str],
}

/// The sum is that of the file at the tag v3.31.7 of the git repository projectcalico/calico.
pub const CALICO: Release = Release {
    version: "v3.31.7",
    url: "https://raw.githubusercontent.com/projectcalico/calico/v3.31.7/manifests/calico-vxlan.yaml",
    sha256: "324475bc90d0fc6b432092b91a011190fdaed47823fcc936762ea58507c6a5a3",
    bundled: "manifests/calico.yml",
    images: &["quay.io/calico/cni:v3.31.7", "quay.io/calico/kube-controllers:v3.31.7", "quay.io/calico/node:v3.31.7"],
};

/// The sum is that of `Documentation/kube-flannel.yml` in the Go module github.com/flannel-io/flannel v0.28.4, whose own sum
/// (`h1:6O4wGCrCTl0Gf5BBpxfOJgOstkxZhEx3ZXzcKRopH8Q=`) is in Go's checksum database.
pub const FLANNEL: Release = Release {
    version: "v0.28.4",
    url: "https://raw.githubusercontent.com/flannel-io/flannel/v0.28.4/Documentation/kube-flannel.yml",
    sha256: "0bd380eb4954227c903bdea96dc9254650badd2d45ebe31978a47c3ffe2e9727",
    bundled: "manifests/flannel.yml",
    images: &["ghcr.io/flannel-io/flannel:v0.28.4", "ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel1"],
};

/// The sum is that of the file in the git repository cilium/charts, which is what helm.cilium.io serves, and is the digest in its `index.yaml`.
pub const CILIUM: Release = Release {
    version: "1.19.6",
    url: "https://helm.cilium.io/cilium-1.19.6.tgz",
    sha256: "21c43cf53841f9ab0375047d95aa4c64051ea52bbd2c679416e6408f5f1c9179",
    bundled: "manifests/cilium.tgz",
    images: &[
        "quay.io/cilium/cilium:v1.19.6",
        "quay.io/cilium/cilium-envoy:v1.36.9-1782267392-edeb3f2af56c37c407efa1f63f0b32f595399bbc",
        "quay.io/cilium/operator-generic:v1.19.6",
    ],
};

/// The program that installs a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Helm {
    /// `uname -m`.
    pub machine: &'static str,
    /// Folder of the program in the archive.
    pub folder: &'static str,
    pub url: &'static str,
    pub sha256: &'static str,
}

/// In a bundle: the program itself.
pub const HELM_BUNDLED: &str = "bin/helm";

/// Helm 3.18.4. The sums are those that kubernetes-sigs/kubespray (`helm_archive_checksums`) and argoproj/argo-cd
/// (`hack/installers/checksums`) both record; the archives themselves were not at hand.
pub const HELM: [Helm; 2] = [
    Helm {
        machine: "x86_64",
        folder: "linux-amd64",
        url: "https://get.helm.sh/helm-v3.18.4-linux-amd64.tar.gz",
        sha256: "f8180838c23d7c7d797b208861fecb591d9ce1690d8704ed1e4cb8e2add966c1",
    },
    Helm {
        machine: "aarch64",
        folder: "linux-arm64",
        url: "https://get.helm.sh/helm-v3.18.4-linux-arm64.tar.gz",
        sha256: "c0a45e67eef0c7416a8a8c9e9d5d2d30d70e4f4d3f7bea5de28241fffa8f3b89",
    },
];

/// What a pod network is installed from; nothing where the user installs one.
pub fn release(cni: Cni) -> Option<&'static Release> {
    match cni {
        Cni::Calico => Some(&CALICO),
        Cni::Cilium => Some(&CILIUM),
        Cni::Flannel => Some(&FLANNEL),
        Cni::None => None,
    }
}

/// Files that a bundle has to hold for a pod network.
pub(in crate::bootstrap) fn bundled(cni: Cni) -> Vec<&'static str> {
    let program = (cni == Cni::Cilium).then_some(HELM_BUNDLED);
    release(cni).map(|release| release.bundled).into_iter().chain(program).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pin_is_a_checksum_of_an_address_that_names_the_version() {
        let mut pins = Vec::new();
        for cni in [Cni::Calico, Cni::Cilium, Cni::Flannel] {
            let release = release(cni).unwrap();
            assert!(release.url.contains(release.version), "{release:?}");
            let number = release.version.trim_start_matches('v');
            assert!(release.images.iter().any(|image| image.ends_with(&format!(":v{number}"))), "{release:?}");
            assert!(release.bundled.starts_with("manifests/") && release.bundled.contains(cni.as_str()), "{release:?}");
            pins.push((release.url, release.sha256));
        }
        pins.extend(HELM.map(|helm| (helm.url, helm.sha256)));
        for (url, sum) in pins {
            assert!(url.starts_with("https://"), "{url}");
            assert!(sum.len() == 64 && sum.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{url}: {sum}");
        }
        assert!(HELM.iter().all(|helm| helm.url.contains(helm.folder)));
    }
}
