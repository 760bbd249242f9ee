//! Container images from scratch, as the archive that `docker save` writes and `ctr images import` reads: one layer,
//! not compressed, the same bytes for the same files.

mod system;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use tar::{Builder, EntryType, Header};

use crate::digest::{self, Tee};

enum Entry {
    File(PathBuf),
    Text(&'static str),
    Link(String),
    Folder(u32),
}

/// What goes into one image.
pub struct Image {
    names: Vec<String>,
    entry_point: Vec<String>,
    entries: BTreeMap<String, Entry>,
}

const PATH: &str = "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Programs that ask who they are find an answer.
const PASSWD: &str = "root:x:0:0:root:/:/sbin/nologin\n";

impl Image {
    /// An image under these names whose containers start `entry_point`.
    pub fn new(names: &[impl AsRef<str>], entry_point: &[&str]) -> Self {
        let mut entries = BTreeMap::new();
        for (folder, mode) in [("tmp", 0o1777), ("run", 0o755), ("var", 0o755), ("etc", 0o755)] {
            entries.insert(folder.to_owned(), Entry::Folder(mode));
        }
        entries.insert("etc/passwd".into(), Entry::Text(PASSWD));
        Self {
            names: names.iter().map(|name| name.as_ref().to_owned()).collect(),
            entry_point: entry_point.iter().map(|word| (*word).to_owned()).collect(),
            entries,
        }
    }

    /// A file of this machine at `path` in the image.
    pub fn file(mut self, from: &Path, path: &str) -> Self {
        self.insert(path, Entry::File(from.to_owned()));
        self
    }

    fn insert(&mut self, path: &str, entry: Entry) {
        let path = path.trim_start_matches('/');
        for (end, _) in path.match_indices('/') {
            self.entries.entry(path[..end].to_owned()).or_insert(Entry::Folder(0o755));
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// Writes the archive; `out` appears when it is whole.
    pub fn write(&self, out: &Path) -> Result<()> {
        let part = out.with_extension("part");
        let mut layer = tempfile(&out.with_extension("layer"))?;
        let mut builder = Builder::new(Tee::new(BufWriter::with_capacity(1 << 18, &mut layer)));
        for (path, entry) in &self.entries {
            append(&mut builder, path, entry).with_context(|| format!("adding {path} to {}", out.display()))?;
        }
        let (mut written, diff) = builder.into_inner()?.finish();
        written.flush()?;
        drop(written);

        let configuration = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": self.entry_point, "Env": [PATH]},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{diff}")]},
            "history": [{"created_by": "kubewright lab"}],
        })
        .to_string();
        let name = format!("{}.json", digest::of(configuration.as_bytes()));
        let manifest = json!([{"Config": name, "RepoTags": self.names, "Layers": ["layer/layer.tar"]}]).to_string();
        let mut archive = Builder::new(BufWriter::with_capacity(1 << 18, File::create(&part)?));
        append_bytes(&mut archive, &name, configuration.as_bytes())?;
        let length = layer.seek(SeekFrom::End(0))?;
        layer.seek(SeekFrom::Start(0))?;
        archive.append_data(&mut header(EntryType::Regular, 0o644, length), "layer/layer.tar", &mut layer)?;
        append_bytes(&mut archive, "manifest.json", manifest.as_bytes())?;
        archive.into_inner()?.flush()?;
        fs::rename(part, out)?;
        Ok(())
    }
}

/// A file without a name: it is gone with its last user.
fn tempfile(path: &Path) -> Result<File> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    fs::remove_file(path)?;
    Ok(file)
}

fn append<W: Write>(builder: &mut Builder<W>, path: &str, entry: &Entry) -> Result<()> {
    match entry {
        Entry::File(from) => {
            let mut file = File::open(from).with_context(|| format!("opening {}", from.display()))?;
            let metadata = file.metadata()?;
            let mode = if metadata.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
            builder.append_data(&mut header(EntryType::Regular, mode, metadata.len()), path, &mut file)?;
        }
        Entry::Text(text) => append_bytes(builder, path, text.as_bytes())?,
        Entry::Link(target) => builder.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, target)?,
        Entry::Folder(mode) => {
            builder.append_data(&mut header(EntryType::Directory, *mode, 0), format!("{path}/"), std::io::empty())?;
        }
    }
    Ok(())
}

fn append_bytes<W: Write>(builder: &mut Builder<W>, path: &str, bytes: &[u8]) -> Result<()> {
    builder.append_data(&mut header(EntryType::Regular, 0o644, bytes.len() as u64), path, bytes)?;
    Ok(())
}

/// No time, no owner but root: nothing that differs between two builds.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn read(archive: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        for entry in tar::Archive::new(File::open(archive).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            found.insert(entry.path().unwrap().to_string_lossy().into_owned(), bytes);
        }
        found
    }

    #[test]
    fn the_archive_says_what_docker_save_says() {
        let folder = std::env::temp_dir().join(format!("kubewright-image-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let program = folder.join("program");
        fs::write(&program, "a program").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let image = Image::new(&["registry.k8s.io/some:1"], &["/usr/bin/some"]).file(&program, "/usr/bin/some");
        let (one, other) = (folder.join("one.tar"), folder.join("other.tar"));
        image.write(&one).unwrap();
        image.write(&other).unwrap();
        assert_eq!(fs::read(&one).unwrap(), fs::read(&other).unwrap(), "two builds differ");

        let files = read(&one);
        let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"], json!(["registry.k8s.io/some:1"]));
        let name = manifest[0]["Config"].as_str().unwrap();
        assert_eq!(name, format!("{}.json", digest::of(&files[name])), "containerd finds an image by its configuration's digest");
        let configuration: serde_json::Value = serde_json::from_slice(&files[name]).unwrap();
        assert_eq!(
            configuration["rootfs"]["diff_ids"][0].as_str().unwrap(),
            format!("sha256:{}", digest::of(&files["layer/layer.tar"]))
        );
        fs::write(folder.join("layer.tar"), &files["layer/layer.tar"]).unwrap();
        let mut layer = tar::Archive::new(File::open(folder.join("layer.tar")).unwrap());
        let modes: BTreeMap<String, u32> = layer
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.path().unwrap().to_string_lossy().into_owned(), entry.header().mode().unwrap()))
            .collect();
        assert_eq!(modes["usr/bin/some"], 0o755);
        assert_eq!(modes["usr/bin/"], 0o755);
        assert_eq!(modes["tmp/"], 0o1777);
        fs::remove_dir_all(folder).unwrap();
    }
}
