//! The program: everything is in the library, so that tests can run whole commands.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(kubewright::cli::start(std::env::args_os().collect()))
}
