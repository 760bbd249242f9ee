//! The supervisor: one process in the hub that holds everything of a running lab together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::firewall::Firewall;
use crate::node::{Nodes, lock};
use crate::proxy::Proxy;
use crate::state::Lab;
use crate::world::World;
use crate::{cgroups, control, dns, emulator, hub, packages};

/// What the parts of the supervisor share.
pub struct Hub {
    pub lab: Lab,
    pub nodes: Nodes,
    pub firewall: Firewall,
    pub proxy: Proxy,
    world: Mutex<Arc<World>>,
    changed: Notify,
    /// How long after its boot a node's console is still empty.
    pub console_delay: AtomicU64,
    /// One look at the emulator at a time, so that an older answer never replaces a newer one.
    looking: tokio::sync::Mutex<()>,
}

impl Hub {
    pub fn world(&self) -> Arc<World> {
        lock(&self.world).clone()
    }

    /// Says that the emulator's content may have changed.
    pub fn look_again(&self) {
        self.changed.notify_one();
    }

    /// Reads the emulator and brings nodes, firewall and DNS to what it says.
    pub async fn follow(&self) -> Result<()> {
        let _one = self.looking.lock().await;
        let world = Arc::new(emulator::world().await?);
        *lock(&self.world) = world.clone();
        if self.firewall.apply(&world)? {
            tracing::info!("security groups loaded, {} instances", world.instances.len());
        }
        self.nodes.reconcile(&world);
        Ok(())
    }

    async fn keep_following(self: Arc<Self>) {
        loop {
            if let Err(error) = self.follow().await {
                tracing::error!("{error:#}");
            }
            // the slow look is for changes that no call of the proxy made
            tokio::time::timeout(Duration::from_secs(10), self.changed.notified()).await.ok();
        }
    }

    /// An empty account, no nodes, no faults, no calls.
    pub async fn reset(&self) -> Result<()> {
        self.proxy.forget()?;
        self.firewall.mend_all();
        self.console_delay.store(0, Ordering::Relaxed);
        emulator::enforce_iam(false).await?;
        emulator::reset().await?;
        self.follow().await?;
        anyhow::ensure!(self.nodes.settle(Duration::from_secs(30)).await, "nodes are still there after 30 s");
        Ok(())
    }
}

/// Runs the supervisor in the namespaces that `up` made for it, until it is told to end.
pub fn run(lab: Lab) -> Result<()> {
    tracing_subscriber::fmt().with_ansi(false).with_target(false).with_writer(std::io::stderr).init();
    let groups = cgroups::create(&crate::up::group_name(&lab))?;
    cgroups::join(&groups, std::process::id())?;
    own_run()?;
    hub::set_up().context("setting up the hub")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut moto = emulator::start(&lab).await?;
        emulator::seed().await?;
        let hub = Arc::new(Hub {
            nodes: Nodes::new(lab.clone(), groups),
            firewall: Firewall::default(),
            proxy: Proxy::new(&lab)?,
            world: Mutex::default(),
            changed: Notify::new(),
            console_delay: AtomicU64::new(0),
            looking: tokio::sync::Mutex::default(),
            lab,
        });
        packages::serve(&hub.lab).await?;
        hub.follow().await?;
        dns::serve(hub.clone()).await?;
        crate::proxy::serve(hub.clone()).await?;
        tokio::spawn(hub.clone().keep_following());
        control::serve(hub.clone()).await?;
        hub.lab.write_supervisor()?;
        tracing::info!("up");
        tokio::select! {
            status = moto.wait() => anyhow::bail!("moto ended: {:?}; see {}", status, emulator::log(&hub.lab).display()),
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        moto.kill().await.ok();
        Ok(())
    })
}

/// A /run of the supervisor's own: what nspawn leaves there goes with the mount namespace.
fn own_run() -> Result<()> {
    use rustix::mount::{MountFlags, mount};
    mount("tmpfs", "/run", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, None)
        .context("mounting the supervisor's own /run")?;
    std::fs::create_dir_all("/run/systemd")?;
    Ok(())
}
