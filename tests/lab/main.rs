//! Whole commands of the built binary against the lab: emulated AWS, real Linux machines, real sshd, real firewalls.
//!
//! Needs a lab that is up and has its bundle; `./test` sees to both. There is one account, so the tests run one after another, each
//! on an empty account, and each shares its cluster between as many checks as it can: a cluster of real Kubernetes costs a minute or two.

mod account;
#[cfg(feature = "real")]
mod broken;
mod cluster;
mod crash;
#[cfg(feature = "real")]
mod etcd;
mod hardening;
mod kubernetes;
mod lab;
mod lifecycle;
mod machine;
mod permissions;
mod private;
#[cfg(feature = "real")]
mod probe;
mod race;
#[cfg(feature = "real")]
mod rolling;
#[cfg(feature = "real")]
mod rules;
mod steps;
mod terminal;
mod trouble;
#[cfg(feature = "real")]
mod upgrade;
#[cfg(feature = "real")]
mod upgrade_replace;

use std::process::ExitCode;

use lab::Lab;
use libtest_mimic::{Arguments, Trial};

type Test = fn(&Lab);

const TESTS: &[(&str, Test)] = &[
    ("minimal_lives_on_s3", lifecycle::minimal),
    ("ha_lives_on_disk", lifecycle::ha),
    #[cfg(feature = "real")]
    ("a_cluster_is_restored_also_after_all_its_control_planes_were_lost", etcd::restores),
    #[cfg(feature = "real")]
    ("a_roll_replaces_every_machine_while_api_and_workload_answer_also_when_killed_in_each_phase", rolling::rolls),
    #[cfg(feature = "real")]
    ("an_upgrade_by_a_minor_goes_on_where_it_was_killed_while_the_api_answers", upgrade::upgrades),
    #[cfg(feature = "real")]
    ("an_upgrade_replaces_the_workers_once_no_client_uses_what_goes_while_the_api_answers", upgrade_replace::replaces),
    #[cfg(feature = "real")]
    ("an_upgrade_that_the_machines_do_not_suit_is_refused_before_it_is_registered", upgrade::refuses),
    #[cfg(feature = "real")]
    ("what_is_wrong_is_named_and_mended_by_the_next_run", broken::faults),
    #[cfg(feature = "real")]
    ("each_rule_of_the_firewall_is_needed", rules::each_is_needed),
    ("a_private_cluster_is_reached_through_its_bastion_alone", private::private),
    ("machines_that_fail_are_named_and_gone_on_with", trouble::machines),
    ("connections_that_are_lost_at_every_step_are_made_again", steps::cut),
    #[cfg(feature = "real")]
    ("machines_that_lose_their_power_at_every_step_are_gone_on_with", steps::off),
    ("a_run_that_is_ended_anywhere_is_gone_on_with", crash::ended),
    ("the_policy_is_enough_and_every_action_of_it_is_named", permissions::policy),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let trials = TESTS.iter().map(|(name, test)| Trial::test(*name, move || lab::run(*test)));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
