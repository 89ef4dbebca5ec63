//! A view's data files as both phases read them: footers once, then column chunks of one row group at a time.
//!
//! Bytes come from the snapshot's object store in one ranged request per row group and are decoded by parquet's
//! synchronous reader, so that waiting and computing stay apart and memory is bounded by one row group's chosen columns.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, SchemaRef};
use bytes::{Buf, Bytes};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
    RowSelectionPolicy,
};
use parquet::basic::Type;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::reader::{ChunkReader, Length};
use parquet::schema::types::SchemaDescriptor;
use tidegate_schemas::time::Micros;

use super::columns::{Rounding, Unit};
use super::pages::{Chunk, contained, readable};
use super::{Error, Result};
use crate::table::snapshot::{DataFile, Snapshot};

/// Footers read at once.
const FOOTERS_AT_ONCE: usize = 16;

/// Bytes at a file's end read first; most footers fit.
const FOOTER_BYTES: u64 = 64 << 10;

/// The files of one view that may hold an answer, in address order, with their footers.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) table: String,
    pub(super) schema: SchemaRef,
    store: Arc<dyn ObjectStore>,
    pub(super) files: Vec<OpenFile>,
}

/// A file and its footer.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) data: DataFile,
    metadata: ArrowReaderMetadata,
    /// Per column its first leaf.
    leaves: Vec<usize>,
    /// The number of the file's first row among the rows of all files: order of history as one integer.
    pub(super) first_row: u64,
    /// Row number in the file where each row group starts; one more at the end.
    pub(super) group_starts: Vec<u64>,
}

/// Where a column of a table is found for one file.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// The file's column with this number.
    Stored(usize),
    /// The same value in every row: a partition column, or null where the file is older than the column.
    Constant(ArrayRef),
}

impl Files {
    /// Reads the footers of the files of `snapshot` that `wanted` keeps.
    ///
    /// # Errors
    /// A file that is gone or is no Parquet file.
    pub(super) async fn open(snapshot: &Snapshot, wanted: impl Fn(&DataFile) -> bool) -> Result<Self> {
        let mut kept: Vec<&DataFile> = snapshot.files.iter().filter(|file| wanted(file)).collect();
        kept.sort_by_key(|file| (file.added_version, file.order));
        let paths: Vec<(Path, u64)> = kept.iter().map(|file| (file.path.clone(), file.size)).collect();
        let footer = |(path, size)| read_footer(snapshot.name.clone(), snapshot.store.clone(), path, size);
        let footers: Vec<ArrowReaderMetadata> =
            stream::iter(paths.into_iter().map(footer)).buffered(FOOTERS_AT_ONCE).try_collect().await?;
        let (mut files, mut first_row) = (Vec::with_capacity(kept.len()), 0);
        for (data, metadata) in kept.into_iter().zip(footers) {
            let mut group_starts = vec![0];
            for group in metadata.metadata().row_groups() {
                let last = group_starts[group_starts.len() - 1];
                group_starts.push(last + group.num_rows().max(0).cast_unsigned());
            }
            let rows = group_starts[group_starts.len() - 1];
            let leaves = first_leaves(metadata.parquet_schema());
            files.push(OpenFile { data: data.clone(), metadata, leaves, first_row, group_starts });
            first_row += rows;
        }
        Ok(Self { table: snapshot.name.clone(), schema: snapshot.schema.clone(), store: snapshot.store.clone(), files })
    }

    /// Where `column` of the table is in a file.
    pub(super) fn place(&self, file: usize, column: &str) -> Result<Place> {
        let file = &self.files[file];
        if let Some(value) = file.data.partition.get(column) {
            let array = value.to_array_of_size(1).map_err(|error| self.broken(file, error))?;
            return Ok(Place::Constant(array));
        }
        if let Ok(at) = file.metadata.schema().index_of(column) {
            return Ok(Place::Stored(at));
        }
        let data_type = self.schema.field_with_name(column).map_or(DataType::Null, |field| field.data_type().clone());
        Ok(Place::Constant(new_null_array(&data_type, 1)))
    }

    /// The bytes of some columns of one row group.
    ///
    /// # Errors
    /// The file is gone, or shorter than its footer says.
    pub(super) async fn fetch(&self, file: usize, group: usize, columns: &[usize]) -> Result<Fetched> {
        let file = &self.files[file];
        let mask = ProjectionMask::roots(file.metadata.parquet_schema(), columns.iter().copied());
        let group = file.metadata.metadata().row_group(group);
        let range = |leaf| {
            let (start, length) = contained(|| Ok(group.column(leaf).byte_range()))?;
            Ok(start..start.saturating_add(length))
        };
        let ranges = (0..group.num_columns()).filter(|leaf| mask.leaf_included(*leaf)).map(range);
        let ranges: Vec<Range<u64>> =
            ranges.collect::<Result<_, ParquetError>>().map_err(|error| self.broken(file, error))?;
        let bytes = self.store.get_ranges(&file.data.path, &ranges).await;
        let bytes = bytes.map_err(|error| file_error(&self.table, &file.data.path, Box::new(error)))?;
        let chunks = ranges.iter().map(|range| range.start).zip(bytes).collect();
        Ok(Fetched { length: file.data.size, chunks })
    }

    /// Starts to decode columns of one row group with the Arrow reader; all of its rows, or those that `selection` keeps.
    ///
    /// # Errors
    /// The bytes are not what the footer says.
    pub(super) fn read(
        &self,
        file: usize,
        group: usize,
        columns: &[usize],
        bytes: Fetched,
        selection: Option<RowSelection>,
        batch_rows: usize,
    ) -> Result<ParquetRecordBatchReader> {
        let file = &self.files[file];
        let mask = ProjectionMask::roots(file.metadata.parquet_schema(), columns.iter().copied());
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, file.metadata.clone())
            .with_projection(mask)
            .with_row_groups(vec![group])
            .with_batch_size(batch_rows);
        let builder = match selection {
            Some(selection) => {
                builder.with_row_selection(selection).with_row_selection_policy(RowSelectionPolicy::default())
            }
            None => builder,
        };
        builder.build().map_err(|error| self.broken(file, error))
    }

    /// One column of a row group as pages of `physical` type; `None` where only the Arrow reader reads it.
    ///
    /// # Errors
    /// The bytes are not what the footer says.
    pub(super) fn chunk(
        &self,
        file: usize,
        group: usize,
        column: usize,
        physical: Option<Type>,
        bytes: &Arc<Fetched>,
    ) -> Result<Option<Chunk<Fetched>>> {
        let file = &self.files[file];
        let (Some(physical), Some(leaf)) = (physical, file.leaf(column)) else { return Ok(None) };
        let group = file.metadata.metadata().row_group(group);
        if !readable(group, leaf, physical) {
            return Ok(None);
        }
        Chunk::open(bytes.clone(), group, leaf).map(Some).map_err(|error| self.broken(file, error))
    }

    /// The type of a column as a file stores it.
    pub(super) fn stored_type(&self, file: usize, column: usize) -> &DataType {
        self.files[file].metadata.schema().field(column).data_type()
    }

    /// The next batch of a reader over `file`.
    pub(super) fn next(&self, file: usize, reader: &mut ParquetRecordBatchReader) -> Result<Option<RecordBatch>> {
        reader.next().transpose().map_err(|error| self.broken(&self.files[file], error))
    }

    /// Names the file in an error about its content.
    pub(super) fn broken(&self, file: &OpenFile, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        file_error(&self.table, &file.data.path, error.into())
    }

    /// The file, row group and row in the file of a row number among all rows.
    pub(super) fn locate(&self, row: u64) -> (usize, usize) {
        let file = self.files.partition_point(|file| file.first_row <= row) - 1;
        let in_file = row - self.files[file].first_row;
        let group = self.files[file].group_starts.partition_point(|start| *start <= in_file) - 1;
        (file, group)
    }

    /// Average bytes of a value of a column, as far as footers tell; 0 where they don't.
    pub(super) fn value_bytes(&self, column: &str) -> usize {
        let (mut bytes, mut rows) = (0_u64, 0_u64);
        for file in &self.files {
            let Ok(root) = file.metadata.schema().index_of(column) else { continue };
            let schema = file.metadata.parquet_schema();
            for group in file.metadata.metadata().row_groups() {
                rows += group.num_rows().max(0).cast_unsigned();
                for leaf in (0..group.num_columns()).filter(|leaf| schema.get_column_root_idx(*leaf) == root) {
                    // A dictionary makes a column small in the file and not in memory.
                    let plain = group.column(leaf).unencoded_byte_array_data_bytes().unwrap_or(0);
                    bytes += group.column(leaf).uncompressed_size().max(plain).max(0).cast_unsigned();
                }
            }
        }
        usize::try_from(bytes / rows.max(1)).unwrap_or(usize::MAX)
    }

    /// Rows of all files.
    pub(super) fn rows(&self) -> u64 {
        self.files.last().map_or(0, |file| file.first_row + file.group_starts[file.groups()])
    }

    /// Approximate bytes held by footers.
    pub(super) fn bytes(&self) -> usize {
        self.files.iter().map(|file| file.metadata.metadata().memory_size()).sum()
    }
}

impl OpenFile {
    /// Smallest and largest event time in a row group, where its statistics say.
    pub(super) fn event_range(&self, group: usize, column: usize) -> Option<(Micros, Micros)> {
        use parquet::file::statistics::Statistics;
        let field = self.metadata.schema().fields().get(column)?;
        let unit = Unit::of(field.data_type())?;
        let leaf = self.leaf(column)?;
        let (min, max) = match self.metadata.metadata().row_group(group).column(leaf).statistics()? {
            Statistics::Int64(stats) => (*stats.min_opt()?, *stats.max_opt()?),
            Statistics::Int32(stats) => (i64::from(*stats.min_opt()?), i64::from(*stats.max_opt()?)),
            _ => return None,
        };
        Some((unit.to_micros(min, Rounding::Up), unit.to_micros(max, Rounding::Up)))
    }

    /// The leaf of a column that is not nested.
    fn leaf(&self, column: usize) -> Option<usize> {
        let schema = self.metadata.parquet_schema();
        let at = self.leaves.get(column).copied()?;
        (schema.get_column_root_idx(at) == column && schema.get_column_root(at).is_primitive()).then_some(at)
    }

    /// Nulls of a column in a row group, where its statistics say.
    pub(super) fn null_count(&self, group: usize, column: usize) -> Option<u64> {
        let chunk = self.metadata.metadata().row_group(group).column(self.leaf(column)?);
        match chunk.column_descr().max_def_level() {
            0 => Some(0),
            _ => chunk.statistics()?.null_count_opt(),
        }
    }

    /// Rows of a row group.
    pub(super) fn group_rows(&self, group: usize) -> u64 {
        self.group_starts[group + 1] - self.group_starts[group]
    }

    /// Row groups.
    pub(super) fn groups(&self) -> usize {
        self.group_starts.len() - 1
    }
}

fn first_leaves(schema: &SchemaDescriptor) -> Vec<usize> {
    let mut leaves = Vec::new();
    for leaf in 0..schema.num_columns() {
        if schema.get_column_root_idx(leaf) == leaves.len() {
            leaves.push(leaf);
        }
    }
    leaves
}

/// Reads a file's footer: its last bytes, and more where they turn out not to be enough.
async fn read_footer(table: String, store: Arc<dyn ObjectStore>, path: Path, size: u64) -> Result<ArrowReaderMetadata> {
    let named = |error: Box<dyn std::error::Error + Send + Sync>| file_error(&table, &path, error);
    let mut parser = ParquetMetaDataReader::new();
    let mut length = FOOTER_BYTES;
    loop {
        let range = size.saturating_sub(length)..size;
        let tail = store.get_range(&path, range).await.map_err(|error| named(error.into()))?;
        match parser.try_parse_sized(&tail, size) {
            Ok(()) => break,
            Err(ParquetError::NeedMoreData(needed)) if needed as u64 > length && length < size => {
                length = needed as u64;
            }
            Err(error) => return Err(named(error.into())),
        }
    }
    let metadata = parser.finish().map_err(|error| named(error.into()))?;
    ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new()).map_err(|error| named(error.into()))
}

fn file_error(table: &str, path: &Path, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    let (table, path) = (table.to_owned(), path.to_string());
    if is_not_found(source.as_ref()) {
        Error::FileGone { table, path, source }
    } else {
        Error::File { table, path, source }
    }
}

/// Whether a missing object is anywhere in the chain of an error.
fn is_not_found(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if matches!(error.downcast_ref::<object_store::Error>(), Some(object_store::Error::NotFound { .. })) {
            return true;
        }
        // Parquet's error keeps the store's as a box that `source` does not always hand out.
        if let Some(ParquetError::External(inner)) = error.downcast_ref::<ParquetError>()
            && is_not_found(inner.as_ref())
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// Some column chunks of a file, in memory.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    length: u64,
    chunks: Arc<[(u64, Bytes)]>,
}

impl Fetched {
    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let holds = |(at, bytes): &&(u64, Bytes)| *at <= start && start < at + bytes.len() as u64;
        let (at, bytes) =
            self.chunks.iter().find(holds).ok_or_else(|| ParquetError::EOF(format!("no bytes at offset {start}")))?;
        Ok(bytes.slice((start - at) as usize..))
    }
}

impl Length for Fetched {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Fetched {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.from(start)?;
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!("{length} bytes at offset {start}, {} there", bytes.len())));
        }
        Ok(bytes.slice(..length))
    }
}
