//! From an SDK error to a [`CloudError`]: the one place that decides what a failure of AWS means for a run.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::RequestId as _;

use crate::cloud::calls::{Call, Kind};
use crate::cloud::{CloudError, ErrorClass, codes};

/// What came back instead of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    pub code: Option<String>,
    pub message: String,
    pub status: Option<u16>,
    pub request_id: Option<String>,
    pub transport: Transport,
}

/// How far the request came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// There is an HTTP status.
    #[default]
    Answered,
    /// It never left: wrong parameters, nothing to sign with.
    NotBuilt,
    /// No connection was made, so AWS never saw it.
    NotConnected,
    /// No answer in time.
    TimedOut,
    /// The connection broke, or the answer could not be read.
    Broken,
    /// Credentials could not be loaded.
    NoCredentials,
}

pub fn sort<E>(call: &Call, error: &SdkError<E, HttpResponse>) -> CloudError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let causes = causes(error);
    let unloaded = chain(error).any(|cause| cause.is::<CredentialsError>());
    let transport = match error {
        _ if unloaded => Transport::NoCredentials,
        SdkError::ConstructionFailure(_) => Transport::NotBuilt,
        SdkError::TimeoutError(_) => Transport::TimedOut,
        SdkError::DispatchFailure(_) if never_connected(error) => Transport::NotConnected,
        SdkError::DispatchFailure(failure) if failure.is_timeout() => Transport::TimedOut,
        SdkError::ServiceError(_) => Transport::Answered,
        // An answer that is not XML but has a failing status is an answer of something in between.
        SdkError::ResponseError(_) if status.is_some_and(|status| status >= 400) => Transport::Answered,
        _ => Transport::Broken,
    };
    let request_id = error.request_id();
    classify(
        call,
        Failure {
            code: error.code().map(str::to_owned),
            message: error.message().map_or(causes, str::to_owned),
            status,
            request_id: request_id.map(str::to_owned),
            transport,
        },
    )
}

/// The decision itself, over plain values.
pub fn classify(call: &Call, failure: Failure) -> CloudError {
    let status = failure.status.unwrap_or_default();
    let by_code = failure.code.as_deref().and_then(|code| codes::class(code, &failure.message));
    let class = match (failure.transport, by_code) {
        (Transport::NoCredentials, _) => ErrorClass::Credentials,
        (Transport::NotBuilt, _) => ErrorClass::Fatal,
        (Transport::NotConnected, _) => ErrorClass::Retryable,
        (Transport::TimedOut | Transport::Broken, _) => ErrorClass::Ambiguous,
        (Transport::Answered, Some(class)) => class,
        (Transport::Answered, None) => match status {
            429 => ErrorClass::Throttled,
            503 => ErrorClass::Retryable,
            500.. => ErrorClass::Ambiguous,
            401 => ErrorClass::Credentials,
            403 => ErrorClass::Denied,
            _ => ErrorClass::Fatal,
        },
    };
    // A read has no effect that could be in doubt.
    let class = if class == ErrorClass::Ambiguous && call.kind == Kind::Read { ErrorClass::Retryable } else { class };
    let code = failure.code.unwrap_or_else(|| match failure.transport {
        Transport::Answered => format!("HTTP {status}"),
        Transport::NotBuilt => "not sent".to_owned(),
        Transport::NotConnected => "not connected".to_owned(),
        Transport::TimedOut => "timeout".to_owned(),
        Transport::Broken => "no answer".to_owned(),
        Transport::NoCredentials => "no credentials".to_owned(),
    });
    let said = neutral(&failure.message);
    let name = call.name();
    let message = match (class, codes::quota(&code)) {
        (ErrorClass::Denied, _) => format!("the credentials may not do {name}; AWS says: {said}"),
        (_, Some(quota)) => format!("the quota \"{quota}\" is used up; AWS says: {said}"),
        _ => said,
    };
    CloudError { class, action: name, code: neutral(&code), message, request_id: failure.request_id.as_deref().map(neutral) }
}

/// Text of AWS for a terminal or a log: control and direction characters replaced, white space folded, 2,000 characters at most.
pub fn neutral(text: &str) -> String {
    let folded = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut clean = String::with_capacity(folded.len());
    for (n, c) in folded.chars().enumerate() {
        if n == 2000 {
            clean.push('…');
            break;
        }
        let hidden = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        clean.push(if hidden { '\u{fffd}' } else { c });
    }
    clean
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

pub(super) fn causes(error: &(dyn Error + 'static)) -> String {
    chain(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Whether the failure was in making the connection. What this does not recognise counts as sent, which is the safe side.
fn never_connected(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|cause| {
        let refused =
            cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
        let text = cause.to_string();
        refused || text.contains("dns error") || text.contains("HTTP connect timeout") || text.contains("tcp connect error")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::calls;

    fn answered(code: Option<&str>, status: u16) -> Failure {
        Failure { code: code.map(str::to_owned), status: Some(status), message: "m".into(), ..Failure::default() }
    }

    fn lost(transport: Transport) -> Failure {
        Failure { transport, ..Failure::default() }
    }

    #[test]
    fn every_kind_of_failure_is_sorted_for_changes_and_for_reads() {
        use ErrorClass::{Ambiguous, Credentials, Denied, Fatal, Quota, Retryable, Throttled};
        for (failure, change, read) in [
            (answered(Some("RequestLimitExceeded"), 503), Throttled, Throttled),
            (answered(Some("Throttling"), 400), Throttled, Throttled),
            (answered(Some("UnauthorizedOperation"), 403), Denied, Denied),
            (answered(Some("AccessDenied"), 403), Denied, Denied),
            (answered(Some("ExpiredToken"), 400), Credentials, Credentials),
            (answered(Some("VpcLimitExceeded"), 400), Quota, Quota),
            (answered(Some("InternalError"), 500), Ambiguous, Retryable),
            (answered(Some("SomethingNew"), 500), Ambiguous, Retryable),
            (answered(Some("SomethingNew"), 400), Fatal, Fatal),
            (answered(None, 500), Ambiguous, Retryable),
            (answered(None, 502), Ambiguous, Retryable),
            (answered(None, 503), Retryable, Retryable),
            (answered(None, 429), Throttled, Throttled),
            (answered(None, 403), Denied, Denied),
            (answered(None, 404), Fatal, Fatal),
            (lost(Transport::TimedOut), Ambiguous, Retryable),
            (lost(Transport::Broken), Ambiguous, Retryable),
            (lost(Transport::NotConnected), Retryable, Retryable),
            (lost(Transport::NotBuilt), Fatal, Fatal),
            (lost(Transport::NoCredentials), Credentials, Credentials),
        ] {
            assert_eq!(classify(&calls::CREATE_VPC, failure.clone()).class, change, "{failure:?}");
            assert_eq!(classify(&calls::DESCRIBE_VPCS, failure.clone()).class, read, "{failure:?}");
        }
    }

    #[test]
    fn every_code_of_the_table_keeps_its_class_on_the_way() {
        for (code, class) in codes::CODES {
            assert_eq!(classify(&calls::CREATE_VPC, answered(Some(code), 400)).class, *class, "{code}");
        }
    }

    #[test]
    fn a_refusal_names_the_iam_action_or_the_quota_and_quotes_aws() {
        for call in calls::CALLS {
            let error = classify(call, Failure { message: "no way".into(), ..answered(Some("UnauthorizedOperation"), 403) });
            assert!(error.message.contains(&call.name()) && error.message.contains("no way"), "{error}");
        }
        for (code, quota) in codes::QUOTAS {
            let error = classify(&calls::CREATE_VPC, answered(Some(code), 400));
            assert!(error.message.contains(quota), "{error}");
        }
    }

    #[test]
    fn nothing_that_aws_says_can_steer_a_terminal() {
        let failure = Failure { message: "a\u{1b}[2Jb\r\n\tc\u{202e}d\u{0}e".into(), ..answered(Some("X\u{7}"), 400) };
        let error = classify(&calls::CREATE_VPC, failure);
        assert!(!error.to_string().chars().any(char::is_control), "{error:?}");
        assert_eq!(error.message, "a\u{fffd}[2Jb c\u{fffd}d\u{fffd}e");
        assert_eq!(neutral(&"x".repeat(5000)).chars().count(), 2001);
    }
}
