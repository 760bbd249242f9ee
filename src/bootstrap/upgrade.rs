//! The steps that bring a machine to another version of Kubernetes where it stands: kubeadm first, then what it manages, the
//! kubelet last, so that a Node that tells the new version has all of it.

use serde_json::json;

use super::bundle::Bundle;
use super::kubeadm::{self, FOLDER, Place};
use super::packages::{apt_packages, bundled, pull};
use super::steps::{List, MINUTE, Work, body, container_runtime, kubelet};
use crate::cluster::{Cni, Packages, Role, policy};

/// Programs that follow kubeadm.
const LATER: [&str; 2] = ["kubelet", "kubectl"];

/// What a machine gets of a bundle before anything of its cluster is upgraded: the last control plane's `kubeadm upgrade` has kube-proxy and
/// CoreDNS replaced on all machines, and those of a bundle have an image from nowhere else.
pub(super) fn fetch(list: &mut List, place: Place<'_>, bundle: Option<&Bundle>) -> Result<(), String> {
    let Some(bundle) = bundle else { return Ok(()) };
    let [packages, images] = bundled(bundle, place.cluster, place.group.role, &LATER)?;
    list.add("packages", 15 * MINUTE, packages);
    list.add("images", 15 * MINUTE, images);
    Ok(())
}

pub(super) fn upgrade(list: &mut List, place: Place<'_>, bundle: Option<&Bundle>, first: bool) -> Result<(), String> {
    let cluster = place.cluster;
    let control_plane = place.group.role == Role::ControlPlane;
    let version = format!("v{}", cluster.kubernetes);
    let apt = matches!(cluster.packages, Packages::Apt { .. });
    list.add("container-runtime", 15 * MINUTE, Work::Unit(container_runtime(cluster, apt)?));
    let mut late = String::new();
    match (&cluster.packages, bundle) {
        (Packages::Apt { mirror, signing_key }, _) => {
            let packages = |programs: &[&str]| apt_packages(cluster, mirror.as_deref(), signing_key.as_deref(), programs);
            list.add("packages", 15 * MINUTE, Work::Unit(packages(&["kubeadm"])?));
            late = packages(&LATER)?.replacen("main()", "programs()", 1);
            if control_plane {
                list.add("images", 15 * MINUTE, Work::Unit(pull(cluster)?));
            }
        }
        (Packages::Bundle(_), Some(_)) => fetch(list, place, bundle)?,
        (Packages::Bundle(path), None) => return Err(format!("the bundle {} is not loaded", path.display())),
    }
    list.add("cri", 2 * MINUTE, Work::Now(body("cri", json!({"pause": policy(cluster.kubernetes).sandbox_image()}))?));
    list.add("kubelet", MINUTE, Work::Now(kubelet(cluster, true)?));
    let patches = match kubeadm::patch_files(place)?.is_empty() {
        true => String::new(),
        false => format!("{FOLDER}/patches"),
    };
    let mut ignored = cluster.components.ignore_preflight_errors.clone();
    ignored.extend(place.group.settings.ignore_preflight_errors.clone());
    if !apt {
        // Its pod runs the new pause image on any machine, and those that are not there yet have it from nowhere.
        ignored.push("createjob".into());
    }
    let leave = control_plane && cluster.groups_of(Role::ControlPlane).map(|group| group.count).sum::<u32>() > 1;
    let ignored = ignored.join(",");
    let values = json!({"version": version, "first": first, "patches": patches, "ignored": ignored, "leave": leave});
    let command = if first { "kubeadm upgrade apply" } else { "kubeadm upgrade node" };
    list.named("upgrade", 30 * MINUTE, command, Work::Unit(body("upgrade", values)?));
    // `upgrade node` reads it from the cluster: without this the next hop would be taken for done.
    list.mix(&version);
    if control_plane {
        // The version is part of what is waited for: another one was ready before.
        list.add(
            "api",
            5 * MINUTE,
            Work::Now(format!("{}# {version}\n", body("api", json!({"own": kubeadm::own_server(place.machine)}))?)),
        );
    }
    list.add("programs", 15 * MINUTE, Work::Unit(late + &body("upgrade-kubelet", json!({"version": version, "apt": apt}))?));
    let ready = cluster.network.cni != Cni::None;
    list.add("ready", 10 * MINUTE, Work::Registered { ready, version: Some(cluster.kubernetes) });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::super::kubeadm::Place;
    use super::super::steps::Step;
    use super::super::{Bundle, Machine};
    use super::*;
    use crate::cluster::{Cluster, Cni, KubernetesVersion};

    fn cluster(version: &str) -> Cluster {
        let mut cluster = crate::desired::fixture::cluster();
        cluster.kubernetes = version.parse().unwrap();
        cluster.network.cni = Cni::None;
        cluster.packages = Packages::Apt { mirror: None, signing_key: None };
        cluster
    }

    fn steps(cluster: &Cluster, role: Role, first: bool, bundle: Option<&Bundle>) -> Vec<Step> {
        let group = cluster.groups_of(role).next().unwrap();
        let machine = Machine {
            slot: "x-1".into(),
            group: group.name.clone(),
            instance: "i-1".into(),
            zone: "us-east-1a".into(),
            private_address: "10.20.0.4".into(),
            public_address: None,
            host_keys: vec![],
            marks: Default::default(),
        };
        let mut list = List(vec![]);
        upgrade(&mut list, Place { cluster, group, machine: &machine }, bundle, first).unwrap();
        list.0
    }

    fn body_of(step: &Step) -> &str {
        match &step.work {
            Work::Now(body) | Work::Unit(body) | Work::Upload { body, .. } => body,
            _ => "",
        }
    }

    fn sh(script: &str) -> (bool, String) {
        let output = Command::new("sh").args(["-c", script]).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    #[test]
    fn the_kubelet_comes_last_and_another_version_is_another_step() {
        for (role, first) in [(Role::ControlPlane, true), (Role::ControlPlane, false), (Role::Node, false)] {
            let [old, new] = ["1.34.2", "1.35.4"].map(|version| steps(&cluster(version), role, first, None));
            let names: Vec<&str> = new.iter().map(|step| step.name).collect();
            let order = ["packages", "kubelet", "upgrade", "programs", "ready"].map(|name| names.iter().position(|n| *n == name));
            assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{names:?}");
            assert_eq!(names.contains(&"api"), role == Role::ControlPlane, "{names:?}");
            for (old, new) in old.iter().zip(&new).filter(|(old, _)| !["cri", "container-runtime"].contains(&old.name)) {
                assert_ne!(old.hash, new.hash, "{} is taken for done", new.name);
            }
            for step in &new {
                let (fine, said) = sh(&format!("set -n\n{}", body_of(step)));
                assert!(fine, "{}: {said}", step.name);
            }
            let text = new.iter().map(body_of).collect::<String>();
            assert_eq!(text.contains("kubeadm upgrade apply"), first);
            assert_eq!(text.contains("kubeadm upgrade node"), !first);
        }
    }

    #[test]
    fn an_api_server_parts_with_its_clients_where_there_is_another_one() {
        for (count, role) in [(3, Role::ControlPlane), (1, Role::ControlPlane), (3, Role::Node)] {
            let mut cluster = cluster("1.35.4");
            cluster.groups.iter_mut().filter(|group| group.role == Role::ControlPlane).for_each(|group| group.count = count);
            let steps = steps(&cluster, role, false, None);
            let body = body_of(steps.iter().find(|step| step.name == "upgrade").unwrap());
            // The API server answers again at the third question; nothing of kubeadm runs before.
            let tools = "crictl() { [ \"$1\" = ps ] && echo api || echo crictl \"$1\"; }\nn=0\nsleep() { :; }\n\
                         api_ready() { n=$((n + 1)); echo \"ask $n\"; [ $n = 3 ]; }\nkubeadm() { echo kubeadm \"$1\"; }\n";
            let body = body.replace("crictl stop --timeout 20 \"$id\" >/dev/null", "crictl stop");
            let output = Command::new("sh").args(["-c", &format!("set -eu\n{tools}{body}\nmain\n")]).output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            let parts = if (count, role) == (3, Role::ControlPlane) { "crictl stop\nask 1\nask 2\nask 3\n" } else { "" };
            assert_eq!(said, format!("{parts}kubeadm upgrade\n"), "{count} {role:?}");
        }
    }

    fn bundle(root: &Path, version: &str) -> Bundle {
        // `kubeadm version -o short` says nothing but the version.
        let program = format!("#!/bin/sh\n[ \"$1\" != version ] || exec echo v{version}\necho Kubernetes v{version}\n");
        let mut sums = String::new();
        for path in ["bin/kubeadm", "bin/kubelet", "bin/kubectl", "systemd/kubelet.service"] {
            let file = root.join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, format!("{program}# {path}\n")).unwrap();
            let output = Command::new("sha256sum").arg(&file).output().unwrap();
            sums += &format!("{}  {path}\n", String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap());
        }
        std::fs::write(root.join("VERSION"), version).unwrap();
        std::fs::write(root.join("SHA256SUMS"), sums).unwrap();
        let version: KubernetesVersion = version.parse().unwrap();
        assert_eq!(Bundle::version(root), Ok(version));
        Bundle::load(root, version, Cni::None).unwrap()
    }

    #[test]
    fn the_kubelet_of_a_bundle_waits_until_kubeadm_is_through() {
        let folder = tempfile::tempdir().unwrap();
        let (machine, incoming) = (folder.path().join("machine"), folder.path().join("machine/var/bundle/incoming"));
        std::fs::create_dir_all(incoming.parent().unwrap()).unwrap();
        let bundle = bundle(&incoming, "1.35.4");
        let mut cluster = cluster("1.35.4");
        cluster.packages = Packages::Bundle(incoming);
        let steps = steps(&cluster, Role::Node, false, Some(&bundle));
        let run = |name: &str, from: &str, to: &str| {
            let step = steps.iter().find(|step| step.name == name).unwrap();
            let root = machine.display().to_string();
            let body = body_of(step).replace("/usr/bin/", &format!("{root}/usr/bin/")).replace(from, to);
            let body =
                ["/etc/systemd/", "/etc/kubernetes/"].iter().fold(body, |body, path| body.replace(path, &(root.clone() + path)));
            let tools = "fail() { echo \"$*\" >&2; exit 1; }\nput() { :; }\nctr() { return 1; }\n\
                         systemctl() { [ \"$1\" = enable ] || echo \"$@\" >>\"$DIR/calls\"; }\n";
            sh(&format!("set -eu\nDIR={root}/var\nPATH={root}/usr/bin:$PATH\n{tools}{body}\nmain\n"))
        };
        let has = |path: &str| machine.join(path).is_file();
        let is_old = |path: &str| std::fs::read_to_string(machine.join(path)).unwrap().contains("v1.34.2");
        for old in ["usr/bin/kubelet", "usr/bin/kubectl"] {
            std::fs::create_dir_all(machine.join("usr/bin")).unwrap();
            std::fs::write(machine.join(old), "#!/bin/sh\necho Kubernetes v1.34.2\n").unwrap();
            std::fs::set_permissions(machine.join(old), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        for again in [false, true] {
            assert_eq!(run("packages", "v1.35.4", "v1.35.4"), (true, String::new()), "again: {again}");
            assert!(has("usr/bin/kubeadm") && has("etc/systemd/system/kubelet.service"));
            assert!(
                is_old("usr/bin/kubelet") && is_old("usr/bin/kubectl"),
                "the old kubelet may be started again before kubeadm is through"
            );
            assert!(has("var/bundle/held/kubelet") && has("var/bundle/held/kubectl"));
            assert_eq!(run("kubelet", "v1.35.4", "v1.35.4"), (true, String::new()), "the old kubelet still has to run");
            let (fine, said) = run("kubelet", "= 'v1.35.4' ] || fail \"kubelet", "= 'v1.36.0' ] || fail \"kubelet");
            assert!(!fine && said.contains("kubelet is v1.35.4, not"), "a wrong one is found before kubeadm runs: {said}");
        }
        for again in [false, true] {
            assert_eq!(run("programs", "v1.35.4", "v1.35.4"), (true, String::new()), "again: {again}");
            assert!(!is_old("usr/bin/kubelet") && !is_old("usr/bin/kubectl") && !has("var/bundle/held/kubelet"));
            assert_eq!(run("kubelet", "v1.35.4", "v1.35.4"), (true, String::new()), "a run that is gone on with");
        }
        let calls = std::fs::read_to_string(machine.join("var/calls")).unwrap();
        assert!(calls.starts_with("daemon-reload\nrestart kubelet\n"), "{calls}");
        let (fine, said) = run("programs", "v1.35.4", "v1.36.0");
        assert!(!fine && said.contains("kubelet is v1.35.4, not v1.36.0"), "{said}");
    }
}
