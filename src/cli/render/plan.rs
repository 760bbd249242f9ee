//! A plan as people read it: grouped by what they think in, the reason beside the change, totals, what stands against it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::cli::render::entry::{self, Entry};
use crate::cli::render::words;
use crate::cli::text::{Ink, Page, Span, count, ink};
use crate::clock::in_words;
use crate::desired::ResourceId;
use crate::plan::{Behind, GroupSummary, NodeTask, Plan, Work};
use crate::recorded::Run;

/// Column at which the middle text of a section's heading stands.
const HEADING: usize = 44;
/// Entries of one section that are shown one by one; of more, the rest is counted.
const SHOWN: usize = 24;
/// The same for machines of one group, which differ by their number only.
const SHOWN_MACHINES: usize = 12;

/// A plan, and what is known about its making.
#[derive(Clone, Copy, Debug)]
pub struct PlanView<'a> {
    pub plan: &'a Plan,
    /// Where the state is.
    pub location: &'a str,
    /// The account, where it is known.
    pub account: &'a str,
    /// Reading calls that the plan took, and their time.
    pub reads: u64,
    pub seconds: f64,
    /// The last run, if it did not finish.
    pub interrupted: Option<&'a Run>,
    /// Resources and joined nodes that are recorded.
    pub recorded: (usize, usize),
    pub is_new: bool,
    /// Every entry and every rule, however many.
    pub whole: bool,
}

impl PlanView<'_> {
    pub fn page(&self, width: usize) -> Page {
        let mut page = Page::new(width);
        self.header(&mut page);
        self.earlier(&mut page);
        self.sections(&mut page);
        self.node_work(&mut page);
        for warning in &self.plan.warnings {
            page.flow(0, 4, vec![ink(Ink::Warn, "warning: "), warning.into()]);
        }
        for problem in &self.plan.errors {
            page.flow(0, 4, vec![ink(Ink::Bad, "error: "), ink(Ink::Strong, &problem.what)]);
            page.labelled(2, 10, "next", vec![Span::from(&problem.next)]);
        }
        if !self.plan.warnings.is_empty() || !self.plan.errors.is_empty() {
            page.blank();
        }
        self.totals(&mut page);
        page
    }

    fn header(&self, page: &mut Page) {
        let Plan { cluster, region, kubernetes, revision, .. } = self.plan;
        let mut title = vec![cluster.clone()];
        title.extend([region].into_iter().filter(|region| !region.is_empty()).cloned());
        title.extend((!kubernetes.is_empty()).then(|| format!("Kubernetes {kubernetes}")));
        title.extend((!self.account.is_empty()).then(|| format!("account {}", self.account)));
        let state = match (self.is_new, revision) {
            (true, _) => format!("state {}, new", self.location),
            (false, 0) => format!("state {}", self.location),
            (false, revision) => format!("state {}, revision {revision}", self.location),
        };
        let title = title.join("  ");
        if title.chars().count() + state.chars().count() + 2 <= page.width {
            let gap = 10.min(page.width - title.chars().count() - state.chars().count());
            page.line(vec![ink(Ink::Strong, title), " ".repeat(gap).into(), ink(Ink::Faint, state)]);
        } else {
            page.flow(0, 2, vec![ink(Ink::Strong, title)]);
            page.flow(2, 4, vec![ink(Ink::Faint, state)]);
        }
        page.blank();
    }

    fn earlier(&self, page: &mut Page) {
        let before = page.lines().len();
        if let Some(run) = self.interrupted {
            page.flow(0, 2, vec![interrupted(run, self.recorded).into()]);
        }
        if self.plan.unanswered > 0 {
            let calls = count(self.plan.unanswered as usize, "call");
            page.flow(
                0,
                2,
                vec![format!("{calls} of an earlier run had no answer; what became of them is settled first.").into()],
            );
        }
        if page.lines().len() > before {
            page.flow(0, 2, vec!["This plan resumes it.".into()]);
            page.blank();
        }
    }

    fn sections(&self, page: &mut Page) {
        let entries = entry::entries(self.plan);
        let mut by_section: BTreeMap<Section<'_>, Vec<&Entry<'_>>> = BTreeMap::new();
        for entry in &entries {
            by_section.entry(self.section(entry)).or_default().push(entry);
        }
        let mut behind: BTreeMap<&str, Vec<&Behind>> = BTreeMap::new();
        for machine in &self.plan.behind {
            behind.entry(&machine.group).or_default().push(machine);
        }
        let before = page.lines().len();
        for section in [Section::Network, Section::Firewall, Section::Names] {
            if let Some(entries) = by_section.remove(&section) {
                page.line(vec!["  ".into(), ink(Ink::Strong, section.title())]);
                self.entries(page, &entries, SHOWN);
            }
        }
        for (n, group) in self.plan.groups.iter().enumerate() {
            let entries = by_section.remove(&Section::Group(n, &group.name)).unwrap_or_default();
            let behind = behind.remove(group.name.as_str()).unwrap_or_default();
            self.group(page, group, &entries, &behind);
        }
        for (section, entries) in by_section {
            page.line(vec!["  ".into(), ink(Ink::Strong, section.title())]);
            self.entries(page, &entries, SHOWN);
        }
        if page.lines().len() > before {
            page.blank();
        }
    }

    fn section(&self, entry: &Entry<'_>) -> Section<'_> {
        match entry.resource {
            ResourceId::Vpc
            | ResourceId::InternetGateway
            | ResourceId::Subnet(..)
            | ResourceId::NatAddress(_)
            | ResourceId::NatGateway(_)
            | ResourceId::PublicRouteTable
            | ResourceId::PrivateRouteTable(_) => Section::Network,
            ResourceId::SecurityGroup(_) | ResourceId::DefaultSecurityGroup | ResourceId::KeyPair => Section::Firewall,
            ResourceId::Records => Section::Names,
            ResourceId::Instance(slot) => {
                let names = self.plan.groups.iter().map(|group| group.name.as_str());
                match words::group_of(slot, &self.plan.region, names) {
                    Some(name) => {
                        let place = self.plan.groups.iter().position(|group| group.name == name).unwrap_or(usize::MAX);
                        Section::Group(place, name)
                    }
                    None => Section::OtherInstances,
                }
            }
        }
    }

    fn group(&self, page: &mut Page, group: &GroupSummary, entries: &[&Entry<'_>], behind: &[&Behind]) {
        let title = format!("instance group {}", group.name);
        let mut summary = match (group.have, group.want) {
            (have, want) if have != want => format!("{have} -> {want}"),
            _ if entries.is_empty() => "unchanged".to_owned(),
            (_, want) => format!("{want}"),
        };
        if group.behind > 0 {
            summary.push_str(&format!(", {} behind", group.behind));
        }
        page.row(2, vec![(ink(Ink::Strong, title), HEADING), (summary.into(), 0)]);
        let mut images: Vec<String> = entries.iter().filter_map(|entry| entry.launch(self.plan)).collect();
        images.dedup();
        if let [launch] = images.as_slice() {
            page.flow(4, 6, vec![ink(Ink::Faint, launch)]);
        }
        self.entries(page, entries, SHOWN_MACHINES);
        let names = behind.iter().map(|machine| machine.slot.chars().count()).max().unwrap_or(0).min(HEADING - 4);
        let limit = if self.whole { usize::MAX } else { SHOWN_MACHINES };
        for machine in behind.iter().take(limit) {
            narrow_row(
                page,
                vec![(ink(Ink::Warn, "!"), 0), (Span::from(&machine.slot), names), (machine.reasons.join(", ").into(), 0)],
            );
        }
        rest(page, behind.len(), limit);
        if !behind.is_empty() {
            page.flow(6, 8, vec!["needs: new machines in their place".into()]);
        }
    }

    fn entries(&self, page: &mut Page, entries: &[&Entry<'_>], limit: usize) {
        let limit = if self.whole { usize::MAX } else { limit };
        let shown = || entries.iter().take(limit);
        let widest = |of: &dyn Fn(&Entry<'_>) -> usize| shown().map(|entry| of(entry)).max().unwrap_or(0).min(40);
        let (names, middles) = (widest(&|entry| entry.name().chars().count()), widest(&|entry| entry.middle().chars().count()));
        for entry in shown() {
            entry.draw(page, names, middles, self.whole);
        }
        rest(page, entries.len(), limit);
    }

    /// What is done over SSH, by task.
    fn node_work(&self, page: &mut Page) {
        let mut by_task: BTreeMap<NodeTask, Vec<&str>> = BTreeMap::new();
        let mut inside: BTreeMap<NodeTask, Vec<&str>> = BTreeMap::new();
        for action in &self.plan.actions {
            if let Work::Node { task, slot, .. } = &action.work {
                by_task.entry(*task).or_default().push(slot);
                let lines = inside.entry(*task).or_default();
                let said = action.reasons.iter().filter(|_| *task == NodeTask::Label).chain(&action.details);
                for line in said.chain(action.disruptive.iter().filter(|_| *task == NodeTask::Label)) {
                    if !lines.contains(&line.as_str()) {
                        lines.push(line);
                    }
                }
            }
        }
        if by_task.is_empty() {
            return;
        }
        page.line(vec!["  ".into(), ink(Ink::Strong, "node work"), ", over SSH".into()]);
        for (task, slots) in by_task {
            let who = match slots.as_slice() {
                few if few.len() <= 3 || self.whole => few.join(", "),
                many => count(many.len(), "node"),
            };
            let mut text = vec![Span::from(who)];
            text.extend(remark(task).map(|remark| ink(Ink::Faint, format!("  ({remark})"))));
            page.labelled(4, 20, task.as_str(), text);
            for line in inside.remove(&task).unwrap_or_default() {
                page.flow(8, 10, vec![line.into()]);
            }
        }
        page.blank();
    }

    fn totals(&self, page: &mut Page) {
        let totals = self.plan.totals();
        let took = format!(" ({}, {})", count(self.reads as usize, "read"), in_words(self.seconds));
        let text = if !self.plan.errors.is_empty() {
            format!("This plan cannot be applied: {}.", count(self.plan.errors.len(), "error"))
        } else if self.plan.is_empty() {
            match (self.plan.behind.len(), self.plan.drift.len()) {
                // Only the plan of a delete is of no version.
                _ if self.plan.kubernetes.is_empty() => "Nothing to delete in the account.".to_owned(),
                (0, 0) => "No changes: the account is as the spec says.".to_owned(),
                (0, by_hand) => format!("No changes; {} by hand left alone.", count(by_hand, "change")),
                (n, 0) => format!("No changes; {} behind.", count(n, "machine")),
                (n, by_hand) => {
                    format!("No changes; {} behind, {} by hand left alone.", count(n, "machine"), count(by_hand, "change"))
                }
            }
        } else {
            let nodes = if totals.nodes > 0 { format!(", {} to work on", count(totals.nodes, "node")) } else { String::new() };
            format!(
                "Plan: {} to create, {} to change, {} to replace, {} to delete{nodes}.",
                totals.create, totals.change, totals.replace, totals.delete
            )
        };
        page.row(0, vec![(ink(Ink::Strong, text), 0), (ink(Ink::Faint, took), 0)]);
    }
}

/// `An earlier run by ops@build-7 (update, 09:12 UTC) stopped after 18 of 31 actions.`
pub fn interrupted(run: &Run, (resources, nodes): (usize, usize)) -> String {
    let when =
        run.started.parse::<Timestamp>().map_or_else(|_| run.started.clone(), |at| at.strftime("%F %H:%M UTC").to_string());
    let Run { by, command, actions_done, actions_total, .. } = run;
    let what = match actions_done {
        Some(done) => format!("stopped after {done} of {actions_total} actions"),
        // How far it came is written at its end only.
        None => format!(
            "of {} did not come to its end; recorded are {}, and {} that joined",
            count(*actions_total as usize, "action"),
            count(resources, "resource"),
            count(nodes, "node")
        ),
    };
    format!("An earlier run by {by} ({command}, {when}) {what}.")
}

fn remark(task: NodeTask) -> Option<&'static str> {
    match task {
        NodeTask::JoinControlPlane => Some("one at a time"),
        NodeTask::Drain => Some("their pods move to other nodes"),
        _ => None,
    }
}

fn rest(page: &mut Page, all: usize, limit: usize) {
    let rest = all.saturating_sub(limit);
    if rest > 0 {
        page.flow(4, 6, vec![ink(Ink::Faint, format!("... and {rest} more like these (-v shows all)"))]);
    }
}

fn narrow_row(page: &mut Page, mut cells: Vec<(Span, usize)>) {
    let sign = cells.remove(0).0;
    let mut inner = Page::new(page.width);
    inner.row(6, cells);
    entry::with_sign(page, inner, sign);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Section<'a> {
    Network,
    Firewall,
    Names,
    /// By its place in the spec.
    Group(usize, &'a str),
    OtherInstances,
}

impl Section<'_> {
    fn title(self) -> String {
        match self {
            Self::Network => "network".into(),
            Self::Firewall => "firewall and SSH key".into(),
            Self::Names => "names".into(),
            Self::Group(_, name) => format!("instance group {name}"),
            Self::OtherInstances => "instances".into(),
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
#[cfg(test)]
pub use tests::first_plan;
