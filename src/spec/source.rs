//! From bytes to a TOML tree, with as many syntax errors as can be told apart.

use std::collections::BTreeSet;

use toml::de::DeTable;

use super::MAX_BYTES;
use super::problem::{Code, Fault, Findings, Problem, Problems};

/// The text of a spec, or why it has none.
pub(crate) fn text(label: &str, bytes: &[u8]) -> Result<String, Problems> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(too_large(label, bytes.len() as u64));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Err(not_utf8(label, bytes, error.valid_up_to())),
    };
    if text.trim_start_matches('\u{feff}').trim().is_empty() {
        let help = "start from clusters/minimal.toml";
        return Err(Problems::of_file(label, Code::Empty, format!("{label} is empty"), Some(help)));
    }
    Ok(text.to_owned())
}

/// For callers that know the size before they read.
pub fn too_large(label: &str, bytes: u64) -> Problems {
    let message = format!("{label} is {:.1} MB; a spec is at most 1 MiB", bytes as f64 / 1e6);
    Problems::of_file(label, Code::TooLarge, message, None)
}

fn not_utf8(label: &str, bytes: &[u8], offset: usize) -> Problems {
    let byte = bytes.get(offset).copied().unwrap_or_default();
    // Everything before the offset is valid, so it is the same in the readable form.
    let source = String::from_utf8_lossy(bytes).into_owned();
    let mut findings = Findings::new(&source);
    let fault =
        Fault::new(Code::NotUtf8, format!("not UTF-8: byte 0x{byte:02x} at offset {offset}")).help("save the file as UTF-8 text");
    findings.error(&(offset..offset + 1), fault);
    findings.finish(label.to_owned(), source.clone())
}

/// Parses, hands the tree on (with whether nothing but single values is missing from it), and drops those findings that only a syntax error has caused.
pub(crate) fn parse<T>(text: &str, findings: &mut Findings, next: impl FnOnce(&DeTable, bool, &mut Findings) -> T) -> T {
    let (tree, errors) = DeTable::parse_recoverable(text);
    let whole = errors.iter().all(|error| only_the_value(error.message()) && !is_duplicate(error.message()));
    let result = next(tree.get_ref(), whole, findings);
    if errors.is_empty() {
        return result;
    }

    let line = |error: &toml::de::Error| findings.line_of(error.span().map_or(0, |span| span.start)) + 1;
    let broken: BTreeSet<usize> = errors.iter().map(line).collect();
    let reliable = errors.iter().filter(|error| !only_the_value(error.message())).map(line).min().unwrap_or(usize::MAX);
    findings.keep(|problem: &Problem| {
        let at = problem.place.as_ref().map_or(0, |place| place.line);
        at < reliable && !broken.contains(&at) && problem.code != Code::MissingKey
    });
    for error in &errors {
        let span = error.span().unwrap_or_default();
        findings.error(&span, explain(error.message(), text.get(span.clone()).unwrap_or_default()));
    }
    result
}

/// After such an error the parser goes on with the next line as if nothing had happened; after others it may have lost its way.
fn only_the_value(message: &str) -> bool {
    ["string values must be quoted", "invalid boolean", "unexpected leading zero", "`_` may only", "invalid basic"]
        .iter()
        .any(|known| message.starts_with(known))
        || is_duplicate(message)
}

/// The parser keeps only one of the two.
fn is_duplicate(message: &str) -> bool {
    message.starts_with("duplicate key")
}

fn explain(message: &str, found: &str) -> Fault {
    let found = found.trim();
    let fault = |message: String| Fault::new(Code::Syntax, message);
    match message {
        _ if message.starts_with("string values must be quoted") && found.is_empty() => {
            fault("the value is missing after `=`".into())
        }
        _ if message.starts_with("string values must be quoted") => {
            fault("text must be in quotes".into()).help(format!("write \"{}\"", found.escape_debug()))
        }
        _ if is_duplicate(message) => fault("this key or table was already given above".into()),
        _ if message.starts_with("invalid boolean") => fault("write `true` or `false`, in lower case".into()),
        _ => fault(format!("not TOML: {message}")),
    }
}
