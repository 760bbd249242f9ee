//! Settings of Kubernetes' components: flags, fields of configuration files, mounts, patches.

use serde_json::{Number, Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

use crate::cluster::{PatchKind, PatchTarget};
use crate::spec::place::At;
use crate::spec::problem::{Code, Fault, Findings, quoted};
use crate::spec::read::{Read, Text};

/// Fields of a component's configuration file, whatever they are: kubeadm and the component check them.
#[derive(Clone, Debug)]
pub(crate) struct FreeFields(pub Vec<(At<String>, Json)>);

impl Read for FreeFields {
    const WANTED: &'static str = "a table of fields";

    fn schema() -> Json {
        json!({ "type": "object" })
    }

    fn read(key: &str, value: &Spanned<DeValue>, findings: &mut Findings) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            let message = format!("`{key}` must be {}, not a {}", Self::WANTED, value.get_ref().type_str());
            findings
                .error(&value.span(), Fault::new(Code::WrongType, message).help(format!("write [{key}] on a line of its own")));
            return None;
        };
        let one = |(name, value): (&Spanned<_>, &Spanned<DeValue>)| {
            let name_read = At { value: AsRef::<str>::as_ref(name.get_ref()).to_owned(), span: name.span() };
            Some((name_read, json_of(value, findings)?))
        };
        Some(Self(table.iter().filter_map(one).collect()))
    }
}

/// `None`: a problem was reported.
fn json_of(value: &Spanned<DeValue>, findings: &mut Findings) -> Option<Json> {
    let mut refuse = |message: &str, help: &str| {
        findings.error(&value.span(), Fault::new(Code::Component, message).help(help));
        None
    };
    Some(match value.get_ref() {
        DeValue::String(text) => json!(text),
        DeValue::Boolean(flag) => json!(flag),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => json!(number),
            Err(_) => return refuse("the number is too large", "whole numbers have at most 63 bits"),
        },
        DeValue::Float(number) => match number.as_str().parse::<f64>().ok().and_then(Number::from_f64) {
            Some(number) => Json::Number(number),
            None => return refuse("Kubernetes has no such number", "write a finite number"),
        },
        DeValue::Datetime(_) => return refuse("Kubernetes has no dates without quotes", "write it as text, in quotes"),
        DeValue::Array(array) => Json::Array(array.iter().filter_map(|element| json_of(element, findings)).collect()),
        DeValue::Table(table) => {
            let one = |(name, value): (&Spanned<_>, &Spanned<DeValue>)| {
                Some((AsRef::<str>::as_ref(name.get_ref()).to_owned(), json_of(value, findings)?))
            };
            Json::Object(table.iter().filter_map(one).collect())
        }
    })
}

fn fault(message: String) -> Fault {
    Fault::new(Code::Component, message)
}

/// Name of a flag, without its dashes.
#[derive(Clone, Debug)]
pub(crate) struct FlagName(pub String);

impl Text for FlagName {
    const WHAT: &'static str = "the name of a flag, such as \"v\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let plain = text.trim_start_matches('-');
        if plain != text {
            return Err(fault(format!("{} is written with its dashes", quoted(text))).help(format!("write {}", quoted(plain))));
        }
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
        match !text.is_empty() && text.len() <= 100 && text.bytes().all(fits) {
            true => Ok(Self(text.to_owned())),
            false => Err(fault(format!("{} is not the name of a flag", quoted(text))).help("lower-case letters, digits and `-`")),
        }
    }
}

/// Value of a flag or an environment variable.
#[derive(Clone, Debug)]
pub(crate) struct FlagValue(pub String);

impl Text for FlagValue {
    const WHAT: &'static str = "a text";

    fn parse(text: &str) -> Result<Self, Fault> {
        match text.len() {
            0..=4096 => Ok(Self(text.to_owned())),
            length => Err(fault(format!("the value has {length} bytes; 4096 are the most"))),
        }
    }
}

/// Name of an environment variable.
#[derive(Clone, Debug)]
pub(crate) struct EnvName(pub String);

impl Text for EnvName {
    const WHAT: &'static str = "the name of an environment variable";

    fn parse(text: &str) -> Result<Self, Fault> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        match text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.len() <= 100 && text.bytes().all(fits) {
            true => Ok(Self(text.to_owned())),
            false => Err(fault(format!("{} is not the name of an environment variable", quoted(text)))
                .help("letters, digits and `_`, not beginning with a digit")),
        }
    }
}

/// Name of a volume of a static pod: a DNS label.
#[derive(Clone, Debug)]
pub(crate) struct VolumeName(pub String);

impl Text for VolumeName {
    const WHAT: &'static str = "a name of lower-case letters, digits and `-`";

    fn parse(text: &str) -> Result<Self, Fault> {
        match super::names::is_label(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(fault(format!("{} is not the name of a volume", quoted(text)))
                .help("at most 63 lower-case letters, digits and `-`, with a letter or digit at both ends")),
        }
    }
}

/// A path on the machines.
#[derive(Clone, Debug)]
pub(crate) struct MachinePath(pub String);

impl Text for MachinePath {
    const WHAT: &'static str = "an absolute path";

    fn parse(text: &str) -> Result<Self, Fault> {
        let plain = std::path::Path::new(text).components().skip(1).all(|part| matches!(part, std::path::Component::Normal(_)));
        match text.starts_with('/') && plain && text.len() <= 1024 {
            true => Ok(Self(text.to_owned())),
            false => Err(fault(format!("{} is not an absolute path", quoted(text))).help("such as \"/etc/kubernetes/extra\"")),
        }
    }
}

/// Name of one of kubeadm's preflight checks.
#[derive(Clone, Debug)]
pub(crate) struct PreflightCheck(pub String);

impl Text for PreflightCheck {
    const WHAT: &'static str = "the name of a preflight check, such as \"NumCPU\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text.eq_ignore_ascii_case("all") {
            return Err(fault("ignoring all preflight checks would hide the ones that matter".into())
                .help("name the checks, as kubeadm prints them in brackets: [ERROR NumCPU]"));
        }
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
        match !text.is_empty() && text.len() <= 100 && text.bytes().all(fits) {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(fault(format!("{} is not the name of a preflight check", quoted(text)))
                .help("as kubeadm prints it in brackets: [ERROR NumCPU]")),
        }
    }
}

macro_rules! choices {
    ($($type:ident = $what:literal;)*) => {
        $(
            impl Text for $type {
                const WHAT: &'static str = $what;
                const WORDS: &'static [&'static str] = Self::WORDS;

                fn parse(text: &str) -> Result<Self, Fault> {
                    Self::ALL.iter().find(|known| known.as_str() == text).copied().ok_or_else(|| {
                        let fault = Fault::new(Code::Choice, format!("{} is none of the choices: {}", quoted(text), $what));
                        match crate::spec::nearest(text, Self::WORDS.iter().copied()) {
                            Some(meant) => fault.help(format!("did you mean \"{meant}\"?")),
                            None => fault,
                        }
                    })
                }
            }
        )*
    };
}

choices! {
    PatchTarget = "\"etcd\", \"kube-apiserver\", \"kube-controller-manager\", \"kube-scheduler\" or \"kubeletconfiguration\"";
    PatchKind = "\"strategic\", \"merge\" or \"json\"";
    PathType = "a type of hostPath, such as \"DirectoryOrCreate\"";
}

/// `type` of Kubernetes' `hostPath`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathType {
    Unchecked,
    Directory,
    DirectoryOrCreate,
    File,
    FileOrCreate,
    Socket,
    CharDevice,
    BlockDevice,
}

impl PathType {
    const ALL: &'static [Self] = &[
        Self::Unchecked,
        Self::Directory,
        Self::DirectoryOrCreate,
        Self::File,
        Self::FileOrCreate,
        Self::Socket,
        Self::CharDevice,
        Self::BlockDevice,
    ];
    const WORDS: &'static [&'static str] =
        &["", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket", "CharDevice", "BlockDevice"];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unchecked => "",
            Self::Directory => "Directory",
            Self::DirectoryOrCreate => "DirectoryOrCreate",
            Self::File => "File",
            Self::FileOrCreate => "FileOrCreate",
            Self::Socket => "Socket",
            Self::CharDevice => "CharDevice",
            Self::BlockDevice => "BlockDevice",
        }
    }
}

/// Fingerprint of an OpenPGP key.
#[derive(Clone, Debug)]
pub(crate) struct Fingerprint(pub String);

impl Text for Fingerprint {
    const WHAT: &'static str = "the fingerprint of an OpenPGP key, 40 hexadecimal digits";

    fn parse(text: &str) -> Result<Self, Fault> {
        let digits: String = text.chars().filter(|c| *c != ' ').map(|c| c.to_ascii_uppercase()).collect();
        match digits.len() == 40 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            true => Ok(Self(digits)),
            false => Err(Fault::new(Code::Packages, format!("{} is not the fingerprint of a key", quoted(text)))
                .help("`gpg --show-keys Release.key` prints it")),
        }
    }
}
