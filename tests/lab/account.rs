//! What the account holds, as the lab lists it: every resource of every kind.

use std::collections::{BTreeMap, BTreeSet};

use crate::lab::Lab;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account(Vec<String>);

pub fn account(lab: &Lab) -> Account {
    Account(lab.ask(&["account"]).lines().map(str::to_owned).collect())
}

impl Account {
    /// Without one kind: objects of buckets where a store is among them, users that a test made.
    pub fn without(mut self, kind: &str) -> Self {
        self.0.retain(|line| line.split(' ').next() != Some(kind));
        self
    }

    /// How many of each kind there are more than before.
    pub fn more_than(&self, before: &Self) -> BTreeMap<&str, usize> {
        let before: BTreeSet<&String> = before.0.iter().collect();
        let mut counts = BTreeMap::new();
        for line in self.0.iter().filter(|line| !before.contains(line)) {
            *counts.entry(line.split(' ').next().unwrap_or_default()).or_default() += 1;
        }
        counts
    }

    /// The same without the rules of security groups, which tell little by their number.
    pub fn more_than_but_rules(&self, before: &Self) -> BTreeMap<&str, usize> {
        let mut counts = self.more_than(before);
        counts.remove("security-group-rule");
        counts
    }

    pub fn assert_same_as(&self, before: &Self) {
        let minus = |one: &Self, other: &Self| one.0.iter().filter(|line| !other.0.contains(line)).cloned().collect::<Vec<_>>();
        assert_eq!(self, before, "left behind: {:#?}; taken away: {:#?}", minus(self, before), minus(before, self));
    }
}

/// What a cluster of one zone, with one security group per role, adds to an account.
pub fn of_one_zone(control_planes: usize, nodes: usize) -> BTreeMap<&'static str, usize> {
    let machines = control_planes + nodes;
    BTreeMap::from([
        ("instance", machines),
        ("internet-gateway", 1),
        ("key-pair", 1),
        ("network-interface", machines),
        ("record", 3),
        ("route-table", 2),
        ("security-group", 3),
        ("subnet", 1),
        ("volume", machines),
        ("vpc", 1),
    ])
}
