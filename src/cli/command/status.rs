//! `status`.

use jiff::Timestamp;

use crate::cli::args::{StatusArgs, cluster_in};
use crate::cli::render::etcd::age;
use crate::cli::render::plan::interrupted;
use crate::cli::session::{Refusal, Session};
use crate::cli::text::{Ink, Page, Span, count, ink};
use crate::operation::{GroupPhases, Pending, Status, status};
use crate::recorded::Run;
use crate::report::exit;

/// Column of the text beside labels.
const LABEL: usize = 11;
/// Intents that are named one by one.
const NAMED: usize = 3;

pub async fn run(session: &Session<'_>, args: StatusArgs) -> Result<u8, Refusal> {
    let name = session.cluster(cluster_in(&args.words).map_err(Refusal::Usage)?);
    let env = session.env().await?;
    let (status, failure) = status(&env, name.as_deref()).await?;
    session.show(&status, || page(session, &status))?;
    if let Some(error) = failure {
        session.complain(&Refusal::Operation(error));
        return Ok(exit::ERROR);
    }
    next(session, &status);
    Ok(exit::DONE)
}

fn next(session: &Session<'_>, status: &Status) {
    let name = &status.cluster;
    if status.lock.as_ref().is_some_and(|lock| lock.stale) {
        let command = format!("kubewright lock break {name} --yes");
        return session.next("Next:", &command, Some("once you know that run is dead"));
    }
    if status.interrupted {
        return session.next("Next:", &format!("kubewright update {name} --yes"), Some("resumes it"));
    }
    let is_still = status.pending.as_ref().is_some_and(|pending| pending.changes == 0 && pending.errors.is_empty());
    let command = if is_still { format!("kubewright validate {name}") } else { format!("kubewright update {name}") };
    session.next("Next:", &command, (!is_still).then_some("shows the changes"));
}

fn page(session: &Session<'_>, status: &Status) -> Page {
    let mut page = session.ui.page();
    if let Some(run) = status.last_run.as_ref().filter(|_| status.interrupted) {
        let text = interrupted(run, status.recorded);
        page.flow(
            0,
            2,
            vec![
                ink(Ink::Warn, text.trim_end_matches('.')),
                "; `kubewright update ".into(),
                Span::from(&status.cluster),
                " --yes` resumes it.".into(),
            ],
        );
        page.blank();
    }
    let Status { cluster, region, kubernetes, account, .. } = status;
    let title = format!("{cluster}  {region}  Kubernetes {kubernetes}  account {account}");
    page.flow(0, 2, vec![ink(Ink::Strong, title)]);
    let mut row = |label: &str, text: String| page.labelled(2, LABEL, label, vec![text.into()]);
    row("state", status.location.clone());
    let applied = match status.applied {
        0 => "never applied to its end".to_owned(),
        applied if applied == status.revision => "applied".into(),
        applied => format!("{applied} is applied"),
    };
    row("revision", format!("{}, {applied}", status.revision));
    row("last run", status.last_run.as_ref().map_or_else(|| "none".to_owned(), |run| last_run(run, status.interrupted)));
    row(
        "lock",
        match &status.lock {
            None => "free".to_owned(),
            Some(lock) if lock.stale => format!("held by {} ({}), which has probably died", lock.by, lock.command),
            Some(lock) => format!("held by {} ({})", lock.by, lock.command),
        },
    );
    for (n, group) in status.machines.iter().enumerate() {
        match n {
            0 => page.labelled(2, LABEL, "machines", vec![machines(group).into()]),
            _ => page.flow(2 + LABEL, 4 + LABEL, vec![machines(group).into()]),
        }
    }
    let mut row = |label: &str, text: String| page.labelled(2, LABEL, label, vec![text.into()]);
    row("calls", calls(status));
    let now = session.outside.clock().now();
    row("snapshot", snapshot(status, now));
    let (text, soon) = authorities(status, now);
    page.labelled(2, LABEL, "CAs", vec![if soon { ink(Ink::Warn, text) } else { text.into() }]);
    let mut row = |label: &str, text: String| page.labelled(2, LABEL, label, vec![text.into()]);
    row("account", status.pending.as_ref().map_or_else(|| "cannot be read".to_owned(), pending));
    page
}

/// Seconds before the end of an authority at which it is time to think of it: three months.
const SOON: i64 = 90 * 86_400;

fn snapshot(status: &Status, now: Timestamp) -> String {
    match &status.snapshot {
        Err(error) => format!("cannot be listed: {error}"),
        Ok(None) => "none of this cluster's etcd in the store".into(),
        Ok(Some(newest)) => {
            let seconds = u64::try_from(now.duration_since(newest.taken).as_secs()).unwrap_or_default();
            let why = newest.why.as_ref().map(|why| format!(", {why}")).unwrap_or_default();
            format!("{}, {} ago{why}", newest.id, age(seconds))
        }
    }
}

/// When the authorities expire, the first one first; true where that is soon.
fn authorities(status: &Status, now: Timestamp) -> (String, bool) {
    let all = match &status.authorities {
        Err(error) => return (format!("cannot be read: {error}"), false),
        Ok(all) => all,
    };
    let Some((name, first)) = all.iter().min_by_key(|(_, expires)| **expires) else { return ("none yet".into(), false) };
    let left = first.duration_since(now).as_secs();
    let text = match left {
        ..=0 => format!("{name} has expired ({})", first.strftime("%F")),
        left if left < SOON => format!("{name} expires in {} ({})", age(left.unsigned_abs()), first.strftime("%F")),
        _ => format!("valid until {} ({})", first.strftime("%F"), all.keys().cloned().collect::<Vec<_>>().join(", ")),
    };
    (text, left < SOON)
}

fn last_run(run: &Run, interrupted: bool) -> String {
    let when =
        run.started.parse::<Timestamp>().map_or_else(|_| run.started.clone(), |at| at.strftime("%F %H:%M UTC").to_string());
    let end = match (run.finished, interrupted) {
        (true, _) => format!("finished, {}", count(run.actions_total as usize, "action")),
        (false, true) => "did not finish".into(),
        (false, false) => "is under way".into(),
    };
    format!("by {} ({}, {when}): {end}", run.by, run.command)
}

fn machines(group: &GroupPhases) -> String {
    let last = group.last();
    let mut text = format!("{}: {} of {} {last}", group.group, group.phases.get(last).unwrap_or(&0), group.want);
    for (phase, n) in group.phases.iter().filter(|(phase, _)| **phase != last) {
        text.push_str(&format!(", {n} {phase}"));
    }
    text
}

fn calls(status: &Status) -> String {
    let intents = &status.intents;
    if intents.is_empty() {
        return "none without an answer".into();
    }
    let mut named: Vec<String> =
        intents.iter().take(NAMED).map(|intent| format!("{} {}", intent.action, intent.resource)).collect();
    if intents.len() > NAMED {
        named.push(format!("{} more", intents.len() - NAMED));
    }
    format!("{} without an answer ({})", intents.len(), named.join(", "))
}

/// The number of changes a plan would make, and how many of them are drift.
fn pending(pending: &Pending) -> String {
    let Pending { changes, by_hand, left_alone, behind, errors } = pending;
    let mut parts = vec![match (changes, by_hand) {
        (0, _) => "no changes pending".to_owned(),
        (n, 0) => format!("{} pending", count(*n, "change")),
        (n, by_hand) => format!("{} pending, {by_hand} of them because of changes by hand", count(*n, "change")),
    }];
    parts.extend((*left_alone > 0).then(|| format!("{} by hand left alone", count(*left_alone, "change"))));
    parts.extend((*behind > 0).then(|| format!("{} behind", count(*behind, "machine"))));
    parts.extend(errors.first().map(|error| format!("a plan could not be applied: {error}")));
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_bastion_is_done_when_it_is_prepared() {
        let group = |role: &str, phases: &[(&'static str, usize)]| GroupPhases {
            group: "g".into(),
            role: role.into(),
            want: 3,
            phases: phases.iter().copied().collect::<BTreeMap<_, _>>(),
        };
        assert_eq!(machines(&group("bastion", &[("prepared", 3)])), "g: 3 of 3 prepared");
        assert_eq!(machines(&group("node", &[("prepared", 1), ("joined", 2)])), "g: 2 of 3 joined, 1 prepared");
        assert_eq!(machines(&group("node", &[])), "g: 0 of 3 joined");
    }
}
