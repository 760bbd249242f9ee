//! The apt repository of each minor, laid out and signed as the community's: what a node installs from it goes through
//! apt's own checks. Served over https under a name of the lab, with a certificate that nodes trust.

mod deb;
mod server;
mod sign;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::components::catalogue::CRICTL;
use crate::kubernetes::Release;
use crate::state::Lab;
use crate::{digest, run};
use deb::{File, Package};

pub use server::serve;

/// The repository's host, in the lab's DNS.
pub const NAME: &str = "packages.lab.internal";

/// What `[packages] mirror` says.
pub fn mirror() -> String {
    format!("https://{NAME}")
}

/// The revision of every package of the community's repository.
const REVISION: &str = "1.1";
/// As the community's repository has it; the plugins themselves are Debian's.
const CNI_VERSION: &str = "1.7.1";
/// What kubelet's official package needs of Debian, all of it in the base image.
const KUBELET_NEEDS: &str =
    "conntrack, ebtables, ethtool, iproute2, iptables (>= 1.4.21), kubernetes-cni (>= 1.2.0), mount, socat, util-linux";
const UNIT: &str = include_str!("../../stand-ins/kubelet.service");
/// kubeadm's own drop-in; kubewright's comes over it.
const DROP_IN: &str = include_str!("../../base/10-kubeadm.conf");

/// Puts this version's packages into the repository of its minor and signs it.
pub fn provide(lab: &Lab, release: &Release) -> Result<()> {
    let start = Instant::now();
    let debs = assemble(lab, release)?;
    let minor = release.version.rsplit_once('.').context("a version has three numbers")?.0;
    let folder = lab.packages().join(format!("core:/stable:/v{minor}/deb"));
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(folder.join(deb::ARCHITECTURE))?;
    let mut packages = String::new();
    for deb in &debs {
        let name = deb.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = format!("{}/{name}", deb::ARCHITECTURE);
        fs::hard_link(deb, folder.join(&path)).with_context(|| format!("linking {}", deb.display()))?;
        packages.push_str(&deb::entry(deb, &path)?);
    }
    fs::write(folder.join("Packages"), packages)?;
    run::output("gzip", &["--keep", "--best", "--no-name", &folder.join("Packages").to_string_lossy()])?;
    fs::write(folder.join("Release"), described(&folder)?)?;
    let fingerprint = sign::repository(lab, &folder)?;
    fs::write(lab.packages_key(), format!("{fingerprint}\n"))?;
    eprintln!("apt repository of Kubernetes {} at {} ({:.1} s)", release.version, mirror(), start.elapsed().as_secs_f64());
    Ok(())
}

/// The text that is signed: what the lists of packages have to be.
fn described(folder: &Path) -> Result<String> {
    let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S UTC");
    let mut text =
        format!("Origin: kubewright lab\nLabel: Kubernetes\nArchitectures: {}\nDate: {date}\nSHA256:\n", deb::ARCHITECTURE);
    for name in ["Packages", "Packages.gz"] {
        let path = folder.join(name);
        text.push_str(&format!(" {} {} {name}\n", digest::of_file(&path)?, fs::metadata(&path)?.len()));
    }
    Ok(text)
}

/// The package files of a version, made once and kept in the cache.
fn assemble(lab: &Lab, release: &Release) -> Result<Vec<PathBuf>> {
    let (version, folder) = (format!("{}-{REVISION}", release.version), release.packages());
    let program = |name: &str| -> Result<File> {
        Ok(File { from: release.programs.path(name)?.to_owned(), to: format!("usr/bin/{name}") })
    };
    let text = |name: &str, to: &str, text: &str| -> Result<File> {
        let from = folder.join(name);
        fs::write(&from, text)?;
        Ok(File { from, to: to.into() })
    };
    fs::create_dir_all(&folder)?;
    let plugins = lab.base_image().join("usr/lib/cni");
    let mut cni = Vec::new();
    for entry in fs::read_dir(&plugins).with_context(|| format!("reading {}", plugins.display()))?.flatten() {
        cni.push(File { from: entry.path(), to: format!("opt/cni/bin/{}", entry.file_name().to_string_lossy()) });
    }
    ensure!(!cni.is_empty(), "the base image has no CNI plugins");
    let package = |name, version: &str, needs, files| Package { name, version: version.to_owned(), needs, files };
    let packages = [
        package(
            "kubelet",
            &version,
            KUBELET_NEEDS,
            vec![program("kubelet")?, text("kubelet.service", "usr/lib/systemd/system/kubelet.service", UNIT)?],
        ),
        package("kubeadm", &version, "cri-tools (>= 1.30.0)", {
            let path = "usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf";
            vec![program("kubeadm")?, text("10-kubeadm.conf", path, DROP_IN)?]
        }),
        package("kubectl", &version, "", vec![program("kubectl")?]),
        package("cri-tools", &format!("{}-{REVISION}", CRICTL.version), "", vec![program("crictl")?]),
        package("kubernetes-cni", &format!("{CNI_VERSION}-{REVISION}"), "", cni),
    ];
    packages.iter().map(|package| package.build(&folder)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_names_its_lists() {
        let folder = std::env::temp_dir().join(format!("kubewright-packages-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("Packages"), "Package: a\n").unwrap();
        fs::write(folder.join("Packages.gz"), "packed").unwrap();
        let text = described(&folder).unwrap();
        let line = format!(" {} 11 Packages\n", digest::of(b"Package: a\n"));
        assert!(text.contains(&line) && text.contains(" 6 Packages.gz\n"), "{text}");
        fs::remove_dir_all(folder).unwrap();
    }
}
