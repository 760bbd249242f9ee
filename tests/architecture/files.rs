//! Sizes of files, and files that nobody would miss.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::code::{Source, all, blank, positions, sources};
use crate::{files, none, read, root};

/// Looked at twice: why they are one file.
const LONG: &[(&str, &str)] = &[
    ("src/operation/update.rs", "create and update are one operation, told from its start to its end"),
    ("src/apply/tests.rs", "one rig, and the faults that it goes through"),
    ("src/bootstrap/run.rs", "how each kind of step is carried out"),
    ("tests/cli.rs", "one rig, and the commands"),
    ("tests/scenario/by_hand.rs", "one table, a row for every change by hand"),
    ("tests/scenario/cases.rs", "one table, a row for every key of a spec"),
    ("tests/scenario/world.rs", "the rig of every scenario"),
    ("tests/store/conformance.rs", "what every kind of storage must do alike, one case after the other"),
    ("tests/store/model/protocol.rs", "one protocol, a rule of the store after the other"),
    ("tests/store/s3.rs", "what a bucket answers that a folder cannot, one answer after the other"),
];

/// Names of the test binaries: `tests/NAME.rs` or `tests/NAME/main.rs`.
fn binaries() -> Vec<String> {
    let mut found = Vec::new();
    for path in files("tests") {
        let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
        match parts.as_slice() {
            [_, file] if file.ends_with(".rs") => found.push(file.trim_end_matches(".rs").to_owned()),
            [_, folder, "main.rs"] => found.push((*folder).to_owned()),
            _ => {}
        }
    }
    found
}

#[test]
fn no_file_is_longer_than_one_can_read() {
    let mut findings = Vec::new();
    for source in all() {
        let lines = source.text.lines().count();
        let known = LONG.iter().any(|(path, _)| source.path == Path::new(path));
        match lines {
            601.. => findings.push(format!("{}: {lines} lines; split it", source.path.display())),
            401.. if !known => findings.push(format!("{}: {lines} lines; look twice", source.path.display())),
            _ => {}
        }
    }
    findings.extend(LONG.iter().filter(|(path, _)| !root().join(path).is_file()).map(|(path, _)| format!("{path}: is gone")));
    none(findings, "files have 80 to 250 lines; above 400 with a reason in LONG, above 600 never");
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent =
        all().into_iter().filter(|source| !source.text.starts_with("//!")).map(|source| source.path.display().to_string());
    none(silent.collect(), "the first line of a file is `//!`");
}

#[test]
fn every_test_binary_is_known() {
    let table = read("CONTRIBUTING.md");
    let unknown = binaries().into_iter().filter(|name| !table.contains(&format!("| `{name}` |")));
    none(unknown.collect(), "CONTRIBUTING.md has a table of the test binaries: one for each kind of test");
}

#[test]
fn every_source_file_is_compiled() {
    let mut findings = Vec::new();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (folder, roots) in [("src", names(&["main.rs", "lib.rs"])), ("lab/src", names(&["main.rs"])), ("tests", binaries())] {
        let mut reached: BTreeSet<PathBuf> = BTreeSet::new();
        let mut open: Vec<PathBuf> = Vec::new();
        for name in roots {
            let names = [name.clone(), format!("{name}.rs"), format!("{name}/main.rs")];
            open.extend(names.iter().map(|name| Path::new(folder).join(name)).filter(|path| root().join(path).is_file()));
        }
        while let Some(path) = open.pop() {
            if reached.insert(path.clone()) {
                open.extend(children(&path));
            }
        }
        let forgotten = sources(folder).into_iter().filter(|source| !reached.contains(&source.path));
        findings.extend(forgotten.map(|source| source.path.display().to_string()));
    }
    none(findings, "no `mod` leads to these files");
}

/// Files of the modules that a file declares.
fn children(path: &Path) -> Vec<PathBuf> {
    let text = read(path);
    let code = blank(&text);
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let parent = path.parent().unwrap_or(path);
    let is_root = ["mod", "main", "lib"].contains(&stem) || parent == Path::new("tests");
    let home = if is_root { parent.to_owned() } else { parent.join(stem) };
    let mut found = Vec::new();
    for at in positions(&code, "mod ") {
        let rest = &code[at + 4..];
        let Some(end) = rest.find([';', '{', '\n']).filter(|end| rest[*end..].starts_with(';')) else { continue };
        let name = rest[..end].trim();
        // `#[path = "..."]` stands in the line before; its string is blank in `code`.
        let line = text[..at].trim_end().rsplit('\n').next().unwrap_or_default();
        let given = line.trim().strip_prefix("#[path = \"").and_then(|rest| rest.strip_suffix("\"]"));
        let candidates = match given {
            Some(given) => vec![parent.join(given)],
            None => vec![home.join(format!("{name}.rs")), home.join(name).join("mod.rs")],
        };
        found.extend(candidates.into_iter().filter(|path| root().join(path).is_file()));
    }
    found
}

#[test]
fn every_template_is_part_of_the_program() {
    let texts: Vec<String> = sources("src").into_iter().map(|source: Source| source.text).collect();
    let missing = files("templates").into_iter().filter(|path| {
        let name = path.strip_prefix("templates").unwrap_or(path).display().to_string();
        !texts.iter().any(|text| text.contains(&format!("\"{name}\"")) || text.contains(&format!("templates/{name}\"")))
    });
    none(missing.map(|path| path.display().to_string()).collect(), "templates that nothing embeds");
}

#[test]
fn everything_that_the_lab_brings_along_is_part_of_it() {
    let texts: Vec<String> = sources("lab/src").into_iter().map(|source| source.text).collect();
    let lines: Vec<&str> = texts.iter().flat_map(|text| text.lines()).collect();
    let folders = ["lab/base", "lab/components", "lab/emulator", "lab/stand-ins"];
    let missing = folders.iter().flat_map(|folder| files(folder)).filter(|path| {
        let name = path.strip_prefix("lab").unwrap_or(path).display().to_string();
        let is_test = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("test_"));
        // the files of a Go module stand in one line, after its folder
        let of_module = name.strip_prefix("components/").and_then(|rest| rest.split_once('/')).is_some_and(|(module, file)| {
            let (module, file) = (format!("files!(\"{module}\":"), format!("\"{file}\""));
            lines.iter().any(|line| line.contains(&module) && line.contains(&file))
        });
        let embedded = |text: &String| text.contains(&format!("../{name}\")")) && text.contains("include_str!(");
        !is_test && !of_module && !name.ends_with("README.md") && !texts.iter().any(embedded)
    });
    none(missing.map(|path| path.display().to_string()).collect(), "files of the lab that nothing embeds");
}
