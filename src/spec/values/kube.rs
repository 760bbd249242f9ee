//! Kubernetes' own grammar: versions, labels, taints, amounts.

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

use super::names::is_dns_name;
use crate::cluster::{Amount, KubernetesVersion, Taint, TaintEffect};
use crate::spec::problem::{Code, Fault, Findings, quoted};
use crate::spec::read::{Int, Read, Text};

impl Text for KubernetesVersion {
    const WHAT: &'static str = "a Kubernetes version, such as \"1.34.2\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let supported = KubernetesVersion::SUPPORTED_MINORS;
        let range = format!("1.{} to 1.{} are supported", supported.start(), supported.end());
        match text.parse::<KubernetesVersion>() {
            Ok(version) if version.major == 1 && supported.contains(&version.minor) => Ok(version),
            Ok(version) => {
                let age =
                    if version.major < 1 || (version.major == 1 && version.minor < *supported.start()) { "old" } else { "new" };
                Err(Fault::new(Code::Version, format!("Kubernetes {text} is too {age}; {range}")))
            }
            Err(_) => {
                let fault = Fault::new(Code::Version, format!("{} is not a Kubernetes version", quoted(text)));
                let plain = text.trim_start_matches(['v', 'V']);
                Err(if plain != text && plain.parse::<KubernetesVersion>().is_ok() {
                    fault.help(format!("write it without the `v`: \"{plain}\""))
                } else if format!("{plain}.0").parse::<KubernetesVersion>().is_ok() {
                    fault.help(format!("write all three numbers, such as \"{plain}.0\""))
                } else {
                    fault.help("three numbers, such as \"1.34.2\"; pre-releases are not supported")
                })
            }
        }
    }
}

/// The name part of a label or taint key, or a value: letters, digits, `-`, `_`, `.`; a letter or digit at both ends.
fn is_word(text: &str) -> bool {
    let end = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && end(text.bytes().next())
        && end(text.bytes().last())
}

/// `[prefix/]name` (kubernetes.io/docs/concepts/overview/working-with-objects/labels).
fn is_qualified(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_name(prefix) && is_word(name),
        None => is_word(text),
    }
}

/// Kubernetes' own domains, and ours.
fn is_reserved_prefix(key: &str) -> bool {
    let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
    ["kubernetes.io", "k8s.io", "kubewright.io"]
        .iter()
        .any(|domain| prefix.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// Key of a node label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LabelKey(pub String);

impl Text for LabelKey {
    const WHAT: &'static str = "a label key, such as \"example.com/tier\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        if !is_qualified(text) {
            return Err(Fault::new(Code::Label, format!("{} is not a label key", quoted(text)))
                .help("at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends; a DNS name and `/` may go before it"));
        }
        // Roles and restriction labels are there for people to set; kubeadm sets the control plane's itself.
        let free = ["node-role.kubernetes.io/", "node-restriction.kubernetes.io/"].iter().any(|prefix| text.starts_with(prefix));
        if (is_reserved_prefix(text) && !free) || text == "node-role.kubernetes.io/control-plane" {
            return Err(Fault::new(Code::Label, format!("label {} is reserved: Kubernetes or kubewright sets it", quoted(text)))
                .help("use a prefix of your own, such as \"example.com/\""));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Value of a node label; may be empty.
#[derive(Clone, Debug)]
pub(crate) struct LabelValue(pub String);

impl Text for LabelValue {
    const WHAT: &'static str = "a label value";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text.is_empty() || is_word(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(Fault::new(Code::Label, format!("{} is not a label value", quoted(text)))
            .help("at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, or nothing"))
    }
}

const EFFECTS: [(&str, TaintEffect); 3] = [
    ("NoSchedule", TaintEffect::NoSchedule),
    ("PreferNoSchedule", TaintEffect::PreferNoSchedule),
    ("NoExecute", TaintEffect::NoExecute),
];

impl Text for Taint {
    const WHAT: &'static str = "a taint, such as \"dedicated=gpu:NoSchedule\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let fault = |reason: String| Fault::new(Code::Taint, format!("{} is not a taint: {reason}", quoted(text)));
        let form = "write \"key=value:Effect\" or \"key:Effect\"; effects are NoSchedule, PreferNoSchedule and NoExecute";
        let Some((pair, effect)) = text.rsplit_once(':') else { return Err(fault("the effect is missing".into()).help(form)) };
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some((_, effect)) = EFFECTS.into_iter().find(|(word, _)| *word == effect) else {
            let meant = crate::spec::nearest(effect, EFFECTS.iter().map(|(word, _)| *word));
            return Err(fault(format!("{} is not an effect", quoted(effect)))
                .help(meant.map_or(form.to_owned(), |meant| format!("did you mean `{meant}`?"))));
        };
        if !is_qualified(key) {
            return Err(fault(format!("{} cannot be its key", quoted(key))).help(form));
        }
        if !(value.is_empty() || is_word(value)) {
            return Err(fault(format!("{} cannot be its value", quoted(value))).help(form));
        }
        if key.starts_with("node.kubernetes.io/") || key.starts_with("node.cloudprovider.kubernetes.io/") {
            return Err(fault("Kubernetes itself sets and removes taints with this prefix".into()));
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned(), effect })
    }
}

/// Whole seconds, more than none and at most a day; written as `90s`, `10m` or `1h 30m`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Period(pub u32);

/// Seconds.
const DAY: i64 = 24 * 60 * 60;

impl Text for Period {
    const WHAT: &'static str = "a time, such as \"90s\" or \"10m\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let form = "write it as \"90s\", \"10m\" or \"1h 30m\"";
        let Ok(time) = text.parse::<jiff::SignedDuration>() else {
            return Err(Fault::new(Code::Period, format!("{} is not a time", quoted(text))).help(form));
        };
        match u32::try_from(time.as_secs()) {
            Ok(seconds) if (1..=DAY).contains(&time.as_secs()) && time.subsec_nanos() == 0 => Ok(Self(seconds)),
            _ => Err(Fault::new(Code::Period, format!("{} is not from 1 s to 24 h, in whole seconds", quoted(text))).help(form)),
        }
    }
}

impl Read for Amount {
    const WANTED: &'static str = "a whole number or a share, such as 1 or \"25%\"";

    fn schema() -> Json {
        json!({ "type": ["integer", "string"], "minimum": 0 })
    }

    fn read(key: &str, value: &Spanned<DeValue>, findings: &mut Findings) -> Option<Self> {
        if value.get_ref().is_integer() {
            return Int::<0, 5000>::read(key, value, findings).map(|number| Self::Count(number.0));
        }
        let Some(text) = value.get_ref().as_str() else {
            let message = format!("`{key}` must be {}, not a {}", Self::WANTED, value.get_ref().type_str());
            findings.error(&value.span(), Fault::new(Code::WrongType, message));
            return None;
        };
        let number = text.strip_suffix('%').filter(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
        match number.and_then(|number| number.parse().ok()) {
            Some(percent) if percent <= 100 => Some(Self::Percent(percent)),
            _ => {
                let message = format!("{} is not an amount of machines", quoted(text));
                findings.error(
                    &value.span(),
                    Fault::new(Code::RollingUpdate, message).help("write a number without quotes, or \"0%\" to \"100%\""),
                );
                None
            }
        }
    }
}
