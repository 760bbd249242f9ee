//! Before a hop, while everything still runs as it did: every machine is looked at, and gets what the next version is made of.
//!
//! The last control plane's `kubeadm upgrade` has kube-proxy and CoreDNS replaced on all machines at once, those included whose own upgrade
//! comes later. And whatever stops an upgrade here stops it before it is registered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::apply::{Event, Failure, NodeInputs, Outcome, World};
use crate::bootstrap::Bundle;
use crate::cluster::{Cluster, KubernetesVersion, Packages};
use crate::observed::Observed;
use crate::rolling::Blocked;

use super::{End, run, steps};

/// With `force` a machine that cannot be reached is passed by.
pub(super) async fn fetch(world: &Arc<World>, inputs: &Arc<NodeInputs>, observed: &Observed, force: bool) -> (Outcome, End) {
    let plan = steps::fetched(&world.record.state());
    let mut outcome = run::tried(world, Arc::clone(inputs), observed, &plan).await;
    if force {
        outcome.failed.retain(|failed| {
            let lost = run::is_lost(&failed.failure);
            if lost {
                (world.events)(Event::Note(format!("{} is passed by: {}", failed.action.resource, failed.failure)));
            }
            !lost
        });
    }
    let end = match outcome.failed.first() {
        _ if outcome.stopped => End::Stopped,
        None => End::Done,
        Some(failed) => {
            let why = match &failed.failure {
                Failure::Node(error) => error.cause.clone(),
                other => other.to_string(),
            };
            let what = format!("{} cannot be upgraded: {why}", failed.action.resource);
            End::Blocked(Blocked { what, next: "mend that, then run the same command again".into() })
        }
    };
    (outcome, end)
}

/// Bundles by the version that each says it holds: the registered one, then those that are given.
pub(super) fn bundles(cluster: &Cluster, given: &[PathBuf]) -> Result<BTreeMap<KubernetesVersion, PathBuf>, String> {
    let Packages::Bundle(registered) = &cluster.packages else {
        return match given.first() {
            Some(path) => Err(format!("the cluster's packages come from apt, so the bundle {} is for nothing", path.display())),
            None => Ok(BTreeMap::new()),
        };
    };
    let read = |path: &Path| Bundle::version(path).map(|version| (version, path.to_owned()));
    let mut all: BTreeMap<_, _> = read(registered).ok().into_iter().collect();
    for path in given {
        all.extend([read(path)?]);
    }
    Ok(all)
}
