//! Backups: a data folder as of one moment, in a folder of its own, and making a data folder of one again.
//!
//! ```text
//! folder/
//!   BACKUP.json   the manifest ([`manifest`] draws it), written last: a folder without one is no backup
//!   online/       a checkpoint of the online tier, cursors included, and what its rows were computed from
//!   registry/     definitions
//!   sealed/       sealed training sets
//!   erased/       receipts of erasures
//!   jobs/         what jobs did
//!   tables/       managed tables, unless they were left out
//! ```
//! The online tier comes first and the tables after it, so that no cursor is ahead of its table: what a table has more is
//! materialized after the restore like anything new. Files of the data folder are never changed in place, so a backup on the same
//! file system shares them by hard links, and costs little; elsewhere they are copied.
//!
//! [`copy`] brings one folder over, [`restore`] makes a data folder. Nothing here knows the running server: the use case is
//! [`crate::service`]'s.

pub(crate) mod copy;
mod manifest;
mod restore;

pub use manifest::{BackedUpFile, BackedUpTable, BackedUpView, Manifest};
pub use restore::{Restored, check, restore};

use std::path::PathBuf;

/// The manifest's name.
pub(crate) const MANIFEST: &str = "BACKUP.json";

/// The file that is in a data folder while it is being restored.
pub(crate) const RESTORING: &str = "RESTORING";

/// The online tier's folder, in a data folder as in a backup.
pub(crate) const ONLINE: &str = "online";

/// The managed tables' folder.
pub(crate) const TABLES: &str = "tables";

/// Folders of records that are written once, in the order they are copied: a sealed set names a version of the definitions.
pub(crate) const RECORDS: [&str; 4] = ["sealed", "registry", "erased", "jobs"];

/// Why a backup can't be made, checked or restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No manifest.
    #[error("{} is no backup: it has no {MANIFEST}; name a folder that `tidegate backup` made", .0.display())]
    NoBackup(PathBuf),
    /// A later release made it.
    #[error("the backup has format {found}, this release reads {supported}; restore it with the release that made it")]
    NewerFormat {
        /// The format found.
        found: u32,
        /// The newest that is read.
        supported: u32,
    },
    /// The manifest is not what was written.
    #[error("the manifest {} is damaged ({why}); use another backup", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file is not what was backed up.
    #[error("the backup is damaged: {path} {why}; use another backup")]
    Damaged {
        /// The file, in the backup.
        path: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The data folder holds something.
    #[error(
        "{} is not empty, and a restore never writes over anything; name a new folder with --data-dir, or empty this one",
        .0.display()
    )]
    NotEmpty(PathBuf),
    /// Files could not be read or written.
    #[error("{doing} failed at {}; check permissions and space", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The online tier's folder could not be given its name.
    #[error("the restored online tier can't be named")]
    Online(#[source] tidegate_online::Error),
}

/// Result of the functions here.
pub type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests;
