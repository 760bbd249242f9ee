//! Where the time of a run went: when each action, step and wait began and ended, from the events of the run. Pure.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::Serialize;

use crate::apply::Event;
use crate::bootstrap::NodeEvent;
use crate::plan::{Action, NodeTask, Work};

/// What became of something that has an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    Done,
    Failed,
    /// It was still in work when the run ended.
    #[default]
    Unfinished,
}

/// From and to, in seconds since the command began.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Wait {
    pub what: String,
    pub from: f64,
    pub to: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    pub step: String,
    pub from: f64,
    pub to: f64,
    pub ended: Ended,
    pub waits: Vec<Wait>,
}

/// One action: calls to AWS, or a task on a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bar {
    pub action: String,
    /// `None`: calls.
    pub task: Option<NodeTask>,
    pub phase: &'static str,
    /// The last action to end of those that it waited for.
    pub after: Option<String>,
    pub from: f64,
    pub to: f64,
    pub ended: Ended,
    pub waits: Vec<Wait>,
    /// Of a node: the steps that were not done already. The first is the connection, the facts and the journal.
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Phase {
    pub name: &'static str,
    pub from: f64,
    pub to: f64,
}

/// All of a run. Machines stand in the order of their first action, with the calls that made them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Timeline {
    pub seconds: f64,
    pub phases: Vec<Phase>,
    pub machines: IndexMap<String, Vec<Bar>>,
    pub account: Vec<Bar>,
    /// When each action that succeeded did.
    #[serde(skip)]
    done: BTreeMap<String, f64>,
}

/// The part of a task before its first step.
pub const CONNECT: &str = "connect";

impl Timeline {
    /// Takes one event in; `at` is in seconds since the command began.
    pub fn take(&mut self, event: &Event, at: f64) {
        // A clock that was set back does not bend the picture.
        let at = at.max(self.seconds);
        self.seconds = at;
        match event {
            Event::ActionStarted(action) => self.start(action, at),
            Event::Waiting { action, what } => self.wait(action, what.clone(), at),
            Event::Again { action, error, .. } => self.wait(action, format!("{}: {}", error.action, error.code), at),
            Event::ActionDone { action, .. } => {
                self.end(action, Ended::Done, at);
                self.done.insert(action.id.clone(), at);
            }
            Event::ActionFailed { action, .. } => self.end(action, Ended::Failed, at),
            Event::Node { slot, event } => {
                let bar = self.machines.get_mut(slot).and_then(|bars| bars.last_mut());
                if let Some(bar) = bar.filter(|bar| bar.ended == Ended::Unfinished) {
                    of_node(bar, event, at);
                }
            }
            Event::ActionUntouched(action) => self.end(action, Ended::Unfinished, at),
            Event::Phase(_) | Event::Note(_) => {}
        }
    }

    /// What is still in work ends here, unfinished.
    pub fn close(&mut self, at: f64) {
        self.seconds = self.seconds.max(at);
        for bar in self.machines.values_mut().flatten().chain(&mut self.account) {
            finish(bar, Ended::Unfinished, self.seconds);
        }
        self.phases.clear();
        let mut phases: IndexMap<&'static str, (f64, f64)> = IndexMap::new();
        for bar in self.account.iter().chain(self.machines.values().flatten()) {
            let phase = phases.entry(bar.phase).or_insert((bar.from, bar.to));
            *phase = (phase.0.min(bar.from), phase.1.max(bar.to));
        }
        self.phases.extend(phases.into_iter().map(|(name, (from, to))| Phase { name, from, to }));
        self.phases.sort_by(|a, b| a.from.total_cmp(&b.from).then(a.to.total_cmp(&b.to)));
    }

    fn start(&mut self, action: &Action, at: f64) {
        let ended = |id: &String| self.done.get(id).map(|at| (*at, id.clone()));
        let after = action.after.iter().filter_map(ended).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, id)| id);
        let task = match &action.work {
            Work::Node { task, .. } => Some(*task),
            Work::Calls(_) => None,
        };
        let mut bar = Bar {
            action: action.id.clone(),
            task,
            phase: action.phase(),
            after,
            from: at,
            to: at,
            ended: Ended::Unfinished,
            waits: vec![],
            steps: vec![],
        };
        if task.is_some() {
            bar.steps.push(step(CONNECT, at));
        }
        match machine(action) {
            Some(slot) => self.machines.entry(slot.to_owned()).or_default().push(bar),
            None => self.account.push(bar),
        }
    }

    fn bar(&mut self, id: &str) -> Option<&mut Bar> {
        let all = self.account.iter_mut().rev().chain(self.machines.values_mut().flatten());
        all.into_iter().find(|bar| bar.action == id && bar.ended == Ended::Unfinished)
    }

    fn wait(&mut self, action: &str, what: String, at: f64) {
        if let Some(bar) = self.bar(action) {
            begin_wait(&mut bar.waits, bar.from, what, at);
        }
    }

    fn end(&mut self, action: &Action, ended: Ended, at: f64) {
        if let Some(bar) = self.bar(&action.id) {
            finish(bar, ended, at);
            bar.ended = ended;
        }
    }
}

/// The slot of the machine that an action is about.
fn machine(action: &Action) -> Option<&str> {
    match (&action.work, &action.resource) {
        (Work::Node { slot, .. }, _) => Some(slot),
        (Work::Calls(_), crate::desired::ResourceId::Instance(slot)) => Some(slot),
        (Work::Calls(_), _) => None,
    }
}

fn of_node(bar: &mut Bar, event: &NodeEvent, at: f64) {
    match event {
        NodeEvent::StepStarted { step: name, .. } => {
            end_step(bar, Ended::Done, at);
            bar.steps.push(step(name, at));
        }
        NodeEvent::StepDone { .. } => end_step(bar, Ended::Done, at),
        NodeEvent::Waiting(what) => {
            if let Some(step) = bar.steps.last_mut().filter(|step| step.ended == Ended::Unfinished) {
                begin_wait(&mut step.waits, step.from, what.clone(), at);
            }
        }
        NodeEvent::HostKeys(_) | NodeEvent::Warning(_) => {}
    }
}

fn step(name: &str, at: f64) -> Step {
    Step { step: name.to_owned(), from: at, to: at, ended: Ended::Unfinished, waits: vec![] }
}

/// A wait lasts until something else is told; `since` is what it stands in.
fn begin_wait(waits: &mut Vec<Wait>, since: f64, what: String, at: f64) {
    let at = at.max(since);
    match waits.last_mut() {
        Some(last) if last.what == what => last.to = at,
        last => {
            if let Some(last) = last {
                last.to = at;
            }
            waits.push(Wait { what, from: at, to: at });
        }
    }
}

fn end_step(bar: &mut Bar, ended: Ended, at: f64) {
    if let Some(step) = bar.steps.last_mut().filter(|step| step.ended == Ended::Unfinished) {
        (step.to, step.ended) = (at, ended);
        if let Some(wait) = step.waits.last_mut() {
            wait.to = at;
        }
    }
}

fn finish(bar: &mut Bar, ended: Ended, at: f64) {
    if bar.ended == Ended::Unfinished {
        end_step(bar, ended, at);
        bar.to = at;
        if let Some(wait) = bar.waits.last_mut() {
            wait.to = at;
        }
    }
}

#[cfg(test)]
#[path = "timeline_tests.rs"]
mod tests;
