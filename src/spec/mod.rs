//! The file format: strict loading, every problem with its line and column, JSON Schema.
//!
//! *bytes -> [`source`] (text) -> TOML tree with places -> [`file`] (typed keys) -> [`rules`] (between keys) -> [`build`] (defaults) -> [`Cluster`]*
//!
//! All stages report into one list, so that a person sees every problem of a file in one run. [`file`] is the single list of
//! keys: the loader, the messages about unknown keys and the JSON Schema are all made from it. Nothing here reads a file: what
//! the spec points to (public key, bundle) comes through [`SpecFiles`].

use std::path::{Path, PathBuf};

use crate::cluster::Cluster;

mod build;
mod edit;
mod file;
mod place;
mod problem;
mod public_key;
mod read;
mod render;
mod rules;
mod schema;
mod source;
mod table;
mod values;

pub use edit::with_version;
pub use place::Place;
pub use problem::{Code, Problem, Problems, Severity};
pub use schema::{schema, schema_text};
pub use source::too_large;

/// A spec is at most 1 MiB: 5,000 machines need less than 1 KiB, and more is a wrong file.
pub const MAX_BYTES: u64 = 1 << 20;

/// What a spec may point to on the user's machine; the caller decides where that comes from.
pub trait SpecFiles {
    /// Contents of a file. The error is the reason in plain words, without the path.
    fn read(&self, path: &Path) -> Result<Vec<u8>, String>;
    /// The home folder, for paths that begin with `~/`.
    fn home(&self) -> Option<PathBuf>;
}

/// A spec without errors.
#[derive(Debug)]
pub struct Loaded {
    pub cluster: Cluster,
    /// Only warnings; often empty.
    pub warnings: Problems,
}

/// Reads a spec. `path` is only the label in messages; `base` is the folder of the file, against which relative paths in it
/// count. On errors, all of them come back at once, sorted by place, with the warnings among them.
pub fn load(path: &Path, bytes: &[u8], base: &Path, files: &dyn SpecFiles) -> Result<Loaded, Problems> {
    let label = path.display().to_string();
    let text = source::text(&label, bytes)?;
    let mut findings = problem::Findings::new(&text);
    let cluster = source::parse(&text, &mut findings, |tree, whole, findings| {
        let spec = file::SpecFile::read_root(tree, findings);
        if !whole {
            return None;
        }
        rules::check(&spec, findings);
        build::cluster(&spec, &build::Surroundings { base, files }, findings)
    });
    let problems = findings.finish(label, text.clone());
    match cluster {
        Some(cluster) if problems.errors() == 0 => Ok(Loaded { cluster, warnings: problems }),
        _ => Err(problems.or_unexplained()),
    }
}

/// The candidate that a person most likely meant by `word`, if one is near enough to be worth naming. Case and the choice
/// between `-` and `_` do not count.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect::<String>();
    let word = plain(word);
    // Words longer than any key or name are noise, and the distance is quadratic.
    if word.len() > 128 {
        return None;
    }
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
