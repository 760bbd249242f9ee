//! Regions, zones, networks, addresses of mirrors.

use ipnet::Ipv4Net;

use super::names::is_dns_name;
use crate::spec::problem::{Code, Fault, quoted};
use crate::spec::read::Text;

/// An IPv4 network without host bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr(pub Ipv4Net);

impl Text for Cidr {
    const WHAT: &'static str = "a CIDR, such as \"10.20.0.0/16\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let fault = |message: String| Fault::new(Code::Cidr, message);
        let Ok(net) = text.parse::<Ipv4Net>() else {
            if text.parse::<std::net::Ipv4Addr>().is_ok() {
                return Err(fault(format!("{} has no prefix length", quoted(text)))
                    .help(format!("write \"{text}/32\" for this one address")));
            }
            if text.parse::<ipnet::Ipv6Net>().is_ok() || text.parse::<std::net::Ipv6Addr>().is_ok() {
                return Err(fault(format!("{} is IPv6; only IPv4 is supported so far", quoted(text))));
            }
            return Err(fault(format!("{} is not a CIDR", quoted(text)))
                .help("four numbers from 0 to 255 and a prefix, such as \"10.20.0.0/16\""));
        };
        if net.trunc() != net {
            return Err(
                fault(format!("{text} is an address inside a network, not a network")).help(format!("write \"{}\"", net.trunc()))
            );
        }
        Ok(Self(net))
    }
}

/// Regions known when this was written (docs.aws.amazon.com/global-infrastructure/latest/regions). Others only cause a warning.
pub(crate) const REGIONS: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
];

/// `us-east-1`: words of letters, then a number.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let Some((number, words)) = parts.split_last() else { return false };
    let word = |word: &&str| !word.is_empty() && word.len() <= 12 && word.bytes().all(|b| b.is_ascii_lowercase());
    (2..=3).contains(&words.len())
        && words.iter().all(word)
        && (1..=2).contains(&number.len())
        && number.bytes().all(|b| b.is_ascii_digit())
}

/// `aws.region`
#[derive(Clone, Debug)]
pub(crate) struct Region(pub String);

impl Text for Region {
    const WHAT: &'static str = "a region, such as \"us-east-1\"";
    const WORDS: &'static [&'static str] = REGIONS;
    const WORDS_ONLY: bool = false;

    fn parse(text: &str) -> Result<Self, Fault> {
        if is_region(text) {
            return Ok(Self(text.to_owned()));
        }
        let fault = Fault::new(Code::Region, format!("{} is not a region", quoted(text)));
        let region = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
        if is_region(region) {
            return Err(fault.help(format!("that is a zone; its region is \"{region}\"")));
        }
        Err(match crate::spec::nearest(text, REGIONS.iter().copied()) {
            Some(meant) => fault.help(format!("did you mean \"{meant}\"?")),
            None => fault.help("such as \"us-east-1\""),
        })
    }
}

/// An availability zone, of any region yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Zone(pub String);

impl Zone {
    /// The zone without its letter.
    pub fn region(&self) -> &str {
        self.0.trim_end_matches(|c: char| c.is_ascii_lowercase())
    }
}

impl Text for Zone {
    const WHAT: &'static str = "a zone, such as \"us-east-1a\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let fault = |message: String| Fault::new(Code::Zone, message);
        let region = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
        let letters = text.strip_prefix(region).unwrap_or_default();
        if is_region(region) && letters.len() == 1 {
            // Each letter owns one of eight blocks of the VPC, so that adding a zone never moves a subnet.
            return if letters <= "h" {
                Ok(Self(text.to_owned()))
            } else {
                Err(fault(format!("zone {} is beyond the letter h, the last that has room in the VPC", quoted(text))))
            };
        }
        // us-east-1-bos-1a, us-east-1-wl1-bos-wlz-1
        let start: Vec<&str> = text.split('-').take(3).collect();
        if is_region(&start.join("-")) && text.split('-').count() > 3 {
            return Err(fault(format!(
                "{} is a local or wavelength zone; control planes and NAT gateways need availability zones",
                quoted(text)
            ))
            .help(format!("such as \"{}a\"", start.join("-"))));
        }
        let fault = fault(format!("{} is not a zone", quoted(text)));
        Err(if is_region(text) {
            fault.help(format!("add the zone's letter: \"{text}a\""))
        } else {
            fault.help("such as \"us-east-1a\"")
        })
    }
}

/// `https://host[:port]/path`, without anything that a shell, apt or YAML could read differently, and without credentials.
#[derive(Clone, Debug)]
pub(crate) struct MirrorUrl(pub String);

impl Text for MirrorUrl {
    const WHAT: &'static str = "an https address, such as \"https://mirror.example.com/kubernetes\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let fault = |reason: &str| Fault::new(Code::Packages, format!("{} {reason}", quoted(text)));
        let Some(rest) = text.strip_prefix("https://") else {
            return Err(fault("is not an https address").help("such as \"https://mirror.example.com/kubernetes\""));
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(fault("holds a user or password; a spec holds no secrets"));
        }
        let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
        let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        let path_fits =
            path.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'.' | b'_' | b'~' | b'+' | b':'));
        if !is_dns_name(host) || !port_fits || !path_fits {
            return Err(
                fault("is not a plain https address").help("a host name, and a path of letters, digits and `/ - . _ ~ + :`")
            );
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}
