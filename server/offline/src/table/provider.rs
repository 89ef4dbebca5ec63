//! A snapshot as SQL sees it: DataFusion's Parquet scan over the live files.
//!
//! Partition values become constant columns, deletion vectors row selections, the log's statistics file statistics; with
//! them DataFusion skips files, row groups and pages. Each scan puts the table's store into the session's registry under a
//! URL that no statement can name.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DataFusionError, Result, ScalarValue, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use object_store::ObjectMeta;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};

use super::snapshot::{DataFile, Snapshot};
use crate::error::Error;
use crate::runtime::stores::SCHEME;

/// A snapshot as a table.
#[derive(Debug)]
pub(super) struct SnapshotProvider {
    snapshot: Arc<Snapshot>,
}

impl SnapshotProvider {
    pub(super) fn new(snapshot: Arc<Snapshot>) -> Self {
        Self { snapshot }
    }

    /// Columns that files hold, then those that the log holds: the order the scan works in.
    fn table_schema(&self) -> TableSchema {
        let is_partition =
            |field: &&FieldRef| self.snapshot.files.iter().any(|file| file.partition.contains_key(field.name()));
        let (partition, stored): (Vec<&FieldRef>, Vec<&FieldRef>) =
            self.snapshot.schema.fields().iter().partition(is_partition);
        let stored = Schema::new(stored.into_iter().cloned().collect::<Vec<_>>());
        TableSchema::builder(Arc::new(stored))
            .with_table_partition_cols(partition.into_iter().cloned().collect::<Vec<_>>())
            .build()
    }

    fn store_url(&self) -> Result<ObjectStoreUrl> {
        let store = &self.snapshot.store;
        let shown = store.to_string();
        let mut hasher = ahash::RandomState::with_seeds(1, 2, 3, 4).build_hasher();
        shown.hash(&mut hasher);
        // Local stores say which folder they are; others are told apart by where they live in memory.
        if !shown.contains("file://") {
            (Arc::as_ptr(store).cast::<()>() as usize).hash(&mut hasher);
        }
        ObjectStoreUrl::parse(format!("{SCHEME}://{:016x}", hasher.finish()))
    }
}

#[async_trait]
impl TableProvider for SnapshotProvider {
    fn schema(&self) -> SchemaRef {
        self.snapshot.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // The scan may let rows through that it could not test; DataFusion's own filter stays above it.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let shown: Vec<usize> =
            projection.cloned().unwrap_or_else(|| (0..self.snapshot.schema.fields().len()).collect());
        if self.snapshot.files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(Arc::new(self.snapshot.schema.project(&shown)?))));
        }
        let schema = self.table_schema();
        let position = |index: &usize| schema.table_schema().index_of(self.snapshot.schema.field(*index).name());
        let columns = shown.iter().map(position).collect::<Result<Vec<_>, _>>()?;
        let url = self.store_url()?;
        state.runtime_env().register_object_store(url.as_ref(), self.snapshot.store.clone());

        let files = self.snapshot.files.iter().map(|file| partitioned(file, &schema)).collect::<Result<Vec<_>>>()?;
        let statistics = total(&files, &schema);
        let groups = FileGroup::new(files).split_files(state.config().target_partitions());
        let options = state.config_options().execution.parquet.clone();
        let source = ParquetSource::new(schema)
            .with_pushdown_filters(options.pushdown_filters)
            .with_reorder_filters(options.reorder_filters)
            .with_enable_page_index(options.enable_page_index);
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(Some(columns))?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

fn partitioned(file: &DataFile, schema: &TableSchema) -> Result<PartitionedFile> {
    let meta = ObjectMeta {
        location: file.path.clone(),
        last_modified: chrono::DateTime::UNIX_EPOCH,
        size: file.size,
        e_tag: None,
        version: None,
    };
    let value = |field: &FieldRef| match file.partition.get(field.name()) {
        Some(value) => Ok(value.clone()),
        None => ScalarValue::try_from(field.data_type()),
    };
    let values = schema.table_partition_cols().iter().map(value).collect::<Result<Vec<_>>>()?;
    let scan = PartitionedFile::new_from_meta(meta)
        .with_partition_values(values)
        .with_statistics(Arc::new(statistics(file, schema.file_schema())));
    let Some(deleted) = &file.deleted_rows else { return Ok(scan) };
    let Some(rows) = file.rows else {
        let missing = format!("file {} has a deletion vector and no row count", file.path);
        return Err(DataFusionError::External(Box::new(Error::Internal(missing))));
    };
    Ok(scan.with_extension(ParquetRowSelection::new(without(rows, deleted))))
}

/// All of a file's rows but the deleted ones; covers the file exactly.
fn without(rows: u64, deleted: &[u64]) -> RowSelection {
    let mut selectors = Vec::with_capacity(deleted.len() * 2 + 1);
    let mut next = 0;
    let count = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
    for &row in deleted.iter().filter(|row| **row < rows) {
        if row > next {
            selectors.push(RowSelector::select(count(row - next)));
        }
        selectors.push(RowSelector::skip(1));
        next = row + 1;
    }
    if rows > next {
        selectors.push(RowSelector::select(count(rows - next)));
    }
    RowSelection::from(selectors)
}

/// What the log knows of a file. Bounds are not exact: a query for a smallest value must read it.
fn statistics(file: &DataFile, schema: &Schema) -> Statistics {
    let mut statistics = Statistics::new_unknown(schema);
    let deleted = file.deleted_rows.as_ref().map_or(0, |rows| rows.len() as u64);
    if let Some(rows) = file.rows.and_then(|rows| usize::try_from(rows.saturating_sub(deleted)).ok()) {
        statistics.num_rows = Precision::Exact(rows);
    }
    for (field, column) in schema.fields().iter().zip(&mut statistics.column_statistics) {
        if let Some((low, high)) = file.ranges.get(field.name()) {
            column.min_value = Precision::Inexact(low.clone());
            column.max_value = Precision::Inexact(high.clone());
        }
    }
    statistics
}

/// The whole table's row count, where every file's is known.
fn total(files: &[PartitionedFile], schema: &TableSchema) -> Statistics {
    let mut total = Statistics::new_unknown(schema.table_schema());
    let rows = |file: &PartitionedFile| file.statistics.as_ref().map(|of| of.num_rows);
    let sum = files.iter().map(rows).try_fold(0_usize, |sum, rows| match rows {
        Some(Precision::Exact(rows)) => sum.checked_add(rows),
        _ => None,
    });
    total.num_rows = sum.map_or(Precision::Absent, Precision::Exact);
    total.column_statistics = vec![ColumnStatistics::new_unknown(); schema.table_schema().fields().len()];
    total
}
