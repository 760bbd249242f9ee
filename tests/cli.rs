//! Whole commands, in this process: a fake account, a store in memory, nodes that remember.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use clap::CommandFactory;
use tokio::sync::Semaphore;

use kubewright::bootstrap::{FakeNodes, NodeTask};
use kubewright::cli::args::Cli;
use kubewright::cli::outside::Outside;
use kubewright::cli::ui::Streams;
use kubewright::clock::{Clock, CountingIds, VirtualClock};
use kubewright::cloud::Cloud;
use kubewright::cloud::fake::FakeCloud;
use kubewright::operation::{Env, OperationError};
use kubewright::plan::{Plan, Totals};
use kubewright::store::{Location, MemoryObjects};

const NAME: &str = "demo.k8s.example.com";

/// One user's machine and account.
struct Inside {
    objects: Arc<MemoryObjects>,
    cloud: FakeCloud,
    nodes: FakeNodes,
    clock: Arc<VirtualClock>,
    ids: Arc<CountingIds>,
    home: tempfile::TempDir,
    /// One permit for each interrupt.
    interrupts: Arc<Semaphore>,
    /// What a command was given as its name for the lock.
    command: Mutex<String>,
}

#[async_trait]
impl Outside for Inside {
    async fn env(&self, state: &Location, command: &str) -> Result<Env, OperationError> {
        assert_eq!(state.to_string(), "file://state");
        command.clone_into(&mut self.command.lock().unwrap());
        let (cloud, nodes) = (self.cloud.clone(), self.nodes.clone());
        Ok(Env {
            objects: self.objects.clone(),
            connect: Arc::new(move |_| {
                let cloud = cloud.clone();
                Box::pin(async move { Ok(Arc::new(cloud) as Arc<dyn Cloud>) })
            }),
            make_nodes: Arc::new(move |_, _| Arc::new(nodes.clone())),
            resolver: Arc::new(kubewright::operation::FakeResolver(Ok(vec!["ns-0.awsdns-fake.example.".into()]))),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            by: "ops@build-7".into(),
            host: "build-7".into(),
            pid: 42,
            process_exists: |pid| Some(pid != 43),
            command: command.into(),
            settle: std::time::Duration::from_secs(10),
            node_limit: 8,
            lock: kubewright::operation::LockManners::default(),
            hold: None,
        })
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    fn home(&self) -> Option<PathBuf> {
        Some(self.home.path().to_owned())
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    async fn interrupted(&self) {
        self.interrupts.acquire().await.unwrap().forget();
    }
}

/// What a command left on the two streams.
#[derive(Debug)]
#[must_use]
struct Ran {
    code: u8,
    out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    fn expect(self, code: u8) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        for text in [&self.out, &self.err] {
            assert!(!text.chars().any(|c| c != '\n' && c.is_control()), "control characters on a pipe: {text:?}");
        }
        self
    }

    /// Lines of the result that begin so, in this order.
    #[track_caller]
    fn says(self, beginnings: &[&str]) -> Self {
        insist("stdout", &self.out, beginnings);
        self
    }

    #[track_caller]
    fn tells(self, beginnings: &[&str]) -> Self {
        insist("stderr", &self.err, beginnings);
        self
    }

    #[track_caller]
    fn fits(self) -> Self {
        for line in self.out.lines() {
            assert!(line.chars().count() <= 80, "wider than 80: {line}\n{}", self.out);
        }
        self
    }
}

#[track_caller]
fn insist(stream: &str, text: &str, beginnings: &[&str]) {
    let mut lines = text.lines();
    for beginning in beginnings {
        assert!(lines.any(|line| line.starts_with(beginning)), "no line of {stream} begins with {beginning:?} there:\n{text}");
    }
}

impl Inside {
    fn new() -> Self {
        let clock = Arc::new(VirtualClock::new());
        let cloud = FakeCloud::default();
        cloud.plant_zone("k8s.example.com", false);
        Self {
            objects: Arc::new(MemoryObjects::new(clock.clone())),
            cloud,
            nodes: FakeNodes::new(),
            clock,
            ids: Arc::default(),
            home: tempfile::tempdir().unwrap(),
            interrupts: Arc::new(Semaphore::new(0)),
            command: Mutex::default(),
        }
    }

    async fn run(&self, args: &[&str]) -> Ran {
        let (streams, captured) = Streams::captured();
        let code = kubewright::cli::run(args, streams, self).await;
        Ran { code, out: captured.out.text(), err: captured.err.text() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A spec with a changed text; the path as an argument.
    fn spec(&self, change: impl Fn(String) -> String) -> String {
        let path = self.file("demo.toml");
        std::fs::write(&path, change(SPEC.into())).unwrap();
        path.to_str().unwrap().to_owned()
    }

    async fn with_cluster() -> Self {
        let inside = Self::new();
        let file = inside.spec(|text| text);
        let _ = inside.run(&["create", "cluster", "-f", &file, "--yes"]).await.expect(0);
        inside
    }
}

const SPEC: &str = r#"schema = 1
name = "demo.k8s.example.com"
kubernetes = "1.34.2"

[aws]
region = "us-east-1"
zones = ["us-east-1a", "us-east-1b", "us-east-1c"]

[network]
cidr = "10.20.0.0/16"
pods = "192.168.0.0/16"
services = "10.96.0.0/12"

[api]
dns_zone = "k8s.example.com"
access = ["203.0.113.0/24"]

[ssh]
public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPIdMxaDYhlCwc8ZfbIQVEJxpL0IX39CPxuS0Bg5dCu5 ops"
access = ["203.0.113.0/24"]

[[instance_group]]
name = "control-plane"
role = "control-plane"
count = 3
machine_type = "t3.medium"
image = "debian-12"

[[instance_group]]
name = "nodes"
role = "node"
count = 3
machine_type = "t3.large"
image = "debian-12"
"#;

#[tokio::test(start_paused = true)]
async fn a_dry_run_shows_the_plan_and_writes_nothing() {
    let inside = Inside::new();
    let before = inside.cloud.snapshot();
    let file = inside.spec(|text| text);
    let _ = inside
        .run(&["create", "cluster", "-f", &file])
        .await
        .expect(0)
        .fits()
        .says(&["demo.k8s.example.com  us-east-1  Kubernetes 1.34.2", "  network", "  instance group nodes", "Plan: "])
        .tells(&["Nothing was changed. To apply:"]);
    let _ = inside.run(&["create", "-f", &file, "--detailed-exitcode"]).await.expect(2);
    assert_eq!(inside.cloud.snapshot(), before);
    assert!(inside.objects.dump().is_empty());
    assert!(inside.nodes.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_life_from_create_to_delete() {
    let inside = Inside::new();
    let before = inside.cloud.snapshot();
    let file = inside.spec(|text| text);
    let created = inside.run(&["create", "cluster", "-f", &file, "--yes"]).await.expect(0).fits();
    let created = created.says(&["Plan: ", "Applied in "]).tells(&["Next:  kubewright export kubeconfig demo"]);
    assert!(created.out.contains("6 of 6 nodes Ready."), "{}", created.out);
    for line in created.err.lines().filter(|line| !line.starts_with(' ') && !line.starts_with("Next:")) {
        assert!(line.starts_with("2026-01-01T00:"), "not dated: {line}");
    }
    for fact in ["created VPC vpc-", "created instance nodes-us-east-1a-1 i-", "joined node nodes-us-east-1a-1"] {
        assert!(created.err.contains(fact), "{fact}: {}", created.err);
    }

    let _ = inside.run(&["get", "clusters"]).await.expect(0).fits().says(&["NAME", "demo.k8s.example.com  us-east-1  1.34.2"]);
    let _ = inside.run(&["get", "ig"]).await.expect(0).fits().says(&["NAME", "control-plane  control-plane  3 of 3"]);
    let _ = inside.run(&["get", "instances"]).await.expect(0).fits().says(&["NAME", "control-plane-us-east-1a-1  i-"]);
    let wide = inside.run(&["get", "instance", NAME, "-o", "wide"]).await.expect(0);
    assert!(wide.out.contains("MACHINE-TYPE"), "{}", wide.out);
    let _ = inside.run(&["validate"]).await.expect(0).fits();
    let _ = inside.run(&["lock", "status"]).await.expect(0).says(&["demo.k8s.example.com is not locked."]);

    let same = inside.run(&["update", "--detailed-exitcode"]).await.expect(0).fits();
    let _ = same.says(&["  instance group control-plane", "No changes: "]).tells(&["Next:  kubewright validate demo"]);

    let changed = inside.spec(|text| {
        let at = text.rfind("count = 3").unwrap();
        format!("{}count = 4{}", &text[..at], &text[at + 9..]).replacen(
            "203.0.113.0/24\"]",
            "203.0.113.0/24\", \"198.51.100.0/24\"]",
            1,
        )
    });
    let plan = inside.run(&["update", "-f", &changed, "--detailed-exitcode"]).await.expect(2).fits();
    let _ = plan.says(&[
        "    ~ security group control-plane",
        "        + tcp 6443 from 198.51.100.0/24",
        "  instance group control-plane                  unchanged",
        "  instance group nodes                          3 -> 4",
        "    + nodes-us-east-1a-2",
        "Plan: 1 to create, 1 to change, 0 to replace, 0 to delete.",
    ]);
    let _ = inside.run(&["update", "cluster", NAME, "-f", &changed, "--yes"]).await.expect(0).says(&["Applied in "]);

    let _ = inside.run(&["delete", "cluster", NAME]).await.expect(0).fits().tells(&["Nothing was changed. To delete:"]);
    let deleted = inside.run(&["delete", "cluster", NAME, "--yes"]).await.expect(0).fits();
    assert!(deleted.says(&["Deleted "]).out.contains("0 remain."));
    assert_eq!(inside.cloud.snapshot(), before);
}

#[tokio::test(start_paused = true)]
async fn a_kubeconfig_is_private_and_leaves_the_others_alone() {
    use std::os::unix::fs::PermissionsExt;
    let inside = Inside::with_cluster().await;
    let path = inside.file(".kube/config");
    let ran = inside.run(&["export", "kubeconfig"]).await.expect(0).tells(&["", "Next:  kubectl get nodes"]);
    assert!(ran.out.is_empty());
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("current-context: demo.k8s.example.com"), "{text}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let other = inside.file("other");
    std::fs::write(&other, "clusters:\n- name: mine\n  cluster: {server: https://x}\n").unwrap();
    let _ = inside.run(&["export", "kubeconfig", NAME, "--kubeconfig", other.to_str().unwrap()]).await.expect(0);
    let text = std::fs::read_to_string(&other).unwrap();
    assert!(text.contains("mine") && text.contains("https://api.demo.k8s.example.com:6443"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn render_writes_files_of_every_node_and_touches_nothing() {
    let inside = Inside::new();
    let file = inside.spec(|text| text);
    let out = inside.file("rendered");
    let _ = inside.run(&["render", "-f", &file, "--out", out.to_str().unwrap()]).await.expect(0);
    let mut files = vec![];
    walk(&out, &mut files);
    for slot in ["control-plane-us-east-1a-1", "nodes-us-east-1c-1"] {
        assert!(files.iter().any(|path| path.to_string_lossy().contains(slot)), "{slot}: {files:?}");
    }
    assert!(inside.objects.dump().is_empty());
    assert!(inside.cloud.log().is_empty());
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, files) } else { files.push(path) }
    }
}

#[tokio::test(start_paused = true)]
async fn json_is_the_same_plan_again_and_yaml_the_same_fields() {
    #[derive(serde::Deserialize)]
    struct Printed {
        plan: Plan,
        totals: Totals,
    }
    let inside = Inside::new();
    let file = inside.spec(|text| text);
    let json = inside.run(&["create", "cluster", "-f", &file, "-o", "json"]).await.expect(0);
    let Printed { plan, totals } = serde_json::from_str(&json.out).unwrap();
    assert_eq!(plan.totals(), totals);
    assert_eq!(plan.check(), Vec::<String>::new());
    let again: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(serde_json::to_value(&plan).unwrap(), again["plan"]);
    let yaml = inside.run(&["create", "cluster", "-f", &file, "-o", "yaml"]).await.expect(0);
    let yaml: serde_json::Value = serde_saphyr::from_str(&yaml.out).unwrap();
    assert_eq!(yaml["totals"], again["totals"]);

    let applied = inside.run(&["create", "cluster", "-f", &file, "--yes", "-o", "json"]).await.expect(0);
    let applied: serde_json::Value = serde_json::from_str(&applied.out).expect("one document");
    assert_eq!(applied["report"]["outcome"]["complete"], true);
    assert_eq!(applied["report"]["nodes"]["ready"], 6);
    for list in [["get", "clusters"], ["get", "ig"], ["get", "instances"]] {
        let ran = inside.run(&[list[0], list[1], "-o", "json"]).await.expect(0);
        assert!(serde_json::from_str::<Vec<serde_json::Value>>(&ran.out).is_ok_and(|rows| !rows.is_empty()), "{}", ran.out);
    }
    let logged = inside.run(&["update", "--yes", "--log-format", "json"]).await.expect(0);
    for line in logged.err.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["time"].is_string() && line["message"].is_string(), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_has_an_exit_code_and_says_what_to_do() {
    let inside = Inside::new();
    let bad = inside.spec(|text| text.replace("machine_type", "machine-type"));
    let _ = inside.run(&["create", "cluster", "-f", &bad]).await.expect(3).tells(&["error: unknown key"]);
    let usage: [&[&str]; 9] = [
        &["bogus"],
        &["update", "--bogus"],
        &["update", "cluster", "a", "b"],
        &["update", "ig", "a"],
        &["delete", "ig", "a"],
        &["delete", "cluster"],
        &["create", "bucket", "-f", "x"],
        &["get", "pods"],
        &["validate", "--wait", "soon"],
    ];
    for args in usage {
        let ran = inside.run(args).await.expect(64).tells(&["error: "]);
        assert!(ran.out.is_empty(), "{args:?}: {}", ran.out);
    }
    let _ = inside.run(&["update", "--state", "nowhere"]).await.expect(64);
    let _ = inside.run(&["get", "clusters"]).await.expect(0).tells(&["There is no cluster in ", "Next:  kubewright create"]);
    let _ = inside.run(&["update"]).await.expect(1).tells(&["error: there is no cluster", "  next      kubewright create"]);
    inside.cloud.edit(|world| world.hosted_zones.clear());
    let file = inside.spec(|text| text);
    let refused = inside.run(&["create", "cluster", "-f", &file]).await.expect(5);
    let _ = refused.says(&["error: hosted zone", "  next      create it", "This plan cannot be applied: 1 error."]);
    let _ = inside.run(&["create", "cluster", "-f", &file, "--yes"]).await.expect(5);
    assert!(!inside.cloud.log().iter().any(|call| !call.is_read()), "nothing was made");

    let inside = Inside::with_cluster().await;
    let _ = inside.run(&["validate", "dmeo.k8s.example.com"]).await.expect(1).tells(&["error: there is no cluster dmeo"]);
    let protected = inside.spec(|text| text.replace("kubernetes = ", "prevent_destroy = true\nkubernetes = "));
    let _ = inside.run(&["update", "-f", &protected, "--yes"]).await.expect(0);
    let _ = inside.run(&["delete", "cluster", NAME, "--yes"]).await.expect(6).tells(&["error: cluster demo"]);
}

#[tokio::test(start_paused = true)]
async fn a_held_lock_is_shown_and_broken() {
    let inside = Inside::with_cluster().await;
    let env = inside.env(&"file://state".parse().unwrap(), "update --yes").await.unwrap();
    let lock = env.store(NAME).unwrap().acquire(&env.owner()).await.unwrap();
    let _ = inside
        .run(&["update", "--yes"])
        .await
        .expect(4)
        .tells(&["error: demo.k8s.example.com is locked", "  by        ops@build-7"]);
    let shown =
        inside.run(&["lock", "status"]).await.expect(0).says(&["demo.k8s.example.com is locked", "  by        ops@build-7"]);
    assert!(shown.out.contains("update --yes"), "{}", shown.out);
    let _ = inside.run(&["get", "clusters"]).await.expect(0).says(&["NAME", "demo.k8s"]);
    let _ = inside
        .run(&["lock", "break"])
        .await
        .expect(0)
        .tells(&["Nothing was changed. To break it:", "  kubewright lock break demo.k8s.example.com --yes"]);
    let _ = inside.run(&["update", "--yes"]).await.expect(4);
    let _ = inside.run(&["lock", "break", "--yes"]).await.expect(0).says(&["The lock of demo.k8s.example.com was broken"]);
    let _ = inside.run(&["update", "--yes"]).await.expect(0);
    drop(lock);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fails_is_told_and_the_next_run_goes_on() {
    let inside = Inside::new();
    let file = inside.spec(|text| text);
    inside.nodes.fail_at(NodeTask::JoinWorker, "nodes-us-east-1b-1", "kubelet", "the \x1b[31mcgroup\x1b[0m driver differs");
    let failed = inside.run(&["create", "cluster", "-f", &file, "--yes"]).await.expect(7);
    assert!(failed.out.contains("5 of 6 nodes Ready."), "{}", failed.out);
    let _ = failed.says(&["Plan: ", "Failed in "]).tells(&[
        "error: node nodes-us-east-1b-1",
        "  command   kubelet --fake",
        "  exit      1",
        "  stderr    error: the \\u{1b}",
        "  cause     ",
        "  left      the machine is up",
        "Next:  kubewright update demo.k8s.example.com --yes",
    ]);
    let _ = inside.run(&["get", "clusters"]).await.expect(0).says(&["NAME", "demo.k8s"]);
    let again = inside.run(&["update"]).await.expect(0);
    let _ = again.says(&["An earlier run by ops@build-7", "This plan resumes it.", "    join                nodes-us-east-1b-1"]);
    let done = inside.run(&["update", "--yes"]).await.expect(0);
    assert!(done.out.contains("6 of 6 nodes Ready."), "{}", done.out);
}

#[tokio::test(start_paused = true)]
async fn a_timeline_is_drawn_of_runs_that_fail_too_and_refused_before_anything_is_touched() {
    let inside = Inside::new();
    let file = inside.spec(|text| text);
    let picture = inside.file("run.svg").display().to_string();
    let create = |path: &str| ["create", "cluster", "-f", &file, "--yes", "-o", "json", "--timeline", path].map(str::to_owned);
    for (path, code) in [("/nowhere/run.svg", 1), (inside.home.path().to_str().unwrap(), 1)] {
        let args = create(path);
        let ran = inside.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).await.expect(code);
        assert!(ran.err.contains("cannot be written") && ran.err.contains("nothing was changed"), "{}", ran.err);
    }
    let _ = inside.run(&["create", "-f", &file, "--timeline", &picture]).await.expect(64);
    assert_eq!(inside.cloud.snapshot().lines().filter(|line| line.starts_with("vpc ")).count(), 0);
    inside.nodes.fail_at(NodeTask::JoinWorker, "nodes-us-east-1b-1", "kubelet", "the cgroup driver differs");
    let args = create(&picture);
    let ran = inside.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).await.expect(7);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let bars = value["timeline"]["machines"]["nodes-us-east-1b-1"].as_array().unwrap();
    let told: Vec<_> = bars.iter().map(|bar| (bar["task"].as_str(), bar["ended"].as_str().unwrap())).collect();
    assert_eq!(told, [(None, "done"), (Some("prepare"), "done"), (Some("join-worker"), "failed")]);
    let drawn = std::fs::read_to_string(&picture).unwrap();
    assert!(drawn.contains("join nodes-us-east-1b-1") && drawn.contains(", failed"), "{drawn}");
    let folder: Vec<_> = std::fs::read_dir(inside.home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!folder.iter().any(|name| name.to_string_lossy().contains("timeline-")), "{folder:?}");
}

#[tokio::test(start_paused = true)]
async fn one_interrupt_finishes_what_is_in_flight_and_two_stop_at_once() {
    for interrupts in [1, 2] {
        let inside = Inside::new();
        let file = inside.spec(|text| text);
        inside.cloud.set_options(|options| options.latency = std::time::Duration::from_secs(1));
        let pull = async {
            // The first calls are on their way.
            tokio::time::sleep(std::time::Duration::from_millis(9500)).await;
            inside.interrupts.add_permits(interrupts);
        };
        let args = ["create", "cluster", "-f", &file, "--yes"];
        let (ran, ()) = tokio::join!(inside.run(&args), pull);
        let ran = ran.expect(130);
        assert!(ran.err.contains("press Ctrl-C again to stop now"), "{}", ran.err);
        let ran = ran.tells(&["Next:  kubewright update demo.k8s.example.com --yes"]);
        if interrupts == 1 {
            let _ = ran.says(&["Plan: ", "Stopped in "]);
        } else {
            let _ = ran.tells(&["Stopped at once."]);
        }
        inside.interrupts.forget_permits(interrupts);
        inside.cloud.set_options(|options| options.latency = std::time::Duration::ZERO);
        let done = inside.run(&["update", "--yes"]).await.expect(0);
        assert!(done.out.contains("6 of 6 nodes Ready."), "{}", done.out);
        let vpcs = inside.cloud.snapshot().lines().filter(|line| line.starts_with("vpc ")).count();
        assert!(vpcs <= 1, "{}", inside.cloud.snapshot());
    }
}

struct Gone;

impl std::io::Write for Gone {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_stdout_neither_fails_nor_stops_a_run() {
    let inside = Inside::new();
    let file = inside.spec(|text| text);
    for (args, code) in [(vec!["create", "-f", &file, "--detailed-exitcode"], 2), (vec!["create", "-f", &file, "--yes"], 0)] {
        let (mut streams, captured) = Streams::captured();
        streams.out = Box::new(Gone);
        assert_eq!(kubewright::cli::run(&args, streams, &inside).await, code, "{}", captured.err.text());
        assert!(!captured.err.text().contains("error"), "{}", captured.err.text());
    }
    let _ = inside.run(&["update", "--detailed-exitcode"]).await.expect(0).says(&["No changes: "]);
}

#[tokio::test(start_paused = true)]
async fn colour_is_there_only_where_wanted_and_changes_no_word() {
    let inside = Inside::new();
    let file = inside.spec(|text| text);
    inside.cloud.reset_log();
    let plain = inside.run(&["create", "cluster", "-f", &file, "--color", "never"]).await.expect(0);
    inside.cloud.reset_log();
    let coloured = inside.run(&["create", "cluster", "-f", &file, "--color", "always"]).await;
    assert!(coloured.out.contains("\x1b["));
    assert_eq!(anstream::adapter::strip_str(&coloured.out).to_string(), plain.out);
}

#[tokio::test]
async fn every_command_has_help_with_an_example() {
    fn all(command: &clap::Command, path: Vec<String>, out: &mut Vec<Vec<String>>) {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let path: Vec<String> = path.iter().cloned().chain([sub.get_name().to_owned()]).collect();
            all(sub, path.clone(), out);
            out.push(path);
        }
    }
    let inside = Inside::new();
    let mut paths = vec![vec![]];
    all(&Cli::command(), vec![], &mut paths);
    assert!(paths.len() > 13, "{paths:?}");
    for path in paths {
        let mut args: Vec<&str> = path.iter().map(String::as_str).collect();
        args.push("--help");
        let help = inside.run(&args).await.expect(0);
        assert!(help.out.contains("Example"), "{path:?} has no example:\n{}", help.out);
        let spelled = format!("kubewright {}", path.join(" "));
        assert!(help.out.lines().any(|line| line.trim_start().starts_with(spelled.trim_end())), "{path:?}:\n{}", help.out);
        assert!(help.err.is_empty());
        for line in help.out.lines() {
            assert!(line.chars().count() <= 100, "{path:?}: {line}");
        }
    }
}

#[tokio::test]
async fn what_needs_no_world_works_without_one() {
    let inside = Inside::new();
    let _ = inside.run(&["version"]).await.expect(0).says(&[&format!("kubewright {}", env!("CARGO_PKG_VERSION"))]);
    let schema = inside.run(&["schema"]).await.expect(0);
    assert!(serde_json::from_str::<serde_json::Value>(&schema.out).unwrap()["properties"]["instance_group"].is_object());
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(inside.run(&["completion", shell]).await.out.contains("kubewright"), "{shell}");
    }
    assert!(inside.command.lock().unwrap().is_empty(), "no store was opened");
}
