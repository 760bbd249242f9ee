//! Which actions may start: each knows how many it still waits for, and who waits for it.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::Action;

pub struct Graph<'a> {
    actions: &'a [Action],
    index: BTreeMap<&'a str, usize>,
    /// By action, those that wait for it.
    behind: Vec<Vec<usize>>,
    /// By action, how many it waits for.
    open: Vec<usize>,
    ready: BTreeSet<usize>,
    started: Vec<bool>,
}

impl<'a> Graph<'a> {
    /// What an `after` names that is not among the actions is never done.
    pub fn new(actions: &'a [Action]) -> Self {
        let index: BTreeMap<&str, usize> = actions.iter().enumerate().map(|(n, action)| (action.id.as_str(), n)).collect();
        let mut behind = vec![vec![]; actions.len()];
        let mut open = vec![];
        for (n, action) in actions.iter().enumerate() {
            let after: BTreeSet<&String> = action.after.iter().collect();
            open.push(after.len());
            for before in after.iter().filter_map(|id| index.get(id.as_str())) {
                if let Some(behind) = behind.get_mut(*before) {
                    behind.push(n);
                }
            }
        }
        let ready = open.iter().enumerate().filter(|(_, open)| **open == 0).map(|(n, _)| n).collect();
        Self { actions, index, behind, open, ready, started: vec![false; actions.len()] }
    }

    /// All that wait for nothing, in the order of the plan; each is given out once.
    pub fn start(&mut self) -> Vec<&'a Action> {
        let ready = std::mem::take(&mut self.ready);
        for n in &ready {
            if let Some(started) = self.started.get_mut(*n) {
                *started = true;
            }
        }
        ready.into_iter().filter_map(|n| self.actions.get(n)).collect()
    }

    pub fn done(&mut self, id: &str) {
        let Some(behind) = self.index.get(id).and_then(|n| self.behind.get_mut(*n)) else { return };
        for n in std::mem::take(behind) {
            if let Some(open) = self.open.get_mut(n) {
                *open = open.saturating_sub(1);
                if *open == 0 {
                    self.ready.insert(n);
                }
            }
        }
    }

    /// What was never given out, each with a failed action at the start of the chain that it waits for.
    pub fn not_started<'f>(&self, failed: &BTreeSet<&'f str>) -> Vec<(&'a Action, Option<&'f str>)> {
        // An action stands behind all that it waits for, so one pass in the order of the plan is enough.
        let mut causes: Vec<Option<&str>> = vec![];
        for action in self.actions {
            let cause = failed.get(action.id.as_str()).copied().or_else(|| {
                let before = action.after.iter().rev();
                before.filter_map(|id| causes.get(*self.index.get(id.as_str())?).copied().flatten()).next()
            });
            causes.push(cause);
        }
        let all = self.actions.iter().zip(causes).zip(&self.started);
        all.filter(|(_, started)| !**started).map(|(action, _)| action).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::ResourceId;
    use crate::plan::{Verb, Work};

    fn action(id: &str, after: &[&str]) -> Action {
        Action {
            id: id.into(),
            verb: Verb::Create,
            resource: ResourceId::Vpc,
            reasons: vec![],
            details: vec![],
            after: after.iter().map(ToString::to_string).collect(),
            disruptive: None,
            work: Work::Calls(vec![]),
        }
    }

    fn ids(actions: Vec<&Action>) -> Vec<&str> {
        actions.into_iter().map(|action| action.id.as_str()).collect()
    }

    #[test]
    fn each_starts_once_when_the_last_that_it_waits_for_is_done() {
        let actions = [action("a", &[]), action("b", &[]), action("c", &["a", "b", "a"]), action("d", &["c", "elsewhere"])];
        let mut graph = Graph::new(&actions);
        assert_eq!(ids(graph.start()), ["a", "b"]);
        assert!(graph.start().is_empty());
        graph.done("b");
        graph.done("b");
        assert!(graph.start().is_empty(), "a is not done");
        graph.done("a");
        assert_eq!(ids(graph.start()), ["c"]);
        graph.done("c");
        assert!(graph.start().is_empty(), "nobody does what d waits for");
        assert_eq!(graph.not_started(&BTreeSet::new()), [(&actions[3], None)]);
    }

    #[test]
    fn what_does_not_start_names_the_failure_at_the_start_of_its_chain() {
        let actions = [action("a", &[]), action("b", &["a"]), action("c", &["b"]), action("x", &[]), action("y", &["x"])];
        let mut graph = Graph::new(&actions);
        assert_eq!(ids(graph.start()), ["a", "x"]);
        graph.done("x");
        let failed = BTreeSet::from(["a"]);
        assert_eq!(
            graph.not_started(&failed),
            [(&actions[1], Some("a")), (&actions[2], Some("a")), (&actions[4], None)],
            "y waits for nothing that failed"
        );
    }
}
