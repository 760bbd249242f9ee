//! One process of the program, followed until it ends or only waits for machines.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::account::Account;

/// Longer than any run here takes, a settle window and a silent lock included: only one that hangs meets it.
const LIMIT: Duration = Duration::from_secs(240);
const LOOK: Duration = Duration::from_millis(300);
/// So many looks at consoles in a row, and no other call to AWS between them: for two machines, or three, some seconds.
const IDLE: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Code(i32),
    Signal,
    /// It goes on waiting for machines to show their host keys.
    Idle,
    Hung,
}

pub struct Run<'a> {
    account: &'a Account,
    child: Child,
    files: PathBuf,
    /// So many machines have to be waited for before it idles.
    pub machines: usize,
}

impl<'a> Run<'a> {
    /// Starts it; its output goes into files of `folder`.
    pub fn start(account: &'a Account, folder: &std::path::Path, state: &str, words: &[&str]) -> Self {
        let files = tempfile::Builder::new().prefix("run-").tempdir_in(folder).expect("a folder").keep();
        let file = |name: &str| fs::File::create(files.join(name)).expect("a file");
        let mut command = account.command(env!("CARGO_BIN_EXE_kubewright"));
        command.args(["--state", state]).args(words).current_dir(folder);
        command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        Self { account, child: command.spawn().expect("kubewright"), files, machines: 0 }
    }

    pub fn said(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.files.join(name)).unwrap_or_default();
        read("out") + &read("err")
    }

    pub fn out(&self) -> String {
        fs::read_to_string(self.files.join("out")).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn send(&self, signal: &str) {
        // It may have ended meanwhile.
        let _ = Command::new("kill").args(["-s", signal, &self.pid().to_string()]).stderr(Stdio::null()).status();
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<End> {
        let status = self.child.try_wait().expect("a status")?;
        Some(status.code().map_or(End::Signal, End::Code))
    }

    /// Follows it until it ends or idles, or until `enough`.
    pub fn follow(&mut self, enough: impl Fn() -> bool) -> Option<End> {
        self.watch(enough, true)
    }

    fn watch(&mut self, enough: impl Fn() -> bool, may_idle: bool) -> Option<End> {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(end) = self.ended() {
                return Some(end);
            }
            if enough() {
                return None;
            }
            if may_idle && self.waits_for() >= self.machines && self.account.idles() {
                return Some(End::Idle);
            }
            if Instant::now() > deadline {
                self.kill();
                return Some(End::Hung);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Machines whose host keys it says that it waits for.
    fn waits_for(&self) -> usize {
        let said = self.said();
        let lines = said.lines().filter(|line| line.contains(" waiting: host keys in the console"));
        lines.filter_map(|line| line.split_whitespace().nth(1)).collect::<BTreeSet<_>>().len()
    }

    pub fn end(&mut self) -> End {
        self.follow(|| false).expect("an end")
    }

    /// How a command that waits for no machine ended, whatever others do.
    pub fn done(&mut self) -> End {
        self.watch(|| false, false).expect("an end")
    }

    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().expect("a status");
    }

    /// Ends one that idles, as a person does who types Ctrl-C twice.
    pub fn stop(&mut self) -> End {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            self.send("TERM");
            std::thread::sleep(LOOK);
            if let Some(end) = self.ended() {
                return end;
            }
        }
        self.kill();
        End::Hung
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        // Also one that is stopped.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Account {
    pub fn idles(&self) -> bool {
        let calls: Vec<_> = self.calls().into_iter().filter(|call| call.service != "s3").collect();
        calls.len() > IDLE && calls.iter().rev().take(IDLE).all(|call| call.action == "GetConsoleOutput")
    }
}
