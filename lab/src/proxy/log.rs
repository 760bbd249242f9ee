//! Every call that reached the proxy, numbered, in memory and as JSON lines in the state folder.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::name::Name;
use crate::node::lock;

/// One call. A status of 0 means that the client got no answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub seq: u64,
    pub time: String,
    pub service: String,
    pub action: String,
    /// `read` or `change`.
    pub kind: String,
    pub region: String,
    /// Access key that signed it.
    pub key: String,
    pub attempt: u32,
    pub invocation: String,
    pub status: u16,
    pub code: String,
    pub ms: u64,
    pub resource: String,
    /// The fault that was done to it, if any.
    pub fault: Option<String>,
    /// Answered from a client token.
    pub replayed: bool,
}

impl Call {
    pub fn new(name: &Name) -> Self {
        Self {
            time: jiff::Timestamp::now().to_string(),
            service: name.service.clone(),
            action: name.action.clone(),
            kind: if name.change { "change" } else { "read" }.into(),
            region: name.region.clone(),
            key: name.key.clone(),
            attempt: name.attempt,
            invocation: name.invocation.clone(),
            resource: name.hint.clone(),
            ..Self::default()
        }
    }
}

pub struct Log {
    path: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    file: File,
    next: u64,
    calls: Vec<Call>,
}

impl Log {
    pub fn new(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path).with_context(|| path.display().to_string())?;
        Ok(Self { path: path.to_owned(), inner: Mutex::new(Inner { file, next: 1, calls: Vec::new() }) })
    }

    /// The number of the call that arrives now.
    pub fn number(&self) -> u64 {
        let mut inner = lock(&self.inner);
        inner.next += 1;
        inner.next - 1
    }

    pub fn write(&self, call: Call) {
        let mut inner = lock(&self.inner);
        let line = serde_json::to_string(&call).unwrap_or_default();
        if let Err(error) = writeln!(inner.file, "{line}") {
            tracing::error!("{}: {error}", self.path.display());
        }
        inner.calls.push(call);
    }

    pub fn calls(&self) -> Vec<Call> {
        let mut calls = lock(&self.inner).calls.clone();
        calls.sort_by_key(|call| call.seq);
        calls
    }

    /// Those that one access key signed, in their order.
    pub fn calls_of(&self, key: &str) -> Vec<Call> {
        let mut calls: Vec<Call> = lock(&self.inner).calls.iter().filter(|call| call.key == key).cloned().collect();
        calls.sort_by_key(|call| call.seq);
        calls
    }

    /// Drops those of one access key from memory; the file keeps them.
    pub fn forget(&self, key: &str) {
        lock(&self.inner).calls.retain(|call| call.key != key);
    }

    pub fn clear(&self) -> Result<()> {
        let mut inner = lock(&self.inner);
        inner.file.set_len(0)?;
        inner.next = 1;
        inner.calls.clear();
        Ok(())
    }
}
