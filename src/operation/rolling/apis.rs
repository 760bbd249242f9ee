//! Which APIs that clients still ask for an upgrade takes away, as far as API servers and audit logs tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::apply::fleet_of;
use crate::bootstrap::inspect::{Api, Deprecated, Query};
use crate::cluster::KubernetesVersion;
use crate::recorded::State;
use crate::rolling::{Blocked, Time};

use super::look::{Eyes, Seen, addresses, live_planes};
use super::view;

/// A deprecated API that somebody has asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiUse {
    pub api: Api,
    /// Slots of the control planes whose API servers were asked.
    pub planes: Vec<String>,
    /// User agent and user, as audit logs name them; who asked most comes first.
    pub clients: Vec<String>,
}

/// What all API servers tell of that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiUses {
    pub uses: Vec<ApiUse>,
    /// Seconds since the youngest of the API servers started: what was asked for before, it may not know.
    pub since: Option<Time>,
    /// By slot, why an API server does not tell.
    pub unread: BTreeMap<String, String>,
}

/// Clients that a message names.
const CLIENTS: usize = 3;

impl ApiUses {
    /// What goes with the hop of this number: it was served before, and is not any more.
    pub fn gone(&self, hops: &[KubernetesVersion], number: usize) -> Vec<ApiUse> {
        let before = number.checked_sub(1).and_then(|before| hops.get(before));
        let Some(to) = hops.get(number) else { return vec![] };
        let goes = |minor: u32| minor <= to.minor && before.is_none_or(|before| minor > before.minor);
        self.uses.iter().filter(|one| one.api.removed.is_some_and(goes)).cloned().collect()
    }
}

impl std::fmt::Display for ApiUse {
    /// `batch/v1beta1 cronjobs, asked of control-plane-us-east-1a-1 (by kubectl/v1.24 as jane)`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, asked of {}", self.api, self.planes.join(", "))?;
        if self.clients.is_empty() {
            return Ok(());
        }
        let named = self.clients.iter().take(CLIENTS).map(String::as_str).collect::<Vec<_>>().join("; ");
        match self.clients.len().saturating_sub(CLIENTS) {
            0 => write!(f, " (by {named})"),
            more => write!(f, " (by {named}; and {more} more)"),
        }
    }
}

/// Why a hop is not begun that would take these away.
pub(super) fn stop(gone: &[ApiUse], to: KubernetesVersion) -> Option<Blocked> {
    let list = gone.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let next = "bring those clients to a newer version of the API, then --force: what an API server was asked for it tells until it starts \
                anew. The audit log on each control plane, /var/log/kubernetes/audit, has k8s.io/removed-release where such an API is asked for";
    (!gone.is_empty()).then(|| Blocked {
        what: format!("clients use what Kubernetes {} does not serve: {list}", to.minor_line()),
        next: next.into(),
    })
}

/// Asks every API server, since each one counts for itself.
pub(super) async fn asked(eyes: &Eyes<'_>, state: &State, seen: &Seen) -> ApiUses {
    let fleet = Arc::new(fleet_of(state, &eyes.inputs, &addresses(&seen.instances)));
    let planes = live_planes(&fleet, &seen.instances);
    let each = planes.iter().map(|slot| async { (slot.clone(), eyes.ask(Query::Deprecated, slot, &fleet).await) });
    let (now, mut all) = (view::now(eyes.env), ApiUses::default());
    let mut uses = BTreeMap::<Api, ApiUse>::new();
    for (slot, said) in futures::future::join_all(each).await {
        let told = match said.and_then(|text| Deprecated::parse(&text)) {
            Ok(told) => told,
            Err(why) => {
                all.unread.insert(slot, why);
                continue;
            }
        };
        let age = now.saturating_sub(told.started);
        all.since = Some(all.since.map_or(age, |since| since.min(age)));
        for api in told.apis {
            let clients = told.clients.get(&(api.group.clone(), api.version.clone(), api.resource.clone()));
            let one = uses.entry(api.clone()).or_insert_with(|| ApiUse { api, planes: vec![], clients: vec![] });
            one.planes.push(slot.clone());
            for client in clients.into_iter().flatten() {
                if !one.clients.contains(client) {
                    one.clients.push(client.clone());
                }
            }
        }
    }
    all.uses = uses.into_values().collect();
    all
}
