//! Clocks, stores and states for the tests.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kubewright::clock::{Clock, RandomIds, SystemClock};
use kubewright::cluster::Cluster;
use kubewright::desired::ResourceId;
use kubewright::recorded::{PinnedImage, Recorded, State};
use kubewright::store::{ClusterStore, FileObjects, MemoryObjects, Objects, Owner};
use libtest_mimic::Trial;
use tempfile::TempDir;
use tokio::time::Instant;

/// Virtual time: moves only while every task waits (`start_paused`).
pub struct VirtualClock(Instant);

impl VirtualClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

#[async_trait::async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let start: Timestamp = "2026-11-21T09:12:00Z".parse().expect("a time");
        start + self.0.elapsed()
    }

    async fn wait(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// An empty store of its own, and what keeps it alive.
pub struct Place {
    pub objects: Arc<dyn Objects>,
    pub folder: Option<TempDir>,
}

pub fn memory() -> Place {
    Place { objects: Arc::new(MemoryObjects::new(Arc::new(SystemClock))), folder: None }
}

pub fn file() -> Place {
    let folder = tempfile::tempdir().expect("a folder");
    let objects = FileObjects::new(&folder.path().join("state"), Arc::new(SystemClock)).expect("a store");
    Place { objects: Arc::new(objects), folder: Some(folder) }
}

/// In real time, on several threads.
pub fn real(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("a runtime").block_on(test);
}

/// In virtual time.
pub fn paused(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime").block_on(test);
}

pub fn trial(name: impl Into<String>, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

pub fn store(objects: &Arc<dyn Objects>, clock: Arc<dyn Clock>, writer: &str) -> ClusterStore {
    ClusterStore::new(objects.clone(), "demo", clock, Arc::new(RandomIds), writer).expect("a store")
}

/// A store of the cluster `demo` in real time.
pub fn real_store(objects: &Arc<dyn Objects>, writer: &str) -> ClusterStore {
    store(objects, Arc::new(SystemClock), writer)
}

pub fn owner(by: &str) -> Owner {
    Owner {
        by: by.into(),
        host: "build-7".into(),
        pid: 4242,
        command: "update demo --yes".into(),
        started: "2026-11-21T09:11:58Z".parse().expect("a time"),
    }
}

pub fn state() -> State {
    let zones = ["us-east-1a", "us-east-1b", "us-east-1c"];
    let recorded = |id: String| Recorded {
        id,
        attempt: "5d2f".repeat(8),
        created: "2026-11-21T09:12:03Z".into(),
        private_address: Some("10.20.0.4".into()),
        public_address: None,
        complete: false,
    };
    let resources = zones
        .iter()
        .map(|zone| (ResourceId::Instance(format!("nodes-{zone}-1")), recorded(format!("i-0f3c-{zone}"))))
        .chain([(ResourceId::Vpc, recorded("vpc-0a1".into()))])
        .collect();
    let image = PinnedImage {
        id: "ami-0b".into(),
        // Characters that JSON has to escape.
        name: "debian-13 \"trixie\" \\ \u{1f} \u{e9}\t\n".into(),
        architecture: "x86_64".into(),
        root_device: "/dev/xvda".into(),
    };
    let mut state = State::new(Cluster::unknown("demo"), "0123456789abcdef0123456789abcdef", "123456789012", "aws");
    state.region = "us-east-1".into();
    state.revision = 1;
    state.images = BTreeMap::from([("debian-13/x86_64".to_owned(), image)]);
    state.resources = resources;
    state
}

/// A record that a test can find again.
pub fn mark(state: &mut State, name: &str) {
    let recorded = Recorded {
        id: format!("i-{name}"),
        attempt: name.into(),
        created: "2026-11-21T09:12:03Z".into(),
        private_address: None,
        public_address: None,
        complete: false,
    };
    state.resources.insert(ResourceId::Instance(name.into()), recorded);
}

pub fn marked(state: &State, name: &str) -> bool {
    state.resources.contains_key(&ResourceId::Instance(name.into()))
}
