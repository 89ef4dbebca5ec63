//! Widening a managed table's columns: integers become longer, floats doubles, when rows come that are defined so.
//!
//! All files are written anew where they stand ([`super::in_place`]), and one commit names them and the wider columns: no file has
//! another type than the log says, and older versions stay what they were until the table is vacuumed.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use deltalake::kernel::Transaction;
use deltalake::protocol::DeltaOperation;
use tidegate_schemas::definition::Column;
use tidegate_schemas::failpoint::{Failpoint, reach};

use super::append::Unpublished;
use super::compact::{Replace, replace};
use super::delta::DeltaSource;
use super::in_place::{Anew, WIDEN};
use super::schema::reads_as;
use super::write::FILE_BYTES;
use crate::error::{Error, Result};
use crate::runtime::Runtime;

/// Makes a table hold what rows of these columns have. Compactions and erasures are waited for, appends wait; it goes on when the
/// caller goes away. Nothing is done where no column is wider than the table's.
pub(super) async fn widen(table: &Arc<DeltaSource>, runtime: &Arc<Runtime>, columns: &[Column]) -> Result<()> {
    if wider(&table.newest().await?.1.schema, columns).is_none() {
        return Ok(());
    }
    let widening = Widening { table: table.clone(), runtime: runtime.clone(), columns: columns.to_vec() };
    let done = tokio::spawn(widening.run()).await;
    done.map_err(|_| Error::Internal("widening a column panicked".to_owned()))?
}

struct Widening {
    table: Arc<DeltaSource>,
    runtime: Arc<Runtime>,
    columns: Vec<Column>,
}

impl Widening {
    async fn run(self) -> Result<()> {
        let _no_compaction = self.table.compacting.lock().await;
        let _no_append = self.table.appending.write().await;
        let snapshot = self.table.snapshot(None).await?;
        let Some(columns) = wider(&snapshot.schema, &self.columns) else { return Ok(()) };
        let mut files = Unpublished::new(self.table.store());
        let anew = Anew { table: &self.table, runtime: &self.runtime, snapshot: &snapshot, columns: &columns };
        for file in &snapshot.files {
            anew.write(file, |_| Ok(None), &mut files).await?;
        }
        files.adds.iter_mut().for_each(|add| add.data_change = false);
        let how = Replace {
            operation: DeltaOperation::Optimize { predicate: None, target_size: FILE_BYTES as i64 },
            transactions: vec![Transaction::new(WIDEN, snapshot.version + 1)],
            data_change: false,
            columns: Some(columns),
        };
        reach(Failpoint::BeforeCompactionCommit);
        let version = replace(&self.table, &snapshot, &snapshot.files, files, how).await?;
        tracing::info!(table = self.table.name(), files = snapshot.files.len(), version, "columns were widened");
        Ok(())
    }
}

/// A table's columns with the types of others that are wider; `None` where none is.
fn wider(stored: &SchemaRef, columns: &[Column]) -> Option<SchemaRef> {
    let mut changed = false;
    let widened = |field: &Arc<Field>| {
        let wanted = columns.iter().find(|column| column.name == *field.name());
        let wanted = wanted.map(|column| column.data_type.to_arrow());
        let is_wider = |to: &_| reads_as(field.data_type(), to) && !reads_as(to, field.data_type());
        match wanted.filter(is_wider) {
            None => field.clone(),
            Some(wanted) => {
                changed = true;
                Arc::new(field.as_ref().clone().with_data_type(wanted))
            }
        }
    };
    let fields: Vec<_> = stored.fields().iter().map(widened).collect();
    changed.then(|| Arc::new(Schema::new(fields)))
}
