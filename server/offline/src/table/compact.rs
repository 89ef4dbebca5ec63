//! Compaction: rows of many small files in few files, sorted by keys and event time over all of them.
//!
//! Nothing a reader can see changes. Rows keep their order of history where it decides anything: of rows with equal keys
//! and times the later stays behind the earlier, the new files stand where the last of the old ones stood (tag
//! [`ADDRESS`] of the log's add action), and each row keeps the time of the commit that brought it (column [`COMMITTED`],
//! which the table's schema does not name and other readers pass over).
//!
//! Files of one commit, and the files of one compaction, are a *run*. The newest runs are merged, and older ones as long
//! as they are not much larger than what is merged already, so that a row is rewritten about as often as the table grows
//! fourfold. One run alone is left as it is: compacting again does nothing.
//!
//! The old files stay for readers of older versions until the table is vacuumed. The commit marks adds and removes as no
//! change of data; appends that come in between are no conflict.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::col;
use deltalake::kernel::{Action, Add, MetadataExt, Transaction};
use deltalake::protocol::DeltaOperation;
use futures::{StreamExt, TryStreamExt};
use tidegate_schemas::failpoint::{Failpoint, reach};

use super::append::{Unpublished, commit_exactly, lost_race};
use super::delta::{DeltaSource, delta_error, struct_type};
use super::read::{ReadOptions, read_file};
use super::snapshot::{DataFile, Snapshot};
use super::write::{FILE_BYTES, FileWriter, ROW_GROUP_ROWS};
use crate::error::{Error, Result};
use crate::runtime::Runtime;

/// Column of compacted files: when the commit that brought a row was made.
pub(crate) const COMMITTED: &str = "__tidegate_committed";

/// Tag of compacted files: version and order of the last row's file before.
pub(super) const ADDRESS: &str = "tidegate.address";

/// Column of rows on their way: their order of history.
const ORDER: &str = "__tidegate_order";

/// A run is merged along when it is smaller than a row group, or holds no more than so many times the rows of all newer
/// ones that are merged.
const GROWTH: u64 = 4;

/// Attempts at a commit while others commit first.
const COMMIT_ATTEMPTS: usize = 100;

/// How a table is to lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Columns that rows are sorted by, before the event time.
    pub keys: Vec<String>,
    /// The event time column.
    pub event_time: String,
    /// Leaves alone what later versions brought: readers that have come this far then see no row move.
    pub up_to: Option<i64>,
}

/// What a compaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compacted {
    /// The version it made, or the newest there was where nothing was to be done.
    pub version: i64,
    /// Files rewritten.
    pub files_before: u64,
    /// Files written instead.
    pub files_after: u64,
    /// Rows rewritten.
    pub rows: u64,
    /// Bytes of the files rewritten.
    pub bytes_before: u64,
    /// Bytes of the files written.
    pub bytes_after: u64,
}

pub(super) async fn compact(table: Arc<DeltaSource>, runtime: &Arc<Runtime>, layout: Layout) -> Result<Compacted> {
    if !table.writable() {
        return Err(Error::ReadOnly { table: table.name().to_owned() });
    }
    let plan_runtime = runtime.clone();
    runtime.run(async move { Compaction { table, runtime: plan_runtime, layout }.run().await }).await
}

struct Compaction {
    table: Arc<DeltaSource>,
    runtime: Arc<Runtime>,
    layout: Layout,
}

impl Compaction {
    async fn run(self) -> Result<Compacted> {
        let _one = self.table.compacting.lock().await;
        let snapshot = self.table.snapshot(None).await?;
        let merged = to_merge(&snapshot.files, self.layout.up_to);
        let Some(last) = merged.last() else {
            return Ok(Compacted {
                version: snapshot.version,
                files_before: 0,
                files_after: 0,
                rows: 0,
                bytes_before: 0,
                bytes_after: 0,
            });
        };
        let address = format!("{}/{}", last.added_version, last.order);
        let (mut files, rows) = self.write(&snapshot, merged).await?;
        for add in &mut files.adds {
            add.data_change = false;
            add.tags = Some(HashMap::from([(ADDRESS.to_owned(), Some(address.clone()))]));
        }
        let bytes = |adds: &[Add]| adds.iter().map(|add| u64::try_from(add.size).unwrap_or_default()).sum();
        let (files_after, bytes_after) = (files.adds.len() as u64, bytes(&files.adds));
        reach(Failpoint::BeforeCompactionCommit);
        let how = Replace {
            operation: DeltaOperation::Optimize { predicate: None, target_size: FILE_BYTES as i64 },
            transactions: Vec::new(),
            data_change: false,
            columns: None,
        };
        let version = replace(&self.table, &snapshot, merged, files, how).await?;
        Ok(Compacted {
            version,
            files_before: merged.len() as u64,
            files_after,
            rows,
            bytes_before: merged.iter().map(|file| file.size).sum(),
            bytes_after,
        })
    }

    async fn write(&self, snapshot: &Arc<Snapshot>, merged: &[DataFile]) -> Result<(Unpublished, u64)> {
        let mut files = Unpublished::new(self.table.store());
        let mut fields = snapshot.schema.fields().to_vec();
        fields.push(Arc::new(committed_field()));
        let schema = Arc::new(Schema::new(fields));
        let store = self.table.store().clone();
        let mut writer = FileWriter::new(&self.runtime, self.table.name(), schema, Vec::new(), store);
        let (mut sorted, mut rows) = (self.sorted(snapshot, merged).await?, 0);
        while let Some(batch) = sorted.try_next().await? {
            rows += batch.num_rows() as u64;
            let written = writer.write(&batch).await;
            files.adds = writer.written().to_vec();
            written?;
        }
        match writer.finish().await {
            Ok(adds) => files.adds = adds,
            Err((error, adds)) => {
                files.adds = adds;
                return Err(error);
            }
        }
        Ok((files, rows))
    }

    /// The rows by keys, event time and history.
    async fn sorted(&self, snapshot: &Arc<Snapshot>, merged: &[DataFile]) -> Result<SendableRecordBatchStream> {
        let history = Arc::new(Rows::new(snapshot.clone(), merged.to_vec()));
        let table = StreamingTable::try_new(history.schema.clone(), vec![history])?;
        let keys = self.layout.keys.iter().chain([&self.layout.event_time]).map(String::as_str).chain([ORDER]);
        // A column name is taken as it is, dots and capitals included.
        let order = keys.map(|key| col(datafusion::common::Column::new_unqualified(key)).sort(true, true)).collect();
        let rows = self.runtime.session().read_table(Arc::new(table))?.sort(order)?;
        Ok(rows.execute_stream().await?)
    }
}

/// How a commit that replaces files calls itself.
pub(super) struct Replace {
    pub(super) operation: DeltaOperation,
    pub(super) transactions: Vec<Transaction>,
    /// Whether other rows are in the table afterwards.
    pub(super) data_change: bool,
    /// The table's columns from then on; `None`: as they are.
    pub(super) columns: Option<SchemaRef>,
}

/// Puts files in the place of others, unless those or the columns have changed since they were read; gives the version.
pub(super) async fn replace(
    table: &DeltaSource,
    written_for: &Snapshot,
    replaced: &[DataFile],
    mut files: Unpublished,
    how: Replace,
) -> Result<i64> {
    let _one = table.committing.lock().await;
    for _ in 0..COMMIT_ATTEMPTS {
        let (delta, snapshot) = table.newest().await?;
        let live: HashMap<&str, &DataFile> = snapshot.files.iter().map(|file| (file.path.as_ref(), file)).collect();
        let same = |file: &DataFile| {
            let now = live.get(file.path.as_ref());
            now.is_some_and(|now| now.deleted_rows == file.deleted_rows)
        };
        // With other columns no file may stay that was written for the old ones.
        let left = how.columns.is_some() && snapshot.files.len() != replaced.len();
        if left || !replaced.iter().all(same) || snapshot.schema != written_for.schema {
            return Err(Error::Contended { table: table.name().to_owned() });
        }
        let state = delta.snapshot().map_err(|error| delta_error(table.name(), "committing", error))?;
        let removed = replaced.iter().map(|file| file.path.as_ref()).collect::<std::collections::HashSet<&str>>();
        let views = state.snapshot().log_data();
        let removes = views.iter().filter(|view| removed.contains(view.object_store_path().as_ref()));
        let remove = |view: deltalake::kernel::LogicalFileView| Action::Remove(view.remove_action(how.data_change));
        let mut actions: Vec<Action> = removes.map(remove).collect();
        // Whoever is dropped from here on can't tell whether the commit goes through: its files stay.
        let adds = std::mem::take(&mut files.adds);
        if let Some(columns) = &how.columns {
            let metadata = state.metadata().clone().with_schema(&struct_type(table.name(), columns)?);
            let described =
                metadata.map_err(|error| delta_error(table.name(), "describing the columns", error.into()))?;
            actions.push(described.into());
        }
        actions.extend(adds.iter().cloned().map(Action::Add));
        match commit_exactly(table, &delta, actions, how.transactions.clone(), how.operation.clone()).await {
            Ok(()) => return Ok(snapshot.version + 1),
            Err(error) if lost_race(&error) => files.adds = adds,
            Err(error) => return Err(delta_error(table.name(), "committing", error)),
        }
    }
    Err(Error::Contended { table: table.name().to_owned() })
}

/// The files to merge: the newest runs up to version `up_to`, a suffix of the files in address order.
fn to_merge(files: &[DataFile], up_to: Option<i64>) -> &[DataFile] {
    let end = files.partition_point(|file| up_to.is_none_or(|up_to| file.added_version <= up_to));
    let files = &files[..end];
    let rows = |files: &[DataFile]| files.iter().map(|file| file.rows.unwrap_or(0)).sum::<u64>();
    let (mut start, mut merged, mut runs) = (end, 0, 0);
    while start > 0 {
        let version = files[start - 1].added_version;
        let first = files[..start].partition_point(|file| file.added_version < version);
        let size = rows(&files[first..start]);
        if runs > 0 && size > (merged * GROWTH).max(ROW_GROUP_ROWS as u64) {
            break;
        }
        (start, merged, runs) = (first, merged + size, runs + 1);
    }
    let run = &files[start..];
    // One file is sorted from the start.
    let sorted = run.len() == 1 || run.iter().all(|file| file.compacted);
    let done = runs <= 1 && sorted && run.iter().all(|file| file.deleted_rows.is_none());
    if done { &[] } else { run }
}

/// The column that keeps when a row was committed.
pub(super) fn committed_field() -> Field {
    Field::new(COMMITTED, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true)
}

/// Rows of files in the order of history, with when they were committed and a number each.
struct Rows {
    snapshot: Arc<Snapshot>,
    files: Vec<DataFile>,
    schema: SchemaRef,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("table", &self.snapshot.name).field("files", &self.files.len()).finish()
    }
}

impl Rows {
    fn new(snapshot: Arc<Snapshot>, files: Vec<DataFile>) -> Self {
        // Files may hold nulls where the log promises none.
        let relaxed = |field: &Arc<Field>| Arc::new(field.as_ref().clone().with_nullable(true));
        let mut fields: Vec<Arc<Field>> = snapshot.schema.fields().iter().map(relaxed).collect();
        fields.push(Arc::new(committed_field()));
        fields.push(Arc::new(Field::new(ORDER, DataType::UInt64, false)));
        Self { snapshot, files, schema: Arc::new(Schema::new(fields)) }
    }
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (snapshot, schema) = (self.snapshot.clone(), self.schema.clone());
        let options = ReadOptions { commits: true, ..ReadOptions::default() };
        let files = futures::stream::iter(self.files.clone());
        let batches = files.map(move |file| read_file(&snapshot, &file, &options)).try_flatten();
        let mut next = 0_u64;
        let numbered = batches.map(move |rows| {
            let rows = rows?;
            let count = rows.batch.num_rows() as u64;
            let commits: ArrayRef = Arc::new(TimestampMicrosecondArray::from(rows.commits).with_timezone("UTC"));
            let numbers: ArrayRef = Arc::new(UInt64Array::from_iter_values(next..next + count));
            next += count;
            let columns = rows.batch.columns().iter().cloned().chain([commits, numbers]).collect();
            Ok(RecordBatch::try_new(schema.clone(), columns).map_err(Error::from)?)
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), numbered))
    }
}
