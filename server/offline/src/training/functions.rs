//! The decisions as functions of a row's columns: Tidegate's own, made by [`super::choose`] and not callable from SQL.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, StringArray};
use arrow::buffer::ScalarBuffer;
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Field, FieldRef, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use datafusion::common::Result as PlanResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use tidegate_schemas::digest::Digest;

use super::{Error, Result, Sample, Split, canonical};

/// Nanoseconds of a day and of a millisecond.
const DAY_NANOS: i128 = 86_400_000_000_000;
const MILLI_NANOS: i128 = 1_000_000;

/// What a function computes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Rule {
    /// Of a time: the name of its part.
    Part(Split),
    /// Of a time: whether the row stays.
    OutsideEmbargo(Split),
    /// Of the deciding column and then of all columns, by name: whether the row stays.
    Kept { drawn: Drawn, seed: i64, names: Vec<String> },
    /// Of the deciding column: one over its fraction.
    Weight(Drawn),
}

/// The fractions of a sample as its column's values have them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Drawn {
    by_value: BTreeMap<Vec<u8>, Share>,
}

/// How much is kept of one value's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Share {
    /// Hashes below it stay; `None`: all do.
    below: Option<u64>,
    /// The bits of one over the fraction.
    weight: u64,
}

impl Share {
    fn of(fraction: f64) -> Self {
        // 2^64 is a float, and so is every fraction of it; below 1 the product fits 64 bits.
        let below = (fraction < 1.0).then_some((fraction * 2_f64.powi(64)) as u64);
        Self { below, weight: (1.0 / fraction).to_bits() }
    }
}

impl Drawn {
    /// A sample's values read as a column's type.
    pub(super) fn new(sample: &Sample, data_type: &DataType) -> Result<Self> {
        let mut by_value = BTreeMap::new();
        for (value, fraction) in sample.keep() {
            let wrong = || Error::SampleValue {
                column: sample.column().to_owned(),
                data_type: canonical::type_name(data_type),
                value: value.clone(),
            };
            let bytes = bytes_of(value, data_type).ok_or_else(wrong)?;
            if by_value.insert(bytes, Share::of(*fraction)).is_some() {
                return Err(Error::Twice(value.clone()));
            }
        }
        Ok(Self { by_value })
    }
}

/// The canonical bytes of a value written as text, or `None` where it is none of the type.
fn bytes_of(value: &str, data_type: &DataType) -> Option<Vec<u8>> {
    let data_type = match data_type {
        DataType::Dictionary(_, values) => values.as_ref(),
        plain => plain,
    };
    // Arrow also reads `1`, `yes` and `on` as true; a number is no bool here.
    if data_type == &DataType::Boolean && !matches!(value, "true" | "false") {
        return None;
    }
    let text: ArrayRef = Arc::new(StringArray::from(vec![value]));
    let read = cast_with_options(&text, data_type, &CastOptions { safe: false, ..CastOptions::default() }).ok()?;
    let mut bytes = Vec::new();
    canonical::writer(&read).ok()?(0, &mut bytes);
    Some(bytes).filter(|bytes| bytes != &[0x00])
}

/// A call of a rule.
pub(super) fn call(rule: Rule, arguments: Vec<Expr>) -> Expr {
    let signature = Signature::any(arguments.len(), Volatility::Immutable);
    ScalarUDF::new_from_impl(Function { rule, signature }).call(arguments)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    rule: Rule,
    signature: Signature,
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        match self.rule {
            Rule::Part(_) => "tidegate_split",
            Rule::OutsideEmbargo(_) => "tidegate_outside_embargo",
            Rule::Kept { .. } => "tidegate_sampled",
            Rule::Weight(_) => "tidegate_sample_weight",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(match self.rule {
            Rule::Part(_) => DataType::Utf8,
            Rule::OutsideEmbargo(_) | Rule::Kept { .. } => DataType::Boolean,
            Rule::Weight(_) => DataType::Float64,
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> PlanResult<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = matches!(self.rule, Rule::Part(_));
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let rows = args.number_rows;
        let columns = args.args.iter().map(|arg| arg.to_array(rows)).collect::<PlanResult<Vec<_>>>()?;
        let answer = compute(&self.rule, &columns, rows).map_err(crate::Error::from)?;
        Ok(ColumnarValue::Array(answer))
    }
}

fn compute(rule: &Rule, columns: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    Ok(match rule {
        Rule::Part(split) => {
            let nanos = nanos(&columns[0])?;
            Arc::new((0..rows).map(|row| nanos(row).map(|at| split.part(at))).collect::<StringArray>())
        }
        Rule::OutsideEmbargo(split) => {
            let nanos = nanos(&columns[0])?;
            let stays = |row| nanos(row).is_none_or(|at| !split.embargoes(at));
            Arc::new((0..rows).map(|row| Some(stays(row))).collect::<BooleanArray>())
        }
        Rule::Kept { drawn, seed, names } => Arc::new(kept(drawn, *seed, names, columns, rows)?),
        Rule::Weight(drawn) => {
            let shares = shares(drawn, &columns[0])?;
            let weight = |row| shares(row).map_or(1.0, |share| f64::from_bits(share.weight));
            Arc::new((0..rows).map(weight).collect::<Float64Array>())
        }
    })
}

/// The share of each row's value.
fn shares<'a>(drawn: &'a Drawn, column: &ArrayRef) -> Result<impl Fn(usize) -> Option<Share> + use<'a>> {
    let write = canonical::writer(column)?;
    let bytes = std::cell::RefCell::new(Vec::new());
    Ok(move |row| {
        let mut bytes = bytes.borrow_mut();
        bytes.clear();
        write(row, &mut bytes);
        drawn.by_value.get(bytes.as_slice()).copied()
    })
}

/// The first 8 bytes, big-endian, of SHA-256 over the seed (8 bytes, little-endian) and, for each column by name, the name (its
/// length in 8 bytes little-endian, then UTF-8) and the value's canonical bytes.
fn kept(drawn: &Drawn, seed: i64, names: &[String], columns: &[ArrayRef], rows: usize) -> Result<BooleanArray> {
    let shares = shares(drawn, &columns[0])?;
    let cells = columns[1..].iter().map(canonical::writer).collect::<Result<Vec<_>>>()?;
    let mut content = Vec::new();
    let mut stays = |row: usize| {
        let Some(below) = shares(row).and_then(|share| share.below) else { return true };
        content.clear();
        content.extend(seed.to_le_bytes());
        for (name, cell) in names.iter().zip(&cells) {
            canonical::text(name, &mut content);
            cell(row, &mut content);
        }
        let mut digest = Digest::new();
        digest.update(&content);
        let [a, b, c, d, e, f, g, h, ..] = digest.bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) < below
    };
    Ok((0..rows).map(|row| Some(stays(row))).collect())
}

/// Whether a column of this type can say when a row is labelled.
pub(super) fn is_time(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_time(values),
        other => matches!(other, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 | DataType::Null),
    }
}

/// A row's time.
pub type Times = Box<dyn Fn(usize) -> Option<i128> + Send>;

/// Each row's time in nanoseconds since 1970; of a column that holds times, or nulls.
///
/// # Errors
/// A dictionary that can't be read.
pub fn nanos(column: &ArrayRef) -> Result<Times> {
    let column = match column.data_type() {
        DataType::Dictionary(_, values) => cast(column, values).map_err(|_| Error::Type(column.data_type().clone()))?,
        _ => column.clone(),
    };
    let (values, factor): (Box<dyn Fn(usize) -> i128 + Send>, i128) = match column.data_type() {
        DataType::Timestamp(unit, _) => {
            let values = ticks(&column, *unit);
            (Box::new(move |row| values[row].into()), canonical::nanos_of(*unit))
        }
        DataType::Date32 => {
            let days = column.as_primitive::<Date32Type>().values().clone();
            (Box::new(move |row| days[row].into()), DAY_NANOS)
        }
        DataType::Date64 => {
            let millis = column.as_primitive::<Date64Type>().values().clone();
            (Box::new(move |row| millis[row].into()), MILLI_NANOS)
        }
        // A column of nulls; what else there is was refused when the plan was made.
        _ => return Ok(Box::new(|_| None)),
    };
    let nulls = column.nulls().cloned();
    let valid = move |row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    Ok(Box::new(move |row| valid(row).then(|| values(row) * factor)))
}

/// The numbers of a timestamp column, in its own unit.
fn ticks(column: &ArrayRef, unit: TimeUnit) -> ScalarBuffer<i64> {
    match unit {
        TimeUnit::Second => column.as_primitive::<TimestampSecondType>().values().clone(),
        TimeUnit::Millisecond => column.as_primitive::<TimestampMillisecondType>().values().clone(),
        TimeUnit::Microsecond => column.as_primitive::<TimestampMicrosecondType>().values().clone(),
        TimeUnit::Nanosecond => column.as_primitive::<TimestampNanosecondType>().values().clone(),
    }
}
