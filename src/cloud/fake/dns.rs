//! Route 53: hosted zones and their records, in atomic batches.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::world::{Answer, FakeZone, Refusal, World};
use crate::cloud::resolve::known;
use crate::observed::{HostedZone, RecordSet};
use crate::plan::Changed;
use crate::plan::change::{RecordChange, RecordVerb};

impl World {
    /// A zone comes with its NS and SOA records.
    pub(super) fn create_hosted_zone(&mut self, name: &str, private: bool) -> String {
        let id = format!("Z{:012}", self.count("zone"));
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let name_servers: Vec<String> =
            if private { Vec::new() } else { (0..4).map(|n| format!("ns-{n}.awsdns-fake.example")).collect() };
        let soa = "ns-0.awsdns-fake.example. hostmaster.example. 1 7200 900 1209600 86400".to_owned();
        let mut records = BTreeMap::new();
        for (kind, ttl, values) in [("NS", 172_800, name_servers.clone()), ("SOA", 900, vec![soa])] {
            let set = RecordSet { name: name.clone(), kind: kind.to_owned(), ttl, values, special: false };
            records.insert((name.clone(), kind.to_owned()), set);
        }
        let seen = HostedZone { id: id.clone(), name, private, name_servers };
        self.hosted_zones.insert(id.clone(), FakeZone { seen, records });
        id
    }

    pub(super) fn change_records(&mut self, zone: &str, changes: &[RecordChange]) -> Answer<Changed> {
        let held = self
            .hosted_zones
            .get(zone)
            .ok_or_else(|| Refusal::new("NoSuchHostedZone", format!("No hosted zone found with ID: {zone}")))?;
        if changes.is_empty() || changes.len() > 1000 {
            return Err(Refusal::new("InvalidChangeBatch", "A batch has 1 to 1000 changes"));
        }
        let mut records = held.records.clone();
        for change in changes {
            let wanted = record_set(change)?;
            if wanted.name != held.seen.name && !wanted.name.ends_with(&format!(".{}", held.seen.name)) {
                return Err(Refusal::new(
                    "InvalidChangeBatch",
                    format!("RRSet with DNS name {}. is not permitted in zone {}.", wanted.name, held.seen.name),
                ));
            }
            apply(&mut records, change.verb, wanted)?;
        }
        if let Some(zone) = self.hosted_zones.get_mut(zone) {
            zone.records = records;
        }
        let id = format!("C{:013}", self.count("record change"));
        self.record_changes.insert(id.clone(), self.options.reads_until_in_sync);
        Ok(Changed { id: Some(id), ..Changed::default() })
    }

    pub(super) fn records_in_sync(&mut self, change: &str) -> Answer<bool> {
        let left = self
            .record_changes
            .get_mut(change)
            .ok_or_else(|| Refusal::new("NoSuchChange", format!("Could not find resource with ID: {change}")))?;
        if *left > 1 {
            *left -= 1;
            return Ok(false);
        }
        Ok(true)
    }
}

fn record_set(change: &RecordChange) -> Answer<RecordSet> {
    let values = change
        .values
        .iter()
        .map(|value| known(value).map(str::to_owned))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Refusal::from)?;
    let name = change.name.trim_end_matches('.').to_ascii_lowercase();
    let refuse = |why: &str| Err(Refusal::new("InvalidChangeBatch", format!("Invalid Resource Record for {name}: {why}")));
    if values.is_empty() {
        return refuse("no values");
    }
    if change.kind == "A" && values.iter().any(|value| value.parse::<Ipv4Addr>().is_err()) {
        return refuse("ARRDATAIllegalIPv4Address");
    }
    if change.kind == "TXT" && values.iter().any(|value| value.len() > 255) {
        return refuse("CharacterStringTooLong");
    }
    Ok(RecordSet { name, kind: change.kind.clone(), ttl: change.ttl, values, special: false })
}

fn apply(records: &mut BTreeMap<(String, String), RecordSet>, verb: RecordVerb, wanted: RecordSet) -> Answer<()> {
    let key = (wanted.name.clone(), wanted.kind.clone());
    let what = format!("resource record set [name='{}.', type='{}']", wanted.name, wanted.kind);
    let held = records.get(&key);
    match (verb, held) {
        (RecordVerb::Create, Some(_)) => {
            return Err(Refusal::new("InvalidChangeBatch", format!("Tried to create {what} but it already exists")));
        }
        (RecordVerb::Upsert, Some(held)) if held.special => {
            return Err(Refusal::new(
                "InvalidChangeBatch",
                format!("RRSet of type {} with DNS name {}. cannot be created as other RRSets exist", wanted.kind, wanted.name),
            ));
        }
        (RecordVerb::Delete, None) => {
            return Err(Refusal::new("InvalidChangeBatch", format!("Tried to delete {what} but it was not found")));
        }
        (RecordVerb::Delete, Some(held)) => {
            let sorted = |values: &[String]| {
                let mut values = values.to_vec();
                values.sort();
                values
            };
            if held.special || held.ttl != wanted.ttl || sorted(&held.values) != sorted(&wanted.values) {
                return Err(Refusal::new(
                    "InvalidChangeBatch",
                    format!("Tried to delete {what} but the values provided do not match the current values"),
                ));
            }
            records.remove(&key);
        }
        (RecordVerb::Create | RecordVerb::Upsert, _) => {
            records.insert(key, wanted);
        }
    }
    Ok(())
}
