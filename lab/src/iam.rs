//! `lab iam`: enforcement of policies, and users to test them with.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

use crate::http::{self, CONTROL};
use crate::state::Lab;

#[derive(Subcommand)]
pub enum Command {
    /// From now on a call needs a policy that allows it
    On,
    /// Every call is allowed, whoever makes it
    Off,
    /// Make a user with one policy and print its keys as JSON
    User {
        name: String,
        /// A file with the policy document
        #[arg(long)]
        policy: PathBuf,
    },
}

pub fn run(lab: &Lab, command: Command) -> Result<()> {
    let (path, body) = match command {
        Command::On => ("/iam/enforce", json!(true)),
        Command::Off => ("/iam/enforce", json!(false)),
        Command::User { name, policy } => {
            let text = std::fs::read_to_string(&policy).with_context(|| policy.display().to_string())?;
            ("/iam/user", json!({"name": name, "policy": text}))
        }
    };
    lab.enter_hub()?;
    let answer = http::block_on(http::json(CONTROL, Method::POST, path, &body))?;
    if answer != Value::Null {
        println!("{}", serde_json::to_string_pretty(&answer)?);
    }
    Ok(())
}
