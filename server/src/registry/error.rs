//! What can go wrong in the registry.

use tidegate_schemas::error::ErrorKind;

/// Why the registry could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else wrote that number first.
    #[error("project `{project}` has got a version {version} in the meantime; plan again and apply that")]
    Conflict {
        /// The project.
        project: String,
        /// The number that was taken.
        version: u64,
    },
    /// No such version.
    #[error("project `{project}` has no version {version}; `tidegate registry history` lists those it has")]
    NoVersion {
        /// The project.
        project: String,
        /// What was asked.
        version: u64,
    },
    /// A file that is not what was written.
    #[error(
        "registry file {file} is damaged ({why}); restore it from a backup, or move it away to go back to the version before \
         {version}; until then project `{project}` can't change, and other projects are not affected"
    )]
    Corrupt {
        /// The file.
        file: String,
        /// Its project.
        project: String,
        /// Its version.
        version: u64,
        /// What is wrong with it.
        why: String,
    },
    /// Files could not be read or written.
    #[error("the registry in {root} can't be read or written; check that the folder exists, is writable and has space")]
    Storage {
        /// Where the registry is.
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
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::NoVersion { .. } => ErrorKind::NotFound,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Storage { .. } => ErrorKind::Unavailable,
        }
    }
}
