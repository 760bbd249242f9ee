//! Killed at every call of every life: the next run ends where an undisturbed one would have (P1); so do a run after the state was
//! lost and made anew (P5), and a delete without a state (P6).

use std::collections::BTreeSet;

use kubewright::plan::{Change, Ref, Tags};

use crate::gate::{ATS, At, Script, Site};
use crate::lives::{Calm, Life, converges, difference, shown, standing};
use crate::rig::{Ended, Rig, Start};
use crate::tally::{Tally, hit, of_kill, wanted};
use crate::world::NAME;

/// Points at which a process can die in a call that makes a difference there.
fn points(sites: &[Site]) -> Vec<(usize, At)> {
    let mut points = vec![];
    for (n, site) in sites.iter().enumerate() {
        for at in ATS {
            let differs = match (site, at) {
                (_, At::Before) => true,
                (site, _) if !site.changes() => false,
                // Its answer is what the next call begins with; a record of it comes only after an AWS call or a task.
                (Site::Store(..), At::Answered | At::Recorded) => false,
                _ => true,
            };
            if differs {
                points.push((n + 1, at));
            }
        }
    }
    points
}

/// Runs a life until it dies at a point; `None`: it is not the same run that the point was taken from.
async fn killed(life: Life, start: &Start, calm: &Calm, call: usize, at: At) -> Result<Rig, String> {
    let rig = Rig::at(start).await;
    let (ended, gate) = life.run(&rig, Script { kill: Some((call, at)), ..Script::default() }).await;
    let log = gate.log();
    if log.get(call - 1) != calm.sites.get(call - 1) {
        return Err(format!(
            "the run is another one: call {call} is {:?}, was {:?}",
            log.get(call - 1),
            calm.sites.get(call - 1)
        ));
    }
    if let Some(site) = calm.sites.get(call - 1) {
        hit(site, &of_kill(at));
    }
    match ended {
        Ended::Killed => Ok(rig),
        // The last answer of a run: there was nothing more to die in.
        Ended::Code(ran) if ran.code == 0 && matches!(at, At::Answered | At::Recorded) => Ok(rig),
        ended => Err(format!("it was not killed: {}", shown(&ended))),
    }
}

fn name(promise: &str, life: Life, call: usize, site: &Site, at: At) -> String {
    format!("{promise} {} {call} {site} {at:?}", life.name).to_lowercase()
}

pub async fn p1(life: Life) -> Tally {
    let calm = Calm::of(life, 1).await;
    let mut tally = Tally::default();
    for (call, at) in points(&calm.sites) {
        let point = name("p1", life, call, &calm.sites[call - 1], at);
        if !wanted(&point) {
            continue;
        }
        let result = async {
            let rig = killed(life, &calm.start, &calm, call, at).await?;
            converges(life, &rig, &calm).await
        };
        tally.point(&point, result.await.err());
    }
    tally
}

/// The state and the lock are gone after the crash: `recover` finds the same objects, and the command ends as ever.
pub async fn p5(life: Life) -> Tally {
    let calm = Calm::of(life, 1).await;
    let mut tally = Tally::default();
    let interesting =
        |(call, at): &(usize, At)| matches!(calm.sites[call - 1], Site::Cloud(_, true) | Site::Node(_)) && *at != At::Answered;
    for (call, at) in points(&calm.sites).into_iter().filter(interesting) {
        let point = name("p5", life, call, &calm.sites[call - 1], at);
        if wanted(&point) {
            tally.point(&point, recovered(life, &calm, call, at).await.err());
        }
    }
    tally
}

async fn recovered(life: Life, calm: &Calm, call: usize, at: At) -> Result<(), String> {
    let rig = killed(life, &calm.start, calm, call, at).await?;
    let Some(known) = rig.world.state_if_any() else { return Ok(()) };
    rig.lose(&["state.json", "lock.json"]).await;
    let args = life.args(&rig);
    let file = args.iter().position(|word| word == "-f").map(|at| args[at + 1].clone());
    // The registered one names a key of the home in which the life began.
    let file = file.or_else(|| life.registered().map(|spec| rig.world.spec(&spec)));
    let mut words = vec!["recover", NAME, "--yes"];
    if let Some(file) = &file {
        words.extend(["-f", file]);
    }
    match rig.run(&words, Script::default()).await.0 {
        Ended::Code(ran) if ran.code == 0 => {}
        // Nothing was made yet.
        Ended::Code(ran) if ran.code == 1 && ran.err.contains("there is no cluster") && known.resources.is_empty() => {
            return Ok(());
        }
        ended => return Err(format!("recover: {}", shown(&ended))),
    }
    let found = rig.world.state();
    for (resource, record) in &known.resources {
        let now = found.resources.get(resource).map(|record| record.id.as_str());
        // What is ending is nobody's any more.
        let going = |line: &str| line.contains(" shutting-down ") || line.contains(" deleting ");
        let is_there =
            rig.world.cloud.snapshot().lines().any(|line| line.split(' ').any(|word| word == record.id) && !going(line));
        if now != Some(record.id.as_str()) && is_there && *resource != kubewright::desired::ResourceId::DefaultSecurityGroup {
            return Err(format!("{resource} was {}, recovered as {now:?}", record.id));
        }
    }
    let mut words = vec![if life.rolls() { "rolling-update" } else { "update" }, NAME, "--yes"];
    if let (Some(file), false) = (&file, life.rolls()) {
        words.extend(["-f", file]);
    }
    match rig.run(&words, Script::default()).await.0 {
        Ended::Code(ran) if ran.code == 0 => {}
        ended => return Err(format!("what follows it: {}", shown(&ended))),
    }
    let account = standing(&rig);
    if account != calm.account {
        return Err(difference(&calm.account, &account));
    }
    Ok(())
}

/// Without spec and state, from wherever a run died: a delete by tags leaves nothing of ours and everything of others.
pub async fn p6(life: Life) -> Tally {
    let calm = Calm::of(life, 1).await;
    let mut tally = Tally::default();
    let interesting = |(call, at): &(usize, At)| {
        matches!(calm.sites[call - 1], Site::Cloud(_, true)) && matches!(at, At::Before | At::Committed)
    };
    for (call, at) in points(&calm.sites).into_iter().filter(interesting) {
        let point = name("p6", life, call, &calm.sites[call - 1], at);
        if wanted(&point) {
            tally.point(&point, deleted(life, &calm, call, at).await.err());
        }
    }
    tally
}

async fn deleted(life: Life, calm: &Calm, call: usize, at: At) -> Result<(), String> {
    let rig = killed(life, &calm.start, calm, call, at).await?;
    rig.lose(&[""]).await;
    let before = lines(&rig);
    plant_foreign(&rig);
    let foreign = lines(&rig).difference(&before).cloned().collect::<BTreeSet<_>>();
    let empty = Rig::at(&Start::empty(1)).await;
    let expected: BTreeSet<String> = lines(&empty).union(&foreign).cloned().collect();
    // Whoever lost everything comes later than the index of tags.
    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    match rig.run(&["delete", "cluster", NAME, "--yes"], Script::default()).await.0 {
        Ended::Code(ran) if ran.code == 0 => {}
        Ended::Code(ran) if ran.code == 1 && ran.err.contains("there is no cluster") => {}
        ended => return Err(format!("delete: {}", shown(&ended))),
    }
    let left = lines(&rig);
    if left != expected {
        let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
        return Err(format!("left, or touched: {}", difference(&list(&expected), &list(&left))));
    }
    Ok(())
}

fn lines(rig: &Rig) -> BTreeSet<String> {
    rig.world.cloud.snapshot().lines().map(str::to_owned).collect()
}

/// Things of somebody else, of which some look like ours.
fn plant_foreign(rig: &Rig) {
    let cloud = &rig.world.cloud;
    // They are old.
    let delays = cloud.edit(|account| std::mem::take(&mut account.options.delays));
    let tags = Tags::from([("Name".to_owned(), NAME.to_owned())]);
    let made = |change: &Change| Ref::Known(cloud.plant(change).unwrap().id.unwrap());
    let vpc = made(&Change::CreateVpc { cidr: "10.99.0.0/16".parse().unwrap(), tags: tags.clone() });
    made(&Change::CreateSubnet {
        vpc: vpc.clone(),
        cidr: "10.99.0.0/24".parse().unwrap(),
        zone: "us-east-1a".into(),
        tags: tags.clone(),
    });
    let (name, description) = ("of somebody else".to_owned(), "theirs".to_owned());
    made(&Change::CreateSecurityGroup { vpc, name, description, tags: tags.clone() });
    made(&Change::AllocateAddress { tags });
    cloud.set_options(|options| options.delays = delays);
}
