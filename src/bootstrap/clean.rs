//! What a machine said, made fit for a terminal and a log.

use crate::secret::Secret;

/// Longest line that is kept, in characters.
const WIDTH: usize = 400;

/// One line without control characters and escape sequences; long ones are cut.
pub(super) fn line(text: &str) -> String {
    let clean = whole_line(text);
    match clean.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}...", clean.get(..end).unwrap_or_default()),
        None => clean,
    }
}

/// As [`line`], uncut.
pub(super) fn whole_line(text: &str) -> String {
    let mut clean = String::new();
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            // A CSI or OSC sequence goes as a whole, so that its parameters do not stay behind as litter.
            '\u{1b}' => skip_sequence(&mut rest),
            '\t' => clean.push(' '),
            _ if is_unfit(character) => {}
            _ => clean.push(character),
        }
    }
    clean.trim_end().to_string()
}

/// Control characters, and those that reorder or hide the text around them.
fn is_unfit(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn skip_sequence(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match rest.next() {
        Some('[') => {
            rest.by_ref().find(|character| ('\u{40}'..='\u{7e}').contains(character));
        }
        Some(']') => {
            while let Some(character) = rest.next() {
                if character == '\u{7}' || character == '\u{1b}' && rest.next_if_eq(&'\\').is_some() {
                    break;
                }
            }
        }
        _ => {}
    }
}

/// The last `count` lines that say something, clean and without the secrets.
pub(super) fn last_lines(bytes: &[u8], count: usize, secrets: &[Secret]) -> Vec<String> {
    let text = scrub(&String::from_utf8_lossy(bytes), secrets);
    let lines: Vec<String> = text.split(['\n', '\r']).map(line).filter(|line| !line.trim().is_empty()).collect();
    lines.into_iter().rev().take(count).rev().collect()
}

/// Replaces secrets, whole or by line (a PEM key), and anything that looks like a bootstrap token or a private key.
fn scrub(text: &str, secrets: &[Secret]) -> String {
    let mut text = text.to_string();
    for secret in secrets {
        for part in std::iter::once(secret.expose()).chain(secret.expose().lines()) {
            if part.len() >= 16 && !part.starts_with("-----") {
                text = text.replace(part, "[secret]");
            }
        }
    }
    let words: Vec<&str> =
        text.split_inclusive(|character: char| character.is_whitespace() || "\"',;=()".contains(character)).collect();
    words.into_iter().map(|word| if is_token(word) { word.replace(bare(word), "[secret]") } else { word.to_string() }).collect()
}

fn bare(word: &str) -> &str {
    word.trim_matches(|character: char| !character.is_ascii_alphanumeric())
}

/// `[a-z0-9]{6}.[a-z0-9]{16}`, as kubeadm defines it.
pub(super) fn is_token(word: &str) -> bool {
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    matches!(bare(word).split_once('.'), Some((id, secret)) if id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_hostile_line_reaches_the_terminal() {
        for (text, clean) in [
            ("plain", "plain"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("a\u{8}\u{8}b\u{0}c\u{7f}\u{9b}31m", "abc31m"),
            ("user\u{202e}gpj.exe", "usergpj.exe"),
            ("tab\there  ", "tab here"),
        ] {
            assert_eq!(line(text), clean);
        }
        assert!(line(&"x".repeat(5000)).len() < 500);
    }

    #[test]
    fn secrets_and_anything_like_a_token_are_taken_out() {
        let key = Secret::new("-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49\n-----END PRIVATE KEY-----\n");
        let said = b"token \"abcdef.0123456789abcdef\" is bad\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49\nat 10.0.0.1:6443\n\n";
        let lines = last_lines(said, 5, &[key]);
        assert_eq!(lines, ["token \"[secret]\" is bad", "[secret]", "at 10.0.0.1:6443"]);
        assert_eq!(last_lines(b"a\nb\nc", 2, &[]), ["b", "c"]);
    }
}
