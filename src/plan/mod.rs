//! Desired, observed and recorded, compared: an inert value that apply runs without a choice of its own.

pub mod action;
pub mod change;
mod deletion;
mod dns;
pub mod document;
mod drift;
mod firewall;
pub mod found;
pub mod images;
mod immutable;
mod machines;
mod network;
mod nodes;
pub mod planner;
mod retag;
pub mod task;

pub use action::{Action, Behind, Call, GroupSummary, PHASES, Plan, Problem, Totals, Until, Verb, Work};
pub use change::{Change, Changed, RecordChange, RecordVerb, Ref, RunInstance, Tags};
pub use deletion::delete;
pub use document::{Document, NoPlan};
pub use drift::Drift;
pub use firewall::words as rule_words;
pub use machines::slot_of;
pub use planner::{Input, plan, plan_with};
pub use task::NodeTask;
