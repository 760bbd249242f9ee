//! What the crates are built from: each dependency with a reason, a use, a licence and a source.

use std::process::Command;

use crate::code::sources;
use crate::{none, read, root};

/// Licences that a dependency may have, as SPDX names them. The same list as in deny.toml.
const LICENCES: &[&str] = &["Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-3-Clause", "ISC", "MIT", "Unicode-3.0", "Zlib"];
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Names in the tables of dependencies of a manifest.
fn named(manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in read(manifest).lines() {
        if line.starts_with('[') {
            inside = ["[dependencies]", "[dev-dependencies]", "[build-dependencies]"].contains(&line.trim());
        } else if inside && let Some((name, _)) = line.split_once('=') {
            found.push(name.trim().to_owned());
        }
    }
    assert!(!found.is_empty(), "{manifest} names no dependency");
    found
}

#[test]
fn every_dependency_has_its_reason_in_the_architecture() {
    let page = read("ARCHITECTURE.md");
    let mut findings = Vec::new();
    for manifest in ["Cargo.toml", "lab/Cargo.toml"] {
        for name in named(manifest) {
            if !page.contains(&format!("`{name}`")) {
                findings.push(format!("{manifest}: {name}"));
            }
        }
    }
    none(findings, "ARCHITECTURE.md says why each dependency is there");
}

#[test]
fn every_dependency_is_used() {
    let mut findings = Vec::new();
    for (manifest, folders) in [("Cargo.toml", vec!["src", "tests", "benches"]), ("lab/Cargo.toml", vec!["lab/src"])] {
        let folders = folders.into_iter().filter(|folder| root().join(folder).is_dir());
        let all: Vec<_> = folders.flat_map(sources).collect();
        for name in named(manifest) {
            let path = format!("{}::", name.replace('-', "_"));
            // `std::time::` is not the crate `time`.
            let used = |code: &str| crate::code::positions(code, &path).any(|at| !code[..at].ends_with("::"));
            let attribute = format!("use {};", name.replace('-', "_"));
            if !all.iter().any(|source| used(&source.code) || source.code.contains(&attribute)) {
                findings.push(format!("{manifest}: {name}"));
            }
        }
    }
    none(findings, "dependencies that nothing uses");
}

#[test]
fn everything_comes_from_crates_io() {
    let lock = read("Cargo.lock");
    let sources = lock.lines().filter_map(|line| line.strip_prefix("source = "));
    let foreign = sources.filter(|source| source.trim_matches('"') != CRATES_IO);
    none(foreign.map(str::to_owned).collect(), "a source that is not crates.io");
}

#[test]
fn every_licence_is_one_that_we_know() {
    let deny = read("deny.toml");
    none(
        LICENCES.iter().filter(|licence| !deny.contains(&format!("\"{licence}\","))).map(|name| (*name).to_owned()).collect(),
        "deny.toml has the same list",
    );
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let host = host();
    let tree = Command::new(&cargo)
        .args(["tree", "--offline", "--locked", "--workspace", "--prefix", "none", "--edges", "normal,build,dev"])
        .args(["--target", &host, "--format", "{p}|{l}"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(tree.status.success(), "cargo tree: {}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).unwrap();
    let lines: Vec<(&str, &str)> = text.lines().filter_map(|line| line.trim_end_matches(" (*)").split_once('|')).collect();
    assert!(lines.len() > 100, "the list is too short to be true:\n{text}");
    let unknown = lines.iter().filter(|(_, licence)| !allowed(licence));
    let mut unknown: Vec<String> = unknown.map(|(package, licence)| format!("{package}: `{licence}`")).collect();
    unknown.sort();
    unknown.dedup();
    none(unknown, "a licence that is not in the list");
}

fn host() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let answer = Command::new(rustc).arg("-vV").current_dir(root()).output().unwrap();
    let text = String::from_utf8(answer.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc -vV names the host").to_owned()
}

/// Whether an SPDX expression can be met with the list. `/` is an old way to write OR.
fn allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    any(&words, &mut at) && at == words.len()
}

fn any(words: &[&str], at: &mut usize) -> bool {
    let mut met = all(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all(words, at);
    }
    met
}

fn all(words: &[&str], at: &mut usize) -> bool {
    let mut met = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at);
    }
    met
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = any(words, at);
        *at += 1;
        return met && words.get(*at - 1) == Some(&")");
    }
    if words.get(*at) == Some(&"WITH") {
        let with = words.get(*at + 1).copied().unwrap_or_default();
        *at += 2;
        return LICENCES.contains(&format!("{word} WITH {with}").as_str());
    }
    LICENCES.contains(word)
}

#[test]
fn expressions_of_licences_are_understood() {
    for met in ["MIT", "GPL-3.0 OR MIT", "MIT/GPL-3.0", "(GPL-3.0 OR ISC) AND MIT", "Apache-2.0 WITH LLVM-exception OR GPL-3.0"] {
        assert!(allowed(met), "{met}");
    }
    for unmet in ["", "GPL-3.0", "GPL-3.0 AND MIT", "MIT AND (GPL-3.0 OR AGPL-3.0)", "MIT WITH LLVM-exception", "(MIT", "MIT MIT"]
    {
        assert!(!allowed(unmet), "{unmet}");
    }
}
