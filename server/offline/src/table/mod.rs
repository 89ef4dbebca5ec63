//! Tables: the Delta log, snapshots with row addresses, appends that happen exactly once.
//!
//! [`Table`] is a handle on one source's rows · [`snapshot`] one version of it · `log` reads the history that gives each file
//! its address · `delta` opens, creates and extends Delta tables · `parquet_folder` lists a folder of Parquet files ·
//! [`changes`] says what became of rows between two versions · `identity` tells a table
//! from another in its place · [`append`] commits checked rows · [`fill`] what a query gave · [`compact`] rewrites small files ·
//! [`erase`] removes an entity from every file · `widen` lets columns hold more · `in_place` writes files anew for both · `vacuum` deletes what that left · `layout` tells how a table lies · [`read`] streams
//! files · `provider` shows a snapshot to SQL.
//!
//! A managed table is written only by [`Table::append`] and [`Table::erase`], that of a query only by [`Table::fill`]; every other
//! table is only read. Rows are never changed in place.

pub mod append;
pub mod changes;
pub mod compact;
pub mod erase;
pub mod fill;
pub mod read;
pub mod snapshot;

mod delta;
mod identity;
mod in_place;
mod layout;
mod local;
mod log;
mod object;
mod parquet_folder;
mod provider;
pub(crate) mod schema;
mod stats;
mod vacuum;
mod widen;
pub(crate) mod write;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use tidegate_schemas::definition::Column;
use url::Url;

use crate::error::{Error, Result};
use crate::runtime::Runtime;
pub use append::{AppendRequest, Appended, Chunk, ChunkCommit, Incoming};
pub use changes::{Changes, Lost, Removed, Since, Waiting};
pub use compact::{Compacted, Layout};
use datafusion::execution::SendableRecordBatchStream;
use delta::DeltaSource;
pub use erase::{ErasedTable, Erasure, ToldBy};
pub use fill::{Filled, Filling, Inputs};
pub use layout::{Overlap, TableStats};
use parquet_folder::ParquetFolder;
use snapshot::Snapshot;
pub use vacuum::{Vacuum, Vacuumed};

/// Where a table's rows are: an absolute path. Whether a caller may name it is decided by the server's configured roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A Delta table's folder.
    Delta(PathBuf),
    /// A folder of Parquet files.
    Parquet(PathBuf),
}

impl Location {
    /// A Delta table at an absolute path or file URI.
    ///
    /// # Errors
    /// Neither of the two.
    pub fn delta(location: &str) -> Result<Self> {
        absolute_path(location).map(Self::Delta)
    }

    /// A folder of Parquet files at an absolute path or file URI.
    ///
    /// # Errors
    /// Neither of the two.
    pub fn parquet(location: &str) -> Result<Self> {
        absolute_path(location).map(Self::Parquet)
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        match self {
            Self::Delta(path) | Self::Parquet(path) => path,
        }
    }
}

/// The path that an absolute path or a file URI names.
///
/// # Errors
/// Neither of the two, or a path that steps upwards.
pub fn absolute_path(location: &str) -> Result<PathBuf> {
    let bad = || Error::BadLocation { location: location.to_owned() };
    let path = if location.contains("://") {
        Url::parse(location).ok().filter(|url| url.scheme() == "file").and_then(|url| url.to_file_path().ok())
    } else {
        Some(PathBuf::from(location))
    };
    let path = path.ok_or_else(bad)?;
    let climbs = path.components().any(|part| part == std::path::Component::ParentDir);
    if path.is_absolute() && !climbs { Ok(path) } else { Err(bad()) }
}

/// Files that nobody deletes.
pub struct HeldFiles(#[expect(dead_code, reason = "dropped at the end")] tokio::sync::OwnedMutexGuard<()>);

/// A handle on one source's rows. Cheap to clone; clones share what they know of the log.
#[derive(Debug, Clone)]
pub struct Table {
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Delta(Arc<DeltaSource>),
    Parquet(Arc<ParquetFolder>),
}

/// Says of a batch which rows no append and no query may bring, whatever they were checked against.
#[derive(Clone)]
pub struct Guard(Arc<dyn Fn(&RecordBatch) -> Refused + Send + Sync>);

/// Which rows of a batch a guard refuses, or why it can't tell.
pub type Refused = Result<Vec<bool>, Box<dyn std::error::Error + Send + Sync>>;

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guard")
    }
}

impl Guard {
    /// A guard that asks `refused` about each batch: true for every row to be left out.
    pub fn new(refused: impl Fn(&RecordBatch) -> Refused + Send + Sync + 'static) -> Self {
        Self(Arc::new(refused))
    }

    /// Which rows are to be left out.
    ///
    /// # Errors
    /// What kept it from telling: then nothing may be appended.
    pub fn refused(&self, batch: &RecordBatch) -> Refused {
        (self.0)(batch)
    }
}

impl Table {
    /// Whether there is a table: of Delta a log with a commit, else a folder.
    #[must_use]
    pub fn is_at(location: &Location) -> bool {
        match location {
            Location::Delta(path) => delta::has_commits(path),
            Location::Parquet(path) => path.is_dir(),
        }
    }

    /// Opens an existing table, to read it. `name` is the source's name, for messages.
    ///
    /// # Errors
    /// Nothing there, another format, or a Delta feature that is not understood.
    pub async fn open(name: &str, location: &Location) -> Result<Self> {
        let source = match location {
            Location::Delta(path) => Source::Delta(Arc::new(DeltaSource::open(name, path, delta::Access::Read).await?)),
            Location::Parquet(path) => Source::Parquet(Arc::new(ParquetFolder::open(name, path).await?)),
        };
        Ok(Self { source })
    }

    /// Opens a managed table that is there, to read it and append to it.
    ///
    /// # Errors
    /// As [`Table::open`].
    pub async fn open_managed(name: &str, location: &Location) -> Result<Self> {
        Self::open_filled(name, location, None).await
    }

    /// Opens a managed table; creates it, or adds the columns it lacks, if needed. `required` columns can't be null.
    ///
    /// # Errors
    /// A column is stored with a type that does not widen to its own, a new column is required though rows exist, or as [`Table::open`].
    pub async fn open_or_create(
        name: &str,
        location: &Location,
        columns: &[Column],
        required: &BTreeSet<String>,
    ) -> Result<Self> {
        let Location::Delta(path) = location else {
            return Err(Error::ReadOnly { table: name.to_owned() });
        };
        let source = DeltaSource::open_or_create(name, path, columns, required).await?;
        Ok(Self { source: Source::Delta(Arc::new(source)) })
    }

    /// Adds the columns that an open managed table lacks; what is open of it goes on. A column may be narrower than it is wanted: the
    /// next append widens it.
    ///
    /// # Errors
    /// As [`Table::open_or_create`].
    pub async fn extend(&self, columns: &[Column], required: &BTreeSet<String>) -> Result<()> {
        match &self.source {
            Source::Delta(table) if table.writable() => table.extend(columns, required).await,
            _ => Err(Error::ReadOnly { table: self.name().to_owned() }),
        }
    }

    /// Opens the table that a query fills. With `columns` it is created where it is not there, without rows.
    ///
    /// # Errors
    /// As [`Table::open`].
    pub async fn open_filled(name: &str, location: &Location, columns: Option<&[Column]>) -> Result<Self> {
        let Location::Delta(path) = location else {
            return Err(Error::ReadOnly { table: name.to_owned() });
        };
        let source = DeltaSource::open_filled(name, path, columns).await?;
        Ok(Self { source: Source::Delta(Arc::new(source)) })
    }

    /// The source's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.source {
            Source::Delta(table) => table.name(),
            Source::Parquet(folder) => folder.name(),
        }
    }

    /// Whether versions tell what was added since; a folder of Parquet files is always at version 0.
    #[must_use]
    pub fn has_history(&self) -> bool {
        matches!(self.source, Source::Delta(_))
    }

    /// The version this handle has seen last; [`Table::snapshot`] looks for newer ones.
    #[must_use]
    pub fn version(&self) -> i64 {
        match &self.source {
            Source::Delta(table) => table.version(),
            Source::Parquet(_) => 0,
        }
    }

    /// The table at a version, or at the newest one, which the log is asked for.
    ///
    /// # Errors
    /// The table is gone, has no such version, or uses a feature that is not understood.
    pub async fn snapshot(&self, version: Option<i64>) -> Result<Arc<Snapshot>> {
        match &self.source {
            Source::Delta(table) => table.snapshot(version).await,
            Source::Parquet(folder) => folder.snapshot(version).await,
        }
    }

    /// What became of a batch id: where its rows are, or `None` if it was never appended.
    ///
    /// # Errors
    /// As [`Table::snapshot`].
    pub async fn ingested(&self, batch_id: &str) -> Result<Option<Appended>> {
        match &self.source {
            Source::Delta(table) => table.ingested(batch_id).await,
            Source::Parquet(_) => Ok(None),
        }
    }

    /// Checks all rows, then appends them in one commit: all or nothing, and once per batch id however often it is called.
    ///
    /// # Errors
    /// [`Error::Rejected`] names what was wrong with the rows; in that and every other case but
    /// [`Error::CommitUnknown`] nothing was written.
    pub async fn append(&self, runtime: &Arc<Runtime>, request: AppendRequest, batches: Incoming) -> Result<Appended> {
        match &self.source {
            Source::Delta(table) => append::append(table.clone(), runtime, request, batches).await,
            Source::Parquet(folder) => Err(Error::ReadOnly { table: folder.name().to_owned() }),
        }
    }

    /// The number of the last record that the table has of an outbox, by the application of its transactions; `None` where it has none.
    ///
    /// # Errors
    /// The table's log can't be read.
    pub async fn reached(&self, application: &str) -> Result<Option<u64>> {
        match &self.source {
            Source::Delta(table) => append::reached(table, application).await,
            Source::Parquet(_) => Ok(None),
        }
    }

    /// Appends the rows of an outbox in one commit that holds nothing else, unless the table has them already.
    ///
    /// # Errors
    /// As [`Table::append`].
    pub async fn append_chunk(&self, runtime: &Arc<Runtime>, chunk: Chunk, batches: Incoming) -> Result<Appended> {
        match &self.source {
            Source::Delta(table) => append::append_chunk(table.clone(), runtime, chunk, batches).await,
            Source::Parquet(folder) => Err(Error::ReadOnly { table: folder.name().to_owned() }),
        }
    }

    /// Puts what a query gave into the table, in one commit.
    ///
    /// # Errors
    /// [`Error::Contended`] where the table's rows come from something else than `filling` says; what the rows fail with. The
    /// table is as it was.
    pub async fn fill(
        &self,
        runtime: &Arc<Runtime>,
        filling: Filling,
        rows: SendableRecordBatchStream,
    ) -> Result<Filled> {
        match &self.source {
            Source::Delta(table) => fill::fill(table.clone(), runtime, filling, rows).await,
            Source::Parquet(folder) => Err(Error::ReadOnly { table: folder.name().to_owned() }),
        }
    }

    /// The versions of these inputs that the table's rows were computed from; `None` where one is not recorded.
    ///
    /// # Errors
    /// As [`Table::snapshot`].
    pub async fn inputs(&self, names: impl Iterator<Item = &String>) -> Result<Option<Inputs>> {
        match &self.source {
            Source::Delta(table) => {
                let (delta, _) = table.newest().await?;
                table.inputs_of(&delta, names).await
            }
            Source::Parquet(_) => Ok(None),
        }
    }

    /// Merges small files into few that are sorted by keys and event time; nothing a reader can see changes. Safe beside
    /// readers and writers, and nothing where nothing is to be done.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] for a table that is not managed, [`Error::Contended`] where its files or columns changed meanwhile;
    /// the table is as it was.
    pub async fn compact(&self, runtime: &Arc<Runtime>, layout: Layout) -> Result<Compacted> {
        match &self.source {
            Source::Delta(table) => compact::compact(table.clone(), runtime, layout).await,
            Source::Parquet(folder) => Err(Error::ReadOnly { table: folder.name().to_owned() }),
        }
    }

    /// Deletes the files that no version to be kept needs. The table's version stays; versions that are not kept can be read
    /// no more.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] for a table that is not managed; a kept version that the log does not have.
    pub async fn vacuum(&self, vacuum: &Vacuum) -> Result<Vacuumed> {
        match &self.source {
            Source::Delta(table) => vacuum::vacuum(table, vacuum).await,
            Source::Parquet(folder) => Err(Error::ReadOnly { table: folder.name().to_owned() }),
        }
    }

    /// Sets what appends and fills through this handle and its clones must leave out. Only the first call counts.
    pub fn guard(&self, guard: Guard) {
        if let Source::Delta(table) = &self.source {
            let _ = table.guard.set(guard);
        }
    }

    /// Removes every row of an entity from every version, and its bytes from every file of the table. Appends wait meanwhile;
    /// readers of files that are deleted fail. Doing it again finishes what was cut short.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] for a table that is not managed; [`Error::Contended`] where another process changed its files.
    pub async fn erase(&self, runtime: &Arc<Runtime>, erasure: Erasure) -> Result<ErasedTable> {
        match &self.source {
            Source::Delta(table) => erase::erase(table.clone(), runtime, erasure).await,
            Source::Parquet(folder) => Err(Error::ReadOnly { table: folder.name().to_owned() }),
        }
    }

    /// Keeps the files that any version needs until it is dropped: compaction, vacuum and erasure wait.
    pub async fn hold_files(&self) -> Option<HeldFiles> {
        match &self.source {
            Source::Delta(table) => Some(HeldFiles(table.compacting.clone().lock_owned().await)),
            Source::Parquet(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
