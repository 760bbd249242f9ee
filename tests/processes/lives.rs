//! What is done to a cluster, one command after the other, and how it has to be after each.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::account::Account;
use crate::run::{End, Run};

pub const NAME: &str = "minimal.k8s.example.com";
const SPEC: &str = include_str!("../../clusters/minimal.toml");

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Create,
    Change,
    Delete,
}

pub const VERBS: [Verb; 3] = [Verb::Create, Verb::Change, Verb::Delete];

/// One cluster in its account, with a store of its own.
pub struct Cluster<'a> {
    pub account: &'a Account,
    pub folder: TempDir,
    pub state: String,
    before: Vec<String>,
}

impl<'a> Cluster<'a> {
    pub fn new(account: &'a Account, on_s3: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = match on_s3 {
            true => format!("s3://{}/state", account.bucket),
            false => format!("file://{}", folder.path().join("state").display()),
        };
        let packages = SPEC.find("[packages]").expect("packages")..SPEC.find("[[instance_group]]").expect("a group");
        let mut spec = SPEC.to_owned();
        spec.replace_range(packages, "");
        write(folder.path(), "spec.toml", &spec);
        let changed = spec.replace("203.0.113.0/24", "198.51.100.0/24");
        let (head, workers) = changed.rsplit_once("count = 1").expect("workers");
        write(folder.path(), "changed.toml", &format!("{head}count = 2{workers}"));
        Self { before: account.holdings(), account, folder, state }
    }

    pub fn words(verb: Verb) -> Vec<&'static str> {
        match verb {
            Verb::Create => vec!["create", "cluster", "-f", "spec.toml", "--yes"],
            Verb::Change => vec!["update", NAME, "-f", "changed.toml", "--yes"],
            Verb::Delete => vec!["delete", "cluster", NAME, "--purge", "--yes"],
        }
    }

    pub fn start(&self, verb: Verb) -> Run<'a> {
        self.account.forget_calls();
        self.begin(&Self::words(verb))
    }

    pub fn begin(&self, words: &[&str]) -> Run<'a> {
        Run::start(self.account, self.folder.path(), &self.state, words)
    }

    /// Lets a command do its work and ends it. A create or a change never comes further than to wait for machines.
    pub fn ends_well(&self, verb: Verb) -> Result<(), String> {
        let mut run = self.start(verb);
        // On a slow machine all others may be waited for long before the last one is made.
        run.machines = match verb {
            Verb::Create => 2,
            Verb::Change => 3,
            Verb::Delete => 0,
        };
        match (verb, run.end()) {
            (Verb::Create | Verb::Change, End::Idle) => {
                run.kill();
                Ok(())
            }
            (Verb::Delete, End::Code(0)) => Ok(()),
            // The one before it had all but ended.
            (Verb::Delete, End::Code(1)) if run.said().contains("there is no cluster") => Ok(()),
            (_, end) => Err(format!("the next run ended with {end:?}:\n{}", run.said())),
        }
    }

    /// How the cluster looks after a command: what the account holds and what is left to do.
    pub fn look(&self, verb: Verb) -> Result<Look, String> {
        if verb == Verb::Delete {
            let now = self.account.holdings();
            let left: Vec<&String> = now.iter().filter(|line| !self.before.contains(line)).collect();
            let gone: Vec<&String> = self.before.iter().filter(|line| !now.contains(line)).collect();
            if now != self.before {
                return Err(format!("left behind: {left:#?}; taken away: {gone:#?}"));
            }
            return Ok(Look::default());
        }
        self.account.forget_calls();
        let mut run = self.begin(&["update", NAME, "-o", "json"]);
        let end = run.done();
        let plan: Value = serde_json::from_str(&run.out()).unwrap_or_default();
        let Some(actions) = plan["plan"]["actions"].as_array().filter(|_| end == End::Code(0)) else {
            return Err(format!("a dry run ended with {end:?}:\n{}", run.said()));
        };
        let to_do = actions.iter().map(|action| action["id"].as_str().unwrap_or_default().to_owned()).collect();
        Ok(Look { shape: self.account.shape(), to_do })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    pub shape: Vec<String>,
    pub to_do: Vec<String>,
}

impl Look {
    /// What is not as after a run without trouble.
    pub fn differs(&self, calm: &Self) -> Option<String> {
        if self == calm {
            return None;
        }
        let minus = |one: &[String], other: &[String]| {
            let mut rest = other.to_vec();
            let extra = |line: &&String| match rest.iter().position(|there| there == *line) {
                Some(place) => {
                    rest.swap_remove(place);
                    false
                }
                None => true,
            };
            one.iter().filter(extra).cloned().collect::<Vec<_>>()
        };
        Some(format!(
            "too much: {:#?}; missing: {:#?}; to do: {:?} instead of {:?}",
            minus(&self.shape, &calm.shape),
            minus(&calm.shape, &self.shape),
            self.to_do,
            calm.to_do
        ))
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("a spec");
}
