//! `--plan-out` and `--plan`: plans as files.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::render::plan::PlanView;
use crate::cli::session::{Refusal, Session};
use crate::cli::spec_files::DiskFiles;
use crate::cli::text::Page;
use crate::digest::sha256;
use crate::operation::{SavedPlan, SpecFile, UpdateRequest};
use crate::plan::document::Command;
use crate::report::Trouble;
use crate::spec::SpecFiles;

/// Larger than the plan of any cluster that AWS's quotas allow.
const MAX_BYTES: u64 = 1 << 29;

/// What a saved plan asks for. `name` and `file` are those of the command line.
pub fn request(
    session: &Session<'_>,
    path: &Path,
    command: Command,
    name: Option<&str>,
    file: Option<&Path>,
) -> Result<UpdateRequest, Refusal> {
    let saved = read(path)?;
    if saved.document.command != command {
        let right = match saved.document.command {
            Command::Create => "create cluster",
            Command::Update => "update",
        };
        let text = format!("{} is a plan of another command; write: {right} --plan {}", path.display(), path.display());
        return Err(Refusal::Usage(text));
    }
    let cluster = &saved.document.plan.cluster;
    if let Some(name) = name.filter(|name| name != cluster) {
        return Err(Refusal::Usage(format!("{} is a plan of {cluster}, not of {name}", path.display())));
    }
    let spec = spec(session, &saved, file)?;
    Ok(UpdateRequest { name: Some(cluster.clone()), spec, create: command == Command::Create, saved: Some(Arc::new(saved)) })
}

fn read(path: &Path) -> Result<SavedPlan, Refusal> {
    let failed =
        |why: String| Refusal::Trouble(Trouble::new(format!("the plan {} cannot be read", path.display())).row("why", why));
    let mut bytes = vec![];
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(failed("it is larger than 512 MiB".into()));
    }
    Ok(SavedPlan::read(&path.display().to_string(), &bytes)?)
}

/// The spec that the plan was made of, where it is still the same file. Its bytes are looked at first: one that is broken by now
/// has moved all the same.
fn spec(session: &Session<'_>, saved: &SavedPlan, given: Option<&Path>) -> Result<Option<SpecFile>, Refusal> {
    let basis = saved.document.basis.spec.as_ref();
    let Some(path) = given.map(Path::to_owned).or_else(|| basis.map(|basis| PathBuf::from(&basis.file))) else {
        return Ok(None);
    };
    if let Some(basis) = basis {
        let moved = match DiskFiles.read(&path) {
            Ok(bytes) if sha256(&bytes) == basis.sha256 => None,
            Ok(_) => Some(format!("spec: {} is not as it was", path.display())),
            Err(why) => Some(format!("spec: {} cannot be read: {why}; -f says where it is now", path.display())),
        };
        if let Some(moved) = moved {
            return Err(saved.moved(vec![moved]).into());
        }
    }
    session.spec(&path).map(Some)
}

/// The plan as it was saved, for people.
pub fn page(session: &Session<'_>, saved: &SavedPlan) -> Page {
    let document = &saved.document;
    let is_new = document.basis.lineage.is_none();
    let view = PlanView {
        plan: &document.plan,
        location: &document.state,
        account: if is_new { &document.basis.account } else { "" },
        reads: 0,
        seconds: 0.0,
        interrupted: None,
        recorded: (0, 0),
        is_new,
        whole: session.global.verbose > 0,
    };
    view.page(session.ui.width())
}

/// Writes a plan whole or not at all, for its owner only.
pub fn write(path: &Path, text: &str) -> Result<(), Refusal> {
    let failed = |why: String| {
        let trouble = Trouble::new(format!("the plan {} cannot be written", path.display()));
        Refusal::Trouble(trouble.row("why", why).row("left", "nothing was changed"))
    };
    if path.symlink_metadata().is_ok_and(|there| !there.is_file()) {
        return Err(failed("it is there, and no file".into()));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Such a file has mode 0600 from the start.
    let mut file = tempfile::Builder::new().prefix(".kubewright-plan-").tempfile_in(folder).map_err(|e| failed(e.to_string()))?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(|error| failed(error.to_string()))?;
    file.persist(path).map(drop).map_err(|error| failed(error.error.to_string()))
}
