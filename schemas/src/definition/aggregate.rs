//! Features over a window of observations: which function, of which column, over how long.

use std::fmt;

use super::Column;
use crate::duration;
use crate::time::Micros;
use crate::types::DataType;

/// The 10,000ths in which the share of a percentile is told.
pub const SHARES: u32 = 10_000;

const HOUR: Micros = 3_600_000_000;
const DAY: Micros = 24 * HOUR;

/// How a feature is computed from the observations of a window.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Aggregate {
    /// What is computed.
    pub function: Function,
    /// The source's column it is computed from, with its type there; `None` counts rows.
    pub input: Option<Column>,
    /// The window's length, at least `hop`; `None` reaches back to the first observation.
    pub window: Option<Micros>,
    /// What the start of the window is rounded down to a multiple of; at least a second.
    pub hop: Micros,
}

/// What is computed over a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Function {
    /// How many rows; of a column, how many values that are not null.
    Count,
    /// The sum.
    Sum,
    /// The mean.
    Mean,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// The variance.
    Var,
    /// The standard deviation.
    Std,
    /// The value of the oldest observation.
    First,
    /// The value of the newest observation.
    Last,
    /// The values of this many newest observations.
    LastN(u32),
    /// How many different values, exact up to a bound.
    DistinctCount,
    /// The value below which this many [`SHARES`] of the values are, approximately.
    Percentile(u32),
    /// This many most frequent values.
    TopK(u32),
}

impl Function {
    /// The name in definition files; parameters are beside it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Mean => "mean",
            Self::Min => "min",
            Self::Max => "max",
            Self::Var => "var",
            Self::Std => "std",
            Self::First => "first",
            Self::Last => "last",
            Self::LastN(_) => "last_n",
            Self::DistinctCount => "distinct_count",
            Self::Percentile(_) => "percentile",
            Self::TopK(_) => "top_k",
        }
    }

    /// The type of what it computes of values of a type, or `None` where it can't be computed of such.
    #[must_use]
    pub fn output(self, input: &DataType) -> Option<DataType> {
        use DataType::{Decimal, Float32, Float64, Int32, Int64, Json, List, Map, Struct, Vector};
        let numeric = matches!(input, Int32 | Int64 | Float32 | Float64 | Decimal(..));
        let nested = matches!(input, List(_) | Vector(_) | Struct(_) | Map(_) | Json);
        match self {
            Self::Count => Some(Int64),
            Self::Sum => match input {
                Int32 | Int64 => Some(Int64),
                Float32 | Float64 => Some(Float64),
                Decimal(_, scale) => Some(Decimal(38, *scale)),
                _ => None,
            },
            Self::Mean | Self::Var | Self::Std | Self::Percentile(_) => numeric.then_some(Float64),
            Self::Min | Self::Max => (!nested).then(|| input.clone()),
            Self::First | Self::Last => Some(input.clone()),
            Self::LastN(_) => Some(List(Box::new(input.clone()))),
            Self::DistinctCount => (!nested).then_some(Int64),
            Self::TopK(_) => (!nested).then(|| List(Box::new(input.clone()))),
        }
    }
}

/// The hop of a window for which none is given: 5 minutes up to 12 hours, an hour up to 12 days, a day beyond.
#[must_use]
pub const fn default_hop(window: Option<Micros>) -> Micros {
    match window {
        Some(window) if window <= 12 * HOUR => HOUR / 12,
        Some(window) if window <= 12 * DAY => HOUR,
        _ => DAY,
    }
}

impl fmt::Display for Function {
    /// With its parameter: `sum`, `last_n 3`, `percentile 0.95`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::LastN(n) | Self::TopK(n) => write!(f, " {n}"),
            Self::Percentile(share) => write!(f, " {}", f64::from(*share) / f64::from(SHARES)),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Aggregate {
    /// In one phrase: `sum of amount over 7d by 1h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.input.as_ref().map_or("rows", |input| &input.name);
        let window = self.window.map_or_else(|| "all".to_owned(), duration::format);
        write!(f, "{} of {of} over {window} by {}", self.function, duration::format(self.hop))
    }
}
