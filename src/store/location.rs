//! Where a store is: the value of `--state`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::key::is_part;

/// A folder or a place in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `file://DIR`; relative to the working directory unless it begins with `/`.
    File(PathBuf),
    /// `s3://BUCKET/PREFIX`; the prefix has no slash at either end and may be empty.
    S3 { bucket: String, prefix: String },
}

/// A `--state` that is no location; says the right form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no state store: {why}; write {right}", text.escape_debug())]
pub struct LocationError {
    text: String,
    why: String,
    right: String,
}

const FORMS: &str = "file://DIR or s3://BUCKET/PREFIX";

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let wrong = |why: &str, right: &str| LocationError { text: text.into(), why: why.into(), right: right.into() };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(match text {
                "" => wrong("it is empty", FORMS),
                _ if text.starts_with("file:") || text.starts_with("s3:") => wrong("`://` is missing", FORMS),
                _ if text.chars().any(char::is_control) => wrong("it has control characters", FORMS),
                _ => wrong("it does not say which kind", &format!("file://{text} for a folder or s3://{text} for a bucket")),
            });
        };
        match scheme {
            "file" if rest.is_empty() => Err(wrong("the folder is missing", "file://DIR")),
            "file" if rest.chars().any(char::is_control) => Err(wrong("it has control characters", "file://DIR")),
            "file" if rest == "~" || rest.starts_with("~/") => {
                Err(wrong("`~` is not expanded here", "the whole path: file:///home/..."))
            }
            "file" => Ok(Self::File(PathBuf::from(rest))),
            "s3" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
                if bucket.is_empty() {
                    return Err(wrong("the bucket is missing", "s3://BUCKET/PREFIX"));
                }
                if !is_bucket(bucket) {
                    let right = "s3://BUCKET/PREFIX with 3 to 63 lower-case letters, digits, `.` or `-` as BUCKET";
                    return Err(wrong(&format!("`{}` is no name of a bucket", bucket.escape_debug()), right));
                }
                if !prefix.is_empty() && !prefix.split('/').all(is_part) {
                    let right = "s3://BUCKET/PREFIX with letters, digits, `.`, `_`, `-` and single slashes in PREFIX";
                    return Err(wrong(&format!("`{}` is no prefix", prefix.escape_debug()), right));
                }
                Ok(Self::S3 { bucket: bucket.into(), prefix: prefix.into() })
            }
            _ if scheme.eq_ignore_ascii_case("file") || scheme.eq_ignore_ascii_case("s3") => {
                Err(wrong("the kind is written in lower case", &format!("{}://{rest}", scheme.to_ascii_lowercase())))
            }
            _ => Err(wrong("there is no store of that kind", FORMS)),
        }
    }
}

/// Amazon's rule for names of general-purpose buckets, as far as it concerns characters and length.
fn is_bucket(name: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (3..=63).contains(&name.len())
        && edge(name.bytes().next())
        && edge(name.bytes().last())
        && !name.contains("..")
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-'))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file://{}", path.display()),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_read_back_from_what_they_print() {
        for text in ["file://state", "file:///abs/path", "file://./a b", "s3://acme-clusters", "s3://acme/a/b_c.d"] {
            let location: Location = text.parse().expect(text);
            assert_eq!(location.to_string(), text);
        }
        assert_eq!("s3://acme/a/".parse::<Location>(), "s3://acme/a".parse());
    }

    #[test]
    fn what_is_no_location_is_refused_with_the_right_form() {
        for (text, right) in [
            ("", "file://DIR or s3://BUCKET/PREFIX"),
            ("state", "file://state for a folder"),
            ("./state", "file://./state for a folder"),
            ("file:state", "file://DIR"),
            ("file://", "file://DIR"),
            ("file://~/state", "file:///home/"),
            ("file://a\nb", "file://DIR"),
            ("s3://", "s3://BUCKET/PREFIX"),
            ("s3:///prefix", "s3://BUCKET/PREFIX"),
            ("s3://Acme/x", "lower-case"),
            ("s3://ab", "3 to 63"),
            ("s3://acme/../x", "single slashes"),
            ("s3://acme//x", "single slashes"),
            ("S3://acme/x", "s3://acme/x"),
            ("gs://acme", "file://DIR or s3://BUCKET/PREFIX"),
        ] {
            let error = text.parse::<Location>().expect_err(text).to_string();
            assert!(error.contains(right), "{text:?}: {error}");
            assert!(!error.chars().any(char::is_control), "{error:?}");
        }
    }
}
