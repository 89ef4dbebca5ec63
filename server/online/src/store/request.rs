//! What callers hand to the store and get back: settings, rows, commits, cursors.

use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{ArrayRef, PrimitiveArray};
use tidegate_schemas::time::Micros;

use crate::row::Origin;

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Power loss: the log is synced before a write returns.
    #[default]
    Durable,
    /// The process being killed, not power loss: the operating system writes the log when it likes.
    Fast,
}

/// How the store runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of the cache of uncompressed blocks.
    pub block_cache_bytes: usize,
    /// Bytes of the cache of whole entities; 0 turns it off.
    pub entity_cache_bytes: u64,
    /// What an acknowledged write survives.
    pub durability: Durability,
    /// Bytes of rows gathered in memory before they go to a file.
    pub write_buffer_bytes: usize,
    /// Threads that flush and compact.
    pub background_jobs: i32,
    /// Bytes of the disk that are kept free: writes are refused below. 0 does not look.
    pub disk_reserve_bytes: u64,
    /// How long the ids of pushed events are remembered, in microseconds.
    pub event_ids_kept: Micros,
    /// Bytes that may wait in the outbox: pushes to tables are refused beyond.
    pub outbox_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            block_cache_bytes: 256 << 20,
            entity_cache_bytes: 128 << 20,
            durability: Durability::Durable,
            write_buffer_bytes: 32 << 20,
            background_jobs: 2,
            disk_reserve_bytes: 0,
            event_ids_kept: 7 * 24 * 3_600_000_000,
            outbox_bytes: 1 << 30,
        }
    }
}

/// Observations to write, one slot of each column for each row.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// One column for each key of the view, in order; no nulls.
    pub keys: &'a [ArrayRef],
    /// Event times; no nulls.
    pub event: &'a PrimitiveArray<TimestampMicrosecondType>,
    /// Created times, where the source has them.
    pub created: Option<&'a PrimitiveArray<TimestampMicrosecondType>>,
    /// One column for each feature of the layout the view was registered with, in its order.
    pub features: &'a [ArrayRef],
    /// Where the rows come from.
    pub origin: Origin,
}

/// What is committed together with the rows, in one atomic write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// Nothing else: a push.
    None,
    /// How far a materialization has come. With `full` the rows go to the epoch being built and nowhere else.
    Progress(Progress),
    /// The last rows of an incremental materialization: the cursor moves to `version`, never backwards, and the progress is
    /// cleared.
    Cursor {
        /// The table version that is now reflected.
        version: i64,
        /// The time of the commit.
        now: Micros,
    },
}

/// How far a materialization that is under way has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The table version being reached.
    pub target_version: i64,
    /// Whether the view is rebuilt from the whole table.
    pub full: bool,
    /// Where to go on; its meaning is the driver's.
    pub position: u64,
    /// Rows read so far.
    pub rows_read: u64,
    /// Rows written so far.
    pub rows_written: u64,
    /// When this materialization began.
    pub started_at: Micros,
}

/// How far a view has been materialized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Every row of this table version and those before is reflected or superseded.
    pub version: i64,
    /// When that was reached.
    pub materialized_at: Micros,
    /// The epoch lookups read.
    pub epoch: u32,
    /// Whether every row has the view's present features, maybe under another name or with a narrower type. `false` after
    /// features were added or changed: rows written before lack them until a full refresh.
    pub layout_current: bool,
}

/// What became of the rows of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Rows that are now stored: new, or in place of an older or equal one.
    pub written: u64,
    /// Rows that were not stored, because a newer observation is, or came in the same write; or because their entity was erased
    /// since, or they are older than what the view keeps.
    pub kept: u64,
    /// Rows that happen later than now: they are stored when they are due.
    pub waiting: u64,
}

/// A chunk of a view's visible state, in key order.
#[derive(Debug, Clone)]
pub struct Scanned {
    /// One column for each key of the view.
    pub keys: Vec<ArrayRef>,
    /// Event times.
    pub event: PrimitiveArray<TimestampMicrosecondType>,
    /// Created times; null where the observation has none.
    pub created: PrimitiveArray<TimestampMicrosecondType>,
    /// Where each row came from.
    pub origin: Vec<Origin>,
    /// One column for each feature of the layout the view was registered with.
    pub features: Vec<ArrayRef>,
}

/// A summary of a view's visible state: equal for equal states, whatever way they came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// Rows.
    pub rows: u64,
    /// Over keys, times and feature values; not over origins, epochs and layouts.
    pub hash: u64,
}

/// Figures of a running store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Entities answered from the entity cache.
    pub cache_hits: u64,
    /// Entities read from the store.
    pub cache_misses: u64,
    /// Entities that made room for others.
    pub cache_evictions: u64,
    /// Entities in the cache, about.
    pub cache_entries: u64,
    /// Bytes in the entity cache, about.
    pub cache_bytes: u64,
    /// Tiles read by lookups of windowed views.
    pub tiles_read: u64,
    /// Bytes in the block cache.
    pub block_cache_bytes: u64,
    /// Bytes of rows on disk, about.
    pub disk_bytes: u64,
    /// Bytes that are free on the disk; 0 where that is not known.
    pub disk_free_bytes: u64,
    /// Replaced epochs and removed views whose rows are still being deleted.
    pub pending_purges: u64,
    /// Observations of erased entities that were refused since the store was opened.
    pub refused_erased: u64,
}
