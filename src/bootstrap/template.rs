//! Templates, escaped by file type: what a value becomes depends on where it lands, never on who wrote the template.
//!
//! `*.yaml.j2` and `*.toml.j2`: JSON (a JSON string is a YAML and a TOML string). `*.sh.j2`: one quoted shell word.
//! Anything else is refused, as is an undefined value. Pure: the templates are part of the program.

use std::fmt::Write as _;
use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior};
use serde::Serialize;

macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        /// Every template by its name below `templates/`.
        const TEMPLATES: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../templates/", $name)))),*];
    };
}

embedded!(
    "cni/calico.yaml.j2",
    "cni/cilium.yaml.j2",
    "cni/flannel.yaml.j2",
    "cni/kustomization.yaml.j2",
    "containerd/v2.toml.j2",
    "containerd/v3.toml.j2",
    "kubeadm/cluster.yaml.j2",
    "kubeadm/fields.yaml.j2",
    "kubeadm/init.yaml.j2",
    "kubeadm/join.yaml.j2",
    "steps/api.sh.j2",
    "steps/budgets.sh.j2",
    "steps/cordon.sh.j2",
    "steps/deprecated.sh.j2",
    "steps/etcd.sh.j2",
    "steps/etcd-drop.sh.j2",
    "steps/etcd-node.sh.j2",
    "steps/etcd-read.sh.j2",
    "steps/etcd-register.sh.j2",
    "steps/etcd-save.sh.j2",
    "steps/etcd-stage.sh.j2",
    "steps/etcd-start.sh.j2",
    "steps/etcd-status.sh.j2",
    "steps/etcd-stop.sh.j2",
    "steps/etcd-swap.sh.j2",
    "steps/etcd-tidy.sh.j2",
    "steps/etcdctl.sh.j2",
    "steps/evict.sh.j2",
    "steps/leader.sh.j2",
    "steps/member.sh.j2",
    "steps/strays.sh.j2",
    "steps/taken.sh.j2",
    "steps/pods.sh.j2",
    "steps/apt.sh.j2",
    "steps/bundle.sh.j2",
    "steps/files.sh.j2",
    "steps/cloud-init.sh.j2",
    "steps/cni.sh.j2",
    "steps/container-runtime.sh.j2",
    "steps/diagnose.sh.j2",
    "steps/dns.sh.j2",
    "steps/drain.sh.j2",
    "steps/forget.sh.j2",
    "steps/forget-node.sh.j2",
    "steps/endpoint.sh.j2",
    "steps/facts.sh.j2",
    "steps/hostname.sh.j2",
    "steps/hosts.sh.j2",
    "steps/images.sh.j2",
    "steps/init.sh.j2",
    "steps/join.sh.j2",
    "steps/kernel.sh.j2",
    "steps/kubelet.sh.j2",
    "steps/labels.sh.j2",
    "steps/launch.sh.j2",
    "steps/now.sh.j2",
    "steps/poll.sh.j2",
    "steps/prelude.sh.j2",
    "steps/unit.sh.j2",
    "steps/upgrade.sh.j2",
    "steps/upgrade-kubelet.sh.j2",
    "steps/look.sh.j2",
    "steps/pull.sh.j2",
    "steps/node.sh.j2",
    "steps/no-files.sh.j2",
    "steps/join-files.sh.j2",
    "steps/init-files.sh.j2",
    "steps/cri.sh.j2",
    "steps/swap.sh.j2",
    "steps/time.sh.j2",
    "steps/token.sh.j2",
    "steps/vitals.sh.j2",
    "user-data.yaml.j2",
);

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_auto_escape_callback(|name| AutoEscape::Custom(kind_of(name).into()));
    environment.set_formatter(write_escaped);
    environment.add_filter("key", yaml_key);
    environment.add_filter("spaces", |depth: usize| Value::from_safe_string("  ".repeat(depth)));
    for (name, text) in TEMPLATES {
        // A template that does not parse stays unknown, and the test that loads all of them fails.
        let _ = environment.add_template(name, text);
    }
    environment
});

/// Renders a template of `templates/`; the error names the template and the line.
pub(super) fn render(name: &str, values: impl Serialize) -> Result<String, String> {
    let template = ENVIRONMENT.get_template(name).map_err(|error| explain(name, &error))?;
    template.render(Serde(values)).map_err(|error| explain(name, &error))
}

/// A key of a YAML mapping: bare where every reader takes it for text, in quotes otherwise.
fn yaml_key(text: &str) -> Value {
    const WORDS: [&str; 8] = ["true", "false", "null", "yes", "no", "on", "off", "nan"];
    let plain =
        text.len() > 1 && text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    match plain && !WORDS.contains(&text.to_ascii_lowercase().as_str()) {
        true => Value::from_safe_string(text.to_owned()),
        false => Value::from(text),
    }
}

fn explain(name: &str, error: &Error) -> String {
    let line = error.line().map(|line| format!(":{line}")).unwrap_or_default();
    format!("templates/{name}{line}: {}", error.detail().map_or_else(|| error.kind().to_string(), str::to_string))
}

fn kind_of(name: &str) -> &'static str {
    match name.strip_suffix(".j2").and_then(|name| name.rsplit_once('.')) {
        Some((_, "yaml" | "toml")) => "json",
        Some((_, "sh")) => "sh",
        _ => "refused",
    }
}

fn write_escaped(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let refuse = |why: String| Err(Error::new(ErrorKind::BadEscape, why));
    if value.is_undefined() || value.is_none() {
        return refuse("a value is missing".into());
    }
    if value.is_safe() {
        return out.write_str(&value.to_string()).map_err(Into::into);
    }
    match state.auto_escape() {
        AutoEscape::Custom(kind) if kind == "json" => {
            let json =
                serde_json::to_string(value).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
            out.write_str(&ascii_json(&json)).map_err(Into::into)
        }
        AutoEscape::Custom(kind) if kind == "sh" => match value.kind() {
            ValueKind::String | ValueKind::Number => match shell_word(&value.to_string()) {
                Some(word) => out.write_str(&word).map_err(Into::into),
                None => refuse("a NUL byte cannot be given to a shell".into()),
            },
            kind => refuse(format!("a {kind} is not a shell word")),
        },
        _ => refuse("unknown file type of a template".into()),
    }
}

/// JSON text in ASCII. YAML and TOML read it alike; raw they differ on U+0085, U+2028 and U+FEFF. Beyond the BMP they know `\U`,
/// and not JSON's surrogate pairs.
fn ascii_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match u32::from(character) {
            0x20..=0x7e => text.push(character),
            code @ ..=0xffff => drop(write!(text, "\\u{code:04x}")),
            code => drop(write!(text, "\\U{code:08x}")),
        }
    }
    text
}

/// One word for a POSIX shell: single quotes keep everything but themselves. `None` where the text holds a NUL.
pub(super) fn shell_word(text: &str) -> Option<String> {
    (!text.contains('\0')).then(|| format!("'{}'", text.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_loads_has_a_known_type_and_never_bypasses_escaping() {
        for (name, text) in TEMPLATES {
            if let Err(error) = ENVIRONMENT.get_template(name) {
                panic!("{name}: {error}");
            }
            assert_ne!(kind_of(name), "refused", "{name}");
            assert!(!text.contains("safe") || !text.contains("|"), "{name}: `safe` filter");
        }
    }

    #[test]
    fn no_template_file_is_forgotten() {
        fn walk(dir: &std::path::Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => walk(&path, found),
                    false => found.push(path.display().to_string()),
                }
            }
        }
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
        let mut found = Vec::new();
        walk(&root, &mut found);
        for path in found {
            let name = path.strip_prefix(&format!("{}/", root.display())).unwrap().to_string();
            assert!(TEMPLATES.iter().any(|(known, _)| *known == name), "{name} is not embedded");
        }
    }
}
