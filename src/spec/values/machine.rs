//! What AWS has a grammar for: machine types, images, volumes, profiles, tags; and paths on the user's machine.

use crate::cluster::{Image, ImageAlias};
use crate::desired::tags;
use crate::spec::problem::{Code, Fault, quoted};
use crate::spec::read::Text;

/// `family.size`
#[derive(Clone, Debug)]
pub(crate) struct MachineType(pub String);

impl Text for MachineType {
    const WHAT: &'static str = "an EC2 instance type, such as \"t3.medium\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let part = |part: &str| {
            !part.is_empty()
                && part.len() <= 24
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        match text.split_once('.') {
            Some((family, size)) if part(family) && part(size) && family.starts_with(|c: char| c.is_ascii_lowercase()) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(Fault::new(Code::MachineType, format!("{} is not an instance type", quoted(text)))
                .help("a family, a dot and a size, such as \"t3.medium\"")),
        }
    }
}

impl Text for Image {
    const WHAT: &'static str = "an image, such as \"debian-13\" or \"ami-0123456789abcdef0\"";
    const WORDS: &'static [&'static str] = {
        // The pattern keeps this list as long as that of the aliases.
        let [a, b, c, d] = ImageAlias::ALL;
        &[a.as_str(), b.as_str(), c.as_str(), d.as_str()]
    };
    const WORDS_ONLY: bool = false;

    fn parse(text: &str) -> Result<Self, Fault> {
        if let Some(alias) = ImageAlias::ALL.into_iter().find(|alias| alias.as_str() == text) {
            return Ok(Self::Alias(alias));
        }
        if let Some(id) = text.strip_prefix("ami-") {
            let fits = matches!(id.len(), 8 | 17) && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            return if fits {
                Ok(Self::Ami(text.to_owned()))
            } else {
                Err(Fault::new(Code::Image, format!("{} is not an AMI id", quoted(text)))
                    .help("`ami-` and 17 (older ones: 8) of the characters 0-9 and a-f"))
            };
        }
        let fault = Fault::new(Code::Image, format!("unknown image {}", quoted(text)));
        Err(match crate::spec::nearest(text, Self::WORDS.iter().copied()) {
            Some(meant) => fault.help(format!("did you mean \"{meant}\"?")),
            None => fault.help(format!("one of {}, or an AMI id", Self::WORDS.join(", "))),
        })
    }
}

/// Kind of a root volume.
#[derive(Clone, Debug)]
pub(crate) struct VolumeKind(pub String);

impl Text for VolumeKind {
    const WHAT: &'static str = "a volume type, such as \"gp3\"";
    const WORDS: &'static [&'static str] = &["gp3", "gp2"];

    fn parse(text: &str) -> Result<Self, Fault> {
        if Self::WORDS.contains(&text) {
            return Ok(Self(text.to_owned()));
        }
        let fault = Fault::new(Code::Volume, format!("{} is not a volume type that is supported", quoted(text)));
        Err(match text {
            "io1" | "io2" => fault.help("it needs provisioned IOPS, for which there is no key yet; use \"gp3\""),
            "st1" | "sc1" => fault.help("machines cannot boot from it; use \"gp3\""),
            _ => fault.help("use \"gp3\" or \"gp2\""),
        })
    }
}

/// Name, not ARN, of an IAM instance profile.
#[derive(Clone, Debug)]
pub(crate) struct Profile(pub String);

impl Text for Profile {
    const WHAT: &'static str = "the name of an IAM instance profile";

    fn parse(text: &str) -> Result<Self, Fault> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'=' | b',' | b'.' | b'@' | b'-');
        if (1..=128).contains(&text.len()) && text.bytes().all(fits) {
            return Ok(Self(text.to_owned()));
        }
        let fault = Fault::new(Code::InstanceProfile, format!("{} is not the name of an instance profile", quoted(text)));
        let name = text.rsplit('/').next().unwrap_or_default();
        Err(if text.starts_with("arn:") { fault.help(format!("only the name, not the ARN: {}", quoted(name))) } else { fault })
    }
}

/// Key of a tag that the user may set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TagKey(pub String);

impl Text for TagKey {
    const WHAT: &'static str = "a tag key";

    fn parse(text: &str) -> Result<Self, Fault> {
        let length = text.chars().count();
        if !(1..=128).contains(&length) {
            return Err(Fault::new(Code::Tag, format!("a tag key has 1 to 128 characters, not {length}")));
        }
        if tags::is_reserved(text) {
            return Err(Fault::new(
                Code::ReservedTag,
                format!("tag {} is reserved: kubewright, AWS or Kubernetes sets it", quoted(text)),
            )
            .help("choose another key"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Value of a tag.
#[derive(Clone, Debug)]
pub(crate) struct TagValue(pub String);

impl Text for TagValue {
    const WHAT: &'static str = "a text";

    fn parse(text: &str) -> Result<Self, Fault> {
        match text.chars().count() {
            0..=256 => Ok(Self(text.to_owned())),
            length => Err(Fault::new(Code::Tag, format!("a tag value has at most 256 characters, not {length}"))),
        }
    }
}

/// A path on the user's machine: absolute, relative to the spec's folder, or in the home folder with `~/`.
#[derive(Clone, Debug)]
pub(crate) struct PathText(pub String);

impl Text for PathText {
    const WHAT: &'static str = "a path";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text.contains("PRIVATE KEY-----") {
            return Err(Fault::new(Code::Login, "this is a private key itself; a spec holds no secrets")
                .help("write the path of the key file; and regard this key as known to whoever can read the spec"));
        }
        if text.trim().is_empty() {
            return Err(Fault::new(Code::Path, "the path is empty"));
        }
        if text.starts_with('~') && text != "~" && !text.starts_with("~/") {
            return Err(Fault::new(
                Code::Path,
                format!("{} is the home folder of another user, which is not looked up", quoted(text)),
            )
            .help("write the whole path, or \"~/...\" for your own"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// `ssh.public_key`: a path, or the key itself.
#[derive(Clone, Debug)]
pub(crate) enum KeyText {
    Line(String),
    File(PathText),
}

impl Text for KeyText {
    const WHAT: &'static str = "the path of an OpenSSH public key, or the key itself";

    fn parse(text: &str) -> Result<Self, Fault> {
        let begins = |word: &str| text.trim_start().strip_prefix(word).is_some_and(|rest| rest.contains(' '));
        if ["ssh-", "ecdsa-", "sk-"].into_iter().any(begins) {
            return Ok(Self::Line(text.to_owned()));
        }
        PathText::parse(text).map(Self::File)
    }
}
