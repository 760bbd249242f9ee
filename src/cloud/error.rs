//! Errors of AWS calls, sorted by what a caller may do about them.

use std::fmt;

/// What an error means for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Passing trouble of the service; the call had no effect.
    Retryable,
    /// `RequestLimitExceeded` and relatives; the call had no effect.
    Throttled,
    /// No answer: the call may or may not have been carried out.
    Ambiguous,
    /// The object does not exist (yet, or any more).
    NotFound,
    /// It exists already.
    Exists,
    /// Something else still needs the object (`DependencyViolation`, `...InUse`).
    InUse,
    /// The same client token was used with other parameters, or for an instance that is terminated.
    TokenSpent,
    /// A service quota is used up.
    Quota,
    /// AWS has no capacity of that machine type in that zone now.
    Capacity,
    /// The credentials may not do this.
    Denied,
    /// No credentials, or they are expired or invalid.
    Credentials,
    /// Anything else: the request is wrong and will stay wrong.
    Fatal,
}

/// One failed AWS call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct CloudError {
    pub class: ErrorClass,
    /// `ec2:RunInstances`
    pub action: String,
    /// AWS's code, or a short word of ours (`timeout`, `no answer`).
    pub code: String,
    pub message: String,
    pub request_id: Option<String>,
}

impl fmt::Display for CloudError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.action, self.code, self.message)?;
        if let Some(id) = &self.request_id {
            write!(f, " (request {id})")?;
        }
        Ok(())
    }
}
