//! Named objects with compare-and-swap: what a folder and an S3 bucket have in common.

use async_trait::async_trait;
use jiff::Timestamp;

/// Opaque version of one object's content (S3: the ETag).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

/// When a write or delete may happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    Always,
    /// Only where there is no object of that key.
    Absent,
    /// Only where the object still has that version.
    Is(Version),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub bytes: Vec<u8>,
    pub version: Version,
    /// By the store's clock.
    pub modified: Timestamp,
}

#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The condition did not hold (S3 412), or could not be judged because of a concurrent write (409). The caller reads back and compares write ids.
    #[error("{key} was changed by somebody else")]
    Conflict { key: String },
    /// No answer: the write may have happened. The caller reads back.
    #[error("{key}: no answer: {message}")]
    Ambiguous { key: String, message: String },
    #[error("{key}: not permitted: {message}")]
    Denied { key: String, message: String },
    #[error("{key}: {message}")]
    Failed { key: String, message: String },
}

/// Keys are relative paths of `[A-Za-z0-9._-]` parts joined by `/`.
#[async_trait]
pub trait Objects: Send + Sync {
    async fn get(&self, key: &str) -> Result<Option<Object>, ObjectError>;
    async fn put(&self, key: &str, bytes: Vec<u8>, condition: Condition) -> Result<Version, ObjectError>;
    /// Deleting what is absent is no error, except under [`Condition::Is`].
    async fn delete(&self, key: &str, condition: Condition) -> Result<(), ObjectError>;
    /// Keys below a prefix, sorted.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, ObjectError>;
    /// Keys of the store, not more than one call gives.
    async fn some(&self) -> Result<Vec<String>, ObjectError> {
        self.list("").await
    }
    /// Contents that writes and deletes of a key have replaced, the newest first, at most `limit`; none where the store keeps none.
    async fn history(&self, _key: &str, _limit: usize) -> Result<Vec<Object>, ObjectError> {
        Ok(Vec::new())
    }
    /// Whether the store keeps what is replaced in a state; `None`: it cannot be known.
    async fn keeps_history(&self) -> Option<bool> {
        None
    }
    /// The store's clock.
    async fn now(&self) -> Result<Timestamp, ObjectError>;
    /// `file:///abs/path` or `s3://bucket/prefix`, for messages.
    fn location(&self) -> String;
}
