//! Programs of the nodes' Debian in an image, each with the libraries that it loads.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{Entry, Image};
use crate::run;

impl Image {
    /// Programs of the system at `root`, at the same paths, with every library that ldd names.
    pub fn system(mut self, root: &Path, programs: &[&str]) -> Result<Self> {
        let programs: Vec<String> = programs.iter().map(|program| (*program).to_owned()).collect();
        self.take(root, &programs)?;
        Ok(self)
    }

    /// Every file of a folder of the system, which are programs and libraries.
    pub fn system_folder(mut self, root: &Path, folder: &str) -> Result<Self> {
        let inside = root.join(folder.trim_start_matches('/'));
        let entries = fs::read_dir(&inside).with_context(|| format!("reading {}", inside.display()))?.flatten();
        let files: Vec<String> = entries.map(|entry| format!("{folder}/{}", entry.file_name().to_string_lossy())).collect();
        self.take(root, &files)?;
        Ok(self)
    }

    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.insert(path, Entry::Link(target.to_owned()));
        self
    }

    fn take(&mut self, root: &Path, files: &[String]) -> Result<()> {
        let root_name = root.to_string_lossy();
        let inside = |program: &[&str], files: &[String]| {
            let mut words = vec![&*root_name];
            words.extend(program);
            words.extend(files.iter().map(String::as_str));
            run::output("chroot", &words)
        };
        let listing = inside(&["ldd"], files)?;
        ensure!(!listing.contains("not found"), "a library is missing:\n{listing}");
        // lines that end with a colon name the file that is looked at
        let libraries = listing.lines().filter(|line| !line.ends_with(':'));
        let libraries = libraries.filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
        let mut all: Vec<String> = files.iter().cloned().chain(libraries.map(str::to_owned)).collect();
        all.sort();
        all.dedup();
        // what is behind all links stands at the path that was asked for: the image needs no links of folders
        let real = inside(&["readlink", "-e"], &all)?;
        ensure!(real.lines().count() == all.len(), "some of {all:?} are not in {root_name}");
        for (path, real) in all.iter().zip(real.lines()) {
            self.insert(path, Entry::File(root.join(real.trim_start_matches('/'))));
        }
        Ok(())
    }
}
