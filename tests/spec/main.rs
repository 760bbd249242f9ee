//! The spec as a user meets it: what is accepted, what is refused, and how that reads.

mod chaos;
mod disk;
mod examples;
mod mistakes;
mod public_keys;
mod screen;
mod types;
mod world;
