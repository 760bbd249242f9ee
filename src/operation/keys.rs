//! The cluster's keys in the store.

use std::collections::BTreeMap;

use crate::bootstrap::Pki;
use crate::operation::{Env, OperationError};
use crate::secret::Secret;
use crate::store::{ClusterStore, Lock};

/// The cluster's keys: made once, before the first machine, and the same ever after. They are one object of the store, so
/// that a crash cannot leave half of them.
pub async fn pki_of(env: &Env, store: &ClusterStore, lock: &Lock) -> Result<Pki, OperationError> {
    if let Some(stored) = stored_pki(store).await? {
        return Ok(stored);
    }
    let failed = |error: String| damaged(store, error);
    let made = Pki::generate(env.clock.now()).map_err(failed)?;
    let files = made.to_files();
    let text: BTreeMap<&str, &str> = files.iter().map(|(name, secret)| (*name, secret.expose())).collect();
    let text = serde_json::to_string(&text).map_err(|error| damaged(store, error.to_string()))?;
    // Keys have no condition on the state: a run that was paused must not leave some behind in the place of a deleted cluster.
    lock.check().await?;
    read_pki(store, &store.put_secret(KEYS, &Secret::new(text)).await?)
}

const KEYS: &str = "pki.json";

/// The cluster's keys, where they were made already: for those who only look.
pub async fn stored_pki(store: &ClusterStore) -> Result<Option<Pki>, OperationError> {
    store.secret(KEYS).await?.map(|stored| read_pki(store, &stored)).transpose()
}

fn read_pki(store: &ClusterStore, stored: &Secret) -> Result<Pki, OperationError> {
    let mut files: BTreeMap<String, String> = serde_json::from_str(stored.expose())
        .map_err(|_| damaged(store, "damaged: it is not the JSON that kubewright wrote".into()))?;
    Pki::from_files(|name| files.remove(name).map(Secret::new)).map_err(|error| damaged(store, error))
}

fn damaged(store: &ClusterStore, error: String) -> OperationError {
    OperationError::Failed(format!("the cluster's keys ({}/secrets/{KEYS}): {error}", store.location()))
}
