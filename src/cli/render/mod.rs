//! Values as people read them, and as machines do.

mod entry;
pub mod etcd;
pub mod json;
pub mod outcome;
pub mod plan;
pub mod rolling;
pub mod table;
pub mod trouble;
pub mod upgrade;
pub mod words;
