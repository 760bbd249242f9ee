//! Who is in etcd, who is well, and who leads.

use serde::Deserialize;

use super::Member;
use super::vitals::etcd;

/// What a control plane said; `None` where it did not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Etcd {
    pub members: Option<Vec<Member>>,
    /// Id of the leader, as members have it.
    pub leader: Option<String>,
    /// The members were asked how they are.
    pub health: bool,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Status")]
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    leader: u64,
}

impl Etcd {
    pub fn parse(text: &str) -> Self {
        let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let health = of("health").filter(|text| serde_json::from_str::<Vec<serde_json::Value>>(text).is_ok());
        let answers: Vec<Answer> = of("status").and_then(|status| serde_json::from_str(status).ok()).unwrap_or_default();
        let leaders: Vec<u64> = answers.into_iter().map(|answer| answer.status.leader).filter(|leader| *leader != 0).collect();
        // Members that do not agree have no leader now.
        let leader = leaders.first().filter(|first| leaders.iter().all(|leader| leader == *first));
        Self {
            members: of("members").and_then(|members| etcd(members, health)),
            leader: leader.map(|leader| format!("{leader:x}")),
            health: health.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBERS: &str = "members {\"members\":[\
        {\"ID\":10,\"name\":\"i-1\",\"peerURLs\":[\"https://10.0.0.4:2380\"],\"clientURLs\":[\"https://10.0.0.4:2379\"]},\
        {\"ID\":11,\"name\":\"i-2\",\"peerURLs\":[\"https://10.0.0.5:2380\"],\"clientURLs\":[\"https://10.0.0.5:2379\"]}]}\n";

    #[test]
    fn the_leader_is_who_all_say_it_is() {
        let health = "health [{\"endpoint\":\"https://10.0.0.4:2379\",\"health\":true},{\"endpoint\":\"https://10.0.0.5:2379\",\"health\":false}]\n";
        let status = |leaders: [u64; 2]| {
            let each = leaders.map(|leader| format!("{{\"Endpoint\":\"x\",\"Status\":{{\"header\":{{}},\"leader\":{leader}}}}}"));
            format!("{MEMBERS}{health}status [{}]\n", each.join(","))
        };
        let seen = Etcd::parse(&status([10, 10]));
        assert_eq!(seen.leader.as_deref(), Some("a"));
        assert!(seen.health);
        let healthy: Vec<bool> = seen.members.unwrap().iter().map(|member| member.healthy).collect();
        assert_eq!(healthy, [true, false]);
        assert_eq!(Etcd::parse(&status([10, 11])).leader, None, "they do not agree");
        assert_eq!(Etcd::parse(&status([0, 11])).leader.as_deref(), Some("b"), "one has lost touch");
    }

    #[test]
    fn what_is_cut_off_is_unknown() {
        for text in ["", "members \nhealth \nstatus \n", "members {\nhealth [\nstatus [{\n", "status [{}]"] {
            assert_eq!(Etcd::parse(text), Etcd::default(), "{text}");
        }
        assert!(!Etcd::parse(MEMBERS).health);
    }
}
