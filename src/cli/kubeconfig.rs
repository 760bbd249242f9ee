//! A kubeconfig merged into another as `kubectl config` does it: entries of the same name are replaced, everything else stays.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

const LISTS: [&str; 3] = ["clusters", "users", "contexts"];

#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    #[error("{path} is not a kubeconfig: {why}; nothing was written")]
    Unreadable { path: String, why: String },
    #[error("{path} cannot be written: {why}")]
    Unwritable { path: String, why: String },
    #[error("no home folder is known; name a file with --kubeconfig FILE")]
    NoHome,
}

/// The file that `kubectl` would change: the given one, else the first of `KUBECONFIG` that exists (or its last), else
/// `~/.kube/config`.
pub fn target(given: Option<&Path>, variable: Option<&str>, home: Option<&Path>) -> Result<PathBuf, KubeconfigError> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let listed: Vec<PathBuf> = variable
        .map(|list| std::env::split_paths(list).filter(|path| !path.as_os_str().is_empty()).collect())
        .unwrap_or_default();
    if let Some(path) = listed.iter().find(|path| path.exists()).or(listed.last()) {
        return Ok(path.clone());
    }
    Ok(home.ok_or(KubeconfigError::NoHome)?.join(".kube").join("config"))
}

/// Merges YAML texts. `existing` may be empty.
pub fn merge(existing: &str, new: &str) -> Result<String, String> {
    let new = object(new)?;
    let mut merged = if existing.trim().is_empty() { Map::new() } else { object(existing)? };
    for (key, value) in [("apiVersion", json!("v1")), ("kind", json!("Config")), ("preferences", json!({}))] {
        merged.entry(key).or_insert(value);
    }
    for list in LISTS {
        let Some(Value::Array(added)) = new.get(list) else { continue };
        let slot = merged.entry(list).or_insert_with(|| json!([]));
        if slot.is_null() {
            *slot = json!([]);
        }
        let Value::Array(entries) = slot else { return Err(format!("`{list}` is not a list")) };
        for entry in added {
            match entries.iter_mut().find(|old| old.get("name") == entry.get("name")) {
                Some(old) => *old = entry.clone(),
                None => entries.push(entry.clone()),
            }
        }
    }
    if let Some(current) = new.get("current-context") {
        merged.insert("current-context".into(), current.clone());
    }
    serde_saphyr::to_string(&Value::Object(merged)).map_err(|error| error.to_string())
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    match serde_saphyr::from_str::<Value>(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err("it is not a mapping".into()),
        Err(error) => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
    }
}

/// Merges into a file, at once or not at all; mode 0600, because it holds a client key. A symbolic link stays one.
pub fn merge_into(path: &Path, new: &str) -> Result<PathBuf, KubeconfigError> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let shown = path.display().to_string();
    let unwritable = |error: std::io::Error| KubeconfigError::Unwritable { path: shown.clone(), why: error.to_string() };
    let existing = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(KubeconfigError::Unreadable { path: shown, why: error.to_string() }),
    };
    let merged = merge(&existing, new).map_err(|why| KubeconfigError::Unreadable { path: shown.clone(), why })?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(unwritable)?;
    // tempfile makes files of mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(unwritable)?;
    file.write_all(merged.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(unwritable)?;
    file.persist(&path).map_err(|error| unwritable(error.error))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config(name: &str, server: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: {name}\n  cluster: {{server: '{server}'}}\nusers:\n- name: {name}\n  user: {{token: t}}\n\
             contexts:\n- name: {name}\n  context: {{cluster: {name}, user: {name}}}\ncurrent-context: {name}\n"
        )
    }

    fn value(text: &str) -> Value {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn into_nothing_it_is_the_new_one() {
        let merged = value(&merge("", &config("demo", "https://a")).unwrap());
        assert_eq!(merged["current-context"], "demo");
        assert_eq!(merged["clusters"][0]["cluster"]["server"], "https://a");
    }

    #[test]
    fn what_is_no_kubeconfig_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        for text in ["- a\n", "clusters: 3\n", "a: [\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(merge_into(&path, &config("demo", "https://a")).is_err(), "{text}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_private_and_a_link_stays_a_link() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("deep").join("link"));
        std::fs::write(&real, "").unwrap();
        std::fs::create_dir(folder.path().join("deep")).unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        merge_into(&link, &config("demo", "https://a")).unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
        let new = folder.path().join("a").join("b");
        merge_into(&new, &config("demo", "https://a")).unwrap();
        assert_eq!(std::fs::metadata(&new).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_target_is_the_one_of_kubectl() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&b, "").unwrap();
        let list = std::env::join_paths([&a, &b]).unwrap().into_string().unwrap();
        let home = Some(Path::new("/home/me"));
        assert_eq!(target(None, Some(&list), home).unwrap(), b, "the first that exists");
        std::fs::remove_file(&b).unwrap();
        assert_eq!(target(None, Some(&list), home).unwrap(), b, "or the last");
        assert_eq!(target(None, None, home).unwrap(), Path::new("/home/me/.kube/config"));
        assert_eq!(target(Some(&a), Some(&list), home).unwrap(), a);
    }

    proptest! {
        #[test]
        fn what_is_not_ours_stays_as_it_was(
            names in proptest::collection::btree_set("[a-z]{1,6}", 0..6), extra in "[a-z ]{0,12}", number in any::<i32>(),
        ) {
            let entry = |name: &String| json!({ "name": name, "x": { "extra": extra, "number": number } });
            let entries: Vec<Value> = names.iter().map(entry).collect();
            let mut before = json!({ "clusters": entries, "users": entries, "contexts": entries });
            before["extensions"] = json!([{ "name": "other", "extension": extra }]);
            before["current-context"] = json!("other");
            let text = serde_saphyr::to_string(&before).unwrap();
            let merged = value(&merge(&text, &config("demo", "https://a")).unwrap());
            for list in LISTS {
                let others: Vec<&Value> = merged[list].as_array().unwrap().iter().filter(|entry| entry["name"] != "demo").collect();
                let expected: Vec<&Value> = before[list].as_array().unwrap().iter().filter(|entry| entry["name"] != "demo").collect();
                prop_assert_eq!(others, expected);
                prop_assert_eq!(merged[list].as_array().unwrap().iter().filter(|entry| entry["name"] == "demo").count(), 1);
            }
            prop_assert_eq!(&merged["extensions"], &before["extensions"]);
            prop_assert_eq!(&merged["current-context"], "demo");
            let again = merge(&serde_saphyr::to_string(&merged).unwrap(), &config("demo", "https://a")).unwrap();
            prop_assert_eq!(value(&again), merged, "twice is once");
        }
    }
}
