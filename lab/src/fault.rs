//! `lab fault`: what is done to calls.

use anyhow::Result;
use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

use crate::http::{self, CONTROL};
use crate::proxy::faults::Fault;
use crate::state::Lab;

#[derive(Subcommand)]
pub enum Command {
    /// Do something to the n-th call that matches, counted from now
    Add(Box<Fault>),
    /// The faults, how many calls they saw and hit
    List,
    /// Remove them all
    Clear,
    /// Leave consoles empty until this long after the node's boot
    ConsoleDelay { seconds: u64 },
}

pub fn run(lab: &Lab, command: Command) -> Result<()> {
    lab.enter_hub()?;
    let (method, path, body) = match command {
        Command::Add(fault) => (Method::POST, "/faults", serde_json::to_value(fault)?),
        Command::List => (Method::GET, "/faults", Value::Null),
        Command::Clear => (Method::DELETE, "/faults", Value::Null),
        Command::ConsoleDelay { seconds } => (Method::PUT, "/console-delay", json!(seconds)),
    };
    let answer = http::block_on(http::json(CONTROL, method, path, &body))?;
    match answer {
        Value::Null => {}
        Value::Array(faults) => faults.iter().for_each(|fault| println!("{fault}")),
        other => println!("{other}"),
    }
    Ok(())
}
