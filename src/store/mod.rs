//! State store: spec revisions, state, lock and secrets of each cluster, on a folder or in a bucket.

pub mod objects;

pub use objects::{Condition, Objects, Version};
