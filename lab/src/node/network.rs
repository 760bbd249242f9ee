//! A node's network: a namespace of its own, one link to the hub, routes both ways.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::hub;
use crate::run;
use crate::world::Instance;

/// The hub's end of a node's link; at most 15 characters.
pub fn link(instance: &str) -> String {
    let tail = &instance[instance.len().saturating_sub(12)..];
    format!("v{tail}")
}

/// The router's address in a subnet: the first one, as at EC2. With the prefix length.
pub fn gateway(cidr: &str) -> Result<(Ipv4Addr, u8)> {
    let (network, length) = cidr.split_once('/').with_context(|| format!("{cidr} is no CIDR"))?;
    let network: Ipv4Addr = network.parse()?;
    Ok((Ipv4Addr::from(u32::from(network) + 1), length.parse()?))
}

/// Makes the namespace at `file` and wires it to the hub; does nothing when it is there.
pub fn up(file: &Path, instance: &Instance) -> Result<()> {
    let (Some(address), Some(cidr)) = (instance.private_ip, &instance.subnet_cidr) else {
        bail!("{} has no address in a known subnet", instance.id);
    };
    let (router, prefix) = gateway(cidr)?;
    let link = link(&instance.id);
    if exists(&link) {
        return Ok(());
    }
    fs::write(file, "")?;
    let file = file.to_string_lossy();
    run::output("unshare", &[&format!("--net={file}"), "true"]).context("making a network namespace")?;
    let mac = instance.mac.as_deref().map(|mac| format!("address {mac}")).unwrap_or_default();
    run::with_input(
        "ip",
        &["-batch", "-"],
        &format!(
            "link add {link} type veth peer name eth0 {mac} netns {file}\n\
             link set {link} up\n\
             addr replace {router}/32 dev lo\n\
             route replace {address}/32 dev {link} src {}\n",
            hub::OPERATOR
        ),
    )?;
    // the hub answers for every address of the subnet: all traffic between nodes passes its firewall
    hub::set(&format!("conf/{link}/proxy_arp"), "1")?;
    hub::set(&format!("neigh/{link}/proxy_delay"), "0")?;
    run::with_input(
        "nsenter",
        &[&format!("--net={file}"), "ip", "-batch", "-"],
        &format!(
            "link set lo up\n\
             addr add {address}/{prefix} brd + dev eth0\n\
             link set eth0 up\n\
             route add default via {router} dev eth0\n"
        ),
    )?;
    Ok(())
}

fn exists(link: &str) -> bool {
    // /sys would show the machine's links: the kernel's own table follows the namespace
    fs::read_to_string("/proc/net/dev")
        .is_ok_and(|text| text.lines().any(|line| line.trim_start().starts_with(&format!("{link}:"))))
}

/// Takes the link and the namespace away.
pub fn down(file: &Path, instance: &str) {
    let link = link(instance);
    if exists(&link)
        && let Err(error) = run::output("ip", &["link", "del", &link])
    {
        tracing::warn!("{instance}: {error:#}");
    }
    rustix::mount::unmount(file, rustix::mount::UnmountFlags::DETACH).ok();
    fs::remove_file(file).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn router_is_the_first_address() {
        assert_eq!(gateway("10.20.16.0/20").unwrap(), (Ipv4Addr::new(10, 20, 16, 1), 20));
        assert!(gateway("10.20.0.0").is_err());
    }

    #[test]
    fn link_names_fit_the_kernel() {
        assert!(link("i-0123456789abcdef0").len() <= 15);
    }
}
