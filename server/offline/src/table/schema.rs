//! Column types: Arrow as files and logs spell them, and as everything that reads a snapshot sees them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::CastOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use tidegate_schemas::definition::Column;
use tidegate_schemas::types::DataType as Type;

/// The spelling that readers see: text is Utf8, times are UTC microseconds, dictionaries are unwrapped. Types outside the
/// feature language stay as they are, for SQL.
pub(crate) fn normal(stored: &DataType) -> DataType {
    match stored {
        // Narrow integers and fixed-size lists keep their own type: the language only promises to read them.
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => stored.clone(),
        DataType::Float16 | DataType::FixedSizeList(..) => stored.clone(),
        _ => Type::from_arrow(stored).map_or_else(|| stored.clone(), |known| known.to_arrow()),
    }
}

/// A schema with every column spelled the normal way, and without metadata.
pub(crate) fn normal_schema(stored: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| Field::new(field.name(), normal(field.data_type()), field.is_nullable());
    Arc::new(Schema::new(stored.fields().iter().map(field).collect::<Vec<_>>()))
}

/// The Arrow schema of defined columns. `required` ones are not nullable.
pub(crate) fn defined(columns: &[Column], required: &std::collections::BTreeSet<String>) -> SchemaRef {
    let field =
        |column: &Column| Field::new(&column.name, column.data_type.to_arrow(), !required.contains(&column.name));
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// Whether every value of one type is exactly a value of the other, so that a column may be read as it.
pub(crate) fn reads_as(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    if from == to {
        return true;
    }
    match (from, to) {
        (T::Dictionary(_, value), _) => reads_as(value, to),
        (T::Null, _) => true,
        (T::Int8 | T::UInt8, T::Int16) => true,
        (T::Int8 | T::Int16 | T::UInt8 | T::UInt16, T::Int32) => true,
        (T::Int8 | T::Int16 | T::Int32 | T::UInt8 | T::UInt16 | T::UInt32, T::Int64) => true,
        (T::UInt8, T::UInt16 | T::UInt32 | T::UInt64) | (T::UInt16, T::UInt32 | T::UInt64) => true,
        (T::UInt32, T::UInt64) => true,
        (T::Float16, T::Float32 | T::Float64) | (T::Float32, T::Float64) => true,
        (T::Int8 | T::Int16 | T::UInt8 | T::UInt16, T::Float32 | T::Float64) => true,
        (T::Int32 | T::UInt32, T::Float64) => true,
        (T::Utf8 | T::LargeUtf8 | T::Utf8View, T::Utf8 | T::LargeUtf8 | T::Utf8View) => true,
        (
            T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_),
            T::Binary | T::LargeBinary | T::BinaryView,
        ) => true,
        // A zone is only how a time is shown; a time without one is UTC.
        (T::Timestamp(from, _), T::Timestamp(to, _)) => finer_or_same(*to, *from),
        (T::Date32, T::Date64) | (T::Date64, T::Date32) => true,
        (T::Decimal128(p, s), T::Decimal128(p2, s2)) => {
            let whole = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
            s2 >= s && whole(*p2, *s2) >= whole(*p, *s)
        }
        (T::List(a) | T::LargeList(a) | T::FixedSizeList(a, _), T::List(b) | T::LargeList(b)) => {
            reads_as(a.data_type(), b.data_type())
        }
        (T::FixedSizeList(a, n), T::FixedSizeList(b, m)) => n == m && reads_as(a.data_type(), b.data_type()),
        (T::Struct(a), T::Struct(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| a.name() == b.name() && reads_as(a.data_type(), b.data_type()))
        }
        (T::Map(a, _), T::Map(b, _)) => match (a.data_type(), b.data_type()) {
            (T::Struct(a), T::Struct(b)) => {
                a.len() == 2 && b.len() == 2 && a.iter().zip(b).all(|(a, b)| reads_as(a.data_type(), b.data_type()))
            }
            _ => false,
        },
        _ => false,
    }
}

fn finer_or_same(unit: TimeUnit, than: TimeUnit) -> bool {
    let rank = |unit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    };
    rank(unit) >= rank(than)
}

/// Converts a column to a type that [`reads_as`] allows, or to microseconds from finer times. A value that does not fit
/// is an error, never a null.
pub(crate) fn convert(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, arrow::error::ArrowError> {
    if column.data_type() == to {
        return Ok(column.clone());
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let converted = match (column.data_type(), to) {
        // Through the naive type first: a cast between zones must keep the instant.
        (DataType::Timestamp(unit, _), DataType::Timestamp(_, zone)) => {
            let instant = arrow::compute::cast(column, &DataType::Timestamp(*unit, None))?;
            let at = match (unit, to) {
                (TimeUnit::Nanosecond, DataType::Timestamp(TimeUnit::Microsecond, _)) => ceil_micros(&instant)?,
                _ => instant,
            };
            let DataType::Timestamp(to_unit, _) = to else { return Ok(column.clone()) };
            let at = arrow::compute::cast_with_options(&at, &DataType::Timestamp(*to_unit, None), &strict)?;
            with_zone(&at, zone.as_ref())
        }
        _ => arrow::compute::cast_with_options(column, to, &strict)?,
    };
    Ok(converted)
}

/// Nanoseconds to microseconds, upwards: an observation must never look older than it was.
fn ceil_micros(column: &ArrayRef) -> Result<ArrayRef, arrow::error::ArrowError> {
    use arrow::array::{AsArray, TimestampMicrosecondArray};
    use arrow::datatypes::TimestampNanosecondType;
    let nanos = column.as_primitive::<TimestampNanosecondType>();
    let micros: TimestampMicrosecondArray =
        nanos.unary(|value| value.div_euclid(1000) + i64::from(value.rem_euclid(1000) > 0));
    Ok(Arc::new(micros))
}

/// The same instants, shown in a zone.
fn with_zone(column: &ArrayRef, zone: Option<&Arc<str>>) -> ArrayRef {
    use arrow::array::{
        AsArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
    };
    use arrow::datatypes as t;
    let zone = zone.cloned();
    match column.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            let array: TimestampSecondArray = column.as_primitive::<t::TimestampSecondType>().clone();
            Arc::new(array.with_timezone_opt(zone))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            let array: TimestampMillisecondArray = column.as_primitive::<t::TimestampMillisecondType>().clone();
            Arc::new(array.with_timezone_opt(zone))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let array: TimestampMicrosecondArray = column.as_primitive::<t::TimestampMicrosecondType>().clone();
            Arc::new(array.with_timezone_opt(zone))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let array: TimestampNanosecondArray = column.as_primitive::<t::TimestampNanosecondType>().clone();
            Arc::new(array.with_timezone_opt(zone))
        }
        _ => column.clone(),
    }
}

/// The name a type carries in messages: the language's where it has one.
pub(crate) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Timestamp(unit, _) if *unit != TimeUnit::Microsecond => {
            format!("timestamp in {unit:?}s").to_lowercase()
        }
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => {
            format!("{data_type}").to_lowercase()
        }
        _ => {
            Type::from_arrow(data_type).map_or_else(|| format!("{data_type}").to_lowercase(), |known| known.to_string())
        }
    }
}
