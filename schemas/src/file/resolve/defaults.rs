//! Default values: of the feature's type, in the one form that [`crate::definition::Feature::default`] describes.

use chrono::{DateTime, NaiveDate, SecondsFormat};
use serde_json::{Map, Number, Value};

use crate::file::document::canonical_json;
use crate::types::DataType;

/// A default in canonical form, or what it should have been.
pub(super) fn canonical(value: &Value, of: &DataType) -> Result<Value, String> {
    let wrong = || format!("the default must be {}, found `{}`", expected(of), short(value));
    match (of, value) {
        (DataType::Bool, Value::Bool(_)) | (DataType::String, Value::String(_)) => Ok(value.clone()),
        (DataType::Int32, _) => value.as_i64().filter(|n| i32::try_from(*n).is_ok()).map(Value::from).ok_or_else(wrong),
        (DataType::Int64, _) => value.as_i64().map(Value::from).ok_or_else(wrong),
        (DataType::Float32, _) => float(value).filter(fits_float32).map(Value::from).ok_or_else(wrong),
        (DataType::Float64, _) => float(value).map(Value::from).ok_or_else(wrong),
        (DataType::Timestamp, Value::String(text)) => timestamp(text).ok_or_else(wrong),
        (DataType::Date, Value::String(text)) => {
            let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| wrong())?;
            Ok(date.format("%Y-%m-%d").to_string().into())
        }
        (DataType::Decimal(precision, scale), _) => {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) if number.is_i64() => number.to_string(),
                _ => return Err(wrong()),
            };
            decimal(&text, *precision, *scale).map(Value::from).ok_or_else(wrong)
        }
        (DataType::Bytes, Value::String(text)) if is_base64(text) => Ok(value.clone()),
        (DataType::Json, Value::String(text)) => match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => Ok(value.clone()),
            Err(_) => Err(wrong()),
        },
        (DataType::Json, _) if !value.is_null() => Ok(canonical_json(value).into()),
        (DataType::List(item), Value::Array(values)) => values.iter().map(|value| canonical(value, item)).collect(),
        (DataType::Vector(length), Value::Array(values)) if values.len() == *length as usize => {
            values.iter().map(|value| canonical(value, &DataType::Float32)).collect()
        }
        (DataType::Map(item), Value::Object(values)) => {
            let entry = |(key, value): (&String, &Value)| Ok((key.clone(), canonical(value, item)?));
            values.iter().map(entry).collect::<Result<Map<_, _>, String>>().map(Value::Object)
        }
        (DataType::Struct(fields), Value::Object(values)) if values.len() == fields.len() => {
            let field = |(name, of): &(String, DataType)| {
                Ok((name.clone(), canonical(values.get(name).ok_or_else(wrong)?, of)?))
            };
            fields.iter().map(field).collect::<Result<Map<_, _>, String>>().map(Value::Object)
        }
        _ => Err(wrong()),
    }
}

fn expected(of: &DataType) -> String {
    match of {
        DataType::Bool => "`true` or `false`".to_owned(),
        DataType::Int32 | DataType::Int64 => format!("a whole number in the range of {of}"),
        DataType::Float32 | DataType::Float64 => format!("a number in the range of {of}"),
        DataType::String => "text".to_owned(),
        DataType::Timestamp => "a time with its offset as text, such as `\"2024-03-01T00:00:00Z\"`".to_owned(),
        DataType::Date => "a date as text, such as `\"2024-03-01\"`".to_owned(),
        DataType::Decimal(precision, scale) => {
            format!("digits as text, such as `\"1.5\"`, {precision} in all and at most {scale} after the point")
        }
        DataType::Bytes => "base64 text".to_owned(),
        DataType::Json => "JSON".to_owned(),
        DataType::List(item) => format!("a list of {item}"),
        DataType::Vector(length) => format!("a list of {length} numbers"),
        DataType::Map(item) => format!("a mapping of names to {item}"),
        DataType::Struct(_) => format!("a mapping with the fields of {of}"),
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn float(value: &Value) -> Option<Number> {
    Number::from_f64(value.as_f64()?)
}

// A narrowing cast is the question itself: does the value stay finite?
#[allow(clippy::cast_possible_truncation)]
fn fits_float32(number: &Number) -> bool {
    number.as_f64().is_some_and(|number| (number as f32).is_finite())
}

fn timestamp(text: &str) -> Option<Value> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    let time = DateTime::from_timestamp_micros(time.timestamp_micros())?;
    Some(time.to_rfc3339_opts(SecondsFormat::AutoSi, true).into())
}

/// A decimal with exactly `scale` digits after the point.
fn decimal(text: &str, precision: u8, scale: i8) -> Option<String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let scale = usize::try_from(scale).ok()?;
    if fraction.len() > scale || whole.len() + scale > usize::from(precision) {
        return None;
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    let zero = whole == "0" && fraction.bytes().all(|digit| digit == b'0');
    let sign = if zero { "" } else { sign };
    let point = if scale == 0 { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction:0<scale$}"))
}

/// Standard base64 with padding.
fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let padding = text.len() - body.len();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    text.len().is_multiple_of(4) && padding <= 2 && body.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_take_their_canonical_form() {
        let check = |of: &str, value: &str, expect: &str| {
            let of: DataType = of.parse().expect(of);
            let value: Value = serde_json::from_str(value).expect(value);
            let got = canonical(&value, &of).map_or_else(|error| error, |value| value.to_string());
            assert_eq!(got, expect, "{of} from {value}");
            if let Ok(once) = canonical(&value, &of) {
                assert_eq!(canonical(&once, &of), Ok(once.clone()), "a canonical form stays itself");
            }
        };
        check("bool", "true", "true");
        check("bool", "1", "the default must be `true` or `false`, found `1`");
        check("int32", "7", "7");
        check("int32", "2147483648", "the default must be a whole number in the range of int32, found `2147483648`");
        check("int64", "1.5", "the default must be a whole number in the range of int64, found `1.5`");
        check("float64", "0", "0.0");
        check("float32", "1e39", "the default must be a number in the range of float32, found `1e+39`");
        check("string", "\"x\"", "\"x\"");
        check("string", "3", "the default must be text, found `3`");
        check("timestamp", "\"2024-03-01T02:00:00+02:00\"", "\"2024-03-01T00:00:00Z\"");
        check("timestamp", "\"2024-03-01T00:00:00.25Z\"", "\"2024-03-01T00:00:00.250Z\"");
        check("date", "\"2024-03-01\"", "\"2024-03-01\"");
        check(
            "date",
            "\"2024-02-30\"",
            "the default must be a date as text, such as `\"2024-03-01\"`, found `\"2024-02-30\"`",
        );
        check("decimal(5,2)", "\"-001.5\"", "\"-1.50\"");
        check("decimal(5,2)", "3", "\"3.00\"");
        check("decimal(5,0)", "\"12\"", "\"12\"");
        check("decimal(5,2)", "\"-0.00\"", "\"0.00\"");
        check(
            "decimal(5,2)",
            "\"1234\"",
            "the default must be digits as text, such as `\"1.5\"`, 5 in all and at most 2 after the point, found `\"1234\"`",
        );
        check("bytes", "\"aGk=\"", "\"aGk=\"");
        check("bytes", "\"a\"", "the default must be base64 text, found `\"a\"`");
        check("json", "{\"a\":[1]}", "\"{\\\"a\\\":[1]}\"");
        check("json", "\"[\"", "the default must be JSON, found `\"[\"`");
        check("list<int64>", "[1,2]", "[1,2]");
        check("list<int64>", "[1,null]", "the default must be a whole number in the range of int64, found `null`");
        check("vector<float32,2>", "[1,2]", "[1.0,2.0]");
        check("vector<float32,2>", "[1]", "the default must be a list of 2 numbers, found `[1]`");
        check("map<string,bool>", "{\"a\":true}", "{\"a\":true}");
        check("struct<a:int64,b:string>", "{\"a\":1,\"b\":\"x\"}", "{\"a\":1,\"b\":\"x\"}");
        check(
            "struct<a:int64>",
            "{\"b\":1}",
            "the default must be a mapping with the fields of struct<a:int64>, found `{\"b\":1}`",
        );
    }
}
