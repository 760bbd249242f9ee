//! The pages name what is there.

use std::collections::BTreeSet;
use std::path::Path;

use crate::{files, none, read, root};

const PAGES: &[&str] = &["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "lab/README.md"];

#[test]
fn links_between_pages_lead_somewhere() {
    let mut findings = Vec::new();
    for page in PAGES {
        let text = read(page);
        let home = Path::new(page).parent().unwrap_or(Path::new(""));
        for (number, line) in text.lines().enumerate() {
            for link in line.match_indices("](").filter_map(|(at, _)| line[at + 2..].split(')').next()) {
                let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
                if link.contains("://") {
                    continue;
                }
                let target = if file.is_empty() { Path::new(page).to_owned() } else { home.join(file) };
                let there = root().join(&target).exists();
                let known = anchor.is_empty() || (there && anchors(&read(&target)).contains(anchor));
                if !there || !known {
                    findings.push(format!("{page}:{}: {link}", number + 1));
                }
            }
        }
    }
    none(findings, "links that lead nowhere");
}

/// As GitHub makes them of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let keep = |c: char| c.is_alphanumeric() || c == '-' || c == '_' || c == ' ';
    headings.map(|line| line.to_lowercase().chars().filter(|c| keep(*c)).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn files_that_pages_name_exist() {
    let mut findings = Vec::new();
    for page in PAGES {
        let text = read(page);
        for (number, line) in text.lines().enumerate() {
            for word in line.split('`').skip(1).step_by(2) {
                let begins = ["src/", "tests/", "templates/", "clusters/", "lab/src/", "lab/emulator/", "lab/stand-ins/"];
                let plain = word.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c));
                if plain && begins.iter().any(|begin| word.starts_with(begin)) && !root().join(word).exists() {
                    findings.push(format!("{page}:{}: {word}", number + 1));
                }
            }
        }
    }
    none(findings, "files that are not there");
}

#[test]
fn the_map_has_every_module() {
    let page = read("ARCHITECTURE.md");
    let modules: BTreeSet<String> = files("src")
        .iter()
        .filter_map(|path| path.iter().nth(1).and_then(|part| part.to_str()).map(str::to_owned))
        .map(|name| if root().join("src").join(&name).is_dir() { format!("{name}/") } else { name })
        .collect();
    let missing = modules.into_iter().filter(|name| !page.contains(&format!("\n{name} ")));
    none(missing.collect(), "the map in ARCHITECTURE.md has a line for each module of src");
}
