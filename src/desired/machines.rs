//! Instances: which slots a group has, and what each machine is made from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cluster::{Cluster, Cni, InstanceGroup, NodeSettings, Role, SshAddress, Topology};
use crate::desired::{Audience, ResourceId};
use crate::digest::sha256;

/// A machine that the cluster calls for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    pub slot: Slot,
    /// The text of the slot.
    pub name: String,
    /// The instance of that name.
    pub id: ResourceId,
    pub group: String,
    pub role: Role,
    pub subnet: ResourceId,
    pub public_address: bool,
    pub source_dest_check: bool,
    /// What cannot be read back from AWS in one listing, in words: the tag `kubewright.io/made-from`. One for the whole group.
    pub made_from: Arc<MadeFrom>,
}

/// Place of a machine in its group; the text form is `<group>-<zone>-<n>`, n from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    pub group: String,
    pub zone: String,
    pub n: u32,
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.group, self.zone, self.n)
    }
}

/// The slots of a group: those that exist stay where they are as long as their zone is wanted, the rest go where the fewest
/// are. So a higher count, or one more zone, never moves a machine that lives.
///
/// `taken` may hold slots of zones that the group no longer has; they are left out. Where more are taken than wanted, the
/// fullest zone gives up its highest number first. `closed` slots are given to nobody.
pub fn slots(group: &InstanceGroup, taken: &BTreeSet<Slot>, closed: &BTreeSet<Slot>) -> BTreeSet<Slot> {
    let mut by_zone: BTreeMap<&str, BTreeSet<u32>> = group.zones.iter().map(|zone| (zone.as_str(), BTreeSet::new())).collect();
    let first = Slot { group: group.name.clone(), zone: String::new(), n: 0 };
    let open = taken.range(first..).take_while(|slot| slot.group == group.name).filter(|slot| !closed.contains(slot));
    for slot in open {
        if let Some(numbers) = by_zone.get_mut(slot.zone.as_str()) {
            numbers.insert(slot.n);
        }
    }
    let wanted = group.count as usize;
    let order = |zone: &str| group.zones.iter().position(|name| name == zone);
    // Below these numbers a zone has no gap any more.
    let mut filled: BTreeMap<&str, u32> = BTreeMap::new();
    loop {
        let total: usize = by_zone.values().map(BTreeSet::len).sum();
        if total == wanted {
            break;
        }
        if total < wanted {
            let Some((zone, numbers)) = by_zone.iter_mut().min_by_key(|(zone, numbers)| (numbers.len(), order(zone))) else {
                break;
            };
            let next = filled.entry(zone).or_insert(1);
            let is_closed = |n: u32| closed.contains(&Slot { group: group.name.clone(), zone: (*zone).to_owned(), n });
            while is_closed(*next) || !numbers.insert(*next) {
                *next += 1;
            }
        } else {
            let Some((_, numbers)) = by_zone.iter_mut().max_by_key(|(zone, numbers)| (numbers.len(), order(zone))) else { break };
            numbers.pop_last();
        }
    }
    let group_name = &group.name;
    by_zone
        .into_iter()
        .flat_map(|(zone, numbers)| {
            numbers.into_iter().map(move |n| Slot { group: group_name.clone(), zone: zone.to_owned(), n })
        })
        .collect()
}

/// Launch settings that `DescribeInstances` does not show, so that a machine that is behind can say in which of them. The text of
/// the tag, at most 256 characters: an instance profile's name has at most 128.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeFrom(String);

impl MadeFrom {
    /// `key` and `user_data` are digests.
    fn of(group: &InstanceGroup, key: &str, user_data: &str) -> Self {
        let volume = format!("{}-{}", group.volume.size_gib, group.volume.kind);
        let profile = group.instance_profile.as_deref().unwrap_or("none");
        let hop_limit = group.metadata_hop_limit;
        Self(format!(
            "volume={volume} profile={profile} hop-limit={hop_limit} key={key} user-data={user_data} settings={}",
            settings(&group.settings)
        ))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The settings in which a tag differs, as `(setting, was, is)`.
    pub fn differences(&self, tag: &str) -> Vec<(String, String, String)> {
        if tag == self.0 {
            return vec![];
        }
        let was: BTreeMap<&str, &str> = tag.split(' ').filter_map(|part| part.split_once('=')).collect();
        self.0
            .split(' ')
            .filter_map(|part| part.split_once('='))
            .filter(|(key, value)| was.get(key) != Some(value))
            .map(|(key, value)| (key.to_owned(), was.get(key).copied().unwrap_or("unknown").to_owned(), value.to_owned()))
            .collect()
    }
}

/// A name for what a group's machines have of their own; preflight checks are over once a machine has joined.
fn settings(settings: &NodeSettings) -> String {
    let lasting = NodeSettings { ignore_preflight_errors: vec![], ..settings.clone() };
    match lasting == NodeSettings::default() {
        true => "none".into(),
        false => digest(&serde_json::to_string(&lasting).unwrap_or_default()),
    }
}

/// First 12 hexadecimal digits of SHA-256: a name for a text, not a protection of it.
pub fn digest(text: &str) -> String {
    sha256(text).chars().take(12).collect()
}

/// Machines of all groups. `taken` are the slots that exist, `closed` those that nobody gets; `user_data` is by group.
pub fn machines(
    cluster: &Cluster,
    taken: &BTreeSet<Slot>,
    closed: &BTreeSet<Slot>,
    user_data: &BTreeMap<String, String>,
) -> Vec<Machine> {
    let public_topology = cluster.network.topology == Topology::Public;
    // Without the comment, which is nothing to a machine.
    let key = digest(&cluster.ssh.public_key.split_whitespace().take(2).collect::<Vec<_>>().join(" "));
    // Most groups have the same text.
    let mut digests = BTreeMap::new();
    cluster
        .groups
        .iter()
        .flat_map(|group| {
            let text = user_data.get(&group.name).map_or("", String::as_str);
            let user_data = digests.entry(text).or_insert_with(|| digest(text));
            let made_from = Arc::new(MadeFrom::of(group, &key, user_data));
            slots(group, taken, closed).into_iter().map(move |slot| (group, slot, Arc::clone(&made_from)))
        })
        .map(|(group, slot, made_from)| {
            let bastion = group.role == Role::Bastion;
            let audience = if bastion && !public_topology { Audience::Utility } else { Audience::Machines };
            let name = slot.to_string();
            Machine {
                id: ResourceId::Instance(name.clone()),
                name,
                group: group.name.clone(),
                role: group.role,
                subnet: ResourceId::Subnet(audience, slot.zone.clone()),
                public_address: public_topology || bastion,
                // VXLAN keeps pod addresses inside the tunnel, so the check may stay on; a CNI of the user's own may route.
                source_dest_check: bastion || cluster.network.cni != Cni::None,
                made_from,
                slot,
            }
        })
        .collect()
}

/// Whether SSH goes to the public address of a machine.
pub fn ssh_is_public(cluster: &Cluster) -> bool {
    cluster.ssh.address == SshAddress::Public
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn group(count: u32, zones: &[&str]) -> InstanceGroup {
        InstanceGroup {
            count,
            zones: zones.iter().map(ToString::to_string).collect(),
            ..crate::desired::fixture::cluster().groups.remove(1)
        }
    }

    const ZONES: [&str; 3] = ["us-east-1a", "us-east-1b", "us-east-1c"];

    #[test]
    fn a_new_zone_takes_the_next_machines_and_moves_none() {
        let before = slots(&group(3, &ZONES[..2]), &BTreeSet::new(), &BTreeSet::new());
        let after = slots(&group(4, &ZONES), &before, &BTreeSet::new());
        assert!(after.is_superset(&before), "{after:?}");
        assert!(after.iter().any(|slot| slot.zone == "us-east-1c"));
    }

    proptest! {
        #[test]
        fn slots_are_as_many_as_wanted_even_over_zones_and_keep_what_lives(
            first in 0u32..40, second in 0u32..40, zones_before in 1usize..=3, zones_after in 1usize..=3,
        ) {
            let before = slots(&group(first, &ZONES[..zones_before]), &BTreeSet::new(), &BTreeSet::new());
            prop_assert_eq!(before.len(), first as usize);
            let after = slots(&group(second, &ZONES[..zones_after]), &before, &BTreeSet::new());
            prop_assert_eq!(after.len(), second as usize);
            let kept = before.iter().filter(|slot| ZONES[..zones_after].contains(&slot.zone.as_str())).count();
            let both = before.intersection(&after).count();
            prop_assert_eq!(both, kept.min(second as usize), "a machine was moved");
            if first == 0 {
                let counts: Vec<usize> =
                    ZONES[..zones_after].iter().map(|zone| after.iter().filter(|slot| slot.zone == *zone).count()).collect();
                prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
            }
        }
    }
}
