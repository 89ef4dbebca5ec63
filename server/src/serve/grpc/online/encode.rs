//! Replies as protobuf: sized first, then written once.
//!
//! Values of fixed width lie in a reply as the wire wants them, so a column is a few tags and one copy. The messages are those of
//! `online.proto`; a test decodes them with the generated code.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema};
use arrow_ipc::writer::StreamWriter;
use prost::Message;
use tidegate_proto::online::v1 as wire;
use tidegate_schemas::types::DataType;

use crate::service::{Error, FeatureReply, LookupReply, Plan, Result, Texts, Values};

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
const AS_OF: u32 = 6;

/// Bytes of a fixed 64-bit field, its tag included.
const FIXED64: usize = 9;

/// A reply as the bytes of its message.
///
/// # Errors
/// More rows than the message can say; values that Arrow IPC can't carry.
pub(super) fn encode(reply: &LookupReply, as_arrow: bool) -> Result<Vec<u8>> {
    if u32::try_from(reply.answer.rows).is_err() {
        return Err(Error::invalid("too many rows in one lookup; ask in parts"));
    }
    let plain = if as_arrow { None } else { plain(reply) };
    plain.map_or_else(|| in_full(reply, as_arrow), Ok)
}

fn in_full(reply: &LookupReply, as_arrow: bool) -> Result<Vec<u8>> {
    let rows = reply.answer.rows;
    let view = |times: &crate::service::ViewTimes| wire::ViewTimes {
        view: times.view.clone(),
        event_times: times.event_times.clone(),
        ages: times.ages.clone(),
    };
    let views: Vec<wire::ViewTimes> = reply.answer.views.iter().map(view).collect();
    let arrow = as_arrow.then(|| all_values(reply)).transpose()?;
    let columns = reply.features().map(|feature| Measured::of(feature, as_arrow)).collect::<Result<Vec<_>>>()?;
    let length = varint_field(rows as u64)
        + varint_field(reply.catalog_version)
        + columns.iter().map(|column| field(column.length)).sum::<usize>()
        + views.iter().map(|view| field(view.encoded_len())).sum::<usize>()
        + arrow.as_ref().map_or(0, |bytes| field(bytes.len()))
        + reply.as_of.map_or(0, |_| FIXED64);
    let mut out = Vec::with_capacity(length);
    put_varint_field(ROWS, rows as u64, &mut out);
    for column in &columns {
        put_head(FEATURES, column.length, &mut out);
        column.put(as_arrow, &mut out);
    }
    for view in &views {
        put_head(VIEWS, view.encoded_len(), &mut out);
        view.encode_raw(&mut out);
    }
    put_varint_field(CATALOG_VERSION, reply.catalog_version, &mut out);
    if let Some(arrow) = &arrow {
        put_field(ALL_ARROW_IPC, arrow, &mut out);
    }
    if let Some(as_of) = reply.as_of {
        out.push((AS_OF << 3 | 1) as u8);
        out.extend_from_slice(&as_of.to_le_bytes());
    }
    debug_assert_eq!(out.len(), length);
    Ok(out)
}

/// What is the same in every reply of a plan: for each column its name and type as fields, and the field of its values.
struct Heads {
    bytes: Vec<u8>,
    columns: Vec<Head>,
}

struct Head {
    /// Where its bytes end.
    end: usize,
    values: u32,
}

impl Heads {
    fn of(plan: &Plan) -> Self {
        let mut heads = Self { bytes: Vec::new(), columns: Vec::with_capacity(plan.outputs().len()) };
        for (name, data_type, type_name) in plan.outputs() {
            put_field(NAME, name.as_bytes(), &mut heads.bytes);
            put_field(DATA_TYPE, type_name.as_bytes(), &mut heads.bytes);
            let values = match data_type {
                DataType::Float64 => DOUBLES,
                DataType::Float32 => FLOATS,
                DataType::Int32 | DataType::Date => INT32S,
                DataType::Bool => BOOLS,
                _ => INT64S,
            };
            heads.columns.push(Head { end: heads.bytes.len(), values });
        }
        heads
    }
}

/// The usual reply: numbers, all there, nothing else asked for.
fn plain(reply: &LookupReply) -> Option<Vec<u8>> {
    let answer = &reply.answer;
    if answer.rows == 0 || !answer.views.is_empty() || reply.has_computed() || reply.as_of.is_some() {
        return None;
    }
    let values = answer.plain()?;
    let heads: &Heads = answer.plan().derived(Heads::of)?;
    // Of a column: its own head, at most 20 bytes of tags and lengths, its values.
    let mut out = Vec::with_capacity(heads.bytes.len() + values.len() * 20 + answer.rows * values.len() * 8 + 20);
    put_varint_field(ROWS, answer.rows as u64, &mut out);
    let mut start = 0;
    for (head, values) in heads.columns.iter().zip(values) {
        let packed = field(values.len());
        put_head(FEATURES, head.end - start + field(packed), &mut out);
        out.extend_from_slice(&heads.bytes[start..head.end]);
        put_head(head.values, packed, &mut out);
        put_field(1, values, &mut out);
        start = head.end;
    }
    put_varint_field(CATALOG_VERSION, reply.catalog_version, &mut out);
    Some(out)
}

/// A column, its length in bytes as a message, and its IPC stream where it has one.
struct Measured<'a> {
    feature: FeatureReply<'a>,
    length: usize,
    nested: Option<Vec<u8>>,
}

impl<'a> Measured<'a> {
    fn of(feature: FeatureReply<'a>, as_arrow: bool) -> Result<Self> {
        let nested = match feature.values {
            Values::Arrow(column) if !as_arrow => Some(ipc_stream(vec![(feature.name, column.clone())], column.len())?),
            _ => None,
        };
        let marks = |marks: Option<&[u8]>| marks.map_or(0, |marks| field(marks.len()));
        let mut length = field(feature.name.len())
            + field(feature.type_name.len())
            + marks(feature.statuses)
            + marks(feature.reasons);
        if !as_arrow {
            length += marks(feature.held);
            length += match feature.values {
                Values::Strings(texts) => field(texts_length(texts)),
                Values::Bytes(texts) => field(texts_length(texts)),
                Values::Arrow(_) => field(nested.as_ref().map_or(0, Vec::len)),
                packed => packed_values(packed).map_or(0, |(_, bytes)| field(repeated(bytes.len()))),
            };
        }
        Ok(Self { feature, length, nested })
    }

    fn put(&self, as_arrow: bool, out: &mut Vec<u8>) {
        let feature = &self.feature;
        put_field(NAME, feature.name.as_bytes(), out);
        put_field(DATA_TYPE, feature.type_name.as_bytes(), out);
        if !as_arrow {
            self.put_values(out);
        }
        // A status is below 128: as a packed enum it is its one byte.
        for (number, marks) in [(STATUSES, feature.statuses), (REASONS, feature.reasons)] {
            if let Some(marks) = marks {
                put_field(number, marks, out);
            }
        }
    }

    fn put_values(&self, out: &mut Vec<u8>) {
        match self.feature.values {
            Values::Strings(texts) => put_texts(STRINGS, texts, out),
            Values::Bytes(texts) => put_texts(BYTES, texts, out),
            Values::Arrow(_) => put_field(ARROW_IPC, self.nested.as_deref().unwrap_or_default(), out),
            packed => {
                if let Some((number, bytes)) = packed_values(packed) {
                    put_head(number, repeated(bytes.len()), out);
                    if !bytes.is_empty() {
                        put_field(1, bytes, out);
                    }
                }
            }
        }
        if let Some(held) = self.feature.held {
            put_field(PRESENCE, held, out);
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
    if bytes == 0 { 0 } else { field(bytes) }
}

fn texts_length(texts: Texts<'_>) -> usize {
    texts.iter().map(|text| field(text.len())).sum()
}

fn put_texts(number: u32, texts: Texts<'_>, out: &mut Vec<u8>) {
    put_head(number, texts_length(texts), out);
    texts.iter().for_each(|text| put_field(1, text, out));
}

/// Bytes of a length-delimited field, its head included. Fields are numbered below 16: a tag is one byte.
#[inline]
fn field(length: usize) -> usize {
    1 + varint_length(length as u64) + length
}

#[inline]
fn put_field(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_head(number, bytes.len(), out);
    out.extend_from_slice(bytes);
}

#[inline]
fn put_head(number: u32, length: usize, out: &mut Vec<u8>) {
    out.push((number << 3 | 2) as u8);
    put_varint(length as u64, out);
}

fn varint_field(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + varint_length(value) }
}

fn put_varint_field(number: u32, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        out.push((number << 3) as u8);
        put_varint(value, out);
    }
}

#[inline]
fn varint_length(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[inline]
fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn all_values(reply: &LookupReply) -> Result<Vec<u8>> {
    let columns = reply.features().map(|feature| Ok((feature.name, feature.to_arrow()?)));
    ipc_stream(columns.collect::<Result<_>>()?, reply.answer.rows)
}

/// One batch as an IPC stream.
fn ipc_stream(columns: Vec<(&str, ArrayRef)>, rows: usize) -> Result<Vec<u8>> {
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
    encode().map_err(failed)
}

#[cfg(test)]
mod tests;
