//! One Debian package: a tree of links to files that there are, packed by dpkg-deb.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{digest, run};

pub const ARCHITECTURE: &str = "amd64";

pub struct File {
    pub from: PathBuf,
    /// Without the first slash.
    pub to: String,
}

pub struct Package {
    pub name: &'static str,
    pub version: String,
    /// What it depends on, in Debian's words; empty for nothing.
    pub needs: &'static str,
    pub files: Vec<File>,
}

impl Package {
    fn control(&self) -> String {
        let needs = if self.needs.is_empty() { String::new() } else { format!("Depends: {}\n", self.needs) };
        format!(
            "Package: {name}\nVersion: {}\nArchitecture: {ARCHITECTURE}\nMaintainer: kubewright lab <lab@lab.internal>\n\
             {needs}Section: admin\nPriority: optional\nDescription: {name}, as the lab builds it\n",
            self.version,
            name = self.name,
        )
    }

    /// The package's file in `folder`; one that is there is as good when nothing that it is made of changed.
    pub fn build(&self, folder: &Path) -> Result<PathBuf> {
        let out = folder.join(format!("{}_{}_{ARCHITECTURE}.deb", self.name, self.version));
        let (marker, key) = (folder.join(format!("{}.key", self.name)), self.key()?);
        if out.exists() && fs::read_to_string(&marker).is_ok_and(|found| found == key) {
            return Ok(out);
        }
        let tree = folder.join("tree");
        if tree.exists() {
            fs::remove_dir_all(&tree)?; // an interrupted run's
        }
        fs::create_dir_all(tree.join("DEBIAN"))?;
        fs::write(tree.join("DEBIAN/control"), self.control())?;
        for file in &self.files {
            let to = tree.join(&file.to);
            fs::create_dir_all(to.parent().unwrap_or(&tree))?;
            fs::hard_link(&file.from, &to).with_context(|| format!("linking {}", file.from.display()))?;
        }
        let part = folder.join("part");
        let words = |path: &Path| path.to_string_lossy().into_owned();
        // not compressed: it is read as often as it is written
        run::output("dpkg-deb", &["--root-owner-group", "-Znone", "--build", &words(&tree), &words(&part)])
            .with_context(|| format!("packing {}", self.name))?;
        fs::remove_dir_all(&tree)?;
        fs::rename(part, &out)?;
        fs::write(marker, key)?;
        Ok(out)
    }

    /// Files of the cache lie in folders named by what they are made of, so that path, length and time are enough.
    fn key(&self) -> Result<String> {
        let mut text = self.control();
        for file in &self.files {
            let length = fs::metadata(&file.from).with_context(|| format!("reading {}", file.from.display()))?.len();
            text.push_str(&format!("{} {} {length}\n", file.from.display(), file.to));
            if length < 1 << 16 {
                text.push_str(&digest::of_file(&file.from)?);
            }
        }
        Ok(digest::of(text.as_bytes()))
    }
}

/// A package's paragraph in the list of packages.
pub fn entry(deb: &Path, path: &str) -> Result<String> {
    let control = run::output("dpkg-deb", &["--field", &deb.to_string_lossy()])?;
    let (size, sum) = (fs::metadata(deb)?.len(), digest::of_file(deb)?);
    Ok(format!("{}\nFilename: {path}\nSize: {size}\nSHA256: {sum}\n\n", control.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_holds_its_files_as_roots_own() {
        let folder = std::env::temp_dir().join(format!("kubewright-deb-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let from = folder.join("some.conf");
        fs::write(&from, "text").unwrap();
        let mut package = Package {
            name: "some",
            version: "1.2-1.1".into(),
            needs: "iptables (>= 1.4.21)",
            files: vec![File { from: from.clone(), to: "usr/lib/some/some.conf".into() }],
        };
        let deb = package.build(&folder).unwrap();
        let listing = run::output("dpkg-deb", &["--contents", &deb.to_string_lossy()]).unwrap();
        let line = listing.lines().find(|line| line.ends_with(" ./usr/lib/some/some.conf")).expect("its file");
        assert!(line.contains(" root/root "), "{line}");
        let entry = entry(&deb, "amd64/some.deb").unwrap();
        for line in ["Depends: iptables (>= 1.4.21)", "Version: 1.2-1.1", "Filename: amd64/some.deb"] {
            assert!(entry.lines().any(|found| found == line), "{entry}");
        }
        let before = digest::of_file(&deb).unwrap();
        fs::write(&from, "other").unwrap();
        package.files[0].from = from;
        assert_ne!(digest::of_file(&package.build(&folder).unwrap()).unwrap(), before, "an old package was kept");
        fs::remove_dir_all(folder).unwrap();
    }
}
