//! A cluster as it stands once its plan has been applied: the plan's own calls, played into an account in memory.

use std::collections::BTreeMap;

use kubewright::apply::observe;
use kubewright::bootstrap::user_data;
use kubewright::cloud::Scope;
use kubewright::cloud::fake::{FakeCloud, Options};
use kubewright::cluster::Cluster;
use kubewright::desired::ResourceId;
use kubewright::observed::{Catalogue, Instance, Observed};
use kubewright::plan::{Call, Change, Changed, Input, Plan, Ref, Verb, images, plan};
use kubewright::recorded::{Node, NodePhase, Recorded, State};

pub const UID: &str = "0123456789abcdef0123456789abcdef";

/// Given observations of one cluster.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Given {
    pub cluster: Cluster,
    pub state: State,
    pub observed: Observed,
    pub catalogue: Option<Catalogue>,
    pub user_data: BTreeMap<String, String>,
}

impl Given {
    pub fn plan(&self) -> Plan {
        plan(Input {
            cluster: &self.cluster,
            previous: self.state.applied_model.as_ref(),
            uid: UID,
            revision: 1,
            recorded: &self.state,
            observed: &self.observed,
            catalogue: self.catalogue.as_ref(),
            user_data: &self.user_data,
        })
    }

    /// The same account, another spec.
    pub fn with(&self, cluster: Cluster) -> Self {
        Self {
            user_data: launch_texts(&cluster),
            cluster,
            state: self.state.clone(),
            observed: self.observed.clone(),
            catalogue: self.catalogue.clone(),
        }
    }
}

fn launch_texts(cluster: &Cluster) -> BTreeMap<String, String> {
    cluster.groups.iter().map(|group| (group.name.clone(), user_data(cluster, group).unwrap_or_default())).collect()
}

/// Before and after the first plan.
pub async fn before_and_after(cluster: &Cluster) -> (Given, Given) {
    let cloud = FakeCloud::with("us-east-1", Options { instance_quota: 10_000, reads_until_running: 0, ..Options::default() });
    cloud.plant_zone(&cluster.api.dns_zone, false);
    let state = State::new(cluster.clone(), UID, "123456789012", "aws");
    let catalogue = match images::needs_catalogue(cluster, &state) {
        Some(query) => observe::catalogue(&cloud, &query).await.ok(),
        None => None,
    };
    let observed = look(&cloud, cluster, None).await;
    let before = Given { cluster: cluster.clone(), state, observed, catalogue, user_data: launch_texts(cluster) };
    let first = before.plan();
    assert!(first.errors.is_empty(), "{:?}", first.errors);
    let mut state = before.state.clone();
    state.images = first.images.clone();
    state.applied_model = Some(cluster.clone());
    let mut made = BTreeMap::new();
    play(&cloud, &first, &mut made, false);
    // Public addresses come with the state `running`; records need them. The VPC's default group is listed where the VPC is recorded.
    remember(made.clone(), &mut state);
    let running = look(&cloud, cluster, Some(&state)).await;
    let by_id: BTreeMap<&str, &Instance> = running.instances.iter().map(|instance| (instance.id.as_str(), instance)).collect();
    for answer in made.values_mut() {
        if let Some(instance) = answer.id.as_ref().and_then(|id| by_id.get(id.as_str())) {
            answer.private_address.clone_from(&instance.private_address);
            answer.public_address.clone_from(&instance.public_address);
        }
    }
    play(&cloud, &first, &mut made, true);
    let defaults = running.security_groups.iter().filter(|group| group.name == "default");
    for (group, egress) in defaults.flat_map(|group| [(group, false), (group, true)]) {
        let rules: Vec<_> = group.rules.iter().filter(|rule| rule.egress == egress).cloned().collect();
        let group = Ref::Known(group.id.clone());
        if !rules.is_empty() {
            let revoked = cloud.plant(&Change::RevokeRules { group, egress, rules, groups: BTreeMap::new() });
            assert!(revoked.is_ok(), "{revoked:?}");
        }
    }
    let zone = running.hosted_zones.first().map(|zone| zone.id.clone());
    made.insert(ResourceId::Records, Changed { id: zone, ..Changed::default() });
    remember(made, &mut state);
    let observed = look(&cloud, cluster, Some(&state)).await;
    let after = Given { state, observed, catalogue: None, ..before.with(cluster.clone()) };
    (before, after)
}

async fn look(cloud: &FakeCloud, cluster: &Cluster, state: Option<&State>) -> Observed {
    let scope = Scope::Uid(UID.into());
    match observe::observe(cloud, &scope, &cluster.api.dns_zone, &cluster.name, state).await {
        Ok(observed) => observed,
        Err(error) => panic!("{error:?}"),
    }
}

fn play(cloud: &FakeCloud, first: &Plan, made: &mut BTreeMap<ResourceId, Changed>, records: bool) {
    for action in &first.actions {
        if let kubewright::plan::Work::Calls(calls) = &action.work {
            for call in calls {
                let Call::Change(change) = call else { continue };
                if matches!(change, Change::ChangeRecords { .. }) != records {
                    continue;
                }
                let mut change = change.clone();
                for reference in change.refs_mut() {
                    let value = match &*reference {
                        Ref::Known(_) => continue,
                        Ref::Id(id) => made.get(id).and_then(|made| made.id.clone()),
                        Ref::PrivateAddress(id) => made.get(id).and_then(|made| made.private_address.clone()),
                        Ref::PublicAddress(id) => made.get(id).and_then(|made| made.public_address.clone()),
                    };
                    *reference = Ref::Known(value.unwrap_or_default());
                }
                if let Change::RunInstance { token, .. }
                | Change::CreateRouteTable { token, .. }
                | Change::CreateNatGateway { token, .. } = &mut change
                {
                    *token = format!("bench-{}", made.len());
                }
                let answer = cloud.plant(&change).unwrap_or_else(|error| panic!("{}: {error:?}", action.id));
                if action.verb == Verb::Create && answer.id.is_some() {
                    made.entry(action.resource.clone()).or_insert(answer);
                }
            }
        }
    }
}

fn remember(made: BTreeMap<ResourceId, Changed>, state: &mut State) {
    for (resource, answer) in made {
        let id = answer.id.unwrap_or_default();
        if let ResourceId::Instance(slot) = &resource {
            let host_keys = vec![kubewright::cloud::fake::host_key(&id)];
            state.nodes.insert(
                slot.clone(),
                Node { instance: id.clone(), host_keys, phase: NodePhase::Joined, marks: Default::default(), ..Node::new(&id) },
            );
        }
        let record = Recorded {
            id,
            attempt: UID.into(),
            created: "2026-01-01T00:00:00Z".into(),
            private_address: answer.private_address,
            public_address: answer.public_address,
            complete: true,
        };
        state.resources.insert(resource, record);
    }
}
