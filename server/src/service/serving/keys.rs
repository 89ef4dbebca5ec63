//! Key columns of a lookup: found by name, and cast only where the cast loses nothing.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, new_empty_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType as Arrow, Date32Type, Int64Type, TimeUnit};
use arrow::util::display::FormatOptions;
use tidegate_schemas::catalog::nearest;
use tidegate_schemas::definition::Column;
use tidegate_schemas::types::DataType;

use crate::service::{Error, Result};

/// What does not fit is an error, not a null.
const STRICT: CastOptions<'static> = CastOptions { safe: false, format_options: FormatOptions::new() };

/// The wanted columns in order.
///
/// # Errors
/// A column that is missing, extra or given twice, columns of different lengths, a type or a value that does not fit: by name.
pub(in crate::service) fn columns(wanted: &[Column], given: &[(String, ArrayRef)]) -> Result<Vec<ArrayRef>> {
    check_names(wanted, given)?;
    check_lengths(given)?;
    let find = |column: &Column| given.iter().find(|(name, _)| *name == column.name).map(|(_, array)| array);
    wanted
        .iter()
        .map(|column| match find(column) {
            Some(array) => cast(column, array),
            None => Err(Error::internal(format!("key `{}` got lost", column.name))),
        })
        .collect()
}

/// The wanted columns of a request in order. Nulls may be among them; integers may stand for floats, and texts for times.
///
/// # Errors
/// A column that is missing, extra or given twice, a type or a value that does not fit: by name.
pub(in crate::service) fn request_columns(wanted: &[Column], given: &[(String, ArrayRef)]) -> Result<Vec<ArrayRef>> {
    let names = || wanted.iter().map(|column| column.name.as_str());
    for (at, (name, _)) in given.iter().enumerate() {
        if given[..at].iter().any(|(before, _)| before == name) {
            return Err(Error::invalid(format!("request column `{name}` is given twice; give each once")));
        }
        if !names().any(|wanted| wanted == name) {
            let help = match nearest(name, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("they are {}", names().collect::<Vec<_>>().join(", ")),
            };
            return Err(Error::invalid(format!("`{name}` is not a request column of these features; {help}")));
        }
    }
    let column = |column: &Column| {
        let array = given.iter().find(|(name, _)| *name == column.name).map(|(_, array)| array);
        let array = array.ok_or_else(|| {
            let Column { name, data_type } = column;
            Error::invalid(format!(
                "the computed features of this service need the request column `{name}` ({data_type}), which the request lacks"
            ))
        })?;
        request_column(column, array)
    };
    wanted.iter().map(column).collect()
}

fn request_column(column: &Column, array: &ArrayRef) -> Result<ArrayRef> {
    let (wanted, from) = (column.data_type.to_arrow(), array.data_type());
    if *from == wanted {
        return Ok(array.clone());
    }
    let fits = match &column.data_type {
        _ if *from == Arrow::Null => true,
        DataType::Float32 | DataType::Float64 => from.is_numeric(),
        DataType::Timestamp | DataType::Date => lossless(from, &column.data_type) || lossless(from, &DataType::String),
        DataType::Json => lossless(from, &DataType::String),
        DataType::Bool | DataType::Int32 | DataType::Int64 | DataType::String | DataType::Bytes => {
            lossless(from, &column.data_type)
        }
        // Nested types know their items' names.
        _ => DataType::from_arrow(from).is_some(),
    };
    let convert = || match (&column.data_type, from) {
        (DataType::Timestamp, Arrow::Int64) => Ok(micros(array)),
        (DataType::Date, Arrow::Int64) => {
            cast_with_options(array, &Arrow::Int32, &STRICT).and_then(|days| cast_with_options(&days, &wanted, &STRICT))
        }
        _ => cast_with_options(array, &wanted, &STRICT),
    };
    let Column { name, data_type } = column;
    if !fits {
        let message =
            format!("request column `{name}` is {data_type}, and values of type {from} were given; cast them");
        return Err(Error::invalid(message));
    }
    convert().map_err(|error| {
        Error::invalid(format!("request column `{name}` is {data_type}, and a value does not fit: {error}"))
    })
}

fn check_names(wanted: &[Column], given: &[(String, ArrayRef)]) -> Result<()> {
    let has = |name: &str| given.iter().any(|(known, _)| known == name);
    let mut missing: Vec<&str> = wanted.iter().map(|column| column.name.as_str()).filter(|name| !has(name)).collect();
    missing.dedup();
    let names = || wanted.iter().map(|column| column.name.as_str());
    let extra = given.iter().map(|(name, _)| name.as_str()).find(|name| !names().any(|wanted| wanted == *name));
    if let Some(extra) = extra {
        let help = match nearest(extra, names()) {
            Some(near) => format!("; did you mean `{near}`?"),
            None if wanted.is_empty() => "; these features take no keys".to_owned(),
            None => format!("; the keys are {}", names().collect::<Vec<_>>().join(", ")),
        };
        return Err(Error::invalid(format!("`{extra}` is not a key of these features{help}")));
    }
    if !missing.is_empty() {
        return Err(Error::invalid(format!(
            "these features need the key {}, which the request lacks",
            missing.join(", ")
        )));
    }
    match given.iter().enumerate().find(|(at, (name, _))| given[..*at].iter().any(|(before, _)| before == name)) {
        Some((_, (name, _))) => Err(Error::invalid(format!("key `{name}` is given twice; give each key once"))),
        None => Ok(()),
    }
}

fn check_lengths(given: &[(String, ArrayRef)]) -> Result<()> {
    let Some((first, rest)) = given.split_first() else { return Ok(()) };
    match rest.iter().find(|(_, array)| array.len() != first.1.len()) {
        None => Ok(()),
        Some((name, array)) => Err(Error::invalid(format!(
            "key `{}` has {} values and key `{name}` has {}; give each entity row one value of every key",
            first.0,
            first.1.len(),
            array.len()
        ))),
    }
}

fn cast(column: &Column, array: &ArrayRef) -> Result<ArrayRef> {
    let wanted = column.data_type.to_arrow();
    if *array.data_type() == wanted {
        return Ok(array.clone());
    }
    if array.is_empty() && *array.data_type() == Arrow::Null {
        return Ok(new_empty_array(&wanted));
    }
    if !lossless(array.data_type(), &column.data_type) {
        return Err(Error::invalid(format!(
            "key `{}` is {}, and values of type {} were given, which do not convert without loss",
            column.name,
            column.data_type,
            array.data_type()
        )));
    }
    // Numbers that mean days or microseconds are relabelled: a cast would go by way of another unit.
    let bits = match (&column.data_type, array.data_type()) {
        (DataType::Timestamp, Arrow::Int64) => Some(micros(array)),
        (DataType::Date, Arrow::Int64) => Some(days(column, array)?),
        _ => None,
    };
    if let Some(array) = bits {
        return Ok(array);
    }
    cast_with_options(array, &wanted, &STRICT).map_err(|error| unfit(column, &error.to_string()))
}

fn unfit(column: &Column, why: &str) -> Error {
    Error::invalid(format!("key `{}` is {}, and a value does not fit: {why}", column.name, column.data_type))
}

fn micros(array: &ArrayRef) -> ArrayRef {
    let values = array.as_primitive::<Int64Type>();
    let micros: PrimitiveArray<arrow::datatypes::TimestampMicrosecondType> = values.reinterpret_cast();
    Arc::new(micros.with_timezone("UTC"))
}

fn days(column: &Column, array: &ArrayRef) -> Result<ArrayRef> {
    let days = array.as_primitive::<Int64Type>().try_unary::<_, Date32Type, Error>(|value| {
        i32::try_from(value).map_err(|_| unfit(column, &format!("{value} days")))
    })?;
    Ok(Arc::new(days))
}

/// Whether every value of `from` either converts exactly or makes the cast fail.
fn lossless(from: &Arrow, to: &DataType) -> bool {
    if let Arrow::Dictionary(_, value) = from {
        return lossless(value, to);
    }
    match to {
        DataType::Bool => matches!(from, Arrow::Boolean),
        DataType::Int32 | DataType::Int64 => from.is_integer(),
        DataType::String => matches!(from, Arrow::Utf8 | Arrow::LargeUtf8 | Arrow::Utf8View),
        DataType::Bytes => {
            matches!(from, Arrow::Binary | Arrow::LargeBinary | Arrow::BinaryView | Arrow::FixedSizeBinary(_))
        }
        // A nanosecond cut off would name another entity.
        DataType::Timestamp => matches!(
            from,
            Arrow::Int64 | Arrow::Timestamp(TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond, _)
        ),
        DataType::Date => matches!(from, Arrow::Int64 | Arrow::Int32 | Arrow::Date32),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, Int32Array, Int64Array, StringArray};
    use arrow::datatypes::Int8Type;

    use super::*;

    fn key(name: &str, data_type: DataType) -> Column {
        Column { name: name.to_owned(), data_type }
    }

    #[track_caller]
    fn check_refused(wanted: &[Column], given: &[(&str, ArrayRef)], expect: &[&str]) {
        let given: Vec<_> = given.iter().map(|(name, array)| ((*name).to_owned(), array.clone())).collect();
        let error = columns(wanted, &given).expect_err("should be refused").message;
        for part in expect {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    }

    #[test]
    fn keys_that_fit_are_converted() {
        let dictionary: DictionaryArray<Int8Type> = ["JFK", "EWR", "JFK"].into_iter().collect();
        let given: Vec<(String, ArrayRef)> = vec![
            ("day".to_owned(), Arc::new(Int64Array::from(vec![0, 1, 2]))),
            ("origin".to_owned(), Arc::new(dictionary)),
            ("n".to_owned(), Arc::new(Int32Array::from(vec![1, 2, 3]))),
        ];
        let wanted = [key("origin", DataType::String), key("n", DataType::Int64), key("day", DataType::Date)];
        let found = columns(&wanted, &given).unwrap();
        let types: Vec<_> = found.iter().map(|array| array.data_type().clone()).collect();
        assert_eq!(types, [Arrow::Utf8, Arrow::Int64, Arrow::Date32]);
    }

    #[test]
    fn keys_that_do_not_fit_are_named() {
        let text = || Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef;
        let numbers = || Arc::new(Int64Array::from(vec![1, i64::MAX])) as ArrayRef;
        let origin = [key("origin", DataType::String)];
        check_refused(&origin, &[], &["origin"]);
        check_refused(&origin, &[("orgin", text())], &["`orgin`", "did you mean `origin`"]);
        check_refused(&origin, &[("origin", numbers())], &["origin", "string", "Int64"]);
        check_refused(&origin, &[("origin", text()), ("origin", text())], &["twice"]);
        check_refused(&[key("n", DataType::Int32)], &[("n", numbers())], &["`n`", "int32", "9223372036854775807"]);
        let two = [key("a", DataType::String), key("b", DataType::Int64)];
        let short = Arc::new(Int64Array::from(vec![1])) as ArrayRef;
        check_refused(&two, &[("a", text()), ("b", short)], &["2 values", "1"]);
    }
}
