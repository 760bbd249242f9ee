//! An air-gapped bundle: a folder with `VERSION`, `SHA256SUMS`, `bin/`, `cni/`, `images/`, `manifests/` and `systemd/`.
//!
//! It is checked here before anything is sent, and again on the node by the same checksums.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::cni::release;
use crate::cluster::{Cni, KubernetesVersion, Role, policy};

/// Images that only control planes run, by the start of their archive's name.
const CONTROL_PLANE_IMAGES: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller", "kube-scheduler"];
const FOLDERS: [&str; 5] = ["bin", "cni", "images", "manifests", "systemd"];

/// A bundle whose files all have the checksums that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    root: PathBuf,
    files: Vec<BundleFile>,
    /// Images by the archive that holds them.
    images: BTreeMap<String, Vec<Image>>,
}

/// An image, as `docker save` describes it in an archive's `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Image {
    /// `sha256:...` of its configuration, which names its layers by their checksums: the same configuration is the same image.
    config: String,
    names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct BundleFile {
    /// Relative, below one of the folders.
    path: String,
    sum: String,
}

impl Bundle {
    /// The version that a bundle says it holds; nothing else of it is looked at.
    pub fn version(root: &Path) -> Result<KubernetesVersion, String> {
        let text = std::fs::read_to_string(root.join("VERSION"))
            .map_err(|error| format!("bundle {}: VERSION cannot be read: {error}", root.display()))?;
        text.trim().trim_start_matches('v').parse().map_err(|error| format!("bundle {}: {error}", root.display()))
    }

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
        let mut images = BTreeMap::new();
        for file in files.iter().filter(|file| file.path.starts_with("images/")) {
            let found = images_of(&root.join(&file.path))
                .map_err(|error| format!("bundle {}: {}: {error}", root.display(), file.path))?;
            images.insert(file.path.clone(), found);
        }
        Ok(Self { root: root.into(), files, images })
    }

    /// A program that is for another kind of machine than `arch` (as `uname -m` says it), and for which.
    pub fn foreign(&self, arch: &str) -> io::Result<Option<(&str, &'static str)>> {
        for file in self.files.iter().filter(|file| file.path.starts_with("bin/") || file.path.starts_with("cni/")) {
            if let Some(other) = machine_of(&self.root.join(&file.path))?.filter(|other| *other != arch) {
                return Ok(Some((&file.path, other)));
            }
        }
        Ok(None)
    }

    /// Lines `PATH CONFIG NAME...` of the archives among `wanted` whose images can be recognised on a machine.
    pub fn recognisable(&self, wanted: &[String]) -> Vec<String> {
        let path = |line: &String| line.split_once("  ").map(|(_, path)| path.to_owned());
        let describe = |path: String| {
            let images = self.images.get(&path).filter(|images| !images.is_empty())?;
            let one = |image: &Image| format!("{path} {} {}\n", image.config, image.names.join(" "));
            Some(images.iter().map(one).collect::<Vec<_>>())
        };
        wanted.iter().filter_map(path).filter_map(describe).flatten().collect()
    }

    /// Names of the images in the archives among `wanted`, as far as these say them.
    pub fn image_names(&self, wanted: &[String]) -> BTreeSet<&str> {
        let archives = wanted.iter().filter_map(|line| self.images.get(line.split_once("  ")?.1));
        archives.flatten().flat_map(|image| &image.names).map(String::as_str).collect()
    }

    /// Lines of `wanted` whose images the machine's container runtime has already: an AMI may bring them.
    pub fn present(&self, wanted: &[String], images: &BTreeSet<String>) -> BTreeSet<String> {
        let is_there = |image: &Image| images.contains(&image.config) && image.names.iter().all(|name| images.contains(name));
        let all_there = |line: &&String| {
            let archive = line.split_once("  ").and_then(|(_, path)| self.images.get(path));
            archive.is_some_and(|archive| !archive.is_empty() && archive.iter().all(is_there))
        };
        wanted.iter().filter(all_there).cloned().collect()
    }

    /// Lines of `wanted` of which the machine's container runtime lacks an image.
    pub fn lost(&self, wanted: &[String], images: &BTreeSet<String>) -> BTreeSet<String> {
        let present = self.present(wanted, images);
        let known = |line: &&String| {
            let archive = line.split_once("  ").and_then(|(_, path)| self.images.get(path));
            archive.is_some_and(|archive| !archive.is_empty()) && !present.contains(*line)
        };
        wanted.iter().filter(known).cloned().collect()
    }

    /// An image that a machine of this role needs, and that neither the bundle nor the machine has. Nothing where an archive
    /// does not say what it holds.
    pub fn lacking(&self, wanted: &[String], needed: &[String], images: &BTreeSet<String>) -> Option<String> {
        let mut archives = wanted.iter().filter_map(|line| self.images.get(line.split_once("  ")?.1));
        if archives.any(Vec::is_empty) {
            return None;
        }
        let mut names = self.image_names(wanted);
        names.extend(images.iter().map(String::as_str));
        let is_there = |image: &str| names.iter().any(|name| *name == image || image.ends_with(':') && name.starts_with(image));
        needed.iter().find(|image| !is_there(image)).cloned()
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

/// Names of the images without which a machine of this role cannot work; one that ends in a colon stands for any tag.
pub fn needed_images(version: KubernetesVersion, role: Role) -> Vec<String> {
    let own = |name: &str| format!("registry.k8s.io/{name}:v{version}");
    let mut names = vec![policy(version).sandbox_image(), own("kube-proxy"), "registry.k8s.io/coredns/coredns:".into()];
    if role == Role::ControlPlane {
        names.extend(["kube-apiserver", "kube-controller-manager", "kube-scheduler"].map(own));
        names.push("registry.k8s.io/etcd:".into());
    }
    names
}

fn parse(line: &str) -> Option<BundleFile> {
    let (sum, path) = line.split_once(char::is_whitespace)?;
    let path = path.trim_start().trim_start_matches('*').trim_start_matches("./").trim_end();
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_))) && !path.is_empty();
    let simple = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@:".contains(&byte));
    let is_sum = sum.len() == 64 && sum.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (plain && simple && is_sum).then(|| BundleFile { path: path.into(), sum: sum.into() })
}

/// Empty for an archive of another form than `docker save` writes: such a one is always sent.
fn images_of(path: &Path) -> io::Result<Vec<Image>> {
    let mut archive = tar::Archive::new(File::open(path)?);
    for entry in archive.entries_with_seek()? {
        // Compressed, or not an archive at all: the node's import will tell.
        let Ok(mut entry) = entry else { break };
        if entry.path()?.as_ref() != Path::new("manifest.json") || entry.size() > MANIFEST_LIMIT {
            continue;
        }
        let mut text = String::new();
        entry.read_to_string(&mut text)?;
        let parts: Vec<serde_json::Value> = serde_json::from_str(&text)?;
        return Ok(parts.iter().filter_map(image).collect());
    }
    Ok(vec![])
}

const MANIFEST_LIMIT: u64 = 1 << 20;

fn image(part: &serde_json::Value) -> Option<Image> {
    let config = part.get("Config")?.as_str()?.strip_suffix(".json")?;
    let names: Option<Vec<String>> =
        part.get("RepoTags")?.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect();
    let plain = |name: &String| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-:@".contains(&b));
    let names = names.filter(|names| !names.is_empty() && names.iter().all(plain))?;
    let is_sum = config.len() == 64 && config.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_sum.then(|| Image { config: format!("sha256:{config}"), names })
}

/// The kind of machine that an ELF program is for, in `uname -m`'s words; nothing for a script.
fn machine_of(path: &Path) -> io::Result<Option<&'static str>> {
    let mut head = Vec::new();
    File::open(path)?.take(20).read_to_end(&mut head)?;
    // ELF specification: the class is byte 4, the byte order byte 5, `e_machine` bytes 18 and 19.
    Ok(match head.as_slice() {
        [0x7f, b'E', b'L', b'F', 2, 1, .., 0x3e, 0] => Some("x86_64"),
        [0x7f, b'E', b'L', b'F', 2, 1, .., 0xb7, 0] => Some("aarch64"),
        [0x7f, b'E', b'L', b'F', ..] => Some("another kind of machine"),
        _ => None,
    })
}

fn sum_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    // Not the `sha2` crate: bundles are large, and without optimisation it takes seconds.
    let mut hash = Context::new(&SHA256);
    let mut chunk = vec![0; 1 << 17];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(crate::digest::hex(hash.finish())),
            length => hash.update(chunk.get(..length).unwrap_or_default()),
        }
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A bundle of one image archive, with the `manifest.json` given.
    fn bundle(manifest: &str) -> (tempfile::TempDir, Bundle) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let mut archive = tar::Builder::new(Vec::new());
        for (path, text) in [("layer/layer.tar", "x"), ("manifest.json", manifest)] {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            archive.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        let archive = archive.into_inner().unwrap();
        let files: [(&str, &[u8]); 5] = [
            ("bin/kubeadm", b"a"),
            ("bin/kubelet", b"b"),
            ("bin/kubectl", b"c"),
            ("systemd/kubelet.service", b"d"),
            ("images/etcd.tar", &archive),
        ];
        let mut sums = String::new();
        for (path, bytes) in files {
            std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            std::fs::write(root.join(path), bytes).unwrap();
            sums += &format!("{}  {path}\n", sum_of(&root.join(path)).unwrap());
        }
        std::fs::write(root.join("VERSION"), "1.34.2").unwrap();
        std::fs::write(root.join("SHA256SUMS"), sums).unwrap();
        let bundle = Bundle::load(root, "1.34.2".parse().unwrap(), crate::cluster::Cni::None).unwrap();
        (folder, bundle)
    }

    #[test]
    fn an_image_that_the_machine_has_whole_and_by_all_its_names_is_not_sent() {
        let digest = "ab".repeat(32);
        let (_folder, bundle) = bundle(&format!(r#"[{{"Config":"{digest}.json","RepoTags":["r/etcd:1","r/etcd:latest"]}}]"#));
        let wanted = bundle.wanted(Role::ControlPlane);
        let config = format!("sha256:{digest}");
        assert_eq!(bundle.recognisable(&wanted), [format!("images/etcd.tar {config} r/etcd:1 r/etcd:latest\n")]);
        let set = |parts: &[&str]| parts.iter().map(|part| part.to_string()).collect::<BTreeSet<_>>();
        let present = bundle.present(&wanted, &set(&[&config, "r/etcd:1", "r/etcd:latest"]));
        assert!(present.len() == 1 && present.iter().all(|line| line.ends_with("  images/etcd.tar")), "{present:?}");
        for lacking in [&[config.as_str(), "r/etcd:1"][..], &["r/etcd:1", "r/etcd:latest"], &[]] {
            assert_eq!(bundle.present(&wanted, &set(lacking)), BTreeSet::new(), "{lacking:?}");
        }
    }

    #[test]
    fn an_image_that_is_nowhere_is_named_and_one_that_was_lost_is_sent_again() {
        let digest = "ab".repeat(32);
        let version = "1.34.2".parse().unwrap();
        for role in [Role::ControlPlane, Role::Node] {
            let mut names = needed_images(version, role);
            for name in names.iter_mut().filter(|name| name.ends_with(':')) {
                *name += "v7";
            }
            let needed = needed_images(version, role);
            for left_out in 0..=names.len() {
                let some: Vec<&String> =
                    names.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, name)| name).collect();
                let manifest = json!([{"Config": format!("{digest}.json"), "RepoTags": some}]);
                let (_folder, bundle) = bundle(&manifest.to_string());
                let wanted = bundle.wanted(Role::ControlPlane);
                let missing = bundle.lacking(&wanted, &needed, &BTreeSet::new());
                assert_eq!(missing.as_ref(), needed.get(left_out), "{role:?}");
                let own = names.get(left_out).cloned().into_iter().collect();
                assert_eq!(bundle.lacking(&wanted, &needed, &own), None, "an AMI brings it");
                let mut all: BTreeSet<String> = some.into_iter().cloned().chain([format!("sha256:{digest}")]).collect();
                assert!(bundle.lost(&wanted, &all).is_empty());
                all.pop_last();
                assert_eq!(bundle.lost(&wanted, &all).len(), 1);
            }
        }
        let (_folder, bundle) = bundle("[]");
        let wanted = bundle.wanted(Role::ControlPlane);
        let needed = needed_images(version, Role::Node);
        assert_eq!(bundle.lacking(&wanted, &needed, &BTreeSet::new()), None, "who knows what an archive of another form holds");
        assert!(bundle.lost(&wanted, &BTreeSet::new()).is_empty());
    }

    #[test]
    fn a_program_for_another_kind_of_machine_is_found() {
        let (folder, bundle) = bundle("[]");
        assert_eq!(bundle.foreign("x86_64").unwrap(), None, "scripts are for every machine");
        let elf = |machine: u8| [&b"\x7fELF\x02\x01"[..], &[0; 12], &[machine, 0, 9, 9]].concat();
        for (machine, x86, arm) in [(0x3e, None, Some("x86_64")), (0xb7, Some("aarch64"), None)] {
            std::fs::write(folder.path().join("bin/kubelet"), elf(machine)).unwrap();
            assert_eq!(bundle.foreign("x86_64").unwrap(), x86.map(|other| ("bin/kubelet", other)));
            assert_eq!(bundle.foreign("aarch64").unwrap(), arm.map(|other| ("bin/kubelet", other)));
        }
        std::fs::write(folder.path().join("bin/kubelet"), elf(0xf3)).unwrap();
        assert!(bundle.foreign("x86_64").unwrap().is_some());
    }

    #[test]
    fn an_archive_that_does_not_say_what_it_holds_is_always_sent() {
        for manifest in ["[]", "{}", r#"[{"Config":"x.json","RepoTags":["a"]}]"#, r#"[{"Config":"y"}]"#] {
            let manifest = if manifest == "{}" { "[{}]" } else { manifest };
            let (_folder, bundle) = bundle(manifest);
            let wanted = bundle.wanted(Role::ControlPlane);
            assert!(bundle.recognisable(&wanted).is_empty(), "{manifest}");
            assert_eq!(bundle.present(&wanted, &BTreeSet::from(["a".to_owned()])), BTreeSet::new(), "{manifest}");
        }
    }
}
