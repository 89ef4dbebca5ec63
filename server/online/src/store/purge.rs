//! Deleting what replaced epochs and removed views left behind, in the background, and laying rows of one entity side by side.
//!
//! Entity first means that an epoch's rows are scattered over all entities of its type. They are not looked for: whenever files are
//! merged, rows that are [`Dead`] stay behind. Some quiet after the last refresh the files of the entity type are merged, all at
//! once: views are refreshed one after the other, and until then an entity's rows lie in as many files, each of which a lookup has
//! to look into. Where what is dead is little beside what lives, that waits until it is worth the work.
//!
//! A purge's record in the metadata goes last: one that was interrupted is done after the next opening. Ids and epochs are never
//! used twice, so nothing that is written meanwhile can be what a purge is after.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rocksdb::{BottommostLevelCompaction, CompactOptions, WriteBatch};
use tidegate_schemas::failpoint::{Failpoint, reach};

use super::{Inner, Store};
use crate::key;
use crate::layout::{ALL_EPOCHS, Purge};
use crate::{Error, Result, tiles};

/// How long no purge must have come before files are merged.
const QUIET: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 2_000 });

/// A merge is worth it when one in so many rows is dead, or where there are few rows in all.
const LIVING_PER_DEAD: u64 = 8;
const FEW_ROWS: u64 = 1 << 20;

/// Views' epochs whose rows mean nothing any more.
#[derive(Debug, Default)]
pub(crate) struct Dead {
    any: AtomicBool,
    epochs: RwLock<HashSet<(u32, u32)>>,
}

impl Dead {
    fn add(&self, purge: &Purge) {
        self.epochs.write().insert((purge.view, purge.epoch));
        self.any.store(true, Ordering::Release);
    }

    fn remove(&self, purge: &Purge) {
        let mut epochs = self.epochs.write();
        epochs.remove(&(purge.view, purge.epoch));
        self.any.store(!epochs.is_empty(), Ordering::Release);
    }

    /// Whether the row of this key is of one of them.
    pub(super) fn has(&self, row_key: &[u8]) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        key::split(row_key).is_ok_and(|(_, view, epoch)| self.is_of(view, epoch))
    }

    /// Whether the tile of this key is of one of them.
    pub(super) fn has_tile(&self, tile_key: &[u8]) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        tiles::key::split(tile_key).is_ok_and(|key| self.is_of(key.view, key.epoch))
    }

    fn is_of(&self, view: u32, epoch: u32) -> bool {
        let epochs = self.epochs.read();
        epochs.contains(&(view, epoch)) || epochs.contains(&(view, ALL_EPOCHS))
    }
}

/// What is to be deleted, and how many rows that are, where it is known.
type Order = (Purge, Option<u64>);

/// The thread that merges.
pub(super) struct Purger {
    queue: Mutex<Option<Sender<Order>>>,
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

/// What is to be done about one entity type.
#[derive(Default)]
struct Waiting {
    purges: Vec<Purge>,
    /// Rows that are dead, about; `None` where that is not known.
    rows: Option<u64>,
}

impl Purger {
    /// Starts with what an earlier process left undone.
    pub(super) fn start(inner: &Arc<Inner>, undone: Vec<Purge>) -> Result<Self> {
        let (queue, purges) = channel::<Order>();
        let shared = inner.clone();
        let work = move || {
            let mut all: BTreeMap<u32, Waiting> = BTreeMap::new();
            let mut fresh = false;
            loop {
                match purges.recv_timeout(if fresh { QUIET } else { Duration::MAX }) {
                    Ok((purge, rows)) => {
                        let known = all
                            .entry(purge.entity_type)
                            .or_insert_with(|| Waiting { rows: Some(0), ..Waiting::default() });
                        known.rows = known.rows.zip(rows).map(|(known, more)| known + more);
                        known.purges.push(purge);
                        fresh = true;
                    }
                    Err(RecvTimeoutError::Timeout) => {
                        fresh = false;
                        all.retain(|&entity_type, waiting| !shared.merge(entity_type, waiting));
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let spawned = std::thread::Builder::new().name("online-purge".to_owned()).spawn(work);
        let thread = spawned.map_err(|source| Error::Folder { path: inner.path.clone(), source })?;
        let purger = Self { queue: Mutex::new(Some(queue)), inner: inner.clone(), thread: Some(thread) };
        undone.into_iter().for_each(|purge| purger.add(purge, None));
        Ok(purger)
    }

    /// Gives rows up for deletion, so many if that is known. They are never read again, so there is no hurry.
    pub(super) fn add(&self, purge: Purge, rows: Option<u64>) {
        self.inner.dead.add(&purge);
        self.inner.pending_purges.fetch_add(1, Ordering::Relaxed);
        let sent = self.queue.lock().as_ref().is_some_and(|queue| queue.send((purge, rows)).is_ok());
        if !sent {
            self.inner.pending_purges.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Purger {
    /// What is not done is done after the next opening. Waiting for the thread is what lets the folder be opened again as soon as
    /// the store is dropped.
    fn drop(&mut self) {
        *self.queue.lock() = None;
        self.inner.closing.store(true, Ordering::Release);
        // A merge that is under way may take minutes, and can be done another time.
        self.inner.db.cancel_all_background_work(false);
        if let Some(thread) = self.thread.take() {
            // A panic in the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Store {
    /// Waits until nothing is left to delete.
    #[cfg(test)]
    pub(crate) fn wait_for_purges(&self) {
        while self.inner.pending_purges.load(Ordering::Relaxed) > 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

impl Inner {
    /// Merges the files that hold entities of a type, if that is worth it. `false` leaves it for later.
    fn merge(&self, entity_type: u32, waiting: &Waiting) -> bool {
        match self.try_merge(entity_type, waiting) {
            Ok(done) => done,
            Err(error) => {
                tracing::warn!(%error, "rows of replaced epochs stay until the next start");
                self.pending_purges.fetch_sub(waiting.purges.len() as u64, Ordering::Relaxed);
                true
            }
        }
    }

    fn try_merge(&self, entity_type: u32, waiting: &Waiting) -> Result<bool> {
        let rows = self.rows()?;
        let total = self.db.property_int_value_cf(rows, rocksdb::properties::ESTIMATE_NUM_KEYS);
        let total = total.map_err(Error::store("counting rows"))?.unwrap_or(0);
        if waiting.rows.is_some_and(|dead| total > FEW_ROWS && dead.saturating_mul(LIVING_PER_DEAD) < total) {
            return Ok(false);
        }
        let start = key::entity_type_prefix(entity_type);
        let end = key::entity_type_prefix(entity_type.saturating_add(1));
        let mut options = CompactOptions::default();
        // Those that RocksDB starts by itself go on beside it.
        options.set_exclusive_manual_compaction(false);
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        for family in [rows, self.tiles()?] {
            self.db.compact_range_cf_opt(family, Some(start), Some(end), &options);
        }
        // Cut short, it has not seen every file.
        if self.closing.load(Ordering::Acquire) {
            return Ok(false);
        }
        reach(Failpoint::BeforePurgeNoted);
        // Not while a checkpoint is made: it may have listed the files from before.
        let _no_checkpoint = self.counters.lock();
        let mut batch = WriteBatch::default();
        waiting.purges.iter().for_each(|purge| batch.delete(purge.key().encode()));
        self.put(batch, false, "noting what was deleted")?;
        waiting.purges.iter().for_each(|purge| self.dead.remove(purge));
        self.pending_purges.fetch_sub(waiting.purges.len() as u64, Ordering::Relaxed);
        Ok(true)
    }
}
