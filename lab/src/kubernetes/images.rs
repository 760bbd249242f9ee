//! The images that a cluster of this version runs, under the names that kubeadm and the pod network's manifest give.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::components::{self, Programs};
use crate::image::Image;

/// Sandbox images that container runtimes ask for in place of kubeadm's.
pub const PAUSE: [&str; 3] = ["registry.k8s.io/pause:3.10.1", "registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.9"];
/// What test workloads run: `toolbox serve`, `get URL`, `lookup NAME`, `echo`, `sleep`.
const TOOLBOX: &str = "lab.local/toolbox:1";

const XTABLES: &str = "/usr/sbin/xtables-nft-multi";
const XTABLES_NAMES: [&str; 6] =
    ["iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"];
const XTABLES_EXTENSIONS: &str = "/usr/lib/x86_64-linux-gnu/xtables";

/// What images are made from.
pub struct Sources<'a> {
    pub programs: &'a Programs,
    pub pause: &'a Path,
    /// The nodes' Debian.
    pub system: &'a Path,
    /// The pod network's manifest.
    pub network: &'a str,
}

/// Archive names, without their ending, and images.
pub fn all(version: &str, from: &Sources) -> Result<Vec<(String, Image)>> {
    let named = components::images(from.programs.path("kubeadm")?, version)?;
    let mut images = Vec::new();
    for name in named.lines() {
        let (path, tag) = name.rsplit_once(':').with_context(|| format!("{name} has no tag"))?;
        let short = path.rsplit('/').next().unwrap_or(path);
        images.push((short.to_owned(), of_kubeadm(short, name, tag, from)?));
    }
    ensure!(images.len() >= 7, "kubeadm {version} names fewer images than a cluster needs:\n{named}");
    for name in named_in(from.network) {
        let short = name.rsplit('/').next().and_then(|last| last.split(':').next()).unwrap_or(name);
        images.push((short.to_owned(), of_network(short, name, from)?));
    }
    let toolbox = Image::new(&[TOOLBOX], &["/usr/local/bin/toolbox"]);
    images.push(("toolbox".into(), toolbox.file(from.programs.path("toolbox")?, "/usr/local/bin/toolbox")));
    Ok(images)
}

fn of_kubeadm(short: &str, name: &str, tag: &str, from: &Sources) -> Result<Image> {
    let at = |image: Image, program: &str| -> Result<Image> {
        Ok(image.file(from.programs.path(program)?, &format!("/usr/local/bin/{program}")))
    };
    Ok(match short {
        "etcd" => {
            built("etcd", from.programs.version("etcd")?, tag.split('-').next().unwrap_or(tag))?;
            let image = Image::new(&[name], &["/usr/local/bin/etcd"]);
            at(at(at(image, "etcd")?, "etcdctl")?, "etcdutl")?
        }
        "coredns" => {
            built("CoreDNS", from.programs.version("coredns")?, tag.trim_start_matches('v'))?;
            Image::new(&[name], &["/coredns"]).file(from.programs.path("coredns")?, "/coredns")
        }
        "pause" => {
            let mut names = PAUSE.to_vec();
            names.extend((!PAUSE.contains(&name)).then_some(name));
            Image::new(&names, &["/pause"]).file(from.pause, "/pause")
        }
        "kube-proxy" => {
            let image = at(Image::new(&[name], &["/usr/local/bin/kube-proxy"]), "kube-proxy")?;
            packet_filter(image, from.system)?.system(from.system, &["/usr/sbin/conntrack", "/usr/sbin/nft"])?
        }
        program => at(Image::new(&[name], &[&format!("/usr/local/bin/{program}")]), program)?,
    })
}

/// An image under a name that promises another version would lie to whoever looks for a fault.
fn built(what: &str, built: &str, wanted: &str) -> Result<()> {
    ensure!(built == wanted, "this kubeadm asks for {what} {wanted}, the lab has {built}");
    Ok(())
}

fn of_network(short: &str, name: &str, from: &Sources) -> Result<Image> {
    // the manifest's init containers copy files to the node
    match short {
        "flannel" => {
            let image = Image::new(&[name], &["/opt/bin/flanneld"]).file(from.programs.path("flanneld")?, "/opt/bin/flanneld");
            packet_filter(image, from.system)?.system(from.system, &["/usr/bin/cp", "/usr/sbin/nft"])
        }
        "flannel-cni-plugin" => Image::new(&[name], &["/flannel"])
            .file(from.programs.path("flannel")?, "/flannel")
            .system(from.system, &["/usr/bin/cp"]),
        other => bail!("the pod network's manifest asks for an image that the lab does not make: {other}"),
    }
}

fn packet_filter(image: Image, system: &Path) -> Result<Image> {
    let image = image.system(system, &[XTABLES])?.system_folder(system, XTABLES_EXTENSIONS)?;
    let link = |image: Image, name: &&str| image.link(&format!("/usr/sbin/{name}"), "xtables-nft-multi");
    Ok(XTABLES_NAMES.iter().fold(image, link))
}

/// The images that a manifest names, each once.
fn named_in(manifest: &str) -> Vec<&str> {
    let named = manifest.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("image:"));
    let mut names: Vec<&str> = named.map(|name| name.trim().trim_matches('"')).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_images_of_a_manifest() {
        let manifest = "containers:\n- image: a/b:1\n  name: image\n- name: c\n  image: \"c/d:2\"\n- image: a/b:1\nimages: x\n";
        assert_eq!(named_in(manifest), ["a/b:1", "c/d:2"]);
    }

    #[test]
    fn another_version_is_refused() {
        assert!(built("etcd", "3.6.5", "3.6.5").is_ok());
        let error = built("etcd", "3.6.5", "3.6.6").unwrap_err().to_string();
        assert!(error.contains("etcd 3.6.6"), "{error}");
    }
}
