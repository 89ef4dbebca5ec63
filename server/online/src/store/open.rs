//! Opening the folder: format marker, lock, RocksDB options, metadata into memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::{fs, io};

use ahash::{HashMap, HashMapExt};
use parking_lot::{Mutex, RwLock};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, CompactionDecision, DB, DBCompressionType, DataBlockIndexType,
    IteratorMode, LogLevel, Options, SliceTransform,
};
use tidegate_schemas::definition::Column;

use super::disk::Disk;
use super::events::Window;
use super::feed::{FeedRecord, Feeds, FoundFeeds, decode_incarnations, decode_next};
use super::graves::Graves;
use super::pending::Waiting;
use super::purge::{Dead, Purger};
use super::reach::Reach;
use super::retention::{Cut, Retention};
use super::{EVENTS, GRAVES, Inner, OUTBOX, PENDING, ROWS, Settings, Store, TILES, lineage, load, token};
use crate::cache::EntityCache;
use crate::key;
use crate::layout::{
    Counters, CursorRecord, EntityTypeRecord, Layout, LayoutRecord, Loaded, MetaKey, Purge, View, ViewRecord,
    ViewState, decode_progress,
};
use crate::merge::Stripes;
use crate::tiles::TileLayouts;
use crate::tiles::record::decode_aggregates;
use crate::{Error, Result};

/// The newest folder format this release reads and the one it writes.
pub(super) const FORMAT: u32 = 1;

/// Pinned index and filter blocks live in the block cache: with none at all every read would load them again.
const SMALLEST_BLOCK_CACHE: usize = 1 << 20;

/// Files of level 0, and bytes that merges lag behind, at which writes stop: what RocksDB has by default.
const LEVEL_0_FILES: i32 = 36;
const PENDING_COMPACTION_BYTES: usize = 256 << 30;

/// RocksDB's folder in ours.
pub(super) const ROCKS: &str = "rocks";

/// What the keys of what is committed along with rows begin with.
const EXTRAS: &[u8] = b"o";

/// The words before the number in the marker.
const MARKER: &str = "tidegate online ";

impl Store {
    /// Opens the store in a folder, creating both where missing.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it open, [`Error::NewerFormat`] when a later release wrote it,
    /// [`Error::Corrupt`] for damaged metadata.
    pub fn open(path: impl AsRef<Path>, settings: &Settings) -> Result<Arc<Self>> {
        let path = path.as_ref();
        let folder = |source| Error::Folder { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(folder)?;
        let marked = check_marker(path)?;
        load::clean(path)?;
        let block_cache = Cache::new_hyper_clock_cache(settings.block_cache_bytes.max(SMALLEST_BLOCK_CACHE), 0);
        let dead = Arc::new(Dead::default());
        if marked {
            check_families(path)?;
        }
        let reach = Arc::new(Reach::unknown());
        let window = Window::new(settings.event_ids_kept);
        let db = open_rocks(path, settings, &block_cache, (&dead, &reach), &window)?;
        if !marked {
            write_marker(path).map_err(folder)?;
        }
        let identity = token::identity(path)?;
        let metadata = Metadata::read(&db)?;
        let feeds = Feeds::new(metadata.feeds);
        let graves = Arc::new(Graves::read(&db)?);
        let inner = Arc::new(Inner {
            path: path.to_owned(),
            db,
            identity,
            settings: settings.clone(),
            dead,
            reach,
            disk: Disk::new(path, settings.disk_reserve_bytes),
            durability: settings.durability,
            block_cache,
            cache: EntityCache::new(settings.entity_cache_bytes),
            graves,
            retention: Retention::new(metadata.cuts),
            stripes: Stripes::new(),
            ids: Stripes::new(),
            window,
            feeds,
            waiting: Waiting::unknown(),
            generation: AtomicU64::new(0),
            views: RwLock::new(metadata.views),
            layouts: RwLock::new(metadata.layouts),
            entity_types: RwLock::new(metadata.entity_types),
            counters: Mutex::new(metadata.counters),
            pending_purges: AtomicU64::new(0),
            loads: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            tiles_read: AtomicU64::new(0),
        });
        inner.own_incarnation()?;
        inner.count_outboxes()?;
        let purger = Purger::start(&inner, metadata.purges)?;
        Ok(Arc::new(Self { inner, purger }))
    }
}

fn marker_path(path: &Path) -> PathBuf {
    path.join("FORMAT")
}

/// Whether the folder is marked with a format this release reads.
fn check_marker(path: &Path) -> Result<bool> {
    let marker = marker_path(path);
    let text = match fs::read_to_string(&marker) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(Error::Folder { path: marker, source }),
    };
    let format = text.strip_prefix(MARKER).and_then(|number| number.trim().parse::<u32>().ok());
    match format {
        Some(FORMAT) => Ok(true),
        Some(found) if found > FORMAT => Err(Error::NewerFormat { path: path.to_owned(), found, supported: FORMAT }),
        _ => Err(Error::corrupt(format!("{} does not say `{MARKER}{FORMAT}`", marker.display()))),
    }
}

/// Written beside and then moved into place, so that a crash leaves no half marker.
pub(super) fn write_marker(path: &Path) -> io::Result<()> {
    let beside = path.join("FORMAT.new");
    fs::write(&beside, format!("{MARKER}{FORMAT}\n"))?;
    fs::File::open(&beside)?.sync_all()?;
    fs::rename(&beside, marker_path(path))?;
    fs::File::open(path)?.sync_all()
}

/// A store that was in use has its rows: where their family is missing, a damaged manifest has lost it. It would be made anew, and the
/// cursors beside it would speak of rows that are gone.
fn check_families(path: &Path) -> Result<()> {
    let rocks = path.join(ROCKS);
    let found = DB::list_cf(&Options::default(), &rocks).map_err(Error::store("reading the manifest"))?;
    match found.iter().any(|family| family == ROWS) {
        true => Ok(()),
        false => Err(Error::corrupt(format!("the manifest in {} knows no `{ROWS}`", rocks.display()))),
    }
}

fn open_rocks(
    path: &Path,
    settings: &Settings,
    block_cache: &Cache,
    (dead, reach): (&Arc<Dead>, &Arc<Reach>),
    window: &Window,
) -> Result<DB> {
    let rocks = path.join(ROCKS);
    let mut rows = row_options(settings, block_cache);
    let mut tiles = row_options(settings, block_cache);
    let (dead_tiles, reach) = (dead.clone(), reach.clone());
    tiles.set_compaction_filter("tidegate.dead.tiles.1", move |_, key, _| {
        match dead_tiles.has_tile(key) || reach.is_behind(key) {
            true => CompactionDecision::Remove,
            false => CompactionDecision::Keep,
        }
    });
    let dead = dead.clone();
    // Rows of epochs and views that are gone go when the files they are in are merged.
    rows.set_compaction_filter("tidegate.dead.1", move |_, key, _| match dead.has(key) {
        true => CompactionDecision::Remove,
        false => CompactionDecision::Keep,
    });
    let families = [
        ColumnFamilyDescriptor::new(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, metadata_options(settings)),
        ColumnFamilyDescriptor::new(ROWS, rows),
        ColumnFamilyDescriptor::new(TILES, tiles),
        ColumnFamilyDescriptor::new(PENDING, plain_options(settings, block_cache)),
        ColumnFamilyDescriptor::new(EVENTS, event_options(settings, block_cache, window)),
        ColumnFamilyDescriptor::new(OUTBOX, plain_options(settings, block_cache)),
        ColumnFamilyDescriptor::new(GRAVES, metadata_options(settings)),
    ];
    DB::open_cf_descriptors(&database_options(settings), rocks, families).map_err(|source| {
        let text: &str = source.as_ref();
        let locked = text.contains("lock file") || text.contains("lock hold by current process");
        match locked {
            true => Error::Locked { path: path.to_owned(), source },
            false => Error::store("opening the folder")(source),
        }
    })
}

/// After a full disk RocksDB writes again once so much is free as the largest write buffer holds: no family has a larger one than the
/// rows.
fn metadata_options(settings: &Settings) -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(settings.write_buffer_bytes);
    stop_and_never_slow(&mut options);
    options
}

fn database_options(settings: &Settings) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_open_files(-1);
    options.set_max_background_jobs(settings.background_jobs);
    options.set_keep_log_file_num(4);
    // What RocksDB has to say of compactions names keys, which an erasure must not leave behind.
    options.set_log_level(LogLevel::Warn);
    // Small, so that an erasure can have a new one: the manifest names files by their first and last keys.
    options.set_max_manifest_file_size(64 << 10);
    options.set_max_log_file_size(16 << 20);
    options.set_max_total_wal_size(4 * settings.write_buffer_bytes as u64);
    options.set_bytes_per_sync(1 << 20);
    // Families go to files one by one. Where a damaged manifest has lost the last of them, their log is gone as well: without this
    // the store would open with a cursor and without its rows.
    options.set_track_and_verify_wals_in_manifest(true);
    options
}

/// Options of the rows' files, those that loads make included.
pub(super) fn row_options(settings: &Settings, block_cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(block_cache);
    table.set_block_size(4 << 10);
    table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_bloom_filter(10.0, false);
    // Every read is for an entity: one bloom entry for each, not one for each of its rows.
    table.set_whole_key_filtering(false);
    table.set_optimize_filters_for_memory(true);
    table.set_format_version(6);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_prefix_extractor(SliceTransform::create("tidegate.entity.1", entity_of, Some(has_entity)));
    options.set_memtable_prefix_bloom_ratio(0.05);
    options.set_write_buffer_size(settings.write_buffer_bytes);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_compression_type(DBCompressionType::Lz4);
    stop_and_never_slow(&mut options);
    options
}

/// Writes that lag behind are stopped, and tried again ([`super::put`]); being slowed down before would only add to what they wait.
fn stop_and_never_slow(options: &mut Options) {
    options.set_level_zero_slowdown_writes_trigger(LEVEL_0_FILES);
    options.set_level_zero_stop_writes_trigger(LEVEL_0_FILES);
    options.set_soft_pending_compaction_bytes_limit(PENDING_COMPACTION_BYTES);
    options.set_hard_pending_compaction_bytes_limit(PENDING_COMPACTION_BYTES);
}

/// Options of what is read in order, and seldom.
fn plain_options(settings: &Settings, block_cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(block_cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_format_version(6);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(settings.write_buffer_bytes);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_compression_type(DBCompressionType::Lz4);
    stop_and_never_slow(&mut options);
    options
}

/// Options of event ids: most that are looked for are not there.
fn event_options(settings: &Settings, block_cache: &Cache, window: &Window) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(block_cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_bloom_filter(10.0, false);
    table.set_optimize_filters_for_memory(true);
    table.set_format_version(6);
    let mut options = plain_options(settings, block_cache);
    options.set_block_based_table_factory(&table);
    let window = window.clone();
    options.set_compaction_filter("tidegate.events.1", move |_, _, value| match window.is_over(value) {
        true => CompactionDecision::Remove,
        false => CompactionDecision::Keep,
    });
    options
}

fn entity_of(key: &[u8]) -> &[u8] {
    key::entity_length(key).and_then(|length| key.get(..length)).unwrap_or(key)
}

fn has_entity(key: &[u8]) -> bool {
    key::entity_length(key).is_some_and(|length| length <= key.len())
}

/// All metadata, in memory.
struct Metadata {
    counters: Counters,
    entity_types: HashMap<u32, EntityTypeRecord>,
    views: HashMap<u32, Arc<View>>,
    layouts: HashMap<u32, Arc<Layout>>,
    purges: Vec<Purge>,
    feeds: FoundFeeds,
    cuts: HashMap<u32, Cut>,
}

/// What one pass over the metadata finds about a view.
#[derive(Default)]
struct Found {
    record: Option<ViewRecord>,
    cursor: Option<CursorRecord>,
    progress: Option<super::Progress>,
    pushed: bool,
    tiles: Option<TileLayouts>,
}

impl Metadata {
    fn read(db: &DB) -> Result<Self> {
        let mut counters = Counters { entity_type: 1, view: 1, layout: 1 };
        let (mut entity_types, mut records, mut purges) = (HashMap::new(), HashMap::new(), Vec::new());
        let (mut aggregates, mut cuts, mut numbers) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut found: HashMap<u32, Found> = HashMap::new();
        let mut feeds = FoundFeeds::default();
        for entry in db.iterator(IteratorMode::Start) {
            let (key, value) = entry.map_err(Error::store("reading metadata"))?;
            if key.starts_with(EXTRAS) {
                continue;
            }
            match MetaKey::decode(&key)? {
                MetaKey::Counters => counters = Counters::decode(&value)?,
                MetaKey::EntityType(id) => drop(entity_types.insert(id, EntityTypeRecord::decode(&value)?)),
                MetaKey::View(id) => found.entry(id).or_default().record = Some(ViewRecord::decode(&value)?),
                MetaKey::Cursor(id) => found.entry(id).or_default().cursor = Some(CursorRecord::decode(&value)?),
                MetaKey::Progress(id) => found.entry(id).or_default().progress = Some(decode_progress(&value)?),
                MetaKey::Pushed(id) => found.entry(id).or_default().pushed = true,
                MetaKey::Layout(id) => drop(records.insert(id, LayoutRecord::decode(&value)?)),
                MetaKey::Numbers(layout) => drop(numbers.insert(layout, lineage::decode(&value)?)),
                MetaKey::Retained(view) => drop(cuts.insert(view, Cut::decode(&value)?)),
                MetaKey::Aggregates(id) => drop(aggregates.insert(id, decode_aggregates(&value)?)),
                MetaKey::Tiles(id) => found.entry(id).or_default().tiles = Some(TileLayouts::decode(&value)?),
                // Read when it is asked for.
                MetaKey::Table(_) => {}
                MetaKey::Purge(view, epoch) => purges.push(Purge::decode(view, epoch, &value)?),
                MetaKey::Feed(id) => feeds.feeds.push((id, FeedRecord::decode(&value)?)),
                MetaKey::Incarnations => feeds.incarnations = decode_incarnations(&value)?,
                MetaKey::Sequence => feeds.next = decode_next(&value)?,
            }
        }
        let view = |(id, found): (u32, Found)| Ok((id, Arc::new(View::assemble(id, found, &entity_types)?)));
        let views = found.into_iter().map(view).collect::<Result<_>>()?;
        let layouts = lineage::assemble(records, numbers, aggregates)?;
        Ok(Self { counters, entity_types, views, layouts, purges, feeds, cuts })
    }
}

impl View {
    fn assemble(id: u32, found: Found, entity_types: &HashMap<u32, EntityTypeRecord>) -> Result<Self> {
        let record = found.record.ok_or_else(|| Error::corrupt(format!("view {id} has a cursor but no definition")))?;
        let entity_type = entity_types.get(&record.entity_type).ok_or_else(|| {
            Error::corrupt(format!("view `{}` has entity type {}, which is missing", record.name, record.entity_type))
        })?;
        if entity_type.key_types.len() != record.key_names.len() {
            return Err(Error::corrupt(format!("view `{}` and its entity type differ in their keys", record.name)));
        }
        let loaded = if record.building.is_some() { Loaded::Unknown } else { Loaded::Nothing };
        let Found { cursor, progress, tiles, .. } = found;
        let state = ViewState { record, cursor, progress, loaded, flipped_at: 0, tiles };
        let view = Self::new(id, &entity_type.key_types, state);
        view.has_pushed.store(found.pushed, Ordering::Relaxed);
        Ok(view)
    }

    pub(super) fn new(id: u32, key_types: &[tidegate_schemas::types::DataType], state: ViewState) -> Self {
        let key = |(name, data_type): (&String, &tidegate_schemas::types::DataType)| Column {
            name: name.clone(),
            data_type: data_type.clone(),
        };
        Self {
            id,
            gate: RwLock::new(()),
            commits: Mutex::new(()),
            keys: state.record.key_names.iter().zip(key_types).map(key).collect(),
            project: state.record.project.clone(),
            name: state.record.name.clone(),
            entity_type: state.record.entity_type,
            state: RwLock::new(state),
            pushes: AtomicU64::new(0),
            has_pushed: AtomicBool::new(false),
        }
    }
}
