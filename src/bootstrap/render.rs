//! `kubewright render`: the files that bootstrap writes, per node, without touching anything.

use std::collections::BTreeMap;

use super::kubeadm::{self, Discovery, Place};
use super::{Fleet, Machine, cni, packages, pki, steps};
use crate::cluster::{Cluster, Packages, Role};
use crate::secret::Secret;

/// Files by path, `SLOT/etc/...`; what only AWS can say of a machine that is not there yet is a hole, `<instance id>`.
///
/// `ca_cert` is the cluster's CA if it was made already. No secret is ever part of the result: tokens are `<token>`.
pub fn render(cluster: &Cluster, machines: &[Machine], ca_cert: Option<&str>) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let ca_cert_hash = match ca_cert {
        Some(cert) => pki::ca_cert_hash(cert)?,
        None => "<sha256 of the cluster's CA>".into(),
    };
    let mut files = BTreeMap::new();
    let mut first = true;
    for machine in machines {
        let Some(group) = cluster.group(&machine.group).filter(|group| group.role != Role::Bastion) else { continue };
        let mut put = |path: &str, text: &str| drop(files.insert(format!("{}/{path}", machine.slot), text.as_bytes().to_vec()));
        let machine = &with_holes(machine);
        let place = Place { cluster, group, machine };
        let control_plane = group.role == Role::ControlPlane;
        if control_plane && first {
            first = false;
            put("etc/kubernetes/kubewright/init.yaml", kubeadm::init_file(place, &steps::redacted())?.expose());
            for (name, text) in cni::files(cluster)? {
                put(&format!("{}/{name}", cni::FOLDER.trim_start_matches('/')), &text);
            }
        } else {
            let discovery = Discovery { token: steps::redacted(), ca_cert_hash: ca_cert_hash.clone() };
            put("etc/kubernetes/kubewright/join.yaml", kubeadm::join_file(place, &discovery)?.expose());
        }
        let [version_2, version_3] = steps::containerd_configs(cluster)?;
        put("etc/containerd/config.toml (containerd 1)", &version_2);
        put("etc/containerd/config.toml (containerd 2)", &version_3);
        put("etc/systemd/system/kubelet.service.d/10-kubeadm.conf", steps::KUBELET_DROP_IN);
        put("etc/systemd/system/kubelet.service.d/20-kubewright.conf", steps::KUBELET_ORDER);
        put("etc/modules-load.d/kubewright.conf", steps::MODULES);
        put("etc/sysctl.d/99-kubewright.conf", steps::SYSCTLS);
        let mut hosts = steps::own_name(machine) + "\n";
        for file in kubeadm::patch_files(place)? {
            put(file.path.trim_start_matches('/'), file.text.expose());
        }
        if control_plane {
            for file in kubeadm::api_server_files(&Secret::new("<key>"))? {
                put(file.path.trim_start_matches('/'), file.text.expose());
            }
            hosts += &(steps::endpoint(cluster, machine) + "\n");
        }
        put("etc/hosts (added)", &hosts);
        if let Packages::Apt { mirror, .. } = &cluster.packages {
            put("etc/apt/sources.list.d/kubernetes.list", &packages::apt_source(cluster, mirror.as_deref()));
        }
    }
    Ok(files)
}

/// As [`render`], for all machines that exist.
pub fn render_fleet(fleet: &Fleet) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let machines: Vec<Machine> = fleet.machines.values().cloned().collect();
    render(&fleet.cluster, &machines, Some(&fleet.pki.ca_cert))
}

fn with_holes(machine: &Machine) -> Machine {
    let hole = |text: &str, hole: &str| if text.is_empty() { hole.to_string() } else { text.to_string() };
    Machine {
        instance: hole(&machine.instance, "<instance id>"),
        private_address: hole(&machine.private_address, "<private address>"),
        ..machine.clone()
    }
}
