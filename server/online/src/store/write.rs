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

use std::sync::atomic::Ordering::{AcqRel, Acquire};

use arrow_array::Array;
use rocksdb::WriteBatch;

use super::{Commit, Inner, Rows, Store, Written};
use crate::key::{self, KeyEncoder};
use crate::layout::{CursorRecord, Loaded, MetaKey, View, ViewId, ViewState, encode_progress};
use crate::merge::{self, Times, accepts};
use crate::row::{Header, Origin, RowEncoder};
use crate::{Error, Result};

impl Store {
    /// Stores the observations that replace what is there, together with the commit, all or nothing. When it returns, lookups see
    /// them and they survive what the store's durability says.
    ///
    /// They go to the present epoch and, once a full refresh is about to replace it, to the next one too.
    ///
    /// # Errors
    /// Columns of wrong number, length or type, null keys or event times, values their type can't hold: nothing is written.
    /// An increment while a full refresh is under way. [`Error::NoRoom`], [`Error::DiskFull`].
    pub fn write(&self, view: ViewId, rows: Rows<'_>, commit: Commit) -> Result<Written> {
        let inner = &self.inner;
        let (view, layout) = (inner.view(view)?, inner.layout(view.layout)?);
        let encoder = RowEncoder::new(&layout.features, &layout.shape, rows.features)?;
        let encoded = Encoded::new(&view, &rows)?;
        inner.disk.has_room()?;
        let _gate = view.gate.read();
        let _commits = (commit != Commit::None).then(|| view.commits.lock());
        inner.still_there(&view)?;
        if commit != Commit::None {
            view.state.read().check_layout(layout.id)?;
        }
        let epochs = Epochs::of(&view, commit)?;
        let mut held = inner.stripes.lock(encoded.winners().map(|(_, entity)| entity));
        let mut batch = WriteBatch::default();
        let mut stored = Stored::default();
        for epoch in epochs.targets() {
            inner.put_rows(&view, epoch, layout.id, &encoded, &encoder, rows.origin, &mut batch, &mut stored)?;
        }
        let next = commit_records(&view, layout.id, commit, &mut batch);
        if batch.is_empty() {
            return Ok(encoded.written(&stored));
        }
        let pushed = rows.origin == Origin::Push;
        if pushed {
            view.pushes.fetch_add(1, AcqRel);
            if !view.has_pushed.load(Acquire) {
                batch.put(MetaKey::Pushed(view.id).encode(), []);
            }
        }
        held.begin();
        let outcome = inner.db.write_opt(batch, &inner.acknowledged()).map_err(Error::store("writing rows"));
        // Even a failed write may have reached the log: readers must look again.
        stored.winners.iter().for_each(|&nth| inner.cache.forget(encoded.entity(encoded.winners[nth])));
        outcome?;
        view.has_pushed.fetch_or(pushed, AcqRel);
        if let Some(next) = next {
            next(&mut view.state.write());
        }
        Ok(encoded.written(&stored))
    }
}

/// Keys and times of rows that come in.
pub(super) struct Incoming {
    entities: Vec<u8>,
    ends: Vec<usize>,
    times: Vec<Times>,
}

/// Rows of a write, and which are to be compared with the store.
struct Encoded {
    rows: Incoming,
    /// Rows, in key order, one for each key.
    winners: Vec<usize>,
}

/// Which winners were put, by their position.
#[derive(Default)]
struct Stored {
    winners: Vec<usize>,
}

/// Where a write goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Epochs {
    present: u32,
    next: Option<u32>,
}

impl Epochs {
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

impl Encoded {
    fn new(view: &View, rows: &Rows<'_>) -> Result<Self> {
        let rows = Incoming::new(view, rows)?;
        let winners = merge::winners(rows.len(), |row| rows.entity(row), |row| rows.times(row));
        Ok(Self { rows, winners })
    }

    fn entity(&self, row: usize) -> &[u8] {
        self.rows.entity(row)
    }

    fn winners(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.winners.iter().map(|&row| (row, self.entity(row)))
    }

    fn written(&self, stored: &Stored) -> Written {
        let mut winners = stored.winners.clone();
        winners.sort_unstable();
        winners.dedup();
        let written = winners.len() as u64;
        Written { written, kept: self.rows.len() as u64 - written }
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

impl Inner {
    /// Puts the winners that replace what an epoch has.
    #[expect(clippy::too_many_arguments, reason = "the parts of one write, named once above")]
    fn put_rows(
        &self,
        view: &View,
        epoch: u32,
        layout: u32,
        encoded: &Encoded,
        encoder: &RowEncoder<'_>,
        origin: Origin,
        batch: &mut WriteBatch,
        stored: &mut Stored,
    ) -> Result<()> {
        let rows = self.rows()?;
        let suffix = key::suffix(view.id, epoch);
        let keys: Vec<Vec<u8>> = encoded.winners().map(|(_, entity)| [entity, &suffix].concat()).collect();
        let present = self.db.batched_multi_get_cf(rows, &keys, true);
        let mut bytes = Vec::new();
        for (nth, present) in present.into_iter().enumerate() {
            let present = present.map_err(Error::store("reading rows to compare"))?;
            let row = encoded.winners[nth];
            let (event, created) = encoded.rows.times(row);
            let before = present.as_ref().map(|present| Header::read(present)).transpose()?;
            if !accepts((event, created), before.map(|before| before.times())) {
                continue;
            }
            bytes.clear();
            encoder.encode(&Header { layout, event, created, origin }, row, &mut bytes)?;
            stored.winners.push(nth);
            // A replay of what is there already costs no write.
            if present.is_none_or(|present| present.as_ref() != bytes) {
                batch.put_cf(rows, &keys[nth], &bytes);
            }
        }
        Ok(())
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
