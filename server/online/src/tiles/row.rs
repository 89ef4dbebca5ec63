//! Between stored rows and what aggregates take and give.

use tidegate_schemas::types::DataType;
use tidegate_schemas::window::{Answer, Value};

use crate::codec::put_length;
use crate::lookup::fields::Fields;
use crate::{Error, Result};

/// The values of an event, one for each input that is wanted; a missing one is null.
///
/// # Errors
/// [`Error::Corrupt`] for bytes that no value of the type has.
pub(crate) fn values<'a>(inputs: &Fields, types: &[DataType], row: &'a [u8]) -> Result<Vec<Option<Value<'a>>>> {
    let value = |(nth, data_type)| inputs.slot(nth, row)?.map(|slot| value(data_type, slot)).transpose();
    types.iter().enumerate().map(value).collect()
}

/// A stored value. Integers and floats may have been stored narrower.
fn value<'a>(data_type: &DataType, slot: &'a [u8]) -> Result<Value<'a>> {
    let wrong = || Error::corrupt(format!("a value of {data_type} has {} bytes", slot.len()));
    Ok(match data_type {
        DataType::Bool | DataType::Int32 | DataType::Int64 | DataType::Timestamp | DataType::Date => {
            Value::Int(match slot.len() {
                1 => slot[0].into(),
                4 => i32::from_le_bytes(slot.try_into().map_err(|_| wrong())?).into(),
                _ => i64::from_le_bytes(slot.try_into().map_err(|_| wrong())?),
            })
        }
        DataType::Float32 | DataType::Float64 => Value::Float(match slot.len() {
            4 => f32::from_le_bytes(slot.try_into().map_err(|_| wrong())?).into(),
            _ => f64::from_le_bytes(slot.try_into().map_err(|_| wrong())?),
        }),
        DataType::Decimal(..) => Value::Decimal(i128::from_le_bytes(slot.try_into().map_err(|_| wrong())?)),
        DataType::String
        | DataType::Json
        | DataType::Bytes
        | DataType::List(_)
        | DataType::Vector(_)
        | DataType::Struct(_)
        | DataType::Map(_) => Value::Bytes(slot),
    })
}

/// A feature's value as a row stores it; `None` where there is none.
///
/// # Errors
/// [`Error::Corrupt`] for a value that is not of the feature's type.
pub(crate) fn slot(data_type: &DataType, answer: &Answer<'_>) -> Result<Option<Vec<u8>>> {
    let mut out = Vec::new();
    match (answer, data_type) {
        (Answer::Null | Answer::OutOfRange, _) => return Ok(None),
        (Answer::Value(value), data_type) => put(data_type, value, &mut out)?,
        (Answer::List(values), DataType::List(item)) => put_list(item.as_ref(), values, &mut out)?,
        (Answer::List(_), data_type) => return Err(not_of(data_type)),
    }
    Ok(Some(out))
}

/// As [`crate::row`] draws a list.
fn put_list(item: &DataType, values: &[Value<'_>], out: &mut Vec<u8>) -> Result<()> {
    put_length(out, values.len());
    let presence = out.len();
    out.resize(presence + values.len().div_ceil(8), 0);
    for (nth, value) in values.iter().enumerate() {
        out[presence + nth / 8] |= 1 << (nth % 8);
        if item.fixed_width().is_some() {
            put(item, value, out)?;
            continue;
        }
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        put(item, value, out)?;
        let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }
    Ok(())
}

fn put(data_type: &DataType, value: &Value<'_>, out: &mut Vec<u8>) -> Result<()> {
    match (data_type, value) {
        (DataType::Bool, Value::Int(value)) => out.push(u8::from(*value != 0)),
        (DataType::Int32 | DataType::Date, Value::Int(value)) => {
            let value = i32::try_from(*value).map_err(|_| not_of(data_type))?;
            out.extend_from_slice(&value.to_le_bytes());
        }
        (DataType::Int64 | DataType::Timestamp, Value::Int(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (DataType::Float32, Value::Float(value)) => out.extend_from_slice(&(*value as f32).to_le_bytes()),
        (DataType::Float64, Value::Float(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (DataType::Decimal(..), Value::Decimal(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (DataType::String | DataType::Json | DataType::Bytes, Value::Bytes(bytes)) => out.extend_from_slice(bytes),
        _ => return Err(not_of(data_type)),
    }
    Ok(())
}

fn not_of(data_type: &DataType) -> Error {
    Error::corrupt(format!("an aggregate has a value that is no {data_type}"))
}
