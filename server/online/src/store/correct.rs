//! Putting keys right after rows of them were removed from the table or changed in it.
//!
//! ```text
//! stored       the table has          becomes
//! table row    a newest row           that row, also an older one
//! table row    none                   nothing
//! pushed row   a row that replaces    that row
//! pushed row   an older one, none     the pushed row stays: it is ahead of the table
//! nothing      a newest row           that row
//! ```
//! Rows, deletes and the commit are one atomic write. What is there already costs none, so doing it again changes no byte.

use arrow_array::{Array, ArrayRef};
use rocksdb::WriteBatch;
use tidegate_schemas::failpoint::{Failpoint, reach};

use super::write::{Epochs, Incoming, commit_records};
use super::{Commit, Inner, Rows, Store};
use crate::key::{self, KeyEncoder};
use crate::layout::{View, ViewId};
use crate::merge::accepts;
use crate::row::{Header, Origin, RowEncoder};
use crate::{Error, Result};

/// What the table has for keys that are to be put right. A key comes once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Corrections<'a> {
    /// Newest rows, each group from one version of the table.
    pub rows: &'a [Rows<'a>],
    /// One column for each key of the view: keys of which the table has no row.
    pub gone: &'a [ArrayRef],
    /// How many they are; a global view has no key columns to tell it.
    pub gone_count: usize,
}

/// What became of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Corrected {
    /// Keys with another row than before.
    pub replaced: u64,
    /// Keys that have none any more.
    pub deleted: u64,
    /// Keys that were right, or have a pushed row that stays.
    pub kept: u64,
}

/// One key, and what the table has for it.
struct Wanted<'a> {
    entity: &'a [u8],
    row: Option<Row<'a>>,
}

#[derive(Clone, Copy)]
struct Row<'a> {
    group: &'a Group<'a>,
    nth: usize,
}

/// Rows of one version.
struct Group<'a> {
    rows: Incoming,
    encoder: RowEncoder<'a>,
    origin: Origin,
    /// Rows that must be left out.
    refused: Option<Vec<bool>>,
}

impl Store {
    /// Makes the stored rows of some keys what the table has for them, unless a newer push is stored, together with the commit.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn correct(&self, view: ViewId, corrections: &Corrections<'_>, commit: Commit) -> Result<Corrected> {
        let inner = &self.inner;
        let (view, layout) = (inner.view(view)?, inner.layout(view.layout)?);
        let mut groups = Vec::with_capacity(corrections.rows.len());
        for rows in corrections.rows {
            let encoder = RowEncoder::new(&layout.features, &layout.shape, rows.features)?;
            let refused = inner.refused(&view, rows)?;
            groups.push(Group { rows: Incoming::new(&view, rows)?, encoder, origin: rows.origin, refused });
        }
        let gone = entities(&view, corrections)?;
        let wanted = wanted(&groups, &gone);
        inner.disk.has_room()?;
        let _gate = view.gate.read();
        let _commits = (commit != Commit::None).then(|| view.commits.lock());
        inner.still_there(&view)?;
        view.state.read().check_layout(layout.id)?;
        let epochs = Epochs::of(&view, commit)?;
        let mut held = inner.stripes.lock(wanted.iter().map(|wanted| wanted.entity));
        let (mut batch, mut corrected) = (WriteBatch::default(), Corrected::default());
        for epoch in epochs.targets() {
            // Counted once, for the epoch that lookups read.
            let found = inner.put_right(&view, epoch, layout.id, &wanted, &mut batch)?;
            corrected = if corrected == Corrected::default() { found } else { corrected };
        }
        let next = commit_records(&view, layout.id, commit, &mut batch);
        if batch.is_empty() {
            return Ok(corrected);
        }
        held.begin();
        reach(Failpoint::BeforeCorrection);
        let outcome = inner.put_acknowledged(batch, "correcting rows");
        reach(Failpoint::AfterCorrection);
        // Even a failed write may have reached the log: readers must look again.
        wanted.iter().for_each(|wanted| inner.cache.forget(wanted.entity));
        outcome?;
        if let Some(next) = next {
            next(&mut view.state.write());
        }
        Ok(corrected)
    }
}

/// The keys that the table has nothing for.
fn entities(view: &View, corrections: &Corrections<'_>) -> Result<Vec<Vec<u8>>> {
    let short = corrections.gone.iter().map(|column| column.len()).find(|&length| length != corrections.gone_count);
    if let Some(length) = short {
        return Err(Error::Shape(format!("a key column has {length} rows, {} were announced", corrections.gone_count)));
    }
    let keys = KeyEncoder::new(&view.keys, corrections.gone);
    let keys = match corrections.gone_count {
        0 => return Ok(Vec::new()),
        _ => keys?,
    };
    let entity = |row| {
        let mut entity = Vec::new();
        keys.encode(view.entity_type, row, &mut entity);
        entity
    };
    Ok((0..corrections.gone_count).map(entity).collect())
}

/// All keys, in key order.
fn wanted<'a>(groups: &'a [Group<'a>], gone: &'a [Vec<u8>]) -> Vec<Wanted<'a>> {
    let of_group = |group: &'a Group<'a>| {
        let taken = |nth: usize| group.refused.as_ref().is_none_or(|refused| !refused[nth]);
        (0..group.rows.len()).map(move |nth| Wanted {
            entity: group.rows.entity(nth),
            // What is refused is as if the table did not have it.
            row: taken(nth).then_some(Row { group, nth }),
        })
    };
    let none = gone.iter().map(|entity| Wanted { entity, row: None });
    let mut wanted: Vec<Wanted<'a>> = groups.iter().flat_map(of_group).chain(none).collect();
    wanted.sort_unstable_by(|a, b| a.entity.cmp(b.entity));
    wanted
}

impl Inner {
    fn put_right(
        &self,
        view: &View,
        epoch: u32,
        layout: u32,
        wanted: &[Wanted<'_>],
        batch: &mut WriteBatch,
    ) -> Result<Corrected> {
        let rows = self.rows()?;
        let suffix = key::suffix(view.id, epoch);
        let keys: Vec<Vec<u8>> = wanted.iter().map(|wanted| [wanted.entity, &suffix].concat()).collect();
        let stored = self.db.batched_multi_get_cf(rows, &keys, true);
        let (mut corrected, mut bytes) = (Corrected::default(), Vec::new());
        for ((wanted, key), stored) in wanted.iter().zip(&keys).zip(stored) {
            let stored = stored.map_err(Error::store("reading rows to correct"))?;
            let header = stored.as_ref().map(|row| Header::read(row)).transpose()?;
            let pushed = header.filter(|header| header.origin == Origin::Push);
            match wanted.row {
                Some(row) if row.replaces(pushed) => {
                    bytes.clear();
                    row.encode(layout, &mut bytes)?;
                    if stored.is_some_and(|stored| stored.as_ref() == bytes) {
                        corrected.kept += 1;
                    } else {
                        batch.put_cf(rows, key, &bytes);
                        corrected.replaced += 1;
                    }
                }
                None if header.is_some() && pushed.is_none() => {
                    batch.delete_cf(rows, key);
                    corrected.deleted += 1;
                }
                _ => corrected.kept += 1,
            }
        }
        Ok(corrected)
    }
}

impl Row<'_> {
    /// Whether the table's row takes the place of what is stored, of which only a push may stay.
    fn replaces(self, pushed: Option<Header>) -> bool {
        accepts(self.group.rows.times(self.nth), pushed.map(|pushed| pushed.times()))
    }

    fn encode(self, layout: u32, out: &mut Vec<u8>) -> Result<()> {
        let (event, created) = self.group.rows.times(self.nth);
        self.group.encoder.encode(&Header { layout, event, created, origin: self.group.origin }, self.nth, out)
    }
}
