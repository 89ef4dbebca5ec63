//! Replies as protobuf: sized first, then written once into the connection's buffer.
//!
//! Values of fixed width lie in a reply as the wire wants them, so a column is a few tags and one copy. The messages are those of
//! `online.proto`; a test decodes them with the generated code.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema};
use arrow_ipc::writer::StreamWriter;
use bytes::{BufMut, Bytes};
use prost::Message;
use tidegate_proto::online::v1 as wire;

use crate::service::{Error, FeatureReply, LookupReply, Result, Texts, Values};

/// Fields of `FeatureColumn` by number.
const NAME: u32 = 1;
const DATA_TYPE: u32 = 2;
const DOUBLES: u32 = 3;
const FLOATS: u32 = 4;
const INT64S: u32 = 5;
const INT32S: u32 = 6;
const BOOLS: u32 = 7;
const STRINGS: u32 = 8;
const BYTES: u32 = 9;
const ARROW_IPC: u32 = 10;
const PRESENCE: u32 = 11;
const STATUSES: u32 = 12;
const REASONS: u32 = 13;

/// Fields of `GetOnlineFeaturesResponse`.
const ROWS: u32 = 1;
const FEATURES: u32 = 2;
const VIEWS: u32 = 3;
const CATALOG_VERSION: u32 = 4;
const ALL_ARROW_IPC: u32 = 5;

/// A reply whose size is known.
#[derive(Debug)]
pub(in crate::serve::grpc) struct ReplyMessage {
    reply: LookupReply,
    /// One for each feature.
    columns: Vec<Measured>,
    views: Vec<wire::ViewTimes>,
    /// All values, where they were asked for as Arrow.
    arrow: Option<Bytes>,
    length: usize,
}

/// A column's length in bytes, and its IPC stream where it has one.
#[derive(Debug)]
struct Measured {
    length: usize,
    nested: Option<Bytes>,
}

impl ReplyMessage {
    /// # Errors
    /// More rows than the message can say; values that Arrow IPC can't carry.
    pub(super) fn new(mut reply: LookupReply, as_arrow: bool) -> Result<Self> {
        if u32::try_from(reply.answer.rows).is_err() {
            return Err(Error::invalid("too many rows in one lookup; ask in parts"));
        }
        let view = |times: crate::service::ViewTimes| wire::ViewTimes {
            view: times.view,
            event_times: times.event_times,
            ages: times.ages,
        };
        let views: Vec<wire::ViewTimes> = std::mem::take(&mut reply.answer.views).into_iter().map(view).collect();
        let arrow = as_arrow.then(|| all_values(&reply)).transpose()?;
        let columns = reply.features().map(|feature| sized(&feature, as_arrow)).collect::<Result<Vec<_>>>()?;
        let length = varint_field(ROWS, reply.answer.rows as u64)
            + varint_field(CATALOG_VERSION, reply.catalog_version)
            + columns.iter().map(|column| field(FEATURES, column.length)).sum::<usize>()
            + views.iter().map(|view| field(VIEWS, view.encoded_len())).sum::<usize>()
            + arrow.as_ref().map_or(0, |bytes| field(ALL_ARROW_IPC, bytes.len()));
        Ok(Self { reply, columns, views, arrow, length })
    }

    /// Bytes of the message.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Writes the message: exactly [`Self::length`] bytes.
    pub(super) fn write(&self, out: &mut impl BufMut) {
        put_varint_field(ROWS, self.reply.answer.rows as u64, out);
        for (feature, column) in self.reply.features().zip(&self.columns) {
            put_head(FEATURES, column.length, out);
            put_feature(&feature, column.nested.as_ref(), self.arrow.is_some(), out);
        }
        for view in &self.views {
            put_head(VIEWS, view.encoded_len(), out);
            view.encode_raw(out);
        }
        put_varint_field(CATALOG_VERSION, self.reply.catalog_version, out);
        if let Some(arrow) = &self.arrow {
            put_field(ALL_ARROW_IPC, arrow, out);
        }
    }
}

fn sized(feature: &FeatureReply<'_>, as_arrow: bool) -> Result<Measured> {
    let nested = match feature.values {
        Values::Arrow(column) if !as_arrow => Some(ipc_stream(vec![(feature.name, column.clone())], column.len())?),
        _ => None,
    };
    let marks = |number: u32, marks: Option<&[u8]>| marks.map_or(0, |marks| field(number, marks.len()));
    let mut length = field(NAME, feature.name.len())
        + field(DATA_TYPE, feature.type_name.len())
        + marks(STATUSES, feature.statuses)
        + marks(REASONS, feature.reasons);
    if !as_arrow {
        length += marks(PRESENCE, feature.held);
        length += match feature.values {
            Values::Strings(texts) => field(STRINGS, texts_length(texts)),
            Values::Bytes(texts) => field(BYTES, texts_length(texts)),
            Values::Arrow(_) => field(ARROW_IPC, nested.as_ref().map_or(0, Bytes::len)),
            packed => packed_values(packed).map_or(0, |(number, bytes)| field(number, repeated(bytes.len()))),
        };
    }
    Ok(Measured { length, nested })
}

fn put_feature(feature: &FeatureReply<'_>, nested: Option<&Bytes>, as_arrow: bool, out: &mut impl BufMut) {
    put_field(NAME, feature.name.as_bytes(), out);
    put_field(DATA_TYPE, feature.type_name.as_bytes(), out);
    if !as_arrow {
        match feature.values {
            Values::Strings(texts) => put_texts(STRINGS, texts, out),
            Values::Bytes(texts) => put_texts(BYTES, texts, out),
            Values::Arrow(_) => put_field(ARROW_IPC, nested.map_or(&[], |bytes| bytes), out),
            packed => {
                if let Some((number, bytes)) = packed_values(packed) {
                    put_head(number, repeated(bytes.len()), out);
                    if !bytes.is_empty() {
                        put_field(1, bytes, out);
                    }
                }
            }
        }
        if let Some(held) = feature.held {
            put_field(PRESENCE, held, out);
        }
    }
    // A status is below 128: as a packed enum it is its one byte.
    for (number, marks) in [(STATUSES, feature.statuses), (REASONS, feature.reasons)] {
        if let Some(marks) = marks {
            put_field(number, marks, out);
        }
    }
}

/// The field and the bytes of values of fixed width.
fn packed_values(values: Values<'_>) -> Option<(u32, &[u8])> {
    Some(match values {
        Values::Doubles(values) => (DOUBLES, values.bytes()),
        Values::Floats(values) => (FLOATS, values.bytes()),
        Values::Int64s(values) => (INT64S, values.bytes()),
        Values::Int32s(values) => (INT32S, values.bytes()),
        Values::Bools(values) => (BOOLS, values),
        Values::Strings(_) | Values::Bytes(_) | Values::Arrow(_) => return None,
    })
}

/// Length of a message whose only field is `repeated … values = 1`, packed.
fn repeated(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { field(1, bytes) }
}

fn texts_length(texts: Texts<'_>) -> usize {
    texts.iter().map(|text| field(1, text.len())).sum()
}

fn put_texts(number: u32, texts: Texts<'_>, out: &mut impl BufMut) {
    put_head(number, texts_length(texts), out);
    texts.iter().for_each(|text| put_field(1, text, out));
}

/// Bytes of a field of `length` bytes, its head included.
fn field(number: u32, length: usize) -> usize {
    head(number).encoded_len() + varint_length(length as u64) + length
}

fn put_field(number: u32, bytes: &[u8], out: &mut impl BufMut) {
    put_head(number, bytes.len(), out);
    out.put_slice(bytes);
}

fn put_head(number: u32, length: usize, out: &mut impl BufMut) {
    head(number).put(out);
    put_varint(length as u64, out);
}

/// A field's tag: of a length-delimited field.
fn head(number: u32) -> Tag {
    Tag(number << 3 | 2)
}

#[derive(Clone, Copy)]
struct Tag(u32);

impl Tag {
    fn encoded_len(self) -> usize {
        varint_length(u64::from(self.0))
    }

    fn put(self, out: &mut impl BufMut) {
        put_varint(u64::from(self.0), out);
    }
}

fn varint_field(number: u32, value: u64) -> usize {
    if value == 0 { 0 } else { Tag(number << 3).encoded_len() + varint_length(value) }
}

fn put_varint_field(number: u32, value: u64, out: &mut impl BufMut) {
    if value != 0 {
        Tag(number << 3).put(out);
        put_varint(value, out);
    }
}

fn varint_length(value: u64) -> usize {
    prost::encoding::encoded_len_varint(value)
}

fn put_varint(value: u64, out: &mut impl BufMut) {
    prost::encoding::encode_varint(value, out);
}

fn all_values(reply: &LookupReply) -> Result<Bytes> {
    let columns = reply.features().map(|feature| Ok((feature.name, feature.to_arrow()?)));
    ipc_stream(columns.collect::<Result<_>>()?, reply.answer.rows)
}

/// One batch as an IPC stream.
fn ipc_stream(columns: Vec<(&str, ArrayRef)>, rows: usize) -> Result<Bytes> {
    let encode = || {
        let field = |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), true);
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        let columns = columns.iter().map(|(_, column)| column.clone()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
        let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
        writer.write(&batch)?;
        writer.into_inner()
    };
    let failed = |error| Error::internal("the values can't be encoded as Arrow").with_source(error);
    Ok(encode().map_err(failed)?.into())
}

#[cfg(test)]
mod tests;
