//! The store on a folder: `file://`.
//!
//! An object is a file; its version is the SHA-256 of its content. A write goes to a temporary file beside the target, is
//! synced, and replaces the target by rename, so a reader sees the old content or the new one, and a crash leaves at most a
//! hidden temporary file. What a write of a state replaces stays beside it, as `state.json.previous`. Writers of all processes take turns by an
//! exclusive lock on the file `.lock`, in which the last one wrote its process id; readers need none.
//! Files have mode 0600 and folders 0700, whatever the umask: secrets lie here.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::key::{check_key, folder_of, is_part};
use super::objects::{Condition, Object, ObjectError, Objects, Version};
use crate::clock::Clock;

const LOCK_FILE: &str = ".lock";
const TEMPORARY: &str = ".tmp-";
/// The file whose last content is kept, and the name that it is kept under, which is no key.
const KEPT: &str = "state.json";
const PREVIOUS: &str = "state.json.previous";
/// How long a writer waits for writers of other processes; a write takes milliseconds.
const TURN: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Objects as files below one folder. Reading makes nothing, not even the folder.
pub struct FileObjects {
    root: PathBuf,
    clock: Arc<dyn Clock>,
    /// Keeps tasks of this process from polling the file lock against each other.
    turn: Mutex<()>,
}

impl FileObjects {
    /// `root` may be relative to the working directory and need not exist.
    pub fn new(root: &Path, clock: Arc<dyn Clock>) -> io::Result<Self> {
        Ok(Self { root: std::path::absolute(root)?, clock, turn: Mutex::new(()) })
    }

    /// Runs `work` while no other writer, of any process, is in the store. The lock is taken and released inside one
    /// blocking call, so a cancelled future never leaves it held.
    async fn exclusively<T, F>(&self, key: &str, work: F) -> Result<T, ObjectError>
    where
        T: Send + 'static,
        F: FnOnce(&Path) -> Result<T, ObjectError> + Send + 'static,
    {
        let _turn = self.turn.lock().await;
        let deadline = self.clock.now().saturating_add(TURN).unwrap_or(Timestamp::MAX);
        let mut pause = FIRST_PAUSE;
        let mut work = Some(work);
        loop {
            let (root, name, task) = (self.root.clone(), key.to_owned(), work.take());
            let tried = blocking(key, move || {
                let lock = open_lock(&root).map_err(|error| failure(&name, &error))?;
                match (lock.try_lock(), task) {
                    (Ok(()), Some(task)) => {
                        sign(&lock);
                        task(&root).map(Ok)
                    }
                    (Ok(()) | Err(TryLockError::WouldBlock), task) => Ok(Err(task)),
                    (Err(TryLockError::Error(error)), _) => Err(failure(&name, &error)),
                }
            })
            .await?;
            match tried {
                Ok(done) => return Ok(done),
                Err(task) => work = task,
            }
            if self.clock.now() >= deadline {
                let path = self.root.join(LOCK_FILE);
                let held = format!("has held {} for {} s", path.display(), TURN.as_secs());
                let message = match signed(&path) {
                    Some(pid) => format!("process {pid} {held}; if it is stopped, end it or let it go on"),
                    None => format!("another process {held}"),
                };
                return Err(ObjectError::Failed { key: key.to_owned(), message });
            }
            self.clock.wait(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

#[async_trait]
impl Objects for FileObjects {
    async fn get(&self, key: &str) -> Result<Option<Object>, ObjectError> {
        check_key(key)?;
        let (path, name) = (self.root.join(key), key.to_owned());
        blocking(key, move || read(&path).map_err(|error| failure(&name, &error))).await
    }

    async fn put(&self, key: &str, bytes: Vec<u8>, condition: Condition) -> Result<Version, ObjectError> {
        check_key(key)?;
        let name = key.to_owned();
        self.exclusively(key, move |root| {
            let path = root.join(&name);
            require(&name, &path, &condition)?;
            replace(root, &path, &bytes).map_err(|error| failure(&name, &error))?;
            // The new content is visible already; whether it outlives a power cut is not known.
            sync_folder(path.parent().unwrap_or(root))
                .map_err(|error| ObjectError::Ambiguous { key: name, message: error.to_string() })?;
            Ok(version_of(&bytes))
        })
        .await
    }

    async fn delete(&self, key: &str, condition: Condition) -> Result<(), ObjectError> {
        check_key(key)?;
        if self.get(key).await?.is_none() {
            return match condition {
                Condition::Is(_) => Err(ObjectError::Conflict { key: key.to_owned() }),
                Condition::Always | Condition::Absent => Ok(()),
            };
        }
        let name = key.to_owned();
        self.exclusively(key, move |root| {
            let path = root.join(&name);
            require(&name, &path, &condition)?;
            remove(root, &path).map_err(|error| failure(&name, &error))
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, ObjectError> {
        let folder = folder_of(prefix)?;
        let (path, name) = (self.root.join(&folder), folder.clone());
        blocking(&folder, move || {
            let mut keys = Vec::new();
            collect(&path, &name, &mut keys).map_err(|error| failure(&name, &error))?;
            keys.sort();
            Ok(keys)
        })
        .await
    }

    async fn history(&self, key: &str, limit: usize) -> Result<Vec<Object>, ObjectError> {
        check_key(key)?;
        let path = self.root.join(key);
        if limit == 0 || !is_kept(&path) {
            return Ok(Vec::new());
        }
        let (path, name) = (path.with_file_name(PREVIOUS), key.to_owned());
        blocking(key, move || Ok(read(&path).map_err(|error| failure(&name, &error))?.into_iter().collect())).await
    }

    async fn keeps_history(&self) -> Option<bool> {
        Some(true)
    }

    /// The file system's clock, which is the server's where the folder is mounted from one: the time stamp of a file that is
    /// made and removed. This machine's clock where nothing can be written.
    async fn now(&self) -> Result<Timestamp, ObjectError> {
        let root = self.root.clone();
        let stamp = blocking("", move || {
            let file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(root).ok();
            Ok(file.and_then(|file| file.as_file().metadata().ok()?.modified().ok()))
        })
        .await?;
        Ok(stamp.and_then(|stamp| Timestamp::try_from(stamp).ok()).unwrap_or_else(|| self.clock.now()))
    }

    fn location(&self) -> String {
        format!("file://{}", self.root.display())
    }
}

async fn blocking<T, F>(key: &str, work: F) -> Result<T, ObjectError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, ObjectError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(ObjectError::Ambiguous { key: key.to_owned(), message: format!("interrupted: {error}") }),
    }
}

fn version_of(bytes: &[u8]) -> Version {
    Version(crate::digest::sha256(bytes))
}

fn read(path: &Path) -> io::Result<Option<Object>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    // Time stamp and content are of one file, even when another one takes its name meanwhile.
    let about = file.metadata()?;
    if !about.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let modified = Timestamp::try_from(about.modified()?).map_err(io::Error::other)?;
    Ok(Some(Object { version: version_of(&bytes), bytes, modified }))
}

fn require(key: &str, path: &Path, condition: &Condition) -> Result<(), ObjectError> {
    if *condition == Condition::Always {
        return Ok(());
    }
    let there = read(path).map_err(|error| failure(key, &error))?.map(|object| object.version);
    let holds = match condition {
        Condition::Always => true,
        Condition::Absent => there.is_none(),
        Condition::Is(version) => there.as_ref() == Some(version),
    };
    if holds { Ok(()) } else { Err(ObjectError::Conflict { key: key.to_owned() }) }
}

fn replace(root: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(root);
    make_folders(root, folder)?;
    drop_leftovers(folder);
    let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder)?;
    file.as_file().set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    if is_kept(path)
        && let Err(error) = keep(folder, path)
    {
        // What is recorded now counts for more than what was recorded before.
        tracing::warn!(%error, path = %path.display(), "the state that is replaced cannot be kept");
    }
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn is_kept(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == KEPT)
}

/// Gives the file that is about to be replaced a second name. A crash right after it leaves one file with both.
fn keep(folder: &Path, path: &Path) -> io::Result<()> {
    let spare = folder.join(format!("{TEMPORARY}{PREVIOUS}"));
    match fs::hard_link(path, &spare) {
        Ok(()) => {
            let renamed = fs::rename(&spare, path.with_file_name(PREVIOUS));
            // Where both are one file already, rename does nothing and leaves the spare name.
            let _ = fs::remove_file(&spare);
            renamed
        }
        Err(error) if absent(&error) => Ok(()),
        // A file system without second names.
        Err(_) => {
            let mut copy = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder)?;
            copy.as_file().set_permissions(Permissions::from_mode(0o600))?;
            copy.write_all(&fs::read(path)?)?;
            copy.as_file().sync_all()?;
            copy.persist(path.with_file_name(PREVIOUS)).map_err(|error| error.error)?;
            Ok(())
        }
    }
}

/// Only with the lock held: then a temporary file belongs to a writer that was killed. It may hold a secret.
fn drop_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            // What cannot be removed is ignored by every reader.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn remove(root: &Path, path: &Path) -> io::Result<()> {
    if is_kept(path) {
        match fs::remove_file(path.with_file_name(PREVIOUS)) {
            Err(error) if !absent(&error) => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if absent(&error) => return Ok(()),
        Err(error) => return Err(error),
    }
    let mut folder = path.parent().unwrap_or(root);
    sync_folder(folder)?;
    // Folders that are empty now; one that is not refuses.
    while folder != root && folder.starts_with(root) && fs::remove_dir(folder).is_ok() {
        folder = folder.parent().unwrap_or(root);
    }
    Ok(())
}

fn make_folders(root: &Path, folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        make_folders(root, parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        // The umask may have taken bits away.
        Ok(()) => fs::set_permissions(folder, Permissions::from_mode(0o700))?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    if folder.starts_with(root)
        && let Some(parent) = folder.parent()
    {
        sync_folder(parent)?;
    }
    Ok(())
}

fn open_lock(root: &Path) -> io::Result<File> {
    make_folders(root, root)?;
    let path = root.join(LOCK_FILE);
    let made = File::options().write(true).create_new(true).mode(0o600).open(&path);
    match made {
        Ok(file) => {
            file.set_permissions(Permissions::from_mode(0o600))?;
            Ok(file)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => File::options().write(true).open(&path),
        Err(error) => Err(error),
    }
}

/// Says who holds the lock, for those who wait in vain. Nothing hangs on it, so that a full disk is no reason to fail.
fn sign(lock: &File) {
    let pid = std::process::id().to_string();
    let _ = lock.write_at(pid.as_bytes(), 0).and_then(|_| lock.set_len(pid.len() as u64));
}

fn signed(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.parse().ok()
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn collect(folder: &Path, prefix: &str, keys: &mut Vec<String>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if absent(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        // Whatever cannot be a key is none of ours: lock file, temporary files, an editor's copies.
        let Some(name) = name.to_str().filter(|name| is_part(name) && *name != PREVIOUS) else { continue };
        let kind = match entry.file_type() {
            Ok(kind) => kind,
            Err(error) if absent(&error) => continue,
            Err(error) => return Err(error),
        };
        if kind.is_dir() {
            collect(&entry.path(), &format!("{prefix}{name}/"), keys)?;
        } else if kind.is_file() {
            keys.push(format!("{prefix}{name}"));
        }
    }
    Ok(())
}

fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory)
}

fn failure(key: &str, error: &io::Error) -> ObjectError {
    let key = key.to_owned();
    match error.kind() {
        ErrorKind::PermissionDenied => ObjectError::Denied { key, message: format!("no permission ({error})") },
        ErrorKind::ReadOnlyFilesystem => ObjectError::Denied { key, message: format!("read-only ({error})") },
        ErrorKind::StorageFull => ObjectError::Failed { key, message: format!("disk full ({error})") },
        ErrorKind::QuotaExceeded => ObjectError::Failed { key, message: format!("disk quota used up ({error})") },
        _ => ObjectError::Failed { key, message: error.to_string() },
    }
}
