//! State documents that are damaged, too new, or not ours: noticed, explained, and left alone.

use std::sync::Arc;

use kubewright::clock::SystemClock;
use kubewright::store::envelope::{Document, FORMAT, Unreadable};
use kubewright::store::{ClusterStore, Condition, MemoryObjects, Objects, StoreError};
use libtest_mimic::Trial;

use super::rig::{real, real_store, state, trial};

const KEY: &str = "demo/state.json";

pub fn add(trials: &mut Vec<Trial>) {
    trials.push(trial("document::reads_back_what_was_written", reads_back));
    trials.push(trial("document::format_1_is_read", format_1));
    trials.push(trial("document::every_truncation_is_noticed", every_truncation));
    trials.push(trial("document::every_flipped_bit_is_noticed", every_flipped_bit));
    trials.push(trial("document::what_cannot_be_used_is_explained_and_left_alone", || real(explained())));
}

fn document() -> Document {
    let written = "2026-11-21T09:12:00Z".parse().expect("a time");
    Document::new("demo", &"c0de".repeat(8), 7, "beef".repeat(8), written, "ops@build-7", Some(state()))
}

fn rendered() -> Vec<u8> {
    document().render().expect("a document")
}

fn reads_back() {
    let bytes = rendered();
    let read = Document::read(&bytes, "demo").expect("readable");
    assert_eq!(read.render().expect("a document"), bytes);
    assert_eq!(read.state, Some(state()));
    let text = String::from_utf8(bytes).expect("text");
    assert!(text.lines().count() > 20, "people read it: pretty-printed");
}

/// Of format 1, as a `create cluster` of a control plane and a worker left it. Later formats get a file of their own; this one stays.
const FIRST: &[u8] = include_bytes!("golden/state-1.json");
const FIRST_CLUSTER: &str = "demo.k8s.example.com";

fn format_1() {
    let document = Document::read(FIRST, FIRST_CLUSTER).expect("format 1 is read");
    assert_eq!((document.serial, document.writer.as_str()), (30, "ops@build-7"));
    let state = document.state.as_ref().expect("a state");
    assert_eq!((state.revision, state.applied, state.nodes.len(), state.intents.len()), (1, 1, 2, 0));
    assert!(state.resources.len() >= 10 && state.applied_model.as_ref() == Some(&state.model), "{state:?}");
    assert!(matches!(Document::read(FIRST, "demo"), Err(Unreadable::OtherCluster(other)) if other == FIRST_CLUSTER));
}

fn every_truncation() {
    for (bytes, cluster) in [(rendered(), "demo"), (FIRST.to_vec(), FIRST_CLUSTER)] {
        for length in 0..bytes.len() {
            let read = Document::read(&bytes[..length], cluster);
            assert!(read.is_err_and(|why| why.is_damage()), "cut at {length} of {}", bytes.len());
        }
    }
}

fn every_flipped_bit() {
    for (mut bytes, cluster) in [(rendered(), "demo"), (FIRST.to_vec(), FIRST_CLUSTER)] {
        for at in 0..bytes.len() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                assert!(Document::read(&bytes, cluster).is_err(), "bit {bit} of byte {at}: {}", String::from_utf8_lossy(&bytes));
                bytes[at] ^= 1 << bit;
            }
        }
        assert!(Document::read(&bytes, cluster).is_ok());
    }
}

async fn put(objects: &Arc<dyn Objects>, bytes: &[u8]) -> ClusterStore {
    objects.put(KEY, bytes.to_vec(), Condition::Always).await.expect("put");
    real_store(objects, "ops@build-7")
}

async fn explained() {
    let objects: Arc<dyn Objects> = Arc::new(MemoryObjects::new(Arc::new(SystemClock)));
    let text = String::from_utf8(rendered()).expect("text");
    let replaced = |old: &str, new: &str| text.replacen(old, new, 1).into_bytes();
    let other = String::from_utf8(rendered()).expect("text").replace("\"demo\"", "\"demo2\"");
    let other_document = {
        let mut state = state();
        state.cluster = "demo2".into();
        let written = "2026-11-21T09:12:00Z".parse().expect("a time");
        Document::new("demo2", "c0de", 1, "beef".into(), written, "ops@build-7", Some(state)).render().expect("a document")
    };
    let cases: [(&str, Vec<u8>, &str, &str); 9] = [
        ("empty", Vec::new(), "cut short or not JSON", "put back an earlier copy"),
        ("truncated", text.as_bytes()[..text.len() / 2].to_vec(), "cut short or not JSON", "put back an earlier copy"),
        ("not JSON", b"\x00\xff\x1b[2J".to_vec(), "cut short or not JSON", "put back an earlier copy"),
        ("another shape", b"[]".to_vec(), "is no state", "put back an earlier copy"),
        ("edited", replaced("vpc-0a1", "vpc-0a2"), "edited by hand or damaged", "put back an earlier copy"),
        ("reformatted", replaced("  \"", " \""), "edited by hand or damaged", "put back an earlier copy"),
        ("renamed by hand", other.into_bytes(), "edited by hand or damaged", "put back an earlier copy"),
        (
            "newer",
            b"{\"format\": 2, \"what\": \"follows is unknown here\"}".to_vec(),
            "was written by a newer kubewright; format 2, this one reads up to 1",
            "use that newer kubewright",
        ),
        ("another cluster", other_document, "the state of another cluster, demo2", "put it back under demo2"),
    ];
    for (name, bytes, why, next) in cases {
        let store = put(&objects, &bytes).await;
        let error = store.load().await.expect_err(name);
        let text = error.to_string();
        for part in ["the state of demo cannot be used", "where     memory:///demo/state.json", why, next] {
            assert!(text.contains(part), "{name}: {text}");
        }
        assert!(!text.replace('\n', "").chars().any(char::is_control), "{text:?}");
        assert_eq!(error.exit_code(), 1);
        // Whatever is tried with it, it stays as it is: somebody may repair it.
        assert!(store.first(state()).await.is_err(), "{name}");
        assert!(store.forget(None, true).await.is_err(), "{name}");
        assert_eq!(objects.get(KEY).await.expect("get").expect("there").bytes, bytes, "{name}");
    }

    let store = put(&objects, &rendered()).await;
    let mut held = store.load().await.expect("load").expect("a state");
    put(&objects, &text.as_bytes()[..100]).await;
    let error = store.save(&mut held).await.expect_err("damaged meanwhile");
    assert!(matches!(error, StoreError::State { why: Unreadable::NotJson(_), .. }), "{error}");
    held.state.cluster = "demo2".into();
    assert!(matches!(store.save(&mut held).await, Err(StoreError::State { why: Unreadable::OtherCluster(_), .. })));
    assert_eq!(FORMAT, 1);
}
