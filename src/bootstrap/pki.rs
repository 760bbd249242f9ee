//! Stub.
use super::Pki;
use crate::secret::Secret;
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PkiError(pub String);
pub fn generate(_now: jiff::Timestamp) -> Result<Pki, PkiError> { Err(PkiError("stub".into())) }
pub fn to_json(_pki: &Pki) -> Secret { Secret::new("") }
pub fn from_json(_s: &Secret) -> Result<Pki, PkiError> { Err(PkiError("stub".into())) }
