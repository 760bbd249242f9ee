//! Bootstrap against real programs: OpenSSH's server, client key tools and agent on 127.0.0.1.

mod fleet;
mod goldens;
mod nodes;
mod render;
mod ssh;
mod sshd;
