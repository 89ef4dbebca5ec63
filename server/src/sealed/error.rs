//! What can go wrong with the records of sealed sets.

use tidegate_schemas::error::ErrorKind;

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such set.
    #[error("project `{project}` has no sealed set `{name}`{help}; `tidegate sealed list` shows those it has")]
    Unknown {
        /// The project.
        project: String,
        /// What was asked.
        name: String,
        /// `; did you mean …?`
        help: String,
    },
    /// The name is in use.
    #[error(
        "project `{project}` has a sealed set `{name}` already, and a seal never changes; choose another name, or delete it first"
    )]
    Taken {
        /// The project.
        project: String,
        /// The name.
        name: String,
    },
    /// A name that can't be a file's.
    #[error(
        "`{0}` can't name a sealed set: use letters, digits, `_`, `-` and `.`, at most 100, and start with a letter or digit"
    )]
    Name(String),
    /// A file that is not what was written.
    #[error(
        "the record of sealed set `{name}`, {file}, is damaged ({why}); restore it from a backup, or delete the set"
    )]
    Corrupt {
        /// The file.
        file: String,
        /// The set.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Files could not be read or written.
    #[error(
        "the sealed sets in {root} can't be read or written; check that the folder exists, is writable and has space"
    )]
    Storage {
        /// Where they are.
        root: String,
        /// What the store said.
        source: object_store::Error,
    },
}

impl Error {
    /// What the caller should do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown { .. } => ErrorKind::NotFound,
            Self::Taken { .. } => ErrorKind::AlreadyExists,
            Self::Name(_) => ErrorKind::Invalid,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Storage { .. } => ErrorKind::Unavailable,
        }
    }
}
