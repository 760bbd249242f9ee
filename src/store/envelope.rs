//! The document around a cluster's state: format, lineage, serial, write id and checksum.
//!
//! The checksum is the SHA-256 of the document's own text with 64 zeros where the checksum stands, so it covers every byte:
//! header, state and layout. It guards against damage and careless edits, not against someone who means it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::digest::hex;
use crate::recorded::State;

/// Newest format that this build reads, and the one it writes.
pub const FORMAT: u64 = 1;

/// How every document of this format begins.
const HEAD: &[u8] = b"{\n  \"format\": 1,\n  \"checksum\": \"";
const NO_CHECKSUM: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One written state; `S` is the state itself, or a reference to one that is to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document<S = State> {
    format: u64,
    checksum: String,
    pub cluster: String,
    /// Made with the first state of a cluster and kept by every later one: states of two lineages have nothing in common.
    pub lineage: String,
    /// One more than that of the state it replaced, from 1.
    pub serial: u64,
    /// Never the same twice: tells whose write this is after an answer was lost.
    pub write_id: String,
    /// By the writer's clock.
    pub written: Timestamp,
    /// `user@host`.
    pub writer: String,
    /// None: a lock was broken before anything was recorded, and this keeps its holder from writing.
    pub state: Option<S>,
}

/// Why the bytes are no state of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("it is cut short or not JSON ({0})")]
    NotJson(String),
    #[error("it was written by a newer kubewright; format {0}, this one reads up to {FORMAT}")]
    Newer(u64),
    #[error("its checksum is not that of its content: it was edited by hand or damaged")]
    Checksum,
    #[error("its content is no state ({0})")]
    Shape(String),
    #[error("it is the state of another cluster, {0}")]
    OtherCluster(String),
}

impl Unreadable {
    /// Nobody's state any more, as opposed to that of a newer kubewright or of another cluster.
    pub fn is_damage(&self) -> bool {
        !matches!(self, Self::Newer(_) | Self::OtherCluster(_))
    }
}

#[derive(Deserialize)]
struct Format {
    format: u64,
}

impl<S: Serialize> Document<S> {
    pub fn new(
        cluster: &str,
        lineage: &str,
        serial: u64,
        write_id: String,
        written: Timestamp,
        writer: &str,
        state: Option<S>,
    ) -> Self {
        Self {
            format: FORMAT,
            checksum: NO_CHECKSUM.into(),
            cluster: cluster.into(),
            lineage: lineage.into(),
            serial,
            write_id,
            written,
            writer: writer.into(),
            state,
        }
    }

    /// The document as it is stored: pretty-printed JSON with its checksum, a newline at the end.
    pub fn render(&self) -> Result<Vec<u8>, serde_json::Error> {
        let Self { format, checksum: _, cluster, lineage, serial, write_id, written, writer, state } = self;
        let blank = Document {
            format: *format,
            checksum: NO_CHECKSUM.into(),
            cluster: cluster.clone(),
            lineage: lineage.clone(),
            serial: *serial,
            write_id: write_id.clone(),
            written: *written,
            writer: writer.clone(),
            state: state.as_ref(),
        };
        let mut bytes = serde_json::to_vec_pretty(&blank)?;
        bytes.push(b'\n');
        let end = HEAD.len() + NO_CHECKSUM.len();
        if let (Some(tail), true) = (bytes.get(end..), bytes.starts_with(HEAD)) {
            let checksum = checksum_of(tail);
            bytes.splice(HEAD.len()..end, checksum.bytes());
        }
        Ok(bytes)
    }
}

impl Document {
    /// Reads what [`Document::render`] wrote for this cluster, and nothing else.
    pub fn read(bytes: &[u8], cluster: &str) -> Result<Self, Unreadable> {
        let Some(rest) = bytes.strip_prefix(HEAD) else { return Err(Self::why_not_ours(bytes)) };
        if !bytes.ends_with(b"\n}\n") {
            return Err(Unreadable::NotJson("it ends in the middle".into()));
        }
        let (checksum, tail) = rest.split_at_checked(NO_CHECKSUM.len()).ok_or(Unreadable::Checksum)?;
        if checksum != checksum_of(tail).as_bytes() {
            return Err(Unreadable::Checksum);
        }
        let document: Self = serde_json::from_slice(bytes).map_err(|error| Unreadable::Shape(error.to_string()))?;
        for found in [Some(&document.cluster), document.state.as_ref().map(|state| &state.cluster)].into_iter().flatten() {
            if found != cluster {
                return Err(Unreadable::OtherCluster(found.clone()));
            }
        }
        Ok(document)
    }

    /// Of what does not begin as this format does: a newer one may have another head, another checksum and other fields.
    fn why_not_ours(bytes: &[u8]) -> Unreadable {
        let Format { format } = match serde_json::from_slice(bytes) {
            Ok(format) => format,
            Err(error) if error.is_data() => return Unreadable::Shape(error.to_string()),
            Err(error) => return Unreadable::NotJson(error.to_string()),
        };
        if format > FORMAT { Unreadable::Newer(format) } else { Unreadable::Checksum }
    }
}

/// Of a document whose text behind the checksum is `tail`, with zeros in its place.
fn checksum_of(tail: &[u8]) -> String {
    hex(Sha256::new().chain_update(HEAD).chain_update(NO_CHECKSUM).chain_update(tail).finalize())
}
