//! `--timeline`: listens to a run, and leaves its picture however the run ends.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tempfile::NamedTempFile;

use crate::apply::Sink;
use crate::cli::session::{Refusal, Session};
use crate::clock::{Clock, in_words};
use crate::report::timeline::Timeline;
use crate::report::{Trouble, picture};

pub struct Recording {
    clock: Arc<dyn Clock>,
    begun: Timestamp,
    timeline: Arc<Mutex<Timeline>>,
    file: Option<(PathBuf, NamedTempFile)>,
}

impl Recording {
    /// Refuses a path that could not be written at the end.
    pub fn begin(clock: Arc<dyn Clock>, path: Option<&Path>) -> Result<Self, Refusal> {
        let file = path.map(|path| Ok::<_, Refusal>((path.to_owned(), reserve(path)?))).transpose()?;
        Ok(Self { begun: clock.now(), clock, timeline: Arc::default(), file })
    }

    /// Passes the events on.
    pub fn sink(&self, next: Sink) -> Sink {
        let (clock, begun, timeline) = (Arc::clone(&self.clock), self.begun, Arc::clone(&self.timeline));
        Arc::new(move |event| {
            {
                let mut timeline = timeline.lock().unwrap_or_else(PoisonError::into_inner);
                timeline.take(&event, clock.now().duration_since(begun).as_secs_f64());
            }
            next(event);
        })
    }

    /// Draws the picture. That it cannot be written is said, and spoils nothing: the work is done.
    pub fn end(self, session: &Session<'_>, cluster: &str) -> Timeline {
        let mut timeline = std::mem::take(&mut *self.timeline.lock().unwrap_or_else(PoisonError::into_inner));
        timeline.close(self.clock.now().duration_since(self.begun).as_secs_f64());
        if let Some((path, mut file)) = self.file {
            let title = format!("{cluster}: {}", in_words(timeline.seconds));
            let written = file.write_all(picture::svg(&timeline, &title).as_bytes());
            let written = written.and_then(|()| file.persist(&path).map(drop).map_err(|error| error.error));
            match written {
                Ok(()) => session.say(&format!("Timeline: {}", path.display())),
                Err(error) => session.complain(&unwritable(&path, error.to_string()).into()),
            }
        }
        timeline
    }
}

/// A new file beside the one that is meant: it takes that one's place when it is whole.
fn reserve(path: &Path) -> Result<NamedTempFile, Refusal> {
    if path.symlink_metadata().is_ok_and(|there| !there.is_file()) {
        return Err(unwritable(path, "it is there, and no file".into()).row("left", "nothing was changed").into());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let made = tempfile::Builder::new()
        .prefix(".kubewright-timeline-")
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(folder);
    made.map_err(|error| unwritable(path, error.to_string()).row("left", "nothing was changed").into())
}

fn unwritable(path: &Path, why: String) -> Trouble {
    Trouble::new(format!("the timeline {} cannot be written", path.display())).row("why", why)
}
