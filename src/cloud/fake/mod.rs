//! An account in memory that behaves like AWS and remembers: for tests, and for fault sweeps over whole runs.
//!
//! The same calls always give the same ids, addresses and times. A [`FakeCloud`] is a handle: its clones are the same account,
//! while [`FakeCloud::fork`] gives a second account that starts equal.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

mod buckets;
mod catalogue;
mod change;
mod cloud;
mod delays;
mod dns;
mod faults;
mod listings;
mod machines;
mod network;
mod options;
mod routing;
mod security;
mod snapshot;
#[cfg(test)]
mod tests;
mod world;

pub use delays::{Delays, draw};
pub use faults::{Call, Fault, When};
pub use options::Options;
pub use world::{FakeInstance, FakeNat, FakeVpc, FakeZone, Refusal, World};

use crate::cloud::calls::CALLS;
use crate::cloud::pace::Pace;
use crate::cloud::{Calls, CloudError, ErrorClass, NetworkInterface, codes};
use crate::observed::{Instance, RecordSet};
use crate::plan::{Change, Changed};

type Console = Arc<dyn Fn(&Instance) -> Option<String> + Send + Sync>;

struct Inner {
    world: Arc<World>,
    /// Before the last change: what a listing that lags behind shows.
    earlier: Arc<World>,
    begun: tokio::time::Instant,
    buckets: Buckets,
    log: Vec<Call>,
    calls: Calls,
    faults: Faults,
    console: Console,
}

use buckets::Buckets;
use faults::Faults;

/// An account and region in memory.
#[derive(Clone)]
pub struct FakeCloud {
    inner: Arc<Mutex<Inner>>,
    hung: Arc<Notify>,
    pace: Arc<Pace>,
    /// Of this handle alone: asked before the account's own faults.
    gate: Option<Gate>,
}

/// Says what goes wrong with a call.
type Gate = Arc<dyn Fn(&str, bool) -> Option<Fault> + Send + Sync>;

impl Default for FakeCloud {
    fn default() -> Self {
        Self::new("us-east-1")
    }
}

impl FakeCloud {
    /// An empty account, without the default VPC that new AWS accounts have.
    pub fn new(region: &str) -> Self {
        Self::with(region, Options::default())
    }

    pub fn with(region: &str, options: Options) -> Self {
        Self::of(Arc::new(World::new(region, options)), Arc::new(|instance| Some(console_text(instance))))
    }

    fn of(world: Arc<World>, console: Console) -> Self {
        // Time goes on from what the world has seen.
        let now = tokio::time::Instant::now();
        let inner = Inner {
            begun: now.checked_sub(world.time).unwrap_or(now),
            earlier: Arc::clone(&world),
            world,
            buckets: Buckets::default(),
            log: Vec::new(),
            calls: Calls::default(),
            faults: Faults::default(),
            console,
        };
        Self { inner: Arc::new(Mutex::new(inner)), hung: Arc::default(), pace: Arc::default(), gate: None }
    }

    /// Another account that starts as this one is now; the log, the counts and the faults are not taken over. Costs nothing
    /// until one of the two changes.
    pub fn fork(&self) -> Self {
        let inner = self.lock();
        Self::of(inner.world.clone(), inner.console.clone())
    }

    /// The same account through a gate of its own, as another process sees it: the closure is given each action, and whether it
    /// changes something.
    #[must_use]
    pub fn through(&self, gate: impl Fn(&str, bool) -> Option<Fault> + Send + Sync + 'static) -> Self {
        Self { gate: Some(Arc::new(gate)), pace: Arc::default(), hung: Arc::default(), ..self.clone() }
    }

    /// Calls that AWS's buckets refused, of all processes.
    pub fn throttled(&self) -> u64 {
        self.lock().calls.throttled
    }

    /// How many objects of each kind were ever made.
    pub fn made(&self) -> std::collections::BTreeMap<&'static str, u64> {
        self.lock().world.made()
    }

    /// Never held over an await.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that exists, sorted, one line for each object; terminated instances and deleted NAT gateways are left out.
    pub fn snapshot(&self) -> String {
        self.lock().world.snapshot()
    }

    /// Looks at the account, or edits it by hand (drift, foreign objects), without a call.
    pub fn edit<T>(&self, edit: impl FnOnce(&mut World) -> T) -> T {
        let mut inner = self.lock();
        let time = inner.begun.elapsed();
        let world = Arc::make_mut(&mut inner.world);
        world.time = world.time.max(time);
        edit(world)
    }

    pub fn set_options(&self, set: impl FnOnce(&mut Options)) {
        self.edit(|world| set(&mut world.options));
    }

    /// Somebody else's change: carried out at once, without a fault, not in the log and not counted.
    pub fn plant(&self, change: &Change) -> Result<Changed, CloudError> {
        self.edit(|world| world.change(change)).map_err(|refusal| refused(&qualified(change), refusal))
    }

    /// A hosted zone, public or private, with its NS and SOA records; its id.
    pub fn plant_zone(&self, name: &str, private: bool) -> String {
        self.edit(|world| world.create_hosted_zone(name, private))
    }

    /// A record set of somebody else, special ones too; replaces one of the same name and kind.
    pub fn plant_record(&self, zone: &str, record: RecordSet) {
        self.edit(|world| {
            if let Some(zone) = world.hosted_zones.get_mut(zone) {
                zone.records.insert((record.name.clone(), record.kind.clone()), record);
            }
        });
    }

    /// An interface of somebody else (a load balancer's, say) that keeps its subnet and groups from being deleted.
    pub fn plant_interface(&self, interface: NetworkInterface) {
        self.edit(|world| world.interfaces.push(interface));
    }

    /// What the console of an instance says; the default is [`console_text`].
    pub fn set_console(&self, console: impl Fn(&Instance) -> Option<String> + Send + Sync + 'static) {
        self.lock().console = Arc::new(console);
    }

    /// Every call so far, in order.
    pub fn log(&self) -> Vec<Call> {
        self.lock().log.clone()
    }

    /// Forgets the log and the counts; numbers of calls start again.
    pub fn reset_log(&self) {
        let mut inner = self.lock();
        inner.log.clear();
        inner.calls = Calls::default();
    }

    /// Makes calls fail. A numbered rule hits once; the first rule that is for a call wins.
    pub fn fail(&self, when: When, fault: Fault) {
        let mut inner = self.lock();
        let seen = match &when {
            When::Action(action, _) => inner.log.iter().filter(|call| call.action.ends_with(&format!(":{action}"))).count(),
            _ => 0,
        };
        inner.faults.add(when, fault, seen as u64);
    }

    /// Asks the closure about each call that no rule of [`FakeCloud::fail`] is for.
    pub fn fail_with(&self, choose: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        self.lock().faults.set(Box::new(choose));
    }

    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// Returns when a call hangs ([`Fault::HangBefore`], [`Fault::HangAfter`]): drop the run then, and it was killed there.
    pub async fn hung(&self) {
        self.hung.notified().await;
    }

    /// One call: logged, with its fault, its effect on the account, its answer.
    async fn perform<T>(
        &self,
        action: &str,
        change: Option<&Change>,
        effect: impl FnOnce(&mut World) -> Result<T, Refusal>,
    ) -> Result<T, CloudError> {
        // Where the call leaves the process.
        let mut own = self.gate.as_ref().and_then(|gate| gate(action, change.is_some())).map(|fault| fault.of_action(action));
        if let Some(Fault::Pause(resume)) = own {
            resume.notified().await;
            own = None;
        }
        let (latency, paced) = {
            let inner = self.lock();
            (inner.latency(action), inner.world.options.buckets.is_some())
        };
        let call = CALLS.iter().find(|call| paced && call.name() == action);
        if let Some(call) = call {
            self.pace.turn(call).await;
        }
        if latency.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(latency).await;
        }
        let fault = self.lock().admit(action, change);
        let fault = own.or(fault);
        if let Some(Fault::Late(duration, error)) = fault {
            tokio::time::sleep(duration).await;
            return Err(error);
        }
        let answer = self.lock().carry_out(action, fault, change.is_some(), effect);
        if let (Some(answer), Some(call)) = (&answer, call) {
            match answer {
                Err(error) if error.class == ErrorClass::Throttled => self.pace.throttled(call),
                _ => self.pace.answered(call),
            }
        }
        match answer {
            Some(answer) => answer,
            None => {
                self.hung.notify_one();
                std::future::pending().await
            }
        }
    }

    /// More pages of the listing that was just made: `total` objects at `size` each.
    fn pages(&self, action: &str, total: usize, size: usize) {
        for _ in 1..total.div_ceil(size) {
            let mut inner = self.lock();
            let _ = inner.admit(action, None);
        }
    }
}

impl Inner {
    /// How long this call takes.
    fn latency(&self, action: &str) -> Duration {
        let Options { latency, jitter, seed, .. } = self.world.options;
        if jitter.is_zero() {
            return latency;
        }
        latency + jitter.mul_f64(draw(seed, &[action, &self.log.len().to_string()]))
    }

    fn admit(&mut self, action: &str, change: Option<&Change>) -> Option<Fault> {
        if change.is_some() {
            self.calls.changes += 1;
        } else {
            self.calls.reads += 1;
        }
        let call = Call {
            number: self.log.len() as u64 + 1,
            change_number: change.map(|_| self.calls.changes),
            action: action.to_owned(),
            change: change.cloned(),
        };
        let fault = self.faults.of(&call);
        self.log.push(call);
        if let Some(Fault::Before(error) | Fault::After(error)) = &fault
            && error.class == ErrorClass::Throttled
        {
            self.calls.throttled += 1;
        }
        fault
    }

    /// `None`: no answer will come.
    fn carry_out<T>(
        &mut self,
        action: &str,
        fault: Option<Fault>,
        is_change: bool,
        effect: impl FnOnce(&mut World) -> Result<T, Refusal>,
    ) -> Option<Result<T, CloudError>> {
        let time = self.begun.elapsed();
        Arc::make_mut(&mut self.world).time = time;
        match &fault {
            Some(Fault::Before(error) | Fault::Late(_, error)) => return Some(Err(error.clone())),
            Some(Fault::HangBefore) => return None,
            Some(Fault::Stale) if !is_change => {
                return Some(effect(Arc::make_mut(&mut self.earlier)).map_err(|refusal| refused(action, refusal)));
            }
            Some(Fault::After(_) | Fault::HangAfter | Fault::Stale | Fault::Pause(_)) | None => {}
        }
        if let Some(scale) = self.world.options.buckets
            && !self.buckets.take(action, scale)
        {
            self.calls.throttled += 1;
            return Some(Err(refused(action, Refusal::new("RequestLimitExceeded", "Request limit exceeded."))));
        }
        if is_change {
            self.earlier = Arc::clone(&self.world);
        }
        let answer = effect(Arc::make_mut(&mut self.world)).map_err(|refusal| refused(action, refusal));
        match fault {
            Some(Fault::After(error)) => Some(Err(error)),
            Some(Fault::HangAfter) => None,
            _ => Some(answer),
        }
    }
}

fn refused(action: &str, refusal: Refusal) -> CloudError {
    CloudError {
        class: codes::class(refusal.code, &refusal.message).unwrap_or(ErrorClass::Fatal),
        action: action.to_owned(),
        code: refusal.code.to_owned(),
        message: refusal.message,
        request_id: None,
    }
}

fn qualified(change: &Change) -> String {
    let service = if matches!(change, Change::ChangeRecords { .. }) { "route53" } else { "ec2" };
    format!("{service}:{}", change.action())
}

/// The ed25519 host key that an instance prints on its console: an OpenSSH line, the same for the same id. Nobody holds its
/// private half.
pub fn host_key(instance: &str) -> String {
    let mut blob = Vec::new();
    for part in [b"ssh-ed25519".as_slice(), Sha256::digest(instance.as_bytes()).as_slice()] {
        blob.extend_from_slice(&(part.len() as u32).to_be_bytes());
        blob.extend_from_slice(part);
    }
    format!("ssh-ed25519 {} root@{instance}", STANDARD.encode(blob))
}

/// A console as cloud-init leaves it, with [`host_key`] between its markers.
pub fn console_text(instance: &Instance) -> String {
    format!(
        "[    0.000000] Linux version 6.12.0 (fake)\n\
         ci-info: ++++++++++ Net device info ++++++++++\n\
         -----BEGIN SSH HOST KEY KEYS-----\n{}\n-----END SSH HOST KEY KEYS-----\n\
         Cloud-init v. 25.1 finished. Datasource DataSourceEc2Local.\n",
        host_key(&instance.id)
    )
}
