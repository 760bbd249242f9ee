//! What the commands do, without a terminal: read, plan, apply, verify. A command parses its flags, calls one of these and
//! shows the value that comes back.

mod changed;
mod delegation;
mod delete;
mod error;
mod read;
mod render;
mod rolling;
mod session;
mod update;
mod validate;

pub use delegation::{FakeResolver, Resolver, SystemResolver};
pub use delete::{DeletePrepared, DeleteReport, apply_delete, prepare_delete};
pub use error::OperationError;
pub use read::{ClusterSummary, InstanceRow, clusters, instances, kubeconfig};
pub use render::render_files;
pub use rolling::{End, RollPrepared, RollReport, RollRequest, apply_roll, prepare_roll};
pub use session::{CloudConsoles, Connect, Env, MakeNodes};
pub use update::{Prepared, Report, SpecFile, UpdateRequest, apply_update, prepare_update};
pub use validate::{NodeRow, Problem, Validation, validate};
