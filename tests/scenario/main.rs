//! Whole commands, in this process, in virtual time: what a user types, and what the account, the store and the nodes are after it.

mod account;
mod cases;
mod codes;
mod edits;
mod faults;
mod life;
mod names;
mod output;
mod rolling;
mod store;
mod world;
