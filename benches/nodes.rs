//! Work on nodes beside what others would use for it: from running machines to a cluster beside a plain script of the same kubeadm commands, and 12
//! machines up to the point before kubeadm beside a plain parallel script and Ansible. In the lab; the nodes share this machine's processors.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kubewright::apply::{Addresses, NodeInputs, fleet_of};
use kubewright::bootstrap::{Consoles, NodeTask, Nodes, Pki, SshNodes};
use kubewright::cli::spec_files;
use kubewright::clock::{RandomIds, SystemClock};
use kubewright::recorded::State;
use kubewright::secret::Secret;

use support::{arguments, children_cpu, profile};

const NAME: &str = "demo.k8s.example.com";

fn main() -> ExitCode {
    let (Ok(folder), Ok(lab)) = (std::env::var("KUBEWRIGHT_LAB_DIR"), std::env::var("KUBEWRIGHT_LAB_BIN")) else {
        println!(
            "nodes: not measured. Start the lab first (as root, on Linux):\n  target/debug/lab up --kubernetes 1.34.2\n  \
             KUBEWRIGHT_LAB_DIR=$PWD/.lab KUBEWRIGHT_LAB_BIN=$PWD/target/debug/lab cargo bench --profile dev --workspace --bench nodes"
        );
        return ExitCode::SUCCESS;
    };
    let arguments = arguments();
    if let [word, spec, state] = arguments.as_slice()
        && word == "prepare-inside"
    {
        return prepare_inside(Path::new(spec), Path::new(state));
    }
    let bench = Bench { lab, folder: folder.into() };
    let wanted = |word: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == word);
    println!("nodes, {}; one run each", profile());
    if wanted("cluster") {
        bench.clusters();
    }
    if wanted("prepare") {
        bench.prepares();
    }
    bench.run(&["reset"]);
    ExitCode::SUCCESS
}

/// Inside of the lab: the one task, on all machines at once, as a run does it.
fn prepare_inside(spec: &Path, state: &Path) -> ExitCode {
    struct NoConsoles;
    #[async_trait]
    impl Consoles for NoConsoles {
        async fn console(&self, _: &str) -> Result<Option<String>, String> {
            Ok(None)
        }
    }
    let Ok(loaded) = spec_files::load_file(spec) else { return ExitCode::FAILURE };
    let read = |path: &str| std::fs::read_to_string(state.join(NAME).join(path)).unwrap_or_default();
    let held: serde_json::Value = serde_json::from_str(&read("state.json")).unwrap_or_default();
    let keys: serde_json::Value = serde_json::from_str(&read("secrets/pki.json")).unwrap_or_default();
    let pki = Pki::from_files(|name| keys[name].as_str().map(|text| Secret::new(text.to_owned())));
    let (Ok(state), Ok(pki)) = (serde_json::from_value::<State>(held["state"].clone()), pki) else { return ExitCode::FAILURE };
    let fleet = Arc::new(fleet_of(&state, &NodeInputs { cluster: loaded.cluster, pki, in_place: false }, &Addresses::default()));
    let Ok(runtime) = tokio::runtime::Runtime::new() else { return ExitCode::FAILURE };
    let nodes = SshNodes::new(Arc::new(NoConsoles), Arc::new(SystemClock), Arc::new(RandomIds));
    let work = fleet.machines.keys().map(|slot| nodes.run(NodeTask::Prepare, slot, Arc::clone(&fleet), Arc::new(|_| {})));
    let failed: Vec<_> = runtime.block_on(futures::future::join_all(work)).into_iter().filter_map(Result::err).collect();
    for error in &failed {
        println!("{error}");
    }
    ExitCode::from(u8::from(!failed.is_empty()))
}

struct Bench {
    lab: String,
    folder: PathBuf,
}

/// One side, once.
#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
    megabytes: f64,
    ok: bool,
}

impl Cost {
    fn show(&self, name: &str, of: Option<&Cost>) {
        let ratio = |ours: f64, theirs: f64| if theirs > 0.0 { format!("{:.2}", ours / theirs) } else { "-".into() };
        let (wall, cpu) = of.map_or(("".into(), "".into()), |of| {
            (ratio(self.wall.as_secs_f64(), of.wall.as_secs_f64()), ratio(self.cpu.as_secs_f64(), of.cpu.as_secs_f64()))
        });
        let trouble = if self.ok { "" } else { "  (it failed)" };
        let (seconds, used) = (self.wall.as_secs_f64(), self.cpu.as_secs_f64());
        println!("{name:<34} {seconds:>8.1} s {wall:>6} {used:>8.2} s {cpu:>6} {:>8.1}{trouble}", self.megabytes);
    }
}

fn head(title: &str) {
    println!("\n{title}");
    println!("{:<34} {:>10} {:>6} {:>10} {:>6} {:>8}", "", "wall", "ratio", "cpu", "ratio", "MB sent");
}

impl Bench {
    fn run(&self, words: &[&str]) -> String {
        let output = Command::new(&self.lab).args(["--dir"]).arg(&self.folder).args(words).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    }

    /// `exec` replaces the lab's program, so that the CPU is the command's.
    fn inside(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.lab);
        command.arg("--dir").arg(&self.folder).args(["exec", "--"]).args(words).env("KUBEWRIGHT_STATE", self.state());
        command
    }

    fn measure(&self, name: &str, mut command: Command) -> Cost {
        let log = self.folder.join("bench-last.log");
        if let (Ok(out), Ok(err)) = (std::fs::File::create(&log), std::fs::File::options().append(true).open(&log)) {
            command.stdout(out).stderr(err);
        }
        let (sent, before, begun) = (self.sent(), children_cpu(), Instant::now());
        let ok = command.status().is_ok_and(|status| status.success());
        let (wall, cpu) = (begun.elapsed(), children_cpu().saturating_sub(before));
        if !ok {
            println!("{name}:\n{}", std::fs::read_to_string(&log).unwrap_or_default());
        }
        Cost { wall, cpu, megabytes: (self.sent() - sent) / 1e6, ok }
    }

    /// Bytes that the hub has sent to its nodes so far, those among nodes included.
    fn sent(&self) -> f64 {
        let output = self.inside(&["cat", "/proc/net/dev"]).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim() != "lo");
        lines.filter_map(|(_, rest)| rest.split_whitespace().nth(8)?.parse::<f64>().ok()).sum()
    }

    fn state(&self) -> String {
        format!("file://{}", self.folder.join("bench-state").display())
    }

    /// `clusters/ha.toml` with other counts, and the lab's own bundle.
    fn spec(&self, name: &str, control_planes: u32, workers: u32, bundle: &str) -> String {
        let text = concat!(include_str!("../clusters/ha.toml"), include_str!("../lab/settings.toml"))
            .replace("../.lab/bundle", &self.folder.join(bundle).display().to_string());
        let text = text.replacen("[ssh]\n", "[ssh]\nhost_keys = \"trust-on-first-use\"\n", 1);
        let (head, tail) = text.rsplit_once("count = 3").unwrap_or((&text, ""));
        let head = head.replacen("count = 3", &format!("count = {control_planes}"), 1);
        let path = self.folder.join(name);
        let _ = std::fs::write(&path, format!("{head}count = {workers}{tail}"));
        path.display().to_string()
    }

    /// Fresh machines that run, on which nothing was done: the run that made them found no bundle. Gives the spec and what the scripts read.
    fn machines(&self, control_planes: u32, workers: u32) -> (String, String, PathBuf) {
        self.run(&["reset"]);
        let _ = std::fs::remove_dir_all(self.folder.join("bench-state"));
        // A bundle by its name only.
        let _ = std::fs::create_dir_all(self.folder.join("none"));
        let _ = std::fs::copy(self.folder.join("bundle/VERSION"), self.folder.join("none/VERSION"));
        let (broken, spec) = (
            self.spec("bench-0.toml", control_planes, workers, "none"),
            self.spec("bench-1.toml", control_planes, workers, "bundle"),
        );
        let program = env!("CARGO_BIN_EXE_kubewright");
        let _ = self.inside(&[program, "create", "cluster", "-f", &broken, "--yes"]).output();
        let listed = self.inside(&[program, "get", "instances", NAME, "-o", "json"]).output();
        let listed = listed.map(|output| output.stdout).unwrap_or_default();
        let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap_or_default();
        let text = |one: &serde_json::Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let lines = listed.as_array().into_iter().flatten();
        let lines =
            lines.map(|one| ["slot", "private_address", "role", "id"].map(|key| text(one, key)).join(" ")).collect::<Vec<_>>();
        for address in lines.iter().filter_map(|line| line.split(' ').nth(1)) {
            let wait = format!(
                "for n in $(seq 600); do (exec 3<>/dev/tcp/{address}/22 && head -c 3 <&3) 2>/dev/null | grep -q SSH && exit; sleep 0.2; done"
            );
            let _ = self.inside(&["bash", "-c", &wait]).status();
        }
        let rendered = self.folder.join("bench-rendered");
        let _ = std::fs::remove_dir_all(&rendered);
        let _ = self.inside(&[program, "render", "-f", &spec, "--out", &rendered.display().to_string()]).output();
        (spec, lines.join("\n") + "\n", rendered)
    }

    fn plain(&self, what: &str, lines: &str, rendered: &Path) -> Command {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/plain.sh");
        let [rendered, bundle] = [rendered.to_owned(), self.folder.join("bundle")].map(|path| path.display().to_string());
        let key = self.folder.join("home/.ssh/id_ed25519").display().to_string();
        let mut command = self.inside(&["bash", script, what, &rendered, &bundle, &key]);
        let input = self.folder.join("bench-nodes");
        let _ = std::fs::write(&input, lines);
        if let Ok(input) = std::fs::File::open(input) {
            command.stdin(Stdio::from(input));
        }
        command
    }

    fn clusters(&self) {
        for (round, (control_planes, workers)) in [(1, 1), (3, 3)].into_iter().enumerate() {
            head(&format!("from running machines to all Ready, {control_planes} + {workers}"));
            let ours = || {
                let (spec, ..) = self.machines(control_planes, workers);
                let timeline = self.folder.join(format!("bench-{control_planes}-{workers}.svg")).display().to_string();
                let program = env!("CARGO_BIN_EXE_kubewright");
                self.measure("kubewright", self.inside(&[program, "update", "-f", &spec, "--yes", "--timeline", &timeline]))
            };
            let theirs = || {
                let (_, lines, rendered) = self.machines(control_planes, workers);
                self.measure("plain script", self.plain("cluster", &lines, &rendered))
            };
            // Alternating, so that neither side always finds the warmer machine.
            let (ours, theirs) = match round % 2 {
                0 => {
                    let theirs = theirs();
                    (ours(), theirs)
                }
                _ => (ours(), theirs()),
            };
            theirs.show("plain script", None);
            ours.show("kubewright, with all its checks", Some(&theirs));
        }
    }

    fn prepares(&self) {
        head("12 machines up to the point before kubeadm; ratios to the plain script");
        let plain = {
            let (_, lines, rendered) = self.machines(3, 9);
            [(); 2].map(|()| self.measure("plain script", self.plain("prepare", &lines, &rendered)))
        };
        let ours = {
            let (spec, ..) = self.machines(3, 9);
            let program = std::env::current_exe().unwrap_or_default().display().to_string();
            let state = self.folder.join("bench-state").display().to_string();
            [(); 2].map(|()| self.measure("kubewright", self.inside(&[&program, "prepare-inside", &spec, &state])))
        };
        for (run, name) in ["first", "second"].into_iter().enumerate() {
            plain[run].show(&format!("plain script, {name} run"), None);
            ours[run].show(&format!("kubewright, {name} run"), Some(&plain[run]));
        }
        let Some(program) = self.ansible() else {
            return println!("Ansible: not measured, ansible-core could not be installed from PyPI");
        };
        for (name, settings) in ANSIBLE {
            let (_, lines, rendered) = self.machines(3, 9);
            for (run, order) in ["first", "second"].into_iter().enumerate() {
                let cost = self.measure(name, self.playbook(&program, settings, &lines, &rendered));
                cost.show(&format!("{name}, {order} run"), Some(&plain[run]));
            }
        }
    }

    /// In an environment of its own, kept for the next time.
    fn ansible(&self) -> Option<String> {
        let home = self.folder.join("cache/ansible");
        let program = home.join("bin/ansible-playbook");
        if !program.exists() {
            let _ = Command::new("python3").args(["-m", "venv"]).arg(&home).output();
            let _ = Command::new(home.join("bin/pip")).args(["install", "--quiet", "ansible-core"]).output();
        }
        program.exists().then(|| program.display().to_string())
    }

    fn playbook(&self, program: &str, settings: &[(&str, &str)], lines: &str, rendered: &Path) -> Command {
        let inventory: String = lines
            .lines()
            .filter_map(|line| <[&str; 4]>::try_from(line.split(' ').collect::<Vec<_>>()).ok())
            .map(|[slot, address, _, instance]| format!("{slot} ansible_host={address} instance={instance}\n"))
            .collect();
        let (hosts, playbook) =
            (self.folder.join("bench-hosts.ini"), concat!(env!("CARGO_MANIFEST_DIR"), "/benches/ansible/prepare.yml"));
        let _ = std::fs::write(&hosts, inventory);
        let key = self.folder.join("home/.ssh/id_ed25519").display().to_string();
        let variables = format!("rendered={} bundle={}", rendered.display(), self.folder.join("bundle").display());
        let mut command = self.inside(&[
            program,
            "-i",
            &hosts.display().to_string(),
            "-u",
            "admin",
            "--private-key",
            &key,
            "-e",
            &variables,
            playbook,
        ]);
        command.env("ANSIBLE_HOST_KEY_CHECKING", "False").env("LC_ALL", "C.UTF-8").envs(settings.iter().copied());
        command
    }
}

type Settings = &'static [(&'static str, &'static str)];

const ANSIBLE: [(&str, Settings); 2] = [
    ("Ansible, defaults", &[]),
    (
        "Ansible, tuned",
        &[
            ("ANSIBLE_FORKS", "12"),
            ("ANSIBLE_PIPELINING", "True"),
            ("ANSIBLE_SSH_ARGS", "-o ControlMaster=auto -o ControlPersist=60s -o PreferredAuthentications=publickey"),
        ],
    ),
];
