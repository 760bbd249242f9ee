//! Downloads from a server of the tests' own on loopback, each file of each release gone wrong in each way.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::super::of;
use super::super::releases::{COREDNS, CRICTL, ETCD, KUBERNETES, Member};
use super::*;

const VERSION: &str = "9.8.7";
const PROJECTS: [&Project; 4] = [&KUBERNETES, &ETCD, &COREDNS, &CRICTL];

#[derive(Clone)]
enum Reply {
    Whole(Vec<u8>),
    /// Half of it, though its length was said.
    Cut(Vec<u8>),
    /// Half of it, and nobody said how long it is.
    CutUnsaid(Vec<u8>),
    Status(u16),
    Silence,
}

/// A release server that forgets nothing it was asked.
struct Server {
    url: Url,
    replies: Arc<Mutex<BTreeMap<String, Reply>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(replies: BTreeMap<String, Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = mirror(&format!("http://{}/below/", listener.local_addr().unwrap())).unwrap();
        let (replies, asked) = (Arc::new(Mutex::new(replies)), Arc::new(Mutex::new(Vec::new())));
        let server = Self { url, replies: replies.clone(), asked: asked.clone() };
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (replies, asked) = (replies.clone(), asked.clone());
                std::thread::spawn(move || serve(stream, &replies, &asked));
            }
        });
        server
    }

    fn set(&self, path: &str, reply: Reply) {
        self.replies.lock().unwrap().insert(path.to_owned(), reply);
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn client(&self) -> Servers {
        servers(self.url.as_str())
    }
}

fn serve(mut stream: TcpStream, replies: &Mutex<BTreeMap<String, Reply>>, asked: &Mutex<Vec<String>>) {
    let lines: Vec<String> = BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let path = lines[0].split(' ').nth(1).unwrap().trim_start_matches("/below/").to_owned();
    asked.lock().unwrap().push(path.clone());
    let reply = replies.lock().unwrap().get(&path).cloned().unwrap_or(Reply::Status(404));
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n").into_bytes();
    let answer = match reply {
        Reply::Whole(bytes) => [head(bytes.len()), bytes].concat(),
        Reply::Cut(bytes) => [head(bytes.len()), bytes[..bytes.len() / 2].to_vec()].concat(),
        Reply::CutUnsaid(bytes) => [b"HTTP/1.0 200 OK\r\n\r\n".to_vec(), bytes[..bytes.len() / 2].to_vec()].concat(),
        Reply::Status(code) => format!("HTTP/1.1 {code} No\r\nContent-Length: 5\r\nConnection: close\r\n\r\nsorry").into_bytes(),
        Reply::Silence => return std::thread::sleep(Duration::from_secs(60)),
    };
    stream.write_all(&answer).ok(); // whoever has seen enough hangs up
}

fn servers(url: &str) -> Servers {
    let patience = Patience {
        connect: Duration::from_secs(5),
        answer: Duration::from_secs(1),
        stall: Duration::from_secs(1),
        file: Duration::from_secs(60),
    };
    Servers::with(Some(mirror(url).unwrap()), patience)
}

/// A lab's folder, which goes with the test.
struct Rig(Lab);

impl Rig {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("kubewright-official-{name}-{}", std::process::id()));
        fs::remove_dir_all(&dir).ok();
        fs::create_dir_all(&dir).unwrap();
        Self(Lab { dir })
    }

    /// Every file of the cache, below it.
    fn cached(&self) -> Vec<String> {
        let listing = run::output("find", &[&self.0.dir.to_string_lossy(), "-type", "f", "-path", "*/official/*"]).unwrap();
        let mut names: Vec<String> = listing.lines().map(|line| line.rsplit("/official/").next().unwrap().to_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0.dir).ok();
    }
}

/// A release of each project, of programs that know nothing but their version.
fn released(rig: &Rig, version: &str) -> BTreeMap<String, Reply> {
    let mut replies = BTreeMap::new();
    for project in PROJECTS {
        let files = project.files(VERSION, project.programs);
        for file in &files {
            let images = format!("registry/etcd:{VERSION}-0 registry/coredns/coredns:v{VERSION}");
            let script = |program: &str| {
                format!("#!/bin/sh\nif [ \"$1\" = config ]; then printf '%s\\n' {images}; else echo {program} v{version}; fi\n")
            };
            let bytes = if let [Member { program, inside: None }] = &file.programs[..] {
                script(program).into_bytes()
            } else {
                let folder = rig.0.dir.join(format!("made-{}-{version}", project.name));
                for member in &file.programs {
                    let path = folder.join(member.inside.as_ref().unwrap());
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path, script(member.program)).unwrap();
                }
                let archive = rig.0.dir.join(file.name()).to_string_lossy().into_owned();
                run::output("tar", &["-czf", &archive, "-C", &folder.to_string_lossy(), "."]).unwrap();
                fs::read(archive).unwrap()
            };
            let sum = digest::of(&bytes);
            replies.insert(file.path.clone(), Reply::Whole(bytes));
            replies.insert(file.sums.clone(), Reply::Whole(format!("{sum}  {}\n", file.name()).into_bytes()));
        }
    }
    replies
}

fn bytes(server: &Server, path: &str) -> Vec<u8> {
    match &server.replies.lock().unwrap()[path] {
        Reply::Whole(bytes) => bytes.clone(),
        _ => panic!("{path} is not whole"),
    }
}

/// Every file of every release.
fn files() -> impl Iterator<Item = (&'static Project, File)> {
    PROJECTS.into_iter().flat_map(|project| project.files(VERSION, project.programs).into_iter().map(move |file| (project, file)))
}

fn take(rig: &Rig, client: &Servers, project: &'static Project) -> Result<Outcome> {
    client.take(&rig.0, project, VERSION, project.programs)
}

/// With these replies in place of a file's own: an error with these words that names the first, nothing of the file in
/// the cache, and once it is whole the same command goes on with what is missing.
fn breaks(rig: &Rig, server: &Server, project: &'static Project, file: &File, broken: &[(&str, Reply)], words: &[String]) {
    let whole: Vec<_> = broken.iter().map(|(path, _)| (*path, bytes(server, path))).collect();
    broken.iter().for_each(|(path, reply)| server.set(path, reply.clone()));
    let error = format!("{:#}", take(rig, &server.client(), project).unwrap_err());
    whole.into_iter().for_each(|(path, bytes)| server.set(path, Reply::Whole(bytes)));
    for word in [&format!("{}{}", server.url, broken[0].0)].into_iter().chain(words) {
        assert!(error.contains(word), "{word} is not in: {error}");
    }
    let cached = rig.cached();
    for member in &file.programs {
        assert!(!has(&rig.0, project, VERSION, &[member.program]), "{} is in the cache: {cached:?}", member.program);
    }
    assert!(cached.iter().all(|name| !name.contains(".part")), "{cached:?}");

    let before = server.asked();
    assert_eq!(take(rig, &server.client(), project).unwrap(), Outcome::Taken);
    let asked = server.asked.lock().unwrap()[before..].to_vec();
    assert!(has(&rig.0, project, VERSION, project.programs));
    let position = |program| project.programs.iter().position(|name| *name == program).unwrap();
    let first = position(file.programs[0].program);
    let earlier = project.files(VERSION, &project.programs[..if file.programs[0].inside.is_some() { 0 } else { first }]);
    for kept in earlier.iter().filter(|kept| kept.path != file.path) {
        assert!(!asked.contains(&kept.path), "{} was whole and is fetched again", kept.path);
    }
    fs::remove_dir_all(rig.0.cache()).unwrap();
}

#[test]
fn programs_come_from_a_release_and_stay() {
    let rig = Rig::new("good");
    let server = Server::start(released(&rig, VERSION));
    for project in PROJECTS {
        assert_eq!(take(&rig, &server.client(), project).unwrap(), Outcome::Taken);
        for program in project.programs {
            let path = path(&rig.0, project, VERSION, program);
            assert_eq!(run::output(&path.to_string_lossy(), &[]).unwrap(), format!("{program} v{VERSION}\n"));
            let file = project.files(VERSION, &[program]).remove(0);
            let of = digest::of(&bytes(&server, &file.path));
            assert_eq!(sum(&rig.0, project, VERSION, program).unwrap(), format!("{of}  {}\n", file.name()));
        }
    }
    let programs: usize = PROJECTS.iter().map(|project| project.programs.len()).sum();
    assert_eq!(rig.cached().len(), 2 * programs, "a program and its checksum each: {:?}", rig.cached());
    let asked = server.asked();
    assert_eq!(asked, 2 * files().count(), "a file and its checksum each");
    for project in PROJECTS {
        assert_eq!(take(&rig, &server.client(), project).unwrap(), Outcome::Taken);
    }
    assert_eq!(server.asked(), asked, "what is in the cache is not asked for");
}

#[test]
fn a_version_without_a_module_comes_whole() {
    let rig = Rig::new("whole");
    let server = Server::start(released(&rig, VERSION));
    // of the others, flannel would be built and crictl has a version of its own
    let only = [&KUBERNETES, &ETCD, &COREDNS].into_iter().flat_map(|project| project.programs);
    let only: Vec<String> = only.map(|program| (*program).to_owned()).collect();
    let components = of(&rig.0, &server.client(), VERSION, &only).unwrap();
    for program in &only {
        assert_eq!(components.programs.version(program).unwrap(), VERSION, "{program}");
        assert!(components.programs.path(program).unwrap().starts_with(rig.0.cache().join("official")), "{program}");
    }
    let sums = components.keys.concat();
    for (_, file) in files().filter(|(project, _)| project.name != CRICTL.name) {
        assert!(sums.contains(&digest::of(&bytes(&server, &file.path))), "other bytes of {} are another key", file.name());
    }
    let part = of(&rig.0, &server.client(), VERSION, &["etcd".to_owned()]).unwrap();
    assert_eq!(part.programs.version("etcd").unwrap(), VERSION, "kubeadm was asked, though nobody wants it");
}

#[test]
fn a_wrong_checksum_is_refused_for_every_file() {
    let rig = Rig::new("checksum");
    let server = Server::start(released(&rig, VERSION));
    for (project, file) in files() {
        let mut other = bytes(&server, &file.path);
        *other.last_mut().unwrap() ^= 1;
        let sums = [&bytes(&server, &file.path), &other].map(|bytes| digest::of(bytes));
        let words = [format!("expected SHA-256 {}", sums[0]), format!("found    SHA-256 {}", sums[1])];
        breaks(&rig, &server, project, &file, &[(&file.path, Reply::Whole(other))], &words);
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let rig = Rig::new("absent");
    let server = Server::start(released(&rig, VERSION));
    for (project, file) in files() {
        for path in [&file.path, &file.sums] {
            breaks(&rig, &server, project, &file, &[(path, Reply::Status(404))], &["404".into(), "--mirror".into()]);
        }
    }
}

#[test]
fn a_list_without_the_file_is_refused() {
    let rig = Rig::new("list");
    let server = Server::start(released(&rig, VERSION));
    for (project, file) in files() {
        let page = Reply::Whole(b"<!DOCTYPE html>\nplease log in\n".to_vec());
        breaks(&rig, &server, project, &file, &[(&file.sums, page)], &[file.name().to_owned(), "<!DOCTYPE html>".into()]);
    }
}

#[test]
fn a_connection_that_is_cut_leaves_nothing() {
    let rig = Rig::new("cut");
    let server = Server::start(released(&rig, VERSION));
    for (project, file) in files() {
        let whole = bytes(&server, &file.path);
        let kept = ["files that came whole are kept".to_owned()];
        breaks(&rig, &server, project, &file, &[(&file.path, Reply::Cut(whole.clone()))], &kept);
        breaks(&rig, &server, project, &file, &[(&file.path, Reply::CutUnsaid(whole))], &[]);
        breaks(&rig, &server, project, &file, &[(&file.path, Reply::Status(503))], &["503".into()]);
    }
    // one of the first file and one of an archive: each waits for a second
    for (project, file) in
        [(&KUBERNETES, &KUBERNETES.files(VERSION, KUBERNETES.programs)[0]), (&ETCD, &ETCD.files(VERSION, &["etcd"])[0])]
    {
        breaks(&rig, &server, project, file, &[(&file.path, Reply::Silence)], &["kept".into()]);
    }
}

#[test]
fn a_program_of_another_version_is_refused() {
    let rig = Rig::new("version");
    let (server, other) = (Server::start(released(&rig, VERSION)), released(&rig, "9.8.70"));
    for (project, file) in files() {
        // with its own checksum, as a mirror has it whose files lie in the wrong folder
        let broken = [&file.path, &file.sums].map(|path| (path.as_str(), other[path].clone()));
        breaks(&rig, &server, project, &file, &broken, &["9.8.70".into()]);
    }
}

#[test]
fn a_server_that_cannot_be_reached_is_asked_once() {
    let rig = Rig::new("unreachable");
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for url in [closed.as_str(), "https://no-such-host.invalid", "https://127.0.0.1:1"] {
        let client = servers(url);
        let outcomes: Vec<Outcome> = PROJECTS.iter().map(|project| take(&rig, &client, project).unwrap()).collect();
        let Outcome::Unreachable(why) = &outcomes[0] else { panic!("{url}: {outcomes:?}") };
        assert!(why.starts_with(url), "{why}");
        assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{outcomes:?}");
    }
    for reply in [Reply::Silence, Reply::Status(503), Reply::Cut(vec![b'a'; 64])] {
        let first = &KUBERNETES.files(VERSION, KUBERNETES.programs)[0];
        let server = Server::start(BTreeMap::from([(first.sums.clone(), reply)]));
        let client = server.client();
        for project in PROJECTS {
            assert!(matches!(take(&rig, &client, project).unwrap(), Outcome::Unreachable(_)));
        }
        assert_eq!(server.asked(), 1);
    }
    assert_eq!(rig.cached(), Vec::<String>::new());
    assert!(!folder(&rig.0, &KUBERNETES, VERSION).exists());
}

#[test]
fn what_a_killed_process_left_goes() {
    let rig = Rig::new("leftovers");
    let server = Server::start(released(&rig, VERSION));
    let folder = folder(&rig.0, &CRICTL, VERSION);
    // no process has the first number; this one has the second
    let (dead, alive) = (folder.join(format!("{}.part", u32::MAX)), folder.join("1.part"));
    for part in [&dead, &alive] {
        fs::create_dir_all(part).unwrap();
        fs::write(part.join("file"), "half").unwrap();
    }
    assert_eq!(take(&rig, &server.client(), &CRICTL).unwrap(), Outcome::Taken);
    assert!(!dead.exists() && alive.exists(), "{:?}", rig.cached());
}

#[test]
fn a_mirror_is_a_plain_address() {
    for good in ["https://mirror.example.com", "http://127.0.0.1:8000/below/"] {
        assert!(mirror(good).is_ok(), "{good}");
    }
    for bad in ["", "mirror.example.com", "ftp://a/", "file:///srv", "https://me:secret@a/", "https://a/?b", "https://a/#b"] {
        let error = mirror(bad).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }
}
