//! What a training set is besides a join: which spine rows it takes, and how to tell two of them apart.
//!
//! [`choose`] labels spine rows with the part they belong to ([`Split`]) and keeps a share of them ([`Sample`]), before anything
//! is joined · [`digest`] fingerprints the rows of a table, column by column · [`canonical`] is the byte form of a value that
//! both hash. All of it depends on values alone: not on batches, threads, column encodings or the order of columns.

pub mod canonical;
mod choose;
pub mod digest;
mod functions;

pub use choose::{SAMPLE_WEIGHT, SPLIT, Sample, Split, choose};
pub use functions::{Times, nanos};

use arrow::datatypes::DataType;
use tidegate_schemas::error::ErrorKind;

/// Result of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a split, a sample or a digest can't be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No cut points, or more than name parts.
    #[error("a split has one cut (train, test) or two (train, validation, test), not {0}")]
    Cuts(usize),
    /// A cut that does not come after the one before.
    #[error("the cuts of a split must ascend; put the earlier time first")]
    CutOrder,
    /// An embargo below zero.
    #[error("an embargo is a length of time before a cut and can't be negative; write it as `1d`")]
    Embargo,
    /// A fraction that keeps nothing, or more than everything.
    #[error("sample: `{value}` is kept at {fraction}; a fraction is above 0 and at most 1")]
    Fraction {
        /// The value of the column.
        value: String,
        /// What was asked.
        fraction: f64,
    },
    /// No fractions at all.
    #[error("a sample keeps a fraction of some values; say which, as in `keep: {{false: 0.1}}`")]
    NoFractions,
    /// One value with two fractions.
    #[error("sample: `{0}` has two fractions; keep one")]
    Twice(String),
    /// The spine lacks the column.
    #[error("sample: the spine has no column `{column}`{suggestion}; it has {}", .available.join(", "))]
    SampleColumn {
        /// What was asked for.
        column: String,
        /// `; did you mean …?`, or nothing.
        suggestion: String,
        /// The columns there are.
        available: Vec<String>,
    },
    /// A value that the column can't hold.
    #[error("sample: `{value}` is no {data_type}, which spine column `{column}` holds; write a value of that type")]
    SampleValue {
        /// The column.
        column: String,
        /// Its type.
        data_type: String,
        /// What was given.
        value: String,
    },
    /// The spine has a column of the name that is to be added.
    #[error("the spine has a column `{0}` already; rename it, because the training set adds one of that name")]
    ColumnTaken(&'static str),
    /// The spine has no such time column.
    #[error("a split by time needs the spine's time column, and there is no time in `{0}`")]
    Time(String),
    /// A type without a byte form.
    #[error("a column of type {0} can't be hashed; cast it, or leave the column out of the spine")]
    Type(DataType),
}

impl Error {
    /// What the caller should do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Type(_) => ErrorKind::Unsupported,
            _ => ErrorKind::Invalid,
        }
    }
}

#[cfg(test)]
mod tests;
