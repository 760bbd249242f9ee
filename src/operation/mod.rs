//! What the commands do, without a terminal: read, plan, apply, verify. A command parses its flags, calls one of these and
//! shows the value that comes back.

mod changed;
mod delegation;
mod delete;
mod error;
mod etcd;
mod guard;
mod keys;
mod lock;
mod opened;
mod read;
mod recover;
mod render;
mod rolling;
mod saved;
mod session;
mod status;
mod update;
mod validate;

pub use delegation::{FakeResolver, Resolver, SystemResolver};
pub use delete::{DeletePrepared, DeleteReport, apply_delete, prepare_delete};
pub use error::OperationError;
pub use etcd::{
    EtcdReport, RestorePlan, RestoreReport, SnapshotList, SnapshotReport, apply_restore, etcd_snapshot, etcd_snapshots,
    etcd_status, prepare_restore,
};
pub use guard::{Ask, Guarded};
pub use lock::LockManners;
pub use read::{ClusterSummary, InstanceRow, clusters, instances, kubeconfig};
pub use recover::{Recovery, Sources, apply_recover, earlier_states, prepare_recover, registered_specs, restore_previous};
pub use render::render_files;
pub use rolling::{ApiUse, ApiUses, Hop, UpgradePrepared, UpgradeReport, UpgradeRequest, apply_upgrade, prepare_upgrade};
pub use rolling::{End, RollPrepared, RollReport, RollRequest, apply_roll, prepare_roll};
pub use saved::SavedPlan;
pub use session::{CloudConsoles, Connect, Env, MakeNodes};
pub use status::{GroupPhases, LockSummary, OpenIntent, Pending, Status, status};
pub use update::{Prepared, Report, SpecFile, UpdateRequest, apply_update, prepare_update};
pub use validate::{NodeRow, Problem, Validation, validate};
