//! What is in work, from the events of a run: pure, so that both views tell the same.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use jiff::Timestamp;

use crate::apply::{Event, Failure};
use crate::bootstrap::NodeEvent;
use crate::cli::render::words;
use crate::cli::text::{Ink, Span, count, cut, ink};
use crate::clock::in_words;
use crate::plan::{Action, Work};

/// A wait is told again on a pipe when its text changed, or after this many seconds.
const REPEAT: f64 = 30.0;

/// Something that was true at a moment, in cells; a terminal aligns them, a pipe joins them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub cells: Vec<(Span, usize)>,
    /// A live line says it already.
    pub pipe_only: bool,
}

/// Everything that has begun and not ended.
#[derive(Debug, Default)]
pub struct Board {
    calls: IndexMap<String, Task>,
    /// By slot: a node has one task at a time.
    nodes: IndexMap<String, Task>,
    /// What a pipe was told last, by subject.
    told: BTreeMap<String, (String, Timestamp)>,
}

#[derive(Debug)]
struct Task {
    doing: String,
    since: Timestamp,
    /// Name, index from 0, number of steps.
    step: Option<(String, usize, usize)>,
    waiting: Option<String>,
}

impl Board {
    pub fn in_work(&self) -> usize {
        self.calls.len() + self.nodes.len()
    }

    /// Takes one event in and says what there is to tell of it.
    pub fn take(&mut self, event: &Event, now: Timestamp) -> Vec<Fact> {
        match event {
            Event::Phase(phase) => phase_words(phase).map(|text| fact(vec![(ink(Ink::Faint, text), 0)])).into_iter().collect(),
            Event::ActionStarted(action) => {
                self.start(action, now);
                vec![]
            }
            Event::Waiting { action, what } => {
                if let Some(task) = self.calls.get_mut(action) {
                    task.waiting = Some(what.clone());
                }
                let what = format!("waiting: {what}");
                self.once_in_a_while(action, what, now).into_iter().collect()
            }
            Event::Again { action, error, in_seconds } => {
                let why = format!("{}: {}; again in {in_seconds} s", error.action, error.code);
                if let Some(task) = self.calls.get_mut(action) {
                    task.waiting = Some(why.clone());
                }
                self.once_in_a_while(action, why, now).into_iter().collect()
            }
            Event::ActionDone { action, aws_id, seconds } => {
                self.end(action);
                let took = in_words(*seconds);
                let cells = vec![
                    (ink(Ink::Add, words::tense(action).done), 8),
                    (words::subject(action).into(), 36),
                    (aws_id.clone().unwrap_or_default().into(), 21),
                    (ink(Ink::Faint, took), 0),
                ];
                vec![fact(cells)]
            }
            Event::ActionUntouched(action) => {
                self.end(action);
                vec![]
            }
            Event::ActionFailed { action, failure } => {
                self.end(action);
                let what = match failure {
                    Failure::Node(error) => format!("step `{}`: {}", error.step, error.cause),
                    other => other.to_string(),
                };
                let first = what.lines().next().unwrap_or_default().to_owned();
                vec![fact(vec![(ink(Ink::Bad, "failed"), 8), (words::subject(action).into(), 36), (first.into(), 0)])]
            }
            Event::Node { slot, event } => self.node(slot, event, now),
            Event::Note(text) => vec![fact(vec![(text.into(), 0)])],
        }
    }

    fn start(&mut self, action: &Action, now: Timestamp) {
        let doing = words::tense(action).now.to_owned();
        let task = |doing| Task { doing, since: now, step: None, waiting: None };
        match &action.work {
            Work::Node { slot, .. } => self.nodes.insert(slot.clone(), task(doing)),
            Work::Calls(_) => self.calls.insert(action.id.clone(), task(format!("{doing} {}", words::subject(action)))),
        };
    }

    fn end(&mut self, action: &Action) {
        match &action.work {
            Work::Node { slot, .. } => self.nodes.shift_remove(slot),
            Work::Calls(_) => self.calls.shift_remove(&action.id),
        };
    }

    fn node(&mut self, slot: &str, event: &NodeEvent, now: Timestamp) -> Vec<Fact> {
        let task = self.nodes.get_mut(slot);
        match event {
            NodeEvent::HostKeys(_) => vec![],
            NodeEvent::StepStarted { step, index, total } => {
                if let Some(task) = task {
                    task.step = Some((step.clone(), *index, *total));
                    task.waiting = None;
                }
                self.told.remove(slot);
                vec![pipe_only(slot, format!("step {step} ({} of {total})", index + 1))]
            }
            NodeEvent::StepDone { .. } => {
                if let Some(task) = task {
                    task.waiting = None;
                }
                vec![]
            }
            NodeEvent::Waiting(what) => {
                if let Some(task) = task {
                    task.waiting = Some(what.clone());
                }
                self.once_in_a_while(slot, format!("waiting: {what}"), now).into_iter().collect()
            }
            NodeEvent::Warning(text) => {
                vec![fact(vec![(ink(Ink::Warn, "warning"), 8), (format!("node {slot}: {text}").into(), 0)])]
            }
        }
    }

    fn once_in_a_while(&mut self, subject: &str, text: String, now: Timestamp) -> Option<Fact> {
        let again = match self.told.get(subject) {
            Some((before, at)) => *before != text || now.duration_since(*at).as_secs_f64() >= REPEAT,
            None => true,
        };
        again.then(|| {
            self.told.insert(subject.to_owned(), (text.clone(), now));
            pipe_only(subject, text)
        })
    }

    /// The lines to draw now, none wider than `width`, at most `rows`.
    pub fn live(&self, now: Timestamp, width: usize, rows: usize) -> Vec<Vec<Span>> {
        let slots = self.nodes.keys().map(|slot| slot.chars().count()).max().unwrap_or(0).min(width / 2);
        let calls = self.calls.values().map(|task| task.line(None, slots, now, width));
        let nodes = self.nodes.iter().map(|(slot, task)| task.line(Some(slot), slots, now, width));
        let mut lines: Vec<Vec<Span>> = calls.chain(nodes).collect();
        if lines.len() > rows {
            let more = lines.len() - rows.saturating_sub(1);
            lines.truncate(rows.saturating_sub(1));
            lines.push(vec![ink(Ink::Faint, format!(" and {more} more in work"))]);
        }
        lines
    }
}

impl Task {
    fn line(&self, slot: Option<&str>, slots: usize, now: Timestamp, width: usize) -> Vec<Span> {
        let seconds = now.duration_since(self.since).as_secs().max(0);
        let clock = format!("{}:{:02}", seconds / 60, seconds % 60);
        let mut text = match (slot, &self.step) {
            (Some(slot), Some((step, index, total))) => {
                format!(" {slot:<slots$}  {step} {} {}/{total}", bar(*index, *total), index + 1)
            }
            (Some(slot), None) => format!(" {slot:<slots$}  {}", self.doing),
            (None, _) => format!(" {}", self.doing),
        };
        if let Some(waiting) = &self.waiting {
            text.push_str(&format!("  {waiting}"));
        }
        let room = width.saturating_sub(clock.len() + 3);
        let text = cut(Span::from(text).text(), room);
        let gap = (room - Span::from(&text).width()).min(72_usize.saturating_sub(Span::from(&text).width())) + 2;
        vec![text.into(), " ".repeat(gap).into(), ink(Ink::Faint, clock)]
    }
}

/// `[#####     ]`
fn bar(index: usize, total: usize) -> String {
    let filled = (index.min(total) * 10).checked_div(total).unwrap_or(0);
    format!("[{}{}]", "#".repeat(filled), " ".repeat(10 - filled))
}

fn fact(cells: Vec<(Span, usize)>) -> Fact {
    Fact { cells, pipe_only: false }
}

fn pipe_only(subject: &str, text: String) -> Fact {
    Fact { cells: vec![(subject.into(), 0), (text.into(), 0)], pipe_only: true }
}

/// The answer to the first interrupt.
pub fn stopping(in_flight: usize) -> Fact {
    let text = format!("finishing what is in flight ({}); press Ctrl-C again to stop now", count(in_flight, "action"));
    fact(vec![(ink(Ink::Warn, text), 0)])
}

fn phase_words(phase: &str) -> Option<&'static str> {
    match phase {
        "resume" => Some("settling what an earlier run left open"),
        "verify" => Some("looking again, by tag and by state"),
        _ => None,
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
