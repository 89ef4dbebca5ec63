//! The point-in-time join written naively, over batches in memory: what the fast path must equal.
//!
//! For each spine row, all observations with its keys, of those the visible and valid, of those the one that supersedes the
//! others, for each feature where nulls are skipped; of that the values unless it has expired; of windows all that they
//! hold, added one by one; every step by the rule in `tidegate_schemas::time`. It shares no code with
//! the operator beyond the description of the read ([`Spec`]) and sees no files: no slots, no pruning, no late payload.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array};
use arrow::compute::{cast, interleave};
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use tidegate_schemas::time::{Address, Micros, Nulls, Rank, expired, knowledge_time, supersedes, valid, visible};
use tidegate_schemas::window::{Answer, Class, Windows};

use super::windows::columns::{Answers, Column};
use super::{EXPIRED, Feature, NOT_FOUND, PRESENT, Spec, View, windows};

/// Consecutive rows of a table as they stand in history.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Version that added them.
    pub added_version: i64,
    /// Their file's position among those the version added.
    pub order: u32,
    /// When the version was committed.
    pub committed: Option<Micros>,
    /// The rows, in file order, without those that were deleted.
    pub batch: RecordBatch,
}

/// Joins `spine` to the views of `spec`, the table of each given by `tables`, in the views' order.
///
/// # Errors
/// A column that is not there, or a type that is not a key, a time or the feature's.
pub fn join(spine: &RecordBatch, spec: &Spec, tables: &[Vec<Rows>]) -> Result<RecordBatch> {
    let times = column(spine, &spec.spine_time)?;
    let (mut fields, mut columns) = (spine.schema().fields().to_vec(), spine.columns().to_vec());
    for (view, table) in spec.views.iter().zip(tables) {
        let observations = by_key(view, table)?;
        let keys: Vec<&ArrayRef> =
            view.keys.iter().map(|key| column(spine, &key.spine_column)).collect::<Result<_>>()?;
        if view.is_windowed() {
            for (field, array) in windowed(view, table, &observations, (&keys, times), spec.as_of)? {
                fields.push(Arc::new(field));
                columns.push(array);
            }
            continue;
        }
        let values = values(view, table)?;
        let mut winners = Vec::with_capacity(spine.num_rows());
        for row in 0..spine.num_rows() {
            let at = time(times, row, false)?;
            let candidates = key(&keys, row)?.and_then(|key| observations.get(&key));
            let seen = candidates.zip(at).map(|(candidates, at)| (seen(view, candidates, at, spec.as_of), at));
            winners.push(seen.and_then(|(seen, at)| winner(view, &seen, &values, at)));
        }
        for (field, array) in output(view, &values, &winners)? {
            fields.push(Arc::new(field));
            columns.push(array);
        }
    }
    let schema = Schema::new_with_metadata(Fields::from(fields), spine.schema().metadata().clone());
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(spine.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(schema), columns, &options)?)
}

/// An observation, and where its values are.
struct Observation {
    rank: Rank,
    known: Option<Micros>,
    valid_to: Option<Micros>,
    /// Number of the batch, and row in it.
    place: (usize, usize),
}

/// The winner of a spine row, and where each feature's value is, if anywhere.
struct Found {
    event: Micros,
    fresh: bool,
    values: Vec<Option<(usize, usize)>>,
}

/// A key value in a form where equal means equal, whatever the column's width or encoding.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Value {
    Number(i128),
    Text(String),
    Bytes(Vec<u8>),
}

/// The observations that a reader at `at` may use.
fn seen<'a>(view: &View, candidates: &'a [Observation], at: Micros, as_of: Option<Micros>) -> Vec<&'a Observation> {
    let sees =
        |seen: &&Observation| visible(seen.rank.event, seen.known, at, as_of, view.upper) && valid(seen.valid_to, at);
    candidates.iter().filter(sees).collect()
}

fn winner(view: &View, seen: &[&Observation], values: &[Vec<ArrayRef>], at: Micros) -> Option<Found> {
    let best = newest(seen.iter().copied())?;
    let fresh = |found: &Observation| !expired(found.rank.event, at, view.ttl);
    let value = |arrays: &Vec<ArrayRef>| {
        let holds = |seen: &&Observation| arrays[seen.place.0].is_valid(seen.place.1);
        let found = match view.nulls {
            Nulls::Keep => Some(best),
            Nulls::Skip => newest(seen.iter().copied().filter(holds)),
        };
        found.filter(|found| fresh(found)).map(|found| found.place)
    };
    Some(Found { event: best.rank.event, fresh: fresh(best), values: values.iter().map(value).collect() })
}

/// The columns of a view of windows: each row's windows anew from all that it sees, without tiles.
fn windowed(
    view: &View,
    table: &[Rows],
    observations: &HashMap<Vec<Value>, Vec<Observation>>,
    (keys, times): (&[&ArrayRef], &ArrayRef),
    as_of: Option<Micros>,
) -> Result<Vec<(Field, ArrayRef)>> {
    let windows = windows::windows(view)?;
    let inputs = window_inputs(&windows, table)?;
    let mut answers: Vec<Answers> = view.features.iter().map(|feature| Answers::new(&feature.data_type)).collect();
    let (mut newest, mut statuses) = (Vec::new(), Vec::new());
    for row in 0..times.len() {
        let (Some(key), Some(at)) = (key(keys, row)?, time(times, row, false)?) else {
            answers.iter_mut().for_each(|answers| answers.push(&Answer::Null));
            newest.push(None);
            statuses.push(NOT_FOUND);
            continue;
        };
        let seen = seen(view, observations.get(&key).map_or(&[][..], Vec::as_slice), at, as_of);
        let mut latest = None;
        for (number, (aggregate, answers)) in windows::aggregates(view).zip(&mut answers).enumerate() {
            let spec = windows.spec(number);
            let mut partial = spec.empty();
            for Observation { rank: Rank { event, created, .. }, place, .. } in &seen {
                let start = aggregate.window.map(|window| (at - window).div_euclid(aggregate.hop) * aggregate.hop);
                if start.is_none_or(|start| *event > start) {
                    let value = spec.input.and_then(|input| inputs[input][place.0].get(place.1));
                    partial.add(spec, *event, *created, value);
                    latest = latest.max(Some(*event));
                }
            }
            answers.push(&windows.finish(number, &partial));
        }
        newest.push(latest);
        statuses.push(PRESENT);
    }
    let mut output = Vec::new();
    for (feature, answers) in view.features.iter().zip(answers) {
        output.push((Field::new(&feature.output, feature.data_type.clone(), true), answers.finish()?));
    }
    if let Some(name) = &view.event_time_output {
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(newest).with_timezone("UTC"));
        output.push((Field::new(name, times.data_type().clone(), true), times));
    }
    if let Some(name) = &view.status_output {
        output.push((Field::new(name, DataType::Utf8, false), Arc::new(StringArray::from(statuses))));
    }
    Ok(output)
}

/// For each input one column per batch.
fn window_inputs(windows: &Windows, table: &[Rows]) -> Result<Vec<Vec<Column>>> {
    let of = |input: &tidegate_schemas::definition::Column| {
        let read = |rows: &Rows| {
            let array = cast(column(&rows.batch, &input.name)?, &input.data_type.to_arrow())?;
            Ok(Column::read(&array, Class::of(&input.data_type))?)
        };
        table.iter().map(read).collect()
    };
    windows.inputs().iter().map(of).collect()
}

/// The observation that supersedes all others.
fn newest<'a>(of: impl Iterator<Item = &'a Observation>) -> Option<&'a Observation> {
    let mut best: Option<&Observation> = None;
    for candidate in of {
        if best.is_none_or(|best| supersedes(&candidate.rank, &best.rank)) {
            best = Some(candidate);
        }
    }
    best
}

fn by_key(view: &View, table: &[Rows]) -> Result<HashMap<Vec<Value>, Vec<Observation>>> {
    let mut observations: HashMap<Vec<Value>, Vec<Observation>> = HashMap::new();
    for (number, rows) in table.iter().enumerate() {
        let keys: Vec<&ArrayRef> =
            view.keys.iter().map(|key| column(&rows.batch, &key.table_column)).collect::<Result<_>>()?;
        let events = column(&rows.batch, &view.event_time)?;
        let created = view.created_time.as_ref().map(|name| column(&rows.batch, name)).transpose()?;
        let ends = view.valid_to.as_ref().map(|name| column(&rows.batch, name)).transpose()?;
        for row in 0..rows.batch.num_rows() {
            let (Some(key), Some(event)) = (key(&keys, row)?, time(events, row, true)?) else { continue };
            let created = created.map(|created| time(created, row, true)).transpose()?.flatten();
            let address = Address { version: rows.added_version, file: rows.order, row: row as u64 };
            observations.entry(key).or_default().push(Observation {
                rank: Rank { event, created, address },
                known: knowledge_time(view.availability, event, created, rows.committed),
                valid_to: ends.map(|ends| time(ends, row, true)).transpose()?.flatten(),
                place: (number, row),
            });
        }
    }
    Ok(observations)
}

/// For each feature one array per batch, of its type.
fn values(view: &View, table: &[Rows]) -> Result<Vec<Vec<ArrayRef>>> {
    let of = |feature: &Feature| {
        let array = |rows: &Rows| Ok(cast(column(&rows.batch, &feature.column)?, &feature.data_type)?);
        table.iter().map(array).collect()
    };
    view.features.iter().map(of).collect()
}

fn output(view: &View, values: &[Vec<ArrayRef>], winners: &[Option<Found>]) -> Result<Vec<(Field, ArrayRef)>> {
    let mut output = Vec::new();
    for (number, (feature, arrays)) in view.features.iter().zip(values).enumerate() {
        // The last array is one null, for rows without a value.
        let null = new_null_array(&feature.data_type, 1);
        let place = |found: &Option<Found>| found.as_ref().and_then(|found| found.values[number]);
        let places: Vec<(usize, usize)> =
            winners.iter().map(|found| place(found).unwrap_or((arrays.len(), 0))).collect();
        let arrays: Vec<&dyn Array> = arrays.iter().chain([&null]).map(AsRef::as_ref).collect();
        let values = interleave(&arrays, &places)?;
        output.push((Field::new(&feature.output, feature.data_type.clone(), true), values));
    }
    if let Some(name) = &view.event_time_output {
        let times: TimestampMicrosecondArray = winners.iter().map(|found| found.as_ref().map(|f| f.event)).collect();
        let times: ArrayRef = Arc::new(times.with_timezone("UTC"));
        output.push((Field::new(name, times.data_type().clone(), true), times));
    }
    if let Some(name) = &view.status_output {
        let status = |found: &Option<Found>| match found {
            None => NOT_FOUND,
            Some(found) if found.fresh => PRESENT,
            Some(_) => EXPIRED,
        };
        let statuses: StringArray = winners.iter().map(|found| Some(status(found))).collect();
        output.push((Field::new(name, DataType::Utf8, false), Arc::new(statuses)));
    }
    Ok(output)
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| DataFusionError::Plan(format!("no column `{name}`")))
}

/// A row's key values, or `None` when one of them is null.
fn key(columns: &[&ArrayRef], row: usize) -> Result<Option<Vec<Value>>> {
    let mut values = Vec::with_capacity(columns.len());
    for column in columns {
        let scalar = plain(ScalarValue::try_from_array(column, row)?);
        if scalar.is_null() {
            return Ok(None);
        }
        values.push(value(scalar)?);
    }
    Ok(Some(values))
}

fn plain(scalar: ScalarValue) -> ScalarValue {
    match scalar {
        ScalarValue::Dictionary(_, value) => plain(*value),
        other => other,
    }
}

fn value(scalar: ScalarValue) -> Result<Value> {
    use ScalarValue as S;
    Ok(match scalar {
        S::Int8(Some(v)) => Value::Number(v.into()),
        S::Int16(Some(v)) => Value::Number(v.into()),
        S::Int32(Some(v)) | S::Date32(Some(v)) => Value::Number(v.into()),
        S::Int64(Some(v)) => Value::Number(v.into()),
        S::UInt8(Some(v)) => Value::Number(v.into()),
        S::UInt16(Some(v)) => Value::Number(v.into()),
        S::UInt32(Some(v)) => Value::Number(v.into()),
        S::UInt64(Some(v)) => Value::Number(v.into()),
        S::Boolean(Some(v)) => Value::Number(v.into()),
        S::Utf8(Some(v)) | S::LargeUtf8(Some(v)) | S::Utf8View(Some(v)) => Value::Text(v),
        S::Binary(Some(v)) | S::LargeBinary(Some(v)) | S::BinaryView(Some(v)) => Value::Bytes(v),
        S::TimestampSecond(Some(v), _) => Value::Number(i128::from(v) * 1_000_000_000),
        S::TimestampMillisecond(Some(v), _) => Value::Number(i128::from(v) * 1_000_000),
        S::TimestampMicrosecond(Some(v), _) => Value::Number(i128::from(v) * 1_000),
        S::TimestampNanosecond(Some(v), _) => Value::Number(v.into()),
        other => return Err(DataFusionError::Plan(format!("{} can't be a key", other.data_type()))),
    })
}

/// A row's time in microseconds, finer ones rounded up or down; coarse ones stay within the range.
fn time(column: &ArrayRef, row: usize, up: bool) -> Result<Option<Micros>> {
    let scalar = plain(ScalarValue::try_from_array(column, row)?);
    if scalar.is_null() {
        return Ok(None);
    }
    let nanos = match (scalar.data_type(), value(scalar)?) {
        (DataType::Date32, Value::Number(days)) => days * 86_400 * 1_000_000_000,
        (
            DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond, _),
            Value::Number(n),
        ) => n,
        (DataType::Timestamp(TimeUnit::Nanosecond, _), Value::Number(n)) => n,
        (other, _) => return Err(DataFusionError::Plan(format!("{other} is not a time"))),
    };
    let micros = nanos.div_euclid(1_000) + i128::from(up && nanos.rem_euclid(1_000) != 0);
    Ok(Some(Micros::try_from(micros).unwrap_or(if micros < 0 { Micros::MIN } else { Micros::MAX })))
}
