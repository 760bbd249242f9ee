//! What the account's region sells: zones, machine types, images.

use crate::cluster::ImageAlias;
use crate::observed::{Catalogue, Image, MachineType};

/// Name, vCPUs, memory in MiB, architecture.
const MACHINE_TYPES: &[(&str, u32, u64, &str)] = &[
    ("t3.nano", 2, 512, "x86_64"),
    ("t3.micro", 2, 1024, "x86_64"),
    ("t3.small", 2, 2048, "x86_64"),
    ("t3.medium", 2, 4096, "x86_64"),
    ("t3.large", 2, 8192, "x86_64"),
    ("t3.xlarge", 4, 16_384, "x86_64"),
    ("t3.2xlarge", 8, 32_768, "x86_64"),
    ("m5.large", 2, 8192, "x86_64"),
    ("m6i.large", 2, 8192, "x86_64"),
    ("c5.large", 2, 4096, "x86_64"),
    ("t4g.nano", 2, 512, "arm64"),
    ("t4g.micro", 2, 1024, "arm64"),
    ("t4g.small", 2, 2048, "arm64"),
    ("t4g.medium", 2, 4096, "arm64"),
    ("t4g.large", 2, 8192, "arm64"),
    ("t4g.xlarge", 4, 16_384, "arm64"),
    ("t4g.2xlarge", 8, 32_768, "arm64"),
];

/// Two dates for each image, so that "the newest" is a choice.
const DATES: [(&str, &str); 2] = [("20260101-1", "2026-01-01T00:00:00Z"), ("20260601-1", "2026-06-01T00:00:00Z")];

pub(super) fn of(region: &str) -> Catalogue {
    let letters: &[&str] = if region == "us-east-1" { &["a", "b", "c", "d", "e", "f"] } else { &["a", "b", "c"] };
    let zones: Vec<String> = letters.iter().map(|letter| format!("{region}{letter}")).collect();
    // The real us-east-1e sells none of these types.
    let offered: Vec<String> = zones.iter().filter(|zone| *zone != "us-east-1e").cloned().collect();
    let machine_types = MACHINE_TYPES
        .iter()
        .map(|(name, vcpus, memory_mib, architecture)| MachineType {
            name: (*name).to_owned(),
            architectures: vec![(*architecture).to_owned()],
            vcpus: *vcpus,
            memory_mib: *memory_mib,
            zones: offered.clone(),
        })
        .collect();
    Catalogue { zones, machine_types, images: images() }
}

fn images() -> Vec<Image> {
    let mut images = Vec::new();
    for alias in ImageAlias::ALL {
        for (arch, architecture) in [("amd64", "x86_64"), ("arm64", "arm64")] {
            for (name, created) in DATES {
                images.push(Image {
                    id: format!("ami-{:017x}", images.len() + 1),
                    name: alias.name_pattern(arch).replace('*', name),
                    owner: alias.owner().to_owned(),
                    architecture: architecture.to_owned(),
                    root_device: if alias.user() == "admin" { "/dev/xvda" } else { "/dev/sda1" }.to_owned(),
                    created: created.to_owned(),
                    state: "available".to_owned(),
                });
            }
        }
    }
    images
}

/// AWS's filter wildcards: `*` and `?`.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // reached[n]: the pattern so far matches the first n characters.
    let mut reached = vec![false; text.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    for wanted in pattern {
        let mut next = vec![false; text.len() + 1];
        let mut any = false;
        for (n, here) in reached.iter().enumerate() {
            any |= here;
            let step = *here && text.get(n).is_some_and(|c| wanted == '?' || wanted == *c);
            let slot = match wanted {
                '*' if any => next.get_mut(n),
                '*' => None,
                _ if step => next.get_mut(n + 1),
                _ => None,
            };
            if let Some(slot) = slot {
                *slot = true;
            }
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn wildcards_match_as_in_a_filter() {
        for (pattern, text, expected) in [
            ("debian-13-amd64-*", "debian-13-amd64-20260101", true),
            ("debian-13-amd64-*", "debian-13-arm64-20260101", false),
            ("*", "", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*b*", "abc", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
