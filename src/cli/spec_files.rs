//! Specs and what they point to, from the disk.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::spec::{self, Code, Loaded, MAX_BYTES, Problems, SpecFiles};

/// Reads real files, each at most 1 MiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFiles;

impl SpecFiles for DiskFiles {
    fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        let file = File::open(path).map_err(|error| reason(&error))?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err("it is a folder".into());
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| reason(&error))?;
        if bytes.len() as u64 > MAX_BYTES { Err("it is larger than 1 MiB".into()) } else { Ok(bytes) }
    }

    fn home(&self) -> Option<PathBuf> {
        std::env::home_dir().filter(|home| !home.as_os_str().is_empty())
    }
}

/// Reads and checks a spec.
pub fn load_file(path: &Path) -> Result<Loaded, Problems> {
    load_with_bytes(path).map(|(loaded, _)| loaded)
}

/// Reads and checks a spec, and gives the bytes that were checked. The size is looked at before anything is read.
pub fn load_with_bytes(path: &Path) -> Result<(Loaded, Vec<u8>), Problems> {
    let label = path.display().to_string();
    let unreadable =
        |reason: String| Problems::of_file(&label, Code::Unreadable, format!("{label} cannot be read: {reason}"), None);
    let size = std::fs::metadata(path).map_err(|error| unreadable(reason(&error)))?.len();
    if size > MAX_BYTES {
        return Err(spec::too_large(&label, size));
    }
    let bytes = DiskFiles.read(path).map_err(unreadable)?;
    let absolute = std::path::absolute(path).map_err(|error| unreadable(reason(&error)))?;
    let base = absolute.parent().unwrap_or(Path::new("/"));
    let loaded = spec::load(path, &bytes, base, &DiskFiles)?;
    Ok((loaded, bytes))
}

/// Without the operating system's number.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}
