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
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
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
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
