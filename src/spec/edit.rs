//! Another version in the text of a spec: the values change where they stand, everything else stays as it was typed.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::cluster::KubernetesVersion;

/// The spec with another version of Kubernetes, and with another bundle where one is given. The error says what the text lacks.
pub fn with_version(bytes: &[u8], version: KubernetesVersion, bundle: Option<&Path>) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut edits = vec![(span(text, &["kubernetes"])?, format!("\"{version}\""))];
    if let Some(bundle) = bundle {
        edits.push((span(text, &["packages", "bundle"])?, quoted(bundle)?));
    }
    // From behind, so that the places before stay what they are.
    edits.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    let mut text = text.to_owned();
    for (span, value) in edits {
        text.replace_range(span, &value);
    }
    Ok(text.into_bytes())
}

fn span(text: &str, keys: &[&str]) -> Result<Range<usize>, String> {
    let tree = DeTable::parse(text).map_err(|error| error.message().to_owned())?;
    let mut table = tree.get_ref();
    for (depth, key) in keys.iter().enumerate() {
        let found: Option<&Spanned<DeValue<'_>>> =
            table.iter().find(|(name, _)| name.get_ref().as_ref() == *key).map(|(_, value)| value);
        let value = found.ok_or_else(|| format!("it has no {}", keys.join(".")))?;
        match value.get_ref() {
            DeValue::Table(inner) if depth + 1 < keys.len() => table = inner,
            DeValue::String(_) if depth + 1 == keys.len() => return Ok(value.span()),
            _ => break,
        }
    }
    Err(format!("its {} is no text", keys.join(".")))
}

/// As a basic string of TOML.
fn quoted(path: &Path) -> Result<String, String> {
    let path = path.to_str().filter(|path| !path.chars().any(char::is_control));
    let path = path.ok_or("the path of the bundle is not plain text")?;
    Ok(format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str, bundle: Option<&str>) -> Result<String, String> {
        let bytes = with_version(text.as_bytes(), "1.35.4".parse().unwrap(), bundle.map(Path::new))?;
        Ok(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn only_the_values_change() {
        let text = "# kubernetes = \"1.0.0\"\r\nname = 'x'\r\n  kubernetes   = '1.34.2'   # ours\r\n[packages]\nsource = \"bundle\"\nbundle = \"../b\" # air\n[kubelet]\nkubernetes = \"1.34.2\"\n";
        let want = text.replacen("'1.34.2'", "\"1.35.4\"", 1);
        assert_eq!(edited(text, None).unwrap(), want);
        assert_eq!(edited(text, Some("/a \"b\"/c")).unwrap(), want.replace("\"../b\"", "\"/a \\\"b\\\"/c\""));
        let inline = "packages = { source = \"bundle\", bundle = \"b\" }\nkubernetes = \"1.34.2\"";
        assert_eq!(
            edited(inline, Some("/c")).unwrap(),
            "packages = { source = \"bundle\", bundle = \"/c\" }\nkubernetes = \"1.35.4\""
        );
    }

    #[test]
    fn what_is_not_there_is_said() {
        assert_eq!(edited("name = 'x'", None).unwrap_err(), "it has no kubernetes");
        assert_eq!(edited("kubernetes = 1", None).unwrap_err(), "its kubernetes is no text");
        assert_eq!(edited("kubernetes = '1.34.2'", Some("/b")).unwrap_err(), "it has no packages.bundle");
        assert!(edited("kubernetes = '1", None).is_err());
    }
}
