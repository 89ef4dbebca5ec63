//! Objects into rows: each value is held against its column's type before Arrow makes arrays of them.
//!
//! | type | in JSON |
//! | --- | --- |
//! | `bool` | true, false |
//! | `int32` `int64` | whole numbers, or text of them |
//! | `float32` `float64` | numbers, or text: `NaN`, `Infinity`, `-Infinity` |
//! | `string` | text |
//! | `bytes` | base64 |
//! | `timestamp` | RFC 3339, or microseconds since 1970 |
//! | `date` | `YYYY-MM-DD`, or days since 1970 |
//! | `decimal` | text of digits, or a number; nothing that its scale would cut off |
//! | `json` | JSON text, or any other value |
//! | `list` `vector` `struct` `map` | arrays and objects |

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use chrono::{NaiveDate, Utc};
use serde_json::{Map, Value};
use tidegate_offline::ingest::Rules;
use tidegate_schemas::types::DataType;

use super::{Poison, UNREADABLE, build_or_blame, guarded, schema, whole};
use crate::base64;
use crate::kafka::Error;

/// Characters of a value told.
const VALUE_CHARS: usize = 60;

/// The object that a message is.
pub(super) fn parse(payload: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(payload) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(format!("the message is {}, expected one JSON object", short(&other))),
        Err(error) => Err(format!("the message is not JSON: {error}")),
    }
}

/// Rows of payloads, each parsed to an object, and which payload each row was.
pub(super) fn rows(
    payloads: Vec<(usize, &[u8])>,
    parse: impl Fn(&[u8]) -> Result<Map<String, Value>, String>,
    rules: &Rules,
    poison: &mut Vec<Poison>,
) -> Result<(RecordBatch, Vec<usize>), Error> {
    let (mut objects, mut messages) = (Vec::with_capacity(payloads.len()), Vec::with_capacity(payloads.len()));
    for (message, payload) in payloads {
        let object = guarded(|| parse(payload), str::to_owned);
        match object.and_then(|object| fit_row(object, rules)) {
            Ok(object) => {
                objects.push(Value::Object(object));
                messages.push(message);
            }
            Err(detail) => poison.push(Poison { message, reason: UNREADABLE, detail }),
        }
    }
    let schema = schema(rules);
    let mut build = |range: Range<usize>| {
        let builder = ReaderBuilder::new(schema.clone()).with_batch_size(range.len());
        let mut decoder = builder.build_decoder()?;
        decoder.serialize(&objects[range])?;
        decoder.flush()?.ok_or_else(|| ArrowError::JsonError("no row came of it".to_owned()))
    };
    let mut blame =
        |at: usize, detail: String| poison.push(Poison { message: messages[at], reason: UNREADABLE, detail });
    let parts = build_or_blame(0..objects.len(), &mut build, &mut blame);
    let of: Vec<usize> = parts.iter().flat_map(|(range, _)| range.clone()).map(|at| messages[at]).collect();
    let parts: Vec<RecordBatch> = parts.into_iter().map(|(_, batch)| batch).collect();
    Ok((whole(&schema, &parts)?, of))
}

/// The values of the source's columns, each in the form that Arrow reads as its type.
fn fit_row(mut object: Map<String, Value>, rules: &Rules) -> Result<Map<String, Value>, String> {
    let mut row = Map::with_capacity(rules.columns.len());
    for column in &rules.columns {
        let Some(mut value) = object.remove(&column.name) else { continue };
        fit(&mut value, &column.data_type).map_err(|(path, why)| format!("`{}{path}` {why}", column.name))?;
        row.insert(column.name.clone(), value);
    }
    Ok(row)
}

/// Brings a value to the form that Arrow reads. The error is where in the value, and what is wrong.
fn fit(value: &mut Value, of: &DataType) -> Result<(), (String, String)> {
    let here = |value: &Value| (String::new(), format!("is {}, expected {of}", short(value)));
    let fitted = match (of, &mut *value) {
        (_, Value::Null)
        | (DataType::Bool, Value::Bool(_))
        | (DataType::String, Value::String(_))
        | (DataType::Json, Value::String(_))
        | (DataType::Float32 | DataType::Float64, Value::Number(_)) => return Ok(()),
        (DataType::Float32 | DataType::Float64, Value::String(text)) => {
            return if text.parse::<f64>().is_ok() { Ok(()) } else { Err(here(value)) };
        }
        (DataType::Int32, other) => integer(other).filter(|number| i32::try_from(*number).is_ok()).map(Value::from),
        (DataType::Int64, other) => integer(other).map(Value::from),
        (DataType::Timestamp, Value::String(text)) => micros(text).map(Value::from),
        (DataType::Timestamp, other @ Value::Number(_)) => integer(other).map(Value::from),
        (DataType::Date, Value::String(text)) => days(text).map(Value::from),
        (DataType::Date, other @ Value::Number(_)) => {
            integer(other).filter(|number| i32::try_from(*number).is_ok()).map(Value::from)
        }
        (DataType::Bytes, Value::String(text)) => base64::decode(text).map(|bytes| Value::from(hex(&bytes))),
        (DataType::Decimal(precision, scale), Value::String(_) | Value::Number(_)) => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            is_decimal(&text, *precision, *scale).then(|| Value::from(text))
        }
        (DataType::Json, other) => Some(Value::from(other.to_string())),
        (DataType::List(item), Value::Array(items)) => return fit_all(items, item),
        (DataType::Vector(_), Value::Array(items)) => return fit_all(items, &DataType::Float32),
        (DataType::Struct(fields), Value::Object(object)) => {
            for (name, of) in fields {
                let Some(value) = object.get_mut(name) else { continue };
                fit(value, of).map_err(|(path, why)| (format!(".{name}{path}"), why))?;
            }
            return Ok(());
        }
        (DataType::Map(of), Value::Object(object)) => {
            for (key, value) in object.iter_mut() {
                fit(value, of).map_err(|(path, why)| (format!("[\"{key}\"]{path}"), why))?;
            }
            return Ok(());
        }
        _ => None,
    };
    *value = fitted.ok_or_else(|| here(value))?;
    Ok(())
}

fn fit_all(items: &mut [Value], of: &DataType) -> Result<(), (String, String)> {
    items
        .iter_mut()
        .enumerate()
        .try_for_each(|(at, item)| fit(item, of).map_err(|(path, why)| (format!("[{at}]{path}"), why)))
}

/// A whole number, exactly.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            // Beyond 2^53 a float may stand for more than one whole number.
            let float =
                number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0)?;
            Some(float as i64)
        }),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// Microseconds of a time; finer ones count upwards, as everywhere.
fn micros(text: &str) -> Option<i64> {
    let time = string_to_datetime(&Utc, text).ok()?;
    Some(time.timestamp_micros() + i64::from(time.timestamp_subsec_nanos() % 1_000 > 0))
}

fn days(text: &str) -> Option<i64> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(date.signed_duration_since(NaiveDate::default()).num_days())
}

/// Whether a text is a decimal that keeps all its digits.
fn is_decimal(text: &str, precision: u8, scale: i8) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let (whole, part) = (whole.trim_start_matches('0'), part.trim_end_matches('0'));
    let (room, scale) = (usize::from(precision), usize::try_from(scale).unwrap_or(0));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    digits.bytes().any(|byte| byte.is_ascii_digit())
        && all_digits(whole)
        && all_digits(part)
        && part.len() <= scale
        && whole.len() + scale <= room
}

/// How Arrow reads bytes from JSON.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A value for a message.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(VALUE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
