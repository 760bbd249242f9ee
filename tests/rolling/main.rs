//! `rolling::next_step` against a model of clusters in which things go wrong: random schedules, each of which can be replayed by its
//! seed, and what they must never lead to.

mod bugs;
mod climb;
mod dice;
mod findings;
mod happy;
mod kops;
mod model;
mod observe;
mod rules;
mod schedule;
mod schedules;
mod upgrade;
