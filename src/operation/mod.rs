//! What the commands do, without a terminal: read, plan, apply, verify. A command parses its flags, calls one of these and
//! shows the value that comes back.

mod changed;
mod delegation;
mod delete;
mod error;
mod read;
mod recover;
mod render;
mod saved;
mod session;
mod status;
mod update;
mod validate;

pub use delegation::{FakeResolver, Resolver, SystemResolver};
pub use delete::{DeletePrepared, DeleteReport, apply_delete, prepare_delete};
pub use error::OperationError;
pub use read::{ClusterSummary, InstanceRow, clusters, instances, kubeconfig};
pub use recover::{Recovery, apply_recover, prepare_recover, registered_spec};
pub use render::render_files;
pub use saved::SavedPlan;
pub use session::{CloudConsoles, Connect, Env, MakeNodes};
pub use status::{GroupPhases, LockSummary, OpenIntent, Pending, Status, status};
pub use update::{Prepared, Report, SpecFile, UpdateRequest, apply_update, prepare_update};
pub use validate::{NodeRow, Problem, Validation, validate};
