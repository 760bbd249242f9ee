//! The JSON Schema of a spec, so that editors complete and check it. It is draft-07 without references, which every TOML
//! language server reads. What it cannot express (rules between keys) is left to the loader; it never refuses what the loader
//! accepts.

use serde_json::{Map, Value as Json, json};
use toml::de::DeValue;

use super::file::SpecFile;
use super::table::{Key, Need};

/// The schema that `clusters/kubewright.schema.json` holds.
pub fn schema() -> Json {
    let mut root = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "urn:kubewright:spec:1",
        "title": "kubewright cluster spec",
    });
    if let (Some(root), Json::Object(table)) = (root.as_object_mut(), table(SpecFile::ABOUT, SpecFile::KEYS)) {
        root.extend(table);
    }
    root
}

/// The schema as it is committed and printed, byte for byte; ends with a line feed.
pub fn schema_text() -> String {
    format!("{:#}\n", schema())
}

/// A table with these keys and no others.
pub(crate) fn table(about: &str, keys: &[Key]) -> Json {
    let required: Vec<&str> = keys.iter().filter(|key| key.need == Need::Required).map(|key| key.name).collect();
    let properties: Map<String, Json> = keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let mut table = json!({ "description": about.trim(), "type": "object", "additionalProperties": false });
    if let Some(table) = table.as_object_mut() {
        if !required.is_empty() {
            table.insert("required".into(), json!(required));
        }
        table.insert("properties".into(), Json::Object(properties));
    }
    table
}

fn property(key: &Key) -> Json {
    let mut property = Map::new();
    property.insert("description".into(), json!(key.doc.trim()));
    if let Json::Object(value) = (key.schema)() {
        property.extend(value.into_iter().filter(|(name, _)| name != "description"));
    }
    if let Need::Default(text) = key.need
        && let Some(default) = default_value(text)
    {
        property.insert("default".into(), default);
    }
    Json::Object(property)
}

/// A default, which is written in TOML, as JSON.
fn default_value(text: &str) -> Option<Json> {
    Some(match DeValue::parse(text).ok()?.into_inner() {
        DeValue::String(text) => json!(text),
        DeValue::Integer(number) => json!(i64::from_str_radix(number.as_str(), number.radix()).ok()?),
        DeValue::Boolean(flag) => json!(flag),
        DeValue::Array(_) => json!([]),
        DeValue::Table(_) => json!({}),
        DeValue::Float(_) | DeValue::Datetime(_) => return None,
    })
}
