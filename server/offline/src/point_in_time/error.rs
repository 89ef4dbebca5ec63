//! What can go wrong in a point-in-time join, each with its remedy.

use arrow::datatypes::DataType;
use datafusion::error::DataFusionError;
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::window::Unsupported;

/// Result of planning or running a point-in-time join.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a point-in-time join can't be planned or finished.
///
/// While a plan runs it travels as [`crate::Error::PointInTime`] inside [`DataFusionError::External`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The spine lacks a column the join needs.
    #[error(
        "the spine has no {role} column `{column}`{}; it has {}; add the column, or map it to another one",
        .view.as_ref().map_or_else(String::new, |view| format!(" (view `{view}`)")),
        list(.available)
    )]
    SpineColumn {
        /// `key` or `time`.
        role: &'static str,
        /// The column asked for.
        column: String,
        /// The view that needs it; none for the time.
        view: Option<String>,
        /// The columns there are.
        available: Vec<String>,
    },
    /// A table lacks a column its view names.
    #[error(
        "view `{view}`: table `{table}` has no column `{column}`; it has {}; correct the definition or add the column",
        list(.available)
    )]
    TableColumn {
        /// The view.
        view: String,
        /// Its table.
        table: String,
        /// The column named.
        column: String,
        /// The columns there are.
        available: Vec<String>,
    },
    /// Two key columns that do not compare without loss.
    #[error(
        "view `{view}`: spine column `{spine_column}` is {spine_type} but key column `{table_column}` of its table is \
         {table_type}; cast one of them so that the types agree"
    )]
    KeyTypes {
        /// The view.
        view: String,
        /// Column of the spine.
        spine_column: String,
        /// Its type.
        spine_type: DataType,
        /// Column of the table.
        table_column: String,
        /// Its type.
        table_type: DataType,
    },
    /// A question about one row that brings none or several.
    #[error("one row of a spine is explained at a time, and {rows} were given; send the row in question")]
    OneRow {
        /// How many were given.
        rows: usize,
    },
    /// A time column that is no time.
    #[error("{place} column `{column}` is {data_type}, which is not a time; cast it to a timestamp")]
    TimeType {
        /// `the spine's time`, `view x: event time` …
        place: String,
        /// The column.
        column: String,
        /// Its type.
        data_type: DataType,
    },
    /// A feature whose column does not convert to the declared type.
    #[error(
        "view `{view}`: column `{column}` is {table_type}, which does not read as {feature_type} without loss; \
         correct the feature's type"
    )]
    FeatureType {
        /// The view.
        view: String,
        /// The column.
        column: String,
        /// Its type.
        table_type: DataType,
        /// The feature's type.
        feature_type: DataType,
    },
    /// Two output columns with one name.
    #[error(
        "the output would have more than one column named {}; ask for full names, rename spine columns, or give the \
         views aliases",
        list(.0)
    )]
    Clash(Vec<String>),
    /// More spine rows than one join takes.
    #[error("the spine has more than {} rows; split it", u32::MAX - 1)]
    SpineTooLong,
    /// A data file is gone.
    #[error(
        "data file `{path}` of table `{table}` is gone; the table was vacuumed or deleted while it was read, or its \
         folder is incomplete; read its newest version"
    )]
    FileGone {
        /// The table.
        table: String,
        /// The file's path in the table's store.
        path: String,
        /// What the store said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A data file can't be read.
    #[error("can't read data file `{path}` of table `{table}`; restore it, or read a version without it")]
    File {
        /// The table.
        table: String,
        /// The file's path in the table's store.
        path: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// One entity's events are more than the memory pool has room for.
    #[error(
        "view `{view}`: the events of a single entity that windows over {windows} may count do not fit the memory that plans have; \
         raise `plans.memory`, shorten the windows, or ask for fewer features at a time"
    )]
    WindowMemory {
        /// The view.
        view: String,
        /// How far its windows reach back.
        windows: String,
        /// What the pool said.
        source: Box<Error>,
    },
    /// A function that can't be computed of its input.
    #[error(
        "view `{view}`: an aggregate of its can't be computed; correct the feature's function or the type of its column"
    )]
    Aggregate {
        /// The view.
        view: String,
        /// Which, and why.
        source: Unsupported,
    },
    /// The plan around the join.
    #[error("can't plan the point-in-time join")]
    Plan(#[from] DataFusionError),
    /// Arrow refused a conversion of the spine's values.
    #[error("can't convert the values of spine column `{column}`; correct them or cast the column")]
    SpineValue {
        /// The column.
        column: String,
        /// Why.
        source: arrow::error::ArrowError,
    },
}

impl Error {
    /// What the caller should do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::SpineColumn { .. }
            | Self::KeyTypes { .. }
            | Self::TimeType { .. }
            | Self::Clash(_)
            | Self::OneRow { .. }
            | Self::SpineValue { .. }
            | Self::SpineTooLong => ErrorKind::Invalid,
            Self::TableColumn { .. } | Self::FeatureType { .. } | Self::Aggregate { .. } => ErrorKind::Precondition,
            Self::FileGone { .. } => ErrorKind::Conflict,
            Self::File { .. } => ErrorKind::Corrupt,
            Self::WindowMemory { .. } => ErrorKind::Exhausted,
            Self::Plan(_) => ErrorKind::Internal,
        }
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        match error {
            Error::Plan(inner) => inner,
            other => Self::External(Box::new(crate::Error::PointInTime(other))),
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "no columns".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
