//! Telling one table from another that took its place in the same folder.
//!
//! A handle reads commits one after the other, and would read those of the other table as if they went on from its own. So each look
//! at the log also looks whether the newest commit it knows is still the file it read.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::log::commit_path;
use crate::error::{Error, Result};

/// What a commit's file was like when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    size: u64,
    modified: DateTime<Utc>,
}

/// The mark of a version's commit; `None` where it has no file.
pub(super) async fn mark(table: &str, store: &Arc<dyn ObjectStore>, version: i64) -> Result<Option<Mark>> {
    match store.head(&commit_path(version)).await {
        Ok(file) => Ok(Some(Mark { size: file.size, modified: file.last_modified })),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(source) => Err(Error::Storage { table: table.to_owned(), doing: "reading the log", source }),
    }
}
