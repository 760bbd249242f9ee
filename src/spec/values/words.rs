//! Values that are one of a few words.

use toml::Spanned;
use toml::de::DeValue;

use crate::cluster::{Cni, DrainEnd, HostKeys, Nat, Role, SshAddress, UpgradeBy};
use crate::spec::problem::{Code, Fault, Findings, quoted};
use crate::spec::read::{Read, Text};

/// The machines' way out, without how it is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    Public,
    Private,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Apt,
    Bundle,
}

macro_rules! words {
    ($($type:ident, $what:literal: $($word:literal = $value:expr),+;)*) => {
        $(
            impl Text for $type {
                const WHAT: &'static str = $what;
                const WORDS: &'static [&'static str] = &[$($word),+];

                fn parse(text: &str) -> Result<Self, Fault> {
                    match text {
                        $($word => Ok($value),)+
                        _ => Err(unknown(text, Self::WHAT, Self::WORDS)),
                    }
                }
            }
        )*
    };
}

words! {
    Cni, "\"calico\", \"cilium\", \"flannel\" or \"none\"": "calico" = Cni::Calico, "cilium" = Cni::Cilium, "flannel" = Cni::Flannel, "none" = Cni::None;
    Reach, "\"public\" or \"private\"": "public" = Reach::Public, "private" = Reach::Private;
    Nat, "\"one\" or \"per-zone\"": "one" = Nat::One, "per-zone" = Nat::PerZone;
    SshAddress, "\"public\" or \"private\"": "public" = SshAddress::Public, "private" = SshAddress::Private;
    HostKeys, "\"console\" or \"trust-on-first-use\"": "console" = HostKeys::Console, "trust-on-first-use" = HostKeys::TrustOnFirstUse;
    DrainEnd, "\"stop\" or \"force\"": "stop" = DrainEnd::Stop, "force" = DrainEnd::Force;
    UpgradeBy, "\"in-place\" or \"replace\"": "in-place" = UpgradeBy::InPlace, "replace" = UpgradeBy::Replace;
    Source, "\"apt\" or \"bundle\"": "apt" = Source::Apt, "bundle" = Source::Bundle;
    Role, "\"control-plane\", \"node\" or \"bastion\"": "control-plane" = Role::ControlPlane, "node" = Role::Node, "bastion" = Role::Bastion;
}

fn unknown(text: &str, what: &str, words: &[&str]) -> Fault {
    // The words of kops and of older Kubernetes.
    let meant = match text {
        "master" | "controlplane" | "server" => Some("control-plane"),
        "worker" | "agent" => Some("node"),
        "single" | "shared" => Some("one"),
        _ => None,
    };
    let meant = meant.filter(|meant| words.contains(meant)).or_else(|| crate::spec::nearest(text, words.iter().copied()));
    let fault = Fault::new(Code::Choice, format!("{} is none of the choices: {what}", quoted(text)));
    match meant {
        Some(meant) => fault.help(format!("did you mean \"{meant}\"?")),
        None => fault,
    }
}

/// `schema`: only 1 so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SchemaVersion;

impl Read for SchemaVersion {
    const WANTED: &'static str = "the number 1";

    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "integer", "enum": [1] })
    }

    fn read(key: &str, value: &Spanned<DeValue>, findings: &mut Findings) -> Option<Self> {
        let message = match value.get_ref() {
            DeValue::Integer(number) if u64::from_str_radix(number.as_str(), number.radix()) == Ok(1) => return Some(Self),
            DeValue::Integer(number) => Fault::new(
                Code::SchemaVersion,
                format!(
                    "schema {} is unknown to this kubewright; it reads schema 1",
                    quoted(&number.to_string()).replace('`', "")
                ),
            )
            .help("if the spec was written for a newer kubewright, use that one"),
            other => Fault::new(Code::WrongType, format!("`{key}` must be {}, not a {}", Self::WANTED, other.type_str()))
                .help("write schema = 1"),
        };
        findings.error(&value.span(), message);
        None
    }
}
