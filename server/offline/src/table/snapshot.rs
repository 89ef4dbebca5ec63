//! One version of a table: its schema and its data files, each with the address its rows have in the order of history.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use tidegate_schemas::catalog::nearest;
use tidegate_schemas::definition::Column;
use tidegate_schemas::time::Micros;

use super::changes::Waiting;
use super::provider::SnapshotProvider;
use super::schema;
use crate::error::{Error, Result};

/// One version of a table, immutable. What the point-in-time join, materialization and SQL read.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// A name for messages: the source's name.
    pub name: String,
    /// What tells the table from any other that may take its place; `None` for a folder of Parquet files.
    pub id: Option<String>,
    /// The Delta version; 0 for a folder of Parquet files, which has no history.
    pub version: i64,
    /// The table's columns, partition columns included.
    pub schema: SchemaRef,
    /// The live files in address order.
    pub files: Vec<DataFile>,
    /// Where the paths of `files` lead.
    pub store: Arc<dyn ObjectStore>,
}

/// One Parquet file of a snapshot.
#[derive(Debug, Clone)]
pub struct DataFile {
    /// Path in the snapshot's store.
    pub path: Path,
    /// Bytes.
    pub size: u64,
    /// Rows in the file, deleted ones included, where the log says.
    pub rows: Option<u64>,
    /// The version that added the file: first part of its rows' address.
    pub added_version: i64,
    /// The file's position among those its version added: second part of its rows' address.
    pub order: u32,
    /// When the adding version was committed; `None` for a folder of Parquet files.
    pub committed: Option<Micros>,
    /// Whether the file holds rows of several commits, each row with the time of its own.
    pub compacted: bool,
    /// Values of partition columns, which the Parquet file does not hold.
    pub partition: BTreeMap<String, ScalarValue>,
    /// Smallest and largest value by column, where the log has statistics. Bounds, not necessarily values that occur.
    pub ranges: BTreeMap<String, (ScalarValue, ScalarValue)>,
    /// Sorted row numbers that a deletion vector removed.
    pub deleted_rows: Option<Arc<[u64]>>,
}

impl Snapshot {
    /// A table without rows, to plan over.
    #[must_use]
    pub fn empty(name: &str, columns: &[Column]) -> Self {
        let store = Arc::new(object_store::memory::InMemory::new());
        let schema = schema::defined(columns, &std::collections::BTreeSet::new());
        Self { name: name.to_owned(), id: None, version: 0, schema, files: Vec::new(), store }
    }

    /// The same rows with these columns: those the files lack are null, those not named are passed over.
    #[must_use]
    pub fn with_columns(&self, columns: &[Column]) -> Self {
        Self { schema: schema::defined(columns, &std::collections::BTreeSet::new()), ..self.clone() }
    }

    /// What who has read nothing of it is behind by: the versions that added its files.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        let versions: BTreeSet<i64> = self.files.iter().map(|file| file.added_version).collect();
        let oldest = self.files.iter().filter_map(|file| file.committed).min();
        Waiting { versions: versions.len() as u64, oldest }
    }

    /// Rows of all files without the deleted ones, where every file says.
    #[must_use]
    pub fn rows(&self) -> Option<u64> {
        let live = |file: &DataFile| {
            let deleted = file.deleted_rows.as_ref().map_or(0, |rows| rows.len() as u64);
            file.rows.map(|rows| rows.saturating_sub(deleted))
        };
        self.files.iter().map(live).sum()
    }

    /// Whether all of its files are still there; versions that nobody keeps lose theirs.
    ///
    /// # Errors
    /// The store can't be asked.
    pub async fn is_whole(&self) -> Result<bool> {
        for file in &self.files {
            match self.store.head(&file.path).await {
                Ok(_) => {}
                Err(object_store::Error::NotFound { .. }) => return Ok(false),
                Err(source) => {
                    return Err(Error::Storage { table: self.name.clone(), doing: "looking for its files", source });
                }
            }
        }
        Ok(true)
    }

    /// A column by name.
    ///
    /// # Errors
    /// There is none; the nearest name is told.
    pub fn field(&self, name: &str) -> Result<&FieldRef> {
        self.schema.fields().find(name).map(|(_, field)| field).ok_or_else(|| Error::ColumnMissing {
            table: self.name.clone(),
            column: name.to_owned(),
            suggestion: nearest(name, self.schema.fields().iter().map(|field| field.name().as_str()))
                .map(str::to_owned),
        })
    }

    /// Holds a table that others write against the columns that definitions need.
    ///
    /// # Errors
    /// A column is missing, or has a type that does not read as the defined one without loss.
    pub fn expect(&self, columns: &[Column]) -> Result<()> {
        for column in columns {
            let stored = self.field(&column.name)?.data_type();
            let wanted = column.data_type.to_arrow();
            let time = |of: &DataType| matches!(of, DataType::Timestamp(..));
            if !(schema::reads_as(stored, &wanted) || time(stored) && time(&wanted)) {
                return Err(Error::TypeChanged {
                    table: self.name.clone(),
                    column: column.name.clone(),
                    stored: schema::type_name(stored),
                    wanted: column.data_type.to_string(),
                });
            }
        }
        Ok(())
    }

    /// The snapshot as SQL sees it: filters, projections and limits reach the Parquet reader.
    #[must_use]
    pub fn provider(self: &Arc<Self>) -> Arc<dyn TableProvider> {
        Arc::new(SnapshotProvider::new(self.clone()))
    }
}
