//! What is wrong with a spec, where, and what would be right.

use serde_json::{Value as Json, json};

use super::place::{Lines, Place, Span};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    /// The spec is used as it is.
    Warning,
}

macro_rules! codes {
    ($($code:ident = $text:literal),* $(,)?) => {
        /// Kind of a problem; its text never changes, so that scripts can rely on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($code),* }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$code),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$code => $text),* }
            }
        }
    };
}

codes! {
    Unreadable = "unreadable",
    TooLarge = "too-large",
    NotUtf8 = "not-utf8",
    Empty = "empty",
    Syntax = "syntax",
    UnknownKey = "unknown-key",
    WrongType = "wrong-type",
    MissingKey = "missing-key",
    ControlCharacter = "control-character",
    SchemaVersion = "schema-version",
    OutOfRange = "out-of-range",
    Choice = "choice",
    Repeated = "repeated",
    NothingListed = "nothing-listed",
    Name = "name",
    Version = "version",
    Region = "region",
    Zone = "zone",
    Cidr = "cidr",
    CidrOverlap = "cidr-overlap",
    CidrSize = "cidr-size",
    DnsZone = "dns-zone",
    San = "san",
    User = "user",
    PublicKey = "public-key",
    Login = "login",
    Path = "path",
    Packages = "packages",
    GroupName = "group-name",
    DuplicateGroup = "duplicate-group",
    Quorum = "quorum",
    Bastion = "bastion",
    MachineType = "machine-type",
    Image = "image",
    Volume = "volume",
    Label = "label",
    Taint = "taint",
    Tag = "tag",
    ReservedTag = "reserved-tag",
    InstanceProfile = "instance-profile",
    RollingUpdate = "rolling-update",
    Period = "period",
    Nat = "nat",
    Ports = "ports",
    Component = "component",
    // Warnings.
    OpenToAll = "open-to-all",
    NobodyMayReach = "nobody-may-reach",
    NoRoute = "no-route",
    NoPorts = "no-ports",
    UnknownRegion = "unknown-region",
    PodRoom = "pod-room",
    Unexplained = "unexplained",
}

/// One thing wrong with a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    pub code: Code,
    /// One line, without a full stop; texts of the file in it are shortened and free of control characters.
    pub message: String,
    /// What to write instead, where the message does not already say so.
    pub help: Option<String>,
    /// `None`: about the file as a whole.
    pub place: Option<Place>,
    /// The line may hold a secret and is not shown.
    pub(crate) hidden: bool,
}

/// Every problem of one file, sorted by place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The file, as the user named it.
    pub file: String,
    pub(crate) source: String,
    pub list: Vec<Problem>,
}

impl Problems {
    /// A problem of the file as a whole.
    pub fn of_file(file: &str, code: Code, message: String, help: Option<&str>) -> Self {
        let problem =
            Problem { severity: Severity::Error, code, message, help: help.map(str::to_owned), place: None, hidden: false };
        Self { file: file.to_owned(), source: String::new(), list: vec![problem] }
    }

    pub fn errors(&self) -> usize {
        self.list.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// An array of objects: file, line, column (null where the file as a whole is meant), severity, code, message, help.
    pub fn to_json(&self) -> Json {
        let one = |problem: &Problem| {
            json!({
                "file": self.file,
                "line": problem.place.as_ref().map(|place| place.line),
                "column": problem.place.as_ref().map(|place| place.column),
                "severity": match problem.severity { Severity::Error => "error", Severity::Warning => "warning" },
                "code": problem.code.as_str(),
                "message": problem.message,
                "help": problem.help,
            })
        };
        Json::Array(self.list.iter().map(one).collect())
    }

    /// A refused file always says why, even if a stage forgot to.
    pub(crate) fn or_unexplained(mut self) -> Self {
        if self.errors() == 0 {
            let message =
                "the spec is refused, but kubewright cannot say why; please report this as a bug, with the file".to_owned();
            self.list.extend(Self::of_file(&self.file, Code::Unexplained, message, None).list);
        }
        self
    }
}

/// What a value's parser finds wrong with it.
#[derive(Debug)]
pub(crate) struct Fault {
    pub code: Code,
    pub message: String,
    pub help: Option<String>,
}

impl Fault {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: None }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The list into which every stage reports.
#[derive(Debug)]
pub(crate) struct Findings<'t> {
    lines: Lines<'t>,
    list: Vec<Problem>,
}

impl<'t> Findings<'t> {
    pub fn new(text: &'t str) -> Self {
        Self { lines: Lines::new(text), list: Vec::new() }
    }

    pub fn error(&mut self, span: &Span, fault: Fault) {
        self.add(Severity::Error, span, fault, false);
    }

    pub fn warning(&mut self, span: &Span, fault: Fault) {
        self.add(Severity::Warning, span, fault, false);
    }

    /// An error at a line that may hold a secret.
    pub fn error_hidden(&mut self, span: &Span, fault: Fault) {
        self.add(Severity::Error, span, fault, true);
    }

    fn add(&mut self, severity: Severity, span: &Span, fault: Fault, hidden: bool) {
        let place = Some(self.lines.place(span));
        self.list.push(Problem { severity, code: fault.code, message: fault.message, help: fault.help, place, hidden });
    }

    pub fn line_of(&self, byte: usize) -> usize {
        self.lines.line_of(byte)
    }

    pub fn keep(&mut self, wanted: impl FnMut(&Problem) -> bool) {
        self.list.retain(wanted);
    }

    pub fn finish(mut self, file: String, source: String) -> Problems {
        self.list.sort_by(|a, b| (&a.place, a.code).cmp(&(&b.place, b.code)));
        self.list.dedup();
        Problems { file, source, list: self.list }
    }
}

/// Text of the file inside a message: in backquotes, shortened, control characters spelled out.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == LONGEST {
            shown.push_str("...");
            break;
        }
        if is_control(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    format!("`{shown}`")
}

/// Control characters, and those that change the order or hide parts of a line.
pub(crate) fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
