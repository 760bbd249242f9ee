//! Drift: what in the account is neither as the spec says nor as it was last applied, so that a hand must have changed it.
//!
//! Three values are compared: what the spec says now, what the last applied spec said, and what is there. Where the live value is
//! one that an applied or registered spec asked for, the spec has changed; where it is another one, somebody else did it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, Role};
use crate::desired::{ResourceId, Rule};
use crate::plan::action::Action;
use crate::plan::planner::Planner;

/// One thing that was changed by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    pub resource: ResourceId,
    /// AWS id of the object, or the name of a record.
    pub id: String,
    /// `tag team`, `route 0.0.0.0/0`; empty: the object as a whole.
    pub attribute: String,
    pub is: String,
    pub was: String,
    /// Id of the action that sets it right; none: it is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Where it is left alone: what a person can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Drift {
    pub fn new(
        resource: &ResourceId,
        id: &str,
        attribute: impl Into<String>,
        is: impl Into<String>,
        was: impl Into<String>,
    ) -> Self {
        let (attribute, is, was) = (attribute.into(), is.into(), was.into());
        Self { resource: resource.clone(), id: id.to_owned(), attribute, is, was, action: None, next: None }
    }

    /// `changed by hand: tag team is red, was blue`
    pub fn words(&self) -> String {
        let Self { attribute, is, was, .. } = self;
        if attribute.is_empty() {
            format!("deleted by hand: {was} is gone")
        } else {
            format!("changed by hand: {attribute} is {is}, was {was}")
        }
    }
}

/// Reasons of an action that undoes drift, that follows the spec, or both.
pub const BY_HAND: &str = "changed by hand";
pub const BY_SPEC: &str = "the spec changed";

impl Planner<'_> {
    /// Specs that may have been applied: the last one that was to its end, and one whose run was interrupted.
    pub fn applied(&self) -> Vec<&Cluster> {
        self.input.previous.into_iter().chain(self.input.previous.map(|_| &self.input.recorded.model)).collect()
    }

    /// Whether a difference of a resource can be anybody's doing but ours: it was finished once.
    pub fn was_finished(&self, resource: &ResourceId) -> bool {
        let unfinished = self.input.recorded.last_run.as_ref().filter(|run| !run.finished);
        let Some(record) = self.input.recorded.resources.get(resource) else { return false };
        // Both are RFC 3339 in UTC, but their fractions may differ in length.
        let second = |text: &str| text.get(..19).unwrap_or_default().to_owned();
        self.input.previous.is_some() && unfinished.is_none_or(|run| second(&record.created) < second(&run.started))
    }

    /// Notes drift that an action of the plan sets right, and says so in the action.
    pub fn drifted(&mut self, action: &mut Action, drift: Vec<Drift>) {
        for mut drift in drift {
            action.details.push(drift.words());
            drift.action = Some(action.id.clone());
            self.plan.drift.push(drift);
        }
    }

    /// Notes drift that is left alone, with what a person can do.
    pub fn left_alone(&mut self, mut drift: Drift, next: String) {
        let what = format!("{} ({}): {}", drift.resource, drift.id, drift.words());
        self.plan.warnings.push(format!("{what}; left alone; to set it back: {next}"));
        drift.next = Some(next);
        self.plan.drift.push(drift);
    }

    /// Notes a resource that is recorded and is not there any more, on the action that makes it again.
    pub fn deleted_by_hand(&mut self, action: &mut Action) {
        let Some(record) = self.input.recorded.resources.get(&action.resource) else { return };
        // Of the records, the one that marks them as the cluster's.
        let of_names = || self.desired.names.owner.clone();
        let was = if action.resource == ResourceId::Records { of_names() } else { record.id.clone() };
        let mut drift = Drift::new(&action.resource, &was, "", "gone", &was);
        drift.action = Some(action.id.clone());
        // A machine may have ended in many ways.
        if !matches!(action.resource, ResourceId::Instance(_)) {
            action.reasons.push(drift.words());
        }
        self.plan.drift.push(drift);
    }

    /// Whether an applied spec had this rule in the group of a role.
    pub fn had_rule(&self, role: Role, rule: &Rule) -> bool {
        self.applied().into_iter().any(|cluster| {
            let groups = crate::desired::firewall::security_groups(cluster);
            groups.iter().any(|group| group.role == role && group.rules.contains(rule))
        })
    }
}
