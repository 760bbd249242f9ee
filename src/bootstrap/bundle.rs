//! An air-gapped bundle: a folder with `VERSION`, `SHA256SUMS`, `bin/`, `cni/`, `images/`, `manifests/` and `systemd/`.
//!
//! It is checked here before anything is sent, and again on the node by the same checksums.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::cni::release;
use crate::cluster::{Cni, KubernetesVersion, Role};

/// Images that only control planes run, by the start of their archive's name.
const CONTROL_PLANE_IMAGES: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller", "kube-scheduler"];
const FOLDERS: [&str; 5] = ["bin", "cni", "images", "manifests", "systemd"];

/// A bundle whose files all have the checksums that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    root: PathBuf,
    files: Vec<BundleFile>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct BundleFile {
    /// Relative, below one of the folders.
    path: String,
    sum: String,
}

impl Bundle {
    /// Reads and checks a bundle; reads every file, so it belongs on a blocking thread.
    pub fn load(root: &Path, version: KubernetesVersion, cni: Cni) -> Result<Self, String> {
        let read = |name: &str| {
            std::fs::read_to_string(root.join(name))
                .map_err(|error| format!("bundle {}: {name} cannot be read: {error}", root.display()))
        };
        let found = read("VERSION")?;
        let found = found.trim().trim_start_matches('v');
        if found != version.to_string() {
            let found = super::clean::line(found);
            return Err(format!("bundle {} holds Kubernetes {found}, the cluster calls for {version}", root.display()));
        }
        let mut files = Vec::new();
        for (number, line) in read("SHA256SUMS")?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let file = parse(line)
                .ok_or_else(|| format!("bundle {}: SHA256SUMS:{}: not a checksum and a path", root.display(), number + 1))?;
            if FOLDERS.iter().any(|folder| file.path.starts_with(&format!("{folder}/"))) {
                files.push(file);
            }
        }
        for wanted in ["bin/kubeadm", "bin/kubelet", "bin/kubectl", "systemd/kubelet.service"] {
            if !files.iter().any(|file| file.path == wanted) {
                return Err(format!("bundle {}: SHA256SUMS does not name {wanted}", root.display()));
            }
        }
        for wanted in release::bundled(cni) {
            if !files.iter().any(|file| file.path == wanted) {
                let (root, cni) = (root.display(), cni.as_str());
                return Err(format!("bundle {root}: SHA256SUMS does not name {wanted}, which the pod network `{cni}` needs"));
            }
        }
        for file in &files {
            let sum =
                sum_of(&root.join(&file.path)).map_err(|error| format!("bundle {}: {}: {error}", root.display(), file.path))?;
            if sum != file.sum {
                return Err(format!("bundle {}: {} has another checksum than SHA256SUMS says", root.display(), file.path));
            }
        }
        Ok(Self { root: root.into(), files })
    }

    /// Lines `SUM  PATH` that a machine of this role needs, in the order of the bundle.
    pub fn wanted(&self, role: Role) -> Vec<String> {
        let needed = |file: &&BundleFile| {
            let image = file.path.strip_prefix("images/").unwrap_or_default();
            // Pod networks are installed by a control plane.
            let network = file.path.starts_with("manifests/") || file.path == release::HELM_BUNDLED;
            role == Role::ControlPlane || !network && !CONTROL_PLANE_IMAGES.iter().any(|name| image.starts_with(name))
        };
        self.files.iter().filter(needed).map(|file| format!("{}  {}", file.sum, file.path)).collect()
    }

    /// The checksum of a file of the bundle.
    pub fn sum(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path).map(|file| file.sum.as_str())
    }

    /// A tar stream of those of `wanted` that the machine does not have; `None` if it has all.
    pub fn stream(&self, wanted: &[String], have: &BTreeSet<String>) -> Option<Result<Box<dyn Read + Send>, String>> {
        let missing: BTreeSet<&String> = wanted.iter().filter(|line| !have.contains(*line)).collect();
        let files: Vec<String> = self
            .files
            .iter()
            .filter(|file| missing.contains(&format!("{}  {}", file.sum, file.path)))
            .map(|file| file.path.clone())
            .collect();
        (!files.is_empty()).then(|| tar_stream(self.root.clone(), files).map_err(|error| error.to_string()))
    }
}

fn parse(line: &str) -> Option<BundleFile> {
    let (sum, path) = line.split_once(char::is_whitespace)?;
    let path = path.trim_start().trim_start_matches('*').trim_start_matches("./").trim_end();
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_))) && !path.is_empty();
    let simple = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@:".contains(&byte));
    let is_sum = sum.len() == 64 && sum.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (plain && simple && is_sum).then(|| BundleFile { path: path.into(), sum: sum.into() })
}

fn sum_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    // Not the `sha2` crate: bundles are large, and without optimisation it takes seconds.
    let mut hash = Context::new(&SHA256);
    let mut chunk = vec![0; 1 << 17];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hex(hash.finish().as_ref())),
            length => hash.update(chunk.get(..length).unwrap_or_default()),
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Packs in a thread, so that nothing larger than a pipe is ever in memory. It ends when the reader does.
fn tar_stream(root: PathBuf, files: Vec<String>) -> io::Result<Box<dyn Read + Send>> {
    let (reader, writer) = io::pipe()?;
    let pack = move || -> io::Result<()> {
        let mut archive = tar::Builder::new(io::BufWriter::with_capacity(1 << 17, writer));
        for path in files {
            let mut file = File::open(root.join(&path))?;
            let mut header = tar::Header::new_gnu();
            header.set_size(file.metadata()?.len());
            header.set_mode(0o644);
            archive.append_data(&mut header, &path, &mut file)?;
        }
        archive.into_inner()?.into_inner().map_err(|error| error.into_error()).map(drop)
    };
    // A file that changed meanwhile ends the stream early, and the node's checksums tell.
    std::thread::Builder::new().name("tar".into()).spawn(move || drop(pack()))?;
    Ok(Box::new(reader))
}
