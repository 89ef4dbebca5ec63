//! Messages into rows of a source, by the names of its columns, and what is none told apart.
//!
//! [`json`] holds objects against the source's columns and makes rows of them · [`protobuf`] makes such objects of messages ·
//! [`avro`] makes rows schema by schema.
//!
//! Fields that the source does not name are passed over, and columns that a message lacks are null: topics change, and rows go on. A
//! message that can't be decoded holds up no other; a null key or event time is for the caller to judge.

mod avro;
mod json;
mod protobuf;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use tidegate_offline::ingest::{Rules, schema_of};
use tidegate_schemas::definition::StreamFormat;

use super::{Error, Message};
use crate::base64;

/// Why a message is no row, as the quarantine table and metrics tell it.
const EMPTY: &str = "message without content";
const UNREADABLE: &str = "message can't be decoded";
const UNKNOWN_SCHEMA: &str = "unknown schema";

/// A message that is no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Poison {
    /// Which of the messages.
    pub(crate) message: usize,
    /// Why, in a few words that metrics count by.
    pub(crate) reason: &'static str,
    /// What is wrong with it.
    pub(crate) detail: String,
}

/// Messages as rows.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// The rows, with the source's columns.
    pub(crate) rows: RecordBatch,
    /// Which message each row was.
    pub(crate) messages: Vec<usize>,
    /// The messages that are no rows, ascending.
    pub(crate) poison: Vec<Poison>,
}

/// Makes rows of the messages of one format.
#[derive(Debug)]
pub(crate) enum Decoder {
    /// Objects.
    Json,
    /// Avro with the schemas of a file or folder.
    Avro(avro::Schemas),
    /// Protobuf with the descriptors of a file.
    Protobuf(protobuf::Descriptors),
}

impl Decoder {
    /// Opens what the format needs. `path` gives the real path behind a URI.
    ///
    /// # Errors
    /// [`Error::Schemas`] for files that can't be used; whatever `path` fails with.
    pub(crate) fn open<E: From<Error>>(
        format: &StreamFormat,
        path: impl Fn(&str) -> Result<PathBuf, E>,
    ) -> Result<Self, E> {
        Ok(match format {
            StreamFormat::Json => Self::Json,
            StreamFormat::Avro { schemas } => Self::Avro(avro::Schemas::open(path(schemas)?)?),
            StreamFormat::Protobuf { descriptors, message } => {
                Self::Protobuf(protobuf::Descriptors::open(path(descriptors)?, message)?)
            }
        })
    }

    /// Makes rows of messages.
    ///
    /// # Errors
    /// Files of the format that can't be read any more; a message alone is never an error.
    pub(crate) fn decode(&mut self, messages: &[Message], rules: &Rules) -> Result<Decoded, Error> {
        let mut poison = Vec::new();
        let mut payloads: Vec<(usize, &[u8])> = Vec::with_capacity(messages.len());
        for (message, Message { payload, .. }) in messages.iter().enumerate() {
            match payload {
                Some(payload) => payloads.push((message, payload)),
                None => {
                    let detail = "it deletes its key from a compacted topic, which does nothing here".to_owned();
                    poison.push(Poison { message, reason: EMPTY, detail });
                }
            }
        }
        let (rows, messages) = match self {
            Self::Json => json::rows(payloads, json::parse, rules, &mut poison)?,
            Self::Protobuf(descriptors) => {
                descriptors.refresh()?;
                json::rows(payloads, |payload| descriptors.parse(payload), rules, &mut poison)?
            }
            Self::Avro(schemas) => schemas.rows(&payloads, rules, &mut poison)?,
        };
        poison.sort_by_key(|poison| poison.message);
        Ok(Decoded { rows, messages, poison })
    }
}

/// What a message says, as text where it is text, else as base64.
pub(crate) fn content(payload: Option<&[u8]>) -> String {
    let payload = payload.unwrap_or_default();
    match std::str::from_utf8(payload) {
        Ok(text) => text.to_owned(),
        Err(_) => base64::encode(payload),
    }
}

/// The source's columns, as rows of messages have them: any of them may be null.
fn schema(rules: &Rules) -> SchemaRef {
    let fields =
        schema_of(rules).fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>();
    Arc::new(Schema::new(fields))
}

/// Makes a batch of many items with `build`. Where that fails the halves are tried, down to the items that are to blame, which
/// `blame` gets.
fn build_or_blame(
    items: Range<usize>,
    build: &mut dyn FnMut(Range<usize>) -> Result<RecordBatch, ArrowError>,
    blame: &mut dyn FnMut(usize, String),
) -> Vec<(Range<usize>, RecordBatch)> {
    if items.is_empty() {
        return Vec::new();
    }
    match guarded(|| build(items.clone()), |fault| ArrowError::ParseError(fault.to_owned())) {
        Ok(batch) => vec![(items, batch)],
        Err(error) if items.len() == 1 => {
            blame(items.start, error.to_string());
            Vec::new()
        }
        Err(_) => {
            let middle = items.start + items.len() / 2;
            let mut parts = build_or_blame(items.start..middle, build, blame);
            parts.extend(build_or_blame(middle..items.end, build, blame));
            parts
        }
    }
}

/// Batches of one schema as one.
fn whole(schema: &SchemaRef, parts: &[RecordBatch]) -> Result<RecordBatch, Error> {
    concat_batches(schema, parts).map_err(Error::Rows)
}

/// Runs a decoder on bytes that anybody may have written: where it gives up with a panic, that is the message's fault.
fn guarded<T, E>(decode: impl FnOnce() -> Result<T, E>, fault: impl FnOnce(&str) -> E) -> Result<T, E> {
    let decoded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode));
    decoded.unwrap_or_else(|_| Err(fault("the decoder gave up on it")))
}

#[cfg(test)]
mod tests;
