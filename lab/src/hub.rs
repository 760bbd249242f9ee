//! The hub: a network namespace without uplink that holds the emulator, the DNS server and the operator.

use anyhow::Result;

use crate::run;

/// The VPC's DNS server, where EC2 has it.
pub const DNS: &str = "169.254.169.253";
/// The operator's address as the nodes see it: from a range kept for documentation.
pub const OPERATOR: &str = "203.0.113.10";
/// Where the apt repository is served: beyond the VPC, as a company's mirror would be.
pub const PACKAGES: &str = "203.0.113.20";
/// Where the lab's public addresses come from: a range kept for benchmarks of networks.
pub const PUBLIC: &str = "198.18.0.0/15";

/// Where VPCs lie. A packet to an address without a machine is lost there, as at AWS, instead of refused.
pub const PRIVATE: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"];

/// Gives the hub its addresses and lets it route. Called inside the namespace.
pub fn set_up() -> Result<()> {
    let mut lines =
        format!("link set lo up\naddr add {DNS}/32 dev lo\naddr add {OPERATOR}/32 dev lo\naddr add {PACKAGES}/32 dev lo\n");
    for range in PRIVATE.iter().chain([&PUBLIC]) {
        lines.push_str(&format!("route add {range} dev lo src {OPERATOR}\n"));
    }
    run::with_input("ip", &["-batch", "-"], &lines)?;
    for (name, value) in [
        ("ip_forward", "1"),
        ("conf/all/rp_filter", "0"),
        ("conf/default/rp_filter", "0"),
        ("conf/all/send_redirects", "0"),
        ("conf/default/send_redirects", "0"),
    ] {
        set(name, value)?;
    }
    Ok(())
}

/// Sets one of the hub's own IPv4 settings; they belong to the namespace, not to the machine.
pub fn set(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/ipv4/{name}");
    if std::path::Path::new(&path).exists() {
        std::fs::write(&path, value).map_err(|error| anyhow::anyhow!("{path}: {error}"))?;
    }
    Ok(())
}
