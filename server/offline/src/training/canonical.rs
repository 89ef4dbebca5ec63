//! The canonical bytes of a value: the same for every way that Arrow can hold it.
//!
//! A value is a tag and a body, numbers little-endian. Lengths and counts are 8 bytes.
//!
//! ```text
//! 00                                    null, of any type
//! 01 byte                               bool
//! 02 i64                                integer of any width
//! 03 u64                                integer above the largest i64
//! 04 f32 bits      05 f64 bits          floats, bit for bit: NaN, -0.0
//! 06 length bytes  07 length bytes      text, bytes
//! 08 i128                               timestamp, nanoseconds since 1970 (without a zone: UTC)
//! 09 i64                                date, days since 1970
//! 0a scale i128    0b scale i256        decimals up to 38 digits, and beyond
//! 0c count values                       list of any kind
//! 0d count (length name, value)…        struct
//! 0e count (key, value)…                map, in its order
//! 0f i128          10 i128              time of day, duration, in nanoseconds
//! ```
//!
//! Dictionaries and views stand for their values. These bytes are persisted as hashes: they never change.

use arrow::array::{Array, ArrayRef, AsArray, GenericListArray, OffsetSizeTrait};
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type,
    Decimal128Type, Decimal256Type, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
    DurationSecondType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use tidegate_schemas::types;

use super::{Error, Result};

/// Milliseconds of a day.
const DAY_MILLIS: i64 = 86_400_000;

/// Appends the canonical bytes of one row's value.
pub type Writer = Box<dyn Fn(usize, &mut Vec<u8>) + Send>;

/// Writes the values of a column.
///
/// # Errors
/// A type without a byte form: intervals, unions.
pub fn writer(column: &ArrayRef) -> Result<Writer> {
    let body = body(column)?;
    let Some(nulls) = column.nulls().cloned().filter(|nulls| nulls.null_count() > 0) else { return Ok(body) };
    Ok(Box::new(move |row, out| if nulls.is_null(row) { out.push(0x00) } else { body(row, out) }))
}

/// A type's name, the same for every encoding of its values. Integers and floats of different widths differ.
#[must_use]
pub fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Dictionary(_, values) => type_name(values),
        DataType::RunEndEncoded(_, values) => type_name(values.data_type()),
        DataType::ListView(item) | DataType::LargeListView(item) => format!("list<{}>", type_name(item.data_type())),
        DataType::Map(entry, _) => match entry.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                format!("map<{},{}>", type_name(fields[0].data_type()), type_name(fields[1].data_type()))
            }
            other => format!("map<{}>", type_name(other)),
        },
        DataType::Null => "null".to_owned(),
        DataType::UInt64 => "uint64".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "time".to_owned(),
        DataType::Duration(_) => "duration".to_owned(),
        other => types::DataType::from_arrow(other).map_or_else(|| other.to_string(), |known| known.to_string()),
    }
}

fn body(column: &ArrayRef) -> Result<Writer> {
    Ok(match column.data_type() {
        DataType::Null => Box::new(|_, out| out.push(0x00)),
        DataType::Boolean => {
            let values = column.as_boolean().clone();
            Box::new(move |row, out| out.extend([0x01, u8::from(values.value(row))]))
        }
        DataType::Int8 => primitive::<Int8Type>(column, |v, out| integer(i64::from(v), out)),
        DataType::Int16 => primitive::<Int16Type>(column, |v, out| integer(i64::from(v), out)),
        DataType::Int32 => primitive::<Int32Type>(column, |v, out| integer(i64::from(v), out)),
        DataType::Int64 => primitive::<Int64Type>(column, integer),
        DataType::UInt8 => primitive::<UInt8Type>(column, |v, out| integer(i64::from(v), out)),
        DataType::UInt16 => primitive::<UInt16Type>(column, |v, out| integer(i64::from(v), out)),
        DataType::UInt32 => primitive::<UInt32Type>(column, |v, out| integer(i64::from(v), out)),
        DataType::UInt64 => primitive::<UInt64Type>(column, |v, out| match i64::try_from(v) {
            Ok(small) => integer(small, out),
            Err(_) => tagged(0x03, &v.to_le_bytes(), out),
        }),
        DataType::Float16 => primitive::<Float16Type>(column, |v, out| tagged(0x04, &v.to_f32().to_le_bytes(), out)),
        DataType::Float32 => primitive::<Float32Type>(column, |v, out| tagged(0x04, &v.to_le_bytes(), out)),
        DataType::Float64 => primitive::<Float64Type>(column, |v, out| tagged(0x05, &v.to_le_bytes(), out)),
        DataType::Utf8 => {
            let values = column.as_string::<i32>().clone();
            Box::new(move |row, out| sized(0x06, values.value(row).as_bytes(), out))
        }
        DataType::LargeUtf8 => {
            let values = column.as_string::<i64>().clone();
            Box::new(move |row, out| sized(0x06, values.value(row).as_bytes(), out))
        }
        DataType::Utf8View => {
            let values = column.as_string_view().clone();
            Box::new(move |row, out| sized(0x06, values.value(row).as_bytes(), out))
        }
        DataType::Binary => {
            let values = column.as_binary::<i32>().clone();
            Box::new(move |row, out| sized(0x07, values.value(row), out))
        }
        DataType::LargeBinary => {
            let values = column.as_binary::<i64>().clone();
            Box::new(move |row, out| sized(0x07, values.value(row), out))
        }
        DataType::BinaryView => {
            let values = column.as_binary_view().clone();
            Box::new(move |row, out| sized(0x07, values.value(row), out))
        }
        DataType::FixedSizeBinary(_) => {
            let values = column.as_fixed_size_binary().clone();
            Box::new(move |row, out| sized(0x07, values.value(row), out))
        }
        DataType::Decimal32(_, scale) => decimal::<Decimal32Type>(column, *scale),
        DataType::Decimal64(_, scale) => decimal::<Decimal64Type>(column, *scale),
        DataType::Decimal128(_, scale) => decimal::<Decimal128Type>(column, *scale),
        DataType::Decimal256(_, scale) => {
            let scale = *scale;
            primitive::<Decimal256Type>(column, move |v, out| {
                out.extend([0x0b, scale.cast_unsigned()]);
                out.extend(v.to_le_bytes());
            })
        }
        DataType::Timestamp(unit, _) => timestamp(column, *unit),
        DataType::Date32 => primitive::<Date32Type>(column, |v, out| tagged(0x09, &i64::from(v).to_le_bytes(), out)),
        DataType::Date64 => {
            primitive::<Date64Type>(column, |v, out| tagged(0x09, &v.div_euclid(DAY_MILLIS).to_le_bytes(), out))
        }
        DataType::Time32(TimeUnit::Second) => nanos::<Time32SecondType>(column, 0x0f, TimeUnit::Second),
        DataType::Time32(_) => nanos::<Time32MillisecondType>(column, 0x0f, TimeUnit::Millisecond),
        DataType::Time64(TimeUnit::Microsecond) => nanos::<Time64MicrosecondType>(column, 0x0f, TimeUnit::Microsecond),
        DataType::Time64(_) => nanos::<Time64NanosecondType>(column, 0x0f, TimeUnit::Nanosecond),
        DataType::Duration(unit) => duration(column, *unit),
        DataType::Dictionary(..) => dictionary(column)?,
        DataType::List(_) => list::<i32>(column.as_list())?,
        DataType::LargeList(_) => list::<i64>(column.as_list())?,
        DataType::FixedSizeList(_, length) => {
            let (items, length) =
                (writer(column.as_fixed_size_list().values())?, usize::try_from(*length).unwrap_or(0));
            // The child of a sliced list starts at its first row.
            Box::new(move |row, out| {
                counted(0x0c, length, out);
                (row * length..(row + 1) * length).for_each(|at| items(at, out));
            })
        }
        DataType::Struct(_) => structure(column)?,
        DataType::Map(..) => map(column)?,
        other => return Err(Error::Type(other.clone())),
    })
}

fn primitive<T: ArrowPrimitiveType>(
    column: &ArrayRef,
    write: impl Fn(T::Native, &mut Vec<u8>) + Send + 'static,
) -> Writer {
    let values = column.as_primitive::<T>().values().clone();
    Box::new(move |row, out| write(values[row], out))
}

fn decimal<T: ArrowPrimitiveType<Native: Into<i128>>>(column: &ArrayRef, scale: i8) -> Writer {
    primitive::<T>(column, move |value, out| {
        out.extend([0x0a, scale.cast_unsigned()]);
        out.extend(value.into().to_le_bytes());
    })
}

fn timestamp(column: &ArrayRef, unit: TimeUnit) -> Writer {
    match unit {
        TimeUnit::Second => nanos::<TimestampSecondType>(column, 0x08, unit),
        TimeUnit::Millisecond => nanos::<TimestampMillisecondType>(column, 0x08, unit),
        TimeUnit::Microsecond => nanos::<TimestampMicrosecondType>(column, 0x08, unit),
        TimeUnit::Nanosecond => nanos::<TimestampNanosecondType>(column, 0x08, unit),
    }
}

fn duration(column: &ArrayRef, unit: TimeUnit) -> Writer {
    match unit {
        TimeUnit::Second => nanos::<DurationSecondType>(column, 0x10, unit),
        TimeUnit::Millisecond => nanos::<DurationMillisecondType>(column, 0x10, unit),
        TimeUnit::Microsecond => nanos::<DurationMicrosecondType>(column, 0x10, unit),
        TimeUnit::Nanosecond => nanos::<DurationNanosecondType>(column, 0x10, unit),
    }
}

fn nanos<T: ArrowPrimitiveType<Native: Into<i128>>>(column: &ArrayRef, tag: u8, unit: TimeUnit) -> Writer {
    let factor = nanos_of(unit);
    primitive::<T>(column, move |value, out| tagged(tag, &(value.into() * factor).to_le_bytes(), out))
}

/// Nanoseconds of one step of a unit.
pub(super) fn nanos_of(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

fn dictionary(column: &ArrayRef) -> Result<Writer> {
    let dictionary = column.as_any_dictionary();
    if dictionary.values().is_empty() {
        return Ok(Box::new(|_, out| out.push(0x00)));
    }
    let (keys, values) = (dictionary.normalized_keys(), writer(dictionary.values())?);
    Ok(Box::new(move |row, out| values(keys[row], out)))
}

fn list<O: OffsetSizeTrait>(lists: &GenericListArray<O>) -> Result<Writer> {
    let (items, offsets) = (writer(lists.values())?, lists.offsets().clone());
    Ok(Box::new(move |row, out| {
        let (start, end) = (offsets[row].as_usize(), offsets[row + 1].as_usize());
        counted(0x0c, end - start, out);
        (start..end).for_each(|at| items(at, out));
    }))
}

fn structure(column: &ArrayRef) -> Result<Writer> {
    let rows = column.as_struct();
    let field = |(name, values): (&str, &ArrayRef)| Ok((name.to_owned(), writer(values)?));
    let fields = rows.column_names().into_iter().zip(rows.columns()).map(field).collect::<Result<Vec<_>>>()?;
    Ok(Box::new(move |row, out| {
        counted(0x0d, fields.len(), out);
        for (name, value) in &fields {
            text(name, out);
            value(row, out);
        }
    }))
}

fn map(column: &ArrayRef) -> Result<Writer> {
    let map = column.as_map();
    let (keys, values, offsets) = (writer(map.keys())?, writer(map.values())?, map.offsets().clone());
    Ok(Box::new(move |row, out| {
        let (start, end) = (offsets[row].as_usize(), offsets[row + 1].as_usize());
        counted(0x0e, end - start, out);
        for at in start..end {
            keys(at, out);
            values(at, out);
        }
    }))
}

fn integer(value: i64, out: &mut Vec<u8>) {
    tagged(0x02, &value.to_le_bytes(), out);
}

fn tagged(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

fn counted(tag: u8, count: usize, out: &mut Vec<u8>) {
    tagged(tag, &(count as u64).to_le_bytes(), out);
}

fn sized(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    counted(tag, bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// A length and the text.
pub(super) fn text(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}
