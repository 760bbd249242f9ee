//! The command line: arguments -> one operation -> one view -> exit code. One thin file per command.
//!
//! [`ui`] is the only door to the terminal; [`outside`] is what commands take from the process.

pub mod args;
mod args_etcd;
pub mod command;
pub mod kubeconfig;
pub mod outside;
pub mod progress;
pub mod render;
pub mod session;
pub mod spec_files;
pub mod text;
pub mod ui;

use std::ffi::OsString;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Color, Command, LogFormat};
use outside::Outside;
use session::{Refusal, Session};
use ui::{Manners, Streams, Ui};

use crate::report::exit;

/// A command line that was understood.
pub struct Parsed {
    cli: Cli,
    pub ui: Ui,
    command: String,
    typed_state: Option<String>,
}

/// Understands a command line, or answers it at once (help, version, wrong usage) with the exit code.
pub fn parse(args: Vec<OsString>, streams: Streams, outside: &dyn Outside) -> Result<Parsed, u8> {
    let words: Vec<String> = args.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return Err(answer(&error, Ui::new(streams, Manners::default(), outside.clock()))),
    };
    let colour = match cli.global.color {
        Color::Auto => None,
        Color::Always => Some(true),
        Color::Never => Some(false),
    };
    let manners = Manners { colour, json_status: cli.global.log_format == LogFormat::Json };
    let ui = Ui::new(streams, manners, outside.clock());
    Ok(Parsed { cli, ui, command: words.join(" "), typed_state: typed(&words, "--state") })
}

/// Help is an answer; everything else is wrong usage.
fn answer(error: &clap::Error, ui: Ui) -> u8 {
    let text = error.render();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            ui.data(&if ui.colour_of_result() { text.ansi().to_string() } else { text.to_string() });
            exit::DONE
        }
        _ => {
            ui.status_as_is(&if ui.colour_of_status() { text.ansi().to_string() } else { text.to_string() });
            exit::USAGE
        }
    }
}

/// The value of an option as it was typed.
fn typed(words: &[String], option: &str) -> Option<String> {
    words.iter().enumerate().find_map(|(n, word)| match word.strip_prefix(option)? {
        "" => words.get(n + 1).cloned(),
        rest => rest.strip_prefix('=').map(str::to_owned),
    })
}

impl Parsed {
    pub fn verbose(&self) -> u8 {
        self.cli.global.verbose
    }

    pub fn logs_as_json(&self) -> bool {
        self.cli.global.log_format == LogFormat::Json
    }

    /// Whether the command is answered from the program alone, without a runtime: its threads take longer to start than the answer.
    pub fn needs_no_world(&self) -> bool {
        matches!(self.cli.command, Command::Schema { .. } | Command::Completion { .. } | Command::Version)
    }

    /// Runs the command and returns the exit code.
    pub async fn run(self, outside: &dyn Outside) -> u8 {
        let Self { cli, ui, command, typed_state } = self;
        let session = Session { global: cli.global, ui, outside, command, typed_state };
        let code = match dispatch(&session, cli.command).await {
            Ok(code) => code,
            Err(refusal) => {
                session.complain(&refusal);
                refusal.exit_code()
            }
        };
        if code == exit::DONE && session.ui.result_is_lost() { exit::ERROR } else { code }
    }
}

async fn dispatch(session: &Session<'_>, command: Command) -> Result<u8, Refusal> {
    // Boxed: together they would be too much for the stack of a thread.
    match command {
        Command::Create(args) => Box::pin(command::change::create(session, args)).await,
        Command::Update(args) => Box::pin(command::change::update(session, args)).await,
        Command::RollingUpdate(args) => Box::pin(command::rolling::run(session, args)).await,
        Command::Upgrade(args) => Box::pin(command::upgrade::run(session, args)).await,
        Command::Delete(args) => Box::pin(command::delete::run(session, args)).await,
        Command::Get(args) => Box::pin(command::get::run(session, args)).await,
        Command::Validate(args) => Box::pin(command::validate::run(session, args)).await,
        Command::Status(args) => Box::pin(command::status::run(session, args)).await,
        Command::Export(command) => Box::pin(command::export::run(session, command)).await,
        Command::Render(args) => Box::pin(command::render::run(session, args)).await,
        Command::Recover(args) => Box::pin(command::recover::run(session, args)).await,
        Command::Etcd(command) => Box::pin(command::etcd::run(session, command)).await,
        Command::Lock(command) => Box::pin(command::lock::run(session, command)).await,
        Command::Schema { of } => command::version::schema(session, of),
        Command::Completion { shell } => command::version::completion(session, shell),
        Command::Version => command::version::version(session),
    }
}

/// A whole command in this process, for tests: the exit code, with what it wrote in `streams`.
pub async fn run(args: &[&str], streams: Streams, outside: &dyn Outside) -> u8 {
    let args = std::iter::once("kubewright").chain(args.iter().copied()).map(OsString::from).collect();
    match parse(args, streams, outside) {
        Ok(parsed) => parsed.run(outside).await,
        Err(code) => code,
    }
}

/// The program.
pub fn start(args: Vec<OsString>) -> u8 {
    let outside = outside::Process::default();
    let parsed = match parse(args, Streams::standard(), &outside) {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    if parsed.needs_no_world() {
        return futures::executor::block_on(parsed.run(&outside));
    }
    log(&parsed);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            parsed.ui.status_as_is(&format!("error: cannot start: {error}\n"));
            return exit::ERROR;
        }
    };
    let code = runtime.block_on(parsed.run(&outside));
    // Threads that still wait for a node after the second interrupt must not keep the process.
    runtime.shutdown_background();
    code
}

/// Log lines go to stderr through the same door; `KUBEWRIGHT_LOG` takes the filters of `tracing`.
fn log(parsed: &Parsed) {
    use tracing_subscriber::EnvFilter;
    let default = match parsed.verbose() {
        0 => "error",
        1 => "warn,kubewright=info",
        _ => "info,kubewright=debug",
    };
    let filter = EnvFilter::try_from_env("KUBEWRIGHT_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let ui = parsed.ui.clone();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(move || ui.clone());
    // A second subscriber cannot be set; this is the only one.
    let _ = if parsed.logs_as_json() { builder.json().try_init() } else { builder.try_init() };
}
