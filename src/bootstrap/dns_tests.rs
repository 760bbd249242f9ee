//! The step that keeps CoreDNS from staying on one machine, run by a shell with a `kube` that answers from a list.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;

use super::template::render;

/// What the step deletes when the pods are these, `NAME NODE GONE` each, and i-2 has just become Ready.
fn deleted(pods: &str) -> Vec<String> {
    let stub = "set -eu\nkube() { case \"$1 $2\" in 'get pods') printf '%s' \"$PODS\" ;; 'delete pod') echo \"$3\" ;; 'get node') echo '<none>' ;; esac; }\n";
    let script = format!("{stub}{}\nmain 2>&1 </dev/null\n", render("steps/dns.sh.j2", json!({"node": "i-2"})).unwrap());
    let mut shell =
        Command::new("/bin/sh").arg("-s").env("PODS", pods).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let done = shell.wait_with_output().unwrap();
    assert!(done.status.success(), "{pods}");
    String::from_utf8(done.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn one_pod_moves_only_where_all_of_them_are_on_one_other_machine() {
    let (a, b) = ("coredns-a i-1 <none>\n", "coredns-b i-1 <none>\n");
    for pods in [[a, b].concat(), [b, a].concat()] {
        assert_eq!(deleted(&pods), ["coredns-b"], "every join chooses the same one");
    }
    for pods in [
        "",
        a,
        "coredns-a i-1 <none>\ncoredns-b i-3 <none>\n",
        "coredns-a i-2 <none>\ncoredns-b i-2 <none>\n",
        "coredns-a i-1 <none>\ncoredns-b <none> <none>\n",
        "coredns-a i-1 <none>\ncoredns-b i-1 2026-11-21T15:00:00Z\n",
        "No resources found in kube-system namespace.\n",
        "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": []}\n",
    ] {
        assert_eq!(deleted(pods), [""; 0], "{pods}");
    }
}
