//! How one call is sent: paced, counted, sorted, and sent again only where that can do no harm.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use tokio::time::Instant;

use super::classify::sort;
use crate::cloud::calls::Call;
use crate::cloud::pace::Pace;
use crate::cloud::{CloudError, ErrorClass};

/// Whether a request whose fate is unknown may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Reads, calls with a client token of ours, and changes that end the same however often they are made.
    Harmless,
    /// A second request could make a second object (`CreateVpc`, `AllocateAddress`) or be refused because of the first
    /// (`CreateSecurityGroup`, `AuthorizeSecurityGroupIngress`): a lost answer goes to the caller, who looks first.
    Never,
}

const ATTEMPTS: u32 = 5;
/// No new attempt after this.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends until there is an answer, an error that will not pass, or no patience left. Retries are here and not in the SDK, so
/// that each attempt is paced and counted.
pub async fn send<T, E, F, Fut>(pace: &Pace, call: &Call, repeat: Repeat, attempt: F) -> Result<T, CloudError>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    E: ProvideErrorMetadata + Error + 'static,
{
    let start = Instant::now();
    let mut tries = 0;
    loop {
        tries += 1;
        pace.turn(call).await;
        let error = match attempt().await {
            Ok(answer) => {
                pace.answered(call);
                return Ok(answer);
            }
            Err(error) => sort(call, &error),
        };
        tracing::debug!(action = %error.action, code = %error.code, class = ?error.class, tries, "call failed");
        if error.class == ErrorClass::Throttled {
            pace.throttled(call);
        }
        let again = match error.class {
            ErrorClass::Throttled | ErrorClass::Retryable => true,
            ErrorClass::Ambiguous => repeat == Repeat::Harmless,
            // The first refusal taught the SDK how far the local clock is off.
            ErrorClass::Credentials => tries == 1 && SKEW.contains(&error.code.as_str()),
            _ => false,
        };
        let wait = backoff(tries);
        if !again || tries >= ATTEMPTS || start.elapsed() + wait > PATIENCE {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
    }
}

const SKEW: &[&str] =
    &["AuthFailure", "InvalidSignatureException", "RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch"];

/// 0.25 to 0.5 s, then twice that each time; the part left to chance keeps concurrent calls apart.
fn backoff(tries: u32) -> Duration {
    let chance = (uuid::Uuid::new_v4().as_u128() % 256) as u32;
    Duration::from_millis(250).saturating_mul(256 + chance) / 256 * 2_u32.saturating_pow(tries.saturating_sub(1).min(6))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use aws_sdk_ec2::error::ErrorMetadata;
    use aws_sdk_ec2::operation::create_vpc::CreateVpcError;
    use aws_smithy_types::body::SdkBody;

    use super::*;
    use crate::cloud::calls;

    type Failed = SdkError<CreateVpcError, HttpResponse>;

    fn refused(code: &str) -> Failed {
        let meta = ErrorMetadata::builder().code(code).message("m").build();
        SdkError::service_error(CreateVpcError::generic(meta), HttpResponse::new(400.try_into().unwrap(), SdkBody::empty()))
    }

    /// Attempts made when every one fails like this, and the class in the end.
    async fn tried(repeat: Repeat, fail: impl Fn() -> Failed) -> (u32, ErrorClass) {
        let (pace, count) = (Pace::default(), AtomicU32::new(0));
        let answer: Result<(), _> = send(&pace, &calls::CREATE_VPC, repeat, || {
            count.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Err(fail()))
        })
        .await;
        assert_eq!(pace.calls().changes, u64::from(count.load(Ordering::Relaxed)), "each attempt is counted");
        (count.into_inner(), answer.unwrap_err().class)
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_repeated_only_where_that_can_make_nothing_twice() {
        let lost = || Failed::timeout_error("slow");
        assert_eq!(tried(Repeat::Never, lost).await, (1, ErrorClass::Ambiguous));
        assert_eq!(tried(Repeat::Harmless, lost).await, (5, ErrorClass::Ambiguous));
        for repeat in [Repeat::Never, Repeat::Harmless] {
            for (code, attempts, class) in [
                ("RequestLimitExceeded", 5, ErrorClass::Throttled),
                ("Unavailable", 5, ErrorClass::Retryable),
                ("VpcLimitExceeded", 1, ErrorClass::Quota),
                ("UnauthorizedOperation", 1, ErrorClass::Denied),
                ("RequestExpired", 2, ErrorClass::Credentials),
                ("ExpiredToken", 1, ErrorClass::Credentials),
                ("DependencyViolation", 1, ErrorClass::InUse),
            ] {
                assert_eq!(tried(repeat, || refused(code)).await, (attempts, class), "{code}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn throttles_are_counted_and_an_answer_ends_them() {
        let (pace, count) = (Pace::default(), AtomicU32::new(0));
        let answer = send(&pace, &calls::CREATE_VPC, Repeat::Never, || {
            let failed = count.fetch_add(1, Ordering::Relaxed) < 3;
            std::future::ready(if failed { Err(refused("RequestLimitExceeded")) } else { Ok(7) })
        })
        .await;
        assert_eq!(answer, Ok(7));
        assert_eq!((pace.calls().changes, pace.calls().throttled), (4, 3));
    }
}
