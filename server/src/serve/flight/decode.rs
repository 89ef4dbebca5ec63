//! Record batches that a client sends: read one message at a time, contained and bounded.
//!
//! Two things are kept from the rest of the server. arrow-ipc panics on some malformed schemas and batches: a panic here becomes
//! an error of this request. And a small message can claim to be a large one (compressed lengths, row counts of types
//! that take no space, views and dictionaries that repeat one long value): [`check`] and [`check_expansion`] refuse those before anything
//! allocates for them, because a failed allocation can't be contained.

use std::panic::AssertUnwindSafe;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_empty_array};
use arrow::datatypes::{DataType, SchemaRef};
use arrow_flight::FlightData;
use arrow_flight::decode::{DecodedPayload, FlightDataDecoder};
use arrow_flight::error::FlightError;
use arrow_ipc::MessageHeader;
use bytes::{Buf, Bytes};
use futures::FutureExt;
use futures::stream::{BoxStream, Stream, StreamExt};
use tidegate_proto::error::WireError;
use tonic::{Code, Status};

use crate::serve::error::panicked;
use crate::service::{Batches, Error, Result};

/// The most one message's body may take once it is decompressed and plain.
const EXPANDED_BYTES_MAX: usize = 512 << 20;
/// Rows any message may have, however few bytes they take.
const ROWS_FREE: usize = 1 << 16;

/// The metadata of a message by which a client takes back what it has sent: some Arrow libraries can only end a stream well, and
/// rows that stop half way must not pass for all of them.
const ABORT: &[u8] = b"tidegate.abort";

/// Messages of a client.
pub(crate) type Messages = BoxStream<'static, std::result::Result<FlightData, Status>>;

/// Waits for the schema and hands out the batches behind it, decoded as they are polled.
///
/// Messages without a header carry metadata only and are passed over; the descriptor may come alone in front of the schema.
///
/// # Errors
/// The first message with a header is not a schema, or nothing comes.
pub(crate) async fn decode(messages: Messages) -> Result<Batches> {
    let mut payloads = Box::pin(payloads(messages));
    match payloads.next().await {
        Some(Ok(DecodedPayload::Schema(schema))) => Ok(batches(schema, payloads)),
        Some(Ok(_)) | None => Err(Error::invalid("no data came: send a schema, then record batches")),
        Some(Err(error)) => Err(error),
    }
}

/// The one column of an Arrow IPC stream that lies in a message, under the same checks; without a batch it is empty.
///
/// # Errors
/// Bytes that are no such stream, more than one batch or column, claims that the bytes do not bear out.
pub(crate) fn column(stream: &Bytes) -> Result<ArrayRef> {
    let (schema, batches) = here(stream)?;
    match (schema.fields().len(), batches.as_slice()) {
        (1, []) => Ok(new_empty_array(schema.field(0).data_type())),
        (1, [batch]) => Ok(batch.column(0).clone()),
        (columns, batches) => Err(Error::invalid(format!(
            "the Arrow stream has {columns} columns and {} batches; send one column in one batch",
            batches.len()
        ))),
    }
}

/// The rows of an Arrow IPC stream that lies in a message, under the same checks.
///
/// # Errors
/// Bytes that are no such stream, claims that the bytes do not bear out.
pub(crate) fn table(stream: &Bytes) -> Result<Batches> {
    let (schema, batches) = here(stream)?;
    Ok(Batches::from_vec(schema, batches))
}

/// Reads a stream of which all is here: nothing waits.
fn here(stream: &Bytes) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let messages = futures::stream::iter(split(stream)?.into_iter().map(Ok)).boxed();
    let read = async {
        let batches = decode(messages).await?;
        Ok::<_, Error>((batches.schema.clone(), batches.collect().await?))
    };
    read.now_or_never().unwrap_or_else(|| Err(Error::invalid("the Arrow stream has no end")))
}

/// The messages of an IPC stream: `FFFFFFFF`, the length of the header, the header, the body; a length of zero ends it.
fn split(stream: &Bytes) -> Result<Vec<FlightData>> {
    let cut = || Error::invalid("the bytes are no Arrow IPC stream, or one that is cut off");
    let (mut rest, mut messages) = (stream.clone(), Vec::new());
    let number = |bytes: &Bytes| bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    let take = |rest: &mut Bytes, length: i64| {
        let length = usize::try_from(length).ok().filter(|length| *length <= rest.len())?;
        Some(rest.split_to(length))
    };
    while !rest.is_empty() {
        if number(&rest) == Some(u32::MAX) {
            rest.advance(4);
        }
        let length = number(&rest).ok_or_else(cut)?;
        rest.advance(4);
        if length == 0 {
            break;
        }
        let header = take(&mut rest, length.into()).ok_or_else(cut)?;
        let body_length = arrow_ipc::root_as_message(&header).map_err(|_| cut())?.bodyLength();
        let body = take(&mut rest, body_length).ok_or_else(cut)?;
        messages.push(FlightData::new().with_data_header(header).with_data_body(body));
    }
    Ok(messages)
}

fn batches(schema: SchemaRef, payloads: impl Stream<Item = Result<DecodedPayload>> + Send + 'static) -> Batches {
    let stream = payloads.filter_map(async |payload| match payload {
        Ok(DecodedPayload::RecordBatch(batch)) => Some(check_expansion(&batch).map(|()| batch)),
        Ok(DecodedPayload::Schema(_)) => Some(Err(Error::invalid("a second schema came; send one schema per call"))),
        Ok(DecodedPayload::None) => None,
        Err(error) => Some(Err(error)),
    });
    Batches::new(schema, stream)
}

fn payloads(messages: Messages) -> impl Stream<Item = Result<DecodedPayload>> + Send + 'static {
    let checked = messages
        .map(|message| match message {
            Ok(message) if *message.app_metadata == *ABORT => {
                Err(Status::cancelled("the sender gave up; nothing was written"))
            }
            other => other,
        })
        .filter(|message| {
            let metadata_only = message.as_ref().is_ok_and(|message| message.data_header.is_empty());
            async move { !metadata_only }
        })
        .map(|message| {
            let message = message?;
            check(&message).map_err(|error| FlightError::ExternalError(Box::new(error)))?;
            Ok(message)
        });
    AssertUnwindSafe(FlightDataDecoder::new(checked)).catch_unwind().map(|decoded| match decoded {
        Ok(Ok(data)) => Ok(data.payload),
        Ok(Err(error)) => Err(client_error(error)),
        Err(panic) => Err(Error::invalid(format!("the Arrow data is malformed: {}", panicked(&*panic)))),
    })
}

/// Whatever is wrong with a client's bytes is the client's to mend; a status stays one.
fn client_error(error: FlightError) -> Error {
    match error {
        FlightError::Tonic(status) => of_status(&status),
        FlightError::ExternalError(error) => match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(error) => Error::invalid(format!("the Arrow data can't be read: {error}")),
        },
        other => Error::invalid(format!("the Arrow data can't be read: {other}")),
    }
}

/// A broken request stream as an error: the client went away, or its message was too large.
pub(super) fn of_status(status: &Status) -> Error {
    let wire = WireError::from_status(status);
    match status.code() {
        // What tonic says about a message above the limit, without saying what to do.
        Code::OutOfRange => Error::new(wire.kind, format!("{}; send smaller record batches", wire.message)),
        _ => Error::new(wire.kind, wire.message),
    }
}

/// Refuses a message that says it holds far more than it has bytes for.
fn check(message: &FlightData) -> Result<()> {
    let root = arrow_ipc::root_as_message(&message.data_header)
        .map_err(|error| Error::invalid(format!("a Flight message has no Arrow IPC header: {error}")))?;
    let batch = match root.header_type() {
        MessageHeader::RecordBatch => root.header_as_record_batch(),
        MessageHeader::DictionaryBatch => root.header_as_dictionary_batch().and_then(|batch| batch.data()),
        _ => return Ok(()),
    };
    let Some(batch) = batch else { return Err(Error::invalid("a record batch message without a record batch")) };
    let body = &message.data_body;
    let expanded = match batch.compression() {
        None => body.len(),
        Some(_) => {
            batch.buffers().into_iter().flatten().map(|at| uncompressed_bytes(body, at.offset(), at.length())).sum()
        }
    };
    if expanded > EXPANDED_BYTES_MAX {
        return Err(Error::invalid(format!(
            "a record batch says it takes {expanded} bytes uncompressed; send batches of at most {EXPANDED_BYTES_MAX} bytes"
        )));
    }
    let rows_max = ROWS_FREE.max(expanded.saturating_mul(8));
    if usize::try_from(batch.length()).is_ok_and(|rows| rows <= rows_max) {
        return Ok(());
    }
    Err(Error::invalid(format!("a record batch of {expanded} bytes can't have {} rows", batch.length())))
}

/// What a compressed buffer says it holds: its first eight bytes, -1 for "not compressed". Decoding checks the rest.
fn uncompressed_bytes(body: &[u8], offset: i64, length: i64) -> usize {
    let (Ok(start), Ok(length)) = (usize::try_from(offset), usize::try_from(length)) else { return usize::MAX >> 16 };
    let prefix = body.get(start..).and_then(|rest| rest.first_chunk::<8>());
    match prefix.map(|bytes| i64::from_le_bytes(*bytes)) {
        Some(-1) | None => length,
        Some(claimed) => usize::try_from(claimed).unwrap_or(usize::MAX).min(usize::MAX >> 16),
    }
}

/// Refuses a batch whose columns would be far larger as plain ones: the server reads them as such.
fn check_expansion(batch: &RecordBatch) -> Result<()> {
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let expanded = expanded_bytes(column);
        if expanded > EXPANDED_BYTES_MAX {
            return Err(Error::invalid(format!(
                "column `{}` takes {expanded} bytes as plain {}; send batches of at most {EXPANDED_BYTES_MAX} bytes",
                field.name(),
                field.data_type(),
            )));
        }
    }
    Ok(())
}

/// Bytes of the values a column stands for, where its layout can repeat one value.
fn expanded_bytes(column: &ArrayRef) -> usize {
    match column.data_type() {
        // The low 32 bits of a view are its length.
        DataType::Utf8View => column.as_string_view().views().iter().map(|view| *view as u32 as usize).sum(),
        DataType::BinaryView => column.as_binary_view().views().iter().map(|view| *view as u32 as usize).sum(),
        DataType::Dictionary(..) => column.as_any_dictionary_opt().map_or(0, |dictionary| {
            let widest = widest_value(dictionary.values());
            widest.saturating_mul(column.len())
        }),
        _ => 0,
    }
}

fn widest_value(values: &ArrayRef) -> usize {
    fn widest<O: arrow::array::OffsetSizeTrait>(offsets: &[O]) -> usize {
        offsets.windows(2).map(|pair| (pair[1] - pair[0]).as_usize()).max().unwrap_or(0)
    }
    match values.data_type() {
        DataType::Utf8 => widest(values.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => widest(values.as_string::<i64>().value_offsets()),
        DataType::Binary => widest(values.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => widest(values.as_binary::<i64>().value_offsets()),
        // Of values whose lengths are not at hand, the longest is at most all of them.
        _ => values.get_array_memory_size(),
    }
}

#[cfg(test)]
mod tests;
