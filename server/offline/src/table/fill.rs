//! Tables that a query fills: rows are added, or all of them replaced, in one commit that also says which version of each
//! thing read the rows come from.
//!
//! That record travels as application transactions, which checkpoints keep. It moves with the rows or not at all, so a fill
//! that is begun again after a crash finds out whether the first one happened.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use deltalake::kernel::{Action, MetadataExt as _, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::{DeltaTable, DeltaTableError};
use futures::TryStreamExt;
use tidegate_schemas::definition::Column;

use super::append::{Unpublished, commit_exactly, lost_race};
use super::delta::{DeltaSource, delta_error, struct_type};
use super::schema;
use super::snapshot::Snapshot;
use super::write::FileWriter;
use crate::error::{Error, Result};
use crate::runtime::Runtime;

/// Application of the transaction that holds the version of one thing read; its name follows.
const INPUT_PREFIX: &str = "tidegate.query/";

/// Attempts at a commit while compactions commit first.
const COMMIT_ATTEMPTS: usize = 100;

/// The versions that rows were computed from, by the name of what was read.
pub type Inputs = BTreeMap<String, i64>;

/// Rows to put into a table.
#[derive(Debug, Clone)]
pub struct Filling {
    /// What they were computed from.
    pub inputs: Inputs,
    /// What the table's rows come from before; a table that says otherwise is left as it is.
    pub before: Option<Inputs>,
    /// The table's columns, in order.
    pub columns: Vec<Column>,
    /// Columns that the rows of a file are sorted by.
    pub order: Vec<String>,
    /// Whether they take the place of all rows; the table then also gets these columns.
    pub replace: bool,
}

/// What a fill did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// The version that it made.
    pub version: i64,
    /// Rows written.
    pub rows: u64,
}

pub(super) async fn fill(
    table: Arc<DeltaSource>,
    runtime: &Arc<Runtime>,
    filling: Filling,
    rows: SendableRecordBatchStream,
) -> Result<Filled> {
    if !table.writable() {
        return Err(Error::ReadOnly { table: table.name().to_owned() });
    }
    let schema = schema::defined(&filling.columns, &std::collections::BTreeSet::new());
    let on = runtime.clone();
    runtime.run(async move { Fill { table, runtime: on, filling, schema }.run(rows).await }).await
}

struct Fill {
    table: Arc<DeltaSource>,
    runtime: Arc<Runtime>,
    filling: Filling,
    schema: SchemaRef,
}

impl Fill {
    async fn run(self, rows: SendableRecordBatchStream) -> Result<Filled> {
        // Rows that are read already may be of an entity that is about to be erased: the erasure waits for them.
        let _no_erasure = self.table.appending.read().await;
        let (files, rows) = self.write(rows).await?;
        self.commit(files, rows).await
    }

    async fn write(&self, mut rows: SendableRecordBatchStream) -> Result<(Unpublished, u64)> {
        let mut files = Unpublished::new(self.table.store());
        let (order, store) = (self.filling.order.clone(), self.table.store().clone());
        let mut writer = FileWriter::new(&self.runtime, self.table.name(), self.schema.clone(), order, store);
        let mut count = 0;
        while let Some(batch) = rows.try_next().await? {
            let (batch, _) = self.table.guarded(batch)?;
            if batch.num_rows() == 0 {
                continue;
            }
            count += batch.num_rows() as u64;
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
        Ok((files, count))
    }

    async fn commit(&self, mut files: Unpublished, rows: u64) -> Result<Filled> {
        let _one = self.table.committing.lock().await;
        for _ in 0..COMMIT_ATTEMPTS {
            let (delta, snapshot) = self.table.newest().await?;
            let found = self.table.inputs_of(&delta, self.filling.inputs.keys()).await?;
            if found != self.filling.before || !self.filling.replace && !snapshot.has_columns(&self.filling.columns) {
                return Err(Error::Contended { table: self.table.name().to_owned() });
            }
            let replacing = self.replacing(&delta, &snapshot)?;
            // Whoever is dropped from here on can't tell whether the commit goes through: its files stay.
            let adds = std::mem::take(&mut files.adds);
            let actions = adds.iter().cloned().map(Action::Add).chain(replacing).collect();
            match commit_exactly(&self.table, &delta, actions, self.transactions(), self.operation()).await {
                Ok(()) => return Ok(Filled { version: snapshot.version + 1, rows }),
                Err(error) if lost_race(&error) => files.adds = adds,
                Err(error) => return self.resolve(error, &snapshot, rows).await,
            }
        }
        Err(Error::Contended { table: self.table.name().to_owned() })
    }

    /// What takes the old rows out, and gives the table its columns where it has others.
    fn replacing(&self, delta: &DeltaTable, snapshot: &Snapshot) -> Result<Vec<Action>> {
        if !self.filling.replace {
            return Ok(Vec::new());
        }
        let failed = |error| delta_error(self.table.name(), "committing", error);
        let state = delta.snapshot().map_err(failed)?.snapshot();
        let mut actions: Vec<Action> =
            state.log_data().iter().map(|view| Action::Remove(view.remove_action(true))).collect();
        if !snapshot.has_columns(&self.filling.columns) {
            let columns = struct_type(self.table.name(), &self.schema)?;
            let metadata = state.metadata().clone().with_schema(&columns).map_err(|error| failed(error.into()))?;
            actions.push(Action::Metadata(metadata));
        }
        Ok(actions)
    }

    fn transactions(&self) -> Vec<Transaction> {
        let inputs = self.filling.inputs.iter();
        inputs.map(|(name, version)| Transaction::new(format!("{INPUT_PREFIX}{name}"), *version)).collect()
    }

    fn operation(&self) -> DeltaOperation {
        let mode = if self.filling.replace { SaveMode::Overwrite } else { SaveMode::Append };
        DeltaOperation::Write { mode, partition_by: None, predicate: None }
    }

    /// An error of a commit does not say whether it happened: the log does. Files that it may name stay.
    async fn resolve(&self, error: DeltaTableError, before: &Snapshot, rows: u64) -> Result<Filled> {
        let failed = || delta_error(self.table.name(), "committing", error);
        let Ok((delta, snapshot)) = self.table.newest().await else { return Err(failed()) };
        let Ok(found) = self.table.inputs_of(&delta, self.filling.inputs.keys()).await else { return Err(failed()) };
        match snapshot.version > before.version && found.as_ref() == Some(&self.filling.inputs) {
            true => Ok(Filled { version: snapshot.version, rows }),
            false => Err(failed()),
        }
    }
}

impl Snapshot {
    /// Whether it has exactly these columns, in this order.
    #[must_use]
    pub fn has_columns(&self, columns: &[Column]) -> bool {
        let found = self.schema.fields();
        found.len() == columns.len()
            && found.iter().zip(columns).all(|(field, column)| {
                *field.name() == column.name && *field.data_type() == column.data_type.to_arrow()
            })
    }
}

impl DeltaSource {
    /// The versions that the rows come from; `None` where one of them is not recorded.
    pub(super) async fn inputs_of(
        &self,
        delta: &DeltaTable,
        names: impl Iterator<Item = &String>,
    ) -> Result<Option<Inputs>> {
        let failed = |source| delta_error(self.name(), "looking for what its rows come from", source);
        let state = delta.snapshot().map_err(failed)?.snapshot();
        let log_store = self.log_store();
        let mut inputs = Inputs::new();
        for name in names {
            let version = state.transaction_version(&log_store, format!("{INPUT_PREFIX}{name}")).await;
            let Some(version) = version.map_err(failed)? else { return Ok(None) };
            inputs.insert(name.clone(), version);
        }
        Ok(Some(inputs))
    }
}
