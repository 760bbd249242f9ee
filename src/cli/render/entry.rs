//! One line of a plan: all actions on one resource together.

use std::collections::BTreeMap;

use crate::cli::render::words;
use crate::cli::text::{Ink, Page, Span, ink};
use crate::desired::{Peer, ResourceId, Rule};
use crate::plan::{Action, Change, Plan, Verb, Work};

/// What happens to one resource: its actions, of which a create or delete absorbs the changes that are part of it.
#[derive(Debug)]
pub struct Entry<'a> {
    pub resource: &'a ResourceId,
    /// AWS id of a duplicate that an interrupted run left.
    twin: Option<&'a str>,
    verb: Verb,
    actions: Vec<&'a Action>,
}

/// In the order of the plan. Node work is shown by task elsewhere.
pub fn entries(plan: &Plan) -> Vec<Entry<'_>> {
    let mut places: BTreeMap<(&ResourceId, Option<&str>), usize> = BTreeMap::new();
    let mut entries: Vec<Entry<'_>> = vec![];
    for action in plan.actions.iter().filter(|action| matches!(action.work, Work::Calls(_))) {
        let twin = action.id.split_once(" twin ").map(|(_, id)| id);
        let place = *places.entry((&action.resource, twin)).or_insert_with(|| {
            entries.push(Entry { resource: &action.resource, twin, verb: action.verb, actions: vec![] });
            entries.len() - 1
        });
        let Some(entry) = entries.get_mut(place) else { continue };
        entry.verb = match (entry.verb, action.verb) {
            (Verb::Delete, _) | (_, Verb::Delete) => Verb::Delete,
            (Verb::Create, _) | (_, Verb::Create) => Verb::Create,
            (verb, _) => verb,
        };
        entry.actions.push(action);
    }
    entries
}

impl Entry<'_> {
    fn sign(&self) -> Span {
        match self.verb {
            Verb::Create => ink(Ink::Add, "+"),
            Verb::Update | Verb::Node => ink(Ink::Change, "~"),
            Verb::Delete => ink(Ink::Remove, "-"),
        }
    }

    pub fn name(&self) -> String {
        match self.resource {
            ResourceId::Instance(slot) => slot.clone(),
            other => words::resource(other),
        }
    }

    /// The most telling fact: an AWS id that goes, an address range that comes.
    pub fn middle(&self) -> String {
        if self.verb == Verb::Delete {
            return self.twin.map(str::to_owned).or_else(|| self.doomed_id()).unwrap_or_default();
        }
        // Machine type and image stand in the heading of the group.
        if self.request().is_some() {
            return String::new();
        }
        match (self.verb, self.details().as_slice()) {
            (Verb::Create, [one]) => (*one).to_owned(),
            _ => String::new(),
        }
    }

    /// Machine type and image of a new instance, as its group shows them once.
    pub fn launch(&self, plan: &Plan) -> Option<String> {
        let request = self.request()?;
        let name = plan.images.values().find(|image| image.id == request.image).map(|image| image.name.as_str());
        let image = match name {
            Some(name) => format!("{name} ({})", request.image),
            None => request.image.clone(),
        };
        Some(format!("{}, {image}, {} GiB {}", request.machine_type, request.volume_gib, request.volume_kind))
    }

    fn request(&self) -> Option<&crate::plan::RunInstance> {
        self.actions.iter().flat_map(|action| action.changes()).find_map(|change| match change {
            Change::RunInstance { request, .. } => Some(request.as_ref()),
            _ => None,
        })
    }

    fn doomed_id(&self) -> Option<String> {
        self.actions.iter().flat_map(|action| action.changes()).find_map(|change| match change {
            Change::DeleteVpc { vpc: id }
            | Change::DeleteSubnet { subnet: id }
            | Change::DeleteInternetGateway { gateway: id }
            | Change::DeleteNatGateway { gateway: id }
            | Change::ReleaseAddress { allocation: id }
            | Change::DeleteRouteTable { table: id }
            | Change::DeleteSecurityGroup { group: id }
            | Change::TerminateInstance { instance: id } => id.known().map(str::to_owned),
            Change::DeleteKeyPair { name } => Some(name.clone()),
            _ => None,
        })
    }

    fn details(&self) -> Vec<&str> {
        self.actions.iter().flat_map(|action| &action.details).map(String::as_str).collect()
    }

    /// Reasons of the whole; of a create, those of its parts say nothing new.
    fn reasons(&self) -> String {
        let of_whole = |action: &&&Action| self.verb == Verb::Update || action.verb == self.verb;
        let mut reasons: Vec<&str> = vec![];
        for reason in self.actions.iter().filter(of_whole).flat_map(|action| &action.reasons) {
            if !reasons.contains(&reason.as_str()) {
                reasons.push(reason);
            }
        }
        reasons.join("; ")
    }

    pub fn draw(&self, page: &mut Page, names: usize, middles: usize, whole: bool) {
        let middle = self.middle();
        let mut inner = Page::new(page.width);
        let cells = vec![(Span::from(self.name()), names), (Span::from(&middle), middles), (self.reasons().into(), 0)];
        inner.row(6, cells);
        with_sign(page, inner, self.sign());
        for line in self.inside(&middle, whole) {
            let (sign, text) = match line.split_at_checked(2) {
                Some(("+ ", text)) => (ink(Ink::Add, "+"), text),
                Some(("- ", text)) => (ink(Ink::Remove, "-"), text),
                Some(("~ ", text)) => (ink(Ink::Change, "~"), text),
                _ => {
                    page.flow(8, 10, vec![line.as_str().into()]);
                    continue;
                }
            };
            let mut inner = Page::new(page.width);
            // The planner aligns its columns with runs of spaces; here they are laid out for this width.
            let mut parts = text.splitn(2, "   ").map(str::trim);
            let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            inner.row(10, vec![(Span::from(first), 36), (ink(Ink::Faint, second), 0)]);
            with_sign(page, inner, sign);
        }
        for disruptive in self.actions.iter().filter_map(|action| action.disruptive.as_ref()) {
            page.flow(8, 10, vec![ink(Ink::Warn, "disruptive: "), disruptive.into()]);
        }
    }

    /// Lines below the entry.
    fn inside(&self, middle: &str, whole: bool) -> Vec<String> {
        match self.verb {
            // Of what has an AWS id, that is enough.
            Verb::Delete if !middle.is_empty() => vec![],
            Verb::Create if self.request().is_some() => vec![],
            Verb::Create if matches!(self.resource, ResourceId::SecurityGroup(_)) => self.new_rules(whole),
            _ => self.details().into_iter().filter(|detail| *detail != middle).map(str::to_owned).collect(),
        }
    }

    /// Of a new group: who may come in from outside, and how many rules there are among the cluster's own machines.
    fn new_rules(&self, whole: bool) -> Vec<String> {
        let rules: Vec<&Rule> = self
            .actions
            .iter()
            .flat_map(|action| action.changes())
            .filter_map(|change| match change {
                Change::AuthorizeRules { rules, .. } => Some(rules),
                _ => None,
            })
            .flatten()
            .collect();
        let from_outside = |rule: &&&Rule| whole || (!rule.egress && matches!(rule.peer, Peer::Cidr(_)));
        let mut lines: Vec<String> =
            rules.iter().filter(from_outside).map(|rule| format!("+ {}", crate::plan::rule_words(rule))).collect();
        match rules.len() - lines.len() {
            0 => {}
            1 => lines.push("+ 1 rule for the cluster's own traffic".into()),
            n => lines.push(format!("+ {n} rules for the cluster's own traffic")),
        }
        lines
    }
}

/// Puts a sign in front of the first line of a row; the row's indent leaves room for it.
pub fn with_sign(page: &mut Page, row: Page, sign: Span) {
    for (n, line) in row.lines().iter().enumerate() {
        let indent: usize = line.first().map_or(0, |span| span.text().len() - span.text().trim_start().len());
        if n > 0 || indent < 2 {
            page.line(line.clone());
            continue;
        }
        let mut spans = vec![Span::from(" ".repeat(indent - 2)), sign.clone(), Span::from(" ")];
        let rest = line.first().map(|span| ink(span.ink, span.text().trim_start()));
        spans.extend(rest.filter(|span| !span.text().is_empty()));
        spans.extend(line.iter().skip(1).cloned());
        page.line(spans);
    }
}
