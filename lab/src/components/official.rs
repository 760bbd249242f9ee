//! Programs as their projects released them: fetched from the release server, checked against the checksum beside them,
//! and kept by version. Authenticity is that of https; signatures of the projects are not checked.

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use url::{Host, Url};

use super::releases::{self, File, Project};
use crate::state::{Lab, start_time};
use crate::{digest, run};

/// How long which part of a download may take.
pub struct Patience {
    /// Until there is a connection: all that a machine without a way out waits for.
    pub connect: Duration,
    /// For a file of checksums.
    pub answer: Duration,
    /// Without a byte worth mentioning.
    pub stall: Duration,
    /// For a file as a whole.
    pub file: Duration,
}

const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(3),
    answer: Duration::from_secs(10),
    stall: Duration::from_secs(30),
    file: Duration::from_secs(1800),
};

/// The release servers, or the mirror in their place, and what this command knows of them by now.
pub struct Servers {
    mirror: Option<Url>,
    patience: Patience,
    /// Those that have answered.
    answered: RefCell<Vec<String>>,
    lost: RefCell<Option<String>>,
    told: Cell<bool>,
}

/// What became of asking for programs.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Taken,
    /// No server could be reached; why, with its name.
    Unreachable(String),
}

/// Reads what `--mirror` says.
pub fn mirror(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err("a mirror begins with https:// or http://".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a mirror's URL is printed and kept in logs: it has no user and no password in it".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("a mirror's URL ends with a path: files are named below it".into());
    }
    Ok(url)
}

fn folder(lab: &Lab, project: &Project, version: &str) -> PathBuf {
    lab.cache().join("official").join(project.name.to_lowercase()).join(version)
}

pub fn path(lab: &Lab, project: &Project, version: &str, program: &str) -> PathBuf {
    folder(lab, project, version).join(program)
}

/// The checksum that a program in the cache was verified with, and the file that it is of.
pub fn sum(lab: &Lab, project: &Project, version: &str, program: &str) -> Result<String> {
    let file = folder(lab, project, version).join(format!("{program}.sha256"));
    fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
}

/// Whether all of these are in the cache; nothing gets there before it is verified.
pub fn has(lab: &Lab, project: &Project, version: &str, wanted: &[&str]) -> bool {
    wanted.iter().all(|program| path(lab, project, version, program).exists())
}

impl Servers {
    pub fn new(mirror: Option<Url>) -> Self {
        Self::with(mirror, PATIENCE)
    }

    pub fn with(mirror: Option<Url>, patience: Patience) -> Self {
        Self { mirror, patience, answered: RefCell::default(), lost: RefCell::default(), told: Cell::new(false) }
    }

    /// Fetches what is wanted of a release and is not in the cache. A server that cannot be reached is asked once in
    /// a command's life, and no other after it; one that has answered has to go on answering.
    pub fn take(&self, lab: &Lab, project: &Project, version: &str, wanted: &[&str]) -> Result<Outcome> {
        let lacking: Vec<&str> = wanted.iter().copied().filter(|name| !path(lab, project, version, name).exists()).collect();
        let files = project.files(version, &lacking);
        if lacking.is_empty() {
            return Ok(Outcome::Taken);
        }
        if let Some(why) = &*self.lost.borrow() {
            return Ok(Outcome::Unreachable(why.clone()));
        }
        let base = self.base(project);
        let folder = folder(lab, project, version);
        remove_leftovers(&folder);
        let part = Part::new(&folder)?;
        for (number, file) in files.iter().enumerate() {
            let list = match self.list(&base, file, &part)? {
                Ok(list) => list,
                Err(why) => {
                    self.lost.replace(Some(why.clone()));
                    return Ok(Outcome::Unreachable(why));
                }
            };
            if number == 0 {
                let count = if files.len() == 1 { "1 file".to_owned() } else { format!("{} files", files.len()) };
                eprintln!("fetching {project} {version}, {count}, from {base} into {}", folder.display(), project = project.name);
            }
            let start = Instant::now();
            let name = file.name();
            let label = if name.contains(version) { name.to_owned() } else { format!("{name} {version}") };
            eprint!("  {} of {}: {label} ... ", number + 1, files.len());
            let done = self.file(&base, file, &list, &part, version, &folder);
            eprintln!("{}", if done.is_ok() { format!("{:.1} s", start.elapsed().as_secs_f64()) } else { "failed".into() });
            done?;
        }
        Ok(Outcome::Taken)
    }

    /// One line, once, for whatever is built because no server was there.
    pub fn tell_fallback(&self) {
        if let Some(why) = &*self.lost.borrow()
            && !self.told.replace(true)
        {
            eprintln!("official releases cannot be had here, so programs are built from source: {why}");
        }
    }

    /// Whether a server was asked for anything, with or without success.
    #[cfg(test)]
    pub fn was_asked(&self) -> bool {
        !self.answered.borrow().is_empty() || self.lost.borrow().is_some()
    }

    fn base(&self, project: &Project) -> String {
        let mirror = self.mirror.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned());
        mirror.unwrap_or_else(|| project.server.to_owned())
    }

    /// The checksum of a file, or why the server cannot be reached.
    fn list(&self, base: &str, file: &File, part: &Part) -> Result<Result<String, String>> {
        let (url, to) = (format!("{base}/{}", file.sums), part.0.join("sums"));
        let known = self.answered.borrow().iter().any(|name| name == base);
        match self.get(&url, &to, self.patience.answer)? {
            Ok(()) => {}
            Err(Failure::Status(404)) => bail!(self.absent(&url)),
            Err(failure) if !known => return Ok(Err(format!("{url}: {}", failure.words()))),
            Err(failure) => bail!(interrupted(&url, &failure)),
        }
        if !known {
            self.answered.borrow_mut().push(base.to_owned());
        }
        let text = String::from_utf8_lossy(&fs::read(&to)?).into_owned();
        let first: String = text.lines().next().unwrap_or_default().chars().take(80).collect();
        let sum = file.sum_in(&text);
        Ok(Ok(sum.with_context(|| format!("{url} has no SHA-256 of {}; it begins with {first:?}", file.name()))?))
    }

    /// Fetches one file, verifies it, and puts its programs into the cache.
    fn file(&self, base: &str, file: &File, expected: &str, part: &Part, version: &str, folder: &Path) -> Result<()> {
        let (url, to) = (format!("{base}/{}", file.path), part.0.join("file"));
        match self.get(&url, &to, self.patience.file)? {
            Ok(()) => {}
            Err(Failure::Status(404)) => bail!(self.absent(&url)),
            Err(failure) => bail!(interrupted(&url, &failure)),
        }
        let found = digest::of_file(&to)?;
        ensure!(
            found == expected,
            "{url} is not the file that its release has:\n  expected SHA-256 {expected} ({base}/{})\n  found    SHA-256 {found}\n\
             Nothing of it is kept. Type the same command again; if the checksum is wrong again, the server or what is \
             between it and this machine gives out another file",
            file.sums
        );
        let unpacked = part.0.join("unpacked");
        if file.programs.iter().any(|member| member.inside.is_some()) {
            fs::create_dir_all(&unpacked)?;
            let words = [&to, &unpacked].map(|path| path.to_string_lossy().into_owned());
            run::output("tar", &["--extract", "--gzip", "--no-same-owner", "--file", &words[0], "--directory", &words[1]])
                .with_context(|| format!("unpacking {url}"))?;
        }
        for member in &file.programs {
            let program = member.inside.as_ref().map_or_else(|| to.clone(), |inside| unpacked.join(inside));
            ensure!(program.is_file(), "{url} has no {}", member.inside.as_deref().unwrap_or(member.program));
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
            let said = run::output(&program.to_string_lossy(), releases::asked(member.program))
                .with_context(|| format!("asking {} of {url} for its version", member.program))?;
            let line = said.lines().next().unwrap_or_default();
            ensure!(releases::names(&said, version), "{url}: {} is not {version}, it says {line:?}", member.program);
            fs::write(folder.join(format!("{}.sha256", member.program)), format!("{expected}  {}\n", file.name()))?;
            // last: what stands under this name is whole and verified
            fs::rename(&program, folder.join(member.program))?;
        }
        Ok(())
    }

    fn absent(&self, url: &str) -> String {
        let hint = if self.mirror.is_some() {
            "leave out --mirror (KUBEWRIGHT_LAB_MIRROR), or put the file there"
        } else {
            "ask for another version"
        };
        format!("{url}: not found (404); {hint}")
    }

    /// One request. What curl says of a connection is told apart from what a server answers.
    fn get(&self, url: &str, to: &Path, limit: Duration) -> Result<Result<(), Failure>> {
        let seconds = |duration: Duration| format!("{:.1}", duration.as_secs_f64());
        let mut command = Command::new("curl");
        // --disable first: settings of the user's own could switch off the check of certificates
        command
            .args(["--disable", "--silent", "--show-error", "--fail", "--location", "--max-redirs", "5", "--globoff"])
            .args(["--proto", if url.starts_with("http:") { "=http,https" } else { "=https" }])
            .args(["--connect-timeout", &seconds(self.patience.connect), "--max-time", &seconds(limit)])
            .args(["--speed-limit", "1000", "--speed-time", &self.patience.stall.as_secs().max(1).to_string()])
            .args(["--write-out", "%{http_code}", "--output"])
            .arg(to);
        if self.mirror.as_ref().is_some_and(is_loopback) {
            command.args(["--noproxy", "*"]); // a proxy would ask its own machine
        }
        let done = match command.args(["--url", url]).output() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Err(Failure::Connection("there is no curl in PATH".into())));
            }
            done => done.context("starting curl")?,
        };
        if done.status.success() {
            return Ok(Ok(()));
        }
        let code: u16 = String::from_utf8_lossy(&done.stdout).trim().parse().unwrap_or(0);
        if code >= 400 {
            return Ok(Err(Failure::Status(code)));
        }
        let words = String::from_utf8_lossy(&done.stderr).lines().next().unwrap_or_default().to_owned();
        let words = words.strip_prefix("curl: ").unwrap_or(&words);
        let words = words.split_once(") ").map_or(words, |(_, words)| words);
        Ok(Err(Failure::Connection(words.to_owned())))
    }
}

enum Failure {
    /// There was none, or it ended too early.
    Connection(String),
    Status(u16),
}

impl Failure {
    fn words(&self) -> String {
        match self {
            Self::Connection(words) => words.clone(),
            Self::Status(code) => format!("the server answers {code}"),
        }
    }
}

fn interrupted(url: &str, failure: &Failure) -> String {
    format!("{url}: {}; files that came whole are kept: type the same command again to go on with the others", failure.words())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// A folder beside the programs for what is not whole yet; it goes with the download, however that ends.
struct Part(PathBuf);

impl Part {
    fn new(folder: &Path) -> Result<Self> {
        let path = folder.join(format!("{}.part", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
        // only when empty: a version that does not exist leaves no folder
        if let Some(folder) = self.0.parent() {
            fs::remove_dir(folder).ok();
        }
    }
}

/// What processes that were killed left.
fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_suffix(".part").and_then(|pid| pid.parse().ok());
        if owner.is_some_and(|pid| start_time(pid).is_none()) {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

#[cfg(test)]
mod tests;
