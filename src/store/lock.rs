//! The lock of a cluster: advisory, so that people see each other. What keeps a run from harm is the state's
//! compare-and-swap, which [`ClusterStore::take_over`] therefore turns against the old holder.

use std::path::Path;
use std::sync::{Arc, Mutex as Short, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use super::cluster::ClusterStore;
use super::error::{StoreError, span};
use super::objects::{Object, Version};
use super::settle::Settled;

pub(super) const LOCK: &str = "lock.json";
/// Newest format of a lock that this build understands, and the one it writes.
const FORMAT: u64 = 1;
/// Between two heartbeats.
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// A holder that has been silent for so long, by the store's clock, is taken for dead: five heartbeats missed.
pub const STALE: Duration = Duration::from_secs(60);
/// For so long after a heartbeat has arrived a holder may rely on having the lock; see [`Hold::confirm`]. Half of [`STALE`], so that
/// a call that was begun at its end has as long again before anybody may take the lock over.
pub const LEASE: Duration = Duration::from_secs(30);
/// How often a release or a break starts again because of a heartbeat in between.
pub(super) const RACES: u32 = 10;

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
pub(super) struct Note {
    format: u64,
    /// Of the hold; the same in every heartbeat.
    pub id: String,
    /// Of this very write.
    write_id: String,
    by: String,
    host: String,
    /// See [`place`].
    place: String,
    pid: u32,
    command: String,
    started: Option<Timestamp>,
    /// When it was acquired, by the store's clock.
    since: Option<Timestamp>,
    heartbeats: u64,
}

impl Note {
    pub fn of(object: &Object) -> Self {
        serde_json::from_slice(&object.bytes).unwrap_or_default()
    }

    fn is_ours(&self) -> bool {
        (1..=FORMAT).contains(&self.format) && !self.id.is_empty()
    }
}

/// The machine since its last start, and the processes that can be seen on it; empty where neither can be known. A name of a host
/// says less: containers and copies of a machine have the same one.
fn place() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    match (boot, Path::new("/proc/self/ns/pid").read_link()) {
        (Ok(boot), Ok(processes)) => format!("{} {}", boot.trim(), processes.display()),
        (Err(_), _) | (_, Err(_)) => String::new(),
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
    /// Taken on this very machine, by a process that can be seen from here if it exists.
    pub here: bool,
    /// The process that took it does not exist any more, on the host of whoever asks; the store cannot know.
    pub gone: bool,
    /// kubewright wrote it, in a format that this build knows. Any other lock is left to people.
    pub readable: bool,
    /// The write that was looked at: another one after it means that the holder lives.
    #[serde(skip)]
    pub(super) version: Version,
}

impl LockStatus {
    pub(super) fn new(object: &Object, now: Timestamp) -> Self {
        let note = Note::of(object);
        let readable = note.is_ours();
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
            here: !note.place.is_empty() && note.place == place(),
            gone: false,
            readable,
            version: object.version.clone(),
        }
    }

    /// Whether two looks saw the same write: no heartbeat came in between.
    pub fn is_same_write(&self, other: &Self) -> bool {
        self.version == other.version
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
        if !self.readable {
            facts.push(("why", "it is no lock of this kubewright: of a newer one, of another program, or damaged".into()));
        }
        facts
    }
}

/// A held lock, with its heartbeat. Dropped without [`Lock::release`] it stays in the store and goes stale, as after a crash.
pub struct Lock {
    hold: Hold,
    heart: JoinHandle<()>,
}

/// Tells whether a lock is still this run's. It keeps nothing alive: clones may outlive the lock.
#[derive(Clone)]
pub struct Hold {
    store: ClusterStore,
    held: Arc<Mutex<(Note, Version)>>,
    /// When the last heartbeat that arrived was sent, by this machine's clock.
    confirmed: Arc<Short<Timestamp>>,
    broken: Arc<watch::Sender<Option<StoreError>>>,
}

impl ClusterStore {
    /// Takes the lock or says who holds it. Needs a running tokio runtime for the heartbeat.
    pub async fn acquire(&self, owner: &Owner) -> Result<Lock, StoreError> {
        let note = self.note(owner).await?;
        let sent = self.settler.clock.now();
        match self.settler.write(&self.key(LOCK), &self.lock_bytes(&note)?, None).await? {
            Settled::Done(version) => Ok(Lock::start(self.clone(), note, version, sent)),
            Settled::Other(Some(object)) => Err(self.locked(&object).await?),
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

    pub(super) async fn note(&self, owner: &Owner) -> Result<Note, StoreError> {
        let since = self.settler.now().await?;
        Ok(Note {
            format: FORMAT,
            id: self.ids.fresh(),
            write_id: self.ids.fresh(),
            by: owner.by.clone(),
            host: owner.host.clone(),
            place: place(),
            pid: owner.pid,
            command: owner.command.clone(),
            started: Some(owner.started),
            since: Some(since),
            heartbeats: 0,
        })
    }

    pub(super) fn lock_bytes(&self, note: &Note) -> Result<Vec<u8>, StoreError> {
        let mut bytes = serde_json::to_vec_pretty(note)
            .map_err(|error| StoreError::Failed { location: self.place(LOCK), message: error.to_string() })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    pub(super) async fn locked(&self, by: &Object) -> Result<StoreError, StoreError> {
        let held = Box::new(LockStatus::new(by, self.settler.now().await?));
        Ok(StoreError::Locked { cluster: self.cluster.clone(), location: self.place(LOCK), held })
    }

    pub(super) fn broken(&self, by: Option<&Object>) -> StoreError {
        let by = by.map(|object| Note::of(object).by);
        StoreError::LockBroken { cluster: self.cluster.clone(), location: self.place(LOCK), by }
    }
}

impl Lock {
    /// `sent`: when the write that took it was sent.
    pub(super) fn start(store: ClusterStore, note: Note, version: Version, sent: Timestamp) -> Self {
        let hold = Hold {
            store,
            held: Arc::new(Mutex::new((note, version))),
            confirmed: Arc::new(Short::new(sent)),
            broken: Arc::new(watch::channel(None).0),
        };
        let heart = tokio::spawn(hold.clone().beat_on());
        Self { hold, heart }
    }

    /// For those who must know whether the lock is still this run's before they act.
    pub fn hold(&self) -> Hold {
        self.hold.clone()
    }

    /// Looks whether the lock is still ours. To be asked after the state was read, and before anything is saved: who takes a lock over
    /// writes the state after that, so that what was read before this look cannot be saved any more then. What a paused run reads only
    /// after a takeover could be.
    pub async fn check(&self) -> Result<(), StoreError> {
        let store = &self.hold.store;
        let there = store.settler.read(&store.key(LOCK)).await?;
        match there {
            Some(object) if Note::of(&object).id == self.hold.id().await => Ok(()),
            there => Err(store.broken(there.as_ref())),
        }
    }

    /// Why this lock is no longer ours, once a heartbeat has noticed.
    pub fn broken(&self) -> Option<StoreError> {
        self.hold.broken.borrow().clone()
    }

    /// Returns when a heartbeat notices that the lock is no longer ours; never otherwise. For stopping a run early: what it
    /// would write is refused in any case.
    pub async fn until_broken(&self) -> StoreError {
        let mut broken = self.hold.broken.subscribe();
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
        let store = &self.hold.store;
        let (note, version) = &mut *self.hold.held.lock().await;
        for _ in 0..RACES {
            match store.settler.remove(&store.key(LOCK), version).await? {
                Settled::Done(()) | Settled::Other(None) => return Ok(()),
                // A heartbeat of ours that arrived late.
                Settled::Other(Some(there)) if Note::of(&there).id == note.id => *version = there.version,
                Settled::Other(Some(there)) => return Err(store.broken(Some(&there))),
            }
        }
        Err(store.broken(None))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.heart.abort();
    }
}

impl Hold {
    /// Asked before anything that the state's compare-and-swap does not guard. Costs nothing while heartbeats arrive; where the last
    /// one is older than [`LEASE`], as in a process that was stopped for a while, the store is asked first.
    pub async fn confirm(&self) -> Result<(), StoreError> {
        if let Some(error) = self.broken.borrow().clone() {
            return Err(error);
        }
        if self.is_fresh() {
            return Ok(());
        }
        let mut held = self.held.lock().await;
        // Somebody else may have asked meanwhile.
        if let Some(error) = self.broken.borrow().clone() {
            return Err(error);
        }
        if self.is_fresh() { Ok(()) } else { self.beat(&mut held).await }
    }

    fn is_fresh(&self) -> bool {
        let confirmed = *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back proves nothing.
        Duration::try_from(self.store.settler.clock.now().duration_since(confirmed)).is_ok_and(|age| age < LEASE)
    }

    pub(super) async fn id(&self) -> String {
        self.held.lock().await.0.id.clone()
    }

    /// One heartbeat. An error other than [`StoreError::LockBroken`] says nothing about whose the lock is.
    async fn beat(&self, held: &mut (Note, Version)) -> Result<(), StoreError> {
        let store = &self.store;
        let (note, version) = held;
        for _ in 0..RACES {
            let sent = store.settler.clock.now();
            let next = Note { write_id: store.ids.fresh(), heartbeats: note.heartbeats + 1, ..note.clone() };
            let found = store.settler.write(&store.key(LOCK), &store.lock_bytes(&next)?, Some(version)).await?;
            match found {
                Settled::Done(now) => {
                    (*note, *version) = (next, now);
                    *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner) = sent;
                    return Ok(());
                }
                // An earlier heartbeat whose answer was lost. It may be old: it proves that the lock is ours, not since when.
                Settled::Other(Some(there)) if Note::of(&there).id == note.id => {
                    (*note, *version) = (Note::of(&there), there.version);
                }
                Settled::Other(found) => {
                    let error = store.broken(found.as_ref());
                    self.broken.send_replace(Some(error.clone()));
                    return Err(error);
                }
            }
        }
        Err(StoreError::NoAnswer { location: store.place(LOCK), message: "it is being changed all the time".into() })
    }

    async fn beat_on(self) {
        loop {
            self.store.settler.clock.wait(HEARTBEAT).await;
            let mut held = self.held.lock().await;
            match self.beat(&mut held).await {
                Ok(()) => {}
                Err(StoreError::LockBroken { .. }) => return,
                Err(error) => tracing::warn!(%error, "heartbeat of the lock failed; it is tried again"),
            }
        }
    }
}
