//! Values as people write and read them: text to typed columns, times and ages to text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, StringArray, TimestampMicrosecondArray};
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::compute::{CastOptions, cast_with_options, nullif};
use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, SecondsFormat, Utc};
use tidegate_schemas::duration;
use tidegate_schemas::time::Micros;

/// Where times finer than a microsecond go, so that rounding never lets the future in: a feature's up, a spine's down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rounding {
    Up,
    Down,
}

/// A text that is no value of its column's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadValue {
    /// Zero-based, in the column given.
    pub(crate) row: usize,
    pub(crate) value: String,
    pub(crate) wanted: String,
}

/// A column of text as typed values; nulls stay nulls.
///
/// Timestamps without a zone are UTC. Bytes are the text's own bytes.
pub(crate) fn parse_column(text: &StringArray, to: &DataType, rounding: Rounding) -> Result<ArrayRef, BadValue> {
    let parsed: ArrayRef = match to {
        DataType::Utf8 | DataType::Null => return Ok(Arc::new(text.clone())),
        DataType::Binary => return Ok(Arc::new(BinaryArray::from_iter(text.iter().map(|it| it.map(str::as_bytes))))),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let micros = text.iter().map(|it| it.and_then(|it| parse_instant(it, rounding)));
            Arc::new(TimestampMicrosecondArray::from_iter(micros).with_timezone_opt(zone.clone()))
        }
        other => {
            let options = CastOptions { safe: true, ..CastOptions::default() };
            cast_with_options(text, other, &options).map_err(|_| bad(text, 0, to))?
        }
    };
    match (0..text.len()).find(|row| text.is_valid(*row) && (parsed.is_null(*row) || !holds(to, text.value(*row)))) {
        Some(row) => Err(bad(text, row, to)),
        None => Ok(parsed),
    }
}

/// The first text that a column of this type would round, cut or turn into an infinity.
pub(crate) fn first_inexact(text: &StringArray, to: &DataType) -> Option<BadValue> {
    let row = (0..text.len()).find(|row| text.is_valid(*row) && !holds(to, text.value(*row)))?;
    Some(bad(text, row, to))
}

/// Whether numbers of this type are checked by [`first_inexact`].
pub(crate) fn is_checked(to: &DataType) -> bool {
    to.is_integer() || matches!(to, DataType::Decimal128(..) | DataType::Float32)
}

/// Whether a type holds a number as it is written. Floats may lose digits, which is what floats do, but not their size.
fn holds(to: &DataType, text: &str) -> bool {
    let text = text.trim();
    match to {
        to if to.is_integer() => text.parse::<f64>().map_or(true, |number| number.fract() == 0.0),
        DataType::Decimal128(_, scale) => {
            let digits = text.split_once('.').map_or(0, |(_, fraction)| fraction.trim_end_matches('0').len());
            !text.contains(['e', 'E']) && i64::try_from(digits).is_ok_and(|digits| digits <= i64::from(*scale))
        }
        #[allow(clippy::cast_possible_truncation)] // The narrowing is what is asked about.
        DataType::Float32 => {
            text.parse::<f64>().map_or(true, |wide| wide.is_infinite() || (wide as f32).is_finite() || wide.is_nan())
        }
        _ => true,
    }
}

fn bad(text: &StringArray, row: usize, to: &DataType) -> BadValue {
    let value = if row < text.len() { text.value(row).to_owned() } else { String::new() };
    BadValue { row, value, wanted: type_name(to) }
}

/// A type as the definitions name it, where they do.
pub(crate) fn type_name(of: &DataType) -> String {
    tidegate_schemas::types::DataType::from_arrow(of).map_or_else(|| of.to_string(), |named| named.to_string())
}

/// Nulls in place of the texts that stand for one.
pub(crate) fn nulls_for(text: &StringArray, nulls: &[String]) -> StringArray {
    if nulls.is_empty() {
        return text.clone();
    }
    let is_null = |value: Option<&str>| value.is_some_and(|value| nulls.iter().any(|null| null == value));
    let mask: BooleanArray = text.iter().map(|value| Some(is_null(value))).collect();
    match nullif(text, &mask) {
        Ok(masked) => masked.as_string::<i32>().clone(),
        // Both have one length, which is all `nullif` asks.
        Err(_) => text.clone(),
    }
}

/// A point in time: RFC 3339, or `2013-01-01`, or `2013-01-01 05:00[:00[.5]]`, UTC where no zone is given.
pub(crate) fn parse_instant(text: &str, rounding: Rounding) -> Option<Micros> {
    let text = text.trim();
    let at = string_to_datetime(&Utc, text).ok().or_else(|| {
        // Minutes without seconds, as spreadsheets write them.
        let with_seconds = format!("{text}:00");
        string_to_datetime(&Utc, &with_seconds).ok()
    })?;
    let finer = at.timestamp_subsec_nanos() % 1_000 != 0;
    let up = i64::from(finer && rounding == Rounding::Up);
    Some(at.timestamp_micros() + up)
}

/// A point in time as RFC 3339 in UTC, with as many decimals as it has.
pub(crate) fn instant(micros: Micros) -> String {
    DateTime::from_timestamp_micros(micros)
        .map_or_else(|| format!("{micros}us"), |at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// An age to two units at most: `3h12m`, `2d4h`, `15s`.
pub(crate) fn age(micros: Micros) -> String {
    const STEPS: [Micros; 4] = [86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000];
    let coarse = STEPS.windows(2).find(|pair| micros.abs() >= pair[0]).map_or(1_000_000, |pair| pair[1]);
    if micros.abs() < 1_000_000 {
        return duration::format(micros);
    }
    duration::format(micros / coarse * coarse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::{Float64Type, Int32Type, TimestampMicrosecondType};

    fn text(values: &[Option<&str>]) -> StringArray {
        values.iter().copied().collect()
    }

    #[test]
    fn text_becomes_what_the_column_wants() {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let column =
            text(&[Some("2013-01-01T05:00:00Z"), None, Some("2013-01-01 05:00:00"), Some("2013-01-01T06:00:00+01:00")]);
        let times = parse_column(&column, &micros, Rounding::Up).unwrap();
        let times = times.as_primitive::<TimestampMicrosecondType>();
        assert!(times.is_null(1));
        assert!([0, 2, 3].iter().all(|row| times.value(*row) == 1_357_016_400_000_000));
        let doubles = parse_column(&text(&[Some("1.5"), Some("-0.0")]), &DataType::Float64, Rounding::Up).unwrap();
        assert_eq!(doubles.as_primitive::<Float64Type>().value(1).to_bits(), (-0.0_f64).to_bits());
        let ints = parse_column(&text(&[Some("7"), None]), &DataType::Int32, Rounding::Up).unwrap();
        assert_eq!(ints.as_primitive::<Int32Type>().value(0), 7);
    }

    #[test]
    fn a_bad_value_is_named_with_its_row_and_type() {
        let got = parse_column(&text(&[Some("1"), None, Some("x")]), &DataType::Int64, Rounding::Up).unwrap_err();
        assert_eq!(got, BadValue { row: 2, value: "x".into(), wanted: "int64".into() });
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let got = parse_column(&text(&[Some("yesterday")]), &time, Rounding::Up).unwrap_err();
        assert_eq!((got.row, got.wanted.as_str()), (0, "timestamp"));
    }

    #[test]
    fn times_finer_than_a_microsecond_round_away_from_a_leak() {
        let fine = "1970-01-01T00:00:00.000001500Z";
        assert_eq!(parse_instant(fine, Rounding::Up), Some(2));
        assert_eq!(parse_instant(fine, Rounding::Down), Some(1));
        let before = "1969-12-31T23:59:59.999998500Z";
        assert_eq!(parse_instant(before, Rounding::Up), Some(-1));
        assert_eq!(parse_instant(before, Rounding::Down), Some(-2));
    }

    #[test]
    fn instants_and_ages_read_back() {
        assert_eq!(instant(1_357_016_400_000_000), "2013-01-01T05:00:00Z");
        assert_eq!(parse_instant("2013-01-01 05:00", Rounding::Up), Some(1_357_016_400_000_000));
        assert_eq!(parse_instant("2013-01-01", Rounding::Up), Some(1_356_998_400_000_000));
        assert_eq!(age(11_523_456_789), "3h12m");
        assert_eq!(age(15_999_999), "15s");
        assert_eq!(age(90_000_000), "1m30s");
        assert_eq!(age(187_200_000_000), "2d4h");
    }

    #[test]
    fn chosen_texts_stand_for_null() {
        let got = nulls_for(&text(&[Some("NA"), Some("1"), None]), &["NA".into()]);
        assert_eq!((got.is_null(0), got.is_null(1), got.is_null(2)), (true, false, true));
    }
}
