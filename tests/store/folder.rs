//! What only a folder can suffer: other processes, kills, the umask, a read-only or full file system.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kubewright::clock::{Clock, SystemClock};
use kubewright::secret::Secret;
use kubewright::store::{ClusterStore, Condition, FileObjects, ObjectError, Objects, StoreError, clusters};
use libtest_mimic::Trial;

use super::rig::{VirtualClock, mark, marked, owner, paused, real, real_store, state, trial};

/// Set in processes that this binary starts of itself: the task, and the folder of the store after a blank.
pub const TASK: &str = "KUBEWRIGHT_TEST_STORE_TASK";

pub fn add(trials: &mut Vec<Trial>) {
    trials.push(trial("folder::concurrent_processes_lose_no_update", concurrent_processes));
    trials.push(trial("folder::a_killed_writer_leaves_a_whole_state", killed_writer));
    trials.push(trial("folder::modes_are_private_under_every_umask", modes));
    trials.push(trial("folder::a_leftover_temporary_file_is_ignored_and_then_removed", || real(leftovers())));
    trials.push(trial("folder::waiting_for_another_process_has_an_end", || paused(waiting_has_an_end())));
    trials.push(trial("folder::a_lock_with_an_old_time_stamp_is_stale", || real(old_time_stamp())));
    trials.push(trial("folder::a_store_that_is_a_file_is_refused", || real(store_is_a_file())));
    match unshare() {
        Some(unshare) => {
            trials.push(trial("folder::a_read_only_store_can_be_read", move || on_small_disk(unshare, "read-only")));
            trials.push(trial("folder::a_full_disk_loses_nothing", move || on_small_disk(unshare, "full")));
        }
        None => eprintln!("not run: folder::a_read_only_store*, folder::a_full_disk*; they need mount namespaces (unshare)"),
    }
}

fn store_at(folder: &Path) -> ClusterStore {
    real_store(&objects_at(folder), "ops@build-7")
}

fn objects_at(folder: &Path) -> Arc<dyn Objects> {
    Arc::new(FileObjects::new(folder, Arc::new(SystemClock)).expect("a store"))
}

/// Runs in a process of its own.
pub fn task(task: &str) -> ExitCode {
    let (task, folder) = task.split_once(' ').expect("a task and a folder");
    let folder = PathBuf::from(folder);
    match task {
        "layout" => real(write_everything(&folder)),
        "read-only" => real(read_only(&folder)),
        "full" => real(full(&folder)),
        name => real(write_on_and_on(&folder, name)),
    }
    ExitCode::SUCCESS
}

fn process(task: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.env(TASK, format!("{task} {}", folder.display()));
    command
}

/// `w<n>`: ten updates; `forever`: until killed.
async fn write_on_and_on(folder: &Path, name: &str) {
    let store = store_at(folder);
    let mut round = 0;
    while name == "forever" || round < 10 {
        let mut held = store.load().await.expect("load").expect("a state");
        mark(&mut held.state, &format!("{name}-{round}"));
        match store.save(&mut held).await {
            Ok(()) => round += 1,
            Err(StoreError::Lost { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn first_state(folder: &Path) {
    let store = store_at(folder);
    let mut held = store.first(state()).await.expect("first");
    store.save(&mut held).await.expect("save");
}

fn concurrent_processes() {
    let folder = tempfile::tempdir().expect("a folder");
    real(first_state(folder.path()));
    let workers: Vec<_> = (0..6).map(|n| process(&format!("w{n}"), folder.path()).spawn().expect("a process")).collect();
    for mut worker in workers {
        assert!(worker.wait().expect("a process").success());
    }
    real(async {
        let held = store_at(folder.path()).load().await.expect("load").expect("a state");
        assert_eq!(held.serial(), 61);
        for n in 0..6 {
            assert!((0..10).all(|round| marked(&held.state, &format!("w{n}-{round}"))), "process {n} lost an update");
        }
    });
}

fn killed_writer() {
    let folder = tempfile::tempdir().expect("a folder");
    real(first_state(folder.path()));
    let serial = || {
        let mut serial = 0;
        real(async { serial = store_at(folder.path()).load().await.expect("load").expect("a state").serial() });
        serial
    };
    for _ in 0..8 {
        let before = serial();
        let mut worker = process("forever", folder.path()).stderr(Stdio::null()).spawn().expect("a process");
        let deadline = SystemTime::now() + Duration::from_secs(60);
        while serial() < before + 3 {
            assert!(SystemTime::now() < deadline && worker.try_wait().expect("a process").is_none(), "no progress");
        }
        worker.kill().expect("a kill");
        worker.wait().expect("a process");
        assert!(serial() >= before + 3);
        // The dead writer's file lock is gone with it.
        real(async {
            let store = store_at(folder.path());
            let mut held = store.load().await.expect("load").expect("a state");
            store.save(&mut held).await.expect("save");
        });
        assert_eq!(hidden(&folder.path().join("demo")), 0, "leftovers");
    }
}

fn hidden(folder: &Path) -> usize {
    fs::read_dir(folder)
        .expect("a folder")
        .filter(|entry| entry.as_ref().expect("an entry").file_name().to_string_lossy().starts_with('.'))
        .count()
}

async fn write_everything(folder: &Path) {
    let store = store_at(folder);
    let lock = store.acquire(&owner("ops@build-7")).await.expect("acquire");
    store.register(b"name = \"demo\"").await.expect("register");
    let mut held = store.first(state()).await.expect("first");
    store.save(&mut held).await.expect("save");
    store.save(&mut held).await.expect("save");
    store.put_secret("ca.key", &Secret::new("x")).await.expect("put");
    drop(lock);
}

fn modes() {
    for umask in ["000", "022", "077", "777"] {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("new/state");
        let binary = std::env::current_exe().expect("this binary");
        let done = Command::new("sh")
            .args(["-c", "umask \"$1\" && exec \"$0\""])
            .arg(binary)
            .arg(umask)
            .env(TASK, format!("layout {}", root.display()))
            .status()
            .expect("a process");
        assert!(done.success(), "umask {umask}");
        let mut seen = Vec::new();
        walk(&folder.path().join("new"), &mut seen);
        for (path, is_folder, mode) in &seen {
            let right = if *is_folder { 0o700 } else { 0o600 };
            assert_eq!(mode & 0o7777, right, "umask {umask}: {} has {mode:o}", path.display());
        }
        let files = seen.iter().filter(|(_, is_folder, _)| !is_folder).count();
        assert_eq!(files, 7, "spec, revision, state, the one before, lock, secret and the file that writers lock: {seen:?}");
    }
}

fn walk(path: &Path, seen: &mut Vec<(PathBuf, bool, u32)>) {
    let about = fs::symlink_metadata(path).expect("metadata");
    seen.push((path.to_owned(), about.is_dir(), about.permissions().mode()));
    if about.is_dir() {
        for entry in fs::read_dir(path).expect("a folder") {
            walk(&entry.expect("an entry").path(), seen);
        }
    }
}

async fn leftovers() {
    let folder = tempfile::tempdir().expect("a folder");
    first_state(folder.path()).await;
    let leftover = folder.path().join("demo/.tmp-Ab3dEf");
    fs::write(&leftover, "half a secr").expect("write");
    fs::write(folder.path().join("notes (old).txt"), "a user's own file").expect("write");
    let objects = objects_at(folder.path());
    assert_eq!(objects.list("").await.expect("list"), ["demo/state.json"]);
    assert_eq!(clusters(&*objects).await, Ok(vec!["demo".into()]));
    let store = store_at(folder.path());
    let mut held = store.load().await.expect("load").expect("a state");
    store.save(&mut held).await.expect("save");
    assert!(!leftover.exists());
    assert!(folder.path().join("notes (old).txt").exists());
}

async fn waiting_has_an_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock: Arc<dyn Clock> = VirtualClock::new();
    let objects = FileObjects::new(folder.path(), clock.clone()).expect("a store");
    objects.put("k", b"1".to_vec(), Condition::Always).await.expect("put");
    let other = File::options().write(true).open(folder.path().join(".lock")).expect("the lock file");
    other.lock().expect("a lock");
    let before = clock.now();
    match objects.put("k", b"2".to_vec(), Condition::Always).await {
        Err(ObjectError::Failed { message, .. }) => {
            assert!(message.starts_with(&format!("process {} has held ", std::process::id())), "{message}");
        }
        answer => panic!("{answer:?}"),
    }
    assert!(clock.now().duration_since(before) <= jiff::SignedDuration::from_secs(31));
    assert_eq!(objects.get("k").await.expect("readers need no lock").expect("there").bytes, b"1");
    other.unlock().expect("an unlock");
    objects.put("k", b"2".to_vec(), Condition::Always).await.expect("put");
}

async fn old_time_stamp() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store_at(folder.path());
    drop(store.acquire(&owner("ops@build-7")).await.expect("acquire"));
    assert!(!store.lock_status().await.expect("status").expect("held").stale);
    let file = File::options().write(true).open(folder.path().join("demo/lock.json")).expect("the lock");
    file.set_modified(SystemTime::now() - Duration::from_secs(300)).expect("a time stamp");
    assert!(store.lock_status().await.expect("status").expect("held").stale);
    store.lock_break().await.expect("break").expect("a lock");
    store.acquire(&owner("next@host")).await.expect("free");
}

async fn store_is_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    fs::write(&path, "not a folder").expect("write");
    let error = store_at(&path).acquire(&owner("ops@build-7")).await.err().expect("refused");
    assert!(matches!(error, StoreError::Failed { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).expect("untouched"), "not a folder");
}

/// The arguments of `unshare` that give this user a mount namespace, if any do.
fn unshare() -> Option<&'static str> {
    ["-m", "-rm"].into_iter().find(|flag| {
        Command::new("unshare")
            .args([flag, "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

/// Runs a task on a file system of 256 KiB that nobody else sees and that ends with the process.
fn on_small_disk(unshare: &str, name: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let mount = "mount -t tmpfs -o size=256k,mode=0700 none \"$1\" && exec \"$0\"";
    let done = Command::new("unshare")
        .args([unshare, "sh", "-c", mount])
        .arg(std::env::current_exe().expect("this binary"))
        .arg(folder.path())
        .env(TASK, format!("{name} {}", folder.path().display()))
        .output()
        .expect("a process");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

async fn read_only(folder: &Path) {
    let store = store_at(folder);
    write_everything(folder).await;
    let before = store.load().await.expect("load").expect("a state");
    let mounted = Command::new("mount").args(["-o", "remount,ro"]).arg(folder).status().expect("mount");
    assert!(mounted.success());

    let mut held = store.load().await.expect("reading needs no writing").expect("a state");
    assert_eq!(held.state, before.state);
    assert!(store.lock_status().await.expect("status").is_some());
    assert_eq!(store.latest().await.expect("latest").expect("registered").0, 1);
    let errors = [
        store.save(&mut held).await.expect_err("save"),
        store.acquire(&owner("ops@build-7")).await.err().expect("acquire"),
        store.register(b"other").await.expect_err("register"),
        store.put_secret("new", &Secret::new("x")).await.expect_err("secret"),
        store.lock_break().await.expect_err("break"),
        store.forget(Some(&held), true).await.expect_err("forget"),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(matches!(error, StoreError::Denied { .. }) && text.contains("read-only"), "{text}");
        assert!(text.contains(&folder.display().to_string()), "{text}");
    }
    assert_eq!(store.load().await.expect("load").expect("a state").state, before.state);
}

async fn full(folder: &Path) {
    let store = store_at(folder);
    write_everything(folder).await;
    let mut held = store.load().await.expect("load").expect("a state");
    let before = held.clone();
    let ballast = folder.join(".ballast");
    let mut size = 1 << 20;
    let mut all = Vec::new();
    while size >= 1 {
        all.extend(std::iter::repeat_n(b'x', size));
        if fs::write(&ballast, &all).is_err() {
            all.truncate(all.len() - size);
            size /= 2;
        }
    }
    fs::write(&ballast, &all).expect("just full");

    for n in 0..200 {
        mark(&mut held.state, &format!("m{n}"));
    }
    let errors = [
        store.save(&mut held).await.expect_err("save"),
        store.register(b"other").await.expect_err("register"),
        store.put_secret("new", &Secret::new("x")).await.expect_err("secret"),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(matches!(error, StoreError::Failed { .. }) && text.contains("disk full"), "{text}");
    }
    assert_eq!(store.load().await.expect("load").expect("a state").state, before.state);
    assert_eq!(hidden(&folder.join("demo")), 0, "half-written files stay");
    assert_eq!(store.revisions().await, Ok(vec![1]));
    assert_eq!(store.secret("new").await, Ok(None));
    fs::remove_file(&ballast).expect("room");
    store.save(&mut held).await.expect("save");
    assert_eq!(store.load().await.expect("load").expect("a state").state, held.state);
}
