//! The list that a dry run shows: the same decisions, in a cluster where all goes well.

use kubewright::rolling::{Decision, Work, outline};

use crate::rules::behind;
use crate::schedule::Schedule;

#[test]
fn every_list_replaces_each_machine_that_is_behind_and_keeps_the_quorum() {
    let mut lists = 0;
    for seed in 0..2_000 {
        let schedule = Schedule::new(seed);
        let (lines, seconds, end) = outline(&schedule.view, 1 + seed as usize % 40);
        if let Decision::Blocked(stop) = &end {
            let foreign = schedule.view.machines.iter().any(|machine| machine.cordon == kubewright::rolling::Cordon::Foreign);
            assert!(schedule.is_hopeless() || foreign, "{seed}: {stop:?}");
            continue;
        }
        assert_eq!(end, Decision::Done, "{seed}");
        let ends = |work: &Work| lines.iter().filter(|line| line.step.work == *work).count();
        let behind = schedule.view.machines.iter().filter(|machine| behind(&schedule.view, machine)).count();
        assert_eq!((ends(&Work::Create), ends(&Work::Terminate)), (behind, behind), "{seed}: {lines:?}");
        assert!(lines.iter().all(|line| line.quorum.is_none_or(|quorum| quorum.is_kept())), "{seed}");
        assert!(lines.is_sorted_by_key(|line| line.at) && (lines.is_empty() || seconds > 0), "{seed}");
        lists += 1;
    }
    assert!(lists > 1_000, "{lists}");
}
