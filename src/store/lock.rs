//! The lock of a cluster: advisory, so that people see each other. What keeps a run from harm is the state's
//! compare-and-swap, which [`ClusterStore::lock_break`] therefore turns against the old holder.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use super::cluster::ClusterStore;
use super::error::{StoreError, span};
use super::objects::{Object, Version};
use super::settle::Settled;

const LOCK: &str = "lock.json";
/// Between two heartbeats.
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// A holder that has been silent for so long, by the store's clock, is taken for dead: five heartbeats missed.
pub const STALE: Duration = Duration::from_secs(60);
/// How often a release or a break starts again because of a heartbeat in between.
const RACES: u32 = 10;

/// Who asks for the lock, as shown to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `user@host`.
    pub by: String,
    pub host: String,
    pub pid: u32,
    /// `update demo --yes`; no secrets.
    pub command: String,
    /// By the owner's clock.
    pub started: Timestamp,
}

/// The lock as it is stored. Every field may be missing: a lock that cannot be read is still a lock, and can be broken.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Note {
    format: u64,
    /// Of the hold; the same in every heartbeat.
    id: String,
    /// Of this very write.
    write_id: String,
    by: String,
    host: String,
    pid: u32,
    command: String,
    started: Option<Timestamp>,
    /// When it was acquired, by the store's clock.
    since: Option<Timestamp>,
    heartbeats: u64,
}

impl Note {
    fn of(object: &Object) -> Self {
        serde_json::from_slice(&object.bytes).unwrap_or_default()
    }
}

/// A lock that somebody holds, with ages by the store's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LockStatus {
    pub by: String,
    pub host: String,
    pub pid: u32,
    pub command: String,
    /// When the run began, by its own clock.
    pub started: Option<Timestamp>,
    /// When the lock was acquired, by the store's clock.
    pub since: Option<Timestamp>,
    pub age: Option<Duration>,
    pub heartbeat_age: Duration,
    /// No heartbeat for [`STALE`].
    pub stale: bool,
    /// The process that took it does not exist any more, on the host of whoever asks; the store cannot know.
    pub gone: bool,
}

impl LockStatus {
    fn new(object: &Object, now: Timestamp) -> Self {
        let note = Note::of(object);
        let age = |since: Timestamp| Duration::try_from(now.duration_since(since)).unwrap_or_default();
        let heartbeat_age = age(object.modified);
        let known = |text: String| if text.is_empty() { "unknown".to_owned() } else { text };
        Self {
            by: known(note.by),
            host: known(note.host),
            pid: note.pid,
            command: known(note.command),
            started: note.started,
            since: note.since,
            age: note.since.map(age),
            heartbeat_age,
            stale: heartbeat_age >= STALE,
            gone: false,
        }
    }

    /// Words and their values, for people.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts =
            vec![("by", format!("{} (pid {} on {})", self.by, self.pid, self.host)), ("command", self.command.clone())];
        if let (Some(since), Some(age)) = (self.since, self.age) {
            facts.push(("since", format!("{} ({} ago)", since.strftime("%F %TZ"), span(age.as_secs()))));
        }
        let silent = match (self.gone, self.stale) {
            (true, _) => &format!("; there is no process {} on this host any more", self.pid),
            (false, true) => "; that run has probably died",
            (false, false) => "",
        };
        facts.push(("heartbeat", format!("{} ago{silent}", span(self.heartbeat_age.as_secs()))));
        facts
    }
}

/// A held lock, with its heartbeat. Dropped without [`Lock::release`] it stays in the store and goes stale, as after a crash.
pub struct Lock {
    store: ClusterStore,
    held: Arc<Mutex<(Note, Version)>>,
    broken: watch::Receiver<Option<StoreError>>,
    heart: JoinHandle<()>,
}

impl ClusterStore {
    /// Takes the lock or says who holds it. Needs a running tokio runtime for the heartbeat.
    pub async fn acquire(&self, owner: &Owner) -> Result<Lock, StoreError> {
        let since = self.settler.now().await?;
        let note = Note {
            format: 1,
            id: self.ids.fresh(),
            write_id: self.ids.fresh(),
            by: owner.by.clone(),
            host: owner.host.clone(),
            pid: owner.pid,
            command: owner.command.clone(),
            started: Some(owner.started),
            since: Some(since),
            heartbeats: 0,
        };
        match self.settler.write(&self.key(LOCK), &self.lock_bytes(&note)?, None).await? {
            Settled::Done(version) => Ok(Lock::start(self.clone(), note, version)),
            Settled::Other(Some(object)) => Err(StoreError::Locked {
                cluster: self.cluster.clone(),
                location: self.place(LOCK),
                held: Box::new(LockStatus::new(&object, self.settler.now().await?)),
            }),
            Settled::Other(None) => Err(self.broken(None)),
        }
    }

    /// The lock, if somebody holds it. Reads only.
    pub async fn lock_status(&self) -> Result<Option<LockStatus>, StoreError> {
        match self.settler.read(&self.key(LOCK)).await? {
            Some(object) => Ok(Some(LockStatus::new(&object, self.settler.now().await?))),
            None => Ok(None),
        }
    }

    /// Takes the lock away from whoever holds it and returns what was broken. Before that the state gets a new write id, so
    /// that the old holder can save nothing any more, even if it is only paused.
    pub async fn lock_break(&self) -> Result<Option<LockStatus>, StoreError> {
        let Some(object) = self.settler.read(&self.key(LOCK)).await? else { return Ok(None) };
        let status = LockStatus::new(&object, self.settler.now().await?);
        self.bump().await?;
        let id = Note::of(&object).id;
        let mut version = object.version;
        for _ in 0..RACES {
            match self.settler.remove(&self.key(LOCK), &version).await? {
                // Another hold than the one that was looked at: that one is gone already.
                Settled::Other(Some(there)) if Note::of(&there).id != id => return Ok(Some(status)),
                Settled::Other(Some(there)) => version = there.version,
                Settled::Done(()) | Settled::Other(None) => return Ok(Some(status)),
            }
        }
        Err(StoreError::NoAnswer {
            location: self.place(LOCK),
            message: "its holder writes faster than it can be removed".into(),
        })
    }

    fn lock_bytes(&self, note: &Note) -> Result<Vec<u8>, StoreError> {
        let mut bytes = serde_json::to_vec_pretty(note)
            .map_err(|error| StoreError::Failed { location: self.place(LOCK), message: error.to_string() })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn broken(&self, by: Option<&Object>) -> StoreError {
        let by = by.map(|object| Note::of(object).by);
        StoreError::LockBroken { cluster: self.cluster.clone(), location: self.place(LOCK), by }
    }
}

impl Lock {
    fn start(store: ClusterStore, note: Note, version: Version) -> Self {
        let held = Arc::new(Mutex::new((note, version)));
        let (tell, broken) = watch::channel(None);
        let heart = tokio::spawn(beat(store.clone(), held.clone(), tell));
        Self { store, held, broken, heart }
    }

    /// Why this lock is no longer ours, once a heartbeat has noticed.
    pub fn broken(&self) -> Option<StoreError> {
        self.broken.borrow().clone()
    }

    /// Returns when a heartbeat notices that the lock is no longer ours; never otherwise. For stopping a run early: what it
    /// would write is refused in any case.
    pub async fn until_broken(&self) -> StoreError {
        let mut broken = self.broken.clone();
        let found = broken.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        match found {
            Some(error) => error,
            None => std::future::pending().await,
        }
    }

    /// Gives the lock back. An error other than [`StoreError::LockBroken`] leaves it to go stale.
    pub async fn release(mut self) -> Result<(), StoreError> {
        self.heart.abort();
        let _ = (&mut self.heart).await;
        if let Some(error) = self.broken() {
            return Err(error);
        }
        let (note, version) = &mut *self.held.lock().await;
        for _ in 0..RACES {
            match self.store.settler.remove(&self.store.key(LOCK), version).await? {
                Settled::Done(()) | Settled::Other(None) => return Ok(()),
                // A heartbeat of ours that arrived late.
                Settled::Other(Some(there)) if Note::of(&there).id == note.id => *version = there.version,
                Settled::Other(Some(there)) => return Err(self.store.broken(Some(&there))),
            }
        }
        Err(self.store.broken(None))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.heart.abort();
    }
}

async fn beat(store: ClusterStore, held: Arc<Mutex<(Note, Version)>>, tell: watch::Sender<Option<StoreError>>) {
    loop {
        store.settler.clock.wait(HEARTBEAT).await;
        let (note, version) = &mut *held.lock().await;
        let next = Note { write_id: store.ids.fresh(), heartbeats: note.heartbeats + 1, ..note.clone() };
        let Ok(bytes) = store.lock_bytes(&next) else { continue };
        match store.settler.write(&store.key(LOCK), &bytes, Some(version)).await {
            Ok(Settled::Done(now)) => (*note, *version) = (next, now),
            // An earlier heartbeat whose answer was lost.
            Ok(Settled::Other(Some(there))) if Note::of(&there).id == note.id => {
                (*note, *version) = (Note::of(&there), there.version);
            }
            Ok(Settled::Other(found)) => {
                tell.send_replace(Some(store.broken(found.as_ref())));
                return;
            }
            Err(error) => tracing::warn!(%error, "heartbeat of the lock failed; it is tried again"),
        }
    }
}
