//! Rules of the house that the compiler does not keep. Only the standard library: this binary builds in a second.

mod code;
mod dependencies;
mod documents;
mod files;
mod layers;
mod words;

use std::path::{Path, PathBuf};

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(option_env!("CARGO_MANIFEST_DIR").unwrap_or("."))
}

/// Files below a folder of the repository, relative to its root, sorted. What git ignores is left out.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from(folder)];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let entry = entry.unwrap();
            let path = if folder.as_os_str() == "." { entry.file_name().into() } else { folder.join(entry.file_name()) };
            let name = entry.file_name();
            let ignored = [".git", ".lab", "target", "state", "__pycache__"].iter().any(|skipped| name == *skipped);
            match entry.file_type().unwrap() {
                _ if ignored => {}
                kind if kind.is_dir() => open.push(path),
                kind if kind.is_file() => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Fails with every finding, one a line.
#[track_caller]
fn none(findings: Vec<String>, rule: &str) {
    assert!(findings.is_empty(), "{rule}\n  {}", findings.join("\n  "));
}
