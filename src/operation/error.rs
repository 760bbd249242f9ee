//! Why an operation did not run, with its exit code.

use crate::apply::Failure;
use crate::bootstrap::NodeError;
use crate::cloud::CloudError;
use crate::cluster::KubernetesVersion;
use crate::plan::{NoPlan, Problem};
use crate::rolling::upgrade::NoWay;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Cloud(#[from] CloudError),
    #[error("there is no cluster in {location}")]
    NoClusters { location: String },
    #[error("which cluster? there are {}", known.join(", "))]
    WhichCluster { known: Vec<String> },
    #[error("there is no cluster {name} in {location}{}", list(known))]
    UnknownCluster { name: String, location: String, known: Vec<String> },
    #[error("cluster {name} exists already in {location}")]
    Exists { name: String, location: String },
    #[error("the spec is of {found}, not of {expected}")]
    OtherName { expected: String, found: String },
    #[error("the credentials are of account {found} ({arn}); cluster {cluster} lives in account {expected}")]
    OtherAccount { cluster: String, expected: String, found: String, arn: String },
    #[error("account {account} holds resources of another cluster {name} (uid {uid}), for example {example}")]
    OtherCluster { name: String, account: String, uid: String, example: String },
    #[error("cluster {cluster} has no keys yet: its creation did not come that far")]
    NoKeys { cluster: String },
    #[error("cluster {name} has a state in {location} that can be read; there is nothing to recover")]
    NothingToRecover { name: String, location: String },
    #[error("cluster {name} has control planes, but its keys ({location}/secrets) are gone: nothing could join it any more")]
    LostKeys { name: String, location: String },
    #[error("cluster {0} is protected: prevent_destroy = true")]
    Protected(String),
    /// The plan names what is wrong.
    #[error("the plan cannot be applied")]
    Refused(Vec<Problem>),
    #[error("{file} is no plan that can be applied; nothing was changed\n  why {why}")]
    NoPlan { file: String, why: NoPlan },
    #[error("the plan {file} is out of date; nothing was changed{}", rows(moved))]
    PlanMoved { file: String, moved: Vec<String>, again: String },
    #[error("{calls} of an earlier run had no answer, so what there is to do is not known for certain")]
    NotSettled { cluster: String, calls: String },
    #[error("cluster {cluster} has no {kind} {name}; it has {}", known.join(", "))]
    UnknownGroup { cluster: String, kind: &'static str, name: String, known: Vec<String> },
    #[error("{why}")]
    NoWay { cluster: String, to: KubernetesVersion, why: NoWay },
    #[error("revision {revision} of the spec of {cluster} is not applied to its end yet")]
    NotApplied { cluster: String, revision: u32 },
    #[error("an earlier run could not be settled: {0}")]
    Unsettled(Failure),
    #[error("cluster {cluster} has no etcd that a snapshot could be taken of: none of its members answers")]
    NoEtcd { cluster: String },
    #[error("cluster {cluster} has no snapshot {id}{}", list(known))]
    UnknownSnapshot { cluster: String, id: String, known: Vec<String> },
    #[error("snapshot {id} is not restored; nothing was changed\n  why {why}")]
    SnapshotRefused { id: String, why: String, next: String },
    #[error("{0}")]
    Node(Box<NodeError>),
    /// By a person, between two steps.
    #[error("{0}")]
    Interrupted(String),
    #[error("{0}")]
    Failed(String),
}

/// As errors of the store lay out their rows.
fn rows(moved: &[String]) -> String {
    let mut text: String = moved.iter().take(ROWS).map(|moved| format!("\n  moved {moved}")).collect();
    if let Some(rest) = moved.len().checked_sub(ROWS + 1) {
        text.push_str(&format!("\n  moved and {} more", rest + 1));
    }
    text
}

/// Differences that are told one by one.
const ROWS: usize = 6;

fn list(known: &[String]) -> String {
    if known.is_empty() { "; it holds none".into() } else { format!("; it holds {}", known.join(", ")) }
}

impl OperationError {
    /// See design: 1 error, 4 lock held, 5 plan refused.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store(error) => error.exit_code(),
            Self::UnknownGroup { .. } => 64,
            Self::Refused(_) | Self::OtherName { .. } => 5,
            Self::NoPlan { .. } | Self::PlanMoved { .. } | Self::NotSettled { .. } | Self::SnapshotRefused { .. } => 5,
            Self::NoWay { .. } | Self::NotApplied { .. } => 5,
            Self::Node(_) => 7,
            Self::Interrupted(_) => 130,
            _ => 1,
        }
    }

    /// What to type or do next.
    pub fn next(&self) -> Option<String> {
        Some(match self {
            Self::NoClusters { .. } => "kubewright create cluster -f FILE".into(),
            Self::WhichCluster { known } => format!("--name {}", known.first().map_or("NAME", String::as_str)),
            Self::UnknownCluster { known, .. } if known.is_empty() => "kubewright create cluster -f FILE".into(),
            Self::UnknownCluster { name, known, .. } => match crate::spec::nearest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near}?"),
                None => "kubewright get clusters".into(),
            },
            Self::Exists { name, .. } => format!("kubewright update {name} -f FILE"),
            Self::OtherName { expected, .. } => format!("name = \"{expected}\" in the spec, or another --name"),
            Self::OtherAccount { expected, .. } => format!("use credentials of account {expected} (AWS_PROFILE)"),
            Self::OtherCluster { name, .. } => {
                format!("choose another name; or, if its state is lost:  kubewright delete cluster {name}")
            }
            Self::NoKeys { cluster } => format!("kubewright update {cluster} --yes"),
            Self::NothingToRecover { name, .. } => format!("kubewright update {name}"),
            Self::LostKeys { location, .. } => {
                format!("put {location}/secrets back from a backup or from an older version of the bucket's objects")
            }
            Self::Protected(_) => "set prevent_destroy = false in the spec, then kubewright update -f FILE --yes".into(),
            Self::NoPlan { .. } => "make it again, with --plan-out".into(),
            Self::PlanMoved { again, .. } => again.clone(),
            Self::NotSettled { cluster, .. } => format!("kubewright update {cluster} --yes"),
            Self::NotApplied { cluster, .. } => format!("kubewright update {cluster} --yes"),
            Self::NoWay { cluster, to, why } => match why {
                NoWay::Downgrade { from, .. } => format!("name a version from {from} on"),
                NoWay::Unknown { .. } => "kubewright version says which this is; a newer one may know more".into(),
                NoWay::UnderWay(version) => format!("kubewright upgrade {cluster} --to {version} --yes"),
                NoWay::NoBundle(version) => {
                    format!(
                        "get a bundle of {version}, then:  kubewright upgrade {cluster} --to {to} --bundle DIR    (one for each hop)"
                    )
                }
                NoWay::Aside { .. } => "leave it out, or name a version of a minor in between".into(),
            },
            Self::UnknownGroup { name, known, .. } => match crate::spec::nearest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near}?"),
                None => "kubewright get instance-groups".into(),
            },
            Self::NoEtcd { cluster } => format!("kubewright etcd status {cluster}"),
            Self::UnknownSnapshot { cluster, .. } => format!("kubewright etcd list {cluster}"),
            Self::SnapshotRefused { next, .. } => next.clone(),
            Self::Interrupted(_) => "run the same command again".into(),
            Self::Node(_) | Self::Store(_) | Self::Cloud(_) | Self::Refused(_) | Self::Unsettled(_) | Self::Failed(_) => {
                return None;
            }
        })
    }
}
