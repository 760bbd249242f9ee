//! State store: spec revisions, state, lock and secrets of each cluster, on a folder or in a bucket.
//!
//! [`objects`] is what both have in common: named objects with compare-and-swap, implemented by [`file`], by
//! `cloud::aws::objects` and, for tests, by [`memory`]. [`cluster`] is the layout of one cluster on top of it:
//!
//! ```text
//! <cluster>/spec.toml  revisions/NNNN.toml  state.json  lock.json  secrets/  journal/  damaged/  etcd/
//! ```
//!
//! The lock is advisory; the compare-and-swap of `state.json` is the fence. A write that a store refuses or does not answer
//! is settled by reading back: every state and every lock carries an id of its own write, so the bytes tell whose it is.

mod aside;
mod cluster;
pub mod envelope;
pub mod error;
pub mod file;
mod foreign;
mod forget;
mod key;
pub mod location;
pub mod lock;
pub mod memory;
pub mod objects;
mod previous;
pub mod recorder;
mod revisions;
mod secrets;
mod settle;
mod snapshots;
mod takeover;

pub use cluster::{ClusterStore, Held, clusters};
pub use error::StoreError;
pub use file::FileObjects;
pub use foreign::foreign;
pub use key::check_key;
pub(crate) use key::folder_of;
pub use location::Location;
pub use lock::{Hold, Lock, LockStatus, Owner};
pub use memory::MemoryObjects;
pub use objects::{Condition, Object, ObjectError, Objects, Version};
pub use previous::Earlier;
pub use recorder::Recorder;
pub use snapshots::{Listed, PART, Restore, RestorePhase, Snapshot};
