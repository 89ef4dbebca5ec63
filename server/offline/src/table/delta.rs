//! A Delta table: opening, creating and extending it, and its snapshots.
//!
//! delta-rs replays the log; this module turns what it finds into [`Snapshot`]s. The newest snapshot is kept, and a look at
//! whether the next commit file exists tells cheaply that it still is the newest.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::ScalarValue;
use deltalake::delta_datafusion::{DeltaScanConfig, DeltaScanNext};
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::{EagerSnapshot, LogicalFileView, StructField, StructType};
use deltalake::logstore::LogStoreRef;
use deltalake::protocol::SaveMode;
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError};
use object_store::{ObjectStore, ObjectStoreExt as _};
use parking_lot::Mutex;
use tidegate_schemas::definition::Column;
use url::Url;

use super::append::{Appended, ROWS_PREFIX, VERSION_PREFIX};

use super::identity::{Mark, mark};
use super::local::LocalFiles;
use super::log::{Before, Commit, History, LiveFile, Place, commit_path};
use super::snapshot::{DataFile, Snapshot};
use super::{Guard, schema, stats};
use crate::error::{Error, Result};

/// Snapshots of older versions kept for the next reader.
const OLDER_KEPT: usize = 4;

/// Attempts at a change of schema while other writers commit.
const SCHEMA_ATTEMPTS: usize = 5;

/// Reader features that are read correctly.
const READ_FEATURES: [&str; 4] = ["deletionVectors", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"];

/// The reader feature that gives columns other names in files than in the table.
const COLUMN_MAPPING: &str = "column mapping (columnMapping)";

/// Table properties of managed tables. The history must stay: it holds the addresses of rows.
const PROPERTIES: [(&str, &str); 1] = [("delta.enableExpiredLogCleanup", "false")];

/// Whether a table is only read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// A Delta table.
pub(super) struct DeltaSource {
    name: String,
    path: PathBuf,
    access: Access,
    log_store: LogStoreRef,
    store: Arc<dyn ObjectStore>,
    pub(super) history: History,
    newest: Mutex<Loaded>,
    older: Mutex<VecDeque<Arc<Snapshot>>>,
    /// One refresh at a time.
    refreshing: tokio::sync::Mutex<()>,
    /// One commit at a time from this process: others would only lose the race and try again.
    pub(super) committing: tokio::sync::Mutex<()>,
    /// One compaction at a time from this process.
    pub(super) compacting: Arc<tokio::sync::Mutex<()>>,
    /// Held by appends and fills while their rows go into files and a commit, alone by an erasure.
    pub(super) appending: tokio::sync::RwLock<()>,
    /// Which rows no append and no fill may bring.
    pub(super) guard: std::sync::OnceLock<Guard>,
}

#[derive(Clone)]
struct Loaded {
    delta: DeltaTable,
    snapshot: Arc<Snapshot>,
    /// Of the newest commit.
    mark: Option<Mark>,
}

impl std::fmt::Debug for DeltaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeltaSource").field("name", &self.name).field("path", &self.path).finish_non_exhaustive()
    }
}

impl DeltaSource {
    pub(super) async fn open(name: &str, path: &Path, access: Access) -> Result<Self> {
        require_log(name, path)?;
        let failed = |source| delta_error(name, "opening", source);
        let log_store = log_store(name, path)?;
        let store: Arc<dyn ObjectStore> = Arc::new(LocalFiles::below(path).map_err(|source| Error::Storage {
            table: name.to_owned(),
            doing: "opening",
            source,
        })?);
        let mut delta = DeltaTable::new(log_store.clone());
        delta.load().await.map_err(failed)?;
        let history = History::default();
        let snapshot = build(name, path, &log_store, &store, &history, &delta, None).await?;
        let mark = mark(name, &store, snapshot.version).await?;
        Ok(Self {
            name: name.to_owned(),
            path: path.to_owned(),
            access,
            log_store,
            store,
            history,
            newest: Mutex::new(Loaded { delta, snapshot, mark }),
            older: Mutex::default(),
            refreshing: tokio::sync::Mutex::default(),
            committing: tokio::sync::Mutex::default(),
            compacting: Arc::default(),
            appending: tokio::sync::RwLock::default(),
            guard: std::sync::OnceLock::new(),
        })
    }

    pub(super) async fn open_or_create(
        name: &str,
        path: &Path,
        columns: &[Column],
        required: &BTreeSet<String>,
    ) -> Result<Self> {
        let wanted = schema::defined(columns, required);
        if !has_commits(path) {
            create(name, path, &wanted).await?;
        }
        let table = Self::open(name, path, Access::Write).await?;
        table.extend(columns, required).await?;
        Ok(table)
    }

    pub(super) async fn extend(&self, columns: &[Column], required: &BTreeSet<String>) -> Result<()> {
        let wanted = schema::defined(columns, required);
        for _ in 0..SCHEMA_ATTEMPTS {
            if self.extend_once(&wanted).await? {
                return Ok(());
            }
        }
        Err(Error::Contended { table: self.name.clone() })
    }

    pub(super) async fn open_filled(name: &str, path: &Path, columns: Option<&[Column]>) -> Result<Self> {
        if let Some(columns) = columns
            && !has_commits(path)
        {
            create(name, path, &schema::defined(columns, &BTreeSet::new())).await?;
        }
        Self::open(name, path, Access::Write).await
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    pub(super) fn log_store(&self) -> LogStoreRef {
        self.log_store.clone()
    }

    pub(super) fn writable(&self) -> bool {
        self.access == Access::Write
    }

    pub(super) fn version(&self) -> i64 {
        self.newest.lock().snapshot.version
    }

    pub(super) async fn snapshot(&self, version: Option<i64>) -> Result<Arc<Snapshot>> {
        if let Some(known) = version.and_then(|version| self.known(version)) {
            require_log(&self.name, &self.path)?;
            return Ok(known);
        }
        let newest = self.refresh().await?.snapshot;
        match version {
            None => Ok(newest),
            Some(version) if version == newest.version => Ok(newest),
            Some(version) if version > newest.version || version < 0 => {
                Err(Error::VersionMissing { table: self.name.clone(), version, latest: newest.version })
            }
            Some(version) => self.load_older(version, newest.version).await,
        }
    }

    fn known(&self, version: i64) -> Option<Arc<Snapshot>> {
        let newest = self.newest.lock().snapshot.clone();
        if newest.version == version {
            return Some(newest);
        }
        self.older.lock().iter().find(|snapshot| snapshot.version == version).cloned()
    }

    async fn load_older(&self, version: i64, latest: i64) -> Result<Arc<Snapshot>> {
        let number = u64::try_from(version).unwrap_or_default();
        let mut delta = DeltaTable::new(self.log_store.clone());
        if let Err(error) = delta.load_version(number).await {
            tracing::debug!(table = self.name, version, %error, "a version can't be loaded");
            return Err(Error::VersionMissing { table: self.name.clone(), version, latest });
        }
        let snapshot = self.build(&delta, None).await?;
        let mut older = self.older.lock();
        older.push_front(snapshot.clone());
        older.truncate(OLDER_KEPT);
        Ok(snapshot)
    }

    /// The newest state of the log.
    async fn refresh(&self) -> Result<Loaded> {
        let _one = self.refreshing.lock().await;
        require_log(&self.name, &self.path)?;
        let mut loaded = self.newest.lock().clone();
        if mark(&self.name, &self.store, loaded.snapshot.version).await? != loaded.mark {
            tracing::warn!(table = self.name, "another table is in the place of the one that was read");
            return self.load_anew().await;
        }
        if !self.exists(loaded.snapshot.version + 1).await? {
            return Ok(loaded);
        }
        loaded.delta.update_state().await.map_err(|source| delta_error(&self.name, "reading the log", source))?;
        self.keep(loaded.delta, Some(&loaded.snapshot)).await
    }

    /// Reads the log from its beginning; nothing that was known holds any more.
    async fn load_anew(&self) -> Result<Loaded> {
        self.history.forget();
        self.older.lock().clear();
        let mut delta = DeltaTable::new(self.log_store.clone());
        delta.load().await.map_err(|source| delta_error(&self.name, "reading the log", source))?;
        self.keep(delta, None).await
    }

    async fn keep(&self, delta: DeltaTable, before: Option<&Snapshot>) -> Result<Loaded> {
        let snapshot = self.build(&delta, before).await?;
        let mark = mark(&self.name, &self.store, snapshot.version).await?;
        let loaded = Loaded { delta, snapshot, mark };
        *self.newest.lock() = loaded.clone();
        Ok(loaded)
    }

    /// The newest state of the log as delta-rs holds it, for a commit.
    pub(super) async fn newest(&self) -> Result<(DeltaTable, Arc<Snapshot>)> {
        let loaded = self.refresh().await?;
        Ok((loaded.delta, loaded.snapshot))
    }

    /// Forgets what is known and reads the log anew: its files were changed.
    pub(super) async fn reload(&self) -> Result<()> {
        let _one = self.refreshing.lock().await;
        self.load_anew().await.map(drop)
    }

    /// What the commits of some versions did; `None` where the log no longer says.
    pub(super) async fn commits(&self, from: i64, to: i64) -> Result<Vec<(i64, Option<Arc<Commit>>)>> {
        self.history.commits(&self.name, &self.store, from, to).await
    }

    async fn exists(&self, version: i64) -> Result<bool> {
        match self.store.head(&commit_path(version)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(Error::Storage { table: self.name.clone(), doing: "reading the log", source }),
        }
    }

    async fn build(&self, delta: &DeltaTable, before: Option<&Snapshot>) -> Result<Arc<Snapshot>> {
        build(&self.name, &self.path, &self.log_store, &self.store, &self.history, delta, before).await
    }

    /// What became of a batch: its version and rows travel as application transactions, which checkpoints keep.
    pub(super) async fn ingested(&self, batch_id: &str) -> Result<Option<Appended>> {
        let (delta, _) = self.newest().await?;
        self.outcome(&delta, batch_id).await
    }

    pub(super) async fn outcome(&self, delta: &DeltaTable, batch_id: &str) -> Result<Option<Appended>> {
        let failed = |source| delta_error(&self.name, "looking for a batch id", source);
        let state = delta.snapshot().map_err(failed)?.snapshot();
        let of = |prefix: &str| state.transaction_version(&self.log_store, format!("{prefix}{batch_id}"));
        let Some(version) = of(VERSION_PREFIX).await.map_err(failed)? else {
            return Ok(None);
        };
        let rows = of(ROWS_PREFIX).await.map_err(failed)?.and_then(|rows| u64::try_from(rows).ok()).unwrap_or_default();
        Ok(Some(Appended { version, rows, already: true }))
    }

    /// The version of an application's newest transaction.
    pub(super) async fn transaction(&self, delta: &DeltaTable, application: &str) -> Result<Option<i64>> {
        let failed = |source| delta_error(&self.name, "looking for a transaction", source);
        let state = delta.snapshot().map_err(failed)?.snapshot();
        state.transaction_version(&self.log_store, application.to_owned()).await.map_err(failed)
    }

    /// Adds the columns the table lacks and drops what is no longer required; `false` if another writer came first. A column may be
    /// narrower than it is wanted: the next append widens it ([`super::widen`]).
    async fn extend_once(&self, wanted: &SchemaRef) -> Result<bool> {
        let (delta, snapshot) = self.newest().await?;
        let mut missing = Vec::new();
        for field in wanted.fields() {
            match snapshot.schema.field_with_name(field.name()) {
                Err(_) => missing.push(field.as_ref().clone().with_nullable(true)),
                Ok(stored) if !schema::reads_as(stored.data_type(), field.data_type()) => {
                    return Err(Error::TypeChanged {
                        table: self.name.clone(),
                        column: field.name().clone(),
                        stored: schema::type_name(stored.data_type()),
                        wanted: schema::type_name(field.data_type()),
                    });
                }
                Ok(_) => {}
            }
        }
        let loosened = snapshot.schema.fields().iter().find(|stored| {
            let wanted = wanted.field_with_name(stored.name());
            !stored.is_nullable() && !wanted.is_ok_and(|field| !field.is_nullable())
        });
        let changed = match (missing.is_empty(), loosened) {
            (true, None) => return Ok(true),
            (false, _) => delta.add_columns().with_fields(struct_fields(&self.name, &Schema::new(missing))?).await,
            (true, Some(stored)) => delta.drop_column_not_null().with_column(stored.name()).await,
        };
        match changed {
            // Looks again: there may be more to do.
            Ok(_) => Ok(false),
            Err(DeltaTableError::Transaction { .. } | DeltaTableError::VersionAlreadyExists(_)) => Ok(false),
            Err(source) => Err(delta_error(&self.name, "changing the schema", source)),
        }
    }
}

/// Whether a table is in a folder: its log has a commit or a checkpoint. One without was begun and never made.
pub(super) fn has_commits(path: &Path) -> bool {
    let mut entries = match path.join("_delta_log").read_dir() {
        Ok(entries) => entries,
        // What can't be looked at may be there.
        Err(error) => return !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    };
    entries.any(|entry| {
        let Ok(entry) = entry else { return true };
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let numbered = name.as_bytes().first().is_some_and(u8::is_ascii_digit);
        numbered && (name.ends_with(".json") || name.ends_with(".parquet"))
    })
}

async fn create(name: &str, path: &Path, wanted: &SchemaRef) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|source| Error::Io { doing: "making a table's folder", source })?;
    let created = deltalake::operations::create::CreateBuilder::new()
        .with_log_store(log_store(name, path)?)
        .with_save_mode(SaveMode::Ignore)
        .with_columns(struct_fields(name, wanted)?)
        .with_configuration(PROPERTIES.map(|(key, value)| (key, Some(value))))
        .await;
    match created {
        Ok(_) => Ok(()),
        // Another process made it between the look and the commit.
        Err(_) if has_commits(path) => Ok(()),
        Err(source) => Err(delta_error(name, "creating", source)),
    }
}

fn struct_fields(name: &str, schema: &Schema) -> Result<Vec<StructField>> {
    Ok(struct_type(name, schema)?.fields().cloned().collect())
}

pub(super) fn struct_type(name: &str, schema: &Schema) -> Result<StructType> {
    let converted: Result<StructType, _> = schema.try_into_kernel();
    converted.map_err(|error| delta_error(name, "describing the columns", error.into()))
}

fn log_store(name: &str, path: &Path) -> Result<LogStoreRef> {
    let url =
        Url::from_directory_path(path).map_err(|()| Error::BadLocation { location: path.display().to_string() })?;
    let root = Arc::new(LocalFiles::default());
    DeltaTableBuilder::from_url(url.clone())
        .and_then(|builder| builder.with_storage_backend(root, url).build_storage())
        .map_err(|source| delta_error(name, "opening", source))
}

/// Fails if the table's folder or its log is not there: an empty listing would look like an empty table.
fn require_log(name: &str, path: &Path) -> Result<()> {
    if path.join("_delta_log").is_dir() {
        return Ok(());
    }
    let (table, path) = (name.to_owned(), path.to_owned());
    let holds_something = path.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    Err(if holds_something {
        Error::WrongFormat { table, path, expected: "a Delta table" }
    } else {
        Error::TableMissing { table, path }
    })
}

pub(super) fn delta_error(table: &str, doing: &'static str, source: DeltaTableError) -> Error {
    let text = source.to_string();
    if text.contains("olumn mapping") {
        return Error::UnsupportedFeature { table: table.to_owned(), feature: COLUMN_MAPPING.to_owned() };
    }
    if text.contains("nsupported") || text.contains("not supported") {
        return Error::UnsupportedFeature { table: table.to_owned(), feature: text };
    }
    Error::Delta { table: table.to_owned(), doing, source: Box::new(source) }
}

/// The first feature that a reader must know and we don't.
fn unknown_feature(state: &EagerSnapshot) -> Option<String> {
    let mapping = state.metadata().configuration().get("delta.columnMapping.mode");
    if mapping.is_some_and(|mode| mode != "none") {
        return Some(COLUMN_MAPPING.to_owned());
    }
    let known = |feature: &String| READ_FEATURES.contains(&feature.as_str()) || feature == "columnMapping";
    let features = state.protocol().reader_features().unwrap_or_default();
    features.iter().map(ToString::to_string).find(|feature| !known(feature))
}

async fn build(
    name: &str,
    path: &Path,
    log_store: &LogStoreRef,
    store: &Arc<dyn ObjectStore>,
    history: &History,
    delta: &DeltaTable,
    before: Option<&Snapshot>,
) -> Result<Arc<Snapshot>> {
    let failed = |source| delta_error(name, "reading the log", source);
    let state = delta.snapshot().map_err(failed)?.snapshot();
    if let Some(feature) = unknown_feature(state) {
        return Err(Error::UnsupportedFeature { table: name.to_owned(), feature });
    }
    let version = i64::try_from(state.version()).unwrap_or(i64::MAX);
    let schema = schema::normal_schema(&state.arrow_schema());
    let views: Vec<LogicalFileView> = state.log_data().iter().collect();
    let live: Vec<LiveFile> = views
        .iter()
        .map(|view| LiveFile { path: view.path().into_owned(), modified: view.modification_time() })
        .collect();
    let places = history.places(name, store, version, &live, before.map(|before| known(&views, before))).await?;
    let deleted = deleted_rows(name, path, log_store, state, &views).await?;
    let partition_columns = state.metadata().partition_columns();
    let mut files = views
        .iter()
        .map(|view| data_file(view, &schema, partition_columns, &places, &deleted))
        .collect::<Result<Vec<_>>>()?;
    files.sort_by(|a, b| (a.added_version, a.order, &a.path).cmp(&(b.added_version, b.order, &b.path)));
    let id = Some(state.metadata().id().to_owned());
    Ok(Arc::new(Snapshot { name: name.to_owned(), id, version, schema, files, store: store.clone() }))
}

/// The places that live files have in an earlier snapshot.
fn known(views: &[LogicalFileView], before: &Snapshot) -> Before {
    let by_path: HashMap<_, _> = before.files.iter().map(|file| (&file.path, file)).collect();
    let place = |view: &LogicalFileView| {
        let file = by_path.get(&view.object_store_path())?;
        let place = Place {
            version: file.added_version,
            order: file.order,
            committed: file.committed,
            compacted: file.compacted,
        };
        Some((view.path().into_owned(), place))
    };
    Before { version: before.version, places: views.iter().filter_map(place).collect() }
}

fn data_file(
    view: &LogicalFileView,
    schema: &Schema,
    partition_columns: &[String],
    places: &HashMap<String, Place>,
    deleted: &HashMap<String, Arc<[u64]>>,
) -> Result<DataFile> {
    let path = view.path();
    let Some(place) = places.get(path.as_ref()) else {
        return Err(Error::Internal(format!("file {path} has no place in the history")));
    };
    let stats = stats::parse(view.stats().as_deref(), schema);
    Ok(DataFile {
        path: view.object_store_path(),
        size: u64::try_from(view.size()).unwrap_or_default(),
        rows: stats.rows,
        added_version: place.version,
        order: place.order,
        committed: place.committed,
        compacted: place.compacted,
        partition: partition(view, schema, partition_columns)?,
        ranges: stats.ranges,
        deleted_rows: deleted.get(path.as_ref()).cloned(),
    })
}

fn partition(
    view: &LogicalFileView,
    schema: &Schema,
    partition_columns: &[String],
) -> Result<BTreeMap<String, ScalarValue>> {
    if partition_columns.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut values = view.partition_values_map();
    let value = |column: &String| {
        let data_type = schema.field_with_name(column)?.data_type();
        let value = match values.remove(column).flatten().filter(|text| !text.is_empty()) {
            Some(text) => ScalarValue::try_from_string(text, data_type)?,
            None => ScalarValue::try_from(data_type)?,
        };
        Ok((column.clone(), value))
    };
    partition_columns.iter().map(value).collect()
}

/// The rows that deletion vectors removed, by path of the file.
async fn deleted_rows(
    name: &str,
    path: &Path,
    log_store: &LogStoreRef,
    state: &EagerSnapshot,
    views: &[LogicalFileView],
) -> Result<HashMap<String, Arc<[u64]>>> {
    if views.iter().all(|view| view.deletion_vector_descriptor().is_none()) {
        return Ok(HashMap::new());
    }
    let failed =
        |source: datafusion::error::DataFusionError| delta_error(name, "reading deletion vectors", source.into());
    let session = datafusion::prelude::SessionContext::new();
    let root = log_store.root_url();
    session.runtime_env().register_object_store(root, log_store.root_object_store(None));
    let scan = DeltaScanNext::new(state.clone(), DeltaScanConfig::default()).map_err(failed)?;
    let vectors = scan.deletion_vectors(&session.state()).await.map_err(failed)?;
    let mut deleted = HashMap::with_capacity(vectors.len());
    for vector in vectors {
        let file = Url::parse(&vector.filepath).ok().and_then(|url| url.to_file_path().ok());
        let Some(relative) = file.as_ref().and_then(|file| file.strip_prefix(path).ok()).and_then(Path::to_str) else {
            return Err(Error::Internal(format!("a deletion vector names {}", vector.filepath)));
        };
        let rows = vector.keep_mask.iter().enumerate().filter(|(_, keep)| !**keep).map(|(row, _)| row as u64);
        deleted.insert(relative.to_owned(), rows.collect());
    }
    // Losing one would bring deleted rows back.
    let expected = views.iter().filter(|view| view.deletion_vector_descriptor().is_some());
    if let Some(lost) = expected.map(|view| view.path()).find(|path| !deleted.contains_key(path.as_ref())) {
        return Err(Error::Internal(format!("the deletion vector of {lost} was not found")));
    }
    Ok(deleted)
}
