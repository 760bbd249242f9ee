//! From read keys to the [`Cluster`]: defaults that depend on other keys, paths, the public key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

mod components;

use super::SpecFiles;
use super::file::{GroupKeys, PackageKeys, SpecFile, SshKeys};
use super::place::{At, Span};
use super::problem::{Code, Fault, Findings, quoted};
use super::public_key;
use super::read::{List, Map};
use super::values::machine::{KeyText, PathText, TagKey, TagValue};
use super::values::net::{Cidr, Zone};
use super::values::words::{Reach, Source};
use crate::cluster::{
    Api, Cluster, InstanceGroup, Nat, Network, NodeSettings, Packages, Role, RollingUpdate, Ssh, SshAddress, SshAuth, Topology,
    Volume,
};

/// What a spec is read in.
pub(crate) struct Surroundings<'a> {
    /// Folder of the spec.
    pub base: &'a Path,
    pub files: &'a dyn SpecFiles,
}

/// The value of a key that was read without a problem.
pub(super) fn value<T: Clone>(key: &Option<At<T>>) -> Option<T> {
    key.as_ref().map(|at| at.value.clone())
}

/// `None` if a problem was reported, here or before.
pub(crate) fn cluster(spec: &SpecFile, around: &Surroundings, findings: &mut Findings) -> Option<Cluster> {
    // The parts that read files come first: their problems are to be reported even if other keys are wrong.
    let ssh =
        spec.ssh.as_ref().map(|at| (&at.value, public_key_line(&at.value, around, findings), auth(&at.value, around, findings)));
    let packages = spec.packages.as_ref().and_then(|at| packages(&at.value, around, findings));
    let components = components::of(spec, around, findings);
    let settings: Vec<_> = spec
        .instance_group
        .iter()
        .flat_map(|groups| groups.value.values())
        .map(|keys| components::of_group(keys, around, findings))
        .collect();

    let (aws, network, api) = (&spec.aws.as_ref()?.value, &spec.network.as_ref()?.value, &spec.api.as_ref()?.value);
    let zones: Vec<String> = aws.zones.as_ref()?.value.values().map(|zone| zone.0.clone()).collect();
    let reach = value(&network.topology)?;
    value(&spec.schema)?;
    let (ssh, public_key, auth) = ssh?;
    let groups = spec.instance_group.as_ref()?.value.values().zip(settings);
    let groups = groups.map(|(keys, settings)| group(keys, settings?, &zones)).collect::<Option<Vec<_>>>()?;
    Some(Cluster {
        name: value(&spec.name)?.0,
        kubernetes: value(&spec.kubernetes)?,
        region: value(&aws.region)?.0,
        network: Network {
            cidr: value(&network.cidr)?.0,
            pods: value(&network.pods)?.0,
            services: value(&network.services)?.0,
            cni: value(&network.cni)?,
            ports: network.ports.as_ref()?.value.values().copied().collect(),
            topology: match reach {
                Reach::Public => Topology::Public,
                Reach::Private => Topology::Private { nat: value(&network.nat).unwrap_or(Nat::PerZone) },
            },
        },
        api: Api {
            dns_zone: value(&api.dns_zone)?.0,
            sans: api.sans.as_ref()?.value.values().map(|san| san.0.clone()).collect(),
            access: cidrs(&api.access)?,
        },
        ssh: Ssh {
            user: value(&ssh.user).map(|user| user.0),
            port: u16::try_from(value(&ssh.port)?.0).ok()?,
            public_key: public_key?,
            auth: auth?,
            access: cidrs(&ssh.access)?,
            address: value(&ssh.address).unwrap_or(match reach {
                Reach::Public => SshAddress::Public,
                Reach::Private => SshAddress::Private,
            }),
            host_keys: value(&ssh.host_keys)?,
        },
        node_ports: cidrs(&spec.node_ports.as_ref()?.value.access)?,
        tags: tags(&spec.tags)?,
        packages: packages?,
        components: Box::new(components?),
        prevent_destroy: value(&spec.prevent_destroy)?,
        snapshots_kept: value(&spec.etcd.as_ref()?.value.snapshots_kept)?.0,
        zones,
        groups,
    })
}

fn group(keys: &GroupKeys, settings: NodeSettings, cluster_zones: &[String]) -> Option<InstanceGroup> {
    let role = value(&keys.role)?;
    let own: Option<&List<Zone>> = keys.zones.as_ref().map(|at| &at.value);
    let wanted = |zone: &&String| own.is_none_or(|own| own.values().any(|wanted| wanted.0 == **zone));
    let volume = &keys.volume.as_ref()?.value;
    let rolling = &keys.rolling_update.as_ref()?.value;
    Some(InstanceGroup {
        name: value(&keys.name)?.0,
        role,
        count: value(&keys.count)?.0,
        zones: cluster_zones.iter().filter(wanted).cloned().collect(),
        machine_type: value(&keys.machine_type)?.0,
        image: value(&keys.image)?,
        volume: Volume {
            size_gib: value(&volume.size_gib).map_or(default_size_gib(role), |size| size.0),
            kind: value(&volume.kind)?.0,
        },
        labels: keys.labels.as_ref()?.value.0.iter().map(|(k, v)| (k.value.0.clone(), v.value.0.clone())).collect(),
        taints: keys.taints.as_ref()?.value.values().cloned().collect(),
        tags: tags(&keys.tags)?,
        instance_profile: value(&keys.instance_profile).map(|name| name.0),
        metadata_hop_limit: u8::try_from(value(&keys.metadata_hop_limit)?.0).ok()?,
        rolling_update: RollingUpdate {
            max_surge: value(&rolling.max_surge)?,
            max_unavailable: value(&rolling.max_unavailable)?,
            drain_timeout: value(&rolling.drain_timeout)?.0,
            on_drain_timeout: value(&rolling.on_drain_timeout)?,
            upgrade: value(&rolling.upgrade)?,
        },
        settings,
    })
}

/// Root volume, GiB.
fn default_size_gib(role: Role) -> u32 {
    match role {
        Role::ControlPlane => 40,
        Role::Node => 60,
        Role::Bastion => 10,
    }
}

fn cidrs(list: &Option<At<List<Cidr>>>) -> Option<Vec<ipnet::Ipv4Net>> {
    Some(list.as_ref()?.value.values().map(|cidr| cidr.0).collect())
}

fn tags(map: &Option<At<Map<TagKey, TagValue>>>) -> Option<BTreeMap<String, String>> {
    Some(map.as_ref()?.value.0.iter().map(|(key, value)| (key.value.0.clone(), value.value.0.clone())).collect())
}

fn public_key_line(ssh: &SshKeys, around: &Surroundings, findings: &mut Findings) -> Option<String> {
    let at = ssh.public_key.as_ref()?;
    let read = match &at.value {
        KeyText::Line(line) => public_key::one_line(line, line),
        KeyText::File(path) => {
            let file = resolve(path, &at.span, around, findings)?;
            match around.files.read(&file).map(String::from_utf8) {
                Ok(Ok(text)) => public_key::one_line(&text, &path.0),
                Ok(Err(_)) => {
                    Err(Fault::new(Code::PublicKey, format!("{} is not an OpenSSH public key, but binary", quoted(&path.0))))
                }
                Err(reason) => {
                    Err(Fault::new(Code::PublicKey, format!("the public key {} cannot be read: {reason}", quoted(&path.0)))
                        .help("`ssh-keygen -t ed25519` makes a pair; then name the file that ends with .pub"))
                }
            }
        }
    };
    read.map_err(|fault| findings.error(&at.span, fault)).ok()
}

fn auth(ssh: &SshKeys, around: &Surroundings, findings: &mut Findings) -> Option<SshAuth> {
    match &ssh.private_key {
        Some(at) => resolve(&at.value, &at.span, around, findings).map(SshAuth::KeyFile),
        None => Some(SshAuth::Agent),
    }
}

fn packages(keys: &PackageKeys, around: &Surroundings, findings: &mut Findings) -> Option<Packages> {
    match value(&keys.source)? {
        Source::Apt => Some(Packages::Apt {
            mirror: value(&keys.mirror).map(|url| url.0),
            signing_key: value(&keys.signing_key).map(|key| key.0),
        }),
        Source::Bundle => {
            let at = keys.bundle.as_ref()?;
            let folder = resolve(&at.value, &at.span, around, findings)?;
            if let Err(reason) = around.files.read(&folder.join("VERSION")) {
                let message = format!("there is no bundle in {}: its file VERSION cannot be read: {reason}", quoted(&at.value.0));
                let fault = Fault::new(Code::Packages, message)
                    .help("make the bundle first, or leave [packages] out: then packages come from the apt repository");
                findings.error(&at.span, fault);
                return None;
            }
            Some(Packages::Bundle(folder))
        }
    }
}

pub(super) fn resolve(path: &PathText, span: &Span, around: &Surroundings, findings: &mut Findings) -> Option<PathBuf> {
    let in_home = path.0.strip_prefix('~').map(|rest| rest.trim_start_matches('/'));
    match (in_home, around.files.home()) {
        (None, _) => Some(around.base.join(&path.0)),
        (Some(rest), Some(home)) => Some(home.join(rest)),
        (Some(_), None) => {
            let message = format!("{} needs a home folder, and none is known", quoted(&path.0));
            findings.error(span, Fault::new(Code::Path, message).help("set HOME, or write the whole path"));
            None
        }
    }
}
