//! Conversions that lose nothing: each gives every value exactly or names the rows it can't.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::compute::kernels::cmp;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{self as t, DataType as Arrow, Float32Type, TimeUnit};
use chrono::Utc;
use tidegate_schemas::types::DataType;

use crate::table::schema::{convert, reads_as};

/// How an incoming column becomes a column of the table.
#[derive(Debug, Clone)]
pub(crate) struct Conversion {
    target: DataType,
    arrow: Arrow,
    how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Every value fits.
    Widen,
    /// Values fit or not: each is converted there and back.
    Compare,
    /// Times of any unit become microseconds, finer ones upwards.
    Time,
    /// ISO 8601 text; without a zone it is UTC.
    TimeText,
    /// Lists that must have this many values, none of them null.
    Vector(usize),
}

impl Conversion {
    /// The conversion from an Arrow type, if values of it can be exact values of the target.
    pub(crate) fn find(from: &Arrow, target: &DataType) -> Option<Self> {
        let arrow = target.to_arrow();
        let from = match from {
            Arrow::Dictionary(_, value) => value.as_ref(),
            other => other,
        };
        let how =
            match (from, target) {
                (Arrow::Null, _) => How::Widen,
                (Arrow::Timestamp(..), DataType::Timestamp) => How::Time,
                (Arrow::Date32 | Arrow::Date64, DataType::Timestamp) => How::Compare,
                (Arrow::Utf8 | Arrow::LargeUtf8 | Arrow::Utf8View, DataType::Timestamp) => How::TimeText,
                (Arrow::Utf8 | Arrow::LargeUtf8 | Arrow::Utf8View, DataType::Date) => How::Compare,
                (
                    Arrow::List(item) | Arrow::LargeList(item) | Arrow::FixedSizeList(item, _),
                    DataType::Vector(length),
                ) if item.data_type().is_numeric() => How::Vector(*length as usize),
                _ if reads_as(from, &arrow) => How::Widen,
                _ if comparable(from, &arrow) => How::Compare,
                (
                    Arrow::List(item) | Arrow::LargeList(item) | Arrow::FixedSizeList(item, _),
                    DataType::List(wanted),
                ) if Self::find(item.data_type(), wanted).is_some() && !item.data_type().is_nested() => How::Compare,
                _ => return None,
            };
        Some(Self { target: target.clone(), arrow, how })
    }

    /// The target's name in messages.
    pub(crate) fn target(&self) -> String {
        self.target.to_string()
    }

    /// The converted column, and the rows whose values don't fit (null there).
    pub(crate) fn apply(&self, column: &ArrayRef) -> (ArrayRef, Vec<usize>) {
        let unwrapped = match column.data_type() {
            Arrow::Dictionary(_, value) => lenient(column, value),
            _ => column.clone(),
        };
        match self.how {
            How::Widen => match convert(&unwrapped, &self.arrow) {
                Ok(converted) => (converted, Vec::new()),
                Err(_) => self.compare(&unwrapped),
            },
            How::Compare => self.compare(&unwrapped),
            How::Time => self.time(&unwrapped),
            How::TimeText => time_text(&unwrapped, &self.arrow),
            How::Vector(length) => self.vector(&unwrapped, length),
        }
    }

    /// Converts there and back; a value that comes back as another one does not fit.
    fn compare(&self, column: &ArrayRef) -> (ArrayRef, Vec<usize>) {
        let there = lenient(column, &self.arrow);
        let mut misfits = lost(column, &there);
        // Text is read, not compared: `2013-1-1` and `2013-01-01` are one date.
        if !matches!(column.data_type(), Arrow::Utf8 | Arrow::LargeUtf8 | Arrow::Utf8View) {
            let back = lenient(&there, column.data_type());
            misfits.extend(changed(column, &back));
        }
        misfits.sort_unstable();
        misfits.dedup();
        (there, misfits)
    }

    fn time(&self, column: &ArrayRef) -> (ArrayRef, Vec<usize>) {
        if let Ok(converted) = convert(column, &self.arrow) {
            return (converted, Vec::new());
        }
        // Something is too far from 1970 for microseconds: find which.
        let Arrow::Timestamp(unit, _) = column.data_type() else { return (column.clone(), Vec::new()) };
        let naive = lenient(column, &Arrow::Timestamp(*unit, None));
        let there = lenient(&naive, &Arrow::Timestamp(TimeUnit::Microsecond, None));
        let misfits = lost(column, &there);
        (lenient(&there, &self.arrow), misfits)
    }

    fn vector(&self, column: &ArrayRef, length: usize) -> (ArrayRef, Vec<usize>) {
        let (there, mut misfits) = self.compare(column);
        let Some(lists) = there.as_list_opt::<i32>() else { return (there, misfits) };
        let floats = lists.values().as_primitive::<Float32Type>();
        for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
            let range = lists.value_offsets()[row] as usize..lists.value_offsets()[row + 1] as usize;
            let has_null = floats.null_count() > 0 && range.clone().any(|at| floats.is_null(at));
            if range.len() != length || has_null {
                misfits.push(row);
            }
        }
        misfits.sort_unstable();
        misfits.dedup();
        (there, misfits)
    }
}

/// Types between which single values decide.
fn comparable(from: &Arrow, to: &Arrow) -> bool {
    let number =
        |of: &Arrow| of.is_integer() || of.is_floating() || matches!(of, Arrow::Decimal128(..) | Arrow::Decimal256(..));
    let integer = |of: &Arrow| of.is_integer() || matches!(of, Arrow::Decimal128(..) | Arrow::Decimal256(..));
    if of_float(from) {
        // Floats hold integers exactly up to a point, and floats of fewer digits.
        return to.is_integer() || of_float(to);
    }
    number(from) && number(to) && (integer(from) || of_float(to))
}

fn of_float(of: &Arrow) -> bool {
    matches!(of, Arrow::Float16 | Arrow::Float32 | Arrow::Float64)
}

/// A cast that gives null for what does not fit.
fn lenient(column: &ArrayRef, to: &Arrow) -> ArrayRef {
    let options = CastOptions { safe: true, ..CastOptions::default() };
    cast_with_options(column, to, &options).unwrap_or_else(|_| arrow::array::new_null_array(to, column.len()))
}

/// Rows that were a value and became null.
fn lost(before: &ArrayRef, after: &ArrayRef) -> Vec<usize> {
    if after.null_count() == before.logical_null_count() && !before.data_type().is_nested() {
        return Vec::new();
    }
    let nulls = before.logical_nulls();
    let was_value = |row: &usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row));
    (0..before.len()).filter(|row| after.is_null(*row)).filter(was_value).collect()
}

/// Rows whose values differ.
fn changed(before: &ArrayRef, after: &ArrayRef) -> Vec<usize> {
    if before.data_type().is_nested() {
        let differs = |row: &usize| before.slice(*row, 1).to_data() != after.slice(*row, 1).to_data();
        // Equality of floats takes NaN for unequal to itself; the bits are compared where that could matter.
        return (0..before.len()).filter(differs).filter(|row| !same_bits(before, after, *row)).collect();
    }
    match cmp::distinct(before, after) {
        Ok(different) => (0..before.len()).filter(|row| different.value(*row)).collect(),
        Err(_) => (0..before.len()).collect(),
    }
}

fn same_bits(before: &ArrayRef, after: &ArrayRef, row: usize) -> bool {
    let told = |array: &ArrayRef| arrow::util::display::array_value_to_string(array, row).ok();
    told(before).is_some_and(|text| text.contains("NaN") && told(after).as_ref() == Some(&text))
}

fn time_text(column: &ArrayRef, to: &Arrow) -> (ArrayRef, Vec<usize>) {
    let texts = lenient(column, &Arrow::Utf8);
    let texts = texts.as_string::<i32>();
    let times: TimestampMicrosecondArray = texts.iter().map(|text| text.and_then(micros)).collect();
    let times: ArrayRef = Arc::new(times);
    let misfits = lost(column, &times);
    let zone = match to {
        Arrow::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let times = times.as_primitive::<t::TimestampMicrosecondType>().clone().with_timezone_opt(zone);
    (Arc::new(times), misfits)
}

/// Microseconds of a time in text, rounded up.
fn micros(text: &str) -> Option<i64> {
    let at = string_to_datetime(&Utc, text.trim()).ok()?;
    let rest = at.timestamp_subsec_nanos() % 1000;
    at.timestamp_micros().checked_add(i64::from(rest > 0))
}
