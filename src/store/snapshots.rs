//! Snapshots of etcd: what they hold is described in one small object, their bytes are in parts beside it.
//!
//! ```text
//! <cluster>/etcd/20261121T215646Z-1f2e3d4c.json       the description, written last and taken away first
//! <cluster>/etcd/20261121T215646Z-1f2e3d4c.db.0001    4 MiB each; joined in order they are what etcdutl reads
//! ```
//!
//! Parts keep memory bounded whatever the size of the database, on a folder as in a bucket, and each is written under the same conditions and
//! with the same encryption as every other object. Without its description a snapshot does not exist. Snapshots hold Secrets: they are
//! as secret as `secrets/` is.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::cluster::{ClusterStore, JOURNAL};
use super::error::StoreError;
use super::key::is_part;
use super::settle::Settled;
use crate::digest::sha256;

pub(super) const ETCD: &str = "etcd";
/// Bytes of a part; the last one may be shorter.
pub const PART: usize = 4 << 20;
/// Newest format of descriptions that this build reads.
const FORMAT: u32 = 2;
const RESTORE: &str = "etcd-restore.json";

/// What a snapshot is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    pub format: u32,
    /// `<time>-<8 hexadecimal characters>`; sorts by time.
    pub id: String,
    pub cluster: String,
    pub uid: String,
    /// When it was begun.
    pub taken: Timestamp,
    /// `user@host`.
    pub by: String,
    /// What it was taken before, such as the replacement of a control plane; `None`: somebody asked for it. Since format 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Slot and instance of the control plane that it was taken on.
    pub slot: String,
    pub instance: String,
    pub kubernetes: String,
    /// Version of the etcd that wrote it.
    pub etcd: String,
    /// Revision of etcd's store.
    pub revision: u64,
    pub keys: u64,
    /// Bytes of all parts together.
    pub size: u64,
    pub parts: u32,
    /// Of all parts joined.
    pub sha256: String,
}

/// One entry of the list of snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub id: String,
    /// `Err`: why its description cannot be used.
    pub snapshot: Result<Snapshot, String>,
}

/// A restore that is under way, or was interrupted, after its new data was made: before that nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// Names what it leaves on machines.
    pub id: String,
    pub snapshot: String,
    pub begun: Timestamp,
    pub by: String,
    /// Instances of the members that the restored etcd has.
    pub members: Vec<String>,
    pub phase: RestorePhase,
}

/// How far a restore has come: what is named is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestorePhase {
    /// Control planes are stopped and get their new data.
    Swapping,
    /// All have their new data; none may go back.
    Starting,
}

/// A description and the digest of its own text with nothing in the digest's place: no byte of it can change unnoticed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    checksum: String,
    snapshot: Snapshot,
}

impl Described {
    fn render(snapshot: &Snapshot, checksum: String) -> Result<Vec<u8>, String> {
        let described = Self { checksum, snapshot: snapshot.clone() };
        serde_json::to_vec_pretty(&described).map_err(|error| error.to_string())
    }

    fn sealed(snapshot: &Snapshot) -> Result<Vec<u8>, String> {
        let open = Self::render(snapshot, String::new())?;
        Self::render(snapshot, sha256(&open))
    }

    fn read(bytes: &[u8], cluster: &str, id: &str) -> Result<Snapshot, String> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        #[derive(Deserialize)]
        struct Outline {
            snapshot: Format,
        }
        let damaged = |why: &str| format!("its description is damaged: {why}");
        let outline: Outline = serde_json::from_slice(bytes).map_err(|error| damaged(&error.to_string()))?;
        let described: Result<Self, _> = serde_json::from_slice(bytes);
        let snapshot = match described {
            Ok(described) => described.snapshot,
            Err(_) if outline.snapshot.format > FORMAT => {
                return Err(format!("it was written by a newer kubewright; format {}", outline.snapshot.format));
            }
            Err(error) => return Err(damaged(&error.to_string())),
        };
        if Self::sealed(&snapshot).ok().as_deref() != Some(bytes) {
            return Err(damaged("its checksum is not that of its content"));
        }
        match (snapshot.cluster == cluster, snapshot.id == id) {
            (true, true) => Ok(snapshot),
            (false, _) => Err(format!("it is of another cluster, {}", snapshot.cluster)),
            (_, false) => Err(format!("it is that of another snapshot, {}", snapshot.id)),
        }
    }
}

impl Snapshot {
    /// The oldest format that has room for what is written: older builds read those of format 1.
    pub fn format(has_reason: bool) -> u32 {
        1 + u32::from(has_reason)
    }

    /// A name for a snapshot that is begun now.
    pub fn name(now: Timestamp, fresh: &str) -> String {
        let end = fresh.len().checked_sub(8).and_then(|from| fresh.get(from..)).unwrap_or(fresh);
        format!("{}-{end}", now.strftime("%Y%m%dT%H%M%SZ"))
    }
}

impl ClusterStore {
    /// All snapshots that are whole as far as their descriptions tell, and those whose description is damaged; the oldest first.
    pub async fn snapshots(&self) -> Result<Vec<Listed>, StoreError> {
        let mut all = vec![];
        for id in self.described().await? {
            let Some(object) = self.settler.read(&self.snapshot_key(&format!("{id}.json"))?).await? else { continue };
            all.push(Listed { snapshot: Described::read(&object.bytes, self.cluster(), &id), id });
        }
        Ok(all)
    }

    /// Stores a part, from 1. Only the same bytes may be there already.
    pub async fn put_part(&self, id: &str, part: u32, bytes: &[u8]) -> Result<(), StoreError> {
        let name = part_name(id, part);
        match self.settler.write(&self.snapshot_key(&name)?, bytes, None).await? {
            Settled::Done(_) => Ok(()),
            Settled::Other(_) => Err(self.in_the_way(&name)),
        }
    }

    /// `None`: it is not there.
    pub async fn part(&self, id: &str, part: u32) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.settler.read(&self.snapshot_key(&part_name(id, part))?).await?.map(|object| object.bytes))
    }

    /// Makes a snapshot exist, once all of its parts are stored.
    pub async fn describe(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let name = format!("{}.json", snapshot.id);
        let bytes = Described::sealed(snapshot)
            .map_err(|message| StoreError::Failed { location: self.place(&format!("{ETCD}/{name}")), message })?;
        match self.settler.write(&self.snapshot_key(&name)?, &bytes, None).await? {
            Settled::Done(_) => Ok(()),
            Settled::Other(_) => Err(self.in_the_way(&name)),
        }
    }

    /// Takes a snapshot away, its description first: what an interruption leaves is no snapshot.
    pub async fn drop_snapshot(&self, id: &str) -> Result<(), StoreError> {
        self.settler.discard(&self.snapshot_key(&format!("{id}.json"))?).await?;
        for key in self.parts_where(|of| of == id).await? {
            self.settler.discard(&key).await?;
        }
        Ok(())
    }

    /// Takes parts away that no description names, and says how many. With the lock held: another run's may be on their way otherwise.
    pub async fn sweep_parts(&self) -> Result<usize, StoreError> {
        let known = self.described().await?;
        let lost = self.parts_where(|of| !known.contains(of)).await?;
        for key in &lost {
            self.settler.discard(key).await?;
        }
        Ok(lost.len())
    }

    /// The restore that was begun and has not ended.
    pub async fn restore(&self) -> Result<Option<Restore>, StoreError> {
        let name = format!("{JOURNAL}/{RESTORE}");
        let Some(object) = self.settler.read(&self.key(&name)).await? else { return Ok(None) };
        let read = serde_json::from_slice(&object.bytes);
        read.map(Some).map_err(|error| StoreError::Failed { location: self.place(&name), message: format!("damaged: {error}") })
    }

    /// Records how far a restore has come; `None`: it has ended. With the lock held.
    pub async fn set_restore(&self, restore: Option<&Restore>) -> Result<(), StoreError> {
        let name = format!("{JOURNAL}/{RESTORE}");
        let Some(restore) = restore else { return self.settler.discard(&self.key(&name)).await };
        let failed = |message: String| StoreError::Failed { location: self.place(&name), message };
        let bytes = serde_json::to_vec_pretty(restore).map_err(|error| failed(error.to_string()))?;
        let base = self.settler.read(&self.key(&name)).await?.map(|object| object.version);
        match self.settler.write(&self.key(&name), &bytes, base.as_ref()).await? {
            Settled::Done(_) => Ok(()),
            Settled::Other(_) => Err(failed("another run wrote it".into())),
        }
    }

    /// Ids with a description, sorted.
    async fn described(&self) -> Result<BTreeSet<String>, StoreError> {
        let folder = format!("{}/", self.key(ETCD));
        let keys = self.settler.list(&folder).await?;
        Ok(keys.iter().filter_map(|key| key.strip_prefix(&folder)?.strip_suffix(".json")).map(str::to_owned).collect())
    }

    async fn parts_where(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, StoreError> {
        let folder = format!("{}/", self.key(ETCD));
        let of = |key: &str| Some(key.strip_prefix(&folder)?.split_once(".db.")?.0.to_owned());
        let keys = self.settler.list(&folder).await?;
        Ok(keys.into_iter().filter(|key| of(key).is_some_and(|id| wanted(&id))).collect())
    }

    fn snapshot_key(&self, name: &str) -> Result<String, StoreError> {
        match is_part(name) {
            true => Ok(self.key(&format!("{ETCD}/{name}"))),
            false => Err(StoreError::Name { name: name.into(), what: "snapshot" }),
        }
    }

    fn in_the_way(&self, name: &str) -> StoreError {
        let location = self.place(&format!("{ETCD}/{name}"));
        StoreError::Failed { location, message: "something else is there already".into() }
    }
}

fn part_name(id: &str, part: u32) -> String {
    format!("{id}.db.{part:04}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        Snapshot {
            format: FORMAT,
            id: "20260101T000000Z-00000001".into(),
            cluster: "demo".into(),
            uid: "0".repeat(32),
            taken: Timestamp::UNIX_EPOCH,
            by: "ops@build-7".into(),
            why: Some("before control-plane-us-east-1a-1 was replaced".into()),
            slot: "control-plane-us-east-1a-1".into(),
            instance: "i-1".into(),
            kubernetes: "1.34.2".into(),
            etcd: "3.6.5".into(),
            revision: 1234,
            keys: 99,
            size: 4096,
            parts: 1,
            sha256: "ab".repeat(32),
        }
    }

    #[test]
    fn no_bit_of_a_description_changes_and_no_end_is_cut_off_unnoticed() {
        let snapshot = snapshot();
        let whole = Described::sealed(&snapshot).unwrap();
        assert_eq!(Described::read(&whole, "demo", &snapshot.id), Ok(snapshot.clone()));
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Described::read(&bytes, "demo", &snapshot.id).is_err(), "bit {bit}");
        }
        for length in 0..whole.len() {
            assert!(Described::read(&whole[..length], "demo", &snapshot.id).is_err(), "{length} bytes");
        }
        assert!(Described::read(&whole, "other", &snapshot.id).unwrap_err().contains("another cluster"));
        assert!(Described::read(&whole, "demo", "20260101T000000Z-00000002").unwrap_err().contains("another snapshot"));
        let newer = br#"{"checksum":"","snapshot":{"format":3,"more":1}}"#;
        assert!(Described::read(newer, "demo", &snapshot.id).unwrap_err().contains("newer kubewright"));
    }

    #[test]
    fn what_format_1_described_reads_byte_for_byte() {
        let old = Snapshot { format: Snapshot::format(false), why: None, ..snapshot() };
        let bytes = Described::sealed(&old).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("why"), "an older build would not read it");
        assert_eq!(Described::read(&bytes, "demo", &old.id), Ok(old));
    }
}
