//! Writes checked rows as Parquet files that the point-in-time join reads cheaply.
//!
//! Rows are sorted by (keys, event time) within a file, in memory, a bounded number at a time; more rows make more files, in
//! the order of arrival. Row groups of 128 k rows, page index and statistics on, times as deltas; dictionaries and light
//! compression where a sample of the rows shows that they pay. The sort is stable, so of rows with equal keys and times the
//! one that came later keeps the later address.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use deltalake::kernel::Add;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, Type};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use tidegate_schemas::failpoint::{Failpoint, reach};

use super::compact::COMMITTED;
use super::{schema, stats};
use crate::error::{Error, Result};
use crate::runtime::Runtime;

/// Rows of a row group: small enough to skip, large enough to compress.
pub(super) const ROW_GROUP_ROWS: usize = 128 * 1024;

/// Rows of a file.
const FILE_ROWS: usize = 8 * ROW_GROUP_ROWS;

/// Rows of a page: what late reading of single rows decodes around each.
const PAGE_ROWS: usize = 8 * 1024;

/// Rows that a file's dictionaries and compression are decided by.
const SAMPLE_ROWS: usize = 64 * 1024;

/// Share of its size that a column must come down to for a dictionary or compression to be worth its while.
const WORTHWHILE: f64 = 0.5;

/// Bytes of rows sorted at once, as Arrow holds them.
pub(super) const FILE_BYTES: usize = 256 << 20;

/// Sorting holds the rows, their sort keys, their sorted copy and the encoded file.
const SORT_FACTOR: usize = 3;

/// Writes files for one commit.
pub(super) struct FileWriter {
    table: String,
    schema: SchemaRef,
    order: Vec<String>,
    store: Arc<dyn ObjectStore>,
    rows: Vec<RecordBatch>,
    row_count: usize,
    byte_count: usize,
    memory: MemoryReservation,
    written: Vec<Add>,
    /// Part of the names of its files, which sort in the order they are written in.
    id: uuid::Uuid,
}

impl FileWriter {
    /// A writer of rows with the table's columns, sorted by the columns `order`.
    pub(super) fn new(
        runtime: &Runtime,
        table: &str,
        schema: SchemaRef,
        order: Vec<String>,
        store: Arc<dyn ObjectStore>,
    ) -> Self {
        let memory = MemoryConsumer::new(format!("ingest into {table}")).register(runtime.memory_pool());
        Self {
            table: table.to_owned(),
            schema,
            order,
            store,
            rows: Vec::new(),
            row_count: 0,
            byte_count: 0,
            memory,
            written: Vec::new(),
            id: uuid::Uuid::new_v4(),
        }
    }

    /// Takes rows; writes a file when enough are there.
    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = align(batch, &self.schema)?;
        let bytes = crate::runtime::batch_bytes(&batch);
        let full = self.row_count + batch.num_rows() > FILE_ROWS || self.byte_count + bytes > FILE_BYTES;
        if full && !self.rows.is_empty() {
            self.flush().await?;
        }
        if self.memory.try_grow(bytes * SORT_FACTOR).is_err() {
            self.flush().await?;
            self.memory.try_grow(bytes * SORT_FACTOR)?;
        }
        self.row_count += batch.num_rows();
        self.byte_count += bytes;
        self.rows.push(batch);
        Ok(())
    }

    /// Writes what is left; gives the files in order.
    pub(super) async fn finish(mut self) -> Result<Vec<Add>, (Error, Vec<Add>)> {
        match self.flush().await {
            Ok(()) => Ok(std::mem::take(&mut self.written)),
            Err(error) => Err((error, std::mem::take(&mut self.written))),
        }
    }

    /// The files written so far, to be deleted when the append fails.
    pub(super) fn written(&self) -> &[Add] {
        &self.written
    }

    async fn flush(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        (self.row_count, self.byte_count) = (0, 0);
        if rows.is_empty() {
            return Ok(());
        }
        let (schema, order) = (self.schema.clone(), self.order.clone());
        let encode = move || encode(&schema, &order, &rows);
        let encoded = tokio::task::spawn_blocking(encode).await;
        let (bytes, stats) = encoded.map_err(|_| Error::Internal("writing a file panicked".to_owned()))??;
        let path = format!("part-{}-{:05}.parquet", self.id, self.written.len());
        let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let failed = |source| Error::Storage { table: self.table.clone(), doing: "writing a file", source };
        self.store.put(&Path::from(path.as_str()), bytes.into()).await.map_err(failed)?;
        reach(Failpoint::AfterDataFile);
        self.memory.free();
        self.written.push(Add {
            path,
            partition_values: HashMap::new(),
            size,
            // When the log says; a wall clock is not asked for.
            modification_time: 0,
            data_change: true,
            stats: Some(stats),
            ..Add::default()
        });
        Ok(())
    }
}

/// A batch with exactly the table's columns; those the rows lack are null.
fn align(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |field: &Arc<arrow::datatypes::Field>| -> Result<ArrayRef> {
        match batch.column_by_name(field.name()) {
            Some(column) => Ok(schema::convert(column, field.data_type())?),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        }
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

fn encode(schema: &SchemaRef, order: &[String], rows: &[RecordBatch]) -> Result<(Vec<u8>, String)> {
    let rows = sort(concat_batches(schema, rows)?, order)?;
    // Other readers of the log know the table's columns only.
    let named = rows.schema().index_of(COMMITTED).unwrap_or(rows.num_columns());
    let stats = stats::of(&rows.project(&(0..named).collect::<Vec<_>>())?).to_string();
    let mut bytes = Vec::new();
    let unencodable = |source| Error::Parquet { table: String::new(), file: "to be written".to_owned(), source };
    let properties = Encodings::of(&rows)?.properties(schema);
    let mut writer = ArrowWriter::try_new(&mut bytes, schema.clone(), Some(properties)).map_err(unencodable)?;
    writer.write(&rows).map_err(unencodable)?;
    writer.close().map_err(unencodable)?;
    Ok((bytes, stats))
}

/// Sorted by the given columns; equal rows keep their order.
pub(crate) fn sort(rows: RecordBatch, order: &[String]) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = order.iter().filter_map(|name| rows.column_by_name(name)).cloned().collect();
    if columns.is_empty() {
        return Ok(rows);
    }
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converter = RowConverter::new(fields)?;
    let keys = converter.convert_columns(&columns)?;
    let mut indices: Vec<u32> = (0..u32::try_from(rows.num_rows()).unwrap_or(u32::MAX)).collect();
    if indices.is_sorted_by_key(|&at| keys.row(at as usize)) {
        return Ok(rows);
    }
    indices.sort_by(|&a, &b| keys.row(a as usize).cmp(&keys.row(b as usize)));
    Ok(take_record_batch(&rows, &UInt32Array::from(indices))?)
}

/// The columns of a file that are written as they are: what shrinks them too little is left out.
///
/// Read in place, one value of such a column costs one look; of a compressed one its whole page, of one in a dictionary the
/// look into the dictionary, which must be there whole.
#[derive(Debug, Default)]
struct Encodings {
    /// Numbers without a dictionary.
    plain: Vec<String>,
    uncompressed: Vec<String>,
}

impl Encodings {
    /// Decides by writing a sample of the rows: first with dictionaries and compression, then without the dictionaries that
    /// turned out not to be worth their while.
    fn of(rows: &RecordBatch) -> Result<Self> {
        let sample = rows.slice(0, rows.num_rows().min(SAMPLE_ROWS));
        let mut chosen = Self::default();
        let written = chosen.written(&sample)?;
        chosen.plain = names(&written, |column| {
            let raw = column.num_values().saturating_mul(width(column.column_type()));
            column.dictionary_page_offset().is_some() && poor(column.uncompressed_size(), raw)
        });
        let uncompressed = |column: &ColumnChunkMetaData| poor(column.compressed_size(), column.uncompressed_size());
        chosen.uncompressed = names(&written, uncompressed);
        if !chosen.plain.is_empty() {
            chosen.uncompressed = names(&chosen.written(&sample)?, uncompressed);
        }
        Ok(chosen)
    }

    /// The columns as they come out when rows are written like this.
    fn written(&self, rows: &RecordBatch) -> Result<Vec<ColumnChunkMetaData>> {
        let failed = |source| Error::Parquet { table: String::new(), file: "to be written".to_owned(), source };
        let properties = Self { plain: self.plain.clone(), uncompressed: Vec::new() }.properties(&rows.schema());
        let mut writer = ArrowWriter::try_new(std::io::sink(), rows.schema(), Some(properties)).map_err(failed)?;
        writer.write(rows).map_err(failed)?;
        let written = writer.close().map_err(failed)?;
        Ok(written.row_groups().first().map(|group| group.columns().to_vec()).unwrap_or_default())
    }

    fn properties(&self, schema: &SchemaRef) -> WriterProperties {
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::LZ4_RAW)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_data_page_row_count_limit(PAGE_ROWS)
            .set_write_batch_size(PAGE_ROWS.min(1024))
            .set_statistics_enabled(EnabledStatistics::Page);
        for column in &self.plain {
            properties = properties.set_column_dictionary_enabled(path(column), false);
        }
        for column in &self.uncompressed {
            properties = properties.set_column_compression(path(column), Compression::UNCOMPRESSED);
        }
        let times = schema.fields().iter().filter(|field| matches!(field.data_type(), DataType::Timestamp(..)));
        for field in times.filter(|field| field.name() != COMMITTED) {
            let column = ColumnPath::from(field.name().as_str());
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
        properties.build()
    }
}

fn names(columns: &[ColumnChunkMetaData], which: impl Fn(&ColumnChunkMetaData) -> bool) -> Vec<String> {
    columns.iter().filter(|column| which(column)).map(|column| column.column_path().string()).collect()
}

fn poor(now: i64, before: i64) -> bool {
    now as f64 > before as f64 * WORTHWHILE
}

/// Bytes of a plain number; so many of anything else that a dictionary always pays.
fn width(stored: Type) -> i64 {
    match stored {
        Type::INT32 | Type::FLOAT => 4,
        Type::INT64 | Type::DOUBLE => 8,
        _ => i64::MAX,
    }
}

fn path(column: &str) -> ColumnPath {
    ColumnPath::new(column.split('.').map(str::to_owned).collect())
}
