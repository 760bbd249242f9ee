//! Host keys: what is offered during the key exchange, and the comparison before anything is sent.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

use super::{Known, SshError};

/// Key types that are believed, each with the signature algorithms that prove it, best first. DSA is not among them.
const TYPES: [(&str, &[&str]); 5] = [
    ("ssh-ed25519", &["ssh-ed25519"]),
    ("ecdsa-sha2-nistp256", &["ecdsa-sha2-nistp256"]),
    ("ecdsa-sha2-nistp384", &["ecdsa-sha2-nistp384"]),
    ("ecdsa-sha2-nistp521", &["ecdsa-sha2-nistp521"]),
    ("ssh-rsa", &["rsa-sha2-512", "rsa-sha2-256"]),
];

/// `SHA256:...` of an OpenSSH public key line, as `ssh-keygen -l` prints it; `None` if it is not one.
pub fn fingerprint(line: &str) -> Option<String> {
    blob(line).map(|blob| fingerprint_of(&blob))
}

/// Whether a line is a public key of a type that is believed, and its inside agrees with its outside.
pub fn is_public_key(line: &str) -> bool {
    blob(line).is_some()
}

pub(super) fn fingerprint_of(blob: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob)))
}

/// The key itself, from `TYPE BASE64 [comment]`.
pub(super) fn blob(line: &str) -> Option<Vec<u8>> {
    let mut words = line.split_whitespace();
    let kind = words.next()?;
    let blob = STANDARD.decode(words.next()?).ok()?;
    let known = TYPES.iter().any(|(name, _)| *name == kind);
    (known && type_of(&blob) == Some(kind) && is_whole(&blob)).then_some(blob)
}

/// Whether a key ends where its last length-prefixed field ends: a console may cut a line off. Ed25519 has two fields, the others three.
fn is_whole(blob: &[u8]) -> bool {
    let mut rest = blob;
    let mut fields = 0;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some(after) = after.get(length..) else { return false };
        rest = after;
        fields += 1;
    }
    rest.is_empty() && fields == if type_of(blob) == Some("ssh-ed25519") { 2 } else { 3 }
}

/// The type that the key itself names: its first length-prefixed string (RFC 4253, section 6.6).
fn type_of(blob: &[u8]) -> Option<&str> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    std::str::from_utf8(rest.get(..length)?).ok()
}

/// `TYPE BASE64` of an offered key.
pub(super) fn line_of(blob: &[u8]) -> Option<String> {
    type_of(blob).map(|kind| format!("{kind} {}", STANDARD.encode(blob)))
}

/// Signature algorithms to offer: those that prove one of the pinned keys, so that a machine with several keys shows the right one.
pub(super) fn algorithms(known: &Known, supported: &[&str]) -> String {
    let wanted: Vec<&str> = match known {
        Known::FirstUse => TYPES.iter().map(|(name, _)| *name).collect(),
        Known::Keys(lines) => lines.iter().filter_map(|line| line.split_whitespace().next()).collect(),
    };
    let names = TYPES.iter().filter(|(name, _)| wanted.contains(name)).flat_map(|(_, algorithms)| algorithms.iter().copied());
    names.filter(|name| supported.is_empty() || supported.contains(name)).collect::<Vec<_>>().join(",")
}

/// Refuses a key that is not pinned. Must run after the handshake and before authentication.
pub(super) fn check(at: &str, known: &Known, offered: &[u8]) -> Result<String, SshError> {
    let line = line_of(offered).ok_or_else(|| SshError::Handshake { at: at.into(), detail: "unreadable host key".into() })?;
    let Known::Keys(lines) = known else { return Ok(line) };
    if lines.iter().filter_map(|line| blob(line)).any(|pinned| pinned == offered) {
        return Ok(line);
    }
    let pinned = lines.iter().filter_map(|line| fingerprint(line)).collect();
    Err(SshError::HostKey { at: at.into(), offered: fingerprint_of(offered), pinned })
}
