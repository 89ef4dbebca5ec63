//! Which table a view's cursor counts the versions of.
//!
//! Another table may take the place of the one that was read, with versions of its own. The id is noted once a table was reached, so
//! that what is noted is never ahead of the rows: a crash in between makes a view be rebuilt once more, and never counts the versions
//! of one table as another's.

use super::Store;
use crate::layout::{MetaKey, ViewId};
use crate::{Error, Result};

impl Store {
    /// The id of the table that the cursor is of; `None` where none was noted.
    ///
    /// # Errors
    /// An unknown view, a failing disk, bytes that are no text.
    pub fn table_of(&self, view: ViewId) -> Result<Option<String>> {
        let view = self.inner.view(view)?;
        let found =
            self.inner.db.get(MetaKey::Table(view.id).encode()).map_err(Error::store("reading a table's id"))?;
        let text = |bytes| String::from_utf8(bytes).map_err(|_| Error::corrupt("the id of a view's table is no text"));
        found.map(text).transpose()
    }

    /// Notes the id of the table that the cursor is of.
    ///
    /// # Errors
    /// An unknown view, a failing disk.
    pub fn note_table(&self, view: ViewId, id: &str) -> Result<()> {
        let view = self.inner.view(view)?;
        let _gate = view.gate.read();
        self.inner.still_there(&view)?;
        let mut batch = rocksdb::WriteBatch::default();
        batch.put(MetaKey::Table(view.id).encode(), id);
        self.inner.commit_metadata(batch)
    }
}
