//! Whether the world asks the hosted zone for the cluster's names, as a resolver sees it.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::proto::rr::RecordType;

use crate::observed::HostedZone;

const LIMIT: Duration = Duration::from_secs(5);

/// Asks the DNS; only ever for the zone itself, because a negative answer for a name of the cluster would be cached.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// Name servers of a zone; empty where the zone is not delegated. An error where nobody could be asked.
    async fn name_servers(&self, zone: &str) -> Result<Vec<String>, String>;
}

/// The resolver of this machine.
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn name_servers(&self, zone: &str) -> Result<Vec<String>, String> {
        let resolver = hickory_resolver::TokioResolver::builder_tokio()
            .map_err(|error| error.to_string())?
            .build()
            .map_err(|error| error.to_string())?;
        let asked = tokio::time::timeout(LIMIT, resolver.lookup(format!("{zone}."), RecordType::NS)).await;
        match asked.map_err(|_| format!("no answer within {} s", LIMIT.as_secs()))? {
            Ok(lookup) => Ok(lookup
                .answers()
                .iter()
                .filter(|record| record.record_type() == RecordType::NS)
                .map(|record| record.data.to_string())
                .collect()),
            Err(error) if error.is_no_records_found() => Ok(vec![]),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A warning where the zone's names would not be seen, or where that is not known.
pub async fn warning(resolver: &dyn Resolver, zone: &HostedZone) -> Option<String> {
    if zone.private || zone.name_servers.is_empty() {
        return None;
    }
    let plain = |name: &String| name.trim_end_matches('.').to_ascii_lowercase();
    let ours: BTreeSet<String> = zone.name_servers.iter().map(plain).collect();
    let words = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
    match resolver.name_servers(&zone.name).await {
        Ok(servers) => {
            let seen: BTreeSet<String> = servers.iter().map(plain).collect();
            if !seen.is_disjoint(&ours) {
                return None;
            }
            let who = if seen.is_empty() { "nobody".to_owned() } else { words(&seen) };
            Some(format!(
                "hosted zone {} is not delegated: a resolver is sent to {who}, not to {}; names of the cluster will not be found until the parent zone has these NS records",
                zone.name,
                words(&ours)
            ))
        }
        Err(error) => Some(format!("the delegation of hosted zone {} could not be seen: {}", zone.name, clean(&error))),
    }
}

fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Answers as it was made to, for tests.
pub struct FakeResolver(pub Result<Vec<String>, String>);

#[async_trait]
impl Resolver for FakeResolver {
    async fn name_servers(&self, _zone: &str) -> Result<Vec<String>, String> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_zone_that_is_not_delegated_to_its_own_servers_is_warned_of() {
        let zone = |private| HostedZone {
            id: "Z1".into(),
            name: "k8s.example.com".into(),
            private,
            name_servers: vec!["ns-1.awsdns-01.com".into(), "ns-2.awsdns-02.net".into()],
        };
        let ask = |answer: Result<&[&str], &str>| {
            FakeResolver(answer.map(|names| names.iter().map(ToString::to_string).collect()).map_err(str::to_owned))
        };
        assert_eq!(warning(&ask(Ok(&["NS-2.awsdns-02.net."])), &zone(false)).await, None);
        assert_eq!(warning(&ask(Ok(&[])), &zone(true)).await, None);
        let elsewhere = warning(&ask(Ok(&["ns.other.example."])), &zone(false)).await.unwrap();
        assert!(elsewhere.contains("sent to ns.other.example, not to ns-1.awsdns-01.com"), "{elsewhere}");
        assert!(warning(&ask(Ok(&[])), &zone(false)).await.unwrap().contains("sent to nobody"));
        assert!(warning(&ask(Err("refused\u{1b}[31m")), &zone(false)).await.unwrap().ends_with("could not be seen: refused[31m"));
    }
}
