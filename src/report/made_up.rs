//! Runs that never were, for the tests of timelines and pictures.

use super::timeline::Timeline;
use crate::apply::{Event, Failure};
use crate::bootstrap::NodeEvent;
use crate::desired::ResourceId;
use crate::plan::{Action, NodeTask, Verb, Work};

pub fn action(id: &str, after: &[&str], work: Work, resource: ResourceId) -> Action {
    Action {
        id: id.into(),
        verb: Verb::Create,
        resource,
        reasons: vec![],
        details: vec![],
        after: after.iter().map(ToString::to_string).collect(),
        disruptive: None,
        work,
    }
}

pub fn task(task: NodeTask, slot: &str, after: &[&str]) -> Action {
    let work = Work::Node { task, slot: slot.into(), instance: None };
    action(&format!("{} {slot}", task.as_str()), after, work, ResourceId::Instance(slot.into()))
}

pub fn done(action: &Action) -> Event {
    Event::ActionDone { action: action.clone(), aws_id: None, seconds: 0.0 }
}

fn node(slot: &str, event: NodeEvent) -> Event {
    Event::Node { slot: slot.into(), event }
}

fn started(step: &str) -> NodeEvent {
    NodeEvent::StepStarted { step: step.into(), index: 0, total: 9 }
}

fn ended(step: &str, skipped: bool) -> NodeEvent {
    NodeEvent::StepDone { step: step.into(), skipped }
}

/// Two machines: one joins, the other fails; `calls` were made before.
pub fn run(slot: &str) -> Timeline {
    let calls = action("create vpc", &[], Work::Calls(vec![]), ResourceId::Vpc);
    let (prepare, join) = (task(NodeTask::Prepare, slot, &["create vpc"]), task(NodeTask::JoinWorker, slot, &["create vpc"]));
    let other = task(NodeTask::Prepare, "other", &["create vpc"]);
    let failure = Failure::Timeout("late".into());
    let mut timeline = Timeline::default();
    for (at, event) in [
        (0.0, Event::ActionStarted(calls.clone())),
        (1.0, Event::Waiting { action: "create vpc".into(), what: "the VPC".into() }),
        (2.0, done(&calls)),
        (2.0, Event::ActionStarted(prepare.clone())),
        (2.0, Event::ActionStarted(other.clone())),
        (2.5, node(slot, NodeEvent::Waiting("SSH: refused".into()))),
        (3.0, node(slot, ended("hostname", true))),
        (3.0, node(slot, started("packages"))),
        (4.0, node(slot, NodeEvent::Waiting("upload".into()))),
        (5.0, node(slot, NodeEvent::Waiting("upload".into()))),
        (6.0, node(slot, NodeEvent::Waiting("<lock & \"key\">".into()))),
        (7.0, node(slot, ended("packages", false))),
        (7.5, done(&prepare)),
        (8.0, node("other", started("kernel"))),
        (9.0, Event::ActionFailed { action: other, failure }),
        (10.0, Event::ActionStarted(join)),
        (11.0, node(slot, started("join"))),
    ] {
        timeline.take(&event, at);
    }
    timeline.close(12.0);
    timeline
}
