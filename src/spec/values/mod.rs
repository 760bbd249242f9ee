//! What single values must look like: one type per kind of value, each with its grammar and its words.

pub(crate) mod components;
pub(crate) mod kube;
pub(crate) mod machine;
pub(crate) mod names;
pub(crate) mod net;
pub(crate) mod ports;
pub(crate) mod words;
