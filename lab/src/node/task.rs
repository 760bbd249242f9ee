//! The life of one node: boot, stop, start again, go.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::process::Child;
use tokio::sync::{Semaphore, mpsc, watch};

use super::disk::Disk;
use super::{Done, Order, Power, View, Want, lock, machine, network};
use crate::cgroups;
use crate::emulator;
use crate::kubernetes;
use crate::state::Lab;

pub struct Node {
    id: String,
    disk: Disk,
    lab: Lab,
    groups: Vec<PathBuf>,
    slots: Arc<Semaphore>,
    view: Arc<Mutex<View>>,
    want: watch::Receiver<Want>,
    orders: mpsc::Receiver<(Order, Done)>,
    nspawn: Option<Child>,
    /// After a power loss the machine stays off until EC2 reboots or starts it.
    dead: bool,
}

impl Node {
    pub fn new(
        lab: &Lab,
        groups: &[PathBuf],
        slots: Arc<Semaphore>,
        view: Arc<Mutex<View>>,
        want: watch::Receiver<Want>,
        orders: mpsc::Receiver<(Order, Done)>,
    ) -> Self {
        let id = want.borrow().instance.id.clone();
        Self {
            disk: Disk { dir: lab.nodes().join(&id) },
            lab: lab.clone(),
            groups: groups.to_vec(),
            id,
            slots,
            view,
            want,
            orders,
            nspawn: None,
            dead: false,
        }
    }

    /// Runs until the instance is terminated.
    pub async fn live(mut self) {
        loop {
            let want = self.want.borrow_and_update().clone();
            if let Err(error) = self.follow(&want).await {
                tracing::error!("{}: {error:#}", self.id);
                self.show("failed");
                self.dead = true;
            }
            if want.power == Power::Gone {
                return;
            }
            self.wait().await;
        }
    }

    async fn follow(&mut self, want: &Want) -> Result<()> {
        match want.power {
            Power::On if self.nspawn.is_none() && !self.dead => self.boot(want).await,
            Power::On => Ok(()),
            Power::Off => self.switch_off().await,
            Power::Gone => self.remove().await,
        }
    }

    /// Until something happens: another wish, an order, or the machine's own end.
    async fn wait(&mut self) {
        let end = async {
            match &mut self.nspawn {
                Some(child) => child.wait().await.ok().and_then(|status| status.code()),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.want.changed() => if changed.is_err() { self.dead = true },
            Some((order, done)) = self.orders.recv() => {
                self.obey(order).await;
                done.send(()).ok(); // whoever gave it may have left
            }
            code = end => self.ended(code).await,
        }
    }

    async fn boot(&mut self, want: &Want) -> Result<()> {
        let _slot = self.slots.clone().acquire_owned().await?;
        self.show("booting");
        let start = Instant::now();
        let (disk, lab, parents, instance) =
            (Disk { dir: self.disk.dir.clone() }, self.lab.clone(), self.groups.clone(), want.instance.clone());
        let child = tokio::task::spawn_blocking(move || -> Result<Child> {
            let version = std::fs::read_to_string(lab.kubernetes()).ok();
            let images = version.map(|version| kubernetes::template(&lab, &version));
            disk.prepare(&instance, images.as_deref()).context("preparing the disk")?;
            disk.mount(&lab.layer(), &lab.base_image())?;
            network::up(&disk.namespace(), &instance).context("making the network")?;
            let groups = cgroups::create_below(&parents, &instance.id)?;
            machine::start(&instance.id, &disk, &groups)
        })
        .await??;
        let nspawn = child.id();
        self.nspawn = Some(child);
        self.show("running");
        if self.ssh_within(nspawn, Duration::from_secs(60)).await {
            let mut view = lock(&self.view);
            view.ssh = true;
            view.booted_in = Some((start.elapsed().as_secs_f64() * 100.0).round() / 100.0);
            view.ready_at = Some(Instant::now());
            tracing::info!("{}: ssh after {:.2} s", self.id, start.elapsed().as_secs_f64());
        } else if self.want.borrow().power == Power::On {
            tracing::error!("{}: no ssh; see {}", self.id, self.disk.console().display());
        }
        Ok(())
    }

    /// Waits for sshd, but not longer than the instance is wanted.
    async fn ssh_within(&mut self, nspawn: Option<u32>, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while let (true, Some(nspawn)) = (Instant::now() < end, nspawn) {
            if machine::first_process(nspawn).is_some_and(machine::ssh_listens) {
                return true;
            }
            let ended = self.nspawn.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if ended || self.want.borrow().power != Power::On {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        false
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Kill => {
                self.dead = true;
                // the cable first: a dying kernel would close its connections politely
                self.unplug().await;
                self.kill().await;
                self.show("dead");
            }
            Order::Reboot => {
                self.dead = false;
                self.kill().await;
            }
        }
    }

    /// nspawn ended without our doing.
    async fn ended(&mut self, code: Option<i32>) {
        self.nspawn = None;
        lock(&self.view).ssh = false;
        if code == Some(machine::REBOOT) {
            tracing::info!("{}: reboots", self.id);
            return;
        }
        let instance = self.want.borrow().instance.clone();
        tracing::info!("{}: switched itself off ({code:?})", self.id);
        self.dead = true;
        self.unplug().await;
        self.show("off");
        if code == Some(0)
            && let Err(error) = emulator::stopped_by_itself(&self.id, &instance.region, &instance.account).await
        {
            tracing::error!("{}: {error:#}", self.id);
        }
    }

    async fn switch_off(&mut self) -> Result<()> {
        if let Some(child) = &mut self.nspawn {
            if let Some(pid) = child.id() {
                machine::signal(pid, Signal::TERM); // nspawn asks the node for an orderly end
            }
            if tokio::time::timeout(Duration::from_secs(20), child.wait()).await.is_err() {
                tracing::warn!("{}: no orderly end within 20 s", self.id);
            }
        }
        self.kill().await;
        self.unplug().await;
        self.dead = false;
        self.show("off");
        Ok(())
    }

    /// Every process of the node at once.
    async fn kill(&mut self) {
        lock(&self.view).ssh = false;
        let Some(mut child) = self.nspawn.take() else { return };
        let Some(nspawn) = child.id() else { return };
        let first = machine::first_process(nspawn);
        machine::signal(first.unwrap_or(nspawn), Signal::KILL);
        if tokio::time::timeout(Duration::from_secs(10), child.wait()).await.is_err() {
            machine::signal(nspawn, Signal::KILL);
            child.wait().await.ok();
        }
    }

    /// A machine without power answers nothing, not even a refusal.
    async fn unplug(&self) {
        let (file, id) = (self.disk.namespace(), self.id.clone());
        tokio::task::spawn_blocking(move || network::down(&file, &id)).await.ok();
    }

    async fn remove(&mut self) -> Result<()> {
        self.show("leaving");
        self.kill().await;
        let (disk, parents, id) = (Disk { dir: self.disk.dir.clone() }, self.groups.clone(), self.id.clone());
        tokio::task::spawn_blocking(move || {
            network::down(&disk.namespace(), &id);
            let groups: Vec<PathBuf> = parents.iter().map(|parent| parent.join(&id)).collect();
            cgroups::end_all(&groups)?;
            for group in &groups {
                cgroups::remove(group, true);
            }
            disk.remove()
        })
        .await?
    }

    fn show(&self, phase: &'static str) {
        lock(&self.view).phase = phase;
    }
}
