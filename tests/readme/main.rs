//! README.md shows what the program prints: every command in it is run, or compared with what `./demo` printed.
//!
//! A step of the demo whose output is not in `target/demo` is not listed at all, and a line on stderr says so.

mod page;
mod shape;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::CommandFactory;
use kubewright::bootstrap::cni::release::{HELM, HELM_BUNDLED, release};
use kubewright::cli::args::Cli;
use kubewright::cloud::calls::iam_policy;
use kubewright::cluster::Cni;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

use page::{Shown, parts, shown};

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let mut trials = vec![
        Trial::test("every_command_is_in_the_table", || commands().map_err(Failed::from)),
        Trial::test("every_exit_code_is_in_the_table", || exit_codes().map_err(Failed::from)),
        Trial::test("every_key_of_the_spec_is_in_the_table", || keys().map_err(Failed::from)),
        Trial::test("every_pod_network_is_in_the_table", || pod_networks().map_err(Failed::from)),
        Trial::test("the_iam_policy_is_that_of_the_calls", || policy().map_err(Failed::from)),
        Trial::test("placeholders", || {
            shape::check();
            Ok(())
        }),
    ];
    for one in shown(&read("README.md")) {
        let name = format!("line_{}::{}", one.line, one.command);
        match &one.step {
            Some(step) => {
                let file = root().join("target/demo").join(format!("{step}.txt"));
                if file.is_file() {
                    trials.push(Trial::test(name, move || of_the_demo(&one, &file).map_err(Failed::from)));
                } else {
                    eprintln!("not compared: README.md:{}: {}; `./demo | cat` makes {}", one.line, one.command, file.display());
                }
            }
            None if one.command.starts_with("kubewright ") && !one.output.is_empty() => {
                trials.push(Trial::test(name, move || of_a_run(&one).map_err(Failed::from)));
            }
            None => {}
        }
    }
    libtest_mimic::run(&args, trials).exit_code()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Release, file in a bundle and images of each pod network, in the row of its name.
fn pod_networks() -> Result<(), String> {
    let page = read("README.md");
    for cni in [Cni::Calico, Cni::Cilium, Cni::Flannel, Cni::None] {
        let start = format!("| `{}` |", cni.as_str());
        let row = page.lines().find(|line| line.starts_with(&start)).ok_or(format!("README.md has no row {start}"))?;
        let Some(release) = release(cni) else { continue };
        let mut wanted = vec![format!("[{}]({})", release.version, release.url), format!("`{}`", release.bundled)];
        wanted.extend(release.images.iter().map(|image| format!("`{image}`")));
        if cni == Cni::Cilium {
            wanted.push(format!("`{HELM_BUNDLED}`"));
            wanted.extend(HELM.iter().map(|helm| format!("({})", helm.url)));
        }
        let missing: Vec<String> = wanted.into_iter().filter(|part| !row.contains(part.as_str())).collect();
        if !missing.is_empty() {
            return Err(format!("README.md, row {start}: {} is not there", missing.join(", ")));
        }
    }
    Ok(())
}

/// Compares shapes: ids, times and the like differ from run to run.
fn of_the_demo(one: &Shown, file: &Path) -> Result<(), String> {
    let real = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    match shape::missing(&parts(&one.output), &real) {
        None => Ok(()),
        Some(part) => Err(format!("README.md:{}: the demo does not print\n{part}\n-- it prints\n{real}", one.line)),
    }
}

/// Runs the command where a newcomer would, and compares every letter.
fn of_a_run(one: &Shown) -> Result<(), String> {
    let place = tempfile::tempdir().map_err(|error| error.to_string())?;
    furnish(place.path());
    let output = Command::new(env!("CARGO_BIN_EXE_kubewright"))
        .args(one.command.split_whitespace().skip(1))
        .current_dir(place.path())
        .env_clear()
        .env("HOME", place.path())
        .output()
        .map_err(|error| error.to_string())?;
    let real = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let find = |rest: &str, part: &str| rest.find(part).map(|at| at + part.len());
    match page::missing(&parts(&one.output), &real, find) {
        None => Ok(()),
        Some(part) => Err(format!("README.md:{}: this is not printed\n{part}\n-- but this is\n{real}", one.line)),
    }
}

/// The examples, a key, and `mistakes.toml`: the example with the three mistakes that the page speaks of.
fn furnish(place: &Path) {
    let clusters = place.join("clusters");
    for folder in [&clusters, &place.join(".ssh"), &place.join(".lab/bundle")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    let examples = ["minimal.toml", "ha.toml", "private-bastion.toml"];
    for name in examples {
        std::fs::copy(root().join("clusters").join(name), clusters.join(name)).unwrap();
    }
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f demo\n";
    std::fs::write(place.join(".ssh/id_ed25519.pub"), key).unwrap();
    let mut text = read("clusters/ha.toml");
    let version = text.lines().find_map(|line| line.strip_prefix("kubernetes = \"")).and_then(|rest| rest.split('"').next());
    std::fs::write(place.join(".lab/bundle/VERSION"), format!("{}\n", version.unwrap_or_default())).unwrap();
    for (right, wrong) in [
        ("pods = \"192.168.0.0/16\"", "pods = \"10.20.0.0/16\""),
        ("private_key = ", "private-key = "),
        ("role = \"control-plane\"\ncount = 3", "role = \"control-plane\"\ncount = 2"),
    ] {
        assert!(text.contains(right), "clusters/ha.toml has no `{right}`");
        text = text.replacen(right, wrong, 1);
    }
    std::fs::write(clusters.join("mistakes.toml"), text).unwrap();
}

/// Rows of a table of the page, each as its cells.
fn rows() -> Vec<Vec<String>> {
    let page = read("README.md");
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    page.lines().filter(|line| line.starts_with("| ")).map(cells).collect()
}

fn difference(what: &str, wanted: BTreeSet<String>, found: BTreeSet<String>) -> Result<(), String> {
    let missing: Vec<_> = wanted.difference(&found).collect();
    let surplus: Vec<_> = found.difference(&wanted).collect();
    if missing.is_empty() && surplus.is_empty() {
        return Ok(());
    }
    Err(format!("README.md, {what}: missing {missing:?}, not there any more {surplus:?}"))
}

fn commands() -> Result<(), String> {
    fn leaves(path: &str, command: &clap::Command, found: &mut BTreeSet<String>) {
        let inner: Vec<_> = command.get_subcommands().filter(|inner| inner.get_name() != "help").collect();
        if inner.is_empty() {
            found.insert(path.trim().to_owned());
        }
        for one in inner {
            leaves(&format!("{path} {}", one.get_name()), one, found);
        }
    }
    let mut wanted = BTreeSet::new();
    leaves("", &Cli::command(), &mut wanted);
    // Rows whose first cell begins with a verb of the program: `create cluster -f FILE` is `create`.
    let verbs: BTreeSet<&str> = wanted.iter().filter_map(|path| path.split(' ').next()).collect();
    let first = rows().into_iter().filter_map(|row| row.first().map(|cell| cell.trim_matches('`').to_owned()));
    let found = first
        .filter(|cell| cell.split(' ').next().is_some_and(|verb| verbs.contains(verb)))
        .map(|cell| wanted.iter().find(|path| cell == **path || cell.starts_with(&format!("{path} "))).cloned().unwrap_or(cell));
    let found = found.collect();
    difference("commands", wanted, found)
}

fn exit_codes() -> Result<(), String> {
    let source = read("src/report.rs");
    let of_report = source.lines().filter_map(|line| line.trim().strip_prefix("pub const ")?.split(": u8 = ").nth(1));
    let mut wanted: BTreeSet<String> = of_report.map(|code| code.trim_end_matches(';').to_owned()).collect();
    // Held locks come from the store's errors.
    wanted.insert("4".into());
    let is_code = |cell: &String| !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit());
    let found = rows().into_iter().filter_map(|row| row.into_iter().next()).filter(is_code).collect();
    difference("exit codes", wanted, found)
}

/// Rows `| [table] | keys |` against the schema.
fn keys() -> Result<(), String> {
    let schema: Value = serde_json::from_str(&read("clusters/kubewright.schema.json")).map_err(|error| error.to_string())?;
    let mut wanted = BTreeSet::new();
    walk("", &schema, &schema, &mut wanted);
    let mut found = BTreeSet::new();
    for row in rows() {
        let (Some(table), Some(keys)) = (row.first(), row.get(1)) else { continue };
        let table = table.trim_matches('`');
        let path = match table {
            "the top" => "",
            _ if table.starts_with('[') => table.trim_matches(['[', ']']),
            _ => continue,
        };
        for key in keys.split('`').skip(1).step_by(2) {
            found.insert(format!("{path}.{key}").trim_start_matches('.').to_owned());
        }
    }
    difference("keys of the spec", wanted, found)
}

/// Every key that is a value; tables are the prefix of their keys.
fn walk(path: &str, node: &Value, schema: &Value, found: &mut BTreeSet<String>) {
    let node = match node.get("$ref").and_then(Value::as_str).and_then(|link| schema.pointer(link.trim_start_matches('#'))) {
        Some(target) => target,
        None => node,
    };
    let inner = node.get("items").unwrap_or(node);
    let inner = match inner.get("$ref").and_then(Value::as_str).and_then(|link| schema.pointer(link.trim_start_matches('#'))) {
        Some(target) => target,
        None => inner,
    };
    match inner.get("properties").and_then(Value::as_object) {
        Some(properties) => {
            for (key, value) in properties {
                walk(format!("{path}.{key}").trim_start_matches('.'), value, schema, found);
            }
        }
        None => {
            found.insert(path.to_owned());
        }
    }
}

/// `KUBEWRIGHT_WRITE=1 cargo test --test readme iam` writes it anew.
fn policy() -> Result<(), String> {
    let path: PathBuf = root().join("clusters/iam-policy.json");
    let wanted = iam_policy(Some("STATE-BUCKET"), "HOSTED-ZONE-ID");
    if std::env::var_os("KUBEWRIGHT_WRITE").is_some() {
        let text = serde_json::to_string_pretty(&wanted).map_err(|error| error.to_string())? + "\n";
        std::fs::write(&path, text).map_err(|error| error.to_string())?;
    }
    let found: Value = serde_json::from_str(&read(&path)).map_err(|error| error.to_string())?;
    if found == wanted {
        Ok(())
    } else {
        Err("clusters/iam-policy.json is out of date; KUBEWRIGHT_WRITE=1 writes it anew".into())
    }
}
