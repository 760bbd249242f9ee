//! The one place through which every call of a run leaves: counted, named, killed or spoilt on order.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kubewright::bootstrap::NodeTask;
use kubewright::cloud::calls::{CALLS, Kind, Service};
use tokio::sync::Notify;

use crate::trouble::Trouble;

/// A place where a run touches the world: an AWS action, an operation on a kind of object of the store, a task on a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Site {
    /// `ec2:RunInstances`, and whether it changes something.
    Cloud(String, bool),
    /// `put state`
    Store(&'static str, &'static str),
    Node(NodeTask),
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cloud(action, _) => f.write_str(action),
            Self::Store(verb, what) => write!(f, "store:{verb}-{what}"),
            Self::Node(task) => write!(f, "node:{}", task.as_str()),
        }
    }
}

/// Operations of the store that commands make, by kind of object.
const STORE: [(&str, &[&str]); 5] = [
    ("get", &["state", "lock", "spec", "revision", "secret", "snapshot"]),
    ("put", &["state", "lock", "spec", "revision", "secret", "damaged", "snapshot"]),
    ("delete", &["state", "lock", "spec", "secret", "snapshot"]),
    ("list", &["all"]),
    ("now", &["all"]),
];

impl Site {
    /// The registry: every call that a run can make. S3 is how one kind of store does its operations; [`crate::gate`] sees these.
    pub fn all() -> Vec<Self> {
        let cloud = CALLS.iter().filter(|call| call.service != Service::S3);
        let cloud = cloud.map(|call| Self::Cloud(call.name(), call.kind == Kind::Change));
        let store = STORE.iter().flat_map(|(verb, kinds)| kinds.iter().map(|kind| Self::Store(verb, kind)));
        cloud.chain(store).chain(NodeTask::ALL.map(Self::Node)).collect()
    }

    /// The kind of object that a key of the store names.
    pub fn of_key(verb: &'static str, key: &str) -> Self {
        if matches!(verb, "list" | "now") {
            return Self::Store(verb, "all");
        }
        let kinds = [
            ("state.json", "state"),
            ("lock.json", "lock"),
            ("spec.toml", "spec"),
            ("revisions/", "revision"),
            ("secrets/", "secret"),
            ("damaged/", "damaged"),
            ("/etcd/", "snapshot"),
        ];
        let kind = kinds.into_iter().find(|(part, _)| key.contains(part)).map_or("other", |(_, kind)| kind);
        Self::Store(verb, kind)
    }

    /// Whether the world is another one after it.
    pub fn changes(&self) -> bool {
        match self {
            Self::Cloud(_, changes) => *changes,
            Self::Store(verb, _) => matches!(*verb, "put" | "delete"),
            Self::Node(_) => true,
        }
    }
}

/// Where in a call the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// Before it is sent.
    Before,
    /// Carried out; the answer never comes.
    Committed,
    /// The answer came; whatever the process does next with the world does not happen.
    Answered,
    /// The next write of the state has happened.
    Recorded,
}

pub const ATS: [At; 4] = [At::Before, At::Committed, At::Answered, At::Recorded];

/// What is to happen to a run.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// The process dies at this call, counted from 1 over all sites.
    pub kill: Option<(usize, At)>,
    /// These calls go wrong.
    pub troubles: BTreeMap<usize, Trouble>,
    /// The process is stopped before this call, until it is told to go on.
    pub pause: Option<usize>,
    /// From this call on every one goes wrong.
    pub from: Option<(usize, Trouble)>,
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Go,
    HangBefore,
    HangAfter,
    /// Until [`Gate::go_on`].
    Pause,
    Trouble(Trouble),
}

#[derive(Default)]
struct Inner {
    log: Vec<Site>,
    script: Script,
    /// Nothing gets out any more.
    dead: bool,
    /// Dead, but its last call is still on its way.
    dying: bool,
    /// Dies with the next write of the state.
    dies_recorded: bool,
    /// Troubles that hit several calls of one site.
    again: BTreeMap<Site, (Trouble, u32)>,
    hits: Vec<(Site, Trouble)>,
    paused: bool,
    resumed: bool,
    /// Calls that change something, begun after the pause.
    late: Vec<Site>,
}

/// The gate of one run.
#[derive(Default)]
pub struct Gate {
    inner: Mutex<Inner>,
    killed: Notify,
    stopped: Notify,
    resume: Arc<Notify>,
}

impl Gate {
    pub fn new(script: Script) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::new(Inner { script, ..Inner::default() }), ..Self::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call is about to leave.
    pub fn enter(&self, site: Site) -> Verdict {
        let mut inner = self.lock();
        if inner.dead {
            if inner.dying {
                // Nothing else happens any more, but what is on its way arrives.
                return Verdict::Pause;
            }
            self.killed.notify_one();
            return Verdict::HangBefore;
        }
        inner.log.push(site.clone());
        let number = inner.log.len();
        if let Some((call, at)) = inner.script.kill
            && call == number
        {
            match at {
                At::Before => {
                    inner.dead = true;
                    self.killed.notify_one();
                    return Verdict::HangBefore;
                }
                At::Committed => {
                    (inner.dead, inner.dying) = (true, true);
                    return Verdict::HangAfter;
                }
                At::Answered => inner.dead = true,
                At::Recorded => inner.dies_recorded = true,
            }
        }
        if inner.resumed && site.changes() {
            inner.late.push(site.clone());
        }
        if inner.script.pause == Some(number) {
            inner.paused = true;
            self.stopped.notify_one();
        }
        // A process that is stopped does nothing at all.
        if inner.paused {
            return Verdict::Pause;
        }
        let planned = inner.script.troubles.get(&number).copied();
        let planned = planned.or(inner.script.from.filter(|(from, _)| number >= *from).map(|(_, trouble)| trouble));
        if let Some(trouble) = planned {
            inner.again.insert(site.clone(), (trouble, trouble.times()));
        }
        let Some((trouble, left)) = inner.again.get_mut(&site) else { return Verdict::Go };
        if *left == 0 {
            return Verdict::Go;
        }
        *left -= 1;
        let trouble = *trouble;
        if !trouble.can_happen_to(&site) {
            return Verdict::Go;
        }
        inner.hits.push((site, trouble));
        Verdict::Trouble(trouble)
    }

    /// A write of the state was carried out.
    pub fn recorded(&self) {
        let mut inner = self.lock();
        if inner.dies_recorded {
            inner.dead = true;
        }
    }

    /// Returns when the process is stopped.
    pub async fn stopped(&self) {
        self.stopped.notified().await;
    }

    /// Where a stopped process waits.
    pub fn resume(&self) -> Arc<Notify> {
        Arc::clone(&self.resume)
    }

    pub fn go_on(&self) {
        let mut inner = self.lock();
        inner.paused = false;
        inner.resumed = true;
        self.resume.notify_waiters();
    }

    /// Changes that the process asked for after it had been stopped.
    pub fn late(&self) -> Vec<Site> {
        self.lock().late.clone()
    }

    /// The last call of a dying process was carried out.
    pub fn committed(&self) {
        self.lock().dying = false;
        self.killed.notify_one();
    }

    pub async fn killed(&self) {
        self.killed.notified().await;
    }

    /// Every call so far.
    pub fn log(&self) -> Vec<Site> {
        self.lock().log.clone()
    }

    /// Calls that went wrong on order.
    pub fn hits(&self) -> Vec<(Site, Trouble)> {
        self.lock().hits.clone()
    }
}
