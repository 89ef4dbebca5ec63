//! Ids of pushed events: the same id is taken once, within the time that ids are kept.
//!
//! ```text
//! key in `events`                       value
//! 0x01 | feed u32 BE | id               format u8 = 1 | digest 16 bytes | at i64 | (hash of an entity u64)…
//! 0x02 | view u32 BE | id               the same; ids of pushes to one view alone
//! ```
//! The digest is of the row's content: the same id with other content is a mistake that the sender should hear of. The hashes tell
//! whoever erases an entity which ids may be of its events ([`entity_hash`]); another entity's id may go with them, and only that one
//! event could then be taken twice.
//!
//! [`Store::claim`] looks ids up and keeps others off them until the claim is dropped; the push that it is handed to writes them in the
//! same atomic write as its rows. Ids that were kept long enough are not seen, and go when files are merged.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ahash::{HashMap, HashMapExt};
use arrow_array::{Array, BinaryArray};
use rocksdb::WriteBatch;
use tidegate_schemas::time::Micros;

use super::write::Keys;
use super::{FeedId, Inner, Store};
use crate::codec::Reader;
use crate::layout::ViewId;
use crate::merge::Held;
use crate::{Error, Result};

const FORMAT: u8 = 1;
const OF_FEED: u8 = 1;
const OF_VIEW: u8 = 2;
/// Bytes before the id.
const HEAD: usize = 5;
/// Bytes before the hashes.
const FIXED: usize = 25;

/// Bytes of a row's digest.
pub type RowDigest = [u8; 16];

/// Within what an id is taken once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A source's events, whichever views they reach.
    Feed(FeedId),
    /// Events that go to one view and not to its source.
    View(ViewId),
}

/// The ids of a push's rows.
#[derive(Debug, Clone, Copy)]
pub struct EventIds<'a> {
    /// Within what they are unique.
    pub scope: Scope,
    /// One for each row; a row without one is never a duplicate.
    pub ids: &'a BinaryArray,
    /// The digest of each row's content.
    pub digests: &'a [RowDigest],
}

/// What an id says about a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was not seen before, or has no id.
    New,
    /// The same row came before under this id.
    Duplicate,
    /// Another row came before under this id.
    Conflict,
}

/// Ids that nobody else claims until this is dropped.
pub struct Claim<'s> {
    fates: Vec<Fate>,
    keys: Keys,
    /// The row of each key.
    rows: Vec<usize>,
    digests: Vec<RowDigest>,
    _held: Held<'s>,
}

impl std::fmt::Debug for Claim<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("fates", &self.fates).finish_non_exhaustive()
    }
}

/// How long ids are kept, and what time it is as far as anybody said.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    kept: Micros,
    now: Arc<AtomicI64>,
}

impl Window {
    pub(super) fn new(kept: Micros) -> Self {
        Self { kept, now: Arc::new(AtomicI64::new(Micros::MIN)) }
    }

    /// Whether the id in a stored value is too old to be looked at, for the compaction of files.
    pub(super) fn is_over(&self, value: &[u8]) -> bool {
        let now = self.now.load(Ordering::Relaxed);
        now != Micros::MIN && Stored::read(value).is_ok_and(|stored| self.has_passed(stored.at, now))
    }

    fn has_passed(&self, at: Micros, now: Micros) -> bool {
        at < now.saturating_sub(self.kept)
    }
}

/// A stored id's value.
struct Stored {
    digest: RowDigest,
    at: Micros,
}

impl Stored {
    fn read(value: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(value, "an event id");
        match reader.u8()? {
            FORMAT => Ok(Self { digest: reader.array()?, at: reader.i64()? }),
            format => Err(Error::corrupt(format!("an event id has format {format}, expected {FORMAT}"))),
        }
    }
}

impl Claim<'_> {
    /// What becomes of each row. The second of two rows with one id is judged by the first.
    #[must_use]
    pub fn fates(&self) -> &[Fate] {
        &self.fates
    }

    /// Whether all rows are new.
    #[must_use]
    pub fn all_new(&self) -> bool {
        self.fates.iter().all(|fate| *fate == Fate::New)
    }

    /// Adds the new ids to the batch. `entities` gives, for the so-manieth new row, the hashes of its entities.
    pub(super) fn put(
        &self,
        inner: &Inner,
        now: Micros,
        entities: impl Fn(usize, &mut Vec<u8>),
        batch: &mut WriteBatch,
    ) -> Result<()> {
        let family = inner.events()?;
        let mut value = Vec::with_capacity(FIXED + 16);
        // Rows are counted as they are handed to the push: without those that are not new.
        let mut kept = 0;
        let mut nth_of = vec![usize::MAX; self.fates.len()];
        for (row, fate) in self.fates.iter().enumerate() {
            if *fate == Fate::New {
                nth_of[row] = kept;
                kept += 1;
            }
        }
        for (nth, &row) in self.rows.iter().enumerate() {
            if self.fates[row] != Fate::New {
                continue;
            }
            value.clear();
            value.push(FORMAT);
            value.extend_from_slice(&self.digests[row]);
            value.extend_from_slice(&now.to_le_bytes());
            entities(nth_of[row], &mut value);
            batch.put_cf(family, self.keys.get(nth), &value);
        }
        Ok(())
    }
}

impl Store {
    /// Looks up the ids of rows that are to be pushed, and keeps others off them until the claim is dropped.
    ///
    /// # Errors
    /// Not one digest for each row; an unknown view; damaged ids, a failing disk.
    pub fn claim(&self, events: &EventIds<'_>, now: Micros) -> Result<Claim<'_>> {
        let inner = &*self.inner;
        let EventIds { scope, ids, digests } = *events;
        if ids.len() != digests.len() {
            return Err(Error::Shape(format!("{} event ids came with {} digests", ids.len(), digests.len())));
        }
        if let Scope::View(view) = scope {
            inner.view(view)?;
        }
        inner.window.now.fetch_max(now, Ordering::Relaxed);
        let head = head(scope);
        let rows: Vec<usize> = (0..ids.len()).filter(|&row| ids.is_valid(row)).collect();
        let keys = Keys::of_parts(&head, rows.iter().map(|&row| ids.value(row)));
        let held = inner.ids.lock(keys.iter());
        let mut fates = vec![Fate::New; ids.len()];
        let mut seen: HashMap<&[u8], usize> = HashMap::with_capacity(rows.len());
        let stored = inner.db.batched_multi_get_cf(inner.events()?, keys.iter(), false);
        for ((&row, key), stored) in rows.iter().zip(keys.iter()).zip(stored) {
            let stored = stored.map_err(Error::store("looking event ids up"))?;
            let before = stored.map(|value| Stored::read(&value)).transpose()?;
            let before = before.filter(|before| !inner.window.has_passed(before.at, now)).map(|before| before.digest);
            let first = *seen.entry(key).or_insert(row);
            let before = before.or_else(|| (first != row).then(|| digests[first]));
            fates[row] = match before {
                None => Fate::New,
                Some(digest) if digest == digests[row] => Fate::Duplicate,
                Some(_) => Fate::Conflict,
            };
        }
        drop(seen);
        Ok(Claim { fates, keys, rows, digests: digests.to_vec(), _held: held })
    }
}

impl Inner {
    /// Forgets the ids that may be of an entity's events: by the hash of its key in any view, or because they name all of these texts.
    /// Says how many. Reads all ids: rare.
    pub(super) fn forget_events(&self, entities: &BTreeSet<u64>, texts: &[Vec<u8>]) -> Result<u64> {
        let mut options = rocksdb::ReadOptions::default();
        options.fill_cache(false);
        let mut iterator = self.db.raw_iterator_cf_opt(self.events()?, options);
        iterator.seek_to_first();
        let (mut batch, mut forgotten) = (WriteBatch::default(), 0);
        while let Some((key, value)) = iterator.item() {
            let hashes = value.get(FIXED..).unwrap_or_default().chunks_exact(8);
            let mut of = hashes.map(|bytes| bytes.try_into().map_or(0, u64::from_le_bytes));
            if of.any(|hash| entities.contains(&hash)) || names(key.get(HEAD..).unwrap_or_default(), texts) {
                batch.delete_cf(self.events()?, key);
                forgotten += 1;
            }
            iterator.next();
        }
        iterator.status().map_err(Error::store("reading event ids"))?;
        self.commit_metadata(batch)?;
        Ok(forgotten)
    }
}

/// Whether an id has all of some texts in it.
fn names(id: &[u8], texts: &[Vec<u8>]) -> bool {
    !texts.is_empty() && texts.iter().all(|text| id.windows(text.len()).any(|part| part == text))
}

/// The hash by which an entity's ids are found: FNV-1a over its encoded key, the same in every release.
#[must_use]
pub fn entity_hash(entity: &[u8]) -> u64 {
    entity.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn head(scope: Scope) -> [u8; HEAD] {
    let (tag, id) = match scope {
        Scope::Feed(feed) => (OF_FEED, feed.0),
        Scope::View(view) => (OF_VIEW, view.view),
    };
    let [a, b, c, d] = id.to_be_bytes();
    [tag, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_entities_are_frozen() {
        assert_eq!(entity_hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(entity_hash(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn an_id_names_a_key_that_has_all_of_it() {
        let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
        assert!(names(b"shop:user-7:1", &texts(&["user-7", "shop"])));
        assert!(!names(b"shop:user-8:1", &texts(&["user-7", "shop"])) && !names(b"any", &texts(&[])));
        assert!(!names(b"us", &texts(&["user-7"])));
    }

    #[test]
    fn keys_are_frozen() {
        assert_eq!(head(Scope::Feed(FeedId(258))), [1, 0, 0, 1, 2]);
        assert_eq!(head(Scope::View(ViewId { view: 3, layout: 9 })), [2, 0, 0, 0, 3]);
    }
}
