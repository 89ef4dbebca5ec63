//! Defaults of features, from the form definitions give them to the bytes rows store: a default is answered like a stored value.

use chrono::{DateTime, NaiveDate};
use serde_json::Value;
use tidegate_schemas::types::DataType;

use crate::codec::put_length;
use crate::{Error, Result};

/// A default as the bytes a row would have for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Default(Vec<u8>);

impl Default {
    /// Reads a default in the form of [`Feature::default`](tidegate_schemas::definition::Feature::default).
    ///
    /// # Errors
    /// [`Error::BadDefault`] where it is not of the feature's type.
    pub(crate) fn parse(feature: &str, data_type: &DataType, value: &Value) -> Result<Self> {
        let mut out = Vec::new();
        put(data_type, value, &mut out).map(|()| Self(out)).ok_or_else(|| Error::BadDefault {
            feature: feature.to_owned(),
            expected: data_type.to_string(),
            found: value.to_string(),
        })
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Appends a value; `None` where it is not of the type.
fn put(data_type: &DataType, value: &Value, out: &mut Vec<u8>) -> Option<()> {
    match data_type {
        DataType::Bool => out.push(u8::from(value.as_bool()?)),
        DataType::Int32 => out.extend_from_slice(&i32::try_from(value.as_i64()?).ok()?.to_le_bytes()),
        DataType::Int64 => out.extend_from_slice(&value.as_i64()?.to_le_bytes()),
        DataType::Float32 => out.extend_from_slice(&(number(value)? as f32).to_le_bytes()),
        DataType::Float64 => out.extend_from_slice(&number(value)?.to_le_bytes()),
        DataType::String => out.extend_from_slice(value.as_str()?.as_bytes()),
        DataType::Json => match value {
            Value::String(text) => out.extend_from_slice(text.as_bytes()),
            other => out.extend_from_slice(other.to_string().as_bytes()),
        },
        DataType::Bytes => out.extend_from_slice(&base64(value.as_str()?)?),
        DataType::Timestamp => {
            let at = DateTime::parse_from_rfc3339(value.as_str()?).ok()?;
            out.extend_from_slice(&at.timestamp_micros().to_le_bytes());
        }
        DataType::Date => {
            let date: NaiveDate = value.as_str()?.parse().ok()?;
            let days = date.signed_duration_since(NaiveDate::default()).num_days();
            out.extend_from_slice(&i32::try_from(days).ok()?.to_le_bytes());
        }
        DataType::Decimal(precision, scale) => {
            out.extend_from_slice(&decimal(value.as_str()?, *precision, *scale)?.to_le_bytes());
        }
        DataType::Vector(length) => {
            let items = value.as_array().filter(|items| items.len() == *length as usize)?;
            items.iter().try_for_each(|item| put(&DataType::Float32, item, out))?;
        }
        DataType::List(of) => {
            let items = value.as_array()?;
            put_length(out, items.len());
            put_items(items.iter().map(|item| (&**of, item)), items.len(), out)?;
        }
        DataType::Struct(fields) => {
            let object = value.as_object()?;
            if object.keys().any(|key| fields.iter().all(|(name, _)| name != key)) {
                return None;
            }
            let items = fields.iter().map(|(name, of)| (of, object.get(name).unwrap_or(&Value::Null)));
            put_items(items, fields.len(), out)?;
        }
        DataType::Map(of) => {
            let object = value.as_object()?;
            let keys: Vec<Value> = object.keys().cloned().map(Value::String).collect();
            put_length(out, keys.len());
            put_items(keys.iter().map(|key| (&DataType::String, key)), keys.len(), out)?;
            put_items(object.values().map(|value| (&**of, value)), keys.len(), out)?;
        }
    }
    Some(())
}

/// Appends presence bits and the present items, as rows have them.
fn put_items<'v>(
    items: impl Iterator<Item = (&'v DataType, &'v Value)>,
    count: usize,
    out: &mut Vec<u8>,
) -> Option<()> {
    let bits = out.len();
    out.resize(bits + count.div_ceil(8), 0);
    for (nth, (of, item)) in items.enumerate() {
        if item.is_null() {
            continue;
        }
        out[bits + nth / 8] |= 1 << (nth % 8);
        if of.fixed_width().is_some() {
            put(of, item, out)?;
            continue;
        }
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        put(of, item, out)?;
        let length = u32::try_from(out.len() - start - 4).ok()?;
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }
    Some(())
}

/// A number, or the names of those that JSON does not have.
fn number(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some("NaN" | "nan" | ".nan") => Some(f64::NAN),
        Some("inf" | "Infinity" | ".inf") => Some(f64::INFINITY),
        Some("-inf" | "-Infinity" | "-.inf") => Some(f64::NEG_INFINITY),
        Some(_) => None,
        None => value.as_f64(),
    }
}

/// Decimal digits, scaled; `None` where digits would be lost.
fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let scale = usize::try_from(scale).ok()?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let all_digits = whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    if !all_digits || whole.is_empty() || fraction.len() > scale {
        return None;
    }
    let unscaled: i128 = format!("{whole}{fraction:0<scale$}").parse().ok()?;
    let limit = 10_i128.checked_pow(u32::from(precision))?;
    (unscaled < limit).then_some(if negative { -unscaled } else { unscaled })
}

/// Standard base64, padded or not.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    if text.len() - digits.len() > 2 || digits.len() % 4 == 1 {
        return None;
    }
    let digit = |byte: u8| {
        Some(u32::from(match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        }))
    };
    let mut out = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let bits =
            group.iter().try_fold(0_u32, |bits, &byte| Some((bits << 6) | digit(byte)?))? << (6 * (4 - group.len()));
        out.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_have_the_bytes_rows_have() {
        let check = |data_type: &str, value: Value, expect: Option<&[u8]>| {
            let data_type: DataType = data_type.parse().expect("a type");
            let parsed = Default::parse("f", &data_type, &value).ok();
            assert_eq!(parsed.as_ref().map(Default::bytes), expect, "{data_type} {value}");
        };
        check("bool", json!(true), Some(&[1]));
        check("int32", json!(-2), Some(&[0xFE, 0xFF, 0xFF, 0xFF]));
        check("int32", json!(1_i64 << 40), None);
        check("int64", json!("7"), None);
        check("float64", json!(1), Some(&1_f64.to_le_bytes()));
        check("float64", json!("NaN"), Some(&f64::NAN.to_le_bytes()));
        check("string", json!("é"), Some("é".as_bytes()));
        check("string", json!(1), None);
        check("timestamp", json!("1970-01-01T00:00:01Z"), Some(&1_000_000_i64.to_le_bytes()));
        check("date", json!("1970-01-02"), Some(&1_i32.to_le_bytes()));
        check("date", json!("yesterday"), None);
        check("decimal(5,2)", json!("-12.5"), Some(&(-1250_i128).to_le_bytes()));
        check("decimal(5,2)", json!("12.345"), None);
        check("decimal(5,2)", json!("1234.5"), None);
        check("decimal(5,2)", json!("1.2e3"), None);
        check("bytes", json!("aGk="), Some(b"hi"));
        check("bytes", json!("aGkh"), Some(b"hi!"));
        check("bytes", json!("a"), None);
        check("json", json!("{\"a\":1}"), Some(b"{\"a\":1}"));
        check("vector<float32,2>", json!([1.0, 2.0]), Some(&[0, 0, 128, 63, 0, 0, 0, 64]));
        check("vector<float32,2>", json!([1.0]), None);
        check("list<int32>", json!([1, null]), Some(&[2, 0, 0, 0, 0b01, 1, 0, 0, 0]));
        check("struct<a:int32>", json!({"b": 1}), None);
    }
}
