//! The pod network: a pinned release, or the bundle's copy of it, with the cluster's settings laid over it on the first control plane.
//!
//! Nothing of a release is part of kubewright: the node downloads it and compares its checksum, and `kubectl` or `helm` merge.

mod model;
pub mod release;
#[cfg(test)]
mod tests;

use serde_json::json;

use super::bundle::Bundle;
use super::kubeadm::document;
use super::template::render;
use crate::cluster::{Cluster, Cni, Packages};
use release::{HELM, HELM_BUNDLED, Helm, Release};

/// Where the release and what belongs to it lie on the first control plane.
pub(super) const FOLDER: &str = "/etc/kubernetes/kubewright/cni";
/// Name of a chart beside its values.
const CHART: &str = "chart.tgz";

/// Files of [`FOLDER`] beside the release itself, by name.
pub(super) fn files(cluster: &Cluster) -> Result<Vec<(&'static str, String)>, String> {
    let kustomization = || document("cni/kustomization.yaml.j2", &model::kustomization());
    Ok(match cluster.network.cni {
        Cni::Calico => vec![
            ("kustomization.yaml", kustomization()?),
            (model::SETTINGS, document("cni/calico.yaml.j2", &model::calico(cluster))?),
        ],
        Cni::Flannel => vec![
            ("kustomization.yaml", kustomization()?),
            (model::SETTINGS, document("cni/flannel.yaml.j2", &model::flannel(cluster)?)?),
        ],
        Cni::Cilium => vec![("values.yaml", document("cni/cilium.yaml.j2", &model::cilium(cluster))?)],
        Cni::None => vec![],
    })
}

/// The step's command, as a user would recognise it, and its script; nothing where the user installs a network.
pub(super) fn step(cluster: &Cluster, bundle: Option<&Bundle>) -> Result<Option<(&'static str, String)>, String> {
    let Some(release) = release::release(cluster.network.cni) else { return Ok(None) };
    let source = match (&cluster.packages, bundle) {
        (Packages::Apt { .. }, _) => Source::Download { release, helm: &HELM },
        (Packages::Bundle(path), None) => return Err(format!("the bundle {} is not loaded", path.display())),
        (Packages::Bundle(_), Some(bundle)) => {
            let sum = bundle.sum(release.bundled).ok_or_else(|| format!("the bundle does not hold {}", release.bundled))?;
            Source::Bundle { path: release.bundled, sum }
        }
    };
    let command = match cluster.network.cni {
        Cni::Cilium => "helm upgrade --install cilium",
        Cni::Calico | Cni::Flannel | Cni::None => "kubectl apply -k /etc/kubernetes/kubewright/cni",
    };
    Ok(Some((command, script(cluster, source, FOLDER)?)))
}

/// Where the release comes from.
#[derive(Clone, Copy)]
enum Source<'a> {
    Download {
        release: &'a Release,
        helm: &'a [Helm],
    },
    /// What the step `packages` has put on the machine.
    Bundle {
        path: &'a str,
        sum: &'a str,
    },
}

fn script(cluster: &Cluster, source: Source<'_>, folder: &str) -> Result<String, String> {
    let chart = cluster.network.cni == Cni::Cilium;
    let (url, path, sum) = match source {
        Source::Download { release, .. } => (release.url, "", release.sha256),
        Source::Bundle { path, sum } => ("", path, sum),
    };
    let programs: Vec<_> = match source {
        Source::Download { helm, .. } => helm
            .iter()
            .map(|helm| json!({"machine": helm.machine, "folder": helm.folder, "url": helm.url, "sum": helm.sha256}))
            .collect(),
        Source::Bundle { .. } => vec![],
    };
    let files: Vec<_> = files(cluster)?.into_iter().map(|(name, text)| json!({"name": name, "text": text})).collect();
    let values = json!({
        "folder": folder,
        "file": if chart { CHART } else { model::MANIFEST },
        "url": url,
        "path": path,
        "sum": sum,
        "files": files,
        "chart": chart,
        "programs": programs,
        "program": HELM_BUNDLED.replace("bin/", "/usr/bin/"),
    });
    render("steps/cni.sh.j2", values)
}
