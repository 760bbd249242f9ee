//! Somebody who asks ten times a second, in a process of its own, while something is done to the cluster.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cluster::Cluster;
use crate::machine::Machine;

/// Each question looks the name up and makes a connection of its own. The next address is tried where one takes no connection, as kubectl
/// does; `other` is one that kubectl would have reported as failed, since the address that took it did not answer well, though a later one did.
const PROBE: &str = r#"
import base64, http.client, json, os, socket, ssl, sys, time, urllib.parse
url, log = urllib.parse.urlsplit(sys.argv[1]), open(sys.argv[2], "w", buffering=1)
context = None
if url.scheme == "https":
    config = json.load(open(sys.argv[3]))
    text = lambda part, key: base64.b64decode(part[key]).decode()
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cadata=text(cluster, "certificate-authority-data"))
    pair = sys.argv[3] + ".pem"
    with open(os.open(pair, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(text(user, "client-certificate-data") + text(user, "client-key-data"))
    context.load_cert_chain(pair)
port = url.port or (443 if context else 80)

def get(taken):
    with taken:
        plain = context.wrap_socket(taken, server_hostname=url.hostname) if context else taken
        connection = http.client.HTTPConnection(url.hostname, port)
        connection.sock = plain
        connection.request("GET", url.path or "/")
        answer = connection.getresponse()
        answer.read()
        plain.close()
        if answer.status != 200:
            raise OSError(f"status {answer.status}")

def ask():
    word, why = "yes", "no address"
    try:
        found = socket.getaddrinfo(url.hostname, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return "no", f"name: {error}"
    for *_, address in found:
        try:
            taken = socket.create_connection(address[:2], timeout=2)
        except OSError as error:
            why = f"{address[0]}: {error}"
            continue
        try:
            get(taken)
            return word, why if word == "other" else ""
        except (OSError, http.client.HTTPException) as error:
            word, why = "other", f"{address[0]}: {error}"
    return "no", why

while True:
    begun = time.time()
    word, why = ask()
    print(f"{begun:.3f} {time.time():.3f} {word} {why}", file=log)
    time.sleep(max(0, begun + 0.1 - time.time()))
"#;

pub struct Probe {
    pub what: &'static str,
    child: Child,
    log: PathBuf,
}

/// One question, times in seconds since 1970.
pub struct Asked {
    pub begun: f64,
    pub ended: f64,
    /// Somebody answered.
    pub answered: bool,
    /// The first one who took the connection did.
    pub at_once: bool,
    pub why: String,
}

pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs_f64()
}

impl Probe {
    /// Reads an object through the API's public name; the API server has to ask etcd for it.
    pub fn api(cluster: &Cluster<'_>) -> Self {
        cluster.kubeconfig();
        let config = cluster.folder.path().join("probe.json");
        let text = cluster.kubectl(&["config", "view", "--raw", "-o", "json"]);
        fs::write(&config, text).expect("a kubeconfig");
        let server = cluster.kubectl(&["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"]);
        let log = cluster.folder.path().join("probe-api.log");
        let mut command = cluster.lab.command(&["exec", "--", "python3", "-c", PROBE]);
        command.arg(format!("{server}/api/v1/namespaces/default")).arg(&log).arg(config);
        Self::start("the API", command, log)
    }

    /// Asks a service by its address in the cluster, from a machine's own network: through that machine's kube-proxy.
    pub fn service(cluster: &Cluster<'_>, from: &Machine, name: &str) -> Self {
        let address = cluster.kubectl(&["get", "service", name, "-o", "jsonpath={.spec.clusterIP}"]);
        let log = cluster.folder.path().join("probe-service.log");
        let mut command = Command::new("nsenter");
        command.args(["-t", &from.first_process(), "-n", "--", "python3", "-c", PROBE]);
        command.arg(format!("http://{address}/")).arg(&log);
        Self::start("the service", command, log)
    }

    fn start(what: &'static str, mut command: Command, log: PathBuf) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("python3");
        Self { what, child, log }
    }

    /// All questions that have ended.
    pub fn asked(&self) -> Vec<Asked> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let read = |line: &str| {
            let mut words = line.splitn(4, ' ');
            let (begun, ended) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let word = words.next()?;
            let why = words.next().unwrap_or_default().to_owned();
            Some(Asked { begun, ended, answered: word != "no", at_once: word == "yes", why })
        };
        whole.lines().map(|line| read(line).unwrap_or_else(|| panic!("{}: {line}", self.what))).collect()
    }

    /// Whether a question was answered that began and ended between two moments.
    pub fn answered_between(&self, from: f64, to: f64) -> bool {
        self.between(from, to).iter().any(|asked| asked.answered)
    }

    fn between(&self, from: f64, to: f64) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.begun >= from && asked.ended <= to).collect()
    }

    /// Questions from one moment to another, and how many of them kubectl would have reported as failed.
    fn counts(&self, from: f64, to: f64) -> (usize, usize) {
        let all = self.between(from, to);
        (all.len(), all.iter().filter(|asked| !asked.at_once).count())
    }

    /// What it was like from one moment to another, in one line.
    pub fn figures(&self, from: f64, to: f64) -> String {
        let all = self.between(from, to);
        let refused = all.iter().filter(|asked| !asked.at_once).count();
        let nobody = all.iter().filter(|asked| !asked.answered).count();
        let mut gap = (0.0, from);
        let mut last = from;
        for asked in all.iter().filter(|asked| asked.at_once) {
            if asked.ended - last > gap.0 {
                gap = (asked.ended - last, last);
            }
            last = asked.ended;
        }
        format!(
            "{}: {} questions in {:.0} s, {refused} failed, {nobody} of them at every address, longest time without an answer {:.1} s",
            self.what,
            all.len(),
            to - from,
            gap.0
        )
    }

    /// Failures in their own words, how often each, since a moment.
    fn failures(&self, from: f64) -> Vec<String> {
        let mut found: Vec<(String, usize)> = vec![];
        for asked in self.asked().into_iter().filter(|asked| asked.begun >= from && !asked.at_once) {
            let why = format!("{}{}", if asked.answered { "" } else { "nobody: " }, asked.why);
            match found.iter_mut().find(|(known, _)| *known == why) {
                Some((_, count)) => *count += 1,
                None => found.push((why, 1)),
            }
        }
        found.into_iter().map(|(why, count)| format!("{count} x {why}")).collect()
    }
}

/// Prints what several saw from one moment to another; more than one failed question in a hundred is too many.
pub fn assert_few_failed(probes: &[&Probe], from: f64, to: f64) {
    for probe in probes {
        println!("    {}", probe.figures(from, to));
        probe.failures(from).iter().for_each(|line| println!("        {line}"));
    }
    for probe in probes {
        let (asked, failed) = probe.counts(from, to);
        assert!(asked > 0 && failed * 100 <= asked, "{}: {failed} of {asked} questions failed", probe.what);
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
