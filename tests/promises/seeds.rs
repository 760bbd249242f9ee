//! The same seed gives the same run, call by call (P10); a hundred machines stay within AWS's request budgets (P8).

use sha2::{Digest as _, Sha256};

use crate::gate::Script;
use crate::lives::{Life, shown};
use crate::rig::{Ended, Rig, Start};
use crate::tally::{Tally, wanted};
use crate::world::{NAME, SMALL, edit};

/// The trace of a run: every call in its order, and the account afterwards.
async fn trace(life: Life, seed: u64) -> String {
    let start = life.start(seed).await;
    let rig = Rig::at(&start).await;
    let (ended, gate) = life.run(&rig, Script::default()).await;
    let mut hash = Sha256::new();
    for site in gate.log() {
        hash.update(format!("{site}\n"));
    }
    hash.update(rig.world.cloud.snapshot());
    if let Ended::Code(ran) = &ended {
        hash.update(&ran.out);
    }
    let digest = hash.finalize();
    let text: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{} {text}", matches!(ended, Ended::Code(_)))
}

pub async fn p10(life: Life, seeds: u64) -> Tally {
    let mut tally = Tally::default();
    let mut different = std::collections::BTreeSet::new();
    for seed in 0..seeds {
        let point = format!("p10 {} {seed}", life.name);
        if !wanted(&point) {
            continue;
        }
        let traces = [trace(life, seed).await, trace(life, seed).await, trace(life, seed).await];
        let same = traces.iter().all(|trace| *trace == traces[0]);
        tally.point(&point, (!same).then(|| format!("three runs of one seed: {traces:?}")));
        different.insert(traces[0].clone());
    }
    if tally.points > 4 {
        let why = (different.len() < 2).then(|| "all seeds give one trace: they change nothing".to_owned());
        tally.point(&format!("p10 {} seeds", life.name), why);
    }
    tally
}

fn hundred() -> String {
    let text = edit(SMALL, "count = 1\nmachine_type = \"t3.large\"", "count = 97\nmachine_type = \"t3.large\"");
    edit(&text, "count = 1\nmachine_type = \"t3.medium\"", "count = 3\nmachine_type = \"t3.medium\"")
}

/// `scale`: how much of the documented buckets the account grants.
pub async fn p8(scale: f64) -> Tally {
    let mut tally = Tally::default();
    let rig = Rig::at(&Start::empty(8)).await;
    rig.world.cloud.set_options(|options| options.buckets = Some(scale));
    let empty = rig.world.account();
    let file = rig.world.spec(&hundred());
    for words in [vec!["create", "-f", &file, "--yes"], vec!["delete", "cluster", NAME, "--yes"]] {
        rig.world.cloud.reset_log();
        let begun = tokio::time::Instant::now();
        let (ended, gate) = rig.run(&words, Script::default()).await;
        let throttled = rig.world.cloud.throttled();
        let broken = match &ended {
            Ended::Code(ran) if ran.code == 0 && (throttled == 0 || scale < 1.0) => None,
            Ended::Code(ran) if ran.code == 0 => Some(format!("{throttled} calls were refused as too fast")),
            ended => Some(shown(ended)),
        };
        eprintln!(
            "p8 {scale} {}: {} calls, {throttled} throttled, {:.0} s of virtual time",
            words[0],
            gate.log().len(),
            begun.elapsed().as_secs_f64()
        );
        tally.point(&format!("p8 {scale} {}", words[0]), broken);
    }
    let left = rig.world.account();
    tally.point(&format!("p8 {scale} empty"), (left != empty).then(|| format!("{left:#?}")));
    tally
}
