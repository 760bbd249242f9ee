//! moto: started with strict switches through the lab's own launcher, asked over the hub's loopback.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hyper::Method;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::http::{self, MOTO};
use crate::state::Lab;
use crate::world::World;

/// The zone and bucket that a user's account would hold before the first cluster.
pub const ZONE: &str = "k8s.example.com";
pub const BUCKET: &str = "kubewright-lab";
pub const REGION: &str = "us-east-1";
/// The one whose instances have machines.
const ACCOUNT: &str = "123456789012";

/// The launcher's files; they are part of the binary so that it runs from anywhere.
const FILES: [(&str, &str); 10] = [
    ("moto_server.py", include_str!("../emulator/moto_server.py")),
    ("addresses.py", include_str!("../emulator/addresses.py")),
    ("dependencies.py", include_str!("../emulator/dependencies.py")),
    ("images.py", include_str!("../emulator/images.py")),
    ("instances.py", include_str!("../emulator/instances.py")),
    ("listings.py", include_str!("../emulator/listings.py")),
    ("security_groups.py", include_str!("../emulator/security_groups.py")),
    ("signatures.py", include_str!("../emulator/signatures.py")),
    ("route53_patch.py", include_str!("../emulator/route53_patch.py")),
    ("route53_rules.py", include_str!("../emulator/route53_rules.py")),
];

/// Starts moto and waits until it answers.
pub async fn start(lab: &Lab) -> Result<Child> {
    let dir = lab.run().join("emulator");
    fs::create_dir_all(&dir)?;
    for (name, text) in FILES {
        fs::write(dir.join(name), text)?;
    }
    let log = fs::File::create(lab.run().join("moto.log"))?;
    let port = MOTO.rsplit(':').next().unwrap_or_default();
    let mut child = Command::new(lab.cache().join("venv/bin/python"))
        .arg(dir.join("moto_server.py"))
        .arg(port)
        .env("MOTO_AMIS_PATH", dir.join("images.json"))
        .env("MOTO_ENABLE_AMI_VALIDATION", "true")
        .env("MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION", "true")
        .env("MOTO_ENABLE_KEYPAIR_VALIDATION", "true")
        .env("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
        .env("MOTO_PORT", port)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .context("starting moto")?;
    let start = Instant::now();
    while tokio::net::TcpStream::connect(MOTO).await.is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("moto ended at once ({status}); see {}", lab.run().join("moto.log").display());
        }
        if start.elapsed() > Duration::from_secs(60) {
            bail!("moto does not answer after 60 s; see {}", lab.run().join("moto.log").display());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(child)
}

/// What has machines, a firewall and names: the lab's own account.
pub async fn world() -> Result<World> {
    world_of(&json!({"of": ACCOUNT})).await
}

/// The same of every account.
pub async fn worlds() -> Result<World> {
    world_of(&Value::Null).await
}

async fn world_of(which: &Value) -> Result<World> {
    let value = http::json(MOTO, Method::GET, "/lab/world", which).await.context("asking moto for its world")?;
    serde_json::from_value(value).context("moto's world is not as expected")
}

/// Everything that there is, or what one account holds.
pub async fn account(of: Option<&str>) -> Result<Value> {
    http::json(MOTO, Method::GET, "/lab/account", &of.map_or(Value::Null, |of| json!({"of": of}))).await
}

/// A further account with a zone and a bucket of its own, and keys to it. Its instances are records, without machines.
pub async fn further(account: &str) -> Result<Value> {
    let valid = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    anyhow::ensure!(valid, "an account is 12 digits, not {account:?}");
    let what = json!({"account": account, "zone": ZONE, "bucket": format!("{BUCKET}-{account}"), "region": REGION});
    http::json(MOTO, Method::POST, "/lab/further", &what).await
}

/// What a fresh account holds.
pub async fn seed() -> Result<()> {
    let what = json!({"zone": ZONE, "bucket": BUCKET, "region": REGION});
    http::json(MOTO, Method::POST, "/lab/seed", &what).await.context("seeding the account")?;
    Ok(())
}

pub async fn reset() -> Result<()> {
    http::json(MOTO, Method::POST, "/moto-api/reset", &Value::Null).await.context("emptying moto")?;
    seed().await
}

/// Tells EC2 that a machine switched itself off.
pub async fn stopped_by_itself(instance: &str, region: &str, account: &str) -> Result<()> {
    let what = json!({"instance": instance, "region": region, "account": account});
    http::json(MOTO, Method::POST, "/lab/stopped", &what).await?;
    Ok(())
}

pub async fn iam_user(name: &str, policy: &str) -> Result<Value> {
    http::json(MOTO, Method::POST, "/lab/iam-user", &json!({"name": name, "policy": policy})).await
}

/// Whether calls need a policy that allows them.
pub async fn enforce_iam(on: bool) -> Result<()> {
    // moto counts calls that are let through unchecked
    let unchecked = if on { json!(0) } else { json!(1e15) };
    http::json(MOTO, Method::POST, "/moto-api/reset-auth", &unchecked).await?;
    Ok(())
}

/// Where the launcher was written, for messages.
pub fn log(lab: &Lab) -> std::path::PathBuf {
    Path::new(&lab.run()).join("moto.log")
}
