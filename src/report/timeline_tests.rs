//! Timelines of made-up runs.

use super::super::made_up::{action, done, run};
use super::*;

fn told(bars: &[Bar]) -> Vec<String> {
    let waits =
        |waits: &[Wait]| waits.iter().map(|wait| format!("    {} {}..{}", wait.what, wait.from, wait.to)).collect::<Vec<_>>();
    let mut lines = vec![];
    for bar in bars {
        let after = bar.after.as_deref().unwrap_or("nothing");
        lines.push(format!("{} {}..{} {:?} after {after}", bar.action, bar.from, bar.to, bar.ended));
        lines.extend(waits(&bar.waits));
        for step in &bar.steps {
            lines.push(format!("  {} {}..{} {:?}", step.step, step.from, step.to, step.ended));
            lines.extend(waits(&step.waits));
        }
    }
    lines
}

#[test]
fn every_action_step_and_wait_has_a_beginning_and_an_end() {
    let timeline = run("a");
    assert_eq!(told(&timeline.account), ["create vpc 0..2 Done after nothing", "    the VPC 1..2"]);
    assert_eq!(
        told(&timeline.machines["a"]),
        [
            "prepare a 2..7.5 Done after create vpc",
            "  connect 2..3 Done",
            "    SSH: refused 2.5..3",
            "  packages 3..7 Done",
            "    upload 4..6",
            "    <lock & \"key\"> 6..7",
            "join a 10..12 Unfinished after create vpc",
            "  connect 10..11 Done",
            "  join 11..12 Unfinished",
        ]
    );
    assert_eq!(
        told(&timeline.machines["other"]),
        ["prepare other 2..9 Failed after create vpc", "  connect 2..8 Done", "  kernel 8..9 Failed"]
    );
    let phases: Vec<_> = timeline.phases.iter().map(|phase| (phase.name, phase.from, phase.to)).collect();
    assert_eq!(phases, [("network and firewall", 0.0, 2.0), ("prepare machines", 2.0, 9.0), ("join nodes", 10.0, 12.0)]);
}

#[test]
fn a_clock_that_is_set_back_gives_no_negative_times() {
    let calls = action("create vpc", &[], Work::Calls(vec![]), crate::desired::ResourceId::Vpc);
    let mut timeline = Timeline::default();
    timeline.take(&Event::ActionStarted(calls.clone()), 5.0);
    timeline.take(&done(&calls), 1.0);
    timeline.close(0.0);
    assert_eq!(told(&timeline.account), ["create vpc 5..5 Done after nothing"]);
    assert_eq!(timeline.seconds, 5.0);
}
