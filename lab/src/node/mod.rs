//! Nodes: one task per instance brings a real machine to the state that the emulator shows.

mod disk;
mod machine;
pub mod network;
mod task;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde::Serialize;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::state::Lab;
use crate::world::{Instance, World};

/// What a node should be doing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Power {
    On,
    Off,
    Gone,
}

/// Something done to a node from outside of EC2's states.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    /// Power loss: every process at once.
    Kill,
    /// RebootInstances.
    Reboot,
}

/// Tells who gave an order that it was carried out.
pub type Done = oneshot::Sender<()>;

/// A node as `status` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct View {
    pub id: String,
    pub name: String,
    pub private_ip: String,
    pub public_ip: String,
    pub user: String,
    pub phase: &'static str,
    pub ssh: bool,
    pub booted_in: Option<f64>,
    #[serde(skip)]
    pub ready_at: Option<Instant>,
}

#[derive(Clone)]
pub struct Want {
    pub power: Power,
    pub instance: Instance,
}

struct Handle {
    want: watch::Sender<Want>,
    orders: mpsc::Sender<(Order, Done)>,
    view: Arc<Mutex<View>>,
    task: tokio::task::JoinHandle<()>,
}

pub struct Nodes {
    lab: Lab,
    groups: Vec<PathBuf>,
    /// How many nodes boot at a time: more make every one of them slower.
    slots: Arc<Semaphore>,
    handles: Mutex<BTreeMap<String, Handle>>,
    refused: Mutex<HashMap<String, String>>,
}

impl Nodes {
    pub fn new(lab: Lab, groups: Vec<PathBuf>) -> Self {
        Self { lab, groups, slots: Arc::new(Semaphore::new(4)), handles: Mutex::default(), refused: Mutex::default() }
    }

    /// Tells every node what its instance should be now.
    pub fn reconcile(&self, world: &World) {
        let mut handles = lock(&self.handles);
        handles.retain(|_, handle| !handle.task.is_finished());
        let mut addresses = HashMap::new();
        for instance in &world.instances {
            let power = match instance.state.as_str() {
                "pending" | "running" => Power::On,
                "stopping" | "stopped" => Power::Off,
                _ => Power::Gone,
            };
            if !instance.placeable() {
                self.refuse(&instance.id, "it has no address in a known subnet");
                continue;
            }
            if let Some(other) = addresses.insert(instance.private_ip, &instance.id) {
                self.refuse(&instance.id, &format!("its address is that of {other}"));
                continue;
            }
            let want = Want { power, instance: instance.clone() };
            match handles.get(&instance.id) {
                Some(handle) => {
                    handle.want.send_if_modified(|now| {
                        let differs = now.power != want.power || now.instance != want.instance;
                        *now = want;
                        differs
                    });
                }
                None if power == Power::On => {
                    handles.insert(instance.id.clone(), self.spawn(want));
                }
                None => {}
            }
        }
        for (id, handle) in handles.iter() {
            if !world.instances.iter().any(|instance| instance.id == *id) {
                handle.want.send_if_modified(|now| {
                    let differs = now.power != Power::Gone;
                    now.power = Power::Gone;
                    differs
                });
            }
        }
    }

    /// Instances of the world for which there is no node, and why.
    pub fn refused(&self, world: &World) -> BTreeMap<String, String> {
        let mut refused = lock(&self.refused);
        refused.retain(|id, _| world.instances.iter().any(|instance| instance.id == *id && instance.state != "terminated"));
        refused.iter().map(|(id, reason)| (id.clone(), reason.clone())).collect()
    }

    fn refuse(&self, id: &str, reason: &str) {
        if lock(&self.refused).insert(id.to_owned(), reason.to_owned()).as_deref() != Some(reason) {
            tracing::error!("{id}: no node is made: {reason}");
        }
    }

    fn spawn(&self, want: Want) -> Handle {
        let view = Arc::new(Mutex::new(View {
            id: want.instance.id.clone(),
            name: String::new(),
            private_ip: String::new(),
            public_ip: String::new(),
            user: want.instance.login_user.clone(),
            phase: "waiting",
            ssh: false,
            booted_in: None,
            ready_at: None,
        }));
        let (want, wanted) = watch::channel(want);
        let (orders, ordered) = mpsc::channel(8);
        let node = task::Node::new(&self.lab, &self.groups, self.slots.clone(), view.clone(), wanted, ordered);
        Handle { want, orders, view, task: tokio::spawn(node.live()) }
    }

    /// The nodes that there are, in the order of their ids.
    pub fn views(&self) -> Vec<View> {
        lock(&self.handles)
            .values()
            .filter(|handle| !handle.task.is_finished())
            .map(|handle| {
                let mut view = lock(&handle.view).clone();
                let want = handle.want.borrow();
                view.name = want.instance.name.clone();
                view.private_ip = want.instance.private_ip.map(|ip| ip.to_string()).unwrap_or_default();
                view.public_ip = want.instance.public_ip.map(|ip| ip.to_string()).unwrap_or_default();
                view
            })
            .collect()
    }

    pub fn view(&self, id: &str) -> Option<View> {
        self.views().into_iter().find(|view| view.id == id)
    }

    /// The console's text so far.
    pub fn console(&self, id: &str) -> Vec<u8> {
        std::fs::read(self.lab.nodes().join(id).join("console")).unwrap_or_default()
    }

    /// Gives a node an order and waits until it is carried out; false when there is no such node.
    pub async fn order(&self, id: &str, order: Order) -> bool {
        let Some(sender) = lock(&self.handles).get(id).map(|handle| handle.orders.clone()) else { return false };
        let (done, carried_out) = oneshot::channel();
        sender.send((order, done)).await.is_ok() && carried_out.await.is_ok()
    }

    /// Waits until every node that should be gone is gone.
    pub async fn settle(&self, limit: std::time::Duration) -> bool {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if lock(&self.handles).values().all(|handle| handle.task.is_finished()) {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        false
    }
}

/// A lock whose holder cannot leave half a value behind.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
