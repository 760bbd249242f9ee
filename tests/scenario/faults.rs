//! Each kind of call refused, in every stage of a cluster's life: the action is named, nothing is doubled, the next run goes on.

use std::collections::BTreeSet;

use kubewright::bootstrap::Consoles;
use kubewright::cloud::calls::{CALLS, Service};
use kubewright::cloud::fake::{Fault, When};
use kubewright::cloud::{Cloud, ErrorClass, NetworkInterface};
use kubewright::operation::CloudConsoles;
use kubewright::plan::{Change, Ref};

use crate::world::*;

const STAGES: [&str; 3] = ["create", "update", "delete"];

struct Life {
    world: World,
    /// Calls of the stage are refused for one action.
    refuse: Option<(&'static str, Fault)>,
    hit: BTreeSet<String>,
}

impl Life {
    /// Somebody's hand in the account, so that an update has to mend what no spec can change.
    fn drift(&self, stage: &str) {
        let world = &self.world;
        if stage == "update" {
            let instance = Ref::Known(world.instance("nodes-us-east-1a-1"));
            world.cloud.plant(&Change::ModifySourceDestCheck { instance, value: false }).unwrap();
        }
        if stage == "delete" && self.refuse.as_ref().is_some_and(|(action, _)| *action == "DescribeNetworkInterfaces") {
            let subnet = world.cloud.edit(|account| account.subnets.keys().next().unwrap().clone());
            world.cloud.plant_interface(NetworkInterface {
                id: "eni-0d2".into(),
                subnet,
                groups: vec![],
                description: "ELB app/a".into(),
                instance: None,
                requester: None,
            });
        }
    }

    fn args(&self, stage: &str) -> Vec<String> {
        let text = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        match stage {
            "create" => text(&["create", "cluster", "-f", &self.world.spec(PRIVATE), "--yes"]),
            "update" => text(&["update", "-f", &self.world.spec(&changed()), "--yes"]),
            _ => text(&["delete", "cluster", NAME, "--yes"]),
        }
    }

    /// Runs a stage, refused first and then not; gives the account's shape.
    async fn stage(&mut self, stage: &str) -> Vec<String> {
        self.drift(stage);
        let args = self.args(stage);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.world.cloud.reset_log();
        if let Some((action, fault)) = self.refuse.clone() {
            self.world.cloud.fail(When::Every(action.into()), fault);
            let ran = self.world.run(&args).await;
            let hit = self.world.cloud.log().iter().any(|call| call.action.split(':').nth(1) == Some(action));
            if !hit {
                assert_eq!(ran.code, 0, "{stage}: {ran}");
            } else {
                let call = CALLS.iter().find(|call| call.action == action).unwrap();
                let ran = ran.expect(1).says(&[&call.name()]);
                // Of what only explains another failure, that failure says what to do.
                let explains = action == "DescribeNetworkInterfaces";
                let ran = if explains { ran } else { ran.says(&["allow", "in the IAM policy of these credentials"]) };
                self.hit.insert(call.name());
                let wrote = !changes(&self.world.cloud.log()).is_empty();
                if stage == "create" && !wrote {
                    assert!(self.world.dump().await.is_empty(), "nothing was made, but the store was written\n{ran}");
                }
                self.world.cloud.clear_faults();
                self.world.cloud.edit(|account| account.interfaces.clear());
                let _ = self.world.run(&args).await.expect(0);
            }
            self.world.cloud.clear_faults();
        } else {
            let _ = self.world.run(&args).await.expect(0);
        }
        if stage != "delete" {
            let _ = self.world.settled().await;
        }
        self.world.account()
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_of_any_kind_is_named_and_costs_nothing_but_another_run() {
    let mut calm = Life { world: World::new(), refuse: None, hit: BTreeSet::new() };
    let empty = calm.world.cloud.snapshot();
    let mut shapes = vec![];
    for stage in STAGES {
        shapes.push(calm.stage(stage).await);
    }
    let mut hit = BTreeSet::new();
    let in_account: Vec<_> = CALLS.iter().filter(|call| call.service != Service::S3).collect();
    for call in &in_account {
        let code = if call.service == Service::Ec2 { "UnauthorizedOperation" } else { "AccessDenied" };
        let fault = Fault::refused(code, "You are not authorized to perform this operation.");
        let mut life = Life { world: World::new(), refuse: Some((call.action, fault)), hit: BTreeSet::new() };
        for (stage, shape) in STAGES.iter().zip(&shapes) {
            assert_eq!(life.stage(stage).await, *shape, "{} in {stage}", call.action);
        }
        assert_eq!(life.world.cloud.snapshot(), empty, "{}", call.action);
        hit.extend(life.hit);
    }
    // Only nodes ask for a console.
    let mut all: BTreeSet<String> = in_account.iter().map(|call| call.name()).collect();
    assert!(all.remove("ec2:GetConsoleOutput"));
    assert_eq!(all, hit, "a call that this test does not reach");
}

#[tokio::test(start_paused = true)]
async fn a_refused_console_names_its_action() {
    let world = World::of(SMALL).await;
    world.cloud.fail(When::Every("GetConsoleOutput".into()), Fault::refused("UnauthorizedOperation", "no"));
    let consoles = CloudConsoles(std::sync::Arc::new(world.cloud.clone()));
    let said = consoles.console(&world.instance("nodes-us-east-1a-1")).await.unwrap_err();
    assert!(said.contains("ec2:GetConsoleOutput"), "{said}");
}

/// Passing trouble of every kind of call, for a while: changes wait it out, reads end the command with what to do, and either
/// way the next run ends in the same account.
#[tokio::test(start_paused = true)]
async fn throttles_and_lost_answers_of_any_kind_of_call_pass() {
    let reference = World::of(PRIVATE).await;
    let shape = reference.account();
    let actions: BTreeSet<(String, bool)> =
        reference.cloud.log().into_iter().map(|call| (call.action.clone(), call.is_read())).collect();
    for (action, is_read) in actions {
        let action = action.split(':').nth(1).unwrap().to_owned();
        for fault in [
            Fault::throttled(),
            Fault::refused("Unavailable", "The server is overloaded"),
            Fault::answer_lost(),
            Fault::request_lost(),
        ] {
            let world = World::new();
            let file = world.spec(PRIVATE);
            for n in 1..=3 {
                world.cloud.fail(When::Action(action.clone(), n), fault.clone());
            }
            let mut runs = 0;
            loop {
                let ran = world.run(&["create", "-f", &file, "--yes"]).await;
                runs += 1;
                if ran.code == 0 {
                    break;
                }
                assert!(is_read && ran.code == 1 && runs < 9, "{action} {fault:?}\n{ran}");
                let _ = ran.says(&["run the same command again"]);
            }
            assert_eq!(world.account(), shape, "{action} {fault:?}");
            let _ = world.settled().await;
        }
    }
}

/// The account's calls are bounded (`cloud::Cloud`); what comes back then is an error, and it ends a dry run at once.
#[tokio::test(start_paused = true)]
async fn a_read_that_times_out_is_named_and_nothing_was_changed() {
    let world = World::of(SMALL).await;
    let before = world.everything().await;
    world.cloud.reset_log();
    let _ = world.settled().await;
    let actions: BTreeSet<String> = world.cloud.log().into_iter().map(|call| call.action).collect();
    for action in actions {
        let error = kubewright::cloud::CloudError {
            class: ErrorClass::Retryable,
            action: action.clone(),
            code: "timeout".into(),
            message: "no answer within 30 s".into(),
            request_id: None,
        };
        let name = action.split(':').nth(1).unwrap().to_owned();
        world.cloud.fail(When::Every(name), Fault::Before(error));
        for args in [&["update"][..], &["delete", "cluster", NAME]] {
            let ran = world.run(args).await.expect(1).says(&[&format!("{action}: timeout"), "no answer within 30 s"]);
            let _ = ran.says(&["run the same command again"]);
        }
        world.cloud.clear_faults();
    }
    assert_eq!(world.everything().await, before);
    let _ = world.cloud.account().await.unwrap();
}

/// The process dies at any change of the account, before it is carried out or after: the same command is typed again, takes the
/// lock over, and the account is as if nothing had happened.
#[tokio::test(start_paused = true)]
async fn a_run_killed_at_any_change_of_any_stage_is_finished_by_the_next() {
    let mut calm = Life { world: World::new(), refuse: None, hit: BTreeSet::new() };
    let empty = calm.world.cloud.snapshot();
    for stage in STAGES {
        // Where each of these lives starts.
        let before = calm.world.cloud.fork();
        let (stored, ids) = (calm.world.dump().await, calm.world.ids.clone());
        let marks = calm.world.nodes.marks.lock().unwrap().clone();
        let shape = calm.stage(stage).await;
        let count = changes(&calm.world.cloud.log()).len() as u64;
        assert!(count > 15, "{stage}: {count}");
        for n in 1..=count {
            for fault in [Fault::HangBefore, Fault::HangAfter] {
                let life = Life {
                    world: World { cloud: before.fork(), ids: ids.clone(), ..World::new() },
                    refuse: None,
                    hit: BTreeSet::new(),
                };
                life.world.restore(&stored).await;
                *life.world.nodes.marks.lock().unwrap() = marks.clone();
                life.drift(stage);
                let args = life.args(stage);
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                life.world.cloud.fail(When::Change(n), fault.clone());
                tokio::select! {
                    ran = life.world.run(&args) => panic!("{stage} {n} {fault:?}: it ended by itself\n{ran}"),
                    () = life.world.cloud.hung() => {}
                }
                tokio::time::sleep(kubewright::store::lock::STALE).await;
                let ran = life.world.run(&args).await;
                assert_eq!(ran.code, 0, "{stage} {n} {fault:?}\n{ran}");
                assert!(ran.err.contains("took over the lock of ops@build-7 (pid 42)"), "{stage} {n} {fault:?}\n{ran}");
                assert_eq!(life.world.account(), shape, "{stage} {n} {fault:?}");
                if stage == "delete" {
                    assert_eq!(life.world.cloud.snapshot(), empty, "{n} {fault:?}");
                } else {
                    assert!(life.world.state().intents.is_empty());
                    let _ = life.world.settled().await;
                }
            }
        }
    }
}

/// New objects are not listed at once (EC2 developer guide, "Eventual consistency").
#[tokio::test(start_paused = true)]
async fn a_region_that_lists_late_makes_nothing_twice() {
    let mut calm = Life { world: World::new(), refuse: None, hit: BTreeSet::new() };
    let mut late = Life { world: World::new(), refuse: None, hit: BTreeSet::new() };
    late.world.cloud.set_options(|options| {
        options.listing_lag = 3;
        options.reads_until_running = 4;
        options.reads_until_terminated = 4;
        options.reads_until_nat_available = 4;
        options.reads_until_nat_deleted = 4;
        options.reads_until_in_sync = 3;
    });
    for stage in STAGES {
        assert_eq!(late.stage(stage).await, calm.stage(stage).await, "{stage}");
    }
}

/// A count is lowered, the run dies once the Node is gone, and the count is raised again before anything else is done: the machine is no
/// part of the cluster any more, so another takes its place.
#[tokio::test(start_paused = true)]
async fn a_machine_whose_drain_had_begun_is_replaced_when_it_is_wanted_again() {
    let two = edit(SMALL, "count = 1\nmachine_type = \"t3.large\"", "count = 2\nmachine_type = \"t3.large\"");
    let world = World::of(&two).await;
    let before = world.instance("nodes-us-east-1a-2");
    world.cloud.fail(When::Action("TerminateInstances".into(), 1), Fault::HangBefore);
    let fewer = world.spec(SMALL);
    let lower = ["update", "-f", &fewer, "--yes"];
    tokio::select! {
        ran = world.run(&lower) => panic!("it ended by itself\n{ran}"),
        () = world.cloud.hung() => {}
    }
    world.cloud.clear_faults();
    let _ = world.run(&["get", "instances", "-o", "wide"]).await.expect(0).says(&["leaving"]);
    let more = world.spec(&two);
    let _ = world.run(&["lock", "break", NAME, "--yes"]).await.expect(0);
    let _ = world.run(&["update", "-f", &more, "--yes"]).await.expect(0);
    let joined = world.state().nodes.into_values().filter(|node| node.phase == kubewright::recorded::NodePhase::Joined);
    let joined: Vec<String> = joined.map(|node| node.instance).collect();
    assert!(joined.len() == 3 && !joined.contains(&before), "{before} {joined:?}");
    let _ = world.settled().await;
}
