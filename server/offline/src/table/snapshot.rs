//! One version of a table: its schema and its data files, each with the address its rows have in the order of history.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use object_store::ObjectStore;
use object_store::path::Path;
use tidegate_schemas::time::Micros;

/// One version of a table, immutable. What the point-in-time join, materialization and SQL read.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// A name for messages: the source's name.
    pub name: String,
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
    /// Rows, where the log says.
    pub rows: Option<u64>,
    /// The version that added the file: first part of its rows' address.
    pub added_version: i64,
    /// The file's position among those its version added: second part of its rows' address.
    pub order: u32,
    /// When the adding version was committed; `None` for a folder of Parquet files.
    pub committed: Option<Micros>,
    /// Values of partition columns, which the Parquet file does not hold.
    pub partition: BTreeMap<String, ScalarValue>,
    /// Smallest and largest value by column, where the log has statistics. Bounds, not necessarily values that occur.
    pub ranges: BTreeMap<String, (ScalarValue, ScalarValue)>,
    /// Sorted row numbers that a deletion vector removed.
    pub deleted_rows: Option<Arc<[u64]>>,
}

impl Snapshot {
    /// Rows of all files, where every file says.
    #[must_use]
    pub fn rows(&self) -> Option<u64> {
        self.files.iter().map(|file| file.rows).sum()
    }
}
