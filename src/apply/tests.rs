//! Whole runs against an account in memory, in virtual time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::observe::{catalogue, observe, observe_settled};
use super::resume::{adopt, look_up, settle};
use super::{MemoryRecord, NodeInputs, Outcome, Record, World, run};
use crate::bootstrap::{Events, Fleet, NodeError, Nodes, Pki};
use crate::clock::{CountingIds, VirtualClock};
use crate::cloud::fake::{FakeCloud, Fault, When};
use crate::cloud::{Cloud, Scope};
use crate::cluster::{Cluster, Nat, Role, Topology};
use crate::desired::{ResourceId, fixture};
use crate::plan::{Change, Input, NodeTask, Plan, Ref, Tags, Totals, delete, images, plan};
use crate::recorded::{Intent, NodePhase, State};
use crate::secret::Secret;

/// Remembers tasks; fails where told.
#[derive(Default)]
struct Tasks {
    log: Mutex<Vec<(NodeTask, String)>>,
    fail: Mutex<Vec<(NodeTask, String)>>,
}

#[async_trait]
impl Nodes for Tasks {
    async fn ask(&self, _: crate::bootstrap::inspect::Query, _: &str, _: Arc<Fleet>) -> Result<String, NodeError> {
        Ok(String::new())
    }

    async fn etcd(&self, _: &crate::bootstrap::EtcdWork, _: &str, _: Arc<Fleet>, _: Events) -> Result<Vec<u8>, NodeError> {
        Ok(vec![])
    }

    async fn run(&self, task: NodeTask, slot: &str, fleet: Arc<Fleet>, _: Events) -> Result<(), NodeError> {
        assert!(fleet.machines.contains_key(slot), "{slot} is not in the fleet");
        assert!(!fleet.machines[slot].private_address.is_empty(), "{slot} has no address");
        if !matches!(task, NodeTask::Prepare | NodeTask::Init) {
            assert!(!fleet.ready_control_planes.is_empty(), "{task:?} {slot} without an API server");
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        self.log.lock().unwrap().push((task, slot.to_owned()));
        if self.fail.lock().unwrap().contains(&(task, slot.to_owned())) {
            return Err(NodeError {
                slot: slot.into(),
                address: fleet.machines[slot].private_address.clone(),
                step: "packages".into(),
                command: None,
                exit: Some(1),
                stderr: vec![],
                log: vec![],
                cause: "test".into(),
                left: String::new(),
                retryable: false,
                seconds: 5,
            });
        }
        Ok(())
    }
}

struct Lab {
    cloud: FakeCloud,
    record: Arc<MemoryRecord>,
    tasks: Arc<Tasks>,
    world: Arc<World>,
    cluster: Cluster,
    user_data: BTreeMap<String, String>,
}

const UID: &str = "0123456789abcdef0123456789abcdef";

impl Lab {
    fn new(cluster: Cluster) -> Self {
        let cloud = FakeCloud::new("us-east-1");
        cloud.plant_zone("k8s.example.com", false);
        Self::at(cloud, cluster)
    }

    fn at(cloud: FakeCloud, cluster: Cluster) -> Self {
        let record = Arc::new(MemoryRecord::new(State::new(cluster.clone(), UID, "123456789012", "aws")));
        let tasks = Arc::new(Tasks::default());
        let world = Arc::new(World {
            cloud: Arc::new(cloud.clone()),
            nodes: Arc::clone(&tasks) as Arc<dyn Nodes>,
            record: Arc::clone(&record) as Arc<dyn Record>,
            clock: Arc::new(VirtualClock::new()),
            ids: Arc::new(CountingIds::default()),
            events: Arc::new(|_| {}),
            stop: CancellationToken::new(),
            uid: UID.into(),
            settle: Duration::from_secs(60),
            node_limit: 32,
        });
        let user_data = cluster.groups.iter().map(|group| (group.name.clone(), "#cloud-config\n".into())).collect();
        Self { cloud, record, tasks, world, cluster, user_data }
    }

    async fn plan(&self) -> Plan {
        let state = self.record.state();
        let zone = &self.cluster.api.dns_zone;
        let observed =
            observe_settled(&self.cloud, self.world.clock.as_ref(), &Scope::Uid(UID.into()), zone, &state).await.unwrap();
        let sells = match images::needs_catalogue(&self.cluster, &state) {
            Some(query) => Some(catalogue(&self.cloud, &query).await.unwrap()),
            None => None,
        };
        let made = plan(Input {
            cluster: &self.cluster,
            previous: state.applied_model.as_ref(),
            uid: UID,
            revision: 1,
            recorded: &state,
            observed: &observed,
            catalogue: sells.as_ref(),
            user_data: &self.user_data,
        });
        assert_eq!(made.check(), Vec::<String>::new());
        made
    }

    async fn apply(&self) -> Outcome {
        settle(&self.world).await.unwrap();
        let plan = self.plan().await;
        assert_eq!(plan.errors, vec![]);
        self.run(&plan).await
    }

    async fn run(&self, plan: &Plan) -> Outcome {
        let state = self.record.state();
        let zone = &self.cluster.api.dns_zone;
        let scope = Scope::Uid(UID.into());
        let observed = observe(&self.cloud, &scope, zone, &self.cluster.name, Some(&state)).await.unwrap();
        adopt(&self.world, &observed).await.unwrap();
        let images = plan.images.clone();
        self.record.update(Box::new(move |state| state.images = images)).await.unwrap();
        let inputs = NodeInputs { cluster: self.cluster.clone(), pki: pki(), in_place: false };
        let outcome = run(plan, Arc::clone(&self.world), Some(Arc::new(inputs)), &observed).await;
        if outcome.is_complete() {
            let model = self.cluster.clone();
            self.record.update(Box::new(|state| state.applied_model = Some(model))).await.unwrap();
        }
        outcome
    }

    async fn delete(&self) -> Outcome {
        let state = self.record.state();
        let zone = &self.cluster.api.dns_zone;
        let scope = Scope::Uid(UID.into());
        let observed = observe(&self.cloud, &scope, zone, &self.cluster.name, Some(&state)).await.unwrap();
        let plan = delete(&self.cluster.name, UID, "us-east-1", &state, &observed);
        assert_eq!(plan.check(), Vec::<String>::new());
        run(&plan, Arc::clone(&self.world), None, &observed).await
    }

    async fn assert_nothing_to_do(&self) {
        let plan = self.plan().await;
        let left: Vec<_> = plan.actions.iter().map(|action| (&action.id, &action.details)).collect();
        assert!(plan.is_empty() && plan.behind.is_empty(), "{left:#?} {:?}", plan.behind);
    }
}

fn pki() -> Pki {
    let none = || Secret::new("");
    Pki {
        ca_cert: String::new(),
        ca_key: none(),
        etcd_ca_cert: String::new(),
        etcd_ca_key: none(),
        front_proxy_ca_cert: String::new(),
        front_proxy_ca_key: none(),
        sa_public: String::new(),
        sa_key: none(),
        encryption_key: none(),
    }
}

fn private() -> Cluster {
    let mut cluster = fixture::cluster();
    cluster.network.topology = Topology::Private { nat: Nat::PerZone };
    let zones = cluster.zones.clone();
    cluster.groups.push(fixture::group("bastion", Role::Bastion, 1, "t3.micro", &zones[..1]));
    cluster
}

fn single() -> Cluster {
    let mut cluster = fixture::cluster();
    for group in &mut cluster.groups {
        group.count = 1;
    }
    cluster
}

#[tokio::test(start_paused = true)]
async fn create_then_nothing_then_delete_leaves_the_account_as_it_was() {
    for cluster in [fixture::cluster(), private(), single()] {
        let lab = Lab::new(cluster);
        let before = lab.cloud.snapshot();
        let outcome = lab.apply().await;
        assert!(outcome.is_complete(), "{:?}", outcome.failed);
        lab.assert_nothing_to_do().await;
        let outcome = lab.delete().await;
        assert!(outcome.is_complete(), "{:?}", outcome.failed);
        assert_eq!(before, lab.cloud.snapshot());
        let state = lab.record.state();
        assert!(state.intents.is_empty() && state.nodes.is_empty(), "{state:?}");
        assert!(state.resources.is_empty(), "{:?}", state.resources);
    }
}

#[tokio::test(start_paused = true)]
async fn a_no_op_costs_at_most_fifteen_reads_at_any_size() {
    let mut counts = vec![];
    for nodes in [3, 97] {
        let mut cluster = fixture::cluster();
        cluster.groups[1].count = nodes;
        let lab = Lab::new(cluster);
        assert!(lab.apply().await.is_complete());
        lab.cloud.reset_log();
        lab.assert_nothing_to_do().await;
        let calls = lab.cloud.log();
        assert!(calls.iter().all(super::super::cloud::fake::Call::is_read));
        counts.push(calls.len());
    }
    assert!(counts[0] <= 15, "{counts:?}");
    assert_eq!(counts[0], counts[1], "reads grow with nodes");
}

#[tokio::test(start_paused = true)]
async fn one_more_node_and_one_more_cidr_touch_nothing_else() {
    let mut lab = Lab::new(fixture::cluster());
    assert!(lab.apply().await.is_complete());
    lab.tasks.log.lock().unwrap().clear();
    lab.cluster.groups[1].count = 4;
    lab.cluster.api.access.push("198.51.100.0/24".parse().unwrap());
    let plan = lab.plan().await;
    assert_eq!(plan.totals(), Totals { create: 1, change: 1, replace: 0, delete: 0, nodes: 0 });
    let reasons: Vec<_> = plan.actions.iter().flat_map(|action| action.reasons.clone()).collect();
    assert!(reasons.contains(&"count 3 -> 4".to_owned()), "{reasons:?}");
    let details: Vec<_> = plan.actions.iter().flat_map(|action| action.details.clone()).collect();
    assert!(details.iter().any(|line| line.starts_with("+ tcp 6443 from 198.51.100.0/24")), "{details:?}");
    assert!(lab.run(&plan).await.is_complete());
    let slots: std::collections::BTreeSet<_> = lab.tasks.log.lock().unwrap().iter().map(|(_, slot)| slot.clone()).collect();
    assert_eq!(slots.len(), 1, "other nodes were touched: {slots:?}");
    lab.assert_nothing_to_do().await;

    lab.cluster.groups[1].count = 2;
    let plan = lab.plan().await;
    assert_eq!(plan.totals(), Totals { create: 0, change: 0, replace: 0, delete: 2, nodes: 0 });
    lab.tasks.log.lock().unwrap().clear();
    assert!(lab.run(&plan).await.is_complete());
    let drained: Vec<_> = lab.tasks.log.lock().unwrap().iter().map(|(task, _)| *task).collect();
    assert_eq!(drained, [NodeTask::Drain, NodeTask::Drain], "machines go only after a drain");
    lab.assert_nothing_to_do().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_worker_is_made_anew_and_its_node_forgotten_but_a_lost_control_plane_blocks() {
    let lab = Lab::new(fixture::cluster());
    assert!(lab.apply().await.is_complete());
    let id = |slot: &str| lab.record.state().nodes[slot].instance.clone();
    let worker = id("nodes-us-east-1b-1");
    lab.cloud.plant(&Change::TerminateInstance { instance: Ref::Known(worker.clone()) }).unwrap();
    let _ = lab.cloud.instances(&Scope::Uid(UID.into())).await;
    let plan = lab.plan().await;
    assert!(plan.actions.iter().any(|action| action.reasons.contains(&format!("{worker} is gone"))), "{plan:#?}");
    assert!(plan.actions.iter().any(|action| action.id == "forget nodes-us-east-1b-1"));
    assert!(lab.run(&plan).await.is_complete());
    assert_ne!(id("nodes-us-east-1b-1"), worker);
    lab.assert_nothing_to_do().await;

    let control_plane = id("control-plane-us-east-1a-1");
    lab.cloud.plant(&Change::TerminateInstance { instance: Ref::Known(control_plane.clone()) }).unwrap();
    let _ = lab.cloud.instances(&Scope::Uid(UID.into())).await;
    let plan = lab.plan().await;
    assert!(plan.errors.iter().any(|problem| problem.what.contains(&control_plane)), "{:?}", plan.errors);
}

#[tokio::test(start_paused = true)]
async fn a_changed_image_or_type_is_behind_and_never_replaced() {
    let mut lab = Lab::new(fixture::cluster());
    assert!(lab.apply().await.is_complete());
    type Edit = fn(&mut Cluster);
    let edits: [(&str, Edit); 5] = [
        ("machine type", |cluster| cluster.groups[1].machine_type = "m5.large".into()),
        ("image", |cluster| cluster.groups[1].image = crate::cluster::Image::Alias(crate::cluster::ImageAlias::Ubuntu2404)),
        ("volume", |cluster| cluster.groups[1].volume.size_gib = 80),
        ("hop-limit", |cluster| cluster.groups[1].metadata_hop_limit = 2),
        ("profile", |cluster| cluster.groups[1].instance_profile = Some("nodes".into())),
    ];
    let good = lab.cluster.clone();
    for (what, edit) in edits {
        lab.cluster = good.clone();
        edit(&mut lab.cluster);
        let plan = lab.plan().await;
        assert!(plan.actions.is_empty(), "{what}: {:?}", plan.actions);
        assert_eq!(plan.behind.len(), 3, "{what}");
        assert!(
            plan.behind.iter().all(|behind| behind.reasons.iter().any(|reason| reason.starts_with(what))),
            "{:?}",
            plan.behind
        );
    }
}

#[tokio::test(start_paused = true)]
async fn drift_of_every_watched_kind_is_mended() {
    let lab = Lab::new(private());
    assert!(lab.apply().await.is_complete());
    let state = lab.record.state();
    let id = |text: &str| Ref::Known(state.resources[&text.parse().unwrap()].id.clone());
    let zone = state.resources[&"records".parse().unwrap()].id.clone();
    let rules = {
        let groups = lab.cloud.security_groups(&Scope::Uid(UID.into())).await.unwrap();
        groups.into_iter().find(|group| group.name.starts_with("node")).unwrap().rules
    };
    let ingress: Vec<_> = rules.into_iter().filter(|rule| !rule.egress).collect();
    let by_hand = crate::desired::Rule {
        egress: false,
        protocol: crate::desired::Protocol::Tcp,
        ports: Some((80, 80)),
        peer: crate::desired::Peer::Cidr("0.0.0.0/0".parse().unwrap()),
        description: "by hand".into(),
    };
    let tags = || [("kubewright.io/role".to_owned(), "x".to_owned())].into();
    let record = crate::plan::RecordChange {
        verb: crate::plan::RecordVerb::Upsert,
        name: "api.demo.k8s.example.com".into(),
        kind: "A".into(),
        ttl: 30,
        values: vec![Ref::Known("10.0.0.1".into())],
    };
    let node_group = || id("security-group/node");
    for drift in [
        Change::RevokeRules { group: node_group(), egress: false, rules: ingress, groups: BTreeMap::new() },
        Change::AuthorizeRules { group: node_group(), egress: false, rules: vec![by_hand], groups: BTreeMap::new() },
        Change::ReplaceRoute {
            table: id("route-table/us-east-1a"),
            destination: "0.0.0.0/0".parse().unwrap(),
            target: id("internet-gateway"),
            nat: false,
        },
        Change::CreateTags { resource: id("instance/nodes-us-east-1a-1"), tags: tags() },
        Change::DeleteTags { resource: id("subnet/us-east-1b"), keys: vec!["kubernetes.io/role/internal-elb".into()] },
        Change::ModifySourceDestCheck { instance: id("instance/nodes-us-east-1c-1"), value: false },
        Change::ChangeRecords { zone, changes: vec![record] },
    ] {
        lab.cloud.plant(&drift).unwrap();
        let plan = lab.plan().await;
        assert!(!plan.is_empty(), "not seen: {drift:?}");
        assert!(lab.run(&plan).await.is_complete(), "{drift:?}");
        lab.assert_nothing_to_do().await;
    }
}

/// The promise of the intents, in small: whatever call loses its answer or its process, the next run ends in the same account.
#[tokio::test(start_paused = true)]
async fn a_lost_answer_of_any_change_leaks_nothing_and_doubles_nothing() {
    let whole = Lab::new(single());
    assert!(whole.apply().await.is_complete());
    let reference = shape(&whole.cloud);
    let changes = whole.cloud.log().iter().filter(|call| !call.is_read()).count();
    assert!(changes > 20);
    for n in 0..changes {
        let lab = Lab::new(single());
        let mut seen = 0;
        lab.cloud.fail_with(move |call| {
            if call.is_read() {
                return None;
            }
            seen += 1;
            (seen == n + 1).then(Fault::answer_lost)
        });
        let outcome = lab.apply().await;
        if !outcome.is_complete() {
            lab.cloud.clear_faults();
            let again = lab.apply().await;
            assert!(again.is_complete(), "change {n}: {:?}", again.failed);
        }
        assert_eq!(reference, shape(&lab.cloud), "change {n}");
        lab.assert_nothing_to_do().await;
        assert!(lab.record.state().intents.is_empty());
    }
}

/// Killed at any call, before or after it was carried out: the next run ends in the same account, for a create and for a delete.
#[tokio::test(start_paused = true)]
async fn killed_at_any_call_the_next_run_leaks_nothing_and_doubles_nothing() {
    let whole = Lab::new(single());
    assert!(whole.apply().await.is_complete());
    let (reference, calls) = (shape(&whole.cloud), whole.cloud.log().len() as u64);
    whole.cloud.reset_log();
    assert!(whole.delete().await.is_complete());
    let (empty, delete_calls) = (whole.cloud.snapshot(), whole.cloud.log().len() as u64);
    for (deleting, calls) in [(false, calls), (true, delete_calls)] {
        for n in 1..=calls {
            for fault in [Fault::HangBefore, Fault::HangAfter] {
                let lab = Lab::new(single());
                if deleting {
                    assert!(lab.apply().await.is_complete());
                    lab.cloud.reset_log();
                }
                lab.cloud.fail(When::Call(n), fault.clone());
                let killed = async { if deleting { lab.delete().await } else { lab.apply().await } };
                tokio::select! {
                    _ = killed => continue,
                    () = lab.cloud.hung() => {}
                }
                lab.cloud.clear_faults();
                let what = format!("call {n}, {fault:?}, deleting {deleting}");
                if deleting {
                    look_up(&lab.world).await.unwrap();
                    let outcome = lab.delete().await;
                    assert!(outcome.is_complete(), "{what}: {:?}", outcome.failed);
                    assert_eq!(empty, lab.cloud.snapshot(), "{what}");
                } else {
                    let outcome = lab.apply().await;
                    assert!(outcome.is_complete(), "{what}: {:?}", outcome.failed);
                    assert_eq!(reference, shape(&lab.cloud), "{what}");
                    lab.assert_nothing_to_do().await;
                }
                assert!(lab.record.state().intents.is_empty(), "{what}");
            }
        }
    }
}

/// What the account holds, but for ids, addresses and attempts, which depend on the order of calls.
fn shape(cloud: &FakeCloud) -> BTreeMap<String, usize> {
    let mut shape = BTreeMap::new();
    for line in cloud.snapshot().lines() {
        let words = line.split([' ', ',', '=']).map(|word| {
            let digits = word.rsplit('-').next().unwrap_or_default();
            let id = digits.len() >= 8 && digits.chars().all(|c| c.is_ascii_hexdigit());
            let address = word.parse::<std::net::Ipv4Addr>().is_ok();
            if id {
                word.trim_end_matches(digits)
            } else if address {
                "address"
            } else {
                word
            }
        });
        *shape.entry(words.collect::<Vec<_>>().join(" ")).or_default() += 1;
    }
    shape
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_finishes_what_is_in_flight_and_the_next_run_goes_on() {
    let lab = Lab::new(fixture::cluster());
    let stop = lab.world.stop.clone();
    lab.cloud.fail_with(move |call| {
        if call.action.ends_with("RunInstances") {
            stop.cancel();
        }
        None
    });
    let outcome = lab.apply().await;
    assert!(outcome.stopped && outcome.failed.is_empty(), "{:?}", outcome.failed);
    assert!(!outcome.skipped.is_empty());
    assert!(lab.record.state().intents.is_empty(), "what was in flight was recorded");
    let next = Lab { world: Arc::new(fresh_stop(&lab)), ..lab };
    next.cloud.clear_faults();
    assert!(next.apply().await.is_complete());
    next.assert_nothing_to_do().await;
    assert_eq!(next.cloud.log().iter().filter(|call| call.action.ends_with("RunInstances")).count(), 6);
}

fn fresh_stop(lab: &Lab) -> World {
    World {
        cloud: Arc::new(lab.cloud.clone()),
        nodes: Arc::clone(&lab.world.nodes),
        record: Arc::clone(&lab.world.record),
        clock: Arc::clone(&lab.world.clock),
        ids: Arc::clone(&lab.world.ids),
        events: Arc::clone(&lab.world.events),
        stop: CancellationToken::new(),
        uid: UID.into(),
        settle: lab.world.settle,
        node_limit: 32,
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_node_stops_only_what_needs_it() {
    let lab = Lab::new(fixture::cluster());
    let bad = [(NodeTask::Prepare, "nodes-us-east-1a-1".to_owned()), (NodeTask::Prepare, "nodes-us-east-1b-1".to_owned())];
    lab.tasks.fail.lock().unwrap().extend(bad);
    let outcome = lab.apply().await;
    assert_eq!(outcome.failed.len(), 2);
    assert_eq!(
        outcome.skipped.iter().map(|skipped| skipped.action.id.as_str()).collect::<Vec<_>>(),
        ["join nodes-us-east-1a-1", "join nodes-us-east-1b-1"]
    );
    let joined = lab.record.state().nodes.values().filter(|node| node.phase == NodePhase::Joined).count();
    assert_eq!(joined, 4);
    lab.tasks.fail.lock().unwrap().clear();
    lab.tasks.log.lock().unwrap().clear();
    assert!(lab.apply().await.is_complete());
    assert_eq!(lab.tasks.log.lock().unwrap().len(), 4, "only the two nodes, prepare and join");
}

#[tokio::test(start_paused = true)]
async fn foreign_records_and_a_missing_zone_stop_the_plan_before_anything() {
    let lab = Lab::at(FakeCloud::new("us-east-1"), fixture::cluster());
    assert!(lab.plan().await.errors.iter().any(|problem| problem.what.contains("k8s.example.com does not exist")));
    let zone = lab.cloud.plant_zone("k8s.example.com", false);
    let foreign = crate::observed::RecordSet {
        name: "api.demo.k8s.example.com".into(),
        kind: "A".into(),
        ttl: 60,
        values: vec!["192.0.2.1".into()],
        special: false,
    };
    lab.cloud.plant_record(&zone, foreign);
    assert!(lab.plan().await.errors.iter().any(|problem| problem.what.contains("did not make: api.demo")));
    lab.cloud.plant_zone("k8s.example.com", false);
    assert!(lab.plan().await.errors.iter().any(|problem| problem.what.contains("more than one hosted zone")));
}

#[tokio::test(start_paused = true)]
async fn a_throttled_or_passing_failure_is_tried_again_and_a_quota_is_not() {
    let lab = Lab::new(single());
    lab.cloud.fail(When::Action("CreateSubnet".into(), 1), Fault::throttled());
    assert!(lab.apply().await.is_complete());
    let lab = Lab::new(single());
    lab.cloud.set_options(|options| options.vpc_quota = 0);
    let outcome = lab.apply().await;
    assert_eq!(outcome.failed.len(), 1);
    assert!(lab.record.state().intents.is_empty(), "a clear refusal leaves nothing open");
    assert!(outcome.skipped.iter().all(|skipped| skipped.because.as_deref() == Some("create vpc")));
}

/// Not made counts when it was said twice and the intent is older than listings may lag; its age is not waited for again.
#[tokio::test(start_paused = true)]
async fn an_intent_without_an_object_is_looked_for_until_it_is_old_enough_and_twice() {
    for (age, looks) in [(0, 31), (30, 16), (59, 2), (3600, 2), (-3600, 31)] {
        let lab = Lab::new(single());
        let written = lab.world.clock.now() - jiff::SignedDuration::from_secs(age);
        let tags = Tags::from([(crate::desired::tags::ATTEMPT.to_owned(), "lost".to_owned())]);
        let change = Change::CreateVpc { cidr: lab.cluster.network.cidr, tags };
        let intent = Intent { resource: ResourceId::Vpc, change, written: written.to_string(), answer: None };
        lab.record.update(Box::new(move |state| drop(state.intents.insert("lost".into(), intent)))).await.unwrap();
        let settled = settle(&lab.world).await.unwrap();
        assert_eq!((settled[0].id.as_deref(), lab.cloud.log().len()), (None, looks), "{age} s old");
        assert!(lab.record.state().intents.is_empty());
    }
}
