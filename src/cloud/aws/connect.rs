//! Credentials, region and endpoints, found the way every AWS tool finds them.

use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::ProvideCredentials as _;
use aws_credential_types::provider::error::CredentialsError;

use super::classify::{causes, neutral};
use crate::cloud::{CloudError, ErrorClass};

/// TCP and TLS; the SDK's own default.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);
/// One attempt of one call.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// One attempt of `DescribeInstances`, whose pages of 1,000 instances are large.
pub const LONG_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);
/// A `credential_process` may ask a person for a code.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(60);

/// Who calls, and where.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Region, credentials (refreshed as they expire), endpoints and time-outs; for the S3 store too.
    pub sdk: SdkConfig,
    pub region: String,
}

/// Finds credentials by the SDK's whole chain (environment, profile with SSO, assumed role or `credential_process`, web identity,
/// container, instance metadata) and loads them once, so that a missing login is told at the start.
///
/// `region`: of the spec; `None` takes it from the environment, the profile or the instance.
pub async fn connect(region: Option<&str>) -> Result<Connection, CloudError> {
    let region = region.map(|name| Region::new(name.to_owned()));
    // Off EC2 the metadata address answers nothing: two short attempts, not the SDK's four of ten seconds.
    let metadata = aws_config::imds::Client::builder()
        .max_attempts(2)
        .connect_timeout(Duration::from_secs(1))
        .read_timeout(Duration::from_secs(1))
        .operation_timeout(Duration::from_secs(5))
        .build();
    let mut chain = DefaultCredentialsChain::builder().imds_client(metadata);
    chain.set_region(region.clone());
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .credentials_provider(chain.build().await)
        .identity_cache(IdentityCache::lazy().load_timeout(CREDENTIALS_TIMEOUT).build())
        .timeout_config(timeouts(ATTEMPT_TIMEOUT))
        .retry_config(RetryConfig::standard());
    if let Ok(name) = AppName::new("kubewright") {
        loader = loader.app_name(name);
    }
    if let Some(region) = region {
        loader = loader.region(region);
    }
    let sdk = loader.load().await;
    let Some(region) = sdk.region().map(ToString::to_string) else {
        return Err(CloudError {
            class: ErrorClass::Fatal,
            action: "aws".to_owned(),
            code: "no region".to_owned(),
            message: "no AWS region is set; set AWS_REGION, or `region` in the profile".to_owned(),
            request_id: None,
        });
    };
    let Some(provider) = sdk.credentials_provider() else { return Err(no_credentials("none", "there is no provider")) };
    match tokio::time::timeout(CREDENTIALS_TIMEOUT, provider.provide_credentials()).await {
        Ok(Ok(_)) => Ok(Connection { sdk, region }),
        Ok(Err(CredentialsError::CredentialsNotLoaded(_))) => {
            Err(no_credentials("none", "nothing in the environment, the profile files, the container or the instance metadata"))
        }
        Ok(Err(error)) => Err(no_credentials("failed", &causes(&error))),
        Err(_) => Err(no_credentials("timeout", "no answer within a minute")),
    }
}

fn no_credentials(code: &str, why: &str) -> CloudError {
    // A profile that is misspelt or incomplete looks like none at all to the SDK.
    let profile = std::env::var("AWS_PROFILE").map(|name| format!(" in profile `{name}`")).unwrap_or_default();
    CloudError {
        class: ErrorClass::Credentials,
        action: "credentials".to_owned(),
        code: code.to_owned(),
        message: neutral(&format!("no AWS credentials{profile}: {why}; set AWS_PROFILE, or log in with `aws sso login`")),
        request_id: None,
    }
}

/// Every call ends: the SDK has no time-out for an answer of its own accord.
pub(super) fn timeouts(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(attempt)
        .operation_timeout(attempt.saturating_mul(4))
        .build()
}
