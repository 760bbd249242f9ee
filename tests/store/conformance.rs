//! What every kind of storage must do alike.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures::future::join_all;
use kubewright::secret::Secret;
use kubewright::store::{Condition, ObjectError, Objects, Recorder, StoreError, Version, clusters};
use libtest_mimic::Trial;

use super::rig::{Place, mark, marked, owner, real, real_store, state, trial};

const WRITERS: usize = 16;

type Case = fn(Arc<dyn Objects>) -> Pin<Box<dyn Future<Output = ()>>>;

const CASES: &[(&str, Case)] = &[
    ("conditions_hold", |objects| Box::pin(conditions_hold(objects))),
    ("keys_cannot_leave_the_store", |objects| Box::pin(keys_cannot_leave_the_store(objects))),
    ("lists_what_is_below_a_prefix", |objects| Box::pin(lists_what_is_below_a_prefix(objects))),
    ("reading_an_empty_store_finds_nothing", |objects| Box::pin(reading_an_empty_store_finds_nothing(objects))),
    ("the_clock_is_that_of_the_objects", |objects| Box::pin(the_clock_is_that_of_the_objects(objects))),
    ("concurrent_writers_lose_no_update", |objects| Box::pin(concurrent_writers_lose_no_update(objects))),
    ("a_state_changed_by_another_is_never_overwritten", |objects| Box::pin(never_overwritten(objects))),
    ("a_hundred_records_take_few_writes", |objects| Box::pin(a_hundred_records_take_few_writes(objects))),
    ("one_of_many_gets_the_lock", |objects| Box::pin(one_of_many_gets_the_lock(objects))),
    ("after_lock_break_the_old_holder_writes_nothing", |objects| Box::pin(old_holder_writes_nothing(objects))),
    ("of_many_takers_one_gets_the_lock", |objects| Box::pin(one_of_many_takes_over(objects))),
    ("a_slow_breaker_stops_nobody_who_came_later", |objects| Box::pin(slow_breaker(objects))),
    ("a_damaged_state_can_be_put_back", |objects| Box::pin(damaged_state(objects))),
    ("a_lock_broken_before_the_first_state_fences_too", |objects| Box::pin(fenced_before_the_first_state(objects))),
    ("revisions_are_numbered_without_gap_or_double", |objects| Box::pin(revisions_are_numbered(objects))),
    ("secrets_are_made_once", |objects| Box::pin(secrets_are_made_once(objects))),
    ("a_deleted_cluster_leaves_its_history", |objects| Box::pin(a_deleted_cluster_leaves_its_history(objects))),
];

pub fn add(trials: &mut Vec<Trial>, kind: &str, place: fn() -> Pin<Box<dyn Future<Output = Place> + Send>>) {
    for (name, case) in CASES {
        trials.push(trial(format!("{kind}::{name}"), move || {
            real(async move {
                let place = place().await;
                case(place.objects.clone()).await;
                drop(place.folder);
            });
        }));
    }
}

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn is_conflict<T>(answer: &Result<T, ObjectError>) -> bool {
    matches!(answer, Err(ObjectError::Conflict { .. }))
}

async fn conditions_hold(objects: Arc<dyn Objects>) {
    let key = "demo/state.json";
    let content = async || objects.get(key).await.expect("get").map(|object| object.bytes);
    assert!(is_conflict(&objects.put(key, bytes("x"), Condition::Is(Version("\"none\"".into()))).await));
    objects.delete(key, Condition::Always).await.expect("deleting what is absent is no error");
    assert_eq!(content().await, None);

    let one = objects.put(key, bytes("one"), Condition::Absent).await.expect("put");
    assert!(is_conflict(&objects.put(key, bytes("two"), Condition::Absent).await));
    assert_eq!(content().await, Some(bytes("one")));
    assert_eq!(objects.get(key).await.expect("get").expect("there").version, one);

    let two = objects.put(key, bytes("two"), Condition::Is(one.clone())).await.expect("put");
    assert_ne!(one, two);
    assert!(is_conflict(&objects.put(key, bytes("three"), Condition::Is(one.clone())).await));
    assert!(is_conflict(&objects.delete(key, Condition::Is(one.clone())).await));
    assert_eq!(content().await, Some(bytes("two")));

    let three = objects.put(key, bytes("three"), Condition::Always).await.expect("put");
    objects.delete(key, Condition::Is(three.clone())).await.expect("delete");
    assert_eq!(content().await, None);
    assert!(is_conflict(&objects.put(key, bytes("four"), Condition::Is(three)).await), "what was deleted stays deleted");
    objects.put(key, bytes(""), Condition::Absent).await.expect("an empty object is an object");
    assert_eq!(content().await, Some(Vec::new()));
    let every_byte: Vec<u8> = (0..=255).collect();
    objects.put(key, every_byte.clone(), Condition::Always).await.expect("put");
    assert_eq!(content().await, Some(every_byte));
}

async fn keys_cannot_leave_the_store(objects: Arc<dyn Objects>) {
    let long = "x".repeat(300);
    let keys = [
        "", "/", "/etc/x", "../x", "a/../x", "a/./x", "a//x", "a/", ".hidden", "a/.tmp-x", "a b", "a\nb", "a\\b", "\u{e9}", &long,
    ];
    for key in keys {
        let put = objects.put(key, bytes("x"), Condition::Always).await;
        assert!(matches!(put, Err(ObjectError::Failed { .. })), "{key:?}: {put:?}");
        assert!(objects.get(key).await.is_err(), "{key:?}");
        assert!(objects.delete(key, Condition::Always).await.is_err(), "{key:?}");
    }
    assert!(objects.list("../").await.is_err());
    assert_eq!(objects.list("").await.expect("list"), Vec::<String>::new());
}

async fn lists_what_is_below_a_prefix(objects: Arc<dyn Objects>) {
    let keys =
        ["demo/revisions/0001.toml", "demo/revisions/0002.toml", "demo/state.json", "demo-2/state.json", "other/spec.toml"];
    for key in keys {
        objects.put(key, bytes("x"), Condition::Always).await.expect("put");
    }
    let list = async |prefix: &str| objects.list(prefix).await.expect("list");
    let mut sorted = keys.map(str::to_owned);
    sorted.sort();
    assert_eq!(list("").await, sorted);
    for prefix in ["demo", "demo/"] {
        assert_eq!(list(prefix).await, keys[..3], "{prefix}");
    }
    assert_eq!(list("demo/revisions").await, keys[..2]);
    assert_eq!(list("nothing").await, Vec::<String>::new());
    assert_eq!(clusters(&*objects).await, Ok(vec!["demo".into(), "demo-2".into(), "other".into()]));
}

async fn reading_an_empty_store_finds_nothing(objects: Arc<dyn Objects>) {
    let store = real_store(&objects, "ops@build-7");
    assert!(store.load().await.expect("load").is_none());
    assert_eq!(store.lock_status().await, Ok(None));
    assert_eq!(store.lock_break().await, Ok(None));
    assert_eq!(store.latest().await, Ok(None));
    assert_eq!(store.revisions().await, Ok(vec![]));
    assert_eq!(store.secret("ca.key").await, Ok(None));
    assert!(matches!(store.revision(3).await, Err(StoreError::NoRevision { number: 3, newest: None, .. })));
    assert_eq!(clusters(&*objects).await, Ok(vec![]));
    assert_eq!(objects.list("").await.expect("list"), Vec::<String>::new());
    if let Some(folder) = objects.location().strip_prefix("file://") {
        assert!(!std::path::Path::new(folder).exists(), "reading wrote something");
    }
}

async fn the_clock_is_that_of_the_objects(objects: Arc<dyn Objects>) {
    let before = objects.now().await.expect("now");
    objects.put("demo/lock.json", bytes("x"), Condition::Always).await.expect("put");
    let written = objects.get("demo/lock.json").await.expect("get").expect("there").modified;
    let after = objects.now().await.expect("now");
    // S3 tells whole seconds, file systems ticks of some milliseconds.
    let tick = jiff::SignedDuration::from_secs(2);
    assert!(before - tick <= written && written <= after + tick, "{before} {written} {after}");
    assert_eq!(objects.list("").await.expect("list"), ["demo/lock.json"], "telling the time leaves something behind");
}

async fn concurrent_writers_lose_no_update(objects: Arc<dyn Objects>) {
    let first = real_store(&objects, "ops@build-7");
    let mut held = first.first(state()).await.expect("first");
    first.save(&mut held).await.expect("save");
    let tasks = (0..WRITERS).map(|n| {
        let store = real_store(&objects, &format!("writer-{n}@host"));
        tokio::spawn(async move {
            for round in 0..3 {
                loop {
                    let mut held = store.load().await.expect("load").expect("a state");
                    mark(&mut held.state, &format!("w{n}-{round}"));
                    match store.save(&mut held).await {
                        Ok(()) => break,
                        Err(StoreError::Lost { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        })
    });
    for task in join_all(tasks).await {
        task.expect("a writer");
    }
    let held = first.load().await.expect("load").expect("a state");
    assert_eq!(held.serial(), 1 + 3 * WRITERS as u64);
    for n in 0..WRITERS {
        assert!((0..3).all(|round| marked(&held.state, &format!("w{n}-{round}"))), "writer {n} lost an update");
    }
}

async fn never_overwritten(objects: Arc<dyn Objects>) {
    let (ours, theirs) = (real_store(&objects, "ops@build-7"), real_store(&objects, "eve@laptop"));
    let mut held = ours.first(state()).await.expect("first");
    let mut late = theirs.first(state()).await.expect("first");
    ours.save(&mut held).await.expect("save");
    assert!(matches!(theirs.save(&mut late).await, Err(StoreError::Lost { by, .. }) if by == "ops@build-7"));
    assert!(matches!(theirs.first(state()).await, Err(StoreError::Lost { .. })));

    let mut other = theirs.load().await.expect("load").expect("a state");
    assert_eq!((other.lineage(), other.serial(), &other.state), (held.lineage(), 1, &held.state));
    mark(&mut other.state, "theirs");
    theirs.save(&mut other).await.expect("save");
    mark(&mut held.state, "ours");
    for _ in 0..2 {
        let lost = ours.save(&mut held).await.expect_err("the state is somebody else's");
        assert!(matches!(&lost, StoreError::Lost { by, .. } if by == "eve@laptop"), "{lost}");
        assert!(lost.is_fenced());
    }
    let now = ours.load().await.expect("load").expect("a state");
    assert!(marked(&now.state, "theirs") && !marked(&now.state, "ours"));
    assert!(matches!(ours.forget(Some(&held), true).await, Err(StoreError::Lost { .. })), "deleted under somebody else");
    assert!(ours.load().await.expect("load").is_some());
}

async fn a_hundred_records_take_few_writes(objects: Arc<dyn Objects>) {
    let store = real_store(&objects, "ops@build-7");
    let held = store.first(state()).await.expect("first");
    let recorder = Arc::new(Recorder::new(store.clone(), held));
    let gate = Arc::new(tokio::sync::Barrier::new(100));
    let tasks = (0..100).map(|n| {
        let (recorder, gate, store) = (recorder.clone(), gate.clone(), store.clone());
        tokio::spawn(async move {
            gate.wait().await;
            let name = format!("r{n}");
            assert_eq!(recorder.update(|state| mark(state, &name)).await, Ok(()));
            let stored = store.load().await.expect("load").expect("a state");
            assert!(marked(&stored.state, &name), "an update returned before it was stored");
        })
    });
    for task in join_all(tasks).await {
        task.expect("an update");
    }
    let stored = store.load().await.expect("load").expect("a state");
    assert_eq!(stored.state, *recorder.state());
    assert!((0..100).all(|n| marked(&stored.state, &format!("r{n}"))));
    assert!(stored.serial() < 100, "{} writes for 100 updates", stored.serial());
    assert_eq!(recorder.held().await.serial(), stored.serial());
}

async fn one_of_many_gets_the_lock(objects: Arc<dyn Objects>) {
    let tasks = (0..WRITERS).map(|n| {
        let store = real_store(&objects, "any@host");
        tokio::spawn(async move { store.acquire(&owner(&format!("user-{n}@host"))).await })
    });
    let answers: Vec<_> = join_all(tasks).await.into_iter().map(|task| task.expect("a task")).collect();
    let store = real_store(&objects, "any@host");
    let holder = store.lock_status().await.expect("status").expect("held").by;
    let mut locks = Vec::new();
    for answer in answers {
        match answer {
            Ok(lock) => locks.push(lock),
            Err(StoreError::Locked { held, .. }) => assert_eq!((&held.by, held.stale), (&holder, false)),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(locks.len(), 1);
    locks.remove(0).release().await.expect("release");
    assert_eq!(store.lock_status().await, Ok(None));
    store.acquire(&owner("next@host")).await.expect("free again").release().await.expect("release");
    assert_eq!(objects.list("").await.expect("list"), Vec::<String>::new());
}

async fn old_holder_writes_nothing(objects: Arc<dyn Objects>) {
    let (old, new) = (real_store(&objects, "old@host"), real_store(&objects, "new@host"));
    let old_lock = old.acquire(&owner("old@host")).await.expect("acquire");
    let mut held = old.first(state()).await.expect("first");
    old.save(&mut held).await.expect("save");
    let recorder = Recorder::new(old.clone(), held.clone());

    assert!(matches!(new.acquire(&owner("new@host")).await, Err(StoreError::Locked { .. })));
    let broken = new.lock_break().await.expect("break").expect("a lock");
    assert_eq!((broken.by.as_str(), broken.pid), ("old@host", 4242));
    assert_eq!(new.lock_status().await, Ok(None));
    let new_lock = new.acquire(&owner("new@host")).await.expect("acquire");
    let before = objects.get("demo/state.json").await.expect("get").expect("a state");

    // Nobody has changed the content yet; the break alone fences.
    let lost = recorder.update(|state| mark(state, "late")).await.expect_err("fenced");
    assert!(matches!(&lost, StoreError::Lost { by, .. } if by == "new@host"), "{lost}");
    assert_eq!(recorder.update(|state| mark(state, "later")).await, Err(lost), "the fence holds");
    assert!(matches!(old.save(&mut held).await, Err(StoreError::Lost { .. })));
    assert!(matches!(old.forget(Some(&held), false).await, Err(StoreError::Lost { .. })));
    assert!(matches!(old_lock.release().await, Err(StoreError::LockBroken { by: Some(by), .. }) if by == "new@host"));
    assert_eq!(objects.get("demo/state.json").await.expect("get").expect("a state"), before);

    let now = new.load().await.expect("load").expect("a state");
    assert_eq!((&now.state, now.lineage()), (&state(), held.lineage()), "a break changes nothing that is recorded");
    assert_eq!(new.lock_status().await.expect("status").expect("held").by, "new@host");
    new_lock.release().await.expect("release");
}

async fn one_of_many_takes_over(objects: Arc<dyn Objects>) {
    let old = real_store(&objects, "old@host");
    let dead = old.acquire(&owner("old@host")).await.expect("acquire");
    let mut held = old.first(state()).await.expect("first");
    old.save(&mut held).await.expect("save");
    let seen = old.lock_status().await.expect("status").expect("held");
    let tasks = (0..WRITERS).map(|n| {
        let (store, seen) = (real_store(&objects, &format!("user-{n}@host")), seen.clone());
        tokio::spawn(async move { store.take_over(&owner(&format!("user-{n}@host")), &seen).await })
    });
    let answers: Vec<_> = join_all(tasks).await.into_iter().map(|task| task.expect("a task")).collect();
    let mut locks = Vec::new();
    for answer in answers {
        match answer {
            Ok(lock) => locks.push(lock),
            Err(StoreError::Locked { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(locks.len(), 1);
    let lock = locks.remove(0);
    let winner = old.lock_status().await.expect("status").expect("held").by;
    let mut now = old.load().await.expect("load").expect("a state");
    lock.check().await.expect("its own");
    assert_eq!(now.serial(), 2, "only the winner fences, once");
    real_store(&objects, &winner).save(&mut now).await.expect("nobody fences it afterwards");
    assert!(matches!(old.save(&mut held).await, Err(StoreError::Lost { by, .. }) if by == winner));
    assert!(matches!(dead.check().await, Err(StoreError::LockBroken { by: Some(by), .. }) if by == winner));
    assert!(dead.release().await.is_err());
    lock.release().await.expect("release");
}

async fn slow_breaker(objects: Arc<dyn Objects>) {
    let (old, new) = (real_store(&objects, "old@host"), real_store(&objects, "new@host"));
    let first = old.acquire(&owner("old@host")).await.expect("acquire");
    let mut held = old.first(state()).await.expect("first");
    old.save(&mut held).await.expect("save");
    let seen = old.lock_status().await.expect("status").expect("held");
    first.release().await.expect("release");
    let second = old.acquire(&owner("second@host")).await.expect("acquire");
    // What it looked at is not there any more.
    assert!(
        matches!(new.take_over(&owner("new@host"), &seen).await, Err(StoreError::Locked { held, .. }) if held.by == "second@host")
    );
    old.save(&mut held).await.expect("not fenced");
    second.check().await.expect("its own");
    second.release().await.expect("release");
    let third = new.take_over(&owner("new@host"), &seen).await.expect("nobody has it");
    old.save(&mut held).await.expect("a free lock fences nobody");
    third.release().await.expect("release");
}

async fn damaged_state(objects: Arc<dyn Objects>) {
    let store = real_store(&objects, "ops@build-7");
    let lock = store.acquire(&owner("ops@build-7")).await.expect("acquire");
    let mut held = store.first(state()).await.expect("first");
    for name in ["a", "b", "c"] {
        mark(&mut held.state, name);
        store.save(&mut held).await.expect("save");
    }
    assert!(store.restore_previous().await.expect_err("it is whole").to_string().contains("nothing to restore"));
    let key = "demo/state.json";
    let whole = objects.get(key).await.expect("get").expect("a state").bytes;
    objects.put(key, whole[..whole.len() / 2].to_vec(), Condition::Always).await.expect("put");
    let text = store.load().await.expect_err("damaged").to_string();
    // A lock can be had and broken whatever the state is.
    store.lock_break().await.expect("break").expect("a lock");
    drop(lock);
    if objects.keeps_history().await != Some(true) {
        assert!(text.contains("put back an earlier copy"), "{text}");
        assert!(store.restore_previous().await.expect_err("none is kept").to_string().contains("no earlier state is kept"));
        return;
    }
    for part in ["whole     serial 3, written at 20", "by ops@build-7", "next      kubewright recover demo --previous --yes"] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert_eq!(store.earlier_states().await.expect("a list")[0].serial, 3);
    assert_eq!(store.restore_previous().await.expect("restored").serial, 3);
    let mut now = store.load().await.expect("load").expect("a state");
    assert_eq!((&now.state, now.lineage(), now.serial()), (&held.state, held.lineage(), 5));
    assert!(matches!(store.save(&mut held).await, Err(StoreError::Lost { .. })), "who held the damaged one has lost it");
    store.save(&mut now).await.expect("save");
    objects.put(key, bytes("{\"format\": 2}"), Condition::Always).await.expect("put");
    assert!(matches!(store.restore_previous().await, Err(StoreError::State { .. })), "a newer one is not damage");
}

async fn fenced_before_the_first_state(objects: Arc<dyn Objects>) {
    let (old, new) = (real_store(&objects, "old@host"), real_store(&objects, "new@host"));
    let _old_lock = old.acquire(&owner("old@host")).await.expect("acquire");
    let mut held = old.first(state()).await.expect("first");
    new.lock_break().await.expect("break").expect("a lock");
    assert!(new.load().await.expect("load").is_none(), "nothing was recorded");
    assert!(matches!(old.save(&mut held).await, Err(StoreError::Lost { by, .. }) if by == "new@host"));
    let mut own = new.first(state()).await.expect("first");
    new.save(&mut own).await.expect("save");
    assert_eq!(new.load().await.expect("load").expect("a state").state, state());
    assert!(matches!(old.save(&mut held).await, Err(StoreError::Lost { .. })));
}

async fn revisions_are_numbered(objects: Arc<dyn Objects>) {
    let tasks = (0..WRITERS).map(|n| {
        let store = real_store(&objects, "any@host");
        tokio::spawn(async move { store.register(format!("name = \"{n}\"").as_bytes()).await.expect("register") })
    });
    let numbers: Vec<u32> = join_all(tasks).await.into_iter().map(|task| task.expect("a task")).collect();
    let count = WRITERS as u32;
    assert_eq!(numbers.iter().copied().collect::<BTreeSet<_>>(), (1..=count).collect());
    let store = real_store(&objects, "any@host");
    assert_eq!(store.revisions().await, Ok((1..=count).collect()));
    for (n, number) in numbers.iter().enumerate() {
        assert_eq!(store.revision(*number).await, Ok(format!("name = \"{n}\"").into_bytes()));
    }
    let (newest, spec) = store.latest().await.expect("latest").expect("registered");
    assert_eq!(newest, count);
    assert_eq!(objects.get("demo/spec.toml").await.expect("get").expect("a spec").bytes, spec);
    assert_eq!(store.register(&spec).await, Ok(count), "the same spec again is no new revision");
    assert_eq!(store.register(&store.revision(1).await.expect("the first")).await, Ok(count + 1), "an older one is");
    assert!(matches!(store.revision(99).await, Err(StoreError::NoRevision { newest: Some(17), .. })));
}

async fn secrets_are_made_once(objects: Arc<dyn Objects>) {
    let tasks = (0..WRITERS).map(|n| {
        let store = real_store(&objects, "any@host");
        tokio::spawn(async move { store.put_secret("ca.key", &Secret::new(format!("key-{n}"))).await.expect("put") })
    });
    let answers: Vec<Secret> = join_all(tasks).await.into_iter().map(|task| task.expect("a task")).collect();
    let store = real_store(&objects, "any@host");
    let stored = store.secret("ca.key").await.expect("get").expect("a secret");
    assert!(stored.expose().starts_with("key-"));
    assert!(answers.iter().all(|answer| *answer == stored), "two runs go on with different keys");
    store.put_secret("sa.key", &Secret::new("x")).await.expect("put");
    assert_eq!(store.secret_names().await, Ok(vec!["ca.key".into(), "sa.key".into()]));
    for name in ["", "../state.json", "a/b", ".x"] {
        assert!(matches!(store.put_secret(name, &stored).await, Err(StoreError::Name { .. })), "{name:?}");
    }
}

async fn a_deleted_cluster_leaves_its_history(objects: Arc<dyn Objects>) {
    let store = real_store(&objects, "ops@build-7");
    for keep_history in [true, false] {
        let lock = store.acquire(&owner("ops@build-7")).await.expect("acquire");
        let number = store.register(b"name = \"demo\"").await.expect("register");
        store.put_secret("ca.key", &Secret::new("x")).await.expect("put");
        let mut held = store.first(state()).await.expect("first");
        store.save(&mut held).await.expect("save");
        assert_eq!(clusters(&*objects).await, Ok(vec!["demo".into()]));
        assert!(matches!(store.forget(None, keep_history).await, Err(StoreError::Lost { .. })), "there is a state");
        store.forget(Some(&held), keep_history).await.expect("forget");
        lock.release().await.expect("release");
        assert_eq!(number, 1);
        assert_eq!(clusters(&*objects).await, Ok(vec![]));
        assert_eq!(store.latest().await, Ok(None));
        assert!(store.load().await.expect("load").is_none());
        let left: &[&str] = if keep_history { &["demo/revisions/0001.toml"] } else { &[] };
        assert_eq!(objects.list("").await.expect("list"), left);
        store.forget(None, keep_history).await.expect("again");
        let gone = store.save(&mut held).await.expect_err("nothing comes back");
        assert!(matches!(gone, StoreError::Gone { .. }), "{gone}");
    }
}
