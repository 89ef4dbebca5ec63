//! Graves: which entities were erased, so that nothing of them is taken again.
//!
//! ```text
//! key in `graves`      value: format u8 = 1, then
//! digest, 32 bytes     erased at i64 · project · entity · (key name · type)…
//! ```
//! The digest is of the project, the entity's name and its key ([`EntityKey::digest`]); the key itself is nowhere. An entity is
//! found in a view by its name and the names of its keys, so that it is refused also where it is one of several.
//!
//! An observation of an erased entity whose event time is before the erasure is left out by every write and every load. What
//! happens to the entity afterwards is a new entity's. While it is being erased nothing tells the new one's rows from the old one's:
//! who brings rows asks first ([`Store::standings`]) and comes again later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ahash::{HashMap, HashSet};
use arrow_array::{Array, ArrayRef};
use parking_lot::RwLock;
use rocksdb::{DB, IteratorMode};
use tidegate_schemas::definition::Column;
use tidegate_schemas::digest::Digest;
use tidegate_schemas::time::Micros;
use tidegate_schemas::types::DataType;

use super::{GRAVES, Inner, Rows, Store};
use crate::codec::{Reader, put_length, put_text};
use crate::key::KeyEncoder;
use crate::layout::View;
use crate::{Error, Result};

/// The format byte of a grave.
const FORMAT: u8 = 1;

/// Bytes of a digest.
const DIGEST: usize = 32;

/// Scratch keys of `graves` begin with bytes that no digest is: they are longer than one.
pub(super) const SCRATCH: [u8; DIGEST + 1] = [0xFF; DIGEST + 1];

/// An entity by its key: what is to be erased.
#[derive(Debug, Clone)]
pub struct EntityKey {
    /// The project.
    pub project: String,
    /// The entity's name.
    pub entity: String,
    /// Its keys in order.
    pub keys: Vec<Column>,
    /// Their values, one column of one row for each.
    pub values: Vec<ArrayRef>,
}

/// An entity that was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grave {
    /// The project.
    pub project: String,
    /// The entity's name.
    pub entity: String,
    /// Its keys in order.
    pub keys: Vec<Column>,
    /// Of its key: [`EntityKey::digest`].
    pub digest: [u8; DIGEST],
    /// When it was erased: nothing of it with an earlier event time is taken any more.
    pub at: Micros,
}

impl EntityKey {
    /// What stands for the key where the key itself must not be.
    ///
    /// # Errors
    /// Values of wrong number or type, nulls.
    pub fn digest(&self) -> Result<[u8; DIGEST]> {
        let digests = Digests::new(&self.project, &self.entity, &self.keys, self.values.iter())?;
        match self.values.iter().all(|values| values.len() == 1) {
            true => Ok(digests.of(0)),
            false => Err(Error::Shape("an entity to erase is one row of keys".to_owned())),
        }
    }

    /// Its grave.
    ///
    /// # Errors
    /// As [`Self::digest`].
    pub fn grave(&self, at: Micros) -> Result<Grave> {
        let (project, entity, keys) = (self.project.clone(), self.entity.clone(), self.keys.clone());
        Ok(Grave { project, entity, keys, digest: self.digest()?, at })
    }
}

/// How a row stands to the erasures of its entity; of several entities the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Standing {
    /// No erasure is about it.
    #[default]
    Free,
    /// Its entity is being erased, and it happened since that began: it can be taken when that is done.
    BeingErased,
    /// Its entity was erased after it happened, or is being: it is not taken any more.
    Erased,
}

/// An erasure under way, from its grave until this is dropped.
#[derive(Debug)]
#[must_use = "the erasure counts as done when this is dropped"]
pub struct Erasing {
    graves: Arc<Graves>,
    grave: Grave,
}

impl Drop for Erasing {
    fn drop(&mut self) {
        self.graves.ground(&self.grave, |ground| ground.open.remove(&self.grave.digest));
    }
}

/// Digests of the keys of one entity in a batch.
struct Digests<'a> {
    head: Digest,
    keys: KeyEncoder<'a>,
}

impl<'a> Digests<'a> {
    fn new(
        project: &str,
        entity: &str,
        keys: &[Column],
        arrays: impl IntoIterator<Item = &'a ArrayRef>,
    ) -> Result<Self> {
        let mut head = Digest::new();
        for text in ["tidegate grave 1", project, entity] {
            head.update(&(text.len() as u64).to_le_bytes());
            head.update(text.as_bytes());
        }
        // A key that widened is the same key.
        let widest = |key: &Column| match key.data_type {
            DataType::Int32 => Column { name: key.name.clone(), data_type: DataType::Int64 },
            _ => key.clone(),
        };
        let keys: Vec<Column> = keys.iter().map(widest).collect();
        Ok(Self { head, keys: KeyEncoder::new(&keys, arrays)? })
    }

    fn of(&self, row: usize) -> [u8; DIGEST] {
        let (mut digest, mut bytes) = (self.head.clone(), Vec::with_capacity(64));
        self.keys.encode(0, row, &mut bytes);
        digest.update(&bytes);
        digest.bytes()
    }
}

impl Grave {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.extend_from_slice(&self.at.to_le_bytes());
        put_text(&mut out, &self.project);
        put_text(&mut out, &self.entity);
        put_length(&mut out, self.keys.len());
        for key in &self.keys {
            put_text(&mut out, &key.name);
            put_text(&mut out, &key.data_type.to_string());
        }
        out
    }

    fn decode(digest: [u8; DIGEST], bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, "a grave");
        let format = reader.u8()?;
        if format != FORMAT {
            return Err(Error::corrupt(format!("a grave has format {format}, expected {FORMAT}")));
        }
        let (at, project, entity, count) = (reader.i64()?, reader.text()?, reader.text()?, reader.u32()?);
        let key = |_| {
            let (name, data_type) = (reader.text()?, reader.text()?);
            let known = data_type.parse();
            let data_type = known.map_err(|_| Error::corrupt(format!("a grave names a type `{data_type}`")))?;
            Ok(Column { name, data_type })
        };
        let keys = (0..count).map(key).collect::<Result<_>>()?;
        reader.end()?;
        Ok(Self { project, entity, keys, digest, at })
    }
}

/// All graves, in memory.
#[derive(Debug, Default)]
pub(crate) struct Graves {
    any: AtomicBool,
    /// Counts graves that were dug: a load that began before one is dropped.
    dug: AtomicU64,
    /// Observations that were refused since the store was opened.
    refused: AtomicU64,
    by_project: RwLock<HashMap<String, HashMap<String, Ground>>>,
}

/// The graves of one entity.
#[derive(Debug, Default, Clone)]
struct Ground {
    keys: Vec<Column>,
    erased: HashMap<[u8; DIGEST], Micros>,
    /// Those that are being erased.
    open: HashSet<[u8; DIGEST]>,
}

impl Ground {
    fn standing(&self, digest: &[u8; DIGEST], event: Option<Micros>) -> Standing {
        match (self.erased.get(digest), event) {
            (Some(at), Some(event)) if event < *at => Standing::Erased,
            (Some(_), Some(_)) if self.open.contains(digest) => Standing::BeingErased,
            _ => Standing::Free,
        }
    }
}

impl Graves {
    /// Reads what is stored.
    pub(super) fn read(db: &DB) -> Result<Self> {
        let graves = Self::default();
        let Some(family) = db.cf_handle(GRAVES) else {
            return Err(Error::corrupt(format!("the column family `{GRAVES}` is missing")));
        };
        for entry in db.iterator_cf(family, IteratorMode::Start) {
            let (key, value) = entry.map_err(Error::store("reading graves"))?;
            if key.starts_with(&SCRATCH) {
                continue;
            }
            let digest = key.as_ref().try_into();
            let digest = digest.map_err(|_| Error::corrupt(format!("a grave's key has {} bytes", key.len())))?;
            graves.add(&Grave::decode(digest, &value)?);
        }
        Ok(graves)
    }

    fn add(&self, grave: &Grave) {
        self.ground(grave, |ground| {
            ground.keys.clone_from(&grave.keys);
            let at = ground.erased.entry(grave.digest).or_insert(grave.at);
            *at = grave.at.max(*at);
        });
        self.dug.fetch_add(1, Ordering::AcqRel);
        self.any.store(true, Ordering::Release);
    }

    /// Changes the ground that a grave is in.
    fn ground<T>(&self, grave: &Grave, change: impl FnOnce(&mut Ground) -> T) -> T {
        let mut projects = self.by_project.write();
        let entities = projects.entry(grave.project.clone()).or_default();
        change(entities.entry(grave.entity.clone()).or_default())
    }

    /// When the entity of a grave was erased before, if it was.
    fn erased_at(&self, grave: &Grave) -> Micros {
        let projects = self.by_project.read();
        let ground = projects.get(&grave.project).and_then(|entities| entities.get(&grave.entity));
        ground.and_then(|ground| ground.erased.get(&grave.digest).copied()).unwrap_or(Micros::MIN)
    }

    /// How many were dug so far.
    pub(super) fn dug(&self) -> u64 {
        self.dug.load(Ordering::Acquire)
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn count(&self, refused: usize) {
        self.refused.fetch_add(refused as u64, Ordering::Relaxed);
    }

    /// Tells how each row stands, by its number. `find` gives the columns that have the entity's keys, by their names.
    fn tell(
        &self,
        (project, entity): (&str, &str),
        rows: usize,
        find: impl Fn(&str) -> Option<ArrayRef>,
        event: impl Fn(usize) -> Option<Micros>,
        mut told: impl FnMut(usize, Standing),
    ) -> Result<()> {
        let projects = self.by_project.read();
        let Some(ground) = projects.get(project).and_then(|entities| entities.get(entity)) else { return Ok(()) };
        let Some(arrays) = ground.keys.iter().map(|key| find(&key.name)).collect::<Option<Vec<_>>>() else {
            return Ok(());
        };
        let digests = Digests::new(project, entity, &ground.keys, arrays.iter())?;
        (0..rows).for_each(|row| told(row, ground.standing(&digests.of(row), event(row))));
        Ok(())
    }
}

impl Store {
    /// Everything that was erased.
    #[must_use]
    pub fn graves(&self) -> Vec<Grave> {
        let projects = self.inner.graves.by_project.read();
        let mut graves = Vec::new();
        for (project, entities) in projects.iter() {
            for (entity, ground) in entities {
                graves.extend(ground.erased.iter().map(|(digest, at)| Grave {
                    project: project.clone(),
                    entity: entity.clone(),
                    keys: ground.keys.clone(),
                    digest: *digest,
                    at: *at,
                }));
            }
        }
        graves.sort_by(|a, b| (&a.project, &a.entity, a.digest).cmp(&(&b.project, &b.entity, b.digest)));
        graves
    }

    /// The entities of a project that anything was erased of, with their keys.
    #[must_use]
    pub fn buried(&self, project: &str) -> Vec<(String, Vec<Column>)> {
        if !self.inner.graves.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let projects = self.inner.graves.by_project.read();
        let entities = projects.get(project).into_iter().flatten();
        entities.map(|(entity, ground)| (entity.clone(), ground.keys.clone())).collect()
    }

    /// How the rows of a batch stand to the erasures of an entity: `keys` are the entity's, in order. Rows without an event time are
    /// free.
    ///
    /// # Errors
    /// Keys of wrong number or type.
    pub fn standings(
        &self,
        project: &str,
        entity: &str,
        keys: &[ArrayRef],
        event: impl Fn(usize) -> Option<Micros>,
    ) -> Result<Vec<Standing>> {
        let graves = &self.inner.graves;
        let rows = keys.first().map_or(0, |keys| keys.len());
        let mut standings = vec![Standing::default(); rows];
        let names: Vec<String> = {
            let projects = graves.by_project.read();
            let ground = projects.get(project).and_then(|entities| entities.get(entity));
            ground.map(|ground| ground.keys.iter().map(|key| key.name.clone()).collect()).unwrap_or_default()
        };
        let find = |name: &str| keys.get(names.iter().position(|known| known == name)?).cloned();
        graves.tell((project, entity), rows, find, event, |row, standing| standings[row] = standing)?;
        graves.count(standings.iter().filter(|standing| **standing == Standing::Erased).count());
        Ok(standings)
    }

    /// Digs a grave: from here on nothing of the entity with an earlier event time is taken. Durable when it returns, and seen by
    /// every write that begins afterwards; [`Store::erase`] waits for those that are under way. A second grave of an entity counts
    /// from the later of both times.
    ///
    /// # Errors
    /// A failing disk.
    pub fn bury(&self, grave: &Grave) -> Result<()> {
        let inner = &self.inner;
        let grave = Grave { at: grave.at.max(inner.graves.erased_at(grave)), ..grave.clone() };
        let mut options = rocksdb::WriteOptions::default();
        options.set_sync(true);
        let put = inner.db.put_cf_opt(inner.family(GRAVES)?, grave.digest, grave.encode(), &options);
        put.map_err(Error::store("digging a grave"))?;
        inner.graves.add(&grave);
        Ok(())
    }

    /// Digs a grave as [`Store::bury`] does, for an erasure that goes on from there: until what it gives is dropped, rows of the entity
    /// that happened since are being erased.
    ///
    /// # Errors
    /// A failing disk.
    pub fn begin_erasure(&self, grave: Grave) -> Result<Erasing> {
        self.bury(&grave)?;
        self.inner.graves.ground(&grave, |ground| ground.open.insert(grave.digest));
        Ok(Erasing { graves: self.inner.graves.clone(), grave })
    }
}

impl Inner {
    /// Which rows of a write must be left out: those of erased entities, and those older than the view's retention. `None` where
    /// none need be.
    pub(super) fn refused(&self, view: &View, rows: &Rows<'_>) -> Result<Option<Vec<bool>>> {
        let cut = self.retention.cut(view.id);
        let buried = self.graves.any.load(Ordering::Acquire);
        if cut.is_none() && !buried {
            return Ok(None);
        }
        let mut refused = match cut {
            Some(cut) => rows.event.values().iter().map(|event| *event < cut).collect(),
            None => vec![false; rows.event.len()],
        };
        if buried {
            let (entities, mut count) =
                (self.entity_types.read().get(&view.entity_type).map(|known| known.entities.clone()), 0);
            for entity in entities.unwrap_or_default() {
                let find = |name: &str| {
                    let at = view.keys.iter().position(|key| key.name == name)?;
                    rows.keys.get(at).cloned()
                };
                let event = |row: usize| rows.event.is_valid(row).then(|| rows.event.value(row));
                self.graves.tell((&view.project, &entity), rows.event.len(), find, event, |row, standing| {
                    let erased = standing == Standing::Erased && !refused[row];
                    count += usize::from(erased);
                    refused[row] |= erased;
                })?;
            }
            self.graves.count(count);
        }
        Ok(refused.contains(&true).then_some(refused))
    }
}
