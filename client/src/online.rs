//! Lookups: keys as Arrow columns in, features as Arrow columns with statuses out.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int32Array,
    Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use tidegate_proto::convert;
use tidegate_proto::online::v1;
use tidegate_proto::online::v1::feature_column::Values;
use tidegate_proto::online::v1::key_column::Values as Keys;
use tidegate_proto::online::v1::online_service_client::OnlineServiceClient;
use tidegate_schemas::catalog::Selection;
use tidegate_schemas::time::Micros;
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::Channel;

pub use tidegate_proto::online::v1::Status;

use crate::connect::{Client, MESSAGE_BYTES_MAX};
use crate::error::{Error, Result, connection_failure};

/// How often a lookup is tried.
const ATTEMPTS: u32 = 4;

/// What to look up.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// A service, or features.
    pub selection: Selection,
    /// One column for each key, all of one length. Integers, text, bytes, booleans, timestamps and dates; no nulls.
    pub keys: Vec<(String, ArrayRef)>,
    /// One column for each that the service's computed features need, as long as the keys.
    pub request: Vec<(String, ArrayRef)>,
    /// Name outputs `view__feature`.
    pub full_names: bool,
    /// Ask for event times and ages.
    pub include_times: bool,
    /// Ask for the values of expired observations.
    pub return_expired: bool,
    /// Answer as of this time, in UTC microseconds, from the history of the offline tier.
    pub as_of: Option<Micros>,
    /// How long to wait for an answer, attempts and pauses included.
    pub timeout: Option<Duration>,
    /// When the time is nearly over, take what was read by then, with `Failed` for the rest.
    pub allow_partial: bool,
    /// See at least the write that this token is of.
    pub after_write: Option<String>,
}

impl Lookup {
    /// A lookup with times and without expired values.
    #[must_use]
    pub fn new(selection: Selection, keys: Vec<(String, ArrayRef)>) -> Self {
        Self {
            selection,
            keys,
            request: Vec::new(),
            full_names: false,
            include_times: true,
            return_expired: false,
            as_of: None,
            timeout: None,
            allow_partial: false,
            after_write: None,
        }
    }
}

/// One feature's answers, a slot for each entity row.
#[derive(Debug, Clone)]
pub struct Column {
    /// The output's name.
    pub name: String,
    /// The type as in the definition.
    pub data_type: String,
    /// The values; null where there is none.
    pub values: ArrayRef,
    /// What each slot is.
    pub statuses: Vec<Status>,
    /// For a slot that is `Defaulted`: the status the default stands in for.
    pub reasons: Vec<Option<Status>>,
}

/// When a view's stored observations happened, a slot for each entity row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewTimes {
    /// The view, or its alias.
    pub view: String,
    /// Event times in UTC microseconds.
    pub event_times: Vec<Option<Micros>>,
    /// Microseconds from the event time to the server's now.
    pub ages: Vec<Option<Micros>>,
}

/// The answer to a lookup.
#[derive(Debug, Clone)]
pub struct OnlineFeatures {
    /// Entity rows answered.
    pub rows: usize,
    /// The features, in the order asked.
    pub features: Vec<Column>,
    /// Times of each view, where asked for.
    pub views: Vec<ViewTimes>,
    /// The version of the definitions used.
    pub catalog_version: u64,
    /// The time the answer is as of, where it comes from the offline tier.
    pub as_of: Option<Micros>,
}

impl OnlineFeatures {
    /// The values as one batch, a column for each feature.
    ///
    /// # Errors
    /// Never for an answer this client decoded.
    pub fn to_record_batch(&self) -> Result<RecordBatch> {
        let field = |column: &Column| Field::new(&column.name, column.values.data_type().clone(), true);
        let schema = Schema::new(self.features.iter().map(field).collect::<Vec<_>>());
        let columns = self.features.iter().map(|column| column.values.clone()).collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(self.rows));
        Ok(RecordBatch::try_new_with_options(Arc::new(schema), columns, &options)?)
    }
}

impl Client {
    /// Looks up the newest served values for a batch of entity rows, in their order. A server that is too busy or restarts is
    /// asked again, a few times.
    ///
    /// # Errors
    /// Unknown names, missing keys, keys of the wrong type, null keys: each named.
    pub async fn get_online_features(&self, lookup: &Lookup) -> Result<OnlineFeatures> {
        let request = v1::GetOnlineFeaturesRequest {
            project: self.project()?.to_owned(),
            selection: Some(convert::lookup_selection_to_wire(&lookup.selection)),
            keys: lookup.keys.iter().map(|(name, column)| key_column(name, column)).collect::<Result<_>>()?,
            full_feature_names: lookup.full_names,
            include_times: lookup.include_times,
            return_expired: lookup.return_expired,
            format: v1::ReplyFormat::Unspecified.into(),
            request_columns: lookup.request.iter().map(request_column).collect::<Result<_>>()?,
            as_of: lookup.as_of,
            allow_partial: lookup.allow_partial,
            after_write: lookup.after_write.clone().unwrap_or_default(),
        };
        let begun = Instant::now();
        let mut client: OnlineServiceClient<Channel> =
            OnlineServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let mut attempt = 1;
        loop {
            let mut call = tonic::Request::new(request.clone());
            if let Some(timeout) = lookup.timeout {
                // Never zero: the last attempt's failure says more than an elapsed timer of ours.
                call.set_timeout(timeout.saturating_sub(begun.elapsed()).max(Duration::from_micros(1)));
            }
            match client.get_online_features(call).await {
                Ok(reply) => return decode(reply.into_inner()),
                Err(status) if is_passing(&status) && attempt < ATTEMPTS => {
                    tokio::time::sleep(pause(&status, attempt)).await;
                    attempt += 1;
                }
                Err(status) => return Err(self.failed(&status)),
            }
        }
    }
}

/// Whether the next attempt may be answered.
fn is_passing(status: &tonic::Status) -> bool {
    status.code() == Code::Unavailable || connection_failure(status).is_some()
}

/// How long to wait before the next attempt: as long as the server asks, else longer each time, varied by chance so that callers
/// who were refused together don't come back together.
fn pause(status: &tonic::Status, attempt: u32) -> Duration {
    let asked = status.metadata().get("grpc-retry-pushback-ms").and_then(|text| text.to_str().ok()?.parse().ok());
    let base = asked.map_or_else(|| Duration::from_millis(20) * 3_u32.pow(attempt - 1), Duration::from_millis);
    // A hasher of the standard library is seeded anew each time.
    let chance = (RandomState::new().hash_one(attempt) % 1_000) as f64 / 1_000.0;
    base.mul_f64(0.8 + 0.4 * chance)
}

fn key_column(name: &str, column: &ArrayRef) -> Result<v1::KeyColumn> {
    if let Some(row) = (0..column.len()).find(|row| column.is_null(*row)) {
        return Err(Error::Argument(format!("key `{name}` is null in row {row}; a key can't be")));
    }
    let column = match column.data_type() {
        DataType::Dictionary(_, values) => cast(column, values)?,
        _ => column.clone(),
    };
    let values = match column.data_type() {
        kind if kind.is_integer() && *kind != DataType::UInt64 => integers(&cast(&column, &DataType::Int64)?),
        DataType::Timestamp(..) => {
            let micros = cast(&column, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
            integers(&cast(&micros, &DataType::Int64)?)
        }
        DataType::Date32 => integers(&cast(&cast(&column, &DataType::Int32)?, &DataType::Int64)?),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let text = cast(&column, &DataType::Utf8)?;
            let values = text.as_string::<i32>().iter().flatten().map(str::to_owned).collect();
            Keys::Strings(v1::StringValues { values })
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            let bytes = cast(&column, &DataType::Binary)?;
            let values = bytes.as_binary::<i32>().iter().flatten().map(|it| it.to_vec().into()).collect();
            Keys::Bytes(v1::BytesValues { values })
        }
        DataType::Boolean => Keys::Bools(v1::BoolValues { values: column.as_boolean().iter().flatten().collect() }),
        other => return Err(Error::Argument(format!("key `{name}` has type {other}, which can't be a key"))),
    };
    Ok(v1::KeyColumn { name: name.to_owned(), values: Some(values) })
}

/// A column of any type, nulls included, as Arrow has it.
fn request_column((name, column): &(String, ArrayRef)) -> Result<v1::RequestColumn> {
    let schema = Arc::new(Schema::new(vec![Field::new(name, column.data_type().clone(), true)]));
    let batch = RecordBatch::try_new(schema.clone(), vec![column.clone()])?;
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &schema)?;
    writer.write(&batch)?;
    let values = v1::request_column::Values::ArrowIpc(writer.into_inner()?.into());
    Ok(v1::RequestColumn { name: name.clone(), values: Some(values), presence: Vec::new() })
}

fn integers(column: &ArrayRef) -> Keys {
    Keys::Int64s(v1::Int64Values { values: column.as_primitive::<Int64Type>().values().to_vec() })
}

fn decode(wire: v1::GetOnlineFeaturesResponse) -> Result<OnlineFeatures> {
    let rows = wire.rows as usize;
    Ok(OnlineFeatures {
        rows,
        features: wire.features.into_iter().map(|column| feature_column(column, rows)).collect::<Result<_>>()?,
        views: wire.views.into_iter().map(view_times).collect(),
        catalog_version: wire.catalog_version,
        as_of: wire.as_of,
    })
}

fn feature_column(wire: v1::FeatureColumn, rows: usize) -> Result<Column> {
    let name = wire.name;
    let malformed = |what: &str| Error::Protocol(format!("feature `{name}` {what}"));
    let expected = wire
        .data_type
        .parse::<tidegate_schemas::types::DataType>()
        .map_err(|error| malformed(&error.to_string()))?
        .to_arrow();
    let presence = match wire.presence.len() {
        0 => None,
        length if length == rows => Some(NullBuffer::new(BooleanBuffer::from(wire.presence))),
        _ => return Err(malformed("has not one presence for each row")),
    };
    let values = match wire.values {
        None => new_null_array(&expected, rows),
        Some(values) => slots(values, rows, presence).ok_or_else(|| malformed("has not one slot for each row"))?,
    };
    let values = retype(&values, &expected).map_err(|what| malformed(&what))?;
    let statuses = match wire.statuses.is_empty() {
        true => vec![Status::Present; rows],
        false => wire.statuses.iter().map(|it| status(*it)).collect(),
    };
    let reasons = match wire.reasons.is_empty() {
        true => vec![None; rows],
        false => wire.reasons.iter().map(|it| Some(status(*it)).filter(|it| *it != Status::Unspecified)).collect(),
    };
    if statuses.len() != rows || reasons.len() != rows {
        return Err(malformed("has not one status for each row"));
    }
    Ok(Column { data_type: wire.data_type, values, statuses, reasons, name })
}

/// The slots as an Arrow array, or `None` when there are not as many as rows.
fn slots(values: Values, rows: usize, presence: Option<NullBuffer>) -> Option<ArrayRef> {
    let array: ArrayRef = match values {
        Values::ArrowIpc(bytes) => {
            let mut reader = arrow::ipc::reader::StreamReader::try_new(bytes.as_ref(), None).ok()?;
            let batch = reader.next()?.ok()?;
            return batch.columns().first().filter(|column| column.len() == rows).cloned();
        }
        Values::Doubles(it) if it.values.len() == rows => Arc::new(Float64Array::new(it.values.into(), presence)),
        Values::Floats(it) if it.values.len() == rows => Arc::new(Float32Array::new(it.values.into(), presence)),
        Values::Int64s(it) if it.values.len() == rows => Arc::new(Int64Array::new(it.values.into(), presence)),
        Values::Int32s(it) if it.values.len() == rows => Arc::new(Int32Array::new(it.values.into(), presence)),
        Values::Bools(it) if it.values.len() == rows => Arc::new(BooleanArray::new(it.values.into(), presence)),
        Values::Strings(it) if it.values.len() == rows => {
            Arc::new(StringArray::from_iter(present(&it.values, presence.as_ref())))
        }
        Values::Bytes(it) if it.values.len() == rows => {
            Arc::new(BinaryArray::from_iter(present(&it.values, presence.as_ref())))
        }
        _ => return None,
    };
    Some(array)
}

fn present<'a, T>(values: &'a [T], presence: Option<&'a NullBuffer>) -> impl Iterator<Item = Option<&'a T>> {
    values.iter().enumerate().map(move |(row, value)| presence.is_none_or(|bits| bits.is_valid(row)).then_some(value))
}

/// Integers that stand for timestamps and dates become those; anything else has its type already.
fn retype(values: &ArrayRef, expected: &DataType) -> std::result::Result<ArrayRef, String> {
    if values.data_type() == expected {
        return Ok(values.clone());
    }
    match (values.data_type(), expected) {
        (DataType::Int64, DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            let micros: TimestampMicrosecondArray =
                values.as_primitive::<Int64Type>().reinterpret_cast::<TimestampMicrosecondType>();
            Ok(Arc::new(micros.with_timezone_opt(zone.clone())))
        }
        (DataType::Int32, DataType::Date32) => {
            let days: Date32Array = values.as_primitive::<arrow::datatypes::Int32Type>().reinterpret_cast();
            Ok(Arc::new(days))
        }
        (DataType::Struct(_) | DataType::List(_) | DataType::Map(..), _) => Ok(values.clone()),
        (found, expected) => Err(format!("is said to be {expected} and holds {found}")),
    }
}

fn status(number: i32) -> Status {
    Status::try_from(number).unwrap_or(Status::Unspecified)
}

fn view_times(wire: v1::ViewTimes) -> ViewTimes {
    let event_times = wire.event_times.into_iter().map(|time| Some(time).filter(|it| *it != Micros::MIN)).collect();
    let ages: Vec<Option<Micros>> = wire.ages.into_iter().map(|age| Some(age).filter(|it| *it != -1)).collect();
    ViewTimes { view: wire.view, event_times, ages }
}

#[cfg(test)]
mod tests;
