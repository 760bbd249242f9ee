//! Errors of the store, in words: what failed, where, why, what to type next.

use std::fmt;

use jiff::Timestamp;

use super::envelope::Unreadable;
use super::lock::LockStatus;
use super::objects::ObjectError;
use super::previous::Earlier;

/// What went wrong with a cluster's store. Cloned where several waiting updates failed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Another run holds the lock; exit code 4.
    Locked {
        cluster: String,
        location: String,
        held: Box<LockStatus>,
    },
    /// Somebody else wrote the state since it was read: this run may start nothing more.
    Lost {
        cluster: String,
        location: String,
        by: String,
        when: Timestamp,
    },
    /// The state was removed since it was read.
    Gone {
        cluster: String,
        location: String,
    },
    /// The lock that this run held was broken or taken over.
    LockBroken {
        cluster: String,
        location: String,
        by: Option<String>,
    },
    /// No answer, however often it was asked: the write may have happened.
    NoAnswer {
        location: String,
        message: String,
    },
    /// The store's permissions do not allow it.
    Denied {
        location: String,
        message: String,
    },
    Failed {
        location: String,
        message: String,
    },
    /// The state is there and cannot be used.
    State {
        cluster: String,
        location: String,
        why: Unreadable,
        /// The newest whole state that it has replaced, where the store keeps one.
        earlier: Option<Box<Earlier>>,
    },
    /// Another program keeps something where a new cluster would be.
    Foreign {
        cluster: String,
        location: String,
    },
    /// A name that cannot be a folder of the store.
    Name {
        name: String,
        what: &'static str,
    },
    NoRevision {
        cluster: String,
        number: u32,
        newest: Option<u32>,
    },
}

impl StoreError {
    /// 4 where the lock is held, otherwise 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Locked { .. } => 4,
            _ => 1,
        }
    }

    /// Whether this run has lost the state to another one: nothing that it writes can succeed any more.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Gone { .. } | Self::State { .. })
    }

    pub(super) fn of_object(location: &str, error: ObjectError) -> Self {
        let place = |key: &str| if key.is_empty() { location.to_owned() } else { format!("{location}/{key}") };
        match error {
            ObjectError::Conflict { key } => {
                Self::NoAnswer { location: place(&key), message: "it is being changed by others all the time".into() }
            }
            ObjectError::Ambiguous { key, message } => Self::NoAnswer { location: place(&key), message },
            ObjectError::Denied { key, message } => Self::Denied { location: place(&key), message },
            ObjectError::Failed { key, message } => Self::Failed { location: place(&key), message },
        }
    }

    fn what(&self) -> String {
        match self {
            Self::Locked { cluster, .. } => format!("{cluster} is locked by another run"),
            Self::Lost { cluster, .. } => format!("the state of {cluster} was written by somebody else; this run stops"),
            Self::Gone { cluster, .. } => format!("the state of {cluster} was removed while this run was using it"),
            Self::LockBroken { cluster, .. } => format!("this run no longer holds the lock of {cluster}"),
            Self::NoAnswer { .. } => "the state store does not answer; the write may have happened".into(),
            Self::Denied { .. } => "the state store refuses access".into(),
            Self::Failed { .. } => "the state store cannot be used".into(),
            Self::State { cluster, .. } => format!("the state of {cluster} cannot be used"),
            Self::Foreign { cluster, .. } => format!("what is in the place of {cluster} is not kubewright's"),
            Self::Name { name, what } => format!("`{name}` cannot be the name of a {what}"),
            Self::NoRevision { cluster, number, .. } => format!("{cluster} has no revision {number}"),
        }
    }

    fn place(&self) -> Option<&str> {
        match self {
            Self::Locked { location, .. }
            | Self::Lost { location, .. }
            | Self::Gone { location, .. }
            | Self::LockBroken { location, .. }
            | Self::NoAnswer { location, .. }
            | Self::Denied { location, .. }
            | Self::Failed { location, .. }
            | Self::State { location, .. }
            | Self::Foreign { location, .. } => Some(location),
            Self::Name { .. } | Self::NoRevision { .. } => None,
        }
    }

    fn why(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Locked { held, .. } => held.facts(),
            Self::Lost { by, when, .. } => vec![("by", by.clone()), ("at", when.strftime("%F %TZ").to_string())],
            Self::Gone { .. } => vec![("why", "another run deleted the cluster or its state".into())],
            Self::LockBroken { by, .. } => {
                let why = by.as_ref().map_or("it was broken".into(), |by| format!("it was broken and is now held by {by}"));
                vec![("why", why)]
            }
            Self::NoAnswer { message, .. } | Self::Denied { message, .. } | Self::Failed { message, .. } => {
                vec![("why", message.clone())]
            }
            Self::State { why, earlier, .. } => {
                let whole = earlier.as_ref().map(|earlier| {
                    let Earlier { serial, written, writer } = earlier.as_ref();
                    ("whole", format!("serial {serial}, written at {} by {writer}", written.strftime("%F %TZ")))
                });
                [("why", why.to_string())].into_iter().chain(whole).collect()
            }
            Self::Foreign { .. } => vec![("why", "another program keeps something there; nothing was touched".into())],
            Self::Name { .. } => {
                vec![("why", "it needs letters, digits, `.`, `_` and `-`, the first not a dot, at most 200".into())]
            }
            Self::NoRevision { newest, .. } => {
                vec![("why", newest.map_or("none is registered".into(), |newest| format!("the newest is {newest}")))]
            }
        }
    }

    fn next(&self) -> Option<String> {
        Some(match self {
            Self::Locked { cluster, held, .. } if !held.readable => {
                format!("kubewright lock break {cluster}      (once you know that nobody needs it)")
            }
            Self::Locked { held, .. } if held.stale || held.gone => "run the same command again; it takes the lock over".into(),
            Self::Locked { cluster, .. } => {
                format!("the same command with --lock-wait 10m waits for it; kubewright lock status {cluster} shows it")
            }
            Self::Lost { cluster, .. } | Self::LockBroken { cluster, .. } => {
                format!("kubewright lock status {cluster}; when nobody works on it, run the same command again")
            }
            Self::Gone { .. } => "kubewright get clusters".into(),
            Self::NoAnswer { .. } => "run the same command again; it goes on from what was recorded".into(),
            Self::Denied { .. } | Self::Failed { .. } => "set that right, then run the same command again".into(),
            Self::State { why: Unreadable::Newer(_), .. } => "use that newer kubewright; nothing was changed".into(),
            Self::State { why: Unreadable::OtherCluster(name), .. } => {
                format!("put it back under {name}, and this cluster's own state here; nothing was changed")
            }
            Self::State { cluster, earlier: Some(_), .. } => format!(
                "kubewright recover {cluster} --previous --yes      (puts the whole one back; what was recorded after it is found by tags)"
            ),
            Self::Foreign { .. } => "another --state, with a folder or a prefix of its own".into(),
            Self::State { .. } => {
                "put back an earlier copy of that file (bucket versions, backup); nothing was changed, and nothing is lost in \
                 the account"
                    .into()
            }
            Self::Name { .. } => return None,
            Self::NoRevision { .. } => "name one that is registered".into(),
        })
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place().map(|place| ("where", place.to_owned()));
        let next = self.next().map(|next| ("next", next));
        f.write_str(&plain(&self.what()))?;
        for (word, text) in place.into_iter().chain(self.why()).chain(next) {
            write!(f, "\n  {word:<9} {}", plain(&text))?;
        }
        Ok(())
    }
}

impl std::error::Error for StoreError {}

/// Text from a store or a service, with control characters made visible, so that it cannot steer a terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// `41 s`, `5 min 2 s`, `3 h 0 min`, `2 days 4 h`.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}
