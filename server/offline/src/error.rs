//! What can go wrong in the offline tier. Each message names the cause and what to do; [`Error::kind`] tells callers apart.

use std::path::PathBuf;

use datafusion::common::DataFusionError;
use deltalake::DeltaTableError;
use tidegate_schemas::error::ErrorKind;

use crate::ingest::Rejection;

/// Result of the offline tier.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the offline tier could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no table where the definition says.
    #[error(
        "table `{table}`: nothing at {}; restore the folder from a backup, or drop the source and define it again",
        path.display()
    )]
    TableMissing {
        /// The source's name.
        table: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// A data file that the log names is gone.
    #[error(
        "table `{table}`: data file {file} is gone although the log lists it; restore it, or vacuum less eagerly and \
         write the table anew"
    )]
    FileMissing {
        /// The source's name.
        table: String,
        /// Path in the table.
        file: String,
    },
    /// The folder holds something else than the definition says.
    #[error("table `{table}`: {} is not {expected}; correct the source's location", path.display())]
    WrongFormat {
        /// The source's name.
        table: String,
        /// Where.
        path: PathBuf,
        /// What was expected, with its article.
        expected: &'static str,
    },
    /// The table needs something this program does not do.
    #[error("table `{table}` uses {feature}, which Tidegate can't read; write the table without it")]
    UnsupportedFeature {
        /// The source's name.
        table: String,
        /// The feature's name in the Delta protocol.
        feature: String,
    },
    /// An absolute path or a file URI was needed.
    #[error("`{location}` is not a location: give an absolute path or a file:// URI")]
    BadLocation {
        /// What was given.
        location: String,
    },
    /// The table lacks a column that the definitions need.
    #[error("table `{table}` has no column `{column}`{}", suggest(.suggestion.as_deref()))]
    ColumnMissing {
        /// The source's name.
        table: String,
        /// The column.
        column: String,
        /// The nearest name there is.
        suggestion: Option<String>,
    },
    /// The definitions give a column another type than the table has.
    #[error(
        "table `{table}`: column `{column}` is stored as {stored} and defined as {wanted}; a column's type can only change to a wider one: \
         define it as {stored}, or define a new column, or a new source"
    )]
    TypeChanged {
        /// The source's name.
        table: String,
        /// The column.
        column: String,
        /// The stored type.
        stored: String,
        /// The defined type.
        wanted: String,
    },
    /// A write to a table that is only read.
    #[error("table `{table}` is not managed by Tidegate and is only read; write it with the tool that owns it")]
    ReadOnly {
        /// The source's name.
        table: String,
    },
    /// The asked version is not there.
    #[error("table `{table}` has no version {version}; the latest is {latest}")]
    VersionMissing {
        /// The source's name.
        table: String,
        /// The asked version.
        version: i64,
        /// The latest version.
        latest: i64,
    },
    /// A batch id that can't be one.
    #[error("`{id}` can't be a batch id: use 1 to 200 printable ASCII characters without spaces")]
    BadBatchId {
        /// What was given.
        id: String,
    },
    /// Rows or columns that the table can't take. Nothing was written.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The batches of an ingest stopped coming. Nothing was written.
    #[error("the incoming batches ended early, so nothing was written; send the batch again under the same batch id")]
    Incoming(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Other writers kept coming first.
    #[error(
        "table `{table}`: other writers committed first, again and again; try again, an ingest with the same batch id"
    )]
    Contended {
        /// The source's name.
        table: String,
    },
    /// A commit whose outcome is not known.
    #[error(
        "table `{table}`: the commit may or may not have happened; send the batch again under the same batch id, which \
         never writes twice"
    )]
    CommitUnknown {
        /// The source's name.
        table: String,
        /// What the log said.
        #[source]
        source: Box<DeltaTableError>,
    },
    /// A statement that is not understood.
    #[error("{0}")]
    Sql(String),
    /// A query names a table the project does not have.
    #[error("this project has no table or view named `{name}`{}", suggest(.suggestion.as_deref()))]
    UnknownTable {
        /// What was asked for.
        name: String,
        /// The nearest name there is.
        suggestion: Option<String>,
    },
    /// A statement that is understood and not allowed.
    #[error("{what} is not allowed here: only queries over this project's tables and views are")]
    Refused {
        /// The statement, node or function.
        what: String,
    },
    /// A statement with too many parts.
    #[error("the query has more than {limit} {what}; split it, or put the values in a table and join")]
    TooComplex {
        /// What was counted.
        what: &'static str,
        /// The most allowed.
        limit: usize,
    },
    /// A result beyond the caller's limit.
    #[error("the result exceeds the limit of {limit} {what}; add a LIMIT or a filter, or ask the operator for more")]
    LimitExceeded {
        /// `rows` or `bytes`.
        what: &'static str,
        /// The most allowed.
        limit: u64,
    },
    /// A query that took too long.
    #[error("the query ran longer than {seconds} s; add a filter, or ask the operator for more time")]
    Deadline {
        /// The time allowed.
        seconds: u64,
    },
    /// Parameters that don't fit the statement.
    #[error("{0}")]
    Parameters(String),
    /// What the log said.
    #[error("table `{table}`: {doing} failed")]
    Delta {
        /// The source's name.
        table: String,
        /// What was being done.
        doing: &'static str,
        /// The log's error.
        #[source]
        source: Box<DeltaTableError>,
    },
    /// Files could not be read or written.
    #[error("table `{table}`: {doing} failed")]
    Storage {
        /// The source's name.
        table: String,
        /// What was being done.
        doing: &'static str,
        /// The store's error.
        #[source]
        source: object_store::Error,
    },
    /// A Parquet file that can't be read or written.
    #[error("table `{table}`: Parquet file {file} can't be used")]
    Parquet {
        /// The source's name.
        table: String,
        /// Path in the table.
        file: String,
        /// Why.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// A point-in-time join can't be planned or finished.
    #[error(transparent)]
    PointInTime(#[from] crate::point_in_time::Error),
    /// A split, a sample or a digest can't be made.
    #[error(transparent)]
    Training(#[from] crate::training::Error),
    /// An expression of a request-time feature that can't be used.
    #[error("computed feature `{feature}`: {why}")]
    Expression {
        /// The feature.
        feature: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A spine without a column that request-time features need.
    #[error("the spine has no column `{column}`, which computed features of this service need; add it to the spine")]
    RequestColumn {
        /// The column.
        column: String,
    },
    /// A plan failed.
    #[error("the query failed")]
    Plan(#[source] Box<DataFusionError>),
    /// Arrow refused.
    #[error("the data can't be converted")]
    Arrow(#[from] arrow::error::ArrowError),
    /// Spill space, temporary files.
    #[error("{doing} failed")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A defect of ours.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

impl Error {
    /// What the caller should do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TableMissing { .. } | Self::UnknownTable { .. } | Self::VersionMissing { .. } => ErrorKind::NotFound,
            Self::FileMissing { .. } => ErrorKind::Corrupt,
            Self::UnsupportedFeature { .. } => ErrorKind::Unsupported,
            Self::WrongFormat { .. }
            | Self::ColumnMissing { .. }
            | Self::TypeChanged { .. }
            | Self::ReadOnly { .. } => ErrorKind::Precondition,
            Self::BadLocation { .. }
            | Self::BadBatchId { .. }
            | Self::Rejected(_)
            | Self::Sql(_)
            | Self::Parameters(_)
            | Self::TooComplex { .. }
            | Self::Expression { .. }
            | Self::RequestColumn { .. } => ErrorKind::Invalid,
            Self::Arrow(error) => arrow_kind(error),
            Self::Incoming(_) => ErrorKind::Cancelled,
            Self::Refused { .. } => ErrorKind::Forbidden,
            Self::Contended { .. } => ErrorKind::Conflict,
            Self::CommitUnknown { .. } => ErrorKind::Unavailable,
            Self::LimitExceeded { .. } => ErrorKind::Exhausted,
            Self::Deadline { .. } => ErrorKind::Deadline,
            Self::Delta { source, .. } => delta_kind(source),
            Self::Storage { source, .. } => storage_kind(source),
            Self::Parquet { .. } => ErrorKind::Corrupt,
            Self::PointInTime(error) => error.kind(),
            Self::Training(error) => error.kind(),
            Self::Plan(error) => plan_kind(error),
            Self::Io { source, .. } => io_kind(source),
            Self::Internal(_) => ErrorKind::Internal,
        }
    }
}

/// A plan's error; one of ours that travelled through DataFusion comes out as itself.
impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(inner) => match inner.downcast::<Self>() {
                Ok(ours) => *ours,
                Err(other) => Self::Plan(Box::new(DataFusionError::External(other))),
            },
            DataFusionError::Context(_, inner) if is_ours(&inner) => Self::from(*inner),
            DataFusionError::ArrowError(inner, trace) => match *inner {
                arrow::error::ArrowError::ExternalError(boxed) => Self::from(DataFusionError::External(boxed)),
                other => Self::Plan(Box::new(DataFusionError::ArrowError(Box::new(other), trace))),
            },
            other => Self::Plan(Box::new(other)),
        }
    }
}

/// Ours on its way through a DataFusion stream.
impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        match error {
            Error::Plan(inner) => *inner,
            other => Self::External(Box::new(other)),
        }
    }
}

fn is_ours(error: &DataFusionError) -> bool {
    match error {
        DataFusionError::External(inner) => inner.is::<Error>(),
        DataFusionError::Context(_, inner) => is_ours(inner),
        _ => false,
    }
}

fn suggest(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

fn plan_kind(error: &DataFusionError) -> ErrorKind {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => ErrorKind::Exhausted,
        DataFusionError::NotImplemented(_) => ErrorKind::Unsupported,
        DataFusionError::Internal(_) => ErrorKind::Internal,
        DataFusionError::IoError(error) => io_kind(error),
        DataFusionError::ArrowError(error, _) => arrow_kind(error),
        DataFusionError::ObjectStore(error) => storage_kind(error),
        DataFusionError::ParquetError(_) => ErrorKind::Corrupt,
        DataFusionError::External(inner) => inner.downcast_ref::<Error>().map_or(ErrorKind::Internal, Error::kind),
        // What is left is about the statement or its values: unknown names, types that don't fit, a division by zero.
        _ => ErrorKind::Invalid,
    }
}

/// Spilled rows travel through Arrow's files, whose disk may be full.
fn arrow_kind(error: &arrow::error::ArrowError) -> ErrorKind {
    match error {
        arrow::error::ArrowError::IoError(_, error) => io_kind(error),
        _ => ErrorKind::Invalid,
    }
}

fn delta_kind(error: &DeltaTableError) -> ErrorKind {
    match error {
        DeltaTableError::ObjectStore { source } => storage_kind(source),
        DeltaTableError::Io { source } => io_kind(source),
        DeltaTableError::NotATable(_) => ErrorKind::NotFound,
        DeltaTableError::UnsupportedColumnMapping { .. } => ErrorKind::Unsupported,
        DeltaTableError::Transaction { .. } | DeltaTableError::VersionAlreadyExists(_) => ErrorKind::Conflict,
        DeltaTableError::InvalidJsonLog { .. }
        | DeltaTableError::InvalidStatsJson { .. }
        | DeltaTableError::Parquet { .. } => ErrorKind::Corrupt,
        _ => ErrorKind::Internal,
    }
}

fn storage_kind(error: &object_store::Error) -> ErrorKind {
    match error {
        object_store::Error::NotFound { .. } => ErrorKind::NotFound,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            ErrorKind::Precondition
        }
        object_store::Error::Generic { source, .. } => {
            let io = std::iter::successors(Some(source.as_ref() as &dyn std::error::Error), |error| error.source())
                .find_map(|error| error.downcast_ref::<std::io::Error>());
            io.map_or(ErrorKind::Unavailable, io_kind)
        }
        _ => ErrorKind::Unavailable,
    }
}

fn io_kind(error: &std::io::Error) -> ErrorKind {
    use std::io::ErrorKind as Io;
    match error.kind() {
        Io::StorageFull | Io::QuotaExceeded | Io::OutOfMemory => ErrorKind::Exhausted,
        Io::NotFound => ErrorKind::NotFound,
        Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Precondition,
        _ => ErrorKind::Unavailable,
    }
}
