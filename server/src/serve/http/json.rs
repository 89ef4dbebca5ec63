//! Values as JSON.
//!
//! Numbers are numbers, int64 included. What JSON has no number for is a string: `"NaN"`, `"Infinity"`, `"-Infinity"`. Timestamps are
//! RFC 3339 in UTC, dates `YYYY-MM-DD`, decimals strings of digits, bytes base64; lists, structs and maps nest. A slot without a
//! value is `null`.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow::util::display::array_value_to_string;
use chrono::{DateTime, Days, NaiveDate, SecondsFormat};
use serde_json::{Map, Value, json};
use tidegate_schemas::time::Micros;

use tidegate_schemas::types::DataType as FeatureType;

use crate::base64;
use crate::service::{FeatureReply, Values};

/// A feature's column: one value for each row.
pub(super) fn column(feature: &FeatureReply<'_>) -> Vec<Value> {
    let present = |row: usize| feature.present(row);
    match feature.values {
        Values::Doubles(values) => slots(values.iter(), present, double),
        Values::Floats(values) => slots(values.iter(), present, |value| double(f64::from(value))),
        Values::Int64s(values) if *feature.data_type == FeatureType::Timestamp => {
            slots(values.iter(), present, timestamp)
        }
        Values::Int64s(values) => slots(values.iter(), present, |value| json!(value)),
        Values::Int32s(values) if *feature.data_type == FeatureType::Date => slots(values.iter(), present, date),
        Values::Int32s(values) => slots(values.iter(), present, |value| json!(value)),
        Values::Bools(values) => slots(values.iter(), present, |value| json!(*value != 0)),
        Values::Strings(values) => slots(values.iter(), present, |value| json!(String::from_utf8_lossy(value))),
        Values::Bytes(values) => slots(values.iter(), present, |value| json!(base64::encode(value))),
        Values::Arrow(values) => slots(0..values.len(), present, |row| nested(values, row)),
    }
}

fn slots<T>(
    values: impl Iterator<Item = T>,
    present: impl Fn(usize) -> bool,
    to_json: impl Fn(T) -> Value,
) -> Vec<Value> {
    values.enumerate().map(|(row, value)| if present(row) { to_json(value) } else { Value::Null }).collect()
}

fn double(value: f64) -> Value {
    match value {
        value if value.is_nan() => json!("NaN"),
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        value => json!(value),
    }
}

/// A point in time as text; as the number of microseconds where no calendar reaches.
pub(super) fn timestamp(micros: Micros) -> Value {
    match DateTime::from_timestamp_micros(micros) {
        Some(time) => json!(time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        None => json!(micros),
    }
}

fn date(days: i32) -> Value {
    let epoch = NaiveDate::default();
    let distance = Days::new(u64::from(days.unsigned_abs()));
    match if days < 0 { epoch.checked_sub_days(distance) } else { epoch.checked_add_days(distance) } {
        Some(date) => json!(date.to_string()),
        None => json!(days),
    }
}

/// One value of an Arrow column.
fn nested(column: &ArrayRef, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Boolean => json!(column.as_boolean().value(row)),
        DataType::Int32 => json!(column.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => double(f64::from(column.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => double(column.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => json!(column.as_string::<i32>().value(row)),
        DataType::Binary => json!(base64::encode(column.as_binary::<i32>().value(row))),
        DataType::Date32 => date(column.as_primitive::<Date32Type>().value(row)),
        DataType::Decimal128(..) => json!(column.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, _) => {
            timestamp(column.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::List(_) => list(&column.as_list::<i32>().value(row)),
        DataType::FixedSizeList(..) => list(&column.as_fixed_size_list().value(row)),
        DataType::Struct(fields) => {
            let columns = column.as_struct().columns();
            fields.iter().zip(columns).map(|(field, column)| (field.name().clone(), nested(column, row))).collect()
        }
        DataType::Map(..) => {
            let entries = column.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let key = |at| array_value_to_string(keys, at).unwrap_or_default();
            Value::Object((0..entries.len()).map(|at| (key(at), nested(values, at))).collect::<Map<_, _>>())
        }
        _ => json!(array_value_to_string(column, row).unwrap_or_default()),
    }
}

fn list(items: &ArrayRef) -> Value {
    (0..items.len()).map(|at| nested(items, at)).collect()
}

#[cfg(test)]
mod tests;
