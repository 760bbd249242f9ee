//! As much as there is to know of etcd: members, leader, sizes, how far each has come, alarms, and how many may be lost.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{clean, vitals};

/// etcd, as one of its members tells it. `None` where nobody said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EtcdStatus {
    pub members: Vec<MemberStatus>,
    /// The list of members could be asked for, which takes the quorum; otherwise it is put together from those that answered.
    pub answers: bool,
    /// Members that vote, and how many of them must be healthy.
    pub voters: usize,
    pub quorum: usize,
    pub healthy: usize,
    /// How many of the healthy members that vote may be lost.
    pub may_lose: usize,
    pub alarms: Vec<Alarm>,
    /// Of etcd's store: the highest that a member tells.
    pub revision: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemberStatus {
    /// As `etcdctl member remove` takes it.
    pub id: String,
    /// The machine's instance id; empty while a member has been added but never started.
    pub name: String,
    /// Slot of the machine; empty where it is none of the cluster's.
    pub slot: String,
    pub address: String,
    pub healthy: bool,
    pub leader: bool,
    pub learner: bool,
    pub version: Option<String>,
    /// Bytes of its database, and of what is in use of it.
    pub size: Option<u64>,
    pub in_use: Option<u64>,
    pub term: Option<u64>,
    /// Entry of the raft log that it has applied.
    pub applied: Option<u64>,
    /// Entries by which it is behind the one that is farthest.
    pub lag: Option<u64>,
    /// Why it is not healthy.
    pub error: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alarm {
    pub member: String,
    /// `NOSPACE`, `CORRUPT`.
    pub kind: String,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Endpoint")]
    endpoint: String,
    #[serde(rename = "Status")]
    status: Status,
}

#[derive(Clone, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    header: Header,
    version: String,
    db_size: Option<u64>,
    db_size_in_use: Option<u64>,
    leader: u64,
    raft_term: Option<u64>,
    raft_index: Option<u64>,
    raft_applied_index: Option<u64>,
    is_learner: bool,
}

#[derive(Clone, Deserialize, Default)]
#[serde(default)]
struct Header {
    member_id: u64,
    revision: Option<u64>,
}

#[derive(Deserialize)]
struct Alarms {
    #[serde(default)]
    alarms: Vec<Raised>,
}

#[derive(Deserialize)]
struct Raised {
    #[serde(default, rename = "memberID")]
    member: u64,
    #[serde(default)]
    alarm: u64,
}

impl EtcdStatus {
    /// From what control planes said, each with its slot. `slots`: by instance.
    pub fn parse(said: &[(String, String)], slots: &BTreeMap<String, String>) -> Self {
        let of =
            |text: &str, name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned);
        let answers = |text: &str, name: &str| -> Vec<Answer> {
            of(text, name).and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default()
        };
        // Each control plane asked the member of its own machine.
        let own: Vec<(&str, Answer)> =
            said.iter().filter_map(|(slot, text)| Some((slot.as_str(), answers(text, "local").into_iter().next()?))).collect();
        let listed = said.iter().find_map(|(_, text)| {
            let members = vitals::etcd(&of(text, "members")?, of(text, "health").as_deref())?;
            Some((members, answers(text, "status"), of(text, "alarms")))
        });
        let answers = listed.is_some();
        let (members, all, alarms) = match listed {
            Some((members, all, alarms)) => {
                let of_id = |id: &str| all.iter().map(|answer| &answer.status).find(|status| hex(status.header.member_id) == id);
                let row = |member: vitals::Member| {
                    let is_it = |status: &&Status| hex(status.header.member_id) == member.id;
                    let status = of_id(&member.id).or_else(|| own.iter().map(|(_, answer)| &answer.status).find(is_it));
                    MemberStatus {
                        slot: slots.get(&member.name).cloned().unwrap_or_default(),
                        id: member.id,
                        name: member.name,
                        address: member.address,
                        healthy: member.healthy && !member.learner && status.is_some(),
                        learner: member.learner,
                        error: match (member.error.is_empty(), status) {
                            (true, None) => "it does not answer".into(),
                            _ => member.error,
                        },
                        ..told(status)
                    }
                };
                let rows: Vec<MemberStatus> = members.into_iter().map(row).collect();
                (rows, all, alarms)
            }
            None => {
                let row = |(slot, answer): &(&str, Answer)| MemberStatus {
                    id: hex(answer.status.header.member_id),
                    slot: (*slot).to_owned(),
                    name: slots.iter().find(|(_, of)| of == slot).map(|(name, _)| name.clone()).unwrap_or_default(),
                    learner: answer.status.is_learner,
                    error: "it has no quorum".into(),
                    ..told(Some(&answer.status))
                };
                (own.iter().map(row).collect(), vec![], None)
            }
        };
        let leaders: Vec<u64> = all.iter().map(|answer| answer.status.leader).filter(|leader| *leader != 0).collect();
        // Members that do not agree have no leader now.
        let leader = leaders.first().filter(|first| leaders.iter().all(|leader| leader == *first)).map(|leader| hex(*leader));
        Self { answers, ..Self::default() }.filled(
            members,
            leader,
            alarms.as_deref(),
            all.iter().chain(own.iter().map(|(_, answer)| answer)),
        )
    }

    fn filled<'a>(
        mut self,
        mut members: Vec<MemberStatus>,
        leader: Option<String>,
        alarms: Option<&str>,
        told: impl Iterator<Item = &'a Answer>,
    ) -> Self {
        let farthest = members.iter().filter_map(|member| member.applied).max();
        for member in &mut members {
            member.leader = leader.as_ref() == Some(&member.id);
            member.lag = member.applied.and_then(|applied| Some(farthest? - applied));
        }
        self.voters = members.iter().filter(|member| !member.learner).count();
        self.healthy = members.iter().filter(|member| member.healthy).count();
        self.quorum = self.voters / 2 + 1;
        self.may_lose = self.healthy.saturating_sub(self.quorum);
        self.revision =
            told.filter(|answer| !answer.endpoint.is_empty()).filter_map(|answer| answer.status.header.revision).max();
        let raised: Option<Alarms> = alarms.and_then(|json| serde_json::from_str(json).ok());
        let name = |id: u64| members.iter().find(|member| member.id == hex(id)).map_or(hex(id), |member| member.name.clone());
        let kind = |alarm: u64| match alarm {
            1 => "NOSPACE".to_owned(),
            2 => "CORRUPT".to_owned(),
            other => format!("alarm {other}"),
        };
        let raised = raised.map(|raised| raised.alarms).unwrap_or_default();
        self.alarms = raised.into_iter().map(|raised| Alarm { member: name(raised.member), kind: kind(raised.alarm) }).collect();
        self.members = members;
        self
    }

    pub fn has_quorum(&self) -> bool {
        self.answers && self.healthy >= self.quorum && self.voters > 0
    }
}

fn told(status: Option<&Status>) -> MemberStatus {
    let Some(status) = status else { return MemberStatus::default() };
    MemberStatus {
        version: Some(clean(&status.version)).filter(|version| !version.is_empty()),
        size: status.db_size,
        in_use: status.db_size_in_use,
        term: status.raft_term,
        applied: status.raft_applied_index.or(status.raft_index),
        ..MemberStatus::default()
    }
}

fn hex(id: u64) -> String {
    format!("{id:x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(id: u64, applied: u64) -> String {
        format!(
            "{{\"Endpoint\":\"https://10.0.0.{id}:2379\",\"Status\":{{\"header\":{{\"member_id\":{id},\"revision\":{applied}}},\
             \"version\":\"3.6.5\",\"dbSize\":4096,\"dbSizeInUse\":2048,\"leader\":10,\"raftTerm\":3,\"raftIndex\":90,\
             \"raftAppliedIndex\":{applied}}}}}"
        )
    }

    fn said() -> String {
        format!(
            "local [{}]\nmembers {{\"members\":[{}]}}\nhealth [{}]\nstatus [{},{}]\nalarms {{\"alarms\":[{{\"memberID\":11,\"alarm\":1}}]}}\n",
            local(10, 90),
            [10, 11, 12, 13]
                .map(|id| format!(
                    "{{\"ID\":{id},\"name\":\"i-{id}\",\"clientURLs\":[\"https://10.0.0.{id}:2379\"],\"isLearner\":{}}}",
                    id == 13
                ))
                .join(","),
            [10, 11, 12].map(|id| format!("{{\"endpoint\":\"https://10.0.0.{id}:2379\",\"health\":{}}}", id != 12)).join(","),
            local(10, 90),
            local(11, 80),
        )
    }

    #[test]
    fn members_leader_lag_alarms_and_quorum_are_told() {
        let slots = BTreeMap::from([("i-10".to_owned(), "control-plane-a-1".to_owned())]);
        let seen = EtcdStatus::parse(&[("control-plane-a-1".into(), said())], &slots);
        assert_eq!((seen.voters, seen.healthy, seen.quorum, seen.may_lose), (3, 2, 2, 0));
        assert!(seen.has_quorum());
        assert_eq!(seen.members.iter().map(|one| one.leader).collect::<Vec<_>>(), [true, false, false, false]);
        assert_eq!(seen.members.iter().map(|one| one.lag).collect::<Vec<_>>(), [Some(0), Some(10), None, None]);
        assert_eq!(seen.members[0].slot, "control-plane-a-1");
        assert!(seen.members[3].learner && !seen.members[3].healthy);
        assert_eq!(seen.alarms, [Alarm { member: "i-11".into(), kind: "NOSPACE".into() }]);
        assert_eq!(seen.revision, Some(90));
    }

    #[test]
    fn without_the_quorum_each_still_says_what_it_has() {
        let slots = BTreeMap::from([("i-10".to_owned(), "a".to_owned())]);
        let cut = format!("local [{}]\nmembers \nhealth \nstatus \nalarms \n", local(10, 90));
        let seen = EtcdStatus::parse(&[("a".into(), cut), ("b".into(), String::new())], &slots);
        assert!(!seen.answers && !seen.has_quorum());
        assert_eq!((seen.members.len(), seen.members[0].name.as_str(), seen.revision), (1, "i-10", Some(90)));
        assert!(seen.members[0].error.contains("quorum"));
    }

    #[test]
    fn what_is_cut_off_anywhere_is_unknown_and_never_healthy_by_mistake() {
        let whole = said();
        let slots = BTreeMap::new();
        for length in (0..whole.len()).filter(|length| whole.is_char_boundary(*length)) {
            let seen = EtcdStatus::parse(&[("a".into(), whole[..length].to_owned())], &slots);
            assert!(seen.healthy <= 2, "{length}: {seen:?}");
        }
    }
}
