//! Smallest and largest values of a file's columns: read from the log's JSON, and computed for files we write.
//!
//! Only types whose order is total and whose JSON form is exact are used: integers, dates, times, text, booleans. Floats are
//! left out because a NaN lies outside every range.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{max, max_string, min, min_string};
use arrow::datatypes::{self as t, DataType, Schema, TimeUnit};
use chrono::{DateTime, Datelike, NaiveDate, Utc};
use datafusion::common::ScalarValue;
use serde_json::{Map, Value, json};

/// Text is cut to this many characters; a cut largest value gets a last character above all others.
const TEXT_CHARS: usize = 32;

/// The last character a cut largest text ends in.
const ABOVE_ALL: char = '\u{10FFFF}';

/// What a file's statistics say.
#[derive(Debug, Default)]
pub(super) struct FileStats {
    pub(super) rows: Option<u64>,
    pub(super) ranges: BTreeMap<String, (ScalarValue, ScalarValue)>,
}

/// Reads the statistics of a log's add action. What is not understood is left out: statistics only ever save work.
pub(super) fn parse(stats: Option<&str>, schema: &Schema) -> FileStats {
    let Some(Value::Object(stats)) = stats.and_then(|text| serde_json::from_str(text).ok()) else {
        return FileStats::default();
    };
    let rows = stats.get("numRecords").and_then(Value::as_u64);
    let (Some(Value::Object(lows)), Some(Value::Object(highs))) = (stats.get("minValues"), stats.get("maxValues"))
    else {
        return FileStats { rows, ranges: BTreeMap::new() };
    };
    let range = |(name, low): (&String, &Value)| {
        let field = schema.field_with_name(name).ok()?;
        let low = scalar(low, field.data_type(), false)?;
        let high = scalar(highs.get(name)?, field.data_type(), true)?;
        (low <= high).then(|| (name.clone(), (low, high)))
    };
    FileStats { rows, ranges: lows.iter().filter_map(range).collect() }
}

fn scalar(value: &Value, data_type: &DataType, upper: bool) -> Option<ScalarValue> {
    Some(match data_type {
        DataType::Int8 => ScalarValue::Int8(Some(i8::try_from(value.as_i64()?).ok()?)),
        DataType::Int16 => ScalarValue::Int16(Some(i16::try_from(value.as_i64()?).ok()?)),
        DataType::Int32 => ScalarValue::Int32(Some(i32::try_from(value.as_i64()?).ok()?)),
        DataType::Int64 => ScalarValue::Int64(Some(value.as_i64()?)),
        DataType::Utf8 => ScalarValue::Utf8(Some(value.as_str()?.to_owned())),
        DataType::Date32 => {
            let date: NaiveDate = value.as_str()?.parse().ok()?;
            ScalarValue::Date32(Some(date.num_days_from_ce() - NaiveDate::from_ymd_opt(1970, 1, 1)?.num_days_from_ce()))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            ScalarValue::TimestampMicrosecond(Some(micros(value.as_str()?, upper)?), zone.clone())
        }
        _ => return None,
    })
}

/// A time of the log. Writers cut it to milliseconds or keep microseconds: a cut upper bound is moved up to stay one.
fn micros(text: &str, upper: bool) -> Option<i64> {
    let at: DateTime<Utc> = DateTime::parse_from_rfc3339(text)
        .map(|at| at.to_utc())
        .or_else(|_| text.replacen(' ', "T", 1).parse::<chrono::NaiveDateTime>().map(|at| at.and_utc()))
        .ok()?;
    let micros = at.timestamp_micros();
    let digits = text.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
    Some(if upper && digits <= 3 { micros.checked_add(999)? } else { micros })
}

/// The statistics of a file with these rows, as the log keeps them.
pub(super) fn of(batch: &RecordBatch) -> Value {
    let (mut lows, mut highs, mut nulls) = (Map::new(), Map::new(), Map::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if field.data_type().is_nested() {
            continue;
        }
        nulls.insert(field.name().clone(), json!(column.null_count()));
        if let Some((low, high)) = bounds(column) {
            lows.insert(field.name().clone(), low);
            highs.insert(field.name().clone(), high);
        }
    }
    json!({ "numRecords": batch.num_rows(), "minValues": lows, "maxValues": highs, "nullCount": nulls })
}

fn bounds(column: &ArrayRef) -> Option<(Value, Value)> {
    Some(match column.data_type() {
        DataType::Int32 => {
            let values = column.as_primitive::<t::Int32Type>();
            (json!(min(values)?), json!(max(values)?))
        }
        DataType::Int64 => {
            let values = column.as_primitive::<t::Int64Type>();
            (json!(min(values)?), json!(max(values)?))
        }
        DataType::Date32 => {
            let values = column.as_primitive::<t::Date32Type>();
            (json_date(min(values)?)?, json_date(max(values)?)?)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let values = column.as_primitive::<t::TimestampMicrosecondType>();
            (json_time(min(values)?)?, json_time(max(values)?)?)
        }
        DataType::Utf8 => {
            let values = column.as_string::<i32>();
            (json!(cut_low(min_string(values)?)), json!(cut_high(max_string(values)?)))
        }
        _ => return None,
    })
}

/// A date; none beyond the years that every reader of the log parses.
fn json_date(days: i32) -> Option<Value> {
    let date = NaiveDate::from_ymd_opt(1970, 1, 1)?.checked_add_signed(chrono::TimeDelta::days(days.into()))?;
    (0..=9999).contains(&date.year()).then(|| json!(date.to_string()))
}

/// A time with microseconds; none beyond the years that every reader of the log parses.
fn json_time(micros: i64) -> Option<Value> {
    let at = DateTime::from_timestamp_micros(micros)?;
    (0..=9999).contains(&at.year()).then(|| json!(at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()))
}

fn cut_low(text: &str) -> String {
    text.chars().take(TEXT_CHARS).collect()
}

fn cut_high(text: &str) -> String {
    let mut cut: String = text.chars().take(TEXT_CHARS).collect();
    if cut.len() < text.len() {
        cut.push(ABOVE_ALL);
    }
    cut
}
