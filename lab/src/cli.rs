//! The command line: one variant per command, one file behind each.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use url::Url;

use crate::state::Lab;
use crate::{account, bundle, calls, components, down, exec, fault, iam, serve, status, up};

/// An emulated AWS region on one Linux machine, with real Linux nodes
#[derive(Parser)]
#[command(name = "lab", version, max_term_width = 100)]
struct Cli {
    /// The lab's folder; `.lab` beside the workspace's Cargo.toml when left out
    #[arg(long, global = true, env = "KUBEWRIGHT_LAB_DIR", value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// A server with the files of the release servers dl.k8s.io and github.com, at the same paths
    #[arg(long, global = true, env = "KUBEWRIGHT_LAB_MIRROR", value_name = "URL", value_parser = components::mirror)]
    mirror: Option<Url>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Start the lab; does nothing when it is up
    Up {
        /// Real Kubernetes of this version, fetched or built from source the first time: a bundle, and its images in new nodes
        #[arg(long, value_name = "VERSION")]
        kubernetes: Option<String>,
    },
    /// End the lab and remove all that it made, except its cache
    Down {
        /// Remove the cache too
        #[arg(long)]
        purge: bool,
    },
    /// Whether the lab is up, and its nodes
    Status {
        #[arg(short, long, value_enum, default_value = "text")]
        output: Output,
    },
    /// Empty the account, remove the nodes, and seed the account again
    Reset,
    /// Run a command in the lab: emulated AWS, the lab's DNS, the nodes' network
    Exec {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// The environment of `exec` as lines for a shell
    Env,
    /// What was asked of AWS: counts by service and action
    Calls {
        #[arg(short, long, value_enum, default_value = "text")]
        output: Output,
        /// One line per call instead of counts
        #[arg(long)]
        each: bool,
        /// Start counting anew, after printing
        #[arg(long)]
        reset: bool,
    },
    /// Everything the account holds, sorted, for comparing with diff
    Account {
        #[arg(short, long, value_enum, default_value = "text")]
        output: Output,
        /// Leave a kind out, such as record; `s3` means buckets and objects
        #[arg(long, value_name = "KIND")]
        without: Vec<String>,
    },
    /// Do faults to calls
    #[command(subcommand)]
    Fault(fault::Command),
    /// Enforce IAM policies, make users
    #[command(subcommand)]
    Iam(iam::Command),
    /// Make an air-gapped bundle of Kubernetes
    Bundle {
        #[arg(long, value_name = "VERSION", default_value = "1.34.2")]
        kubernetes: String,
        /// Small programs in place of Kubernetes, in a folder of their own
        #[arg(long)]
        stand_ins: bool,
        /// In `bundle-VERSION`, beside the bundle of `up`
        #[arg(long, conflicts_with = "stand_ins")]
        beside: bool,
    },
    /// Fetch Kubernetes' programs, or build them from source, and print where they are
    Components {
        #[arg(long, value_name = "VERSION", default_value = "1.34.2")]
        kubernetes: String,
        /// This program and no other; may be given again
        #[arg(long, value_name = "PROGRAM")]
        only: Vec<String>,
    },
    /// Power loss of a node
    Kill { instance: String },
    /// Power for a node that lost it
    Boot { instance: String },
    /// Pull a node's network cable
    Cut { instance: String },
    /// Plug it in again
    Uncut { instance: String },
    /// The supervisor itself; `up` starts it
    #[command(hide = true)]
    Serve,
    /// Become another command inside control groups
    #[command(hide = true)]
    Join {
        #[arg(long)]
        group: Vec<PathBuf>,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

pub fn run() -> Result<ExitCode> {
    let cli = Cli::parse();
    if let Command::Join { group, command } = cli.command {
        return exec::join(&group, &command);
    }
    let lab = Lab::open(cli.dir)?;
    let servers = components::Servers::new(cli.mirror);
    match cli.command {
        Command::Up { kubernetes } => up::run(&lab, &servers, kubernetes.as_deref())?,
        Command::Down { purge } => down::run(&lab, purge)?,
        Command::Status { output } => return status::run(&lab, output),
        Command::Reset => up::reset(&lab)?,
        Command::Exec { command } => return exec::run(&lab, &command),
        Command::Env => exec::print_env(&lab)?,
        Command::Calls { output, each, reset } => calls::run(&lab, output, each, reset)?,
        Command::Account { output, without } => account::run(&lab, output, &without)?,
        Command::Fault(command) => fault::run(&lab, command)?,
        Command::Iam(command) => iam::run(&lab, command)?,
        Command::Bundle { kubernetes, stand_ins, beside } => {
            let kind = match (stand_ins, beside) {
                (true, _) => bundle::Kind::StandIns,
                (_, true) => bundle::Kind::Beside,
                _ => bundle::Kind::Real,
            };
            bundle::run(&lab, &servers, &kubernetes, kind)?;
        }
        Command::Components { kubernetes, only } => components::print(&lab, &servers, &kubernetes, &only)?,
        Command::Kill { instance } => status::order(&lab, &instance, "kill")?,
        Command::Boot { instance } => status::order(&lab, &instance, "boot")?,
        Command::Cut { instance } => status::order(&lab, &instance, "cut")?,
        Command::Uncut { instance } => status::order(&lab, &instance, "uncut")?,
        Command::Serve => serve::run(lab)?,
        Command::Join { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}
