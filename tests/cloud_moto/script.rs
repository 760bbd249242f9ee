//! One account's part of the comparison: what each step answered, in words that both accounts share.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};

use kubewright::cloud::{Cloud, CloudError, Scope};
use kubewright::desired::{Peer, Rule, tags};
use kubewright::observed::Instance;
use kubewright::plan::{Change, Changed, Ref, Tags};

pub struct Script<'a> {
    pub cloud: &'a dyn Cloud,
    pub uid: String,
    /// This account's id -> the name that both accounts use for it.
    names: BTreeMap<String, String>,
    pub outcomes: Vec<(String, String)>,
}

pub fn known(id: &str) -> Ref {
    Ref::Known(id.to_owned())
}

fn is_id(word: &str) -> bool {
    let kinds = ["vpc", "subnet", "igw", "nat", "eipalloc", "eipassoc", "rtb", "rtbassoc", "sg", "i", "key", "ami", "eni"];
    let hex = |rest: &str| rest.len() >= 8 && rest.chars().all(|c| c.is_ascii_hexdigit());
    word.split_once('-').is_some_and(|(kind, rest)| kinds.contains(&kind) && hex(rest))
}

impl<'a> Script<'a> {
    pub fn new(cloud: &'a dyn Cloud, uid: &str) -> Self {
        Self { cloud, uid: uid.to_owned(), names: BTreeMap::new(), outcomes: Vec::new() }
    }

    pub fn owned(&self) -> Tags {
        let name = format!("n{}", self.uid);
        Tags::from([(tags::CLUSTER_UID.to_owned(), self.uid.clone()), (tags::CLUSTER.to_owned(), name)])
    }

    pub fn scope(&self) -> Scope {
        Scope::Uid(self.uid.clone())
    }

    /// The same text with every id replaced by its kind and the order in which it was first seen.
    fn plain(&mut self, text: &str) -> String {
        let (mut plain, mut word) = (String::new(), String::new());
        for c in text.chars().chain(['\n']) {
            if c.is_ascii_alphanumeric() || c == '-' {
                word.push(c);
                continue;
            }
            if is_id(&word) {
                let kind = word.split('-').next().unwrap().to_owned();
                let next = self.names.values().filter(|name| name.starts_with(&format!("<{kind} "))).count() + 1;
                plain += self.names.entry(word.clone()).or_insert(format!("<{kind} {next}>"));
            } else {
                plain += &word;
            }
            word.clear();
            plain.push(c);
        }
        plain.trim_end().replace(&self.uid, "<uid>")
    }

    /// Lines of a listing have no order; an error is its class and code.
    pub fn note(&mut self, step: &str, outcome: Result<String, CloudError>) {
        let text = outcome.unwrap_or_else(|error| format!("{:?} {}", error.class, error.code));
        let text = self.plain(&text);
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        self.outcomes.push((step.to_owned(), lines.join("\n")));
    }

    pub async fn change(&mut self, step: &str, change: Change) -> Changed {
        let answer = self.cloud.change(&change).await;
        let said = |changed: &Changed| format!("id: {} private: {:?}", changed.id.is_some(), changed.private_address);
        self.note(step, answer.as_ref().map(said).map_err(Clone::clone));
        answer.unwrap_or_default()
    }

    /// A change that must work, for what comes after needs its object.
    pub async fn make(&mut self, step: &str, change: Change) -> String {
        let changed = self.change(step, change).await;
        let id = changed.id.unwrap_or_else(|| panic!("{step}: {:?}", self.outcomes.last()));
        self.plain(&id);
        id
    }

    pub fn list<T: Debug>(&mut self, step: &str, listing: Result<Vec<T>, CloudError>) {
        self.show(step, listing, |one| format!("{one:?}"));
    }

    pub fn show<T>(&mut self, step: &str, listing: Result<Vec<T>, CloudError>, text: impl Fn(&T) -> String) {
        self.note(step, listing.map(|all| all.iter().map(|one| text(one) + "\n").collect()));
    }

    /// Route tables and groups in the scope, whoever made them.
    pub async fn inside(&mut self, step: &str, scope: &Scope) {
        let tables = self.cloud.route_tables(scope).await;
        self.show(&format!("tables {step}"), tables, |table| {
            let main = table.associations.iter().any(|association| association.subnet.is_none());
            let mut lines = vec![format!("table main={main} {} {:?}", table.vpc, table.tags)];
            let subnets = table.associations.iter().filter_map(|association| association.subnet.clone());
            lines.extend(subnets.map(|subnet| format!("of main={main} {subnet}")));
            lines.extend(table.routes.iter().map(|route| format!("route main={main} {route:?}")));
            lines.join("\n")
        });
        let groups = self.cloud.security_groups(scope).await;
        let (default, made): (Vec<_>, Vec<_>) = match groups {
            Ok(groups) => groups.into_iter().partition(|group| group.name == "default"),
            Err(error) => return self.note(&format!("groups {step}"), Err(error)),
        };
        // Its id is not in words that both accounts share: it is seen in one of them only.
        self.show("the default group", Ok(default), |group| {
            let mine = Peer::Foreign(group.id.clone());
            let rule = |rule: &Rule| format!("out={} {:?} mine={}", rule.egress, rule.protocol, rule.peer == mine);
            group.rules.iter().map(rule).collect::<Vec<_>>().join("\n")
        });
        self.show(&format!("groups {step}"), Ok(made), |group| {
            let mut text = format!("group {} {} {:?}", group.name, group.vpc, group.tags);
            for rule in &group.rules {
                let _ = write!(text, "\nrule {} {rule:?}", group.name);
            }
            text
        });
    }

    pub async fn addresses(&mut self, step: &str) {
        let seen = self.cloud.addresses(&self.scope()).await;
        self.show(step, seen, |one| format!("{} {:?}", one.association.is_some(), one.tags));
    }

    /// Live instances, once none is on its way any more.
    pub async fn instances(&mut self, step: &str) {
        let scope = self.scope();
        let mut seen = self.cloud.instances(&scope).await;
        for _ in 0..20 {
            let moving = |one: &Instance| matches!(one.state.as_str(), "pending" | "shutting-down");
            if !seen.as_ref().is_ok_and(|all| all.iter().any(moving)) {
                break;
            }
            seen = self.cloud.instances(&scope).await;
        }
        let live = seen.map(|all| all.into_iter().filter(Instance::is_live).collect());
        self.show(step, live, |one: &Instance| {
            let public = one.public_address.is_some();
            let place = format!("{} {} {:?} {:?} public={public}", one.state, one.zone, one.subnet, one.private_address);
            let launched = one.launched.as_ref().is_some_and(|time| time.parse::<jiff::Timestamp>().is_ok());
            let check = one.source_dest_check;
            format!("{} {place} launched={launched} {:?} {check:?} {:?}", one.machine_type, one.security_groups, one.tags)
        });
    }

    /// NAT gateways, once none is on its way any more.
    pub async fn nat_gateways(&mut self) -> Result<Vec<kubewright::observed::NatGateway>, CloudError> {
        let scope = self.scope();
        let mut seen = self.cloud.nat_gateways(&scope).await;
        for _ in 0..10 {
            let moving = |state: &str| matches!(state, "pending" | "deleting");
            if !seen.as_ref().is_ok_and(|all| all.iter().any(|nat| moving(&nat.state))) {
                break;
            }
            seen = self.cloud.nat_gateways(&scope).await;
        }
        seen
    }
}
