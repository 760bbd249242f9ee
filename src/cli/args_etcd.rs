//! The arguments of `etcd`.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum EtcdCommand {
    Status(EtcdStatusArgs),
    Snapshot(SnapshotArgs),
    List(EtcdListArgs),
    Restore(RestoreArgs),
}

/// Show members, leader, sizes, alarms, and how many members may be lost
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kubewright etcd status demo.k8s.example.com")]
pub struct EtcdStatusArgs {
    /// Name of the cluster
    #[arg(value_name = "NAME")]
    pub cluster: Option<String>,
}

/// Take a snapshot of etcd, check it, and keep it in the state store
///
/// It is taken and checked on a healthy control plane, and read back before it counts. It holds every object of the cluster: whoever can
/// read it, and the folder secrets/ beside it, has all of its Secrets.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kubewright etcd snapshot demo.k8s.example.com --keep 30")]
pub struct SnapshotArgs {
    /// Name of the cluster
    #[arg(value_name = "NAME")]
    pub cluster: Option<String>,
    /// How many snapshots are kept; older ones go once the new one is proven. Otherwise etcd.snapshots_kept of the spec. Those of rolls and
    /// upgrades are counted by themselves
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: Option<u32>,
}

/// List the snapshots of a cluster in the state store
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kubewright etcd list demo.k8s.example.com -o json")]
pub struct EtcdListArgs {
    /// Name of the cluster
    #[arg(value_name = "NAME")]
    pub cluster: Option<String>,
}

/// Put a snapshot back: the cluster becomes what it was then
///
/// All control planes are stopped, get their data from the snapshot, and are started together. Without --yes: what would happen and
/// what would be lost. Onto new control planes as well, when all were lost: update makes them, then this puts the data back.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kubewright etcd restore latest\n  \
                  kubewright etcd restore 20261121T215646Z-1f2e3d4c demo.k8s.example.com --yes")]
pub struct RestoreArgs {
    /// Which, as `etcd list` shows it, or `latest`
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: String,
    /// Name of the cluster
    #[arg(value_name = "NAME")]
    pub cluster: Option<String>,
    /// Restore it
    #[arg(short, long)]
    pub yes: bool,
}
