//! The store: rows of all views in RocksDB, entity first, with their cursors beside them.
//!
//! ```text
//! folder/
//!   FORMAT        "tidegate online 1"
//!   rocks/        RocksDB: column family `default` holds metadata, `rows` the rows
//! ```
//! Parts: `request` what callers exchange · `open` folder, format and RocksDB options · `register` views and layouts ·
//! `write` the way in · `correct` what became of removed rows · `basis` whose versions a cursor counts · `token` tokens of writes · `disk` room for writes · `epoch` full refreshes · `load` their files · `purge` deleting what epochs and views left · `scan` reading a view back · `parity` holding it against what it should be.
//!
//! Locks, always taken in this order: `counters` (registration), a view's `gate` (shared by writes, alone by what changes its
//! epochs), its `commits`, the stripes of the entities written, then short ones that guard memory only. Lookups wait for the last
//! kind only.

mod basis;
mod correct;
mod disk;
mod epoch;
mod load;
mod open;
mod parity;
mod purge;
mod register;
mod request;
mod scan;
mod token;
mod write;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ahash::HashMap;
use parking_lot::{Mutex, RwLock};
use rocksdb::{Cache, ColumnFamily, DB, WriteOptions};

pub use correct::{Corrected, Corrections};
pub use load::Load;
pub use parity::{Mismatch, Parity};
pub use request::{Commit, Cursor, Digest, Durability, Progress, Rows, Scanned, Settings, Stats, Written};
pub use scan::Scan;

use crate::cache::EntityCache;
use crate::layout::{Counters, EntityTypeRecord, Layout, View, ViewId};
use crate::merge::Stripes;
use crate::{Error, Result};

/// The name of the column family that holds the rows.
const ROWS: &str = "rows";

/// The online store of one server: all projects, all views. Shared as `Arc`; every method is synchronous and may touch the disk.
pub struct Store {
    inner: Arc<Inner>,
    purger: purge::Purger,
}

/// What lookups, writes and the purger share.
pub(crate) struct Inner {
    pub(crate) path: PathBuf,
    pub(crate) db: DB,
    /// What tells the database from any other.
    identity: String,
    settings: Settings,
    /// What is deleted when files are merged.
    dead: Arc<purge::Dead>,
    disk: disk::Disk,
    pub(crate) durability: Durability,
    pub(crate) block_cache: Cache,
    pub(crate) cache: EntityCache,
    pub(crate) stripes: Stripes,
    /// Counts the flips of all views; cached records say up to which one they are right.
    pub(crate) generation: AtomicU64,
    pub(crate) views: RwLock<HashMap<u32, Arc<View>>>,
    pub(crate) layouts: RwLock<HashMap<u32, Arc<Layout>>>,
    pub(crate) entity_types: RwLock<HashMap<u32, EntityTypeRecord>>,
    /// Held through a registration, so that ids are given out once.
    pub(crate) counters: Mutex<Counters>,
    pub(crate) pending_purges: AtomicU64,
    /// Loads that were begun, by which their folders are named.
    loads: AtomicU64,
    /// The store is being dropped.
    closing: AtomicBool,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

impl Store {
    /// The store's folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// How far the view has been materialized; `None` before the first time.
    ///
    /// # Errors
    /// An unknown view, damaged metadata.
    pub fn cursor(&self, view: ViewId) -> Result<Option<Cursor>> {
        let view = self.inner.view(view)?;
        let state = view.state.read();
        Ok(state.cursor.map(|cursor| Cursor {
            version: cursor.version,
            materialized_at: cursor.materialized_at,
            epoch: state.record.epoch,
            layout_current: cursor.layout == state.record.layout,
        }))
    }

    /// The materialization that is under way or was interrupted, if any.
    ///
    /// # Errors
    /// An unknown view.
    pub fn progress(&self, view: ViewId) -> Result<Option<Progress>> {
        Ok(self.inner.view(view)?.state.read().progress)
    }

    /// Figures for metrics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let inner = &self.inner;
        let disk = inner.rows().ok().and_then(|rows| {
            inner.db.property_int_value_cf(rows, rocksdb::properties::TOTAL_SST_FILES_SIZE).ok().flatten()
        });
        Stats {
            block_cache_bytes: inner.block_cache.get_usage() as u64,
            disk_bytes: disk.unwrap_or(0),
            disk_free_bytes: inner.disk.free().unwrap_or(0),
            pending_purges: inner.pending_purges.load(Ordering::Relaxed),
            ..inner.cache.stats()
        }
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}

impl Inner {
    /// The column family of the rows.
    pub(crate) fn rows(&self) -> Result<&ColumnFamily> {
        self.db.cf_handle(ROWS).ok_or_else(|| Error::corrupt("the column family `rows` is missing"))
    }

    pub(crate) fn view(&self, id: ViewId) -> Result<Arc<View>> {
        self.views.read().get(&id.view).cloned().ok_or(Error::UnknownView(id.view))
    }

    pub(crate) fn layout(&self, id: u32) -> Result<Arc<Layout>> {
        let layout = self.layouts.read().get(&id).cloned();
        layout.ok_or_else(|| Error::corrupt(format!("a row has layout {id}, which is not in the metadata")))
    }

    /// To be asked under a view's gate: it may have been removed while a caller held on to it.
    fn still_there(&self, view: &View) -> Result<()> {
        match self.views.read().contains_key(&view.id) {
            true => Ok(()),
            false => Err(Error::UnknownView(view.id)),
        }
    }

    /// Options of a write that is acknowledged to a caller.
    fn acknowledged(&self) -> WriteOptions {
        let mut options = WriteOptions::default();
        options.set_sync(self.durability == Durability::Durable);
        options
    }
}
