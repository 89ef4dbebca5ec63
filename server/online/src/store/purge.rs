//! Deleting what replaced epochs and removed views left behind, in the background, and laying rows of one entity side by side.
//!
//! Entity first means that an epoch's rows are scattered over all entities of its type, so a purge walks that type's keys once and
//! deletes what it finds. Its record in the metadata goes last: a purge that was interrupted starts again at the next opening. Ids
//! and epochs are never used twice, so nothing that is written meanwhile can be what a purge is after.
//!
//! Views are refreshed one after the other, so that an entity's rows end up in as many files, each of which a lookup has to look
//! into. Some quiet after purges, the files of their entity types are merged into one level.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rocksdb::{CompactOptions, ReadOptions, WriteBatch};

use super::{Inner, Store};
use crate::key;
use crate::layout::{ALL_EPOCHS, Purge};
use crate::{Error, Result};

/// Deletions gathered into one write.
const BATCH: usize = 1_000;

/// How long no purge must have come before files are merged: views are often refreshed all at once.
const QUIET: Duration = Duration::from_secs(2);

/// The thread that deletes.
pub(super) struct Purger {
    queue: Mutex<Option<Sender<Purge>>>,
    inner: Arc<Inner>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Purger {
    /// Starts with what an earlier process left undone.
    pub(super) fn start(inner: &Arc<Inner>, undone: Vec<Purge>) -> Result<Self> {
        let (queue, purges) = channel::<Purge>();
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (inner.clone(), stop.clone());
        let work = move || {
            let mut touched = BTreeSet::new();
            loop {
                let wait = if touched.is_empty() { Duration::MAX } else { QUIET };
                match purges.recv_timeout(wait) {
                    Ok(purge) => {
                        if let Err(error) = shared.purge(purge, &stopped) {
                            tracing::warn!(view = purge.view, %error, "rows of a replaced epoch stay until the next start");
                        }
                        touched.insert(purge.entity_type);
                        shared.pending_purges.fetch_sub(1, Ordering::Relaxed);
                    }
                    Err(RecvTimeoutError::Timeout) => {
                        std::mem::take(&mut touched)
                            .into_iter()
                            .for_each(|entity_type| shared.merge_files(entity_type));
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let spawned = std::thread::Builder::new().name("online-purge".to_owned()).spawn(work);
        let thread = spawned.map_err(|source| Error::Folder { path: inner.path.clone(), source })?;
        let purger = Self { queue: Mutex::new(Some(queue)), inner: inner.clone(), stop, thread: Some(thread) };
        undone.into_iter().for_each(|purge| purger.add(purge));
        Ok(purger)
    }

    /// Queues rows for deletion. They are never read again, so there is no hurry.
    pub(super) fn add(&self, purge: Purge) {
        self.inner.pending_purges.fetch_add(1, Ordering::Relaxed);
        let sent = self.queue.lock().as_ref().is_some_and(|queue| queue.send(purge).is_ok());
        if !sent {
            self.inner.pending_purges.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Purger {
    /// Stops at the next row; the rest is done after the next opening. Waiting for the thread is what lets the folder be opened again
    /// as soon as the store is dropped.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        *self.queue.lock() = None;
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
    /// Merges the files that hold entities of a type. What fails is RocksDB's to report when it is read.
    fn merge_files(&self, entity_type: u32) {
        let Ok(rows) = self.rows() else { return };
        let start = key::entity_type_prefix(entity_type);
        let end = key::entity_type_prefix(entity_type.saturating_add(1));
        let mut options = CompactOptions::default();
        // Those that RocksDB starts by itself go on beside it.
        options.set_exclusive_manual_compaction(false);
        self.db.compact_range_cf_opt(rows, Some(start), Some(end), &options);
    }

    /// Deletes the rows of a purge, then its record. Leaves the record when told to stop.
    fn purge(&self, purge: Purge, stop: &AtomicBool) -> Result<()> {
        let rows = self.rows()?;
        let prefix = key::entity_type_prefix(purge.entity_type);
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.fill_cache(false);
        let mut iterator = self.db.raw_iterator_cf_opt(rows, options);
        iterator.seek(prefix);
        let mut batch = WriteBatch::default();
        while let Some(found) = iterator.key().filter(|found| found.starts_with(&prefix)) {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let (_, view, epoch) = key::split(found)?;
            if view == purge.view && (purge.epoch == ALL_EPOCHS || epoch == purge.epoch) {
                batch.delete_cf(rows, found);
            }
            if batch.len() >= BATCH {
                self.db.write(std::mem::take(&mut batch)).map_err(Error::store("deleting old rows"))?;
            }
            iterator.next();
        }
        iterator.status().map_err(Error::store("reading old rows"))?;
        batch.delete(purge.key().encode());
        self.db.write(batch).map_err(Error::store("deleting old rows"))
    }
}
