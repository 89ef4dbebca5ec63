//! Streams a snapshot's files: partition columns filled in, deleted rows left out, columns that old files lack as nulls.
//!
//! For readers that want rows in address order and know what they want: materialization, the newest observation per key,
//! tables with deletion vectors in SQL. The point-in-time join drives the Parquet reader itself.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{DataType, Schema, SchemaRef, TimestampMicrosecondType};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, RowSelection, RowSelector};
use parquet::arrow::async_reader::ParquetRecordBatchStream;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::ParquetError;
use tidegate_schemas::time::Micros;

use super::compact::COMMITTED;
use super::object::StoredFile;
use super::schema;
use super::snapshot::{DataFile, Snapshot};
use crate::error::{Error, Result};

/// Rows a batch holds at most, unless asked otherwise.
pub const BATCH_ROWS: usize = 8192;

/// How to read.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// The columns, in order; `None` for all of the snapshot's.
    pub columns: Option<Vec<String>>,
    /// Rows of a batch at most; 0 for [`BATCH_ROWS`].
    pub batch_rows: usize,
    /// The rows to read of each file, ascending; `None` for all that are not deleted. Others are not decoded.
    pub rows: Option<Arc<[u64]>>,
    /// Also tell when each row was committed.
    pub commits: bool,
}

/// Rows of one file in file order.
#[derive(Debug, Clone)]
pub struct FileBatch {
    /// The columns asked for, typed as in the snapshot.
    pub batch: RecordBatch,
    /// For each row its zero-based number in the file, the third part of its address; ascending.
    pub rows: Vec<u64>,
    /// For each row when the commit that brought it was made, where that is known; empty unless asked for.
    pub commits: Vec<Option<Micros>>,
}

/// The schema of batches read with these options.
///
/// # Errors
/// A column the snapshot lacks.
pub fn schema_of(snapshot: &Snapshot, options: &ReadOptions) -> Result<SchemaRef> {
    let Some(columns) = &options.columns else { return Ok(snapshot.schema.clone()) };
    let field = |name: &String| snapshot.field(name).cloned();
    Ok(Arc::new(Schema::new(columns.iter().map(field).collect::<Result<Vec<_>>>()?)))
}

/// Streams one file's rows with their row numbers.
///
/// # Errors
/// A column the snapshot lacks; on the stream: a file that is gone or is no readable Parquet.
pub fn read_file(
    snapshot: &Arc<Snapshot>,
    file: &DataFile,
    options: &ReadOptions,
) -> Result<BoxStream<'static, Result<FileBatch>>> {
    let reader = FileReader {
        table: snapshot.name.clone(),
        store: snapshot.store.clone(),
        file: file.clone(),
        schema: schema_of(snapshot, options)?,
        batch_rows: if options.batch_rows == 0 { BATCH_ROWS } else { options.batch_rows },
        rows: options.rows.clone(),
        commits: options.commits,
    };
    let opened = futures::stream::once(reader.open());
    Ok(opened.try_flatten().boxed())
}

/// Streams the rows of several files, one file after the other in the order given.
///
/// # Errors
/// As [`read_file`].
pub fn read_files(
    snapshot: &Arc<Snapshot>,
    files: &[DataFile],
    options: &ReadOptions,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    schema_of(snapshot, options)?;
    let (snapshot, options) = (snapshot.clone(), options.clone());
    let streams = futures::stream::iter(files.to_vec()).map(move |file| read_file(&snapshot, &file, &options));
    Ok(streams.try_flatten().map_ok(|rows| rows.batch).boxed())
}

struct FileReader {
    table: String,
    store: Arc<dyn ObjectStore>,
    file: DataFile,
    schema: SchemaRef,
    batch_rows: usize,
    rows: Option<Arc<[u64]>>,
    commits: bool,
}

impl FileReader {
    async fn open(self) -> Result<BoxStream<'static, Result<FileBatch>>> {
        let reader = StoredFile { store: self.store.clone(), path: self.file.path.clone(), size: self.file.size };
        // The page index is only needed to skip pages.
        let skips = self.rows.is_some();
        let policy = parquet::file::metadata::PageIndexPolicy::from(skips);
        let options = ArrowReaderOptions::new().with_page_index_policy(policy).with_skip_arrow_metadata(false);
        let builder = ParquetRecordBatchStreamBuilder::new_with_options(reader, options)
            .await
            .map_err(|error| file_error(&self.table, &self.file, error))?;
        let wanted: Vec<usize> = {
            let stored = builder.schema();
            let read = self.schema.fields().iter().filter(|field| !self.file.partition.contains_key(field.name()));
            let kept = (self.commits && self.file.compacted).then(|| stored.index_of(COMMITTED).ok()).flatten();
            read.filter_map(|field| stored.index_of(field.name()).ok()).chain(kept).collect()
        };
        let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
        let total = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or_default();
        let chosen = chosen_rows(total, self.rows.as_deref(), self.file.deleted_rows.as_deref());
        let mut builder = builder.with_batch_size(self.batch_rows).with_projection(mask);
        if let Some(chosen) = &chosen {
            builder = builder.with_row_selection(selection(chosen));
        }
        let stream = builder.build().map_err(|error| file_error(&self.table, &self.file, error))?;
        Ok(self.batches(stream, chosen))
    }

    fn batches(
        self,
        stream: ParquetRecordBatchStream<StoredFile>,
        chosen: Option<Vec<u64>>,
    ) -> BoxStream<'static, Result<FileBatch>> {
        let mut read: u64 = 0;
        let convert = move |batch: Result<RecordBatch, ParquetError>| {
            let batch = batch.map_err(|error| file_error(&self.table, &self.file, error))?;
            let count = batch.num_rows() as u64;
            let rows = match &chosen {
                None => (read..read + count).collect(),
                Some(chosen) => {
                    let at = usize::try_from(read).unwrap_or(usize::MAX);
                    chosen.get(at..at + batch.num_rows()).unwrap_or_default().to_vec()
                }
            };
            read += count;
            let commits = if self.commits { self.commits_of(&batch) } else { Vec::new() };
            Ok(FileBatch { batch: self.shape(&batch)?, rows, commits })
        };
        stream.map(convert).boxed()
    }

    fn commits_of(&self, batch: &RecordBatch) -> Vec<Option<Micros>> {
        let kept = batch.column_by_name(COMMITTED).filter(|_| self.file.compacted);
        match kept.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>()) {
            Some(commits) => commits.iter().collect(),
            None => vec![self.file.committed; batch.num_rows()],
        }
    }

    /// The columns asked for, from those the file has.
    fn shape(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let column = |field: &Arc<arrow::datatypes::Field>| -> Result<ArrayRef> {
            if let Some(value) = self.file.partition.get(field.name()) {
                return Ok(value.to_array_of_size(batch.num_rows())?);
            }
            let Some(column) = batch.column_by_name(field.name()) else {
                return Ok(new_null_array(field.data_type(), batch.num_rows()));
            };
            if !schema::reads_as(column.data_type(), field.data_type())
                && !finer_time(column.data_type(), field.data_type())
            {
                return Err(Error::TypeChanged {
                    table: format!("{}` (file `{}", self.table, self.file.path),
                    column: field.name().clone(),
                    stored: schema::type_name(column.data_type()),
                    wanted: schema::type_name(field.data_type()),
                });
            }
            Ok(schema::convert(column, field.data_type())?)
        };
        let columns = self.schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        // Files may hold nulls where the log promises none: readers must not trip over what is only a promise.
        let nullable = relaxed(&self.schema, &columns);
        Ok(RecordBatch::try_new_with_options(nullable, columns, &options)?)
    }
}

/// Nanoseconds, which become microseconds by rounding up.
fn finer_time(stored: &DataType, wanted: &DataType) -> bool {
    matches!((stored, wanted), (DataType::Timestamp(..), DataType::Timestamp(..)))
}

/// The schema, with every column nullable that holds a null.
fn relaxed(schema: &SchemaRef, columns: &[ArrayRef]) -> SchemaRef {
    let broken =
        |(field, column): (&Arc<arrow::datatypes::Field>, &ArrayRef)| !field.is_nullable() && column.null_count() > 0;
    if !schema.fields().iter().zip(columns).any(broken) {
        return schema.clone();
    }
    let relax = |(field, column): (&Arc<arrow::datatypes::Field>, &ArrayRef)| {
        field.as_ref().clone().with_nullable(field.is_nullable() || column.null_count() > 0)
    };
    Arc::new(Schema::new(schema.fields().iter().zip(columns).map(relax).collect::<Vec<_>>()))
}

/// The rows to decode, ascending; `None` for all of the file's.
fn chosen_rows(total: u64, asked: Option<&[u64]>, deleted: Option<&[u64]>) -> Option<Vec<u64>> {
    let gone = |row: &u64| deleted.is_some_and(|deleted| deleted.binary_search(row).is_ok());
    match (asked, deleted) {
        (None, None) => None,
        (Some(asked), _) => Some(asked.iter().copied().filter(|row| *row < total && !gone(row)).collect()),
        (None, Some(_)) => Some((0..total).filter(|row| !gone(row)).collect()),
    }
}

/// Ascending row numbers as a selection.
fn selection(rows: &[u64]) -> RowSelection {
    let mut selectors: Vec<RowSelector> = Vec::new();
    let mut next: u64 = 0;
    for &row in rows {
        let gap = usize::try_from(row - next).unwrap_or(usize::MAX);
        match selectors.last_mut() {
            Some(last) if gap == 0 && !last.skip => last.row_count += 1,
            _ => {
                if gap > 0 {
                    selectors.push(RowSelector::skip(gap));
                }
                selectors.push(RowSelector::select(1));
            }
        }
        next = row + 1;
    }
    RowSelection::from(selectors)
}

/// A file that is gone is told apart from one that is broken.
pub(crate) fn file_error(table: &str, file: &DataFile, error: ParquetError) -> Error {
    let gone = match &error {
        ParquetError::External(inner) => inner
            .downcast_ref::<object_store::Error>()
            .is_some_and(|error| matches!(error, object_store::Error::NotFound { .. })),
        _ => false,
    };
    let (table, file) = (table.to_owned(), file.path.to_string());
    if gone { Error::FileMissing { table, file } } else { Error::Parquet { table, file, source: error } }
}
