//! Erasing an entity: its rows go from every view and epoch, and its bytes from every file of the database.
//!
//! ```text
//! grave               nothing of it is taken any more; writes under way are waited for
//! rows                deleted under their stripes, the cache forgets them
//! event ids           deleted where they may be of its events
//! files               everything in memory goes to files, so that the log is begun anew
//!                     the files around the key are merged, which drops rows and deletions alike
//!                     the manifest, which names files by their first and last keys, is begun anew
//! ```
//! [`HOLDERS`] lists the column families that hold something of entities: whoever adds one adds it there, and what it holds is
//! erased, merged and counted like the rows of views.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use rocksdb::{BottommostLevelCompaction, ColumnFamily, CompactOptions, FlushOptions, ReadOptions, WriteBatch};
use tidegate_schemas::definition::Column;
use tidegate_schemas::types::DataType;

use super::graves::{EntityKey, SCRATCH};
use super::open::ROCKS;
use super::{EVENTS, FAMILIES, GRAVES, Inner, OUTBOX, PENDING, ROWS, Store, TILES, entity_hash, pending};
use crate::key::{self, KeyEncoder};
use crate::tiles;
use crate::{Error, Result};

/// Column families that hold something of entities: those of [`FAMILIES`] that do.
const HOLDERS: [Holder; 3] = [
    Holder { family: ROWS, by_entity: true, split: |key| key::split(key).map(|(entity, view, _)| (entity, view)) },
    Holder { family: TILES, by_entity: true, split: |key| tiles::key::split(key).map(|key| (key.entity, key.view)) },
    Holder { family: PENDING, by_entity: false, split: pending::entity_of },
];

/// Column families whose keys do not say where the entity was in their files: these are merged whole.
const SCATTERED: [&str; 2] = [OUTBOX, EVENTS];

/// Shorter texts are in every event id.
const TELLING: usize = 4;

/// The entity and the view in a key.
type Split = fn(&[u8]) -> Result<(&[u8], u32)>;

/// A column family whose keys name the entity they are about.
struct Holder {
    family: &'static str,
    /// Keys begin with the entity; otherwise all of them are looked at.
    by_entity: bool,
    /// The entity and the view in a key.
    split: Split,
}

/// Rows deleted under one set of locks.
const DELETED_AT_ONCE: usize = 500;

/// Bytes of a scratch key, and how often one is written before the manifest must be a new one.
const SCRATCH_BYTES: usize = 16 << 10;
const SCRATCH_ROUNDS: usize = 10_000;

/// What an erasure deleted of one view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasedRows {
    /// The project's view; empty for one that is gone.
    pub view: String,
    /// Rows, of all epochs.
    pub rows: u64,
}

/// Where an entity is among the entities of a type.
struct Place {
    /// First bytes of all keys that may be of the entity.
    prefix: Vec<u8>,
    /// What the key's values must be, by position; empty where the prefix says it all.
    values: Vec<(usize, key::KeyValue)>,
}

impl Store {
    /// Deletes everything of an entity. What was pushed of it must have left the outboxes, its grave must have been dug ([`Store::bury`]): a write that began before is waited for,
    /// and what comes later is refused. When it returns, no file of the store holds the key any more, unless a scan that is under
    /// way still reads it.
    ///
    /// Merges the files that the key may be in: all of a type's where the entity is not the first of its entities.
    ///
    /// # Errors
    /// Values that do not fit the keys, a failing disk.
    pub fn erase(&self, entity: &EntityKey) -> Result<Vec<ErasedRows>> {
        let inner = &self.inner;
        inner.wait_for_writes(&entity.project);
        let places = inner.places(entity)?;
        let mut erased = Erased::default();
        // What is due meanwhile would go from where it is looked for last to where it was looked for first.
        let nothing_is_released = inner.waiting.stand_still();
        for place in &places {
            erased.entities.insert(entity_hash(&place.prefix));
            for holder in &HOLDERS {
                inner.delete(holder, place, &mut erased)?;
            }
        }
        drop(nothing_is_released);
        inner.forget_events(&erased.entities, &texts(entity)?)?;
        inner.flush_all()?;
        for place in &places {
            for holder in &HOLDERS {
                inner.merge_range(inner.family(holder.family)?, holder.first(place));
            }
        }
        for family in SCATTERED {
            inner.merge_range(inner.family(family)?, &[]);
        }
        inner.renew_manifest()?;
        let name = |id: u32| inner.views.read().get(&id).map(|view| view.name.clone()).unwrap_or_default();
        Ok(erased.rows.into_iter().map(|(id, rows)| ErasedRows { view: name(id), rows }).collect())
    }
}

/// What was found and deleted.
#[derive(Default)]
struct Erased {
    /// Rows by view.
    rows: BTreeMap<u32, u64>,
    /// The hashes of the entities in their keys: by these event ids are found.
    entities: BTreeSet<u64>,
}

impl Inner {
    /// Writes that began before now are done when this returns.
    fn wait_for_writes(&self, project: &str) {
        let views: Vec<_> = self.views.read().values().filter(|view| view.project == project).cloned().collect();
        for view in views {
            drop(view.gate.write());
        }
    }

    /// Where keys of an entity may be: one place for each type of entities that has it.
    fn places(&self, entity: &EntityKey) -> Result<Vec<Place>> {
        let types = self.entity_types.read().clone();
        let views: Vec<_> = self.views.read().values().cloned().collect();
        let mut places = Vec::new();
        for (id, known) in types {
            if known.project != entity.project || !known.entities.contains(&entity.entity) {
                continue;
            }
            // The names of the keys are the views', which agree on them.
            let names = views.iter().filter(|view| view.entity_type == id).map(|view| &view.keys);
            let mut found: BTreeSet<Vec<usize>> = BTreeSet::new();
            for keys in names {
                let position = |wanted: &Column| keys.iter().position(|key| key.name == wanted.name);
                found.extend(entity.keys.iter().map(position).collect::<Option<Vec<usize>>>());
            }
            for positions in found {
                places.push(place(id, &known.key_types, entity, &positions)?);
            }
        }
        Ok(places)
    }

    /// Deletes what a family has at a place, and counts it by view.
    fn delete(&self, holder: &Holder, place: &Place, erased: &mut Erased) -> Result<()> {
        let (family, first) = (self.family(holder.family)?, holder.first(place));
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.fill_cache(false);
        let mut iterator = self.db.raw_iterator_cf_opt(family, options);
        iterator.seek(first);
        let mut keys: Vec<Vec<u8>> = Vec::new();
        while let Some(found) = iterator.key().filter(|found| found.starts_with(first)) {
            if place.is((holder.split)(found)?.0)? {
                keys.push(found.to_vec());
            }
            if keys.len() >= DELETED_AT_ONCE {
                self.delete_keys(holder, &std::mem::take(&mut keys), erased)?;
            }
            iterator.next();
        }
        iterator.status().map_err(Error::store("looking for rows to erase"))?;
        self.delete_keys(holder, &keys, erased)
    }

    fn delete_keys(&self, holder: &Holder, keys: &[Vec<u8>], erased: &mut Erased) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let family = self.family(holder.family)?;
        let named = keys.iter().map(|key| (holder.split)(key)).collect::<Result<Vec<_>>>()?;
        let mut held = self.stripes.lock(named.iter().map(|(entity, _)| *entity));
        let mut batch = WriteBatch::default();
        keys.iter().for_each(|key| batch.delete_cf(family, key));
        held.begin();
        let outcome = self.put(batch, true, "erasing rows");
        for (entity, view) in named {
            self.cache.forget(entity);
            *erased.rows.entry(view).or_default() += 1;
            erased.entities.insert(entity_hash(entity));
        }
        outcome
    }

    /// Everything in memory goes to files, and the log that held it is deleted.
    fn flush_all(&self) -> Result<()> {
        let mut wait = FlushOptions::default();
        wait.set_wait(true);
        for name in FAMILIES {
            self.db.flush_cf_opt(self.family(name)?, &wait).map_err(Error::store("flushing"))?;
        }
        Ok(())
    }

    /// Merges the files that keys of a prefix may be in.
    fn merge_range(&self, family: &ColumnFamily, prefix: &[u8]) {
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        self.db.compact_range_cf_opt(family, Some(prefix), after(prefix).as_deref(), &options);
    }

    /// Makes RocksDB begin a new manifest: it does when the present one has grown to several times what it must hold, so keys
    /// that mean nothing are written, flushed and deleted until it has.
    fn renew_manifest(&self) -> Result<()> {
        let graves = self.family(GRAVES)?;
        let before = self.manifests()?;
        let mut wait = FlushOptions::default();
        wait.set_wait(true);
        let (mut scratch, failed) = (SCRATCH.to_vec(), Error::store("beginning a new manifest"));
        scratch.resize(SCRATCH_BYTES, 0xFF);
        for _ in 0..SCRATCH_ROUNDS {
            self.db.put_cf(graves, &scratch, []).map_err(&failed)?;
            self.db.flush_cf_opt(graves, &wait).map_err(&failed)?;
            self.db.delete_cf(graves, &scratch).map_err(&failed)?;
            self.db.flush_cf_opt(graves, &wait).map_err(&failed)?;
            self.merge_range(graves, &SCRATCH);
            self.delete_obsolete()?;
            let now = self.manifests()?;
            if now.iter().all(|manifest| !before.contains(manifest)) {
                return Ok(());
            }
        }
        Err(Error::corrupt("RocksDB keeps its manifest; restart the server, which begins a new one"))
    }

    /// Deletes the files that nothing needs any more, now instead of some time soon.
    fn delete_obsolete(&self) -> Result<()> {
        let failed = Error::store("deleting files");
        self.db.disable_file_deletions().map_err(&failed)?;
        self.db.enable_file_deletions().map_err(&failed)
    }

    fn manifests(&self) -> Result<Vec<String>> {
        let folder = self.path.join(ROCKS);
        let failed = |source| Error::Folder { path: folder.clone(), source };
        let mut manifests = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if name.starts_with("MANIFEST-") {
                manifests.push(name);
            }
        }
        Ok(manifests)
    }
}

impl Holder {
    /// First bytes of all keys that may be at a place.
    fn first<'p>(&self, place: &'p Place) -> &'p [u8] {
        if self.by_entity { &place.prefix } else { &[] }
    }
}

impl Place {
    /// Whether an entity in a key is the one to erase, or has it among others.
    fn is(&self, entity: &[u8]) -> Result<bool> {
        if !entity.starts_with(&self.prefix) || self.values.is_empty() {
            return Ok(entity.starts_with(&self.prefix));
        }
        let found = key::decode_entity(entity)?;
        Ok(self.values.iter().all(|(at, value)| found.values.get(*at) == Some(value)))
    }
}

fn place(entity_type: u32, key_types: &[DataType], entity: &EntityKey, positions: &[usize]) -> Result<Place> {
    let columns: Vec<_> = (entity.keys.iter().zip(positions))
        .map(|(key, &at)| Column {
            name: key.name.clone(),
            data_type: key_types.get(at).cloned().unwrap_or_else(|| key.data_type.clone()),
        })
        .collect();
    let mut bytes = Vec::new();
    KeyEncoder::new(&columns, entity.values.iter())?.encode(entity_type, 0, &mut bytes);
    let first = positions.iter().enumerate().all(|(nth, &at)| nth == at);
    if first {
        // The end of the entity follows only where it has no more keys.
        bytes.truncate(if positions.len() == key_types.len() { bytes.len() } else { bytes.len() - 1 });
        return Ok(Place { prefix: bytes, values: Vec::new() });
    }
    let values = positions.iter().copied().zip(key::decode_entity(&bytes)?.values).collect();
    Ok(Place { prefix: key::entity_type_prefix(entity_type).to_vec(), values })
}

/// How event ids name the entity, where they do: its keys as text, unless one is too short to tell anything.
fn texts(entity: &EntityKey) -> Result<Vec<Vec<u8>>> {
    let mut bytes = Vec::new();
    KeyEncoder::new(&entity.keys, entity.values.iter())?.encode(0, 0, &mut bytes);
    let text = |value: key::KeyValue| match value {
        key::KeyValue::String(text) => text.into_bytes(),
        key::KeyValue::Bytes(bytes) => bytes,
        key::KeyValue::Int32(number) => number.to_string().into_bytes(),
        key::KeyValue::Int64(number) => number.to_string().into_bytes(),
        key::KeyValue::Bool(_) | key::KeyValue::Timestamp(_) | key::KeyValue::Date(_) => Vec::new(),
    };
    let texts: Vec<Vec<u8>> = key::decode_entity(&bytes)?.values.into_iter().map(text).collect();
    Ok(if texts.iter().all(|text| text.len() >= TELLING) { texts } else { Vec::new() })
}

/// The first bytes after all that begin with a prefix; `None` where there are none.
fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut next = prefix.to_vec();
    while let Some(last) = next.last_mut() {
        if *last < 0xFF {
            *last += 1;
            return Some(next);
        }
        next.pop();
    }
    None
}
