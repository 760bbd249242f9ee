//! What every command has: its flags, the door to the terminal, the world.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::cli::args::{Global, Output};
use crate::cli::outside::Outside;
use crate::cli::progress::Progress;
use crate::cli::render::{outcome, trouble};
use crate::cli::spec_files;
use crate::cli::text::{Ink, Page, ink};
use crate::cli::ui::Ui;
use crate::operation::{Env, LockManners, OperationError, SpecFile};
use crate::report::{Trouble, exit};
use crate::spec::Problems;

/// Why a command ended early.
#[derive(Debug)]
pub enum Refusal {
    /// The command line asks for something that there is not.
    Usage(String),
    Spec(Problems),
    Operation(OperationError),
    Trouble(Trouble),
}

impl From<OperationError> for Refusal {
    fn from(error: OperationError) -> Self {
        Self::Operation(error)
    }
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl Refusal {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => exit::USAGE,
            Self::Spec(_) => exit::BAD_SPEC,
            Self::Operation(error) => error.exit_code(),
            Self::Trouble(_) => exit::ERROR,
        }
    }
}

pub struct Session<'a> {
    pub global: Global,
    pub ui: Ui,
    pub outside: &'a dyn Outside,
    /// The command line without the program's name.
    pub command: String,
    /// `--state` as it was typed, to be repeated in commands that are suggested.
    pub typed_state: Option<String>,
}

impl Session<'_> {
    pub async fn env(&self) -> Result<Env, OperationError> {
        let ui = self.ui.clone();
        let tell = move |text: &str| {
            let mut page = ui.page();
            page.flow(0, 2, vec![text.into()]);
            ui.status(&page);
        };
        let lock = LockManners { wait: self.global.lock_wait.unwrap_or_default(), tell: Arc::new(tell) };
        Ok(Env { lock, ..self.outside.env(&self.global.state, &self.command).await? })
    }

    /// The cluster that is named on the command line or by `--name`.
    pub fn cluster(&self, given: Option<&str>) -> Option<String> {
        given.map(str::to_owned).or_else(|| self.global.name.clone()).filter(|name| !name.is_empty())
    }

    pub fn spec(&self, path: &Path) -> Result<SpecFile, Refusal> {
        let (loaded, bytes) = spec_files::load_with_bytes(path).map_err(Refusal::Spec)?;
        if !loaded.warnings.is_empty() {
            self.ui.status_as_is(&loaded.warnings.render(self.ui.width(), self.ui.colour_of_status()));
        }
        Ok(SpecFile { file: path.display().to_string(), bytes, cluster: loaded.cluster })
    }

    pub fn is_for_people(&self) -> bool {
        matches!(self.global.output, Output::Table | Output::Wide)
    }

    /// Prints a value in the form that was asked for; for people, as this page.
    pub fn show(&self, value: &impl Serialize, page: impl FnOnce() -> Page) -> Result<(), Refusal> {
        let failed = |why: String| Refusal::Trouble(Trouble::new("the result cannot be written").row("why", why));
        match self.global.output {
            Output::Table | Output::Wide => self.ui.result(&page()),
            Output::Json => {
                let text = serde_json::to_string_pretty(value).map_err(|error| failed(error.to_string()))?;
                self.ui.data(&format!("{text}\n"));
            }
            Output::Yaml => {
                // Through JSON, so that both forms have the same fields.
                let value = serde_json::to_value(value).map_err(|error| failed(error.to_string()))?;
                let text = serde_saphyr::to_string(&value).map_err(|error| failed(error.to_string()))?;
                self.ui.data(&format!("{}\n", text.trim_end()));
            }
        }
        Ok(())
    }

    /// The last line: what to type next.
    pub fn next(&self, label: &str, command: &str, remark: Option<&str>) {
        let mut page = self.ui.page();
        let state = self.typed_state.as_ref().map(|state| format!(" --state {state}")).unwrap_or_default();
        let command = if command.starts_with("kubewright ") { format!("{command}{state}") } else { command.to_owned() };
        outcome::next(&mut page, label, &command, remark);
        self.ui.status(&page);
    }

    pub fn say(&self, text: &str) {
        let mut page = self.ui.page();
        page.flow(0, 2, vec![text.into()]);
        self.ui.status(&page);
    }

    pub fn complain(&self, refusal: &Refusal) {
        let mut page = self.ui.page();
        match refusal {
            Refusal::Usage(what) => {
                page.flow(0, 7, vec![ink(Ink::Bad, "error: "), what.into()]);
                page.flow(0, 2, vec!["For more, type the command with --help.".into()]);
            }
            Refusal::Spec(problems) => {
                return self.ui.status_as_is(&problems.render(self.ui.width(), self.ui.colour_of_status()));
            }
            Refusal::Operation(error) => trouble::trouble(&mut page, &error.into()),
            Refusal::Trouble(what) => trouble::trouble(&mut page, what),
        }
        self.ui.status(&page);
    }

    /// Runs work that the first interrupt stops gently and the second at once; `None`: stopped at once.
    pub async fn interruptible<T>(
        &self,
        progress: &Progress,
        stop: &CancellationToken,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::pin!(work);
        tokio::select! {
            done = &mut work => return Some(done),
            () = self.outside.interrupted() => {}
        }
        stop.cancel();
        progress.stopping();
        tokio::select! {
            done = &mut work => Some(done),
            () = self.outside.interrupted() => None,
        }
    }
}
