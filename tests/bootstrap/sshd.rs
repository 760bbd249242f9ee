//! A private sshd on 127.0.0.1 with keys of its own, removed when dropped.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kubewright::bootstrap::ssh::{Known, Limits, Login, Target};
use kubewright::secret::Secret;

pub struct Sshd {
    pub dir: tempfile::TempDir,
    pub port: u16,
    child: Child,
}

/// The path of a program that the tests need; says what to install where it is missing.
pub fn program(name: &str, package: &str) -> PathBuf {
    ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/sbin", "/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is missing; these tests need it: apt-get install {package}"))
}

pub fn run(program: &Path, args: &[&str]) {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program:?} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a key pair; gives the private key's path.
pub fn keygen(dir: &Path, name: &str, kind: &str, passphrase: &str) -> PathBuf {
    let path = dir.join(name);
    let tool = program("ssh-keygen", "openssh-client");
    run(&tool, &["-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", path.to_str().unwrap()]);
    path
}

pub fn public(private: &Path) -> String {
    fs::read_to_string(format!("{}.pub", private.display())).unwrap().trim().to_string()
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Sshd {
    /// With host keys of the given types; lets `authorized` in as the user that runs the tests.
    pub fn start(kinds: &[&str], authorized: &[String], extra: &str) -> Self {
        let sshd = program("sshd", "openssh-server");
        fs::create_dir_all("/run/sshd").ok();
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let port = free_port();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nPidFile {}\nAuthorizedKeysFile {}\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin yes\nUsePAM no\nStrictModes no\nAllowTcpForwarding yes\nSetEnv HOME={}\n{extra}\n",
            path("pid"),
            path("authorized_keys"),
            // A shell reads what its user has there, and prints what that says.
            dir.path().display(),
        );
        for kind in kinds {
            let key = keygen(dir.path(), &format!("host_{kind}"), kind, "");
            config.push_str(&format!("HostKey {}\n", key.display()));
        }
        fs::write(path("authorized_keys"), authorized.join("\n") + "\n").unwrap();
        fs::write(path("config"), config).unwrap();
        let log = fs::File::create(path("log")).unwrap();
        let child = Command::new(sshd)
            .args(["-D", "-e", "-f", &path("config")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let this = Self { dir, port, child };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "sshd did not start: {}", this.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        this
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    pub fn host_key(&self, kind: &str) -> String {
        public(&self.dir.path().join(format!("host_{kind}")))
    }

    pub fn target(&self, key: &Path, passphrase: Option<&str>) -> Target {
        Target {
            address: "127.0.0.1".into(),
            port: self.port,
            user: user(),
            login: Login::KeyFile { path: key.into(), passphrase: passphrase.map(Secret::new) },
            known: Known::Keys(vec![self.host_key("ed25519")]),
            through: None,
        }
    }

    /// Ends the children that serve open connections, as a power loss of the far end would; the listener stays.
    pub fn cut_connections(&self) {
        self.signal_connections("-KILL");
    }

    /// Stops them where they are, as a far end that hangs.
    pub fn freeze_connections(&self) {
        self.signal_connections("-STOP");
    }

    fn signal_connections(&self, signal: &str) {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.child.id())).unwrap();
        for child in children.split_whitespace() {
            Command::new("kill").args([signal, child]).stderr(Stdio::null()).status().unwrap();
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.cut_connections();
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub fn user() -> String {
    String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap().trim().to_string()
}

pub fn limits() -> Limits {
    Limits { keepalive: Duration::from_secs(2), ..Limits::default() }
}
