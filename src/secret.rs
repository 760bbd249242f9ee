//! A value that cannot be printed.

use std::fmt;

/// Text that must not reach a log, a plan, a state file, argv or user-data. `Debug` and `Display` print `[secret]`; the
/// content is reachable only through [`Secret::expose`], so that a reader finds every use by one search. It does not
/// implement `Serialize` on purpose.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The content. Every caller is a place where the secret leaves the process: a file of mode 0600 or an SSH channel.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_its_content() {
        let secret = Secret::new("hunter2");
        for text in [format!("{secret}"), format!("{secret:?}"), format!("{:?}", Some(&secret))] {
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
