//! `lab account`: everything that the account holds, in lines that can be compared.

use anyhow::Result;
use hyper::Method;
use serde_json::Value;

use crate::cli::Output;
use crate::http::{self, CONTROL};
use crate::state::Lab;

pub fn run(lab: &Lab, output: Output, without: &[String]) -> Result<()> {
    lab.enter_hub()?;
    let answer = http::block_on(http::json(CONTROL, Method::GET, "/account", &Value::Null))?;
    let kept: Vec<&Value> = answer
        .as_array()
        .into_iter()
        .flatten()
        .filter(|row| !without.iter().any(|kind| left_out(kind, row["kind"].as_str().unwrap_or_default())))
        .collect();
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&kept)?);
        return Ok(());
    }
    for row in kept {
        let text = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
        println!("{} {} {}", text("kind"), text("id"), text("detail"));
    }
    Ok(())
}

fn left_out(without: &str, kind: &str) -> bool {
    without == kind || (without == "s3" && ["bucket", "object"].contains(&kind))
}
