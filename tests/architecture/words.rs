//! What the code does not say.

use std::path::Path;

use crate::code::{all, positions, sources};
use crate::{files, none, read};

#[test]
fn nothing_ends_the_process_or_skips_the_compilers_checks() {
    let mut findings = Vec::new();
    for source in all() {
        for word in ["process::exit", "process::abort", "unsafe", "todo!", "unimplemented!", "dbg!", "mem::forget"] {
            findings.extend(source.places(&source.code, word).map(|place| format!("{place}: {word}")));
        }
    }
    none(findings, "these are for nobody");
    for manifest in ["Cargo.toml", "lab/Cargo.toml"] {
        assert!(read(manifest).contains("unsafe_code = \"forbid\""), "{manifest} must forbid unsafe code");
    }
}

#[test]
fn no_test_is_ignored() {
    let hits = all().into_iter().flat_map(|source| source.places(&source.code, "#[ignore").collect::<Vec<_>>());
    none(hits.collect(), "a test that nobody runs proves nothing");
}

#[test]
fn nothing_that_is_read_can_make_the_program_panic() {
    let words = [".unwrap()", ".expect(", ".unwrap_err()", ".expect_err(", "panic!", "unreachable!"];
    let mut findings = Vec::new();
    for source in sources("src") {
        for word in words {
            let hits = positions(&source.shipped, word).map(|at| format!("{}: {word}", source.place(at)));
            findings.extend(hits);
        }
    }
    none(findings, "input, network and disk are answered with errors");
}

#[test]
fn names_say_what_a_thing_is() {
    let vague = ["manager", "context", "handler", "helper", "helpers", "util", "utils", "common", "data", "info", "misc"];
    let mut findings = Vec::new();
    for source in all() {
        for part in source.path.components() {
            let name = Path::new(part.as_os_str()).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if vague.contains(&name) {
                findings.push(format!("{}: {name}", source.path.display()));
            }
        }
        for keyword in ["struct ", "enum ", "trait ", "type ", "mod ", "union "] {
            for at in positions(&source.code, keyword) {
                let rest = &source.code[at + keyword.len()..];
                let name = &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())];
                // User-data is AWS's own word, `type Data` that of a body of hyper's.
                let given = name == "user_data" || (keyword == "type " && name == "Data");
                if !given && vague.contains(&last_word(name).as_str()) {
                    findings.push(format!("{}: {name}", source.place(at)));
                }
            }
        }
    }
    none(findings, "a name that fits everything says nothing");
}

/// `kubeadm_info` and `KubeadmInfo` end with `info`.
fn last_word(name: &str) -> String {
    let snake = name.rsplit('_').next().unwrap_or(name);
    let start = snake.rfind(|c: char| c.is_uppercase()).unwrap_or(0);
    snake[start..].to_lowercase()
}

#[test]
fn no_path_of_a_developers_machine_is_written_down() {
    // Put together here, so that this file is no finding.
    let homes = ["work", "root", "Users"].map(|name| format!("/{name}/"));
    let mut findings = Vec::new();
    for path in files(".") {
        let Ok(text) = std::fs::read_to_string(crate::root().join(&path)) else { continue };
        for (number, line) in text.lines().enumerate() {
            let found = homes.iter().find(|home| {
                line.match_indices(home.as_str()).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric()))
            });
            if let Some(home) = found {
                findings.push(format!("{}:{}: {home}", path.display(), number + 1));
            }
        }
    }
    none(findings, "a path that exists on one machine only");
}
