//! One thin file per command.

pub mod spec_files;
