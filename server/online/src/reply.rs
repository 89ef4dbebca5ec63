//! The answer of a lookup: one column for each feature, one slot for each entity row.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int32Array, Int64Array,
    StringArray, TimestampMicrosecondArray, make_array,
};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use tidegate_schemas::time::Micros;
use tidegate_schemas::types::DataType;

use crate::lookup::Plan;
use crate::lookup::plan::Output;
use crate::{Error, Result};

/// What is known about one slot. The numbers are those of the protocol's `Status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// The value is there.
    Present = 1,
    /// The stored value is null, or was stored before the view had the feature.
    Null = 2,
    /// No row for this entity.
    NotFound = 3,
    /// Older than the view's time to live for serving.
    Expired = 4,
    /// A default stands in for one of the three above.
    Defaulted = 5,
    /// The stored value has a type that the feature no longer has.
    Failed = 6,
}

/// The answer to a lookup: for each feature a column, values end to end as a wire carries them.
#[derive(Debug)]
pub struct Reply {
    /// Entity rows answered.
    pub rows: usize,
    /// One for each view used, where times were asked for; else empty.
    pub views: Vec<ViewTimes>,
    pub(crate) plan: Arc<Plan>,
    /// Values of fixed width, little-endian: column after column, each at its output's `start` times the rows.
    pub(crate) fixed: Vec<u8>,
    /// One for each output of the plan.
    pub(crate) columns: Vec<Column>,
    pub(crate) marks: Marks,
}

/// What a column is beside its values of fixed width.
#[derive(Debug, Default)]
pub(crate) struct Column {
    pub(crate) slots: Slots,
    /// Whether some status is not PRESENT.
    pub(crate) has_statuses: bool,
    /// Whether some value is a default.
    pub(crate) has_reasons: bool,
    /// Whether some slot holds no value.
    pub(crate) has_holes: bool,
}

/// Where a column's values are.
#[derive(Debug, Default)]
pub(crate) enum Slots {
    /// Among those of fixed width.
    #[default]
    Fixed,
    /// Text or bytes, with where each value ends.
    Text(Vec<u8>, Vec<usize>),
    Arrow(ArrayRef),
}

/// What is known about each slot, outputs × rows; nothing is kept while all of it is the usual.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    pub(crate) statuses: Vec<u8>,
    pub(crate) reasons: Vec<u8>,
    pub(crate) held: Vec<u8>,
}

impl Reply {
    /// The plan that this answers.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The values of each feature as little-endian bytes, where there is nothing else to say: all are present and of fixed
    /// width. `None` where something is not.
    pub fn plain(&self) -> Option<impl ExactSizeIterator<Item = &[u8]>> {
        let fixed = |(output, column): (&Output, &Column)| output.width > 0 && matches!(column.slots, Slots::Fixed);
        let plain = self.marks.statuses.is_empty() && self.plan.outputs.iter().zip(&self.columns).all(fixed);
        plain.then(|| {
            let start = |output: &Output| output.start * self.rows;
            self.plan
                .outputs
                .iter()
                .map(move |output| &self.fixed[start(output)..start(output) + output.width * self.rows])
        })
    }

    /// The features, in the order of the spec: view by view.
    pub fn features(&self) -> impl ExactSizeIterator<Item = FeatureReply<'_>> {
        (0..self.columns.len()).map(|nth| self.feature(nth))
    }

    /// A feature's column.
    ///
    /// # Panics
    /// Where there are not so many.
    #[must_use]
    pub fn feature(&self, nth: usize) -> FeatureReply<'_> {
        let (output, column) = (&self.plan.outputs[nth], &self.columns[nth]);
        let here = nth * self.rows..(nth + 1) * self.rows;
        FeatureReply {
            name: &output.name,
            data_type: &output.data_type,
            type_name: &output.type_name,
            values: self.values(output, &column.slots),
            held: column.has_holes.then(|| &self.marks.held[here.clone()]),
            statuses: column.has_statuses.then(|| &self.marks.statuses[here.clone()]),
            reasons: column.has_reasons.then(|| &self.marks.reasons[here]),
        }
    }

    fn values<'a>(&'a self, output: &Output, slots: &'a Slots) -> Values<'a> {
        match (slots, &output.data_type) {
            (Slots::Arrow(values), _) => Values::Arrow(values),
            (Slots::Text(bytes, ends), DataType::Bytes) => Values::Bytes(Texts { bytes, ends }),
            (Slots::Text(bytes, ends), _) => Values::Strings(Texts { bytes, ends }),
            (Slots::Fixed, of) => {
                let start = output.start * self.rows;
                let bytes = &self.fixed[start..start + output.width * self.rows];
                match of {
                    DataType::Float64 => Values::Doubles(Packed::of(bytes)),
                    DataType::Float32 => Values::Floats(Packed::of(bytes)),
                    DataType::Int32 | DataType::Date => Values::Int32s(Packed::of(bytes)),
                    DataType::Bool => Values::Bools(bytes),
                    _ => Values::Int64s(Packed::of(bytes)),
                }
            }
        }
    }
}

/// One feature's column.
#[derive(Debug, Clone, Copy)]
pub struct FeatureReply<'a> {
    /// The output's name.
    pub name: &'a str,
    /// The feature's type.
    pub data_type: &'a DataType,
    /// The type as definitions write it.
    pub type_name: &'a str,
    /// One slot for each row; a slot without a value holds zero or the empty string.
    pub values: Values<'a>,
    /// For each row 1 where its slot holds a value, else 0. `None`: all do.
    pub held: Option<&'a [u8]>,
    /// One [`Status`] for each row. `None`: all present.
    pub statuses: Option<&'a [u8]>,
    /// Where a status is DEFAULTED, the status that the default stands in for, zero elsewhere. `None`: no defaults.
    pub reasons: Option<&'a [u8]>,
}

/// The values of one column.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// float64.
    Doubles(Packed<'a, f64>),
    /// float32.
    Floats(Packed<'a, f32>),
    /// int64 and timestamp (microseconds).
    Int64s(Packed<'a, i64>),
    /// int32 and date (days).
    Int32s(Packed<'a, i32>),
    /// bool: a byte each, 0 or 1.
    Bools(&'a [u8]),
    /// string and json, valid UTF-8.
    Strings(Texts<'a>),
    /// bytes.
    Bytes(Texts<'a>),
    /// Any other type; a slot without a value is null.
    Arrow(&'a ArrayRef),
}

/// Numbers as little-endian bytes, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Packed<'a, T> {
    bytes: &'a [u8],
    of: PhantomData<T>,
}

impl<'a, T: Number> Packed<'a, T> {
    /// The numbers that `bytes` are; a rest that is too short for one is left out.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, of: PhantomData }
    }

    fn scalars(&self) -> ScalarBuffer<T> {
        ScalarBuffer::from(Buffer::from_slice_ref(self.bytes))
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The numbers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> + use<'a, T> {
        self.bytes.chunks_exact(size_of::<T>()).map(T::read)
    }
}

/// A number that columns are made of.
pub trait Number: ArrowNativeType {
    /// Reads one from as many bytes as it has.
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! numbers {
    ($($of:ty),*) => {$(
        impl Number for $of {
            #[inline]
            fn read(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().unwrap_or_default())
            }
        }
    )*};
}
numbers!(f64, f32, i64, i32);

/// Texts or bytes, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Texts<'a> {
    /// All of them.
    pub bytes: &'a [u8],
    /// Where each ends.
    pub ends: &'a [usize],
}

impl<'a> Texts<'a> {
    fn binary(&self, nulls: Option<&NullBuffer>) -> BinaryArray {
        let valid = |row| nulls.is_none_or(|nulls| nulls.is_valid(row));
        self.iter().enumerate().map(|(row, text)| valid(row).then_some(text)).collect()
    }

    /// Each value's bytes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let (bytes, ends) = (self.bytes, self.ends);
        (0..ends.len()).map(move |nth| &bytes[if nth == 0 { 0 } else { ends[nth - 1] }..ends[nth]])
    }
}

/// When a view's stored observations were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewTimes {
    /// The view's alias, or its name.
    pub view: String,
    /// Event time for each row; `i64::MIN` where there is no row.
    pub event_times: Vec<Micros>,
    /// Microseconds from the event time to `now`; -1 where there is no row.
    pub ages: Vec<Micros>,
}

impl FeatureReply<'_> {
    /// The column as an Arrow array of its feature's type, null where a slot holds no value.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for text that is none.
    pub fn to_arrow(&self) -> Result<ArrayRef> {
        self.array(self.held.map(|held| held.iter().map(|held| *held != 0).collect()))
    }

    /// The same, null also where the value is expired or a default: what a training set would have.
    ///
    /// # Errors
    /// As [`Self::to_arrow`].
    pub fn present_to_arrow(&self) -> Result<ArrayRef> {
        let present = |status: &u8| *status == Status::Present as u8;
        self.array(self.statuses.map(|statuses| statuses.iter().map(present).collect()))
    }

    fn array(&self, valid: Option<BooleanBuffer>) -> Result<ArrayRef> {
        let nulls = valid.map(NullBuffer::new);
        Ok(match self.values {
            Values::Doubles(values) => Arc::new(Float64Array::new(values.scalars(), nulls)),
            Values::Floats(values) => Arc::new(Float32Array::new(values.scalars(), nulls)),
            Values::Int64s(values) if *self.data_type == DataType::Timestamp => {
                Arc::new(TimestampMicrosecondArray::new(values.scalars(), nulls).with_timezone("UTC"))
            }
            Values::Int64s(values) => Arc::new(Int64Array::new(values.scalars(), nulls)),
            Values::Int32s(values) if *self.data_type == DataType::Date => {
                Arc::new(Date32Array::new(values.scalars(), nulls))
            }
            Values::Int32s(values) => Arc::new(Int32Array::new(values.scalars(), nulls)),
            Values::Bools(values) => {
                Arc::new(BooleanArray::new(values.iter().map(|value| *value != 0).collect(), nulls))
            }
            Values::Strings(texts) => {
                let damaged = |_| Error::corrupt("a stored string is not UTF-8");
                Arc::new(StringArray::try_from_binary(texts.binary(nulls.as_ref())).map_err(damaged)?)
            }
            Values::Bytes(texts) => Arc::new(texts.binary(nulls.as_ref())),
            Values::Arrow(values) => match nulls {
                Some(nulls) if nulls.null_count() > values.null_count() => {
                    let data = values.to_data().into_builder().nulls(Some(nulls));
                    make_array(data.build().map_err(|error| Error::corrupt(error.to_string()))?)
                }
                _ => values.clone(),
            },
        })
    }

    /// The status of a row.
    #[must_use]
    pub fn status(&self, row: usize) -> u8 {
        self.statuses.map_or(Status::Present as u8, |statuses| statuses[row])
    }

    /// Whether a row's slot holds a value.
    #[must_use]
    pub fn present(&self, row: usize) -> bool {
        self.held.is_none_or(|held| held[row] != 0)
    }
}
