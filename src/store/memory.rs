//! A store in memory that misbehaves on demand: the test double of [`Objects`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::key::{check_key, folder_of};
use super::objects::{Condition, Object, ObjectError, Objects, Version};
use crate::clock::Clock;

/// Replaced states that are kept.
const KEPT: usize = 10;

/// What goes wrong with one write or delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Carried out; the answer is lost.
    LostAnswer,
    /// Carried out, and the client tried again by itself: the condition no longer holds and the answer is a conflict.
    OwnRetry,
    /// Never arrives.
    LostRequest,
    /// No answer now; carried out after the next operation of any kind.
    Late,
    /// S3's 409: not carried out because of a concurrent write, which may be none of this key's.
    Busy,
    /// Carried out after a while.
    Delay(Duration),
    /// Never answered, as to a process that is killed: carried out (`done`) or not.
    Hang {
        done: bool,
    },
    Denied,
    Full,
}

/// Objects in memory. Writes and deletes are numbered from 1, together; faults are laid on numbers.
pub struct MemoryObjects {
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, Object>,
    versions: u64,
    writes: u64,
    faults: HashMap<u64, Fault>,
    always: Option<Fault>,
    /// What was replaced, as a bucket with versioning keeps it; the newest last.
    replaced: BTreeMap<String, Vec<Object>>,
    late: Vec<(u8, String, Option<Vec<u8>>, Condition)>,
}

impl MemoryObjects {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, inner: Mutex::default() }
    }

    /// Lays a fault on a write or delete, by its number from 1.
    pub fn fault(&self, number: u64, fault: Fault) {
        self.inner().faults.insert(number, fault);
    }

    /// Lays a fault on every write and delete from now on; `None` ends it.
    pub fn always(&self, fault: Option<Fault>) {
        self.inner().always = fault;
    }

    /// How many writes and deletes were asked for.
    pub fn writes(&self) -> u64 {
        self.inner().writes
    }

    /// Everything that is stored.
    pub fn dump(&self) -> BTreeMap<String, Vec<u8>> {
        self.inner().objects.iter().map(|(key, object)| (key.clone(), object.bytes.clone())).collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn change(&self, key: &str, bytes: Option<Vec<u8>>, condition: Condition) -> Result<Version, ObjectError> {
        check_key(key)?;
        let fault = {
            let mut inner = self.inner();
            inner.writes += 1;
            let number = inner.writes;
            inner.faults.remove(&number).or_else(|| inner.always.clone())
        };
        match &fault {
            Some(Fault::Delay(duration)) => self.clock.wait(*duration).await,
            Some(Fault::Hang { done }) => {
                if *done {
                    self.inner().apply(key, bytes, &condition, self.clock.now())?;
                }
                return std::future::pending().await;
            }
            _ => {}
        }
        let now = self.clock.now();
        let mut inner = self.inner();
        inner.arrive(now);
        let owned = key.to_owned();
        let unanswered = |message: &str| ObjectError::Ambiguous { key: key.to_owned(), message: message.to_owned() };
        match fault {
            None | Some(Fault::Delay(_) | Fault::Hang { .. }) => inner.apply(key, bytes, &condition, now),
            Some(Fault::LostAnswer) => {
                inner.apply(key, bytes, &condition, now)?;
                Err(unanswered("the connection was closed"))
            }
            Some(Fault::OwnRetry) => {
                inner.apply(key, bytes.clone(), &condition, now)?;
                inner.apply(key, bytes, &condition, now)
            }
            Some(Fault::LostRequest) => Err(unanswered("timed out")),
            Some(Fault::Late) => {
                inner.late.push((1, owned, bytes, condition));
                Err(unanswered("timed out"))
            }
            Some(Fault::Busy) => Err(ObjectError::Conflict { key: owned }),
            Some(Fault::Denied) => Err(ObjectError::Denied { key: owned, message: "not allowed".into() }),
            Some(Fault::Full) => Err(ObjectError::Failed { key: owned, message: "disk full".into() }),
        }
    }
}

impl Inner {
    /// Carries out what was late: after one more operation has passed it by.
    fn arrive(&mut self, now: Timestamp) {
        let (due, waiting): (Vec<_>, Vec<_>) = self.late.drain(..).partition(|late| late.0 == 0);
        self.late = waiting.into_iter().map(|(count, key, bytes, condition)| (count - 1, key, bytes, condition)).collect();
        for (_, key, bytes, condition) in due {
            // Nobody waits for this answer.
            let _ = self.apply(&key, bytes, &condition, now);
        }
    }

    fn apply(
        &mut self,
        key: &str,
        bytes: Option<Vec<u8>>,
        condition: &Condition,
        now: Timestamp,
    ) -> Result<Version, ObjectError> {
        let there = self.objects.get(key).map(|object| &object.version);
        let holds = match condition {
            Condition::Always => true,
            Condition::Absent => there.is_none(),
            Condition::Is(version) => there == Some(version),
        };
        if !holds {
            return Err(ObjectError::Conflict { key: key.to_owned() });
        }
        self.versions += 1;
        let version = Version(self.versions.to_string());
        let before = match bytes {
            Some(bytes) => self.objects.insert(key.to_owned(), Object { bytes, version: version.clone(), modified: now }),
            None => self.objects.remove(key),
        };
        if let Some(before) = before
            && key.ends_with("/state.json")
        {
            let replaced = self.replaced.entry(key.to_owned()).or_default();
            replaced.push(before);
            let surplus = replaced.len().saturating_sub(KEPT);
            replaced.drain(..surplus);
        }
        Ok(version)
    }
}

#[async_trait]
impl Objects for MemoryObjects {
    async fn get(&self, key: &str) -> Result<Option<Object>, ObjectError> {
        check_key(key)?;
        let now = self.clock.now();
        let mut inner = self.inner();
        inner.arrive(now);
        Ok(inner.objects.get(key).cloned())
    }

    async fn put(&self, key: &str, bytes: Vec<u8>, condition: Condition) -> Result<Version, ObjectError> {
        self.change(key, Some(bytes), condition).await
    }

    async fn delete(&self, key: &str, condition: Condition) -> Result<(), ObjectError> {
        self.change(key, None, condition).await.map(|_| ())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, ObjectError> {
        let folder = folder_of(prefix)?;
        Ok(self.inner().objects.keys().filter(|key| key.starts_with(&folder)).cloned().collect())
    }

    async fn history(&self, key: &str, limit: usize) -> Result<Vec<Object>, ObjectError> {
        let inner = self.inner();
        Ok(inner.replaced.get(key).into_iter().flatten().rev().take(limit).cloned().collect())
    }

    async fn keeps_history(&self) -> Option<bool> {
        Some(true)
    }

    async fn now(&self) -> Result<Timestamp, ObjectError> {
        Ok(self.clock.now())
    }

    fn location(&self) -> String {
        "memory://".into()
    }
}
