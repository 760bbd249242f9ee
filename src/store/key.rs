//! Which keys objects may have.

use super::objects::ObjectError;

/// Longest part of a key, in bytes: below the 255 of common file systems, with room for a temporary name.
const LONGEST_PART: usize = 200;

/// A part is `[A-Za-z0-9._-]`, does not begin with a dot (so neither `..` nor a hidden file) and has at most 200 bytes.
pub(super) fn is_part(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= LONGEST_PART
        && !part.starts_with('.')
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Refuses keys that could leave the store or that one of the stores cannot hold.
pub fn check_key(key: &str) -> Result<(), ObjectError> {
    if key.split('/').all(is_part) {
        return Ok(());
    }
    Err(ObjectError::Failed {
        key: key.escape_debug().to_string(),
        message: "is no key of a store: parts of letters, digits, `.`, `_` and `-`, joined by `/`, none beginning with a dot"
            .into(),
    })
}

/// A prefix for [`super::Objects::list`] is empty or a key, with or without a `/` at its end; returned with it.
pub(crate) fn folder_of(prefix: &str) -> Result<String, ObjectError> {
    let bare = prefix.strip_suffix('/').unwrap_or(prefix);
    if bare.is_empty() {
        return Ok(String::new());
    }
    check_key(bare)?;
    Ok(format!("{bare}/"))
}
