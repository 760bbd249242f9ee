//! `lab`: an emulated AWS region on one Linux machine, with real Linux nodes.
//!
//! One supervisor process (`serve`) lives in a network namespace without uplink, the hub. It runs moto, the
//! proxy in front of it, the DNS server, and one node per running instance. Every other command is a short
//! process that enters the hub and asks the supervisor, or reads the state folder.

mod account;
mod bundle;
mod cache;
mod calls;
mod cgroups;
mod cli;
mod components;
mod control;
mod digest;
mod dns;
mod down;
mod emulator;
mod exec;
mod fault;
mod firewall;
mod http;
mod hub;
mod iam;
mod image;
mod kubernetes;
mod node;
mod packages;
mod proxy;
mod requirements;
mod run;
mod serve;
mod state;
mod status;
mod sysctl;
mod up;
mod world;

fn main() -> std::process::ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
