//! Ports between machines.

use crate::cluster::Ports;
use crate::spec::problem::{Code, Fault, quoted};
use crate::spec::read::Text;

impl Text for Ports {
    const WHAT: &'static str = "ports, such as \"8472/udp\" or \"30000-30100/tcp\", or \"icmp\", \"ipip\" or \"all\"";
    const WORDS: &'static [&'static str] = &["8472/udp", "30000-30100/tcp", "icmp", "ipip", "all"];
    const WORDS_ONLY: bool = false;

    fn parse(text: &str) -> Result<Self, Fault> {
        match text {
            "icmp" => return Ok(Self::Icmp),
            "ipip" => return Ok(Self::IpInIp),
            "all" => return Ok(Self::All),
            _ => {}
        }
        let fault = |reason: &str| Fault::new(Code::Ports, format!("{} {reason}", quoted(text)));
        let Some((ports, protocol)) = text.split_once('/') else {
            return Err(if range(text).is_some() {
                fault("names no protocol").help(format!("write \"{text}/tcp\" or \"{text}/udp\""))
            } else if ["tcp", "udp"].contains(&text) {
                fault("names no port").help(format!("write \"1-65535/{text}\" for every port"))
            } else {
                fault(NOT_PORTS).help(LIKE)
            });
        };
        let Some((first, last)) = range(ports) else {
            return Err(match range(protocol) {
                Some(_) => fault("has protocol and port the wrong way round").help(format!("write \"{protocol}/{ports}\"")),
                None => fault(NOT_PORTS).help(LIKE),
            });
        };
        let (Some(from), Some(to)) = (port(first), port(last)) else {
            return Err(fault("names a port that does not exist").help("ports are 1 to 65535"));
        };
        if from > to {
            return Err(fault("is a range that ends before it begins").help(format!("write \"{last}-{first}/{protocol}\"")));
        }
        match protocol {
            "tcp" => Ok(Self::Tcp(from, to)),
            "udp" => Ok(Self::Udp(from, to)),
            "icmp" | "ipip" | "all" => {
                Err(fault("has ports, which this protocol does not have").help(format!("write \"{protocol}\"")))
            }
            _ => {
                Err(fault("names another protocol than tcp or udp")
                    .help("without ports there are \"icmp\", \"ipip\" and \"all\""))
            }
        }
    }
}

const NOT_PORTS: &str = "is neither ports nor a protocol without ports";
const LIKE: &str = "such as \"8472/udp\", \"30000-30100/tcp\", \"icmp\", \"ipip\" or \"all\"";

/// The ends of a range as they are written; those of one port are the same.
fn range(text: &str) -> Option<(&str, &str)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (number(first) && number(last)).then_some((first, last))
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_alike() {
        for text in ["1/tcp", "8472/udp", "30000-30100/tcp", "1-65535/udp", "icmp", "ipip", "all"] {
            assert_eq!(Ports::parse(text).map(|ports| ports.to_string()).ok().as_deref(), Some(text));
        }
        assert_eq!(Ports::parse("8472-8472/udp").ok(), Ports::parse("8472/udp").ok());
    }
}
