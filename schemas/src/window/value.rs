//! Values as aggregates see them: four classes that stand for every type, with one total order each.

use std::cmp::Ordering;

use crate::types::DataType;

/// What values of a type are held as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// bool as 0 and 1, int32, int64, timestamp in microseconds, date in days.
    Int,
    /// float32, widened, and float64.
    Float,
    /// decimal, as its unscaled digits.
    Decimal,
    /// string, json and bytes.
    Bytes,
}

impl Class {
    /// The class of a type, or `None` for nested types, of which nothing but their presence can be aggregated.
    #[must_use]
    pub fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Bool | DataType::Int32 | DataType::Int64 | DataType::Timestamp | DataType::Date => Self::Int,
            DataType::Float32 | DataType::Float64 => Self::Float,
            DataType::Decimal(..) => Self::Decimal,
            DataType::String | DataType::Json | DataType::Bytes => Self::Bytes,
            DataType::List(_) | DataType::Vector(_) | DataType::Struct(_) | DataType::Map(_) => return None,
        })
    }
}

/// A value on its way in or out.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// Of [`Class::Int`].
    Int(i64),
    /// Of [`Class::Float`].
    Float(f64),
    /// Of [`Class::Decimal`].
    Decimal(i128),
    /// Of [`Class::Bytes`]; also what stands for a value of a nested type, whose presence alone counts.
    Bytes(&'a [u8]),
}

impl Value<'_> {
    /// The order of values of one type: numbers by size with -0.0 below 0.0 and NaN greatest, text and bytes by their bytes.
    ///
    /// NaNs of different bits are told apart by them, so that what wins never depends on what came first.
    #[inline]
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => order_of_floats(*a, *b),
            (Self::Decimal(a), Self::Decimal(b)) => a.cmp(b),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            // Values of one column are of one class.
            _ => self.class_number().cmp(&other.class_number()),
        }
    }

    /// The number nearest to an integer or a float; the digits of a decimal. `None` for bytes.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Decimal(value) => Some(*value as f64),
            Self::Bytes(_) => None,
        }
    }

    fn class_number(&self) -> u8 {
        match self {
            Self::Int(_) => 0,
            Self::Float(_) => 1,
            Self::Decimal(_) => 2,
            Self::Bytes(_) => 3,
        }
    }
}

#[inline]
fn order_of_floats(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => a.to_bits().cmp(&b.to_bits()),
        (false, false) => a.total_cmp(&b),
        (a, b) => a.cmp(&b),
    }
}

/// A value that stays.
#[derive(Debug, Clone)]
pub(super) enum Held {
    Int(i64),
    Float(f64),
    Decimal(i128),
    Bytes(Box<[u8]>),
}

impl Held {
    pub(super) fn of(value: Value<'_>) -> Self {
        match value {
            Value::Int(value) => Self::Int(value),
            Value::Float(value) => Self::Float(value),
            Value::Decimal(value) => Self::Decimal(value),
            Value::Bytes(bytes) => Self::Bytes(bytes.into()),
        }
    }

    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Self::Int(value) => Value::Int(*value),
            Self::Float(value) => Value::Float(*value),
            Self::Decimal(value) => Value::Decimal(*value),
            Self::Bytes(bytes) => Value::Bytes(bytes),
        }
    }
}
