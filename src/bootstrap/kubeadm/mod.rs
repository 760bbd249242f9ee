//! kubeadm's configuration: typed, rendered through templates, read back and compared before a node is touched.

mod api_server;
mod build;
mod check;
pub mod model;
mod patches;

pub use api_server::api_server_files;
pub use build::{CRI_SOCKET, Discovery, Place, control_plane_endpoint, init_file, join_file, own_server};
pub(super) use check::document;
pub use patches::patch_files;

use crate::secret::Secret;

/// Folder of what kubewright writes for kubeadm on a machine.
pub const FOLDER: &str = "/etc/kubernetes/kubewright";

/// A file of a machine.
#[derive(Clone, Debug)]
pub struct File {
    /// Absolute.
    pub path: String,
    /// As `chmod` takes it.
    pub mode: &'static str,
    pub text: Secret,
}
