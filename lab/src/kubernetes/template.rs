//! The folder of a container runtime that has every image: made once, then shared between nodes by hard links, as if
//! the machine image had them.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::run;
use crate::state::Lab;

/// Runs containerd on the nodes' own Debian until every archive is imported. Mounts and processes are in namespaces
/// that end with the script, whatever ends it.
const SCRIPT: &str = r#"
set -eu
root=$1 layer=$2 images=$3 folder=$4
mount -t tmpfs tmpfs "$layer"
mkdir "$layer/upper" "$layer/work" "$layer/root"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$layer/upper,workdir=$layer/work" "$layer/root"
cd "$layer/root"
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mkdir -p var/lib/containerd mnt/images
mount --bind "$folder" var/lib/containerd
mount --bind "$images" mnt/images
chroot . containerd --log-level warn &
pid=$!
turn=0
until chroot . ctr version >/dev/null 2>&1; do
  turn=$((turn + 1))
  [ $turn -lt 150 ] || { echo 'containerd does not answer within 30 s'; exit 1; }
  kill -0 $pid
  sleep 0.2
done
for image in mnt/images/*.tar; do
  chroot . ctr --namespace k8s.io images import "/$image"
done
chroot . ctr --namespace k8s.io images ls -q
kill $pid
wait $pid || true
# what a node's own containerd makes anew, its identity among it
cd var/lib/containerd
find . -mindepth 1 -maxdepth 1 ! -name '*.content' ! -name '*.bolt' ! -name '*.overlayfs' -exec rm -rf {} +
"#;

/// Fills `folder` with the images of all archives.
pub fn make(lab: &Lab, images: &Path, folder: &Path) -> Result<()> {
    let layer = folder.with_extension("layer");
    for dir in [folder, &layer] {
        fs::create_dir_all(dir)?;
    }
    run::step(
        "unpacking them once for all nodes",
        Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--"])
            .args(["sh", "-c", SCRIPT, "sh"])
            .arg(lab.base_image())
            .args([&layer, images, folder]),
        &lab.cache().join("images.log"),
        Duration::from_secs(300),
    )?;
    fs::remove_dir(&layer)?;
    Ok(())
}

/// Gives a node the images: hard links of everything that never changes, copies of the databases.
pub fn link(template: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(template).with_context(|| format!("reading {}", template.display()))?.flatten() {
        let (from, to) = (entry.path(), folder.join(entry.file_name()));
        let metadata = fs::symlink_metadata(&from)?;
        if metadata.is_dir() {
            link(&from, &to)?;
            // an image's own folders, /tmp for one, have a mode that counts
            fs::set_permissions(&to, metadata.permissions())?;
            chown(&to, Some(metadata.uid()), Some(metadata.gid()))?;
        } else if metadata.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
        } else if from.extension().is_some_and(|ending| ending == "db") {
            fs::copy(&from, &to)?;
        } else {
            fs::hard_link(&from, &to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn nodes_share_files_but_no_database() {
        let folder = std::env::temp_dir().join(format!("kubewright-template-{}", std::process::id()));
        let (template, node) = (folder.join("template"), folder.join("node"));
        fs::create_dir_all(template.join("blobs/tmp")).unwrap();
        fs::set_permissions(template.join("blobs/tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::write(template.join("blobs/layer"), "bytes").unwrap();
        fs::write(template.join("meta.db"), "one").unwrap();
        symlink("layer", template.join("blobs/link")).unwrap();

        link(&template, &node).unwrap();
        let inode = |path: &Path| fs::symlink_metadata(path).unwrap().ino();
        assert_eq!(inode(&template.join("blobs/layer")), inode(&node.join("blobs/layer")));
        assert_ne!(inode(&template.join("meta.db")), inode(&node.join("meta.db")), "two nodes would write one database");
        assert_eq!(fs::read_link(node.join("blobs/link")).unwrap(), Path::new("layer"));
        assert_eq!(fs::metadata(node.join("blobs/tmp")).unwrap().permissions().mode() & 0o7777, 0o1777);
        fs::remove_dir_all(folder).unwrap();
    }
}
