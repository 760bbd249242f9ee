//! The bucket: the conformance suite where there is one, and everywhere what a bucket can answer, by a scripted server.

use std::fmt::Write;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use kubewright::clock::{Ids, RandomIds};
use kubewright::cloud::aws::objects::{Patience, S3Objects};
use kubewright::secret::Secret;
use kubewright::store::{Condition, Object, ObjectError, Objects, Version};
use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::rig::{Place, owner, real, real_store, state, trial};

/// Where a bucket service is, if there is one.
pub fn endpoint() -> Option<String> {
    ["KUBEWRIGHT_TEST_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// A new bucket with somebody else's object beside the prefix.
pub fn bucket() -> Pin<Box<dyn Future<Output = Place> + Send>> {
    Box::pin(async {
        let settings = settings(&endpoint().expect("an endpoint")).await;
        let bucket = format!("kubewright-test-{}", &RandomIds.fresh()[..12]);
        let client = aws_sdk_s3::Client::from_conf(aws_sdk_s3::config::Builder::from(&settings).force_path_style(true).build());
        client.create_bucket().bucket(&bucket).send().await.expect("a bucket");
        client.put_object().bucket(&bucket).key("team/clusters2/demo/state.json").send().await.expect("put");
        let objects = S3Objects::connect(&settings, &bucket, "team/clusters", None, Patience::default());
        Place { objects: Arc::new(WholeWrites { objects, turn: tokio::sync::Mutex::new(()) }), folder: None }
    })
}

/// Sends one write at a time. moto looks at a condition and stores the object in two steps, and lets two of several writers
/// with the same `If-Match` win (any client can see it); S3 does both in one. The bucket still judges each condition, and
/// the calls of concurrent writers still interleave: only what moto lacks is supplied.
struct WholeWrites {
    objects: S3Objects,
    turn: tokio::sync::Mutex<()>,
}

#[async_trait::async_trait]
impl Objects for WholeWrites {
    async fn get(&self, key: &str) -> Result<Option<Object>, ObjectError> {
        self.objects.get(key).await
    }

    async fn put(&self, key: &str, bytes: Vec<u8>, condition: Condition) -> Result<Version, ObjectError> {
        let _turn = self.turn.lock().await;
        self.objects.put(key, bytes, condition).await
    }

    async fn delete(&self, key: &str, condition: Condition) -> Result<(), ObjectError> {
        let _turn = self.turn.lock().await;
        self.objects.delete(key, condition).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, ObjectError> {
        self.objects.list(prefix).await
    }

    async fn history(&self, key: &str, limit: usize) -> Result<Vec<Object>, ObjectError> {
        self.objects.history(key, limit).await
    }

    async fn keeps_history(&self) -> Option<bool> {
        self.objects.keeps_history().await
    }

    async fn now(&self) -> Result<jiff::Timestamp, ObjectError> {
        self.objects.now().await
    }

    fn location(&self) -> String {
        self.objects.location()
    }
}

pub fn add(trials: &mut Vec<Trial>) {
    trials.push(trial("s3_answers::each_means_what_the_caller_may_do", || real(sorted())));
    trials.push(trial("s3_answers::retries_and_waits_are_bounded", || real(bounded())));
    trials.push(trial("s3_answers::its_own_retry_does_not_lock_it_out", || real(own_retry())));
    trials.push(trial("s3_answers::every_object_is_sent_with_encryption", || real(encrypted())));
    trials.push(trial("s3_answers::the_clock_is_in_every_answer", || real(clock())));
    trials.push(trial("s3_answers::a_bucket_in_another_region_is_followed", || real(other_region())));
    trials.push(trial("s3_answers::lists_follow_every_page", || real(pages())));
    trials.push(trial("s3_answers::replaced_versions_are_read", || real(versions())));
    trials.push(trial("s3_answers::missing_credentials_are_named", || real(no_credentials())));
}

async fn settings(endpoint: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(endpoint)
        .load()
        .await
}

#[derive(Clone)]
enum Reply {
    /// Status, headers, body.
    Answer(u16, String, Vec<u8>),
    /// The connection ends without an answer.
    Drop,
    /// The connection stays open without an answer.
    Hang,
    /// The answer's head, and nothing of its body.
    Stall,
}

#[derive(Clone, Debug)]
struct Request {
    /// Lower case.
    head: String,
    body: Vec<u8>,
}

impl Request {
    fn is(&self, method: &str) -> bool {
        self.head.starts_with(&format!("{method} "))
    }
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    Reply::Answer(status, "content-type: application/xml\r\n".into(), body.into_bytes())
}

fn found(tag: &str, body: &[u8]) -> Reply {
    let headers = format!("etag: {tag}\r\nlast-modified: Sat, 21 Nov 2026 09:12:00 GMT\r\n");
    Reply::Answer(200, headers, body.to_vec())
}

/// A server that answers by a script, given the number of the request from 0.
struct Server {
    endpoint: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    async fn start(script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (seen, script) = (requests.clone(), Arc::new(script));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, script) = (seen.clone(), script.clone());
                tokio::spawn(async move { serve(stream, &seen, &*script).await });
            }
        });
        Self { endpoint, requests }
    }

    async fn always(reply: Reply) -> Self {
        Self::start(move |_, _| reply.clone()).await
    }

    /// Patient enough for a busy machine.
    async fn objects(&self, kms_key: Option<&str>) -> S3Objects {
        self.with(kms_key, Duration::from_secs(20)).await
    }

    /// For servers that never answer.
    async fn impatient(&self) -> S3Objects {
        self.with(None, Duration::from_millis(300)).await
    }

    async fn with(&self, kms_key: Option<&str>, attempt: Duration) -> S3Objects {
        let patience = Patience { attempts: 2, attempt, operation: attempt * 4 + Duration::from_secs(2) };
        S3Objects::connect(&settings(&self.endpoint).await, "acme", "team", kms_key.map(str::to_owned), patience)
    }

    fn seen(&self) -> Vec<Request> {
        self.requests.lock().expect("requests").clone()
    }
}

async fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Request>>, script: &(impl Fn(usize, &Request) -> Reply + Sync)) {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let request = Request { head, body };
    let number = {
        let mut seen = seen.lock().expect("requests");
        seen.push(request.clone());
        seen.len() - 1
    };
    match script(number, &request) {
        Reply::Answer(status, headers, body) => {
            let length = body.len();
            let head = format!("HTTP/1.1 {status} Status\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&body).await;
        }
        Reply::Drop => {}
        Reply::Hang => std::future::pending().await,
        Reply::Stall => {
            let head = "HTTP/1.1 200 OK\r\netag: x\r\nlast-modified: Sat, 21 Nov 2026 09:12:00 GMT\r\ncontent-length: 9\r\n\r\n";
            let _ = stream.write_all(head.as_bytes()).await;
            std::future::pending().await
        }
    }
}

fn kind(error: &ObjectError) -> &'static str {
    match error {
        ObjectError::Conflict { .. } => "conflict",
        ObjectError::Ambiguous { .. } => "ambiguous",
        ObjectError::Denied { .. } => "denied",
        ObjectError::Failed { .. } => "failed",
    }
}

async fn sorted() {
    let denied = error(403, "AccessDenied", "not authorized &#x1b;[2J");
    for (reply, right, part) in [
        (error(412, "PreconditionFailed", "no"), "conflict", ""),
        (error(409, "ConditionalRequestConflict", "busy"), "conflict", ""),
        (error(404, "NoSuchKey", "gone"), "conflict", ""),
        (error(404, "NoSuchBucket", "none"), "failed", "bucket acme does not exist"),
        (denied.clone(), "denied", "it needs s3:PutObject on arn:aws:s3:::acme/team/demo/state.json"),
        (error(403, "InvalidAccessKeyId", "unknown key"), "denied", "InvalidAccessKeyId: unknown key"),
        (error(403, "RequestTimeTooSkewed", "clock"), "denied", "RequestTimeTooSkewed"),
        (error(400, "InvalidArgument", "bad"), "failed", "InvalidArgument: bad"),
        (error(500, "InternalError", "oops"), "ambiguous", "InternalError"),
        (error(503, "SlowDown", "slow"), "ambiguous", "SlowDown"),
        (Reply::Answer(502, String::new(), b"<html>".to_vec()), "ambiguous", "502"),
        (Reply::Answer(200, String::new(), vec![]), "failed", "no ETag"),
        (Reply::Drop, "ambiguous", ""),
    ] {
        let server = Server::always(reply).await;
        let objects = server.objects(None).await;
        let error = objects.put("demo/state.json", b"x".to_vec(), Condition::Absent).await.expect_err(part);
        let text = error.to_string();
        assert_eq!(kind(&error), right, "{text}");
        assert!(text.contains(part) && text.contains("demo/state.json"), "{text}");
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    let server = Server::always(denied).await;
    let objects = server.objects(None).await;
    let errors = [
        (objects.get("demo/state.json").await.err(), "s3:GetObject"),
        (objects.delete("demo/state.json", Condition::Always).await.err(), "s3:DeleteObject"),
        (objects.list("demo").await.err(), "s3:ListBucket on arn:aws:s3:::acme "),
    ];
    for (error, action) in errors {
        let error = error.expect(action);
        assert!(kind(&error) == "denied" && error.to_string().contains(action), "{error}");
    }
    let server = Server::always(error(404, "NoSuchKey", "none")).await;
    assert_eq!(server.objects(None).await.get("demo/state.json").await.expect("absent is no error"), None);
    let server = Server::always(error(404, "NoSuchBucket", "none")).await;
    let error = server.objects(None).await.get("demo/state.json").await.expect_err("no bucket");
    assert!(error.to_string().contains("bucket acme does not exist"), "{error}");
}

async fn bounded() {
    for reply in [error(500, "InternalError", "oops"), Reply::Drop] {
        let server = Server::always(reply).await;
        let objects = server.objects(None).await;
        let error = objects.put("k", b"x".to_vec(), Condition::Always).await.expect_err("no answer");
        assert_eq!(kind(&error), "ambiguous", "{error}");
        assert_eq!(server.seen().len(), 2, "attempts");
    }
    let server = Server::always(Reply::Hang).await;
    let error = server.impatient().await.put("k", b"x".to_vec(), Condition::Always).await.expect_err("no answer");
    assert_eq!(kind(&error), "ambiguous", "{error}");
    assert!(server.seen().len() <= 2, "attempts");
    let server = Server::always(Reply::Stall).await;
    let error = server.impatient().await.get("k").await.expect_err("no content");
    assert_eq!(kind(&error), "ambiguous", "{error}");
}

/// The first attempt gets through, its answer is lost, and the SDK's second attempt meets the first one's object.
async fn own_retry() {
    let stored: Arc<Mutex<Option<Vec<u8>>>> = Arc::default();
    let server = Server::start(move |number, request| {
        let mut stored = stored.lock().expect("stored");
        match (number, &*stored) {
            _ if request.head.contains("list-type=2") => list_of(&[], None),
            (_, None) if request.is("put") => {
                *stored = Some(request.body.clone());
                Reply::Drop
            }
            (_, Some(_)) if request.is("put") => error(412, "PreconditionFailed", "exists"),
            (_, Some(body)) if request.is("get") => found("\"one\"", body),
            (_, Some(_)) if request.is("delete") => Reply::Answer(204, String::new(), vec![]),
            _ => error(404, "NoSuchKey", "none"),
        }
    })
    .await;
    let objects: Arc<dyn Objects> = Arc::new(server.objects(None).await);
    let store = real_store(&objects, "ops@build-7");
    let lock = store.acquire(&owner("ops@build-7")).await.expect("our own lock");
    let puts = server.seen().iter().filter(|request| request.is("put")).count();
    assert_eq!(puts, 2);
    lock.release().await.expect("release");
    let last = server.seen().pop().expect("a request");
    assert!(last.is("delete") && last.head.contains("if-match: \"one\""), "{}", last.head);
}

async fn encrypted() {
    for (kms_key, right) in [
        (None, vec!["x-amz-server-side-encryption: aes256"]),
        (
            Some("arn:aws:kms:us-east-1:1:key/k"),
            vec![
                "x-amz-server-side-encryption: aws:kms",
                "x-amz-server-side-encryption-aws-kms-key-id: arn:aws:kms:us-east-1:1:key/k",
            ],
        ),
    ] {
        let server = Server::start(|_, request| match request {
            _ if request.head.contains("list-type=2") => list_of(&[], None),
            _ if request.is("put") => found("\"one\"", b""),
            _ => error(404, "NoSuchKey", "none"),
        })
        .await;
        let objects: Arc<dyn Objects> = Arc::new(server.objects(kms_key).await);
        let store = real_store(&objects, "ops@build-7");
        let _lock = store.acquire(&owner("ops@build-7")).await.expect("acquire");
        let mut held = store.first(state()).await.expect("first");
        store.save(&mut held).await.expect("save");
        store.put_secret("ca.key", &Secret::new("x")).await.expect("put");
        // The script forgets what it was told, so that this stops after the revision is written.
        let _ = store.register(b"name = \"demo\"").await;
        let puts: Vec<_> = server.seen().into_iter().filter(|request| request.is("put")).collect();
        for name in ["lock.json", "state.json", "secrets/ca.key", "revisions/0001.toml"] {
            let put = puts.iter().find(|put| put.head.contains(&format!("put /acme/team/demo/{name}"))).expect(name);
            assert!(put.head.contains("if-none-match: *"), "{}", put.head);
        }
        for put in puts {
            assert!(right.iter().all(|header| put.head.contains(header)), "{}", put.head);
        }
    }
}

async fn clock() {
    let date = "date: Sat, 21 Nov 2026 09:12:07 GMT\r\n";
    let Reply::Answer(_, _, denied) = error(403, "AccessDenied", "no") else { panic!("an answer") };
    let Reply::Answer(_, _, empty) = list_of(&[], None) else { panic!("an answer") };
    for (status, body) in [(200, empty.clone()), (403, denied)] {
        let server = Server::always(Reply::Answer(status, date.into(), body)).await;
        let now = server.objects(None).await.now().await.expect("a time");
        assert_eq!(now.to_string(), "2026-11-21T09:12:07Z");
    }
    let server = Server::always(Reply::Answer(200, String::new(), empty)).await;
    let error = server.objects(None).await.now().await.expect_err("no date");
    assert!(error.to_string().contains("Date"), "{error}");
}

async fn other_region() {
    let script = |_: usize, request: &Request| {
        if request.head.contains("/eu-west-1/s3/aws4_request") {
            return found("\"one\"", b"content");
        }
        let Reply::Answer(_, headers, body) = error(301, "PermanentRedirect", "elsewhere") else { panic!("an answer") };
        Reply::Answer(301, format!("{headers}x-amz-bucket-region: eu-west-1\r\n"), body)
    };
    let server = Server::start(script).await;
    let objects = server.objects(None).await;
    for _ in 0..2 {
        assert_eq!(objects.get("k").await.expect("get").expect("there").bytes, b"content");
    }
    let put = objects.put("k", b"x".to_vec(), Condition::Is(Version("\"one\"".into()))).await;
    assert_eq!(put.expect("put"), Version("\"one\"".into()));
    assert_eq!(server.seen().len(), 4, "once told, it stays there");
}

fn list_of(keys: &[String], next: Option<&str>) -> Reply {
    let mut body = String::from("<ListBucketResult>");
    match next {
        Some(next) => {
            let _ = write!(body, "<IsTruncated>true</IsTruncated><NextContinuationToken>{next}</NextContinuationToken>");
        }
        None => body.push_str("<IsTruncated>false</IsTruncated>"),
    }
    for key in keys {
        let _ = write!(body, "<Contents><Key>{key}</Key></Contents>");
    }
    body.push_str("</ListBucketResult>");
    let headers = "content-type: application/xml\r\ndate: Sat, 21 Nov 2026 09:12:07 GMT\r\n";
    Reply::Answer(200, headers.into(), body.into_bytes())
}

async fn pages() {
    let names =
        |range: std::ops::Range<u32>| -> Vec<String> { range.map(|n| format!("team/demo/revisions/{n:04}.toml")).collect() };
    let server = Server::start(move |_, request| {
        if request.head.contains("continuation-token=two") {
            let mut keys = names(1001..1206);
            keys.extend(["team/demo/".into(), "team/demo/a b".into(), "team/../x".into()]);
            list_of(&keys, None)
        } else {
            list_of(&names(1..1001), Some("two"))
        }
    })
    .await;
    let keys = server.objects(None).await.list("demo").await.expect("list");
    assert_eq!(keys.len(), 1205, "{:?}", keys.last());
    assert_eq!(keys.last().map(String::as_str), Some("demo/revisions/1205.toml"));
}

async fn versions() {
    let script = |_: usize, request: &Request| match request.head.lines().next().unwrap_or_default() {
        line if line.contains("versions") => {
            let version = |key: &str, id: &str, latest: bool| {
                format!("<Version><Key>{key}</Key><VersionId>{id}</VersionId><IsLatest>{latest}</IsLatest></Version>")
            };
            let list = [
                version("team/demo/state.json", "v3", true),
                version("team/demo/state.json", "v2", false),
                version("team/demo/state.json", "v1", false),
                version("team/demo/state.json.other", "v9", false),
            ];
            let body = format!("<ListVersionsResult><IsTruncated>false</IsTruncated>{}</ListVersionsResult>", list.concat());
            Reply::Answer(200, "content-type: application/xml\r\n".into(), body.into_bytes())
        }
        line if line.contains("versioning") => {
            let body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>".to_vec();
            Reply::Answer(200, "content-type: application/xml\r\n".into(), body)
        }
        line if line.contains("versionid=v2") => found("\"two\"", b"second"),
        line if line.contains("versionid=v1") => found("\"one\"", b"first"),
        _ => error(404, "NoSuchKey", "none"),
    };
    let server = Server::start(script).await;
    let objects = server.objects(None).await;
    let contents = async |limit: usize| {
        let found = objects.history("demo/state.json", limit).await.expect("a list");
        found.into_iter().map(|object| String::from_utf8(object.bytes).expect("text")).collect::<Vec<_>>()
    };
    assert_eq!(contents(10).await, ["second", "first"]);
    assert_eq!(contents(1).await, ["second"]);
    assert_eq!(objects.keeps_history().await, Some(true));
    let server = Server::always(Reply::Answer(200, String::new(), b"<VersioningConfiguration/>".to_vec())).await;
    assert_eq!(server.objects(None).await.keeps_history().await, Some(false));
    let server = Server::always(error(403, "AccessDenied", "no")).await;
    let objects = server.objects(None).await;
    assert_eq!(objects.keeps_history().await, None);
    let error = objects.history("demo/state.json", 1).await.expect_err("denied");
    assert!(error.to_string().contains("s3:ListBucketVersions"), "{error}");
}

#[derive(Debug)]
struct Nobody;

impl ProvideCredentials for Nobody {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("the profile is empty")))
    }
}

async fn no_credentials() {
    let server = Server::always(found("\"one\"", b"")).await;
    let settings = settings(&server.endpoint).await.into_builder();
    let settings = settings.credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(Nobody)).build();
    let objects = S3Objects::connect(&settings, "acme", "", None, Patience::default());
    let error = objects.put("k", b"x".to_vec(), Condition::Always).await.expect_err("nobody");
    assert!(kind(&error) == "denied" && error.to_string().contains("no usable AWS credentials"), "{error}");
    assert!(server.seen().is_empty());
}
