//! `lab components`: the programs of Kubernetes and of what it stands on, built by `go build` and kept in the cache.

mod build;
pub mod catalogue;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::state::Lab;
use catalogue::{KUBERNETES, Module, SHARED};

pub use build::{asset, key};

/// Programs by their name, with where each one lies and the version of its module.
#[derive(Default)]
pub struct Programs(BTreeMap<&'static str, (PathBuf, &'static str)>);

impl Programs {
    pub fn path(&self, program: &str) -> Result<&Path> {
        Ok(&self.get(program)?.0)
    }

    pub fn version(&self, program: &str) -> Result<&'static str> {
        Ok(self.get(program)?.1)
    }

    fn get(&self, program: &str) -> Result<&(PathBuf, &'static str)> {
        self.0.get(program).with_context(|| format!("{program} was not built"))
    }
}

/// The module of a Kubernetes version.
pub fn kubernetes(version: &str) -> Result<&'static Module> {
    let known = || KUBERNETES.iter().map(|module| module.version).collect::<Vec<_>>().join(", ");
    KUBERNETES.iter().find(|module| module.version == version).with_context(|| {
        format!(
            "the lab has no module for Kubernetes {version}; it has {} (lab/components/README.md says how one is made)",
            known()
        )
    })
}

/// Everything that a cluster of this version runs, as modules.
pub fn all(version: &str) -> Result<Vec<&'static Module>> {
    let module = kubernetes(version)?;
    ensure!(
        module.has("kubelet"),
        "of Kubernetes {version} the lab builds only kubeadm: lab components --kubernetes {version} --only kubeadm"
    );
    Ok(std::iter::once(module).chain(beside(module)).collect())
}

fn beside(module: &'static Module) -> impl Iterator<Item = &'static Module> {
    module.with.iter().chain(SHARED).copied()
}

/// Builds what is not in the cache. `only` names programs; without any, all are built.
pub fn build(lab: &Lab, modules: &[&'static Module], only: &[String]) -> Result<Programs> {
    let mut wanted = Vec::new();
    for module in modules {
        for (package, program) in module.programs {
            if only.is_empty() || only.iter().any(|name| name == program) {
                wanted.push(build::Target { module, package, program });
            }
        }
    }
    if let Some(name) = only.iter().find(|name| !wanted.iter().any(|target| target.program == name.as_str())) {
        bail!("there is no program {name} among the components");
    }
    build::missing(lab, &wanted)?;
    Ok(Programs(wanted.iter().map(|target| (target.program, (target.path(lab), target.module.version))).collect()))
}

/// Prints the path of each program, one a line.
pub fn run(lab: &Lab, version: &str, only: &[String]) -> Result<()> {
    let modules = if only.is_empty() {
        all(version)?
    } else {
        let module = kubernetes(version)?;
        let named = beside(module).filter(|module| only.iter().any(|name| module.has(name)));
        std::iter::once(module).chain(named).collect()
    };
    for (path, _) in build(lab, &modules, only)?.0.values() {
        println!("{}", path.display());
    }
    Ok(())
}
