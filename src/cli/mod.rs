//! One thin file per command.

pub mod kubeconfig;
pub mod progress;
pub mod render;
pub mod spec_files;
pub mod text;
pub mod ui;
