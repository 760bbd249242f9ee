//! README.md as the tests read it: its console blocks, each with its commands and what they print.

/// A command and what the page says that it prints.
pub struct Shown {
    /// Without the `$ `.
    pub command: String,
    pub output: Vec<String>,
    /// Line of the command in the page, from 1.
    pub line: usize,
    /// The step of `./demo` that it is taken from: `<!-- lab: STEP -->` stands before the block.
    pub step: Option<String>,
}

/// The commands of all console blocks.
pub fn shown(page: &str) -> Vec<Shown> {
    let mut all = Vec::new();
    let (mut step, mut inside): (Option<String>, bool) = (None, false);
    for (number, line) in page.lines().enumerate() {
        if inside {
            if line.starts_with("```") {
                (inside, step) = (false, None);
            } else if let Some(command) = line.strip_prefix("$ ") {
                all.push(Shown { command: command.into(), output: vec![], line: number + 1, step: step.clone() });
            } else if let Some(last) = all.last_mut() {
                last.output.push(line.to_owned());
            }
        } else if let Some(name) = line.strip_prefix("<!-- lab: ").and_then(|rest| rest.strip_suffix(" -->")) {
            step = Some(name.to_owned());
        } else if line == "```console" {
            inside = true;
        } else if !line.trim().is_empty() {
            step = None;
        }
    }
    all
}

/// What stands between lines that are `...` alone: parts that must follow each other, with anything between them.
pub fn parts(output: &[String]) -> Vec<String> {
    output.split(|line| line.trim() == "...").map(|lines| lines.join("\n")).filter(|part| !part.trim().is_empty()).collect()
}

/// Whether the parts stand in `real` in their order; the first one that does not.
pub fn missing(parts: &[String], real: &str, same: impl Fn(&str, &str) -> Option<usize>) -> Option<String> {
    let mut rest = real;
    for part in parts {
        match same(rest, part) {
            Some(end) => rest = rest.get(end..).unwrap_or_default(),
            None => return Some(part.clone()),
        }
    }
    None
}
