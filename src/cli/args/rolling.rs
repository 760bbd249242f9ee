//! Arguments of what goes from machine to machine.

use std::path::PathBuf;

use clap::Args;

use crate::cluster::KubernetesVersion;

/// Replace machines that are behind their spec, keeping quorum and workloads
///
/// Control planes go one at a time, then node groups as far as max_surge and max_unavailable allow. It can be stopped anywhere: the same
/// command goes on where it stopped, --abort brings the cluster to rest.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubewright rolling-update demo.k8s.example.com\n  kubewright rolling-update demo.k8s.example.com --instance-group nodes --yes"
)]
pub struct RollingArgs {
    /// Name of the cluster; the word `cluster` may stand before it
    #[arg(value_names = ["cluster", "NAME"], num_args = 0..=2)]
    pub words: Vec<String>,
    /// Only this instance group; may be given again
    #[arg(long = "instance-group", visible_alias = "ig", value_name = "GROUP", value_delimiter = ',')]
    pub groups: Vec<String>,
    /// Only instance groups of these roles: control-plane, node
    #[arg(long = "instance-group-roles", value_name = "ROLE", value_delimiter = ',')]
    pub roles: Vec<String>,
    /// Begin although the cluster is not healthy; quorum is kept all the same
    #[arg(long)]
    pub force: bool,
    /// Begin nothing new: finish or take back what an interrupted roll has begun
    #[arg(long)]
    pub abort: bool,
    /// Replace them
    #[arg(short, long)]
    pub yes: bool,
    /// Exit with 2 where a dry run finds something to replace
    #[arg(long)]
    pub detailed_exitcode: bool,
}

/// Bring all machines to another version of Kubernetes
///
/// One minor at a time, none skipped; control planes first, one at a time, each after an etcd snapshot; then node groups, where they
/// stand and within their max_unavailable, or by new machines where rolling_update.upgrade of the group says so. The spec is registered anew for each hop. It can be stopped anywhere: the same command goes on where it stopped.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubewright upgrade demo.k8s.example.com --to 1.35.4\n  kubewright upgrade demo.k8s.example.com --to 1.36.3 --via 1.35.2 --yes"
)]
pub struct UpgradeArgs {
    /// Name of the cluster; the word `cluster` may stand before it
    #[arg(value_names = ["cluster", "NAME"], num_args = 0..=2)]
    pub words: Vec<String>,
    /// The version to go to
    #[arg(long, value_name = "VERSION", value_parser = version)]
    pub to: KubernetesVersion,
    /// The version to take at a minor on the way; otherwise the newest that kubewright knows. May be given again
    #[arg(long, value_name = "VERSION", value_parser = version)]
    pub via: Vec<KubernetesVersion>,
    /// Where packages come from bundles: the one of a version on the way, or of the last. May be given again
    #[arg(long = "bundle", value_name = "DIR")]
    pub bundles: Vec<PathBuf>,
    /// Begin although the cluster is not healthy, or clients use APIs that the version does not serve; quorum is kept all the same
    #[arg(long)]
    pub force: bool,
    /// Upgrade
    #[arg(short, long)]
    pub yes: bool,
    /// Exit with 2 where a dry run finds something to upgrade
    #[arg(long)]
    pub detailed_exitcode: bool,
}

fn version(text: &str) -> Result<KubernetesVersion, String> {
    text.parse().map_err(|_| "write it as 1.34.2".to_owned())
}
