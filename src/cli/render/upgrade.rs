//! An upgrade as people and as machines see it: its hops, what each changes, its steps, and how it ended.

use serde_json::{Value, json};

use crate::cli::render::rolling::{MACHINES, blocked, drain_rule, ended_json, line_json, more, steps};
use crate::cli::text::{Ink, Page, Span, count, ink};
use crate::clock::in_words;
use crate::cluster::UpgradeBy;
use crate::operation::{ApiUse, ApiUses, End, Hop, UpgradePrepared, UpgradeReport};
use crate::report;
use crate::rolling::upgrade::room;
use crate::rolling::{Group, Line, Machine, Work};

/// Steps of a hop that are listed before the rest is counted.
const STEPS: usize = 60;

/// What an upgrade would do.
pub fn page(prepared: &UpgradePrepared, width: usize, whole: bool) -> Page {
    let mut page = Page::new(width);
    let Some(first) = prepared.hops.first() else {
        page.flow(0, 2, vec![format!("Nothing to upgrade: {} runs Kubernetes {}.", prepared.cluster, prepared.to).into()]);
        return page;
    };
    let machines = count(prepared.view.machines.len(), "machine");
    let hops = count(prepared.hops.len(), "hop");
    let title = format!("Upgrade of {}: {} -> {}, {machines}, {hops}.", prepared.cluster, first.from, prepared.to);
    page.flow(0, 2, vec![ink(Ink::Strong, title)]);
    for (number, group) in prepared.view.groups.iter().enumerate() {
        page.flow(2, 4, vec![ink(Ink::Strong, &group.name), format!("  {}; {}", rule(group), drain_rule(group)).into()]);
        let of: Vec<&Machine> = prepared.view.machines.iter().filter(|machine| machine.group == number).collect();
        let limit = if whole { of.len() } else { MACHINES };
        for machine in of.iter().take(limit) {
            let name = format!("{} ({})", machine.slot, machine.instance);
            page.row(4, vec![(Span::from(&name), 0), (ink(Ink::Faint, fate(prepared, group, machine)), 0)]);
        }
        more(&mut page, of.len().saturating_sub(limit), "machine");
    }
    apis(&mut page, prepared);
    for (number, hop) in prepared.hops.iter().enumerate() {
        one(&mut page, hop, number + 1, whole);
        if let Some(stop) = hop.end.stop() {
            page.blank();
            page.flow(0, 2, vec![ink(Ink::Bad, "Blocked: "), format!("{}.", stop.what).into()]);
            return page;
        }
    }
    page.blank();
    let seconds: u64 = prepared.hops.iter().map(|hop| hop.seconds).sum();
    page.flow(0, 2, vec![format!("Estimated: about {}, if all goes well.", in_words(seconds as f64)).into()]);
    page
}

/// Deprecated APIs that are asked for, whatever becomes of them.
fn apis(page: &mut Page, prepared: &UpgradePrepared) {
    let ApiUses { uses, since, unread } = &prepared.apis;
    page.blank();
    let (mut doomed, mut staying) = (vec![], vec![]);
    for one in uses {
        match one.api.removed {
            Some(minor) => doomed.push(format!("{one}; not served from 1.{minor} on.")),
            None => staying.push(one.api.to_string()),
        }
    }
    if let (true, Some(since)) = (doomed.is_empty(), since) {
        let since = in_words(*since as f64);
        page.flow(
            0,
            2,
            vec![format!("No API that is to go was asked for since the youngest API server started, {since} ago.").into()],
        );
    }
    for text in doomed {
        page.flow(0, 2, vec![ink(Ink::Warn, "Deprecated: "), text.into()]);
    }
    if !staying.is_empty() {
        let text = format!("Deprecated, with no version named that does without: {}.", staying.join(", "));
        page.flow(0, 2, vec![ink(Ink::Faint, text)]);
    }
    for (slot, why) in unread {
        let text = format!("{slot} does not tell which deprecated APIs it was asked for: {why}.");
        page.flow(0, 2, vec![ink(Ink::Warn, "Not known: "), text.into()]);
    }
}

fn rule(group: &Group) -> String {
    if group.replace {
        return format!("replaced: max_surge {}, max_unavailable {}", group.max_surge, group.max_unavailable);
    }
    match (group.control_plane, room(group)) {
        (true, _) => "in place: one at a time".to_owned(),
        (false, room) if group.max_unavailable == 0 => {
            format!("in place: {room} at a time (max_surge is of no use there, and max_unavailable 0 not possible)")
        }
        (false, room) => format!("in place: {room} at a time (max_unavailable)"),
    }
}

/// What becomes of a machine, in words.
fn fate(prepared: &UpgradePrepared, group: &Group, machine: &Machine) -> String {
    let is = machine.kubelet.map_or_else(|| "version unknown".to_owned(), |version| version.to_string());
    match (group.replace, replaced_in(prepared, machine)) {
        (false, _) => format!("{is}, in place"),
        (true, Some(number)) if prepared.hops.len() > 1 => format!("{is}, replaced in hop {number}"),
        (true, Some(_)) => format!("{is}, replaced"),
        (true, None) => format!("{is}, stays"),
    }
}

/// The hop in which a machine goes, from 1: the first that ends one in its slot.
fn replaced_in(prepared: &UpgradePrepared, machine: &Machine) -> Option<usize> {
    let ends = |line: &Line| line.step.slot == machine.slot && matches!(line.step.work, Work::Terminate | Work::Clear);
    prepared.hops.iter().position(|hop| hop.lines.iter().any(ends)).map(|place| place + 1)
}

fn one(page: &mut Page, hop: &Hop, number: usize, whole: bool) {
    page.blank();
    let title = match hop.begun {
        true => format!("Hop {number}: what is left of the upgrade to {}", hop.to),
        false => format!("Hop {number}: {} -> {}", hop.from, hop.to),
    };
    page.flow(0, 2, vec![ink(Ink::Strong, title)]);
    for change in &hop.changes {
        page.flow(2, 4, vec![ink(Ink::Change, "~ "), change.as_str().into()]);
    }
    for one in hop.gone.iter().filter(|_| hop.end.stop().is_none()) {
        page.flow(2, 4, vec![ink(Ink::Warn, "! "), format!("{} is not served any more, and clients ask for it", one.api).into()]);
    }
    page.flow(2, 4, vec![ink(Ink::Faint, format!("images {}", hop.images.join(" ")))]);
    if !hop.waiting.is_empty() {
        let machines = count(hop.waiting.len(), "machine");
        page.flow(2, 4, vec![ink(Ink::Faint, format!("not yet: {machines}, which a later hop replaces"))]);
    }
    steps(page, &hop.lines, if whole { hop.lines.len() } else { STEPS });
}

/// How an upgrade ended.
pub fn done(report: &UpgradeReport, width: usize) -> Page {
    let mut page = Page::new(width);
    let took = in_words(report.seconds);
    let reached = report.reached.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (begun, text) = match &report.end {
        End::Done if report.reached.is_empty() => {
            (ink(Ink::Add, "Nothing to upgrade"), format!(": {} runs Kubernetes {}.", report.cluster, report.to))
        }
        End::Done => (ink(Ink::Add, "Upgraded"), format!(" to {reached} after {took}.")),
        End::Stopped => (ink(Ink::Warn, "Stopped"), format!(" after {took}.")),
        End::Blocked(_) => (ink(Ink::Bad, "Blocked"), format!(" after {took}.")),
    };
    page.flow(0, 2, vec![begun, text.into()]);
    if let End::Blocked(stop) = &report.end {
        page.flow(0, 2, vec![format!("{}.", stop.what).into()]);
    }
    let counts = report::counts(&report.outcome);
    if counts.created + counts.deleted > 0 {
        let text = format!("Machines: {} created, {} deleted; the others are the same.", counts.created, counts.deleted);
        page.flow(0, 2, vec![text.into()]);
    }
    if let Some(last) = report.reached.last() {
        let text =
            format!("Revision {} of the spec says kubernetes = \"{last}\"; write that into your file, too.", report.revision);
        page.flow(0, 2, vec![text.into()]);
    }
    page
}

pub fn json(prepared: &UpgradePrepared) -> Value {
    let apis = &prepared.apis;
    let hops = prepared.hops.iter().map(|hop| {
        json!({
            "from": hop.from,
            "to": hop.to,
            "begun": hop.begun,
            "changes": hop.changes,
            "images": hop.images,
            "removed_apis": hop.gone.iter().map(use_json).collect::<Vec<_>>(),
            "waiting": hop.waiting,
            "steps": hop.lines.iter().map(line_json).collect::<Vec<_>>(),
            "seconds": hop.seconds,
            "blocked": blocked(hop.end.stop()),
        })
    });
    let machines = prepared.view.machines.iter().map(|machine| {
        let group = prepared.view.groups.get(machine.group);
        json!({
            "slot": machine.slot.to_string(),
            "instance": machine.instance,
            "group": group.map(|group| group.name.as_str()),
            "kubelet": machine.kubelet,
            "api": machine.api,
            "upgrade": by(group),
            "replaced_in_hop": replaced_in(prepared, machine),
        })
    });
    let groups = prepared.view.groups.iter().map(|group| {
        json!({
            "name": group.name,
            "upgrade": by(Some(group)),
            "max_surge": group.max_surge,
            "max_unavailable": group.max_unavailable,
            "drain_timeout": group.drain_timeout,
            "on_drain_timeout": if group.force_drain { "force" } else { "stop" },
        })
    });
    json!({
        "cluster": prepared.cluster,
        "to": prepared.to,
        "hops": hops.collect::<Vec<_>>(),
        "deprecated_apis": apis.uses.iter().map(use_json).collect::<Vec<_>>(),
        "deprecated_apis_since": apis.since,
        "deprecated_apis_unknown": apis.unread,
        "groups": groups.collect::<Vec<_>>(),
        "machines": machines.collect::<Vec<_>>(),
        "state": prepared.location,
    })
}

fn use_json(one: &ApiUse) -> Value {
    let ApiUse { api, planes, clients } = one;
    json!({
        "group": api.group,
        "version": api.version,
        "resource": api.resource,
        "removed": api.removed.map(|minor| format!("1.{minor}")),
        "control_planes": planes,
        "clients": clients,
    })
}

fn by(group: Option<&Group>) -> &'static str {
    let replaces = group.is_some_and(|group| group.replace);
    if replaces { UpgradeBy::Replace.as_str() } else { UpgradeBy::InPlace.as_str() }
}

pub fn done_json(report: &UpgradeReport) -> Value {
    let mut all = ended_json(&report.cluster, &report.end, &report.outcome, report.seconds);
    (all["reached"], all["revision"]) = (json!(report.reached), json!(report.revision));
    all
}
