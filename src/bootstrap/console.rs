//! Host keys from an instance's console, so that they are known before the first connection.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Consoles, clean, ssh};
use crate::clock::Clock;

const BEGIN: &str = "-----BEGIN SSH HOST KEY KEYS-----";
const END: &str = "-----END SSH HOST KEY KEYS-----";
/// How long an instance may take to show its keys.
pub(super) const LIMIT: Duration = Duration::from_secs(600);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// Lines longer than this are no host key.
const LONGEST_LINE: usize = 4096;

/// Public host keys of the last complete block that cloud-init wrote (`TYPE BASE64` each); empty where there is none.
///
/// The last block counts: a reboot writes another one, and a console keeps what an earlier boot of the same disk wrote. Lines may be prefixed by
/// a kernel time stamp, `ci-info:` or `ec2:`, and end in CRLF.
pub fn host_keys(console: &str) -> Vec<String> {
    let mut complete = Vec::new();
    let mut block: Option<Vec<String>> = None;
    for line in console.split(['\n', '\r']).filter(|line| line.len() <= LONGEST_LINE).map(clean::whole_line) {
        if line.contains(BEGIN) {
            block = Some(Vec::new());
        } else if line.contains(END) {
            complete = block.take().filter(|keys| !keys.is_empty()).unwrap_or(complete);
        } else if let (Some(keys), Some(key)) = (&mut block, key_in(&line))
            && !keys.contains(&key)
        {
            keys.push(key);
        }
    }
    complete
}

/// The first two neighbouring words that are a public key.
fn key_in(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.windows(2).map(|pair| pair.join(" ")).find(|key| ssh::is_public_key(key))
}

/// Polls until the instance has shown its keys; `waiting` is told why it takes long.
pub(super) async fn wait_for_host_keys(
    consoles: &Arc<dyn Consoles>,
    clock: &dyn Clock,
    instance: &str,
    waiting: &(dyn Fn(String) + Send + Sync),
) -> Result<Vec<String>, String> {
    let limit = SignedDuration::try_from(LIMIT).unwrap_or(SignedDuration::MAX);
    let deadline = clock.now().checked_add(limit).unwrap_or(Timestamp::MAX);
    let mut pause = FIRST_PAUSE;
    let mut seen = false;
    loop {
        let trouble = match consoles.console(instance).await {
            Ok(Some(text)) => {
                let keys = host_keys(&text);
                if !keys.is_empty() {
                    return Ok(keys);
                }
                seen |= !text.trim().is_empty();
                None
            }
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if clock.now() >= deadline {
            let minutes = LIMIT.as_secs() / 60;
            return Err(match (trouble, seen) {
                (Some(error), _) => format!("the console of {instance} cannot be read: {error}"),
                (None, true) => format!(
                    "the console of {instance} shows no host keys after {minutes} minutes: the image does not print them (cloud-init, \
                     `ssh: emit_keys_to_console`); `ssh.host_keys = \"trust-on-first-use\"` in the spec does without"
                ),
                (None, false) => {
                    format!("the console of {instance} is still empty after {minutes} minutes: does the machine boot?")
                }
            });
        }
        waiting(match trouble {
            Some(error) => format!("host keys in the console ({error})"),
            None => "host keys in the console".into(),
        });
        clock.wait(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJUxwGZ5fbmDj7VxrXMK1nTlnnGiAXqnkBAEHnHmVzHG";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    fn block(prefix: &str, keys: &[&str], end: &str) -> String {
        let lines = std::iter::once(BEGIN).chain(keys.iter().copied()).chain(std::iter::once(END));
        lines.map(|line| format!("{prefix}{line}{end}")).collect()
    }

    #[test]
    fn keys_are_found_however_the_console_dresses_them_up() {
        for prefix in ["", "ci-info: ", "ec2: ", "[   12.345678] cloud-init[812]: ", "\u{1b}[0m<14>Nov 21 11:00:00 ec2: "] {
            for end in ["\n", "\r\n", "\r\r\n", " root@ip-10-0-0-1\n"] {
                let text = format!("noise\n{}login: ", block(prefix, &[ED], end));
                assert_eq!(host_keys(&text), [ED], "{prefix:?} {end:?}");
            }
        }
    }

    #[test]
    fn the_last_complete_block_counts_and_nothing_outside_a_block() {
        let first = block("", &[OTHER], "\n");
        let second = block("", &[ED, ED], "\n");
        assert_eq!(host_keys(&format!("{first}{second}")), [ED]);
        assert_eq!(host_keys(&format!("{second}{BEGIN}\n{OTHER}\n")), [ED], "a block that is still being written");
        assert_eq!(host_keys(&format!("{second}{BEGIN}\n{END}\n")), [ED], "an empty block");
        assert!(host_keys(&format!("{ED}\n")).is_empty());
        assert!(host_keys("").is_empty());
    }

    #[test]
    fn what_is_no_key_is_left_out() {
        let type_differs = ED.replacen("ssh-ed25519", "ssh-rsa", 1);
        let cut = &ED[..40];
        let dsa = "ssh-dss AAAAB3NzaC1kc3MAAACBAP";
        let long = format!("ssh-rsa {}", "A".repeat(100_000));
        let text = block("", &[&type_differs, cut, dsa, "ssh-ed25519", &long, "\u{0}\u{1b}]0;x", ED], "\n");
        assert_eq!(host_keys(&text), [ED]);
    }
}
