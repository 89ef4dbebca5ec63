//! The store: rows of all views in RocksDB, entity first, with their cursors beside them.
//!
//! ```text
//! folder/
//!   FORMAT     "tidegate online 1"
//!   rocks/     RocksDB's column families: `default` metadata · `rows` · `tiles` what is kept of windowed views · `pending` rows that
//!              are not due · `events` ids of pushed events · `outbox` pushed rows on their way to tables · `graves` what was erased
//!
//! opening    open · register views and layouts · lineage which feature is which · token names of writes
//! writing    write one view · push several at once · events their ids · pending what is not due · feed, outbox what goes to tables
//!            put one batch · sync one sync for many · disk room for it
//! moving     epoch full refreshes · load their files · tiles events into tiles · correct what became of removed rows
//!            basis whose versions a cursor counts
//! leaving    erase an entity · graves what is refused since · retention how long rows stay · purge what epochs and views left
//!            reach tiles behind all windows
//! looking    scan a view · parity, window_parity against what it should be · checkpoint the store as of a moment
//! ```
//!
//! Locks, always taken in this order: `counters` (registration), the stripes of event ids, views' `gate`s in the order of their ids
//! (shared by writes, alone by what changes their epochs), a view's `commits`, the stripes of the entities written, the number of the
//! next outbox record (held while a push is written to the log), then short ones that guard memory only. Lookups wait for the last kind
//! only.

mod basis;
mod checkpoint;
mod correct;
mod disk;
mod epoch;
mod erase;
mod events;
mod feed;
mod graves;
mod lineage;
mod load;
mod open;
mod outbox;
mod parity;
mod pending;
mod purge;
mod push;
mod put;
mod reach;
mod register;
mod request;
mod retention;
mod scan;
mod sync;
mod tiles;
mod token;
mod window_parity;
mod write;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ahash::HashMap;
use parking_lot::{Mutex, RwLock};
use rocksdb::{Cache, ColumnFamily, DB};

pub use checkpoint::{Checkpointed, renew};
pub use correct::{Corrected, Corrections};
pub use erase::ErasedRows;
pub use events::{Claim, EventIds, Fate, RowDigest, Scope, entity_hash};
pub use feed::{Counted, FeedId, OUTBOX_PREFIX};
pub use graves::{EntityKey, Erasing, Grave, Standing};
pub use load::{Load, Part as LoadPart};
pub use outbox::{Chunk, FeedStatus, Left, OutboxRecord, Outgoing};
pub use parity::{Mismatch, Parity};
pub use pending::Released;
pub use push::{Extra, Push, Pushed};
pub use request::{Commit, Cursor, Digest, Durability, Progress, Rows, Scanned, Settings, Stats, Written};
pub use retention::Freed;
pub use scan::Scan;
pub use sync::Ticket;

use crate::cache::EntityCache;
use crate::layout::{Counters, EntityTypeRecord, Layout, View, ViewId};
use crate::merge::Stripes;
use crate::{Error, Result};

/// The name of the column family that holds the rows.
const ROWS: &str = "rows";

/// That of the tiles of windowed views.
const TILES: &str = "tiles";

/// That of rows that are not due yet.
const PENDING: &str = "pending";

/// That of the ids of pushed events.
const EVENTS: &str = "events";

/// That of pushed rows on their way to tables.
const OUTBOX: &str = "outbox";

/// The name of the column family that holds what was erased.
const GRAVES: &str = "graves";

/// All column families: they share a log, which is begun anew only when all are flushed.
const FAMILIES: [&str; 7] = [rocksdb::DEFAULT_COLUMN_FAMILY_NAME, ROWS, TILES, PENDING, EVENTS, OUTBOX, GRAVES];

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
    reach: Arc<reach::Reach>,
    disk: disk::Disk,
    pub(crate) durability: Durability,
    pub(crate) block_cache: Cache,
    pub(crate) cache: EntityCache,
    /// What writes must leave out.
    graves: Arc<graves::Graves>,
    retention: retention::Retention,
    pub(crate) stripes: Stripes,
    /// The same for event ids.
    ids: Stripes,
    window: events::Window,
    feeds: feed::Feeds,
    waiting: pending::Waiting,
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
    /// Tiles that lookups have read.
    tiles_read: AtomicU64,
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
            layout_current: self.inner.reads_whole(view.id, cursor.layout, state.record.layout),
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
        let families = [inner.rows(), inner.tiles()];
        let size =
            |family| inner.db.property_int_value_cf(family, rocksdb::properties::TOTAL_SST_FILES_SIZE).ok().flatten();
        let disk = families.into_iter().flatten().filter_map(size).sum();
        Stats {
            block_cache_bytes: inner.block_cache.get_usage() as u64,
            disk_bytes: disk,
            disk_free_bytes: inner.disk.free().unwrap_or(0),
            pending_purges: inner.pending_purges.load(Ordering::Relaxed),
            tiles_read: inner.tiles_read.load(Ordering::Relaxed),
            refused_erased: inner.graves.refused(),
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

    fn family(&self, name: &str) -> Result<&ColumnFamily> {
        self.db.cf_handle(name).ok_or_else(|| Error::corrupt(format!("the column family `{name}` is missing")))
    }

    pub(crate) fn tiles(&self) -> Result<&ColumnFamily> {
        self.family(TILES)
    }

    fn pending(&self) -> Result<&ColumnFamily> {
        self.family(PENDING)
    }

    fn events(&self) -> Result<&ColumnFamily> {
        self.family(EVENTS)
    }

    fn outbox(&self) -> Result<&ColumnFamily> {
        self.family(OUTBOX)
    }

    /// Notes tiles that a lookup has read.
    pub(crate) fn count_tiles(&self, read: u64) {
        self.tiles_read.fetch_add(read, Ordering::Relaxed);
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
}
