//! One cluster of a test: its spec, its store, and commands on it.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::lab::{Lab, finish};

pub const MINIMAL: &str = include_str!("../../clusters/minimal.toml");
pub const HA: &str = include_str!("../../clusters/ha.toml");
/// What the lab's machines need besides.
const SETTINGS: &str = include_str!("../../lab/settings.toml");
pub const PRIVATE: &str = include_str!("../../clusters/private-bastion.toml");

pub struct Cluster<'a> {
    pub lab: &'a Lab,
    pub name: String,
    pub state: String,
    pub folder: TempDir,
    /// Environment of every command.
    pub env: Vec<(String, String)>,
    /// Folder of the lab that holds the bundle: real Kubernetes, or stand-ins.
    bundle: &'static str,
}

/// A command at work. A test that fails meanwhile ends it, or it would go on in the lab of the next one.
pub struct Running(Child);

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Done {
    /// `None`: a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl<'a> Cluster<'a> {
    /// Of stand-ins for Kubernetes: for faults that need many bootstraps.
    pub fn new(lab: &'a Lab, short: &str, on_s3: bool) -> Self {
        Self::with(lab, short, on_s3, "bundle-stand-ins")
    }

    /// Of real Kubernetes.
    pub fn real(lab: &'a Lab, short: &str, on_s3: bool) -> Self {
        Self::with(lab, short, on_s3, "bundle")
    }

    fn with(lab: &'a Lab, short: &str, on_s3: bool, bundle: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = match on_s3 {
            true => format!("s3://kubewright-lab/{short}"),
            false => format!("file://{}", folder.path().join("state").display()),
        };
        Self { lab, name: format!("{short}.k8s.example.com"), state, folder, env: vec![], bundle }
    }

    pub fn bundle(&self) -> PathBuf {
        self.lab.folder.join(self.bundle)
    }

    /// An example under this cluster's name, with the lab's bundle and settings.
    pub fn spec(&self, example: &str) -> Spec {
        let own = example.lines().find_map(|line| line.strip_prefix("name = \"")?.split('"').next()).expect("a name");
        let text = example.replace(own, &self.name) + SETTINGS;
        Spec(text).set("[packages]", "bundle", &format!("{:?}", self.bundle()))
    }

    pub fn write(&self, file: &str, spec: &Spec) -> String {
        let path = self.folder.path().join(file);
        fs::write(&path, &spec.0).expect("a spec");
        path.display().to_string()
    }

    pub fn path(&self, file: &str) -> String {
        self.folder.path().join(file).display().to_string()
    }

    /// kubewright with these words, in the lab, as a person types them.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.lab.command(&["exec", "--", env!("CARGO_BIN_EXE_kubewright"), "--state", &self.state]);
        command.args(words).envs(self.env.iter().cloned()).current_dir(self.folder.path());
        command
    }

    pub fn run(&self, words: &[&str]) -> Done {
        Done::of(finish(&mut self.command(words)))
    }

    /// A command that has to end well.
    pub fn ok(&self, words: &[&str]) -> Done {
        self.run(words).expect(0)
    }

    pub fn update(&self) -> Done {
        self.run(&["update", &self.name, "--yes"])
    }

    /// As [`Cluster::run`], for a command that takes long.
    #[cfg(feature = "real")]
    pub fn run_within(&self, words: &[&str], limit: std::time::Duration) -> Done {
        let status = crate::lab::wait(&mut self.start(words), limit);
        Done { code: status.code(), out: String::new(), err: self.said() }
    }

    /// Started, its output in files: read with [`Cluster::said`].
    pub fn start(&self, words: &[&str]) -> Running {
        let file = |name: &str| fs::File::create(self.folder.path().join(name)).expect("a file");
        let mut command = self.command(words);
        Running(command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err")).spawn().expect("kubewright"))
    }

    pub fn said(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        read("out") + &read("err")
    }

    /// `update` right after a change finds nothing to do, with few calls; both counted by the lab.
    pub fn assert_no_op(&self) {
        self.lab.ask(&["calls", "--reset"]);
        let done = self.ok(&["update", &self.name, "--detailed-exitcode"]);
        let calls = self.lab.calls();
        assert!(done.out.contains("No changes"), "{done:?}");
        let changes: Vec<_> = calls.iter().filter(|(.., kind)| kind == "change").collect();
        assert!(changes.is_empty(), "a dry run changed something: {changes:?}");
        let reads = calls.iter().filter(|(service, ..)| service == "ec2" || service == "route53").count();
        assert!((1..=15).contains(&reads), "{reads} reads for nothing: {calls:?}");
    }

    /// Exports a kubeconfig, for the public name; gives its path.
    pub fn kubeconfig(&self) -> String {
        let config = self.path("kubeconfig");
        self.ok(&["export", "kubeconfig", &self.name, "--kubeconfig", &config]);
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&config).expect("a kubeconfig"));
        assert_eq!(mode & 0o777, 0o600, "who can read it owns the cluster");
        config
    }

    /// The bundle's kubectl on the operator's machine.
    pub fn try_kubectl(&self, words: &[&str]) -> Done {
        let program = self.bundle().join("operator/kubectl").display().to_string();
        let config = self.path("kubeconfig");
        Done::of(self.lab.exec(&[&[program.as_str(), "--kubeconfig", &config], words].concat()))
    }

    pub fn kubectl(&self, words: &[&str]) -> String {
        self.try_kubectl(words).expect(0).out
    }

    /// `kubectl get nodes`: `(Node, status)`.
    pub fn kubectl_nodes(&self) -> Vec<(String, String)> {
        self.kubeconfig();
        let row = |line: &str| {
            let mut words = line.split_whitespace().map(str::to_owned);
            Some((words.next()?, words.next()?))
        };
        self.kubectl(&["get", "nodes"]).lines().skip(1).filter_map(row).collect()
    }

    pub fn assert_ready(&self, count: usize) {
        // The network's pod on a new machine is a few seconds behind its Node.
        self.ok(&["validate", "cluster", &self.name, "--wait", "3m"]);
        let nodes = self.kubectl_nodes();
        assert_eq!(nodes.len(), count, "{nodes:?}");
        assert!(nodes.iter().all(|(_, status)| status == "Ready"), "{nodes:?}");
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Done {
    pub fn of(output: std::process::Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Both streams must hold all of these between them. Texts may be wrapped anywhere.
    pub fn says(&self, texts: &[&str]) {
        let said = words(&self.out) + " " + &words(&self.err);
        for text in texts {
            assert!(said.contains(&words(text)), "`{text}` is not said\nstdout:\n{}\nstderr:\n{}", self.out, self.err);
        }
    }
}

/// Text without its line breaks.
pub fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text of a spec.
#[derive(Clone)]
pub struct Spec(pub String);

impl Spec {
    /// Sets the first `key = ...` after a line that begins with `place`.
    pub fn set(&self, place: &str, key: &str, value: &str) -> Self {
        let mut found = 0;
        let mut lines = Vec::new();
        for line in self.0.lines() {
            let is_key = line.split('=').next().is_some_and(|word| word.trim() == key) && line.contains('=');
            if found == 0 && line.starts_with(place) {
                found = 1;
            }
            if found == 1 && is_key {
                found = 2;
                lines.push(format!("{key} = {value}"));
            } else {
                lines.push(line.to_owned());
            }
        }
        assert_eq!(found, 2, "there is no `{key}` after `{place}`");
        Self(lines.join("\n") + "\n")
    }

    pub fn count(&self, group: &str, count: u32) -> Self {
        self.set(&format!("name = \"{group}\""), "count", &count.to_string())
    }

    pub fn api_access(&self, ranges: &[&str]) -> Self {
        self.set("[api]", "access", &format!("{ranges:?}"))
    }

    pub fn bundle(&self, path: &Path) -> Self {
        self.set("[packages]", "bundle", &format!("{path:?}"))
    }
}
