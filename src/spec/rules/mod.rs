//! Rules between keys. Each rule looks only at keys that were read without a problem, so that one mistake is reported once.

use super::file::SpecFile;
use super::problem::Findings;

mod access;
mod components;
mod groups;
mod login;
mod network;
mod zones;

pub(crate) fn check(spec: &SpecFile, findings: &mut Findings) {
    zones::check(spec, findings);
    network::check(spec, findings);
    access::check(spec, findings);
    login::check(spec, findings);
    groups::check(spec, findings);
    components::check(spec, findings);
}
