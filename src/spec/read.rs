//! Typed values out of the TOML tree. A value that does not fit is reported and read as absent; reading goes on.

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::place::{At, Span};
use super::problem::{Code, Fault, Findings, is_control, quoted};
use super::table::{Key, Need, Shape};
use super::{file, nearest};

/// A type that a value of the spec can have.
pub(crate) trait Read: Sized {
    /// In words that follow "must be".
    const WANTED: &'static str;
    const SHAPE: Shape = Shape::Value;

    fn schema() -> Json;
    /// `None`: a problem was reported.
    fn read(key: &str, value: &Spanned<DeValue>, findings: &mut Findings) -> Option<Self>;
}

/// A value that is written as a TOML string.
pub(crate) trait Text: Sized {
    const WHAT: &'static str;
    /// All values, where they can be listed.
    const WORDS: &'static [&'static str] = &[];
    /// The only values, or just examples beside others.
    const WORDS_ONLY: bool = true;

    fn parse(text: &str) -> Result<Self, Fault>;
}

impl<T: Text> Read for T {
    const WANTED: &'static str = <T as Text>::WHAT;

    fn schema() -> Json {
        match (T::WORDS, T::WORDS_ONLY) {
            ([], _) => json!({ "type": "string" }),
            (words, true) => json!({ "type": "string", "enum": words }),
            (words, false) => json!({ "type": "string", "examples": words }),
        }
    }

    fn read(key: &str, value: &Spanned<DeValue>, findings: &mut Findings) -> Option<Self> {
        let Some(text) = value.get_ref().as_str() else {
            findings.error(&value.span(), not_text(key, Self::WANTED, value.get_ref()));
            return None;
        };
        let private = text.contains("PRIVATE KEY-----");
        let parsed = match text.chars().find(|c| is_control(*c)).filter(|_| !private) {
            Some(c) => Err(Fault::new(
                Code::ControlCharacter,
                format!("`{key}` holds the character U+{:04X}, which cannot be seen", u32::from(c)),
            )),
            None => T::parse(text),
        };
        match parsed {
            Ok(parsed) => return Some(parsed),
            Err(fault) if private => findings.error_hidden(&value.span(), fault),
            Err(fault) => findings.error(&value.span(), fault),
        }
        None
    }
}

impl Read for bool {
    const WANTED: &'static str = "true or false";

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }

    fn read(key: &str, value: &Spanned<DeValue>, findings: &mut Findings) -> Option<Self> {
        let read = value.get_ref().as_bool();
        if read.is_none() {
            let fits = |text: &str| matches!(text, "true" | "false");
            findings.error(&value.span(), not_plain(key, Self::WANTED, value.get_ref(), fits));
        }
        read
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Int<const MIN: u32, const MAX: u32>(pub u32);

impl<const MIN: u32, const MAX: u32> Read for Int<MIN, MAX> {
    const WANTED: &'static str = "a whole number";

    fn schema() -> Json {
        json!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }

    fn read(key: &str, value: &Spanned<DeValue>, findings: &mut Findings) -> Option<Self> {
        let Some(written) = value.get_ref().as_integer() else {
            let fits = |text: &str| text.parse::<u32>().is_ok();
            findings.error(&value.span(), not_plain(key, Self::WANTED, value.get_ref(), fits));
            return None;
        };
        match u32::from_str_radix(written.as_str(), written.radix()) {
            Ok(number) if (MIN..=MAX).contains(&number) => Some(Self(number)),
            _ => {
                let message = format!("`{key}` must be {MIN} to {MAX}, not {}", quoted(&written.to_string()).replace('`', ""));
                findings.error(&value.span(), Fault::new(Code::OutOfRange, message));
                None
            }
        }
    }
}

/// An array; elements that do not fit were reported and left out.
#[derive(Clone, Debug)]
pub(crate) struct List<T> {
    pub items: Vec<At<T>>,
    /// How many elements the file has.
    pub written: usize,
}

impl<T> List<T> {
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.items.iter().map(|item| &item.value)
    }
}

impl<T: Read> Read for List<T> {
    const WANTED: &'static str = match T::SHAPE {
        Shape::Value => "a list, such as [\"a\", \"b\"]",
        _ => "a list of tables",
    };
    const SHAPE: Shape = match T::SHAPE {
        Shape::Table(keys) => Shape::Tables(keys),
        other => other,
    };

    fn schema() -> Json {
        json!({ "type": "array", "items": T::schema() })
    }

    fn read(key: &str, value: &Spanned<DeValue>, findings: &mut Findings) -> Option<Self> {
        let Some(array) = value.get_ref().as_array() else {
            let mut fault = wrong_type(key, Self::WANTED, value.get_ref());
            match (value.get_ref(), T::SHAPE) {
                (DeValue::Table(_), Shape::Table(_)) => fault.help = Some(format!("write [[{key}]], with two brackets")),
                (DeValue::String(text), Shape::Value) => fault.help = Some(format!("write [\"{}\"]", text.escape_debug())),
                _ => {}
            }
            findings.error(&value.span(), fault);
            return None;
        };
        let one = |element: &Spanned<DeValue>| T::read(key, element, findings).map(|value| At { value, span: element.span() });
        Some(Self { items: array.iter().filter_map(one).collect(), written: array.len() })
    }
}

/// A table with free keys.
#[derive(Clone, Debug)]
pub(crate) struct Map<K, V>(pub Vec<(At<K>, At<V>)>);

impl<K: Text, V: Read> Read for Map<K, V> {
    const WANTED: &'static str = "a table of keys and texts";

    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": V::schema() })
    }

    fn read(key: &str, value: &Spanned<DeValue>, findings: &mut Findings) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            findings.error(&value.span(), wrong_type(key, Self::WANTED, value.get_ref()));
            return None;
        };
        let mut entries = Vec::new();
        for (name, value) in table {
            // A key is checked as if it were a string that stands in the key's place.
            let spanned = Spanned::new(name.span(), DeValue::String(name.get_ref().clone()));
            let read = (K::read(key, &spanned, findings), V::read(key, value, findings));
            if let (Some(name_read), Some(value_read)) = read {
                entries.push((At { value: name_read, span: name.span() }, At { value: value_read, span: value.span() }));
            }
        }
        Some(Self(entries))
    }
}

/// The entries of one table, after unknown and missing keys were reported.
#[derive(Debug)]
pub(crate) struct Fields<'t, 'i> {
    table: &'t DeTable<'i>,
    /// Place of the table as a whole: its header, or its braces.
    span: Span,
    keys: &'static [Key],
}

impl<'t, 'i> Fields<'t, 'i> {
    pub fn of(key: &str, value: &'t Spanned<DeValue<'i>>, keys: &'static [Key], findings: &mut Findings) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            findings.error(
                &value.span(),
                wrong_type(key, "a table", value.get_ref()).help(format!("write [{key}] on a line of its own")),
            );
            return None;
        };
        Some(Self::check(key, table, value.span(), keys, findings))
    }

    /// `key` is empty for the file itself.
    pub fn check(key: &str, table: &'t DeTable<'i>, span: Span, keys: &'static [Key], findings: &mut Findings) -> Self {
        for name in table.keys().filter(|name| keys.iter().all(|known| known.name != name.get_ref().as_ref())) {
            findings.error(&name.span(), unknown_key(name.get_ref(), keys));
        }
        let missing = |known: &&Key| known.need == Need::Required && !table.contains_key(known.name);
        for known in keys.iter().filter(missing) {
            let inside = if key.is_empty() { String::new() } else { format!(" in `{key}`") };
            let name = match known.shape {
                Shape::Value => format!("`{}`", known.name),
                Shape::Table(_) => format!("the table [{}]", known.name),
                Shape::Tables(_) => format!("[[{}]]", known.name),
            };
            let message = format!("{name} is missing{inside}: {}", first_sentence(known.doc));
            let fault = Fault::new(Code::MissingKey, message);
            let help = matches!(known.shape, Shape::Value).then(|| format!("`{}` is {}", known.name, known.what));
            findings.error(&span, Fault { help, ..fault });
        }
        Self { table, span, keys }
    }

    /// The value of a key, or its default.
    pub fn take<T: Read>(&self, name: &str, findings: &mut Findings) -> Option<At<T>> {
        if let Some(value) = self.table.get(name) {
            return T::read(name, value, findings).map(|read| At { value: read, span: value.span() });
        }
        let known = self.keys.iter().find(|known| known.name == name)?;
        let Need::Default(text) = known.need else { return None };
        let value = DeValue::parse(text).ok()?;
        T::read(name, &value, findings).map(|read| At { value: read, span: self.span.clone() })
    }
}

fn unknown_key(name: &str, keys: &'static [Key]) -> Fault {
    let fault = |suggestion: String| Fault::new(Code::UnknownKey, format!("unknown key {}{suggestion}", quoted(name)));
    let here = || keys.iter().map(|key| key.name);
    if let Some(meant) = nearest(name, here()).or_else(|| translated(name).filter(|meant| here().any(|known| known == *meant))) {
        return fault(format!("; did you mean `{meant}`?"));
    }
    if let Some((home, meant)) = file::elsewhere(name) {
        let verb = if meant == name { "it belongs".to_owned() } else { format!("did you mean `{meant}`, which belongs") };
        let end = if meant == name { "" } else { "?" };
        return fault(format!("; {verb} in {home}{end}"));
    }
    let known: Vec<&str> = keys.iter().map(|key| key.name).collect();
    fault(String::new()).help(format!("known keys here: {}", known.join(", ")))
}

/// Our word for what kops and Terraform call otherwise.
fn translated(name: &str) -> Option<&'static str> {
    let words = [
        ("zones", ["subnets", "availability_zones", "azs"]),
        ("count", ["minsize", "maxsize", "replicas"]),
        ("labels", ["nodelabels", "node_labels", "nodelabel"]),
        ("tags", ["cloudlabels", "cloud_labels", "default_tags"]),
        ("machine_type", ["instance_type", "instancetype", "size"]),
        ("image", ["ami", "image_id", "ami_id"]),
        ("kubernetes", ["version", "kubernetesversion", "kubernetes_version"]),
        ("instance_group", ["instancegroups", "node_groups", "pools"]),
    ];
    let name = name.to_ascii_lowercase();
    words.into_iter().find(|(_, theirs)| theirs.contains(&name.as_str())).map(|(ours, _)| ours)
}

fn wrong_type(key: &str, what: &str, found: &DeValue) -> Fault {
    let article = if matches!(found, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
    Fault::new(Code::WrongType, format!("`{key}` must be {what}, not {article} {}", found.type_str()))
}

/// For a value that was expected to be a string.
fn not_text(key: &str, what: &str, found: &DeValue) -> Fault {
    let fault = wrong_type(key, what, found);
    match found {
        DeValue::Float(number) if key == "kubernetes" => {
            fault.help(format!("write \"{number}.0\", all three numbers, in quotes"))
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            fault.help("text stands in quotes")
        }
        DeValue::Array(_) => fault.help("one value, without brackets"),
        _ => fault,
    }
}

/// For a value that was expected to be a number or a boolean.
fn not_plain(key: &str, what: &str, found: &DeValue, fits: impl Fn(&str) -> bool) -> Fault {
    let fault = wrong_type(key, what, found);
    match found.as_str() {
        Some(text) if fits(text) => fault.help(format!("write it without quotes: {text}")),
        _ => fault,
    }
}

fn first_sentence(doc: &str) -> &str {
    doc.trim().split(['.', ';']).next().unwrap_or_default()
}
