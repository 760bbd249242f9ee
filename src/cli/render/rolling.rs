//! A roll as people and as machines see it: what is replaced and why, in which order, and how it ended.

use serde_json::{Value, json};

use crate::apply::Outcome;
use crate::cli::text::{Ink, Page, Span, count, ink};
use crate::clock::in_words;
use crate::operation::{End, RollPrepared, RollReport};
use crate::report;
use crate::rolling::{Decision, Group, Line, Machine, Work};

/// Steps that are listed before the rest is counted.
const STEPS: usize = 60;
/// Machines of a group that are listed before the rest is counted.
pub(super) const MACHINES: usize = 20;

/// What a roll would do.
pub fn page(prepared: &RollPrepared, width: usize, whole: bool) -> Page {
    let mut page = Page::new(width);
    let machines = &prepared.view.machines;
    let behind = machines.iter().filter(|machine| machine.is_behind()).count();
    let title = format!("Rolling update of {}: {behind} of {} behind.", prepared.cluster, count(machines.len(), "machine"));
    page.flow(0, 2, vec![ink(Ink::Strong, title)]);
    for (number, group) in prepared.view.groups.iter().enumerate() {
        let of: Vec<&Machine> = machines.iter().filter(|machine| machine.group == number && machine.is_behind()).collect();
        if of.is_empty() {
            continue;
        }
        page.blank();
        page.flow(2, 4, vec![ink(Ink::Strong, &group.name), format!("  {}", rule(group)).into()]);
        let limit = if whole { of.len() } else { MACHINES };
        for machine in of.iter().take(limit) {
            let name = format!("{} ({})", machine.slot, machine.instance);
            page.row(4, vec![(Span::from(&name), 0), (ink(Ink::Faint, machine.behind.join("; ")), 0)]);
        }
        more(&mut page, of.len().saturating_sub(limit), "machine");
    }
    steps(&mut page, &prepared.lines, if whole { prepared.lines.len() } else { STEPS });
    for ill in &prepared.ill {
        page.flow(0, 2, vec![ink(Ink::Warn, "Before: "), format!("{ill}; it is left as it is.").into()]);
    }
    if !prepared.bastions.is_empty() {
        let list = prepared.bastions.join(", ");
        let text = format!("Left alone: {list}. Terminate a bastion, and kubewright update makes it anew.");
        page.flow(0, 2, vec![ink(Ink::Warn, text)]);
    }
    page.blank();
    match &prepared.end {
        Decision::Blocked(stop) => page.flow(0, 2, vec![ink(Ink::Bad, "Blocked: "), format!("{}.", stop.what).into()]),
        _ if prepared.lines.is_empty() => page.flow(0, 2, vec!["Nothing to replace.".into()]),
        _ => page.flow(0, 2, vec![format!("Estimated: about {}, if all goes well.", in_words(prepared.seconds as f64)).into()]),
    }
    page
}

fn rule(group: &Group) -> String {
    let order = match (group.selected, group.control_plane) {
        (false, _) => return "not asked for".into(),
        (true, true) if group.max_surge > 0 => "one at a time, the new one first".into(),
        (true, true) => "one at a time, the old one first".into(),
        (true, false) => format!("max_surge {}, max_unavailable {}", group.max_surge, group.max_unavailable),
    };
    format!("{order}; {}", drain_rule(group))
}

/// What the settings of a group mean for pods that do not go.
pub(super) fn drain_rule(group: &Group) -> String {
    let time = in_words(group.drain_timeout as f64);
    match group.force_drain {
        true => format!("pods that are left after {time} of a drain are deleted, whatever budgets say"),
        false => format!("a drain that leaves pods after {time} stops it"),
    }
}

pub(super) fn steps(page: &mut Page, lines: &[Line], limit: usize) {
    if lines.is_empty() {
        return;
    }
    page.blank();
    for line in lines.iter().take(limit) {
        let when = if matches!(line.step.work, Work::Upgrade { .. }) { "meanwhile" } else { "then" };
        let quorum = line.quorum.map(|quorum| format!("   {when} {quorum}")).unwrap_or_default();
        let at = format!("{:>3}:{:02}  ", line.at / 60, line.at % 60);
        page.flow(2, 12, vec![ink(Ink::Faint, at), Span::from(&line.step.to_string()), ink(Ink::Faint, quorum)]);
    }
    more(page, lines.len().saturating_sub(limit), "step");
}

pub(super) fn more(page: &mut Page, rest: usize, what: &str) {
    if rest > 0 {
        page.flow(4, 6, vec![ink(Ink::Faint, format!("... and {} more (-v shows all)", count(rest, what)))]);
    }
}

/// How a roll ended.
pub fn done(report: &RollReport, width: usize) -> Page {
    let mut page = Page::new(width);
    let counts = report::counts(&report.outcome);
    let begun = match &report.end {
        End::Done => ink(Ink::Add, "Rolled"),
        End::Stopped => ink(Ink::Warn, "Stopped"),
        End::Blocked(_) => ink(Ink::Bad, "Blocked"),
    };
    let calls = report.calls.reads + report.calls.changes;
    let text = format!(
        " after {}: {} created, {} deleted. {}, {} throttled.",
        in_words(report.seconds),
        counts.created,
        counts.deleted,
        count(calls as usize, "call"),
        report.calls.throttled
    );
    page.flow(0, 2, vec![begun, text.into()]);
    if let End::Blocked(stop) = &report.end {
        page.flow(0, 2, vec![format!("{}.", stop.what).into()]);
    }
    page
}

pub fn json(prepared: &RollPrepared) -> Value {
    let view = &prepared.view;
    let group = |place: usize| view.groups.get(place).map_or("", |group| group.name.as_str());
    let behind = view.machines.iter().filter(|machine| machine.is_behind());
    let machines = behind.map(|machine| {
        json!({ "slot": machine.slot.to_string(), "instance": machine.instance, "group": group(machine.group), "reasons": machine.behind })
    });
    let groups = view.groups.iter().map(|group| {
        json!({
            "name": group.name,
            "count": group.count,
            "max_surge": group.max_surge,
            "max_unavailable": group.max_unavailable,
            "drain_timeout": group.drain_timeout,
            "on_drain_timeout": if group.force_drain { "force" } else { "stop" },
            "selected": group.selected,
        })
    });
    let lines = prepared.lines.iter().map(line_json);
    json!({
        "cluster": prepared.cluster,
        "behind": machines.collect::<Vec<_>>(),
        "groups": groups.collect::<Vec<_>>(),
        "steps": lines.collect::<Vec<_>>(),
        "seconds": prepared.seconds,
        "blocked": blocked(prepared.end.stop()),
        "left_alone": prepared.bastions,
        "state": prepared.location,
    })
}

pub(super) fn line_json(line: &Line) -> Value {
    let quorum =
        line.quorum.map(|quorum| json!({ "voters": quorum.voters, "healthy": quorum.healthy, "needed": quorum.needed() }));
    json!({ "at": line.at, "slot": line.step.slot.to_string(), "step": line.step.work.as_str(), "quorum": quorum })
}

pub fn done_json(report: &RollReport) -> Value {
    ended_json(&report.cluster, &report.end, &report.outcome, report.seconds)
}

pub(super) fn ended_json(cluster: &str, end: &End, outcome: &Outcome, seconds: f64) -> Value {
    let (end, stop) = match end {
        End::Done => ("done", None),
        End::Stopped => ("stopped", None),
        End::Blocked(stop) => ("blocked", Some(stop)),
    };
    json!({
        "cluster": cluster,
        "end": end,
        "blocked": blocked(stop),
        "counts": report::counts(outcome),
        "failed": outcome.failed.iter().map(|failed| failed.failure.to_string()).collect::<Vec<_>>(),
        "seconds": seconds,
    })
}

pub(super) fn blocked(stop: Option<&crate::rolling::Blocked>) -> Value {
    stop.map_or(Value::Null, |stop| json!({ "what": stop.what, "next": stop.next }))
}
