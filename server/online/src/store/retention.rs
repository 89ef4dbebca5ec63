//! Retention: rows of a view older than a cut are deleted and not taken again; of a windowed view tiles all of whose events are.
//! A definition retains what its windows reach, so no window counts what went.
//!
//! The cut is an event time. It is durable before the first row goes and moves back only where rows are retained for longer than
//! before, so that neither a write nor a full refresh brings back what was deleted: a view with a cut is what its table is from the
//! cut on.
//!
//! ```text
//! key 't' view u32 BE     value: format u8 = 1 · cut i64 · retention i64
//! ```

use ahash::HashMap;
use parking_lot::RwLock;
use rocksdb::{ReadOptions, WriteBatch};
use tidegate_schemas::time::Micros;

use super::{Inner, ROWS, Store, TILES};
use crate::codec::Reader;
use crate::key;
use crate::layout::{MetaKey, View, ViewId};
use crate::row::Header;
use crate::tiles;
use crate::{Error, Result};

/// Rows deleted under one set of locks.
const DELETED_AT_ONCE: usize = 500;

/// The format byte of a cut.
const FORMAT: u8 = 1;

/// The cuts of the views that have one.
#[derive(Debug, Default)]
pub(crate) struct Retention {
    cuts: RwLock<HashMap<u32, Cut>>,
}

/// What a view retains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// Rows with event times before this go.
    before: Micros,
    /// How long rows are retained.
    retention: Micros,
}

/// What a sweep deleted, or a view that was dropped held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freed {
    /// Rows, or tiles of a windowed view.
    pub rows: u64,
    /// Bytes of their keys and values, before compression.
    pub bytes: u64,
}

impl Retention {
    pub(super) fn new(cuts: HashMap<u32, Cut>) -> Self {
        Self { cuts: RwLock::new(cuts) }
    }

    /// Before which event time a view has nothing.
    pub(super) fn cut(&self, view: u32) -> Option<Micros> {
        self.cuts.read().get(&view).map(|cut| cut.before)
    }

    pub(super) fn forget(&self, view: u32) {
        self.cuts.write().remove(&view);
    }
}

impl Cut {
    fn encode(self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        [self.before, self.retention].iter().for_each(|time| out.extend_from_slice(&time.to_le_bytes()));
        out
    }

    /// Reads what [`Self::encode`] wrote.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, "a cut");
        let format = reader.u8()?;
        if format != FORMAT {
            return Err(Error::corrupt(format!("a cut has format {format}, expected {FORMAT}")));
        }
        let cut = Self { before: reader.i64()?, retention: reader.i64()? };
        reader.end()?;
        Ok(cut)
    }
}

impl Store {
    /// Deletes the view's rows with an event time before `before`, and takes none such any more. An earlier time than the view's
    /// present cut counts only where `retention` is longer than it was: a clock that steps back brings nothing back.
    ///
    /// # Errors
    /// An unknown view, a failing disk.
    pub fn retain(&self, view: ViewId, before: Micros, retention: Micros) -> Result<Freed> {
        let inner = &self.inner;
        let view = inner.view(view)?;
        {
            let _gate = view.gate.write();
            inner.still_there(&view)?;
            let present = inner.retention.cuts.read().get(&view.id).copied();
            if present.is_some_and(|present| present.before >= before && present.retention >= retention) {
                return Ok(Freed::default());
            }
            let cut = Cut { before, retention };
            let mut batch = WriteBatch::default();
            batch.put(MetaKey::Retained(view.id).encode(), cut.encode());
            inner.commit_metadata(batch)?;
            inner.retention.cuts.write().insert(view.id, cut);
        }
        inner.sweep(&view, before)
    }

    /// Before which event time a view has nothing, if its rows are not kept for ever.
    ///
    /// # Errors
    /// An unknown view.
    pub fn retained(&self, view: ViewId) -> Result<Option<Micros>> {
        Ok(self.inner.retention.cut(self.inner.view(view)?.id))
    }

    /// Lets a view keep what comes from here on, however old: what was deleted stays so until it is written again.
    ///
    /// # Errors
    /// An unknown view, a failing disk.
    pub fn retain_all(&self, view: ViewId) -> Result<()> {
        let view = self.inner.view(view)?;
        let _gate = view.gate.write();
        if self.inner.retention.cut(view.id).is_some() {
            let mut batch = WriteBatch::default();
            batch.delete(MetaKey::Retained(view.id).encode());
            self.inner.commit_metadata(batch)?;
            self.inner.retention.forget(view.id);
        }
        Ok(())
    }

    /// What a view holds, in all its epochs: a pass over everything of its entities.
    ///
    /// # Errors
    /// An unknown view, a failing disk.
    pub fn size(&self, view: ViewId) -> Result<Freed> {
        let view = self.inner.view(view)?;
        let mut size = Freed::default();
        for kind in &KINDS {
            self.inner.each(&view, kind, |key, value| {
                size.rows += 1;
                size.bytes += (key.len() + value.len()) as u64;
                Ok(())
            })?;
        }
        Ok(size)
    }

    /// The views there are, as project and name, also those that definitions no longer have.
    #[must_use]
    pub fn view_names(&self) -> Vec<(String, String)> {
        let views = self.inner.views.read();
        let mut names: Vec<_> = views.values().map(|view| (view.project.clone(), view.name.clone())).collect();
        names.sort();
        names
    }

    /// A view by its name, with the layout of its latest registration.
    #[must_use]
    pub fn find(&self, project: &str, name: &str) -> Option<ViewId> {
        let view = self.inner.find_view(project, name)?;
        let layout = view.state.read().record.layout;
        Some(ViewId { view: view.id, layout })
    }
}

impl Inner {
    /// Calls `take` with each key and value of a kind that a view has, in all its epochs.
    fn each(&self, view: &View, kind: &Kind, mut take: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        let prefix = key::entity_type_prefix(view.entity_type);
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.fill_cache(false);
        let mut iterator = self.db.raw_iterator_cf_opt(self.family(kind.family)?, options);
        iterator.seek(prefix);
        while let Some((found, value)) = iterator.item().filter(|(found, _)| found.starts_with(&prefix)) {
            if (kind.split)(found)?.1 == view.id {
                take(found, value)?;
            }
            iterator.next();
        }
        iterator.status().map_err(Error::store("reading a view"))
    }

    fn sweep(&self, view: &View, cut: Micros) -> Result<Freed> {
        let mut freed = Freed::default();
        for kind in &KINDS {
            let mut keys = Vec::new();
            self.each(view, kind, |key, value| {
                if (kind.is_before)(key, value, cut) {
                    keys.push(key.to_vec());
                }
                if keys.len() >= DELETED_AT_ONCE {
                    self.delete_older(view, cut, kind, &std::mem::take(&mut keys), &mut freed)?;
                }
                Ok(())
            })?;
            self.delete_older(view, cut, kind, &keys, &mut freed)?;
        }
        Ok(freed)
    }

    /// Deletes what is still older than the cut: a newer observation may have come since it was seen.
    fn delete_older(&self, view: &View, cut: Micros, kind: &Kind, keys: &[Vec<u8>], freed: &mut Freed) -> Result<()> {
        let family = self.family(kind.family)?;
        let named = keys.iter().map(|key| (kind.split)(key)).collect::<Result<Vec<_>>>()?;
        let _gate = view.gate.read();
        self.still_there(view)?;
        let mut held = self.stripes.lock(named.iter().map(|(entity, ..)| *entity));
        let present = view.mark().epoch;
        let mut batch = WriteBatch::default();
        let mut deleted = Vec::new();
        for (key, (entity, _, epoch)) in keys.iter().zip(named) {
            let value = self.db.get_pinned_cf(family, key).map_err(Error::store("reading rows to delete"))?;
            let Some(value) = value.filter(|value| (kind.is_before)(key, value, cut)) else { continue };
            batch.delete_cf(family, key);
            // What a refresh replaced is not counted: it goes by itself.
            if epoch == present {
                freed.rows += 1;
                freed.bytes += (key.len() + value.len()) as u64;
            }
            deleted.push(entity);
        }
        if batch.is_empty() {
            return Ok(());
        }
        held.begin();
        // Not synced: rows that come back after a power cut go with the next sweep, and lookups may see them either way.
        let outcome = self.put(batch, false, "deleting old rows");
        deleted.into_iter().for_each(|entity| self.cache.forget(entity));
        outcome
    }
}

/// The entity, the view and the epoch in a key.
type Split = fn(&[u8]) -> Result<(&[u8], u32, u32)>;

/// What a view is kept as.
struct Kind {
    family: &'static str,
    /// What a key is of.
    split: Split,
    /// Whether what has this key and value is older than a cut.
    is_before: fn(&[u8], &[u8], Micros) -> bool,
}

const KINDS: [Kind; 2] = [
    Kind {
        family: ROWS,
        split: key::split,
        is_before: |_, row, cut| Header::read(row).is_ok_and(|header| header.event < cut),
    },
    Kind {
        family: TILES,
        split: |key| tiles::key::split(key).map(|key| (key.entity, key.view, key.epoch)),
        is_before: |key, _, cut| {
            tiles::key::split(key).is_ok_and(|key| key.hop.is_some_and(|hop| key.id.is_before(hop, cut)))
        },
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_frozen() {
        let cut = Cut { before: 2, retention: -1 };
        let bytes = [&[1_u8][..], &2_i64.to_le_bytes(), &(-1_i64).to_le_bytes()].concat();
        assert_eq!(cut.encode(), bytes, "a change needs a new format");
        assert_eq!(Cut::decode(&bytes).expect("a cut"), cut);
        assert!(Cut::decode(&bytes[..9]).is_err() && Cut::decode(&[2]).is_err());
    }
}
