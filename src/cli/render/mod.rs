//! Values as people read them, and as machines do.

mod entry;
pub mod plan;
pub mod words;
