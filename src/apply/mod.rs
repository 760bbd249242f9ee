//! Runs a plan: intents before calls, records after them, node tasks along the same graph.

pub mod call;
pub mod event;
mod executor;
mod fleet;
mod graph;
pub mod observe;
pub mod record;
pub mod resume;
mod task;
#[cfg(test)]
mod tests;
mod wait;
mod work;
pub mod world;

pub use event::{Event, Failure, Sink};
pub use executor::{Done, Failed, Outcome, Skipped, run};
pub use fleet::fleet_of;
pub use record::{Edit, MemoryRecord, Record};
pub use world::{Addresses, NodeInputs, World};
