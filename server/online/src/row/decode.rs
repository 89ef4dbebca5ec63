//! Stored values back to Arrow columns, a column at a time: a nested column's items become a column of their own.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, Float32Array, ListArray, MapArray, PrimitiveArray, StructArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType as Arrow, FieldRef};
use tidegate_schemas::types::DataType;

use super::value::{is_present, item, items, presence};
use crate::codec::Reader;
use crate::{Error, Result};

type Slots<'s, 'a> = &'s [Option<&'a [u8]>];

pub(super) fn column(data_type: &DataType, slots: Slots<'_, '_>) -> Result<ArrayRef> {
    Ok(match data_type {
        DataType::Bool => {
            Arc::new(slots.iter().map(|slot| slot.map(bool_of).transpose()).collect::<Result<BooleanArray>>()?)
        }
        DataType::Int32 => Arc::new(primitive::<Int32Type, 4>(slots, i32::from_le_bytes)?),
        DataType::Int64 => Arc::new(primitive::<Int64Type, 8>(slots, i64::from_le_bytes)?),
        DataType::Float32 => Arc::new(primitive::<Float32Type, 4>(slots, f32::from_le_bytes)?),
        DataType::Float64 => Arc::new(primitive::<Float64Type, 8>(slots, f64::from_le_bytes)?),
        DataType::Date => Arc::new(primitive::<Date32Type, 4>(slots, i32::from_le_bytes)?),
        DataType::Timestamp => {
            Arc::new(primitive::<TimestampMicrosecondType, 8>(slots, i64::from_le_bytes)?.with_timezone("UTC"))
        }
        DataType::Decimal(precision, scale) => {
            let values = primitive::<Decimal128Type, 16>(slots, i128::from_le_bytes)?;
            Arc::new(values.with_precision_and_scale(*precision, *scale).map_err(damaged)?)
        }
        DataType::String | DataType::Json => strings(slots)?,
        DataType::Bytes => bytes(slots),
        DataType::Vector(length) => vectors(data_type, *length as usize, slots)?,
        DataType::List(of) => lists(data_type, of, slots)?,
        DataType::Struct(fields) => structs(data_type, fields, slots)?,
        DataType::Map(of) => maps(data_type, of, slots)?,
    })
}

/// A value of fixed width.
#[inline]
fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    <[u8; N]>::try_from(bytes).map_err(|_| Error::corrupt(format!("a value has {} bytes, expected {N}", bytes.len())))
}

#[inline]
pub(crate) fn bool_of(bytes: &[u8]) -> Result<bool> {
    match bytes {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(Error::corrupt("a bool is neither 0 nor 1")),
    }
}

#[inline]
pub(crate) fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| Error::corrupt("a stored string is not UTF-8"))
}

fn damaged(error: ArrowError) -> Error {
    Error::corrupt(format!("stored values do not form a column: {error}"))
}

fn nulls(slots: Slots<'_, '_>) -> Option<NullBuffer> {
    let nulls = NullBuffer::from_iter(slots.iter().map(Option::is_some));
    (nulls.null_count() > 0).then_some(nulls)
}

fn primitive<T: ArrowPrimitiveType, const N: usize>(
    slots: Slots<'_, '_>,
    read: fn([u8; N]) -> T::Native,
) -> Result<PrimitiveArray<T>> {
    let value = |slot: &Option<&[u8]>| match slot {
        Some(bytes) => Ok(read(fixed::<N>(bytes)?)),
        None => Ok(T::default_value()),
    };
    let values = slots.iter().map(value).collect::<Result<Vec<_>>>()?;
    Ok(PrimitiveArray::new(ScalarBuffer::from(values), nulls(slots)))
}

fn strings(slots: Slots<'_, '_>) -> Result<ArrayRef> {
    let mut builder = StringBuilder::with_capacity(slots.len(), slots.iter().flatten().map(|slot| slot.len()).sum());
    for slot in slots {
        builder.append_option(slot.map(text).transpose()?);
    }
    Ok(Arc::new(builder.finish()))
}

fn bytes(slots: Slots<'_, '_>) -> ArrayRef {
    let mut builder = BinaryBuilder::with_capacity(slots.len(), slots.iter().flatten().map(|slot| slot.len()).sum());
    slots.iter().for_each(|slot| builder.append_option(*slot));
    Arc::new(builder.finish())
}

/// The child field of a list or map type.
fn child(data_type: &DataType) -> Result<FieldRef> {
    match data_type.to_arrow() {
        Arrow::List(field) | Arrow::Map(field, _) => Ok(field),
        other => Err(Error::corrupt(format!("{data_type} is not stored as a list but as {other}"))),
    }
}

/// Offsets of lists with these lengths.
fn offsets(lengths: &[usize]) -> Result<OffsetBuffer<i32>> {
    let total: usize = lengths.iter().sum();
    if i32::try_from(total).is_err() {
        return Err(Error::corrupt(format!("{total} list items in one column are more than Arrow can hold")));
    }
    Ok(OffsetBuffer::from_lengths(lengths.iter().copied()))
}

fn vectors(data_type: &DataType, length: usize, slots: Slots<'_, '_>) -> Result<ArrayRef> {
    let (mut values, mut lengths) = (Vec::new(), Vec::with_capacity(slots.len()));
    for slot in slots {
        lengths.push(if slot.is_some() { length } else { 0 });
        let Some(bytes) = slot else { continue };
        if bytes.len() != 4 * length {
            return Err(Error::corrupt(format!("a {data_type} has {} bytes", bytes.len())));
        }
        values.extend(bytes.chunks_exact(4).map(|item| f32::from_le_bytes([item[0], item[1], item[2], item[3]])));
    }
    let values = Arc::new(Float32Array::from(values));
    let list = ListArray::try_new(child(data_type)?, offsets(&lengths)?, values, nulls(slots)).map_err(damaged)?;
    Ok(Arc::new(list))
}

fn lists(data_type: &DataType, of: &DataType, slots: Slots<'_, '_>) -> Result<ArrayRef> {
    let (mut children, mut lengths) = (Vec::new(), Vec::with_capacity(slots.len()));
    for slot in slots {
        let Some(bytes) = slot else {
            lengths.push(0);
            continue;
        };
        let mut reader = Reader::new(bytes, "a list");
        let count = reader.u32()? as usize;
        items(&mut reader, of, count, &mut children)?;
        reader.end()?;
        lengths.push(count);
    }
    let values = column(of, &children)?;
    let list = ListArray::try_new(child(data_type)?, offsets(&lengths)?, values, nulls(slots)).map_err(damaged)?;
    Ok(Arc::new(list))
}

fn structs(data_type: &DataType, fields: &[(String, DataType)], slots: Slots<'_, '_>) -> Result<ArrayRef> {
    let mut children = vec![Vec::with_capacity(slots.len()); fields.len()];
    for slot in slots {
        let Some(bytes) = slot else {
            children.iter_mut().for_each(|child| child.push(None));
            continue;
        };
        let mut reader = Reader::new(bytes, "a struct");
        let presence = presence(&mut reader, fields.len())?;
        for (nth, (_, of)) in fields.iter().enumerate() {
            let value = if is_present(presence, nth) { Some(item(&mut reader, of)?) } else { None };
            children[nth].push(value);
        }
        reader.end()?;
    }
    let columns = fields.iter().zip(&children).map(|((_, of), slots)| column(of, slots)).collect::<Result<Vec<_>>>()?;
    let Arrow::Struct(arrow) = data_type.to_arrow() else {
        return Err(Error::corrupt(format!("{data_type} is not stored as a struct")));
    };
    Ok(Arc::new(StructArray::try_new(arrow, columns, nulls(slots)).map_err(damaged)?))
}

fn maps(data_type: &DataType, of: &DataType, slots: Slots<'_, '_>) -> Result<ArrayRef> {
    let (mut keys, mut values, mut lengths) = (Vec::new(), Vec::new(), Vec::with_capacity(slots.len()));
    for slot in slots {
        let Some(bytes) = slot else {
            lengths.push(0);
            continue;
        };
        let mut reader = Reader::new(bytes, "a map");
        let count = reader.u32()? as usize;
        items(&mut reader, &DataType::String, count, &mut keys)?;
        items(&mut reader, of, count, &mut values)?;
        reader.end()?;
        lengths.push(count);
    }
    let field = child(data_type)?;
    let Arrow::Struct(entry) = field.data_type() else {
        return Err(Error::corrupt(format!("{data_type} is not stored as a map")));
    };
    let columns = vec![column(&DataType::String, &keys)?, column(of, &values)?];
    let entries = StructArray::try_new(entry.clone(), columns, None).map_err(damaged)?;
    let map = MapArray::try_new(field.clone(), offsets(&lengths)?, entries, nulls(slots), false).map_err(damaged)?;
    Ok(Arc::new(map))
}
