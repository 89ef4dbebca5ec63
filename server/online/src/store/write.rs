//! The one way in. Rows, progress and cursor move in one atomic write.
//!
//! ```text
//! view's gate (shared)                    epochs stand still
//!   encode keys, keep one row per key     outside of all locks
//!   entities' stripes                     nobody else writes these entities
//!     read what is stored, compare, encode rows that replace
//!     one WriteBatch: rows of the present epoch, of the one being built, progress or cursor
//!     write; forget the entities in the cache; both between two counts that readers compare
//! ```
//! Of a windowed view every row is an event that counts, and tiles are put instead ([`super::tiles`]).
//!
//! Rows whose event time is still to come go to the waiting ones instead ([`super::pending`]). A [`Part`] is what a write does to one
//! view: a push has several, and what is due after waiting comes back through one.

use std::sync::atomic::Ordering::{AcqRel, Acquire};

use arrow_array::Array;
use rocksdb::WriteBatch;
use tidegate_schemas::failpoint::{Failpoint, reach};
use tidegate_schemas::time::Micros;

use super::tiles::EpochTiles;
use super::{Commit, Inner, Rows, Store, Written};
use crate::key::{self, KeyEncoder};
use crate::layout::{CursorRecord, Layout, Loaded, MetaKey, View, ViewId, ViewState, encode_progress};
use crate::merge::{self, Times, accepts};
use crate::row::{Header, Origin, RowEncoder};
use crate::{Error, Result};

impl Store {
    /// [`Self::write_at`] for rows that are all due.
    ///
    /// # Errors
    /// As [`Self::write_at`].
    pub fn write(&self, view: ViewId, rows: Rows<'_>, commit: Commit) -> Result<Written> {
        self.write_at(view, rows, commit, Micros::MAX)
    }

    /// Stores the observations that replace what is there, together with the commit, all or nothing. When it returns, lookups see
    /// them and they survive what the store's durability says. Rows with an event time after `now` wait until they are due.
    ///
    /// They go to the present epoch and, once a full refresh is about to replace it, to the next one too.
    ///
    /// # Errors
    /// Columns of wrong number, length or type, null keys or event times, values their type can't hold: nothing is written.
    /// An increment while a full refresh is under way. [`Error::NoRoom`], [`Error::DiskFull`].
    pub fn write_at(&self, view: ViewId, rows: Rows<'_>, commit: Commit, now: Micros) -> Result<Written> {
        let inner = &self.inner;
        let (view, layout) = (inner.view(view)?, inner.layout(view.layout)?);
        let mut part = Part::new(&view, &layout, &rows, now)?;
        inner.disk.has_room()?;
        let _gate = view.gate.read();
        let _commits = (commit != Commit::None).then(|| view.commits.lock());
        inner.still_there(&view)?;
        if commit != Commit::None {
            view.state.read().check_layout(layout.id)?;
        }
        part.leave_out(inner.refused(&view, &rows)?.as_deref());
        let epochs = Epochs::of(&view, commit)?;
        let mut held = inner.stripes.lock(part.entities());
        let mut batch = WriteBatch::default();
        part.stage(inner, epochs, &mut batch)?;
        let next = commit_records(&view, layout.id, commit, &mut batch);
        if batch.is_empty() {
            return Ok(part.written());
        }
        part.note_push(&mut batch);
        held.begin();
        reach(Failpoint::BeforeWriteBatch);
        let outcome = inner.put_acknowledged(batch, "writing rows");
        reach(Failpoint::AfterWriteBatch);
        // Even a failed write may have reached the log: readers must look again.
        part.forget(inner);
        outcome?;
        part.committed(inner);
        if let Some(next) = next {
            next(&mut view.state.write());
        }
        reach(Failpoint::BeforeWriteAck);
        Ok(part.written())
    }
}

/// What a write does to one view: encoded outside of all locks, staged under those of its entities.
pub(super) struct Part<'a> {
    pub(super) view: &'a View,
    layout: &'a Layout,
    encoder: RowEncoder<'a>,
    rows: Incoming,
    /// Rows to compare with the store, in key order, one for each key; of a windowed view all that are due.
    winners: Vec<usize>,
    /// Rows that are not due yet.
    waiting: Vec<usize>,
    origin: Origin,
    /// Whether a stored row of the same times stays: it came after this one.
    pub(super) yields: bool,
    /// Which winners were put in any epoch, by their position.
    stored: Vec<usize>,
}

impl<'a> Part<'a> {
    /// Checks and encodes what can be before anything is locked. Rows with an event time after `now` will wait.
    pub(super) fn new(view: &'a View, layout: &'a Layout, rows: &Rows<'a>, now: Micros) -> Result<Self> {
        let columns = layout.incoming();
        let encoder = RowEncoder::new(&columns.features, &columns.shape, rows.features)?;
        let incoming = Incoming::new(view, rows)?;
        let (due, waiting): (Vec<usize>, Vec<usize>) =
            (0..incoming.len()).partition(|&row| incoming.times(row).0 <= now);
        let winners = match layout.tiles {
            Some(_) => merge::by_key(due, |row| incoming.entity(row)),
            None => merge::winners(due, |row| incoming.entity(row), |row| incoming.times(row)),
        };
        let origin = rows.origin;
        let (yields, stored) = (false, Vec::new());
        Ok(Self { view, layout, encoder, rows: incoming, winners, waiting, origin, yields, stored })
    }

    /// Takes out what is refused: of a key all rows are whose newest is.
    pub(super) fn leave_out(&mut self, refused: Option<&[bool]>) {
        if let Some(refused) = refused {
            self.winners.retain(|&row| !refused[row]);
            self.waiting.retain(|&row| !refused[row]);
        }
    }

    /// The entities whose stripes must be held.
    pub(super) fn entities(&self) -> impl Iterator<Item = &[u8]> {
        self.winners.iter().chain(&self.waiting).map(|&row| self.rows.entity(row))
    }

    /// The entity of any row.
    pub(super) fn entity(&self, row: usize) -> &[u8] {
        self.rows.entity(row)
    }

    /// Adds what replaces stored rows to the batch, and what has to wait.
    pub(super) fn stage(&mut self, inner: &Inner, epochs: Epochs, batch: &mut WriteBatch) -> Result<()> {
        for epoch in epochs.targets() {
            match self.layout.tiles {
                Some(_) => self.put_events(inner, epoch, batch)?,
                None => self.put_rows(inner, epoch, batch)?,
            }
            self.put_waiting(inner, epoch, batch)?;
        }
        Ok(())
    }

    /// Puts the winners that replace what an epoch has.
    fn put_rows(&mut self, inner: &Inner, epoch: u32, batch: &mut WriteBatch) -> Result<()> {
        let family = inner.rows()?;
        let keys = Keys::new(self.winners.iter().map(|&row| self.rows.entity(row)), &key::suffix(self.view.id, epoch));
        let present = inner.db.batched_multi_get_cf(family, keys.iter(), true);
        let mut bytes = Vec::new();
        for (nth, present) in present.into_iter().enumerate() {
            let present = present.map_err(Error::store("reading rows to compare"))?;
            let row = self.winners[nth];
            let before = present.as_ref().map(|present| Header::read(present)).transpose()?;
            let (times, before) = (self.rows.times(row), before.map(|before| before.times()));
            if !accepts(times, before) || self.yields && before == Some(times) {
                continue;
            }
            bytes.clear();
            self.encoder.encode(&self.header(row), row, &mut bytes)?;
            self.stored.push(nth);
            // A replay of what is there already costs no write.
            if present.is_none_or(|present| present.as_ref() != bytes) {
                batch.put_cf(family, keys.get(nth), &bytes);
                reach(Failpoint::MidBatch);
            }
        }
        Ok(())
    }

    /// Folds the events into the tiles that an epoch has.
    fn put_events(&mut self, inner: &Inner, epoch: u32, batch: &mut WriteBatch) -> Result<()> {
        let events = inner.events_for(self.view, epoch, self.layout)?;
        let mut tiles = EpochTiles::new(self.view.id, epoch, events);
        let mut bytes = Vec::new();
        for &row in &self.winners {
            bytes.clear();
            self.encoder.encode(&self.header(row), row, &mut bytes)?;
            tiles.take(self.rows.entity(row), &bytes)?;
        }
        tiles.stage(inner, self.origin == Origin::Push, false, batch)?;
        self.stored.extend(0..self.winners.len());
        Ok(())
    }

    fn put_waiting(&self, inner: &Inner, epoch: u32, batch: &mut WriteBatch) -> Result<()> {
        let (mut key, mut bytes) = (Vec::new(), Vec::new());
        let place = self.layout.tiles.is_some().then(|| inner.waiting_place(self.origin));
        for &row in &self.waiting {
            let header = self.header(row);
            super::pending::encode_key(self.view.id, epoch, self.rows.entity(row), header.times(), &mut key);
            if let Some(place) = place {
                place.put(row, &mut key);
            }
            bytes.clear();
            self.encoder.encode(&header, row, &mut bytes)?;
            batch.put_cf(inner.pending()?, &key, &bytes);
        }
        Ok(())
    }

    fn header(&self, row: usize) -> Header {
        let (event, created) = self.rows.times(row);
        Header { layout: self.layout.id, event, created, origin: self.origin }
    }

    /// Notes that the view has pushed rows, and of a windowed view that its tiles have changed. To be called with everything staged, before the batch is written.
    pub(super) fn note_push(&self, batch: &mut WriteBatch) {
        if self.origin != Origin::Push && self.layout.tiles.is_none() {
            return;
        }
        self.view.pushes.fetch_add(1, AcqRel);
        if self.origin == Origin::Push && !self.view.has_pushed.load(Acquire) {
            batch.put(MetaKey::Pushed(self.view.id).encode(), []);
        }
    }

    /// Drops the entities written from the cache. To be called once the batch is written, under the same stripes.
    pub(super) fn forget(&self, inner: &Inner) {
        self.stored.iter().for_each(|&nth| inner.cache.forget(self.rows.entity(self.winners[nth])));
    }

    /// Brings what is in memory in line with a batch that was written.
    pub(super) fn committed(&self, inner: &Inner) {
        self.view.has_pushed.fetch_or(self.origin == Origin::Push, AcqRel);
        if let Some(first) = self.waiting.iter().map(|&row| self.rows.times(row).0).min() {
            inner.waiting.until(first);
        }
    }

    /// Rows of the write that are stored now.
    pub(super) fn stored_rows(&self) -> impl Iterator<Item = usize> {
        self.stored.iter().map(|&nth| self.winners[nth])
    }

    /// How many rows wait.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    pub(super) fn written(&self) -> Written {
        let mut stored = self.stored.clone();
        stored.sort_unstable();
        stored.dedup();
        let (written, waiting) = (stored.len() as u64, self.waiting());
        Written { written, kept: self.rows.len() as u64 - written - waiting, waiting }
    }
}

/// Keys end to end: one allocation for all of them.
#[derive(Debug, Default)]
pub(super) struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Keys {
    /// The given heads, each followed by the same tail.
    pub(super) fn new<'k>(heads: impl Iterator<Item = &'k [u8]>, tail: &[u8]) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for head in heads {
            bytes.extend_from_slice(head);
            bytes.extend_from_slice(tail);
            ends.push(bytes.len());
        }
        Self { bytes, ends }
    }

    /// The same head, followed by each tail.
    pub(super) fn of_parts<'k>(head: &[u8], tails: impl Iterator<Item = &'k [u8]>) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for tail in tails {
            bytes.extend_from_slice(head);
            bytes.extend_from_slice(tail);
            ends.push(bytes.len());
        }
        Self { bytes, ends }
    }

    /// Adds a key of these parts.
    pub(super) fn push(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.ends.push(self.bytes.len());
    }

    pub(super) fn get(&self, nth: usize) -> &[u8] {
        let start = if nth == 0 { 0 } else { self.ends[nth - 1] };
        &self.bytes[start..self.ends[nth]]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|nth| self.get(nth))
    }
}

/// Keys and times of rows that come in.
pub(super) struct Incoming {
    entities: Vec<u8>,
    ends: Vec<usize>,
    times: Vec<Times>,
}

/// Where a write goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Epochs {
    present: u32,
    next: Option<u32>,
}

impl Epochs {
    /// One epoch and no other.
    pub(super) fn only(epoch: u32) -> Self {
        Self { present: epoch, next: None }
    }

    /// The epochs that a view's rows go to now. To be asked under the view's gate.
    pub(super) fn of(view: &View, commit: Commit) -> Result<Self> {
        let state = view.state.read();
        let building = state.record.building;
        match commit {
            Commit::Progress(_) | Commit::Cursor { .. } if building.is_some() => Err(Error::Shape(format!(
                "view `{}` has a full refresh under way; finish or cancel it before materializing increments",
                view.name
            ))),
            Commit::None | Commit::Progress(_) | Commit::Cursor { .. } => {
                Ok(Self { present: state.record.epoch, next: building.filter(|_| state.loaded == Loaded::Whole) })
            }
        }
    }

    pub(super) fn targets(self) -> impl Iterator<Item = u32> {
        std::iter::once(self.present).chain(self.next)
    }
}

impl Incoming {
    pub(super) fn new(view: &View, rows: &Rows<'_>) -> Result<Self> {
        let count = rows.event.len();
        check_lengths(rows, count)?;
        if let Some(row) = (0..count).find(|&row| rows.event.is_null(row)) {
            return Err(Error::BadValue {
                name: "event time".to_owned(),
                row,
                why: "null; a row without an event time is no observation, leave it out".to_owned(),
            });
        }
        let keys = KeyEncoder::new(&view.keys, rows.keys)?;
        let (mut entities, mut ends) = (Vec::with_capacity(count * 24), Vec::with_capacity(count));
        for row in 0..count {
            keys.encode(view.entity_type, row, &mut entities);
            ends.push(entities.len());
        }
        let created = |row| rows.created.filter(|created| created.is_valid(row)).map(|created| created.value(row));
        let times = (0..count).map(|row| (rows.event.value(row), created(row))).collect();
        Ok(Self { entities, ends, times })
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    #[inline]
    pub(super) fn entity(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.entities[start..self.ends[row]]
    }

    #[inline]
    pub(super) fn times(&self, row: usize) -> Times {
        self.times[row]
    }
}

fn check_lengths(rows: &Rows<'_>, count: usize) -> Result<()> {
    let created = rows.created.map(|created| created as &dyn Array);
    let columns = rows.keys.iter().chain(rows.features).map(|column| column.as_ref()).chain(created);
    match columns.map(Array::len).find(|&length| length != count) {
        Some(length) => Err(Error::Shape(format!("a column has {length} rows, the event time has {count}"))),
        None => Ok(()),
    }
}

/// What a commit does to a view's state in memory once it is in the store.
pub(super) type StateChange = Box<dyn FnOnce(&mut ViewState)>;

/// Adds a commit's records to the batch, and says what becomes of the view's state once it is written.
pub(super) fn commit_records(view: &View, layout: u32, commit: Commit, batch: &mut WriteBatch) -> Option<StateChange> {
    match commit {
        Commit::None => None,
        Commit::Progress(progress) => {
            batch.put(MetaKey::Progress(view.id).encode(), encode_progress(&progress));
            Some(Box::new(move |state| state.progress = Some(progress)))
        }
        Commit::Cursor { version, now } => {
            let before = view.state.read().cursor;
            let cursor = CursorRecord {
                version: before.map_or(version, |before| before.version.max(version)),
                materialized_at: now,
                layout: before.map_or(layout, |before| before.layout),
            };
            batch.put(MetaKey::Cursor(view.id).encode(), cursor.encode());
            batch.delete(MetaKey::Progress(view.id).encode());
            Some(Box::new(move |state| {
                state.cursor = Some(cursor);
                state.progress = None;
            }))
        }
    }
}
