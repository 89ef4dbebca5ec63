//! Keys whose newest observation is to be found again, because rows of them were removed or changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use arrow::row::{RowConverter, SortField};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use futures::TryStreamExt;

use super::{ENTRY_BYTES, RESERVE_BYTES, Spec};
use crate::error::Result;
use crate::runtime::Runtime;
use crate::table::Removed;
use crate::table::read::{ReadOptions, read_file};
use crate::table::snapshot::Snapshot;

/// Keys handed over in one batch.
const BATCH_KEYS: usize = 8192;

/// A set of keys, and which of them were found.
#[derive(Debug)]
pub struct Keys {
    converter: RowConverter,
    schema: Arc<Schema>,
    found: HashMap<Vec<u8>, AtomicBool, ahash::RandomState>,
    memory: MemoryReservation,
}

impl Keys {
    /// The keys of removed rows, typed as in `snapshot`; `None` when there are more than `most`. Rows with a null key have none.
    ///
    /// # Errors
    /// A column the snapshot lacks; a file that is gone; not enough memory.
    pub async fn of(
        runtime: &Runtime,
        snapshot: &Arc<Snapshot>,
        removed: &[Removed],
        spec: &Spec,
        most: usize,
    ) -> Result<Option<Self>> {
        let fields = spec.keys.iter().map(|key| snapshot.field(key).cloned()).collect::<Result<Vec<_>>>()?;
        let sorts = fields.iter().map(|field| SortField::new(field.data_type().clone())).collect();
        let memory = MemoryConsumer::new(format!("changed keys of {}", snapshot.name)).register(runtime.memory_pool());
        let mut keys = Self {
            converter: RowConverter::new(sorts)?,
            schema: Arc::new(Schema::new(fields)),
            found: HashMap::default(),
            memory,
        };
        if spec.keys.is_empty() {
            // A global view has one key, and any row is of it.
            keys.found.extend((!removed.is_empty()).then(|| (Vec::new(), AtomicBool::new(false))));
            return Ok(Some(keys));
        }
        for rows in removed {
            let columns = Some(spec.keys.clone());
            let options = ReadOptions { columns, rows: rows.rows.clone(), ..ReadOptions::default() };
            let mut batches = read_file(snapshot, &rows.file, &options)?;
            while let Some(read) = batches.try_next().await? {
                keys.add(&read.batch)?;
                if keys.len() > most {
                    return Ok(None);
                }
            }
        }
        Ok(Some(keys))
    }

    /// Distinct keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The keys that no row was found of, a batch at a time; their columns are the keys' in order.
    ///
    /// # Errors
    /// What Arrow refuses.
    pub fn gone(&self) -> Result<Vec<RecordBatch>> {
        let mut gone: Vec<&[u8]> =
            self.found.iter().filter(|(_, found)| !found.load(Relaxed)).map(|(key, _)| key.as_slice()).collect();
        gone.sort_unstable();
        gone.chunks(BATCH_KEYS).map(|keys| self.columns(keys)).collect()
    }

    /// Whether a key is one of them; from now on it counts as found.
    pub(super) fn meet(&self, key: &[u8]) -> bool {
        self.found.get(key).map(|found| found.store(true, Relaxed)).is_some()
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns: &[ArrayRef] = batch.columns();
        let rows = self.converter.convert_columns(columns)?;
        for (at, row) in rows.iter().enumerate() {
            if columns.iter().any(|column| column.is_null(at)) || self.found.contains_key(row.as_ref()) {
                continue;
            }
            let wanted = (self.found.len() + 1) * (ENTRY_BYTES + row.as_ref().len());
            if wanted > self.memory.size() {
                self.memory.try_grow((wanted - self.memory.size()).max(RESERVE_BYTES))?;
            }
            self.found.insert(row.as_ref().to_vec(), AtomicBool::new(false));
        }
        Ok(())
    }

    fn columns(&self, keys: &[&[u8]]) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(keys.len()));
        if self.schema.fields().is_empty() {
            return Ok(RecordBatch::try_new_with_options(self.schema.clone(), Vec::new(), &options)?);
        }
        let parser = self.converter.parser();
        let columns = self.converter.convert_rows(keys.iter().map(|key| parser.parse(key)))?;
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}
