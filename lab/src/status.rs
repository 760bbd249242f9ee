//! `lab status`, and orders to single nodes.

use std::process::ExitCode;

use anyhow::Result;
use hyper::Method;
use serde_json::{Value, json};

use crate::cli::Output;
use crate::http::{self, CONTROL};
use crate::packages;
use crate::state::Lab;

/// Exit code 1 says that the lab is not up.
pub fn run(lab: &Lab, output: Output) -> Result<ExitCode> {
    if lab.supervisor().is_none() {
        match output {
            Output::Json => println!("{}", json!({"up": false, "nodes": []})),
            Output::Text => println!("not up ({})", lab.dir.display()),
        }
        return Ok(ExitCode::FAILURE);
    }
    lab.enter_hub()?;
    let answer = http::block_on(http::json(CONTROL, Method::GET, "/status", &Value::Null))?;
    let empty = Vec::new();
    let nodes = answer["nodes"].as_array().unwrap_or(&empty);
    let key = std::fs::read_to_string(lab.packages_key()).ok();
    let packages = key.map(|key| json!({"mirror": packages::mirror(), "signing_key": key.trim()}));
    if output == Output::Json {
        println!(
            "{}",
            serde_json::to_string_pretty(
                &json!({"up": true, "nodes": nodes, "refused": answer["refused"], "packages": packages})
            )?
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("up ({}), {} nodes", lab.dir.display(), nodes.len());
    if let Some(packages) = &packages {
        println!(
            "apt repository {}, signing key {}",
            packages["mirror"].as_str().unwrap_or("-"),
            packages["signing_key"].as_str().unwrap_or("-")
        );
    }
    let rows = nodes.iter().map(|node| {
        let text = |key: &str| node[key].as_str().unwrap_or("-").to_owned();
        let phase = if node["cut"] == true { format!("{}, cut", text("phase")) } else { text("phase") };
        let booted = node["booted_in"].as_f64().map_or("-".into(), |seconds| format!("{seconds:.1} s"));
        let ssh = if node["ssh"] == true { "ready" } else { "-" };
        [text("id"), text("name"), text("private_ip"), text("public_ip"), text("user"), phase, ssh.into(), booted]
    });
    let heads = ["INSTANCE", "NAME", "PRIVATE", "PUBLIC", "USER", "NODE", "SSH", "BOOT"].map(str::to_owned);
    if !nodes.is_empty() {
        print_table(&std::iter::once(heads).chain(rows).collect::<Vec<_>>());
    }
    for (instance, reason) in answer["refused"].as_object().into_iter().flatten() {
        println!("{instance} has no node: {}", reason.as_str().unwrap_or("-"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Rows with columns as wide as their longest cell.
pub fn print_table<const N: usize>(rows: &[[String; N]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| if cell.is_empty() { format!("{:<width$}", "-") } else { format!("{cell:<width$}") })
            .collect();
        println!("{}", cells.join("  ").trim_end());
    }
}

pub fn order(lab: &Lab, instance: &str, order: &str) -> Result<()> {
    lab.enter_hub()?;
    http::block_on(http::json(CONTROL, Method::POST, &format!("/nodes/{instance}/{order}"), &Value::Null))?;
    Ok(())
}
