//! Encoding whole columns of keys. Types, nulls and ranges are checked once, up front, so that encoding a row can't fail.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type,
};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BinaryViewArray, BooleanArray, LargeBinaryArray,
    LargeStringArray, StringArray, StringViewArray,
};
use arrow_schema::{DataType as Arrow, TimeUnit};
use tidegate_schemas::definition::Column;
use tidegate_schemas::types::DataType;

use super::{BOOL, BYTES, DATE, END, INT32, INT64, STRING, TIMESTAMP, put_32, put_64, put_escaped};
use crate::{Error, Result};

/// Encodes the entity of any row of a batch of key columns.
#[derive(Debug)]
pub struct KeyEncoder<'a> {
    columns: Vec<KeyColumn<'a>>,
}

/// One key column, seen as its key's type.
#[derive(Debug)]
enum KeyColumn<'a> {
    Bool(&'a BooleanArray),
    Narrow(u8, Ints<'a, i32>),
    Wide(u8, Ints<'a, i64>),
    String(&'a StringArray),
    LargeString(&'a LargeStringArray),
    StringView(&'a StringViewArray),
    Bytes(&'a BinaryArray),
    LargeBytes(&'a LargeBinaryArray),
    BytesView(&'a BinaryViewArray),
}

/// Integers, borrowed where the column has the key's own width.
#[derive(Debug)]
enum Ints<'a, T> {
    Borrowed(&'a [T]),
    Cast(Vec<T>),
}

impl<T: Copy> Ints<'_, T> {
    #[inline]
    fn get(&self, row: usize) -> T {
        match self {
            Self::Borrowed(values) => values[row],
            Self::Cast(values) => values[row],
        }
    }
}

impl<'a> KeyEncoder<'a> {
    /// Checks `arrays` against the keys' types. Integer columns of any width serve integer, timestamp and date keys whose range
    /// holds their values; string and binary columns may have any of Arrow's layouts.
    ///
    /// # Errors
    /// A wrong type, naming both; a null or a value out of range, naming the row.
    pub fn new(keys: &[Column], arrays: impl IntoIterator<Item = &'a ArrayRef>) -> Result<Self> {
        let arrays: Vec<&'a ArrayRef> = arrays.into_iter().collect();
        if arrays.len() != keys.len() {
            return Err(Error::Shape(format!("{} key columns were given, the view has {}", arrays.len(), keys.len())));
        }
        let columns = keys.iter().zip(arrays).map(|(key, array)| column(key, array)).collect::<Result<_>>()?;
        Ok(Self { columns })
    }

    /// Appends the entity of a row. Rows beyond the columns' length panic, as indexing does.
    #[inline]
    pub fn encode(&self, entity_type: u32, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&entity_type.to_be_bytes());
        for column in &self.columns {
            match column {
                KeyColumn::Bool(array) => out.extend_from_slice(&[BOOL, u8::from(array.value(row))]),
                KeyColumn::Narrow(tag, ints) => put_32(out, *tag, ints.get(row)),
                KeyColumn::Wide(tag, ints) => put_64(out, *tag, ints.get(row)),
                KeyColumn::String(array) => put_escaped(out, STRING, array.value(row).as_bytes()),
                KeyColumn::LargeString(array) => put_escaped(out, STRING, array.value(row).as_bytes()),
                KeyColumn::StringView(array) => put_escaped(out, STRING, array.value(row).as_bytes()),
                KeyColumn::Bytes(array) => put_escaped(out, BYTES, array.value(row)),
                KeyColumn::LargeBytes(array) => put_escaped(out, BYTES, array.value(row)),
                KeyColumn::BytesView(array) => put_escaped(out, BYTES, array.value(row)),
            }
        }
        out.push(END);
    }
}

fn column<'a>(key: &Column, array: &'a ArrayRef) -> Result<KeyColumn<'a>> {
    if let Some(row) = first_null(array) {
        return Err(Error::NullKey { name: key.name.clone(), row });
    }
    let wrong = || Error::WrongType {
        what: "key",
        name: key.name.clone(),
        expected: key.data_type.to_string(),
        found: DataType::from_arrow(array.data_type())
            .map_or_else(|| array.data_type().to_string(), |data_type| data_type.to_string()),
    };
    Ok(match (&key.data_type, array.data_type()) {
        (DataType::Bool, Arrow::Boolean) => KeyColumn::Bool(array.as_boolean()),
        (DataType::Int32, Arrow::Int32) => narrow::<Int32Type>(INT32, array),
        (DataType::Date, Arrow::Date32) => narrow::<Date32Type>(DATE, array),
        (DataType::Int64, Arrow::Int64) => wide::<Int64Type>(INT64, array),
        (DataType::Timestamp, Arrow::Timestamp(TimeUnit::Microsecond, _)) => {
            wide::<TimestampMicrosecondType>(TIMESTAMP, array)
        }
        (DataType::Int32, _) => cast_narrow(INT32, key, array)?.ok_or_else(wrong)?,
        (DataType::Date, _) => cast_narrow(DATE, key, array)?.ok_or_else(wrong)?,
        (DataType::Int64, _) => KeyColumn::Wide(INT64, Ints::Cast(integers(array).ok_or_else(wrong)?)),
        (DataType::Timestamp, Arrow::Int64) => wide::<Int64Type>(TIMESTAMP, array),
        (DataType::String, Arrow::Utf8) => KeyColumn::String(array.as_string()),
        (DataType::String, Arrow::LargeUtf8) => KeyColumn::LargeString(array.as_string()),
        (DataType::String, Arrow::Utf8View) => KeyColumn::StringView(array.as_string_view()),
        (DataType::Bytes, Arrow::Binary) => KeyColumn::Bytes(array.as_binary()),
        (DataType::Bytes, Arrow::LargeBinary) => KeyColumn::LargeBytes(array.as_binary()),
        (DataType::Bytes, Arrow::BinaryView) => KeyColumn::BytesView(array.as_binary_view()),
        _ => return Err(wrong()),
    })
}

fn first_null(array: &ArrayRef) -> Option<usize> {
    let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0)?;
    (0..nulls.len()).find(|&row| nulls.is_null(row))
}

fn narrow<T: ArrowPrimitiveType<Native = i32>>(tag: u8, array: &ArrayRef) -> KeyColumn<'_> {
    KeyColumn::Narrow(tag, Ints::Borrowed(array.as_primitive::<T>().values()))
}

fn wide<T: ArrowPrimitiveType<Native = i64>>(tag: u8, array: &ArrayRef) -> KeyColumn<'_> {
    KeyColumn::Wide(tag, Ints::Borrowed(array.as_primitive::<T>().values()))
}

/// Other integers as 32-bit keys; `None` where the column holds no integers.
fn cast_narrow<'a>(tag: u8, key: &Column, array: &ArrayRef) -> Result<Option<KeyColumn<'a>>> {
    let Some(values) = integers(array) else { return Ok(None) };
    let narrow = |(row, value): (usize, &i64)| {
        i32::try_from(*value).map_err(|_| Error::BadValue {
            name: key.name.clone(),
            row,
            why: format!("{value} is out of the range of {}", key.data_type),
        })
    };
    let values = values.iter().enumerate().map(narrow).collect::<Result<Vec<i32>>>()?;
    Ok(Some(KeyColumn::Narrow(tag, Ints::Cast(values))))
}

/// A column of integers, widened.
fn integers(array: &ArrayRef) -> Option<Vec<i64>> {
    fn widen<T: ArrowPrimitiveType>(array: &ArrayRef) -> Vec<i64>
    where
        T::Native: Into<i64>,
    {
        array.as_primitive::<T>().values().iter().map(|&value| value.into()).collect()
    }
    Some(match array.data_type() {
        Arrow::Int8 => widen::<Int8Type>(array),
        Arrow::Int16 => widen::<Int16Type>(array),
        Arrow::Int32 => widen::<Int32Type>(array),
        Arrow::Int64 => widen::<Int64Type>(array),
        Arrow::UInt8 => widen::<UInt8Type>(array),
        Arrow::UInt16 => widen::<UInt16Type>(array),
        Arrow::UInt32 => widen::<UInt32Type>(array),
        _ => return None,
    })
}
