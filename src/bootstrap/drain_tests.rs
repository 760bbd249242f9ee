//! Drains, run by a shell with a `kubectl` that keeps pods and a clock that goes as told.

use std::process::Command;

use serde_json::{Value, json};

use super::template::render;

/// Pods that an eviction leaves, when the first drain ends, and what `kubectl drain` was asked then.
struct Ran {
    status: Option<i32>,
    asked: Vec<String>,
    said: String,
}

/// `kept`: evictions leave pods. `takes`: seconds after which a drain gives up.
fn run(step: &str, values: Value, kept: bool, takes: u32) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display();
    std::fs::create_dir(folder.path().join("run")).unwrap();
    // As the prelude has it; time goes on only while a drain runs.
    let stub = format!(
        "set -eu\nDIR={place}\necho 1000 >$DIR/now\nsay() {{ printf '%s\\n' \"$*\" >&2; }}\ndate() {{ cat $DIR/now; }}\n\
         kube() {{ printf '%s\\n' \"$*\" >>$DIR/asked; case \"$*\" in drain*eviction=false*) echo {} >$DIR/now; return {} ;; esac; }}\n",
        1000 + takes,
        i32::from(kept)
    );
    let script = format!("{stub}{}\nmain </dev/null\n", render(&format!("steps/{step}.sh.j2"), values).unwrap());
    let output = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
    let asked = std::fs::read_to_string(folder.path().join("asked")).unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Ran { status: output.status.code(), asked: asked.lines().map(str::to_owned).collect(), said }
}

fn is_forced(ran: &Ran) -> bool {
    ran.asked.iter().any(|call| call.contains("--disable-eviction=true"))
}

#[test]
fn an_eviction_that_had_its_time_says_so_and_one_that_broke_off_does_not() {
    let values = |force: &str| json!({"node": "i-2", "timeout": 90, "force": force});
    for (kept, takes, status) in [(false, 5, 0), (true, 90, 75), (true, 93, 75), (true, 89, 1), (true, 0, 1)] {
        let ran = run("evict", values("false"), kept, takes);
        assert_eq!(ran.status, Some(status), "{takes} s: {:?}", ran.asked);
        assert!(ran.asked.contains(&"cordon i-2".into()) && !is_forced(&ran), "{:?}", ran.asked);
        assert!(ran.asked.last().unwrap().ends_with("--timeout=90s"), "{:?}", ran.asked);
    }
    let ran = run("evict", values("true"), true, 0);
    assert!(ran.status == Some(0) && is_forced(&ran), "{:?}", ran.asked);
}

#[test]
fn pods_of_a_machine_that_is_taken_away_are_deleted_only_when_they_had_their_time_and_only_where_that_is_asked_for() {
    for (force, kept, takes, status, forced) in [
        ("false", false, 5, 0, false),
        ("false", true, 600, 75, false),
        ("true", false, 5, 0, false),
        ("true", true, 599, 1, false),
        ("true", true, 600, 0, true),
    ] {
        let ran = run("drain", json!({"node": "i-2", "timeout": 600, "forced": 700, "force": force}), kept, takes);
        assert_eq!((ran.status, is_forced(&ran)), (Some(status), forced), "{force} {takes}: {:?}", ran.asked);
        assert_eq!(ran.said.contains("deleting them"), forced, "{}", ran.said);
        assert_eq!(ran.asked.iter().any(|call| call.starts_with("delete node i-2")), status == 0, "{:?}", ran.asked);
        assert!(!forced || ran.asked.iter().any(|call| call.ends_with("--disable-eviction=true --timeout=700s")));
    }
}

#[test]
fn the_pods_of_a_machine_that_is_gone_or_goes_are_deleted_after_its_node_and_an_error_of_that_stops_nothing() {
    let drained = json!({"node": "i-2", "timeout": 600, "forced": 700, "force": "false"});
    for (step, values) in [("forget", json!({"node": "i-2"})), ("drain", drained)] {
        for fails in [0, 1] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("run")).unwrap();
            let stub = format!(
                "set -eu\nDIR={}\nkube() {{ printf '%s\\n' \"$*\" >>$DIR/asked; case \"$*\" in *pods*) return {fails} ;; esac; }}\n",
                folder.path().display()
            );
            let script = format!("{stub}{}\nmain\n", render(&format!("steps/{step}.sh.j2"), values.clone()).unwrap());
            assert!(Command::new("/bin/sh").args(["-c", &script]).status().unwrap().success(), "{step}");
            let asked = std::fs::read_to_string(folder.path().join("asked")).unwrap();
            let asked: Vec<&str> = asked.lines().collect();
            let [.., node, pods] = asked.as_slice() else { panic!("{step}: {asked:?}") };
            assert!(node.starts_with("delete node i-2 --ignore-not-found"), "{step}: {asked:?}");
            assert!(
                pods.starts_with("delete pods --all-namespaces") && pods.contains("spec.nodeName=i-2 --force"),
                "{step}: {asked:?}"
            );
        }
    }
}
