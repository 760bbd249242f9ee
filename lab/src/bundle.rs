//! `lab bundle`: an air-gapped bundle as the product reads it, with stand-ins for what cannot be had here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::state::Lab;
use crate::{image, requirements, run};

const CRICTL: &str = "1.34.0";
/// The sandbox image that every Kubernetes version of the lab asks for.
const PAUSE: [&str; 3] = ["registry.k8s.io/pause:3.10.1", "registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.9"];

const STAND_INS: [(&str, &str); 3] = [
    ("kubeadm", include_str!("../stand-ins/kubeadm")),
    ("kubelet", include_str!("../stand-ins/kubelet")),
    ("kubectl", include_str!("../stand-ins/kubectl")),
];
const UNIT: &str = include_str!("../stand-ins/kubelet.service");
const MANIFEST: &str = include_str!("../stand-ins/manifest.yml");

pub fn run(lab: &Lab, version: &str) -> Result<()> {
    let start = Instant::now();
    let numbers: Vec<&str> = version.split('.').collect();
    ensure!(
        numbers.len() == 3 && numbers.iter().all(|number| number.parse::<u16>().is_ok()),
        "{version} is no Kubernetes version; write it as 1.34.2"
    );
    ensure!(lab.base_image().exists(), "the bundle takes its CNI plugins from the nodes' base image; run `lab up` first");
    let crictl = crictl(lab)?;
    let bundle = lab.bundle();
    if bundle.exists() {
        fs::remove_dir_all(&bundle)?;
    }
    for dir in ["bin", "cni", "images", "manifests", "systemd", "operator"] {
        fs::create_dir_all(bundle.join(dir))?;
    }
    for (name, text) in STAND_INS {
        program(&bundle.join("bin").join(name), text.replace("@VERSION@", &format!("v{version}")).as_bytes())?;
    }
    fs::copy(crictl, bundle.join("bin/crictl"))?;
    for entry in fs::read_dir(lab.base_image().join("usr/lib/cni"))?.flatten() {
        fs::copy(entry.path(), bundle.join("cni").join(entry.file_name()))?;
    }
    image::write(&bundle.join("images/pause.tar"), &PAUSE, &pause(lab)?, "/pause")?;
    fs::write(bundle.join("systemd/kubelet.service"), UNIT)?;
    for network in ["calico", "flannel"] {
        fs::write(bundle.join(format!("manifests/{network}.yml")), MANIFEST.replace("@NAME@", network))?;
    }
    fs::write(bundle.join("VERSION"), version)?;
    fs::write(bundle.join("SHA256SUMS"), sums(&bundle, &["bin", "cni", "images", "manifests", "systemd"])?)?;
    operators_kubectl(lab)?;
    eprintln!("bundle of STAND-INS for Kubernetes {version} in {} ({:.1} s)", bundle.display(), start.elapsed().as_secs_f64());
    Ok(())
}

/// The operator's machine may have no YAML library for python3: there the emulator's python runs kubectl.
fn operators_kubectl(lab: &Lab) -> Result<()> {
    let python = lab.cache().join("venv/bin/python");
    let text = format!("#!/bin/sh\nexec '{}' '{}' \"$@\"\n", python.display(), lab.bundle().join("bin/kubectl").display());
    program(&lab.bundle().join("operator/kubectl"), text.as_bytes())
}

fn program(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The real crictl, built once; its sources are pinned by the sums beside its go.mod.
fn crictl(lab: &Lab) -> Result<PathBuf> {
    let built = lab.cache().join(format!("crictl-{CRICTL}"));
    if built.exists() {
        return Ok(built);
    }
    ensure!(requirements::in_path("go"), "crictl is built from source, which needs Go 1.24 or newer in PATH");
    let dir = lab.cache().join("crictl");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("go.mod"), include_str!("../crictl/go.mod"))?;
    fs::write(dir.join("go.sum"), include_str!("../crictl/go.sum"))?;
    let part = lab.cache().join("crictl.part");
    run::step(
        &format!("go build crictl {CRICTL}"),
        Command::new("go")
            .current_dir(&dir)
            .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags"])
            .arg(format!("-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version={CRICTL}"))
            .arg("-o")
            .arg(&part)
            .arg("sigs.k8s.io/cri-tools/cmd/crictl")
            .env("CGO_ENABLED", "0"),
        &lab.cache().join("crictl.log"),
        Duration::from_secs(1200),
    )?;
    fs::rename(part, &built)?;
    Ok(built)
}

/// A small static program: the only file of the sandbox image.
fn pause(lab: &Lab) -> Result<Vec<u8>> {
    let (source, built) = (lab.cache().join("pause.c"), lab.cache().join("pause"));
    fs::write(&source, include_str!("../base/pause.c"))?;
    let (source, out) = (source.to_string_lossy().into_owned(), built.to_string_lossy().into_owned());
    run::output("cc", &["-Os", "-s", "-static", "-o", &out, &source]).context("building pause; it needs a C compiler")?;
    Ok(fs::read(built)?)
}

/// Lines as sha256sum writes them, for every file of the folders.
fn sums(bundle: &Path, folders: &[&str]) -> Result<String> {
    let mut lines = Vec::new();
    for folder in folders {
        for entry in fs::read_dir(bundle.join(folder))?.flatten() {
            let sum = Sha256::digest(fs::read(entry.path())?);
            let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
            lines.push(format!("{sum}  {folder}/{}\n", entry.file_name().to_string_lossy()));
        }
    }
    lines.sort_by(|one, other| one[66..].cmp(&other[66..]));
    Ok(lines.concat())
}

#[cfg(test)]
mod tests {
    use super::STAND_INS;

    #[test]
    fn the_stand_ins_stay_small_and_say_what_they_are() {
        let lines: usize = STAND_INS.iter().map(|(_, text)| text.lines().count()).sum();
        assert!(lines <= 200, "the stand-ins have {lines} lines together");
        for (name, text) in STAND_INS {
            assert!(text.contains(&format!("STAND-IN for {}{name} ", if name == "kubelet" { "the " } else { "" })), "{name}");
            let long = text.lines().filter(|line| line.chars().count() > 130).collect::<Vec<_>>();
            assert!(long.is_empty(), "{name}: {long:?}");
        }
    }
}
