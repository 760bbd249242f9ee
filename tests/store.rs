//! The state store, on every kind of storage: one conformance suite, fault sweeps, damaged documents, locks, processes.
//!
//! S3 needs a bucket service: `KUBEWRIGHT_TEST_S3_ENDPOINT` or `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`, or the feature `lab`, with
//! which everything runs in the lab. Tests that need something that this machine lacks are not listed at all, and the first lines say
//! so; none passes by doing nothing.

#[path = "store/conformance.rs"]
mod conformance;
#[path = "store/document.rs"]
mod document;
#[path = "store/faults.rs"]
mod faults;
#[path = "store/folder.rs"]
mod folder;
#[path = "lab/inside.rs"]
mod inside;
#[path = "store/locks.rs"]
mod locks;
#[path = "store/model.rs"]
mod model;
#[path = "store/records.rs"]
mod records;
#[path = "store/rig.rs"]
mod rig;
#[path = "store/s3.rs"]
mod s3;
#[path = "store/schedules.rs"]
mod schedules;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    // This binary runs itself as another process of the same store.
    if let Ok(task) = std::env::var(folder::TASK) {
        return folder::task(&task);
    }
    if cfg!(feature = "lab")
        && s3::endpoint().is_none()
        && let Some(well) = inside::ran_whole()
    {
        return if well { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let mut trials: Vec<Trial> = Vec::new();
    conformance::add(&mut trials, "memory", || Box::pin(async { rig::memory() }));
    conformance::add(&mut trials, "file", || Box::pin(async { rig::file() }));
    match s3::endpoint() {
        Some(_) => conformance::add(&mut trials, "s3", s3::bucket),
        None => eprintln!("not run: store::s3::*; they need the lab (--features lab)"),
    }
    document::add(&mut trials);
    faults::add(&mut trials);
    locks::add(&mut trials);
    folder::add(&mut trials);
    model::add(&mut trials);
    records::add(&mut trials);
    s3::add(&mut trials);
    schedules::add(&mut trials);
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
