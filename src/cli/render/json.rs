//! The same values for machines. Field names are part of the interface.

use serde_json::{Value, json};

use crate::apply::Outcome;
use crate::cloud::Calls;
use crate::operation::{DeleteReport, Report};
use crate::plan::Plan;
use crate::report;

/// The plan as it is, and its totals.
pub fn plan(plan: &Plan, location: &str, reads: u64) -> Value {
    json!({ "plan": plan, "totals": plan.totals(), "state": location, "reads": reads })
}

pub fn applied(report: &Report) -> Value {
    json!({
        "cluster": report.cluster,
        "outcome": outcome(&report.outcome),
        "nodes": {
            // Without a pod network of ours nobody has seen one Ready.
            "ready": if report.waits_for_network { Value::Null } else { report.joined.0.into() },
            "registered": report.joined.0,
            "wanted": report.joined.1,
        },
        "calls": calls(report.calls),
        "seconds": report.seconds,
        "phases": report.phases.iter().map(|(name, seconds)| json!({ "name": name, "seconds": seconds })).collect::<Vec<_>>(),
    })
}

pub fn deleted(report: &DeleteReport) -> Value {
    json!({
        "cluster": report.cluster,
        "outcome": outcome(&report.outcome),
        "remaining": report.remaining,
        "kept": report.kept,
        "kept_snapshots": report.kept_snapshots.as_ref().map(|(n, location)| json!({ "count": n, "location": location })),
        "calls": calls(report.calls),
        "seconds": report.seconds,
    })
}

fn calls(calls: Calls) -> Value {
    json!({ "reads": calls.reads, "changes": calls.changes, "throttled": calls.throttled })
}

fn outcome(outcome: &Outcome) -> Value {
    let done = outcome.done.iter().map(|done| json!({ "id": done.action.id, "aws_id": done.aws_id, "seconds": done.seconds }));
    let failed = outcome.failed.iter().map(|failed| json!({ "id": failed.action.id, "error": failed.failure.to_string() }));
    let skipped = outcome.skipped.iter().map(|skipped| json!({ "id": skipped.action.id, "because": skipped.because }));
    json!({
        "complete": outcome.is_complete(),
        "stopped": outcome.stopped,
        "counts": report::counts(outcome),
        "done": done.collect::<Vec<_>>(),
        "failed": failed.collect::<Vec<_>>(),
        "skipped": skipped.collect::<Vec<_>>(),
    })
}
