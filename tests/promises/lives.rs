//! What is done to clusters: each life begins somewhere and is one command.

use kubewright::plan::{Change, Ref};

use crate::gate::{Gate, Script};
use crate::rig::{Ended, Rig, Start};
use crate::world::{LARGE, NAME, PRIVATE, SMALL, changed, edit};
use std::sync::Arc;

/// One command on a cluster in a known condition.
#[derive(Clone, Copy)]
pub struct Life {
    pub name: &'static str,
    /// The spec that is there already; `None`: nothing is.
    before: Option<&'static str>,
    /// The spec that the command names.
    after: fn() -> Option<String>,
    /// What somebody does by hand before the command.
    hand: Hand,
    verb: &'static str,
}

#[derive(Clone, Copy)]
enum Hand {
    Keeps,
    /// Ends a worker in the console.
    Ends(&'static str),
    /// Stops a worker there.
    Stops(&'static str),
    /// Registers a spec that machines are behind, without replacing any.
    Outdates(fn() -> String),
    /// Changes what no spec can change.
    Drifts(&'static str),
}

fn three() -> Option<String> {
    let text = edit(SMALL, "count = 1\nmachine_type = \"t3.large\"", "count = 3\nmachine_type = \"t3.large\"");
    Some(edit(
        &text,
        "image = \"debian-12\"\n\n[[instance_group]]\nname = \"nodes\"",
        "image = \"debian-12\"\n\n[[instance_group]]\nlabels = { disk = \"ssd\" }\nname = \"nodes\"",
    ))
}

fn two_of_three() -> Option<String> {
    Some(edit(
        LARGE,
        "count = 3\nmachine_type = \"t3.large\"",
        "count = 2\nlabels = { disk = \"ssd\" }\nmachine_type = \"t3.large\"",
    ))
}

/// Other machines for the control planes and the workers of [`LARGE`].
fn newer() -> String {
    let text = edit(LARGE, "t3.medium", "t3.xlarge");
    edit(&text, "t3.large", "m5.large")
}

pub const LIVES: [Life; 11] = [
    Life { name: "create-1+1", before: None, after: || Some(SMALL.into()), hand: Hand::Keeps, verb: "create" },
    Life { name: "create-3+3", before: None, after: || Some(LARGE.into()), hand: Hand::Keeps, verb: "create" },
    Life { name: "create-private", before: None, after: || Some(PRIVATE.into()), hand: Hand::Keeps, verb: "create" },
    Life { name: "scale-up", before: Some(SMALL), after: three, hand: Hand::Keeps, verb: "update" },
    Life { name: "scale-down", before: Some(LARGE), after: two_of_three, hand: Hand::Keeps, verb: "update" },
    Life {
        name: "change",
        before: Some(PRIVATE),
        after: || Some(changed()),
        hand: Hand::Drifts("nodes-us-east-1a-1"),
        verb: "update",
    },
    Life { name: "replace", before: Some(LARGE), after: || None, hand: Hand::Ends("nodes-us-east-1b-1"), verb: "update" },
    Life { name: "stopped", before: Some(LARGE), after: || None, hand: Hand::Stops("nodes-us-east-1c-1"), verb: "update" },
    Life { name: "roll", before: Some(LARGE), after: || None, hand: Hand::Outdates(newer), verb: "rolling-update" },
    Life { name: "delete-1+1", before: Some(SMALL), after: || None, hand: Hand::Keeps, verb: "delete" },
    Life { name: "delete-private", before: Some(PRIVATE), after: || None, hand: Hand::Keeps, verb: "delete" },
];

impl Life {
    pub fn named(name: &str) -> Self {
        LIVES.into_iter().find(|life| life.name == name).expect("a life")
    }

    /// Where it begins; `seed` is that of the account.
    pub async fn start(&self, seed: u64) -> Start {
        let rig = Rig::at(&Start::empty(seed)).await;
        if let Some(spec) = self.before {
            let file = rig.world.spec(spec);
            let (ended, _) = rig.run(&["create", "-f", &file, "--yes"], Script::default()).await;
            assert!(matches!(&ended, Ended::Code(ran) if ran.code == 0), "{}: {ended:?}", self.name);
            // Old enough to be listed everywhere.
            tokio::time::sleep(std::time::Duration::from_secs(120)).await;
        }
        match self.hand {
            Hand::Keeps => {}
            Hand::Outdates(spec) => {
                let file = rig.world.spec(&spec());
                let (ended, _) = rig.run(&["update", "-f", &file, "--yes"], Script::default()).await;
                assert!(matches!(&ended, Ended::Code(ran) if ran.code == 0), "{}: {ended:?}", self.name);
            }
            Hand::Ends(slot) => {
                let instance = Ref::Known(rig.world.instance(slot));
                rig.world.cloud.plant(&Change::TerminateInstance { instance }).unwrap();
            }
            Hand::Stops(slot) => {
                let instance = rig.world.instance(slot);
                rig.world.cloud.edit(|account| {
                    let stopped = account.instances.get_mut(&instance).expect("a machine");
                    stopped.seen.state = "stopped".into();
                });
            }
            Hand::Drifts(slot) => {
                let instance = Ref::Known(rig.world.instance(slot));
                rig.world.cloud.plant(&Change::ModifySourceDestCheck { instance, value: false }).unwrap();
            }
        }
        rig.here().await
    }

    pub fn args(&self, rig: &Rig) -> Vec<String> {
        let mut words = vec![self.verb.to_owned()];
        match (self.verb, (self.after)()) {
            ("delete", _) => words.extend(["cluster".to_owned(), NAME.to_owned()]),
            (_, Some(spec)) => words.extend(["-f".to_owned(), rig.world.spec(&spec)]),
            (_, None) => words.push(NAME.to_owned()),
        }
        words.push("--yes".to_owned());
        words
    }

    /// The spec that machines are behind, where the command rolls.
    pub fn registered(&self) -> Option<String> {
        match self.hand {
            Hand::Outdates(spec) => Some(spec()),
            _ => None,
        }
    }

    pub fn rolls(&self) -> bool {
        self.verb == "rolling-update"
    }

    pub fn deletes(&self) -> bool {
        self.verb == "delete"
    }

    /// The command, through a gate.
    pub async fn run(&self, rig: &Rig, script: Script) -> (Ended, Arc<Gate>) {
        let args = self.args(rig);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        rig.run(&args, script).await
    }
}

/// A life in which nothing goes wrong: how many calls it makes, and what the account is after it.
pub struct Calm {
    pub start: Start,
    pub sites: Vec<crate::gate::Site>,
    pub account: Vec<String>,
    /// How many objects of each kind were ever made.
    pub made: std::collections::BTreeMap<&'static str, u64>,
}

impl Calm {
    pub async fn of(life: Life, seed: u64) -> Self {
        let start = life.start(seed).await;
        let rig = Rig::at(&start).await;
        let (ended, gate) = life.run(&rig, Script::default()).await;
        let Ended::Code(ran) = ended else { panic!("{}: {ended:?}", life.name) };
        assert_eq!(ran.code, 0, "{}: {ran}", life.name);
        Self { start, sites: gate.log(), account: standing(&rig), made: rig.world.cloud.made() }
    }
}

/// The command once more, as often as it takes, at most once: what does not hold afterwards.
pub async fn converges(life: Life, rig: &Rig, calm: &Calm) -> Result<(), String> {
    converges_to(life, rig, calm).await?;
    let made = rig.world.cloud.made();
    let twice = made
        .iter()
        .find(|(kind, count)| !["record change", "public address"].contains(kind) && calm.made.get(*kind) != Some(*count));
    match twice {
        Some((kind, count)) => Err(format!("{count} of {kind} were made instead of {:?}", calm.made.get(kind))),
        None => Ok(()),
    }
}

/// The same, whatever was made on the way.
pub async fn converges_to(life: Life, rig: &Rig, calm: &Calm) -> Result<(), String> {
    let (ended, _) = life.run(rig, Script::default()).await;
    match ended {
        Ended::Code(ran) if ran.code == 0 => {}
        // A create that was killed in its last breath has ended; so has a delete.
        Ended::Code(ran) if life.verb == "create" && ran.code == 1 && ran.err.contains("exists already") => {
            match rig.run(&["update", NAME, "--yes"], Script::default()).await.0 {
                Ended::Code(ran) if ran.code == 0 => {}
                ended => return Err(format!("the update after it: {}", shown(&ended))),
            }
        }
        Ended::Code(ran) if life.deletes() && ran.code == 1 && ran.err.contains("there is no cluster") => {}
        ended => return Err(format!("the next run: {}", shown(&ended))),
    }
    let account = standing(rig);
    if account != calm.account {
        return Err(format!("the account is not as after a run without trouble: {}", difference(&calm.account, &account)));
    }
    if life.deletes() {
        return Ok(());
    }
    let state = rig.world.state();
    if !state.intents.is_empty() {
        return Err(format!("intents are left: {:?}", state.intents.keys()));
    }
    match rig.run(&["update", NAME, "--detailed-exitcode"], Script::default()).await.0 {
        Ended::Code(ran) if ran.code == 0 && ran.out.contains("No changes") => Ok(()),
        ended => Err(format!("there is more to do: {}", shown(&ended))),
    }
}

/// The account without machines on their way out.
pub fn standing(rig: &Rig) -> Vec<String> {
    rig.world.account().into_iter().filter(|line| !line.contains(" shutting-down ")).collect()
}

pub fn shown(ended: &Ended) -> String {
    match ended {
        Ended::Code(ran) => ran.to_string(),
        Ended::Panicked(what) => format!("it panicked: {what}"),
        Ended::Killed => "it was killed".into(),
        Ended::Hung => "it hung".into(),
    }
}

pub fn difference(expected: &[String], found: &[String]) -> String {
    let missing = expected.iter().filter(|line| !found.contains(line)).map(|line| format!("- {line}"));
    let surplus = found.iter().filter(|line| !expected.contains(line)).map(|line| format!("+ {line}"));
    let lines: Vec<String> = missing.chain(surplus).collect();
    if lines.is_empty() { format!("{} lines instead of {}", found.len(), expected.len()) } else { lines.join("\n") }
}
