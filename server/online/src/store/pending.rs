//! Rows that happen later than now: they wait here, and are stored when they are due, never earlier.
//!
//! ```text
//! key in `pending`                                                            value
//! view u32 BE | epoch u32 BE | event time i64 | entity | 0x00                 the row, as it will be stored
//! view u32 BE | epoch u32 BE | event time i64 | entity | 0x01 | created i64   the same, of a row with a created time
//! ```
//! In a windowed view every event counts, also one of many that are alike: there the key ends with where the row came from (u8, 1: a
//! push), the number of the store's last write before it (u64 BE) and its place in its own (u32 BE).
//!
//! Times are big-endian with the sign flipped, so the earliest of an epoch comes first. A row of the same key and times takes the
//! place of the one that waits, as it would of one that is stored: a replay changes nothing.
//!
//! Rows wait in each epoch that a write goes to. A full refresh puts the table's own into the epoch it builds, and carries over those
//! that were pushed. [`Store::release_due`] writes what is due and forgets that it waited, in one atomic write.

use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use rocksdb::{ReadOptions, WriteBatch};
use tidegate_schemas::time::Micros;

use super::write::{Epochs, Part};
use super::{Inner, Rows, Store, scan};
use crate::key;
use crate::layout::{Layout, Loaded, View, ViewId};
use crate::merge::Times;
use crate::row::{Header, Origin};
use crate::{Error, Result};

/// Rows released under one set of locks.
const RELEASED_AT_ONCE: usize = 512;

/// Bytes before the entity.
const HEAD: usize = 16;

/// What is known of the waiting rows without looking.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// No row waits for an earlier time than this.
    earliest: AtomicI64,
    /// One release at a time.
    releasing: Mutex<()>,
}

impl Waiting {
    /// Where nothing is known yet.
    pub(super) fn unknown() -> Self {
        Self { earliest: AtomicI64::new(Micros::MIN), releasing: Mutex::new(()) }
    }

    /// Nothing is released until what this gives is dropped.
    pub(super) fn stand_still(&self) -> parking_lot::MutexGuard<'_, ()> {
        self.releasing.lock()
    }

    /// Rows wait until then. To be called after they were written, so that a release that has not seen them learns of them.
    pub(super) fn until(&self, event: Micros) {
        self.earliest.fetch_min(event, Ordering::AcqRel);
    }
}

/// What a release did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Released {
    /// Rows that were due and wait no more.
    pub rows: u64,
    /// The event time that the next rows wait for; `None` where none wait.
    pub next: Option<Micros>,
}

/// A waiting row, as found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    key: Vec<u8>,
    entity: Vec<u8>,
    row: Vec<u8>,
    header: Header,
}

/// Writes the key of a waiting row.
pub(super) fn encode_key(view: u32, epoch: u32, entity: &[u8], (event, created): Times, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&prefix(view, epoch));
    out.extend_from_slice(&ordered(event));
    out.extend_from_slice(entity);
    match created {
        None => out.push(0),
        Some(created) => {
            out.push(1);
            out.extend_from_slice(&ordered(created));
        }
    }
}

/// What tells events of a windowed view apart that are alike. Writes of one origin to one entity follow one another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    origin: u8,
    write: u64,
}

impl Place {
    /// Ends the key of a row of the write.
    pub(super) fn put(self, row: usize, key: &mut Vec<u8>) {
        key.push(self.origin);
        key.extend_from_slice(&self.write.to_be_bytes());
        key.extend_from_slice(&u32::try_from(row).unwrap_or(u32::MAX).to_be_bytes());
    }
}

/// What the keys of one epoch begin with.
fn prefix(view: u32, epoch: u32) -> [u8; 8] {
    key::suffix(view, epoch)
}

fn ordered(time: Micros) -> [u8; 8] {
    (time.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// The entity and the view in a key.
pub(super) fn entity_of(key: &[u8]) -> Result<(&[u8], u32)> {
    let (_, entity) = split(key)?;
    let view = key.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    Ok((entity, view))
}

/// The event time and the entity in a key.
fn split(key: &[u8]) -> Result<(Micros, &[u8])> {
    let short = || Error::corrupt(format!("a waiting row's key has {} bytes", key.len()));
    let event: &[u8; 8] = key.get(8..HEAD).and_then(<[u8]>::first_chunk).ok_or_else(short)?;
    let rest = key.get(HEAD..).ok_or_else(short)?;
    let entity = key::entity_length(rest).and_then(|length| rest.get(..length)).ok_or_else(short)?;
    Ok(((u64::from_be_bytes(*event) ^ (1 << 63)).cast_signed(), entity))
}

impl Store {
    /// Stores the rows that have waited until now. Lookups see them when it returns. From here the store knows the time by which
    /// tiles are behind all windows: it is to be called every so often, whether something waits or not.
    ///
    /// # Errors
    /// Damaged rows, a failing disk, no room on it. What was released stays so.
    pub fn release_due(&self, now: Micros) -> Result<Released> {
        let inner = &self.inner;
        let waiting = &inner.waiting;
        let _one = waiting.releasing.lock();
        inner.tell(now);
        let known = waiting.earliest.load(Ordering::Acquire);
        if known > now {
            return Ok(Released { rows: 0, next: (known != Micros::MAX).then_some(known) });
        }
        inner.disk.has_room()?;
        waiting.earliest.store(Micros::MAX, Ordering::Release);
        let released = inner.release_all(now);
        if released.is_err() {
            // Looks again, whatever was not seen.
            waiting.until(Micros::MIN);
        }
        let next = waiting.earliest.load(Ordering::Acquire);
        Ok(Released { rows: released?, next: (next != Micros::MAX).then_some(next) })
    }

    /// Whether rows of the view's table wait that lookups of its present epoch are to see once they are due.
    ///
    /// # Errors
    /// An unknown view, damaged rows, a failing disk.
    pub fn table_rows_wait(&self, view: ViewId) -> Result<bool> {
        let inner = &self.inner;
        let view = inner.view(view)?;
        let prefix = prefix(view.id, view.mark().epoch);
        let mut options = ReadOptions::default();
        options.set_iterate_range(rocksdb::PrefixRange(prefix));
        let mut iterator = inner.db.raw_iterator_cf_opt(inner.pending()?, options);
        iterator.seek(prefix);
        while let Some((_, row)) = iterator.item() {
            if Header::read(row)?.origin != Origin::Push {
                return Ok(true);
            }
            iterator.next();
        }
        iterator.status().map_err(Error::store("reading waiting rows"))?;
        Ok(false)
    }

    /// The number of rows that wait for their time, in the epochs that are served.
    #[cfg(test)]
    pub(crate) fn waiting_rows(&self) -> Result<u64> {
        let mut rows = 0;
        let views: Vec<_> = self.inner.views.read().values().cloned().collect();
        for view in views {
            let epoch = view.mark().epoch;
            rows += self.inner.waiting_of(&view, epoch, Micros::MAX, usize::MAX)?.len() as u64;
        }
        Ok(rows)
    }
}

impl Inner {
    fn release_all(&self, now: Micros) -> Result<u64> {
        let views: Vec<_> = self.views.read().values().cloned().collect();
        let mut rows = 0;
        for view in views {
            for epoch in released_epochs(&view) {
                while let Some(released) = self.release_some(&view, epoch, now)? {
                    rows += released;
                }
            }
        }
        Ok(rows)
    }

    /// Releases some rows of an epoch; `None` when no more are due.
    fn release_some(&self, view: &View, epoch: u32, now: Micros) -> Result<Option<u64>> {
        let mut due = self.waiting_of(view, epoch, now, RELEASED_AT_ONCE)?;
        let Some(first) = due.first().map(|entry| entry.header.origin) else { return Ok(None) };
        // Rows of one origin in one write: what another write of the same batch puts can't be compared with.
        due.retain(|entry| entry.header.origin == first);
        let layout = self.layout(view.state.read().record.layout)?;
        match self.release(view, &layout, epoch, &due, first) {
            // Removed meanwhile, with all that waited.
            Err(Error::UnknownView(_)) => Ok(None),
            outcome => outcome,
        }
    }

    /// Stores what is due; `None` when the epoch is no longer written to.
    fn release(&self, view: &View, layout: &Layout, epoch: u32, due: &[Entry], origin: Origin) -> Result<Option<u64>> {
        let found = due.iter().map(|entry| self.found(entry, layout)).collect::<Result<Vec<_>>>()?;
        let columns = scan::columns(&view.keys, &layout.incoming().features, &found)?;
        let rows = Rows {
            keys: &columns.keys,
            event: &columns.event,
            created: Some(&columns.created),
            features: &columns.features,
            origin,
        };
        let mut part = Part::new(view, layout, &rows, Micros::MAX)?;
        // A stored row of the same times was written when it was due: after the one that waited.
        part.yields = true;
        let _gate = view.gate.read();
        self.still_there(view)?;
        if !released_epochs(view).contains(&epoch) {
            return Ok(None);
        }
        let mut held = self.stripes.lock(due.iter().map(|entry| entry.entity.as_slice()));
        // Looked at again now that nobody writes these entities: one may have been erased or replaced.
        let there = self.db.batched_multi_get_cf(self.pending()?, due.iter().map(|entry| &entry.key), true);
        for (entry, there) in due.iter().zip(there) {
            let there = there.map_err(Error::store("reading waiting rows"))?;
            if there.is_none_or(|there| there.as_ref() != entry.row) {
                return Ok(Some(0));
            }
        }
        let mut batch = WriteBatch::default();
        part.stage(self, Epochs::only(epoch), &mut batch)?;
        for entry in due {
            batch.delete_cf(self.pending()?, &entry.key);
        }
        part.note_push(&mut batch);
        held.begin();
        // Not synced: what is lost of it waits again.
        let outcome = self.put(batch, false, "releasing rows");
        part.forget(self);
        outcome?;
        part.committed(self);
        Ok(Some(due.len() as u64))
    }

    /// What ends the keys of the rows of a write that is about to be made, under the stripes of its entities or by the only load of
    /// an epoch.
    pub(super) fn waiting_place(&self, origin: Origin) -> Place {
        Place { origin: u8::from(origin == Origin::Push), write: self.db.latest_sequence_number() }
    }

    fn found(&self, entry: &Entry, layout: &Layout) -> Result<scan::Found> {
        let fields = scan::fields(self, entry.header.layout, layout)?;
        Ok(scan::Found { entity: entry.entity.clone(), row: entry.row.clone(), header: entry.header, fields })
    }

    /// The first rows of an epoch that wait until `now` or earlier. Notes what the ones behind them wait for.
    fn waiting_of(&self, view: &View, epoch: u32, now: Micros, most: usize) -> Result<Vec<Entry>> {
        let prefix = prefix(view.id, epoch);
        let mut options = ReadOptions::default();
        options.set_iterate_range(rocksdb::PrefixRange(prefix));
        let mut iterator = self.db.raw_iterator_cf_opt(self.pending()?, options);
        iterator.seek(prefix);
        let mut found = Vec::new();
        while let Some((key, row)) = iterator.item() {
            let (event, entity) = split(key)?;
            if event > now || found.len() >= most {
                self.waiting.until(event);
                break;
            }
            found.push(Entry {
                key: key.to_vec(),
                entity: entity.to_vec(),
                row: row.to_vec(),
                header: Header::read(row)?,
            });
            iterator.next();
        }
        iterator.status().map_err(Error::store("reading waiting rows"))?;
        Ok(found)
    }

    /// Brings the pushed rows that wait in the present epoch into the next one, unless the table's row of the same key and times
    /// waits there.
    ///
    /// Not for windowed views, whose next epoch has its own from the beginning on.
    pub(super) fn carry_waiting(&self, view: &View, present: u32, next: u32) -> Result<()> {
        let prefix = prefix(view.id, present);
        let mut options = ReadOptions::default();
        options.set_iterate_range(rocksdb::PrefixRange(prefix));
        let mut iterator = self.db.raw_iterator_cf_opt(self.pending()?, options);
        iterator.seek(prefix);
        let (mut batch, mut carried) = (WriteBatch::default(), Vec::new());
        while let Some((key, row)) = iterator.item() {
            if Header::read(row)?.origin == Origin::Push {
                carried.clear();
                carried.extend_from_slice(&self::prefix(view.id, next));
                carried.extend_from_slice(&key[8..]);
                let (_, entity) = split(key)?;
                let _held = self.stripes.lock(std::iter::once(entity));
                let there =
                    self.db.get_pinned_cf(self.pending()?, &carried).map_err(Error::store("reading waiting rows"))?;
                if there.is_none() {
                    batch.put_cf(self.pending()?, &carried, row);
                    self.put(std::mem::take(&mut batch), false, "carrying waiting rows over")?;
                }
            }
            iterator.next();
        }
        iterator.status().map_err(Error::store("reading waiting rows"))
    }

    /// Deletes what waits in an epoch that is given up or replaced.
    pub(super) fn drop_waiting(&self, view: u32, epoch: u32, batch: &mut WriteBatch) -> Result<()> {
        let (from, to) = (prefix(view, epoch), prefix(view, epoch.saturating_add(1)));
        batch.delete_range_cf(self.pending()?, from, to);
        Ok(())
    }

    /// The same for all epochs of a view.
    pub(super) fn drop_all_waiting(&self, view: u32, batch: &mut WriteBatch) -> Result<()> {
        let (from, to) = (prefix(view, 0), prefix(view.saturating_add(1), 0));
        batch.delete_range_cf(self.pending()?, from, to);
        Ok(())
    }
}

/// The epochs whose waiting rows are released: those that rows are written to. What waits in one that is being built waits on.
fn released_epochs(view: &View) -> Vec<u32> {
    let state = view.state.read();
    let building = state.record.building.filter(|_| state.loaded == Loaded::Whole);
    std::iter::once(state.record.epoch).chain(building).collect()
}
