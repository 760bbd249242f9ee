//! An account of its own, which nobody else's calls and faults touch.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::control::ask;

pub struct Account {
    id: String,
    pub bucket: String,
    key: String,
    secret: String,
}

/// One call, as the lab's proxy saw it.
#[derive(Debug)]
pub struct Call {
    pub service: String,
    pub action: String,
    pub change: bool,
}

static NEXT: AtomicU32 = AtomicU32::new(1);
static MAKING: Mutex<()> = Mutex::new(());

impl Account {
    pub fn new() -> Self {
        // The emulator takes seconds over the catalogue of a new account.
        let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let id = format!("{:012}", NEXT.fetch_add(1, Ordering::Relaxed));
        let made = ask("POST", &format!("/account/{id}"), &Value::Null);
        let text = |key: &str| made[key].as_str().expect("a text").to_owned();
        Self { bucket: text("bucket"), key: text("access_key_id"), secret: text("secret_access_key"), id }
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("AWS_ACCESS_KEY_ID", &self.key).env("AWS_SECRET_ACCESS_KEY", &self.secret);
        command
    }

    /// Calls since the last [`Account::forget_calls`].
    pub fn calls(&self) -> Vec<Call> {
        let calls = ask("GET", &format!("/calls/{}", self.key), &Value::Null);
        let text = |call: &Value, key: &str| call[key].as_str().unwrap_or_default().to_owned();
        let call = |call: &Value| Call {
            service: text(call, "service"),
            action: text(call, "action"),
            change: call["kind"] == "change",
        };
        calls.as_array().into_iter().flatten().map(call).collect()
    }

    pub fn forget_calls(&self) {
        ask("DELETE", &format!("/calls/{}", self.key), &Value::Null);
    }

    /// Does something to the account's n-th call that changes something.
    pub fn fault(&self, nth: usize, what: &Value) -> Fault {
        let mut fault = json!({"key": self.key, "kind": "change", "nth": nth});
        let fields = fault.as_object_mut().expect("an object");
        fields.extend(what.as_object().expect("an object").clone());
        Fault(ask("POST", "/faults", &fault)["id"].as_u64().expect("a number"))
    }

    /// Every resource, line by line.
    pub fn holdings(&self) -> Vec<String> {
        let rows = ask("GET", &format!("/account/{}", self.id), &Value::Null);
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let line = |row: &Value| format!("{} {} {}", text(row, "kind"), text(row, "id"), text(row, "detail"));
        rows.as_array().into_iter().flatten().map(line).collect()
    }

    /// The same without ids and addresses, which differ from run to run, and without the store's objects.
    pub fn shape(&self) -> Vec<String> {
        let holdings = self.holdings();
        let kept = holdings.iter().filter(|line| !line.starts_with("object ") && !line.starts_with("bucket "));
        let mut shape: Vec<String> = kept.map(|line| nameless(line)).collect();
        shape.sort_unstable();
        shape
    }
}

/// A fault that waits for its call, or has had it.
pub struct Fault(u64);

impl Fault {
    pub fn has_hit(&self) -> bool {
        let faults = ask("GET", "/faults", &Value::Null);
        faults.as_array().into_iter().flatten().any(|fault| fault["id"] == self.0 && fault["hit"] == 1)
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        ask("DELETE", &format!("/faults/{}", self.0), &Value::Null);
    }
}

fn nameless(line: &str) -> String {
    let address = |word: &str| word.parse::<Ipv4Addr>().is_ok();
    let is_id = |part: &str| part.len() >= 8 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = line.split(' ').filter(|word| !address(word)).map(|word| {
        let parts: Vec<&str> = word.split_inclusive(|c: char| !c.is_ascii_alphanumeric()).collect();
        let plain = |part: &&str| {
            let bare = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            if is_id(bare) { part.replace(bare, "#") } else { (*part).to_owned() }
        };
        let word: String = parts.iter().map(plain).collect();
        word
    });
    let words: Vec<String> = words.collect();
    // The id of a hosted zone is no hexadecimal number.
    if words[0] == "hosted-zone" { words[0].clone() } else { words.join(" ") }
}
