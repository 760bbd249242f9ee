//! What a request asks for: service, action, read or change, attempt, and a hint at the resource.

use hyper::Method;
use hyper::http::request::Parts;

/// One request, named.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Name {
    pub service: String,
    pub region: String,
    /// Access key of the signature.
    pub key: String,
    pub action: String,
    pub change: bool,
    pub attempt: u32,
    pub invocation: String,
    pub hint: String,
    /// The form's fields, of services that speak forms.
    pub form: Vec<(String, String)>,
}

impl Name {
    pub fn field(&self, key: &str) -> Option<&str> {
        self.form.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// `key.1`, `key.2`, ... of a form.
    pub fn list<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        (1..).map_while(move |n| self.field(&format!("{key}.{n}")))
    }
}

/// Fields whose value tells a person which resource a call is about, the most telling first.
const HINTS: [&str; 16] = [
    "InstanceId",
    "InstanceId.1",
    "ResourceId.1",
    "GroupId",
    "RouteTableId",
    "SubnetId",
    "NatGatewayId",
    "AllocationId",
    "InternetGatewayId",
    "VolumeId",
    "VpcId",
    "KeyName",
    "GroupName",
    "LaunchTemplateName",
    "CidrBlock",
    "UserName",
];

pub fn name(parts: &Parts, body: &[u8]) -> Name {
    let query: Vec<(String, String)> = pairs(parts.uri.query().unwrap_or_default().as_bytes());
    let (key, region, service) = scope(parts, &query).unwrap_or((String::new(), String::new(), "s3".into()));
    let (attempt, invocation) = attempt(parts);
    let path = parts.uri.path();
    let mut name = Name { service, region, key, attempt, invocation, ..Name::default() };
    match name.service.as_str() {
        "s3" => (name.action, name.change, name.hint) = s3(&parts.method, path, &query),
        "route53" => (name.action, name.change, name.hint) = route53(&parts.method, path, body),
        _ => {
            name.form = if parts.method == Method::GET { query } else { pairs(body) };
            name.action = match name.field("Action") {
                Some(action) => action.to_owned(),
                None => target(parts).unwrap_or_else(|| format!("{} {path}", parts.method)),
            };
            let reads = ["Describe", "Get", "List", "Search", "Lookup", "Simulate", "AssumeRole", "Decode"];
            name.change = !reads.iter().any(|read| name.action.starts_with(read)) && name.field("DryRun") != Some("true");
            name.hint = hint(&name);
        }
    }
    name
}

/// Key, region and service from the signature's credential scope, `KEY/DATE/REGION/SERVICE/aws4_request`.
fn scope(parts: &Parts, query: &[(String, String)]) -> Option<(String, String, String)> {
    let header = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
    let text = match header {
        Some(header) => header.split_once("Credential=")?.1.split([',', ' ']).next()?.to_owned(),
        None => query.iter().find(|(key, _)| key == "X-Amz-Credential")?.1.clone(),
    };
    let mut fields = text.rsplit('/').skip(1);
    let (service, region, key) = (fields.next()?, fields.next()?, fields.nth(1)?);
    Some((key.to_owned(), region.to_owned(), service.to_lowercase()))
}

/// `amz-sdk-request: attempt=2; max=3`: retries are told apart without guessing.
fn attempt(parts: &Parts) -> (u32, String) {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let attempt =
        header("amz-sdk-request").split(';').find_map(|field| field.trim().strip_prefix("attempt=")?.parse().ok()).unwrap_or(1);
    (attempt, header("amz-sdk-invocation-id").to_owned())
}

/// The action of services that speak JSON.
fn target(parts: &Parts) -> Option<String> {
    let value = parts.headers.get("x-amz-target")?.to_str().ok()?;
    Some(value.rsplit('.').next()?.to_owned())
}

fn hint(name: &Name) -> String {
    let tag = (1..20).find_map(|n| {
        let key = format!("TagSpecification.1.Tag.{n}");
        (name.field(&format!("{key}.Key")) == Some("Name")).then(|| name.field(&format!("{key}.Value")))?
    });
    tag.or_else(|| HINTS.iter().find_map(|key| name.field(key))).unwrap_or_default().to_owned()
}

fn route53(method: &Method, path: &str, body: &[u8]) -> (String, bool, String) {
    let path: Vec<&str> = path.trim_matches('/').split('/').skip(1).collect();
    let (action, hint) = match (method.as_str(), &path[..]) {
        ("POST", ["hostedzone"]) => ("CreateHostedZone", String::new()),
        ("GET", ["hostedzone"]) => ("ListHostedZones", String::new()),
        ("GET", ["hostedzonesbyname"]) => ("ListHostedZonesByName", String::new()),
        ("GET", ["hostedzonesbyvpc"]) => ("ListHostedZonesByVPC", String::new()),
        ("GET", ["hostedzonecount"]) => ("GetHostedZoneCount", String::new()),
        ("GET", ["hostedzone", zone]) => ("GetHostedZone", (*zone).to_owned()),
        ("DELETE", ["hostedzone", zone]) => ("DeleteHostedZone", (*zone).to_owned()),
        ("POST", ["hostedzone", zone]) => ("UpdateHostedZoneComment", (*zone).to_owned()),
        ("POST", ["hostedzone", zone, "rrset"]) => ("ChangeResourceRecordSets", format!("{zone} {}", first_record(body))),
        ("GET", ["hostedzone", zone, "rrset"]) => ("ListResourceRecordSets", (*zone).to_owned()),
        ("POST", ["hostedzone", zone, "associatevpc"]) => ("AssociateVPCWithHostedZone", (*zone).to_owned()),
        ("POST", ["hostedzone", zone, "disassociatevpc"]) => ("DisassociateVPCFromHostedZone", (*zone).to_owned()),
        ("GET", ["change", change]) => ("GetChange", (*change).to_owned()),
        ("GET", ["tags", ..]) => ("ListTagsForResource", path.last().copied().unwrap_or_default().to_owned()),
        ("POST", ["tags", _]) => ("ListTagsForResources", String::new()),
        ("POST", ["tags", _, id]) => ("ChangeTagsForResource", (*id).to_owned()),
        _ => return (format!("{method} /{}", path.join("/")), method != Method::GET, String::new()),
    };
    (action.to_owned(), method != Method::GET && action != "ListTagsForResources", hint.trim().to_owned())
}

/// The first record's name of a batch of changes.
fn first_record(body: &[u8]) -> String {
    between(&String::from_utf8_lossy(body), "<Name>", "</Name>").unwrap_or_default().to_owned()
}

/// The text between two marks.
pub fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(from)?;
    Some(rest.split_once(to)?.0)
}

/// Sub-resources of S3 that make an action of their own.
const SUB_RESOURCES: [(&str, &str); 12] = [
    ("versioning", "BucketVersioning"),
    ("encryption", "BucketEncryption"),
    ("policy", "BucketPolicy"),
    ("tagging", "Tagging"),
    ("lifecycle", "BucketLifecycleConfiguration"),
    ("publicAccessBlock", "PublicAccessBlock"),
    ("location", "BucketLocation"),
    ("acl", "Acl"),
    ("cors", "BucketCors"),
    ("logging", "BucketLogging"),
    ("object-lock", "ObjectLockConfiguration"),
    ("ownershipControls", "BucketOwnershipControls"),
];

fn s3(method: &Method, path: &str, query: &[(String, String)]) -> (String, bool, String) {
    let has = |key: &str| query.iter().any(|(name, _)| name == key);
    let hint = path.trim_start_matches('/').to_owned();
    let (bucket, key) = hint.split_once('/').unwrap_or((&hint, ""));
    let stated = query.iter().find(|(name, _)| name == "x-id").map(|(_, value)| value.clone());
    let verb = match method.as_str() {
        "PUT" => "Put",
        "DELETE" => "Delete",
        _ => "Get",
    };
    let sub = SUB_RESOURCES.iter().find(|(name, _)| has(name)).map(|(_, action)| format!("{verb}{action}"));
    let plain = match (method.as_str(), bucket.is_empty(), key.is_empty()) {
        (_, true, _) => "ListBuckets",
        ("POST", _, _) if has("delete") => "DeleteObjects",
        ("POST", _, false) if has("uploads") => "CreateMultipartUpload",
        ("POST", _, false) if has("uploadId") => "CompleteMultipartUpload",
        ("PUT", _, false) if has("partNumber") => "UploadPart",
        ("DELETE", _, false) if has("uploadId") => "AbortMultipartUpload",
        ("GET", _, true) if has("uploads") => "ListMultipartUploads",
        ("GET", _, true) if has("versions") => "ListObjectVersions",
        ("GET", _, true) if has("list-type") => "ListObjectsV2",
        ("GET", _, true) => "ListObjects",
        ("HEAD", _, true) => "HeadBucket",
        ("PUT", _, true) => "CreateBucket",
        ("DELETE", _, true) => "DeleteBucket",
        ("GET", _, _) => "GetObject",
        ("HEAD", _, _) => "HeadObject",
        ("PUT", _, _) => "PutObject",
        ("DELETE", _, _) => "DeleteObject",
        (other, _, _) => other,
    };
    let action = stated.or(sub).unwrap_or_else(|| plain.to_owned());
    (action, !matches!(method.as_str(), "GET" | "HEAD"), hint)
}

/// The pairs of a form or a query, decoded.
fn pairs(text: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text).into_owned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(method: &str, uri: &str, service: &str, body: &str) -> Name {
        let request = hyper::Request::builder()
            .method(method)
            .uri(uri)
            .header(
                "authorization",
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKID/20261121/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=00"
                ),
            )
            .header("amz-sdk-request", "attempt=2; max=3")
            .body(())
            .unwrap();
        name(&request.into_parts().0, body.as_bytes())
    }

    #[test]
    fn ec2_is_named_by_its_form() {
        let call = named("POST", "/", "ec2", "Action=TerminateInstances&Version=2016-11-15&InstanceId.1=i-1&InstanceId.2=i-2");
        assert_eq!((call.service.as_str(), call.action.as_str(), call.change), ("ec2", "TerminateInstances", true));
        assert_eq!((call.attempt, call.hint.as_str(), call.region.as_str()), (2, "i-1", "us-east-1"));
        assert_eq!(call.list("InstanceId").collect::<Vec<_>>(), ["i-1", "i-2"]);
        assert!(!named("POST", "/", "ec2", "Action=DescribeVpcs").change);
        assert!(!named("POST", "/", "ec2", "Action=CreateVpc&DryRun=true").change);
        assert!(!named("POST", "/", "sts", "Action=GetCallerIdentity").change);
        let tagged = "Action=RunInstances&TagSpecification.1.Tag.1.Key=uid&TagSpecification.1.Tag.1.Value=x\
                      &TagSpecification.1.Tag.2.Key=Name&TagSpecification.1.Tag.2.Value=nodes-1&SubnetId=subnet-1";
        assert_eq!(named("POST", "/", "ec2", tagged).hint, "nodes-1");
    }

    #[test]
    fn route53_is_named_by_its_path() {
        let body = "<ChangeResourceRecordSetsRequest><Name>api.k8s.example.com</Name></ChangeResourceRecordSetsRequest>";
        let call = named("POST", "/2013-04-01/hostedzone/Z1/rrset/", "route53", body);
        assert_eq!((call.action.as_str(), call.change), ("ChangeResourceRecordSets", true));
        assert_eq!(call.hint, "Z1 api.k8s.example.com");
        let read = named("GET", "/2013-04-01/hostedzone/Z1/rrset?maxitems=300", "route53", "");
        assert_eq!((read.action.as_str(), read.change), ("ListResourceRecordSets", false));
        assert_eq!(named("GET", "/2013-04-01/change/C1", "route53", "").action, "GetChange");
        assert_eq!(named("GET", "/2013-04-01/hostedzonesbyname?dnsname=x", "route53", "").action, "ListHostedZonesByName");
    }

    #[test]
    fn s3_is_named_by_method_key_and_query() {
        for (method, uri, action, change) in [
            ("PUT", "/b/k?x-id=PutObject", "PutObject", true),
            ("GET", "/b/k?x-id=GetObject", "GetObject", false),
            ("GET", "/b?list-type=2&prefix=x", "ListObjectsV2", false),
            ("GET", "/b?versioning", "GetBucketVersioning", false),
            ("PUT", "/b?versioning", "PutBucketVersioning", true),
            ("PUT", "/b", "CreateBucket", true),
            ("HEAD", "/b", "HeadBucket", false),
            ("HEAD", "/b/k", "HeadObject", false),
            ("POST", "/b?delete", "DeleteObjects", true),
            ("DELETE", "/b/k?x-id=DeleteObject", "DeleteObject", true),
            ("GET", "/", "ListBuckets", false),
        ] {
            let call = named(method, uri, "s3", "");
            assert_eq!((call.action.as_str(), call.change), (action, change), "{method} {uri}");
        }
        assert_eq!(named("PUT", "/b/cluster/state.json", "s3", "").hint, "b/cluster/state.json");
    }
}
