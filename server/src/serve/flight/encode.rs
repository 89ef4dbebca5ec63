//! Record batches on their way to a Flight client.
//!
//! The schema that GetFlightInfo announces and the one DoGet sends are both [`wire_schema`] of what the service declared, nullability
//! and metadata included; batches are made to fit it, never the other way round. Dictionaries, views and run ends are hydrated:
//! every client reads the plain types, some read nothing else.
//!
//! Backpressure: nothing is read ahead. A message is encoded when the client's window has room for it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, IpcMessage, SchemaAsIpc};
use arrow_ipc::writer::IpcWriteOptions;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use prost::Message;
use tidegate_proto::flight::v1;
use tonic::Status;

use crate::serve::error::{panicked, status_in_full as status};
use crate::service::{Batches, Counts, Error};

/// Bodies are split to about this many bytes: large enough to amortise a message, small enough to keep a window busy.
const BODY_BYTES_TARGET: usize = 2 << 20;

/// Flight messages as a door's reply.
pub(crate) type FlightStream = BoxStream<'static, Result<FlightData, Status>>;

/// The schema as clients see it: plain types in place of dictionaries, views, large lists and run ends.
pub(crate) fn wire_schema(schema: &Schema) -> SchemaRef {
    let fields: Fields = schema.fields().iter().map(wire_field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn wire_field(field: &FieldRef) -> FieldRef {
    let plain = wire_type(field.data_type());
    if &plain == field.data_type() {
        return field.clone();
    }
    Arc::new(Field::new(field.name(), plain, field.is_nullable()).with_metadata(field.metadata().clone()))
}

fn wire_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => wire_type(values),
        DataType::RunEndEncoded(_, values) => wire_type(values.data_type()),
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        // Large lists become lists because the encoder announces them as such.
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) | DataType::LargeListView(item) => {
            DataType::List(wire_field(item))
        }
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(wire_field(item), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(wire_field).collect()),
        DataType::Map(entry, sorted) => DataType::Map(wire_field(entry), *sorted),
        plain => plain.clone(),
    }
}

/// The schema as bytes of an encapsulated IPC message, as FlightInfo and prepared statements carry it.
pub(crate) fn schema_bytes(schema: &Schema) -> Result<Bytes, Error> {
    let options = IpcWriteOptions::default();
    let IpcMessage(bytes) = SchemaAsIpc::new(&wire_schema(schema), &options)
        .try_into()
        .map_err(|error| Error::internal("the result's schema can't be encoded").with_source(error))?;
    Ok(bytes)
}

/// The batches as Flight messages, the schema first. A panic below ends this stream only. The last message's metadata tells
/// what the joins behind the batches counted, where there are any.
pub(crate) fn encode(batches: Batches) -> FlightStream {
    let counts = batches.counts.clone();
    let schema = wire_schema(&batches.schema);
    let conform_to = schema.clone();
    let parts = batches.stream.flat_map(move |batch| {
        let parts = batch.and_then(|batch| conform(&batch, &conform_to)).map(split);
        match parts {
            Ok(parts) => stream::iter(parts).map(Ok).left_stream(),
            Err(error) => stream::iter([Err(FlightError::from(status(error)))]).right_stream(),
        }
    });
    let encoder = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        // The parts have the right size; the encoder's own splitting counts whole buffers even of a slice.
        .with_max_flight_data_size(usize::MAX)
        .build(parts);
    let messages = AssertUnwindSafe(encoder)
        .catch_unwind()
        .map(|message| match message {
            Ok(message) => message.map_err(flight_status),
            Err(panic) => {
                Err(status(Error::internal(format!("the result could not be computed: {}", panicked(&*panic)))))
            }
        })
        .boxed();
    match counts {
        Some(counts) => told_last(messages, counts),
        None => messages,
    }
}

/// Messages whose last tells what was counted.
struct Told {
    messages: FlightStream,
    counts: Counts,
    /// The message before the next: it may be the last.
    held: Option<FlightData>,
}

fn told_last(messages: FlightStream, counts: Counts) -> FlightStream {
    let rows = |mut messages: FlightStream| async move {
        // The schema goes ahead: clients wait for it while the first rows are computed.
        let schema = messages.next().await;
        let rows = stream::unfold(Told { messages: messages.fuse().boxed(), counts, held: None }, Told::next);
        stream::iter(schema).chain(rows)
    };
    stream::once(rows(messages)).flatten().boxed()
}

impl Told {
    async fn next(mut self) -> Option<(Result<FlightData, Status>, Self)> {
        let mut held = match self.held.take() {
            Some(held) => held,
            None => match self.messages.next().await? {
                Ok(first) => first,
                Err(error) => return Some((Err(error), self)),
            },
        };
        match self.messages.next().await {
            Some(Ok(next)) => self.held = Some(next),
            // What is held was computed before the error, which comes next.
            Some(Err(error)) => self.messages = stream::iter([Err(error)]).fuse().boxed(),
            None => held.app_metadata = message(&self.counts).encode_to_vec().into(),
        }
        Some((Ok(held), self))
    }
}

fn message(counts: &Counts) -> v1::JoinCounts {
    let views = counts.by_view().into_iter();
    v1::JoinCounts {
        views: views.map(|(view, counts)| v1::ViewCounts { view, counts: counts.into_iter().collect() }).collect(),
    }
}

/// A batch with exactly this schema. Columns are cast where the wire's type differs.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Error> {
    let unfit = |error| Error::internal("a batch does not fit its declared schema").with_source(error);
    let columns = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| to_type(column, field.data_type()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unfit)?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(unfit)
}

fn to_type(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, arrow::error::ArrowError> {
    if column.data_type() == data_type { Ok(column.clone()) } else { cast(column, data_type) }
}

/// Slices of about [`BODY_BYTES_TARGET`]; copies nothing.
fn split(batch: RecordBatch) -> Vec<RecordBatch> {
    let bytes: usize = batch.columns().iter().map(|c| c.to_data().get_slice_memory_size().unwrap_or(0)).sum();
    let rows = batch.num_rows();
    let parts = bytes.div_ceil(BODY_BYTES_TARGET).clamp(1, rows.max(1));
    let rows_each = rows.div_ceil(parts).max(1);
    (0..rows.div_ceil(rows_each).max(1))
        .map(|part| batch.slice(part * rows_each, rows_each.min(rows - part * rows_each)))
        .collect()
}

/// A status that came through the encoder keeps its code; what the encoder itself says is a defect of ours.
fn flight_status(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => status(Error::internal("the result can't be encoded").with_source(other)),
    }
}

#[cfg(test)]
mod tests;
