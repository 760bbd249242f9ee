//! Every machine of a cluster loses its connections, or its power, at every step of its bootstrap.
//!
//! Power is lost as the lab can lose it: all processes end at once, but what they had written is on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use crate::account::account;
use crate::cluster::{Cluster, HA, Running};
use crate::lab::Lab;
use crate::machine::{Machine, machines};

/// What is done to a machine when it begins a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Harm {
    /// All its SSH sessions are killed.
    Connections,
    /// Off and on again: half a minute each, as nobody says goodbye.
    #[cfg(feature = "real")]
    Power,
}

/// Steps that run on without a connection; the others are short, and are done again when their answer was lost.
const UNITS: [&str; 5] = ["cloud-init", "container-runtime", "init", "cni", "join"];
/// Much longer than a run takes that is harmed at each of its steps.
const LIMIT: Duration = Duration::from_secs(900);
/// Each run gets further than the one before, by at least a step of some machine.
const RUNS: usize = 12;

pub fn cut(lab: &Lab) {
    harmed(lab, "cut", Harm::Connections);
}

#[cfg(feature = "real")]
pub fn off(lab: &Lab) {
    harmed(lab, "off", Harm::Power);
}

fn harmed(lab: &Lab, name: &str, harm: Harm) {
    let before = account(lab);
    let cluster = Cluster::new(lab, name, false);
    let spec = cluster.spec(HA).count("nodes", 2);
    let file = cluster.write("spec.toml", &spec);
    let mut done: BTreeSet<(String, String)> = BTreeSet::new();
    let (create, name) = (["create", "cluster", "-f", &file, "--yes"], cluster.name.clone());
    let update = ["update", &name, "--yes"];
    let mut runs = 0;
    loop {
        runs += 1;
        assert!(runs <= RUNS, "no end after {RUNS} runs:\n{}", cluster.said());
        let words = if runs == 1 { &create[..] } else { &update[..] };
        let finished = finished(lab);
        let code = disturbed(&cluster, cluster.start(words), harm, &mut done);
        let again: Vec<_> = cluster.said().lines().filter_map(begun).filter(|step| finished.contains(step)).collect();
        assert!(again.is_empty(), "run {runs} began what an earlier one had finished: {again:?}");
        match code {
            Some(0) => break,
            Some(7) => println!("run {runs} ended with 7:\n{}", cluster.said()),
            code => panic!("run {runs} ended with {code:?}:\n{}", cluster.said()),
        }
    }
    cluster.assert_ready(5);
    cluster.assert_no_op();
    for machine in machines(lab) {
        let journal = machine.journal();
        let steps: Vec<&str> = journal.iter().map(|line| step(line)).collect();
        for step in &steps {
            assert!(done.contains(&(machine.slot.clone(), (*step).to_owned())), "{} was never harmed at {step}", machine.slot);
        }
        assert!(steps.contains(&"ready"), "{}: {steps:?}", machine.slot);
        for unit in UNITS.iter().filter(|_| harm == Harm::Connections) {
            let times = steps.iter().filter(|step| *step == unit).count();
            assert!(times < 2, "{}: {unit} outlives its connection, and was done {times} times", machine.slot);
        }
    }
    println!("{}: {} points, {runs} runs", cluster.name, done.len());
    cluster.ok(&["delete", "cluster", &cluster.name, "--purge", "--yes"]);
    account(lab).assert_same_as(&before);
}

/// What the journals of the machines call done.
fn finished(lab: &Lab) -> BTreeSet<(String, String)> {
    let of = |machine: Machine| {
        let journal = machine.sh("cat /var/lib/kubewright/journal 2>/dev/null || true");
        journal.lines().map(|line| (machine.slot.clone(), step(line).to_owned())).collect::<Vec<_>>()
    };
    machines(lab).into_iter().flat_map(of).collect()
}

/// Of a line of a journal.
fn step(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

/// Watches what a run says, and harms each machine at each step that it begins for the first time. Gives the exit code.
fn disturbed(cluster: &Cluster<'_>, mut run: Running, harm: Harm, done: &mut BTreeSet<(String, String)>) -> Option<i32> {
    let end = Instant::now() + LIMIT;
    let mut known: BTreeMap<String, Machine> = BTreeMap::new();
    thread::scope(|scope| {
        loop {
            let said = cluster.said();
            for (slot, step) in said.lines().filter_map(begun) {
                if done.insert((slot.clone(), step)) {
                    if !known.contains_key(&slot) {
                        known = machines(cluster.lab).into_iter().map(|machine| (machine.slot.clone(), machine)).collect();
                    }
                    let machine = known[&slot].clone();
                    scope.spawn(move || machine_harmed(cluster.lab, &machine, harm));
                }
            }
            if let Some(status) = run.try_wait().expect("a status") {
                return status.code();
            }
            if Instant::now() > end {
                run.kill().expect("kill");
                run.wait().expect("a status");
                panic!("not over within {LIMIT:?}:\n{said}");
            }
            thread::sleep(Duration::from_millis(5));
        }
    })
}

#[cfg_attr(not(feature = "real"), expect(unused_variables, reason = "only a loss of power needs the lab"))]
fn machine_harmed(lab: &Lab, machine: &Machine, harm: Harm) {
    match harm {
        Harm::Connections => {
            machine.sh("pkill -KILL -u admin sshd || true");
        }
        #[cfg(feature = "real")]
        Harm::Power => {
            lab.ask(&["kill", &machine.instance]);
            lab.ask(&["boot", &machine.instance]);
        }
    }
}

/// `(slot, step)` of a line that tells the begin of a step.
fn begun(line: &str) -> Option<(String, String)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "step").filter(|at| *at > 0)?;
    words.get(at + 2).filter(|word| word.starts_with('('))?;
    Some((words[at - 1].to_owned(), (*words.get(at + 1)?).to_owned()))
}
