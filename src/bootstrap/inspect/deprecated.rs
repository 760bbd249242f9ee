//! Deprecated APIs that an API server was asked for since its start, and by whom.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::bootstrap::clean::line;

/// An API as the metric `apiserver_requested_deprecated_apis` names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Api {
    /// Empty: the core group.
    pub group: String,
    pub version: String,
    /// `flowschemas`, `pods/eviction`
    pub resource: String,
    /// The first minor of Kubernetes 1 that does not serve it; `None`: none is named.
    pub removed: Option<u32>,
}

/// Everything in it is made fit for a terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deprecated {
    /// Of the API server, in seconds of Unix time: what it was asked before is forgotten.
    pub started: u64,
    pub apis: BTreeSet<Api>,
    /// User agent and user of those that the audit log names, by group, version and resource; who asked most comes first.
    pub clients: BTreeMap<(String, String, String), Vec<String>>,
}

impl std::fmt::Display for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let slash = if self.group.is_empty() { "" } else { "/" };
        write!(f, "{}{slash}{} {}", self.group, self.version, self.resource)
    }
}

#[derive(Deserialize)]
struct Asked {
    user: String,
    agent: String,
    object: Object,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Object {
    api_group: String,
    api_version: String,
    resource: String,
    subresource: String,
}

impl Deprecated {
    /// What `steps/deprecated.sh.j2` says; lines that are not understood are left out.
    pub fn parse(text: &str) -> Result<Self, String> {
        let seconds = |line: &str| line.strip_prefix("process_start_time_seconds ")?.trim().parse::<f64>().ok();
        let started = text.lines().find_map(seconds).ok_or("its metrics do not tell when it was started")?;
        let mut clients = BTreeMap::<_, Vec<String>>::new();
        for (api, client) in text.lines().filter_map(client) {
            let of = clients.entry(api).or_default();
            if !of.contains(&client) {
                of.push(client);
            }
        }
        Ok(Self { started: started as u64, apis: text.lines().filter_map(api).collect(), clients })
    }
}

/// `apiserver_requested_deprecated_apis{group="batch",removed_release="1.25",resource="cronjobs",subresource="",version="v1beta1"} 1`
fn api(text: &str) -> Option<Api> {
    let (labels, value) = labels(text.strip_prefix("apiserver_requested_deprecated_apis{")?)?;
    let of = |name: &str| line(labels.get(name).map_or("", String::as_str));
    let asked = value.split_whitespace().next()?.parse::<f64>().ok()? > 0.0;
    let removed = of("removed_release").strip_prefix("1.").and_then(|minor| minor.parse().ok());
    let (version, resource) = (of("version"), with_sub(&of("resource"), &of("subresource")));
    (asked && !version.is_empty() && !resource.is_empty()).then(|| Api { group: of("group"), version, resource, removed })
}

/// Labels and what follows them, in the text format of Prometheus: `NAME="VALUE",...} VALUE`, with `\\`, `\"` and `\n` in values.
fn labels(text: &str) -> Option<(BTreeMap<&str, String>, &str)> {
    let (mut labels, mut rest) = (BTreeMap::new(), text);
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(value) = rest.strip_prefix('}') {
            return Some((labels, value));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (mut value, mut escaped, mut end) = (String::new(), false, None);
        for (at, character) in quoted.char_indices() {
            match character {
                _ if escaped => {
                    value.push(if character == 'n' { '\n' } else { character });
                    escaped = false;
                }
                '\\' => escaped = true,
                '"' => {
                    end = quoted.get(at + 1..);
                    break;
                }
                _ => value.push(character),
            }
        }
        rest = end?;
        labels.insert(name, value);
    }
}

/// `     12 client {"user":"jane","agent":"kubectl/v1.30.1","object":{...}}`
fn client(text: &str) -> Option<((String, String, String), String)> {
    let (_, json) = text.trim_start().split_once(" client ")?;
    let Asked { user, agent, object } = serde_json::from_str(json).ok()?;
    let short = |text: &str| line(text).chars().take(80).collect::<String>();
    let api = (line(&object.api_group), line(&object.api_version), with_sub(&line(&object.resource), &line(&object.subresource)));
    Some((api, format!("{} as {}", short(&agent), short(&user))))
}

fn with_sub(resource: &str, subresource: &str) -> String {
    let slash = if subresource.is_empty() { "" } else { "/" };
    format!("{resource}{slash}{subresource}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(group: &str, removed: &str, resource: &str, sub: &str, version: &str) -> String {
        format!(
            "apiserver_requested_deprecated_apis{{group=\"{group}\",removed_release=\"{removed}\",resource=\"{resource}\",\
             subresource=\"{sub}\",version=\"{version}\"}}"
        )
    }

    #[test]
    fn apis_and_their_clients_are_read_and_what_is_not_understood_is_left_out() {
        let text = [
            "process_start_time_seconds 1.76722560013e+09".to_owned(),
            metric("batch", "1.25", "cronjobs", "", "v1beta1") + " 1",
            metric("", "", "componentstatuses", "", "v1") + " 1 1767225600000",
            metric("policy", "1.25", "pods", "eviction", "v1beta1") + " 1",
            metric("policy", "1.25", "unasked", "", "v1beta1") + " 0",
            metric("policy", "1.25", "cut", "", "v1beta1"),
            metric("", "", "", "", "") + " 1",
            "apiserver_requested_deprecated_apis{group=\"a\\\\\\\"".to_owned(),
            "apiserver_requested_deprecated_apis_more{group=\"a\"} 1".to_owned(),
            r#"    12 client {"user":"system:serviceaccount:shop:cron","agent":"cron/v1","object":{"resource":"cronjobs","apiGroup":"batch","apiVersion":"v1beta1"}}"#.to_owned(),
            r#"     1 client {"user":"jane","agent":"kubectl/v1.24 \u001b[31m\"x\"","object":{"resource":"cronjobs","apiGroup":"batch","apiVersion":"v1beta1"}}"#.to_owned(),
            r#"     1 client {"user":"jane","#.to_owned(),
        ];
        let told = Deprecated::parse(&text.join("\n")).unwrap();
        assert_eq!(told.started, 1_767_225_600);
        let api = |group: &str, version: &str, resource: &str, removed| Api {
            group: group.into(),
            version: version.into(),
            resource: resource.into(),
            removed,
        };
        let want = [
            api("", "v1", "componentstatuses", None),
            api("batch", "v1beta1", "cronjobs", Some(25)),
            api("policy", "v1beta1", "pods/eviction", Some(25)),
        ];
        assert_eq!(told.apis.iter().cloned().collect::<Vec<_>>(), want);
        assert_eq!(
            told.apis.iter().map(ToString::to_string).collect::<Vec<_>>()[..2],
            ["v1 componentstatuses", "batch/v1beta1 cronjobs"]
        );
        let clients: Vec<_> = told.clients.into_iter().collect();
        let names = ["cron/v1 as system:serviceaccount:shop:cron", "kubectl/v1.24 \"x\" as jane"];
        assert_eq!(clients, [(("batch".into(), "v1beta1".into(), "cronjobs".into()), names.map(String::from).to_vec())]);
    }

    #[test]
    fn whatever_a_server_says_is_read_or_refused_and_nothing_of_it_moves_a_cursor() {
        for text in ["", "ok", "process_start_time_seconds soon", "<html>"] {
            assert!(Deprecated::parse(text).is_err(), "{text}");
        }
        let hostile = "x\\\"} 1\\n\u{1b}[2J\u{202e}\u{7}y";
        let text = format!("process_start_time_seconds 1\n{} 1", metric(hostile, "1.99999999999", hostile, hostile, hostile));
        let told = Deprecated::parse(&text).unwrap();
        let api = told.apis.first().unwrap();
        assert_eq!((api.group.as_str(), api.removed), ("x\"} 1y", None));
        assert!(!api.to_string().contains(|c: char| c.is_control() || c == '\u{202e}'), "{api:?}");
        // Cut anywhere, and with anything in the place of any character.
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            let _ = Deprecated::parse(&text[..end]);
            for put in ["\"", "\\", "{", "}", "=", ",", "\n", "\u{0}"] {
                let _ = Deprecated::parse(&format!("{}{put}{}", &text[..end], text[end..].chars().skip(1).collect::<String>()));
            }
        }
    }

    /// The script, by a shell: what `kubectl` said, and an audit log in its place.
    fn run(kubectl: &str, log: &str) -> (Option<i32>, String) {
        let folder = tempfile::tempdir().unwrap();
        let audit = folder.path().join("audit.log");
        std::fs::write(&audit, log).unwrap();
        let script = crate::bootstrap::template::render("steps/deprecated.sh.j2", serde_json::json!({})).unwrap();
        let script = script.replace("/var/log/kubernetes/audit/audit.log", audit.to_str().unwrap());
        let script = format!("kubectl() {{\n{kubectl}\n}}\n{script}");
        let output = std::process::Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    #[test]
    fn a_machine_tells_the_lines_that_are_wanted_and_who_asked() {
        let said = format!(
            "# HELP apiserver_requested_deprecated_apis [STABLE] Gauge\nother{{a=\"failed\"}} 1\n{} 1\nprocess_start_time_seconds 1.7e+09\n",
            metric("batch", "1.25", "cronjobs", "", "v1beta1")
        );
        let event = |agent: &str, name: &str, removed: &str| {
            serde_json::json!({
                "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "stage": "ResponseComplete",
                "requestURI": format!("/apis?\"userAgent\":\"no\",{name}"), "verb": "get",
            })
            .to_string()
            .trim_end_matches('}')
            .to_owned()
                + &format!(
                    ",\"user\":{{\"username\":\"jane\",\"uid\":\"{name}\",\"groups\":[\"a\"]}},\"sourceIPs\":[\"10.0.0.1\"],\"userAgent\":{},",
                    serde_json::json!(agent)
                )
                + &format!("\"objectRef\":{{\"resource\":\"cronjobs\",\"namespace\":\"shop\",\"name\":\"{name}\",")
                + &format!(
                    "\"apiGroup\":\"batch\",\"apiVersion\":\"v1beta1\",\"resourceVersion\":\"{name}\"}},\"responseStatus\":{{\"code\":200}},"
                )
                + &format!("\"annotations\":{{\"k8s.io/deprecated\":\"true\"{removed}}}}}\n")
        };
        let removed = ",\"k8s.io/removed-release\":\"1.25\"";
        let hostile = "x\"},\"objectRef\":{}}'$(false)\u{1b}[2J";
        let log = [
            event(hostile, "one", removed),
            event("kubectl/v1.24", "one", removed),
            event("kubectl/v1.24", "two", removed),
            event("endpoints/v1", "three", ""),
            "{\"k8s.io/removed-release\":\"1.25\"\n".into(),
        ];
        let (status, told) = run(&format!("cat <<'E'\n{said}E\n"), &log.concat());
        assert_eq!(status, Some(0), "{told}");
        assert!(!told.contains("other") && !told.contains("HELP"), "{told}");
        let told = Deprecated::parse(&told).unwrap();
        assert_eq!(told.apis.len(), 1, "{told:?}");
        let clients: Vec<&String> = told.clients.values().flatten().collect();
        assert_eq!(clients, ["kubectl/v1.24 as jane", "x\"},\"objectRef\":{}}'$(false) as jane"]);

        let (status, _) = run("echo 'Unable to connect to the server' >&2; return 1", "");
        assert_eq!(status, Some(1));
        // Answered in part: not all of it is known.
        assert_eq!(run(&format!("cat <<'E'\n{said}E\nreturn 1"), "").0, Some(1));
        let (status, told) = run("echo ok", "");
        assert!(status == Some(0) && Deprecated::parse(&told).is_err(), "{told}");
    }
}
