//! `etcd snapshot`: taken and checked on a control plane, brought here part by part, stored, read back, and only then described.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::apply::{Event, Sink};
use crate::bootstrap::inspect::EtcdStatus;
use crate::bootstrap::{EtcdWork, Events, Saved};
use crate::digest::hex;
use crate::operation::OperationError;
use crate::operation::session::Env;
use crate::store::{Lock, PART, Snapshot};

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

/// Takes a snapshot, and keeps the newest `keep` of this cluster.
pub async fn etcd_snapshot(
    env: &Env,
    name: Option<&str>,
    keep: usize,
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
    keep: usize,
    events: &Sink,
    stop: &CancellationToken,
    lock: &Lock,
) -> Result<SnapshotReport, OperationError> {
    let begun = env.clock.now();
    let site = Site::open(env, Some(name)).await?;
    lock.check().await?;
    site.store.sweep_parts().await?;
    let (status, _) = site.status().await;
    let mut warnings = vec![];
    if !status.has_quorum() {
        warnings.push("etcd has no quorum: what other members know and this one does not is not in the snapshot".to_owned());
    }
    let slot = source(&status).ok_or_else(|| OperationError::NoEtcd { cluster: name.to_owned() })?;
    let id = Snapshot::name(begun, &env.ids.fresh());
    (events)(Event::Note(format!("taking a snapshot on {slot}")));
    let result = take(env, &site, &slot, &id, events, stop).await;
    // Whatever became of it, the machine needs it no longer.
    if work(&site, EtcdWork::Drop { name: id.clone() }, &slot).await.is_err() {
        warnings.push(format!(
            "the snapshot's file is still on {slot} (/var/lib/kubewright/etcd); the next snapshot there removes it"
        ));
    }
    let snapshot = result?;
    lock.check().await?;
    site.store.describe(&snapshot).await?;
    let dropped = retain(&site, &snapshot, keep, lock).await?;
    Ok(SnapshotReport {
        location: format!("{}/etcd", site.store.location()),
        snapshot,
        dropped,
        warnings,
        seconds: env.clock.now().duration_since(begun).as_secs_f64(),
    })
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
async fn take(
    env: &Env,
    site: &Site,
    slot: &str,
    id: &str,
    events: &Sink,
    stop: &CancellationToken,
) -> Result<Snapshot, OperationError> {
    let name = id.to_owned();
    let text = work(site, EtcdWork::Save { name: name.clone() }, slot).await?;
    let saved = Saved::parse(&String::from_utf8_lossy(&text))
        .ok_or_else(|| OperationError::Failed(format!("{slot} took a snapshot and did not say what is in it")))?;
    let parts = u32::try_from(saved.size.div_ceil(PART as u64))
        .map_err(|_| OperationError::Failed(format!("the snapshot has {} bytes: too many", saved.size)))?;
    let (mut size, mut digest) = (0_u64, Sha256::new());
    for part in 1..=parts {
        if stop.is_cancelled() {
            return Err(OperationError::Interrupted("the snapshot was given up; none was stored".into()));
        }
        let bytes = work(site, EtcdWork::Read { name: name.clone(), part, size: PART }, slot).await?;
        size += bytes.len() as u64;
        digest.update(&bytes);
        site.store.put_part(id, part, &bytes).await?;
        (events)(Event::Note(format!("stored {size} of {} bytes", saved.size)));
    }
    let sha256 = hex(digest.finalize());
    if size != saved.size || sha256 != saved.sha256 {
        let why = format!("{slot} took {} bytes with checksum {}, {size} with {sha256} arrived", saved.size, saved.sha256);
        return Err(OperationError::Failed(format!("the snapshot did not arrive as it was taken; none was stored: {why}")));
    }
    let Saved { revision, keys, etcd, .. } = saved;
    let snapshot = Snapshot {
        format: Snapshot::FORMAT,
        id: id.to_owned(),
        cluster: site.state.cluster.clone(),
        uid: site.state.uid.clone(),
        taken: env.clock.now(),
        by: env.by.clone(),
        slot: slot.to_owned(),
        instance: site.instance(slot),
        kubernetes: site.state.model.kubernetes.to_string(),
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
async fn retain(site: &Site, new: &Snapshot, keep: usize, lock: &Lock) -> Result<Vec<String>, OperationError> {
    let listed = site.store.snapshots().await?;
    let ours: Vec<Snapshot> =
        listed.into_iter().filter_map(|listed| listed.snapshot.ok()).filter(|snapshot| snapshot.uid == site.state.uid).collect();
    if !ours.contains(new) {
        return Err(OperationError::Failed(format!(
            "snapshot {} was stored and is not listed; no older one was deleted",
            new.id
        )));
    }
    let mut dropped = vec![];
    for old in ours.iter().take(ours.len().saturating_sub(keep.max(1))).filter(|old| *old != new) {
        lock.check().await?;
        site.store.drop_snapshot(&old.id).await?;
        dropped.push(old.id.clone());
    }
    Ok(dropped)
}
