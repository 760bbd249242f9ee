//! Who may know whom, and where the world may enter.

use crate::code::{Source, positions, sources};
use crate::none;

/// Stages that only compute, and the modules that each may name.
const PURE: &[(&str, &[&str])] = &[
    ("cluster", &[]),
    ("spec", &["cluster", "desired"]),
    ("desired", &["cluster", "digest"]),
    ("observed", &["desired"]),
    ("plan", &["cluster", "desired", "observed", "recorded", "digest"]),
    ("recorded", &["cluster", "desired", "plan"]),
    ("rolling", &["cluster", "desired"]),
];

/// The modules that act, and those that none of them may name.
const ABOVE: &[(&str, &[&str])] = &[
    ("bootstrap", &["apply", "cloud", "store", "operation", "report", "cli", "recorded", "observed", "desired"]),
    ("cloud", &["apply", "bootstrap", "operation", "report", "cli", "recorded"]),
    ("store", &["apply", "bootstrap", "cloud", "operation", "report", "cli"]),
    ("apply", &["store", "operation", "report", "cli", "spec"]),
    ("operation", &["report", "cli"]),
];

/// Modules of this crate that code names, with the places.
fn named(source: &Source) -> Vec<(String, String)> {
    let code = &source.shipped;
    let mut found = Vec::new();
    for at in positions(code, "crate::") {
        let rest = &code[at + "crate::".len()..];
        let group = rest.strip_prefix('{').map(|group| &group[..closing(group)]);
        let firsts: Vec<&str> = match group {
            Some(group) => top_level(group),
            None => vec![rest],
        };
        for first in firsts {
            let end = first.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(first.len());
            found.push((first[..end].to_owned(), source.place(at)));
        }
    }
    found
}

fn closing(group: &str) -> usize {
    let mut depth = 1;
    for (at, c) in group.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            return at;
        }
    }
    group.len()
}

fn top_level(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 {
            parts.push(group[start..at].trim());
            start = at + 1;
        }
    }
    parts.push(group[start..].trim());
    parts
}

#[test]
fn stages_that_compute_know_only_what_they_compute_with() {
    let mut findings = Vec::new();
    for (stage, may) in PURE {
        for source in sources(&format!("src/{stage}")) {
            let wrong = named(&source).into_iter().filter(|(module, _)| module != stage && !may.contains(&module.as_str()));
            findings.extend(wrong.map(|(module, place)| format!("{place}: {stage} names {module}")));
        }
    }
    none(findings, "a stage that computes names a module that it may not know");
}

#[test]
fn nothing_knows_what_stands_above_it() {
    let mut findings = Vec::new();
    for (stage, not) in ABOVE {
        for source in sources(&format!("src/{stage}")) {
            // The one place that names the SDK implements the store in a bucket, too.
            let bucket = source.is_in(&["src/cloud/aws/objects.rs"]);
            let wrong = named(&source).into_iter().filter(|(module, _)| not.contains(&module.as_str()));
            findings.extend(wrong.filter(|_| !bucket).map(|(module, place)| format!("{place}: {stage} names {module}")));
        }
    }
    none(findings, "a module names one that stands above it");
}

#[test]
fn stages_that_compute_have_no_clock_no_files_and_never_wait() {
    let words = [
        "async",
        "await",
        "tokio",
        "futures",
        "Timestamp::now",
        "SystemTime",
        "Instant",
        "std::fs",
        "TcpStream",
        "UdpSocket",
        "ToSocketAddrs",
        "std::env",
        "std::thread",
        "std::process",
        "HashMap",
        "HashSet",
        "uuid",
    ];
    let mut findings = Vec::new();
    for (stage, _) in PURE {
        for source in sources(&format!("src/{stage}")) {
            for word in words {
                findings.extend(source.places(&source.shipped, word).map(|place| format!("{place}: {word}")));
            }
        }
    }
    none(findings, "what is computed must not depend on a moment, a machine or an order of hashes");
}

#[test]
fn the_world_enters_where_it_is_said_to() {
    // What, and the only places that may name it.
    let doors: &[(&[&str], &[&str])] = &[
        (
            &[
                "aws_sdk_ec2",
                "aws_sdk_route53",
                "aws_sdk_s3",
                "aws_sdk_sts",
                "aws_config",
                "aws_credential_types",
                "aws_smithy_types",
                "aws_smithy_runtime_api",
            ],
            &["src/cloud/aws"],
        ),
        (&["ssh2"], &["src/bootstrap/ssh"]),
        (&["println", "eprintln", "print", "eprint", "stdout", "stderr()", "stdin", "indicatif", "anstream"], &["src/cli/ui.rs"]),
        (&["Timestamp::now", "SystemTime"], &["src/clock.rs"]),
        (&["uuid"], &["src/clock.rs", "src/cloud/aws/send.rs"]),
        (&["clap", "clap_complete"], &["src/cli"]),
        (&["minijinja"], &["src/bootstrap/template.rs"]),
        (
            &["env::var", "env::var_os", "env::vars"],
            // The process; TERM; what the SDK has no setting for; the passphrase of the SSH key.
            &["src/cli/outside.rs", "src/cli/ui.rs", "src/cloud/aws", "src/bootstrap/nodes.rs"],
        ),
    ];
    let mut findings = Vec::new();
    for source in sources("src") {
        for (words, places) in doors.iter().filter(|(_, places)| !source.is_in(places)) {
            for word in *words {
                let macros = ["println", "eprintln", "print", "eprint"].contains(word);
                let hits = positions(&source.shipped, word)
                    .filter(|at| !macros || source.shipped[at + word.len()..].starts_with('!'))
                    // A field or a method of ours that has the name of a stream is none.
                    .filter(|at| !["stdout", "stdin", "stderr()"].contains(word) || source.shipped[..*at].ends_with("io::"));
                findings.extend(hits.map(|at| format!("{}: {word}, which only {places:?} may name", source.place(at))));
            }
        }
    }
    none(findings, "the world enters where it should not");
}
