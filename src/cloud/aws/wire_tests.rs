//! What really happens on the wire, with the real SDK and a server that misbehaves: answers lost, torn, refused, in HTML.

use std::sync::{Arc, Mutex};
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
use crate::plan::change::RunInstance;
use crate::plan::{Change, Ref, Tags};

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

/// The body of a request.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        let text = String::from_utf8_lossy(&seen).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return body.to_owned();
            }
        }
        let count = stream.read(&mut chunk).await.unwrap_or(0);
        if count == 0 {
            return String::new();
        }
        seen.extend_from_slice(&chunk[..count]);
    }
}

type Bodies = Arc<Mutex<Vec<String>>>;

/// The endpoint of a server that treats the n-th request as told, the last way for all others; and the bodies of the requests.
async fn server(treats: Vec<Treat>) -> (String, Bodies) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let bodies = Bodies::default();
    let keep = bodies.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let body = read_request(&mut stream).await;
            let number = keep.lock().unwrap().len();
            keep.lock().unwrap().push(body);
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
    (endpoint, bodies)
}

async fn sdk(endpoint: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new("AKIATEST", "test", None, None, "test"))
        .load()
        .await
}

async fn cloud(treats: Vec<Treat>) -> (AwsCloud, Bodies) {
    let (endpoint, bodies) = server(treats).await;
    (AwsCloud::new(&Connection { sdk: sdk(&endpoint).await, region: "us-east-1".into() }), bodies)
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
        let (cloud, bodies) = cloud(vec![treat, xml(200, VPC)]).await;
        let error = cloud.change(&create()).await.unwrap_err();
        assert_eq!((error.class, error.code.as_str()), (ErrorClass::Ambiguous, code), "{error}");
        assert_eq!(bodies.lock().unwrap().len(), 1, "{code}");
    }
}

#[tokio::test]
async fn a_read_is_sent_again_and_a_throttled_create_too() {
    for treat in [Treat::Close, Treat::Tear, refusal(503, "Unavailable"), refusal(500, "InternalError")] {
        let (cloud, bodies) = cloud(vec![treat, xml(200, VPCS)]).await;
        assert_eq!(cloud.vpcs(&Scope::Uid("u".into())).await.unwrap(), []);
        assert_eq!((bodies.lock().unwrap().len(), cloud.calls().reads), (2, 2));
    }
    let (cloud, bodies) = cloud(vec![refusal(503, "RequestLimitExceeded"), xml(200, VPC)]).await;
    assert_eq!(cloud.change(&create()).await.unwrap().id.as_deref(), Some("vpc-1"));
    assert_eq!((bodies.lock().unwrap().len(), cloud.calls().throttled), (2, 1));
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

/// The parameters of the one request that a change becomes.
async fn parameters(change: &Change) -> Vec<(String, String)> {
    let (cloud, bodies) = cloud(vec![xml(200, "<Response/>")]).await;
    // The answer is hollow; the request is what counts here.
    let _ = cloud.change(change).await;
    let bodies = bodies.lock().unwrap();
    assert_eq!(bodies.len(), 1, "{change:?}");
    let decoded = |text: &str| text.replace("%2F", "/").replace("%3D", "=").replace("%2B", "+");
    let pairs = bodies[0].split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect()
}

fn known(id: &str) -> Ref {
    Ref::Known(id.into())
}

fn machine(tags: Tags) -> Change {
    let request = RunInstance {
        image: "ami-1".into(),
        machine_type: "t3.medium".into(),
        subnet: known("subnet-1"),
        security_groups: vec![known("sg-1"), known("sg-2")],
        public_address: false,
        key_name: "k".into(),
        user_data: "#!/bin/true\n".into(),
        root_device: "/dev/xvda".into(),
        volume_gib: 30,
        volume_kind: "gp3".into(),
        instance_profile: Some("p".into()),
        metadata_hop_limit: 2,
        source_dest_check: true,
        tags,
    };
    Change::RunInstance { token: "t".into(), request: Box::new(request) }
}

#[tokio::test]
async fn tags_and_tokens_are_in_the_create_call_itself() {
    let tags = Tags::from([("owner".to_owned(), "me".to_owned())]);
    let cidr = "10.0.0.0/24".parse().unwrap();
    let (vpc, subnet, allocation) = (|| known("vpc-1"), known("subnet-1"), known("eipalloc-1"));
    let group = Change::CreateSecurityGroup { vpc: vpc(), name: "g".into(), description: "d".into(), tags: tags.clone() };
    for (change, kinds, token) in [
        (Change::CreateVpc { cidr, tags: tags.clone() }, vec!["vpc"], false),
        (Change::CreateSubnet { vpc: vpc(), cidr, zone: "z".into(), tags: tags.clone() }, vec!["subnet"], false),
        (Change::CreateInternetGateway { tags: tags.clone() }, vec!["internet-gateway"], false),
        (Change::AllocateAddress { tags: tags.clone() }, vec!["elastic-ip"], false),
        (Change::CreateNatGateway { subnet, allocation, token: "t".into(), tags: tags.clone() }, vec!["natgateway"], true),
        (Change::CreateRouteTable { vpc: vpc(), token: "t".into(), tags: tags.clone() }, vec!["route-table"], true),
        (group, vec!["security-group"], false),
        (Change::ImportKeyPair { name: "k".into(), public_key: "x".into(), tags: tags.clone() }, vec!["key-pair"], false),
        (machine(tags.clone()), vec!["instance", "volume", "network-interface"], true),
    ] {
        let sent = parameters(&change).await;
        let has = |name: &str, value: &str| sent.iter().any(|(sent, is)| sent == name && is == value);
        for (n, kind) in kinds.iter().enumerate() {
            let at = format!("TagSpecification.{}", n + 1);
            assert!(has(&format!("{at}.ResourceType"), kind), "{change:?}: {sent:?}");
            assert!(has(&format!("{at}.Tag.1.Key"), "owner") && has(&format!("{at}.Tag.1.Value"), "me"), "{sent:?}");
        }
        assert_eq!(has("ClientToken", "t"), token, "{change:?}");
    }
}

#[tokio::test]
async fn a_machine_is_asked_for_with_everything_that_keeps_it_safe() {
    let sent = parameters(&machine(Tags::new())).await;
    for (name, value) in [
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("ImageId", "ami-1"),
        ("InstanceType", "t3.medium"),
        ("KeyName", "k"),
        ("UserData", "IyEvYmluL3RydWUK"),
        ("IamInstanceProfile.Name", "p"),
        ("MetadataOptions.HttpTokens", "required"),
        ("MetadataOptions.HttpPutResponseHopLimit", "2"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
        ("BlockDeviceMapping.1.Ebs.Encrypted", "true"),
        ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
        ("BlockDeviceMapping.1.Ebs.VolumeType", "gp3"),
        ("BlockDeviceMapping.1.Ebs.VolumeSize", "30"),
        ("NetworkInterface.1.SubnetId", "subnet-1"),
        ("NetworkInterface.1.SecurityGroupId.1", "sg-1"),
        ("NetworkInterface.1.SecurityGroupId.2", "sg-2"),
        ("NetworkInterface.1.AssociatePublicIpAddress", "false"),
        ("NetworkInterface.1.DeleteOnTermination", "true"),
    ] {
        assert!(sent.iter().any(|(sent, is)| sent == name && is == value), "{name}={value}: {sent:?}");
    }
}

#[tokio::test]
async fn every_page_is_read_and_a_listing_that_goes_in_circles_is_refused() {
    let page = |id: &str, next: &str| {
        let vpc = format!("<vpcSet><item><vpcId>{id}</vpcId><cidrBlock>10.0.0.0/16</cidrBlock></item></vpcSet>");
        xml(200, &format!("<DescribeVpcsResponse>{vpc}{next}</DescribeVpcsResponse>"))
    };
    let scope = Scope::Vpc("vpc-1".into());
    let more = "<nextToken>more</nextToken>";
    let (cloud, bodies) = cloud(vec![page("vpc-1", more), page("vpc-2", "")]).await;
    let ids: Vec<String> = cloud.vpcs(&scope).await.unwrap().into_iter().map(|vpc| vpc.id).collect();
    assert_eq!(ids, ["vpc-1", "vpc-2"]);
    let sent = bodies.lock().unwrap().clone();
    assert!(sent[0].contains("MaxResults=1000") && sent[1].contains("NextToken=more"), "{sent:?}");

    let (cloud, bodies) = self::cloud(vec![page("vpc-1", more)]).await;
    assert!(cloud.vpcs(&scope).await.is_err());
    assert_eq!(bodies.lock().unwrap().len(), 2);
}
