//! Python programs in place of Kubernetes, for faults that need hundreds of bootstraps; crictl and the CNI plugins are real.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::program;
use crate::image::Image;
use crate::kubernetes::{self, PAUSE};
use crate::state::Lab;

const STAND_INS: [(&str, &str); 3] = [
    ("kubeadm", include_str!("../../stand-ins/kubeadm")),
    ("kubelet", include_str!("../../stand-ins/kubelet")),
    ("kubectl", include_str!("../../stand-ins/kubectl")),
];

const MANIFEST: &str = include_str!("../../stand-ins/manifest.yml");

pub fn fill(lab: &Lab, dir: &Path, version: &str, crictl: &Path) -> Result<()> {
    for (name, text) in STAND_INS {
        program(&dir.join("bin").join(name), text.replace("@VERSION@", &format!("v{version}")).as_bytes())?;
    }
    fs::copy(crictl, dir.join("bin/crictl"))?;
    let pause = kubernetes::pause(lab)?;
    Image::new(&PAUSE, &["/pause"]).file(&pause, "/pause").write(&dir.join("images/pause.tar"))?;
    // Nothing runs them: they have the names of what a cluster needs.
    let own = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"];
    let mut names: Vec<String> = own.iter().map(|name| format!("registry.k8s.io/{name}:v{version}")).collect();
    names.extend(["etcd", "coredns/coredns"].map(|name| format!("registry.k8s.io/{name}:stand-in")));
    Image::new(&names, &["/pause"]).file(&pause, "/pause").write(&dir.join("images/kubernetes.tar"))?;
    for network in ["calico", "flannel"] {
        fs::write(dir.join(format!("manifests/{network}.yml")), MANIFEST.replace("@NAME@", network))?;
    }
    // the operator's machine may have no YAML library for python3: there the emulator's python runs kubectl
    let python = lab.cache().join("venv/bin/python");
    let text = format!("#!/bin/sh\nexec '{}' '{}' \"$@\"\n", python.display(), dir.join("bin/kubectl").display());
    program(&dir.join("operator/kubectl"), text.as_bytes())
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
