//! Region, zones, and the DNS zone of the name.

use crate::spec::file::SpecFile;
use crate::spec::nearest;
use crate::spec::place::At;
use crate::spec::problem::{Code, Fault, Findings};
use crate::spec::read::List;
use crate::spec::values::net::{REGIONS, Zone};

pub(super) fn check(spec: &SpecFile, findings: &mut Findings) {
    dns_zone(spec, findings);
    let Some(aws) = &spec.aws else { return };
    if let Some(region) = &aws.value.region
        && !REGIONS.contains(&region.value.0.as_str())
    {
        let fault = Fault::new(Code::UnknownRegion, format!("`{}` is no region that this kubewright knows", region.value.0));
        let meant = nearest(&region.value.0, REGIONS.iter().copied());
        findings.warning(
            &region.span,
            match meant {
                Some(meant) => fault.help(format!("did you mean \"{meant}\"?")),
                None => fault,
            },
        );
    }
    let Some(zones) = &aws.value.zones else { return };
    list(zones, findings);
    for zone in &zones.value.items {
        if let Some(region) = &aws.value.region
            && zone.value.region() != region.value.0
        {
            let letter = zone.value.0.chars().last().unwrap_or('a');
            let fault = Fault::new(Code::Zone, format!("zone {} is not in region {}", zone.value.0, region.value.0));
            findings.error(&zone.span, fault.help(format!("write \"{}{letter}\"", region.value.0)));
        }
    }
    for keys in spec.instance_group.iter().flat_map(|groups| groups.value.values()) {
        let Some(own) = &keys.zones else { continue };
        list(own, findings);
        // A zone of the cluster that was refused may well be the one that is meant here.
        if zones.value.items.len() < zones.value.written {
            continue;
        }
        for zone in &own.value.items {
            if !zones.value.values().any(|known| *known == zone.value) {
                let known: Vec<&str> = zones.value.values().map(|zone| zone.0.as_str()).collect();
                let fault = Fault::new(Code::Zone, format!("zone {} is not among the cluster's zones", zone.value.0));
                findings.error(&zone.span, fault.help(format!("add it to aws.zones, or choose from {}", known.join(", "))));
            }
        }
    }
}

/// Not empty, nothing twice.
fn list(zones: &At<List<Zone>>, findings: &mut Findings) {
    if zones.value.written == 0 {
        findings.error(&zones.span, Fault::new(Code::NothingListed, "at least one zone is needed"));
    }
    for (index, zone) in zones.value.items.iter().enumerate() {
        if zones.value.items.iter().take(index).any(|earlier| earlier.value == zone.value) {
            findings.error(&zone.span, Fault::new(Code::Repeated, format!("zone {} is listed twice", zone.value.0)));
        }
    }
}

/// The hosted zone can only hold names below it.
fn dns_zone(spec: &SpecFile, findings: &mut Findings) {
    let (Some(name), Some(api)) = (&spec.name, &spec.api) else { return };
    let Some(zone) = &api.value.dns_zone else { return };
    let (name_text, zone_text) = (&name.value.0, &zone.value.0);
    let inside = name_text.strip_suffix(zone_text.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if !inside {
        let first = name_text.split('.').next().unwrap_or_default();
        let fault = Fault::new(Code::DnsZone, format!("the name {name_text} does not lie in the zone {zone_text}"));
        findings.error(
            &zone.span,
            fault.help(format!(
                "name the hosted zone that holds the cluster's name, or rename the cluster to \"{first}.{zone_text}\""
            )),
        );
    }
}
