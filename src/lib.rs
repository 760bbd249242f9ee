//! kubewright: a declarative provisioner for Kubernetes on AWS.
//!
//! The data flow, and the modules in its order:
//!
//! *spec file -> [`cluster`] -> [`desired`] + [`observed`] (+ [`recorded`]) -> [`plan`] -> [`apply`] -> [`bootstrap`] -> [`report`]*
//!
//! [`spec`] reads the TOML file and reports every problem with its place; [`cluster`] is the validated model. [`desired`]
//! computes the resources that the cluster calls for, [`observed`] is what the account holds, [`recorded`] what the state
//! store remembers. [`plan`] compares the three and yields an inert, printable value. [`apply`] runs it: intents first, then
//! calls through [`cloud`], then records through [`store`]; node tasks go to [`bootstrap`] over SSH. [`rolling`] decides the
//! next step of a rolling update. [`cli`] is one thin file per command.
//!
//! Invariants, kept by `tests/architecture.rs`: `spec`, `cluster`, `desired`, `observed`, `recorded`, `plan` and `rolling` contain no
//! `async`, no clock and no file access, and import nothing from the modules below them.

#![forbid(unsafe_code)]

pub mod apply;
pub mod bootstrap;
pub mod cli;
pub mod clock;
pub mod cloud;
pub mod cluster;
pub mod desired;
pub mod digest;
pub mod observed;
pub mod operation;
pub mod plan;
pub mod recorded;
pub mod report;
pub mod rolling;
pub mod secret;
pub mod spec;
pub mod store;
