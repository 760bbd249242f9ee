//! How long a roll takes, in virtual time, by kubewright's rules and by those of kops 1.3x: the same machines, the same times of each step.
//!
//! kubewright's side is [`outline`], the list of a dry run. kops's side is the model below. Where the two cannot be the same, or where nothing
//! is known, kops gets the better figure: its validations take no time, no pod is ever late, an Auto Scaling group replaces a
//! machine the moment that it goes, and its machines boot and join as fast as ours.

mod support;

use std::time::Instant;

use kubewright::cluster::Amount;
use kubewright::desired::Slot;
use kubewright::rolling::{Address, Decision, Group, Machine, Member, Time, View, Work, outline, resolve};

/// As the program has it (`src/cli/outside.rs`): machines that are connected to at the same time.
const AT_ONCE: usize = 32;
const ZONES: [&str; 3] = ["us-east-1a", "us-east-1b", "us-east-1c"];
const PLANES: u32 = 3;

/// Settings of `kops rolling-update cluster` that nobody gave, in seconds (`cmd/kops/rollingupdatecluster.go`).
mod kops {
    /// `--post-drain-delay 5s`
    pub const POST_DRAIN_DELAY: u64 = 5;
    /// `--control-plane-interval 15s`, `--node-interval 15s`: after a machine was terminated or detached.
    pub const INTERVAL: u64 = 15;
    /// `--validate-count 2`
    pub const VALIDATE_COUNT: u64 = 2;
    /// Between two validations that succeeded (`pkg/instancegroups`, no flag).
    pub const SUCCESS_GAP: u64 = 10;
    /// After one that failed (the same).
    pub const TICK: u64 = 30;
}

/// Seconds of what both do, as kubewright's estimates have them.
struct Steps {
    /// From the call that makes a machine until its Node is Ready.
    joined: Time,
    drain: Time,
}

impl Steps {
    fn usual() -> Self {
        let drain = Work::Drain { within: 600, force: false };
        Self { joined: Work::Create.usual() + Work::Join.usual(), drain: drain.usual() }
    }
}

/// When a validation that begins now is through, if the cluster is whole from `whole` on: it is tried again after a tick while it fails, and
/// has to succeed so many times in a row.
fn validated(now: Time, whole: Time) -> Time {
    let failures = whole.saturating_sub(now).div_ceil(kops::TICK);
    now + failures * kops::TICK + (kops::VALIDATE_COUNT - 1) * kops::SUCCESS_GAP
}

/// One group of kops, from its start on. Groups come one after the other (`pkg/instancegroups/rollingupdate.go`): control planes, then nodes.
fn kops_group(count: u32, surge: u32, unavailable: u32, steps: &Steps) -> Time {
    let surge = surge.min(count);
    let mut now = 0;
    // The first machine is detached alone, and its replacement validated, before the others are.
    let mut whole = steps.joined;
    if surge > 0 {
        now = validated(now + kops::INTERVAL, whole);
    }
    if surge > 1 {
        whole = now + steps.joined;
    }
    let at_once = (surge + unavailable).max(1);
    // Those that were detached go last: nothing replaces them any more.
    let (mut attached, mut detached) = (count - surge, surge);
    let mut first = surge == 0;
    while attached + detached > 0 {
        // Without surge none is on the new spec yet: the first one goes alone.
        let batch = if first { 1 } else { at_once.min(attached + detached) };
        first = false;
        let replaced = batch.min(attached);
        attached -= replaced;
        detached -= batch - replaced;
        let terminated = now + steps.drain + kops::POST_DRAIN_DELAY;
        if replaced > 0 {
            whole = whole.max(terminated + steps.joined);
        }
        // All of a batch are collected before the next begin.
        now = validated(terminated + kops::INTERVAL, whole);
    }
    now
}

/// A cluster of which everything is behind.
fn cluster(nodes: u32, groups: u32, surge: Amount) -> View {
    let mut view = View::default();
    let group = |name: String, control_plane, count| {
        let (max_surge, max_unavailable) = resolve(count, surge, Amount::Count(0));
        let max_surge = if control_plane { 1 } else { max_surge };
        let zones = ZONES.map(str::to_owned).to_vec();
        Group {
            name,
            control_plane,
            count,
            max_surge,
            max_unavailable,
            drain_timeout: 600,
            zones,
            selected: true,
            ..Group::default()
        }
    };
    view.groups.push(group("control-plane".into(), true, PLANES));
    let workers = nodes - PLANES;
    for number in 0..groups {
        let count = workers / groups + u32::from(number < workers % groups);
        view.groups.push(group(format!("nodes-{number}"), false, count));
    }
    let mut members = vec![];
    for (place, group) in view.groups.iter().enumerate() {
        for n in 0..group.count {
            let zone = ZONES[n as usize % ZONES.len()];
            let slot = Slot { group: group.name.clone(), zone: zone.into(), n: n / 3 + 1 };
            let instance = format!("i-{slot}");
            let mut machine = Machine::new(slot, &instance, place);
            machine.behind = vec!["image".into()];
            if group.control_plane {
                machine.address = Address::Published;
                let id = instance.clone();
                members.push(Member { id, instance, learner: false, healthy: Some(true), since: 0, leader: n == 0 });
            }
            view.machines.push(machine);
        }
    }
    view.members = Some(members);
    view
}

/// Seconds of a whole roll by both rules, and of its control planes.
fn both(view: &View, steps: &Steps) -> Result<[Time; 4], String> {
    let (lines, ours, end) = outline(view, AT_ONCE);
    if end != Decision::Done {
        return Err(format!("{end:?}"));
    }
    // Node groups begin when the control planes are done.
    let our_planes = lines.iter().find(|line| line.step.group > 0).map_or(ours, |line| line.at);
    let theirs = |group: &Group| {
        // Control planes are never surged (`pkg/instancegroups/settings.go`).
        let surge = if group.control_plane { 0 } else { group.max_surge };
        kops_group(group.count, surge, group.max_unavailable, steps)
    };
    let planes = view.groups.iter().filter(|group| group.control_plane).map(theirs).sum();
    let all = view.groups.iter().map(theirs).sum();
    Ok([our_planes, ours, planes, all])
}

fn in_words(seconds: Time) -> String {
    kubewright::clock::in_words(seconds as f64)
}

fn main() {
    let steps = Steps::usual();
    println!(
        "rolls in virtual time; {PLANES} of the nodes are control planes; create and join {} s, drain {} s, terminate {} s",
        steps.joined,
        steps.drain,
        Work::Terminate.usual()
    );
    println!(
        "kops: one group after the other, control planes without surge, two validations after each machine, its own waits\n"
    );
    let heads = ["nodes", "groups", "surge", "control planes", "kops", "whole roll", "kops", "ratio", "computed in"];
    let row = |cells: [String; 9]| {
        let [nodes, groups, surge, planes, their_planes, ours, theirs, ratio, wall] = cells;
        println!(
            "{nodes:>6} {groups:>7} {surge:>6}  {planes:>14} {their_planes:>14}  {ours:>14} {theirs:>14} {ratio:>7} {wall:>12}"
        );
    };
    row(heads.map(str::to_owned));
    for nodes in [10, 100, 1_000] {
        for (groups, surge) in [(1, Amount::Count(1)), (3, Amount::Count(1)), (3, Amount::Percent(10)), (10, Amount::Percent(10))]
        {
            if groups > nodes - PLANES {
                continue;
            }
            let view = cluster(nodes, groups, surge);
            let begun = Instant::now();
            let shown = match surge {
                Amount::Count(count) => count.to_string(),
                Amount::Percent(percent) => format!("{percent}%"),
            };
            match both(&view, &steps) {
                Ok([our_planes, ours, planes, theirs]) => row([
                    nodes.to_string(),
                    groups.to_string(),
                    shown,
                    in_words(our_planes),
                    in_words(planes),
                    in_words(ours),
                    in_words(theirs),
                    format!("{:.2}", ours as f64 / theirs as f64),
                    support::milliseconds(begun.elapsed()),
                ]),
                Err(why) => println!("{nodes:>6} {groups:>7} {shown:>6}  {why}"),
            }
        }
    }
}
