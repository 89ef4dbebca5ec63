//! Uploaded spines: Arrow IPC streams in the spill folder, kept for a while for the principal that sent them. The stream format,
//! not the file format, because only there may a dictionary change from batch to batch.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::DataFusionError;
use datafusion::datasource::provider_as_source;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::StreamExt;
use parking_lot::Mutex;
use tidegate_offline::training::digest::{Digester, TableDigest};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::time::Micros;

use crate::config;
use crate::service::{Batches, Error, Principal, Result};

/// Batches read ahead of the plan that consumes a spine.
const READ_AHEAD: usize = 2;

/// The spines there are.
#[derive(Debug)]
pub(in crate::service) struct Spines {
    folder: PathBuf,
    max_bytes: u64,
    keep: Duration,
    kept: Mutex<HashMap<String, Kept>>,
}

#[derive(Debug)]
struct Kept {
    principal: Principal,
    project: String,
    expires_at: Micros,
    spool: Arc<Spool>,
}

/// A spine on disk; its file goes with the last owner, so that a training set in progress keeps it.
#[derive(Debug)]
pub(in crate::service) struct Spool {
    path: PathBuf,
    schema: SchemaRef,
    pub(in crate::service) rows: u64,
}

impl Spool {
    /// Its file, an Arrow IPC stream.
    pub(in crate::service) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the schema of a file that was filled from elsewhere.
    ///
    /// # Errors
    /// It is no Arrow IPC stream.
    pub(in crate::service) fn open(mut self, rows: u64) -> Result<Self> {
        self.schema = self.reader()?.schema();
        self.rows = rows;
        Ok(self)
    }

    /// The fingerprint of its rows. Reads them all: not for a thread that serves.
    ///
    /// # Errors
    /// The file is damaged, or has a column of a type that can't be hashed.
    pub(in crate::service) fn digest(&self) -> Result<TableDigest> {
        let mut digester = Digester::new(&self.schema);
        for batch in self.reader()? {
            digester.update(&batch?).map_err(tidegate_offline::Error::from)?;
        }
        Ok(digester.finish())
    }

    /// Writes what `keep` leaves of each batch to the file of another spool.
    ///
    /// # Errors
    /// The file is damaged, or the other can't be written.
    pub(in crate::service) fn filter_into(
        &self,
        to: &Self,
        mut keep: impl FnMut(&RecordBatch) -> Result<RecordBatch>,
    ) -> Result<()> {
        let file = File::create(&to.path).map_err(unwritable)?;
        let mut writer = StreamWriter::try_new_buffered(file, &self.schema)?;
        for batch in self.reader()? {
            writer.write(&keep(&batch?)?)?;
        }
        Ok(writer.finish()?)
    }

    fn reader(&self) -> Result<StreamReader<BufReader<File>>> {
        let file = File::open(&self.path).map_err(unwritable)?;
        Ok(StreamReader::try_new(BufReader::new(file), None)?)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Spines {
    pub(in crate::service) fn new(folder: PathBuf, settings: &config::Spines) -> Self {
        let max_bytes = settings.max_bytes as u64;
        Self { folder, max_bytes, keep: settings.keep, kept: Mutex::default() }
    }

    /// Writes batches to disk.
    pub(in crate::service) async fn spool(&self, batches: Batches) -> Result<Spool> {
        let schema = batches.schema.clone();
        let path = self.folder.join(format!("{}.arrow", uuid::Uuid::new_v4()));
        // Made before the first write, so that a failure half way removes the file.
        let mut spool = Spool { path: path.clone(), schema: schema.clone(), rows: 0 };
        let folder = self.folder.clone();
        let max_bytes = self.max_bytes;
        let open = move || -> io::Result<Capped<File>> {
            std::fs::create_dir_all(&folder)?;
            Ok(Capped { inner: File::create(&path)?, left: max_bytes })
        };
        let file = open().map_err(unwritable)?;
        let mut writer = StreamWriter::try_new_buffered(file, &schema).map_err(|error| self.failed(error))?;
        let mut stream = batches.stream;
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            spool.rows += batch.num_rows() as u64;
            // A few megabytes into the page cache: shorter than a hop to another thread is worth.
            writer.write(&batch).map_err(|error| self.failed(error))?;
        }
        writer.finish().map_err(|error| self.failed(error))?;
        Ok(spool)
    }

    /// A file for a spine that comes from elsewhere, to be filled before [`Spool::open`] reads it. It goes with the spool.
    pub(in crate::service) fn empty(&self) -> Result<Spool> {
        std::fs::create_dir_all(&self.folder).map_err(unwritable)?;
        let path = self.folder.join(format!("{}.arrow", uuid::Uuid::new_v4()));
        Ok(Spool { path, schema: Arc::new(Schema::empty()), rows: 0 })
    }

    /// Keeps a spine for its principal; gives its id and when it is forgotten.
    pub(in crate::service) fn keep(
        &self,
        principal: &Principal,
        project: &str,
        spool: Spool,
        now: Micros,
    ) -> (String, Micros) {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let expires_at = now.saturating_add(i64::try_from(self.keep.as_micros()).unwrap_or(i64::MAX));
        let kept =
            Kept { principal: principal.clone(), project: project.to_owned(), expires_at, spool: Arc::new(spool) };
        self.kept.lock().insert(id.clone(), kept);
        (id, expires_at)
    }

    /// A spine by its id. Somebody else's is as unknown as none.
    pub(in crate::service) fn find(
        &self,
        principal: &Principal,
        project: &str,
        id: &str,
        now: Micros,
    ) -> Result<Arc<Spool>> {
        let kept = self.kept.lock();
        let found = kept
            .get(id)
            .filter(|kept| kept.principal == *principal && kept.project == project && kept.expires_at > now);
        found.map(|kept| kept.spool.clone()).ok_or_else(|| {
            Error::not_found(format!(
                "no uploaded spine `{id}` in project `{project}`; it may have expired: upload it again"
            ))
        })
    }

    /// Forgets spines whose time is over.
    pub(in crate::service) fn forget_expired(&self, now: Micros) {
        self.kept.lock().retain(|_, kept| kept.expires_at > now);
    }

    /// Forgets all spines of a project, and says how many those were.
    pub(in crate::service) fn forget(&self, project: &str) -> u64 {
        let mut kept = self.kept.lock();
        let before = kept.len();
        kept.retain(|_, spine| spine.project != project);
        (before - kept.len()) as u64
    }

    fn failed(&self, error: arrow::error::ArrowError) -> Error {
        match error {
            arrow::error::ArrowError::IoError(_, source) if source.kind() == io::ErrorKind::QuotaExceeded => {
                let limit = self.max_bytes >> 20;
                Error::new(
                    ErrorKind::Exhausted,
                    format!(
                        "the spine is larger than {limit} MiB; split it, or ask the operator to raise spines.max_bytes"
                    ),
                )
            }
            arrow::error::ArrowError::IoError(_, source) => unwritable(source),
            other => other.into(),
        }
    }
}

fn unwritable(source: io::Error) -> Error {
    let kind = match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, "the spine can't be written to the spill folder; check its space and permissions")
        .with_source(source)
}

/// A writer that refuses to grow past a size.
struct Capped<W> {
    inner: W,
    left: u64,
}

impl<W: Write> Write for Capped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            return Err(io::Error::from(io::ErrorKind::QuotaExceeded));
        };
        self.left = left;
        self.inner.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A plan that reads a spine from disk, in its order.
pub(in crate::service) fn scan(spool: Arc<Spool>) -> Result<LogicalPlan> {
    let schema = spool.schema.clone();
    let table = StreamingTable::try_new(schema, vec![Arc::new(SpoolPartition { spool })]).map_err(planning)?;
    LogicalPlanBuilder::scan("spine", provider_as_source(Arc::new(table)), None)
        .and_then(LogicalPlanBuilder::build)
        .map_err(planning)
}

fn planning(error: DataFusionError) -> Error {
    tidegate_offline::Error::from(error).into()
}

#[derive(Debug)]
struct SpoolPartition {
    spool: Arc<Spool>,
}

impl PartitionStream for SpoolPartition {
    fn schema(&self) -> &SchemaRef {
        &self.spool.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(self.spool.schema.clone(), READ_AHEAD);
        let batches = builder.tx();
        let spool = self.spool.clone();
        builder.spawn_blocking(move || {
            let file = BufReader::new(File::open(&spool.path)?);
            for batch in StreamReader::try_new(file, None)? {
                let batch: RecordBatch = batch?;
                if batches.blocking_send(Ok(batch)).is_err() {
                    break;
                }
            }
            Ok(())
        });
        builder.build()
    }
}
