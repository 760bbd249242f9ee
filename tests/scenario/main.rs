//! Whole commands, in this process, in virtual time: what a user types, and what the account, the store and the nodes are after it.

mod account;
mod by_hand;
mod cases;
mod codes;
mod damage;
mod drains;
mod drift;
mod edits;
mod etcd;
mod faults;
mod life;
mod lost;
mod names;
mod output;
mod plans;
mod rolling;
mod saved;
mod status;
mod store;
mod takeover;
mod upgrade;
mod upgrade_apis;
mod upgrade_kills;
mod upgrade_replace;
mod world;
