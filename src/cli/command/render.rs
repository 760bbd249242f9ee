//! `render`.

use std::path::{Component, Path};

use crate::cli::args::RenderArgs;
use crate::cli::session::{Refusal, Session};
use crate::cli::text::count;
use crate::operation::render_files;
use crate::report::{Trouble, exit};

pub async fn run(session: &Session<'_>, args: RenderArgs) -> Result<u8, Refusal> {
    let spec = args.file.as_ref().map(|file| session.spec(file)).transpose()?;
    let env = session.env().await?;
    let name = session.cluster(args.cluster.as_deref());
    let files = render_files(&env, name.as_deref(), spec.map(|spec| spec.cluster)).await?;
    for (path, bytes) in &files {
        write(&args.out, path, bytes)?;
    }
    session.say(&format!("{} in {}.", count(files.len(), "file"), args.out.display()));
    session.next("Next:", &format!("ls -R {}", args.out.display()), None);
    Ok(exit::DONE)
}

fn write(folder: &Path, path: &str, bytes: &[u8]) -> Result<(), Refusal> {
    let inside = Path::new(path.trim_start_matches('/'));
    if !inside.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(Trouble::new(format!("{path} is no path inside the folder; this is a defect of kubewright")).into());
    }
    let whole = folder.join(inside);
    let written = whole.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&whole, bytes));
    written.map_err(|error| Trouble::new(format!("{} cannot be written", whole.display())).row("why", error.to_string()).into())
}
