//! What lies in a store and is not kubewright's.

use super::cluster::{ClusterStore, JOURNAL, REVISIONS, SECRETS, SPEC, STATE};
use super::error::StoreError;
use super::lock::LOCK;
use super::objects::{ObjectError, Objects};
use super::snapshots::ETCD;

/// An object of somebody else in the store, for a warning; of a large bucket only the first page of its list is looked at.
pub async fn foreign(objects: &dyn Objects) -> Result<Option<String>, StoreError> {
    let keys = objects.some().await.map_err(|error: ObjectError| StoreError::of_object(&objects.location(), error))?;
    Ok(keys.into_iter().find(|key| !key.split_once('/').is_some_and(|(_, name)| is_ours(name))))
}

/// A name in a cluster's folder that kubewright gives.
fn is_ours(name: &str) -> bool {
    match name.split_once('/') {
        Some((folder, _)) => [REVISIONS, SECRETS, JOURNAL, ETCD].contains(&folder),
        None => [STATE, SPEC, LOCK].contains(&name),
    }
}

impl ClusterStore {
    /// Refuses a folder in which another program keeps something, before a first state is written there. `state.json` and `lock.json` of
    /// another program are noticed where they are read.
    pub async fn refuse_foreign(&self) -> Result<(), StoreError> {
        let folder = format!("{}/", self.cluster());
        let keys = self.settler.list(&folder).await?;
        let names: Vec<&str> = keys.iter().filter_map(|key| key.strip_prefix(&folder)).collect();
        let revisions = format!("{REVISIONS}/");
        // kubewright writes a spec after its first revision, and takes it away before its last state.
        let lonely = |name: &str| name == SPEC && !names.iter().any(|name| *name == STATE || name.starts_with(&revisions));
        match names.iter().find(|name| !is_ours(name) || lonely(name)) {
            Some(name) => Err(StoreError::Foreign { cluster: self.cluster.clone(), location: self.place(name) }),
            None => Ok(()),
        }
    }
}
