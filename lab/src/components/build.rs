//! Building the programs of Go modules: each module once for its files, each program with its time on a line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::catalogue::Module;
use crate::state::Lab;
use crate::{digest, requirements, run};

/// One program to build.
pub struct Target {
    pub module: &'static Module,
    pub package: &'static str,
    pub program: &'static str,
}

impl Target {
    pub fn path(&self, lab: &Lab) -> PathBuf {
        folder(lab, self.module).join(self.program)
    }
}

/// Changes with everything that a module's programs are made of, except Go itself.
pub fn key(module: &Module) -> String {
    let mut text = format!("{}\n{}\n{FLAGS:?} {}\n", module.version, module.stamp, module.c);
    for (name, content) in module.files.iter().chain(module.programs) {
        text.push_str(&format!("{name}\n{content}\n"));
    }
    digest::of(text.as_bytes())[..12].to_owned()
}

/// No path of this machine and no state of a repository gets into a program.
const FLAGS: [&str; 6] = ["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-tags", "netgo,osusergo"];

fn folder(lab: &Lab, module: &Module) -> PathBuf {
    lab.cache().join("components").join(module.name).join(key(module))
}

/// Refuses what can be seen before: something is to be built, and there is no Go.
pub fn possible(lab: &Lab, targets: &[Target]) -> Result<()> {
    let Some(first) = targets.iter().find(|target| !target.path(lab).exists()) else { return Ok(()) };
    ensure!(
        requirements::in_path("go"),
        "{} {} is built from source, which needs Go 1.26 or newer in PATH; there is none",
        first.program,
        first.module.version
    );
    Ok(())
}

/// Builds those of the targets that are not there yet.
pub fn missing(lab: &Lab, targets: &[Target]) -> Result<()> {
    possible(lab, targets)?;
    let missing: Vec<&Target> = targets.iter().filter(|target| !target.path(lab).exists()).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    let start = Instant::now();
    let what = if missing.len() == 1 { first.program.to_owned() } else { format!("{} programs", missing.len()) };
    eprintln!(
        "building {what} from source into {}; where Go's cache is empty all of Kubernetes takes 15 to 20 minutes on two processors",
        lab.cache().join("components").display()
    );
    for (number, target) in missing.iter().enumerate() {
        build(lab, target, &format!("{} of {}", number + 1, missing.len()))?;
    }
    eprintln!("built in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn build(lab: &Lab, target: &Target, place: &str) -> Result<()> {
    let Target { module, package, program } = target;
    let sources = sources(lab, module)?;
    let part = folder(lab, module).join(format!("{program}.{}.part", std::process::id()));
    let result = run::step(
        &format!("{place}: go build {program} {}", module.version),
        go(&sources)
            .args(FLAGS)
            .arg("-ldflags")
            .arg(format!("-s -w -extldflags -static {}", stamp(module)))
            .arg("-o")
            .arg(&part)
            .arg(package)
            .env("CGO_ENABLED", if module.c { "1" } else { "0" }),
        &lab.cache().join("components").join(format!("{}.log", module.name)),
        Duration::from_secs(3600),
    );
    if result.is_err() {
        fs::remove_file(&part).ok();
    }
    result.with_context(|| format!("{program} {} could not be built from the sources of its Go module", module.version))?;
    fs::rename(part, target.path(lab))?;
    Ok(())
}

fn go(sources: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(sources).env("GOWORK", "off");
    command
}

/// The module's files in a folder of their own; builds of other versions of them are dropped.
fn sources(lab: &Lab, module: &Module) -> Result<PathBuf> {
    let folder = folder(lab, module);
    let sources = folder.join("src");
    if !sources.exists() {
        for other in folder.parent().and_then(|parent| fs::read_dir(parent).ok()).into_iter().flatten().flatten() {
            fs::remove_dir_all(other.path())?;
        }
    }
    fs::create_dir_all(&sources)?;
    for (name, text) in module.files {
        fs::write(sources.join(name), text)?;
    }
    Ok(sources)
}

fn stamp(module: &Module) -> String {
    let mut numbers = module.version.split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    module.stamp.replace("VERSION", module.version).replace("MAJOR", major).replace("MINOR", minor)
}

/// A file of a dependency's own release, as it lies in Go's module cache.
pub fn asset(lab: &Lab, module: &Module, dependency: &str, file: &str) -> Result<Vec<u8>> {
    let sources = sources(lab, module)?;
    let output = go(&sources).args(["mod", "download", "-json", dependency]).output().context("starting go")?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let words = answer["Error"].as_str().map_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned(), str::to_owned);
    ensure!(output.status.success(), "go mod download {dependency}: {}", words.trim());
    let dir = answer["Dir"].as_str().with_context(|| format!("go mod download {dependency} names no folder"))?;
    let path = Path::new(dir).join(file);
    fs::read(&path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::{FLANNEL, KUBERNETES};
    use super::*;

    #[test]
    fn the_version_gets_into_the_program() {
        let stamp = stamp(&KUBERNETES[0]);
        for set in ["gitVersion=v1.34.2", "gitMajor=1", "gitMinor=34"] {
            assert!(stamp.contains(&format!("-X k8s.io/component-base/version.{set} ")), "{stamp}");
        }
    }

    #[test]
    fn another_file_is_another_key() {
        let other = Module { files: &[("go.mod", "module other\n")], ..FLANNEL };
        assert_ne!(key(&FLANNEL), key(&other));
        let other = Module { version: "0.28.5", ..FLANNEL };
        assert_ne!(key(&FLANNEL), key(&other));
    }
}
