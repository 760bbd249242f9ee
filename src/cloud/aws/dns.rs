//! Route 53: hosted zones and their records.

use aws_sdk_route53::types::{self as sdk, ChangeAction, ChangeBatch, ChangeStatus, ResourceRecord, ResourceRecordSet, RrType};

use super::send::{Repeat, send};
use super::{AwsCloud, Result, hole, hollow, made, unsent};
use crate::cloud::calls;
use crate::cloud::resolve::known;
use crate::observed::{HostedZone, RecordSet};
use crate::plan::Changed;
use crate::plan::change::{RecordChange, RecordVerb};

/// Largest pages of Route 53.
const ZONES_PAGE: i32 = 100;
const RECORDS_PAGE: i32 = 300;

impl AwsCloud {
    /// The listing only starts at the name, so what follows the name is left out here.
    pub(super) async fn list_hosted_zones(&self, name: &str) -> Result<Vec<HostedZone>> {
        let call = &calls::LIST_HOSTED_ZONES_BY_NAME;
        let name = plain_name(name);
        let mut found = Vec::new();
        let mut start = (name.clone(), None::<String>);
        loop {
            let (from, id) = start.clone();
            let request = self.route53.list_hosted_zones_by_name().dns_name(from).set_hosted_zone_id(id).max_items(ZONES_PAGE);
            let page = send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?;
            let same = page.hosted_zones().iter().filter(|zone| plain_name(zone.name()) == name);
            found.extend(same.map(|zone| HostedZone {
                id: zone.id().trim_start_matches("/hostedzone/").to_owned(),
                name: name.clone(),
                private: zone.config().is_some_and(|config| config.private_zone()),
                name_servers: Vec::new(),
            }));
            // Zones of one name follow each other.
            let more = page.is_truncated() && page.next_dns_name().is_some_and(|next| plain_name(next) == name);
            let next = (name.clone(), page.next_hosted_zone_id().map(str::to_owned));
            if !more || next == start {
                break;
            }
            start = next;
        }
        for zone in found.iter_mut().filter(|zone| !zone.private) {
            let request = self.route53.get_hosted_zone().id(&zone.id);
            let answer = send(&self.pace, &calls::GET_HOSTED_ZONE, Repeat::Harmless, || request.clone().send()).await?;
            let servers = answer.delegation_set().map(|set| set.name_servers()).unwrap_or_default();
            zone.name_servers = servers.iter().map(|server| plain_name(server)).collect();
        }
        Ok(found)
    }

    pub(super) async fn list_records(&self, zone: &str, suffix: &str) -> Result<Vec<RecordSet>> {
        let call = &calls::LIST_RESOURCE_RECORD_SETS;
        let suffix = plain_name(suffix);
        let below = format!(".{suffix}");
        let beginning = reversed(&suffix);
        let mut found = Vec::new();
        let mut request =
            self.route53.list_resource_record_sets().hosted_zone_id(zone).start_record_name(&suffix).max_items(RECORDS_PAGE);
        let mut at = None;
        loop {
            let page = send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?;
            let mut past = false;
            for set in page.resource_record_sets() {
                let seen = record_set(set);
                // Names are in the order of their reversed labels, so all that matter follow each other. A name that merely
                // begins alike (`demo-2` beside `demo`) may lie between them and does not end the search.
                past |= !reversed(&seen.name).starts_with(&beginning);
                if seen.name == suffix || seen.name.ends_with(&below) {
                    found.push(seen);
                }
            }
            if past || !page.is_truncated() {
                return Ok(found);
            }
            let next = (
                page.next_record_name().map(str::to_owned),
                page.next_record_type().cloned(),
                page.next_record_identifier().map(str::to_owned),
            );
            if next.0.is_none() || at.as_ref() == Some(&next) {
                return Err(hollow(call, "next page"));
            }
            request = request
                .set_start_record_name(next.0.clone())
                .set_start_record_type(next.1.clone())
                .set_start_record_identifier(next.2.clone());
            at = Some(next);
        }
    }

    pub(super) async fn is_in_sync(&self, change: &str) -> Result<bool> {
        let call = &calls::GET_CHANGE;
        let request = self.route53.get_change().id(change);
        let answer = send(&self.pace, call, Repeat::Harmless, || request.clone().send()).await?;
        let status = answer.change_info().ok_or_else(|| hollow(call, "status"))?.status();
        Ok(*status == ChangeStatus::Insync)
    }

    /// All or nothing. A batch of UPSERTs alone may be sent again: CREATE and DELETE would be refused because of the first time.
    pub(super) async fn change_records(&self, zone: &str, changes: &[RecordChange]) -> Result<Changed> {
        let call = &calls::CHANGE_RESOURCE_RECORD_SETS;
        let batch = changes.iter().map(sdk_change).collect::<Result<Vec<_>>>()?;
        let batch = ChangeBatch::builder().set_changes(Some(batch)).build().map_err(|error| unsent(call, error))?;
        let request = self.route53.change_resource_record_sets().hosted_zone_id(zone).change_batch(batch);
        let upserts = changes.iter().all(|change| change.verb == RecordVerb::Upsert);
        let repeat = if upserts { Repeat::Harmless } else { Repeat::Never };
        let _turn = self.pace.zone(zone).await;
        let answer = send(&self.pace, call, repeat, || request.clone().send()).await?;
        made(call, answer.change_info().map(|change| change.id().trim_start_matches("/change/")))
    }
}

fn sdk_change(change: &RecordChange) -> Result<sdk::Change> {
    let call = &calls::CHANGE_RESOURCE_RECORD_SETS;
    let verb = match change.verb {
        RecordVerb::Create => ChangeAction::Create,
        RecordVerb::Upsert => ChangeAction::Upsert,
        RecordVerb::Delete => ChangeAction::Delete,
    };
    let values = change.values.iter().map(|value| {
        let value = known(value).map_err(hole(call))?;
        let text = if change.kind == "TXT" { quoted(value) } else { value.to_owned() };
        ResourceRecord::builder().value(text).build().map_err(|error| unsent(call, error))
    });
    let set = ResourceRecordSet::builder()
        .name(format!("{}.", plain_name(&change.name)))
        .r#type(RrType::from(change.kind.as_str()))
        .ttl(i64::from(change.ttl))
        .set_resource_records(Some(values.collect::<Result<Vec<_>>>()?))
        .build()
        .map_err(|error| unsent(call, error))?;
    sdk::Change::builder().action(verb).resource_record_set(set).build().map_err(|error| unsent(call, error))
}

fn record_set(set: &ResourceRecordSet) -> RecordSet {
    let kind = set.r#type().as_str();
    let special = set.alias_target().is_some()
        || set.set_identifier().is_some()
        || set.traffic_policy_instance_id().is_some()
        || set.health_check_id().is_some();
    let values = set
        .resource_records()
        .iter()
        .map(|record| if kind == "TXT" { unquoted(record.value()) } else { record.value().to_owned() });
    RecordSet {
        name: plain_name(set.name()),
        kind: kind.to_owned(),
        ttl: set.ttl().and_then(|ttl| u32::try_from(ttl).ok()).unwrap_or(0),
        values: values.collect(),
        special,
    }
}

/// Lower case, without the trailing dot, octal escapes (`\052`) decoded.
fn plain_name(name: &str) -> String {
    unescaped(name.trim_end_matches('.')).to_ascii_lowercase()
}

fn reversed(name: &str) -> String {
    name.split('.').rev().collect::<Vec<_>>().join(".")
}

/// A character string of a zone file: quotes and backslashes escaped.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The content of one or more character strings, put together.
fn unquoted(value: &str) -> String {
    let mut content = String::new();
    let mut inside = false;
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' => inside = !inside,
            '\\' => match octal(rest.as_str()) {
                Some(decoded) => {
                    content.push(decoded);
                    rest = rest.as_str().get(3..).unwrap_or_default().chars();
                }
                None => content.extend(rest.next()),
            },
            _ if inside => content.push(c),
            _ => {}
        }
    }
    content
}

/// The character that three octal digits at the start of the text stand for.
fn octal(text: &str) -> Option<char> {
    let digits = text.get(..3).filter(|digits| digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit)))?;
    u8::from_str_radix(digits, 8).ok().map(char::from)
}

/// `\ooo`, three octal digits, is the character of that number.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, after) = rest.split_at(at);
        plain.push_str(before);
        match after.get(1..).and_then(octal) {
            Some(decoded) => {
                plain.push(decoded);
                rest = after.get(4..).unwrap_or_default();
            }
            None => {
                plain.push('\\');
                rest = after.get(1..).unwrap_or_default();
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_read_as_they_were_meant() {
        assert_eq!(plain_name("\\052.Demo.Example.com."), "*.demo.example.com");
        assert_eq!(unquoted("\"one \" \"two\""), "one two");
        for text in ["plain", "with \"quotes\"", "back\\slash", "back\\101", "heritage=kubewright,uid=1", ""] {
            assert_eq!(unquoted(&quoted(text)), text);
        }
    }
}
