//! Full refreshes: a view is rebuilt beside what is served, in an epoch of its own, and put in place at once.
//!
//! ```text
//! begin_full    building epoch and progress recorded
//! write(full)   table rows → building        pushes meanwhile → present and building
//! finish_full   pushes that only the present epoch knows → building
//!               one WriteBatch: present = building, cursor, no progress, purge of the old epoch
//! ```
//! Killed anywhere in between, the present epoch is what it was and the building one is still there: the driver finds the progress
//! and goes on.

use std::sync::atomic::Ordering;

use rocksdb::{ReadOptions, WriteBatch};
use tidegate_schemas::time::Micros;

use super::{Inner, Progress, Store};
use crate::key;
use crate::layout::{CursorRecord, MetaKey, Purge, View, ViewId, encode_progress};
use crate::row::{Header, Origin};
use crate::{Error, Result};

/// Pushes carried over under one set of locks.
const CARRIED_AT_ONCE: usize = 500;

impl Store {
    /// Begins a full refresh to a table version, or goes on with one to the same version that was interrupted: its progress says
    /// where. One to another version is dropped.
    ///
    /// # Errors
    /// An unknown view, a failing disk.
    pub fn begin_full(&self, view: ViewId, target_version: i64, now: Micros) -> Result<Progress> {
        let layout = view.layout;
        let view = self.inner.view(view)?;
        let _gate = view.gate.write();
        self.inner.still_there(&view)?;
        let mut state = view.state.read().clone();
        state.check_layout(layout)?;
        let under_way = state.progress.filter(|progress| progress.full && progress.target_version == target_version);
        if let (Some(progress), Some(_)) = (under_way, state.record.building) {
            return Ok(progress);
        }
        let mut batch = WriteBatch::default();
        let dropped = state.record.building.map(|epoch| drop_epoch(&view, epoch, &mut batch));
        let progress =
            Progress { target_version, full: true, position: 0, rows_read: 0, rows_written: 0, started_at: now };
        state.record.building = Some(state.record.next_epoch);
        state.record.next_epoch += 1;
        state.progress = Some(progress);
        batch.put(MetaKey::View(view.id).encode(), state.record.encode());
        batch.put(MetaKey::Progress(view.id).encode(), encode_progress(&progress));
        self.inner.commit_metadata(batch)?;
        *view.state.write() = state;
        dropped.into_iter().for_each(|purge| self.purger.add(purge));
        Ok(progress)
    }

    /// Puts the refreshed epoch in place: from here on lookups read it, and the cursor is at `version`.
    ///
    /// Pushes that the table does not have yet are carried over first. May be called again after a crash.
    ///
    /// # Errors
    /// [`Error::NoRefresh`] when none is under way, a failing disk.
    pub fn finish_full(&self, view: ViewId, version: i64, now: Micros) -> Result<()> {
        let layout = view.layout;
        let view = self.inner.view(view)?;
        let carried_to = self.inner.carry_over(&view)?;
        let _gate = view.gate.write();
        self.inner.still_there(&view)?;
        let mut state = view.state.read().clone();
        state.check_layout(layout)?;
        // Another refresh may have begun since: its epoch has no pushes carried over yet.
        let building = state.record.building.take().filter(|&building| building == carried_to);
        let building = building.ok_or_else(|| Error::NoRefresh(view.name.clone()))?;
        let mut batch = WriteBatch::default();
        let purge = drop_epoch(&view, state.record.epoch, &mut batch);
        let cursor = CursorRecord { version, materialized_at: now, layout };
        state.record.epoch = building;
        state.cursor = Some(cursor);
        state.progress = None;
        batch.put(MetaKey::View(view.id).encode(), state.record.encode());
        batch.put(MetaKey::Cursor(view.id).encode(), cursor.encode());
        batch.delete(MetaKey::Progress(view.id).encode());
        self.inner.commit_metadata(batch)?;
        // A reader that sees the new mark must also see a generation no lower, hence one lock for both.
        let mut present = view.state.write();
        state.flipped_at = self.inner.generation.fetch_add(1, Ordering::AcqRel) + 1;
        *present = state;
        drop(present);
        self.purger.add(purge);
        Ok(())
    }

    /// Drops a full refresh that is under way; nothing that is served changes. `false` where there was none.
    ///
    /// # Errors
    /// An unknown view, a failing disk.
    pub fn cancel_full(&self, view: ViewId) -> Result<bool> {
        let view = self.inner.view(view)?;
        let _gate = view.gate.write();
        self.inner.still_there(&view)?;
        let mut state = view.state.read().clone();
        let Some(building) = state.record.building.take() else { return Ok(false) };
        let mut batch = WriteBatch::default();
        let purge = drop_epoch(&view, building, &mut batch);
        state.progress = None;
        batch.put(MetaKey::View(view.id).encode(), state.record.encode());
        batch.delete(MetaKey::Progress(view.id).encode());
        self.inner.commit_metadata(batch)?;
        *view.state.write() = state;
        self.purger.add(purge);
        Ok(true)
    }
}

/// Notes an epoch for deletion.
fn drop_epoch(view: &View, epoch: u32, batch: &mut WriteBatch) -> Purge {
    let purge = Purge { view: view.id, epoch, entity_type: view.entity_type };
    batch.put(purge.key().encode(), purge.encode());
    purge
}

impl Inner {
    /// Brings pushes of the present epoch that supersede what the building one has into it, and says which that is.
    ///
    /// Strictly: where the table has a row of the same times, the table's row is the pushed one or a correction of it.
    fn carry_over(&self, view: &View) -> Result<u32> {
        let _gate = view.gate.read();
        self.still_there(view)?;
        let (present, building) = {
            let state = view.state.read();
            let building = state.record.building.ok_or_else(|| Error::NoRefresh(view.name.clone()))?;
            (state.record.epoch, building)
        };
        let prefix = key::entity_type_prefix(view.entity_type);
        let suffix = key::suffix(view.id, present);
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.fill_cache(false);
        let mut iterator = self.db.raw_iterator_cf_opt(self.rows()?, options);
        iterator.seek(prefix);
        let mut pushed: Vec<Vec<u8>> = Vec::new();
        while let Some((found, row)) = iterator.item().filter(|(found, _)| found.starts_with(&prefix)) {
            if found.ends_with(&suffix) && Header::read(row)?.origin == Origin::Push {
                let (entity, _, _) = key::split(found)?;
                pushed.push(entity.to_vec());
            }
            if pushed.len() >= CARRIED_AT_ONCE {
                self.carry(view, present, building, &std::mem::take(&mut pushed))?;
            }
            iterator.next();
        }
        iterator.status().map_err(Error::store("reading pushed rows"))?;
        self.carry(view, present, building, &pushed)?;
        Ok(building)
    }

    fn carry(&self, view: &View, present: u32, building: u32, entities: &[Vec<u8>]) -> Result<()> {
        let rows = self.rows()?;
        let _held = self.stripes.lock(entities.iter().map(Vec::as_slice));
        let mut batch = WriteBatch::default();
        for entity in entities {
            // Read again: since the iterator passed, a push may have changed it, or the purged table row of a materialization.
            let key = |epoch| [entity.as_slice(), &key::suffix(view.id, epoch)].concat();
            let get = |epoch| self.db.get_pinned_cf(rows, key(epoch)).map_err(Error::store("reading pushed rows"));
            let Some(pushed) = get(present)? else { continue };
            let header = Header::read(&pushed)?;
            if header.origin != Origin::Push {
                continue;
            }
            let there = get(building)?.map(|there| Header::read(&there)).transpose()?;
            if there.is_none_or(|there| header.times() > there.times()) {
                batch.put_cf(rows, key(building), &pushed);
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        // Not synced: the flip is, and the log keeps their order.
        self.db.write(batch).map_err(Error::store("carrying pushed rows over"))
    }
}
