//! Random sequences of edit, apply, crash, drift, loss of the state, recover and delete end where a reference model says (P11).

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::Config;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use crate::gate::{At, Script};
use crate::lives::{difference, shown};
use crate::rig::{Ended, Rig, Start};
use crate::tally::Tally;
use crate::world::{NAME, SMALL, edit};

/// What the cluster should be: few enough kinds that each is met again in other orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    nodes: u8,
    labelled: bool,
    open: bool,
}

impl Wanted {
    fn spec(self) -> String {
        let mut text = edit(
            SMALL,
            "count = 1\nmachine_type = \"t3.large\"",
            &format!("count = {}\nmachine_type = \"t3.large\"", self.nodes),
        );
        if self.labelled {
            text += "labels = { tier = \"general\" }\n";
        }
        if self.open {
            text = edit(&text, "[ssh]\n", "[node_ports]\naccess = [\"198.51.100.0/24\"]\n\n[ssh]\n");
        }
        text
    }
}

#[derive(Clone, Debug)]
pub enum Step {
    /// The spec is edited and applied, or applied again.
    Apply(Wanted),
    /// The same, and the process dies at a call.
    Crash(Wanted, u16, bool),
    /// Somebody ends a worker in the console.
    EndsWorker,
    /// Somebody takes the rules of a group away.
    LosesRules,
    /// The state is lost and made anew.
    Recover,
    Delete,
}

/// The reference: what is there once the last command has ended well.
#[derive(Clone, Debug)]
pub struct Reference {
    /// `None`: there is no cluster.
    exists: Option<Wanted>,
    /// A command died, or somebody's hand was in the account: only an apply or a delete brings it back.
    disturbed: bool,
}

pub struct Machine;

impl ReferenceStateMachine for Machine {
    type State = Reference;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Reference> {
        Just(Reference { exists: None, disturbed: false }).boxed()
    }

    fn transitions(state: &Reference) -> BoxedStrategy<Step> {
        let wanted = (0_u8..4, any::<bool>(), any::<bool>()).prop_map(|(nodes, labelled, open)| Wanted { nodes, labelled, open });
        let apply = wanted.clone().prop_map(Step::Apply);
        let crash = (wanted, 1_u16..160, any::<bool>()).prop_map(|(wanted, call, done)| Step::Crash(wanted, call, done));
        match state.exists {
            None => prop_oneof![3 => apply, 2 => crash].boxed(),
            Some(_) => prop_oneof![
                4 => apply,
                4 => crash,
                2 => Just(Step::EndsWorker),
                1 => Just(Step::LosesRules),
                2 => Just(Step::Recover),
                1 => Just(Step::Delete),
            ]
            .boxed(),
        }
    }

    fn apply(mut state: Reference, step: &Step) -> Reference {
        match step {
            Step::Apply(wanted) => state = Reference { exists: Some(*wanted), disturbed: false },
            Step::Crash(wanted, ..) => state = Reference { exists: Some(*wanted), disturbed: true },
            Step::EndsWorker | Step::LosesRules => state.disturbed = true,
            Step::Recover => state.disturbed = true,
            Step::Delete => state = Reference { exists: None, disturbed: false },
        }
        state
    }
}

/// A rig with its own runtime, in virtual time.
pub struct Real {
    runtime: tokio::runtime::Runtime,
    rig: Rig,
    empty: Vec<String>,
    /// A process was killed.
    died: bool,
}

thread_local! {
    static EXPECTED: std::cell::RefCell<BTreeMap<Wanted, Vec<String>>> = const { std::cell::RefCell::new(BTreeMap::new()) };
    static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime")
}

/// The account after an undisturbed create of this spec.
fn expected(wanted: Wanted) -> Vec<String> {
    if let Some(known) = EXPECTED.with_borrow(|known| known.get(&wanted).cloned()) {
        return known;
    }
    let account = runtime().block_on(async {
        let rig = Rig::at(&Start::empty(11)).await;
        let file = rig.world.spec(&wanted.spec());
        let (ended, _) = rig.run(&["create", "-f", &file, "--yes"], Script::default()).await;
        assert!(matches!(&ended, Ended::Code(ran) if ran.code == 0), "{}", shown(&ended));
        rig.world.account()
    });
    EXPECTED.with_borrow_mut(|known| known.insert(wanted, account.clone()));
    account
}

/// Which numbers the workers have, and what is on its way out, is of the way, not of the end.
fn plain(account: Vec<String>) -> Vec<String> {
    let lines = account.into_iter().filter(|line| !line.contains(" shutting-down "));
    let mut lines: Vec<String> =
        lines.map(|line| (1..9).fold(line, |line, n| line.replace(&format!("us-east-1a-{n}"), "us-east-1a-#"))).collect();
    lines.sort();
    lines
}

impl Real {
    fn applies(&self, wanted: Wanted, script: Script) -> Ended {
        self.runtime.block_on(async {
            let file = self.rig.world.spec(&wanted.spec());
            let known = self.rig.world.state_if_any().is_some_and(|state| state.applied > 0 || state.revision > 0);
            let verb = if known { "update" } else { "create" };
            self.rig.run(&[verb, "-f", &file, "--yes"], script).await.0
        })
    }
}

impl StateMachineTest for Machine {
    type SystemUnderTest = Real;
    type Reference = Self;

    fn init_test(_: &Reference) -> Real {
        let runtime = runtime();
        let rig = runtime.block_on(Rig::at(&runtime.block_on(async { Start::empty(11) })));
        let empty = rig.world.account();
        Real { runtime, rig, empty, died: false }
    }

    fn apply(mut real: Real, reference: &Reference, step: Step) -> Real {
        STEPS.set(STEPS.get() + 1);
        match step {
            Step::Apply(wanted) => match real.applies(wanted, Script::default()) {
                Ended::Code(ran) if ran.code == 0 => {}
                ended => panic!("apply: {}", shown(&ended)),
            },
            Step::Crash(wanted, call, done) => {
                let at = if done { At::Committed } else { At::Before };
                let ended = real.applies(wanted, Script { kill: Some((call.into(), at)), ..Script::default() });
                match ended {
                    Ended::Killed => real.died = true,
                    Ended::Code(ran) if ran.code == 0 => {}
                    ended => panic!("crash: {}", shown(&ended)),
                }
            }
            Step::EndsWorker => {
                // Within the runtime, whose time it is; old enough that EC2 knows it everywhere.
                real.runtime.block_on(async {
                    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
                    let account = &real.rig.world.cloud;
                    let worker = account.edit(|account| {
                        let mut workers = account.instances.values().map(|instance| &instance.seen);
                        workers.find(|seen| seen.machine_type == "t3.large" && seen.is_live()).map(|seen| seen.id.clone())
                    });
                    if let Some(id) = worker {
                        let instance = kubewright::plan::Ref::Known(id);
                        account.plant(&kubewright::plan::Change::TerminateInstance { instance }).expect("a worker");
                    }
                });
            }
            Step::LosesRules => real.rig.world.cloud.edit(|account| {
                if let Some(group) = account.security_groups.values_mut().find(|group| group.name != "default") {
                    group.rules.clear();
                }
            }),
            Step::Recover => real.runtime.block_on(async {
                let spec = reference.exists.expect("a cluster").spec();
                let file = real.rig.world.spec(&spec);
                real.rig.lose(&["state.json"]).await;
                match real.rig.run(&["recover", NAME, "-f", &file, "--yes"], Script::default()).await.0 {
                    Ended::Code(ran) if ran.code == 0 => {}
                    // A crash before anything was made.
                    Ended::Code(ran) if ran.code == 1 && ran.err.contains("there is no cluster") => {}
                    ended => panic!("recover: {}", shown(&ended)),
                }
            }),
            Step::Delete => real.runtime.block_on(async {
                match real.rig.run(&["delete", "cluster", NAME, "--purge", "--yes"], Script::default()).await.0 {
                    Ended::Code(ran) if ran.code == 0 => {}
                    Ended::Code(ran) if ran.code == 1 && ran.err.contains("there is no cluster") => {}
                    ended => panic!("delete: {}", shown(&ended)),
                }
            }),
        }
        real
    }

    fn check_invariants(real: &Real, reference: &Reference) {
        if reference.disturbed {
            return;
        }
        let expected = reference.exists.map_or_else(|| real.empty.clone(), expected);
        let (expected, found) = (plain(expected), plain(real.rig.world.account()));
        assert!(expected == found, "the account is not what the model says: {}", difference(&expected, &found));
    }
}

/// `cases` sequences of up to `steps` steps; a failure is shrunk to the shortest sequence.
pub fn p11(seed: u64, cases: u32, steps: usize) -> Tally {
    let mut tally = Tally::default();
    STEPS.set(0);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 40,
        rng_seed: proptest::test_runner::RngSeed::Fixed(seed),
        ..Config::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config.clone());
    let strategy = Machine::sequential_strategy(2..=steps);
    let result = runner.run(&strategy, |(initial, transitions, seen)| {
        <Machine as StateMachineTest>::test_sequential(config.clone(), initial, transitions, seen);
        Ok(())
    });
    tally.points = STEPS.get();
    if let Err(error) = result {
        tally.violations.push(format!("p11 {seed}: {error}\n  again: ./test promises 'p11 {seed}'"));
    }
    tally
}

/// A change that dies, and then something else is wanted: what there was before, the change, and what is done then. Random sequences
/// found a place in each at which it did not end well.
pub const TURNS: [(&str, Option<u8>, u8, Option<u8>); 4] = {
    [
        ("none to cluster, again", None, 0, Some(0)),
        ("more, then fewer", Some(0), 1, Some(0)),
        ("more, then none at all", Some(0), 2, None),
        ("fewer, then as before", Some(2), 1, Some(2)),
    ]
};

/// One of [`TURNS`] with the death at every call, before it left or once it was carried out.
pub fn turned(name: &str, before: Option<u8>, change: u8, then: Option<u8>) -> Tally {
    let wanted = |nodes| Wanted { nodes, labelled: false, open: false };
    let mut tally = Tally::default();
    for done in [false, true] {
        for call in 1.. {
            let start = before.map(|nodes| Step::Apply(wanted(nodes)));
            let end = then.map_or(Step::Delete, |nodes| Step::Apply(wanted(nodes)));
            let point = format!("p11 {name}, call {call} {}", if done { "after" } else { "before" });
            let (died, broken) = sequence(start.into_iter().chain([Step::Crash(wanted(change), call, done), end]));
            if !died && broken.is_none() {
                break;
            }
            tally.points += 1;
            tally.violations.extend(broken.map(|broken| format!("{point}: {broken}")));
        }
    }
    tally
}

/// Whether a process died in it, and what does not hold.
fn sequence(steps: impl Iterator<Item = Step>) -> (bool, Option<String>) {
    let mut reference = Reference { exists: None, disturbed: false };
    let mut real = Machine::init_test(&reference);
    let mut died = false;
    for step in steps {
        reference = <Machine as ReferenceStateMachine>::apply(reference, &step);
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let real = <Machine as StateMachineTest>::apply(real, &reference, step);
            Machine::check_invariants(&real, &reference);
            real
        }));
        match ran {
            Ok(then) => real = then,
            Err(panic) => return (died, Some(crate::rig::said(panic.as_ref()))),
        }
        died |= real.died;
    }
    (died, None)
}
