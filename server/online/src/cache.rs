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

/// Every row of one entity, in one piece of memory: a lookup that misses the processor's caches does so once and reads on.
///
/// ```text
/// generation u64, then for each row in key order:  view u32 · epoch u32 · length u32 · the row
/// ```
#[derive(Debug, Clone)]
pub(crate) struct EntityRecord(Arc<[u8]>);

/// Bytes before the first row, and before each row.
const RECORD_HEAD: usize = 8;
const ROW_HEAD: usize = 12;

/// Records being read from the store, one after the other.
#[derive(Debug)]
pub(crate) struct RecordBuilder(Vec<u8>);

impl RecordBuilder {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// Begins a record that is read when the store is at `generation`.
    pub(crate) fn begin(&mut self, generation: u64) {
        self.0.clear();
        self.0.extend_from_slice(&generation.to_le_bytes());
    }

    /// Adds a row; rows come in key order.
    pub(crate) fn push(&mut self, view: u32, epoch: u32, row: &[u8]) {
        // RocksDB's own values end below 4 GiB.
        let length = u32::try_from(row.len()).unwrap_or(u32::MAX);
        for number in [view, epoch, length] {
            self.0.extend_from_slice(&number.to_le_bytes());
        }
        self.0.extend_from_slice(row);
    }

    pub(crate) fn finish(&self) -> EntityRecord {
        EntityRecord(self.0.as_slice().into())
    }
}

impl EntityRecord {
    /// A record without rows, for views that have none.
    pub(crate) fn empty() -> Self {
        Self([].into())
    }

    /// The entity's rows with the view and the epoch each is of, in their order.
    #[inline]
    pub(crate) fn rows(&self) -> impl Iterator<Item = ((u32, u32), &[u8])> {
        let mut rest = self.0.get(RECORD_HEAD..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (head, after) = rest.split_first_chunk::<ROW_HEAD>()?;
            let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let (row, after) = after.split_at_checked(number(8) as usize)?;
            rest = after;
            Some(((number(0), number(4)), row))
        })
    }

    /// Whether the record is right about a view that is at `mark`.
    #[inline]
    pub(crate) fn knows(&self, mark: Mark) -> bool {
        let generation = self.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        generation >= mark.flipped_at
    }

    fn weight(&self, entity: &[u8]) -> u32 {
        // The entry's own cost in moka's table and queues, measured at about this.
        const ENTRY: usize = 128;
        u32::try_from(ENTRY + entity.len() + self.0.len()).unwrap_or(u32::MAX)
    }
}

/// Entities by their encoded key.
pub(crate) struct EntityCache {
    entities: Option<Cache<Arc<[u8]>, EntityRecord, ahash::RandomState>>,
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: Arc<AtomicU64>,
}

impl EntityCache {
    /// A cache of this many bytes; 0 caches nothing.
    pub(crate) fn new(capacity: u64) -> Self {
        let evictions = Arc::new(AtomicU64::new(0));
        let evicted = evictions.clone();
        let build = || {
            Cache::builder()
                .name("entities")
                .max_capacity(capacity)
                .weigher(|entity: &Arc<[u8]>, record: &EntityRecord| record.weight(entity))
                .eviction_listener(move |_, _, cause| {
                    evicted.fetch_add(u64::from(cause.was_evicted()), Ordering::Relaxed);
                })
                .build_with_hasher(ahash::RandomState::new())
        };
        let entities = (capacity > 0).then(build);
        Self { entities, hits: AtomicU64::new(0), misses: AtomicU64::new(0), evictions }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.entities.is_some()
    }

    #[inline]
    pub(crate) fn get(&self, entity: &[u8]) -> Option<EntityRecord> {
        self.entities.as_ref()?.get(entity)
    }

    /// Publishes a record. Only under the entity's stripe.
    pub(crate) fn publish(&self, entity: &[u8], record: &EntityRecord) {
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
            cache_evictions: self.evictions.load(Ordering::Relaxed),
            cache_entries: entries.0,
            cache_bytes: entries.1,
            ..Stats::default()
        }
    }
}
