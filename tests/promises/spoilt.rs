//! Every call with every trouble: done, or an error from which the next run goes on (P2); credentials that end between any two
//! calls lose nothing (P19).

use std::collections::BTreeMap;

use kubewright::cloud::fake::draw;

use crate::gate::{Script, Site};
use crate::lives::{Calm, Life, converges, shown};
use crate::rig::{Ended, Rig};
use crate::tally::{Tally, hit, wanted};
use crate::trouble::{TROUBLES, Trouble};

/// What a run that met trouble may end with: done, an error, a node that failed, a refused plan, a blocked delete.
const CLEAN: [u8; 5] = [0, 1, 5, 6, 7];

async fn survives(life: Life, calm: &Calm, script: Script) -> Result<Vec<(Site, Trouble)>, String> {
    let rig = Rig::at(&calm.start).await;
    let (ended, gate) = life.run(&rig, script).await;
    let hits = gate.hits();
    match &ended {
        Ended::Code(ran) if CLEAN.contains(&ran.code) => {
            if ran.code != 0 && !ran.err.contains("error") {
                return Err(format!("it failed without a word: {ran}"));
            }
        }
        ended => return Err(shown(ended)),
    }
    if let (Ended::Code(ran), true) = (&ended, life.deletes()) {
        let _ = ran;
    }
    converges(life, &rig, calm).await.map_err(|error| format!("{error}\nafter {}", shown(&ended)))?;
    Ok(hits)
}

/// `every`: each call, otherwise the first of each place.
pub async fn p2(life: Life, every: bool) -> Tally {
    let calm = Calm::of(life, 1).await;
    let mut tally = Tally::default();
    for (n, site) in calm.sites.iter().enumerate() {
        if !every && calm.sites.iter().take(n).any(|earlier| earlier == site) {
            continue;
        }
        for trouble in TROUBLES.into_iter().filter(|trouble| trouble.can_happen_to(site)) {
            let point = format!("p2 {} {} {site} {trouble:?}", life.name, n + 1).to_lowercase();
            if !wanted(&point) {
                continue;
            }
            let script = Script { troubles: BTreeMap::from([(n + 1, trouble)]), ..Script::default() };
            match survives(life, &calm, script).await {
                Ok(hits) => {
                    for (site, trouble) in hits {
                        hit(&site, &format!("{trouble:?}"));
                    }
                    tally.point(&point, None);
                }
                Err(why) => tally.point(&point, Some(why)),
            }
        }
    }
    tally
}

/// Two troubles in one run, drawn by seed.
pub async fn pairs(life: Life, count: u64) -> Tally {
    let calm = Calm::of(life, 1).await;
    let mut tally = Tally::default();
    for seed in 0..count {
        let point = format!("p2-pairs {} {seed}", life.name);
        if !wanted(&point) {
            continue;
        }
        let mut troubles = BTreeMap::new();
        for which in ["first", "second"] {
            let of = |what: &str| draw(seed, &[life.name, which, what]);
            let call = 1 + (of("call") * calm.sites.len() as f64) as usize;
            let trouble = TROUBLES[((of("trouble") * TROUBLES.len() as f64) as usize).min(TROUBLES.len() - 1)];
            troubles.insert(call.min(calm.sites.len()), trouble);
        }
        tally.point(&point, survives(life, &calm, Script { troubles, ..Script::default() }).await.err());
    }
    tally
}

/// From some call on, AWS knows the credentials no more.
pub async fn p19(life: Life) -> Tally {
    let calm = Calm::of(life, 1).await;
    let mut tally = Tally::default();
    for n in 1..=calm.sites.len() {
        let point = format!("p19 {} {n}", life.name);
        if wanted(&point) {
            let script = Script { from: Some((n, Trouble::ExpiredToken)), ..Script::default() };
            tally.point(&point, survives(life, &calm, script).await.err());
        }
    }
    tally
}
