//! Taking a lock from a run that is dead, or that somebody wants out of the way.
//!
//! The order is what makes this safe. The lock is replaced first, by compare-and-swap: of several takers one gets on. Then that one
//! fences: it writes the state again as it is, so that whoever held it can save nothing any more. It replaces a state that it has read
//! before it saw the lock to be still its own: a taker that was slow, and has lost the lock meanwhile, therefore fences nobody who came
//! after it. Only then is the state read that the new run goes on from, with every intent that the old one recorded.

use super::cluster::ClusterStore;
use super::error::StoreError;
use super::lock::{LOCK, Lock, LockStatus, Note, Owner, RACES};
use super::objects::Object;
use super::settle::Settled;

/// How often a fence starts again because the old holder saved in between.
const FENCES: u32 = 20;

impl ClusterStore {
    /// Takes the lock that was looked at, which the caller holds to be a dead run's. A holder that has sent a heartbeat since lives, and
    /// keeps it; so does another taker that was faster: [`StoreError::Locked`]. Afterwards the old holder can save nothing.
    pub async fn take_over(&self, owner: &Owner, seen: &LockStatus) -> Result<Lock, StoreError> {
        // A newer kubewright, or another cluster, may be at work there: then nothing is touched.
        self.fence_base().await?.ok();
        let Some(there) = self.settler.read(&self.key(LOCK)).await? else { return self.acquire(owner).await };
        if there.version != seen.version {
            return Err(self.locked(&there).await?);
        }
        let note = self.note(owner).await?;
        let sent = self.settler.clock.now();
        match self.settler.write(&self.key(LOCK), &self.lock_bytes(&note)?, Some(&there.version)).await? {
            Settled::Done(version) => self.fenced(Lock::start(self.clone(), note, version, sent)).await,
            Settled::Other(Some(other)) => Err(self.locked(&other).await?),
            Settled::Other(None) => self.acquire(owner).await,
        }
    }

    /// Takes the lock away from whoever holds it, dead or not, and returns what was broken. The old holder can save nothing any more,
    /// even if it is only paused.
    pub async fn lock_break(&self) -> Result<Option<LockStatus>, StoreError> {
        let Some(mut there) = self.settler.read(&self.key(LOCK)).await? else { return Ok(None) };
        let status = LockStatus::new(&there, self.settler.now().await?);
        // A newer kubewright, or another cluster, may be at work there: then nothing is touched.
        self.fence_base().await?.ok();
        let held = Note::of(&there).id;
        let breaker = Owner {
            by: self.writer().to_owned(),
            host: String::new(),
            pid: std::process::id(),
            command: format!("lock break {}", self.cluster()),
            started: self.settler.clock.now(),
        };
        for _ in 0..RACES {
            let note = self.note(&breaker).await?;
            let sent = self.settler.clock.now();
            match self.settler.write(&self.key(LOCK), &self.lock_bytes(&note)?, Some(&there.version)).await? {
                Settled::Done(version) => {
                    self.fenced(Lock::start(self.clone(), note, version, sent)).await?.release().await?;
                    return Ok(Some(status));
                }
                Settled::Other(Some(other)) if Note::of(&other).id == held => there = other,
                // Another hold than the one that was looked at, or none: that one is gone already.
                Settled::Other(Some(_) | None) => return Ok(Some(status)),
            }
        }
        Err(StoreError::NoAnswer {
            location: self.place(LOCK),
            message: "its holder writes faster than it can be removed".into(),
        })
    }

    async fn fenced(&self, lock: Lock) -> Result<Lock, StoreError> {
        match self.fence(&lock).await {
            Ok(()) => Ok(lock),
            Err(error) => {
                // What failed is the news; a lock that stays behind goes stale.
                let _ = lock.release().await;
                Err(error)
            }
        }
    }

    /// Gives the state a new write id and serial. Where nothing is recorded, that nothing is written.
    async fn fence(&self, lock: &Lock) -> Result<(), StoreError> {
        let ours = lock.hold().id().await;
        for _ in 0..FENCES {
            let Ok(base) = self.fence_base().await? else { return Ok(()) };
            // After the state was read, and before it is written: see above.
            let there = self.settler.read(&self.key(LOCK)).await?;
            if there.as_ref().is_none_or(|object| Note::of(object).id != ours) {
                return Err(self.taken(there.as_ref()).await?);
            }
            if self.bump(base).await? {
                return Ok(());
            }
        }
        Err(StoreError::NoAnswer { location: self.location(), message: "its holder writes faster than it can be stopped".into() })
    }

    async fn taken(&self, by: Option<&Object>) -> Result<StoreError, StoreError> {
        match by {
            Some(object) => self.locked(object).await,
            None => Ok(self.broken(None)),
        }
    }
}
