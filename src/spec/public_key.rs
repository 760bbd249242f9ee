//! OpenSSH public keys: one line that EC2 accepts, or why not.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::problem::{Code, Fault, quoted};

/// Smallest RSA modulus, in bits, that a current sshd accepts and EC2 recommends.
const RSA_BITS: usize = 2048;

/// The one key of a file's contents or of a line, as `type base64 comment`. `named` is what the user gave, for messages.
pub(crate) fn one_line(contents: &str, named: &str) -> Result<String, Fault> {
    let fault = |message: String| Fault::new(Code::PublicKey, message);
    if contents.contains("PRIVATE KEY") || contents.starts_with("PuTTY-User-Key-File") {
        let public = named.strip_suffix(".pem").unwrap_or(named);
        return Err(fault(format!("{} is a private key; give the public one", quoted(named)))
            .help(format!("usually \"{public}.pub\"; `ssh-keygen -y -f {named}` prints it")));
    }
    if contents.contains("BEGIN SSH2 PUBLIC KEY")
        || contents.contains("BEGIN PUBLIC KEY")
        || contents.contains("BEGIN RSA PUBLIC KEY")
    {
        return Err(fault(format!("{} is a public key in another format than OpenSSH's", quoted(named)))
            .help(format!("convert it: ssh-keygen -i -f {named}")));
    }
    let mut lines = contents.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let line = lines.next().unwrap_or_default();
    let mut words = line.split_ascii_whitespace();
    let (kind, body) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let Some(blob) = STANDARD.decode(body).ok().filter(|blob| fields(blob).first() == Some(&kind.as_bytes())) else {
        return Err(fault(format!("{} is not an OpenSSH public key", quoted(named)))
            .help("one line such as `ssh-ed25519 AAAA... you@host`; `ssh-keygen -t ed25519` makes a pair"));
    };
    if lines.next().is_some() {
        return Err(fault(format!("{} holds more than one key; EC2 takes one", quoted(named))));
    }
    check_kind(kind, &fields(&blob))
        .map_err(|message| fault(format!("{}: {message}", quoted(named))).help("`ssh-keygen -t ed25519` makes one that works"))?;
    let comment: String = words.collect::<Vec<_>>().join(" ").chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
    Ok(format!("{kind} {body} {comment}").trim_end().to_owned())
}

/// EC2 imports ed25519 and RSA keys (docs.aws.amazon.com, "Amazon EC2 key pairs").
fn check_kind(kind: &str, fields: &[&[u8]]) -> Result<(), String> {
    match (kind, fields) {
        ("ssh-ed25519", [_, key]) if key.len() == 32 => Ok(()),
        ("ssh-rsa", [_, _, modulus]) => {
            let significant = modulus.iter().skip_while(|byte| **byte == 0).collect::<Vec<_>>();
            let top = significant.first().map_or(0, |byte| byte.leading_zeros() as usize);
            let bits = (significant.len() * 8).saturating_sub(top);
            if bits >= RSA_BITS {
                Ok(())
            } else {
                Err(format!("an RSA key of {bits} bits is too weak; {RSA_BITS} are the least"))
            }
        }
        ("ssh-ed25519" | "ssh-rsa", _) => Err("the key is cut off".into()),
        ("ssh-dss", _) => Err("DSA keys are too weak; sshd no longer takes them".into()),
        _ => Err(format!("EC2 imports ed25519 and RSA keys only, not {}", quoted(kind))),
    }
}

/// Length-prefixed fields of a key blob (RFC 4253 section 6.6); what is cut off is left out.
fn fields(mut blob: &[u8]) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    while let Some((length, rest)) = blob.split_first_chunk::<4>() {
        let Some((field, rest)) = rest.split_at_checked(u32::from_be_bytes(*length) as usize) else { break };
        fields.push(field);
        blob = rest;
    }
    fields
}
