//! What really happens on the wire, with the real SDK and a server that misbehaves: answers lost, torn, refused, in HTML.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::classify::sort;
use super::{AwsCloud, Connection};
use crate::cloud::{Cloud as _, CloudError, ErrorClass, Scope, calls};
use crate::plan::{Change, Tags};

/// How the server treats one request.
#[derive(Clone)]
enum Treat {
    Answer(u16, &'static str, String),
    /// Reads the request and closes.
    Close,
    /// Promises more than it sends.
    Tear,
    Hang,
}

const VPC: &str =
    "<CreateVpcResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><vpc><vpcId>vpc-1</vpcId></vpc></CreateVpcResponse>";
const VPCS: &str = "<DescribeVpcsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><vpcSet/></DescribeVpcsResponse>";

fn xml(status: u16, body: &str) -> Treat {
    Treat::Answer(status, "text/xml", body.to_owned())
}

fn refusal(status: u16, code: &str) -> Treat {
    let error = format!("<Errors><Error><Code>{code}</Code><Message>not this time</Message></Error></Errors>");
    xml(status, &format!("<Response>{error}<RequestID>req-1</RequestID></Response>"))
}

async fn read_request(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        let text = String::from_utf8_lossy(&seen).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return;
            }
        }
        let count = stream.read(&mut chunk).await.unwrap_or(0);
        if count == 0 {
            return;
        }
        seen.extend_from_slice(&chunk[..count]);
    }
}

/// The endpoint of a server that treats the n-th request as told, the last way for all others; and the count of requests.
async fn server(treats: Vec<Treat>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            read_request(&mut stream).await;
            let number = counter.fetch_add(1, Ordering::SeqCst);
            let head = |status: u16, kind: &str, length: usize| {
                format!(
                    "HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nx-amzn-requestid: req-1\r\nconnection: close\r\n\r\n"
                )
            };
            match treats.get(number).or(treats.last()).cloned() {
                Some(Treat::Answer(status, kind, body)) => {
                    let _ = stream.write_all((head(status, kind, body.len()) + &body).as_bytes()).await;
                }
                Some(Treat::Tear) => {
                    let _ = stream.write_all((head(200, "text/xml", 10_000) + "<CreateVpc").as_bytes()).await;
                }
                Some(Treat::Hang) => drop(tokio::spawn(async move {
                    let _open = stream;
                    std::future::pending::<()>().await;
                })),
                Some(Treat::Close) | None => {}
            }
        }
    });
    (endpoint, count)
}

async fn sdk(endpoint: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new("AKIATEST", "test", None, None, "test"))
        .load()
        .await
}

async fn cloud(treats: Vec<Treat>) -> (AwsCloud, Arc<AtomicUsize>) {
    let (endpoint, count) = server(treats).await;
    (AwsCloud::new(&Connection { sdk: sdk(&endpoint).await, region: "us-east-1".into() }), count)
}

fn create() -> Change {
    Change::CreateVpc { cidr: "10.0.0.0/16".parse().unwrap(), tags: Tags::new() }
}

#[tokio::test]
async fn a_create_without_a_token_is_never_sent_twice_after_a_lost_answer() {
    let html = Treat::Answer(500, "text/html", "<html>oops</html>".into());
    for (treat, code) in [
        (Treat::Close, "no answer"),
        (Treat::Tear, "no answer"),
        (html, "HTTP 500"),
        (refusal(500, "InternalError"), "InternalError"),
    ] {
        let (cloud, count) = cloud(vec![treat, xml(200, VPC)]).await;
        let error = cloud.change(&create()).await.unwrap_err();
        assert_eq!((error.class, error.code.as_str()), (ErrorClass::Ambiguous, code), "{error}");
        assert_eq!(count.load(Ordering::SeqCst), 1, "{code}");
    }
}

#[tokio::test]
async fn a_read_is_sent_again_and_a_throttled_create_too() {
    for treat in [Treat::Close, Treat::Tear, refusal(503, "Unavailable"), refusal(500, "InternalError")] {
        let (cloud, count) = cloud(vec![treat, xml(200, VPCS)]).await;
        assert_eq!(cloud.vpcs(&Scope::Uid("u".into())).await.unwrap(), []);
        assert_eq!((count.load(Ordering::SeqCst), cloud.calls().reads), (2, 2));
    }
    let (cloud, count) = cloud(vec![refusal(503, "RequestLimitExceeded"), xml(200, VPC)]).await;
    assert_eq!(cloud.change(&create()).await.unwrap().id.as_deref(), Some("vpc-1"));
    assert_eq!((count.load(Ordering::SeqCst), cloud.calls().throttled), (2, 1));
}

#[tokio::test]
async fn a_refusal_says_which_action_and_which_request() {
    let (cloud, _) = cloud(vec![refusal(403, "UnauthorizedOperation")]).await;
    let error = cloud.change(&create()).await.unwrap_err();
    assert_eq!((error.class, error.request_id.as_deref()), (ErrorClass::Denied, Some("req-1")));
    assert!(error.message.contains("ec2:CreateVpc") && error.message.contains("not this time"), "{error}");
}

#[tokio::test]
async fn an_answer_without_the_id_leaves_the_create_in_doubt() {
    let (cloud, _) = cloud(vec![xml(200, "<CreateVpcResponse/>")]).await;
    assert_eq!(cloud.change(&create()).await.unwrap_err().class, ErrorClass::Ambiguous);
}

/// The failure of one attempt, without [`super::send`] around it.
async fn failure(config: aws_sdk_ec2::config::Builder) -> CloudError {
    let client = aws_sdk_ec2::Client::from_conf(config.retry_config(aws_config::retry::RetryConfig::disabled()).build());
    sort(&calls::CREATE_VPC, &client.create_vpc().cidr_block("10.0.0.0/16").send().await.unwrap_err())
}

#[derive(Debug)]
struct Nobody;

impl ProvideCredentials for Nobody {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("logged out")))
    }
}

#[tokio::test]
async fn silence_a_closed_port_and_a_missing_login_are_told_apart() {
    let (silent, _) = server(vec![Treat::Hang]).await;
    let short = TimeoutConfig::builder().operation_attempt_timeout(Duration::from_millis(200)).build();
    let config = aws_sdk_ec2::config::Builder::from(&sdk(&silent).await).timeout_config(short);
    let error = failure(config).await;
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Ambiguous, "timeout"), "{error}");

    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let closed = sdk(&format!("http://127.0.0.1:{port}")).await;
    let error = failure(aws_sdk_ec2::config::Builder::from(&closed)).await;
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Retryable, "not connected"), "{error}");

    let config = aws_sdk_ec2::config::Builder::from(&closed).credentials_provider(Nobody);
    let error = failure(config).await;
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Credentials, "no credentials"), "{error}");
    assert!(error.message.contains("logged out"), "{error}");
}
