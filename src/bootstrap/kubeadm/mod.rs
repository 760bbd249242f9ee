//! kubeadm's configuration: typed, rendered through templates, read back and compared before a node is touched.

mod build;
mod check;
pub mod model;
pub mod policy;

pub(super) use check::document;

pub use build::{CRI_SOCKET, Discovery, Place, init_file, join_file};
