//! A machine without a disk, and specs to start from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kubewright::spec::{self, Loaded, Problems, SpecFiles};

/// A real key; nobody has its other half.
pub const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f demo@example";

pub const MINIMAL: &str = include_str!("../../clusters/minimal.toml");
pub const HA: &str = include_str!("../../clusters/ha.toml");
pub const PRIVATE: &str = include_str!("../../clusters/private-bastion.toml");
pub const EXAMPLES: [(&str, &str); 3] = [("minimal", MINIMAL), ("ha", HA), ("private-bastion", PRIVATE)];

pub struct Files {
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    pub home: Option<PathBuf>,
}

impl Files {
    pub fn with(mut self, path: &str, contents: &str) -> Self {
        self.files.insert(path.into(), contents.as_bytes().to_vec());
        self
    }
}

impl Default for Files {
    fn default() -> Self {
        let empty = Self { files: BTreeMap::new(), home: Some("/home/demo".into()) };
        empty
            .with("/home/demo/.ssh/id_ed25519.pub", ED25519)
            .with("/specs/clusters/../.lab/bundle/VERSION", "1")
            .with("/home/demo/.ssh/patch.yaml", "maxPods: 60\n")
    }
}

impl SpecFiles for Files {
    fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        self.files.get(path).cloned().ok_or_else(|| "there is no such file".into())
    }

    fn home(&self) -> Option<PathBuf> {
        self.home.clone()
    }
}

pub fn load(text: &str) -> Result<Loaded, Problems> {
    load_with(text.as_bytes(), &Files::default())
}

pub fn load_with(bytes: &[u8], files: &Files) -> Result<Loaded, Problems> {
    spec::load(Path::new("clusters/ha.toml"), bytes, Path::new("/specs/clusters"), files)
}

/// Replaces a piece of a spec that is there exactly once.
pub fn edit(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "`{from}` must be there once");
    text.replace(from, to)
}

/// Problems of any outcome.
pub fn problems(outcome: Result<Loaded, Problems>) -> Problems {
    outcome.map_or_else(|problems| problems, |loaded| loaded.warnings)
}
