//! The lab's own commands, and running something in it.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::Value;

/// Much longer than anything here takes: only a run that hangs meets it.
const LIMIT: Duration = Duration::from_secs(400);

pub struct Lab {
    program: PathBuf,
    pub folder: PathBuf,
}

impl Lab {
    pub fn of_environment() -> Result<Self, &'static str> {
        let path = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.exists());
        match (path("KUBEWRIGHT_LAB_BIN"), path("KUBEWRIGHT_LAB_DIR")) {
            (Some(program), Some(folder)) if folder.join("bundle-stand-ins/VERSION").exists() => Ok(Self { program, folder }),
            _ => Err("there is no lab with its bundles (KUBEWRIGHT_LAB_BIN, KUBEWRIGHT_LAB_DIR); run ./test"),
        }
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--dir").arg(&self.folder).args(words);
        command
    }

    /// A command of the lab that has to succeed; gives its stdout.
    pub fn ask(&self, words: &[&str]) -> String {
        let done = finish(&mut self.command(words));
        assert!(done.status.success(), "lab {}: {}", words.join(" "), String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("text")
    }

    pub fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.ask(words)).expect("JSON")
    }

    /// An empty account, no machines, no faults, no enforcement.
    pub fn reset(&self) {
        self.ask(&["iam", "off"]);
        self.ask(&["fault", "clear"]);
        self.ask(&["fault", "console-delay", "0"]);
        self.ask(&["reset"]);
        self.ask(&["calls", "--reset"]);
    }

    /// A program in the lab's network, with its names and its emulated AWS.
    pub fn exec(&self, words: &[&str]) -> Output {
        finish(&mut self.command(&[&["exec", "--"], words].concat()))
    }

    /// Whether the operator's machine gets a connection; a packet that is dropped is waited for in vain.
    pub fn reaches(&self, address: &str, port: u16) -> bool {
        let script = format!("exec 3<>/dev/tcp/{address}/{port}");
        self.exec(&["timeout", "2", "bash", "-c", &script]).status.success()
    }

    /// Calls since the last reset of the count: `(service, action, kind)`, one for each call.
    pub fn calls(&self) -> Vec<(String, String, String)> {
        let text = |call: &Value, key: &str| call[key].as_str().expect("a text").to_owned();
        let calls = self.json(&["calls", "--each", "-o", "json"]);
        let calls = calls.as_array().expect("a list").iter();
        calls.map(|call| (text(call, "service"), text(call, "action"), text(call, "kind"))).collect()
    }
}

/// One test of a binary, between two empty labs.
pub fn run(test: fn(&Lab)) -> Result<(), Failed> {
    let lab = Lab::of_environment()?;
    lab.reset();
    let result = std::panic::catch_unwind(|| test(&lab));
    // Whatever a test leaves behind must not reach the next one, nor a person who looks at the lab afterwards.
    lab.reset();
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Failed::from(text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
    })
}

/// Runs to the end, but not for ever.
pub fn finish(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a process");
    let (mut out, mut err) = (child.stdout.take().expect("stdout"), child.stderr.take().expect("stderr"));
    let read = |stream: &mut dyn std::io::Read| {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("output");
        bytes
    };
    std::thread::scope(|scope| {
        let stdout = scope.spawn(move || read(&mut out));
        let stderr = scope.spawn(move || read(&mut err));
        let status = wait(&mut child, LIMIT);
        Output { status, stdout: stdout.join().expect("stdout"), stderr: stderr.join().expect("stderr") }
    })
}

pub fn wait(child: &mut Child, limit: Duration) -> ExitStatus {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("a status") {
            return status;
        }
        if Instant::now() > end {
            child.kill().expect("kill");
            return child.wait().expect("a status");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Polls until something is so; `what` is said when it never is.
pub fn until(what: &str, limit: Duration, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !so() {
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
