//! Secrets of a cluster: CA keys and the service-account key. Who can read them owns the cluster.

use super::cluster::{ClusterStore, SECRETS};
use super::error::StoreError;
use super::key::is_part;
use super::settle::Settled;
use crate::secret::Secret;

impl ClusterStore {
    /// Stores a secret unless there is one of that name, and returns the one that is stored: of several runs that make the
    /// same secret at once, all go on with one.
    pub async fn put_secret(&self, name: &str, secret: &Secret) -> Result<Secret, StoreError> {
        match self.settler.write(&self.secret_key(name)?, secret.expose().as_bytes(), None).await? {
            Settled::Done(_) | Settled::Other(None) => Ok(secret.clone()),
            Settled::Other(Some(object)) => self.text(name, object.bytes),
        }
    }

    pub async fn secret(&self, name: &str) -> Result<Option<Secret>, StoreError> {
        match self.settler.read(&self.secret_key(name)?).await? {
            Some(object) => self.text(name, object.bytes).map(Some),
            None => Ok(None),
        }
    }

    /// Names of the stored secrets, sorted.
    pub async fn secret_names(&self) -> Result<Vec<String>, StoreError> {
        let folder = format!("{}/", self.key(SECRETS));
        let keys = self.settler.list(&folder).await?;
        Ok(keys.iter().filter_map(|key| key.strip_prefix(&folder)).map(str::to_owned).collect())
    }

    fn secret_key(&self, name: &str) -> Result<String, StoreError> {
        if !is_part(name) {
            return Err(StoreError::Name { name: name.into(), what: "secret" });
        }
        Ok(self.key(&format!("{SECRETS}/{name}")))
    }

    fn text(&self, name: &str, bytes: Vec<u8>) -> Result<Secret, StoreError> {
        // The error of the conversion would carry the bytes.
        String::from_utf8(bytes).map(Secret::new).map_err(|_| StoreError::Failed {
            location: self.place(&format!("{SECRETS}/{name}")),
            message: "its content is not text: damaged".into(),
        })
    }
}
