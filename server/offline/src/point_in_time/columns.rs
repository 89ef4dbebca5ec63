//! Columns as the join compares them: keys as lanes of one of a few families, times as UTC microseconds.
//!
//! A spine key and a table key match when they are of one [`Family`]; within a family every type reads as the same lane
//! without loss, so equality of lanes is equality of values. What is in no family, or in two, is an error that names both
//! types. Times of features round up to microseconds and times of spines down, so that rounding can't let a row see later.

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, StringArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, UInt64Type};
use arrow::error::ArrowError;
use tidegate_schemas::time::Micros;

const STRICT: CastOptions<'static> =
    CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };

/// A set of key types that compare without loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Family {
    /// Integers that fit 64 signed bits.
    Integer,
    /// Unsigned 64-bit integers, which no signed type holds.
    Unsigned,
    Boolean,
    /// Days.
    Date,
    /// Timestamps of microseconds or coarser; naive ones are UTC.
    Timestamp,
    /// Timestamps of nanoseconds, which microseconds don't hold.
    Nanos,
    Text,
    Bytes,
}

impl Family {
    /// The family of an Arrow type, or `None` when values of it can't be keys.
    pub(super) fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Self::Integer,
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => Self::Integer,
            DataType::UInt64 => Self::Unsigned,
            DataType::Boolean => Self::Boolean,
            DataType::Date32 => Self::Date,
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Self::Nanos,
            DataType::Timestamp(..) => Self::Timestamp,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Self::Bytes,
            DataType::Dictionary(_, value) => return Self::of(value),
            _ => return None,
        })
    }
}

/// The values of a key column in the one form its family compares in.
#[derive(Debug, Clone)]
pub(super) enum Lane {
    /// Every fixed-width family, as 64 bits.
    Words(ScalarBuffer<i64>, Option<NullBuffer>),
    /// Text.
    Text(StringArray),
    /// Bytes.
    Bytes(BinaryArray),
}

impl Lane {
    /// Reads a key column.
    ///
    /// # Errors
    /// A value that the family's common type can't hold.
    pub(super) fn read(array: &ArrayRef, family: Family) -> Result<Self, ArrowError> {
        let plain = |to: &DataType| cast_with_options(array, to, &STRICT);
        let words = |array: &Int64Array| Self::Words(array.values().clone(), array.nulls().cloned());
        Ok(match family {
            Family::Integer | Family::Boolean => words(plain(&DataType::Int64)?.as_primitive::<Int64Type>()),
            Family::Unsigned => {
                let array = plain(&DataType::UInt64)?;
                let array = array.as_primitive::<UInt64Type>();
                Self::Words(ScalarBuffer::from(array.values().inner().clone()), array.nulls().cloned())
            }
            Family::Date => {
                let days = plain(&DataType::Int32)?;
                words(cast_with_options(&days, &DataType::Int64, &STRICT)?.as_primitive::<Int64Type>())
            }
            Family::Timestamp => {
                let zone = match array.data_type() {
                    DataType::Timestamp(_, zone) => zone.clone(),
                    _ => None,
                };
                let micros = plain(&DataType::Timestamp(TimeUnit::Microsecond, zone))?;
                words(cast_with_options(&micros, &DataType::Int64, &STRICT)?.as_primitive::<Int64Type>())
            }
            Family::Nanos => words(plain(&DataType::Int64)?.as_primitive::<Int64Type>()),
            Family::Text => Self::Text(plain(&DataType::Utf8)?.as_string::<i32>().clone()),
            Family::Bytes => Self::Bytes(plain(&DataType::Binary)?.as_binary::<i32>().clone()),
        })
    }

    /// Rows.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Words(values, _) => values.len(),
            Self::Text(array) => array.len(),
            Self::Bytes(array) => array.len(),
        }
    }

    /// Which rows are null.
    pub(super) fn nulls(&self) -> Option<&NullBuffer> {
        match self {
            Self::Words(_, nulls) => nulls.as_ref(),
            Self::Text(array) => array.nulls(),
            Self::Bytes(array) => array.nulls(),
        }
    }
}

/// Which way a time finer than a microsecond goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    /// To the microsecond after: features.
    Up,
    /// To the microsecond before: spines.
    Down,
}

/// Times as UTC microseconds. Coarser units that overflow stay at the end of the range.
#[derive(Debug, Clone)]
pub(super) struct Times {
    pub(super) values: ScalarBuffer<i64>,
    pub(super) nulls: Option<NullBuffer>,
}

impl Times {
    /// Reads a time column, or `None` when its type is no time.
    pub(super) fn read(array: &ArrayRef, rounding: Rounding) -> Option<Self> {
        if array.data_type() == &DataType::Null {
            let (values, nulls) = (vec![0; array.len()].into(), NullBuffer::new_null(array.len()));
            return Some(Self { values, nulls: Some(nulls) });
        }
        let unit = Unit::of(array.data_type())?;
        let flat = match array.data_type() {
            DataType::Dictionary(_, value) => &cast_with_options(array, value, &STRICT).ok()?,
            _ => array,
        };
        let raw = match flat.data_type() {
            DataType::Date32 => {
                let days = cast_with_options(flat, &DataType::Int32, &STRICT).ok()?;
                cast_with_options(&days, &DataType::Int64, &STRICT).ok()?
            }
            _ => cast_with_options(flat, &DataType::Int64, &STRICT).ok()?,
        };
        let raw = raw.as_primitive::<Int64Type>();
        let values = match unit {
            Unit::Micros => raw.values().clone(),
            other => raw.values().iter().map(|value| other.to_micros(*value, rounding)).collect(),
        };
        Some(Self { values, nulls: raw.nulls().cloned() })
    }

    /// The time in a row, unless it is null.
    pub(super) fn get(&self, row: usize) -> Option<Micros> {
        (!self.is_null(row)).then(|| self.values[row])
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }
}

/// The unit of a time column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Days,
    Seconds,
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    /// The unit of an Arrow type, or `None` when it is no time.
    pub(super) fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Date32 => Self::Days,
            DataType::Timestamp(TimeUnit::Second, _) => Self::Seconds,
            DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Date64 => Self::Millis,
            DataType::Timestamp(TimeUnit::Microsecond, _) => Self::Micros,
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Self::Nanos,
            DataType::Dictionary(_, value) => return Self::of(value),
            _ => return None,
        })
    }

    pub(super) fn to_micros(self, value: i64, rounding: Rounding) -> Micros {
        match (self, rounding) {
            (Self::Days, _) => value.saturating_mul(86_400_000_000),
            (Self::Seconds, _) => value.saturating_mul(1_000_000),
            (Self::Millis, _) => value.saturating_mul(1_000),
            (Self::Micros, _) => value,
            (Self::Nanos, Rounding::Down) => value.div_euclid(1_000),
            (Self::Nanos, Rounding::Up) => value.div_euclid(1_000) + i64::from(value.rem_euclid(1_000) != 0),
        }
    }
}

/// Whether a table's column reads as a feature's type without loss.
pub(super) fn reads_as(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Date32, Date64, Decimal128, Dictionary, FixedSizeBinary, FixedSizeList, Float16, Float32,
        Float64, Int8, Int16, Int32, Int64, LargeBinary, LargeList, LargeUtf8, List, ListView, Map, Null, Struct,
        Timestamp, UInt8, UInt16, UInt32, UInt64, Utf8, Utf8View,
    };
    match (from, to) {
        (a, b) if a == b => true,
        (Null, _) => true,
        (Dictionary(_, value), _) => reads_as(value, to),
        (Int8, Int16 | Int32 | Int64 | Float32 | Float64) | (Int16, Int32 | Int64 | Float32 | Float64) => true,
        (Int32, Int64 | Float64) | (UInt8, Int16 | Int32 | Int64 | UInt16 | UInt32 | UInt64) => true,
        (UInt8 | UInt16, Float32 | Float64) | (UInt16, Int32 | Int64 | UInt32 | UInt64) => true,
        (UInt32, Int64 | UInt64 | Float64) | (Float16, Float32 | Float64) | (Float32, Float64) => true,
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView) => true,
        (Binary | LargeBinary | BinaryView | FixedSizeBinary(_), Binary | LargeBinary | BinaryView) => true,
        (Date64, Date32) | (Date32, Date64 | Timestamp(..)) | (Timestamp(..), Timestamp(..)) => true,
        (Decimal128(p, s), Decimal128(q, t)) => {
            t >= s && i16::from(*q) - i16::from(*t) >= i16::from(*p) - i16::from(*s)
        }
        (List(a) | LargeList(a) | ListView(a) | FixedSizeList(a, _), List(b) | LargeList(b)) => {
            reads_as(a.data_type(), b.data_type())
        }
        (FixedSizeList(a, n), FixedSizeList(b, m)) => n == m && reads_as(a.data_type(), b.data_type()),
        (Struct(a), Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| reads_as(a.data_type(), b.data_type()))
        }
        (Map(a, _), Map(b, _)) => reads_as(a.data_type(), b.data_type()),
        _ => false,
    }
}

/// Reads a feature's values as its declared type.
pub(super) fn convert(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    match (array.data_type(), to) {
        (from, to) if from == to => Ok(array.clone()),
        // By the one rule for rounding, so that training sees the value that is served.
        (DataType::Timestamp(..), DataType::Timestamp(..)) => crate::table::schema::convert(array, to),
        _ => cast_with_options(array, to, &STRICT),
    }
}
