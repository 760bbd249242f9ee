//! Desired, observed and recorded, compared: an inert value that apply runs without a choice of its own.

pub mod change;
pub mod task;

pub use change::{Change, Changed, Ref, Tags};
pub use task::NodeTask;
