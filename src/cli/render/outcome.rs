//! The end of a run: what was done, in how long, with how many calls, what is left.

use crate::apply::Outcome;
use crate::cli::render::{trouble, words};
use crate::cli::text::{Ink, Page, Span, count, ink};
use crate::clock::in_words;
use crate::cloud::Calls;
use crate::operation::{DeleteReport, Report};
use crate::plan::{NodeTask, Work};
use crate::report::{self, Trouble};

/// What failed, for stderr; empty where nothing did.
pub fn failures(outcome: &Outcome, width: usize) -> Page {
    let mut page = Page::new(width);
    trouble::failures(&mut page, outcome);
    page
}

/// `Applied in 1 min 48 s: ...`
pub fn applied(report: &Report, width: usize) -> Page {
    let mut page = Page::new(width);
    settled(&mut page, report);
    let begun = match (report.outcome.is_complete(), report.outcome.stopped) {
        (true, _) => ink(Ink::Add, "Applied"),
        (false, true) => ink(Ink::Warn, "Stopped"),
        (false, false) => ink(Ink::Bad, "Failed"),
    };
    let counts = report::counts(&report.outcome);
    let parts = [(counts.created, "created"), (counts.changed, "changed"), (counts.deleted, "deleted")];
    let mut parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    let label = |work: &Work| matches!(work, Work::Node { task: NodeTask::Label, .. });
    let labelled = report.outcome.done.iter().filter(|done| label(&done.action.work)).count();
    parts.extend((labelled > 0).then(|| format!("{labelled} labelled")));
    if parts.is_empty() {
        parts.push("nothing changed in the account".into());
    }
    let did = format!(" in {}: {}.", in_words(report.seconds), parts.join(", "));
    let (ready, total) = report.joined;
    let nodes = count(total, "node");
    let stands = match report.waits_for_network {
        false => format!("{ready} of {nodes} Ready. {}.", calls(report.calls)),
        true => format!(
            "{ready} of {nodes} registered, NotReady until you install a pod network (cni = \"none\"). {}.",
            calls(report.calls)
        ),
    };
    if report.outcome.is_complete() {
        page.flow(0, 2, vec![begun, format!("{did} {stands}").into()]);
    } else {
        page.flow(0, 2, vec![begun, format!("{did}{}", unfinished(&report.outcome)).into()]);
        page.flow(0, 2, vec![stands.into()]);
    }
    if report.phases.len() > 1 {
        let phases: Vec<String> = report.phases.iter().map(|(name, seconds)| format!("{name} {}", in_words(*seconds))).collect();
        page.flow(0, 2, vec![ink(Ink::Faint, format!("Phases: {}.", phases.join(", ")))]);
    }
    page
}

fn settled(page: &mut Page, report: &Report) {
    let found: Vec<&str> = report.settled.iter().filter_map(|settled| settled.id.as_deref()).collect();
    let not = report.settled.len() - found.len();
    if !found.is_empty() {
        let text =
            format!("{} of an earlier run had no answer and were found: {}.", count(found.len(), "call"), found.join(", "));
        page.flow(0, 2, vec![text.into()]);
    }
    if not > 0 {
        let text = format!("{} of an earlier run had not been carried out; the plan decided anew.", count(not, "call"));
        page.flow(0, 2, vec![text.into()]);
    }
}

fn calls(calls: Calls) -> String {
    format!("{}, {} throttled", count((calls.reads + calls.changes) as usize, "call"), calls.throttled)
}

fn unfinished(outcome: &Outcome) -> String {
    if outcome.is_complete() {
        return String::new();
    }
    let (done, failed, skipped) = (outcome.done.len(), outcome.failed.len(), outcome.skipped.len());
    let all = done + failed + skipped;
    format!(" {done} of {} done, {failed} failed, {skipped} not started.", count(all, "action"))
}

/// Where the next run of the same command begins, for the line that names it.
pub fn goes_on_at(outcome: &Outcome) -> Option<String> {
    let failed = outcome.failed.first()?;
    match &failed.failure {
        crate::apply::Failure::Node(error) => Some(format!("goes on at step `{}` of {}", error.step, error.slot)),
        _ => Some(format!("goes on at {}", words::subject(&failed.action))),
    }
}

/// `Deleted 64 resources in 41 s. Looked again by tag and by state: 0 remain.`
pub fn deleted(report: &DeleteReport, width: usize) -> Page {
    let mut page = Page::new(width);
    let gone = report::counts(&report.outcome).deleted;
    let begun = if report.outcome.is_complete() && report.remaining.is_empty() {
        ink(Ink::Add, "Deleted")
    } else {
        ink(Ink::Bad, "Deleted")
    };
    let text = format!(
        " {} in {}. Looked again by tag and by state: {} remain.{} {}.",
        count(gone, "resource"),
        in_words(report.seconds),
        report.remaining.len(),
        unfinished(&report.outcome),
        calls(report.calls)
    );
    page.flow(0, 2, vec![begun, text.into()]);
    if let Some(kept) = &report.kept {
        page.flow(0, 2, vec![format!("Kept: the history of the spec ({kept}).").into()]);
    }
    if let Some((n, location)) = &report.kept_snapshots {
        let text = format!(
            "Kept: {} of etcd ({location}), with the Secrets that were in it; --purge takes them.",
            count(*n, "snapshot")
        );
        page.flow(0, 2, vec![text.into()]);
    }
    page
}

/// What a delete left, where no failed action says why.
pub fn left_behind(report: &DeleteReport) -> Option<Trouble> {
    if report.remaining.is_empty() || !report.outcome.failed.is_empty() || report.outcome.stopped {
        return None;
    }
    let mut trouble = Trouble::new("objects that carry the cluster's tags remain in the account");
    trouble.rows = report.remaining.iter().take(20).map(|id| ("left".to_owned(), id.clone())).collect();
    Some(trouble.next("run the same command again"))
}

/// `Next:  kubewright validate demo.k8s.example.com`. A command is never broken over two lines: it is there to be copied.
pub fn next(page: &mut Page, label: &str, command: &str, remark: Option<&str>) {
    let typed = ink(Ink::Strong, command);
    let label = Span::from(label);
    let fits = label.width() + 2 + typed.width() <= page.width;
    let mut used = typed.width() + 2;
    let mut line = vec![Span::from("  "), typed];
    if fits {
        used += label.width();
        line.insert(0, label);
    } else {
        page.line(vec![label]);
    }
    let remark = remark.map(|remark| ink(Ink::Faint, format!("({remark})")));
    match remark {
        Some(remark) if used + 6 + remark.width() <= page.width => {
            line.extend(["      ".into(), remark]);
            page.line(line);
        }
        remark => {
            page.line(line);
            if let Some(remark) = remark {
                page.flow(2, 3, vec![remark]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_to_type_is_never_wrapped() {
        let long = format!("kubewright update -f {}/demo.toml --yes", "deep/".repeat(20));
        for width in 40..140 {
            let mut page = Page::new(width);
            next(&mut page, "Nothing was changed. To apply:", &long, Some("goes on where this one stopped"));
            assert!(page.plain().lines().any(|line| line.trim_start().ends_with(&long)), "{}", page.plain());
        }
        let mut page = Page::new(80);
        next(&mut page, "Next:", "kubewright validate demo", Some("soon"));
        assert_eq!(page.plain(), "Next:  kubewright validate demo      (soon)\n");
    }
}
