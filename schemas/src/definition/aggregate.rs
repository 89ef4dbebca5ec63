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
    /// What the start of the window is rounded down to a multiple of, at least a second; nothing to a window of all time.
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
    /// The variance of a sample; null for fewer than two values.
    Var,
    /// The standard deviation of a sample; null for fewer than two values.
    Std,
    /// The value of the oldest observation.
    First,
    /// The value of the newest observation.
    Last,
    /// The values of this many newest observations, newest first.
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
        let nested = matches!(input, List(_) | Vector(_) | Struct(_) | Map(_));
        match self {
            Self::Count => Some(Int64),
            Self::Sum => match input {
                Int32 | Int64 => Some(Int64),
                Float32 | Float64 => Some(Float64),
                Decimal(_, scale) => Some(Decimal(38, *scale)),
                _ => None,
            },
            Self::Mean | Self::Var | Self::Std | Self::Percentile(_) => match input {
                Int32 | Int64 | Float32 | Float64 | Decimal(..) => Some(Float64),
                _ => None,
            },
            _ if nested => None,
            Self::Min | Self::Max if *input == Json => None,
            Self::Min | Self::Max | Self::First | Self::Last => Some(input.clone()),
            Self::LastN(_) | Self::TopK(_) => Some(List(Box::new(input.clone()))),
            Self::DistinctCount => Some(Int64),
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
    /// In one phrase: `sum of amount over 7d by 1h`, `count of rows over all`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.input.as_ref().map_or("rows", |input| &input.name);
        write!(f, "{} of {of} over ", self.function)?;
        match self.window {
            Some(window) => write!(f, "{} by {}", duration::format(window), duration::format(self.hop)),
            None => f.write_str("all"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each function gives of each type; `-` where it gives nothing.
    #[test]
    fn functions_and_types() {
        let functions = [
            Function::Count,
            Function::Sum,
            Function::Mean,
            Function::Max,
            Function::Last,
            Function::LastN(3),
            Function::DistinctCount,
            Function::TopK(3),
        ];
        for (input, expect) in [
            ("bool", "int64 - - bool bool list<bool> int64 list<bool>"),
            ("int32", "int64 int64 float64 int32 int32 list<int32> int64 list<int32>"),
            ("int64", "int64 int64 float64 int64 int64 list<int64> int64 list<int64>"),
            ("float32", "int64 float64 float64 float32 float32 list<float32> int64 list<float32>"),
            ("float64", "int64 float64 float64 float64 float64 list<float64> int64 list<float64>"),
            (
                "decimal(9,2)",
                "int64 decimal(38,2) float64 decimal(9,2) decimal(9,2) list<decimal(9,2)> int64 list<decimal(9,2)>",
            ),
            ("string", "int64 - - string string list<string> int64 list<string>"),
            ("bytes", "int64 - - bytes bytes list<bytes> int64 list<bytes>"),
            ("timestamp", "int64 - - timestamp timestamp list<timestamp> int64 list<timestamp>"),
            ("date", "int64 - - date date list<date> int64 list<date>"),
            ("json", "int64 - - - json list<json> int64 list<json>"),
            ("list<int64>", "int64 - - - - - - -"),
            ("vector<float32,2>", "int64 - - - - - - -"),
            ("struct<a:int64>", "int64 - - - - - - -"),
            ("map<string,int64>", "int64 - - - - - - -"),
        ] {
            let input: DataType = input.parse().expect(input);
            let output = |function: Function| function.output(&input).map_or("-".to_owned(), |of| of.to_string());
            let got: Vec<String> = functions.into_iter().map(output).collect();
            assert_eq!(got.join(" "), expect, "{input}");
        }
    }

    #[test]
    fn hops_grow_with_windows() {
        for (window, expect) in [(Some(HOUR), "5m"), (Some(12 * HOUR), "5m"), (Some(12 * HOUR + 1), "1h")] {
            assert_eq!(duration::format(default_hop(window)), expect, "{window:?}");
        }
        for (window, expect) in [(Some(12 * DAY), "1h"), (Some(12 * DAY + 1), "1d"), (None, "1d")] {
            assert_eq!(duration::format(default_hop(window)), expect, "{window:?}");
        }
    }
}
