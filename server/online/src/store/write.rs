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

use arrow_array::Array;
use rocksdb::WriteBatch;

use super::{Commit, Inner, Progress, Rows, Store, Written};
use crate::key::{self, KeyEncoder};
use crate::layout::{CursorRecord, MetaKey, View, ViewId, ViewState, encode_progress};
use crate::merge::{self, Times, accepts};
use crate::row::{Header, Origin, RowEncoder};
use crate::{Error, Result};

impl Store {
    /// Stores the observations that replace what is there, together with the commit, all or nothing. When it returns, lookups see
    /// them and they survive what the store's durability says.
    ///
    /// Pushes and increments go to the present epoch and, while a full refresh runs, to the one being built. Rows of a
    /// [`Commit::Progress`] with `full` go to the one being built only.
    ///
    /// # Errors
    /// Columns of wrong number, length or type, null keys or event times, values their type can't hold: nothing is written.
    /// [`Error::NoRefresh`] for a full progress without [`Store::begin_full`]. [`Error::DiskFull`].
    pub fn write(&self, view: ViewId, rows: Rows<'_>, commit: Commit) -> Result<Written> {
        let inner = &self.inner;
        let (view, layout) = (inner.view(view)?, inner.layout(view.layout)?);
        let encoder = RowEncoder::new(&layout.features, &layout.shape, rows.features)?;
        let encoded = Encoded::new(&view, &rows)?;
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
        held.begin();
        let outcome = inner.db.write_opt(batch, &inner.acknowledged()).map_err(Error::store("writing rows"));
        // Even a failed write may have reached the log: readers must look again.
        stored.winners.iter().for_each(|&nth| inner.cache.forget(encoded.entity(encoded.winners[nth])));
        outcome?;
        if let Some(next) = next {
            next(&mut view.state.write());
        }
        Ok(encoded.written(&stored))
    }
}

/// Keys and times of a write, and which rows are to be compared with the store.
struct Encoded {
    entities: Vec<u8>,
    ends: Vec<usize>,
    times: Vec<Times>,
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
struct Epochs {
    present: Option<u32>,
    building: Option<u32>,
}

impl Epochs {
    fn of(view: &View, commit: Commit) -> Result<Self> {
        let state = view.state.read();
        let (present, building) = (Some(state.record.epoch), state.record.building);
        match commit {
            Commit::Progress(Progress { full: true, .. }) => match building {
                Some(_) => Ok(Self { present: None, building }),
                None => Err(Error::NoRefresh(view.name.clone())),
            },
            Commit::Progress(_) | Commit::Cursor { .. } if building.is_some() => Err(Error::Shape(format!(
                "view `{}` has a full refresh under way; finish or cancel it before materializing increments",
                view.name
            ))),
            Commit::None | Commit::Progress(_) | Commit::Cursor { .. } => Ok(Self { present, building }),
        }
    }

    fn targets(self) -> impl Iterator<Item = u32> {
        self.present.into_iter().chain(self.building)
    }
}

impl Encoded {
    fn new(view: &View, rows: &Rows<'_>) -> Result<Self> {
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
        let times: Vec<Times> = (0..count).map(|row| (rows.event.value(row), created(row))).collect();
        let entity = |row: usize| entity(&entities, &ends, row);
        let winners = merge::winners(count, entity, |row| times[row]);
        Ok(Self { entities, ends, times, winners })
    }

    fn entity(&self, row: usize) -> &[u8] {
        entity(&self.entities, &self.ends, row)
    }

    fn winners(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.winners.iter().map(|&row| (row, self.entity(row)))
    }

    fn written(&self, stored: &Stored) -> Written {
        let mut winners = stored.winners.clone();
        winners.sort_unstable();
        winners.dedup();
        let written = winners.len() as u64;
        Written { written, kept: self.ends.len() as u64 - written }
    }
}

#[inline]
fn entity<'e>(entities: &'e [u8], ends: &[usize], row: usize) -> &'e [u8] {
    let start = if row == 0 { 0 } else { ends[row - 1] };
    &entities[start..ends[row]]
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
            let (event, created) = encoded.times[row];
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
type StateChange = Box<dyn FnOnce(&mut ViewState)>;

/// Adds a commit's records to the batch, and says what becomes of the view's state once it is written.
fn commit_records(view: &View, layout: u32, commit: Commit, batch: &mut WriteBatch) -> Option<StateChange> {
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
