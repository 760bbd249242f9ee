//! AWS error codes and what they mean for a run: the one table, used by [`super::aws`] and [`super::fake`] alike.
//!
//! Sources: EC2 API reference "Error codes", Route 53 API reference "Common errors" and "ChangeResourceRecordSets",
//! Service Quotas console for the quota codes (VPC, EC2, EBS).

use super::ErrorClass;

/// Codes that mean one thing whatever the message says. Codes ending in `.NotFound` or `.InUse` need no line here.
pub const CODES: &[(&str, ErrorClass)] = &[
    // Passing trouble.
    ("IncorrectInstanceState", ErrorClass::Retryable),
    ("IncorrectState", ErrorClass::Retryable),
    ("PriorRequestNotComplete", ErrorClass::Retryable),
    ("RequestTimeout", ErrorClass::Retryable),
    ("ServiceUnavailable", ErrorClass::Retryable),
    ("ServiceUnavailableException", ErrorClass::Retryable),
    ("Unavailable", ErrorClass::Retryable),
    // Too fast.
    ("BandwidthLimitExceeded", ErrorClass::Throttled),
    ("EC2ThrottledException", ErrorClass::Throttled),
    ("RequestLimitExceeded", ErrorClass::Throttled),
    ("RequestThrottled", ErrorClass::Throttled),
    ("RequestThrottledException", ErrorClass::Throttled),
    ("SlowDown", ErrorClass::Throttled),
    ("ThrottledException", ErrorClass::Throttled),
    ("Throttling", ErrorClass::Throttled),
    ("ThrottlingException", ErrorClass::Throttled),
    ("TooManyRequestsException", ErrorClass::Throttled),
    // The service failed in the middle: AWS says "try again", not "nothing happened".
    ("InternalError", ErrorClass::Ambiguous),
    ("InternalFailure", ErrorClass::Ambiguous),
    ("InternalServerError", ErrorClass::Ambiguous),
    // Not there.
    ("Gateway.NotAttached", ErrorClass::NotFound),
    ("InvalidAMIID.Unavailable", ErrorClass::NotFound),
    ("NatGatewayNotFound", ErrorClass::NotFound),
    ("NoSuchChange", ErrorClass::NotFound),
    ("NoSuchHostedZone", ErrorClass::NotFound),
    // There already.
    ("InvalidGroup.Duplicate", ErrorClass::Exists),
    ("InvalidKeyPair.Duplicate", ErrorClass::Exists),
    ("InvalidPermission.Duplicate", ErrorClass::Exists),
    ("InvalidSubnet.Conflict", ErrorClass::Exists),
    ("Resource.AlreadyAssociated", ErrorClass::Exists),
    ("RouteAlreadyExists", ErrorClass::Exists),
    // Still needed by something.
    ("DependencyViolation", ErrorClass::InUse),
    ("ResourceInUse", ErrorClass::InUse),
    ("VolumeInUse", ErrorClass::InUse),
    // Client tokens.
    ("IdempotentInstanceTerminated", ErrorClass::TokenSpent),
    ("IdempotentParameterMismatch", ErrorClass::TokenSpent),
    // No machines of that type there, now.
    ("InsufficientAddressCapacity", ErrorClass::Capacity),
    ("InsufficientCapacity", ErrorClass::Capacity),
    ("InsufficientFreeAddressesInSubnet", ErrorClass::Capacity),
    ("InsufficientHostCapacity", ErrorClass::Capacity),
    ("InsufficientInstanceCapacity", ErrorClass::Capacity),
    // Not allowed.
    ("AccessDenied", ErrorClass::Denied),
    ("AccessDeniedException", ErrorClass::Denied),
    ("Blocked", ErrorClass::Denied),
    ("NotAuthorized", ErrorClass::Denied),
    ("OptInRequired", ErrorClass::Denied),
    ("PendingVerification", ErrorClass::Denied),
    ("UnauthorizedOperation", ErrorClass::Denied),
    // Who are you?
    ("AuthFailure", ErrorClass::Credentials),
    ("ExpiredToken", ErrorClass::Credentials),
    ("ExpiredTokenException", ErrorClass::Credentials),
    ("IncompleteSignature", ErrorClass::Credentials),
    ("InvalidAccessKeyId", ErrorClass::Credentials),
    ("InvalidClientTokenId", ErrorClass::Credentials),
    ("InvalidSignatureException", ErrorClass::Credentials),
    ("MissingAuthenticationToken", ErrorClass::Credentials),
    ("RequestExpired", ErrorClass::Credentials),
    ("RequestTimeTooSkewed", ErrorClass::Credentials),
    ("SignatureDoesNotMatch", ErrorClass::Credentials),
    ("TokenRefreshRequired", ErrorClass::Credentials),
    ("UnrecognizedClientException", ErrorClass::Credentials),
];

/// Quota errors, with the quota's name in the Service Quotas console.
pub const QUOTAS: &[(&str, &str)] = &[
    ("AddressLimitExceeded", "EC2-VPC Elastic IPs (L-0263D0A3)"),
    ("InstanceLimitExceeded", "Running On-Demand instances (L-1216C47A for the standard families)"),
    ("InternetGatewayLimitExceeded", "Internet gateways per Region (L-A4707A72)"),
    ("MaxSpotInstanceCountExceeded", "Spot instance requests (L-34B43A08 for the standard families)"),
    ("NatGatewayLimitExceeded", "NAT gateways per Availability Zone (L-FE5A380F)"),
    ("ResourceCountExceeded", "a quota of this resource"),
    ("ResourceLimitExceeded", "a quota of this resource"),
    ("RouteLimitExceeded", "Routes per route table (L-93826ACB)"),
    ("RouteTableLimitExceeded", "Route tables per VPC (L-589F43AA)"),
    ("RulesPerSecurityGroupLimitExceeded", "Inbound or outbound rules per security group (L-0EA8095F)"),
    ("SecurityGroupLimitExceeded", "VPC security groups per Region (L-E79EC296)"),
    ("SecurityGroupsPerInstanceLimitExceeded", "Security groups per network interface (L-2AFB9258)"),
    ("SecurityGroupsPerInterfaceLimitExceeded", "Security groups per network interface (L-2AFB9258)"),
    ("SubnetLimitExceeded", "Subnets per VPC (L-407747CB)"),
    ("TagLimitExceeded", "50 tags per resource (fixed)"),
    ("VcpuLimitExceeded", "Running On-Demand instances, in vCPUs (L-1216C47A for the standard families)"),
    ("VolumeLimitExceeded", "Storage of the volume type, in TiB (L-7A658B76 for gp3)"),
    ("VpcLimitExceeded", "VPCs per Region (L-F678F1CE)"),
];

/// The quota that a code is about; `None` where it is not a quota error.
pub fn quota(code: &str) -> Option<&'static str> {
    QUOTAS.iter().find(|(known, _)| *known == code).map(|(_, name)| *name)
}

/// The class of a code, with the message where the code alone is not enough; `None` for a code that is not known.
pub fn class(code: &str, message: &str) -> Option<ErrorClass> {
    if let Some((_, class)) = CODES.iter().find(|(known, _)| *known == code) {
        return Some(*class);
    }
    if quota(code).is_some() {
        return Some(ErrorClass::Quota);
    }
    // One code of Route 53 for everything that is wrong with a batch; only its text tells which.
    if code == "InvalidChangeBatch" {
        return Some(if message.contains("already exists") {
            ErrorClass::Exists
        } else if message.contains("not found") || message.contains("do not match") {
            ErrorClass::NotFound
        } else {
            ErrorClass::Fatal
        });
    }
    if code.ends_with(".NotFound") {
        return Some(ErrorClass::NotFound);
    }
    if code.ends_with(".InUse") {
        return Some(ErrorClass::InUse);
    }
    if code.starts_with("Invalid") || code.starts_with("Missing") || code.starts_with("Malformed") || code.starts_with("Unknown")
    {
        return Some(ErrorClass::Fatal);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_one_line_and_each_line_is_what_a_caller_gets() {
        let mut seen = std::collections::BTreeSet::new();
        for (code, expected) in CODES {
            assert!(seen.insert(*code), "{code} twice");
            assert_eq!(class(code, ""), Some(*expected), "{code}");
        }
        for (code, name) in QUOTAS {
            assert!(seen.insert(*code), "{code} twice");
            assert_eq!(class(code, ""), Some(ErrorClass::Quota), "{code}");
            assert_eq!(quota(code), Some(*name));
        }
    }

    #[test]
    fn families_of_codes_are_told_apart_by_their_form() {
        for (code, message, expected) in [
            ("InvalidInstanceID.NotFound", "", Some(ErrorClass::NotFound)),
            ("InvalidGroup.NotFound", "", Some(ErrorClass::NotFound)),
            ("InvalidIPAddress.InUse", "", Some(ErrorClass::InUse)),
            ("InvalidInstanceID.Malformed", "", Some(ErrorClass::Fatal)),
            ("InvalidParameterValue", "", Some(ErrorClass::Fatal)),
            ("InvalidChangeBatch", "Tried to create resource record set [...] but it already exists", Some(ErrorClass::Exists)),
            ("InvalidChangeBatch", "Tried to delete resource record set [...] but it was not found", Some(ErrorClass::NotFound)),
            ("InvalidChangeBatch", "but the values provided do not match the current values", Some(ErrorClass::NotFound)),
            ("InvalidChangeBatch", "FATAL problem: DomainLabelTooLong", Some(ErrorClass::Fatal)),
            ("NeverHeardOfIt", "", None),
        ] {
            assert_eq!(class(code, message), expected, "{code} {message}");
        }
    }
}
