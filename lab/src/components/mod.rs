//! `lab components`: the programs of Kubernetes and of what it stands on, as released or built by `go build`, kept in
//! the cache.

mod build;
pub mod catalogue;
mod official;
mod releases;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::run;
use crate::state::Lab;
use build::Target;
use catalogue::{COREDNS, ETCD, KUBERNETES, Module, SHARED};
use official::Outcome;
use releases::Project;

pub use build::asset;
pub use official::{Servers, mirror};

/// Programs by their name, with where each one lies and its version.
#[derive(Default)]
pub struct Programs(BTreeMap<&'static str, (PathBuf, String)>);

impl Programs {
    pub fn path(&self, program: &str) -> Result<&Path> {
        Ok(&self.get(program)?.0)
    }

    pub fn version(&self, program: &str) -> Result<&str> {
        Ok(&self.get(program)?.1)
    }

    fn get(&self, program: &str) -> Result<&(PathBuf, String)> {
        self.0.get(program).with_context(|| format!("{program} is not among the programs"))
    }
}

/// A version is a part of addresses and of paths.
pub fn check_version(version: &str) -> Result<()> {
    let numbers: Vec<&str> = version.split('.').collect();
    let plain = |number: &&str| (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    ensure!(numbers.len() == 3 && numbers.iter().all(plain), "{version} is no Kubernetes version; write it as 1.34.2");
    Ok(())
}

/// One project at one version, and the ways to get its programs: at least one.
struct Part {
    version: String,
    release: Option<&'static Project>,
    module: Option<&'static Module>,
}

impl Part {
    fn kubernetes(version: &str) -> Self {
        Self::of(&releases::KUBERNETES, KUBERNETES, version)
    }

    fn of(project: &'static Project, modules: &'static [Module], version: &str) -> Self {
        let module = modules.iter().find(|module| module.version == version);
        Self { version: version.to_owned(), release: Some(project), module }
    }

    fn programs(&self) -> Vec<&'static str> {
        match (self.release, self.module) {
            (Some(project), _) => project.programs.to_vec(),
            (None, Some(module)) => module.programs.iter().map(|(_, name)| *name).collect(),
            (None, None) => Vec::new(),
        }
    }

    /// Those of its programs that `only` names, or all.
    fn wanted(&self, only: &[String]) -> Vec<&'static str> {
        let mut programs = self.programs();
        programs.retain(|program| only.is_empty() || only.iter().any(|name| name == program));
        programs
    }
}

impl From<&'static Module> for Part {
    fn from(module: &'static Module) -> Self {
        Self { version: module.version.to_owned(), release: module.release, module: Some(module) }
    }
}

/// Where the programs of a part come from.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    Release,
    Module,
}

/// Programs, and what changes with each byte of them.
#[derive(Default)]
pub struct Components {
    pub programs: Programs,
    pub keys: Vec<String>,
    missing: Vec<Target>,
}

/// Everything that a cluster of this version runs, or the programs that `only` names: what the cache lacks is taken
/// from the release servers, and built from source where no server can be reached.
pub fn of(lab: &Lab, servers: &Servers, version: &str, only: &[String]) -> Result<Components> {
    check_version(version)?;
    let named = |program: &str| only.is_empty() || only.iter().any(|name| name == program);
    let kubernetes = Part::kubernetes(version);
    let below: Vec<&str> = [releases::ETCD, releases::COREDNS].iter().flat_map(|project| project.programs).copied().collect();
    let shared: Vec<Part> = SHARED.iter().map(|module| Part::from(*module)).collect();
    let known: Vec<&str> = [&kubernetes].into_iter().chain(&shared).flat_map(Part::programs).chain(below.clone()).collect();
    if let Some(name) = only.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no program {name} among the components");
    }
    // before anything large is fetched: some have no release with checksums
    let unreleased = shared.iter().filter(|part| part.release.is_none());
    build::possible(lab, &unreleased.flat_map(|part| targets(part, &part.wanted(only))).collect::<Vec<_>>())?;

    let mut components = Components::default();
    let module = kubernetes.module.filter(|module| module.has("kubelet"));
    let mut parts = Vec::new();
    if let Some(module) = module {
        components.add(lab, servers, &kubernetes, only)?;
        parts.extend(module.with.iter().map(|module| Part::from(*module)));
    } else if below.iter().any(|program| named(program)) {
        // nothing but this version's kubeadm says what it stands on
        let kubeadm = (!only.is_empty()).then(|| "kubeadm".to_owned());
        components.add(lab, servers, &kubernetes, &only.iter().cloned().chain(kubeadm).collect::<Vec<_>>())?;
        components.build(lab, servers)?;
        parts.extend(below_of(&images(components.programs.path("kubeadm")?, version)?)?);
    } else {
        components.add(lab, servers, &kubernetes, only)?;
    }
    for part in parts.iter().chain(&shared) {
        components.add(lab, servers, part, only)?;
    }
    components.build(lab, servers)?;
    Ok(components)
}

/// The programs of one module that every Kubernetes version shares.
pub fn shared(lab: &Lab, servers: &Servers, module: &'static Module) -> Result<Programs> {
    let mut components = Components::default();
    components.add(lab, servers, &Part::from(module), &[])?;
    components.build(lab, servers)?;
    Ok(components.programs)
}

fn targets(part: &Part, wanted: &[&str]) -> Vec<Target> {
    let Some(module) = part.module else { return Vec::new() };
    let programs = module.programs.iter().filter(|(_, program)| wanted.contains(program));
    programs.map(|(package, program)| Target { module, package, program }).collect()
}

/// The images that kubeadm asks for, one a line.
pub fn images(kubeadm: &Path, version: &str) -> Result<String> {
    run::output(&kubeadm.to_string_lossy(), &["config", "images", "list", "--kubernetes-version", &format!("v{version}")])
}

/// etcd and CoreDNS, at the versions of kubeadm's list: `etcd:3.6.5-0`, `coredns/coredns:v1.12.1`.
fn below_of(images: &str) -> Result<[Part; 2]> {
    let tag = |name: &str| {
        let mut found = images.lines().filter_map(|line| line.trim().rsplit_once(':'));
        let (_, tag) =
            found.find(|(path, _)| path.ends_with(name)).with_context(|| format!("kubeadm names no {name}:\n{images}"))?;
        let version = tag.trim_start_matches('v').split('-').next().unwrap_or(tag);
        check_version(version).with_context(|| format!("kubeadm names {name}:{tag}"))?;
        anyhow::Ok(version.to_owned())
    };
    Ok([Part::of(&releases::ETCD, ETCD, &tag("/etcd")?), Part::of(&releases::COREDNS, COREDNS, &tag("/coredns")?)])
}

impl Components {
    /// Adds what `only` names of a part, or all of it. What has to be built is built later, all at once.
    fn add(&mut self, lab: &Lab, servers: &Servers, part: &Part, only: &[String]) -> Result<()> {
        let wanted = part.wanted(only);
        if wanted.is_empty() {
            return Ok(());
        }
        match (way(lab, servers, part, &wanted)?, part.release, part.module) {
            (Way::Release, Some(project), _) => {
                let mut key = format!("{} {} as released", project.name, part.version);
                for program in wanted {
                    key.push('\n');
                    key.push_str(&official::sum(lab, project, &part.version, program)?);
                    let path = official::path(lab, project, &part.version, program);
                    self.programs.0.insert(program, (path, part.version.clone()));
                }
                self.keys.push(key);
            }
            (_, _, Some(module)) => {
                for target in targets(part, &wanted) {
                    self.programs.0.insert(target.program, (target.path(lab), part.version.clone()));
                    self.missing.push(target);
                }
                self.keys.push(build::key(module));
            }
            _ => bail!("there is no way to {} {}", wanted.join(", "), part.version),
        }
        Ok(())
    }

    fn build(&mut self, lab: &Lab, servers: &Servers) -> Result<()> {
        self.missing.retain(|target| !target.path(lab).exists());
        if !self.missing.is_empty() {
            servers.tell_fallback();
        }
        build::missing(lab, &std::mem::take(&mut self.missing))
    }
}

/// How to get a part: as it is in the cache, or from its release, or else from source. Nobody is asked for what is in
/// the cache.
fn way(lab: &Lab, servers: &Servers, part: &Part, wanted: &[&'static str]) -> Result<Way> {
    let Some(project) = part.release else { return Ok(Way::Module) };
    if official::has(lab, project, &part.version, wanted) {
        return Ok(Way::Release);
    }
    let builds = part.module.is_some_and(|module| wanted.iter().all(|program| module.has(program)));
    if builds && targets(part, wanted).iter().all(|target| target.path(lab).exists()) {
        return Ok(Way::Module);
    }
    let what = format!("{} {}", project.name, part.version);
    match servers.take(lab, project, &part.version, wanted).with_context(|| format!("{what} as released"))? {
        Outcome::Taken => Ok(Way::Release),
        Outcome::Unreachable(_) if builds => Ok(Way::Module),
        Outcome::Unreachable(why) => {
            bail!("{what} is not in the cache, the lab has no module to build it from{}, and {why}", built_of(project))
        }
    }
}

/// The versions that can be had without a release server.
fn built_of(project: &Project) -> String {
    if project.name != releases::KUBERNETES.name {
        return String::new();
    }
    let whole: Vec<&str> = KUBERNETES.iter().filter(|module| module.has("kubelet")).map(|module| module.version).collect();
    format!(" (it has those of {}; lab/components/README.md says how one is made)", whole.join(", "))
}

/// Prints the path of each program, one a line.
pub fn print(lab: &Lab, servers: &Servers, version: &str, only: &[String]) -> Result<()> {
    for (program, (path, _)) in of(lab, servers, version, only)?.programs.0 {
        if only.is_empty() || only.iter().any(|name| name == program) {
            println!("{}", path.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
