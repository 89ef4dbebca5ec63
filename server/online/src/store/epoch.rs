//! Full refreshes: a view is rebuilt beside what is served, in an epoch of its own, and put in place at once.
//!
//! ```text
//! begin_full    building epoch and progress recorded        writes go to the present epoch
//! Part::add     table rows → files of their own
//! finish_full   the files are taken in                      from here on writes go to both
//!               pushes that only the present epoch knows → the next one
//!               one WriteBatch: present = next, cursor and its table, no progress, purge of the old epoch
//! ```
//! A windowed view is rebuilt from events ([`super::tiles`]): from `begin_full` on writes go to both epochs, and `finish_full` folds what
//! was added into the tiles of the next one.
//!
//! Killed anywhere in between, the present epoch is what it was: the driver finds the progress and begins anew.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use rocksdb::{IngestExternalFileOptions, ReadOptions, WriteBatch};
use tidegate_schemas::failpoint::{Failpoint, reach};
use tidegate_schemas::time::Micros;

use super::{Inner, Load, Progress, Store, Written};
use crate::key;
use crate::layout::{CursorRecord, Loaded, MetaKey, Purge, View, ViewId, ViewState, encode_progress};
use crate::row::{Header, Origin};
use crate::tiles::TileLayouts;
use crate::{Error, Result};

/// Pushes carried over under one set of locks.
const CARRIED_AT_ONCE: usize = 500;

impl Store {
    /// Begins a full refresh to a table version. One that is under way is dropped.
    ///
    /// Of a windowed view, what is pushed from here on counts in the next epoch too, and what was pushed before does not: the version
    /// to read must be chosen afterwards, so that the table has what it is to have of the latter and nothing of the former.
    ///
    /// # Errors
    /// An unknown view, a failing disk.
    pub fn begin_full(&self, view: ViewId, target_version: i64, now: Micros) -> Result<Load> {
        let layout = view.layout;
        let view = self.inner.view(view)?;
        let _gate = view.gate.write();
        self.inner.still_there(&view)?;
        let mut state = view.state.read().clone();
        state.check_layout(layout)?;
        let mut batch = WriteBatch::default();
        let dropped = self.inner.drop_building(&view, &mut state, &mut batch)?;
        let epoch = state.record.next_epoch;
        let progress =
            Progress { target_version, full: true, position: 0, rows_read: 0, rows_written: 0, started_at: now };
        state.record.building = Some(epoch);
        state.record.next_epoch += 1;
        state.progress = Some(progress);
        if let Some(tiles) = &mut state.tiles {
            tiles.building = Some(layout);
            batch.put(MetaKey::Tiles(view.id).encode(), tiles.encode());
            state.loaded = Loaded::Whole;
        }
        batch.put(MetaKey::View(view.id).encode(), state.record.encode());
        batch.put(MetaKey::Progress(view.id).encode(), encode_progress(&progress));
        self.inner.commit_metadata(batch)?;
        *view.state.write() = state;
        dropped.into_iter().for_each(|purge| self.purger.add(purge, None));
        Load::new(&self.inner, &view, layout, epoch)
    }

    /// Puts the refreshed epoch in place: from here on lookups read it, and the cursor is at `version`.
    ///
    /// Pushes that the table does not have yet are carried over first. Says how many rows the table gave, and how many of those
    /// added gave way to others.
    ///
    /// # Errors
    /// [`Error::NoRefresh`] when it was dropped meanwhile, a failing disk, no room on it.
    pub fn finish_full(&self, mut load: Load, version: i64, now: Micros) -> Result<Written> {
        let view = load.view().clone();
        let (added, waiting) = (load.rows(), load.waiting());
        let (rows, carried) = match view.is_windowed() {
            true => {
                self.inner.fold_in(&mut load)?;
                // Pushes came by themselves, from the beginning on.
                (added, Carried { found: 0, pushes_before: load.pushes_before })
            }
            false => {
                let (files, rows) = load.finish()?;
                reach(Failpoint::BeforeTakeIn);
                let pushes_before = self.take_in(&load, files)?;
                reach(Failpoint::AfterTakeIn);
                (rows, Carried { found: self.inner.carry_over(&load)?, pushes_before })
            }
        };
        let _gate = view.gate.write();
        self.inner.still_there(&view)?;
        let mut state = view.state.read().clone();
        state.check_layout(load.layout())?;
        let building = load.is_of(&state)?;
        let mut batch = WriteBatch::default();
        let purge = drop_epoch(&view, state.record.epoch, &mut batch);
        self.inner.drop_waiting(view.id, state.record.epoch, &mut batch)?;
        let cursor = CursorRecord { version, materialized_at: now, layout: load.layout() };
        state.record.epoch = building;
        state.record.building = None;
        state.loaded = Loaded::Nothing;
        if let Some(tiles) = &mut state.tiles {
            *tiles = TileLayouts { present: load.layout(), building: None };
            batch.put(MetaKey::Tiles(view.id).encode(), tiles.encode());
        }
        state.cursor = Some(cursor);
        state.progress = None;
        // Nothing was pushed that lookups still see: the next refresh need not look for it.
        let none_pushed = carried.found == 0 && view.pushes.load(Ordering::Acquire) == carried.pushes_before;
        if none_pushed {
            batch.delete(MetaKey::Pushed(view.id).encode());
        }
        batch.put(MetaKey::View(view.id).encode(), state.record.encode());
        batch.put(MetaKey::Cursor(view.id).encode(), cursor.encode());
        load.note_table(&mut batch);
        batch.delete(MetaKey::Progress(view.id).encode());
        reach(Failpoint::BeforeFlip);
        self.inner.commit_metadata(batch)?;
        // A reader that sees the new mark must also see a generation no lower, hence one lock for both.
        let mut present = view.state.write();
        state.flipped_at = self.inner.generation.fetch_add(1, Ordering::AcqRel) + 1;
        *present = state;
        drop(present);
        if none_pushed {
            view.has_pushed.store(false, Ordering::Release);
        }
        // How many tiles the old epoch had is not known.
        self.purger.add(purge, Some(rows).filter(|_| !view.is_windowed()));
        // What the load set to wait in this epoch counts from now on.
        self.inner.waiting.until(Micros::MIN);
        Ok(Written { written: rows, kept: added - rows, waiting })
    }

    /// Makes a load's files the database's, and lets writes go to its epoch too. Gives how many pushes had come by then, all of them
    /// whole: none is under way.
    fn take_in(&self, load: &Load, files: Vec<PathBuf>) -> Result<u64> {
        let view = load.view();
        let _gate = view.gate.write();
        self.inner.still_there(view)?;
        load.is_of(&view.state.read())?;
        if !files.is_empty() {
            let mut options = IngestExternalFileOptions::default();
            options.set_move_files(true);
            let taken = self.inner.db.ingest_external_file_cf_opts(self.inner.rows()?, &options, files);
            taken.map_err(Error::store("taking in a load's files"))?;
        }
        view.state.write().loaded = Loaded::Whole;
        Ok(view.pushes.load(Ordering::Acquire))
    }

    /// Drops a full refresh that is under way; nothing that is served changes. `false` where there was none.
    ///
    /// # Errors
    /// An unknown view, a failing disk.
    #[cfg(test)]
    pub(crate) fn cancel_full(&self, view: ViewId) -> Result<bool> {
        let view = self.inner.view(view)?;
        let _gate = view.gate.write();
        self.inner.still_there(&view)?;
        let mut state = view.state.read().clone();
        if state.record.building.is_none() {
            return Ok(false);
        }
        let mut batch = WriteBatch::default();
        let dropped = self.inner.drop_building(&view, &mut state, &mut batch)?;
        state.progress = None;
        batch.put(MetaKey::View(view.id).encode(), state.record.encode());
        batch.delete(MetaKey::Progress(view.id).encode());
        self.inner.commit_metadata(batch)?;
        *view.state.write() = state;
        dropped.into_iter().for_each(|purge| self.purger.add(purge, None));
        Ok(true)
    }
}

/// What was found of pushed rows.
struct Carried {
    found: u64,
    /// Pushes that had come before writes went to both epochs.
    pushes_before: u64,
}

/// Notes an epoch for deletion.
fn drop_epoch(view: &View, epoch: u32, batch: &mut WriteBatch) -> Purge {
    let purge = Purge { view: view.id, epoch, entity_type: view.entity_type };
    batch.put(purge.key().encode(), purge.encode());
    purge
}

impl Inner {
    /// Gives up the epoch being built, and says what is to be deleted of it.
    pub(super) fn drop_building(
        &self,
        view: &View,
        state: &mut ViewState,
        batch: &mut WriteBatch,
    ) -> Result<Option<Purge>> {
        let Some(epoch) = state.record.building.take() else { return Ok(None) };
        let loaded = std::mem::replace(&mut state.loaded, Loaded::Nothing);
        if let Some(tiles) = &mut state.tiles {
            tiles.building = None;
            batch.put(MetaKey::Tiles(view.id).encode(), tiles.encode());
        }
        self.drop_waiting(view.id, epoch, batch)?;
        Ok((loaded != Loaded::Nothing).then(|| drop_epoch(view, epoch, batch)))
    }

    /// Brings pushes of the present epoch that supersede what the next one has into it, and counts those it found.
    ///
    /// Strictly: where the table has a row of the same times, the table's row is the pushed one or a correction of it.
    fn carry_over(&self, load: &Load) -> Result<u64> {
        let view = load.view();
        let _gate = view.gate.read();
        self.still_there(view)?;
        let (present, next) = {
            let state = view.state.read();
            (state.record.epoch, load.is_of(&state)?)
        };
        // First what waits: what is released meanwhile is among the rows by the time that these are looked at.
        self.carry_waiting(view, present, next)?;
        let mut carried = 0;
        if !view.has_pushed.load(Ordering::Acquire) {
            return Ok(carried);
        }
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
                carried += 1;
            }
            if pushed.len() >= CARRIED_AT_ONCE {
                self.carry(view, present, next, &std::mem::take(&mut pushed))?;
            }
            iterator.next();
        }
        iterator.status().map_err(Error::store("reading pushed rows"))?;
        if !pushed.is_empty() {
            self.carry(view, present, next, &pushed)?;
        }
        Ok(carried)
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
        if !batch.is_empty() {
            // Not synced: the flip is, and the log keeps their order.
            self.put(batch, false, "carrying pushed rows over")?;
        }
        reach(Failpoint::MidCarryOver);
        Ok(())
    }
}
