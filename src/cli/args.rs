//! The command line, as types. Doc comments are the help text.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use super::args_etcd::{EtcdCommand, EtcdListArgs, EtcdStatusArgs, RestoreArgs, SnapshotArgs};
use crate::store::Location;

pub use rolling::{RollingArgs, UpgradeArgs};

mod rolling;

/// Clusters of Kubernetes on AWS from one TOML file
///
/// Every command that changes something is a dry run until --yes, and nothing ever waits for an answer.
#[derive(Debug, Parser)]
#[command(
    name = "kubewright",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "Examples:\n  kubewright create cluster -f clusters/minimal.toml        shows the plan, changes nothing\n  \
                  kubewright create cluster -f clusters/minimal.toml --yes  applies it"
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Where the state is: file://DIR or s3://BUCKET/PREFIX
    #[arg(long, global = true, env = "KUBEWRIGHT_STATE", default_value = "file://state", value_name = "URL")]
    pub state: Location,
    /// The cluster that is meant; not needed where the state holds one
    #[arg(long, global = true, env = "KUBEWRIGHT_CLUSTER", value_name = "CLUSTER")]
    pub name: Option<String>,
    /// Wait for the lock of a cluster that another run holds
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration)]
    pub lock_wait: Option<Duration>,
    /// Form of the result on stdout; wide is a table with more columns
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORM")]
    pub output: Output,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
    /// Show more: every entry of a plan, and the log; twice for more log
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Form of everything on stderr; json is one object a line
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORM")]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    #[default]
    Table,
    Wide,
    Json,
    Yaml,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Create(CreateArgs),
    Update(UpdateArgs),
    RollingUpdate(RollingArgs),
    Upgrade(UpgradeArgs),
    Delete(DeleteArgs),
    Get(GetArgs),
    Status(StatusArgs),
    Validate(ValidateArgs),
    /// Write what other tools need
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Example:\n  kubewright export kubeconfig demo.k8s.example.com"
    )]
    Export(ExportCommand),
    Render(RenderArgs),
    Recover(RecoverArgs),
    /// Look at etcd, save it, and put it back
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Example:\n  kubewright etcd snapshot demo.k8s.example.com"
    )]
    Etcd(EtcdCommand),
    /// Show or break the lock of a cluster
    #[command(subcommand, arg_required_else_help = true, after_help = "Example:\n  kubewright lock status demo.k8s.example.com")]
    Lock(LockCommand),
    /// Print the JSON Schema of specs, or of plans
    #[command(after_help = "Example:\n  kubewright schema > kubewright.schema.json")]
    Schema {
        /// Of what
        #[arg(value_enum, default_value_t)]
        of: SchemaOf,
    },
    /// Print the completion script of a shell
    #[command(after_help = "Example:\n  kubewright completion bash > /etc/bash_completion.d/kubewright")]
    Completion {
        /// The shell to print it for
        shell: clap_complete::Shell,
    },
    /// Print the version
    #[command(after_help = "Example:\n  kubewright version -o json")]
    Version,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// The spec file
    #[default]
    Spec,
    /// What --plan-out writes and a dry run prints with -o json
    Plan,
}

/// Make a cluster from a spec
///
/// Shows the plan; --yes registers the spec in the store and applies it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kubewright create cluster -f clusters/ha.toml --yes")]
pub struct CreateArgs {
    /// The word `cluster`; may be left out
    #[arg(value_names = ["cluster"], num_args = 0..=1)]
    pub words: Vec<String>,
    /// The spec
    #[arg(short, long, value_name = "FILE", required_unless_present = "plan")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub apply: ApplyArgs,
}

/// Change a cluster to what its spec says
///
/// Compares the registered spec, or FILE as its next revision, with the account. Never replaces a live machine: the plan says
/// which are behind.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kubewright update demo.k8s.example.com\n  kubewright update -f clusters/ha.toml --yes")]
pub struct UpdateArgs {
    /// Name of the cluster; the word `cluster` may stand before it
    #[arg(value_names = ["cluster", "NAME"], num_args = 0..=2)]
    pub words: Vec<String>,
    /// A changed spec
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub apply: ApplyArgs,
}

#[derive(Clone, Debug, Args)]
pub struct ApplyArgs {
    /// Apply the plan
    #[arg(short, long)]
    pub yes: bool,
    /// Exit with 2 where a dry run finds changes
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// Draw where the time went, also of a run that fails
    #[arg(long, value_name = "FILE.svg", requires = "yes")]
    pub timeline: Option<PathBuf>,
    /// Write the plan of a dry run to a file
    #[arg(long, value_name = "FILE", conflicts_with = "yes")]
    pub plan_out: Option<PathBuf>,
    /// Apply exactly this plan, or refuse; without --yes, show it
    #[arg(long, value_name = "FILE", conflicts_with = "plan_out")]
    pub plan: Option<PathBuf>,
}

/// Delete a cluster, in dependency order, and prove that nothing is left
///
/// Works from the state, or from tags alone where there is none.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kubewright delete cluster demo.k8s.example.com --yes")]
pub struct DeleteArgs {
    /// The word `cluster`, and the name of the cluster
    #[arg(value_names = ["cluster", "NAME"], num_args = 1..=2, required = true)]
    pub words: Vec<String>,
    /// Delete it
    #[arg(short, long)]
    pub yes: bool,
    /// Delete the history of its spec as well
    #[arg(long)]
    pub purge: bool,
}

/// List clusters, instance groups or instances
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kubewright get clusters\n  kubewright get instances demo.k8s.example.com -o wide")]
pub struct GetArgs {
    #[arg(value_enum, value_name = "KIND")]
    pub kind: Kind,
    /// Name of the cluster
    #[arg(value_name = "NAME")]
    pub cluster: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    #[value(alias = "cluster")]
    Clusters,
    #[value(aliases = ["instance-group", "instancegroups", "instancegroup", "ig", "igs"])]
    InstanceGroups,
    #[value(aliases = ["instance", "nodes", "node"])]
    Instances,
}

/// Show what is known of a cluster: revision, last run, lock, machines, drift
///
/// Reads the store and the account, and changes nothing; connects to no machine.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kubewright status demo.k8s.example.com")]
pub struct StatusArgs {
    /// Name of the cluster; the word `cluster` may stand before it
    #[arg(value_names = ["cluster", "NAME"], num_args = 0..=2)]
    pub words: Vec<String>,
}

/// Check that a cluster works, and name the one thing that blocks
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kubewright validate demo.k8s.example.com --wait 10m")]
pub struct ValidateArgs {
    /// Name of the cluster; the word `cluster` may stand before it
    #[arg(value_names = ["cluster", "NAME"], num_args = 0..=2)]
    pub words: Vec<String>,
    /// Look again until it works, at most this long
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
}

#[derive(Debug, Subcommand)]
pub enum ExportCommand {
    Kubeconfig(KubeconfigArgs),
}

/// Write access to a cluster into a kubeconfig
///
/// Entries of the same name are replaced, everything else stays; mode 0600. Without --kubeconfig: the file of KUBECONFIG, or
/// ~/.kube/config.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kubewright export kubeconfig demo.k8s.example.com && kubectl get nodes")]
pub struct KubeconfigArgs {
    /// Name of the cluster
    #[arg(value_name = "NAME")]
    pub cluster: Option<String>,
    /// The file to merge into
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// Write the files of each node to a folder, touching nothing else
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kubewright render -f clusters/ha.toml --out /tmp/rendered")]
pub struct RenderArgs {
    /// Name of the cluster
    #[arg(value_name = "NAME")]
    pub cluster: Option<String>,
    /// A spec, registered or not
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The folder to write to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Make the state of a cluster anew, from the tags of what the account holds
///
/// For a state that was lost or is damaged; one that can be read is never replaced. Changes nothing in the account.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kubewright recover demo.k8s.example.com\n  \
                  kubewright recover demo.k8s.example.com -f clusters/ha.toml --yes")]
pub struct RecoverArgs {
    /// Name of the cluster; the word `cluster` may stand before it
    #[arg(value_names = ["cluster", "NAME"], num_args = 0..=2)]
    pub words: Vec<String>,
    /// Its spec, where the store has none either
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Put back the last whole state that the store keeps, instead of making one from tags
    #[arg(long, conflicts_with = "file")]
    pub previous: bool,
    /// Record what was found
    #[arg(short, long)]
    pub yes: bool,
}

#[derive(Debug, Subcommand)]
pub enum LockCommand {
    /// Show who holds the lock
    #[command(after_help = "Example:\n  kubewright lock status demo.k8s.example.com")]
    Status {
        /// Name of the cluster
        #[arg(value_name = "NAME")]
        cluster: Option<String>,
    },
    /// Take the lock from whoever holds it; what they write afterwards is refused
    #[command(after_help = "Example:\n  kubewright lock break demo.k8s.example.com --yes")]
    Break {
        /// Name of the cluster
        #[arg(value_name = "NAME")]
        cluster: Option<String>,
        /// Break it
        #[arg(short, long)]
        yes: bool,
    },
}

/// `10m`, `1h 30m`, `90s`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| "write it as 90s, 10m or 1h".to_owned())?;
    Duration::try_from(parsed).map_err(|_| "it cannot be negative".to_owned())
}

/// The name in `[cluster] NAME`.
pub fn cluster_in(words: &[String]) -> Result<Option<&str>, String> {
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] | ["cluster"] => Ok(None),
        [name] | ["cluster", name] => Ok(Some(*name)),
        [noun, ..] => Err(format!("`{noun}` is not known here; only a `cluster` can be named")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_word_cluster_may_be_left_out() {
        let of = |words: &[&str]| {
            cluster_in(&words.iter().map(ToString::to_string).collect::<Vec<_>>()).map(|name| name.map(str::to_owned))
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["cluster"]), Ok(None));
        assert_eq!(of(&["demo"]), Ok(Some("demo".into())));
        assert_eq!(of(&["cluster", "demo"]), Ok(Some("demo".into())));
        assert!(of(&["ig", "demo"]).is_err());
    }

    #[test]
    fn durations_are_written_as_people_write_them() {
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert!(duration("-5m").is_err() && duration("ten").is_err());
    }
}
