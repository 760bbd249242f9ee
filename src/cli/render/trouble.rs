//! What went wrong, in the order of a person's questions.

use crate::apply::Outcome;
use crate::cli::render::words;
use crate::cli::text::{Ink, Page, Span, count, ink};
use crate::report::{self, Group, Trouble};

/// Column of the text beside labels.
const LABEL: usize = 10;
/// Names that are listed before the rest is counted.
const NAMES: usize = 3;
const COMMANDS: [&str; 3] = ["aws ", "kubectl ", "ssh "];

pub fn trouble(page: &mut Page, trouble: &Trouble) {
    page.flow(0, 7, vec![ink(Ink::Bad, "error: "), ink(Ink::Strong, &trouble.what)]);
    let mut before = "";
    for (label, text) in &trouble.rows {
        // Several lines of one kind stand below each other under one label.
        let shown = if label == before { "" } else { label.as_str() };
        page.labelled(2, LABEL, shown, vec![Span::from(text)]);
        before = label;
    }
    if let Some(next) = &trouble.next {
        // A command is there to be copied: it is never broken over two lines.
        match COMMANDS.iter().any(|program| next.starts_with(program)) {
            true => page.line(vec![ink(Ink::Faint, format!("  {:<LABEL$}", "next")), Span::from(next)]),
            false => page.labelled(2, LABEL, "next", vec![Span::from(next)]),
        }
    }
}

/// Every failure of a run, those that tell the same story once.
pub fn failures(page: &mut Page, outcome: &Outcome) {
    for group in report::groups(outcome) {
        trouble(page, &of_group(&group));
    }
}

fn of_group(group: &Group<'_>) -> Trouble {
    let action = &group.first.action;
    let what = format!("{} cannot be {}", words::subject(action), words::tense(action).passive);
    let mut trouble = report::of_failure(&what, &group.first.failure);
    if !group.others.is_empty() {
        let names = group.others.iter().map(|failed| words::subject(&failed.action));
        trouble.rows.push(("also".into(), some(names.collect())));
    }
    if !group.waiting.is_empty() {
        let names = group.waiting.iter().map(|skipped| skipped.action.id.clone());
        trouble.rows.push(("waiting".into(), format!("{}: {}", count(group.waiting.len(), "action"), some(names.collect()))));
    }
    trouble
}

/// `a, b, c and 12 more`
fn some(mut names: Vec<String>) -> String {
    let more = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    let names = names.join(", ");
    if more > 0 { format!("{names} and {more} more") } else { names }
}
