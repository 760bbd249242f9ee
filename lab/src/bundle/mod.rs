//! `lab bundle`: an air-gapped bundle as the product reads it, with real components or with stand-ins.

mod stand_ins;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::components::Servers;
use crate::components::catalogue::CRICTL;
use crate::kubernetes::Release;
use crate::state::Lab;
use crate::{components, digest, kubernetes};

/// The folders whose files have a checksum.
const FOLDERS: [&str; 5] = ["bin", "cni", "images", "systemd", "manifests"];
/// What the official package has as well; kubeadm's drop-in comes from the product.
const UNIT: &str = include_str!("../../stand-ins/kubelet.service");

/// Which bundle, and where it lies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Real,
    /// In a folder of its version's name, beside the one that `up` makes.
    Beside,
    StandIns,
}

pub fn run(lab: &Lab, servers: &Servers, version: &str, kind: Kind) -> Result<()> {
    let start = Instant::now();
    components::check_version(version)?;
    ensure!(lab.base_image().exists(), "the bundle takes its CNI plugins from the nodes' base image; run `lab up` first");
    let (dir, what) = if kind == Kind::StandIns {
        let crictl = components::shared(lab, servers, &CRICTL)?;
        let dir = empty(&lab.stand_in_bundle())?;
        stand_ins::fill(lab, &dir, version, crictl.path("crictl")?)?;
        (dir, "bundle of STAND-INS for")
    } else {
        let release = kubernetes::assemble(lab, servers, version)?;
        let dir = if kind == Kind::Beside { lab.bundle_of(version) } else { lab.bundle() };
        let dir = empty(&dir)?;
        fill(&release, &dir)?;
        (dir, "bundle of")
    };
    for entry in fs::read_dir(lab.base_image().join("usr/lib/cni"))?.flatten() {
        fs::copy(entry.path(), dir.join("cni").join(entry.file_name()))?;
    }
    fs::write(dir.join("systemd/kubelet.service"), UNIT)?;
    fs::write(dir.join("VERSION"), version)?;
    fs::write(dir.join("SHA256SUMS"), sums(&dir)?)?;
    eprintln!("{what} Kubernetes {version} in {} ({:.1} s)", dir.display(), start.elapsed().as_secs_f64());
    Ok(())
}

fn empty(dir: &Path) -> Result<std::path::PathBuf> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    for folder in FOLDERS.iter().chain(&["operator"]) {
        fs::create_dir_all(dir.join(folder))?;
    }
    Ok(dir.to_owned())
}

/// Copies, not links: whoever tries out a damaged bundle must not damage the cache.
fn fill(release: &Release, dir: &Path) -> Result<()> {
    for program in ["kubeadm", "kubelet", "kubectl", "crictl"] {
        fs::copy(release.programs.path(program)?, dir.join("bin").join(program))?;
    }
    fs::copy(release.programs.path("kubectl")?, dir.join("operator/kubectl"))?;
    for (folder, from) in [("images", release.images()), ("manifests", release.manifests())] {
        for entry in fs::read_dir(&from).with_context(|| format!("reading {}", from.display()))?.flatten() {
            fs::copy(entry.path(), dir.join(folder).join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn program(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Lines as sha256sum writes them, for every file of the folders.
fn sums(bundle: &Path) -> Result<String> {
    let mut lines = Vec::new();
    for folder in FOLDERS {
        for entry in fs::read_dir(bundle.join(folder))?.flatten() {
            let sum = digest::of_file(&entry.path())?;
            lines.push(format!("{sum}  {folder}/{}\n", entry.file_name().to_string_lossy()));
        }
    }
    lines.sort_by(|one, other| one[66..].cmp(&other[66..]));
    Ok(lines.concat())
}
