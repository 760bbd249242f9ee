//! `lab up` and `lab reset`.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hyper::Method;
use serde_json::Value;

use crate::components::Servers;
use crate::emulator::{BUCKET, ZONE};
use crate::http::{self, CONTROL};
use crate::state::Lab;
use crate::{bundle, cache, down, hub, kubernetes, packages, requirements, run, sysctl};

/// The name of the lab's control groups; the only thing of a lab that is named outside of its namespaces.
pub fn group_name(lab: &Lab) -> String {
    format!("kubewright-lab-{}", lab.id())
}

pub fn run(lab: &Lab, servers: &Servers, version: Option<&str>) -> Result<()> {
    requirements::check()?;
    let start = Instant::now();
    if lab.supervisor().is_some() {
        eprintln!("the lab is up already ({})", lab.dir.display());
        return version.map_or(Ok(()), |version| provide(lab, servers, version));
    }
    fs::create_dir_all(lab.cache())?;
    // canonical only now that the folder is there: the name of the lab hangs on it
    let lab = &Lab::open(Some(lab.dir.clone()))?;
    requirements::install_tools(lab)?;
    cache::fill(lab)?;
    // before anything runs: it takes long, and may not be possible here
    version.map(|version| kubernetes::assemble(lab, servers, version)).transpose()?;
    down::clean(lab).context("removing what an interrupted run left")?;
    for dir in [lab.run(), lab.nodes()] {
        fs::create_dir_all(dir)?;
    }
    sysctl::save(&lab.run().join("sysctl.json"))?;
    sysctl::raise(&lab.run().join("inotify"))?;
    cache::write_layer(&lab.layer())?;
    home(lab)?;
    fs::write(lab.run().join("resolv.conf"), format!("nameserver {}\noptions timeout:1 attempts:2\n", hub::DNS))?;
    version.map(|version| provide(lab, servers, version)).transpose()?;
    start_supervisor(lab)?;
    eprintln!("lab up in {:.1} s: zone {ZONE}, bucket {BUCKET}, state in {}", start.elapsed().as_secs_f64(), lab.dir.display());
    eprintln!("next:  lab exec -- COMMAND    (emulated AWS at $AWS_ENDPOINT_URL, key ~/.ssh/id_ed25519)");
    Ok(())
}

/// From now on there is a bundle, and new nodes have this version's images as if the machine image had them.
fn provide(lab: &Lab, servers: &Servers, version: &str) -> Result<()> {
    bundle::run(lab, servers, version, bundle::Kind::Real)?;
    packages::provide(lab, &kubernetes::assemble(lab, servers, version)?)?;
    fs::write(lab.kubernetes(), version)?;
    eprintln!("new nodes have the images of Kubernetes {version}");
    let disk = rustix::fs::statvfs(&lab.dir)?;
    let free = disk.f_bavail * 100 / disk.f_blocks.max(1);
    if free < KUBELETS_SHARE + 5 {
        eprintln!(
            "warning: {free} % of the disk below {} is free; with less than {KUBELETS_SHARE} % kubelets delete images, unless the spec \
             tells them not to (lab/README.md)",
            lab.dir.display()
        );
    }
    Ok(())
}

/// Percent of the disk that has to be free, as a kubelet sees it: its default for `imagefs.available`.
const KUBELETS_SHARE: u64 = 15;

/// The operator's home, with a key that specs can name.
fn home(lab: &Lab) -> Result<()> {
    let ssh = lab.home().join(".ssh");
    fs::create_dir_all(&ssh)?;
    fs::set_permissions(&ssh, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    let key = ssh.join("id_ed25519");
    if !key.exists() {
        run::output("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "operator@lab", "-f", &key.to_string_lossy()])?;
    }
    Ok(())
}

/// Starts the supervisor in namespaces of its own and waits until it says that it is up.
fn start_supervisor(lab: &Lab) -> Result<()> {
    let log = fs::File::create(lab.supervisor_log())?;
    let mut child = Command::new("setsid")
        .args(["unshare", "--net", "--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe()?)
        .arg("--dir")
        .arg(&lab.dir)
        .arg("serve")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("starting the supervisor")?;
    let start = Instant::now();
    while lab.supervisor().is_none() {
        if let Some(status) = child.try_wait()? {
            let text = fs::read_to_string(lab.supervisor_log()).unwrap_or_default();
            bail!("the supervisor ended at once ({status}):\n{}", text.trim());
        }
        if start.elapsed() > Duration::from_secs(90) {
            child.kill().ok();
            bail!("the supervisor is not up after 90 s; see {}", lab.supervisor_log().display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

pub fn reset(lab: &Lab) -> Result<()> {
    let start = Instant::now();
    lab.enter_hub()?;
    http::block_on(http::json(CONTROL, Method::POST, "/reset", &Value::Null))?;
    eprintln!("reset in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}
