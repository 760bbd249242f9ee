//! Every AWS call that kubewright can make, as data: the client, its pacing and the IAM policy all read this list.
//!
//! What a policy can limit each EC2 action to is from the Service Authorization Reference ("Actions, resources, and condition
//! keys for Amazon EC2").

use serde_json::{Value, json};

use crate::desired::tags;
use crate::plan::Change;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Ec2,
    Route53,
    S3,
    Sts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Change,
}

/// How far a least-privilege policy can limit an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// AWS has no resources or conditions for it, or kubewright needs it for objects without its tags; the reason.
    Everywhere(&'static str),
    /// Creates objects of these kinds, which must carry the cluster's tag in the request, in or from existing objects of those kinds.
    Creates { made: &'static [&'static str], from: &'static [&'static str] },
    /// Only objects that carry the cluster's tag.
    Owned,
    /// Tags in the create calls above, and later tags of objects that carry the cluster's tag.
    Tagging,
    /// Only the hosted zone.
    HostedZone,
    /// Only Route 53 changes, which have ids of their own.
    RecordChange,
    /// The state bucket itself.
    Bucket,
    /// Objects in the state bucket.
    Objects,
}

/// One AWS action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub service: Service,
    pub action: &'static str,
    pub kind: Kind,
    pub grant: Grant,
}

impl Call {
    /// `ec2:RunInstances`, as in IAM policies and in error messages.
    pub fn name(&self) -> String {
        let service = match self.service {
            Service::Ec2 => "ec2",
            Service::Route53 => "route53",
            Service::S3 => "s3",
            Service::Sts => "sts",
        };
        format!("{service}:{}", self.action)
    }

    pub fn is_change(&self) -> bool {
        self.kind == Kind::Change
    }
}

macro_rules! calls {
    ($($name:ident = $service:ident $kind:ident $action:literal $grant:expr;)*) => {
        $(pub static $name: Call = Call { service: Service::$service, action: $action, kind: Kind::$kind, grant: $grant };)*

        /// All of them.
        pub static CALLS: &[&Call] = &[$(&$name),*];
    };
}

const LISTING: Grant = Grant::Everywhere("listings have no resources");
const REVOKE: Grant = Grant::Everywhere("the default group of a VPC, which is emptied, has no tags");

const fn creates(made: &'static [&'static str], from: &'static [&'static str]) -> Grant {
    Grant::Creates { made, from }
}

calls! {
    GET_CALLER_IDENTITY = Sts Read "GetCallerIdentity" Grant::Everywhere("needs no permission");

    DESCRIBE_ADDRESSES = Ec2 Read "DescribeAddresses" LISTING;
    DESCRIBE_AVAILABILITY_ZONES = Ec2 Read "DescribeAvailabilityZones" LISTING;
    DESCRIBE_IMAGES = Ec2 Read "DescribeImages" LISTING;
    DESCRIBE_INSTANCES = Ec2 Read "DescribeInstances" LISTING;
    DESCRIBE_INSTANCE_TYPES = Ec2 Read "DescribeInstanceTypes" LISTING;
    DESCRIBE_INSTANCE_TYPE_OFFERINGS = Ec2 Read "DescribeInstanceTypeOfferings" LISTING;
    DESCRIBE_INTERNET_GATEWAYS = Ec2 Read "DescribeInternetGateways" LISTING;
    DESCRIBE_KEY_PAIRS = Ec2 Read "DescribeKeyPairs" LISTING;
    DESCRIBE_NAT_GATEWAYS = Ec2 Read "DescribeNatGateways" LISTING;
    DESCRIBE_NETWORK_INTERFACES = Ec2 Read "DescribeNetworkInterfaces" LISTING;
    DESCRIBE_ROUTE_TABLES = Ec2 Read "DescribeRouteTables" LISTING;
    DESCRIBE_SECURITY_GROUPS = Ec2 Read "DescribeSecurityGroups" LISTING;
    DESCRIBE_SUBNETS = Ec2 Read "DescribeSubnets" LISTING;
    DESCRIBE_VPCS = Ec2 Read "DescribeVpcs" LISTING;
    GET_CONSOLE_OUTPUT = Ec2 Read "GetConsoleOutput" Grant::Owned;

    CREATE_VPC = Ec2 Change "CreateVpc" creates(&["vpc"], &[]);
    MODIFY_VPC_ATTRIBUTE = Ec2 Change "ModifyVpcAttribute" Grant::Owned;
    DELETE_VPC = Ec2 Change "DeleteVpc" Grant::Owned;
    CREATE_SUBNET = Ec2 Change "CreateSubnet" creates(&["subnet"], &["vpc"]);
    DELETE_SUBNET = Ec2 Change "DeleteSubnet" Grant::Owned;
    CREATE_INTERNET_GATEWAY = Ec2 Change "CreateInternetGateway" creates(&["internet-gateway"], &[]);
    ATTACH_INTERNET_GATEWAY = Ec2 Change "AttachInternetGateway" Grant::Owned;
    DETACH_INTERNET_GATEWAY = Ec2 Change "DetachInternetGateway" Grant::Owned;
    DELETE_INTERNET_GATEWAY = Ec2 Change "DeleteInternetGateway" Grant::Owned;
    ALLOCATE_ADDRESS = Ec2 Change "AllocateAddress" creates(&["elastic-ip"], &[]);
    RELEASE_ADDRESS = Ec2 Change "ReleaseAddress" Grant::Owned;
    CREATE_NAT_GATEWAY = Ec2 Change "CreateNatGateway" creates(&["natgateway"], &["elastic-ip", "subnet"]);
    DELETE_NAT_GATEWAY = Ec2 Change "DeleteNatGateway" Grant::Owned;
    CREATE_ROUTE_TABLE = Ec2 Change "CreateRouteTable" creates(&["route-table"], &["vpc"]);
    DELETE_ROUTE_TABLE = Ec2 Change "DeleteRouteTable" Grant::Owned;
    CREATE_ROUTE = Ec2 Change "CreateRoute" Grant::Owned;
    REPLACE_ROUTE = Ec2 Change "ReplaceRoute" Grant::Owned;
    ASSOCIATE_ROUTE_TABLE = Ec2 Change "AssociateRouteTable" Grant::Owned;
    DISASSOCIATE_ROUTE_TABLE = Ec2 Change "DisassociateRouteTable" Grant::Owned;
    CREATE_SECURITY_GROUP = Ec2 Change "CreateSecurityGroup" creates(&["security-group"], &["vpc"]);
    DELETE_SECURITY_GROUP = Ec2 Change "DeleteSecurityGroup" Grant::Owned;
    AUTHORIZE_INGRESS = Ec2 Change "AuthorizeSecurityGroupIngress" Grant::Owned;
    AUTHORIZE_EGRESS = Ec2 Change "AuthorizeSecurityGroupEgress" Grant::Owned;
    REVOKE_INGRESS = Ec2 Change "RevokeSecurityGroupIngress" REVOKE;
    REVOKE_EGRESS = Ec2 Change "RevokeSecurityGroupEgress" REVOKE;
    IMPORT_KEY_PAIR = Ec2 Change "ImportKeyPair" creates(&["key-pair"], &[]);
    DELETE_KEY_PAIR = Ec2 Change "DeleteKeyPair" Grant::Owned;
    RUN_INSTANCES = Ec2 Change "RunInstances"
        creates(&["instance", "network-interface", "volume"], &["image", "key-pair", "security-group", "subnet"]);
    TERMINATE_INSTANCES = Ec2 Change "TerminateInstances" Grant::Owned;
    MODIFY_INSTANCE_ATTRIBUTE = Ec2 Change "ModifyInstanceAttribute" Grant::Owned;
    CREATE_TAGS = Ec2 Change "CreateTags" Grant::Tagging;
    DELETE_TAGS = Ec2 Change "DeleteTags" Grant::Owned;

    LIST_HOSTED_ZONES_BY_NAME = Route53 Read "ListHostedZonesByName" LISTING;
    GET_HOSTED_ZONE = Route53 Read "GetHostedZone" Grant::HostedZone;
    LIST_RESOURCE_RECORD_SETS = Route53 Read "ListResourceRecordSets" Grant::HostedZone;
    GET_CHANGE = Route53 Read "GetChange" Grant::RecordChange;
    CHANGE_RESOURCE_RECORD_SETS = Route53 Change "ChangeResourceRecordSets" Grant::HostedZone;

    S3_LIST_BUCKET = S3 Read "ListBucket" Grant::Bucket;
    S3_GET_OBJECT = S3 Read "GetObject" Grant::Objects;
    S3_LIST_BUCKET_VERSIONS = S3 Read "ListBucketVersions" Grant::Bucket;
    S3_GET_BUCKET_VERSIONING = S3 Read "GetBucketVersioning" Grant::Bucket;
    S3_GET_OBJECT_VERSION = S3 Read "GetObjectVersion" Grant::Objects;
    S3_PUT_OBJECT = S3 Change "PutObject" Grant::Objects;
    S3_DELETE_OBJECT = S3 Change "DeleteObject" Grant::Objects;
}

/// The call that makes a change.
pub fn of(change: &Change) -> &'static Call {
    match change {
        Change::CreateVpc { .. } => &CREATE_VPC,
        Change::ModifyVpcAttribute { .. } => &MODIFY_VPC_ATTRIBUTE,
        Change::DeleteVpc { .. } => &DELETE_VPC,
        Change::CreateSubnet { .. } => &CREATE_SUBNET,
        Change::DeleteSubnet { .. } => &DELETE_SUBNET,
        Change::CreateInternetGateway { .. } => &CREATE_INTERNET_GATEWAY,
        Change::AttachInternetGateway { .. } => &ATTACH_INTERNET_GATEWAY,
        Change::DetachInternetGateway { .. } => &DETACH_INTERNET_GATEWAY,
        Change::DeleteInternetGateway { .. } => &DELETE_INTERNET_GATEWAY,
        Change::AllocateAddress { .. } => &ALLOCATE_ADDRESS,
        Change::ReleaseAddress { .. } => &RELEASE_ADDRESS,
        Change::CreateNatGateway { .. } => &CREATE_NAT_GATEWAY,
        Change::DeleteNatGateway { .. } => &DELETE_NAT_GATEWAY,
        Change::CreateRouteTable { .. } => &CREATE_ROUTE_TABLE,
        Change::DeleteRouteTable { .. } => &DELETE_ROUTE_TABLE,
        Change::CreateRoute { .. } => &CREATE_ROUTE,
        Change::ReplaceRoute { .. } => &REPLACE_ROUTE,
        Change::AssociateRouteTable { .. } => &ASSOCIATE_ROUTE_TABLE,
        Change::DisassociateRouteTable { .. } => &DISASSOCIATE_ROUTE_TABLE,
        Change::CreateSecurityGroup { .. } => &CREATE_SECURITY_GROUP,
        Change::DeleteSecurityGroup { .. } => &DELETE_SECURITY_GROUP,
        Change::AuthorizeRules { egress: false, .. } => &AUTHORIZE_INGRESS,
        Change::AuthorizeRules { egress: true, .. } => &AUTHORIZE_EGRESS,
        Change::RevokeRules { egress: false, .. } => &REVOKE_INGRESS,
        Change::RevokeRules { egress: true, .. } => &REVOKE_EGRESS,
        Change::ImportKeyPair { .. } => &IMPORT_KEY_PAIR,
        Change::DeleteKeyPair { .. } => &DELETE_KEY_PAIR,
        Change::RunInstance { .. } => &RUN_INSTANCES,
        Change::TerminateInstance { .. } => &TERMINATE_INSTANCES,
        Change::ModifySourceDestCheck { .. } => &MODIFY_INSTANCE_ATTRIBUTE,
        Change::CreateTags { .. } => &CREATE_TAGS,
        Change::DeleteTags { .. } => &DELETE_TAGS,
        Change::ChangeRecords { .. } => &CHANGE_RESOURCE_RECORD_SETS,
    }
}

/// The least that kubewright needs: one hosted zone, one state bucket (`None`: the state is in a folder), and EC2 objects that
/// carry [`tags::CLUSTER_UID`]. A group with an instance profile needs `iam:PassRole` for that profile's role besides; which
/// role that is, only the user knows.
pub fn iam_policy(bucket: Option<&str>, hosted_zone: &str) -> Value {
    let requested = json!({ "Null": { format!("aws:RequestTag/{}", tags::CLUSTER_UID): "false" } });
    let owned = json!({ "Null": { format!("aws:ResourceTag/{}", tags::CLUSTER_UID): "false" } });
    let mut statements = vec![allow("Everywhere", names(|grant| matches!(grant, Grant::Everywhere(_))), json!("*"), None)];
    let mut creating = Vec::new();
    for call in CALLS {
        let Grant::Creates { made, from } = call.grant else { continue };
        creating.push(call.action);
        let action = || vec![call.name()];
        statements.push(allow(&format!("{}Made", call.action), action(), arns(made), Some(requested.clone())));
        if !from.is_empty() {
            statements.push(allow(&format!("{}From", call.action), action(), arns(from), None));
        }
    }
    let tagging = || names(|grant| grant == Grant::Tagging);
    let in_create = json!({ "StringEquals": { "ec2:CreateAction": creating } });
    statements.push(allow("TagWhenCreating", tagging(), json!("*"), Some(in_create)));
    let on_owned = names(|grant| matches!(grant, Grant::Owned | Grant::Tagging));
    statements.push(allow("Owned", on_owned, json!("*"), Some(owned)));
    let zone = json!(format!("arn:*:route53:::hostedzone/{hosted_zone}"));
    statements.push(allow("HostedZone", names(|grant| grant == Grant::HostedZone), zone, None));
    let changes = json!("arn:*:route53:::change/*");
    statements.push(allow("RecordChange", names(|grant| grant == Grant::RecordChange), changes, None));
    if let Some(bucket) = bucket {
        let arn = format!("arn:*:s3:::{bucket}");
        statements.push(allow("Bucket", names(|grant| grant == Grant::Bucket), json!(arn), None));
        statements.push(allow("Objects", names(|grant| grant == Grant::Objects), json!(format!("{arn}/*")), None));
    }
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// The same actions without resources and conditions, for emulators that know neither.
pub fn iam_policy_of_actions() -> Value {
    let actions = names(|_| true);
    json!({ "Version": "2012-10-17", "Statement": [allow("Actions", actions, json!("*"), None)] })
}

fn names(wanted: impl Fn(Grant) -> bool) -> Vec<String> {
    CALLS.iter().filter(|call| wanted(call.grant)).map(|call| call.name()).collect()
}

fn arns(kinds: &[&str]) -> Value {
    kinds.iter().map(|kind| format!("arn:*:ec2:*:*:{kind}/*")).collect()
}

fn allow(sid: &str, actions: Vec<String>, resource: Value, condition: Option<Value>) -> Value {
    let mut statement = json!({ "Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource });
    if let (Some(condition), Some(fields)) = (condition, statement.as_object_mut()) {
        fields.insert("Condition".to_owned(), condition);
    }
    statement
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_policy_has_every_action_and_fits_into_a_managed_policy() {
        let policy =
            iam_policy(Some("a-bucket-with-quite-a-long-name-of-sixty-three-characters-in-all"), "Z0123456789ABCDEFGHIJ");
        let text = policy.to_string();
        // Quota of IAM: 6,144 characters without white space.
        assert!(text.len() <= 6144, "{}", text.len());
        let statements = policy["Statement"].as_array().unwrap();
        let mut allowed = BTreeSet::new();
        let mut sids = BTreeSet::new();
        for statement in statements {
            let sid = statement["Sid"].as_str().unwrap();
            assert!(sids.insert(sid) && sid.chars().all(|c| c.is_ascii_alphanumeric()), "{sid}");
            let unlimited = statement["Resource"] == "*" && statement.get("Condition").is_none();
            for action in statement["Action"].as_array().unwrap() {
                let action = action.as_str().unwrap().to_owned();
                let call = CALLS.iter().find(|call| call.name() == action).unwrap();
                assert!(!unlimited || matches!(call.grant, Grant::Everywhere(_)), "{action} has no limit");
                allowed.insert(action);
            }
        }
        let all: BTreeSet<String> = CALLS.iter().map(|call| call.name()).collect();
        assert_eq!(all.len(), CALLS.len(), "an action twice");
        assert_eq!(allowed, all);
    }

    #[test]
    fn without_a_bucket_the_policy_has_no_s3() {
        assert!(!iam_policy(None, "Z1").to_string().contains("s3:"));
        let actions = iam_policy_of_actions();
        assert_eq!(actions["Statement"][0]["Action"].as_array().unwrap().len(), CALLS.len());
    }
}
