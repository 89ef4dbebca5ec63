//! Which table a view's cursor counts the versions of.
//!
//! Another table may take the place of the one that was read, with versions of its own. Only a full refresh goes from one table to
//! another, so the id is noted in the write that puts it in place; increments stay with the table that is noted.

use rocksdb::WriteBatch;

use super::{Load, Store};
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

    /// Notes the id of the table that the cursor is of, where none was noted.
    ///
    /// # Errors
    /// An unknown view, a failing disk.
    pub fn note_table(&self, view: ViewId, id: &str) -> Result<()> {
        let view = self.inner.view(view)?;
        let _gate = view.gate.read();
        self.inner.still_there(&view)?;
        let mut batch = WriteBatch::default();
        batch.put(MetaKey::Table(view.id).encode(), id);
        self.inner.commit_metadata(batch)
    }
}

impl Load {
    /// Says which table the rows are of: once they are put in place, the cursor is of that one.
    #[must_use]
    pub fn of_table(mut self, id: Option<&str>) -> Self {
        self.table = id.map(str::to_owned);
        self
    }

    /// Adds the table to what puts the rows in place.
    pub(super) fn note_table(&self, batch: &mut WriteBatch) {
        if let Some(table) = &self.table {
            batch.put(MetaKey::Table(self.view().id).encode(), table);
        }
    }
}
