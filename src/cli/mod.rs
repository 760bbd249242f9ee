//! One thin file per command.

pub mod render;
pub mod text;
pub mod ui;
