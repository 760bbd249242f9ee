//! The last look at a change before it becomes a call: every reference known, every peer an address range or a group's id.

use std::collections::BTreeMap;

use crate::desired::{Peer, Rule};
use crate::plan::Ref;

/// A change reached a call with a hole in it: a defect of the caller, never sent to AWS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not known yet")]
pub struct Unresolved(pub String);

pub fn known(reference: &Ref) -> Result<&str, Unresolved> {
    reference.known().ok_or_else(|| Unresolved(reference.to_string()))
}

/// The rules with every [`Peer::Group`] turned into the id that `groups` names for the role.
pub fn rules(rules: &[Rule], groups: &BTreeMap<String, Ref>) -> Result<Vec<Rule>, Unresolved> {
    rules
        .iter()
        .map(|rule| {
            let peer = match &rule.peer {
                Peer::Group(role) => {
                    let reference =
                        groups.get(role.as_str()).ok_or_else(|| Unresolved(format!("the group of role {}", role.as_str())))?;
                    Peer::Foreign(known(reference)?.to_owned())
                }
                peer => peer.clone(),
            };
            Ok(Rule { peer, ..rule.clone() })
        })
        .collect()
}
