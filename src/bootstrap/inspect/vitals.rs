//! What a control plane sees beside nodes and pods: etcd's members, add-ons, certificate requests, clocks, DNS. One script's answer;
//! whatever is not understood is unknown, never wrong.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::clean;

/// `None`: it could not be asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Vitals {
    pub etcd: Option<Vec<Member>>,
    pub addons: Option<Vec<AddOn>>,
    /// Requests for certificates that nobody has decided on.
    pub pending: Vec<Request>,
    pub leases: Vec<Lease>,
    pub dns: Option<Dns>,
}

/// A member of etcd, as its cluster lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// As `etcdctl member remove` takes it.
    pub id: String,
    /// The machine's instance id; empty while a member has been added but never started.
    pub name: String,
    pub address: String,
    pub learner: bool,
    pub healthy: bool,
    /// Why it is not.
    pub error: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddOn {
    /// `DaemonSet` or `Deployment`.
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub wanted: u64,
    pub ready: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    pub name: String,
    pub user: String,
}

/// Kubelets renew theirs every ten seconds, dated by their own clocks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lease {
    pub node: String,
    /// Seconds by which the last renewal is behind the asked machine's clock; negative: in its future.
    pub age: f64,
}

/// How `kubernetes.default.svc.cluster.local` was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dns {
    pub server: String,
    pub answered: bool,
    /// Why not.
    pub error: String,
}

#[derive(Deserialize)]
struct Members {
    members: Vec<ListedMember>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedMember {
    #[serde(rename = "ID")]
    id: u64,
    #[serde(default)]
    name: String,
    #[serde(default, rename = "peerURLs")]
    peers: Vec<String>,
    #[serde(default, rename = "clientURLs")]
    clients: Vec<String>,
    #[serde(default)]
    is_learner: bool,
}

#[derive(Deserialize)]
struct Health {
    endpoint: String,
    health: bool,
    #[serde(default)]
    error: String,
}

impl Vitals {
    pub fn parse(text: &str) -> Self {
        let of = |name: &'static str| text.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(' '));
        let asked = text.lines().any(|line| line == "asked");
        let addons: Option<Vec<AddOn>> = of("addon").filter(|line| !line.trim().is_empty()).map(addon).collect();
        let clock = of("clock").next().and_then(|clock| clock.trim().parse::<f64>().ok());
        let leases = of("lease").filter_map(|line| {
            let (node, renewed) = line.trim().split_once(' ')?;
            let renewed: Timestamp = renewed.parse().ok()?;
            Some(Lease { node: clean(node), age: clock? - renewed.as_duration().as_secs_f64() })
        });
        // A request that was decided on has a condition: a third word.
        let pending = of("csr").filter_map(|line| match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            [name, user] => Some(Request { name: clean(name), user: clean(user) }),
            _ => None,
        });
        Self {
            etcd: of("members").next().and_then(|members| etcd(members, of("health").next())),
            addons: addons.filter(|_| asked),
            pending: pending.collect(),
            leases: leases.collect(),
            dns: of("dns").next().and_then(dns),
        }
    }
}

pub(super) fn etcd(members: &str, health: Option<&str>) -> Option<Vec<Member>> {
    let members: Members = serde_json::from_str(members).ok()?;
    let health: Vec<Health> = health.and_then(|health| serde_json::from_str(health).ok()).unwrap_or_default();
    let members = members.members.into_iter().map(|member| {
        let endpoint = member.clients.first();
        let seen = health.iter().find(|health| Some(&health.endpoint) == endpoint);
        let error = match (endpoint, seen) {
            (None, _) => "it has never started".to_owned(),
            (Some(_), Some(health)) => clean(&health.error),
            // `etcdctl` leaves learners out.
            (Some(_), None) => String::new(),
        };
        let url = endpoint.or(member.peers.first()).cloned().unwrap_or_default();
        Member {
            id: format!("{:x}", member.id),
            name: clean(&member.name),
            address: clean(host(&url)),
            learner: member.is_learner,
            healthy: seen.map_or(endpoint.is_some(), |health| health.health),
            error,
        }
    });
    Some(members.collect())
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.rsplit_once(':').map_or(rest, |(host, _)| host)
}

fn addon(line: &str) -> Option<AddOn> {
    let [kind @ ("DaemonSet" | "Deployment"), namespace, name, wanted, ready] = line.split('/').collect::<Vec<_>>()[..] else {
        return None;
    };
    let number = |text: &str| if text.is_empty() { Some(0) } else { text.parse().ok() };
    Some(AddOn {
        kind: kind.into(),
        namespace: clean(namespace),
        name: clean(name),
        wanted: number(wanted)?,
        ready: number(ready)?,
    })
}

/// `ADDRESS BYTE...`: the first bytes of a DNS message in decimal.
fn dns(line: &str) -> Option<Dns> {
    let mut words = line.split_whitespace();
    let server = words.next()?.to_owned();
    let bytes: Vec<u8> = words.map_while(|word| word.parse().ok()).collect();
    let error = match bytes.as_slice() {
        [] => "no answer".to_owned(),
        [75, 87, _, flags, _, _, high, low, ..] => match (flags & 15, (high, low)) {
            (0, (0, 0)) => "the name is empty".to_owned(),
            (0, _) => String::new(),
            (2, _) => "SERVFAIL".to_owned(),
            (3, _) => "NXDOMAIN".to_owned(),
            (5, _) => "REFUSED".to_owned(),
            (code, _) => format!("code {code}"),
        },
        _ => "not an answer of DNS".to_owned(),
    };
    Some(Dns { server: clean(&server), answered: error.is_empty(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: &str = "clock 1795275388.5\n\
        lease i-1 2026-11-21T15:36:20.427512Z\nlease i-2 2026-11-21T15:46:28.5Z\n\
        asked\naddon DaemonSet/kube-system/kube-proxy/2/2\naddon Deployment/kube-system/coredns/2/\n\
        csr csr-a system:node:i-1 Approved\ncsr csr-b system:node:i-2 \n\
        members {\"members\":[{\"ID\":18026286808084205168,\"name\":\"i-1\",\"peerURLs\":[\"https://10.0.0.4:2380\"],\"clientURLs\":[\"https://10.0.0.4:2379\"]},\
        {\"ID\":7,\"peerURLs\":[\"https://10.0.0.5:2380\"],\"isLearner\":true},{\"ID\":8,\"name\":\"i-3\",\"clientURLs\":[\"https://10.0.0.6:2379\"]}]}\n\
        health [{\"endpoint\":\"https://10.0.0.4:2379\",\"health\":true,\"took\":\"3ms\"},{\"endpoint\":\"https://10.0.0.6:2379\",\"health\":false,\"took\":\"5s\",\"error\":\"context \\u001b[1mdeadline exceeded\"}]\n\
        dns 10.96.0.10 75 87 133 0 0 1 0 1 0 0 0 0\n";

    #[test]
    fn every_part_of_an_answer_is_read() {
        let vitals = Vitals::parse(WELL);
        let etcd = vitals.etcd.unwrap();
        assert_eq!((etcd[0].id.as_str(), etcd[0].address.as_str(), etcd[0].healthy), ("fa2a3c58372b4e70", "10.0.0.4", true));
        assert!(etcd[1].learner && !etcd[1].healthy && etcd[1].error == "it has never started" && etcd[1].address == "10.0.0.5");
        assert!(!etcd[2].healthy && etcd[2].error == "context [1mdeadline exceeded", "{etcd:?}");
        let addons = vitals.addons.unwrap();
        assert_eq!((addons[0].name.as_str(), addons[0].wanted, addons[0].ready), ("kube-proxy", 2, 2));
        assert_eq!((addons[1].wanted, addons[1].ready), (2, 0));
        assert_eq!(vitals.pending, [Request { name: "csr-b".into(), user: "system:node:i-2".into() }]);
        assert!((vitals.leases[0].age - 8.07).abs() < 0.1 && (vitals.leases[1].age + 600.0).abs() < 0.1, "{:?}", vitals.leases);
        assert_eq!(vitals.dns.unwrap(), Dns { server: "10.96.0.10".into(), answered: true, error: String::new() });
    }

    #[test]
    fn what_is_not_understood_is_unknown() {
        for text in [
            "",
            "nonsense",
            "members {}\nhealth []\nclock x\nlease i-1 yesterday\ncsr \ndns\n",
            "asked\naddon i-1 Ready control-plane v1.34.2 10.0.0.4\n",
        ] {
            assert_eq!(Vitals::parse(text), Vitals::default(), "{text}");
        }
        assert_eq!(Vitals::parse("asked\naddon \n").addons, Some(vec![]), "asked, and there is none");
        assert_eq!(Vitals::parse("addon DaemonSet/a/b/1/1\n").addons, None, "cut off");
    }

    #[test]
    fn dns_says_how_it_failed() {
        for (bytes, error) in [
            ("", "no answer"),
            ("75 87 133 3 0 1 0 0 0 1", "NXDOMAIN"),
            ("75 87 133 2 0 1 0 0", "SERVFAIL"),
            ("75 87 133 0 0 1 0 0", "the name is empty"),
            ("1 2 3", "not an answer of DNS"),
        ] {
            assert_eq!(Vitals::parse(&format!("dns 10.96.0.10 {bytes}\n")).dns.unwrap().error, error);
        }
    }
}
