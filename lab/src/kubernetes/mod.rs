//! `--kubernetes VERSION`: real components as images, as the pod network's manifest, and as the folder of a container
//! runtime that has all images already. Everything is made once for each version and kept in the cache.

mod images;
mod template;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::components::catalogue::FLANNEL;
use crate::components::{self, Programs, Servers};
use crate::state::Lab;
use crate::{digest, run};

pub use images::PAUSE;
pub use template::link;

/// What the lab has of one Kubernetes version.
pub struct Release {
    pub version: String,
    pub programs: Programs,
    dir: PathBuf,
}

impl Release {
    /// The image archives, by name.
    pub fn images(&self) -> PathBuf {
        self.dir.join("images")
    }

    /// The files of the apt repository's packages.
    pub fn packages(&self) -> PathBuf {
        self.dir.join("packages")
    }

    /// Manifests as their projects release them.
    pub fn manifests(&self) -> PathBuf {
        self.dir.join("manifests")
    }
}

/// A container runtime's folder with every image of this version.
pub fn template(lab: &Lab, version: &str) -> PathBuf {
    folder(lab, version).join("containerd")
}

fn folder(lab: &Lab, version: &str) -> PathBuf {
    lab.cache().join("kubernetes").join(version)
}

/// Makes what the cache lacks of a version.
pub fn assemble(lab: &Lab, servers: &Servers, version: &str) -> Result<Release> {
    let components = components::of(lab, servers, version, &[])?;
    let release = Release { version: version.to_owned(), programs: components.programs, dir: folder(lab, version) };
    let mut text = String::new();
    for part in components.keys.into_iter().chain([base_version(lab)?, RECIPE.concat()]) {
        text.push_str(&part);
        text.push('\n');
    }
    let (key, marker) = (digest::of(text.as_bytes()), release.dir.join("key"));
    if fs::read_to_string(&marker).is_ok_and(|found| found == key) {
        return Ok(release);
    }
    if release.dir.exists() {
        fs::remove_dir_all(&release.dir)?; // half a run's, or of other parts
    }
    let start = Instant::now();
    eprint!("  images of Kubernetes {version} ... ");
    write_images(lab, &release).context("making images")?;
    eprintln!("{:.1} s", start.elapsed().as_secs_f64());
    template::make(lab, &release.images(), &template(lab, version))?;
    fs::write(marker, key)?;
    Ok(release)
}

/// How images are made is a part of what they are.
const RECIPE: [&str; 4] =
    [include_str!("images.rs"), include_str!("template.rs"), include_str!("../image/mod.rs"), include_str!("../image/system.rs")];

fn base_version(lab: &Lab) -> Result<String> {
    let file = lab.base_image().join("usr/lib/lab/version");
    fs::read_to_string(&file).context("images take programs from the nodes' base image; run `lab up` first")
}

fn write_images(lab: &Lab, release: &Release) -> Result<()> {
    fs::create_dir_all(release.images())?;
    fs::create_dir_all(release.manifests())?;
    let module = "github.com/flannel-io/flannel";
    let manifest = components::asset(lab, &FLANNEL, module, "Documentation/kube-flannel.yml")?;
    fs::write(release.manifests().join("flannel.yml"), &manifest)?;
    let (pause, network) = (pause(lab)?, String::from_utf8(manifest)?);
    let from = images::Sources { programs: &release.programs, pause: &pause, system: &lab.base_image(), network: &network };
    for (name, image) in images::all(&release.version, &from)? {
        image.write(&release.images().join(format!("{name}.tar")))?;
    }
    Ok(())
}

/// A small static program: the only one of the sandbox image.
pub fn pause(lab: &Lab) -> Result<PathBuf> {
    let (source, built) = (lab.cache().join("pause.c"), lab.cache().join("pause"));
    fs::write(&source, include_str!("../../base/pause.c"))?;
    let words = |path: &Path| path.to_string_lossy().into_owned();
    run::output("cc", &["-Os", "-s", "-static", "-o", &words(&built), &words(&source)])
        .context("building pause; it needs a C compiler")?;
    Ok(built)
}
