//! Writes whose outcome is known: after a refusal or a missing answer the object is read back and compared.
//!
//! A client may retry by itself after its first attempt got through, and then meets its own write as a conflict
//! (opentofu#4405). S3 also answers 409 where nothing was decided. So the bytes decide, never the answer alone; they are
//! never the same for two writers, because states and locks carry an id of their own write.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::error::StoreError;
use super::objects::{Condition, Object, ObjectError, Objects, Version};
use crate::clock::Clock;

/// Pauses between attempts; one more attempt than pauses.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
    Duration::from_millis(3200),
];

/// Outcome of a conditional write or delete.
#[derive(Debug)]
pub(super) enum Settled<T> {
    Done(T),
    /// It did not happen: this is there instead.
    Other(Option<Object>),
}

/// The objects of one store with the patience to learn what became of a write.
#[derive(Clone)]
pub(super) struct Settler {
    pub objects: Arc<dyn Objects>,
    pub clock: Arc<dyn Clock>,
}

impl Settler {
    pub fn error(&self, error: ObjectError) -> StoreError {
        StoreError::of_object(&self.objects.location(), error)
    }

    /// Reads, asking again where there was no answer.
    pub async fn read(&self, key: &str) -> Result<Option<Object>, StoreError> {
        let mut pauses = PAUSES.iter().take(2);
        loop {
            match (self.objects.get(key).await, pauses.next()) {
                (Ok(object), _) => return Ok(object),
                (Err(ObjectError::Ambiguous { .. } | ObjectError::Conflict { .. }), Some(pause)) => {
                    self.clock.wait(*pause).await;
                }
                (Err(error), _) => return Err(self.error(error)),
            }
        }
    }

    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut pauses = PAUSES.iter().take(2);
        loop {
            match (self.objects.list(prefix).await, pauses.next()) {
                (Ok(keys), _) => return Ok(keys),
                (Err(ObjectError::Ambiguous { .. }), Some(pause)) => self.clock.wait(*pause).await,
                (Err(error), _) => return Err(self.error(error)),
            }
        }
    }

    pub async fn history(&self, key: &str, limit: usize) -> Result<Vec<Object>, StoreError> {
        let mut pauses = PAUSES.iter().take(2);
        loop {
            match (self.objects.history(key, limit).await, pauses.next()) {
                (Ok(objects), _) => return Ok(objects),
                (Err(ObjectError::Ambiguous { .. }), Some(pause)) => self.clock.wait(*pause).await,
                (Err(error), _) => return Err(self.error(error)),
            }
        }
    }

    pub async fn now(&self) -> Result<Timestamp, StoreError> {
        let mut pauses = PAUSES.iter().take(2);
        loop {
            match (self.objects.now().await, pauses.next()) {
                (Ok(now), _) => return Ok(now),
                (Err(ObjectError::Ambiguous { .. }), Some(pause)) => self.clock.wait(*pause).await,
                (Err(error), _) => return Err(self.error(error)),
            }
        }
    }

    /// Replaces what has the version `base` (None: nothing) by `bytes`.
    pub async fn write(&self, key: &str, bytes: &[u8], base: Option<&Version>) -> Result<Settled<Version>, StoreError> {
        let condition = base.map_or(Condition::Absent, |version| Condition::Is(version.clone()));
        let mut pauses = PAUSES.iter();
        loop {
            let error = match self.objects.put(key, bytes.to_vec(), condition.clone()).await {
                Ok(version) => return Ok(Settled::Done(version)),
                Err(error @ (ObjectError::Conflict { .. } | ObjectError::Ambiguous { .. })) => error,
                Err(error) => return Err(self.error(error)),
            };
            match self.read(key).await? {
                Some(object) if object.bytes == bytes => return Ok(Settled::Done(object.version)),
                found if found.as_ref().map(|object| &object.version) == base => {}
                found => return Ok(Settled::Other(found)),
            }
            // Unchanged: the write did not happen, or has not yet. The same bytes under the same condition are safe to send
            // again, whichever of the two arrives first.
            match pauses.next() {
                Some(pause) => self.clock.wait(*pause).await,
                None => return Err(self.error(error)),
            }
        }
    }

    /// Removes what has the version `base`. Absent afterwards counts as done, whoever removed it.
    pub async fn remove(&self, key: &str, base: &Version) -> Result<Settled<()>, StoreError> {
        let mut pauses = PAUSES.iter();
        loop {
            let error = match self.objects.delete(key, Condition::Is(base.clone())).await {
                Ok(()) => return Ok(Settled::Done(())),
                Err(error @ (ObjectError::Conflict { .. } | ObjectError::Ambiguous { .. })) => error,
                Err(error) => return Err(self.error(error)),
            };
            match self.read(key).await? {
                None => return Ok(Settled::Done(())),
                Some(object) if object.version == *base => {}
                found => return Ok(Settled::Other(found)),
            }
            match pauses.next() {
                Some(pause) => self.clock.wait(*pause).await,
                None => return Err(self.error(error)),
            }
        }
    }

    /// Removes an object whatever its version.
    pub async fn discard(&self, key: &str) -> Result<(), StoreError> {
        let mut pauses = PAUSES.iter();
        loop {
            let error = match self.objects.delete(key, Condition::Always).await {
                Ok(()) => return Ok(()),
                Err(error @ (ObjectError::Conflict { .. } | ObjectError::Ambiguous { .. })) => error,
                Err(error) => return Err(self.error(error)),
            };
            match (self.read(key).await?, pauses.next()) {
                (None, _) => return Ok(()),
                (Some(_), Some(pause)) => self.clock.wait(*pause).await,
                (Some(_), None) => return Err(self.error(error)),
            }
        }
    }
}
