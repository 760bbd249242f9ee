//! The SSH layer: who is let in, who is refused and why, and what survives.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use kubewright::bootstrap::ssh::{Call, Connection, Known, Login, Output, SshError, Stdin, Target, fingerprint};

use crate::sshd::{Sshd, free_port, keygen, limits, program, public, run};

async fn ask(connection: &Connection, command: &'static str, stdin: &[u8]) -> Result<Output, SshError> {
    connection.call(Call { command, stdin: Stdin::Bytes(stdin.to_vec()), limit: Duration::from_secs(60) }).await
}

async fn open(target: &Target) -> Result<Connection, SshError> {
    Connection::open(target.clone(), limits()).await
}

async fn refused(target: &Target) -> SshError {
    match open(target).await {
        Ok(_) => panic!("let in"),
        Err(error) => error,
    }
}

struct Pair {
    sshd: Sshd,
    keys: tempfile::TempDir,
}

impl Pair {
    fn new(kind: &str, passphrase: &str) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let key = keygen(keys.path(), "id", kind, passphrase);
        Self { sshd: Sshd::start(&["ed25519", "ecdsa", "rsa"], &[public(&key)], ""), keys }
    }

    fn target(&self) -> Target {
        self.sshd.target(&self.keys.path().join("id"), None)
    }
}

#[tokio::test]
async fn a_command_gives_its_output_status_and_large_stdin_arrives_whole() {
    let pair = Pair::new("ed25519", "");
    let connection = open(&pair.target()).await.unwrap();
    let output = ask(&connection, "cat; echo oops >&2; exit 7", b"hello").await.unwrap();
    assert_eq!((output.status, output.stdout.as_slice(), output.stderr.as_slice()), (Some(7), &b"hello"[..], &b"oops\n"[..]));
    let big: Vec<u8> = (0..5_000_000u32).map(|n| ((n * 31) >> 3) as u8).collect();
    let output = ask(&connection, "sha256sum", &big).await.unwrap();
    let expected: String = sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(&big))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(String::from_utf8_lossy(&output.stdout).split_whitespace().next(), Some(expected.as_str()));
    let output = ask(&connection, "head -c 3000000 /dev/zero; head -c 300000 /dev/zero >&2", b"").await.unwrap();
    assert_eq!((output.stdout.len(), output.stderr.len(), output.status), (3_000_000, 300_000, Some(0)));
    let output = ask(&connection, "kill -9 $$", b"").await.unwrap();
    assert_eq!(output.status, None);
    let output = ask(&connection, "true", &big).await.unwrap();
    assert_eq!(output.status, Some(0), "a command that does not read its stdin still ends");
}

#[tokio::test]
async fn every_kind_of_user_key_works_with_and_without_a_passphrase() {
    for (kind, passphrase) in
        [("ed25519", ""), ("ecdsa", ""), ("rsa", ""), ("ed25519", "s3cret"), ("ecdsa", "s3cret"), ("rsa", "s3cret")]
    {
        let pair = Pair::new(kind, passphrase);
        let key = pair.keys.path().join("id");
        let given = (!passphrase.is_empty()).then_some(passphrase);
        let connection = open(&pair.sshd.target(&key, given)).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(ask(&connection, "true", b"").await.unwrap().status, Some(0), "{kind}");
        if given.is_some() {
            let missing = refused(&pair.sshd.target(&key, None)).await;
            assert!(missing.to_string().contains("KUBEWRIGHT_SSH_PASSPHRASE"), "{kind}: {missing}");
            let wrong = refused(&pair.sshd.target(&key, Some("wrong"))).await;
            assert!(wrong.to_string().contains("passphrase"), "{kind}: {wrong}");
            assert!(!missing.is_retryable() && !wrong.is_retryable());
        }
    }
}

#[tokio::test]
async fn the_pinned_key_of_each_type_is_the_one_that_is_asked_for() {
    let pair = Pair::new("ed25519", "");
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let pinned = pair.sshd.host_key(kind);
        let target = Target { known: Known::Keys(vec![pinned.clone()]), ..pair.target() };
        let connection = open(&target).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert!(pinned.starts_with(connection.host_key()), "{kind}");
    }
    let first = open(&Target { known: Known::FirstUse, ..pair.target() }).await.unwrap();
    assert!(pair.sshd.host_key("ed25519").starts_with(first.host_key()));
}

#[tokio::test]
async fn a_host_key_that_differs_is_refused_before_authentication_with_both_fingerprints() {
    let pair = Pair::new("ed25519", "");
    let other = tempfile::tempdir().unwrap();
    let only_rsa = Sshd::start(&["rsa"], &[public(&pair.keys.path().join("id"))], "");
    for (sshd, offered) in [(&pair.sshd, pair.sshd.host_key("ed25519")), (&only_rsa, only_rsa.host_key("rsa"))] {
        let pinned = public(&keygen(other.path(), &format!("other{}", sshd.port), "ed25519", ""));
        let mut target = pair.target();
        target.port = sshd.port;
        target.known = Known::Keys(vec![pinned.clone()]);
        let error = refused(&target).await;
        let text = error.to_string();
        assert!(matches!(error, SshError::HostKey { .. }) && !error.is_retryable(), "{text}");
        for key in [pinned, offered] {
            assert!(text.contains(&fingerprint(&key).unwrap()), "{text}");
        }
        assert!(!sshd.log().contains("Accepted") && !sshd.log().contains("userauth"), "{}", sshd.log());
    }
    let target = Target { known: Known::Keys(vec![]), ..pair.target() };
    assert!(matches!(refused(&target).await, SshError::NoHostKey { .. }));
}

#[tokio::test]
async fn who_does_not_answer_or_does_not_let_us_in_is_told_apart() {
    let pair = Pair::new("ed25519", "");
    let stranger = keygen(pair.keys.path(), "stranger", "ed25519", "");
    let denied = refused(&pair.sshd.target(&stranger, None)).await;
    assert!(matches!(denied, SshError::Denied { .. }) && !denied.is_retryable(), "{denied}");

    let closed = Target { port: free_port(), ..pair.target() };
    let error = refused(&closed).await;
    assert!(matches!(error, SshError::Refused { .. }) && error.is_retryable(), "{error}");

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut short = limits();
    short.handshake = Duration::from_millis(300);
    let target = Target { port: silent.local_addr().unwrap().port(), ..pair.target() };
    let Err(error) = Connection::open(target, short).await else { panic!("let in") };
    assert!(matches!(error, SshError::TimedOut { .. }) && error.is_retryable(), "{error}");

    let mut missing = pair.target();
    missing.login = Login::KeyFile { path: "/nonexistent/key".into(), passphrase: None };
    assert!(refused(&missing).await.to_string().contains("/nonexistent/key"));
    let mut not_a_key = pair.target();
    let public = pair.keys.path().join("id.pub");
    not_a_key.login = Login::KeyFile { path: public, passphrase: None };
    assert!(refused(&not_a_key).await.to_string().contains("not a private key"));
}

#[tokio::test]
async fn the_agent_offers_the_one_key_of_the_spec() {
    let pair = Pair::new("ed25519", "");
    let socket = pair.keys.path().join("agent");
    let mut agent = Command::new(program("ssh-agent", "openssh-client"))
        .args(["-D", "-a", socket.to_str().unwrap()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !socket.exists() {
        std::thread::yield_now();
    }
    let add = |key: &str| {
        let added = Command::new(program("ssh-add", "openssh-client"))
            .args(["-q", pair.keys.path().join(key).to_str().unwrap()])
            .env("SSH_AUTH_SOCK", &socket)
            .status()
            .unwrap();
        assert!(added.success());
    };
    for number in 0..8 {
        keygen(pair.keys.path(), &format!("more{number}"), "ed25519", "");
        add(&format!("more{number}"));
    }
    let wanted = public(&pair.keys.path().join("id"));
    let mut target = pair.target();
    target.login = Login::Agent { socket: Some(socket.clone()), public_key: wanted.clone() };
    let error = refused(&target).await;
    assert!(error.to_string().contains(&fingerprint(&wanted).unwrap()), "{error}");
    add("id");
    let connection = open(&target).await.unwrap();
    assert_eq!(ask(&connection, "true", b"").await.unwrap().status, Some(0));
    agent.kill().unwrap();
    agent.wait().unwrap();
    target.login = Login::Agent { socket: Some(pair.keys.path().join("none")), public_key: wanted };
    assert!(matches!(refused(&target).await, SshError::NoAgent { .. }));
}

#[tokio::test]
async fn through_a_bastion_many_connections_at_once_and_its_failures_are_named() {
    let pair = Pair::new("ed25519", "");
    let key = pair.keys.path().join("id");
    let bastion = Sshd::start(&["ed25519"], &[public(&key)], "");
    let mut target = pair.target();
    target.through = Some(Box::new(bastion.target(&key, None)));
    let runs = (0..8u8).map(|number| {
        let target = target.clone();
        async move {
            let connection = open(&target).await.unwrap();
            let sent = vec![number; 300_000];
            let output = ask(&connection, "cat", &sent).await.unwrap();
            assert_eq!(output.stdout, sent);
        }
    });
    futures::future::join_all(runs).await;

    let mut closed = target.clone();
    closed.port = free_port();
    let error = refused(&closed).await;
    assert!(error.is_retryable() && error.to_string().contains("bastion"), "{error}");
    let mut stranger = target.clone();
    let other = keygen(pair.keys.path(), "stranger", "ed25519", "");
    stranger.through = Some(Box::new(bastion.target(&other, None)));
    let error = refused(&stranger).await;
    assert!(matches!(&error, SshError::Denied { at, .. } if at.contains(&bastion.port.to_string())), "{error}");
    let mut liar = target.clone();
    let mut false_bastion = bastion.target(&key, None);
    false_bastion.known = Known::Keys(vec![public(&other)]);
    liar.through = Some(Box::new(false_bastion));
    assert!(matches!(refused(&liar).await, SshError::HostKey { .. }));
}

#[tokio::test]
async fn a_connection_lost_in_the_middle_says_so_and_a_new_one_works() {
    let pair = Pair::new("ed25519", "");
    let connection = open(&pair.target()).await.unwrap();
    let mark = pair.keys.path().join("mark").display().to_string();
    let script = format!("touch {mark}; exec sleep 600");
    let waiting = async { ask(&connection, "sh -s", script.as_bytes()).await };
    let cutting = async {
        while !std::path::Path::new(&mark).exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        pair.sshd.cut_connections();
    };
    let (result, ()) = tokio::join!(waiting, cutting);
    let error = result.unwrap_err();
    assert!(matches!(error, SshError::Lost { .. }) && error.is_retryable(), "{error}");
    assert!(ask(&connection, "true", b"").await.is_err() && !connection.is_open());
    let again = open(&pair.target()).await.unwrap();
    assert_eq!(ask(&again, "true", b"").await.unwrap().status, Some(0));
}

#[tokio::test]
async fn a_command_that_says_nothing_for_long_is_waited_for_while_the_far_end_lives_and_no_longer() {
    let pair = Pair::new("ed25519", "");
    let direct = pair.target();
    let inner = Target { through: Some(Box::new(pair.target())), ..pair.target() };
    // Longer than three signs of life, with nothing to send, and with an upload that is stuck half-way.
    let stuck = vec![7; 24 << 20];
    let silent = |target: Target, stdin: &'static [u8]| async move {
        ask(&open(&target).await.unwrap(), "sleep 9; wc -c", stdin).await.unwrap().stdout
    };
    let stuck: &'static [u8] = stuck.leak();
    let runs = [silent(direct.clone(), b""), silent(inner.clone(), b""), silent(direct, stuck), silent(inner, stuck)];
    let count = format!("{}\n", stuck.len());
    assert_eq!(futures::future::join_all(runs).await, [b"0\n", b"0\n", count.as_bytes(), count.as_bytes()]);
    let connection = open(&pair.target()).await.unwrap();
    let mark = pair.keys.path().join("mark").display().to_string();
    let waiting = async { ask(&connection, "sh -s", format!("touch {mark}; exec sleep 600").as_bytes()).await };
    let freezing = async {
        while !std::path::Path::new(&mark).exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        pair.sshd.freeze_connections();
    };
    let (result, ()) = tokio::join!(waiting, freezing);
    let error = result.unwrap_err();
    assert!(error.to_string().contains("no sign of life") && error.is_retryable(), "{error}");
}

#[tokio::test]
async fn a_command_over_its_limit_ends_the_call() {
    let pair = Pair::new("ed25519", "");
    let connection = open(&pair.target()).await.unwrap();
    let call = Call { command: "sleep 600", stdin: Stdin::Bytes(vec![]), limit: Duration::from_millis(300) };
    assert!(matches!(connection.call(call).await, Err(SshError::TooSlow { .. })));
    run(&program("true", "coreutils"), &[]);
}
