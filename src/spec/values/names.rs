//! Names: of the cluster, of groups, of users; DNS names.

use std::net::IpAddr;

use crate::spec::problem::{Code, Fault, quoted};
use crate::spec::read::Text;

/// Longest cluster name: `api.internal.` goes before it, and it is part of tags, key pairs and certificates.
const LONGEST_CLUSTER: usize = 53;
/// Longest group name: a slot, `<group>-<zone>-<n>`, is a node label and so at most 63 characters.
const LONGEST_GROUP: usize = 40;

/// RFC 1123 label: lower-case letters, digits and `-`, at most 63, with a letter or digit at both ends.
pub(crate) fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    text.len() <= 63 && !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Labels with dots between them, at most 253 characters.
pub(crate) fn is_dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Why a text is not a DNS name, in words.
fn dns_fault(code: Code, text: &str) -> Fault {
    let fault = |reason: String| Fault::new(code, format!("{} is not a DNS name: {reason}", quoted(text)));
    let odd = text.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.'));
    if let Some(odd) = odd {
        return fault(format!("{} may not stand in it", quoted(&odd.to_string())))
            .help("lower-case letters, digits, `-` and `.`, such as \"demo.k8s.example.com\"");
    }
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return fault("it has upper-case letters".into())
            .help(format!("write {}", quoted(&text.to_ascii_lowercase()).replace('`', "\"")));
    }
    if text.ends_with('.') && is_dns_name(text.trim_end_matches('.')) {
        return fault("it ends with a dot".into()).help(format!("write \"{}\"", text.trim_end_matches('.')));
    }
    fault("each part between the dots has 1 to 63 letters, digits or `-`, and begins and ends with a letter or digit".into())
}

/// `name`
#[derive(Clone, Debug)]
pub(crate) struct ClusterName(pub String);

impl Text for ClusterName {
    const WHAT: &'static str = "a DNS name, such as \"demo.k8s.example.com\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        if !is_dns_name(text) {
            return Err(dns_fault(Code::Name, text));
        }
        if !text.contains('.') {
            return Err(Fault::new(Code::Name, format!("{} has only one part; it must lie in a hosted zone", quoted(text)))
                .help(format!("write the full name, such as \"{text}.k8s.example.com\"")));
        }
        if text.len() > LONGEST_CLUSTER {
            let message = format!("the name has {} characters; {LONGEST_CLUSTER} are the most", text.len());
            return Err(Fault::new(Code::Name, message).help("`api.internal.` goes before it, and tags and certificates hold it"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Name of a hosted zone.
#[derive(Clone, Debug)]
pub(crate) struct DnsZone(pub String);

impl Text for DnsZone {
    const WHAT: &'static str = "the name of a hosted zone, such as \"k8s.example.com\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        if is_dns_name(text) { Ok(Self(text.to_owned())) } else { Err(dns_fault(Code::DnsZone, text)) }
    }
}

/// One more name of the API server: DNS name, also with `*.` in front, or address.
#[derive(Clone, Debug)]
pub(crate) struct San(pub String);

impl Text for San {
    const WHAT: &'static str = "a DNS name or an address";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text.parse::<IpAddr>().is_ok() || is_dns_name(text.strip_prefix("*.").unwrap_or(text)) {
            return Ok(Self(text.to_owned()));
        }
        Err(dns_fault(Code::San, text))
    }
}

/// Name of an instance group.
#[derive(Clone, Debug)]
pub(crate) struct GroupName(pub String);

impl Text for GroupName {
    const WHAT: &'static str = "a short name, such as \"nodes\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text.len() > LONGEST_GROUP {
            let message = format!("the name has {} characters; {LONGEST_GROUP} are the most", text.len());
            return Err(Fault::new(Code::GroupName, message));
        }
        if !is_label(text) {
            let message = format!("{} cannot name an instance group", quoted(text));
            let help = "lower-case letters, digits and `-`, with a letter or digit at both ends";
            return Err(Fault::new(Code::GroupName, message).help(help));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Login user on the machines.
#[derive(Clone, Debug)]
pub(crate) struct User(pub String);

impl Text for User {
    const WHAT: &'static str = "a login name, such as \"admin\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
        let rest = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'));
        if first && rest && text.len() <= 32 {
            return Ok(Self(text.to_owned()));
        }
        Err(Fault::new(Code::User, format!("{} is not a login name", quoted(text)))
            .help("at most 32 lower-case letters, digits, `_` and `-`; the first a letter or `_`"))
    }
}
