//! Resources that the cluster calls for: computed, never fetched.

pub mod id;
pub mod rule;
pub mod tags;

pub use id::{Audience, ResourceId};
pub use rule::{Peer, Protocol, Rule};
