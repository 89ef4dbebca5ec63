//! What can go wrong in the online tier. Each message names the cause and what to do; [`Error::kind`] tells callers apart.

use std::path::PathBuf;

use tidegate_schemas::error::ErrorKind;

/// Result of the online tier.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the online tier could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the folder open.
    #[error(
        "the online store at {} is in use by another process; stop that server, or give this one a data folder of its own",
        path.display()
    )]
    Locked {
        /// The store's folder.
        path: PathBuf,
        /// What RocksDB says.
        source: rocksdb::Error,
    },
    /// A later release wrote the folder.
    #[error(
        "the online store at {} has format {found}, this release reads up to {supported}; run the release that wrote it, or \
         move the folder away and materialize again",
        path.display()
    )]
    NewerFormat {
        /// The store's folder.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format this release reads.
        supported: u32,
    },
    /// The view was registered with other features since.
    #[error("the definition of view `{0}` changed meanwhile, so nothing was written; run it again")]
    Outdated(String),
    /// The folder can't be used.
    #[error("cannot use the online store's folder {}; check that it exists and that this user may write there", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No space left.
    #[error(
        "the disk of the online store is full; free some space: lookups go on meanwhile, and writes do seconds after there is room"
    )]
    DiskFull(#[source] rocksdb::Error),
    /// No space left for a load.
    #[error("the disk is full at {}: nothing of the full refresh is kept; free some space and run it again", path.display())]
    LoadFull {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Little space left.
    #[error(
        "the disk of the online store at {} has {} MiB free, less than the {} MiB kept in reserve, so nothing is written; free \
         some space: lookups go on, and writes do as soon as there is room",
        path.display(), free >> 20, reserve >> 20
    )]
    NoRoom {
        /// The store's folder.
        path: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes kept in reserve.
        reserve: u64,
    },
    /// RocksDB's background work lags behind.
    #[error(
        "the online store's disk does not keep up, and nothing was written; write again in a moment, and more slowly"
    )]
    Stalled(#[source] rocksdb::Error),
    /// Other definitions took the place of those that a push was prepared for.
    #[error("the definitions have just changed, and nothing was written; push again")]
    DefinitionsChanged,
    /// Too many pushed rows wait for their tables.
    #[error(
        "{} MiB of pushed rows wait to be written to their tables, and at most {} MiB may; push again in a moment, or raise \
         `push.outbox_bytes`",
        waiting >> 20, limit >> 20
    )]
    OutboxFull {
        /// Bytes that wait.
        waiting: u64,
        /// Bytes that may.
        limit: u64,
    },
    /// The caller's time is over.
    #[error(
        "the deadline passed while entities were read; allow more time or send fewer at once, or allow a partial answer"
    )]
    Deadline,
    /// A token of a write that this store does not have.
    #[error("{0}")]
    UnknownWrite(&'static str),
    /// RocksDB failed.
    #[error("the online store failed while {doing}")]
    Store {
        /// What was being done, such as `writing rows`.
        doing: &'static str,
        /// What RocksDB says.
        source: rocksdb::Error,
    },
    /// Stored bytes are not what was written.
    #[error("stored bytes are damaged: {0}; restore the folder from a backup, or move it away and materialize again")]
    Corrupt(String),
    /// A view this store does not know.
    #[error("no view with id {0} in the online store; register it again")]
    UnknownView(u32),
    /// A feature the view does not have.
    #[error("view `{view}` has no feature `{feature}` in the online store; apply its definition again")]
    UnknownFeature {
        /// The view.
        view: String,
        /// The feature.
        feature: String,
    },
    /// A column of the wrong type.
    #[error("{what} `{name}` is {expected}, but {found} was given; cast it")]
    WrongType {
        /// `key` or `feature`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The type it has.
        expected: String,
        /// The type given.
        found: String,
    },
    /// A key without a value.
    #[error("key `{name}` is null in row {row}; leave such rows out")]
    NullKey {
        /// The key.
        name: String,
        /// Zero-based row.
        row: usize,
    },
    /// A value that its type cannot hold.
    #[error("`{name}`, row {row}: {why}")]
    BadValue {
        /// The key or feature.
        name: String,
        /// Zero-based row.
        row: usize,
        /// What is wrong and what is expected.
        why: String,
    },
    /// Columns that do not belong together.
    #[error("{0}")]
    Shape(String),
    /// A definition that can't be stored.
    #[error("{0}")]
    Layout(String),
    /// A default that is not of its feature's type.
    #[error("the default of feature `{feature}` is not {expected}: {found}; correct the definition")]
    BadDefault {
        /// The feature.
        feature: String,
        /// Its type.
        expected: String,
        /// The default as written.
        found: String,
    },
    /// A full refresh that is not under way.
    #[error("the full refresh of view `{0}` was dropped meanwhile; run it again")]
    NoRefresh(String),
}

impl Error {
    /// What a caller should do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Outdated(_) | Self::DefinitionsChanged => ErrorKind::Unavailable,
            Self::Locked { .. } | Self::NewerFormat { .. } | Self::Folder { .. } | Self::NoRefresh(_) => {
                ErrorKind::Precondition
            }
            Self::DiskFull(_)
            | Self::NoRoom { .. }
            | Self::LoadFull { .. }
            | Self::OutboxFull { .. }
            | Self::Stalled(_) => ErrorKind::Exhausted,
            Self::Deadline => ErrorKind::Deadline,
            Self::UnknownWrite(_) => ErrorKind::Precondition,
            Self::Store { source, .. } if source.kind() == rocksdb::ErrorKind::Corruption => ErrorKind::Corrupt,
            Self::Store { .. } => ErrorKind::Internal,
            Self::Corrupt(_) => ErrorKind::Corrupt,
            Self::UnknownView(_) | Self::UnknownFeature { .. } => ErrorKind::NotFound,
            Self::WrongType { .. }
            | Self::NullKey { .. }
            | Self::BadValue { .. }
            | Self::Shape(_)
            | Self::Layout(_)
            | Self::BadDefault { .. } => ErrorKind::Invalid,
        }
    }

    /// Wraps a failure of RocksDB.
    pub(crate) fn store(doing: &'static str) -> impl Fn(rocksdb::Error) -> Self {
        move |source| match source.as_ref().contains("No space left") {
            true => Self::DiskFull(source),
            false => Self::Store { doing, source },
        }
    }

    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt(what.into())
    }
}
