//! Renders a model through its template and proves that what a YAML reader sees is the model, nothing more and nothing less.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::bootstrap::template;

/// One document; an error names the template and the first place that differs.
pub(in crate::bootstrap) fn document(name: &str, model: &impl Serialize) -> Result<String, String> {
    let wanted = serde_json::to_value(model).map_err(|error| error.to_string())?;
    // The whole value has a name of its own as well, for templates that do not know its keys.
    let values = match &wanted {
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.as_str(), value)).chain([("table", &wanted)]).collect(),
        _ => BTreeMap::from([("table", &wanted)]),
    };
    let text = template::render(name, &values)?;
    let read: Value =
        serde_saphyr::from_str(&text).map_err(|error| format!("templates/{name}: what it renders is no YAML: {error}"))?;
    match difference("", &wanted, &read) {
        None => Ok(text),
        Some(place) => Err(format!("templates/{name}: what it renders is not the model at `{}`", place.trim_start_matches('.'))),
    }
}

/// The first path at which two values differ.
fn difference(path: &str, wanted: &Value, read: &Value) -> Option<String> {
    match (wanted, read) {
        (Value::Object(a), Value::Object(b)) => a.keys().chain(b.keys()).find_map(|key| {
            difference(&format!("{path}.{key}"), a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null))
        }),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(index, (a, b))| difference(&format!("{path}[{index}]"), a, b))
        }
        (a, b) => (a != b).then(|| path.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::difference;

    #[test]
    fn a_difference_is_named_by_its_path() {
        let wanted = json!({"a": [{"b": "x"}], "c": 1});
        for (read, place) in [
            (json!({"a": [{"b": "x"}], "c": 1}), None),
            (json!({"a": [{"b": "y"}], "c": 1}), Some(".a[0].b")),
            (json!({"a": [{"b": "x"}], "c": "1"}), Some(".c")),
            (json!({"a": [], "c": 1}), Some(".a")),
            (json!({"a": [{"b": "x"}], "c": 1, "d": true}), Some(".d")),
            (json!({"a": [{"b": "x"}]}), Some(".c")),
        ] {
            assert_eq!(difference("", &wanted, &read).as_deref(), place, "{read}");
        }
    }
}
