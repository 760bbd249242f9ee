//! The store in a bucket: `s3://`.
//!
//! An object's version is its ETag, taken as opaque (with KMS it is no digest). Conditions are S3's `If-Match` and
//! `If-None-Match`, evaluated by the bucket. The SDK retries by itself, so a conflict may be with its own first attempt: the
//! store's own code reads back and compares. Encryption headers go with every object, the lock too: bucket policies refuse
//! what comes without them.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::{Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketVersioningStatus, ServerSideEncryption};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use jiff::Timestamp;

use crate::store::error::plain;
use crate::store::{Condition, Object, ObjectError, Objects, Version, check_key, folder_of};

/// How long one call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Of the SDK; 1: no retry.
    pub attempts: u32,
    pub attempt: Duration,
    /// With all retries and their pauses.
    pub operation: Duration,
}

impl Default for Patience {
    /// A hung attempt is given up after 10 s, a call after 25 s.
    fn default() -> Self {
        Self { attempts: 3, attempt: Duration::from_secs(10), operation: Duration::from_secs(25) }
    }
}

/// Objects below a prefix of one bucket.
pub struct S3Objects {
    client: RwLock<Client>,
    bucket: String,
    /// Empty, or with a slash at its end.
    prefix: String,
    kms_key: Option<String>,
    body: Duration,
}

/// A call's failure, or where the bucket really is.
enum Trouble {
    Elsewhere(String),
    Error(ObjectError),
}

impl S3Objects {
    /// `client` must have time-outs; see [`S3Objects::connect`]. `prefix` has no slash at either end and may be empty.
    /// Without `kms_key` objects are encrypted with the bucket's own keys (AES256).
    pub fn new(client: Client, bucket: &str, prefix: &str, kms_key: Option<String>) -> Self {
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let body = Patience::default().operation;
        Self { client: RwLock::new(client), bucket: bucket.into(), prefix, kms_key, body }
    }

    /// Makes the client from the settings of the whole process. Where those name an endpoint, buckets are addressed by path:
    /// emulators and most compatible stores have no name per bucket.
    pub fn connect(config: &SdkConfig, bucket: &str, prefix: &str, kms_key: Option<String>, patience: Patience) -> Self {
        let timeouts =
            TimeoutConfig::builder().operation_attempt_timeout(patience.attempt).operation_timeout(patience.operation).build();
        let endpoint = config.endpoint_url().is_some() || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some();
        let settings = aws_sdk_s3::config::Builder::from(config)
            .retry_config(RetryConfig::standard().with_max_attempts(patience.attempts))
            .timeout_config(timeouts)
            .force_path_style(endpoint)
            .build();
        Self { body: patience.operation, ..Self::new(Client::from_conf(settings), bucket, prefix, kms_key) }
    }

    fn client(&self) -> Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The present content, or that of a version.
    async fn fetch(&self, client: Client, key: &str, version: Option<&String>) -> Result<Option<Object>, Trouble> {
        let call = client.get_object().bucket(&self.bucket).key(self.name(key));
        let found = match call.set_version_id(version.cloned()).send().await {
            Ok(found) => found,
            Err(SdkError::ServiceError(answer)) if answer.err().is_no_such_key() => return Ok(None),
            Err(error) => {
                let action = if version.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject and s3:ListBucket" };
                return Err(self.sort(&client, key, action, error));
            }
        };
        let (tag, modified) = (found.e_tag().map(str::to_owned), found.last_modified().and_then(timestamp));
        let unanswered = |message: String| ObjectError::Ambiguous { key: key.to_owned(), message };
        // The SDK's own time-outs end with the headers.
        let body = tokio::time::timeout(self.body, found.body.collect())
            .await
            .map_err(|_| Trouble::Error(unanswered("the content did not arrive in time".into())))?
            .map_err(|error| Trouble::Error(unanswered(causes(&error))))?;
        match (tag, modified) {
            (Some(tag), Some(modified)) => Ok(Some(Object { bytes: body.into_bytes().into(), version: Version(tag), modified })),
            _ => Err(Trouble::Error(lacks(key, "ETag or Last-Modified"))),
        }
    }

    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Runs a call; once more in the bucket's own region where S3 says that it is another one than the settings name.
    async fn call<T, F>(&self, key: &str, run: impl Fn(Client) -> F + Send) -> Result<T, ObjectError>
    where
        F: Future<Output = Result<T, Trouble>> + Send,
    {
        let region = match run(self.client()).await {
            Ok(done) => return Ok(done),
            Err(Trouble::Error(error)) => return Err(error),
            Err(Trouble::Elsewhere(region)) => region,
        };
        let settings = self.client().config().to_builder().region(Region::new(region.clone())).build();
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = Client::from_conf(settings);
        run(self.client()).await.map_err(|trouble| match trouble {
            Trouble::Error(error) => error,
            Trouble::Elsewhere(next) => ObjectError::Failed {
                key: key.to_owned(),
                message: plain(&format!("bucket {} is said to be in {region}, and there in {next}", self.bucket)),
            },
        })
    }

    /// Sorts an error by what a caller may do about it. `action` is the IAM action that the call needs.
    fn sort<E>(&self, client: &Client, key: &str, action: &str, error: SdkError<E, HttpResponse>) -> Trouble
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let chain = || causes(&error);
        let key = key.to_owned();
        let (answer, meta) = match &error {
            SdkError::ServiceError(answer) => (answer.raw(), answer.err().meta()),
            SdkError::ConstructionFailure(_) => {
                return Trouble::Error(ObjectError::Failed { key, message: chain() });
            }
            _ if lacks_credentials(&error) => {
                let message = format!("no usable AWS credentials ({})", chain());
                return Trouble::Error(ObjectError::Denied { key, message });
            }
            _ => return Trouble::Error(ObjectError::Ambiguous { key, message: chain() }),
        };
        let status = answer.status().as_u16();
        let code = plain(meta.code().unwrap_or("no code"));
        let text = plain(meta.message().unwrap_or("no message"));
        if let (301 | 307 | 400, Some(region)) = (status, answer.headers().get("x-amz-bucket-region"))
            && client.config().region().is_none_or(|ours| ours.as_ref() != region)
        {
            return Trouble::Elsewhere(region.to_owned());
        }
        let bucket = &self.bucket;
        Trouble::Error(match (status, code.as_str()) {
            (_, "NoSuchBucket") => ObjectError::Failed { key, message: format!("bucket {bucket} does not exist") },
            // A condition on an object that is gone is answered with 404.
            (409 | 412, _) | (404, "NoSuchKey") => ObjectError::Conflict { key },
            (500.., _) | (_, "RequestTimeout") => ObjectError::Ambiguous { key, message: format!("{status} {code}: {text}") },
            (403, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "RequestTimeTooSkewed" | "ExpiredToken" | "InvalidToken") => {
                ObjectError::Denied { key, message: format!("{code}: {text}") }
            }
            (403, _) => {
                let path = if key.is_empty() { String::new() } else { format!("/{}", self.name(&key)) };
                let message = format!("it needs {action} on arn:aws:s3:::{bucket}{path} ({code}: {text})");
                ObjectError::Denied { key, message }
            }
            _ => ObjectError::Failed { key, message: format!("{action}: {status} {code}: {text}") },
        })
    }
}

#[async_trait]
impl Objects for S3Objects {
    async fn get(&self, key: &str) -> Result<Option<Object>, ObjectError> {
        check_key(key)?;
        self.call(key, |client| self.fetch(client, key, None)).await
    }

    async fn history(&self, key: &str, limit: usize) -> Result<Vec<Object>, ObjectError> {
        check_key(key)?;
        let ids = &self
            .call(key, |client| async move {
                let call = client.list_object_versions().bucket(&self.bucket).prefix(self.name(key));
                let page = call.send().await.map_err(|error| self.sort(&client, key, "s3:ListBucketVersions", error))?;
                // The present one is the latest, unless that is the mark of a delete. Keys that only begin alike come behind.
                let replaced = page.versions().iter().filter(|version| version.key() == Some(&self.name(key)));
                let replaced = replaced.filter(|version| version.is_latest() != Some(true));
                let ids = replaced.filter_map(|version| version.version_id());
                Ok(ids.take(limit).map(str::to_owned).collect::<Vec<_>>())
            })
            .await?;
        let mut objects = Vec::new();
        for id in ids {
            objects.extend(self.call(key, |client| self.fetch(client, key, Some(id))).await?);
        }
        Ok(objects)
    }

    async fn keeps_history(&self) -> Option<bool> {
        let asked = self.call("", |client| async move {
            let answer = client.get_bucket_versioning().bucket(&self.bucket).send().await;
            let answer = answer.map_err(|error| self.sort(&client, "", "s3:GetBucketVersioning", error))?;
            Ok(answer.status() == Some(&BucketVersioningStatus::Enabled))
        });
        asked.await.ok()
    }

    async fn some(&self) -> Result<Vec<String>, ObjectError> {
        self.call("", |client| async move {
            let call = client.list_objects_v2().bucket(&self.bucket).prefix(&self.prefix);
            let page = call.send().await.map_err(|error| self.sort(&client, "", "s3:ListBucket", error))?;
            let names = page.contents().iter().filter_map(|object| object.key()?.strip_prefix(&self.prefix));
            Ok(names.filter(|name| !name.is_empty()).map(plain).collect())
        })
        .await
    }

    async fn put(&self, key: &str, bytes: Vec<u8>, condition: Condition) -> Result<Version, ObjectError> {
        check_key(key)?;
        let (bytes, condition) = (&bytes, &condition);
        self.call(key, |client| async move {
            let call = client.put_object().bucket(&self.bucket).key(self.name(key)).body(ByteStream::from(bytes.clone()));
            let call = match condition {
                Condition::Always => call,
                Condition::Absent => call.if_none_match("*"),
                Condition::Is(version) => call.if_match(&version.0),
            };
            let call = match &self.kms_key {
                None => call.server_side_encryption(ServerSideEncryption::Aes256),
                Some(kms) => call.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id(kms),
            };
            let done = call.send().await.map_err(|error| self.sort(&client, key, "s3:PutObject", error))?;
            done.e_tag().map(|tag| Version(tag.to_owned())).ok_or_else(|| Trouble::Error(lacks(key, "ETag")))
        })
        .await
    }

    async fn delete(&self, key: &str, condition: Condition) -> Result<(), ObjectError> {
        check_key(key)?;
        let condition = &condition;
        self.call(key, |client| async move {
            let call = client.delete_object().bucket(&self.bucket).key(self.name(key));
            let call = match condition {
                Condition::Is(version) => call.if_match(&version.0),
                Condition::Always | Condition::Absent => call,
            };
            call.send().await.map_err(|error| self.sort(&client, key, "s3:DeleteObject", error))?;
            Ok(())
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, ObjectError> {
        let folder = &folder_of(prefix)?;
        self.call("", |client| async move {
            let mut keys = Vec::new();
            let mut pages = client.list_objects_v2().bucket(&self.bucket).prefix(self.name(folder)).into_paginator().send();
            while let Some(page) = pages.next().await {
                let page = page.map_err(|error| self.sort(&client, "", "s3:ListBucket", error))?;
                let names = page.contents().iter().filter_map(|object| object.key()?.strip_prefix(&self.prefix));
                // Other people's objects in the same bucket, and the "folders" that the console makes, are no keys.
                keys.extend(names.filter(|key| check_key(key).is_ok()).map(str::to_owned));
            }
            keys.sort();
            Ok(keys)
        })
        .await
    }

    /// The `Date` of an answer, whatever the answer is; to the second.
    async fn now(&self) -> Result<Timestamp, ObjectError> {
        self.call("", |client| async move {
            let date = DateSeen::default();
            let call = client.list_objects_v2().bucket(&self.bucket).prefix(&self.prefix).max_keys(1);
            let sent = call.customize().interceptor(date.clone()).send().await;
            let seen = date.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            match (seen.and_then(|text| jiff::fmt::rfc2822::parse(&text).ok()), sent) {
                (Some(date), _) => Ok(date.timestamp()),
                (None, Ok(_)) => Err(Trouble::Error(lacks("", "Date"))),
                (None, Err(error)) => Err(self.sort(&client, "", "s3:ListBucket", error)),
            }
        })
        .await
    }

    fn location(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix).trim_end_matches('/').to_owned()
    }
}

fn timestamp(time: &aws_smithy_types::DateTime) -> Option<Timestamp> {
    Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}

fn lacks(key: &str, header: &str) -> ObjectError {
    ObjectError::Failed { key: key.to_owned(), message: format!("the answer has no {header}: this is no S3 that can be used") }
}

fn sources<'a>(error: &'a (dyn std::error::Error + 'static)) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// The error and what caused it, on one line; causes that only repeat are left out.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in sources(error).map(|error| plain(&error.to_string())) {
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

fn lacks_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    sources(error).any(|error| error.is::<CredentialsError>())
}

/// Notes the `Date` header of the last answer.
#[derive(Clone, Default)]
struct DateSeen(Arc<Mutex<Option<String>>>);

impl fmt::Debug for DateSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DateSeen")
    }
}

impl Intercept for DateSeen {
    fn name(&self) -> &'static str {
        "DateSeen"
    }

    fn read_before_deserialization(
        &self,
        answer: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = answer.response().headers().get("date").map(str::to_owned);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}
