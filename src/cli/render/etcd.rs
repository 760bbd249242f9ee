//! etcd, its snapshots and a restore, for people and for machines.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::bootstrap::inspect::MemberStatus;
use crate::cli::render::table::Table;
use crate::cli::text::{Ink, Page, Span, count, ink};
use crate::clock::in_words;
use crate::operation::{EtcdReport, RestorePlan, RestoreReport, SnapshotList, SnapshotReport};
use crate::store::{Listed, Restore, Snapshot};

/// Column of the text beside labels.
const LABEL: usize = 12;

pub fn status(report: &EtcdReport, now: Timestamp, width: usize, wide: bool) -> Page {
    let etcd = &report.etcd;
    let mut headings = vec!["MEMBER", "ROLE", "HEALTHY", "VERSION", "SIZE", "LAG"];
    if wide {
        headings.extend(["ID", "INSTANCE", "ADDRESS", "IN USE", "TERM", "APPLIED"]);
    }
    let mut table = Table::new(&headings);
    for member in &etcd.members {
        table.row(row(member, wide));
    }
    let mut page = Page::new(width);
    if !etcd.members.is_empty() {
        page.append(table.page());
    }
    for member in etcd.members.iter().filter(|member| !member.healthy && !member.error.is_empty()) {
        page.flow(0, 2, vec![ink(Ink::Warn, format!("{}: ", name(member))), Span::from(&member.error)]);
    }
    for (slot, why) in &report.silent {
        page.flow(0, 2, vec![ink(Ink::Warn, format!("{slot}: ")), Span::from(why)]);
    }
    for alarm in &etcd.alarms {
        page.flow(0, 2, vec![ink(Ink::Bad, format!("alarm {} of {}", alarm.kind, alarm.member))]);
    }
    if etcd.answers {
        let revision = etcd.revision.map(|revision| format!(" Revision {revision}.")).unwrap_or_default();
        let lose = match etcd.may_lose {
            0 if !etcd.has_quorum() => "no quorum".to_owned(),
            0 => "none may be lost".into(),
            n => format!("{n} may be lost"),
        };
        let text = format!(
            "{}: {} of {} healthy, quorum {}, {lose}.{revision}",
            report.cluster,
            etcd.healthy,
            count(etcd.voters, "voting member"),
            etcd.quorum
        );
        page.flow(0, 2, vec![ink(if etcd.has_quorum() { Ink::Add } else { Ink::Bad }, text)]);
    }
    let newest = match &report.newest {
        Some(snapshot) => format!("Newest snapshot: {}, {} ago.", snapshot.id, age(since(snapshot, now))),
        None => "There is no snapshot of it in the store.".into(),
    };
    page.flow(0, 2, vec![newest.into()]);
    under_way(&mut page, report.restore.as_ref());
    page
}

/// Slot, instance or id, whichever there is.
fn name(member: &MemberStatus) -> &str {
    [&member.slot, &member.name, &member.id].into_iter().find(|name| !name.is_empty()).map_or("", String::as_str)
}

fn row(member: &MemberStatus, wide: bool) -> Vec<String> {
    let role = match (member.learner, member.leader) {
        (true, _) => "learner",
        (_, true) => "leader",
        (_, false) => "follower",
    };
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let mut cells = vec![
        name(member).to_owned(),
        role.into(),
        if member.healthy { "yes" } else { "no" }.into(),
        member.version.clone().unwrap_or_default(),
        member.size.map(bytes).unwrap_or_default(),
        number(member.lag),
    ];
    if wide {
        let in_use = member.in_use.map(bytes).unwrap_or_default();
        cells.extend([member.id.clone(), member.name.clone(), member.address.clone(), in_use]);
        cells.extend([number(member.term), number(member.applied)]);
    }
    cells
}

fn under_way(page: &mut Page, restore: Option<&Restore>) {
    if let Some(restore) = restore {
        let text = format!(
            "A restore of {} by {} (begun {}) has not ended; the same command goes on with it.",
            restore.snapshot,
            restore.by,
            restore.begun.strftime("%F %H:%M UTC")
        );
        page.flow(0, 2, vec![ink(Ink::Warn, text)]);
    }
}

pub fn list(list: &SnapshotList, now: Timestamp, width: usize, wide: bool) -> Page {
    let mut headings = vec!["SNAPSHOT", "AGE", "SIZE", "REVISION", "KUBERNETES", "ETCD"];
    if wide {
        headings.extend(["KEYS", "TAKEN ON", "INSTANCE", "BY", "WHY"]);
    }
    let mut table = Table::new(&headings);
    let mut notes = Page::new(width);
    for Listed { id, snapshot } in list.snapshots.iter().rev() {
        match snapshot {
            Ok(snapshot) => {
                let Snapshot { revision, kubernetes, etcd, keys, slot, instance, by, why, .. } = snapshot.clone();
                let mut cells =
                    vec![id.clone(), age(since(snapshot, now)), bytes(snapshot.size), revision.to_string(), kubernetes, etcd];
                if wide {
                    cells.extend([keys.to_string(), slot, instance, by, why.unwrap_or_default()]);
                } else if let Some(why) = why {
                    notes.flow(0, 2, vec![ink(Ink::Faint, format!("{id}: ")), Span::from(&why)]);
                }
                table.row(cells);
                if snapshot.uid != list.uid {
                    notes.flow(0, 2, vec![ink(Ink::Warn, format!("{id}: ")), "of an earlier cluster of this name".into()]);
                }
            }
            Err(why) => {
                table.row(vec![id.clone()]);
                notes.flow(0, 2, vec![ink(Ink::Bad, format!("{id}: ")), Span::from(why)]);
            }
        }
    }
    let mut page = Page::new(width);
    page.append(table.page());
    page.append(notes);
    under_way(&mut page, list.restore.as_ref());
    page
}

/// As `etcd list -o json` has it.
pub fn list_json(list: &SnapshotList) -> Value {
    let one = |listed: &Listed| match &listed.snapshot {
        Ok(snapshot) => {
            let mut value = json!(snapshot);
            if let Some(fields) = value.as_object_mut() {
                fields.insert("usable".into(), (snapshot.uid == list.uid).into());
            }
            value
        }
        Err(why) => json!({ "id": listed.id, "usable": false, "error": why }),
    };
    json!({
        "cluster": list.cluster,
        "location": list.location,
        "snapshots": list.snapshots.iter().map(one).collect::<Vec<_>>(),
        "restore": list.restore,
    })
}

pub fn taken(report: &SnapshotReport, width: usize) -> Page {
    let snapshot = &report.snapshot;
    let mut page = Page::new(width);
    for warning in &report.warnings {
        page.flow(0, 2, vec![ink(Ink::Warn, "warning: "), Span::from(warning)]);
    }
    let text = format!(
        "{} stored in {}: {}, revision {}, {}.",
        snapshot.id,
        in_words(report.seconds),
        bytes(snapshot.size),
        snapshot.revision,
        count(usize::try_from(snapshot.keys).unwrap_or(usize::MAX), "key"),
    );
    page.flow(0, 2, vec![ink(Ink::Add, "Snapshot "), text.into()]);
    page.flow(0, 2, vec![format!("Read back and compared: sha256 {}, in {}.", snapshot.sha256, report.location).into()]);
    if !report.dropped.is_empty() {
        page.flow(
            0,
            2,
            vec![
                format!("Deleted {} (--keep): {}.", count(report.dropped.len(), "older snapshot"), report.dropped.join(", "))
                    .into(),
            ],
        );
    }
    page
}

pub fn taken_json(report: &SnapshotReport) -> Value {
    json!({
        "snapshot": report.snapshot,
        "location": report.location,
        "deleted": report.dropped,
        "warnings": report.warnings,
        "seconds": report.seconds,
    })
}

pub fn restore(plan: &RestorePlan, width: usize) -> Page {
    let RestorePlan { cluster, snapshot, planes, .. } = plan;
    let mut page = Page::new(width);
    page.flow(0, 2, vec![ink(Ink::Strong, format!("{cluster}  restore of {}", snapshot.id))]);
    let mut row = |label: &str, text: String| page.labelled(2, LABEL, label, vec![text.into()]);
    let taken = snapshot.taken.strftime("%F %H:%M:%S UTC");
    let why = snapshot.why.as_ref().map(|why| format!(", {why}")).unwrap_or_default();
    row("taken", format!("{taken} by {} on {} ({}){why}", snapshot.by, snapshot.slot, snapshot.instance));
    row("holds", format!("revision {}, {} keys, {}", snapshot.revision, snapshot.keys, bytes(snapshot.size)));
    row("written by", format!("Kubernetes {}, etcd {}", snapshot.kubernetes, snapshot.etcd));
    row("checked", format!("all of it was read; sha256 {}", snapshot.sha256));
    let written = match plan.revision.map(|revision| revision.checked_sub(snapshot.revision)) {
        Some(Some(n)) => format!(": {n} revisions (etcd is at {})", plan.revision.unwrap_or_default()),
        Some(None) => ": etcd is at an earlier revision than the snapshot; it holds other data".into(),
        None => "; etcd does not answer, so nobody knows how much that is".into(),
    };
    row("is lost", format!("everything that was written in the {} since then{written}", age(plan.age)));
    row("stops", format!("the API, etcd, controllers and scheduler of {}; pods run on meanwhile", planes.join(", ")));
    page.flow(2, 4, vec!["  1. the snapshot is sent to the control planes, and new data is made beside the old".into()]);
    page.flow(
        2,
        4,
        vec!["  2. all of them are stopped, and the data is changed; the old stays beside it until the next restore".into()],
    );
    page.flow(2, 4, vec!["  3. all are started, with each other as members".into()]);
    page.flow(
        2,
        4,
        vec!["  4. Nodes of machines that are gone are deleted, Nodes that the snapshot lacks are registered again".into()],
    );
    under_way(&mut page, plan.resumes.as_ref());
    page
}

pub fn restore_json(plan: &RestorePlan) -> Value {
    json!({
        "cluster": plan.cluster,
        "snapshot": plan.snapshot,
        "age_seconds": plan.age,
        "revision": plan.revision,
        "control_planes": plan.planes,
        "resumes": plan.resumes,
    })
}

pub fn restored(report: &RestoreReport, width: usize) -> Page {
    let mut page = Page::new(width);
    let planes = count(report.planes.len(), "control plane");
    let text = format!("{} from {} in {}: {planes}.", report.cluster, report.snapshot.id, in_words(report.seconds));
    page.flow(0, 2, vec![ink(Ink::Add, "Restored "), text.into()]);
    if !report.removed.is_empty() {
        page.flow(0, 2, vec![format!("Deleted Nodes whose machines are gone: {}.", report.removed.join(", ")).into()]);
    }
    if !report.registered.is_empty() {
        page.flow(0, 2, vec![format!("Registered again: {}.", report.registered.join(", ")).into()]);
    }
    if !report.unready.is_empty() {
        page.flow(0, 2, vec![ink(Ink::Warn, format!("Not Ready yet: {}.", report.unready.join(", ")))]);
    }
    page
}

pub fn restored_json(report: &RestoreReport) -> Value {
    json!({
        "cluster": report.cluster,
        "snapshot": report.snapshot.id,
        "control_planes": report.planes,
        "removed_nodes": report.removed,
        "registered": report.registered,
        "not_ready": report.unready,
        "seconds": report.seconds,
    })
}

fn since(snapshot: &Snapshot, now: Timestamp) -> u64 {
    u64::try_from(now.duration_since(snapshot.taken).as_secs()).unwrap_or_default()
}

/// `41 s`, `5 min`, `3 h 10 min`, `12 days`.
pub fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `512 B`, `20.4 MiB`.
fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut tenths, mut unit) = (n.saturating_mul(10), "B");
    for next in UNITS {
        if tenths < 10_240 {
            break;
        }
        (tenths, unit) = (tenths / 1024, next);
    }
    if unit == "B" { format!("{n} B") } else { format!("{}.{} {unit}", tenths / 10, tenths % 10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_told_in_the_unit_that_fits() {
        for (n, text) in [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (21_390_950, "20.3 MiB"), (8 << 30, "8.0 GiB")] {
            assert_eq!(bytes(n), text);
        }
        for (n, text) in [(41, "41 s"), (3599, "59 min"), (11_400, "3 h 10 min"), (1_036_800, "12 days")] {
            assert_eq!(age(n), text);
        }
    }
}
