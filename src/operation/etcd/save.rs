//! `etcd snapshot`: taken and checked on a control plane, brought here part by part, stored, read back, and only then described.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::apply::{Event, Sink};
use crate::bootstrap::inspect::EtcdStatus;
use crate::bootstrap::{EtcdWork, Events, Saved};
use crate::clock::Clock;
use crate::digest::hex;
use crate::operation::OperationError;
use crate::operation::session::Env;
use crate::store::{Hold, Lock, PART, Snapshot};

use super::{Reader, Site};

/// A snapshot that was stored.
#[derive(Debug)]
pub struct SnapshotReport {
    pub snapshot: Snapshot,
    pub location: String,
    /// Older snapshots that were taken away.
    pub dropped: Vec<String>,
    pub warnings: Vec<String>,
    pub seconds: f64,
}

/// Takes a snapshot, and keeps the newest `keep` of this cluster; `None`: as many as its spec says.
pub async fn etcd_snapshot(
    env: &Env,
    name: Option<&str>,
    keep: Option<u32>,
    events: Sink,
    stop: CancellationToken,
) -> Result<SnapshotReport, OperationError> {
    let before = Site::open(env, name).await?;
    let cluster = &before.state.cluster;
    env.under_lock(&before.store, &stop, async |env, lock| locked(env, cluster, keep, &events, &stop, lock).await).await
}

async fn locked(
    env: &Env,
    name: &str,
    keep: Option<u32>,
    events: &Sink,
    stop: &CancellationToken,
    lock: &Lock,
) -> Result<SnapshotReport, OperationError> {
    let begun = env.clock.now();
    let site = Site::open(env, Some(name)).await?;
    lock.check().await?;
    let tell = |text| (events)(Event::Note(text));
    let order = Order {
        clock: env.clock.as_ref(),
        fresh: env.ids.fresh(),
        by: &env.by,
        why: None,
        keep: keep.unwrap_or(site.state.model.snapshots_kept),
        hold: &lock.hold(),
        stop,
        tell: &tell,
    };
    let Stored { snapshot, dropped, warnings } = store(&site, &order).await?;
    Ok(SnapshotReport {
        location: format!("{}/etcd", site.store.location()),
        snapshot,
        dropped,
        warnings,
        seconds: env.clock.now().duration_since(begun).as_secs_f64(),
    })
}

/// How a snapshot is taken, with the lock held.
pub(super) struct Order<'a> {
    pub clock: &'a dyn Clock,
    /// Random characters, for its name.
    pub fresh: String,
    pub by: &'a str,
    /// What it was taken before; `None`: somebody asked for it.
    pub why: Option<String>,
    /// How many of its kind stay.
    pub keep: u32,
    pub hold: &'a Hold,
    pub stop: &'a CancellationToken,
    pub tell: &'a (dyn Fn(String) + Send + Sync),
}

/// What became of it.
pub(super) struct Stored {
    pub snapshot: Snapshot,
    pub dropped: Vec<String>,
    pub warnings: Vec<String>,
}

/// Takes a snapshot on the best control plane, stores and proves it, and drops older ones of its kind.
pub(super) async fn store(site: &Site, order: &Order<'_>) -> Result<Stored, OperationError> {
    site.store.sweep_parts().await?;
    let (status, _) = site.status().await;
    let mut warnings = vec![];
    if !status.has_quorum() {
        warnings.push("etcd has no quorum: what other members know and this one does not is not in the snapshot".to_owned());
    }
    let slot = source(&status).ok_or_else(|| OperationError::NoEtcd { cluster: site.state.cluster.clone() })?;
    let id = Snapshot::name(order.clock.now(), &order.fresh);
    (order.tell)(format!("taking a snapshot on {slot}"));
    let result = take(site, &slot, &id, order).await;
    // Whatever became of it, the machine needs it no longer.
    if work(site, EtcdWork::Drop { name: id.clone() }, &slot).await.is_err() {
        warnings.push(format!(
            "the snapshot's file is still on {slot} (/var/lib/kubewright/etcd); the next snapshot there removes it"
        ));
    }
    let snapshot = result?;
    order.hold.confirm().await?;
    site.store.describe(&snapshot).await?;
    let dropped = retain(site, &snapshot, order).await?;
    Ok(Stored { snapshot, dropped, warnings })
}

/// The control plane whose member has come farthest, rather not the leader, who has more to do. Without a quorum, any that answers.
fn source(status: &EtcdStatus) -> Option<String> {
    let of_ours = status.members.iter().filter(|member| !member.slot.is_empty() && !member.learner && member.applied.is_some());
    let well = of_ours.filter(|member| member.healthy || !status.has_quorum());
    well.max_by_key(|member| (member.applied, !member.leader, std::cmp::Reverse(&member.slot))).map(|member| member.slot.clone())
}

fn nobody() -> Events {
    Arc::new(|_| {})
}

async fn work(site: &Site, work: EtcdWork, slot: &str) -> Result<Vec<u8>, OperationError> {
    let done = site.nodes.etcd(&work, slot, Arc::clone(&site.fleet), nobody()).await;
    done.map_err(|error| OperationError::Node(Box::new(error)))
}

/// Stores all parts and reads them back.
async fn take(site: &Site, slot: &str, id: &str, order: &Order<'_>) -> Result<Snapshot, OperationError> {
    let begun = order.clock.now();
    let name = id.to_owned();
    let text = work(site, EtcdWork::Save { name: name.clone() }, slot).await?;
    let saved = Saved::parse(&String::from_utf8_lossy(&text))
        .ok_or_else(|| OperationError::Failed(format!("{slot} took a snapshot and did not say what is in it")))?;
    let parts = u32::try_from(saved.size.div_ceil(PART as u64))
        .map_err(|_| OperationError::Failed(format!("the snapshot has {} bytes: too many", saved.size)))?;
    let (mut size, mut digest) = (0_u64, Sha256::new());
    for part in 1..=parts {
        if order.stop.is_cancelled() {
            return Err(OperationError::Interrupted("the snapshot was given up; none was stored".into()));
        }
        let bytes = work(site, EtcdWork::Read { name: name.clone(), part, size: PART }, slot).await?;
        size += bytes.len() as u64;
        digest.update(&bytes);
        site.store.put_part(id, part, &bytes).await?;
        (order.tell)(format!("stored {size} of {} bytes", saved.size));
    }
    let sha256 = hex(digest.finalize());
    if size != saved.size || sha256 != saved.sha256 {
        let why = format!("{slot} took {} bytes with checksum {}, {size} with {sha256} arrived", saved.size, saved.sha256);
        return Err(OperationError::Failed(format!("the snapshot did not arrive as it was taken; none was stored: {why}")));
    }
    let Saved { revision, keys, etcd, .. } = saved;
    let snapshot = Snapshot {
        format: Snapshot::format(order.why.is_some()),
        id: id.to_owned(),
        cluster: site.state.cluster.clone(),
        uid: site.state.uid.clone(),
        taken: begun,
        by: order.by.to_owned(),
        why: order.why.clone(),
        slot: slot.to_owned(),
        instance: site.instance(slot),
        kubernetes: site.version().await.to_string(),
        etcd,
        revision,
        keys,
        size,
        parts,
        sha256,
    };
    proven(site, &snapshot).await?;
    Ok(snapshot)
}

async fn proven(site: &Site, snapshot: &Snapshot) -> Result<(), OperationError> {
    Reader::new(&site.store, snapshot).check().await.map_err(|trouble| match trouble {
        Ok(why) => OperationError::Failed(format!("the snapshot was stored and cannot be read back; it does not count: {why}")),
        Err(error) => error,
    })
}

/// Older ones go only when the new one is listed, which it is only because all of it could be read. Damaged ones, and those of an earlier
/// cluster of this name, are left to people.
async fn retain(site: &Site, new: &Snapshot, order: &Order<'_>) -> Result<Vec<String>, OperationError> {
    let listed = site.store.snapshots().await?;
    let kind = |snapshot: &Snapshot| snapshot.uid == site.state.uid && snapshot.why.is_some() == new.why.is_some();
    let ours: Vec<Snapshot> = listed.into_iter().filter_map(|listed| listed.snapshot.ok()).filter(kind).collect();
    if !ours.contains(new) {
        return Err(OperationError::Failed(format!(
            "snapshot {} was stored and is not listed; no older one was deleted",
            new.id
        )));
    }
    let mut dropped = vec![];
    let keep = usize::try_from(order.keep.max(1)).unwrap_or(usize::MAX);
    for old in ours.iter().take(ours.len().saturating_sub(keep)).filter(|old| *old != new) {
        order.hold.confirm().await?;
        site.store.drop_snapshot(&old.id).await?;
        dropped.push(old.id.clone());
    }
    Ok(dropped)
}
