//! Columns to aggregate as the partial aggregates take them, and answers as columns.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, Decimal128Array, Float64Array, Int64Array, ListArray,
    NullBufferBuilder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use arrow::error::ArrowError;
use tidegate_schemas::window::{Answer, Class, Run, Value};

/// The values of one input.
#[derive(Debug)]
pub(in crate::point_in_time) struct Column {
    values: Values,
    nulls: Option<NullBuffer>,
}

#[derive(Debug)]
enum Values {
    Int(ScalarBuffer<i64>),
    Float(ScalarBuffer<f64>),
    Decimal(ScalarBuffer<i128>),
    Bytes(BinaryArray),
    /// Of a nested type: it is there or not.
    Presence,
}

impl Column {
    /// A column of a type that stands for `class`; of no class, what tells nulls from others alone.
    ///
    /// # Errors
    /// Text that is too long for 32-bit offsets.
    pub(in crate::point_in_time) fn read(array: &ArrayRef, class: Option<Class>) -> Result<Self, ArrowError> {
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        let values = match class {
            Some(Class::Int) => Values::Int(ints(array)?),
            Some(Class::Float) => {
                Values::Float(cast(array, &DataType::Float64)?.as_primitive::<Float64Type>().values().clone())
            }
            Some(Class::Decimal) => Values::Decimal(array.as_primitive::<Decimal128Type>().values().clone()),
            Some(Class::Bytes) => Values::Bytes(cast(array, &DataType::Binary)?.as_binary::<i32>().clone()),
            None => Values::Presence,
        };
        Ok(Self { values, nulls })
    }

    /// The values of some rows side by side, where they are numbers and none is null in all of the column.
    #[inline]
    pub(in crate::point_in_time) fn run(&self, rows: Range<usize>) -> Option<Run<'_>> {
        match &self.values {
            _ if self.nulls.is_some() => None,
            Values::Int(values) => Some(Run::Int(&values[rows])),
            Values::Float(values) => Some(Run::Float(&values[rows])),
            _ => None,
        }
    }

    /// The value in a row, unless it is null.
    #[inline]
    pub(in crate::point_in_time) fn get(&self, row: usize) -> Option<Value<'_>> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return None;
        }
        Some(match &self.values {
            Values::Int(values) => Value::Int(values[row]),
            Values::Float(values) => Value::Float(values[row]),
            Values::Decimal(values) => Value::Decimal(values[row]),
            Values::Bytes(values) => Value::Bytes(values.value(row)),
            Values::Presence => Value::Bytes(&[]),
        })
    }
}

/// Booleans as 0 and 1, dates as days, times as microseconds.
fn ints(array: &ArrayRef) -> Result<ScalarBuffer<i64>, ArrowError> {
    let whole = match array.data_type() {
        DataType::Date32 => cast(&cast(array, &DataType::Int32)?, &DataType::Int64)?,
        _ => cast(array, &DataType::Int64)?,
    };
    Ok(whole.as_primitive::<Int64Type>().values().clone())
}

/// Answers of one feature on their way to a column.
#[derive(Debug)]
pub(in crate::point_in_time) struct Answers {
    data_type: DataType,
    values: Answered,
    nulls: NullBufferBuilder,
}

#[derive(Debug)]
enum Answered {
    Int(Vec<i64>),
    Float(Vec<f64>),
    Decimal(Vec<i128>),
    Bytes(BinaryBuilder),
    /// Ends of lists, and what they hold.
    List(Vec<i32>, Box<Answers>),
}

impl Answers {
    /// None yet, of a feature of this type.
    pub(in crate::point_in_time) fn new(data_type: &DataType) -> Self {
        let values = match data_type {
            DataType::Float32 | DataType::Float64 => Answered::Float(Vec::new()),
            DataType::Decimal128(..) => Answered::Decimal(Vec::new()),
            DataType::Utf8 | DataType::Binary => Answered::Bytes(BinaryBuilder::new()),
            DataType::List(item) => Answered::List(vec![0], Box::new(Self::new(item.data_type()))),
            _ => Answered::Int(Vec::new()),
        };
        Self { data_type: data_type.clone(), values, nulls: NullBufferBuilder::new(0) }
    }

    /// Takes one answer; one that its type can't hold is none.
    #[inline]
    pub(in crate::point_in_time) fn push(&mut self, answer: &Answer<'_>) {
        match answer {
            Answer::Value(value) => self.push_value(*value),
            Answer::List(list) => {
                if let Answered::List(ends, items) = &mut self.values {
                    list.iter().for_each(|value| items.push_value(*value));
                    ends.push(i32::try_from(items.nulls.len()).unwrap_or(i32::MAX));
                    self.nulls.append_non_null();
                }
            }
            Answer::Null | Answer::OutOfRange => self.push_null(),
        }
    }

    fn push_null(&mut self) {
        match &mut self.values {
            Answered::Int(values) => values.push(0),
            Answered::Float(values) => values.push(0.0),
            Answered::Decimal(values) => values.push(0),
            Answered::Bytes(values) => values.append_value(b""),
            Answered::List(ends, _) => ends.push(ends.last().copied().unwrap_or(0)),
        }
        self.nulls.append_null();
    }

    #[inline]
    fn push_value(&mut self, value: Value<'_>) {
        match (&mut self.values, value) {
            (Answered::Int(values), Value::Int(value)) => values.push(value),
            (Answered::Float(values), Value::Float(value)) => values.push(value),
            (Answered::Decimal(values), Value::Decimal(value)) => values.push(value),
            (Answered::Bytes(values), Value::Bytes(value)) => values.append_value(value),
            // A feature's type is that of what its function gives: the plan has checked it.
            _ => return self.push_null(),
        }
        self.nulls.append_non_null();
    }

    /// The column.
    ///
    /// # Errors
    /// Text or lists that are too long for 32-bit offsets.
    pub(in crate::point_in_time) fn finish(mut self) -> Result<ArrayRef, ArrowError> {
        let nulls = self.nulls.finish();
        let plain: ArrayRef = match self.values {
            Answered::Int(values) => Arc::new(Int64Array::new(values.into(), nulls)),
            Answered::Float(values) => Arc::new(Float64Array::new(values.into(), nulls)),
            Answered::Decimal(values) => {
                Arc::new(Decimal128Array::new(values.into(), nulls).with_data_type(self.data_type.clone()))
            }
            Answered::Bytes(mut values) => {
                let (offsets, data, _) = values.finish().into_parts();
                Arc::new(BinaryArray::try_new(offsets, data, nulls)?)
            }
            Answered::List(ends, items) => {
                let DataType::List(field) = &self.data_type else {
                    return Err(ArrowError::SchemaError(format!("{} is no list", self.data_type)));
                };
                if items.nulls.len() > i32::MAX as usize {
                    return Err(ArrowError::OffsetOverflowError(items.nulls.len()));
                }
                let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
                Arc::new(ListArray::try_new(field.clone(), offsets, items.finish()?, nulls)?)
            }
        };
        match (plain.data_type(), &self.data_type) {
            (from, to) if from == to => Ok(plain),
            (_, DataType::Date32) => cast(&cast(&plain, &DataType::Int32)?, &DataType::Date32),
            (_, to) => cast(&plain, to),
        }
    }
}
