//! kubeadm's files of every example and every supported minor, word for word. `UPDATE_GOLDEN=1` writes them anew; the test
//! `kubeadm` gives these very files to the real program.

use std::path::{Path, PathBuf};

use kubewright::bootstrap::kubeadm::{Discovery, Place, init_file, join_file, patch_files};
use kubewright::cluster::{Cluster, KubernetesVersion, Role};
use kubewright::secret::Secret;
use kubewright::spec::{self, SpecFiles};

use crate::fleet::machine;

const EXAMPLES: [(&str, &str); 4] = [
    ("minimal", include_str!("../../clusters/minimal.toml")),
    ("ha", include_str!("../../clusters/ha.toml")),
    ("private-bastion", include_str!("../../clusters/private-bastion.toml")),
    ("settings", include_str!("settings.toml")),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bootstrap/golden")
}

/// Compares with what was accepted before.
pub fn golden(name: &str, text: &str) {
    let path = root().join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{name}; UPDATE_GOLDEN=1 accepts it");
}

/// Every file that a spec names is there.
struct Everything;

impl SpecFiles for Everything {
    fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f demo@example\n";
        let is_patch = path.extension().is_some_and(|extension| extension == "yaml");
        Ok(if is_patch { "metadata: {labels: {x: y}}\n" } else { key }.into())
    }

    fn home(&self) -> Option<PathBuf> {
        Some("/home/demo".into())
    }
}

fn cluster(text: &str, version: KubernetesVersion) -> Cluster {
    let text = text.replace("1.34.2", &version.to_string());
    // The older configuration has no place for environment variables, and a spec that has them is refused; the kubelet's field came
    // with the same minor, and kubeadm refuses it before.
    let text: String = text
        .lines()
        .filter(|line| version.minor >= 31 || !(line.starts_with("extra_envs") || line.starts_with("failCgroupV1")))
        .map(|line| format!("{line}\n"))
        .collect();
    let loaded = spec::load(Path::new("spec.toml"), text.as_bytes(), Path::new("/specs"), &Everything);
    loaded.unwrap_or_else(|problems| panic!("{}", problems.render(120, false))).cluster
}

/// First control plane, another one, and a node: each with its files, under a line that names it.
fn files(cluster: &Cluster) -> String {
    let token = || Secret::new("abcdef.0123456789abcdef");
    let mut text = String::new();
    let mut first = true;
    for group in cluster.groups.iter().filter(|group| group.role != Role::Bastion) {
        for n in 1..=group.count.min(2) {
            let slot = format!("{}-{}-{n}", group.name, cluster.zones[0]);
            let address = format!("10.20.0.{}", n + if group.role == Role::Node { 20 } else { 10 });
            let machine = machine(&slot, &group.name, &format!("i-0{n}234567890abcdef"), &address);
            let place = Place { cluster, group, machine: &machine };
            let (name, file) = if first {
                ("init.yaml", init_file(place, &token()).unwrap())
            } else {
                let discovery = Discovery { token: token(), ca_cert_hash: format!("sha256:{}", "0".repeat(64)) };
                ("join.yaml", join_file(place, &discovery).unwrap())
            };
            first = false;
            text += &format!("# {slot}: {name}\n{}", file.expose());
            for file in patch_files(place).unwrap() {
                text += &format!("# {slot}: {}\n{}", file.path, file.text.expose());
            }
        }
    }
    text
}

#[test]
fn kubeadms_files_of_every_example_and_minor_are_as_a_reader_expects_them() {
    let mut seen = 0;
    for minor in KubernetesVersion::SUPPORTED_MINORS {
        for (name, example) in EXAMPLES {
            let text = files(&cluster(example, KubernetesVersion { major: 1, minor, patch: 2 }));
            golden(&format!("1.{minor}/{name}.yaml"), &text);
            seen += 1;
        }
    }
    let kept = walk(&root());
    assert_eq!(kept, seen, "golden files that no example has any more");
}

fn walk(root: &Path) -> usize {
    let folders = std::fs::read_dir(root).unwrap().flatten().filter(|entry| entry.path().is_dir());
    folders.map(|folder| std::fs::read_dir(folder.path()).unwrap().count()).sum()
}
