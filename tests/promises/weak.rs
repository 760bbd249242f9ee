//! Each protection taken away, one at a time: some promise must then be broken, or it was not testing anything.

use sha2::{Digest as _, Sha256};

use crate::gate::{At, Script, Site};
use crate::lives::{Calm, Life, converges};
use crate::rig::{Rig, Without};
use crate::tally::Tally;
use libtest_mimic::Failed;

/// The bytes of a state as they would be if intents were never written, with the checksum that fits.
pub fn without_intents(key: &str, bytes: Vec<u8>) -> Vec<u8> {
    if !key.ends_with("state.json") {
        return bytes;
    }
    let mut document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    if let Some(state) = document["state"].as_object_mut() {
        state.insert("intents".into(), serde_json::json!({}));
    }
    document["checksum"] = "0".repeat(64).into();
    let text = format!("{}\n", serde_json::to_string_pretty(&document).unwrap());
    let sum: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    text.replacen(&"0".repeat(64), &sum, 1).into_bytes()
}

/// Which protection is off in the run after the crash, and in the one that crashed.
#[derive(Clone, Copy, Debug)]
pub enum Off {
    Intents,
    Settle,
    /// The account forgets client tokens, as if they were not sent again.
    Tokens,
    /// Writes of the store replace whatever is there.
    Swap,
    /// Objects that no state names are not found by their tags.
    Sweep,
}

/// Each protection, and lives in which it is needed.
pub const EACH: [(Off, &[&str]); 5] = [
    (Off::Intents, &["create-1+1", "create-private"]),
    (Off::Settle, &["create-1+1", "create-private"]),
    (Off::Tokens, &["create-1+1", "create-private"]),
    (Off::Sweep, &["create-1+1"]),
    (Off::Swap, &["create-1+1", "scale-down"]),
];

/// Some promise is broken without it.
pub async fn is_missed(off: Off, lives: &[&str]) -> Result<(), Failed> {
    let mut tally = Tally::default();
    for life in lives {
        let life = Life::named(life);
        tally.add(match off {
            Off::Swap => crate::paused::p4(life, Without::Swap).await,
            off => violations(off, life).await,
        });
    }
    crate::tally::missed(off, &tally);
    if tally.violations.is_empty() {
        return Err(
            format!("{} points without {off:?}, and nothing was broken: the promises do not test it", tally.points).into()
        );
    }
    Ok(())
}

/// Violations of "killed at any change of the account" with a protection switched off.
pub async fn violations(off: Off, life: Life) -> Tally {
    let calm = Calm::of(life, 1).await;
    let mut tally = Tally::default();
    let changes = calm.sites.iter().enumerate().filter(|(_, site)| matches!(site, Site::Cloud(_, true)));
    for (n, site) in changes {
        let mut rig = Rig::at(&calm.start).await;
        rig.without = match off {
            Off::Intents => Without::Intents,
            Off::Settle => Without::Settle,
            Off::Tokens | Off::Sweep => Without::Nothing,
            Off::Swap => Without::Swap,
        };
        if matches!(off, Off::Tokens) {
            rig.world.cloud.set_options(|options| options.forgets_tokens = true);
        }
        life.run(&rig, Script { kill: Some((n + 1, At::Committed)), ..Script::default() }).await;
        if matches!(off, Off::Sweep) {
            rig.lose(&["state.json"]).await;
            let snapshot = rig.world.cloud.snapshot();
            let ids = snapshot.split_whitespace().filter(|word| word.len() > 17 && word.contains('-')).map(str::to_owned);
            rig.world.cloud.edit(|account| account.untagged.extend(ids));
        }
        let broken = converges(life, &rig, &calm).await.err();
        tally.point(&format!("{off:?} {} {site}", life.name), broken);
    }
    tally
}
