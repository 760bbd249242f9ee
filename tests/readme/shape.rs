//! What two runs of the same command have in common: ids, addresses, times, durations, counts of calls and paths are placeholders.

/// The words of a text, as both runs have them. Lines break where the paths in them say, so breaks do not count.
pub fn words(text: &str) -> Vec<String> {
    let raw: Vec<&str> = text.split_whitespace().collect();
    let mut out: Vec<String> = Vec::new();
    let mut at = 0;
    while let Some(word) = raw.get(at) {
        let next = raw.get(at + 1).copied().unwrap_or_default();
        let before = out.last().cloned().unwrap_or_default();
        let (bare, tail) = split(word);
        let (next_bare, next_tail) = split(next);
        if is_number(bare) && ["s", "ms", "min", "h"].contains(&next_bare) {
            // `1 min 43 s` is one duration.
            if before == "DURATION" {
                out.pop();
            }
            out.push(format!("DURATION{next_tail}"));
            at += 2;
            continue;
        }
        let (open, inner) = bare.strip_prefix('(').map_or(("", bare), |inner| ("(", inner));
        let counted = ["reads", "calls", "throttled", "files", "resources"].contains(&next_bare);
        let stands_for = if is_number(inner) && counted { Some("N") } else { placeholder(inner, &before) };
        out.push(match stands_for {
            Some(name) => format!("{open}{name}{tail}"),
            None => (*word).to_owned(),
        });
        at += 1;
    }
    out
}

/// A word and the punctuation behind it.
fn split(word: &str) -> (&str, &str) {
    word.split_at(word.trim_end_matches([',', '.', ':', ')', ';']).len())
}

fn is_number(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit()) && word.chars().all(|c| c.is_ascii_digit() || c == '.')
}

fn is_hex(word: &str) -> bool {
    word.len() >= 8 && word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn placeholder(word: &str, before: &str) -> Option<&'static str> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_time(word) {
        return Some("TIME");
    }
    if is_age(word) {
        return Some("AGE");
    }
    if word.split('.').count() == 4 && word.split('.').all(digits) {
        return Some("ADDRESS");
    }
    if word.starts_with("file://") || word.starts_with("s3://") {
        return Some("STATE");
    }
    if word.starts_with('/') {
        return Some("PATH");
    }
    if word.len() == 12 && digits(word) {
        return Some("ACCOUNT");
    }
    // The id of a change of Route 53.
    if before == "records" && word.len() > 10 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) {
        return Some("CHANGE");
    }
    let (name, end) = word.rsplit_once('-')?;
    match name {
        "i" | "vpc" | "subnet" | "sg" | "igw" | "rtb" | "key" | "ami" | "nat" | "eipalloc" if is_hex(end) => Some("ID"),
        _ if name.starts_with("debian-") || name.starts_with("ubuntu") => Some("IMAGE"),
        _ if end.len() == 8 && is_hex(end) => Some("KEY"),
        "web" if end.len() == 5 => Some("POD"),
        _ => None,
    }
}

/// kubectl's `74s` and `2m3s`.
fn is_age(word: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(rest) = word.strip_suffix('s') else { return word.strip_suffix('m').is_some_and(number) };
    rest.split_once('m').map_or_else(|| number(rest), |(minutes, seconds)| number(minutes) && number(seconds))
}

/// `2026-11-21T12:42:46Z`
fn is_time(word: &str) -> bool {
    let pattern = "0000-00-00T00:00:00Z";
    word.len() == pattern.len()
        && word.bytes().zip(pattern.bytes()).all(|(byte, like)| if like == b'0' { byte.is_ascii_digit() } else { byte == like })
}

/// The first part of an output that a real one lacks. Parts follow each other; a dated line may stand anywhere, as what is done
/// at once ends in any order, and so may a line that begins with an id, by which kubectl sorts.
pub fn missing(parts: &[String], real: &str) -> Option<String> {
    let is_loose = |line: &&str| {
        let first = line.split_whitespace().next().unwrap_or_default();
        is_time(first) || placeholder(first, "") == Some("ID")
    };
    let (loose, plain): (Vec<&str>, Vec<&str>) = real.lines().partition(is_loose);
    let loose: Vec<Vec<String>> = loose.iter().map(|line| words(line)).collect();
    let plain = words(&plain.join("\n"));
    let mut from = 0;
    for part in parts {
        let (lines, text): (Vec<&str>, Vec<&str>) = part.lines().partition(is_loose);
        if let Some(line) = lines.iter().find(|line| !loose.contains(&words(line))) {
            return Some((*line).to_owned());
        }
        let wanted = words(&text.join("\n"));
        if wanted.is_empty() {
            continue;
        }
        match plain[from..].windows(wanted.len()).position(|window| window == wanted) {
            Some(at) => from += at + wanted.len(),
            None => return Some(text.join("\n")),
        }
    }
    None
}

/// What is a placeholder, and what is not.
pub fn check() {
    let one = "Applied in 1 min 43 s: 16 created. 6 of 6 nodes Ready. 148 calls, 0 throttled.";
    let other = "Applied in 22 s: 16 created. 6 of 6 nodes Ready. 23\n  calls, 2 throttled.";
    assert_eq!(words(one), words(other));
    assert_ne!(words(one), words(&one.replace("16", "15")), "what was done is no placeholder");
    assert_ne!(words(one), words(&one.replace("6 of 6", "5 of 6")));
    let row = "nodes-us-east-1a-1  i-5d1e4aad64063d938  running  joined  10.20.0.5";
    assert_eq!(words(row), words("nodes-us-east-1a-1 i-0000000000000000a running joined 10.20.0.77"));
    assert_ne!(words(row), words("nodes-us-east-1a-1 i-0000000000000000a stopped joined 10.20.0.77"));
    assert_ne!(words("tcp 22 from 203.0.113.0/24"), words("tcp 22 from 198.51.100.0/24"), "what the spec says is none either");
    assert_eq!(words("i-0000000000000000a Ready node 74s"), words("i-5d1e4aad64063d938 Ready node 2m3s"));
    assert_eq!(words("web-wzg4c"), words("web-l7k2x"));
    assert_ne!(words("74s"), words("NotReady"));
    assert_eq!(words("(17 reads, 6.4 s)"), words("(9 reads, 0.1 s)"));
    assert_eq!(words("state file:///home/you/state/demo, new"), words("state file:///tmp/x/demo, new"));
    let real = "head\nplan 1\n2026-11-21T12:42:46Z created VPC vpc-f541e4de784d2150d 0.4 s\ntail";
    let part = |text: &str| text.to_owned();
    assert_eq!(missing(&[part("head"), part("tail"), part("2026-01-01T00:00:00Z created VPC vpc-00000000 1 s")], real), None);
    assert_eq!(missing(&[part("tail"), part("head")], real), Some("head".into()), "the order counts");
    let nodes = ["i-00000000000000001 Ready node 3s", "i-00000000000000002 Ready control-plane 4s"];
    assert_eq!(missing(&[part(nodes[1]), part(nodes[0])], &nodes.join("\n")), None, "but not of ids");
    assert_eq!(missing(&[part(nodes[1])], nodes[0]), Some(nodes[1].into()));
    assert_eq!(missing(&[part("plan 2")], real), Some("plan 2".into()));
}
