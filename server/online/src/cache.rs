//! The cache of whole entities: one entry is every row that one entity has, in all views and epochs, or the knowledge that it has
//! none.
//!
//! A racing write always wins. A write, holding its entities' stripes: count, store, drop the entries, count again. A reader: note
//! the stripe's count, read the store, then publish under the stripe's lock only if the count still stands
//! ([`crate::merge::Stripes::unless_written`]). Whatever the interleaving, an entry published is at least as new as every write
//! acknowledged before it can be read.
//!
//! Nothing expires in here: age is a matter of each row's own time. A record carries the store's generation at which it was read;
//! it is right about a view only if the view's epoch has not changed since, so a full refresh makes records stale without touching
//! them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::sync::Cache;

use crate::layout::Mark;
use crate::store::Stats;

/// Every row of one entity.
#[derive(Debug, Default)]
pub(crate) struct EntityRecord {
    generation: u64,
    rows: Vec<RowRef>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct RowRef {
    view: u32,
    epoch: u32,
    start: u32,
    end: u32,
}

impl EntityRecord {
    /// An empty record, read when the store was at `generation`.
    pub(crate) fn new(generation: u64) -> Self {
        Self { generation, ..Self::default() }
    }

    /// Adds a row; rows come in key order.
    pub(crate) fn push(&mut self, view: u32, epoch: u32, row: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(row);
        // A record beyond 4 GiB would be one entity with more data than any cache holds; its further rows are left to `get` as empty,
        // which reads as damaged and never as another row.
        let bound = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        self.rows.push(RowRef { view, epoch, start: bound(start), end: bound(self.bytes.len()) });
    }

    /// The entity's rows with the view and the epoch each is of, in their order.
    #[inline]
    pub(crate) fn rows(&self) -> impl Iterator<Item = ((u32, u32), &[u8])> {
        let bytes = |row: &RowRef| self.bytes.get(row.start as usize..row.end as usize).unwrap_or(&[]);
        self.rows.iter().map(move |row| ((row.view, row.epoch), bytes(row)))
    }

    /// Whether the record is right about a view that is at `mark`.
    #[inline]
    pub(crate) fn knows(&self, mark: Mark) -> bool {
        self.generation >= mark.flipped_at
    }

    fn weight(&self, entity: &[u8]) -> u32 {
        // The entry's own cost in moka's table and queues, measured at about this.
        const ENTRY: usize = 160;
        let bytes = ENTRY + entity.len() + self.bytes.len() + self.rows.len() * size_of::<RowRef>();
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// Entities by their encoded key.
pub(crate) struct EntityCache {
    entities: Option<Cache<Arc<[u8]>, Arc<EntityRecord>, ahash::RandomState>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl EntityCache {
    /// A cache of this many bytes; 0 caches nothing.
    pub(crate) fn new(capacity: u64) -> Self {
        let build = || {
            Cache::builder()
                .name("entities")
                .max_capacity(capacity)
                .weigher(|entity: &Arc<[u8]>, record: &Arc<EntityRecord>| record.weight(entity))
                .build_with_hasher(ahash::RandomState::new())
        };
        let entities = (capacity > 0).then(build);
        Self { entities, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.entities.is_some()
    }

    #[inline]
    pub(crate) fn get(&self, entity: &[u8]) -> Option<Arc<EntityRecord>> {
        self.entities.as_ref()?.get(entity)
    }

    /// Publishes a record. Only under the entity's stripe.
    pub(crate) fn publish(&self, entity: &[u8], record: &Arc<EntityRecord>) {
        if let Some(entities) = &self.entities {
            entities.insert(entity.into(), record.clone());
        }
    }

    /// Forgets an entity. Only under the entity's stripe.
    pub(crate) fn forget(&self, entity: &[u8]) {
        if let Some(entities) = &self.entities {
            entities.invalidate(entity);
        }
    }

    pub(crate) fn count(&self, hits: usize, misses: usize) {
        self.hits.fetch_add(hits as u64, Ordering::Relaxed);
        self.misses.fetch_add(misses as u64, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> Stats {
        let entries = self.entities.as_ref().map_or((0, 0), |cache| (cache.entry_count(), cache.weighted_size()));
        Stats {
            cache_hits: self.hits.load(Ordering::Relaxed),
            cache_misses: self.misses.load(Ordering::Relaxed),
            cache_entries: entries.0,
            cache_bytes: entries.1,
            ..Stats::default()
        }
    }
}
