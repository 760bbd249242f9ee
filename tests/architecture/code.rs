//! Rust sources as the rules look at them: without comments, without the text of strings, without tests.

use std::path::PathBuf;

use crate::{files, read};

/// A source file.
pub struct Source {
    pub path: PathBuf,
    /// As it is.
    pub text: String,
    /// Comments and the insides of strings and characters are blanks; lines are where they were.
    pub code: String,
    /// The same, without what is compiled for tests only.
    pub shipped: String,
}

impl Source {
    fn new(path: PathBuf) -> Self {
        let text = read(&path);
        let code = blank(&text);
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let shipped = if is_for_tests(&path, stem) { String::new() } else { without_tests(&code) };
        Self { path, text, code, shipped }
    }

    /// Below one of these folders, or one of these files.
    pub fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// Where `code` (of this file) has a word, as `path:line`.
    pub fn places<'a>(&'a self, code: &'a str, word: &'a str) -> impl Iterator<Item = String> + 'a {
        positions(code, word).map(move |at| self.place(at))
    }

    pub fn place(&self, at: usize) -> String {
        format!("{}:{}", self.path.display(), self.text[..at].matches('\n').count() + 1)
    }
}

/// All Rust sources below a folder.
pub fn sources(folder: &str) -> Vec<Source> {
    files(folder).into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs")).map(Source::new).collect()
}

/// Everything that is compiled.
pub fn all() -> Vec<Source> {
    let folders = ["src", "tests", "benches", "lab/src", "lab/tests"];
    folders.into_iter().filter(|folder| crate::root().join(folder).is_dir()).flat_map(sources).collect()
}

fn is_for_tests(path: &std::path::Path, stem: &str) -> bool {
    let declared = format!("mod {stem};");
    let folder = path.parent().unwrap_or(path);
    // A folder of tests is declared as a whole.
    let home = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if folder.components().count() > 1 && is_for_tests(folder, home) {
        return true;
    }
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let by_path = format!("#[cfg(test)]\n#[path = \"{file}\"]\nmod ");
    let beside = std::fs::read_dir(crate::root().join(folder)).into_iter().flatten().flatten().map(|entry| entry.path());
    if beside.filter(|path| path.is_file()).any(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains(&by_path))) {
        return true;
    }
    let parents = ["mod.rs", "main.rs", "lib.rs"].iter().map(|name| folder.join(name)).chain([folder.with_extension("rs")]);
    parents.filter(|parent| crate::root().join(parent).is_file()).any(|parent| {
        let text = blank(&read(parent));
        let before = text.find(&declared).map(|at| text[..at].trim_end().trim_end_matches("pub").trim_end());
        before.is_some_and(|before| before.ends_with("#[cfg(test)]"))
    })
}

/// Positions of a word, not as a part of a longer one where it begins or ends with a letter.
pub fn positions<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = code[..*at].chars().next_back().is_some_and(part) && word.starts_with(part);
        let after = code[at + word.len()..].chars().next().is_some_and(part) && word.ends_with(part);
        !before && !after
    })
}

/// Replaces comments and the text of strings and characters by blanks, byte for byte.
pub fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut clear = |from: usize, to: usize| {
        for byte in &mut out[from..to] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    };
    let find = |from: usize, what: &str| text[from..].find(what).map_or(text.len(), |at| from + at);
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let word_before = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        if rest.starts_with(b"//") {
            let end = find(at, "\n");
            clear(at, end);
            at = end;
        } else if rest.starts_with(b"/*") {
            let end = end_of_comment(bytes, at);
            clear(at, end);
            at = end;
        } else if !word_before && let Some(hashes) = raw_string(rest) {
            let start = at + text[at..].find('"').unwrap_or_default() + 1;
            let end = find(start, &format!("\"{}", "#".repeat(hashes)));
            clear(start, end);
            at = (end + 1 + hashes).min(bytes.len());
        } else if rest[0] == b'"' {
            let mut end = at + 1;
            while end < bytes.len() && bytes[end] != b'"' {
                end += if bytes[end] == b'\\' { 2 } else { 1 };
            }
            let end = end.min(bytes.len());
            clear(at + 1, end);
            at = end + 1;
        } else if rest[0] == b'\'' {
            // A character, or a lifetime: that has no closing quote right behind its one character.
            let width = match text[at + 1..].chars().next() {
                Some('\\') => text[at + 3..].find('\'').map(|more| more + 2),
                Some(c) if text[at + 1 + c.len_utf8()..].starts_with('\'') => Some(c.len_utf8()),
                _ => None,
            };
            match width {
                Some(width) => {
                    clear(at + 1, at + 1 + width);
                    at += width + 2;
                }
                None => at += 1,
            }
        } else {
            at += 1;
        }
    }
    String::from_utf8(out).expect("blanks took whole characters")
}

fn end_of_comment(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(bytes.len())
}

/// The number of `#` if a raw string begins here.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let body = rest.strip_prefix(b"br").or_else(|| rest.strip_prefix(b"r"))?;
    let hashes = body.iter().take_while(|byte| **byte == b'#').count();
    (body.get(hashes) == Some(&b'"')).then_some(hashes)
}

/// Blanks each item that follows `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.to_owned();
    while let Some(start) = out.find(MARK) {
        let end = end_of_item(&out, start + MARK.len());
        let blanks: String = out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blanks);
    }
    out
}

/// Behind the first block, or the first semicolon outside of brackets.
fn end_of_item(code: &str, start: usize) -> usize {
    let (mut depth, mut brackets) = (0, 0);
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b'[' | b'(' => brackets += 1,
            b']' | b')' => brackets -= 1,
            _ => {}
        }
        if (byte == b'}' && depth == 0) || (byte == b';' && depth == 0 && brackets == 0) {
            return at + 1;
        }
    }
    code.len()
}

#[test]
fn comments_and_strings_are_blank_and_everything_else_stays() {
    let text = "let a = \"unsafe \\\" // x\"; // unsafe\nlet b = r#\"unsafe\"#; /* a /* b */ unsafe */ 'u' b'\\'' &'a str";
    let code = blank(text);
    assert_eq!(code.len(), text.len());
    assert!(!code.contains("unsafe") && code.contains("&'a str") && code.contains("let b = r#"), "{code}");
    let code = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { x.unwrap() } }\nfn c() {}\n#[cfg(test)]\nuse a::{b, c};\nfn d() {}";
    let shipped = without_tests(code);
    assert!(!shipped.contains("unwrap") && !shipped.contains("use a") && shipped.contains("fn c") && shipped.contains("fn d"));
    assert_eq!(positions("ssh2 ssh20 xssh2 ssh2::x", "ssh2").count(), 2);
}
