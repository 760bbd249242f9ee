//! `lab calls`: what was asked of AWS.

use std::collections::BTreeMap;

use anyhow::Result;
use hyper::Method;
use serde_json::{Value, json};

use crate::cli::Output;
use crate::http::{self, CONTROL};
use crate::proxy::log::Call;
use crate::state::Lab;
use crate::status::print_table;

pub fn run(lab: &Lab, output: Output, each: bool, reset: bool) -> Result<()> {
    lab.enter_hub()?;
    let answer = http::block_on(http::json(CONTROL, Method::GET, "/calls", &Value::Null))?;
    let calls: Vec<Call> = serde_json::from_value(answer)?;
    match (output, each) {
        (Output::Json, true) => println!("{}", serde_json::to_string_pretty(&calls)?),
        (Output::Json, false) => println!("{}", serde_json::to_string_pretty(&summary(&calls))?),
        (Output::Text, true) => print_each(&calls),
        (Output::Text, false) => print_summary(&calls),
    }
    if reset {
        http::block_on(http::json(CONTROL, Method::DELETE, "/calls", &Value::Null))?;
    }
    Ok(())
}

/// Counts of one service and action.
#[derive(Default)]
struct Count {
    calls: u64,
    retries: u64,
    errors: u64,
    ms: u64,
}

type Counts<'a> = BTreeMap<(&'a str, &'a str, &'a str), Count>;

fn count(calls: &[Call]) -> Counts<'_> {
    let mut counts = Counts::new();
    for call in calls {
        let count = counts.entry((&call.kind, &call.service, &call.action)).or_default();
        count.calls += 1;
        count.retries += u64::from(call.attempt > 1);
        count.errors += u64::from(call.status == 0 || call.status >= 400);
        count.ms += call.ms;
    }
    counts
}

fn summary(calls: &[Call]) -> Value {
    let counts = count(calls);
    let total = |kind: &str| counts.iter().filter(|(key, _)| key.0 == kind).map(|(_, count)| count.calls).sum::<u64>();
    let actions: Vec<Value> = counts
        .iter()
        .map(|((kind, service, action), count)| {
            json!({"kind": kind, "service": service, "action": action, "calls": count.calls,
                   "retries": count.retries, "errors": count.errors, "ms": count.ms})
        })
        .collect();
    json!({"total": calls.len(), "reads": total("read"), "changes": total("change"), "actions": actions})
}

fn print_summary(calls: &[Call]) {
    let counts = count(calls);
    for kind in ["change", "read"] {
        let mut rows =
            vec![[format!("{}S", kind.to_uppercase()), "CALLS".into(), "RETRIES".into(), "ERRORS".into(), "MS".into()]];
        for ((_, service, action), count) in counts.iter().filter(|(key, _)| key.0 == kind) {
            rows.push([
                format!("{service} {action}"),
                count.calls.to_string(),
                count.retries.to_string(),
                count.errors.to_string(),
                count.ms.to_string(),
            ]);
        }
        if rows.len() > 1 {
            print_table(&rows);
            println!();
        }
    }
    let changes = calls.iter().filter(|call| call.kind == "change").count();
    println!("{} calls: {changes} changes, {} reads", calls.len(), calls.len() - changes);
}

fn print_each(calls: &[Call]) {
    let rows = calls.iter().map(|call| {
        let how = match (&call.fault, call.replayed) {
            (Some(fault), _) => fault.clone(),
            (None, true) => "replayed".into(),
            (None, false) => String::new(),
        };
        let status = if call.code.is_empty() { call.status.to_string() } else { format!("{} {}", call.status, call.code) };
        [
            call.seq.to_string(),
            call.kind.clone(),
            format!("{} {}", call.service, call.action),
            call.attempt.to_string(),
            status,
            call.ms.to_string(),
            how,
            call.resource.clone(),
        ]
    });
    let heads = ["SEQ", "KIND", "CALL", "ATTEMPT", "STATUS", "MS", "FAULT", "RESOURCE"].map(str::to_owned);
    print_table(&std::iter::once(heads).chain(rows).collect::<Vec<_>>());
}
