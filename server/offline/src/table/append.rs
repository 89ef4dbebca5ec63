//! Appends: rows are checked and set aside first, written and committed after, once per batch id.
//!
//! States of a batch: *checked* (in the spool, nothing in the table's folder) → *written* (files in the folder that no commit
//! names; readers don't see them) → *committed* (one commit names them all, with two application transactions: the
//! commit's version and the row count). A crash before the commit leaves only files that nothing names. The same id again
//! finds the transactions and answers with the first outcome.
//!
//! A [`Chunk`] of an outbox is told by its number in place of an id: each chunk of an application has higher ones than those before,
//! so one transaction for each application is enough, however many chunks there are.

mod spool;

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties, TableReference, TransactionError};
use deltalake::kernel::{Action, Add, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::{DeltaTable, DeltaTableError};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use tidegate_schemas::failpoint::{Failpoint, reach};

use super::delta::{DeltaSource, delta_error};
use super::snapshot::Snapshot;
use super::widen::widen;
use super::write::FileWriter;
use crate::error::{Error, Result};
use crate::ingest::{Checker, Rules};
use crate::runtime::Runtime;
use spool::Spool;

/// Application of the transaction that holds a batch's version.
pub(super) const VERSION_PREFIX: &str = "tidegate.version/";

/// Application of the transaction that holds a batch's row count.
pub(super) const ROWS_PREFIX: &str = "tidegate.rows/";

/// Application of the transaction that holds the first number of a chunk, before the chunk's own.
pub(super) const FIRST_PREFIX: &str = "tidegate.first/";

/// Longest batch id.
const BATCH_ID_BYTES: usize = 200;

/// Attempts at a commit while others commit first.
const COMMIT_ATTEMPTS: usize = 100;

/// A batch of rows to append.
#[derive(Debug, Clone)]
pub struct AppendRequest {
    /// The caller's name for this batch: the same id never writes twice. 1 to 200 printable ASCII characters.
    pub batch_id: String,
    /// What the rows must satisfy.
    pub rules: Rules,
}

/// Rows of an outbox, told by the numbers of its records.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Whose numbers they are: 1 to 200 printable ASCII characters.
    pub application: String,
    /// The number of the first record.
    pub first: u64,
    /// The number of the last record. Once the table has it, no chunk up to it is written again.
    pub last: u64,
    /// What the rows must satisfy.
    pub rules: Rules,
}

/// A commit that holds the rows of one chunk of an outbox, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkCommit {
    /// The version it made.
    pub version: i64,
    /// Whose numbers they are.
    pub application: String,
    /// The number of the first record.
    pub first: u64,
    /// The number of the last record.
    pub last: u64,
}

/// The chunk that a commit's transactions tell of.
pub(super) fn chunk_of(version: i64, transactions: &[(String, i64)]) -> Option<ChunkCommit> {
    let number =
        |of: &str| transactions.iter().find(|(known, _)| known == of).and_then(|(_, n)| u64::try_from(*n).ok());
    let (first, application) =
        transactions.iter().find_map(|(known, first)| Some((*first, known.strip_prefix(FIRST_PREFIX)?)))?;
    let (first, last) = (u64::try_from(first).ok()?, number(application)?);
    Some(ChunkCommit { version, application: application.to_owned(), first, last })
}

/// By what an append is known to have happened.
#[derive(Debug, Clone)]
enum Once {
    Batch(String),
    Chunk { application: String, first: i64, last: i64 },
}

/// Rows on their way in. The schema is checked before the first batch is read.
pub struct Incoming {
    /// The schema of every batch.
    pub schema: SchemaRef,
    /// The batches; an error ends the append with nothing written.
    pub batches: BoxStream<'static, Result<RecordBatch, Box<dyn std::error::Error + Send + Sync>>>,
}

/// Where a batch's rows are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The version that added the rows; of a chunk that was written earlier, one that has them.
    pub version: i64,
    /// How many rows; 0 of a chunk that was written earlier.
    pub rows: u64,
    /// Whether an earlier call had written them.
    pub already: bool,
}

pub(super) async fn append(
    table: Arc<DeltaSource>,
    runtime: &Arc<Runtime>,
    request: AppendRequest,
    incoming: Incoming,
) -> Result<Appended> {
    check_batch_id(&request.batch_id)?;
    append_once(table, runtime, Once::Batch(request.batch_id), request.rules, incoming).await
}

pub(super) async fn append_chunk(
    table: Arc<DeltaSource>,
    runtime: &Arc<Runtime>,
    chunk: Chunk,
    incoming: Incoming,
) -> Result<Appended> {
    check_batch_id(&chunk.application)?;
    let number = |number: u64| {
        i64::try_from(number).map_err(|_| Error::Internal(format!("{number} is beyond the numbers of an outbox")))
    };
    let (first, last) = (number(chunk.first)?, number(chunk.last)?);
    let once = Once::Chunk { application: chunk.application, first, last };
    append_once(table, runtime, once, chunk.rules, incoming).await
}

pub(super) async fn reached(table: &DeltaSource, application: &str) -> Result<Option<u64>> {
    let (delta, _) = table.newest().await?;
    let number = table.transaction(&delta, application).await?;
    Ok(number.and_then(|number| u64::try_from(number).ok()))
}

async fn append_once(
    table: Arc<DeltaSource>,
    runtime: &Arc<Runtime>,
    once: Once,
    rules: Rules,
    incoming: Incoming,
) -> Result<Appended> {
    if !table.writable() {
        return Err(Error::ReadOnly { table: table.name().to_owned() });
    }
    let plan_runtime = runtime.clone();
    runtime.run(async move { Append { table, runtime: plan_runtime, once, rules }.run(incoming).await }).await
}

fn check_batch_id(id: &str) -> Result<()> {
    let valid = (1..=BATCH_ID_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    if valid { Ok(()) } else { Err(Error::BadBatchId { id: id.chars().take(BATCH_ID_BYTES).collect() }) }
}

struct Append {
    table: Arc<DeltaSource>,
    runtime: Arc<Runtime>,
    once: Once,
    rules: Rules,
}

impl Append {
    async fn run(self, mut incoming: Incoming) -> Result<Appended> {
        if let Some(outcome) = self.outcome_now().await? {
            // Some senders, such as pyarrow's, take an answer before their last row for a broken connection and lose it.
            while let Some(Ok(_)) = incoming.batches.next().await {}
            return Ok(outcome);
        }
        let (spool, rows) = self.check(incoming).await?;
        widen(&self.table, &self.runtime, &self.rules.columns).await?;
        let _no_erasure = self.table.appending.read().await;
        let (_, snapshot) = self.table.newest().await?;
        self.require_columns(&snapshot)?;
        let files = Unpublished::new(self.table.store());
        let (files, refused) = self.write(&snapshot, spool, files).await?;
        self.commit(&snapshot, files, rows - refused).await
    }

    /// Whether it happened already, by the newest state of the log.
    async fn outcome_now(&self) -> Result<Option<Appended>> {
        let (delta, _) = self.table.newest().await?;
        self.outcome(&delta).await
    }

    async fn outcome(&self, delta: &DeltaTable) -> Result<Option<Appended>> {
        match &self.once {
            Once::Batch(id) => self.table.outcome(delta, id).await,
            Once::Chunk { application, last, .. } => {
                let reached = self.table.transaction(delta, application).await?;
                let version = delta.version().and_then(|version| i64::try_from(version).ok()).unwrap_or_default();
                Ok((reached >= Some(*last)).then_some(Appended { version, rows: 0, already: true }))
            }
        }
    }

    /// Reads all batches, checks them, sets them aside.
    async fn check(&self, mut incoming: Incoming) -> Result<(Spool, u64)> {
        let mut checker = Checker::new(&self.rules, &incoming.schema)?;
        let mut spool = Spool::new(&self.runtime, checker.schema().clone());
        while let Some(batch) = incoming.batches.next().await {
            let batch = checker.check(&batch.map_err(Error::Incoming)?)?;
            spool.push(batch)?;
        }
        Ok((spool, checker.finish()?))
    }

    /// The table must have every column the rules name, with its type; the definitions may be ahead of it.
    fn require_columns(&self, snapshot: &Snapshot) -> Result<()> {
        snapshot.expect(&self.rules.columns)?;
        let given = |name: &String| self.rules.columns.iter().any(|column| column.name == *name);
        match snapshot.schema.fields().iter().find(|field| !field.is_nullable() && !given(field.name())) {
            None => Ok(()),
            Some(field) => Err(Error::ColumnMissing {
                table: format!("{}` requires a column the definitions no longer have: `", self.table.name()),
                column: field.name().clone(),
                suggestion: None,
            }),
        }
    }

    /// Writes the rows, without those that the table's guard refuses; counts the refused.
    async fn write(&self, snapshot: &Snapshot, spool: Spool, mut files: Unpublished) -> Result<(Unpublished, u64)> {
        let rules = &self.rules;
        let keys = rules.columns.iter().map(|column| &column.name).filter(|name| rules.keys.contains(*name));
        let order = keys.chain([&rules.event_time]).cloned().collect();
        let (schema, store) = (snapshot.schema.clone(), self.table.store().clone());
        let mut writer = FileWriter::new(&self.runtime, self.table.name(), schema, order, store);
        let mut refused = 0;
        for batch in spool.read()? {
            let (batch, left_out) = self.table.guarded(batch?)?;
            refused += left_out;
            if batch.num_rows() == 0 {
                continue;
            }
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
        Ok((files, refused))
    }

    async fn commit(&self, written_for: &Snapshot, mut files: Unpublished, rows: u64) -> Result<Appended> {
        let _one = self.table.committing.lock().await;
        for _ in 0..COMMIT_ATTEMPTS {
            let (delta, snapshot) = self.table.newest().await?;
            if let Some(outcome) = self.outcome(&delta).await? {
                return Ok(outcome);
            }
            // A column added meanwhile is null in these files; a changed one would make them lie.
            let same = |field: &Arc<arrow::datatypes::Field>| {
                snapshot.schema.field_with_name(field.name()).is_ok_and(|now| now.data_type() == field.data_type())
            };
            if !written_for.schema.fields().iter().all(same) {
                return Err(Error::Contended { table: self.table.name().to_owned() });
            }
            let version = snapshot.version + 1;
            // Whoever is dropped from here on can't tell whether the commit goes through: its files stay.
            let adds = std::mem::take(&mut files.adds);
            reach(Failpoint::BeforeDeltaCommit);
            match self.commit_as(&delta, version, &adds, rows).await {
                Ok(()) => return Ok(Appended { version, rows, already: false }),
                Err(error) if lost_race(&error) => files.adds = adds,
                Err(error) => return self.resolve(error, files, adds).await,
            }
        }
        Err(Error::Contended { table: self.table.name().to_owned() })
    }

    /// Commits as exactly this version, or fails.
    async fn commit_as(
        &self,
        delta: &DeltaTable,
        version: i64,
        adds: &[Add],
        rows: u64,
    ) -> Result<(), DeltaTableError> {
        let transactions = match &self.once {
            Once::Batch(id) => vec![
                Transaction::new(format!("{VERSION_PREFIX}{id}"), version),
                Transaction::new(format!("{ROWS_PREFIX}{id}"), i64::try_from(rows).unwrap_or(i64::MAX)),
            ],
            Once::Chunk { application, first, last } => vec![
                Transaction::new(application.clone(), *last),
                Transaction::new(format!("{FIRST_PREFIX}{application}"), *first),
            ],
        };
        let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
        let actions = adds.iter().cloned().map(Action::Add).collect();
        commit_exactly(&self.table, delta, actions, transactions, operation).await
    }

    /// An error of a commit does not say whether it happened: the log does.
    async fn resolve(&self, error: DeltaTableError, mut files: Unpublished, adds: Vec<Add>) -> Result<Appended> {
        match self.outcome_now().await {
            Ok(Some(outcome)) => Ok(Appended { already: false, ..outcome }),
            Ok(None) => {
                files.adds = adds;
                Err(delta_error(self.table.name(), "committing", error))
            }
            Err(_) => Err(Error::CommitUnknown { table: self.table.name().to_owned(), source: Box::new(error) }),
        }
    }
}

impl DeltaSource {
    /// A batch without the rows that the guard refuses, those of entities that were erased, and how many those are.
    pub(super) fn guarded(&self, batch: RecordBatch) -> Result<(RecordBatch, u64)> {
        let Some(guard) = self.guard.get() else { return Ok((batch, 0)) };
        let refused = guard.refused(&batch).map_err(Error::Incoming)?;
        let count = refused.iter().filter(|refused| **refused).count() as u64;
        if count == 0 {
            return Ok((batch, 0));
        }
        tracing::warn!(table = self.name(), rows = count, "rows of erased entities are left out");
        let kept: BooleanArray = refused.into_iter().map(|refused| Some(!refused)).collect();
        Ok((filter_record_batch(&batch, &kept)?, count))
    }
}

/// Commits as the version after `delta`, or fails.
pub(super) async fn commit_exactly(
    table: &DeltaSource,
    delta: &DeltaTable,
    actions: Vec<Action>,
    transactions: Vec<Transaction>,
    operation: DeltaOperation,
) -> Result<(), DeltaTableError> {
    let state = delta.snapshot()?;
    let properties = CommitProperties::default()
        .with_max_retries(0)
        .with_cleanup_expired_logs(Some(false))
        .with_application_transactions(transactions);
    let committed = CommitBuilder::from(properties)
        .with_actions(actions)
        .build(Some(state as &dyn TableReference), table.log_store(), operation)
        .into_prepared_commit_future()
        .await?
        .await?;
    reach(Failpoint::AfterDeltaCommit);
    // What follows a commit, a checkpoint now and then, does not undo it.
    if let Err(error) = committed.await {
        tracing::warn!(table = table.name(), %error, "no checkpoint was written");
    }
    Ok(())
}

/// Whether another writer took the version: this commit did not happen.
pub(super) fn lost_race(error: &DeltaTableError) -> bool {
    match error {
        DeltaTableError::VersionAlreadyExists(_) => true,
        DeltaTableError::Transaction { source } => matches!(
            source,
            TransactionError::MaxCommitAttempts(_)
                | TransactionError::VersionAlreadyExists(_)
                | TransactionError::CommitConflict(_)
        ),
        _ => false,
    }
}

/// Files that no commit names yet: deleted when dropped.
pub(super) struct Unpublished {
    pub(super) adds: Vec<Add>,
    store: Arc<dyn ObjectStore>,
}

impl Unpublished {
    pub(super) fn new(store: &Arc<dyn ObjectStore>) -> Self {
        Self { adds: Vec::new(), store: store.clone() }
    }
}

impl Drop for Unpublished {
    fn drop(&mut self) {
        let paths: Vec<Path> = self.adds.drain(..).map(|add| Path::from(add.path)).collect();
        let Ok(handle) = tokio::runtime::Handle::try_current() else { return };
        if paths.is_empty() {
            return;
        }
        let store = self.store.clone();
        handle.spawn(async move {
            for path in paths {
                if let Err(error) = store.delete(&path).await {
                    tracing::warn!(%path, %error, "a file of a failed append stays until the table is vacuumed");
                }
            }
        });
    }
}
