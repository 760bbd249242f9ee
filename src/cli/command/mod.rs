//! One thin file per command: arguments, one operation, one view, the exit code.

pub mod change;
pub mod delete;
pub mod etcd;
pub mod export;
pub mod get;
pub mod lock;
pub mod recording;
pub mod recover;
pub mod render;
pub mod rolling;
pub mod saved;
pub mod status;
pub mod upgrade;
pub mod validate;
pub mod version;
