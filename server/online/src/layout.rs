//! What the store remembers about views: ids, keys, layouts, epochs, cursors. Frozen by golden tests.
//!
//! ```text
//! key in `default`        value: format u8 = 1, then
//! 'c'                     next entity type u32 · next view u32 · next layout u32
//! 'e' id u32 BE           project · entities · key types                       an entity type
//! 'v' id u32 BE           project · name · entity type u32 · key names · layout u32 · epoch u32 · building u32 (0 none) · next epoch u32
//! 'l' id u32 BE           view u32 · (feature name · type)…                    a layout, never changed
//! 'k' view u32 BE         version i64 · materialized at i64 · layout u32       the cursor
//! 'p' view u32 BE         full u8 · target i64 · position u64 · read u64 · written u64 · started i64      the progress
//! 'q' view u32 BE         –                                                    the view has pushed rows
//! 'b' view u32 BE         the table's id, UTF-8 without a format byte              whose versions the cursor counts
//! 'n' layout u32 BE       the features' numbers                                drawn in `store/lineage.rs`
//! 't' view u32 BE         cut i64 · retention i64                              rows before are deleted and not taken again
//! 'd' view, epoch u32 BE  entity type u32                                      rows to be deleted; epoch 2^32-1 means all
//! 'w', 'x'                windowed views                                       drawn in `tiles/record.rs`
//! 'f', 'i', 's', 'o'      feeds and their outboxes                             drawn in `store/feed.rs`
//! ```
//! Text is u32 length + UTF-8, lists are u32 count + items, integers little-endian unless marked. Ids are never used twice. A view
//! whose entities or key types change becomes a new view with a new id: its old rows answer nothing any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::{Mutex, RwLock};
use tidegate_schemas::definition::{Aggregate, Column};
use tidegate_schemas::time::Micros;
use tidegate_schemas::types::DataType;

use crate::codec::{Reader, put_length, put_text};
use crate::row::Shape;
use crate::store::Progress;
use crate::tiles::{TileLayouts, Tiled};
use crate::{Error, Result};

/// The format byte of every metadata record.
const FORMAT: u8 = 1;

/// A registered view together with the layout it was registered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ViewId {
    pub(crate) view: u32,
    pub(crate) layout: u32,
}

/// A view as the online tier needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewLayout {
    /// The project.
    pub project: String,
    /// The view's name.
    pub view: String,
    /// Its entities in order; empty for a global view.
    pub entities: Vec<String>,
    /// The entities' keys in order.
    pub keys: Vec<Column>,
    /// The features in order.
    pub features: Vec<Column>,
    /// For a windowed view the aggregate of each feature; empty for any other.
    pub aggregates: Vec<Aggregate>,
}

impl ViewLayout {
    pub(crate) fn is_windowed(&self) -> bool {
        !self.aggregates.is_empty()
    }
}

/// How rows written under one layout are arranged.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) id: u32,
    pub(crate) view: u32,
    pub(crate) features: Vec<Column>,
    /// What each feature is known by, whatever it is called.
    pub(crate) numbers: Vec<u32>,
    pub(crate) shape: Shape,
    /// Of a windowed view, what its tiles are.
    pub(crate) tiles: Option<Arc<Tiled>>,
}

/// A view in memory.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) id: u32,
    /// Shared by writes, held alone while epochs change.
    pub(crate) gate: RwLock<()>,
    /// Held by a write that moves the cursor or the progress, so that neither goes backwards.
    pub(crate) commits: Mutex<()>,
    pub(crate) keys: Vec<Column>,
    pub(crate) project: String,
    pub(crate) name: String,
    pub(crate) entity_type: u32,
    /// Held for moments only: lookups read it.
    pub(crate) state: RwLock<ViewState>,
    /// Writes of pushed rows since the store was opened; of a windowed view all writes.
    pub(crate) pushes: AtomicU64,
    /// Whether the metadata says that there are pushed rows.
    pub(crate) has_pushed: AtomicBool,
}

/// What changes about a view.
#[derive(Debug, Clone)]
pub(crate) struct ViewState {
    pub(crate) record: ViewRecord,
    pub(crate) cursor: Option<CursorRecord>,
    pub(crate) progress: Option<Progress>,
    /// How much of the epoch being built is in the store.
    pub(crate) loaded: Loaded,
    /// The store's generation when the present epoch became visible.
    pub(crate) flipped_at: u64,
    /// Of a windowed view, the layouts of its tiles.
    pub(crate) tiles: Option<TileLayouts>,
}

/// How much of the epoch being built is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loaded {
    /// Nothing.
    Nothing,
    /// Whatever a process left that ended meanwhile.
    Unknown,
    /// All of it: writes go there too.
    Whole,
}

impl ViewState {
    /// What is committed under one layout must not be counted as filled under another.
    ///
    /// # Errors
    /// [`Error::Outdated`] when the view was registered with other features since.
    pub(crate) fn check_layout(&self, layout: u32) -> Result<()> {
        match self.record.layout == layout {
            true => Ok(()),
            false => Err(Error::Outdated(self.record.name.clone())),
        }
    }
}

/// The epoch a lookup reads, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) epoch: u32,
    pub(crate) flipped_at: u64,
    /// Of a windowed view, the layout of the epoch's tiles.
    pub(crate) tiles: Option<u32>,
}

impl View {
    /// Whether its features are windows over events.
    pub(crate) fn is_windowed(&self) -> bool {
        self.state.read().tiles.is_some()
    }

    pub(crate) fn mark(&self) -> Mark {
        let state = self.state.read();
        let tiles = state.tiles.map(|tiles| tiles.present);
        Mark { epoch: state.record.epoch, flipped_at: state.flipped_at, tiles }
    }
}

/// The next ids to give out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) entity_type: u32,
    pub(crate) view: u32,
    pub(crate) layout: u32,
}

/// Entities and key types that share one key space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntityTypeRecord {
    pub(crate) project: String,
    pub(crate) entities: Vec<String>,
    pub(crate) key_types: Vec<DataType>,
}

/// A view as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ViewRecord {
    pub(crate) project: String,
    pub(crate) name: String,
    pub(crate) entity_type: u32,
    pub(crate) key_names: Vec<String>,
    /// The layout of the latest registration.
    pub(crate) layout: u32,
    /// The epoch lookups read; never 0.
    pub(crate) epoch: u32,
    /// The epoch a full refresh is filling.
    pub(crate) building: Option<u32>,
    pub(crate) next_epoch: u32,
}

/// A layout as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayoutRecord {
    pub(crate) view: u32,
    pub(crate) features: Vec<Column>,
}

/// A cursor as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CursorRecord {
    pub(crate) version: i64,
    pub(crate) materialized_at: Micros,
    /// The oldest layout that rows of the view may have.
    pub(crate) layout: u32,
}

/// Rows to be deleted in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Purge {
    pub(crate) view: u32,
    /// [`ALL_EPOCHS`] for a view that is gone.
    pub(crate) epoch: u32,
    pub(crate) entity_type: u32,
}

/// Stands for every epoch of a view.
pub(crate) const ALL_EPOCHS: u32 = u32::MAX;

/// A metadata key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetaKey {
    Counters,
    EntityType(u32),
    View(u32),
    Layout(u32),
    Numbers(u32),
    Cursor(u32),
    Progress(u32),
    Pushed(u32),
    Table(u32),
    Retained(u32),
    Purge(u32, u32),
    Feed(u32),
    Incarnations,
    Sequence,
    Aggregates(u32),
    Tiles(u32),
}

impl MetaKey {
    pub(crate) fn encode(self) -> Vec<u8> {
        let (tag, ids): (u8, Vec<u32>) = match self {
            Self::Counters => (b'c', vec![]),
            Self::EntityType(id) => (b'e', vec![id]),
            Self::View(id) => (b'v', vec![id]),
            Self::Layout(id) => (b'l', vec![id]),
            Self::Numbers(layout) => (b'n', vec![layout]),
            Self::Cursor(view) => (b'k', vec![view]),
            Self::Progress(view) => (b'p', vec![view]),
            Self::Pushed(view) => (b'q', vec![view]),
            Self::Table(view) => (b'b', vec![view]),
            Self::Retained(view) => (b't', vec![view]),
            Self::Purge(view, epoch) => (b'd', vec![view, epoch]),
            Self::Feed(id) => (b'f', vec![id]),
            Self::Incarnations => (b'i', vec![]),
            Self::Sequence => (b's', vec![]),
            Self::Aggregates(layout) => (b'w', vec![layout]),
            Self::Tiles(view) => (b'x', vec![view]),
        };
        let mut out = vec![tag];
        out.extend(ids.into_iter().flat_map(u32::to_be_bytes));
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, "a metadata key");
        let tag = reader.u8()?;
        let mut id = || Ok::<_, Error>(u32::from_be_bytes(reader.array()?));
        let key = match tag {
            b'c' => Self::Counters,
            b'e' => Self::EntityType(id()?),
            b'v' => Self::View(id()?),
            b'l' => Self::Layout(id()?),
            b'n' => Self::Numbers(id()?),
            b'k' => Self::Cursor(id()?),
            b'p' => Self::Progress(id()?),
            b'q' => Self::Pushed(id()?),
            b'b' => Self::Table(id()?),
            b't' => Self::Retained(id()?),
            b'd' => Self::Purge(id()?, id()?),
            b'f' => Self::Feed(id()?),
            b'i' => Self::Incarnations,
            b's' => Self::Sequence,
            b'w' => Self::Aggregates(id()?),
            b'x' => Self::Tiles(id()?),
            tag => return Err(Error::corrupt(format!("a metadata key has the unknown tag {tag}"))),
        };
        reader.end()?;
        Ok(key)
    }
}

/// Opens a record and checks its format.
fn record<'a>(bytes: &'a [u8], what: &'static str) -> Result<Reader<'a>> {
    let mut reader = Reader::new(bytes, what);
    match reader.u8()? {
        FORMAT => Ok(reader),
        format => Err(Error::corrupt(format!("{what} has format {format}, expected {FORMAT}"))),
    }
}

/// A list of what `read` reads. The count is not trusted to size anything.
fn list<T>(reader: &mut Reader<'_>, mut read: impl FnMut(&mut Reader<'_>) -> Result<T>) -> Result<Vec<T>> {
    let count = reader.u32()?;
    (0..count).map(|_| read(reader)).collect()
}

fn data_type(reader: &mut Reader<'_>) -> Result<DataType> {
    let name = reader.text()?;
    name.parse()
        .map_err(|_| Error::corrupt(format!("the metadata names a type `{name}` that this release does not know")))
}

fn put_texts<'a>(out: &mut Vec<u8>, texts: impl ExactSizeIterator<Item = &'a str>) {
    put_length(out, texts.len());
    texts.for_each(|text| put_text(out, text));
}

impl Counters {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        [self.entity_type, self.view, self.layout].iter().for_each(|id| out.extend_from_slice(&id.to_le_bytes()));
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = record(bytes, "the id counters")?;
        let counters = Self { entity_type: reader.u32()?, view: reader.u32()?, layout: reader.u32()? };
        reader.end()?;
        Ok(counters)
    }
}

impl EntityTypeRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        put_text(&mut out, &self.project);
        put_texts(&mut out, self.entities.iter().map(String::as_str));
        let types: Vec<String> = self.key_types.iter().map(DataType::to_string).collect();
        put_texts(&mut out, types.iter().map(String::as_str));
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = record(bytes, "an entity type")?;
        let project = reader.text()?;
        let entities = list(&mut reader, |reader| reader.text())?;
        let key_types = list(&mut reader, data_type)?;
        reader.end()?;
        Ok(Self { project, entities, key_types })
    }
}

impl ViewRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        put_text(&mut out, &self.project);
        put_text(&mut out, &self.name);
        out.extend_from_slice(&self.entity_type.to_le_bytes());
        put_texts(&mut out, self.key_names.iter().map(String::as_str));
        let numbers = [self.layout, self.epoch, self.building.unwrap_or(0), self.next_epoch];
        numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = record(bytes, "a view")?;
        let view = Self {
            project: reader.text()?,
            name: reader.text()?,
            entity_type: reader.u32()?,
            key_names: list(&mut reader, |reader| reader.text())?,
            layout: reader.u32()?,
            epoch: reader.u32()?,
            building: Some(reader.u32()?).filter(|&epoch| epoch != 0),
            next_epoch: reader.u32()?,
        };
        reader.end()?;
        Ok(view)
    }
}

impl LayoutRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.extend_from_slice(&self.view.to_le_bytes());
        put_length(&mut out, self.features.len());
        for feature in &self.features {
            put_text(&mut out, &feature.name);
            put_text(&mut out, &feature.data_type.to_string());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = record(bytes, "a layout")?;
        let view = reader.u32()?;
        let features = list(&mut reader, |reader| Ok(Column { name: reader.text()?, data_type: data_type(reader)? }))?;
        reader.end()?;
        Ok(Self { view, features })
    }
}

impl CursorRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.materialized_at.to_le_bytes());
        out.extend_from_slice(&self.layout.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = record(bytes, "a cursor")?;
        let cursor = Self { version: reader.i64()?, materialized_at: reader.i64()?, layout: reader.u32()? };
        reader.end()?;
        Ok(cursor)
    }
}

/// A progress as stored.
pub(crate) fn encode_progress(progress: &Progress) -> Vec<u8> {
    let mut out = vec![FORMAT, u8::from(progress.full)];
    out.extend_from_slice(&progress.target_version.to_le_bytes());
    out.extend_from_slice(&progress.position.to_le_bytes());
    out.extend_from_slice(&progress.rows_read.to_le_bytes());
    out.extend_from_slice(&progress.rows_written.to_le_bytes());
    out.extend_from_slice(&progress.started_at.to_le_bytes());
    out
}

/// Reads what [`encode_progress`] wrote.
pub(crate) fn decode_progress(bytes: &[u8]) -> Result<Progress> {
    let mut reader = record(bytes, "a progress")?;
    let progress = Progress {
        full: reader.u8()? != 0,
        target_version: reader.i64()?,
        position: reader.u64()?,
        rows_read: reader.u64()?,
        rows_written: reader.u64()?,
        started_at: reader.i64()?,
    };
    reader.end()?;
    Ok(progress)
}

impl Purge {
    pub(crate) fn key(&self) -> MetaKey {
        MetaKey::Purge(self.view, self.epoch)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.extend_from_slice(&self.entity_type.to_le_bytes());
        out
    }

    pub(crate) fn decode(view: u32, epoch: u32, bytes: &[u8]) -> Result<Self> {
        let mut reader = record(bytes, "a purge")?;
        let entity_type = reader.u32()?;
        reader.end()?;
        Ok(Self { view, epoch, entity_type })
    }
}

#[cfg(test)]
mod tests;
