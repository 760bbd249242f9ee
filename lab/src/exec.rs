//! `lab exec`: this process enters the hub and becomes the command, so that signals and ids are the command's own.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::emulator::REGION;
use crate::http::PROXY;
use crate::state::Lab;

/// What a command in the lab sees. The keys are made up; without the last one an SDK would look for more.
pub fn environment(lab: &Lab) -> Vec<(&'static str, String)> {
    let path = std::env::var("PATH").unwrap_or_default();
    vec![
        ("AWS_ENDPOINT_URL", format!("http://{PROXY}")),
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE".into()),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into()),
        ("AWS_REGION", REGION.into()),
        ("AWS_DEFAULT_REGION", REGION.into()), // the name that the aws command and boto read
        ("AWS_EC2_METADATA_DISABLED", "true".into()),
        ("HOME", lab.home().display().to_string()),
        ("KUBEWRIGHT_LAB", lab.dir.display().to_string()),
        // the bundle's kubectl, where there is a bundle
        ("PATH", format!("{}:{path}", lab.bundle().join("operator").display())),
    ]
}

pub fn run(lab: &Lab, command: &[String]) -> Result<ExitCode> {
    lab.enter_hub()?;
    let own = lab.run().join("resolv.conf");
    // a mount namespace of its own, where the lab's DNS server is the resolver
    let error = Command::new("unshare")
        .args(["--mount", "--propagation", "slave", "--", "sh", "-c"])
        .arg("mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"")
        .arg(own)
        .args(command)
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_SESSION_TOKEN")
        .envs(with_overrides(environment(lab)))
        .exec();
    Err(error).context("starting unshare")
}

/// A caller may run a command with other credentials, such as those of `lab iam user`.
fn with_overrides(all: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    let own_keys = std::env::var("KUBEWRIGHT_LAB_KEYS").is_ok_and(|value| value == "keep");
    all.into_iter().filter(|(name, _)| !(own_keys && name.starts_with("AWS_") && name.contains("KEY"))).collect()
}

pub fn print_env(lab: &Lab) -> Result<()> {
    for (name, value) in environment(lab) {
        println!("export {name}='{}'", value.replace('\'', "'\\''"));
    }
    Ok(())
}

/// Enters control groups and becomes the command.
pub fn join(groups: &[PathBuf], command: &[String]) -> Result<ExitCode> {
    crate::cgroups::join(groups, std::process::id())?;
    let [program, arguments @ ..] = command else { bail!("no command") };
    Err(Command::new(program).args(arguments).exec()).with_context(|| format!("starting {program}"))
}
